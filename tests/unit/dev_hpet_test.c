/* The HPET: its counter, one-shot and periodic events, level status, the wires with and without legacy replacement. */
#include "tests/unit/dev_fake.h"

#include "dev/hpet.h"

struct fixture {
	struct clock_fake clock;
	struct timer_queue queue;
	struct wire out, irq0, irq8;
	struct hpet hpet;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){0};
	clock_fake_init(&f.clock);
	f.clock.now_ns = 1000000007;
	timer_queue_init(&f.queue, &f.clock.clock);
	hpet_init(&f.hpet, &f.queue, wire_line(&f.out), wire_line(&f.irq0), wire_line(&f.irq8));
	*state = &f;
	return 0;
}

static u64 get(struct fixture *f, u32 reg, unsigned size)
{
	return hpet_ops.read(&f->hpet, reg, size) & MASK(size * 8);
}
static void put(struct fixture *f, u32 reg, unsigned size, u64 v) { hpet_ops.write(&f->hpet, reg, size, v); }
static void ticks(struct fixture *f, u64 n) { pass(&f->clock, &f->queue, n * HPET_TICK_NS); }

static void counter(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 0, 8), 10000000ull << 32 | HPET_ID);
	assert_int_equal(get(f, 4, 4), 10000000);
	ticks(f, 100);
	assert_int_equal(get(f, 0xf0, 8), 0); /* it stands */
	put(f, 0x10, 8, 1);
	ticks(f, 100);
	assert_int_equal(get(f, 0xf0, 8), 100);
	put(f, 0x10, 8, 0);
	put(f, 0xf0, 8, 0xfffffffffffffff0);
	put(f, 0x10, 8, 1);
	ticks(f, 3);
	assert_int_equal(get(f, 0xf4, 4), 0xffffffff);
	ticks(f, 0x20);
	assert_int_equal(get(f, 0xf0, 8), 0x13);
	put(f, 0xf4, 4, 7);
	assert_int_equal(get(f, 0xf0, 8), 7ull << 32 | 0x13);
}

static void one_shot(void **state)
{
	struct fixture *f = *state;

	put(f, 0x140, 8, 20 << 9 | 4);
	put(f, 0x148, 8, 500);
	put(f, 0x10, 8, 1);
	ticks(f, 499);
	assert_int_equal(f->out.rises, 0);
	ticks(f, 1);
	assert_int_equal(f->out.rises, 1);
	ticks(f, 100000);
	assert_int_equal(f->out.rises, 1);
	put(f, 0x140, 8, 20 << 9 | 4 | 0x100); /* 32 bits: once a turn */
	put(f, 0x148, 4, 300);
	ticks(f, BIT(32));
	assert_int_equal(f->out.rises, 2);
	ticks(f, BIT(32));
	assert_int_equal(f->out.rises, 3);
}

static void periodic(void **state)
{
	struct fixture *f = *state;

	put(f, 0x100, 8, 20 << 9 | 4 | 8 | 0x40 | 0x100);
	put(f, 0x108, 4, 100000);
	put(f, 0x108, 4, 10000);
	put(f, 0x10, 8, 1);
	ticks(f, 99999);
	assert_int_equal(f->out.rises, 0);
	ticks(f, 1 + 5 * 10000);
	assert_int_equal(f->out.rises, 6);
	assert_int_equal(get(f, 0x108, 8), 160000);
	f->clock.now_ns += 100000 * HPET_TICK_NS; /* nobody looked for a while: one event, and no drift */
	timer_queue_run(&f->queue);
	assert_int_equal(f->out.rises, 7);
	assert_int_equal(get(f, 0x108, 8), 260000);
	put(f, 0x108, 4, 0); /* no period: no storm */
	ticks(f, 10000);
	assert_in_range(f->out.rises, 7, 8);
}

/* One tick's period: events come no closer than 20 us, and the comparator keeps to its multiples. */
static void storm(void **state)
{
	struct fixture *f = *state;

	put(f, 0x100, 8, 20 << 9 | 4 | 8 | 0x40 | 0x100);
	put(f, 0x108, 4, 1000);
	put(f, 0x108, 4, 1);
	put(f, 0x10, 8, 1);
	ticks(f, 1000 + 10 * 2000);
	assert_in_range(f->out.rises, 10, 11);
}

static void level(void **state)
{
	struct fixture *f = *state;

	put(f, 0x120, 8, 21 << 9 | 4 | 2);
	put(f, 0x128, 8, 50);
	put(f, 0x10, 8, 1);
	ticks(f, 60);
	assert_true(f->out.level);
	assert_int_equal(get(f, 0x20, 8), 2);
	put(f, 0x20, 8, 1);
	assert_true(f->out.level);
	put(f, 0x20, 4, 2);
	assert_false(f->out.level);
	assert_int_equal(get(f, 0x20, 8), 0);
}

static void replacement(void **state)
{
	struct fixture *f = *state;
	struct irq_line pit = hpet_legacy_line(&f->hpet, 0), rtc = hpet_legacy_line(&f->hpet, 1);

	irq_set(&pit, true);
	assert_true(f->irq0.level);
	put(f, 0x100, 8, 4);
	put(f, 0x108, 8, 100);
	put(f, 0x10, 8, 3);
	assert_false(f->irq0.level);
	irq_set(&rtc, true);
	assert_false(f->irq8.level);
	ticks(f, 100);
	assert_true(f->irq0.level);
	assert_int_equal(f->out.rises, 0);
	put(f, 0x10, 8, 1);
	assert_true(f->irq0.level); /* the 8254's again */
	assert_true(f->irq8.level);
	irq_set(&pit, false);
	assert_false(f->irq0.level);
}

static void state_tiles(void **state)
{
	struct fixture *f = *state;

	assert_null(desc_check(&hpet_state_desc));
	put(f, 0x10, 8, 3);
	hpet_class.reset(&f->hpet);
	assert_int_equal(get(f, 0x10, 8), 0);
	assert_int_equal(get(f, 0x128, 8), UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(counter, setup),	    cmocka_unit_test_setup(one_shot, setup),
		cmocka_unit_test_setup(periodic, setup),    cmocka_unit_test_setup(level, setup),
		cmocka_unit_test_setup(storm, setup),
		cmocka_unit_test_setup(replacement, setup), cmocka_unit_test_setup(state_tiles, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
