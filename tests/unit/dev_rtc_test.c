/* The MC146818: time in every coding, setting it, UIP, update, alarm and periodic interrupts, memory sizes. */
#include "tests/unit/dev_fake.h"

#include "dev/rtc.h"

struct fixture {
	struct clock_fake clock;
	struct timer_queue queue;
	struct wire irq;
	struct rtc rtc;
};

#define WALL 1709251199ull /* 2024-02-29 23:59:59 UTC, a Thursday */

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){0};
	clock_fake_init(&f.clock);
	f.clock.now_ns = 77000000;
	f.clock.wall_ns = WALL * NS_PER_SEC + 100000000;
	timer_queue_init(&f.queue, &f.clock.clock);
	rtc_init(&f.rtc, &f.queue, wire_line(&f.irq), 0x80000000, 0x40000000);
	*state = &f;
	return 0;
}

static u8 get(struct fixture *f, u8 n)
{
	out8(&rtc_ops, &f->rtc, 0, n);
	return in8(&rtc_ops, &f->rtc, 1);
}

static void put(struct fixture *f, u8 n, u8 v)
{
	out8(&rtc_ops, &f->rtc, 0, n);
	out8(&rtc_ops, &f->rtc, 1, v);
}

static void go(struct fixture *f, u64 ms) { pass(&f->clock, &f->queue, ms * 1000000); }

static void reads_time(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 0), 0x59);
	assert_int_equal(get(f, 2), 0x59);
	assert_int_equal(get(f, 4), 0x23);
	assert_int_equal(get(f, 6), 5);
	assert_int_equal(get(f, 7), 0x29);
	assert_int_equal(get(f, 8), 0x02);
	assert_int_equal(get(f, 9), 0x24);
	assert_int_equal(get(f, 0x32), 0x20);
	assert_int_equal(get(f, 0x0d), 0x80);
	put(f, 0x0b, 0x04); /* binary, 12 hours */
	assert_int_equal(get(f, 4), 0x80 | 11);
	assert_int_equal(get(f, 7), 29);
	go(f, 1000);
	assert_int_equal(get(f, 4), 12);
	assert_int_equal(get(f, 7), 1);
	assert_int_equal(get(f, 8), 3);
}

static void uip(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 0x0a), 0x26);
	go(f, 897);
	assert_int_equal(get(f, 0x0a), 0x26);
	go(f, 2);
	assert_int_equal(get(f, 0x0a), 0xa6);
	assert_int_equal(get(f, 0), 0x59);
	go(f, 1);
	assert_int_equal(get(f, 0x0a), 0x26);
	assert_int_equal(get(f, 0), 0);
}

/* As Linux sets it: SET, divider held, bytes, divider and SET let go; the second then turns after 500 ms. */
static void sets_time(void **state)
{
	struct fixture *f = *state;

	put(f, 0x0b, 0x82);
	put(f, 0x0a, 0x76);
	put(f, 9, 0x99);
	put(f, 0x32, 0x19);
	put(f, 8, 0x12);
	put(f, 7, 0x31);
	put(f, 4, 0x23);
	put(f, 2, 0x59);
	put(f, 0, 0x58);
	go(f, 5000);
	assert_int_equal(get(f, 0), 0x58); /* it stands */
	put(f, 0x0b, 0x02);
	put(f, 0x0a, 0x26);
	go(f, 499);
	assert_int_equal(get(f, 0), 0x58);
	go(f, 2);
	assert_int_equal(get(f, 0), 0x59);
	go(f, 1000);
	assert_int_equal(get(f, 9), 0x00);
	assert_int_equal(get(f, 0x32), 0x20);
	put(f, 4, 0x07); /* while it runs */
	assert_int_equal(get(f, 4), 0x07);
	go(f, 1000);
	assert_int_equal(get(f, 0), 0x01);
}

static void update_interrupt(void **state)
{
	struct fixture *f = *state;

	go(f, 2000);
	assert_int_equal(get(f, 0x0c) & 0x90, 0x10); /* flagged, no interrupt */
	put(f, 0x0b, 0x12);
	go(f, 899);
	assert_false(f->irq.level);
	go(f, 2);
	assert_true(f->irq.level);
	assert_int_equal(get(f, 0x0c) & 0xb0, 0x90);
	assert_false(f->irq.level);
	assert_int_equal(get(f, 0x0c), 0);
	go(f, 1000);
	assert_true(f->irq.level);
	put(f, 0x0b, 0x92); /* SET clears UIE */
	assert_int_equal(get(f, 0x0b), 0x82);
}

static void alarm_interrupt(void **state)
{
	struct fixture *f = *state;

	put(f, 1, 0x30);
	put(f, 3, 0x01);
	put(f, 5, 0xff); /* any hour */
	put(f, 0x0b, 0x22);
	go(f, 90000);
	assert_false(f->irq.level);
	go(f, 1000);
	assert_true(f->irq.level);
	assert_int_equal(get(f, 0x0c) & 0xb0, 0xb0);
	go(f, 3599 * 1000);
	assert_false(f->irq.level);
	go(f, 1000);
	assert_true(f->irq.level);
}

static void periodic_interrupt(void **state)
{
	struct fixture *f = *state;
	unsigned n = 0;

	put(f, 0x0b, 0x42); /* 1024 Hz */
	for (unsigned i = 0; i < 10000; i++) {
		pass(&f->clock, &f->queue, 100000);
		if (f->irq.level && get(f, 0x0c) & 0x40)
			n++;
	}
	assert_in_range(n, 1022, 1025);
	put(f, 0x0a, 0x20);
	get(f, 0x0c);
	go(f, 1000);
	assert_false(f->irq.level);
}

static void memory(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 0x15) | get(f, 0x16) << 8, 640);
	assert_int_equal(get(f, 0x34) | get(f, 0x35) << 8, (0x80000000u - 0x1000000) >> 16);
	assert_int_equal(get(f, 0x5b) | get(f, 0x5c) << 8 | get(f, 0x5d) << 16, 0x4000);
	put(f, 0x8f, 0x0a); /* with NMI masked; shutdown byte */
	assert_int_equal(get(f, 0x0f), 0x0a);
	rtc_class.reset(&f->rtc);
	assert_int_equal(get(f, 0x0f), 0x0a);
}

static void tiles(void **state) { assert_null(desc_check(&rtc_state_desc)); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(reads_time, setup),	cmocka_unit_test_setup(uip, setup),
		cmocka_unit_test_setup(sets_time, setup),	cmocka_unit_test_setup(update_interrupt, setup),
		cmocka_unit_test_setup(alarm_interrupt, setup), cmocka_unit_test_setup(periodic_interrupt, setup),
		cmocka_unit_test_setup(memory, setup),		cmocka_unit_test(tiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
