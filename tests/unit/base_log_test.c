/* Traces by topic, LIMIT lines once, errors as sentences. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"

static void topics(void **state)
{
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	struct log *log = log_new(f, "L1 ");
	struct err e = {0};

	log_trace(log, TRACE_MSR, "lost");
	assert_int_equal(log_enable(log, "msr,,vmexit", &e), 0);
	assert_true(trace_on(log_topics(log), TRACE_MSR));
	assert_false(trace_on(log_topics(log), TRACE_INSN));
	assert_false(trace_on(log_topics(NULL), TRACE_INSN));
	assert_int_equal(log_enable(log, "msr,nonsense", &e), -EINVAL);
	assert_non_null(strstr(e.text, "\"nonsense\""));
	assert_non_null(strstr(e.text, "channel"));
	log_trace(log, TRACE_MSR, "%d", 7);
	for (int i = 0; i < 3; i++)
		log_limit(log, "no %s yet", "wings");
	log_limit(log, "no %s yet", "tail");
	assert_int_equal(log_limits(log), 2);
	log_free(log);
	fclose(f);
	assert_memory_equal(text, "L1 msr 0.", 9); /* seconds since the log began */
	assert_non_null(strchr(text, ':'));
	assert_string_equal(strchr(text, ':'), ": 7\nL1 LIMIT: no wings yet\nL1 LIMIT: no tail yet\n");
	free(text);
}

static void errors(void **state)
{
	struct err e = {0};
	char big[1000];

	assert_int_equal(err_set(NULL, EIO, "nobody reads this"), -EIO);
	assert_int_equal(err_set(&e, ENOENT, "no %s", "file"), -ENOENT);
	assert_int_equal(err_prefix(&e, "L%d", 1), -ENOENT);
	assert_string_equal(e.text, "L1: no file");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	err_set(&e, EIO, "%s", big);
	err_prefix(&e, "%s", big);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(topics), cmocka_unit_test(errors)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
