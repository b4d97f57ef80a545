/*
 * `nest --shell LEVEL`: this program's terminal as that of a shell in one of the chain's levels.
 *
 * The levels are a kept chain. When all are up the shell is asked for; what is typed goes down the channel, what it
 * says comes up (docs/CHANNEL.md), so that it works at any depth. Its end is the chain's end.
 */
#ifndef CMD_SHELL_H
#define CMD_SHELL_H

#include <jansson.h>
#include <pthread.h>

#include "base/err.h"
#include "cmd/terminal.h"

enum shell_phase { SHELL_WAITS, SHELL_RUNS, SHELL_ENDED };

struct shell {
	struct machine *machine;
	unsigned level;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum shell_phase phase;
	bool stopped; /* the machine is gone */
};

int shell_start(struct shell *s, struct machine *m, unsigned level, struct err *e);
/* The chain is up. Any thread, under any lock. */
void shell_ready(struct shell *s);
/* A message that came up the channel: takes the shell's. Any thread, under any lock. */
void shell_message(struct shell *s, const json_t *msg);
/* After machine_run. */
void shell_stop(struct shell *s);

#endif
