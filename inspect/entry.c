/*
 * Would the next entry fail, and why (nested.h): the processor's own rules (vmrun_rules.def, vmentry_rules.def), run
 * on what the VMCB or VMCS in guest RAM holds now; and what else is checked on the way.
 */
#include <inttypes.h>

#include "arch/x86/vmentry_rules.h"
#include "arch/x86/vmrun_rules.h"
#include "arch/x86/walk.h"
#include "inspect/nested.h"

/* Of PAE paging without nested tables, the entry that has reserved bits set: -1 if none. */
static int bad_pdpte(struct vm *vm, u64 cr0, u64 cr3, u64 cr4, bool long_mode, u32 phys_bits)
{
	u64 pdpte[4];

	if (!(cr0 & CR0_PG) || !(cr4 & CR4_PAE) || long_mode ||
	    ram_read(&vm->ram, cr3 & 0xffffffe0, pdpte, sizeof(pdpte)))
		return -1;
	for (int i = 0; i < 4; i++)
		if ((pdpte[i] & PTE_P) && (pdpte[i] & walk_pdpte_rsvd(phys_bits)))
			return i;
	return -1;
}

/* ---- SVM ---- */

static void vmrun_broken(void *ctx, enum vmrun_rule rule, const char *section)
{
	fprintf(ctx, "  %s: %s\n    %s\n", vmrun_rule_rows[rule].name, vmrun_rule_rows[rule].text, section);
}

void inspect_vmrun(struct vm *vm, const struct x86_state *st, const struct x86_model *model, u64 pa, FILE *out)
{
	struct vmrun_env env;
	struct vmcb b;
	unsigned n = 0;
	int bad;

	if (pa & 0xfff || ram_read(&vm->ram, pa, &b, sizeof(b)) || !ram_host(&vm->ram, st->svm.hsave_pa, 4096)) {
		fprintf(out, "VMRUN with the VMCB at %#" PRIx64 " would raise #GP: %s\n", pa,
			pa & 0xfff			    ? "the address is no page's"
			: ram_host(&vm->ram, pa, sizeof(b)) ? "the host save area (VM_HSAVE_PA) is no memory"
							    : "there is no memory");
		return;
	}
	if (!st->svm.in_guest && !(st->msr.efer & EFER_SVME)) {
		fprintf(out, "VMRUN would raise #UD: EFER.SVME is clear (APM vol. 2 15.4 \"Enabling SVM\")\n");
		return;
	}
	vmrun_env_init(&env, model);
	env.host_paging = st->svm.in_guest || (st->cr0 & CR0_PG);
	n = vmrun_check_each(&b, &env, vmrun_broken, out);
	bad = bad_pdpte(vm, b.s.cr0, b.s.cr3, b.s.cr4, b.s.efer & EFER_LME, model->phys_bits);
	if (!vmrun_nested(&b.c, &env) && bad >= 0) {
		fprintf(out,
			"  PDPTE %d, in memory, has reserved bits set\n    APM vol. 2 15.5.1 \"Basic Operation\"\n",
			bad);
		n++;
	}
	if (n)
		fprintf(out, "VMRUN with the VMCB at %#" PRIx64 " would exit at once with VMEXIT_INVALID (-1)\n", pa);
	else
		fprintf(out, "VMRUN with the VMCB at %#" PRIx64 " would enter the guest: no rule is broken\n", pa);
}

/* ---- VMX ---- */

struct broken {
	FILE *out;
	enum vmentry_rule first;
};

static void vmentry_broken(void *ctx, enum vmentry_rule rule, const char *section)
{
	struct broken *b = ctx;

	if (b->first == VMENTRY_RULES)
		b->first = rule;
	fprintf(b->out, "  %s: %s\n    %s\n", vmentry_rule_rows[rule].name, vmentry_rule_rows[rule].text, section);
}

static bool read_ram(void *ctx, u64 pa, void *buf, unsigned n) { return !ram_read(ctx, pa, buf, n); }

/* What VM entry finds only when it loads: 0, or the number of the exit reason. What MSRs a WRMSR of the values would
 * refuse is not tried. */
static unsigned late_failure(struct vm *vm, const u64 *f, const struct x86_model *model, FILE *out)
{
	bool ept = (f[VMCS_PROC] & (u32)VMX_PROC_PROC2) && (f[VMCS_PROC2] & (u32)VMX_PROC2_EPT);
	u64 n = f[VMCS_ENTRY_MSR_LOAD_COUNT];
	int bad = bad_pdpte(vm, f[VMCS_GUEST_CR0], f[VMCS_GUEST_CR3], f[VMCS_GUEST_CR4],
			    f[VMCS_ENTRY] & VMX_ENTRY_IA32E, model->phys_bits);

	if (!ept && bad >= 0) {
		fprintf(out, "  PDPTE %d, in memory, has reserved bits set\n    SDM vol. 3 26.3.1.6\n", bad);
		return 33;
	}
	for (u64 i = 0; i < n; i++) {
		struct vmx_msr_entry e = {0};
		bool none = ram_read(&vm->ram, f[VMCS_ENTRY_MSR_LOAD] + i * sizeof(e), &e, sizeof(e));

		if (!none && i < VMX_MSR_AREA_MAX && !e.rsvd && !vmx_msr_unloadable(e.index))
			continue;
		fprintf(out,
			"  entry %" PRIu64 " of the VM-entry MSR-load area (MSR %#x): %s\n"
			"    SDM vol. 3 26.4 \"Loading MSRs\"\n",
			i + 1, e.index,
			i >= VMX_MSR_AREA_MAX ? "beyond the number of entries that IA32_VMX_MISC allows"
			: none		      ? "there is no memory"
			: e.rsvd	      ? "reserved bits are set"
					      : "an MSR that cannot be loaded");
		return 34;
	}
	return 0;
}

/* The instruction's own checks: SDM vol. 3 30.3 "VMX Instructions", "VMLAUNCH/VMRESUME". */
static bool may_start(const struct x86_state *st, const struct vmcs *v, FILE *out)
{
	fprintf(out, "VMCS at %#" PRIx64 ": %s is the instruction for it, the other fails with error %u: %s\n",
		st->vmx.vmcs, v->launch == VMCS_LAUNCHED ? "VMRESUME" : "VMLAUNCH",
		v->launch == VMCS_LAUNCHED ? VMERR_LAUNCH_NOT_CLEAR : VMERR_RESUME_NOT_LAUNCHED,
		vmx_error_text(v->launch == VMCS_LAUNCHED ? VMERR_LAUNCH_NOT_CLEAR : VMERR_RESUME_NOT_LAUNCHED));
	if (v->revision & VMCS_IS_SHADOW) {
		fprintf(out, "VM entry would fail with VMfailInvalid: it is a shadow VMCS\n");
		return false;
	}
	if (!st->vmx.in_guest && (st->shadow & SHADOW_MOVSS)) {
		fprintf(out, "VM entry would fail with error %u: %s\n", VMERR_ENTRY_MOVSS,
			vmx_error_text(VMERR_ENTRY_MOVSS));
		return false;
	}
	return true;
}

void inspect_vmentry(struct vm *vm, const struct x86_state *st, const struct x86_model *model, FILE *out)
{
	struct broken b = {out, VMENTRY_RULES};
	struct vmentry_env env;
	unsigned late, error;
	struct vmcs v;

	if (!st->vmx.on) {
		fprintf(out, "VM entry would raise #UD: the processor is not in VMX operation (no VMXON)\n");
		return;
	}
	if (st->vmx.vmcs == X86_NO_VMCS || ram_read(&vm->ram, st->vmx.vmcs, &v, sizeof(v))) {
		fprintf(out, "VM entry would fail with VMfailInvalid: there is no current VMCS\n");
		return;
	}
	if (!may_start(st, &v, out))
		return;
	vmentry_env_init(&env, model);
	vmentry_env_memory(&env, &v, st->vmx.vmcs, read_ram, &vm->ram);
	/* In non-root operation the host is what it was at the last entry. */
	env.host_long = st->vmx.in_guest ? v.f[VMCS_EXIT] & VMX_EXIT_HOST64 : st->msr.efer & EFER_LMA;
	vmentry_check_each(&v, &env, vmentry_broken, &b);
	late = b.first == VMENTRY_RULES ? late_failure(vm, v.f, model, out) : 0;
	if (late) {
		fprintf(out, "VM entry would exit with reason %u\n", late);
	} else if (b.first == VMENTRY_RULES) {
		fprintf(out, "VM entry would enter the guest: no rule is broken\n");
	} else if (vmentry_rule_rows[b.first].area == VMENTRY_GUEST) {
		fprintf(out, "VM entry would exit with reason 33 (80000021h), qualification %" PRIu64 "\n",
			vmentry_qualification(b.first));
	} else {
		error = vmentry_rule_rows[b.first].area == VMENTRY_HOST ? VMERR_ENTRY_HOST : VMERR_ENTRY_CONTROLS;
		fprintf(out, "VM entry would fail with error %u: %s\n", error, vmx_error_text(error));
	}
}
