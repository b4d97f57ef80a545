/*
 * The XSAVE family and FXSAVE: enabling, faults, headers, init optimization, formats. SDM vol. 1 13.2 to 13.12; SDM
 * vol. 2 "XSAVE", "XRSTOR", "XSETBV", "FXSAVE".
 */
#include "tests/unit/sys_world.h"

#define AREA   DATA
#define HEADER (AREA + 512)
#define YMM    (AREA + 576)

ASM64(xsave, "xsave (%rbx)")
ASM64(xsaveopt, "xsaveopt (%rbx)")
ASM64(xsavec, "xsavec (%rbx)")
ASM64(xsaves, "xsaves (%rbx)")
ASM64(xrstor, "xrstor (%rbx)")
ASM64(xrstors, "xrstors (%rbx)")
ASM64(xsetbv, "xsetbv")
ASM64(xgetbv, "xgetbv")
ASM64(fxsave, "fxsave (%rbx)")
ASM64(fxrstor, "fxrstor (%rbx)")
ASM64(vaddps, "vaddps %ymm0, %ymm0, %ymm0")
ASM64(addps, "addps %xmm0, %xmm0")

struct form {
	const char *name;
	const u8 *start, *end;
	bool save, compact, super;
};
#define FORM(name, save, compact, super)                                                                               \
	{                                                                                                              \
#name, name##_start, name##_end, save, compact, super                                                  \
	}
static const struct form forms[] = {FORM(xsave, true, false, false),   FORM(xsaveopt, true, false, false),
				    FORM(xsavec, true, true, false),   FORM(xsaves, true, true, true),
				    FORM(xrstor, false, false, false), FORM(xrstors, false, true, true)};

static struct world *x_world(unsigned cpl)
{
	struct world *w = sys_world("Skylake-Client", LONG, cpl);

	w->st.cr4 |= CR4_OSXSAVE;
	w->st.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	w->st.gpr[RBX] = AREA;
	w->st.gpr[RAX] = 7;
	w->st.gpr[RDX] = 0;
	return w;
}

static enum outcome run_form(struct world *w, const struct form *f) { return sys_one(w, f->start, f->end); }

static void compact_header(struct world *w, u64 xstate, u64 xcomp)
{
	memset(at(w, HEADER), 0, 64);
	put(w, HEADER, xstate, 8);
	put(w, HEADER + 8, xcomp, 8);
}

/* Checks that all forms share, in their order. */
static void faults_of_all(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(forms); i++) {
		const struct form *f = &forms[i];
		struct world *w = x_world(0);

		compact_header(w, 0, f->super ? BIT(63) : 0);
		put(w, AREA + 24, 0x1f80, 4);
		assert_done(run_form(w, f));
		for (unsigned off = 1; off < 64; off = off * 2 + 1) {
			w->st.gpr[RBX] = AREA + off;
			assert_fault(w, run_form(w, f), EXC_GP, 0);
		}
		w->st.gpr[RBX] = AREA;
		w->st.cr0 |= CR0_TS;
		assert_fault(w, run_form(w, f), EXC_NM, 0);
		w->st.cr4 &= ~CR4_OSXSAVE;
		assert_fault(w, run_form(w, f), EXC_UD, 0);
		w->st.cr4 |= CR4_OSXSAVE;
		w->st.cr0 &= ~CR0_TS;
		w->st.gpr[RBX] = 1ull << 47;
		assert_fault(w, run_form(w, f), EXC_GP, 0);
		sys_page(w, WINDOW + 0x1000, 0);
		w->st.gpr[RBX] = WINDOW + 0x1000 - 512; /* the header's page is missing */
		put(w, WINDOW + 0x1000 - 512, 0x77777777, 4);
		assert_fault(w, run_form(w, f), EXC_PF, f->save ? PF_W : 0);
		assert_int_equal(w->cpu->c.event.cr2, WINDOW + 0x1000);
		assert_int_equal(get(w, WINDOW + 0x1000 - 512, 4), 0x77777777); /* nothing was stored */
		world_free(w);
		w = x_world(3);
		compact_header(w, 0, f->super ? BIT(63) : 0);
		put(w, AREA + 24, 0x1f80, 4);
		if (f->super)
			assert_fault(w, run_form(w, f), EXC_GP, 0);
		else
			assert_done(run_form(w, f));
		world_free(w);
	}
}

/* XRSTOR's header: what must be zero, what must be enabled. */
static void headers(void **state)
{
	static const struct {
		u64 xstate, xcomp, byte16;
		bool plain_ok, super_ok;
	} rows[] = {
		{7, 0, 0, true, false},
		{8, 0, 0, false, false}, /* not in XCR0 */
		{BIT(62), 0, 0, false, false},
		{1, 0, 1, false, false}, /* reserved bytes */
		{1, 1, 0, false, false}, /* XCOMP_BV without bit 63 */
		{3, BIT(63) | 7, 0, true, true},
		{3, BIT(63) | 1, 0, false, false}, /* XSTATE_BV beyond XCOMP_BV */
		{0, BIT(63) | 8, 0, false, false}, /* not enabled */
		{0, BIT(63) | 7, 1, false, false},
		{BIT(63), BIT(63) | 7, 0, false, false},
		{0, BIT(63), 0, true, true},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = x_world(0);

		put(w, AREA + 24, 0x1f80, 4);
		compact_header(w, rows[i].xstate, rows[i].xcomp);
		put(w, HEADER + 16, rows[i].byte16, 8);
		if ((ONE(w, xrstor) != OUT_FAULT) != rows[i].plain_ok)
			fail_msg("XRSTOR, header %u", i);
		if ((ONE(w, xrstors) != OUT_FAULT) != rows[i].super_ok)
			fail_msg("XRSTORS, header %u", i);
		world_free(w);
	}
}

/* MXCSR: reserved bits fault where it is loaded, and only there. */
static void mxcsr(void **state)
{
	struct world *w = x_world(0);

	put(w, AREA + 24, 0x10000, 4);
	compact_header(w, 0, 0);
	w->st.gpr[RAX] = XCR0_SSE;
	assert_fault(w, ONE(w, xrstor), EXC_GP, 0); /* the standard form loads it for SSE or AVX, in use or not */
	w->st.gpr[RAX] = XCR0_AVX;
	assert_fault(w, ONE(w, xrstor), EXC_GP, 0);
	w->st.gpr[RAX] = XCR0_X87;
	assert_done(ONE(w, xrstor));
	compact_header(w, 0, BIT(63) | 7);
	w->st.gpr[RAX] = XCR0_SSE;
	w->st.fpu.mxcsr = 0x1fa0;
	assert_done(ONE(w, xrstor)); /* the compacted one initializes it */
	assert_int_equal(w->st.fpu.mxcsr, 0x1f80);
	assert_fault(w, ONE(w, fxrstor), EXC_GP, 0);
	put(w, AREA + 24, 0x1f80, 4);
	assert_done(ONE(w, fxrstor));
	w->st.gpr[RBX] = AREA + 8;
	assert_fault(w, ONE(w, fxrstor), EXC_GP, 0);
	assert_fault(w, ONE(w, fxsave), EXC_GP, 0);
	world_free(w);
}

/* What is stored and what XSTATE_BV says of it, by form. */
static void contents(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		const struct form *f = &forms[i];
		struct world *w = x_world(0);
		bool opt = i > 0;

		memset(at(w, AREA), 0xcc, 0x400);
		put(w, HEADER, 0x8, 8); /* XSAVE keeps bits that were not asked for */
		memset(w->st.fpu.vec, 0, sizeof(w->st.fpu.vec));
		w->st.fpu.vec[3][0] = 0x33; /* SSE is in use, AVX is not */
		w->st.gpr[RAX] = XCR0_SSE | XCR0_AVX;
		assert_done(run_form(w, f));
		assert_int_equal(get(w, AREA + 160 + 48, 1), 0x33);
		assert_int_equal(get(w, HEADER, 8), f->compact ? 2 : 0xa);
		assert_true(get(w, HEADER + 8, 8) == (f->compact ? BIT(63) | 6 : 0xcccccccccccccccc));
		assert_int_equal(get(w, AREA, 2), 0xcccc); /* x87 was not asked for */
		/* The initial AVX state is stored by XSAVE only. */
		assert_int_equal(get(w, YMM, 4), opt ? 0xcccccccc : 0);
		w->st.fpu.vec[3][16] = 0x44;
		assert_done(run_form(w, f));
		assert_int_equal(get(w, YMM + 48, 1), 0x44);
		assert_int_equal(get(w, HEADER, 8), f->compact ? 6 : 0xe);
		world_free(w);
	}
}

static void restores_initial_state(void **state)
{
	struct world *w = x_world(0);

	memset(at(w, AREA), 0, 0x400);
	put(w, AREA + 24, 0x1f80, 4);
	put(w, HEADER, XCR0_SSE, 8);
	put(w, AREA + 160, 0x99, 1);
	w->st.fpu.vec[0][16] = 1;
	w->st.fpu.fcw = 0x123;
	assert_done(ONE(w, xrstor));
	assert_int_equal(w->st.fpu.vec[0][0], 0x99);
	assert_int_equal(w->st.fpu.vec[0][16], 0); /* asked for, not in the area */
	assert_int_equal(w->st.fpu.fcw, 0x37f);
	w->st.fpu.vec[0][16] = 1;
	w->st.gpr[RAX] = XCR0_SSE;
	assert_done(ONE(w, xrstor));
	assert_int_equal(w->st.fpu.vec[0][16], 1); /* not asked for */
	world_free(w);
}

/* XSETBV and what follows from XCR0. */
static void xcr0(void **state)
{
	static const struct {
		u64 value;
		bool ok;
	} rows[] = {{1, true},	{3, true},     {7, true},     {0, false},	    {2, false},		{5, false},
		    {6, false}, {0x17, false}, {0xe7, false}, {7 | BIT(63), false}, {7 | BIT(9), false}};
	struct world *w = x_world(0);

	w->st.gpr[RCX] = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		w->st.gpr[RAX] = (u32)rows[i].value;
		w->st.gpr[RDX] = rows[i].value >> 32;
		if ((ONE(w, xsetbv) != OUT_FAULT) != rows[i].ok)
			fail_msg("XCR0 %#llx", (unsigned long long)rows[i].value);
	}
	w->st.gpr[RAX] = 7;
	w->st.gpr[RDX] = 0;
	w->st.gpr[RCX] = 1;
	assert_fault(w, ONE(w, xsetbv), EXC_GP, 0);
	w->st.gpr[RCX] = 2;
	assert_fault(w, ONE(w, xgetbv), EXC_GP, 0);
	w->st.gpr[RCX] = 0;
	w->st.xcr0 = 7;
	assert_done(ONE(w, xgetbv));
	assert_int_equal(w->st.gpr[RAX], 7);
	assert_done(ONE(w, vaddps));
	w->st.xcr0 = 3;
	assert_fault(w, ONE(w, vaddps), EXC_UD, 0);
	assert_done(ONE(w, addps));
	w->st.xcr0 = 7;
	w->st.cr4 &= ~CR4_OSXSAVE;
	assert_fault(w, ONE(w, vaddps), EXC_UD, 0);
	assert_fault(w, ONE(w, xgetbv), EXC_UD, 0);
	assert_fault(w, ONE(w, xsetbv), EXC_UD, 0);
	w->st.cr4 &= ~CR4_OSFXSR;
	assert_fault(w, ONE(w, addps), EXC_UD, 0);
	w->st.cr4 |= CR4_OSFXSR | CR4_OSXSAVE;
	w->st.cr0 |= CR0_TS;
	assert_fault(w, ONE(w, vaddps), EXC_NM, 0);
	assert_fault(w, ONE(w, addps), EXC_NM, 0);
	w->st.cr0 = (w->st.cr0 & ~CR0_TS) | CR0_EM;
	assert_fault(w, ONE(w, addps), EXC_UD, 0);
	assert_done(ONE(w, vaddps)); /* CR0.EM is not for AVX */
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(faults_of_all),
		cmocka_unit_test(headers),
		cmocka_unit_test(mxcsr),
		cmocka_unit_test(contents),
		cmocka_unit_test(restores_initial_state),
		cmocka_unit_test(xcr0),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
