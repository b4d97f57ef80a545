/*
 * Events from outside, looked at between blocks: INIT, start-up IPI, SMI, debug traps, NMI, interrupts, virtual
 * interrupts. SDM vol. 3 6.9 "Priority Among Simultaneous Exceptions and Interrupts"; APM vol. 2 8.5
 * "Priorities", 15.13 "Interrupt Intercepts", 15.21 "Interrupt and Local APIC Support".
 *
 * c.att_mask (update.c) holds what IF, GIF, shadows and NMI blocking let through, so that a bit seen here is an event
 * that may be taken now. A bit is cleared before its source is asked, and set again while the source has more: an
 * assertion in between is never lost.
 */
#include "arch/x86/model.h"
#include "cpu/x86/avic.h"
#include "cpu/x86/monitor.h"
#include "cpu/x86/vapic.h"
#include "cpu/x86/vmexit.h"

/* Delivers an event that is no instruction's own: st.rip is the RIP to return to. */
static void event_deliver(struct x86_cpu *cpu, const struct x86_event *ev)
{
	cpu->c.event = *ev;
	x86_deliver(cpu);
}

/* Leaves the guest if it is to be left for this event; the event itself stays pending. */
static bool exit_instead(struct x86_cpu *cpu, enum x86_exit exit)
{
	if (!x86_exit_wanted(cpu, exit))
		return false;
	x86_exit(cpu, exit, 0, 0);
	vmexit_complete(cpu, 0);
	return true;
}

/* SDM vol. 3 8.4.1 "BSP and AP Processors", 9.1.1: the bootstrap processor starts at the reset vector, the others wait
 * for a SIPI. APM vol. 2 15.28.3 "INIT": VM_CR.R_INIT makes an INIT that is not intercepted #SX(1). */
static void take_init(struct x86_cpu *cpu)
{
	static const struct x86_event redirected = {.kind = EV_TRAP, .vector = EXC_SX, .has_error = true, .error = 1};

	if (cpu->c.vmx.on) /* SDM vol. 3 25.2: the exit takes the signal */
		attention_clear(cpu, ATT_INIT);
	if (exit_instead(cpu, EXIT_INIT))
		return;
	attention_clear(cpu, ATT_INIT);
	if (unlikely(cpu->st.svm.vm_cr & VM_CR_R_INIT)) {
		event_deliver(cpu, &redirected);
		return;
	}
	monitor_release(cpu);
	x86_reset(&cpu->st, cpu->model->vendor, cpu->model->signature, true);
	if (cpu->vcpu.index != 0)
		cpu->st.activity = ACT_WAIT_SIPI;
	x86_drop_cache(cpu);
}

/* APM vol. 2 15.13.3 "SMI Intercept": an exit leaves it pending. LIMIT: no system management mode takes it. */
static bool take_smi(struct x86_cpu *cpu)
{
	if (exit_instead(cpu, EXIT_SMI))
		return true;
	attention_clear(cpu, ATT_SMI);
	log_limit(cpu->vm->log, "system management mode: an SMI is dropped");
	return false;
}

static void take_sipi(struct x86_cpu *cpu)
{
	u8 vector = __atomic_load_n(&cpu->sipi_vector, __ATOMIC_RELAXED);

	attention_clear(cpu, ATT_SIPI);
	if (cpu->c.vmx.on) { /* SDM vol. 3 25.2 "Start-up IPIs (SIPIs)" */
		x86_exit(cpu, EXIT_SIPI, vector, 0);
		vmexit_complete(cpu, 0);
		return;
	}
	cpu->st.seg[CS].sel = (u16)(vector << 8);
	cpu->st.seg[CS].base = (u64)vector << 12;
	cpu->st.rip = 0;
	cpu->st.activity = ACT_RUNNING;
	x86_update_all(cpu);
}

static void take_debug_trap(struct x86_cpu *cpu)
{
	struct x86_event ev = {.kind = EV_TRAP, .vector = EXC_DB, .db = cpu->st.pending_db & ~VPENDING_ENABLED};

	cpu->st.pending_db = 0;
	event_deliver(cpu, &ev);
}

static void take_nmi(struct x86_cpu *cpu)
{
	struct x86_event ev = {.kind = EV_NMI, .vector = EXC_NMI};

	if (cpu->c.vmx.on) {
		attention_clear(cpu, ATT_NMI);
		cpu->st.nmi_pending = 0;
	}
	if (exit_instead(cpu, EXIT_NMI))
		return;
	attention_clear(cpu, ATT_NMI);
	cpu->st.nmi_pending = 0;
	cpu->st.nmi_blocked = 1;
	cpu->st.activity = ACT_RUNNING;
	event_deliver(cpu, &ev);
}

/* APM vol. 2 15.21.10 "Virtual NMI": no intercept sees it; V_NMI_MASK is set as it is delivered. */
static void take_virtual_nmi(struct x86_cpu *cpu)
{
	struct x86_event ev = {.kind = EV_NMI, .vector = EXC_NMI};

	attention_clear(cpu, ATT_VNMI);
	cpu->st.svm.int_ctl &= ~VI_NMI;
	cpu->st.activity = ACT_RUNNING;
	event_deliver(cpu, &ev);
}

/* SDM vol. 3 29.6 "Posted-Interrupt Processing": the interrupt is acknowledged before anything is known of it. */
static bool take_intr_posting(struct x86_cpu *cpu)
{
	int vector = cpu->apic_ops->ack(cpu->apic);

	if (vector < 0)
		return false;
	cpu->n.irqs++;
	if ((u32)vector == cpu->c.vmx.posted_vector) {
		vapic_posted(cpu);
		return false;
	}
	x86_exit(cpu, EXIT_INTR, 0, 0);
	cpu->c.vmexit.event = (u64)vector | VEV_EXT_INT << 8 | VEV_VALID;
	vmexit_complete(cpu, 0);
	return true;
}

static bool take_intr(struct x86_cpu *cpu)
{
	struct x86_event ev = {.kind = EV_EXT_INT};
	int vector;

	attention_clear(cpu, ATT_INTR);
	if (!cpu->apic_ops || cpu->apic_ops->highest(cpu->apic) < 0)
		return false;
	attention_raise(cpu, ATT_INTR);
	if (cpu->c.vmx.posted)
		return take_intr_posting(cpu);
	if (exit_instead(cpu, EXIT_INTR))
		return true;
	vector = cpu->apic_ops->ack(cpu->apic);
	if (vector < 0)
		return false;
	ev.vector = (u8)vector;
	cpu->n.irqs++;
	cpu->st.activity = ACT_RUNNING;
	event_deliver(cpu, &ev);
	return true;
}

static bool take_virtual_intr(struct x86_cpu *cpu)
{
	struct x86_event ev = {.kind = EV_EXT_INT};
	int vector;

	vector = svm_virtual_intr(cpu);
	if (vector < 0) {
		attention_clear(cpu, ATT_VINTR); /* raised again by VMRUN and by MOV to CR8 */
		return false;
	}
	if (exit_instead(cpu, EXIT_VINTR))
		return true;
	svm_virtual_intr_taken(cpu);
	ev.vector = (u8)vector;
	cpu->st.activity = ACT_RUNNING;
	event_deliver(cpu, &ev);
	return true;
}

/* APM vol. 2 15.29.3.2 "Interrupt Delivery": V_IRQ and its companions do not count. */
static bool take_avic(struct x86_cpu *cpu)
{
	struct x86_event ev = {.kind = EV_EXT_INT};
	int vector = avic_pending(cpu);

	if (vector < 0)
		return false;
	if (exit_instead(cpu, EXIT_VINTR))
		return true;
	avic_accept(cpu, (unsigned)vector);
	ev.vector = (u8)vector;
	cpu->st.activity = ACT_RUNNING;
	event_deliver(cpu, &ev);
	return true;
}

/* SDM vol. 3 25.2 "Interrupt-window exiting", 29.2.2 "Virtual-Interrupt Delivery": both come before external
 * interrupts. */
static bool take_vmx_window(struct x86_cpu *cpu, u32 att)
{
	struct x86_event ev = {.kind = EV_EXT_INT};
	int vector;

	if (att & ATT_VINTR)
		return exit_instead(cpu, EXIT_VINTR);
	if (!(att & ATT_VIRQ))
		return false;
	vector = vapic_take(cpu);
	if (vector < 0)
		return false;
	ev.vector = (u8)vector;
	cpu->st.activity = ACT_RUNNING;
	event_deliver(cpu, &ev);
	return true;
}

bool x86_events(struct x86_cpu *cpu)
{
	u32 att = atomic_load(&cpu->c.attention) & cpu->c.att_mask;

	if (att & ATT_INIT) {
		take_init(cpu);
		return true;
	}
	if (att & ATT_SIPI) {
		take_sipi(cpu);
		return true;
	}
	if ((att & ATT_SMI) && take_smi(cpu))
		return true;
	if (att & ATT_TPR) {
		x86_exit(cpu, EXIT_TPR, 0, 0);
		vmexit_complete(cpu, 0);
		return true;
	}
	if (cpu->st.pending_db && !(cpu->st.shadow & SHADOW_MOVSS) && cpu->st.activity != ACT_WAIT_SIPI) {
		take_debug_trap(cpu);
		return true;
	}
	if (att & ATT_TIMER) {
		x86_exit(cpu, EXIT_PREEMPTION_TIMER, 0, 0);
		vmexit_complete(cpu, 0);
		return true;
	}
	if ((att & ATT_NMI_WINDOW) && exit_instead(cpu, EXIT_NMI_WINDOW))
		return true;
	if (att & ATT_NMI) {
		take_nmi(cpu);
		return true;
	}
	if (att & ATT_VNMI) {
		take_virtual_nmi(cpu);
		return true;
	}
	if (cpu->c.vmx.on && take_vmx_window(cpu, att))
		return true;
	if ((att & ATT_INTR) && take_intr(cpu))
		return true;
	if (cpu->c.vmx.on)
		return false;
	if ((att & ATT_VIRQ) && take_avic(cpu))
		return true;
	return (att & ATT_VINTR) && take_virtual_intr(cpu);
}
