/* The bus: who answers, and how accesses at the edges of ranges are split. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/bus.h"

struct bytes {
	u8 b[16];
	unsigned calls;
};

static u64 bytes_read(void *dev, u64 offset, unsigned size)
{
	struct bytes *d = dev;
	u64 v = 0;

	d->calls++;
	memcpy(&v, d->b + offset, size);
	return v | ~MASK(size * 8); /* the bus must cut what is too wide */
}

static void bytes_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct bytes *d = dev;

	d->calls++;
	assert_int_equal(value & ~MASK(size * 8), 0);
	memcpy(d->b + offset, &value, size);
}

static const struct bus_ops bytes_ops = {bytes_read, bytes_write};

static void overlaps_refused(void **state)
{
	struct bus bus = {.name = "port"};
	struct bytes d = {0};
	struct err e;

	assert_int_equal(bus_add(&bus, 0x100, 16, &bytes_ops, &d, "one", &e), 0);
	assert_int_equal(bus_add(&bus, 0x80, 16, &bytes_ops, &d, "zero", &e), 0);
	assert_int_equal(bus_add(&bus, 0x10f, 4, &bytes_ops, &d, "two", &e), -EEXIST);
	assert_non_null(strstr(e.text, "overlaps one at 0x100"));
	assert_int_equal(bus_add(&bus, 0xfe, 3, &bytes_ops, &d, "two", &e), -EEXIST);
	assert_int_equal(bus_add(&bus, 0x110, 4, &bytes_ops, &d, "two", &e), 0);
	assert_int_equal(bus_add(&bus, ~0ull, 2, &bytes_ops, &d, "wrap", &e), -EINVAL);
	assert_string_equal(bus_find(&bus, 0x10f)->name, "one");
	assert_string_equal(bus_find(&bus, 0x110)->name, "two");
	assert_null(bus_find(&bus, 0x90));
	assert_null(bus_find(&bus, 0x114));
	bus_remove(&bus, 0x100, &bus); /* somebody else's */
	assert_non_null(bus_find(&bus, 0x100));
	bus_remove(&bus, 0x100, &d);
	assert_null(bus_find(&bus, 0x100));
	assert_int_equal(bus.n, 2);
	for (unsigned i = 2; i < BUS_RANGES; i++)
		assert_int_equal(bus_add(&bus, 0x1000 + i, 1, &bytes_ops, &d, "many", &e), 0);
	assert_int_equal(bus_add(&bus, 0x8000, 1, &bytes_ops, &d, "late", &e), -ENOSPC);
}

static bool two_doorbells(void *dev, unsigned i, u64 *offset)
{
	*offset = 4 + 4 * i;
	return i < 2;
}

static void told(void *ctx, const struct bus_range *r) { *(u64 *)ctx = r->base; }

/* Only ranges with doorbells, and only those that are there. */
static void engine_told_of_doorbells(void **state)
{
	static const struct bus_ops ops = {bytes_read, bytes_write, two_doorbells};
	u64 base = 0;
	struct bus bus = {.name = "mmio", .engine = {told, told, &base}};
	struct bytes d = {0};
	struct err e;

	assert_int_equal(bus_add(&bus, 0x100, 16, &bytes_ops, &d, "plain", &e), 0);
	assert_int_equal(bus_add(&bus, 0x108, 16, &ops, &d, "taken", &e), -EEXIST);
	assert_int_equal(base, 0);
	assert_int_equal(bus_add(&bus, 0x200, 16, &ops, &d, "bells", &e), 0);
	assert_int_equal(base, 0x200);
	base = 0;
	bus_remove(&bus, 0x200, &bus);
	bus_remove(&bus, 0x100, &d);
	assert_int_equal(base, 0);
	bus_remove(&bus, 0x200, &d);
	assert_int_equal(base, 0x200);
}

static void accesses(void **state)
{
	struct bus bus = {.name = "mmio"};
	struct bytes a = {.b = {1, 2, 3, 4}}, b = {.b = {0x55}};
	struct err e;

	bus_add(&bus, 0x100, 4, &bytes_ops, &a, "a", &e);
	bus_add(&bus, 0x104, 4, &bytes_ops, &b, "b", &e);
	assert_int_equal(bus_read(&bus, 0x100, 4), 0x04030201);
	assert_int_equal(a.calls, 1);
	assert_int_equal(bus_read(&bus, 0x102, 2), 0x0403);
	assert_int_equal(bus_read(&bus, 0x103, 2), 0x5504);
	assert_int_equal(bus_read(&bus, 0xff, 2), 0x01ff);
	assert_int_equal(bus_read(&bus, 0x106, 8), 0xffffffffffff0000);
	assert_int_equal(bus_read(&bus, 0x50, 8), ~0ull);
	assert_int_equal(bus_read(&bus, 0x50, 1), 0xff);
	a.calls = 0;
	bus_write(&bus, 0x102, 4, 0xaabbccdd);
	assert_int_equal(a.calls, 2);
	assert_int_equal(a.b[2], 0xdd);
	assert_int_equal(a.b[3], 0xcc);
	assert_int_equal(b.b[0], 0xbb);
	assert_int_equal(b.b[1], 0xaa);
	bus_write(&bus, 0x200, 8, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(overlaps_refused),
					   cmocka_unit_test(engine_told_of_doorbells), cmocka_unit_test(accesses)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
