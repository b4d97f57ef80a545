/* The flash chip: reads, programs that only clear bits, erases of a block, the status register, wrong sequences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "dev/flash.h"

static u8 bytes[2 * FLASH_BLOCK];
static struct flash f;

static void put(u64 at, u8 v) { flash_ops.write(&f, at, 1, v); }
static u8 get(u64 at) { return (u8)flash_ops.read(&f, at, 1); }

static int setup(void **state)
{
	memset(bytes, 0xff, sizeof(bytes));
	flash_init(&f, NULL, bytes, sizeof(bytes));
	return 0;
}

static void array(void **state)
{
	bytes[5] = 0x12;
	bytes[6] = 0x34;
	assert_int_equal(get(5), 0x12);
	assert_int_equal((u16)flash_ops.read(&f, 5, 2), 0x3412);
	put(5, 0x70);
	assert_int_equal(get(5), 0);
	put(5, 0xff);
	assert_int_equal(get(5), 0x12);
	put(5, 0x98); /* a query is not there: the array is read on */
	assert_int_equal(get(5), 0x12);
}

static void program(void **state)
{
	put(9, 0x10);
	put(9, 0xf0);
	assert_int_equal(get(9), 0x80);
	put(9, 0x50);
	assert_int_equal(get(9), 0xf0);
	put(9, 0x40);
	put(9, 0x3f);
	assert_int_equal(bytes[9], 0x30); /* cells lose bits only */
	flash_class.reset(&f);
	assert_int_equal(get(9), 0x30);
}

static void erase(void **state)
{
	memset(bytes, 0, sizeof(bytes));
	put(FLASH_BLOCK + 17, 0x20);
	put(FLASH_BLOCK + 17, 0xd0);
	assert_int_equal(get(0), 0x80);
	put(0, 0xff);
	assert_int_equal(bytes[FLASH_BLOCK - 1], 0);
	assert_int_equal(bytes[FLASH_BLOCK], 0xff);
	assert_int_equal(bytes[2 * FLASH_BLOCK - 1], 0xff);
	put(0, 0x20);
	put(0, 0xff); /* not confirmed */
	assert_int_equal(get(0), 0xb0);
	assert_int_equal(bytes[0], 0);
	put(0, 0x50);
	put(0, 0x70);
	assert_int_equal(get(0), 0);
	assert_null(desc_check(&flash_state_desc));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(array, setup),
		cmocka_unit_test_setup(program, setup),
		cmocka_unit_test_setup(erase, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
