/*
 * One line at the foot of a terminal that says what goes on, with the seconds so far; it is erased and drawn anew, and
 * whoever prints something else takes it away first. Where the stream is no terminal nothing is ever drawn.
 */
#ifndef CMD_PROGRESS_H
#define CMD_PROGRESS_H

#include <pthread.h>
#include <stdio.h>

#include "base/types.h"

struct progress {
	FILE *out;
	bool started;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool drawn, stop;
	char text[400]; /* "": nothing is drawn */
	u64 began;	/* ns */
};

/* Columns of the terminal behind a stream; 0: it is none. */
unsigned progress_columns(FILE *out);
/* Does the locale say that the terminal takes UTF-8? */
bool progress_utf8(void);

/* The stream must outlive it. */
void progress_start(struct progress *p, FILE *out);
/* Until progress_resume the line is gone and stays away. Any thread; not nested. */
void progress_pause(struct progress *p);
void progress_resume(struct progress *p);
/* What it says from now on; control characters become blanks. Between pause and resume. */
void progress_say(struct progress *p, const char *text);
void progress_stop(struct progress *p);

#endif
