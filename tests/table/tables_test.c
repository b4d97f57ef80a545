/* The tables of arch/: field tables tile their structs, rows are unique, neutral exit numbers are what SVM's control
 * words assume. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/exits.h"
#include "arch/x86/insn.h"
#include "arch/x86/model.h"
#include "arch/x86/state.h"
#include "arch/x86/vmcb.h"

static void state_tiles(void **state)
{
	const char *why = desc_check(&x86_state_desc);

	if (why)
		fail_msg("%s", why);
}

static void vmcb_tiles(void **state)
{
	const char *why = desc_check(&vmcb_desc);

	if (why)
		fail_msg("%s", why);
}

static void features_are_unique(void **state)
{
	const struct x86_feature_row *r = x86_feature_rows;

	for (unsigned i = 0; i < X86_FEATURES; i++) {
		assert_true(r[i].bit < 32);
		for (unsigned k = i + 1; k < X86_FEATURES; k++) {
			if (r[i].leaf == r[k].leaf && r[i].sub == r[k].sub && r[i].reg == r[k].reg &&
			    r[i].bit == r[k].bit)
				fail_msg("%s and %s are the same bit", r[i].name, r[k].name);
			if (!strcmp(r[i].name, r[k].name))
				fail_msg("two rows are called %s", r[i].name);
		}
	}
}

static void exits_are_unique(void **state)
{
	for (unsigned i = 0; i < X86_EXITS; i++)
		for (unsigned k = i + 1; k < X86_EXITS; k++)
			if (x86_exit_rows[i].svm_code != X86_EXIT_NO_CODE &&
			    x86_exit_rows[i].svm_code == x86_exit_rows[k].svm_code)
				fail_msg("%s and %s have the same SVM code", x86_exit_rows[i].name,
					 x86_exit_rows[k].name);
}

/* The VMCB's intercept words are loaded into the neutral bitmap as they are. */
static void exits_follow_the_intercept_words(void **state)
{
	for (unsigned i = 0; i <= EXIT_EFER_WRITE_TRAP; i++)
		if (x86_exit_rows[i].svm_code != i)
			fail_msg("%s stands at %#x", x86_exit_rows[i].name, i);
	assert_int_equal(EXIT_EFER_WRITE_TRAP, 0x8f);
}

static void instruction_rows_are_sound(void **state)
{
	for (unsigned i = 1; i < INSN_ROWS; i++) {
		assert_true(insn_rows[i].exit <= EXIT_NONE);
		if ((insn_rows[i].flags & I_USER) && (insn_rows[i].flags & (I_CPL0 | I_SVM)))
			fail_msg("%s is both for user mode and privileged", insn_rows[i].name);
	}
}

static void features_fit_their_models(void **state)
{
	struct x86_model m;

	for (const char *const *name = x86_model_names(); *name; name++) {
		assert_true(x86_model_named(*name, &m));
		for (unsigned f = 0; f < X86_FEATURES; f++)
			if (x86_has(&m, f) && x86_feature_rows[f].need == NEED_ABSENT)
				fail_msg("%s offers %s, which is not implemented", *name, x86_feature_rows[f].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(state_tiles),
		cmocka_unit_test(vmcb_tiles),
		cmocka_unit_test(features_are_unique),
		cmocka_unit_test(exits_are_unique),
		cmocka_unit_test(exits_follow_the_intercept_words),
		cmocka_unit_test(instruction_rows_are_sound),
		cmocka_unit_test(features_fit_their_models),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
