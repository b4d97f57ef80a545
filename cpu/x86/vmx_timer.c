/*
 * The VMX-preemption timer: SDM vol. 3 25.5.1 "VMX-Preemption Timer".
 *
 * It counts at the rate of bit VMX_TIMER_SHIFT of the host's TSC (not the guest's). st.vmx.timer holds the TSC at which
 * it gets to 0. A running vCPU looks at the clock every POLL instructions, a halted one sleeps no longer than that TSC.
 */
#include "cpu/x86/vmx.h"

#include <x86intrin.h>

#include "base/clock.h"

#define POLL 4096

static u64 now(const struct x86_cpu *cpu) { return __rdtsc() + cpu->st.tsc_offset; }

void vmx_timer_start(struct x86_cpu *cpu, u32 value)
{
	cpu->st.vmx.timer = ((now(cpu) >> VMX_TIMER_SHIFT) + value) << VMX_TIMER_SHIFT;
	vmx_timer_poll(cpu);
}

u32 vmx_timer_value(const struct x86_cpu *cpu)
{
	u64 end = cpu->st.vmx.timer >> VMX_TIMER_SHIFT, t = now(cpu) >> VMX_TIMER_SHIFT;

	return (s64)(end - t) > 0 ? (u32)(end - t) : 0;
}

void vmx_timer_poll(struct x86_cpu *cpu)
{
	if (!cpu->c.vmx.timer)
		return;
	if (vmx_timer_value(cpu) == 0)
		atomic_fetch_or(&cpu->c.attention, ATT_TIMER);
	cpu->count_until = MIN(cpu->count_until, cpu->n.insns + POLL);
}

/* In the host's nanoseconds: a slow board's TSC keeps the host's pace, though tsc_hz says otherwise. */
u64 vmx_timer_ns(const struct x86_cpu *cpu)
{
	return mul_div((u64)vmx_timer_value(cpu) << VMX_TIMER_SHIFT, NS_PER_SEC, clock_tsc_hz()) + 1;
}
