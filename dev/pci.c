/*
 * Configuration space: reads and writes by byte masks, capabilities, base address registers and their place on the
 * buses (pci.h).
 *
 * A BAR's register keeps what was written to its writable bits, which are the address bits above its size: that is all
 * there is to sizing (PCI 3.0 6.2.5.1). Moving one takes it off its bus and puts it back at the new address; a place
 * that is taken is left alone until a later write makes room.
 */
#include "dev/pci.h"

#include <assert.h>
#include <linux/pci_regs.h>
#include <string.h>

#define HEADER_MULTI 0x80u

static u64 get(const u8 *p, unsigned size)
{
	u64 v = 0;

	memcpy(&v, p, size);
	return v;
}

static void put(u8 *p, unsigned size, u64 v) { memcpy(p, &v, size); }

static u16 command(const struct pci_device *d) { return (u16)get(d->s.config + PCI_COMMAND, 2); }

/* ---- base address registers ---- */

u64 pci_bar_base(const struct pci_device *d, unsigned index)
{
	const struct pci_bar *bar = &d->bar[index];
	const u8 *reg = d->s.config + PCI_BASE_ADDRESS_0 + index * 4;

	if (bar->type & PCI_BAR_IO)
		return get(reg, 4) & ~3ull;
	return get(reg, bar->type & PCI_BAR_MEM64 ? 8 : 4) & ~15ull;
}

static struct bus *bar_bus(const struct pci_device *d, const struct pci_bar *bar)
{
	return bar->type & PCI_BAR_IO ? &d->bus->vm->ports : &d->bus->vm->mmio;
}

static u64 bar_wanted(const struct pci_device *d, unsigned index)
{
	const struct pci_bar *bar = &d->bar[index];
	u64 base = pci_bar_base(d, index);
	u64 limit = bar->type & PCI_BAR_IO ? 0x10000 : bar->type & PCI_BAR_MEM64 ? BIT(52) : BIT(32);

	if (!(command(d) & (bar->type & PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
		return 0;
	/* All address bits set is what sizing leaves behind; the top of memory is the boot ROM's. */
	return base + bar->size < limit ? base : 0;
}

static void bars_unmap_moved(struct pci_device *d)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &d->bar[i];

		if (bar->mapped && bar->base != bar_wanted(d, i)) {
			bus_remove(bar_bus(d, bar), bar->base, d->dev);
			bar->mapped = false;
		}
	}
}

static void bars_map_missing(struct pci_device *d)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &d->bar[i];
		u64 base = bar->size ? bar_wanted(d, i) : 0;
		struct err e = {0};

		if (!base || bar->mapped)
			continue;
		if (bus_add(bar_bus(d, bar), base, bar->size, bar->ops, d->dev, d->name, &e)) {
			if (trace_on(d->bus->vm->topics, TRACE_DEV))
				log_trace(d->bus->vm->log, TRACE_DEV, "%s: BAR %u stays off the bus: %s", d->name, i,
					  e.text);
			continue;
		}
		bar->mapped = true;
		bar->base = base;
	}
}

static void bars_update(struct pci_bus *bus)
{
	for (unsigned i = 0; i < PCI_SLOTS; i++)
		if (bus->slot[i])
			bars_unmap_moved(bus->slot[i]);
	for (unsigned i = 0; i < PCI_SLOTS; i++)
		if (bus->slot[i])
			bars_map_missing(bus->slot[i]);
}

void pci_bar_init(struct pci_device *d, unsigned index, u32 type, u64 size, const struct bus_ops *ops)
{
	bool wide = type & PCI_BAR_MEM64 && !(type & PCI_BAR_IO);
	u8 *reg = d->s.config + PCI_BASE_ADDRESS_0 + index * 4;
	u8 *mask = d->wmask + PCI_BASE_ADDRESS_0 + index * 4;

	assert(index + wide < PCI_BARS && size >= (type & PCI_BAR_IO ? 4 : 16) && !(size & (size - 1)));
	d->bar[index] = (struct pci_bar){.size = size, .type = type, .ops = ops};
	put(reg, 4, type);
	put(mask, wide ? 8 : 4, ~(size - 1));
}

void pci_bar_assign(struct pci_device *d, unsigned index, u64 base)
{
	struct pci_bar *bar = &d->bar[index];

	assert(!(base & (bar->size - 1)));
	put(d->s.config + PCI_BASE_ADDRESS_0 + index * 4, bar->type & PCI_BAR_MEM64 ? 8 : 4, base | bar->type);
	bars_update(d->bus);
}

void pci_command_set(struct pci_device *d, u16 bits) { pci_config_write(d, PCI_COMMAND, 2, bits); }

/* ---- functions ---- */

void pci_device_init(struct pci_device *d, const char *name, const struct pci_ids *ids, void *dev)
{
	u8 *c = d->s.config;

	memset(d, 0, sizeof(*d));
	d->name = name;
	d->dev = dev;
	d->cap_end = PCI_STD_HEADER_SIZEOF;
	put(c + PCI_VENDOR_ID, 2, ids->vendor);
	put(c + PCI_DEVICE_ID, 2, ids->device);
	put(c + PCI_SUBSYSTEM_VENDOR_ID, 2, ids->subvendor);
	put(c + PCI_SUBSYSTEM_ID, 2, ids->subdevice);
	put(c + PCI_CLASS_REVISION, 4, (u64)ids->class_code << 8 | ids->revision);
	c[PCI_INTERRUPT_PIN] = ids->pin;
	put(d->wmask + PCI_COMMAND, 2,
	    PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
		    (ids->pin ? PCI_COMMAND_INTX_DISABLE : 0));
	d->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
	if (ids->pin)
		d->wmask[PCI_INTERRUPT_LINE] = 0xff;
}

u8 pci_capability_add(struct pci_device *d, u8 id, unsigned size)
{
	u8 *c = d->s.config;
	u8 at = d->cap_end;

	assert(at + size <= 256);
	if (d->last_cap)
		c[d->last_cap + PCI_CAP_LIST_NEXT] = at;
	else
		c[PCI_CAPABILITY_LIST] = at;
	c[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	c[at + PCI_CAP_LIST_ID] = id;
	d->last_cap = at;
	d->cap_end = (u8)MIN(ALIGN_UP(at + size, 4), 252);
	return at;
}

void pci_attach(struct pci_bus *bus, struct pci_device *d, unsigned slot)
{
	assert(slot < PCI_SLOTS && !bus->slot[slot]);
	d->bus = bus;
	d->slot = slot;
	memcpy(d->initial, d->s.config, sizeof(d->initial));
	bus->slot[slot] = d;
}

void pci_attach_function(struct pci_bus *bus, struct pci_device *d, unsigned slot, unsigned function)
{
	struct pci_device *first = bus->slot[slot];

	assert(first && function && function < 8 && bus->nmore < PCI_MORE && !pci_find(bus, slot, function));
	first->s.config[PCI_HEADER_TYPE] |= HEADER_MULTI;
	memcpy(first->initial, first->s.config, sizeof(first->initial));
	d->bus = bus;
	d->slot = slot;
	d->function = function;
	memcpy(d->initial, d->s.config, sizeof(d->initial));
	bus->more[bus->nmore++] = d;
}

struct pci_device *pci_find(const struct pci_bus *bus, unsigned slot, unsigned function)
{
	if (!function)
		return bus->slot[slot];
	for (unsigned i = 0; i < bus->nmore; i++)
		if (bus->more[i]->slot == slot && bus->more[i]->function == function)
			return bus->more[i];
	return NULL;
}

void pci_device_reset(struct pci_device *d)
{
	memcpy(d->s.config, d->initial, sizeof(d->initial));
	d->s.pending = 0;
	for (unsigned i = 0; i < PCI_VECTORS; i++)
		d->s.vector[i] = (struct pci_vector){.control = PCI_MSIX_ENTRY_CTRL_MASKBIT};
	pci_intx_set(d, false);
	bars_update(d->bus);
}

bool pci_can_dma(const struct pci_device *d) { return command(d) & PCI_COMMAND_MASTER; }

/* ---- INTx ---- */

static void intx_update(struct pci_device *d)
{
	struct pci_bus *bus = d->bus;
	u8 pin = d->s.config[PCI_INTERRUPT_PIN];
	unsigned wire = pci_intx_wire(d->slot, pin);
	bool on = d->s.intx && !(command(d) & PCI_COMMAND_INTX_DISABLE) && !pci_msix_enabled(d);
	u32 high;

	if (!pin)
		return;
	d->s.config[PCI_STATUS] &= (u8)~PCI_STATUS_INTERRUPT;
	if (d->s.intx)
		d->s.config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	high = (bus->intx_high[wire] & ~(u32)BIT(d->slot)) | (on ? (u32)BIT(d->slot) : 0);
	if (!high != !bus->intx_high[wire])
		irq_set(&bus->intx[wire], high);
	bus->intx_high[wire] = high;
}

void pci_intx_set(struct pci_device *d, bool level)
{
	d->s.intx = level;
	intx_update(d);
}

/* ---- MSI-X ---- */

static u16 msix_control(const struct pci_device *d)
{
	return d->msix_cap ? (u16)get(d->s.config + d->msix_cap + PCI_MSIX_FLAGS, 2) : 0;
}

bool pci_msix_enabled(const struct pci_device *d) { return msix_control(d) & PCI_MSIX_FLAGS_ENABLE; }

void pci_msix_init(struct pci_device *d, unsigned vectors, unsigned bar, u32 table, u32 pending)
{
	u8 at = pci_capability_add(d, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	u8 *c = d->s.config + at;

	assert(vectors && vectors <= PCI_VECTORS);
	d->msix_cap = at;
	d->vectors = vectors;
	put(c + PCI_MSIX_FLAGS, 2, vectors - 1);
	put(c + PCI_MSIX_TABLE, 4, table | bar);
	put(c + PCI_MSIX_PBA, 4, pending | bar);
	put(d->wmask + at + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	for (unsigned i = 0; i < PCI_VECTORS; i++)
		d->s.vector[i].control = PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

static void msix_flush(struct pci_device *d)
{
	u16 control = msix_control(d);

	if (!d->s.pending || !(control & PCI_MSIX_FLAGS_ENABLE) || control & PCI_MSIX_FLAGS_MASKALL || !pci_can_dma(d))
		return;
	for (unsigned i = 0; i < d->vectors; i++) {
		struct pci_vector *v = &d->s.vector[i];

		if (!(d->s.pending & BIT(i)) || v->control & PCI_MSIX_ENTRY_CTRL_MASKBIT)
			continue;
		d->s.pending &= ~BIT(i);
		if (d->bus->vm->msi.send)
			d->bus->vm->msi.send(d->bus->vm->msi.ctx, v->addr, v->data);
	}
}

void pci_msix_send(struct pci_device *d, unsigned vector)
{
	if (vector >= d->vectors || !pci_msix_enabled(d))
		return;
	d->s.pending |= BIT(vector);
	msix_flush(d);
}

u64 pci_msix_read(struct pci_device *d, u64 offset, unsigned size)
{
	if (offset + size > d->vectors * sizeof(struct pci_vector))
		return 0;
	return get((const u8 *)d->s.vector + offset, size);
}

void pci_msix_write(struct pci_device *d, u64 offset, unsigned size, u64 value)
{
	struct pci_vector *v;

	/* Aligned dwords and quadwords only; anything else is undefined there (6.8.2) and lost here. */
	if (size < 4 || offset % size || offset + size > d->vectors * sizeof(*v))
		return;
	v = &d->s.vector[offset / sizeof(*v)];
	put((u8 *)d->s.vector + offset, size, value);
	v->addr &= ~3ull;
	v->control &= PCI_MSIX_ENTRY_CTRL_MASKBIT;
	msix_flush(d);
}

u64 pci_msix_pending_read(struct pci_device *d, u64 offset, unsigned size)
{
	if (offset + size > sizeof(d->s.pending))
		return 0;
	return get((const u8 *)&d->s.pending + offset, size);
}

/* ---- configuration accesses ---- */

u64 pci_config_read(struct pci_device *d, u32 offset, unsigned size)
{
	if (offset + size > sizeof(d->s.config))
		return MASK(size * 8);
	if (d->config_reading)
		d->config_reading(d->dev, offset, size);
	return get(d->s.config + offset, size);
}

static bool touches(u32 offset, unsigned size, u32 first, u32 end) { return offset < end && offset + size > first; }

void pci_config_write(struct pci_device *d, u32 offset, unsigned size, u64 value)
{
	u8 *c = d->s.config;

	if (offset + size > sizeof(d->s.config))
		return;
	for (unsigned i = 0; i < size; i++) {
		u8 mask = d->wmask[offset + i];

		c[offset + i] = (u8)((c[offset + i] & ~mask) | ((value >> (i * 8)) & mask));
	}
	if (touches(offset, size, PCI_COMMAND, PCI_COMMAND + 2) ||
	    touches(offset, size, PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_0 + PCI_BARS * 4))
		bars_update(d->bus);
	if (touches(offset, size, PCI_COMMAND, PCI_COMMAND + 2) ||
	    (d->msix_cap && touches(offset, size, d->msix_cap, d->msix_cap + PCI_CAP_MSIX_SIZEOF))) {
		intx_update(d);
		msix_flush(d);
	}
	if (d->config_written)
		d->config_written(d->dev, offset, size);
}

static const struct desc_field vector_fields[] = {
	DESC_INT(struct pci_vector, addr),
	DESC_INT(struct pci_vector, data),
	DESC_INT(struct pci_vector, control),
};
static DESC(vector_desc, struct pci_vector, vector_fields);
static const struct desc_field state_fields[] = {
	DESC_ARR(struct pci_state, config),
	DESC_SUBS(struct pci_state, vector, &vector_desc),
	DESC_INT(struct pci_state, pending),
	DESC_INT(struct pci_state, intx),
};
DESC(pci_state_desc, struct pci_state, state_fields);

static void function_reset(void *dev) { pci_device_reset(dev); }

const struct device_class pci_function_class = {
	.name = "pci-function",
	.migration = MIGRATE_STATE,
	.state = &pci_state_desc,
	.reset = function_reset,
};
