/* VM entry's checks: the rows of vmentry_rules.def made into code. SDM vol. 3 26.2, 26.3.1. */
#include "arch/x86/vmentry_rules.h"

#include "arch/x86/walk.h"

const struct vmentry_rule_row vmentry_rule_rows[VMENTRY_RULES] = {
#define RULE(area, name, text, illegal) {#name, text, VMENTRY_##area},
#define SECTION(text)
#include "arch/x86/vmentry_rules.def"
#undef SECTION
#undef RULE
};

#define has(f, word, name) (((f)[VMCS_##word] & (u32)VMX_##word##_##name) != 0)
#define has2(f, name)	   (has(f, PROC, PROC2) && has(f, PROC2, name))

static bool bad_word(const u64 *f, const struct vmentry_env *e, enum vmx_word w, enum vmcs_field field)
{
	return (f[field] & e->must[w]) != e->must[w] || (f[field] & ~(u64)e->may[w]);
}

/* Of the processor's width, whatever the guest's CR4.LA57 is. */
#define canonical(a) (sign_extend(a, e->virt_bits) == (a))
static bool bad_page(const struct vmentry_env *e, u64 pa) { return (pa & 0xfff) || pa >> e->phys_bits; }

/* An MSR area of `n` entries of 16 bytes. */
static bool bad_area(const struct vmentry_env *e, u64 pa, u64 n)
{
	u64 last = pa + n * 16 - 1;

	return n && ((pa & 15) || pa >> e->phys_bits || last >> e->phys_bits);
}

static bool bad_cr4(const struct vmentry_env *e, u64 cr4)
{
	return (cr4 & VMX_CR4_FIXED) != VMX_CR4_FIXED || (cr4 & ~e->cr4_allowed);
}

static u64 cr0_fixed(const u64 *f) { return has2(f, UNRESTRICTED) ? CR0_NE : VMX_CR0_FIXED; }

/* SDM vol. 3 11.12.2 "IA32_PAT MSR". */
static bool pat_valid(u64 pat)
{
	u64 types = pat & 0x0707070707070707ull;
	u64 two_or_three = (types >> 1) & ~(types >> 2) & 0x0101010101010101ull;

	return types == pat && !two_or_three;
}

static bool injects(const u64 *f) { return f[VMCS_ENTRY_EVENT] & VEV_VALID; }
static bool injects_type(const u64 *f, unsigned type) { return injects(f) && VEV_TYPE(f[VMCS_ENTRY_EVENT]) == type; }
static unsigned vector(const u64 *f) { return f[VMCS_ENTRY_EVENT] & 0xff; }

static bool event_takes_error(const u64 *f)
{
	const u32 with_error =
		BIT(EXC_DF) | BIT(EXC_TS) | BIT(EXC_NP) | BIT(EXC_SS) | BIT(EXC_GP) | BIT(EXC_PF) | BIT(EXC_AC);

	if (has2(f, UNRESTRICTED) && !(f[VMCS_GUEST_CR0] & CR0_PE))
		return false;
	return injects_type(f, VEV_HARD_EXC) && vector(f) < 32 && (with_error >> vector(f) & 1);
}

/* SDM vol. 3 26.3.1.5: HLT can be left by interrupts, NMIs, #DB, #MC and a pending MTF exit; shutdown by NMIs and #MC.
 */
static bool bad_activity_event(const u64 *f)
{
	bool mc = injects_type(f, VEV_HARD_EXC) && vector(f) == EXC_MC, nmi = injects_type(f, VEV_NMI);

	if (!injects(f))
		return false;
	switch (f[VMCS_GUEST_ACTIVITY]) {
	case 0: return false;
	case 1:
		return !mc && !nmi && !injects_type(f, VEV_EXT_INT) && !injects_type(f, VEV_OTHER) &&
		       !(injects_type(f, VEV_HARD_EXC) && vector(f) == EXC_DB);
	case 2: return !mc && !nmi;
	default: return true;
	}
}

static u64 host_selectors(const u64 *f)
{
	return f[VMCS_HOST_ES_SEL] | f[VMCS_HOST_CS_SEL] | f[VMCS_HOST_SS_SEL] | f[VMCS_HOST_DS_SEL] |
	       f[VMCS_HOST_FS_SEL] | f[VMCS_HOST_GS_SEL] | f[VMCS_HOST_TR_SEL];
}

/* The fields of ES to GS, LDTR, TR follow one another in the order of enum x86_sreg. */
#define SEG(f, what, i) ((f)[VMCS_GUEST_ES_##what + (i)])
#define ar_type(f, i)	(SEG(f, AR, i) & SEG_TYPE)
#define usable(f, i)	(!(SEG(f, AR, i) & VAR_UNUSABLE))
#define dpl(f, i)	(SEG(f, AR, i) >> 5 & 3)
#define rpl(f, i)	(SEG(f, SEL, i) & 3)
#define LDTR		6
#define TR		7
#define CHECKED(f, i)	((i) == CS || usable(f, i))
_Static_assert(VMCS_GUEST_TR_SEL == VMCS_GUEST_ES_SEL + TR && VMCS_GUEST_TR_LIMIT == VMCS_GUEST_ES_LIMIT + TR &&
		       VMCS_GUEST_TR_AR == VMCS_GUEST_ES_AR + TR && VMCS_GUEST_TR_BASE == VMCS_GUEST_ES_BASE + TR &&
		       VMCS_GUEST_GS_SEL == VMCS_GUEST_ES_SEL + GS,
	       "segment fields are in order");

static bool v86(const u64 *f) { return f[VMCS_GUEST_RFLAGS] & FL_VM; }

static bool segments_v86(const u64 *f)
{
	for (unsigned i = ES; i <= GS; i++)
		if (SEG(f, BASE, i) != SEG(f, SEL, i) << 4 || SEG(f, LIMIT, i) != 0xffff || SEG(f, AR, i) != 0xf3)
			return false;
	return true;
}

static bool bad_bases(const u64 *f, const struct vmentry_env *e)
{
	if (!canonical(SEG(f, BASE, TR)) || !canonical(SEG(f, BASE, FS)) || !canonical(SEG(f, BASE, GS)))
		return true;
	if (usable(f, LDTR) && !canonical(SEG(f, BASE, LDTR)))
		return true;
	for (unsigned i = ES; i <= DS; i++)
		if (CHECKED(f, i) && SEG(f, BASE, i) >> 32)
			return true;
	return false;
}

static bool bad_data_type(const u64 *f)
{
	for (unsigned i = ES; i <= GS; i++) {
		u64 type = ar_type(f, i);

		if (i == CS || i == SS || !usable(f, i))
			continue;
		if (!(type & SEG_ACCESSED) || ((type & SEG_CODE) && !(type & SEG_RW)))
			return true;
	}
	return false;
}

static bool seg_lacks(const u64 *f, u64 bit)
{
	for (unsigned i = ES; i <= GS; i++)
		if (CHECKED(f, i) && !(SEG(f, AR, i) & bit))
			return true;
	return false;
}

static bool seg_mbz(const u64 *f)
{
	for (unsigned i = ES; i <= GS; i++)
		if (CHECKED(f, i) && (SEG(f, AR, i) & 0xfffe0f00))
			return true;
	return false;
}

static bool bad_cs_dpl(const u64 *f)
{
	switch (ar_type(f, CS)) {
	case 3: return dpl(f, CS) != 0;
	case 9:
	case 11: return dpl(f, CS) != dpl(f, SS);
	default: return dpl(f, CS) > dpl(f, SS);
	}
}

static bool bad_ss_dpl(const u64 *f)
{
	if (!has2(f, UNRESTRICTED) && dpl(f, SS) != rpl(f, SS))
		return true;
	return (ar_type(f, CS) == 3 || !(f[VMCS_GUEST_CR0] & CR0_PE)) && dpl(f, SS) != 0;
}

static bool bad_data_dpl(const u64 *f)
{
	for (unsigned i = ES; i <= GS; i++)
		if (i != CS && i != SS && usable(f, i) && ar_type(f, i) <= 11 && dpl(f, i) < rpl(f, i))
			return true;
	return false;
}

static bool bad_granularity(const u64 *f, unsigned i)
{
	bool g = SEG(f, AR, i) & BIT(15);

	return g ? (SEG(f, LIMIT, i) & 0xfff) != 0xfff : SEG(f, LIMIT, i) >> 20 != 0;
}

static bool bad_granularities(const u64 *f)
{
	for (unsigned i = ES; i <= GS; i++)
		if (CHECKED(f, i) && bad_granularity(f, i))
			return true;
	return false;
}

static bool bad_tr(const u64 *f)
{
	u64 ar = SEG(f, AR, TR), type = ar & SEG_TYPE;

	if (type != 11 && (type != 3 || has(f, ENTRY, IA32E)))
		return true;
	return (ar & (SEG_S | SEG_P | VAR_UNUSABLE | 0xfffe0f00)) != SEG_P || bad_granularity(f, TR);
}

static bool bad_ldtr(const u64 *f)
{
	u64 ar = SEG(f, AR, LDTR);

	if (!usable(f, LDTR))
		return false;
	return (ar & SEG_TYPE) != 2 || (ar & (SEG_S | SEG_P | 0xfffe0f00)) != SEG_P || bad_granularity(f, LDTR);
}

/* SDM vol. 3 26.3.1.5: where a single step is pending already, BS must say whether it is. */
static bool bad_pending_bs(const u64 *f)
{
	bool step = (f[VMCS_GUEST_RFLAGS] & FL_TF) && !(f[VMCS_GUEST_DEBUGCTL] & BIT(1));

	if (!(f[VMCS_GUEST_INTERRUPTIBILITY] & (VINT_STI | VINT_MOVSS)) && f[VMCS_GUEST_ACTIVITY] != 1)
		return false;
	return !(f[VMCS_GUEST_PENDING_DB] & DR6_BS) != !step;
}

static bool bad_pdptes(const u64 *f, const struct vmentry_env *e)
{
	if (!(f[VMCS_GUEST_CR0] & CR0_PG) || !(f[VMCS_GUEST_CR4] & CR4_PAE) || has(f, ENTRY, IA32E))
		return false;
	for (unsigned i = 0; i < 4; i++)
		if ((f[VMCS_GUEST_PDPTE0 + i] & PTE_P) && (f[VMCS_GUEST_PDPTE0 + i] & walk_pdpte_rsvd(e->phys_bits)))
			return true;
	return false;
}

void vmentry_env_init(struct vmentry_env *e, const struct x86_model *m)
{
	*e = (struct vmentry_env){.cr4_allowed = vmx_cr4_allowed(m),
				  .efer_allowed = x86_model_efer(m),
				  .phys_bits = m->phys_bits,
				  .virt_bits = m->virt_bits,
				  .misc = vmx_cap(m, VMX_CAP_MISC),
				  .functions = vmx_cap(m, VMX_CAP_VMFUNC),
				  .ept_ad = vmx_cap(m, VMX_CAP_EPT_VPID) & VMX_EPT_AD};
	for (unsigned w = 0; w < VMX_WORDS; w++)
		vmx_word_allowed(m, (enum vmx_word)w, &e->must[w], &e->may[w]);
}

void vmentry_env_memory(struct vmentry_env *e, const struct vmcs *v, u64 current, vmentry_read *read, void *ctx)
{
	const u64 *f = v->f;
	u64 link = f[VMCS_LINK];
	u32 revision;
	u8 tpr;

	e->virtual_tpr = 0;
	if (has(f, PROC, TPR_SHADOW))
		e->virtual_tpr = read(ctx, f[VMCS_VIRTUAL_APIC] + 0x80, &tpr, 1) ? tpr : 0xff;
	e->link_valid = link != ~0ull && !bad_page(e, link) && link != current && read(ctx, link, &revision, 4) &&
			revision == (VMCS_REVISION | (has2(f, SHADOW) ? VMCS_IS_SHADOW : 0));
}

enum vmentry_rule vmentry_check(const struct vmcs *v, const struct vmentry_env *e)
{
	const u64 *f = v->f;

#define RULE(area, name, text, illegal)                                                                                \
	if (illegal)                                                                                                   \
		return VMENTRY_RULE_##name;
#define SECTION(text)
#include "arch/x86/vmentry_rules.def"
#undef SECTION
#undef RULE
	return VMENTRY_RULES;
}

enum vmentry_rule vmentry_check_host(const struct vmcs *v, const struct vmentry_env *e)
{
	const u64 *f = v->f;

#define RULE(area, name, text, illegal)                                                                                \
	if (VMENTRY_##area == VMENTRY_HOST && (illegal))                                                               \
		return VMENTRY_RULE_##name;
#define SECTION(text)
#include "arch/x86/vmentry_rules.def"
#undef SECTION
#undef RULE
	return VMENTRY_RULES;
}

unsigned vmentry_check_each(const struct vmcs *v, const struct vmentry_env *e,
			    void (*broken)(void *ctx, enum vmentry_rule rule, const char *section), void *ctx)
{
	const char *section = "";
	const u64 *f = v->f;
	unsigned n = 0;

#define RULE(area, name, text, illegal)                                                                                \
	if (illegal) {                                                                                                 \
		n++;                                                                                                   \
		broken(ctx, VMENTRY_RULE_##name, section);                                                             \
	}
#define SECTION(text) section = text;
#include "arch/x86/vmentry_rules.def"
#undef SECTION
#undef RULE
	return n;
}

u64 vmentry_qualification(enum vmentry_rule broken)
{
	switch (broken) {
	case VMENTRY_RULE_PDPTE: return 2;
	case VMENTRY_RULE_LINK: return 4;
	default: return 0;
	}
}
