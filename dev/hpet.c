/*
 * Registers, events and wires of the HPET (hpet.h). Everything is computed from the clock when somebody looks; a queue
 * timer runs for each comparator whose interrupt is enabled.
 */
#include "dev/hpet.h"

#include <string.h>

#define REG_CAP	   0x000u
#define REG_CONFIG 0x010u
#define REG_STATUS 0x020u
#define REG_COUNT  0x0f0u
#define REG_TIMER  0x100u
#define TIMER_STEP 0x20u

#define CONFIG_ENABLE BIT(0)
#define CONFIG_LEGACY BIT(1)

#define TN_LEVEL	BIT(1)
#define TN_ENABLE	BIT(2)
#define TN_PERIODIC	BIT(3)
#define TN_PERIODIC_CAP BIT(4)
#define TN_SIZE_CAP	BIT(5)
#define TN_SET_VALUE	BIT(6)
#define TN_32BIT	BIT(8)
#define TN_ROUTE	(31ull << 9)
#define TN_WRITABLE	(TN_LEVEL | TN_ENABLE | TN_PERIODIC | TN_SET_VALUE | TN_32BIT | TN_ROUTE)
#define TN_CAPS		(TN_PERIODIC_CAP | TN_SIZE_CAP | 0x00f00000ull << 32)

#define FEMTO_PER_TICK (HPET_TICK_NS * 1000000ull)

static u64 clock_ns(const struct hpet *h) { return h->queue->clock->now(h->queue->clock); }
static bool running(const struct hpet *h) { return h->s.config & CONFIG_ENABLE; }
static bool legacy(const struct hpet *h) { return h->s.config & CONFIG_LEGACY; }

static u64 count(const struct hpet *h)
{
	return h->s.counter + (running(h) ? (clock_ns(h) - h->s.since) / HPET_TICK_NS : 0);
}

static void set_count(struct hpet *h, u64 ticks)
{
	h->s.counter = ticks;
	h->s.since = clock_ns(h);
}

/* ---- wires ---- */

static void drive(struct hpet *h, unsigned n, bool level)
{
	unsigned pin = (unsigned)(h->s.timer[n].config >> 9 & 31);

	if (legacy(h) && n < 2)
		irq_set(n ? &h->irq8 : &h->irq0, level);
	else if (pin >= HPET_FIRST_PIN && pin < 24 && h->out.set)
		h->out.set(h->out.ctx, h->out.pin + pin, level);
}

static bool level_now(const struct hpet *h, unsigned n)
{
	const struct hpet_timer_state *t = &h->s.timer[n];

	return running(h) && t->config & TN_ENABLE && t->config & TN_LEVEL && h->s.status >> n & 1;
}

static void legacy_in(void *hpet, unsigned which, bool level)
{
	struct hpet *h = hpet;

	h->legacy_in[which] = level;
	if (!legacy(h))
		irq_set(which ? &h->irq8 : &h->irq0, level);
}

struct irq_line hpet_legacy_line(struct hpet *h, unsigned which) { return (struct irq_line){legacy_in, h, which}; }

/* ---- events ---- */

#define HPET_MIN_PERIOD (20000 / HPET_TICK_NS) /* ticks */

static u64 modulus_mask(const struct hpet_timer_state *t) { return t->config & TN_32BIT ? UINT32_MAX : UINT64_MAX; }

static void arm(struct hpet_unit *u)
{
	struct hpet *h = u->hpet;
	u64 now = clock_ns(h), at = count(h), wait = u->due > at ? u->due - at : 0;

	timer_cancel(&u->timer);
	if (wait < (UINT64_MAX - now) / HPET_TICK_NS / 2)
		timer_arm(&u->timer, h->s.since + (u->due - h->s.counter) * HPET_TICK_NS);
}

static void schedule(struct hpet *h, unsigned n)
{
	const struct hpet_timer_state *t = &h->s.timer[n];
	struct hpet_unit *u = &h->unit[n];
	u64 at = count(h);

	timer_cancel(&u->timer);
	if (!running(h) || !(t->config & TN_ENABLE))
		return;
	u->due = at + ((t->comparator - at) & modulus_mask(t));
	if (u->due >= at)
		arm(u);
}

static void schedule_all(struct hpet *h)
{
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		schedule(h, n);
}

static void fire(void *ctx)
{
	struct hpet_unit *u = ctx;
	struct hpet *h = u->hpet;
	unsigned n = (unsigned)(u - h->unit);
	struct hpet_timer_state *t = &h->s.timer[n];
	u64 at = count(h), steps, period = t->period & modulus_mask(t);

	if (t->config & TN_LEVEL) {
		h->s.status |= BIT(n);
		drive(h, n, true);
	} else {
		drive(h, n, false);
		drive(h, n, true);
	}
	if (t->config & TN_PERIODIC && period) {
		steps = (at > u->due ? at - u->due : 0) / period + 1;
		/* A guest may ask for a tick's period: no more than one event in 20 us, as with the other timers. */
		steps = MAX(steps, (HPET_MIN_PERIOD + period - 1) / period);
		t->comparator = (t->comparator + steps * period) & modulus_mask(t);
		u->due += steps * period;
		arm(u);
	} else if (t->config & TN_32BIT) {
		u->due += BIT(32);
		arm(u);
	}
}

/* ---- registers ---- */

static void write_config(struct hpet *h, u64 v)
{
	u64 at = count(h), was = h->s.config;

	v &= CONFIG_ENABLE | CONFIG_LEGACY;
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		drive(h, n, false);
	h->s.config = v;
	set_count(h, at);
	if ((was ^ v) & CONFIG_LEGACY && !legacy(h)) {
		irq_set(&h->irq0, h->legacy_in[0]);
		irq_set(&h->irq8, h->legacy_in[1]);
	}
	for (unsigned n = 0; n < 2 && legacy(h) && !(was & CONFIG_LEGACY); n++)
		drive(h, n, false);
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		if (level_now(h, n))
			drive(h, n, true);
	schedule_all(h);
}

static void write_status(struct hpet *h, u64 v)
{
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		if (v >> n & 1 && h->s.status >> n & 1) {
			h->s.status &= ~BIT(n);
			drive(h, n, level_now(h, n));
		}
}

static void write_timer_config(struct hpet *h, unsigned n, u64 v)
{
	drive(h, n, false);
	h->s.timer[n].config = (v & TN_WRITABLE) | TN_CAPS;
	if (h->s.timer[n].config & TN_32BIT) {
		h->s.timer[n].comparator &= UINT32_MAX;
		h->s.timer[n].period &= UINT32_MAX;
	}
	if (level_now(h, n))
		drive(h, n, true);
	schedule(h, n);
}

/* `whole`: this write completes the value (2.3.9.2.2 "Periodic Mode": the set-value bit clears itself). */
static void write_comparator(struct hpet *h, unsigned n, u64 v, bool whole)
{
	struct hpet_timer_state *t = &h->s.timer[n];

	v &= modulus_mask(t);
	if (!(t->config & TN_PERIODIC) || t->config & TN_SET_VALUE)
		t->comparator = v;
	if (t->config & TN_PERIODIC)
		t->period = v;
	if (whole)
		t->config &= ~TN_SET_VALUE;
	schedule(h, n);
}

static u64 read_register(const struct hpet *h, u32 reg)
{
	unsigned n = (reg - REG_TIMER) / TIMER_STEP;

	switch (reg) {
	case REG_CAP: return FEMTO_PER_TICK << 32 | HPET_ID;
	case REG_CONFIG: return h->s.config;
	case REG_STATUS: return h->s.status;
	case REG_COUNT: return count(h);
	}
	if (reg < REG_TIMER || n >= HPET_TIMERS)
		return 0;
	switch (reg % TIMER_STEP) {
	case 0: return h->s.timer[n].config;
	case 8: return h->s.timer[n].comparator;
	default: return 0;
	}
}

static void write_register(struct hpet *h, u32 reg, u64 v, bool whole)
{
	unsigned n = (reg - REG_TIMER) / TIMER_STEP;

	if (reg == REG_CONFIG) {
		write_config(h, v);
	} else if (reg == REG_STATUS) {
		write_status(h, v);
	} else if (reg == REG_COUNT) {
		set_count(h, v);
		schedule_all(h);
	} else if (reg >= REG_TIMER && n < HPET_TIMERS) {
		if (reg % TIMER_STEP == 0)
			write_timer_config(h, n, v);
		else if (reg % TIMER_STEP == 8)
			write_comparator(h, n, v, whole || h->s.timer[n].config & TN_32BIT);
	}
}

/* 2.3.2: aligned accesses of 4 or 8 bytes; any other reads as part of the register and is not written. */
static u64 hpet_read(void *dev, u64 offset, unsigned size)
{
	return read_register(dev, (u32)(offset & ~7ull)) >> (offset & 7) * 8;
}

static void hpet_write(void *dev, u64 offset, unsigned size, u64 value)
{
	u32 reg = (u32)(offset & ~7ull);
	unsigned shift = (offset & 7) * 8;
	u64 mask = MASK(32) << shift;

	if (size == 8 && !shift)
		write_register(dev, reg, value, true);
	else if (size == 4 && !(offset & 3)) /* a written 1 clears a status bit: the other half must be 0 there */
		write_register(dev, reg,
			       (reg == REG_STATUS ? 0 : read_register(dev, reg) & ~mask) | (value << shift & mask),
			       shift);
}

const struct bus_ops hpet_ops = {hpet_read, hpet_write};

static void power_on(struct hpet *h)
{
	memset(&h->s, 0, sizeof(h->s));
	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		h->s.timer[n].config = TN_CAPS;
		h->s.timer[n].comparator = UINT64_MAX;
	}
}

static void reset(void *dev)
{
	struct hpet *h = dev;

	write_config(h, 0);
	for (unsigned n = 0; n < HPET_TIMERS; n++)
		timer_cancel(&h->unit[n].timer);
	power_on(h);
}

void hpet_init(struct hpet *h, struct timer_queue *queue, struct irq_line out, struct irq_line irq0,
	       struct irq_line irq8)
{
	memset(h, 0, sizeof(*h));
	h->queue = queue;
	h->out = out;
	h->irq0 = irq0;
	h->irq8 = irq8;
	for (unsigned n = 0; n < HPET_TIMERS; n++) {
		h->unit[n].hpet = h;
		timer_init(&h->unit[n].timer, queue, fire, &h->unit[n]);
	}
	power_on(h);
}

static const struct desc_field timer_fields[] = {
	DESC_INT(struct hpet_timer_state, config),
	DESC_INT(struct hpet_timer_state, comparator),
	DESC_INT(struct hpet_timer_state, period),
};
static DESC(timer_desc, struct hpet_timer_state, timer_fields);
static const struct desc_field fields[] = {
	DESC_INT(struct hpet_state, config),
	DESC_INT(struct hpet_state, status),
	DESC_INT(struct hpet_state, counter),
	DESC_INT(struct hpet_state, since),
	DESC_SUBS(struct hpet_state, timer, &timer_desc),
};
DESC(hpet_state_desc, struct hpet_state, fields);

const struct device_class hpet_class = {"hpet", MIGRATE_STATE, &hpet_state_desc, reset};
