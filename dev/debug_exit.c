/* See debug_exit.h. */
#include "dev/debug_exit.h"

void debug_exit_init(struct debug_exit *d, void (*stop)(void *ctx, u32 code), void *ctx)
{
	d->stop = stop;
	d->ctx = ctx;
}

static u64 debug_read(void *dev, u64 offset, unsigned size) { return ~0ull; }

static void debug_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct debug_exit *d = dev;

	if (!offset)
		d->stop(d->ctx, (u32)value);
}

static void reset(void *dev) { (void)dev; }

const struct bus_ops debug_exit_ops = {debug_read, debug_write};
const struct device_class debug_exit_class = {"debug-exit", MIGRATE_NONE, NULL, reset};
