/* The VMCB's layout, and VMRUN's rules: each broken once by the smallest change to a VMCB that breaks none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/vmrun_breaks.h"

static void layout_tiles(void **state) { assert_null(desc_check(&vmcb_desc)); }

static const struct vmrun_env env = {
	.cr4_valid = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_PSE,
	.efer_valid = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME,
	.phys_bits = 40,
	.host_paging = true,
	.npt = true,
};

static void each_rule_fails(void **state)
{
	bool broken[VMRUN_RULES] = {false};
	struct vmcb b;

	vmrun_good(&b);
	assert_int_equal(vmrun_check(&b, &env), VMRUN_RULES);
	for (unsigned i = 0; i < ARRAY_SIZE(vmrun_breaks); i++) {
		struct vmrun_env e = env;
		enum vmrun_rule r;

		vmrun_good(&b);
		vmrun_breaks[i].apply(&b, &e);
		r = vmrun_check(&b, &e);
		if (r != vmrun_breaks[i].rule)
			fail_msg("%s: reported as %s", vmrun_breaks[i].name,
				 r == VMRUN_RULES ? "(none)" : vmrun_rule_rows[r].name);
		broken[r] = true;
	}
	for (unsigned r = 0; r < VMRUN_RULES; r++)
		if (!broken[r])
			fail_msg("nothing breaks %s", vmrun_rule_rows[r].name);
}

/* What the manual allows although it looks odd. */
static void legal_oddities(void **state)
{
	struct vmcb b;

	vmrun_good(&b); /* paged real mode: APM vol. 2 15.19 */
	b.s.efer = EFER_SVME;
	b.s.cr0 = CR0_PG;
	b.s.cr4 = 0;
	assert_int_equal(vmrun_check(&b, &env), VMRUN_RULES);
	vmrun_good(&b); /* maps that reach exactly to the end of memory */
	b.c.iopm = BIT(40) - 0x3000;
	b.c.msrpm = BIT(40) - 0x2000;
	assert_int_equal(vmrun_check(&b, &env), VMRUN_RULES);
	vmrun_good(&b); /* maps are looked at without their intercepts too */
	b.c.intercept3 = 0;
	b.c.iopm = ~0ull;
	assert_int_equal(vmrun_check(&b, &env), VMRUN_IOPM);
	vmrun_good(&b); /* an EVENTINJ that is not valid */
	b.c.event_inj = 7 << 8;
	assert_int_equal(vmrun_check(&b, &env), VMRUN_RULES);
	vmrun_good(&b); /* CR0.CD with NW */
	b.s.cr0 |= CR0_CD | CR0_NW;
	assert_int_equal(vmrun_check(&b, &env), VMRUN_RULES);
}

static void host_state(void **state)
{
	struct vmcb b;

	vmrun_good(&b);
	assert_true(vmrun_check_host(&b.s, &env));
	b.s.efer &= ~EFER_SVME;
	assert_false(vmrun_check_host(&b.s, &env));
	vmrun_good(&b);
	b.s.cr3 = BIT(50);
	assert_false(vmrun_check_host(&b.s, &env));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_tiles),
		cmocka_unit_test(each_rule_fails),
		cmocka_unit_test(legal_oddities),
		cmocka_unit_test(host_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
