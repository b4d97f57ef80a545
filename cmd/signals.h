/*
 * SIGINT, SIGTERM and SIGHUP as a request to stop a machine: a thread waits for them, so that no code runs in a
 * handler. Between signals_start and signals_stop these signals are blocked in the calling thread and in all that it
 * starts.
 */
#ifndef CMD_SIGNALS_H
#define CMD_SIGNALS_H

#include <pthread.h>
#include <signal.h>

#include "base/err.h"

struct machine;

struct signals {
	pthread_t thread;
	sigset_t old;
	pthread_mutex_t lock;
	struct machine *machine; /* what to stop; NULL: not there yet or gone */
	int got;		 /* the first signal, 0: none */
};

int signals_start(struct signals *s, struct err *e);
/* Gives or takes (NULL) the machine. If a signal has already come, the machine is stopped at once. */
void signals_guard(struct signals *s, struct machine *m);
/* Returns the signal that came, or 0. */
int signals_stop(struct signals *s);

#endif
