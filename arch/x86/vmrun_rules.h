/*
 * VMRUN's consistency checks as pure rules over a copy of the VMCB; rows in vmrun_rules.def.
 *
 * They run before anything is committed, and dry by the inspector ("why would this VMRUN fail"). The processor decides
 * itself about SEV, CET and whatever else its model does not offer: such requests are no rule of these but are refused
 * by their owner.
 */
#ifndef ARCH_X86_VMRUN_RULES_H
#define ARCH_X86_VMRUN_RULES_H

#include "arch/x86/model.h"
#include "arch/x86/vmcb.h"

/* What the rules depend on besides the VMCB. */
struct vmrun_env {
	u64 cr4_valid, efer_valid; /* bits that the model has */
	u32 phys_bits;
	bool host_paging;
	bool npt;  /* nested paging exists */
	bool vnmi; /* virtual NMIs exist */
	bool avic, x2avic;
};

enum vmrun_rule {
#define RULE(name, text, illegal) VMRUN_##name,
#define SECTION(text)
#include "arch/x86/vmrun_rules.def"
#undef SECTION
#undef RULE
	VMRUN_RULES, /* none broken */
};

struct vmrun_rule_row {
	const char *name, *text;
};
extern const struct vmrun_rule_row vmrun_rule_rows[VMRUN_RULES];

/* What follows from the model; host_paging is false. */
void vmrun_env_init(struct vmrun_env *e, const struct x86_model *m);
/*
 * Is the guest to run under nested paging? Without the feature NP_ENABLE is a reserved bit of the control area, and
 * 15.5.1's list of illegal states has none of those: the bit is ignored, and nCR3 and G_PAT with it.
 */
static inline bool vmrun_nested(const struct vmcb_control *c, const struct vmrun_env *e)
{
	return e->npt && (c->np_control & NP_ENABLE);
}

/* The first rule that the VMCB breaks, or VMRUN_RULES. */
enum vmrun_rule vmrun_check(const struct vmcb *b, const struct vmrun_env *e);
/* All that it breaks, each with where the manual says so. Returns how many. */
unsigned vmrun_check_each(const struct vmcb *b, const struct vmrun_env *e,
			  void (*broken)(void *ctx, enum vmrun_rule rule, const char *section), void *ctx);
/* What is checked of the host state that #VMEXIT reloads (APM vol. 2 15.6 "#VMEXIT"): false means shutdown. */
bool vmrun_check_host(const struct vmcb_save *host, const struct vmrun_env *e);

#endif
