/* The table of ranges: a sorted array, found by halving. */
#include "core/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* The first range that ends above addr. */
static unsigned bus_index(const struct bus *bus, u64 addr)
{
	unsigned lo = 0, hi = bus->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct bus_range *r = &bus->range[mid];

		if (r->base + (r->size - 1) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_add(struct bus *bus, u64 base, u64 size, const struct bus_ops *ops, void *dev, const char *name, struct err *e)
{
	if (!size || base + (size - 1) < base)
		return err_set(e, EINVAL, "%s range of %s at %#" PRIx64 " has an impossible size", bus->name, name,
			       base);
	if (bus->n == BUS_RANGES)
		return err_set(e, ENOSPC, "no room for %s on the %s bus", name, bus->name);
	unsigned at = bus_index(bus, base);
	if (at < bus->n && bus->range[at].base <= base + (size - 1))
		return err_set(e, EEXIST, "%s at %#" PRIx64 " on the %s bus overlaps %s at %#" PRIx64, name, base,
			       bus->name, bus->range[at].name, bus->range[at].base);
	memmove(&bus->range[at + 1], &bus->range[at], (bus->n - at) * sizeof(bus->range[0]));
	bus->range[at] = (struct bus_range){.base = base, .size = size, .ops = ops, .dev = dev, .name = name};
	bus->n++;
	if (bus->engine.added && ops->doorbell)
		bus->engine.added(bus->engine.ctx, &bus->range[at]);
	return 0;
}

void bus_remove(struct bus *bus, u64 base, void *dev)
{
	unsigned at = bus_index(bus, base);

	if (at == bus->n || bus->range[at].base != base || bus->range[at].dev != dev)
		return;
	if (bus->engine.removed && bus->range[at].ops->doorbell)
		bus->engine.removed(bus->engine.ctx, &bus->range[at]);
	bus->n--;
	memmove(&bus->range[at], &bus->range[at + 1], (bus->n - at) * sizeof(bus->range[0]));
}

const struct bus_range *bus_find(const struct bus *bus, u64 addr)
{
	unsigned at = bus_index(bus, addr);

	return at < bus->n && bus->range[at].base <= addr ? &bus->range[at] : NULL;
}

/* The range that takes the whole access; NULL with *some = true when the access only touches ranges. */
static const struct bus_range *bus_whole(const struct bus *bus, u64 addr, unsigned size, bool *some)
{
	unsigned at = bus_index(bus, addr);
	const struct bus_range *r = &bus->range[at];

	*some = at < bus->n && (r->base <= addr || r->base - addr < size);
	return *some && r->base <= addr && r->size - (addr - r->base) >= size ? r : NULL;
}

u64 bus_read(struct bus *bus, u64 addr, unsigned size)
{
	bool some;
	const struct bus_range *r = bus_whole(bus, addr, size, &some);
	u64 v = 0;

	if (r)
		return r->ops->read(r->dev, addr - r->base, size) & MASK(size * 8);
	if (!some || size == 1) {
		log_trace(bus->log, bus->topic, "nobody answers the read at %" PRIx64 " size %u", addr, size);
		return MASK(size * 8);
	}
	for (unsigned i = 0; i < size; i++)
		v |= bus_read(bus, addr + i, 1) << (i * 8);
	return v;
}

void bus_write(struct bus *bus, u64 addr, unsigned size, u64 value)
{
	bool some;
	const struct bus_range *r = bus_whole(bus, addr, size, &some);

	if (r) {
		r->ops->write(r->dev, addr - r->base, size, value & MASK(size * 8));
	} else if (!some || size == 1) {
		log_trace(bus->log, bus->topic, "nobody takes the write at %" PRIx64 " size %u value %" PRIx64, addr,
			  size, value);
	} else {
		for (unsigned i = 0; i < size; i++)
			bus_write(bus, addr + i, 1, value >> (i * 8) & 0xff);
	}
}
