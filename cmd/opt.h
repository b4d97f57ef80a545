/*
 * The command line's options, as a table.
 *
 * Each row has its GNU name (`--memory 1G`, `--memory=1G`), perhaps the spelling that QEMU's users have in their fingers
 * (`-m 1G`), what its argument is called, and a line of help. The help text of a verb is made from the same rows.
 */
#ifndef CMD_OPT_H
#define CMD_OPT_H

#include <stdio.h>

#include "base/types.h"

struct opt {
	const char *name;  /* without dashes */
	const char *alias; /* with its dash, or NULL */
	const char *arg;   /* NULL: takes none */
	const char *help;  /* NULL: not shown */
};

/* A verb's options, for those who list them: completion, manual pages. */
struct opt_table {
	const struct opt *rows;
	unsigned nrows;
};

struct opt_walk {
	const struct opt *rows;
	unsigned nrows;
	int argc, at;
	char **argv;
	const char *value; /* of the option that opt_next returned */
	char why[200];     /* after OPT_BAD: one sentence */
};

#define OPT_END  (-1)
#define OPT_BAD  (-2)
#define OPT_WORD (-3) /* not an option: `value` is the word */

void opt_start(struct opt_walk *w, const struct opt *rows, unsigned nrows, int argc, char **argv);
/* The row's index, or one of the above. */
int opt_next(struct opt_walk *w);
/* A verb that takes options only: hands each to `take`, whose result >= 0 ends the walk. What is wrong goes to `usage` as a sentence.
 * Returns the first result >= 0 (an exit code), or -1 when all were taken. */
int opt_each(const struct opt *rows, unsigned nrows, int argc, char **argv, int (*take)(void *ctx, int which, const char *value),
	     int (*usage)(const char *why), void *ctx);
void opt_help(const struct opt *rows, unsigned nrows, FILE *out);
/* A line for each shown option, for programs: name, alias, argument, help, separated by tabs. */
void opt_list(const struct opt_table *t, FILE *out);

/* "512M", "1G", "4096K", plain numbers in units of `unit` bytes. false: not a size. */
bool opt_size(const char *s, u64 unit, u64 *bytes) must_check;
/* A whole decimal number within [min, max]. */
bool opt_number(const char *s, u64 min, u64 max, u64 *v) must_check;
/* "90", "90s", "5m", "2h": milliseconds. */
bool opt_duration(const char *s, u64 *ms) must_check;

#endif
