/*
 * VM entry's checks as pure rules over a copy of the VMCS; rows in vmentry_rules.def. SDM vol. 3 26.2, 26.3.
 *
 * They run before anything is committed, and dry by the inspector. PDPTEs that come from memory and the MSR-load area
 * are checked by the processor as it loads them.
 */
#ifndef ARCH_X86_VMENTRY_RULES_H
#define ARCH_X86_VMENTRY_RULES_H

#include "arch/x86/vmcs.h"

/* What the rules depend on besides the VMCS. */
struct vmentry_env {
	u32 must[VMX_WORDS], may[VMX_WORDS];
	u64 cr4_allowed, efer_allowed;
	u64 misc;      /* IA32_VMX_MISC */
	u64 functions; /* IA32_VMX_VMFUNC */
	u32 phys_bits, virt_bits;
	u32 virtual_tpr; /* byte 80h of the virtual-APIC page */
	bool ept_ad;
	bool host_long;	 /* EFER.LMA at VM entry */
	bool link_valid; /* the link pointer names a region with the right revision, and is a shadow VMCS just if VMCS
			    shadowing is on */
};

enum vmentry_area { VMENTRY_CONTROL, VMENTRY_HOST, VMENTRY_GUEST };

enum vmentry_rule {
#define RULE(area, name, text, illegal) VMENTRY_RULE_##name,
#define SECTION(text)
#include "arch/x86/vmentry_rules.def"
#undef SECTION
#undef RULE
	VMENTRY_RULES, /* none broken */
};

struct vmentry_rule_row {
	const char *name, *text;
	enum vmentry_area area;
};
extern const struct vmentry_rule_row vmentry_rule_rows[VMENTRY_RULES];

/* Fills what follows from the model; vmentry_env_memory's part and host_long are the caller's. */
void vmentry_env_init(struct vmentry_env *e, const struct x86_model *m);
/* Bytes of guest RAM. false: there is none. */
typedef bool vmentry_read(void *ctx, u64 pa, void *buf, unsigned n);
/* Fills what lies in memory: virtual_tpr and link_valid. `current`: the VMCS's own address. */
void vmentry_env_memory(struct vmentry_env *e, const struct vmcs *v, u64 current, vmentry_read *read, void *ctx);
/* The first rule that the VMCS breaks, or VMENTRY_RULES. */
enum vmentry_rule vmentry_check(const struct vmcs *v, const struct vmentry_env *e);
/* The rules of the host area alone. */
enum vmentry_rule vmentry_check_host(const struct vmcs *v, const struct vmentry_env *e);
/* All that it breaks, each with where the manual says so. Returns how many. */
unsigned vmentry_check_each(const struct vmcs *v, const struct vmentry_env *e,
			    void (*broken)(void *ctx, enum vmentry_rule rule, const char *section), void *ctx);
/* The exit qualification of a broken GUEST rule. SDM vol. 3 26.8 "VM-Entry Failures During or After Loading Guest
 * State". */
u64 vmentry_qualification(enum vmentry_rule broken);

#endif
