/* What `nestbox nest` was asked for. */
#ifndef CMD_NEST_OPTIONS_H
#define CMD_NEST_OPTIONS_H

#include <stdbool.h>

#include "base/types.h"

struct nest_options {
	const char *accel, *cpu, *kernel, *modules, *append, *dmesg, *report, *trace;
	const char *vendor_cpu; /* the model that --vendor stands for; NULL: the accelerator's own choice */
	char *exec;		/* "LEVEL COMMAND\n"..., allocated; NULL: nothing */
	u64 depth, guests, smp, memory, timeout_ms, drop_every;
	u64 shell_level; /* 0: no shell */
	bool json, stat, console, keep;
};

/* -1: go on; else the exit code, after a sentence or the help text. The caller frees o->exec in both cases. */
int nest_options_take(struct nest_options *o, int argc, char **argv);
/* Says what is wrong with an option: EXIT_USAGE. */
int nest_usage(const char *why);

#endif
