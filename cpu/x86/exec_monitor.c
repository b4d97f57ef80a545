/*
 * MONITOR and MWAIT. SDM vol. 2 "MONITOR", "MWAIT"; SDM vol. 3 8.10.2 to 8.10.4; APM vol. 3 "MONITOR", "MWAIT".
 *
 *   MONITOR ──► armed ──store to the line, event, another MONITOR──► not armed ──► MWAIT is a NOP
 *                 │
 *               MWAIT: sleeps while armed and nothing that may be taken is pending
 *
 * MWAIT leaves by OUT_RETRY when other threads ask something of this processor, so that the loop serves it, and comes
 * back. VMX's preemption timer ends the wait. Interrupts that RFLAGS.IF holds do when ECX bit 0 says so. The hints in
 * EAX (a C-state) have nothing to choose from: CPUID leaf 5 offers no sub-states.
 */
#include "cpu/x86/int.h"
#include "cpu/x86/monitor.h"
#include "cpu/x86/share.h"

#define HWCR_USER_MONITOR BIT(10)
#define MWAIT_MASKED_INTR 1u /* ECX */

void monitor_release(struct x86_cpu *cpu)
{
	cpu->monitor.armed = 0;
	if (cpu->monitor.held)
		share_release(cpu, ALIGN_DOWN(cpu->monitor.pa, RAM_PAGE));
	cpu->monitor.held = 0;
}

/* Above CPL 0 #UD, unless AMD's HWCR allows it; also while IA32_MISC_ENABLE switches the pair off. */
static bool allowed(const struct x86_cpu *cpu)
{
	const struct x86_state *st = &cpu->st;

	if (st->vendor == X86_INTEL)
		return !st->cpl && (st->msr.misc_enable & MISC_ENABLE_MONITOR);
	return !st->cpl || (st->msr.hwcr & HWCR_USER_MONITOR);
}

/*
 * RAM_CODE counts holders in seven bits: all processors for code and all but one for lines. The one left out never
 * arms, which the manual allows: MWAIT may return at any time.
 */
static void arm(struct x86_cpu *cpu, u64 pa)
{
	u64 page = ALIGN_DOWN(pa, RAM_PAGE);

	if (cpu->monitor.held && page != ALIGN_DOWN(cpu->monitor.pa, RAM_PAGE))
		monitor_release(cpu);
	if (!ram_find(&cpu->vm->ram, page) || cpu->vcpu.index == VM_VCPUS - 1)
		return;
	cpu->monitor.pa = ALIGN_DOWN(pa, MONITOR_LINE);
	if (!cpu->monitor.held)
		share_claim(cpu, page);
	cpu->monitor.held = 1;
	cpu->monitor.armed = 1;
}

HANDLER(op_monitor)
{
	struct insn at = *in;
	bool exit = x86_exit_wanted(cpu, EXIT_MONITOR);
	u64 la, pa;

	if (!allowed(cpu))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if (exit && cpu->c.vmx.on)
		LEAVE(cpu, in, x86_exit(cpu, EXIT_MONITOR, 0, 0));
	if ((u32)cpu->st.gpr[RCX])
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	at.base = CPU_OFF(st.gpr[RAX]);
	TRY(cpu, in, insn_la(cpu, &at, 1, ACC_READ, &la));
	TRY(cpu, in, mem_read_pa(cpu, la, &pa));
	if (exit) /* APM vol. 2 15.9: all exceptions come first; so with MWAIT */
		LEAVE(cpu, in, x86_exit(cpu, EXIT_MONITOR, 0, 0));
	arm(cpu, pa);
	LEAVE(cpu, in, OUT_END);
}

static bool event_due(struct x86_cpu *cpu, u32 raw)
{
	u32 wakes = cpu->c.att_mask;

	if (cpu->st.gpr[RCX] & MWAIT_MASKED_INTR)
		wakes |= ATT_INTR;
	return raw & wakes & ~(u32)(ATT_STEP | ATT_SHADOW | ATT_ALONE | ATT_DROP | ATT_STOP);
}

HANDLER(op_mwait)
{
	u32 raw;
	bool bad = (u32)cpu->st.gpr[RCX] & ~MWAIT_MASKED_INTR;

	if (!allowed(cpu))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if (bad && !cpu->c.vmx.on)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (cpu->monitor.armed && x86_exit_wanted(cpu, EXIT_MWAIT_ARMED))
		LEAVE(cpu, in, x86_exit(cpu, EXIT_MWAIT_ARMED, 0, 0));
	if (x86_exit_wanted(cpu, EXIT_MWAIT))
		LEAVE(cpu, in, x86_exit(cpu, EXIT_MWAIT, cpu->c.vmx.on && cpu->monitor.armed, 0));
	if (bad)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	/* Like HLT, it ends STI's shadow, not at its end but as it begins to wait. */
	cpu->st.shadow = 0;
	x86_update_attention(cpu);
	for (;;) {
		raw = atomic_load(&cpu->c.attention);
		if (!cpu->monitor.armed || event_due(cpu, raw)) {
			monitor_release(cpu);
			LEAVE(cpu, in, OUT_END);
		}
		if (raw & (ATT_DROP | ATT_STOP))
			LEAVE(cpu, in, OUT_RETRY);
		x86_sleep(cpu, raw, WAKE_MWAIT);
	}
}

BIND(monitor)
BIND(mwait)
