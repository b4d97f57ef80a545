/* The 8254: each mode's output and count, latches, read-back, gate, IRQ 0. */
#include "tests/unit/dev_fake.h"

#include "dev/pit.h"

struct fixture {
	struct clock_fake clock;
	struct timer_queue queue;
	struct wire irq;
	struct pit pit;
};

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){0};
	clock_fake_init(&f.clock);
	f.clock.now_ns = 1000000007;
	timer_queue_init(&f.queue, &f.clock.clock);
	pit_init(&f.pit, &f.queue, wire_line(&f.irq));
	*state = &f;
	return 0;
}

/* Whole ticks, a little after the last one. */
static void ticks(struct fixture *f, u64 n) { pass(&f->clock, &f->queue, n * NS_PER_SEC / PIT_HZ + 1); }

static void program(struct fixture *f, u8 control, u16 count)
{
	unsigned ch = control >> 6;

	out8(&pit_ops, &f->pit, 3, control);
	if (control & 0x10)
		out8(&pit_ops, &f->pit, ch, (u8)count);
	if (control & 0x20)
		out8(&pit_ops, &f->pit, ch, count >> 8);
}

static u16 latched(struct fixture *f, unsigned ch)
{
	u8 low;

	out8(&pit_ops, &f->pit, 3, (u8)(ch << 6));
	low = in8(&pit_ops, &f->pit, ch);
	return (u16)(low | in8(&pit_ops, &f->pit, ch) << 8);
}

static bool out2(struct fixture *f) { return in8(&pit_speaker_ops, &f->pit, 0) & 0x20; }

static void mode0(void **state)
{
	struct fixture *f = *state;

	out8(&pit_speaker_ops, &f->pit, 0, 1);
	program(f, 0xb0, 1000);
	assert_false(out2(f));
	ticks(f, 400);
	assert_int_equal(latched(f, 2), 600);
	out8(&pit_speaker_ops, &f->pit, 0, 0); /* gate low: it stands */
	ticks(f, 5000);
	assert_int_equal(latched(f, 2), 600);
	assert_false(out2(f));
	out8(&pit_speaker_ops, &f->pit, 0, 1);
	ticks(f, 601);
	assert_true(out2(f));
	assert_in_range(latched(f, 2), 0xfffc, 0xffff); /* goes on below 0 */
}

static void mode1(void **state)
{
	struct fixture *f = *state;

	program(f, 0xb2, 100);
	assert_true(out2(f));
	ticks(f, 500);
	assert_true(out2(f));
	out8(&pit_speaker_ops, &f->pit, 0, 1);
	assert_false(out2(f));
	ticks(f, 60);
	out8(&pit_speaker_ops, &f->pit, 0, 0);
	out8(&pit_speaker_ops, &f->pit, 0, 1); /* retriggered */
	ticks(f, 60);
	assert_false(out2(f));
	ticks(f, 41);
	assert_true(out2(f));
}

static void mode2(void **state)
{
	struct fixture *f = *state;

	program(f, 0x34, 1193); /* about 1 kHz */
	pass(&f->clock, &f->queue, 100 * 1000000 - 50000);
	assert_in_range(f->irq.rises, 99, 101);
	assert_in_range(latched(f, 0), 1, 1193);
	program(f, 0x34, 0);
	f->irq.rises = 0;
	pass(&f->clock, &f->queue, NS_PER_SEC);
	assert_int_equal(f->irq.rises, 18);
}

static void mode2_new_count(void **state)
{
	struct fixture *f = *state;

	program(f, 0x34, 1000);
	ticks(f, 300);
	out8(&pit_ops, &f->pit, 0, 2000 & 255);
	out8(&pit_ops, &f->pit, 0, 2000 >> 8);
	assert_in_range(latched(f, 0), 698, 700); /* the old period first */
	ticks(f, 702);
	assert_in_range(latched(f, 0), 1996, 2000);
}

static void mode3(void **state)
{
	struct fixture *f = *state;

	out8(&pit_speaker_ops, &f->pit, 0, 1);
	program(f, 0xb6, 1000);
	ticks(f, 100);
	assert_in_range(latched(f, 2), 798, 800); /* by twos */
	assert_true(out2(f));
	ticks(f, 450);
	assert_false(out2(f));
	ticks(f, 451);
	assert_true(out2(f));
}

static void mode4_irq(void **state)
{
	struct fixture *f = *state;

	program(f, 0x38, 1193); /* Linux' one-shot */
	ticks(f, 1100);
	assert_int_equal(f->irq.rises, 0);
	ticks(f, 100);
	assert_int_equal(f->irq.rises, 1);
	pass(&f->clock, &f->queue, NS_PER_SEC);
	assert_int_equal(f->irq.rises, 1);
}

static void mode0_irq(void **state)
{
	struct fixture *f = *state;

	program(f, 0x30, 1193);
	assert_false(f->irq.level);
	ticks(f, 1194);
	assert_true(f->irq.level);
	program(f, 0x30, 1193);
	assert_false(f->irq.level);
}

static void read_back(void **state)
{
	struct fixture *f = *state;
	u8 low;

	program(f, 0x34, 5000);
	ticks(f, 1000);
	out8(&pit_ops, &f->pit, 3, 0xc2); /* status and count of counter 0 */
	ticks(f, 1000);
	assert_int_equal(in8(&pit_ops, &f->pit, 0), 0xb4); /* OUT high, both bytes, mode 2 */
	low = in8(&pit_ops, &f->pit, 0);
	assert_in_range(low | in8(&pit_ops, &f->pit, 0) << 8, 3998, 4000);
	low = in8(&pit_ops, &f->pit, 0); /* live again */
	assert_in_range(low | in8(&pit_ops, &f->pit, 0) << 8, 2996, 3000);

	out8(&pit_ops, &f->pit, 3, 0x36);
	out8(&pit_ops, &f->pit, 3, 0xe2);
	assert_int_equal(in8(&pit_ops, &f->pit, 0) & 0x40, 0x40); /* null count */
}

static void bcd(void **state)
{
	struct fixture *f = *state;

	out8(&pit_speaker_ops, &f->pit, 0, 1);
	program(f, 0xb1, 0x1234);
	ticks(f, 234);
	assert_int_equal(latched(f, 2), 0x1000);
	program(f, 0xb1, 0);
	ticks(f, 1);
	assert_int_equal(latched(f, 2), 0x9999);
}

/* No count, however small, lets a guest flood the host with timers. */
static void smallest_count(void **state)
{
	struct fixture *f = *state;

	program(f, 0x14, 1);
	pass(&f->clock, &f->queue, 10000000);
	assert_in_range(f->irq.rises, 100, 600);
}

static void tiles(void **state) { assert_null(desc_check(&pit_state_desc)); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(mode0, setup),
		cmocka_unit_test_setup(mode1, setup),
		cmocka_unit_test_setup(mode2, setup),
		cmocka_unit_test_setup(mode2_new_count, setup),
		cmocka_unit_test_setup(mode3, setup),
		cmocka_unit_test_setup(mode4_irq, setup),
		cmocka_unit_test_setup(mode0_irq, setup),
		cmocka_unit_test_setup(read_back, setup),
		cmocka_unit_test_setup(bcd, setup),
		cmocka_unit_test_setup(smallest_count, setup),
		cmocka_unit_test(tiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
