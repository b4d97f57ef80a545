/* VMRUN's consistency checks: the rows of vmrun_rules.def made into code. APM vol. 2 15.5.1 "Basic Operation". */
#include "arch/x86/vmrun_rules.h"

#define NMI	   1 /* bits of intercept3 */
#define INJECTABLE (BIT(EVI_INTR) | BIT(EVI_NMI) | BIT(EVI_EXCEPTION) | BIT(EVI_SOFT_INT))

const struct vmrun_rule_row vmrun_rule_rows[VMRUN_RULES] = {
#define RULE(name, text, illegal) {#name, text},
#define SECTION(text)
#include "arch/x86/vmrun_rules.def"
#undef SECTION
#undef RULE
};

static bool long_paging(const struct vmcb_save *s) { return (s->efer & EFER_LME) && (s->cr0 & CR0_PG); }

/* A table of `pages` whole pages whose address ignores its low 12 bits. */
static bool beyond(const struct vmrun_env *e, u64 pa, unsigned pages)
{
	u64 last = ALIGN_DOWN(pa, 4096) + pages * 4096ull - 1;

	return last < pa - (pa & 4095) || last >> e->phys_bits;
}

/* APM vol. 2 8.1 "Vectors": 2 is the NMI, 31 the last of the exceptions' range. */
static bool no_exception(u64 vector) { return vector == EXC_NMI || vector > 31; }

/* APM vol. 2 7.8.2 "PAT Register": types 2 and 3 and bits 7:3 of each byte are reserved. */
static bool pat_valid(u64 pat)
{
	u64 types = pat & 0x0707070707070707ull;
	u64 two_or_three = (types >> 1) & ~(types >> 2) & 0x0101010101010101ull;

	return types == pat && !two_or_three;
}

static bool avic_on(const struct vmcb_control *c, const struct vmrun_env *e)
{
	return e->avic && (c->int_ctl & VI_AVIC);
}
static bool x2avic_on(const struct vmcb_control *c, const struct vmrun_env *e)
{
	return e->x2avic && (c->int_ctl & VI_X2AVIC);
}

enum vmrun_rule vmrun_check(const struct vmcb *b, const struct vmrun_env *e)
{
	const struct vmcb_control *c = &b->c;
	const struct vmcb_save *s = &b->s;

#define RULE(name, text, illegal)                                                                                      \
	if (illegal)                                                                                                   \
		return VMRUN_##name;
#define SECTION(text)
#include "arch/x86/vmrun_rules.def"
#undef SECTION
#undef RULE
	return VMRUN_RULES;
}

unsigned vmrun_check_each(const struct vmcb *b, const struct vmrun_env *e,
			  void (*broken)(void *ctx, enum vmrun_rule rule, const char *section), void *ctx)
{
	const struct vmcb_control *c = &b->c;
	const struct vmcb_save *s = &b->s;
	const char *section = "";
	unsigned n = 0;

#define RULE(name, text, illegal)                                                                                      \
	if (illegal) {                                                                                                 \
		n++;                                                                                                   \
		broken(ctx, VMRUN_##name, section);                                                                    \
	}
#define SECTION(text) section = text;
#include "arch/x86/vmrun_rules.def"
#undef SECTION
#undef RULE
	return n;
}

bool vmrun_check_host(const struct vmcb_save *h, const struct vmrun_env *e)
{
	if ((h->cr0 & (CR0_CD | CR0_NW)) == CR0_NW || h->cr0 >> 32)
		return false;
	if ((h->cr4 & ~e->cr4_valid) || (h->efer & ~e->efer_valid) || !(h->efer & EFER_SVME))
		return false;
	if (long_paging(h) && (!(h->cr4 & CR4_PAE) || h->cr3 >> e->phys_bits))
		return false;
	return true;
}

/* Which CR4 bits exist, by feature. APM vol. 2 3.1.3 "CR4 Register". */
static const struct {
	u64 bit;
	enum x86_feature feature;
} cr4_features[] = {
	{CR4_VME, X86F_VME},	       {CR4_PVI, X86F_VME},	   {CR4_TSD, X86F_TSC},	      {CR4_DE, X86F_DE},
	{CR4_PSE, X86F_PSE},	       {CR4_PAE, X86F_PAE},	   {CR4_MCE, X86F_MCE},	      {CR4_PGE, X86F_PGE},
	{CR4_OSFXSR, X86F_FXSR},       {CR4_OSXMMEXCPT, X86F_SSE}, {CR4_UMIP, X86F_UMIP},     {CR4_LA57, X86F_LA57},
	{CR4_FSGSBASE, X86F_FSGSBASE}, {CR4_PCIDE, X86F_PCID},	   {CR4_OSXSAVE, X86F_XSAVE}, {CR4_SMEP, X86F_SMEP},
	{CR4_SMAP, X86F_SMAP},	       {CR4_PKE, X86F_PKU},	   {CR4_CET, X86F_CET_SS},
};

void vmrun_env_init(struct vmrun_env *e, const struct x86_model *m)
{
	*e = (struct vmrun_env){.cr4_valid = CR4_PCE,
				.efer_valid = x86_model_efer(m),
				.phys_bits = m->phys_bits,
				.npt = x86_has(m, X86F_SVM_NPT),
				.vnmi = x86_has(m, X86F_VNMI),
				.avic = x86_has(m, X86F_AVIC),
				.x2avic = x86_has(m, X86F_X2AVIC)};
	for (unsigned i = 0; i < ARRAY_SIZE(cr4_features); i++)
		if (x86_has(m, cr4_features[i].feature))
			e->cr4_valid |= cr4_features[i].bit;
}
