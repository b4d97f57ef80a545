/*
 * A bus: ranges of port or memory addresses, each answered by a device.
 *
 * One call registers a range. Handlers see the offset into their range and a size of 1, 2, 4 or 8; an access never
 * crosses a range's end (the bus splits it into bytes when it would). Nobody there: reads are all ones, writes are lost, and the
 * bus traces it. Handlers run with vm->lock held. Ranges may be moved and removed (PCI BARs).
 */
#ifndef CORE_BUS_H
#define CORE_BUS_H

#include "base/err.h"
#include "base/log.h"
#include "base/types.h"

struct bus_ops {
	u64 (*read)(void *dev, u64 offset, unsigned size);
	void (*write)(void *dev, u64 offset, unsigned size, u64 value);
	/* Optional: the offset of the i-th doorbell, false: there are no more. A write to one, of whatever size and
	 * value, only says that there is something to look at, so an engine may hand it on a little later, and several
	 * as one. */
	bool (*doorbell)(void *dev, unsigned i, u64 *offset);
};

struct bus_range {
	u64 base, size;
	const struct bus_ops *ops;
	void *dev;
	const char *name; /* a literal */
};

/* An engine that takes doorbells without stopping the processor is told, with vm->lock held, of the ranges with
 * doorbells: when they are on the bus, and before they leave it. */
struct bus_engine {
	void (*added)(void *ctx, const struct bus_range *r);
	void (*removed)(void *ctx, const struct bus_range *r);
	void *ctx;
};

#define BUS_RANGES 128

struct bus {
	const char *name; /* "port", "mmio" */
	struct log *log;
	enum trace_topic topic;
	struct bus_engine engine; /* all NULL: every write comes to the bus at once */
	unsigned n;
	struct bus_range range[BUS_RANGES]; /* sorted by base, never overlapping */
};

/* -EEXIST when it overlaps a range (named in e), -ENOSPC when full. */
int bus_add(struct bus *bus, u64 base, u64 size, const struct bus_ops *ops, void *dev, const char *name, struct err *e);
/* Removes the range that starts at base and belongs to dev; no-op if there is none. */
void bus_remove(struct bus *bus, u64 base, void *dev);
const struct bus_range *bus_find(const struct bus *bus, u64 addr);
u64 bus_read(struct bus *bus, u64 addr, unsigned size);
void bus_write(struct bus *bus, u64 addr, unsigned size, u64 value);

#endif
