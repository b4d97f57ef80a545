/* See testdev.h. */
#include "dev/testdev.h"

#include <string.h>

void testdev_init(struct testdev *t, struct irq_line irq)
{
	memset(t, 0, sizeof(*t));
	t->irq = irq;
}

static u64 latch_read(void *dev, u64 offset, unsigned size)
{
	struct testdev *t = dev;

	return t->s.latch >> (offset & 3) * 8;
}

static void latch_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct testdev *t = dev;
	unsigned shift = (offset & 3) * 8;
	u64 mask = MASK(size * 8) << shift;

	t->s.latch = (u32)((t->s.latch & ~mask) | (value << shift & mask));
}

static u64 flush_read(void *dev, u64 offset, unsigned size) { return ~0ull; }
static void flush_write(void *dev, u64 offset, unsigned size, u64 value) { (void)dev; }

static u64 irq_read(void *dev, u64 offset, unsigned size) { return ~0ull; }

static void irq_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct testdev *t = dev;

	if (t->irq.set)
		t->irq.set(t->irq.ctx, t->irq.pin + (unsigned)offset, value & 0xff);
}

static u64 mem_read(void *dev, u64 offset, unsigned size)
{
	struct testdev *t = dev;
	u64 v = 0;

	memcpy(&v, t->s.mem + offset, size);
	return v;
}

static void mem_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct testdev *t = dev;

	memcpy(t->s.mem + offset, &value, size);
}

static void reset(void *dev)
{
	struct testdev *t = dev;

	memset(&t->s, 0, sizeof(t->s));
}

const struct bus_ops testdev_latch_ops = {latch_read, latch_write};
const struct bus_ops testdev_byte_ops = {latch_read, latch_write};
const struct bus_ops testdev_flush_ops = {flush_read, flush_write};
const struct bus_ops testdev_irq_ops = {irq_read, irq_write};
const struct bus_ops testdev_mem_ops = {mem_read, mem_write};

static const struct desc_field fields[] = {
	DESC_INT(struct testdev_state, latch),
	DESC_ARR(struct testdev_state, mem),
};
DESC(testdev_state_desc, struct testdev_state, fields);

const struct device_class testdev_class = {"testdev", MIGRATE_STATE, &testdev_state_desc, reset};
