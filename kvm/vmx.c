/*
 * The VMX capabilities that a guest sees (SDM vol. 3 appendix A): what KVM gives the vCPU, less what the model does not
 * have. A model's CPUID says only that there is VMX; which controls there are is in these MSRs.
 *
 * KVM takes the TRUE form of the four control words and computes the other; a bit that must be 1 may not become free,
 * one that may not be 1 may not become allowed. It computes CR0_FIXED1 and CR4_FIXED1 from CPUID. In BASIC, the FIXED0
 * pair and VMCS_ENUM there is nothing that an option takes away: they stay KVM's.
 */
#include <errno.h>

#include "arch/x86/vmcs.h"
#include "kvm/internal.h"

/* IA32_VMX_MISC: EFER.LMA stored, activity states, processor trace, SMBASE's MSR, SMM's VMXOFF, VMWRITE to all, length
 * 0. The timer's rate and counts beside them are no capabilities that could be taken away. */
#define MISC_FEATURES (BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(14) | BIT(15) | BIT(28) | BIT(29) | BIT(30))

/* `word`: the low half says what must be 1, the high half what may be. Else bits of `features` are capabilities. */
static const struct {
	u32 index;
	bool word;
	u64 features;
} rows[] = {
	{0x48d, true, 0}, /* PIN */
	{0x48e, true, 0}, /* PROC */
	{0x48b, true, 0}, /* PROC2 */
	{0x48f, true, 0}, /* EXIT */
	{0x490, true, 0}, /* ENTRY */
	{0x485, false, MISC_FEATURES},
	{0x48c, false, ~0ull}, /* EPT_VPID_CAP */
	{0x491, false, ~0ull}, /* VMFUNC */
};

static u64 narrow(u64 kvm, u64 model, bool word, u64 features)
{
	u32 may = (u32)(kvm >> 32) & (u32)(model >> 32);

	if (word)
		return (u64)may << 32 | (u32)kvm | ((u32)model & (u32)(kvm >> 32));
	return kvm & (model | ~features);
}

static bool sees_vmx(const struct kvm_vcpu *v, const struct x86_model *model)
{
	const struct kvm_cpuid_entry2 *e = kvm_cpuid_find(v->kvm->supported, 1, 0);

	return model && model->vendor == X86_INTEL && x86_has(model, X86F_VMX) && e && e->ecx & BIT(5);
}

int kvm_vmx_set(struct kvm_vcpu *v, const struct x86_model *model, struct err *e)
{
	if (!sees_vmx(v, model))
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		u32 index = rows[i].index;
		u64 has, wants, got;

		if (!kvm_msr_get(v, index, &has))
			return err_set(e, ENOTSUP, "KVM does not tell its guest's VMX capabilities (MSR %#x)", index);
		wants = narrow(has, vmx_capability(model, index - MSR_VMX_BASIC), rows[i].word, rows[i].features);
		if (wants == has)
			continue;
		if (!kvm_msr_set(v, index, wants) || !kvm_msr_get(v, index, &got) || got != wants)
			return err_set(e, ENOTSUP,
				       "KVM does not take the CPU model's VMX capabilities (MSR %#x = %#llx)", index,
				       (unsigned long long)wants);
	}
	return 0;
}
