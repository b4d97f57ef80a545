/* Options by table: the walk, the help, and the few kinds of argument. */
#include "cmd/opt.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void opt_start(struct opt_walk *w, const struct opt *rows, unsigned nrows, int argc, char **argv)
{
	*w = (struct opt_walk){.rows = rows, .nrows = nrows, .argc = argc, .argv = argv};
}

/* `len`: of the name without any "=value". */
static int opt_match(const struct opt_walk *w, const char *word, size_t len)
{
	for (unsigned i = 0; i < w->nrows; i++) {
		const struct opt *o = &w->rows[i];

		if (len > 2 && !strncmp(word, "--", 2) && strlen(o->name) == len - 2 &&
		    !strncmp(word + 2, o->name, len - 2))
			return (int)i;
		if (o->alias && strlen(o->alias) == len && !strncmp(word, o->alias, len))
			return (int)i;
	}
	return -1;
}

int opt_next(struct opt_walk *w)
{
	if (w->at >= w->argc)
		return OPT_END;

	const char *word = w->argv[w->at++];
	size_t len = strcspn(word, "=");
	int i;

	w->value = word;
	if (word[0] != '-' || !word[1])
		return OPT_WORD;
	i = opt_match(w, word, len);
	if (i < 0) {
		snprintf(w->why, sizeof(w->why), "there is no option %.*s: see --help", (int)MIN(len, 60u), word);
		return OPT_BAD;
	}
	if (word[len]) {
		if (!w->rows[i].arg) {
			snprintf(w->why, sizeof(w->why), "%.*s takes no value", (int)MIN(len, 60u), word);
			return OPT_BAD;
		}
		w->value = word + len + 1;
	} else if (w->rows[i].arg) {
		if (w->at >= w->argc) {
			snprintf(w->why, sizeof(w->why), "%s wants %s after it", word, w->rows[i].arg);
			return OPT_BAD;
		}
		w->value = w->argv[w->at++];
	}
	return i;
}

int opt_each(const struct opt *rows, unsigned nrows, int argc, char **argv, int (*take)(void *ctx, int which, const char *value),
	     int (*usage)(const char *why), void *ctx)
{
	struct opt_walk w;
	int which, code;

	opt_start(&w, rows, nrows, argc, argv);
	while ((which = opt_next(&w)) != OPT_END) {
		char why[300];

		if (which == OPT_BAD)
			return usage(w.why);
		if (which == OPT_WORD) {
			snprintf(why, sizeof(why), "it takes no argument %.60s: see --help", w.value);
			return usage(why);
		}
		code = take(ctx, which, w.value);
		if (code >= 0)
			return code;
	}
	return -1;
}

void opt_help(const struct opt *rows, unsigned nrows, FILE *out)
{
	for (unsigned i = 0; i < nrows; i++) {
		char left[60];

		if (!rows[i].help)
			continue;
		snprintf(left, sizeof(left), "--%s%s%s%s%s", rows[i].name, rows[i].arg ? " " : "",
			 rows[i].arg ? rows[i].arg : "", rows[i].alias ? ", " : "", rows[i].alias ? rows[i].alias : "");
		fprintf(out, "  %-28s %s\n", left, rows[i].help);
	}
}

void opt_list(const struct opt_table *t, FILE *out)
{
	for (unsigned i = 0; i < t->nrows; i++) {
		const struct opt *o = &t->rows[i];

		if (o->help)
			fprintf(out, "--%s\t%s\t%s\t%s\n", o->name, o->alias ? o->alias : "", o->arg ? o->arg : "", o->help);
	}
}

static bool digits(const char *s, u64 *v, char **end)
{
	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	*v = strtoull(s, end, 10);
	return !errno;
}

bool opt_size(const char *s, u64 unit, u64 *bytes)
{
	char *end;
	u64 v, by = unit;

	if (!digits(s, &v, &end))
		return false;
	switch (tolower((unsigned char)*end)) {
	case 0: break;
	case 'k': by = 1ull << 10; break;
	case 'm': by = 1ull << 20; break;
	case 'g': by = 1ull << 30; break;
	default: return false;
	}
	if (*end && end[1] && strcasecmp(end + 1, "b") != 0 && strcasecmp(end + 1, "ib") != 0)
		return false;
	return !__builtin_mul_overflow(v, by, bytes);
}

bool opt_number(const char *s, u64 min, u64 max, u64 *v)
{
	char *end;

	return digits(s, v, &end) && !*end && *v >= min && *v <= max;
}

bool opt_duration(const char *s, u64 *ms)
{
	char *end;
	u64 v, by;

	if (!digits(s, &v, &end) || (*end && end[1]))
		return false;
	switch (*end) {
	case 0:
	case 's': by = 1000; break;
	case 'm': by = 60000; break;
	case 'h': by = 3600000; break;
	default: return false;
	}
	return !__builtin_mul_overflow(v, by, ms);
}
