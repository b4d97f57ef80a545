/*
 * Running another program for what it prints: no shell, a time limit, a limit of output.
 */
#ifndef CMD_PROGRAM_H
#define CMD_PROGRAM_H

#include "base/err.h"

struct program_output {
	char *text; /* stdout, NUL-terminated; the caller frees it */
	size_t size;
	bool cut;   /* it printed more than the limit */
	int status; /* its exit status, 128 + signal */
};

/* `words`: the program, found by PATH and in the sbin folders, and its arguments, separated by blanks. -ENOENT: no such
 * program; -ETIMEDOUT: it and all that it started in its group are killed; -EINTR: one of SIGINT, SIGTERM, SIGHUP
 * (which the caller holds blocked) is pending. */
int program_run(const char *words, u64 timeout_ms, size_t limit, struct program_output *out, struct err *e);
/* Is one of these signals pending? Its number, or 0. */
int program_interrupted(void);

#endif
