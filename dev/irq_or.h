/*
 * Several level-triggered devices on one interrupt input: the input is high while any of them is.
 *
 * No state of its own: `high` follows the devices' wires, and each device sets its wire again when its state is loaded.
 */
#ifndef DEV_IRQ_OR_H
#define DEV_IRQ_OR_H

#include "core/irq.h"

struct irq_or {
	struct irq_line out;
	u64 high; /* bit n: source n */
	unsigned n;
};

void irq_or_init(struct irq_or *o, struct irq_line out);
/* A new source, at most 64. */
struct irq_line irq_or_source(struct irq_or *o);

#endif
