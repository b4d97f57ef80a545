/*
 * The host bridge: configuration mechanism #1 at ports 0xcf8-0xcff, ECAM, and the bridge's own function in slot 0
 * (pci.h).
 *
 * Only bus 0 exists; a slot or function that is empty and an offset beyond 255 read as all ones without
 * further ado.
 */
#include "dev/pci.h"

#include <linux/pci_regs.h>
#include <string.h>

#define ADDRESS_ENABLE 0x80000000u

void pci_bus_init(struct pci_bus *bus, struct vm *vm, const struct irq_line intx[PCI_INTX])
{
	memset(bus, 0, sizeof(*bus));
	bus->vm = vm;
	memcpy(bus->intx, intx, sizeof(bus->intx));
}

static struct pci_device *by_address(struct pci_bus *bus)
{
	u32 a = bus->s.address;

	if (!(a & ADDRESS_ENABLE) || (a >> 16 & 0xff))
		return NULL;
	return pci_find(bus, a >> 11 & 31, a >> 8 & 7);
}

static u64 port_read(void *dev, u64 offset, unsigned size)
{
	struct pci_bus *bus = dev;
	struct pci_device *d;

	if (offset == 0 && size == 4)
		return bus->s.address;
	if (offset == 1 && size == 1 && bus->reset_read)
		return bus->reset_read(bus->reset_ctx);
	d = offset >= 4 ? by_address(bus) : NULL;
	return d ? pci_config_read(d, (bus->s.address & 0xfc) + (offset & 3), size) : MASK(size * 8);
}

static void port_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct pci_bus *bus = dev;
	struct pci_device *d;

	if (offset == 0 && size == 4) {
		bus->s.address = (u32)value & 0x80fffffc;
	} else if (offset == 1 && size == 1 && bus->reset_write) {
		bus->reset_write(bus->reset_ctx, (u8)value);
	} else if (offset >= 4) {
		d = by_address(bus);
		if (d)
			pci_config_write(d, (bus->s.address & 0xfc) + (offset & 3), size, value);
	}
}

const struct bus_ops pci_port_ops = {port_read, port_write};

static struct pci_device *by_ecam(struct pci_bus *bus, u64 offset)
{
	return pci_find(bus, offset >> 15 & 31, offset >> 12 & 7);
}

static u64 ecam_read(void *dev, u64 offset, unsigned size)
{
	struct pci_device *d = by_ecam(dev, offset);

	return d ? pci_config_read(d, offset & 0xfff, size) : MASK(size * 8);
}

static void ecam_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct pci_device *d = by_ecam(dev, offset);

	if (d)
		pci_config_write(d, offset & 0xfff, size, value);
}

const struct bus_ops pci_ecam_ops = {ecam_read, ecam_write};

static void bus_reset(void *dev)
{
	struct pci_bus *bus = dev;

	bus->s.address = 0;
}

static const struct desc_field address_fields[] = {
	DESC_INT(struct pci_bus_state, address),
};
DESC(pci_bus_state_desc, struct pci_bus_state, address_fields);

const struct device_class pci_bus_class = {
	.name = "pci",
	.migration = MIGRATE_STATE,
	.state = &pci_bus_state_desc,
	.reset = bus_reset,
};

/* Vendor and device: the generic host bridge of the Red Hat range, which no operating system has a quirk for. */
void pci_bridge_init(struct pci_device *d)
{
	static const struct pci_ids ids = {
		.vendor = 0x1b36,
		.device = 0x0008,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.class_code = 0x060000,
	};

	pci_device_init(d, "pci-bridge", &ids, d);
}
