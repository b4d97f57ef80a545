/* Options by table, and the kinds of their arguments. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/opt.h"

static const struct opt rows[] = {
	{"memory", "-m", "SIZE", "memory"},
	{"json", NULL, NULL, "JSON"},
	{"kernel", "-kernel", "FILE", NULL},
};

#define WALK(w, ...)                                                                                                   \
	char *argv_[] = {__VA_ARGS__};                                                                                 \
	struct opt_walk w;                                                                                             \
	opt_start(&w, rows, ARRAY_SIZE(rows), ARRAY_SIZE(argv_), argv_)

static void spellings(void **state)
{
	WALK(w, "--memory", "1G", "-m", "2G", "--memory=3G", "--json", "-kernel", "x", "word", "-", "-m=4G");

	assert_int_equal(opt_next(&w), 0);
	assert_string_equal(w.value, "1G");
	assert_int_equal(opt_next(&w), 0);
	assert_string_equal(w.value, "2G");
	assert_int_equal(opt_next(&w), 0);
	assert_string_equal(w.value, "3G");
	assert_int_equal(opt_next(&w), 1);
	assert_int_equal(opt_next(&w), 2);
	assert_string_equal(w.value, "x");
	assert_int_equal(opt_next(&w), OPT_WORD);
	assert_string_equal(w.value, "word");
	assert_int_equal(opt_next(&w), OPT_WORD);
	assert_int_equal(opt_next(&w), 0);
	assert_string_equal(w.value, "4G");
	assert_int_equal(opt_next(&w), OPT_END);
}

static void mistakes(void **state)
{
	static const struct {
		char *word;
		const char *says;
	} bad[] = {
		{"--nope", "no option --nope"}, {"--nope=3", "no option --nope:"},
		{"--json=1", "takes no value"}, {"--memory", "wants SIZE"},
		{"--mem", "no option"},		{"-json", "no option"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		WALK(w, bad[i].word);
		assert_int_equal(opt_next(&w), OPT_BAD);
		assert_non_null(strstr(w.why, bad[i].says));
	}
}

static void arguments(void **state)
{
	u64 v;

	assert_true(opt_size("512", 1 << 20, &v) && v == 512ull << 20);
	assert_true(opt_size("2G", 1 << 20, &v) && v == 2ull << 30);
	assert_true(opt_size("64KiB", 1, &v) && v == 65536);
	assert_true(opt_size("1mb", 1, &v) && v == 1 << 20);
	assert_false(opt_size("", 1, &v));
	assert_false(opt_size("-1", 1, &v));
	assert_false(opt_size("1x", 1, &v));
	assert_false(opt_size("1Gx", 1, &v));
	assert_false(opt_size("99999999999999999999", 1, &v));
	assert_false(opt_size("99999999999G", 1, &v));
	assert_true(opt_number("8", 2, 8, &v) && v == 8);
	assert_false(opt_number("9", 2, 8, &v));
	assert_false(opt_number("3 ", 2, 8, &v));
	assert_true(opt_duration("90", &v) && v == 90000);
	assert_true(opt_duration("5m", &v) && v == 300000);
	assert_false(opt_duration("5ms", &v));
	assert_false(opt_duration("soon", &v));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(spellings), cmocka_unit_test(mistakes),
					   cmocka_unit_test(arguments)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
