/* See debugcon.h. */
#include "dev/debugcon.h"

#define PRESENT 0xe9u

void debugcon_init(struct debugcon *d, struct char_sink out) { d->out = out; }

static u64 debugcon_read(void *dev, u64 offset, unsigned size) { return PRESENT; }

static void debugcon_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct debugcon *d = dev;
	u8 byte = (u8)value;

	if (d->out.write)
		d->out.write(d->out.ctx, &byte, 1);
}

static void reset(void *dev) { (void)dev; }

const struct bus_ops debugcon_ops = {debugcon_read, debugcon_write};
const struct device_class debugcon_class = {"debugcon", MIGRATE_NONE, NULL, reset};
