/* Code memory and the emitter: what is written runs, a full region says so, a reset gives the room back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "jit/emit.h"

enum { RAX_, RCX_, RDX_, RBX_, RSP_, RBP_, RSI_, RDI_, R8_ };

static const void *emit_copy(struct code_region *r, unsigned from, s32 from_disp, unsigned to, s32 to_disp)
{
	struct emit e;

	/* copies a quadword between [RDI + from_disp] and [RSI + to_disp] through registers that need every prefix bit
	 */
	emit_begin(&e, r);
	emit_mov_reg64(&e, from, RDI_);
	emit_mov_reg64(&e, to, RSI_);
	emit_load64(&e, R8_, from, from_disp);
	emit_store64(&e, R8_, to, to_disp);
	emit_ret(&e);
	return emit_end(&e);
}

static void test_addressing(void **state)
{
	static const unsigned regs[] = {RAX_, RCX_, RDX_, RDI_, 9, 11};
	static const s32 disps[] = {0, 8, -8, 120, 1000, -2000};
	struct code_region r;
	u64 a[512], b[512];

	assert_int_equal(code_region_init(&r, 1, NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
		for (unsigned k = 0; k < ARRAY_SIZE(disps); k++) {
			const void *run = emit_copy(&r, regs[i], disps[k], 10, -disps[k]);

			assert_non_null(run);
			memset(b, 0, sizeof(b));
			for (unsigned n = 0; n < 512; n++)
				a[n] = 0x1111111111111111ull * n;
			((void (*)(void *, void *))(uintptr_t)run)(a + 256, b + 256);
			assert_int_equal(*(u64 *)((u8 *)(b + 256) - disps[k]), *(u64 *)((u8 *)(a + 256) + disps[k]));
		}
	code_region_destroy(&r);
}

static void test_full_and_reset(void **state)
{
	struct code_region r;
	unsigned n = 0;
	size_t used;

	assert_int_equal(code_region_init(&r, 4096, NULL), 0);
	while (emit_copy(&r, RAX_, 1000, RCX_, 1000))
		n++;
	assert_true(n > 50 && n < 4096 / 16);
	used = r.used;
	assert_null(emit_copy(&r, RAX_, 1000, RCX_, 1000));
	assert_int_equal(r.used, used);
	code_region_reset(&r);
	assert_non_null(emit_copy(&r, RAX_, 1000, RCX_, 1000));
	code_region_destroy(&r);
}

static void test_vector_moves(void **state)
{
	struct code_region r;
	struct emit e;
	u8 from[64], to[64];

	assert_int_equal(code_region_init(&r, 4096, NULL), 0);
	for (unsigned i = 0; i < 64; i++) {
		from[i] = i + 1;
		to[i] = 0xee;
	}
	emit_begin(&e, &r);
	emit_xmm_load(&e, 9, RDI_, 16);
	emit_xmm_store(&e, 9, RSI_, 32);
	emit_store16_imm(&e, RSI_, 2, 0x1234);
	emit_mov_imm32(&e, RAX_, 0x89abcdef);
	emit_ret(&e);
	const void *run = emit_end(&e);

	assert_non_null(run);
	assert_int_equal(((u64(*)(void *, void *))(uintptr_t)run)(from, to), 0x89abcdef);
	assert_memory_equal(to + 32, from + 16, 16);
	assert_int_equal(to[48], 0xee);
	assert_int_equal(to[2] | to[3] << 8, 0x1234);
	code_region_destroy(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addressing),
		cmocka_unit_test(test_full_and_reset),
		cmocka_unit_test(test_vector_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
