/* Text that the inspector prints, held against what it must hold. */
#ifndef TESTS_UNIT_VIEW_TEXT_H
#define TESTS_UNIT_VIEW_TEXT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct view {
	FILE *out;
	char *text;
	size_t size;
};

static inline void view_open(struct view *v)
{
	v->out = open_memstream(&v->text, &v->size);
	assert_non_null(v->out);
}

/* Each of `words` in this order; ends the view. */
static inline void view_check(struct view *v, unsigned line, const char *const *words)
{
	const char *at;

	fclose(v->out);
	at = v->text;
	for (; *words; words++) {
		at = strstr(at, *words);
		if (!at)
			fail_msg("line %u: \"%s\" is not there, or not in order:\n%s", line, *words, v->text);
	}
	free(v->text);
}
#define VIEW_HAS(v, ...) view_check(v, __LINE__, (const char *const[]){__VA_ARGS__, NULL})

static inline void view_lacks(struct view *v, const char *words)
{
	fflush(v->out);
	if (strstr(v->text, words))
		fail_msg("\"%s\" is there:\n%s", words, v->text);
}

#endif
