/*
 * The monitor's commands, about a machine whose vCPUs all stand still: of Ctrl-A c on the terminal, and of gdb's
 * `monitor`.
 */
#ifndef CMD_MONITOR_H
#define CMD_MONITOR_H

#include <stdio.h>

struct machine;

/* One line, about that vCPU. Unknown commands get the list of what there is. */
void monitor_run(struct machine *m, unsigned vcpu, const char *line, FILE *out);

#endif
