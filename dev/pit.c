/*
 * The 8254 (Intel 8254 data sheet: "Mode Definitions", "Read-Back Command", "Counter Latch Command").
 *
 * A counter's value is a function of its mode, its count and the ticks since it was loaded; elapsed() gives those
 * ticks. The one clock that real counters spend on loading is left out. Edges of OUT 0 that a late host or a tiny count
 * would bunch closer than EDGE_MIN_NS are merged.
 */
#include "dev/pit.h"

#include <string.h>

#include "dev/bytes.h"

#define EDGE_MIN_NS 20000u

static u64 now(const struct pit *pit) { return pit->queue->clock->now(pit->queue->clock); }
static u64 ticks_of(u64 ns) { return mul_div(ns, PIT_HZ, NS_PER_SEC); }
/* The first ns at which `ticks` have passed. */
static u64 ns_of(u64 ticks) { return (u64)(((u128)ticks * NS_PER_SEC + PIT_HZ - 1) / PIT_HZ); }
static bool periodic(const struct pit_channel_state *c) { return c->mode == 2 || c->mode == 3; }
static bool triggered(const struct pit_channel_state *c) { return c->mode == 1 || c->mode == 5; }

static u64 elapsed(const struct pit_channel_state *c, u64 t)
{
	bool stands = !c->armed || (!c->gate && !triggered(c));

	return c->paused + (stands ? 0 : ticks_of(t - c->start));
}

/* Modes 2 and 3 take a new count at the end of a period. */
static void settle(struct pit_channel_state *c, u64 t)
{
	if (!c->next_count || !periodic(c) || !c->gate || elapsed(c, t) < c->count)
		return;
	c->start += ns_of(c->count - c->paused);
	c->paused = 0;
	c->count = c->next_count;
	c->next_count = 0;
	c->null_count = 0;
}

static bool output(const struct pit_channel_state *c, u64 t)
{
	u64 e;

	if (!c->armed)
		return c->mode != 0;
	e = elapsed(c, t);
	switch (c->mode) {
	case 0:
	case 1: return e >= c->count;
	case 2: return !c->gate || e % c->count != c->count - 1;
	case 3: return !c->gate || e % c->count < (c->count + 1) / 2;
	default: return e != c->count;
	}
}

static u16 to_bcd(u32 v) { return v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10; }
static u32 from_bcd(u16 v) { return (v >> 12) * 1000 + (v >> 8 & 15) * 100 + (v >> 4 & 15) * 10 + (v & 15); }

static u16 counter(const struct pit_channel_state *c, u64 t)
{
	u64 e = elapsed(c, t);
	u32 n = c->count, v;

	if (!n)
		return 0;
	if (c->mode == 2) {
		v = n - e % n;
	} else if (c->mode == 3) {
		u32 high = (n + 1) / 2, p = e % n;

		v = (n & ~1u) - 2 * (p < high ? p : p - high);
	} else { /* goes on counting down from the top after the end */
		u32 top = c->bcd ? 10000 : 65536;

		v = (n + top - e % top) % top;
	}
	return c->bcd ? to_bcd(v % 10000) : (u16)v;
}

/* ---- OUT 0 ---- */

/* When OUT 0 next rises, or 0 for never. */
static u64 next_rise(const struct pit_channel_state *c, u64 t)
{
	u64 e = elapsed(c, t), at;

	if (!c->armed || !c->gate)
		return 0;
	switch (c->mode) {
	case 0: at = c->count; break;
	case 2:
	case 3: at = (e / c->count + 1) * c->count; break;
	case 4: at = (u64)c->count + 1; break;
	default: return 0;
	}
	if (at <= e)
		return 0;
	return c->start + ns_of(at - c->paused);
}

static void schedule(struct pit *pit, u64 not_before)
{
	u64 at = pit->irq0.set ? next_rise(&pit->s.ch[0], now(pit)) : 0;

	if (at)
		timer_arm(&pit->timer, MAX(at, not_before));
	else
		timer_cancel(&pit->timer);
}

static void fire(void *ctx)
{
	struct pit *pit = ctx;
	u64 t = now(pit);

	settle(&pit->s.ch[0], t);
	irq_set(&pit->irq0, false);
	irq_set(&pit->irq0, true);
	schedule(pit, t + EDGE_MIN_NS);
}

/* ---- programming ---- */

static void load(struct pit *pit, struct pit_channel_state *c, u32 count)
{
	u64 t = now(pit);

	c->write_high = 0;
	c->null_count = 1;
	if (periodic(c) && c->armed) {
		settle(c, t);
		c->next_count = count;
		return;
	}
	if (triggered(c) && c->armed) {
		c->next_count = count; /* taken at the next trigger */
		return;
	}
	c->count = count;
	c->next_count = 0;
	if (triggered(c))
		return;
	c->null_count = 0;
	c->armed = 1;
	c->paused = 0;
	c->start = t;
}

static void write_count(struct pit *pit, struct pit_channel_state *c, u8 v)
{
	u32 raw, top = c->bcd ? 10000 : 65536;

	if (c->rw == 3 && !c->write_high) {
		c->write_low = v;
		c->write_high = 1;
		if (c->mode == 0) { /* the first byte stops the count */
			c->armed = 0;
			c->paused = 0;
		}
		return;
	}
	raw = c->rw == 1 ? v : c->rw == 2 ? (u32)v << 8 : (u32)v << 8 | c->write_low;
	if (c->bcd)
		raw = from_bcd((u16)raw);
	raw %= top;
	if (raw == 1 && periodic(c))
		raw = 2; /* a count of 1 is illegal in modes 2 and 3 */
	load(pit, c, raw ? raw : top);
}

static void latch_count(struct pit_channel_state *c, u64 t)
{
	if (c->latched)
		return;
	settle(c, t);
	c->latch = counter(c, t);
	c->latched = c->rw;
}

static void latch_status(struct pit_channel_state *c, u64 t)
{
	if (c->status_latched)
		return;
	settle(c, t);
	c->status = (output(c, t) ? 0x80 : 0) | (c->null_count ? 0x40 : 0) | c->rw << 4 | c->mode << 1 | c->bcd;
	c->status_latched = 1;
}

static void write_control(struct pit *pit, u8 v)
{
	struct pit_channel_state *c;
	u64 t = now(pit);

	if (v >> 6 == 3) { /* read-back */
		for (unsigned i = 0; i < 3; i++) {
			if (!(v >> (i + 1) & 1))
				continue;
			if (!(v & 0x20))
				latch_count(&pit->s.ch[i], t);
			if (!(v & 0x10))
				latch_status(&pit->s.ch[i], t);
		}
		return;
	}
	c = &pit->s.ch[v >> 6];
	if (!(v >> 4 & 3)) {
		latch_count(c, t);
		return;
	}
	*c = (struct pit_channel_state){
		.mode = (v >> 1 & 7) > 5 ? (v >> 1 & 3) : (v >> 1 & 7),
		.rw = v >> 4 & 3,
		.bcd = v & 1,
		.gate = c->gate,
		.null_count = 1,
	};
}

static u8 read_count(struct pit *pit, struct pit_channel_state *c)
{
	u64 t = now(pit);
	u16 v;

	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (c->latched) {
		u8 byte = c->latched & 1 ? (u8)c->latch : c->latch >> 8;

		c->latched &= c->latched & 1 ? 2 : 0;
		return byte;
	}
	settle(c, t);
	v = counter(c, t);
	if (c->rw == 2)
		return v >> 8;
	if (c->rw != 3)
		return (u8)v;
	c->read_high = !c->read_high;
	return c->read_high ? (u8)v : v >> 8;
}

static u8 pit_get(void *dev, unsigned offset)
{
	struct pit *pit = dev;

	return offset < 3 ? read_count(pit, &pit->s.ch[offset]) : 0xff;
}

static void pit_put(void *dev, unsigned offset, u8 value)
{
	struct pit *pit = dev;

	if (offset == 3)
		write_control(pit, value);
	else
		write_count(pit, &pit->s.ch[offset & 3], value);
	if (offset != 0 && (offset != 3 || value >> 6))
		return;
	if (!output(&pit->s.ch[0], now(pit)))
		irq_set(&pit->irq0, false);
	schedule(pit, 0);
}

static u64 pit_read(void *dev, u64 offset, unsigned size) { return bytes_read(dev, offset, size, pit_get); }
static void pit_write(void *dev, u64 offset, unsigned size, u64 value)
{
	bytes_write(dev, offset, size, value, pit_put);
}

/* "Gate Pin Operations": level in modes 0 and 4, rising edge in 1 and 5, both in 2 and 3. */
static void set_gate(struct pit_channel_state *c, bool gate, u64 t)
{
	if (gate == c->gate)
		return;
	settle(c, t);
	if (!gate) {
		if (!triggered(c))
			c->paused = elapsed(c, t);
		c->gate = 0;
		return;
	}
	c->gate = 1;
	if (!triggered(c) || c->count)
		c->start = t;
	if (triggered(c) && c->count) {
		if (c->next_count)
			c->count = c->next_count;
		c->next_count = 0;
		c->null_count = 0;
		c->armed = 1;
		c->paused = 0;
	} else if (periodic(c)) {
		c->paused = 0;
	}
}

/* Port 61h: bit 0 gate 2, bit 1 speaker, bit 4 toggles with each refresh (15.085 us), bit 5 OUT 2. */
static u8 speaker_get(void *dev, unsigned offset)
{
	struct pit *pit = dev;
	u64 t = now(pit);

	settle(&pit->s.ch[2], t);
	return (u8)pit->s.port61 | (t / 15085 & 1) << 4 | (u8)output(&pit->s.ch[2], t) << 5;
}

static void speaker_put(void *dev, unsigned offset, u8 value)
{
	struct pit *pit = dev;

	pit->s.port61 = value & 0x0f;
	set_gate(&pit->s.ch[2], value & 1, now(pit));
}

static u64 speaker_read(void *dev, u64 offset, unsigned size) { return bytes_read(dev, offset, size, speaker_get); }

static void speaker_write(void *dev, u64 offset, unsigned size, u64 value)
{
	bytes_write(dev, offset, size, value, speaker_put);
}

static void reset(void *dev)
{
	struct pit *pit = dev;

	timer_cancel(&pit->timer);
	irq_set(&pit->irq0, false);
	memset(&pit->s, 0, sizeof(pit->s));
	for (unsigned i = 0; i < 3; i++) {
		pit->s.ch[i].mode = 3;
		pit->s.ch[i].rw = 3;
		pit->s.ch[i].gate = i != 2;
	}
}

void pit_init(struct pit *pit, struct timer_queue *queue, struct irq_line irq0)
{
	pit->queue = queue;
	pit->irq0 = irq0;
	timer_init(&pit->timer, queue, fire, pit);
	reset(pit);
}

const struct bus_ops pit_ops = {pit_read, pit_write};
const struct bus_ops pit_speaker_ops = {speaker_read, speaker_write};

#define CH(f) DESC_INT(struct pit_channel_state, f)
static const struct desc_field ch_fields[] = {
	CH(start),	CH(paused),	    CH(count),
	CH(next_count), CH(mode),	    CH(rw),
	CH(bcd),	CH(gate),	    CH(write_low),
	CH(write_high), CH(read_high),	    CH(latched),
	CH(latch),	CH(status_latched), CH(status),
	CH(armed),	CH(null_count),	    DESC_ARR(struct pit_channel_state, zero),
};
static DESC(ch_desc, struct pit_channel_state, ch_fields);
static const struct desc_field fields[] = {
	DESC_SUBS(struct pit_state, ch, &ch_desc),
	DESC_INT(struct pit_state, port61),
};
DESC(pit_state_desc, struct pit_state, fields);

const struct device_class pit_class = {"pit", MIGRATE_STATE, &pit_state_desc, reset};
