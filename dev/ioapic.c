/*
 * The I/O APIC's registers and its state machine: wire -> message -> EOI (82093AA data sheet, 3.0 "Register
 * Description").
 */
#include "dev/ioapic.h"

#include <string.h>

#include "dev/lapic.h"

#define ENTRY_LOGICAL	 BIT(11)
#define ENTRY_REMOTE_IRR BIT(14)
#define ENTRY_LEVEL	 BIT(15)
#define ENTRY_MASKED	 BIT(16)
#define ENTRY_WRITABLE	 0xff0000000001afffull /* all but delivery status and Remote IRR */

#define VERSION (0x20u | (IOAPIC_PINS - 1) << 16)

enum { REG_SELECT = 0x00, REG_WINDOW = 0x10, REG_EOI = 0x40 };
enum { INDEX_ID, INDEX_VERSION, INDEX_ARBITRATION, INDEX_ENTRIES = 0x10 };

static void send(struct ioapic *io, unsigned pin)
{
	u64 e = io->s.entry[pin];
	struct apic_msg m = {
		.dest = e >> 56 == 0xff ? ~0u : (u32)(e >> 56),
		.logical = e & ENTRY_LOGICAL,
		.mode = e >> 8 & 7,
		.vector = e & 0xff,
		.level = e & ENTRY_LEVEL,
	};

	lapic_bus_send(io->bus, &m);
}

static void service_level(struct ioapic *io, unsigned pin)
{
	u64 *e = &io->s.entry[pin];

	if (!(*e & ENTRY_LEVEL) || *e & (ENTRY_MASKED | ENTRY_REMOTE_IRR) || !(io->s.level >> pin & 1))
		return;
	*e |= ENTRY_REMOTE_IRR; /* before the message: a processor may send the EOI from inside it */
	send(io, pin);
}

void ioapic_set(void *ioapic, unsigned pin, bool level)
{
	struct ioapic *io = ioapic;
	bool rise;

	if (pin >= IOAPIC_PINS)
		return;
	rise = level && !(io->s.level >> pin & 1);
	io->raised[pin] += rise;
	if (level)
		io->s.level |= 1u << pin;
	else
		io->s.level &= ~(1u << pin);
	if (io->s.entry[pin] & ENTRY_LEVEL)
		service_level(io, pin);
	else if (rise && !(io->s.entry[pin] & ENTRY_MASKED))
		send(io, pin);
}

struct irq_line ioapic_line(struct ioapic *io, unsigned pin) { return (struct irq_line){ioapic_set, io, pin}; }

void ioapic_eoi(void *ioapic, u8 vector)
{
	struct ioapic *io = ioapic;

	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		u64 *e = &io->s.entry[i];

		if ((*e & 0xff) != vector || !(*e & ENTRY_LEVEL) || !(*e & ENTRY_REMOTE_IRR))
			continue;
		*e &= ~ENTRY_REMOTE_IRR;
		service_level(io, i);
	}
}

static u32 window_read(const struct ioapic *io)
{
	unsigned n = io->s.select - INDEX_ENTRIES;

	switch (io->s.select) {
	case INDEX_ID:
	case INDEX_ARBITRATION: return io->s.id;
	case INDEX_VERSION: return VERSION;
	}
	if (n >= IOAPIC_PINS * 2)
		return ~0u;
	return io->s.entry[n / 2] >> n % 2 * 32;
}

static void window_write(struct ioapic *io, u32 value)
{
	unsigned n = io->s.select - INDEX_ENTRIES;
	u64 *e, half;

	if (io->s.select == INDEX_ID)
		io->s.id = value & 0x0f000000;
	if (n >= IOAPIC_PINS * 2)
		return;
	e = &io->s.entry[n / 2];
	half = n % 2 ? ENTRY_WRITABLE & ~0xffffffffull : ENTRY_WRITABLE & 0xffffffff;
	*e = (*e & ~half) | ((u64)value << n % 2 * 32 & half);
	if (!(*e & ENTRY_LEVEL))
		*e &= ~ENTRY_REMOTE_IRR;
	service_level(io, n / 2);
}

static u64 io_read(void *dev, u64 offset, unsigned size)
{
	struct ioapic *io = dev;
	u32 v = 0;

	if ((offset & ~3ull) == REG_SELECT)
		v = io->s.select;
	else if ((offset & ~3ull) == REG_WINDOW)
		v = window_read(io);
	return v >> (offset & 3) * 8;
}

static void io_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct ioapic *io = dev;

	switch (offset) {
	case REG_SELECT: io->s.select = value & 0xff; break;
	case REG_WINDOW:
		if (size >= 4)
			window_write(io, (u32)value);
		else
			log_limit(io->bus->vm->log, "IOAPIC: a store of %u bytes", size);
		break;
	case REG_EOI: ioapic_eoi(io, value & 0xff); break;
	}
}

static void reset(void *dev)
{
	struct ioapic *io = dev;
	u32 level = io->s.level;

	memset(&io->s, 0, sizeof(io->s));
	io->s.level = level;
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		io->s.entry[i] = ENTRY_MASKED;
}

void ioapic_init(struct ioapic *io, struct lapic_bus *bus)
{
	memset(io, 0, sizeof(*io));
	io->bus = bus;
	reset(io);
}

static void words(const void *dev, FILE *out)
{
	const struct ioapic *io = dev;

	fprintf(out, "ioapic: id %u, %u inputs\n", io->s.id >> 24, IOAPIC_PINS);
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		u64 e = io->s.entry[i];
		unsigned mode = e >> 8 & 7;

		fprintf(out, "  input %-2u %s", i, io->s.level >> i & 1 ? "high" : "low ");
		if (e == ENTRY_MASKED) {
			fprintf(out, "  masked\n");
			continue;
		}
		fprintf(out, "  vector %02x %s to %s %02x, %s%s%s%s\n", (unsigned)(e & 0xff), apic_delivery_name(mode),
			e & ENTRY_LOGICAL ? "logical" : "APIC", (unsigned)(e >> 56), e & ENTRY_LEVEL ? "level" : "edge",
			e & BIT(13) ? ", active low" : "", e & ENTRY_REMOTE_IRR ? ", waits for its EOI" : "",
			e & ENTRY_MASKED ? ", masked" : "");
	}
}

const struct bus_ops ioapic_ops = {io_read, io_write};

static const struct desc_field fields[] = {
	DESC_ARR(struct ioapic_state, entry),  DESC_INT(struct ioapic_state, id),
	DESC_INT(struct ioapic_state, select), DESC_INT(struct ioapic_state, level),
	DESC_INT(struct ioapic_state, zero),
};
DESC(ioapic_state_desc, struct ioapic_state, fields);

const struct device_class ioapic_class = {"ioapic", MIGRATE_STATE, &ioapic_state_desc, reset, words};
