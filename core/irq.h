/* A wire: one interrupt output of a device, connected to one input of a controller. */
#ifndef CORE_IRQ_H
#define CORE_IRQ_H

#include "base/types.h"

struct irq_line {
	void (*set)(void *ctx, unsigned pin, bool level);
	void *ctx;
	unsigned pin;
};

static inline void irq_set(const struct irq_line *line, bool level)
{
	if (line->set)
		line->set(line->ctx, line->pin, level);
}

static inline void irq_pulse(const struct irq_line *line)
{
	irq_set(line, true);
	irq_set(line, false);
}

/* A message-signalled interrupt's way to the processors: address and data as the device was programmed with. */
struct msi_sink {
	void (*send)(void *ctx, u64 addr, u32 data);
	void *ctx;
};

#endif
