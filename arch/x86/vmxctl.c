/*
 * The tables that vmcs.def and vmxctl.def make, and the capability MSRs computed from them. SDM vol. 3 appendix A.
 */
#include "arch/x86/vmcs.h"

const struct vmcs_row vmcs_rows[VMCS_FIELDS] = {
#define VMCS(name, encoding) {#name, encoding},
#include "arch/x86/vmcs.def"
#undef VMCS
};

#define KEY(e) (((e) >> 10 & 3) << 7 | ((e) >> 13 & 3) << 5 | ((e) >> 1 & 31))
static const u8 field_of_key[512] = {
#define VMCS(name, encoding) [KEY(encoding)] = VMCS_##name + 1,
#include "arch/x86/vmcs.def"
#undef VMCS
};

enum vmcs_field vmcs_find(u64 encoding)
{
	u8 f;

	if (encoding & ~0x6c3full)
		return VMCS_NONE;
	f = field_of_key[KEY(encoding)];
	if (!f || vmcs_rows[f - 1].encoding != (encoding & ~1ull))
		return VMCS_NONE;
	if ((encoding & VMCS_HIGH) && VMCS_WIDTH(encoding) != VMCS_WIDTH_64)
		return VMCS_NONE;
	return (enum vmcs_field)(f - 1);
}

u64 vmcs_field_mask(enum vmcs_field f)
{
	switch (VMCS_WIDTH(vmcs_rows[f].encoding)) {
	case 0: return 0xffff;
	case 2: return 0xffffffff;
	default: return ~0ull;
	}
}

#define KIND_MAY  0
#define KIND_DEF1 1

static const struct {
	u8 word, bit, kind;
	u16 feature;
} controls[] = {
#define X86F_ALWAYS			    X86_FEATURES
#define CTL(word, bit, name, kind, feature) {VMX_##word, bit, KIND_##kind, X86F_##feature},
#include "arch/x86/vmxctl.def"
#undef CTL
#undef X86F_ALWAYS
};

/* Appendix A.3.1, A.3.2, A.4, A.5: reserved bits and old controls that must be 1 unless a TRUE MSR says otherwise. */
static const u32 default1[VMX_WORDS] = {
	[VMX_PIN] = 0x16, [VMX_PROC] = 0x0401e172, [VMX_EXIT] = 0x36dff, [VMX_ENTRY] = 0x11ff};

void vmx_word_allowed(const struct x86_model *m, enum vmx_word w, u32 *must, u32 *may)
{
	*must = *may = default1[w];
	for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
		if (controls[i].word != w)
			continue;
		if (controls[i].feature != X86_FEATURES && !x86_has(m, (enum x86_feature)controls[i].feature))
			continue;
		*may |= 1u << controls[i].bit;
		if (controls[i].kind == KIND_DEF1)
			*must &= ~(1u << controls[i].bit);
	}
}

static u64 word_msr(const struct x86_model *m, enum vmx_word w, bool true_form)
{
	u32 must, may;

	vmx_word_allowed(m, w, &must, &may);
	return (true_form ? must : must | default1[w]) | (u64)may << 32;
}

u64 vmx_cr4_allowed(const struct x86_model *m)
{
	static const struct {
		u16 feature;
		u64 bits;
	} rows[] = {
		{X86F_VME, CR4_VME | CR4_PVI}, {X86F_TSC, CR4_TSD},	{X86F_DE, CR4_DE},
		{X86F_PSE, CR4_PSE},	       {X86F_PAE, CR4_PAE},	{X86F_MCE, CR4_MCE},
		{X86F_PGE, CR4_PGE},	       {X86F_FXSR, CR4_OSFXSR}, {X86F_SSE, CR4_OSXMMEXCPT},
		{X86F_UMIP, CR4_UMIP},	       {X86F_LA57, CR4_LA57},	{X86F_VMX, CR4_VMXE},
		{X86F_FSGSBASE, CR4_FSGSBASE}, {X86F_PCID, CR4_PCIDE},	{X86F_XSAVE, CR4_OSXSAVE},
		{X86F_SMEP, CR4_SMEP},	       {X86F_SMAP, CR4_SMAP},	{X86F_PKU, CR4_PKE},
		{X86F_CET_SS, CR4_CET},
	};
	u64 bits = CR4_PCE;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (x86_has(m, (enum x86_feature)rows[i].feature))
			bits |= rows[i].bits;
	return bits;
}

/* A.1: regions of 4 KiB, write-back, INS and OUTS described, TRUE MSRs. */
#define BASIC (VMCS_REVISION | 4096ull << 32 | 6ull << 50 | BIT(54) | BIT(55))
/* A.6: EFER.LMA saved by exits, HLT as an activity state, four CR3 targets, events of length 0. */
#define MISC (BIT(5) | BIT(6) | 4ull << 16 | BIT(30))
/* A.10: execute-only, four levels, UC and WB, 2-MByte and 1-GByte pages, INVEPT of both types, A/D flags, INVVPID of
 * all four types. */
#define EPT_VPID                                                                                                       \
	(BIT(0) | BIT(6) | BIT(8) | BIT(14) | BIT(16) | BIT(17) | BIT(20) | BIT(21) | BIT(25) | BIT(26) | BIT(32) |    \
	 0xfull << 40)

u64 vmx_capability(const struct x86_model *m, unsigned n)
{
	u32 must, may;

	switch (MSR_VMX_BASIC + n) {
	case 0x480: return BASIC;
	case 0x481: return word_msr(m, VMX_PIN, false);
	case 0x482: return word_msr(m, VMX_PROC, false);
	case 0x483: return word_msr(m, VMX_EXIT, false);
	case 0x484: return word_msr(m, VMX_ENTRY, false);
	case 0x485: return MISC;
	case 0x486: return VMX_CR0_FIXED;
	case 0x487: return 0xffffffff;
	case 0x488: return VMX_CR4_FIXED;
	case 0x489: return vmx_cr4_allowed(m);
	case 0x48a: return VMCS_INDEX_MAX << 1;
	case 0x48b: vmx_word_allowed(m, VMX_PROC2, &must, &may); return (u64)may << 32;
	case 0x48c: return EPT_VPID;
	case 0x48d: return word_msr(m, VMX_PIN, true);
	case 0x48e: return word_msr(m, VMX_PROC, true);
	case 0x48f: return word_msr(m, VMX_EXIT, true);
	case 0x490: return word_msr(m, VMX_ENTRY, true);
	default: return 0;
	}
}
