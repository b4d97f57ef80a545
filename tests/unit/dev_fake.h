/* What chips' tests share: hands of a clock, recording wires, short forms of port accesses. */
#ifndef TESTS_UNIT_DEV_FAKE_H
#define TESTS_UNIT_DEV_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/timer.h"
#include "core/bus.h"
#include "core/irq.h"

struct wire {
	bool level;
	unsigned rises;
};

static inline void wire_set(void *ctx, unsigned pin, bool level)
{
	struct wire *w = ctx;

	(void)pin;
	w->rises += level && !w->level;
	w->level = level;
}

static inline struct irq_line wire_line(struct wire *w) { return (struct irq_line){wire_set, w, 0}; }

/* Time passes, and what falls due on the way fires at its own moment. */
static inline void pass(struct clock_fake *c, struct timer_queue *q, u64 ns)
{
	u64 end = c->now_ns + ns;

	for (;;) {
		u64 next = timer_queue_run(q), step;

		if (next > end)
			break;
		step = next - c->now_ns;
		c->now_ns += step;
		c->wall_ns += step;
	}
	c->wall_ns += end - c->now_ns;
	c->now_ns = end;
	timer_queue_run(q);
}

static inline u8 in8(const struct bus_ops *ops, void *dev, unsigned offset) { return (u8)ops->read(dev, offset, 1); }
static inline void out8(const struct bus_ops *ops, void *dev, unsigned offset, u8 v) { ops->write(dev, offset, 1, v); }

#endif
