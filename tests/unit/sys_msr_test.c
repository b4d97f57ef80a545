/*
 * MSR permissions, from the rows of msr.def themselves: privilege, existence by vendor and feature, read-only and
 * write-only registers, reserved bits, non-canonical addresses. SDM vol. 2 "RDMSR", "WRMSR"; SDM vol. 4.
 */
#include "tests/unit/sys_world.h"

#include "arch/x86/msr.h"
#include "cpu/x86/msr.h"

ASM64(rdmsr, "rdmsr")
ASM64(wrmsr, "wrmsr")

static const char *const models[] = {"EPYC", "EPYC-Milan", "Haswell-noTSX-IBRS", "Skylake-Client,+la57"};

static enum outcome rd(struct world *w, u32 index)
{
	w->st.gpr[RCX] = 0xdead000000000000 | index; /* the upper half is ignored */
	return ONE(w, rdmsr);
}

static enum outcome wr(struct world *w, u32 index, u64 v)
{
	w->st.gpr[RCX] = index;
	w->st.gpr[RAX] = 0xdead000000000000 | (u32)v;
	w->st.gpr[RDX] = 0xdead000000000000 | v >> 32;
	return ONE(w, wrmsr);
}

static u64 value(const struct world *w) { return w->st.gpr[RDX] << 32 | w->st.gpr[RAX]; }
static bool is_gp(struct world *w, enum outcome o)
{
	return o == OUT_FAULT && w->cpu->c.event.vector == EXC_GP && !w->cpu->c.event.error;
}

/* Whether the model has a row's register. */
static bool there(const struct world *w, const struct x86_msr_row *r, u32 index)
{
	return x86_msr_find(&w->model, index) == r;
}

static void check_row(struct world *w, const struct x86_msr_row *r, u32 index)
{
	bool wide = w->model.virt_bits == 57;
	u64 was;

	switch ((enum x86_msr_kind)r->kind) {
	case MSR_KIND_KEEP:
		assert_done(rd(w, index));
		was = value(w);
		assert_done(wr(w, index, r->value));
		assert_done(rd(w, index));
		if (value(w) != r->value)
			fail_msg("%s: %#llx is kept as %#llx", r->name, (unsigned long long)r->value,
				 (unsigned long long)value(w));
		for (unsigned b = 0; b < 64; b++)
			if (is_gp(w, wr(w, index, BIT(b))) != !(r->value >> b & 1))
				fail_msg("%s: bit %u", r->name, b);
		assert_done(wr(w, index, was & r->value));
		break;
	case MSR_KIND_ADDR:
		assert_done(wr(w, index, 0xffff800000000000));
		assert_done(rd(w, index));
		assert_true(value(w) == 0xffff800000000000);
		assert_done(wr(w, index, 0x7fffffffffff));
		assert_int_equal(is_gp(w, wr(w, index, 1ull << 47)), !wide);
		assert_int_equal(is_gp(w, wr(w, index, 0xff7fffffffffffff)), !wide);
		assert_true(is_gp(w, wr(w, index, 1ull << 56)));
		assert_done(wr(w, index, 0));
		break;
	case MSR_KIND_SHOW:
	case MSR_KIND_CONST:
		assert_done(rd(w, index));
		if (r->kind == MSR_KIND_CONST)
			assert_true(value(w) == r->value);
		if (!is_gp(w, wr(w, index, value(w))))
			fail_msg("%s can be written", r->name);
		break;
	case MSR_KIND_CALL:
		assert_int_equal(is_gp(w, rd(w, index)), !msr_calls[r->call].read);
		if (!msr_calls[r->call].write)
			assert_true(is_gp(w, wr(w, index, 0)));
		break;
	case MSR_KIND_LACK:
		assert_true(is_gp(w, rd(w, index)));
		assert_true(is_gp(w, wr(w, index, 0)));
		break;
	case MSR_KIND_APIC: break; /* the chip's, dev_apic_test */
	}
}

static void every_row(void **state)
{
	for (unsigned m = 0; m < ARRAY_SIZE(models); m++) {
		struct world *w = sys_world(models[m], LONG, 0);
		struct x86_state st = w->st;

		for (unsigned i = 0; i < x86_msr_row_count; i++) {
			const struct x86_msr_row *r = &x86_msr_rows[i];

			for (u32 index = r->index; index < r->index + r->count; index += MAX(r->count - 1u, 1u)) {
				if (!there(w, r, index))
					continue;
				w->st = st;
				check_row(w, r, index);
			}
		}
		world_free(w);
	}
}

/* Above CPL 0 everything is #GP(0); at CPL 0 what the model lacks is. */
static void privilege_and_existence(void **state)
{
	for (unsigned m = 0; m < ARRAY_SIZE(models); m++) {
		struct world *user = sys_world(models[m], LONG, 3), *w = sys_world(models[m], LONG, 0);
		struct x86_state st = w->st;

		for (unsigned i = 0; i < x86_msr_row_count; i++) {
			u32 index = x86_msr_rows[i].index;

			assert_true(is_gp(user, rd(user, index)));
			assert_true(is_gp(user, wr(user, index, 0)));
			if (x86_msr_find(&w->model, index))
				continue;
			w->st = st;
			assert_true(is_gp(w, rd(w, index)));
			assert_true(is_gp(w, wr(w, index, 0)));
		}
		assert_true(is_gp(w, rd(w, 0xc000ffff)));
		assert_true(is_gp(w, rd(w, 0x40000000)));
		world_free(user);
		world_free(w);
	}
}

/* Values that some registers refuse. */
static void values(void **state)
{
	static const struct {
		u32 index;
		u64 value;
		bool ok;
	} rows[] = {
		{0x277, 0x0007040600070406, true},
		{0x277, 2, false},
		{0x277, 3, false},
		{0x277, 0x0808, false},
		{0x277, 0x0700000000000000, true},
		{0x2ff, 0xc06, true},
		{0x2ff, 0x1000, false},
		{0x2ff, 2, false},
		{0x200, 6, true},
		{0x200, 2, false},
		{0x200, BIT(40) | 6, false},
		{0x201, 0xfff00800, true},
		{0x201, 0x400, false},
		{0x201, BIT(40), false},
		{0x250, 0x0606060606060606, true},
		{0x250, 0x0602060606060606, false},
		{0x3b, ~0ull, true},
	};
	struct world *w = sys_world("Skylake-Client", LONG, 0);

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (is_gp(w, wr(w, rows[i].index, rows[i].value)) == rows[i].ok)
			fail_msg("MSR %#x and %#llx", rows[i].index, (unsigned long long)rows[i].value);
	world_free(w);
}

/* FS.base and GS.base are the segments' own; KERNEL_GS_BASE is SWAPGS's other side. */
ASM64(swapgs, "swapgs")

static void bases(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 0);

	assert_done(wr(w, 0xc0000101, 0x1111));
	assert_done(wr(w, 0xc0000102, 0xffffffff80001234));
	assert_done(wr(w, 0xc0000100, 0x2222));
	assert_int_equal(w->st.seg[FS].base, 0x2222);
	assert_done(ONE(w, swapgs));
	assert_true(w->st.seg[GS].base == 0xffffffff80001234);
	assert_done(rd(w, 0xc0000102));
	assert_int_equal(value(w), 0x1111);
	world_free(w);
}

/* TSC and TSC_ADJUST move together. SDM vol. 3 17.17.3. */
static void tsc_adjust(void **state)
{
	struct world *w = sys_world("Skylake-Client", LONG, 0);
	u64 adjust;

	assert_done(wr(w, 0x3b, 0));
	assert_done(wr(w, 0x10, 1ull << 50));
	assert_done(rd(w, 0x10));
	assert_true(value(w) >= 1ull << 50 && value(w) < (1ull << 50) + (1ull << 40));
	assert_done(rd(w, 0x3b));
	adjust = value(w);
	assert_done(wr(w, 0x3b, adjust + (1ull << 51)));
	assert_done(rd(w, 0x10));
	assert_true(value(w) >> 50 == 3);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row),  cmocka_unit_test(privilege_and_existence),
		cmocka_unit_test(values),     cmocka_unit_test(bases),
		cmocka_unit_test(tsc_adjust),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
