/*
 * This program's terminal as a guest's serial console.
 *
 * With a terminal on stdin it is put into raw mode, and Ctrl-A is ours: Ctrl-A x leaves, Ctrl-A c stops the guest and
 * takes commands about it (monitor.h), Ctrl-A Ctrl-A sends one Ctrl-A, Ctrl-A h says so. Without one, stdin's bytes go
 * to the guest as they are, and its end is not the guest's end.
 */
#ifndef CMD_TERMINAL_H
#define CMD_TERMINAL_H

#include <pthread.h>
#include <termios.h>

#include "base/err.h"

struct machine;

/* Who takes the input. `size`: of the terminal, at the start and when it has changed. */
struct terminal_sink {
	void (*input)(void *ctx, const u8 *buf, size_t n);
	void (*size)(void *ctx, unsigned rows, unsigned columns);
	void *ctx;
};

struct terminal {
	struct machine *machine;
	struct terminal_sink to;
	unsigned rows, columns; /* as `to` knows them */
	struct termios saved;
	bool raw, escaped, started;
	int quit[2]; /* a pipe: closing its end stops the thread */
	pthread_t thread;
	bool monitor;  /* it has the keyboard, and the guest stands still */
	unsigned vcpu; /* that the monitor is about */
	char line[128];
	unsigned length;
};

/* Starts to pass input on to `to`, NULL: m's serial console; its leaving is machine_stop(m, VM_USER). */
int terminal_start(struct terminal *t, struct machine *m, const struct terminal_sink *to, struct err *e);
void terminal_stop(struct terminal *t);
/* A char_sink's write: the guest's output to stdout, at once. */
void terminal_write(void *ctx, const u8 *buf, size_t n);

#endif
