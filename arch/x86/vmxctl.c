/*
 * The tables that vmcs.def and vmxctl.def make, and the capability MSRs computed from them. SDM vol. 3 appendix A.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

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

#define X86F_ALWAYS X86_FEATURES
#define CAP_WORD    VMX_WORDS /* `word` of a row that is no control: CAP_WORD + enum vmx_cap */

static const struct {
	u8 word, bit, kind;
	u16 feature;
	const char *option;
} controls[] = {
#define CTL(word, bit, name, kind, feature, option) {VMX_##word, bit, KIND_##kind, X86F_##feature, option},
#define CAP(msr, bit, option)			    {CAP_WORD + VMX_CAP_##msr, bit, KIND_MAY, X86F_ALWAYS, option},
#include "arch/x86/vmxctl.def"
#undef CTL
#undef CAP
};
_Static_assert(ARRAY_SIZE(controls) <= 8 * sizeof(((struct x86_model *)0)->vmx_off), "a bit for each row");

enum row {
#define CTL(word, bit, name, kind, feature, option) ROW_##word##_##name,
#define CAP(msr, bit, option)			    ROW_##msr##_##bit,
#include "arch/x86/vmxctl.def"
#undef CTL
#undef CAP
};

/*
 * The first cannot be without the second, as no secondary control can be without their activation: SDM vol. 3 24.6.2,
 * 26.2.1.1 "VM-Execution Control Fields", 26.2.1.2 "VM-Exit Control Fields", 26.2.4 "Checks Related to Address-Space
 * Size", 25.5.7.1 "Convertible EPT Violations", appendix A.10. The relation has no cycle.
 */
static const struct {
	u8 row, base;
} builds_on[] = {
#define ON(r, b)                                                                                                       \
	{                                                                                                              \
		ROW_##r, ROW_##b                                                                                       \
	}
	ON(PIN_VIRTUAL_NMI, PIN_NMI),	   ON(PROC_NMI_WINDOW, PIN_VIRTUAL_NMI),
	ON(EXIT_SAVE_TIMER, PIN_TIMER),	   ON(ENTRY_IA32E, EXIT_HOST64),
	ON(PROC2_X2APIC, PROC_TPR_SHADOW), ON(PROC2_APIC_REG, PROC_TPR_SHADOW),
	ON(PROC2_VID, PROC_TPR_SHADOW),	   ON(PROC2_VID, PIN_EXT_INT),
	ON(PIN_POSTED, PROC2_VID),	   ON(PIN_POSTED, EXIT_ACK_INT),
	ON(PROC2_UNRESTRICTED, PROC2_EPT), ON(PROC2_PML, PROC2_EPT),
	ON(PROC2_VE, PROC2_EPT),	   ON(PROC2_MBEC, PROC2_EPT),
	ON(VMFUNC_0, PROC2_VMFUNC),	   ON(VMFUNC_0, PROC2_EPT),
	ON(EPT_VPID_0, PROC2_EPT),	   ON(EPT_VPID_6, PROC2_EPT),
	ON(EPT_VPID_16, PROC2_EPT),	   ON(EPT_VPID_17, PROC2_EPT),
	ON(EPT_VPID_20, PROC2_EPT),	   ON(EPT_VPID_21, PROC2_EPT),
	ON(EPT_VPID_25, EPT_VPID_20),	   ON(EPT_VPID_26, EPT_VPID_20),
	ON(EPT_VPID_32, PROC2_VPID),	   ON(EPT_VPID_40, EPT_VPID_32),
	ON(EPT_VPID_41, EPT_VPID_32),	   ON(EPT_VPID_42, EPT_VPID_32),
	ON(EPT_VPID_43, EPT_VPID_32),
#undef ON
};

int vmx_option_find(const char *name, size_t n)
{
	for (unsigned i = 0; i < ARRAY_SIZE(controls); i++)
		if (strlen(controls[i].option) == n && strncasecmp(controls[i].option, name, n) == 0)
			return (int)i;
	return -1;
}

/* The row that `i` needs and that is off, `i` itself first, or -1. */
static int row_lacks(const struct x86_model *m, unsigned i)
{
	bool here = !(m->vmx_off[i / 64] >> (i % 64) & 1) &&
		    (controls[i].feature == X86F_ALWAYS || x86_has(m, (enum x86_feature)controls[i].feature));
	int lacks = here ? -1 : (int)i;

	if (lacks < 0 && controls[i].word == VMX_PROC2)
		lacks = row_lacks(m, ROW_PROC_PROC2);
	for (unsigned n = 0; lacks < 0 && n < ARRAY_SIZE(builds_on); n++)
		if (builds_on[n].row == i)
			lacks = row_lacks(m, builds_on[n].base);
	return lacks;
}

static bool row_holds(const struct x86_model *m, unsigned i) { return row_lacks(m, i) < 0; }

int vmx_options_check(const struct x86_model *m, const u64 on[2], struct err *e)
{
	for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
		int lacks;

		if (!(on[i / 64] >> (i % 64) & 1))
			continue;
		if (!x86_has(m, X86F_VMX))
			return err_set(e, EINVAL, "CPU feature %s cannot be on while VMX is off", controls[i].option);
		lacks = row_lacks(m, i);
		if (lacks < 0)
			continue;
		return err_set(e, EINVAL, "CPU feature %s cannot be on while %s is off", controls[i].option,
			       lacks == (int)i ? x86_feature_rows[controls[i].feature].name : controls[lacks].option);
	}
	return 0;
}

/* Appendix A.3.1, A.3.2, A.4, A.5: reserved bits and old controls that must be 1 unless a TRUE MSR says otherwise. */
static const u32 default1[VMX_WORDS] = {
	[VMX_PIN] = 0x16, [VMX_PROC] = 0x0401e172, [VMX_EXIT] = 0x36dff, [VMX_ENTRY] = 0x11ff};

void vmx_word_allowed(const struct x86_model *m, enum vmx_word w, u32 *must, u32 *may)
{
	*must = *may = default1[w];
	for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
		if (controls[i].word != w || !row_holds(m, i))
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
/* What has no option. A.6: the timer's rate, four CR3 targets. A.10: memory types UC and WB of the tables of EPT. */
static u64 cap_base(const struct x86_model *m, enum vmx_cap cap)
{
	switch (cap) {
	case VMX_CAP_MISC: return VMX_TIMER_SHIFT | 4ull << 16;
	case VMX_CAP_EPT_VPID: return row_holds(m, ROW_PROC2_EPT) ? BIT(8) | BIT(14) : 0;
	default: return 0;
	}
}

u64 vmx_cap(const struct x86_model *m, enum vmx_cap cap)
{
	u64 v = cap_base(m, cap);

	for (unsigned i = 0; i < ARRAY_SIZE(controls); i++)
		if (controls[i].word == CAP_WORD + cap && row_holds(m, i))
			v |= BIT(controls[i].bit);
	return v;
}

u64 vmx_capability(const struct x86_model *m, unsigned n)
{
	u32 must, may;

	switch (MSR_VMX_BASIC + n) {
	case 0x480: return BASIC;
	case 0x481: return word_msr(m, VMX_PIN, false);
	case 0x482: return word_msr(m, VMX_PROC, false);
	case 0x483: return word_msr(m, VMX_EXIT, false);
	case 0x484: return word_msr(m, VMX_ENTRY, false);
	case 0x485: return vmx_cap(m, VMX_CAP_MISC);
	case 0x486: return VMX_CR0_FIXED;
	case 0x487: return 0xffffffff;
	case 0x488: return VMX_CR4_FIXED;
	case 0x489: return vmx_cr4_allowed(m);
	case 0x48a: return VMCS_INDEX_MAX << 1;
	case 0x48b: vmx_word_allowed(m, VMX_PROC2, &must, &may); return (u64)may << 32;
	case 0x48c: return vmx_cap(m, VMX_CAP_EPT_VPID);
	case 0x48d: return word_msr(m, VMX_PIN, true);
	case 0x48e: return word_msr(m, VMX_PROC, true);
	case 0x48f: return word_msr(m, VMX_EXIT, true);
	case 0x490: return word_msr(m, VMX_ENTRY, true);
	case 0x491: return vmx_cap(m, VMX_CAP_VMFUNC);
	default: return 0;
	}
}

bool vmx_capability_exists(const struct x86_model *m, unsigned n)
{
	switch (MSR_VMX_BASIC + n) {
	case 0x48b: return row_holds(m, ROW_PROC_PROC2);
	case 0x48c: return row_holds(m, ROW_PROC2_EPT) || row_holds(m, ROW_PROC2_VPID);
	case 0x491: return row_holds(m, ROW_PROC2_VMFUNC);
	default: return true;
	}
}
