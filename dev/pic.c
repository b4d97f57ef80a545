/*
 * The 8259A pair (Intel 8259A data sheet: "Programming the 8259A", ICW1-4, OCW1-3).
 *
 * A request of an edge input stays latched when the wire falls, so that a pulse is enough. The master's input 2 is the
 * slave's output and always follows it. ICW4's MCS-80 mode, which no PC can use, behaves as 8086 mode.
 */
#include "dev/pic.h"

#include <string.h>

#include "dev/bytes.h"

enum { MASTER, SLAVE };
#define CASCADE	    2u
#define ICW1_ICW4   0x01u
#define ICW1_SINGLE 0x02u
#define ICW1_LEVEL  0x08u
#define ICW4_AEOI   0x02u
#define ICW4_SFNM   0x10u /* special fully nested mode */

static bool is_level(const struct pic_chip_state *c, unsigned n) { return c->icw1 & ICW1_LEVEL || c->elcr >> n & 1; }

/* 0: the highest priority. */
static unsigned rank(const struct pic_chip_state *c, int n) { return ((unsigned)n - c->lowest - 1) & 7; }

/* Of the inputs in `set`, the one of highest priority; -1: none. */
static int first(const struct pic_chip_state *c, u8 set)
{
	for (unsigned i = 1; i <= 8; i++) {
		unsigned n = (c->lowest + i) & 7;

		if (set >> n & 1)
			return (int)n;
	}
	return -1;
}

/* The input that would be acknowledged now, or -1. */
static int pending(const struct pic *pic, unsigned which)
{
	const struct pic_chip_state *c = &pic->s.chip[which];
	u8 busy = c->isr;
	int n = first(c, c->irr & ~c->imr), in_service;

	if (!c->ready || n < 0)
		return -1;
	if (c->special_mask)
		busy &= ~c->imr;
	if (which == MASTER && c->icw4 & ICW4_SFNM)
		busy &= ~(1u << CASCADE);
	in_service = first(c, busy);
	if (in_service >= 0 && rank(c, in_service) <= rank(c, n))
		return -1;
	return n;
}

static void update(struct pic *pic)
{
	u8 *irr = &pic->s.chip[MASTER].irr;

	if (pending(pic, SLAVE) >= 0)
		*irr |= 1u << CASCADE;
	else
		*irr &= ~(1u << CASCADE);
	irq_set(&pic->intr, pending(pic, MASTER) >= 0);
}

void pic_set(void *ctx, unsigned pin, bool level)
{
	struct pic *pic = ctx;
	struct pic_chip_state *c = &pic->s.chip[pin >> 3 & 1];
	u8 bit = 1u << (pin & 7);
	bool rise = level && !(c->level & bit);

	if (pin > 15 || pin == CASCADE)
		return;
	c->level = level ? c->level | bit : c->level & ~bit;
	if (is_level(c, pin & 7))
		c->irr = level ? c->irr | bit : c->irr & ~bit;
	else if (rise)
		c->irr |= bit;
	update(pic);
}

struct irq_line pic_line(struct pic *pic, unsigned pin) { return (struct irq_line){pic_set, pic, pin}; }

static void acknowledge(struct pic_chip_state *c, unsigned n)
{
	if (c->icw4 & ICW4_AEOI) {
		if (c->rotate_aeoi)
			c->lowest = n;
	} else {
		c->isr |= 1u << n;
	}
	if (!is_level(c, n))
		c->irr &= ~(1u << n);
}

int pic_ack(void *ctx)
{
	struct pic *pic = ctx;
	int n = pending(pic, MASTER), v;

	if (!pic->s.chip[MASTER].ready)
		return -1;
	v = pic->s.chip[MASTER].base + (n < 0 ? 7 : n);
	if (n == CASCADE) {
		int m = pending(pic, SLAVE);

		v = pic->s.chip[SLAVE].base + (m < 0 ? 7 : m);
		if (m >= 0)
			acknowledge(&pic->s.chip[SLAVE], m);
	}
	if (n >= 0)
		acknowledge(&pic->s.chip[MASTER], n);
	update(pic);
	return v;
}

static void write_icw1(struct pic_chip_state *c, u8 v)
{
	c->icw1 = v;
	c->irr = 0;
	for (unsigned n = 0; n < 8; n++)
		if (is_level(c, n))
			c->irr |= c->level & 1u << n;
	c->isr = c->imr = 0;
	c->lowest = 7;
	c->read_isr = c->poll = c->special_mask = c->rotate_aeoi = 0;
	c->icw4 = 0;
	c->init = 2;
	c->ready = 0;
}

static void write_ocw2(struct pic_chip_state *c, u8 v)
{
	u8 busy = c->special_mask ? c->isr & ~c->imr : c->isr;
	int n = v & 7;

	switch (v >> 5) {
	case 0: /* rotate in automatic EOI mode: clear, set */
	case 4: c->rotate_aeoi = v >> 7; break;
	case 1: /* non-specific EOI, and with rotation */
	case 5:
		n = first(c, busy);
		if (n < 0)
			break;
		c->isr &= ~(1u << n);
		if (v & 0x80)
			c->lowest = n;
		break;
	case 3: /* specific EOI, and with rotation */
	case 7:
		c->isr &= ~(1u << n);
		if (v & 0x80)
			c->lowest = n;
		break;
	case 6: /* set priority */ c->lowest = n; break;
	}
}

static void write_ocw3(struct pic_chip_state *c, u8 v)
{
	if (v & 0x40)
		c->special_mask = v >> 5 & 1;
	c->poll = v >> 2 & 1;
	if (v & 2)
		c->read_isr = v & 1;
}

static void write_command(struct pic_chip_state *c, u8 v)
{
	if (v & 0x10)
		write_icw1(c, v);
	else if (v & 0x08)
		write_ocw3(c, v);
	else
		write_ocw2(c, v);
}

static void write_data(struct pic_chip_state *c, u8 v)
{
	switch (c->init) {
	case 2:
		c->base = v & 0xf8;
		c->init = c->icw1 & ICW1_SINGLE ? 4 : 3;
		break;
	case 3:
		c->icw3 = v;
		c->init = 4;
		break;
	case 4:
		c->icw4 = v;
		c->init = 0;
		break;
	default: c->imr = v; return;
	}
	if (c->init == 4 && !(c->icw1 & ICW1_ICW4))
		c->init = 0;
	c->ready = !c->init;
}

static u8 chip_read(struct pic *pic, unsigned which, unsigned offset)
{
	struct pic_chip_state *c = &pic->s.chip[which];
	u8 v = offset ? c->imr : c->read_isr ? c->isr : c->irr;

	if (c->poll) {
		int n = pending(pic, which);

		c->poll = 0;
		v = n < 0 ? 0 : 0x80 | n;
		if (n >= 0)
			acknowledge(c, n);
		update(pic);
	}
	return v;
}

static void chip_write(struct pic *pic, unsigned which, unsigned offset, u8 value)
{
	if (offset)
		write_data(&pic->s.chip[which], value);
	else
		write_command(&pic->s.chip[which], value);
	update(pic);
}

static u8 master_get(void *dev, unsigned offset) { return chip_read(dev, MASTER, offset); }
static u8 slave_get(void *dev, unsigned offset) { return chip_read(dev, SLAVE, offset); }
static void master_put(void *dev, unsigned offset, u8 value) { chip_write(dev, MASTER, offset, value); }
static void slave_put(void *dev, unsigned offset, u8 value) { chip_write(dev, SLAVE, offset, value); }

/* IRQ 0, 1, 2, 8 and 13 are edge-triggered for good. */
static const u8 elcr_mask[2] = {0xf8, 0xde};

static u8 elcr_get(void *dev, unsigned offset)
{
	struct pic *pic = dev;

	return pic->s.chip[offset & 1].elcr;
}

static void elcr_put(void *dev, unsigned offset, u8 value)
{
	struct pic *pic = dev;
	struct pic_chip_state *c = &pic->s.chip[offset & 1];

	c->elcr = value & elcr_mask[offset & 1];
	c->irr = (c->irr & ~c->elcr) | (c->level & c->elcr);
	update(pic);
}

static u64 master_read(void *dev, u64 offset, unsigned size) { return bytes_read(dev, offset, size, master_get); }
static u64 slave_read(void *dev, u64 offset, unsigned size) { return bytes_read(dev, offset, size, slave_get); }
static u64 elcr_read(void *dev, u64 offset, unsigned size) { return bytes_read(dev, offset, size, elcr_get); }

static void master_write(void *dev, u64 offset, unsigned size, u64 value)
{
	bytes_write(dev, offset, size, value, master_put);
}

static void slave_write(void *dev, u64 offset, unsigned size, u64 value)
{
	bytes_write(dev, offset, size, value, slave_put);
}
static void elcr_write(void *dev, u64 offset, unsigned size, u64 value)
{
	bytes_write(dev, offset, size, value, elcr_put);
}

static void reset(void *dev)
{
	struct pic *pic = dev;

	for (unsigned i = 0; i < 2; i++) {
		u8 level = pic->s.chip[i].level;

		memset(&pic->s.chip[i], 0, sizeof(pic->s.chip[i]));
		pic->s.chip[i].level = level;
		pic->s.chip[i].lowest = 7;
	}
	update(pic);
}

void pic_init(struct pic *pic, struct irq_line intr)
{
	memset(pic, 0, sizeof(*pic));
	pic->intr = intr;
	reset(pic);
}

const struct bus_ops pic_master_ops = {master_read, master_write};
const struct bus_ops pic_slave_ops = {slave_read, slave_write};
const struct bus_ops pic_elcr_ops = {elcr_read, elcr_write};

#define CHIP(f) DESC_INT(struct pic_chip_state, f)
static const struct desc_field chip_fields[] = {
	CHIP(level),  CHIP(irr),	  CHIP(isr),	     CHIP(imr),	  CHIP(elcr), CHIP(base),
	CHIP(lowest), CHIP(init),	  CHIP(icw1),	     CHIP(icw3),  CHIP(icw4), CHIP(read_isr),
	CHIP(poll),   CHIP(special_mask), CHIP(rotate_aeoi), CHIP(ready),
};
static DESC(chip_desc, struct pic_chip_state, chip_fields);
static const struct desc_field fields[] = {DESC_SUBS(struct pic_state, chip, &chip_desc)};
DESC(pic_state_desc, struct pic_state, fields);

static void words(const void *dev, FILE *out)
{
	const struct pic *pic = dev;

	for (unsigned i = 0; i < 2; i++) {
		const struct pic_chip_state *c = &pic->s.chip[i];
		int n = pending(pic, i);

		fprintf(out, "pic %s: ", i ? "slave " : "master");
		if (!c->ready) {
			fprintf(out, "not initialised, wires %02x\n", c->level);
			continue;
		}
		fprintf(out, "vectors from %02x, irr %02x isr %02x imr %02x wires %02x level-triggered %02x", c->base,
			c->irr, c->isr, c->imr, c->level, c->elcr);
		fprintf(out, "%s%s%s", c->icw4 & ICW4_AEOI ? ", automatic EOI" : "",
			c->icw4 & ICW4_SFNM ? ", special fully nested" : "", c->special_mask ? ", special mask" : "");
		if (c->lowest != 7)
			fprintf(out, ", lowest priority %u", c->lowest);
		if (n >= 0)
			fprintf(out, "; asks for input %d, vector %02x", n, c->base + (unsigned)n);
		fputc('\n', out);
	}
}

const struct device_class pic_class = {"pic", MIGRATE_STATE, &pic_state_desc, reset, words};
