/*
 * What `--stat` prints at the end: the processors' counters of a machine, and what they were at the moments that
 * matter, such as when a level said hello.
 */
#ifndef CMD_STATS_H
#define CMD_STATS_H

#include <stdio.h>

#include "base/types.h"
#include "core/vcpu.h"

struct machine;

struct stats_mark {
	char name[24];
	u64 ns;			/* since the machine started */
	struct vcpu_counters n; /* of all processors together */
};

struct stats {
	unsigned n;
	struct stats_mark mark[24];
};

/* Remembers the counters under a name; marks beyond the room are not kept. On a vCPU's thread, or after the run. */
void stats_mark(struct stats *s, struct machine *m, const char *name, u64 ns);
/* What happened from each mark to the next, a column a mark. */
void stats_print_marks(const struct stats *s, FILE *out);
/* All that is not 0, a line each; VM exits by reason and level. */
void stats_counters(struct machine *m, FILE *out);
/* The same with rates; `ns`: how long the machine ran. */
void stats_print(struct machine *m, u64 ns, FILE *out);

#endif
