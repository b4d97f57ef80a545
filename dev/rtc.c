/*
 * The MC146818 (Motorola MC146818A data sheet: "Time, Calendar, and Alarm Locations", "Update Cycle", "Registers").
 *
 * The clock runs while SET is 0 and the divider is 010 (32,768 Hz). Then the time bytes are computed from the wall
 * clock and `offset`; while it stands they are memory. A second turns at the end of its update cycle, which UIP
 * announces 244 us + 1984 us before. Releasing the divider's reset starts half a second before the next turn.
 */
#include "dev/rtc.h"

#include <string.h>
#include <time.h>

#include "dev/bytes.h"

enum {
	SECONDS,
	SECONDS_ALARM,
	MINUTES,
	MINUTES_ALARM,
	HOURS,
	HOURS_ALARM,
	WEEKDAY,
	DAY,
	MONTH,
	YEAR,
	REG_A,
	REG_B,
	REG_C,
	REG_D
};
#define CENTURY 0x32u

#define A_UIP	      0x80u
#define B_SET	      0x80u
#define B_BINARY      0x04u
#define B_24H	      0x02u
#define FLAG_IRQ      0x80u
#define FLAG_PERIODIC 0x40u
#define FLAG_ALARM    0x20u
#define FLAG_UPDATE   0x10u
#define FLAGS	      0x70u
#define UIP_NS	      2228000u

static u64 mono(const struct rtc *r) { return r->queue->clock->now(r->queue->clock); }

static u64 guest_ns(const struct rtc *r) { return r->queue->clock->wall(r->queue->clock) + (u64)r->s.offset; }

static u64 guest_sec(const struct rtc *r) { return guest_ns(r) / NS_PER_SEC; }
static bool runs(const struct rtc *r) { return !(r->s.cmos[REG_B] & B_SET) && (r->s.cmos[REG_A] >> 4 & 7) == 2; }
static bool held(const struct rtc *r) { return (r->s.cmos[REG_A] >> 4 & 7) >= 6; }

static bool is_time(unsigned n)
{
	return n == CENTURY || (n <= YEAR && n != SECONDS_ALARM && n != MINUTES_ALARM && n != HOURS_ALARM);
}

/* ---- time bytes ---- */

static u8 encode(const struct rtc *r, unsigned v) { return r->s.cmos[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10; }
static unsigned decode(const struct rtc *r, u8 v)
{
	return r->s.cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10u + (v & 15);
}

static u8 encode_hour(const struct rtc *r, unsigned hour)
{
	if (r->s.cmos[REG_B] & B_24H)
		return encode(r, hour);
	return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static unsigned decode_hour(const struct rtc *r, u8 v)
{
	if (r->s.cmos[REG_B] & B_24H)
		return decode(r, v);
	return decode(r, v & 0x7f) % 12 + (v & 0x80 ? 12 : 0);
}

static void time_to_bytes(struct rtc *r, u64 sec)
{
	time_t t = (time_t)sec;
	struct tm tm;
	u8 *c = r->s.cmos;

	if (!gmtime_r(&t, &tm))
		return;
	c[SECONDS] = encode(r, tm.tm_sec);
	c[MINUTES] = encode(r, tm.tm_min);
	c[HOURS] = encode_hour(r, tm.tm_hour);
	c[WEEKDAY] = encode(r, tm.tm_wday + 1);
	c[DAY] = encode(r, tm.tm_mday);
	c[MONTH] = encode(r, tm.tm_mon + 1);
	c[YEAR] = encode(r, tm.tm_year % 100);
	c[CENTURY] = encode(r, (tm.tm_year + 1900) / 100 % 100);
}

static u64 time_from_bytes(const struct rtc *r)
{
	const u8 *c = r->s.cmos;
	struct tm tm = {
		.tm_sec = (int)decode(r, c[SECONDS]),
		.tm_min = (int)decode(r, c[MINUTES]),
		.tm_hour = (int)decode_hour(r, c[HOURS]),
		.tm_mday = (int)decode(r, c[DAY]),
		.tm_mon = (int)decode(r, c[MONTH]) - 1,
		.tm_year = (int)(decode(r, c[CENTURY]) * 100 + decode(r, c[YEAR])) - 1900,
	};
	time_t t = timegm(&tm);

	return t < 0 ? 0 : (u64)t;
}

/* The clock stops: its bytes become memory. */
static void stop(struct rtc *r) { time_to_bytes(r, guest_sec(r)); }

/* It starts at the bytes' time, `frac` ns into that second. */
static void start(struct rtc *r, u64 frac)
{
	r->s.offset = (s64)(time_from_bytes(r) * NS_PER_SEC + frac - r->queue->clock->wall(r->queue->clock));
	r->s.update_seen = guest_sec(r);
}

/* ---- flags and interrupts ---- */

/* One alarm byte: C0h to FFh match always. */
static bool alarm_byte(const struct rtc *r, u8 byte, u8 now) { return byte >= 0xc0 || byte == now; }

static bool alarm_matches(const struct rtc *r, u64 sec)
{
	const u8 *c = r->s.cmos;

	return alarm_byte(r, c[SECONDS_ALARM], encode(r, sec % 60)) &&
	       alarm_byte(r, c[MINUTES_ALARM], encode(r, sec / 60 % 60)) &&
	       alarm_byte(r, c[HOURS_ALARM], encode_hour(r, sec / 3600 % 24));
}

/* Seconds from (after, upto] at which the alarm first matches, or 0. A day is enough to see every match. */
static u64 alarm_between(const struct rtc *r, u64 after, u64 upto)
{
	u64 n = MIN(upto - after, 86400);

	for (u64 i = 1; i <= n; i++)
		if (alarm_matches(r, after + i))
			return i;
	return 0;
}

static unsigned periodic_hz(const struct rtc *r)
{
	unsigned rate = r->s.cmos[REG_A] & 15;

	if (!rate || (r->s.cmos[REG_A] >> 4 & 7) != 2)
		return 0;
	return 32768u >> ((rate < 3 ? rate + 7 : rate) - 1);
}

static u64 periodic_tick(const struct rtc *r) { return mul_div(mono(r), periodic_hz(r), NS_PER_SEC); }

/* Raises what has happened since somebody last looked. */
static void settle(struct rtc *r)
{
	u8 *flags = &r->s.cmos[REG_C];
	u64 sec = guest_sec(r), tick = periodic_tick(r);

	if (runs(r) && sec > r->s.update_seen) {
		*flags |= FLAG_UPDATE;
		if (alarm_between(r, r->s.update_seen, sec))
			*flags |= FLAG_ALARM;
	}
	if (tick != r->s.periodic_seen && periodic_hz(r))
		*flags |= FLAG_PERIODIC;
	r->s.update_seen = sec;
	r->s.periodic_seen = tick;
}

static void update(struct rtc *r)
{
	u8 *flags = &r->s.cmos[REG_C], on = r->s.cmos[REG_B] & FLAGS;
	unsigned hz = periodic_hz(r);
	u64 seconds = 0;

	*flags = (*flags & FLAGS) | (*flags & on ? FLAG_IRQ : 0);
	irq_set(&r->irq8, *flags & FLAG_IRQ);
	if (runs(r)) {
		if (on & FLAG_UPDATE)
			seconds = 1;
		else if (on & FLAG_ALARM)
			seconds = alarm_between(r, guest_sec(r), guest_sec(r) + 86400);
	}
	if (seconds)
		timer_arm(&r->update, mono(r) + seconds * NS_PER_SEC - guest_ns(r) % NS_PER_SEC);
	else
		timer_cancel(&r->update);
	if (on & FLAG_PERIODIC && hz)
		timer_arm(&r->periodic, mul_div(periodic_tick(r) + 1, NS_PER_SEC, hz) + 1);
	else
		timer_cancel(&r->periodic);
}

static void fire(void *ctx)
{
	settle(ctx);
	update(ctx);
}

/* ---- registers ---- */

static u8 read_reg(struct rtc *r, unsigned n)
{
	u8 v;

	if (is_time(n)) {
		if (runs(r))
			time_to_bytes(r, guest_sec(r));
		return r->s.cmos[n];
	}
	switch (n) {
	case REG_A:
		v = r->s.cmos[REG_A];
		if (runs(r) && guest_ns(r) % NS_PER_SEC >= NS_PER_SEC - UIP_NS)
			v |= A_UIP;
		return v;
	case REG_C:
		settle(r);
		update(r);
		v = r->s.cmos[REG_C];
		r->s.cmos[REG_C] = 0;
		update(r);
		return v;
	}
	return r->s.cmos[n];
}

static void write_control(struct rtc *r, unsigned n, u8 v)
{
	bool ran = runs(r), was_held = held(r);
	u64 frac = guest_ns(r) % NS_PER_SEC;

	settle(r);
	if (ran)
		stop(r); /* with the old coding of its bytes */
	r->s.cmos[n] = v;
	if (n == REG_A) /* the grid of ticks is another one */
		r->s.periodic_seen = periodic_tick(r);
	if (n == REG_B && v & B_SET)
		r->s.cmos[REG_B] &= ~FLAG_UPDATE; /* SET clears UIE */
	if (runs(r) && !ran)
		start(r, was_held ? NS_PER_SEC / 2 : frac);
	update(r);
}

static void write_reg(struct rtc *r, unsigned n, u8 v)
{
	if (is_time(n) && runs(r)) {
		u64 frac = guest_ns(r) % NS_PER_SEC;

		settle(r);
		stop(r);
		r->s.cmos[n] = v;
		start(r, frac);
		update(r);
		return;
	}
	switch (n) {
	case REG_A: write_control(r, n, v & 0x7f); return;
	case REG_B: write_control(r, n, v); return;
	case REG_C:
	case REG_D: return;
	case SECONDS_ALARM:
	case MINUTES_ALARM:
	case HOURS_ALARM:
		settle(r);
		r->s.cmos[n] = v;
		update(r);
		return;
	}
	r->s.cmos[n] = v;
}

static u8 rtc_get(void *dev, unsigned offset)
{
	struct rtc *r = dev;

	return offset & 1 ? read_reg(r, r->s.index & 0x7f) : r->s.index;
}

static void rtc_put(void *dev, unsigned offset, u8 value)
{
	struct rtc *r = dev;

	if (offset & 1)
		write_reg(r, r->s.index & 0x7f, value);
	else
		r->s.index = value;
}

static u64 rtc_read(void *dev, u64 offset, unsigned size) { return bytes_read(dev, offset, size, rtc_get); }
static void rtc_write(void *dev, u64 offset, unsigned size, u64 value)
{
	bytes_write(dev, offset, size, value, rtc_put);
}

/* RESET clears the interrupt enables and flags; the battery keeps the rest. */
static void reset(void *dev)
{
	struct rtc *r = dev;

	r->s.index = 0;
	r->s.cmos[REG_B] &= ~(FLAGS | 0x08u);
	r->s.cmos[REG_C] = 0;
	timer_cancel(&r->periodic);
	timer_cancel(&r->update);
	irq_set(&r->irq8, false);
}

static void put_word(u8 *c, unsigned at, u64 v)
{
	v = MIN(v, 0xffff);
	c[at] = (u8)v;
	c[at + 1] = v >> 8;
}

static void set_memory(u8 *c, u64 ram_low, u64 ram_high)
{
	u64 above_1m = ram_low > 0x100000 ? (ram_low - 0x100000) / 1024 : 0;
	u64 above_16m = ram_low > 0x1000000 ? (ram_low - 0x1000000) / 65536 : 0;
	u64 high = MIN(ram_high / 65536, 0xffffff);

	put_word(c, 0x15, MIN(ram_low / 1024, 640));
	put_word(c, 0x17, above_1m);
	put_word(c, 0x30, above_1m);
	put_word(c, 0x34, above_16m);
	put_word(c, 0x5b, high & 0xffff);
	c[0x5d] = high >> 16;
}

void rtc_init(struct rtc *r, struct timer_queue *queue, struct irq_line irq8, u64 ram_low, u64 ram_high)
{
	memset(r, 0, sizeof(*r));
	r->queue = queue;
	r->irq8 = irq8;
	timer_init(&r->periodic, queue, fire, r);
	timer_init(&r->update, queue, fire, r);
	r->s.cmos[REG_A] = 0x26;
	r->s.cmos[REG_B] = B_24H;
	r->s.cmos[REG_D] = 0x80; /* battery good */
	set_memory(r->s.cmos, ram_low, ram_high);
	r->s.update_seen = guest_sec(r);
	r->s.periodic_seen = periodic_tick(r);
	time_to_bytes(r, guest_sec(r));
}

const struct bus_ops rtc_ops = {rtc_read, rtc_write};

static const struct desc_field fields[] = {
	DESC_INT(struct rtc_state, offset),	   DESC_INT(struct rtc_state, update_seen),
	DESC_INT(struct rtc_state, periodic_seen), DESC_ARR(struct rtc_state, cmos),
	DESC_INT(struct rtc_state, index),	   DESC_ARR(struct rtc_state, zero),
};
DESC(rtc_state_desc, struct rtc_state, fields);

const struct device_class rtc_class = {"rtc", MIGRATE_STATE, &rtc_state_desc, reset};
