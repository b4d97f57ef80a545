/*
 * The I/O APIC (82093AA): 24 inputs, each with a redirection entry that makes a message on the local APICs' bus.
 *
 * Wiring: MMIO 0xfec00000, 0x1000 bytes: ioapic_ops. Inputs by ioapic_line(). `lapic_bus.eoi` = ioapic_eoi, its ctx the
 * struct ioapic. Version 0x20: it has the EOI register.
 *
 * Invariants: an edge on a masked input is lost (82093AA 3.2.4 "Interrupt Mask"); a level entry with Remote IRR set
 * sends nothing until its EOI. The polarity bit is kept and not used: `level` is "asserted". Wires of several devices
 * on one pin are the caller's to combine (irq_or.h).
 */
#ifndef DEV_IOAPIC_H
#define DEV_IOAPIC_H

#include "core/device.h"
#include "core/vm.h"

#define IOAPIC_BASE 0xfec00000u
#define IOAPIC_SIZE 0x1000u
#define IOAPIC_PINS 24u

struct lapic_bus;

struct ioapic_state {
	u64 entry[IOAPIC_PINS]; /* redirection table */
	u32 id, select;
	u32 level; /* the wires now */
	u32 zero;
};

struct ioapic {
	struct ioapic_state s;
	struct lapic_bus *bus;
	u64 raised[IOAPIC_PINS]; /* how often each input rose: for people */
};

void ioapic_init(struct ioapic *io, struct lapic_bus *bus);
/* Input wire `pin`, 0 to 23: .set is ioapic_set. */
struct irq_line ioapic_line(struct ioapic *io, unsigned pin);
void ioapic_set(void *ioapic, unsigned pin, bool level);
/* A local APIC broadcast an EOI. */
void ioapic_eoi(void *ioapic, u8 vector);

extern const struct bus_ops ioapic_ops;
extern const struct device_class ioapic_class;
extern const struct desc ioapic_state_desc;

#endif
