/*
 * VM exits. SDM vol. 3 chapter 27 "VM Exits": information is recorded (27.2), the guest saved (27.3), MSRs stored
 * (27.4), the host loaded (27.5), its MSRs loaded (27.6); what fails on the way is a VMX abort (27.7), a shutdown.
 */
#include <string.h>

#include "arch/x86/descriptor.h"
#include "arch/x86/model.h"
#include "arch/x86/walk.h"
#include "cpu/x86/exec.h"
#include "cpu/x86/guests.h"
#include "cpu/x86/svm.h"
#include "cpu/x86/trace.h"
#include "cpu/x86/vmx.h"

#define has(f, word, name) (((f)[VMCS_##word] & (u32)VMX_##word##_##name) != 0)
#define MOV_CR_INFO	   BIT(63) /* info1 of MOV to and from CRs: bits 3:0 name the register (exec_cr.c) */
#define TASK_INFO_IRET	   BIT(36) /* info2 of a task switch: APM vol. 2 15.14.1 */
#define TASK_INFO_JMP	   BIT(38)

static void seg_out(u64 *f, unsigned i, const struct x86_seg *s)
{
	f[VMCS_GUEST_ES_SEL + i] = s->sel;
	f[VMCS_GUEST_ES_AR + i] = vmx_ar(s->attr);
	f[VMCS_GUEST_ES_LIMIT + i] = s->limit;
	f[VMCS_GUEST_ES_BASE + i] = s->base;
}

/* SDM vol. 3 27.3.3 "Saving RIP, RSP, RFLAGS, and SSP": RFLAGS.RF by what the exit is. `insn`: an instruction's. */
static u64 flags_out(const struct x86_cpu *cpu, bool insn)
{
	const struct x86_event *under = &cpu->c.delivering;
	u64 flags = x86_rflags(&cpu->st);
	u32 exit = cpu->c.vmexit.exit;

	switch (exit) {
	case EXIT_NPF:
	case EXIT_EPT_MISCONFIG:
	case EXIT_APIC_ACCESS:
	case EXIT_PML_FULL: return under->kind != EV_NONE ? x86_event_flags(cpu, under) : flags | FL_RF;
	case EXIT_TASK_SWITCH: return under->kind != EV_NONE ? x86_event_flags(cpu, under) : flags & ~FL_RF;
	default: break;
	}
	if (exit - EXIT_EXC0 < 32)
		return x86_event_flags(cpu, &cpu->c.event);
	return insn ? flags & ~FL_RF : flags;
}

/*
 * SDM vol. 3 27.3.4 "Saving Non-Register State", table 24-4. A single step that blocking by MOV SS holds is not pending
 * yet by our count. STI holds none: the #DB behind it leaves the field clear, and whoever enters again with TF and
 * blocking by STI must take one of them away.
 */
static u64 pending_out(const struct x86_state *st)
{
	u64 v = st->pending_db & (DR6_BS | VPENDING_ENABLED | 15);

	if (v & 15)
		v |= VPENDING_ENABLED;
	if ((st->shadow & SHADOW_MOVSS) && (st->rflags & FL_TF) && !(st->msr.debugctl & DEBUGCTL_BTF))
		v |= DR6_BS;
	return v;
}

/* SDM vol. 3 27.3 "Saving Guest State". */
static void guest_save(struct x86_cpu *cpu, u64 *f, bool insn)
{
	const struct x86_state *st = &cpu->st;
	const struct x86_cache *c = &cpu->c;

	f[VMCS_GUEST_CR0] = st->cr0;
	f[VMCS_GUEST_CR3] = st->cr3;
	f[VMCS_GUEST_CR4] = st->cr4;
	if (has(f, EXIT, SAVE_DEBUG)) {
		f[VMCS_GUEST_DR7] = st->dr7;
		f[VMCS_GUEST_DEBUGCTL] = st->msr.debugctl;
	}
	f[VMCS_GUEST_SYSENTER_CS] = st->msr.sysenter_cs;
	f[VMCS_GUEST_SYSENTER_ESP] = st->msr.sysenter_esp;
	f[VMCS_GUEST_SYSENTER_EIP] = st->msr.sysenter_eip;
	if (has(f, EXIT, SAVE_PAT))
		f[VMCS_GUEST_PAT] = st->msr.pat;
	if (has(f, EXIT, SAVE_EFER))
		f[VMCS_GUEST_EFER] = st->msr.efer;
	if (cpu->vmx_cap[VMX_CAP_MISC] & VMX_MISC_STORE_LMA)
		f[VMCS_ENTRY] =
			(f[VMCS_ENTRY] & ~(u64)VMX_ENTRY_IA32E) | (st->msr.efer & EFER_LMA ? (u64)VMX_ENTRY_IA32E : 0);
	for (unsigned i = ES; i <= GS; i++)
		seg_out(f, i, &st->seg[i]);
	seg_out(f, X86_SREGS, &st->ldtr);
	seg_out(f, X86_SREGS + 1, &st->tr);
	f[VMCS_GUEST_SS_AR] = (f[VMCS_GUEST_SS_AR] & ~0x60ull) | (u64)st->cpl << 5;
	f[VMCS_GUEST_GDTR_BASE] = st->gdtr.base;
	f[VMCS_GUEST_GDTR_LIMIT] = st->gdtr.limit;
	f[VMCS_GUEST_IDTR_BASE] = st->idtr.base;
	f[VMCS_GUEST_IDTR_LIMIT] = st->idtr.limit;
	f[VMCS_GUEST_RSP] = st->gpr[RSP];
	f[VMCS_GUEST_RIP] = st->rip;
	f[VMCS_GUEST_RFLAGS] = flags_out(cpu, insn);
	f[VMCS_GUEST_ACTIVITY] = st->activity == ACT_HALTED	 ? 1
				 : st->activity == ACT_SHUTDOWN	 ? 2
				 : st->activity == ACT_WAIT_SIPI ? 3
								 : 0;
	f[VMCS_GUEST_INTERRUPTIBILITY] = st->shadow | (st->nmi_blocked ? VINT_NMI : 0);
	f[VMCS_GUEST_PENDING_DB] = pending_out(st);
	if (has(f, EXIT, SAVE_TIMER))
		f[VMCS_PREEMPTION_TIMER] = vmx_timer_value(cpu);
	if (c->ept)
		memcpy(&f[VMCS_GUEST_PDPTE0], st->pdpte, sizeof(st->pdpte));
}

static struct x86_seg host_seg(u64 sel, u64 base, u16 attr)
{
	return (struct x86_seg){.sel = (u16)sel, .attr = sel ? attr : 0, .limit = sel ? 0xffffffff : 0, .base = base};
}

/* SDM vol. 3 27.5.2 "Loading Host Segment and Descriptor-Table Registers". */
static void host_segments(struct x86_cpu *cpu, const u64 *f)
{
	static const u16 data = SEG_P | SEG_S | SEG_RW | SEG_ACCESSED | SEG_DB | SEG_G;
	struct x86_state *st = &cpu->st;
	bool long_mode = has(f, EXIT, HOST64);

	st->seg[CS] = host_seg(f[VMCS_HOST_CS_SEL], 0,
			       SEG_P | SEG_S | SEG_CODE | SEG_RW | SEG_ACCESSED | SEG_G | (long_mode ? SEG_L : SEG_DB));
	st->seg[SS] = host_seg(f[VMCS_HOST_SS_SEL], 0, data);
	st->seg[DS] = host_seg(f[VMCS_HOST_DS_SEL], 0, data);
	st->seg[ES] = host_seg(f[VMCS_HOST_ES_SEL], 0, data);
	st->seg[FS] = host_seg(f[VMCS_HOST_FS_SEL], f[VMCS_HOST_FS_BASE], data);
	st->seg[GS] = host_seg(f[VMCS_HOST_GS_SEL], f[VMCS_HOST_GS_BASE], data);
	st->tr = (struct x86_seg){(u16)f[VMCS_HOST_TR_SEL], SEG_P | 11, 0x67, f[VMCS_HOST_TR_BASE]};
	st->ldtr = (struct x86_seg){0};
	st->gdtr = (struct x86_dtr){f[VMCS_HOST_GDTR_BASE], 0xffff};
	st->idtr = (struct x86_dtr){f[VMCS_HOST_IDTR_BASE], 0xffff};
}

/* SDM vol. 3 27.7: the indicator is written, and the processor shuts down. */
static void vmx_abort(struct x86_cpu *cpu, struct vmcs *v, enum vmx_abort why)
{
	log_warn(cpu->vm->log, "VMX abort %u: %s; the processor shuts down", why, vmx_abort_text(why));
	if (v) {
		v->abort = why;
		svm_page_written(cpu, cpu->st.vmx.vmcs);
	}
	cpu->st.activity = ACT_SHUTDOWN;
	cpu->st.vmx.in_guest = 0; /* the shutdown is the processor's, not the guest's */
	vmx_controls_clear(cpu);
}

/* SDM vol. 3 27.5 "Loading Host State". */
static void host_load(struct x86_cpu *cpu, struct vmcs *v)
{
	struct x86_state *st = &cpu->st;
	const u64 *f = v->f;
	bool long_mode = has(f, EXIT, HOST64);

	st->cr0 = (f[VMCS_HOST_CR0] & VMX_CR0_LOADED) | (st->cr0 & ~VMX_CR0_LOADED);
	st->cr3 = f[VMCS_HOST_CR3];
	st->cr4 = f[VMCS_HOST_CR4];
	if (long_mode)
		st->cr4 |= CR4_PAE;
	else
		st->cr4 &= ~CR4_PCIDE;
	st->dr7 = DR7_FIXED;
	st->msr.debugctl = 0;
	st->msr.sysenter_cs = f[VMCS_HOST_SYSENTER_CS];
	st->msr.sysenter_esp = f[VMCS_HOST_SYSENTER_ESP];
	st->msr.sysenter_eip = f[VMCS_HOST_SYSENTER_EIP];
	st->msr.efer &= ~(EFER_LMA | EFER_LME);
	if (long_mode)
		st->msr.efer |= EFER_LMA | EFER_LME;
	if (has(f, EXIT, LOAD_PAT))
		st->msr.pat = f[VMCS_HOST_PAT];
	if (has(f, EXIT, LOAD_EFER))
		st->msr.efer = f[VMCS_HOST_EFER];
	host_segments(cpu, f);
	st->gpr[RSP] = f[VMCS_HOST_RSP];
	st->rip = f[VMCS_HOST_RIP];
	x86_set_rflags(st, FL_FIXED);
	st->cpl = 0;
	st->activity = ACT_RUNNING;
	st->shadow = 0;
	st->pending_db = 0;
	st->vmx.in_guest = 0;
	if (!cpu->c.asid)
		tlb_flush_asid(cpu, 0, false);
	vmx_controls_clear(cpu);
	if (!vmx_load_pdptes(cpu)) {
		vmx_abort(cpu, v, VMABORT_HOST_PDPTE);
		x86_update_all(cpu);
		return;
	}
	x86_update_all(cpu);
	if (vmx_msrs_load(cpu, f[VMCS_EXIT_MSR_LOAD], f[VMCS_EXIT_MSR_LOAD_COUNT]))
		vmx_abort(cpu, v, VMABORT_MSR_LOAD);
}

void vmx_exit_entry_failed(struct x86_cpu *cpu, struct vmcs *v, enum x86_exit exit, u64 qualification)
{
	cpu->n.exits++;
	guests_exit(cpu, cpu->st.vmx.vmcs, exit);
	if (cpu->st.vmx.in_guest)
		cpu->st.nmi_blocked = (u32)cpu->st.vmx.nmi_blocked;
	v->f[VMCS_REASON] = x86_exit_rows[exit].vmx_reason | VMX_ENTRY_FAILED;
	v->f[VMCS_QUALIFICATION] = qualification;
	if (trace_on(cpu->topics, TRACE_VMEXIT))
		trace_cpu(cpu, NULL, TRACE_VMEXIT, "%s, reason %#llx qualification %llu",
			  x86_exit_vmx_text(x86_exit_rows[exit].vmx_reason), (unsigned long long)v->f[VMCS_REASON],
			  (unsigned long long)qualification);
	host_load(cpu, v);
}

/* SDM vol. 3 tables 27-3 to 27-7. What handlers recorded is the vendor's form already, or told apart here. */
static u64 qualification(const struct x86_cpu *cpu, const struct insn *in)
{
	const struct x86_vmexit *x = &cpu->c.vmexit;

	if (x->exit < EXIT_DR0_READ) {
		if (!(x->info1 & MOV_CR_INFO))
			return x->info1;
		return (x->exit & 15) | (x->exit < EXIT_CR0_WRITE ? BIT(4) : 0) | (x->info1 & 15) << 8;
	}
	if (x->exit < EXIT_EXC0)
		return (x->exit & 7) | (x->exit < EXIT_DR0_WRITE ? BIT(4) : 0) | (x->info1 & 15) << 8;
	switch (x->exit) {
	case EXIT_TASK_SWITCH: {
		u64 source = cpu->c.delivering.kind != EV_NONE ? 3
			     : x->info2 & TASK_INFO_IRET       ? 1
			     : x->info2 & TASK_INFO_JMP	       ? 2
							       : 0;

		return (x->info1 & 0xffff) | source << 30;
	}
	case EXIT_IDTR_READ:
	case EXIT_GDTR_READ:
	case EXIT_IDTR_WRITE:
	case EXIT_GDTR_WRITE:
	case EXIT_LDTR_READ:
	case EXIT_LDTR_WRITE:
	case EXIT_TR_READ:
	case EXIT_TR_WRITE:
	case EXIT_INVPCID:
	case EXIT_VMCLEAR:
	case EXIT_VMPTRLD:
	case EXIT_VMPTRST:
	case EXIT_VMREAD:
	case EXIT_VMWRITE:
	case EXIT_VMXON:
	case EXIT_INVEPT:
	case EXIT_INVVPID: return in ? vmx_insn_displacement(cpu, in) : 0;
	default: return x->info1;
	}
}

/* Which of SGDT, SIDT, LGDT, LIDT or SLDT, STR, LLDT, LTR: SDM vol. 3 tables 27-10 and 27-11, bits 29:28. */
static u64 insn_identity(u32 exit)
{
	switch (exit) {
	case EXIT_GDTR_READ:
	case EXIT_LDTR_READ: return 0;
	case EXIT_IDTR_READ:
	case EXIT_TR_READ: return 1ull << 28;
	case EXIT_GDTR_WRITE:
	case EXIT_LDTR_WRITE: return 2ull << 28;
	default: return 3ull << 28;
	}
}

static u64 insn_info(const struct x86_cpu *cpu, const struct insn *in)
{
	u32 exit = cpu->c.vmexit.exit;
	u64 v = vmx_insn_info(cpu, in);

	if (exit >= EXIT_IDTR_READ && exit <= EXIT_TR_WRITE) {
		v = (v & ~(3ull << 28)) | insn_identity(exit);
		if (exit == EXIT_IDTR_READ || exit == EXIT_GDTR_READ || exit == EXIT_IDTR_WRITE ||
		    exit == EXIT_GDTR_WRITE)
			v |= in->opsize == 2 ? 0 : BIT(11);
	} else if (exit == EXIT_RDRAND || exit == EXIT_RDSEED) {
		v |= (u64)(in->opsize == 8 ? 2 : in->opsize == 4 ? 1 : 0) << 11;
	}
	return v;
}

/* The event that is the reason of the exit itself. SDM vol. 3 27.2.2. */
static u64 exit_event(struct x86_cpu *cpu, const u64 *f)
{
	u32 exit = cpu->c.vmexit.exit;
	int vector;

	if (exit == EXIT_NMI)
		return EXC_NMI | VEV_NMI << 8 | VEV_VALID;
	if (exit != EXIT_INTR || cpu->c.vmexit.event) /* of posted interrupts: acknowledged already */
		return cpu->c.vmexit.event;
	if (!has(f, EXIT, ACK_INT) || !cpu->apic_ops)
		return 0;
	vector = cpu->apic_ops->ack(cpu->apic);
	if (vector < 0)
		return 0;
	cpu->n.irqs++;
	return (u64)vector | VEV_EXT_INT << 8 | VEV_VALID;
}

static void exit_info_out(struct x86_cpu *cpu, u64 *f, u64 next_rip)
{
	const struct x86_vmexit *x = &cpu->c.vmexit;
	const struct insn *in = next_rip ? cpu->c.in : NULL;
	u64 event = exit_event(cpu, f), idt = vmx_event_info(cpu, &cpu->c.delivering);

	f[VMCS_REASON] = x86_exit_rows[x->exit].vmx_reason;
	f[VMCS_QUALIFICATION] = qualification(cpu, in);
	if (x->nmi_iret && !(idt & VEV_VALID)) { /* SDM vol. 3 27.2.3 "NMI Unblocking Due to IRET" */
		if (event & VEV_VALID)
			event |= (u8)event == EXC_DF ? 0 : VEV_NMI_IRET;
		else if (x->exit != EXIT_EPT_MISCONFIG && x->exit != EXIT_APIC_ACCESS)
			f[VMCS_QUALIFICATION] |= VEV_NMI_IRET;
	}
	f[VMCS_EXIT_EVENT] = (u32)event;
	f[VMCS_EXIT_ERROR] = event >> 32;
	f[VMCS_IDT_EVENT] = (u32)idt;
	f[VMCS_IDT_ERROR] = idt >> 32;
	f[VMCS_LINEAR] = x->la;
	f[VMCS_INSN_LEN] = next_rip ? (next_rip - cpu->st.rip) & 15 : 0;
	f[VMCS_INSN_INFO] = in ? insn_info(cpu, in) : 0;
	if (x->exit == EXIT_NPF || x->exit == EXIT_EPT_MISCONFIG)
		f[VMCS_GPA] = x->info2;
	f[VMCS_ENTRY_EVENT] &= ~VEV_VALID;
	cpu->c.delivering.kind = EV_NONE;
}

static noinline void trace_exit(struct x86_cpu *cpu, const u64 *f)
{
	trace_cpu(
		cpu, NULL, TRACE_VMEXIT,
		"VM exit %s (%s) reason %llu qualification %#llx gpa %#llx event %#llx idt %#llx rip %#llx length %llu",
		x86_exit_rows[cpu->c.vmexit.exit].name, x86_exit_vmx_text(f[VMCS_REASON]),
		(unsigned long long)f[VMCS_REASON], (unsigned long long)f[VMCS_QUALIFICATION],
		(unsigned long long)f[VMCS_GPA], (unsigned long long)f[VMCS_EXIT_EVENT],
		(unsigned long long)f[VMCS_IDT_EVENT], (unsigned long long)f[VMCS_GUEST_RIP],
		(unsigned long long)f[VMCS_INSN_LEN]);
}

/* SDM vol. 3 27.5.5 "Updating Non-Register State": an NMI that exits blocks the next, others leave blocking as it was.
 */
static void nmi_blocking(struct x86_cpu *cpu)
{
	struct x86_state *st = &cpu->st;

	if (vmx_has(&cpu->c, PIN, VIRTUAL_NMI))
		st->nmi_blocked = (u32)st->vmx.nmi_blocked;
	if (cpu->c.vmexit.exit == EXIT_NMI)
		st->nmi_blocked = 1;
}

void vmx_mtf_exit(struct x86_cpu *cpu)
{
	x86_exit(cpu, EXIT_MTF, 0, 0);
	vmx_vmexit(cpu, 0);
}

/* What VM entry has checked may have been overwritten in memory since. */
static bool host_is_broken(struct x86_cpu *cpu, const struct vmcs *v)
{
	struct vmentry_env env = cpu->vmx_env;

	env.host_long = has(v->f, EXIT, HOST64);
	return vmentry_check_host(v, &env) != VMENTRY_RULES;
}

void vmx_vmexit(struct x86_cpu *cpu, u64 next_rip)
{
	struct vmcs *v = vmx_current(cpu, true);

	if (unlikely(!v) || unlikely(host_is_broken(cpu, v))) {
		vmx_abort(cpu, v, VMABORT_VMCS);
		return;
	}
	if (unlikely((cpu->st.msr.efer & EFER_LMA) && !has(v->f, EXIT, HOST64))) {
		vmx_abort(cpu, v, VMABORT_IA32E);
		return;
	}
	cpu->n.exits++;
	guests_exit(cpu, cpu->st.vmx.vmcs, cpu->c.vmexit.exit);
	guest_save(cpu, v->f, next_rip);
	exit_info_out(cpu, v->f, next_rip);
	if (trace_on(cpu->topics, TRACE_VMEXIT))
		trace_exit(cpu, v->f);
	if (vmx_msrs_store(cpu, v->f[VMCS_EXIT_MSR_STORE], v->f[VMCS_EXIT_MSR_STORE_COUNT])) {
		vmx_abort(cpu, v, VMABORT_MSR_STORE);
		return;
	}
	svm_page_written(cpu, cpu->st.vmx.vmcs);
	nmi_blocking(cpu);
	host_load(cpu, v);
}
