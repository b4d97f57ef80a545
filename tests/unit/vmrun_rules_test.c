/* The VMCB's layout, and VMRUN's rules: each broken once by the smallest change to a VMCB that breaks none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/vmrun_rules.h"

static void layout_tiles(void **state) { assert_null(desc_check(&vmcb_desc)); }

static const struct vmrun_env env = {
	.cr4_valid = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_PSE,
	.efer_valid = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME,
	.phys_bits = 40,
	.host_paging = true,
};

/* A 64-bit guest under nested paging. */
static void good(struct vmcb *b)
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

#define BREAK(rule, change)                                                                                            \
	static void break_##rule(struct vmcb *b, struct vmrun_env *e) { change; }
BREAK(INTERCEPT, b->c.intercept4 = 0)
BREAK(ASID, b->c.asid = 0)
BREAK(EFER_SVME, b->s.efer &= ~EFER_SVME)
BREAK(EFER_MBZ, b->s.efer |= BIT(9))
BREAK(CR0_NW, b->s.cr0 |= CR0_NW)
BREAK(CR0_HIGH, b->s.cr0 |= BIT(32))
BREAK(CR3_MBZ, b->s.cr3 |= BIT(52))
BREAK(CR4_MBZ, b->s.cr4 |= CR4_LA57)
BREAK(DR6_HIGH, b->s.dr6 |= BIT(63))
BREAK(DR7_HIGH, b->s.dr7 |= BIT(32))
BREAK(LONG_PAE, b->s.cr4 &= ~CR4_PAE)
BREAK(LONG_PE, b->s.cr0 &= ~CR0_PE)
BREAK(LONG_CS, b->s.cs.attr |= SEG_DB)
BREAK(IOPM, b->c.iopm = BIT(40) - 0x2000)
BREAK(MSRPM, b->c.msrpm = BIT(40) - 0x1000)
BREAK(INJECT_TYPE, b->c.event_inj = EVI_VALID | 1 << 8)
BREAK(INJECT_VECTOR, b->c.event_inj = EVI_VALID | EVI_EXCEPTION << 8 | EXC_NMI)
BREAK(VNMI, b->c.int_ctl = VI_NMI_ENABLE; e->vnmi = true)
BREAK(X2AVIC, b->c.int_ctl = VI_X2AVIC; e->x2avic = true)
BREAK(AVIC_PAGES, b->c.int_ctl = (u32)VI_AVIC; b->c.avic_logical = BIT(41); e->avic = true)
BREAK(AVIC_INDEX, b->c.int_ctl = (u32)VI_AVIC; b->c.avic_physical = 0x1100; e->avic = true)
BREAK(NESTED_HOST, e->host_paging = false)
BREAK(NCR3, b->c.ncr3 |= BIT(40))
BREAK(G_PAT, b->s.g_pat |= 2ull << 56)
#undef BREAK

static void (*const breakers[VMRUN_RULES])(struct vmcb *b, struct vmrun_env *e) = {
#define RULE(name, text, illegal) break_##name,
#define SECTION(text)
#include "arch/x86/vmrun_rules.def"
#undef SECTION
#undef RULE
};

static void each_rule_fails_once(void **state)
{
	struct vmcb b;

	good(&b);
	assert_int_equal(vmrun_check(&b, &env), VMRUN_RULES);
	for (unsigned i = 0; i < VMRUN_RULES; i++) {
		struct vmrun_env e = env;

		good(&b);
		breakers[i](&b, &e);
		if (vmrun_check(&b, &e) != i)
			fail_msg("%s: reported as %u", vmrun_rule_rows[i].name, vmrun_check(&b, &e));
	}
}

/* What the manual allows although it looks odd. */
static void legal_oddities(void **state)
{
	struct vmcb b;

	good(&b); /* paged real mode: APM vol. 2 15.19 */
	b.s.efer = EFER_SVME;
	b.s.cr0 = CR0_PG;
	b.s.cr4 = 0;
	assert_int_equal(vmrun_check(&b, &env), VMRUN_RULES);
	good(&b); /* maps that reach exactly to the end of memory */
	b.c.iopm = BIT(40) - 0x3000;
	b.c.msrpm = BIT(40) - 0x2000;
	assert_int_equal(vmrun_check(&b, &env), VMRUN_RULES);
	good(&b); /* maps are looked at without their intercepts too */
	b.c.intercept3 = 0;
	b.c.iopm = ~0ull;
	assert_int_equal(vmrun_check(&b, &env), VMRUN_IOPM);
	good(&b); /* an EVENTINJ that is not valid */
	b.c.event_inj = 7 << 8;
	assert_int_equal(vmrun_check(&b, &env), VMRUN_RULES);
	good(&b); /* CR0.CD with NW */
	b.s.cr0 |= CR0_CD | CR0_NW;
	assert_int_equal(vmrun_check(&b, &env), VMRUN_RULES);
}

static void host_state(void **state)
{
	struct vmcb b;

	good(&b);
	assert_true(vmrun_check_host(&b.s, &env));
	b.s.efer &= ~EFER_SVME;
	assert_false(vmrun_check_host(&b.s, &env));
	good(&b);
	b.s.cr3 = BIT(50);
	assert_false(vmrun_check_host(&b.s, &env));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_tiles),
		cmocka_unit_test(each_rule_fails_once),
		cmocka_unit_test(legal_oddities),
		cmocka_unit_test(host_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
