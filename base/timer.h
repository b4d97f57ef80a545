/*
 * Timers over a clock: one queue a VM, run by whoever owns the queue (the event loop, or a test).
 *
 * Locking: none of its own. In a VM every call is made with vm->lock held (core/vm.h), the callbacks run with it held.
 * `wake` tells the owner that the earliest deadline moved forward; it may be called from a vCPU thread.
 */
#ifndef BASE_TIMER_H
#define BASE_TIMER_H

#include "base/clock.h"

struct timer_queue;

struct timer {
	void (*fire)(void *ctx);
	void *ctx;
	u64 deadline;        /* nanoseconds of the queue's clock */
	bool armed;
	struct timer_queue *queue;
	struct timer *prev, *next; /* the queue keeps them sorted by deadline */
};

struct timer_queue {
	struct clock *clock;
	struct timer *first;
	struct timer *due;       /* what timer_queue_run has still to fire */
	bool running;            /* inside timer_queue_run: no `wake`, its caller learns the next deadline anyway */
	void (*wake)(void *ctx); /* may be NULL */
	void *wake_ctx;
};

void timer_queue_init(struct timer_queue *q, struct clock *clock);
void timer_init(struct timer *t, struct timer_queue *q, void (*fire)(void *ctx), void *ctx);
/* (Re)arms at an absolute time; a deadline in the past fires at the next timer_queue_run. */
void timer_arm(struct timer *t, u64 deadline_ns);
void timer_cancel(struct timer *t);
/* Fires all that are due (what a callback arms waits for the next run, due or not). Returns the next deadline, or UINT64_MAX. */
u64 timer_queue_run(struct timer_queue *q);

#endif
