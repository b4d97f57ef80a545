/* The sorted list of armed timers, and a second list of those that a run has taken off it to fire. */
#include "base/timer.h"

void timer_queue_init(struct timer_queue *q, struct clock *clock) { *q = (struct timer_queue){.clock = clock}; }

void timer_init(struct timer *t, struct timer_queue *q, void (*fire)(void *ctx), void *ctx)
{
	*t = (struct timer){.fire = fire, .ctx = ctx, .queue = q};
}

static void unlink_timer(struct timer *t)
{
	struct timer_queue *q = t->queue;

	if (t->prev)
		t->prev->next = t->next;
	else if (q->first == t)
		q->first = t->next;
	else
		q->due = t->next;
	if (t->next)
		t->next->prev = t->prev;
	t->prev = t->next = NULL;
	t->armed = false;
}

void timer_arm(struct timer *t, u64 deadline_ns)
{
	struct timer_queue *q = t->queue;
	struct timer *before = NULL, *after;

	if (t->armed)
		unlink_timer(t);
	for (after = q->first; after && after->deadline <= deadline_ns; after = after->next)
		before = after;
	t->deadline = deadline_ns;
	t->armed = true;
	t->prev = before;
	t->next = after;
	if (after)
		after->prev = t;
	if (before)
		before->next = t;
	else
		q->first = t;
	if (!before && !q->running && q->wake)
		q->wake(q->wake_ctx);
}

void timer_cancel(struct timer *t)
{
	if (t->armed)
		unlink_timer(t);
}

u64 timer_queue_run(struct timer_queue *q)
{
	u64 now = q->clock->now(q->clock);
	struct timer *last = NULL;

	for (struct timer *t = q->first; t && t->deadline <= now; t = t->next)
		last = t;
	if (last) {
		q->due = q->first;
		q->first = last->next;
		last->next = NULL;
		if (q->first)
			q->first->prev = NULL;
	}
	q->running = true;
	while (q->due) {
		struct timer *t = q->due;

		unlink_timer(t);
		t->fire(t->ctx);
	}
	q->running = false;
	return q->first ? q->first->deadline : UINT64_MAX;
}
