/* The 8259 pair: initialisation, priorities, every EOI, rotation, special mask, cascade, spurious, level inputs,
 * polling. */
#include "tests/unit/dev_fake.h"

#include "dev/pic.h"

struct fixture {
	struct wire intr;
	struct pic pic;
};

static void m(struct fixture *f, unsigned offset, u8 v) { out8(&pic_master_ops, &f->pic, offset, v); }
static void s(struct fixture *f, unsigned offset, u8 v) { out8(&pic_slave_ops, &f->pic, offset, v); }

static void init_with(struct fixture *f, u8 icw4)
{
	m(f, 0, 0x11);
	m(f, 1, 0x30);
	m(f, 1, 0x04);
	m(f, 1, icw4);
	s(f, 0, 0x11);
	s(f, 1, 0x38);
	s(f, 1, 0x02);
	s(f, 1, icw4);
}

static int setup(void **state)
{
	static struct fixture f;

	f = (struct fixture){0};
	pic_init(&f.pic, wire_line(&f.intr));
	init_with(&f, 0x01);
	*state = &f;
	return 0;
}

static void pulse(struct fixture *f, unsigned pin)
{
	pic_set(&f->pic, pin, true);
	pic_set(&f->pic, pin, false);
}

static void never_initialised(void **state)
{
	struct fixture f = {0};

	pic_init(&f.pic, wire_line(&f.intr));
	pulse(&f, 3);
	assert_false(f.intr.level);
	assert_int_equal(pic_ack(&f.pic), -1);
}

static void priorities(void **state)
{
	struct fixture *f = *state;

	pulse(f, 5);
	assert_true(f->intr.level);
	assert_int_equal(pic_ack(&f->pic), 0x35);
	assert_false(f->intr.level);
	pulse(f, 6); /* lower: waits */
	assert_false(f->intr.level);
	pulse(f, 1); /* higher: nests */
	assert_int_equal(pic_ack(&f->pic), 0x31);
	m(f, 0, 0x0b);
	assert_int_equal(in8(&pic_master_ops, &f->pic, 0), 0x22);
	m(f, 0, 0x0a);
	assert_int_equal(in8(&pic_master_ops, &f->pic, 0), 0x40);
	m(f, 0, 0x20); /* ends 1 */
	assert_false(f->intr.level);
	m(f, 0, 0x65); /* ends 5 by name */
	assert_int_equal(pic_ack(&f->pic), 0x36);
}

static void cascade(void **state)
{
	struct fixture *f = *state;

	pulse(f, 12);
	assert_int_equal(pic_ack(&f->pic), 0x3c);
	pulse(f, 8); /* higher within the slave, but the master's input 2 is busy */
	assert_false(f->intr.level);
	s(f, 0, 0x20);
	m(f, 0, 0x20);
	assert_int_equal(pic_ack(&f->pic), 0x38);
	s(f, 0, 0x20);
	m(f, 0, 0x20);
	assert_false(f->intr.level);
}

static void fully_nested(void **state)
{
	struct fixture *f = *state;

	init_with(f, 0x11);
	pulse(f, 12);
	assert_int_equal(pic_ack(&f->pic), 0x3c);
	pulse(f, 8);
	assert_int_equal(pic_ack(&f->pic), 0x38);
}

static void spurious(void **state)
{
	struct fixture *f = *state;

	pulse(f, 3);
	m(f, 1, 0xff);
	assert_false(f->intr.level);
	assert_int_equal(pic_ack(&f->pic), 0x37);
	m(f, 0, 0x0b);
	assert_int_equal(in8(&pic_master_ops, &f->pic, 0), 0);
	m(f, 1, 0);
	assert_int_equal(pic_ack(&f->pic), 0x33); /* the masked request was kept */
}

static void automatic_eoi(void **state)
{
	struct fixture *f = *state;

	init_with(f, 0x03);
	pulse(f, 4);
	assert_int_equal(pic_ack(&f->pic), 0x34);
	pulse(f, 6);
	assert_int_equal(pic_ack(&f->pic), 0x36);
	m(f, 0, 0x80); /* rotate in automatic EOI */
	pulse(f, 2 + 1);
	assert_int_equal(pic_ack(&f->pic), 0x33);
	pulse(f, 3);
	pulse(f, 4);
	assert_int_equal(pic_ack(&f->pic), 0x34); /* 3 is now the lowest */
	assert_int_equal(pic_ack(&f->pic), 0x33);
}

static void rotation(void **state)
{
	struct fixture *f = *state;

	m(f, 0, 0xc4); /* 4 lowest: 5 highest */
	pulse(f, 1);
	pulse(f, 6);
	assert_int_equal(pic_ack(&f->pic), 0x36);
	m(f, 0, 0xa0); /* EOI and rotate: 6 lowest */
	pulse(f, 6);
	assert_int_equal(pic_ack(&f->pic), 0x31);
	m(f, 0, 0xe1); /* named EOI and rotate */
	assert_int_equal(pic_ack(&f->pic), 0x36);
}

static void special_mask(void **state)
{
	struct fixture *f = *state;

	pulse(f, 1);
	assert_int_equal(pic_ack(&f->pic), 0x31);
	pulse(f, 5);
	assert_false(f->intr.level);
	m(f, 1, 0x02);
	m(f, 0, 0x68);
	assert_int_equal(pic_ack(&f->pic), 0x35);
}

static void level_input(void **state)
{
	struct fixture *f = *state;

	out8(&pic_elcr_ops, &f->pic, 0, 0xff);
	out8(&pic_elcr_ops, &f->pic, 1, 0xff);
	assert_int_equal(in8(&pic_elcr_ops, &f->pic, 0), 0xf8);
	assert_int_equal(in8(&pic_elcr_ops, &f->pic, 1), 0xde);
	pic_set(&f->pic, 11, true);
	assert_int_equal(pic_ack(&f->pic), 0x3b);
	s(f, 0, 0x20);
	m(f, 0, 0x20);
	assert_int_equal(pic_ack(&f->pic), 0x3b); /* still asserted */
	pic_set(&f->pic, 11, false);
	s(f, 0, 0x20);
	m(f, 0, 0x20);
	assert_false(f->intr.level);
}

static void polling(void **state)
{
	struct fixture *f = *state;

	m(f, 0, 0x0c);
	assert_int_equal(in8(&pic_master_ops, &f->pic, 0), 0);
	pulse(f, 7);
	m(f, 0, 0x0c);
	assert_int_equal(in8(&pic_master_ops, &f->pic, 0), 0x87);
	assert_false(f->intr.level);
}

static void tiles(void **state) { assert_null(desc_check(&pic_state_desc)); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(never_initialised),
		cmocka_unit_test_setup(priorities, setup),
		cmocka_unit_test_setup(cascade, setup),
		cmocka_unit_test_setup(fully_nested, setup),
		cmocka_unit_test_setup(spurious, setup),
		cmocka_unit_test_setup(automatic_eoi, setup),
		cmocka_unit_test_setup(rotation, setup),
		cmocka_unit_test_setup(special_mask, setup),
		cmocka_unit_test_setup(level_input, setup),
		cmocka_unit_test_setup(polling, setup),
		cmocka_unit_test(tiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
