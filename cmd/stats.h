/* What `--stat` prints at the end: the processors' counters of a machine. */
#ifndef CMD_STATS_H
#define CMD_STATS_H

#include <stdio.h>

#include "base/types.h"

struct machine;

/* `ns`: how long the machine ran. */
void stats_print(struct machine *m, u64 ns, FILE *out);

#endif
