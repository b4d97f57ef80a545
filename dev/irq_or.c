/* See irq_or.h. */
#include "dev/irq_or.h"

#include <assert.h>

static void set(void *ctx, unsigned source, bool level)
{
	struct irq_or *o = ctx;
	u64 high = level ? o->high | BIT(source) : o->high & ~BIT(source);
	bool change = !high != !o->high;

	o->high = high;
	if (change)
		irq_set(&o->out, high);
}

void irq_or_init(struct irq_or *o, struct irq_line out) { *o = (struct irq_or){.out = out}; }

struct irq_line irq_or_source(struct irq_or *o)
{
	assert(o->n < 64); /* the board's wiring, not a guest's doing */
	return (struct irq_line){set, o, o->n++};
}
