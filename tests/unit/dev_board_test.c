/* The small chips of the board: 8042, ACPI registers, reset port, debug exit, shared wires. */
#include "tests/unit/dev_fake.h"

#include "dev/debug_exit.h"
#include "dev/i8042.h"
#include "dev/irq_or.h"
#include "dev/pm.h"

struct fixture {
	struct clock_fake clock;
	struct timer_queue queue;
	struct wire irq, irq12;
	unsigned resets, poweroffs;
	struct i8042 k;
	struct pm pm;
};

static void on_reset(void *ctx) { ((struct fixture *)ctx)->resets++; }
static void on_poweroff(void *ctx) { ((struct fixture *)ctx)->poweroffs++; }

static int setup(void **state)
{
	static struct fixture f;
	struct pm_host host = {on_poweroff, on_reset, &f};

	f = (struct fixture){0};
	clock_fake_init(&f.clock);
	f.clock.now_ns = 123456789;
	timer_queue_init(&f.queue, &f.clock.clock);
	i8042_init(&f.k, wire_line(&f.irq), wire_line(&f.irq12), on_reset, &f);
	pm_init(&f.pm, &f.queue, wire_line(&f.irq), &host);
	*state = &f;
	return 0;
}

static u8 status(struct fixture *f) { return in8(&i8042_command_ops, &f->k, 0); }
static u8 data(struct fixture *f) { return in8(&i8042_data_ops, &f->k, 0); }
static void command(struct fixture *f, u8 v) { out8(&i8042_command_ops, &f->k, 0, v); }
static void put(struct fixture *f, u8 v) { out8(&i8042_data_ops, &f->k, 0, v); }

static void keyboard_controller(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(status(f) & 0x03, 0);
	command(f, 0xaa);
	assert_int_equal(status(f) & 0x09, 0x09);
	assert_int_equal(data(f), 0x55);
	assert_int_equal(status(f) & 0x01, 0);
	command(f, 0x60);
	put(f, 0x45);
	command(f, 0x20);
	assert_true(f->irq.level);
	assert_int_equal(data(f), 0x45);
	assert_false(f->irq.level);
	command(f, 0xab);
	assert_int_equal(data(f), 0);
	put(f, 0xed); /* to a keyboard that is not there */
	assert_int_equal(status(f) & 0x41, 0x41);
	assert_int_equal(data(f), 0xfe);
	command(f, 0xd3); /* Linux' test for an auxiliary port */
	put(f, 0x5a);
	assert_int_equal(status(f) & 0x21, 0x01);
	data(f);
	command(f, 0xa9);
	assert_int_equal(data(f), 0x02);
	for (unsigned i = 0; i < 100; i++)
		command(f, 0xaa);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(data(f), 0x55);
	assert_int_equal(status(f) & 1, 0);
	assert_int_equal(f->resets, 0);
	command(f, 0xfe);
	assert_int_equal(f->resets, 1);
	command(f, 0xd1);
	put(f, 0xfe);
	assert_int_equal(f->resets, 2);
	assert_int_equal(in8(&i8042_port92_ops, &f->k, 0), 0x02);
	out8(&i8042_port92_ops, &f->k, 0, 0x03);
	assert_int_equal(f->resets, 3);
}

static u64 pm_get(struct fixture *f, unsigned offset, unsigned size) { return pm_ops.read(&f->pm, offset, size); }
static void pm_put(struct fixture *f, unsigned offset, unsigned size, u64 v) { pm_ops.write(&f->pm, offset, size, v); }

static void pm_timer(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pm_get(f, PM_TIMER, 4), 0);
	pass(&f->clock, &f->queue, NS_PER_SEC);
	assert_int_equal(pm_get(f, PM_TIMER, 4), PM_TIMER_HZ);
	assert_int_equal(pm_get(f, PM_EVT, 2), 0);
	pm_put(f, PM_EVT + 2, 2, 0x0001);
	pass(&f->clock, &f->queue, 598 * NS_PER_SEC); /* bit 31 after 599.9 s */
	assert_false(f->irq.level);
	pass(&f->clock, &f->queue, NS_PER_SEC);
	assert_true(f->irq.level);
	assert_int_equal(pm_get(f, PM_EVT, 2), 1);
	pm_put(f, PM_EVT, 2, 1);
	assert_false(f->irq.level);
	pass(&f->clock, &f->queue, 600 * NS_PER_SEC);
	assert_true(f->irq.level);
	assert_int_equal(pm_get(f, PM_TIMER, 4), (u32)(1200ull * PM_TIMER_HZ));
}

static void pm_events(void **state)
{
	struct fixture *f = *state;
	struct irq_line gpe = pm_gpe_line(&f->pm, 9);

	pm_power_button(&f->pm);
	assert_false(f->irq.level);
	pm_put(f, PM_EVT + 2, 2, 0x0100);
	assert_true(f->irq.level);
	assert_int_equal(pm_get(f, PM_EVT, 4), 0x01000100);
	pm_put(f, PM_EVT + 1, 1, 0x01);
	assert_false(f->irq.level);
	pm_put(f, PM_GPE0 + 2, 2, 0x200);
	irq_set(&gpe, true);
	assert_true(f->irq.level);
	pm_put(f, PM_GPE0, 2, 0x200); /* a level: it comes back until the wire falls */
	assert_true(f->irq.level);
	irq_set(&gpe, false);
	pm_put(f, PM_GPE0, 2, 0x200);
	assert_false(f->irq.level);
}

static void sleeping(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(pm_get(f, PM_CNT, 2), 1); /* SCI_EN for good */
	pm_put(f, PM_CNT, 2, PM_SLP_S5 << 10);
	assert_int_equal(f->poweroffs, 0);
	assert_int_equal(pm_get(f, PM_CNT, 2), PM_SLP_S5 << 10 | 1);
	pm_put(f, PM_CNT, 2, PM_SLP_S5 << 10 | 0x2000);
	assert_int_equal(f->poweroffs, 1);
}

static void reset_port(void **state)
{
	struct fixture *f = *state;

	out8(&pm_reset_ops, &f->pm, 0, 0x02);
	assert_int_equal(f->resets, 0);
	out8(&pm_reset_ops, &f->pm, 0, PM_RESET_VALUE);
	assert_int_equal(f->resets, 1);
	assert_int_equal(in8(&pm_reset_ops, &f->pm, 0), 0x06);
}

static void on_stop(void *ctx, u32 code) { *(u32 *)ctx = code; }

static void debug_exit(void **state)
{
	struct debug_exit d;
	u32 code = 0;

	debug_exit_init(&d, on_stop, &code);
	debug_exit_ops.write(&d, 0, 4, 0x12345678);
	assert_int_equal(code, 0x12345678);
}

static void shared_wire(void **state)
{
	struct wire w = {0};
	struct irq_or o;
	struct irq_line a, b;

	irq_or_init(&o, wire_line(&w));
	a = irq_or_source(&o);
	b = irq_or_source(&o);
	irq_set(&a, true);
	irq_set(&b, true);
	irq_set(&a, false);
	assert_true(w.level);
	irq_set(&b, false);
	assert_false(w.level);
	assert_int_equal(w.rises, 1);
}

static void tiles(void **state)
{
	assert_null(desc_check(&i8042_state_desc));
	assert_null(desc_check(&pm_state_desc));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(keyboard_controller, setup),
		cmocka_unit_test_setup(pm_timer, setup),
		cmocka_unit_test_setup(pm_events, setup),
		cmocka_unit_test_setup(sleeping, setup),
		cmocka_unit_test_setup(reset_port, setup),
		cmocka_unit_test(debug_exit),
		cmocka_unit_test(shared_wire),
		cmocka_unit_test(tiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
