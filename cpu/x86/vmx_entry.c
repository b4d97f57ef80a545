/*
 * VM entry: VMLAUNCH and VMRESUME. SDM vol. 3 chapter 26 "VM Entries".
 *
 *   controls, host state ──broken──► VMfailValid(7, 8)
 *        │
 *   guest state ──broken──► exit 33 │ MSR area ──bad──► exit 34
 *        │
 *        └─► load guest ─► load MSRs ─► launch state ─► inject ──► guest
 *
 * The VMCS is copied before it is checked. Without VPID the translations of VPID 0 go at each entry and exit; with it
 * nothing is flushed.
 */
#include <string.h>

#include "arch/x86/model.h"
#include "arch/x86/vmentry_rules.h"
#include "arch/x86/walk.h"
#include "cpu/x86/exec.h"
#include "cpu/x86/guests.h"
#include "cpu/x86/msr.h"
#include "cpu/x86/svm.h"
#include "cpu/x86/trace.h"
#include "cpu/x86/vmx.h"

#define has(f, word, name) (((f)[VMCS_##word] & (u32)VMX_##word##_##name) != 0)

static bool env_read(void *ctx, u64 pa, void *buf, unsigned n) { return !ram_read(ctx, pa, buf, n); }

static void env_init(struct x86_cpu *cpu, const struct vmcs *v, struct vmentry_env *e)
{
	*e = cpu->vmx_env;
	e->host_long = cpu->st.msr.efer & EFER_LMA;
	vmentry_env_memory(e, v, cpu->st.vmx.vmcs, env_read, &cpu->vm->ram);
}

static void seg_in(struct x86_seg *s, const u64 *f, unsigned i)
{
	*s = (struct x86_seg){
		.sel = (u16)f[VMCS_GUEST_ES_SEL + i],
		.attr = vmx_attr(f[VMCS_GUEST_ES_AR + i]),
		.limit = (u32)f[VMCS_GUEST_ES_LIMIT + i],
		.base = f[VMCS_GUEST_ES_BASE + i],
	};
}

static void efer_in(struct x86_state *st, const u64 *f)
{
	if (has(f, ENTRY, LOAD_EFER)) {
		st->msr.efer = f[VMCS_GUEST_EFER];
		return;
	}
	st->msr.efer &= ~EFER_LMA;
	if (has(f, ENTRY, IA32E))
		st->msr.efer |= EFER_LMA;
	if (f[VMCS_GUEST_CR0] & CR0_PG)
		st->msr.efer = (st->msr.efer & ~EFER_LME) | (has(f, ENTRY, IA32E) ? EFER_LME : 0);
}

/* SDM vol. 3 26.7.3 "Delivery of Pending Debug Exceptions after VM Entry": which of them there are. */
static u64 pending_in(const u64 *f)
{
	u64 v = f[VMCS_GUEST_PENDING_DB] & (DR6_BS | VPENDING_ENABLED | 15), event = f[VMCS_ENTRY_EVENT];
	bool soft = VEV_TYPE(event) == VEV_SOFT_INT || VEV_TYPE(event) == VEV_SOFT_EXC;

	if (!(v & (DR6_BS | VPENDING_ENABLED)))
		return 0;
	if ((event & VEV_VALID) && VEV_TYPE(event) != VEV_OTHER)
		return soft && (f[VMCS_GUEST_INTERRUPTIBILITY] & VINT_MOVSS) ? v : 0;
	return f[VMCS_GUEST_ACTIVITY] <= 1 ? v : 0; /* neither shutdown nor wait-for-SIPI */
}

/* SDM vol. 3 26.3.2 "Loading Guest State". */
static void guest_load(struct x86_cpu *cpu, const u64 *f)
{
	static const enum x86_activity activities[] = {ACT_RUNNING, ACT_HALTED, ACT_SHUTDOWN, ACT_WAIT_SIPI};
	struct x86_state *st = &cpu->st;

	st->cr0 = (f[VMCS_GUEST_CR0] & VMX_CR0_LOADED) | (st->cr0 & ~VMX_CR0_LOADED);
	st->cr3 = f[VMCS_GUEST_CR3];
	st->cr4 = f[VMCS_GUEST_CR4];
	if (has(f, ENTRY, LOAD_DEBUG)) {
		st->dr7 = (f[VMCS_GUEST_DR7] & 0xffff23ff) | DR7_FIXED;
		st->msr.debugctl = f[VMCS_GUEST_DEBUGCTL];
	}
	st->msr.sysenter_cs = f[VMCS_GUEST_SYSENTER_CS];
	st->msr.sysenter_esp = f[VMCS_GUEST_SYSENTER_ESP];
	st->msr.sysenter_eip = f[VMCS_GUEST_SYSENTER_EIP];
	if (has(f, ENTRY, LOAD_PAT))
		st->msr.pat = f[VMCS_GUEST_PAT];
	efer_in(st, f);
	for (unsigned i = ES; i <= GS; i++)
		seg_in(&st->seg[i], f, i);
	seg_in(&st->ldtr, f, X86_SREGS);
	seg_in(&st->tr, f, X86_SREGS + 1);
	st->gdtr = (struct x86_dtr){f[VMCS_GUEST_GDTR_BASE], f[VMCS_GUEST_GDTR_LIMIT]};
	st->idtr = (struct x86_dtr){f[VMCS_GUEST_IDTR_BASE], f[VMCS_GUEST_IDTR_LIMIT]};
	x86_set_rflags(st, f[VMCS_GUEST_RFLAGS]);
	if (!(f[VMCS_ENTRY_EVENT] & VEV_VALID) && !dr7_any_code(st->dr7))
		st->rflags &= ~FL_RF; /* as IRET does (iret.c) */
	st->gpr[RSP] = f[VMCS_GUEST_RSP];
	st->rip = f[VMCS_GUEST_RIP];
	st->cpl = st->rflags & FL_VM ? 3 : f[VMCS_GUEST_SS_AR] >> 5 & 3;
	st->shadow = f[VMCS_GUEST_INTERRUPTIBILITY] & (SHADOW_STI | SHADOW_MOVSS);
	st->vmx.nmi_blocked = st->nmi_blocked;
	st->nmi_blocked = (f[VMCS_GUEST_INTERRUPTIBILITY] & VINT_NMI) != 0;
	st->activity = activities[f[VMCS_GUEST_ACTIVITY]];
	if (st->activity == ACT_WAIT_SIPI) /* one that came before is lost */
		atomic_fetch_and(&cpu->c.attention, ~(u32)ATT_SIPI);
	st->pending_db = pending_in(f);
	st->vmx.pause_last = 0;
}

bool vmx_load_pdptes(struct x86_cpu *cpu)
{
	struct x86_state *st = &cpu->st;
	u64 reserved = walk_pdpte_rsvd(cpu->model->phys_bits);

	if (!(st->cr0 & CR0_PG) || !(st->cr4 & CR4_PAE) || (st->msr.efer & EFER_LMA))
		return true;
	phys_read(cpu, st->cr3 & 0xffffffe0, st->pdpte, sizeof(st->pdpte));
	for (unsigned i = 0; i < ARRAY_SIZE(st->pdpte); i++)
		if ((st->pdpte[i] & PTE_P) && (st->pdpte[i] & reserved))
			return false;
	return true;
}

unsigned vmx_msrs_load(struct x86_cpu *cpu, u64 pa, u64 n)
{
	for (u64 i = 0; i < n; i++) {
		struct vmx_msr_entry e;

		if (i >= VMX_MSR_AREA_MAX)
			return (unsigned)i + 1;
		phys_read(cpu, pa + i * sizeof(e), &e, sizeof(e));
		if (e.rsvd || vmx_msr_unloadable(e.index) || !msr_write(cpu, e.index, e.value))
			return (unsigned)i + 1;
	}
	return 0;
}

unsigned vmx_msrs_store(struct x86_cpu *cpu, u64 pa, u64 n)
{
	for (u64 i = 0; i < n; i++) {
		struct vmx_msr_entry e;

		if (i >= VMX_MSR_AREA_MAX)
			return (unsigned)i + 1;
		phys_read(cpu, pa + i * sizeof(e), &e, sizeof(e));
		if (e.rsvd || e.index - 0x800u < 0x100 || !msr_read(cpu, e.index, &e.value))
			return (unsigned)i + 1;
		phys_write(cpu, pa + i * sizeof(e) + 8, &e.value, 8);
	}
	return 0;
}

/* SDM vol. 3 26.6 "Event Injection": the event itself causes no exit, what goes wrong while it is delivered may. */
static void inject(struct x86_cpu *cpu, const u64 *f)
{
	static const u8 kinds[8] = {[VEV_EXT_INT] = EV_EXT_INT,	    [VEV_NMI] = EV_NMI,
				    [VEV_HARD_EXC] = EV_TRAP,	    [VEV_SOFT_INT] = EV_SOFT_INT,
				    [VEV_PRIV_SOFT] = EV_PRIV_SOFT, [VEV_SOFT_EXC] = EV_SOFT_EXC};
	u64 info = f[VMCS_ENTRY_EVENT], dr7 = cpu->st.dr7;
	unsigned type = VEV_TYPE(info);
	struct x86_event *ev = &cpu->c.event;
	u64 exits = cpu->n.exits;

	if (type == VEV_OTHER) { /* SDM vol. 3 26.7.8 "Pending MTF VM Exits" */
		vmx_mtf_exit(cpu);
		return;
	}
	*ev = (struct x86_event){
		.kind = kinds[type],
		.vector = (u8)info,
		.has_error = info & VEV_ERROR,
		.error = (u32)f[VMCS_ENTRY_ERROR],
		.cr2 = cpu->st.cr2,
	};
	if (type >= VEV_SOFT_INT) {
		ev->insn_len = (u8)f[VMCS_ENTRY_INSN_LEN];
		cpu->st.rip = mask_ip(cpu, cpu->st.rip + ev->insn_len, cpu->c.mode & MODE_SIZE ? 4 : 2);
	}
	if (type == VEV_NMI)
		cpu->st.nmi_blocked = 1;
	if (type == VEV_HARD_EXC || type >= VEV_PRIV_SOFT)
		cpu->c.vmcb_ctl_flags |= SVM_INJECTING;
	x86_deliver(cpu);
	cpu->c.vmcb_ctl_flags &= ~(u64)SVM_INJECTING;
	if (cpu->c.vmx.on && type == VEV_HARD_EXC && (u8)info == EXC_DB)
		cpu->st.dr7 = dr7;
	if (cpu->c.vmx.mtf && cpu->n.exits == exits)
		vmx_mtf_exit(cpu);
}

static noinline void trace_refusal(struct x86_cpu *cpu, enum vmentry_rule broken)
{
	trace_cpu(cpu, NULL, TRACE_VMEXIT, "VM entry refused: %s: %s", vmentry_rule_rows[broken].name,
		  vmentry_rule_rows[broken].text);
}

/* Guest state is loaded; what may still fail exits. */
static void enter_guest(struct x86_cpu *cpu, struct vmcs *page, const u64 *f)
{
	unsigned bad;

	cpu->st.vmx.in_guest = 1;
	guest_load(cpu, f);
	vmx_controls_load(cpu, f);
	if (!vmx_has(&cpu->c, PROC2, VPID))
		tlb_flush_asid(cpu, 0, false);
	if (cpu->c.ept) {
		memcpy(cpu->st.pdpte, &f[VMCS_GUEST_PDPTE0], sizeof(cpu->st.pdpte));
	} else if (!vmx_load_pdptes(cpu)) {
		guests_refuse(cpu, cpu->st.vmx.vmcs, VCPU_REFUSED_PDPTE);
		vmx_exit_entry_failed(cpu, page, EXIT_INVALID, 2);
		return;
	}
	x86_update_all(cpu);
	bad = vmx_msrs_load(cpu, f[VMCS_ENTRY_MSR_LOAD], f[VMCS_ENTRY_MSR_LOAD_COUNT]);
	if (bad) {
		guests_refuse_msr(cpu, cpu->st.vmx.vmcs, bad);
		vmx_exit_entry_failed(cpu, page, EXIT_MSR_LOAD_FAIL, bad);
		return;
	}
	page->launch = VMCS_LAUNCHED;
	if (cpu->c.vmx.timer)
		vmx_timer_start(cpu, (u32)f[VMCS_PREEMPTION_TIMER]);
	if (trace_on(cpu->topics, TRACE_VMEXIT))
		trace_cpu(cpu, NULL, TRACE_VMEXIT, "VM entry vmcs %#llx vpid %u rip %#llx event %#llx",
			  (unsigned long long)cpu->st.vmx.vmcs, cpu->c.asid, (unsigned long long)cpu->st.rip,
			  (unsigned long long)f[VMCS_ENTRY_EVENT]);
	if (f[VMCS_ENTRY_EVENT] & VEV_VALID)
		inject(cpu, f);
}

enum outcome vmx_enter(struct x86_cpu *cpu, const struct insn *in, bool launch)
{
	struct vmcs *page = vmx_current(cpu, true), v;
	struct vmentry_env env;
	enum vmentry_rule broken;

	if (!page || (page->revision & VMCS_IS_SHADOW)) {
		vmx_fail_invalid(cpu);
		return OUT_END;
	}
	if (cpu->st.shadow & SHADOW_MOVSS) {
		vmx_fail(cpu, VMERR_ENTRY_MOVSS);
		return OUT_END;
	}
	if (launch != (page->launch != VMCS_LAUNCHED)) {
		vmx_fail(cpu, launch ? VMERR_LAUNCH_NOT_CLEAR : VMERR_RESUME_NOT_LAUNCHED);
		return OUT_END;
	}
	cpu->n.entries++;
	guests_enter(cpu, cpu->st.vmx.vmcs);
	memcpy(&v, page, sizeof(v));
	env_init(cpu, &v, &env);
	broken = vmentry_check(&v, &env);
	if (unlikely(broken != VMENTRY_RULES)) {
		guests_refuse(cpu, cpu->st.vmx.vmcs, broken);
		if (trace_on(cpu->topics, TRACE_VMEXIT))
			trace_refusal(cpu, broken);
		switch (vmentry_rule_rows[broken].area) {
		case VMENTRY_CONTROL: vmx_fail(cpu, VMERR_ENTRY_CONTROLS); return OUT_END;
		case VMENTRY_HOST: vmx_fail(cpu, VMERR_ENTRY_HOST); return OUT_END;
		default: vmx_exit_entry_failed(cpu, page, EXIT_INVALID, vmentry_qualification(broken)); return OUT_JUMP;
		}
	}
	enter_guest(cpu, page, v.f);
	svm_page_written(cpu, cpu->st.vmx.vmcs);
	return OUT_JUMP;
}
