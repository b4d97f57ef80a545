/*
 * A VMCB that VMRUN accepts, and each rule's violations of it (vmrun_breaks.def): one table, for the rules run dry
 * (vmrun_rules_test.c) and for VMRUN itself (svm_entry_test.c).
 *
 * A break changes the VMCB, and in struct vmrun_env what is not in the VMCB: features, and whether the host pages.
 * Whoever has a processor gives it what the break asks for.
 */
#ifndef TESTS_UNIT_VMRUN_BREAKS_H
#define TESTS_UNIT_VMRUN_BREAKS_H

#include <string.h>

#include "arch/x86/vmrun_rules.h"

/* A 64-bit guest under nested paging. */
static inline void vmrun_good(struct vmcb *b)
{
	memset(b, 0, sizeof(*b));
	b->c.intercept3 = BIT(27) | BIT(28);
	b->c.intercept4 = 1;
	b->c.asid = 1;
	b->c.np_control = NP_ENABLE;
	b->c.ncr3 = 0x1000;
	b->c.iopm = 0x10000;
	b->c.msrpm = 0x20000;
	b->s.g_pat = 0x0007040600070406;
	b->s.efer = EFER_SVME | EFER_LME | EFER_LMA;
	b->s.cr0 = CR0_PE | CR0_PG;
	b->s.cr4 = CR4_PAE;
	b->s.cr3 = 0x3000;
	b->s.cs.attr = SEG_L | SEG_P | SEG_S | SEG_CODE;
	b->s.dr6 = DR6_FIXED;
	b->s.dr7 = DR7_FIXED;
}

static inline void avic(struct vmcb *b, struct vmrun_env *e)
{
	b->c.int_ctl = (u32)VI_AVIC;
	e->avic = true;
}

#define BREAK(rule, way, ...)                                                                                          \
	static void break_##rule##_##way(struct vmcb *b, struct vmrun_env *e) { __VA_ARGS__; }
#include "tests/unit/vmrun_breaks.def"
#undef BREAK

static const struct vmrun_break {
	enum vmrun_rule rule;
	const char *name;
	void (*apply)(struct vmcb *b, struct vmrun_env *e);
} vmrun_breaks[] = {
#define BREAK(rule, way, ...) {VMRUN_##rule, #rule "." #way, break_##rule##_##way},
#include "tests/unit/vmrun_breaks.def"
#undef BREAK
};

#endif
