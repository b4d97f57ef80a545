/* EPT level by level: rights that an upper entry takes away, large pages, flags of tables that are in read-only memory.
 * SDM vol. 3 28.3.2, 28.3.3.2 "EPT Violations", 28.3.4 "Accessed and Dirty Flags for EPT", table 27-7. */
#include "tests/unit/vmx_world.h"

#define VIOLATION    48
#define MISCONFIG    49
#define CALL	     18
#define TARGET	     0x150000
#define ENTRY(level) (EPT + 0x1000 * (4 - (level)) + ((level) == 1 ? TARGET >> 12 << 3 : 0))
#define TABLE(pa)    (EPT + 0x3000 + ((u64)(pa) >> 12 << 3))
#define E_A	     BIT(8)
#define E_D	     BIT(9)
#define LINEAR	     (BIT(7) | BIT(8))

ASM64(loads, "mov 0x150008, %eax\n" VMCALL)
ASM64(stores, "mov %eax, 0x150008\n" VMCALL)

/* The guest's own flags are set already: its tables are only read. */
static struct world *settled(const char *model, const u8 *code, const u8 *end)
{
	struct world *w = vmx_world_of(model, code, end);

	for (u64 e = GUEST_TABLES; e < GUEST_TABLES + 0x4000; e += 8)
		if (get(w, e, 8))
			put(w, e, get(w, e, 8) | PTE_A | (e >= GUEST_TABLES + 0x3000 ? PTE_D : 0), 8);
	return w;
}
#define SETTLED(name) settled("Skylake-Client", name##_start, name##_end)

/* Bits 5:3 are what all entries allow, whichever level it is that does not. */
static void upper_rights(void **state)
{
	for (unsigned level = 1; level <= 4; level++) {
		struct world *w = SETTLED(stores);

		put(w, ENTRY(level), get(w, ENTRY(level), 8) & ~2ull, 8);
		vmx_run(w);
		EXPECT_EXIT(w, VIOLATION, 2 | 5 << 3 | LINEAR);
		assert_int_equal(vmx_f(w)[VMCS_GPA], TARGET + 8);
		assert_int_equal(vmx_f(w)[VMCS_LINEAR], TARGET + 8);
		world_free(w);

		w = SETTLED(stores); /* accessed and dirty flags make the walk itself a write: 28.3.4 */
		vmx_f(w)[VMCS_EPTP] |= EPTP_AD;
		put(w, ENTRY(level), get(w, ENTRY(level), 8) & ~2ull, 8);
		vmx_run(w);
		EXPECT_EXIT(w, VIOLATION, level == 1 ? 2 | 5 << 3 | LINEAR : 3 | 5 << 3 | BIT(7));
		assert_int_equal(vmx_f(w)[VMCS_GPA], level == 1 ? TARGET + 8 : GUEST_TABLES);
		world_free(w);
	}
}

/* Each table of the guest in memory that may not be read, then in such that may not be written although a flag of its
 * entry is to be set. */
static void guest_tables(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		u64 pa = GUEST_TABLES + 0x1000 * i, entry = pa + (i == 3 ? GUEST >> 12 << 3 : 0);
		struct world *w = SETTLED(loads);

		put(w, TABLE(pa), pa | 6 << 3 | 4, 8);
		vmx_run(w);
		EXPECT_EXIT(w, VIOLATION, 1 | 4 << 3 | BIT(7));
		assert_int_equal(vmx_f(w)[VMCS_GPA], entry);
		assert_int_equal(vmx_f(w)[VMCS_LINEAR], GUEST);
		world_free(w);

		w = SETTLED(loads);
		put(w, TABLE(pa), pa | 6 << 3 | 5, 8);
		put(w, entry, get(w, entry, 8) & ~PTE_A, 8);
		vmx_run(w);
		EXPECT_EXIT(w, VIOLATION, 2 | 5 << 3 | BIT(7));
		assert_int_equal(vmx_f(w)[VMCS_GPA], entry);
		assert_int_equal(get(w, entry, 8) & PTE_A, 0);
		world_free(w);
	}
}

/* Pages of 2 MiB and 1 GiB. */
static void large_pages(void **state)
{
	for (unsigned level = 2; level <= 3; level++) {
		struct world *w = SETTLED(stores);

		put(w, ENTRY(level), BIT(7) | 6 << 3 | 5, 8);
		vmx_run(w);
		EXPECT_EXIT(w, VIOLATION, 2 | 5 << 3 | LINEAR);
		assert_int_equal(vmx_f(w)[VMCS_GPA], TARGET + 8);
		world_free(w);

		w = SETTLED(stores); /* flags: D in the leaf alone, A in all */
		put(w, ENTRY(level), BIT(7) | 6 << 3 | 7, 8);
		vmx_f(w)[VMCS_EPTP] |= EPTP_AD;
		w->st.gpr[RAX] = 0x4711;
		vmx_run(w);
		EXPECT_EXIT(w, CALL, 0);
		for (unsigned l = 4; l >= level; l--)
			assert_int_equal(get(w, ENTRY(l), 8) & (E_A | E_D), l == level ? E_A | E_D : E_A);
		assert_int_equal(get(w, TARGET + 8, 4), 0x4711);
		world_free(w);

		for (unsigned bit = 12; bit < (level == 2 ? 21 : 30); bit++) { /* address bits below the page's */
			w = SETTLED(stores);
			put(w, ENTRY(level), BIT(bit) | BIT(7) | 6 << 3 | 7, 8);
			vmx_run(w);
			EXPECT_EXIT(w, MISCONFIG, 0);
			world_free(w);
		}
	}
}

/* Without pages of a size bit 7 is reserved at its level. */
static void sizes_that_are_not_there(void **state)
{
	for (unsigned level = 2; level <= 3; level++) {
		struct world *w =
			settled(level == 3 ? "Skylake-Client,vmx-ept-1gb=off" : "Skylake-Client,vmx-ept-2mb=off",
				stores_start, stores_end);

		put(w, ENTRY(level), BIT(7) | 6 << 3 | 7, 8);
		vmx_run(w);
		EXPECT_EXIT(w, MISCONFIG, 0);
		world_free(w);
	}
}

/* INVEPT and INVVPID with each operand that they refuse: VMfailValid(28). The descriptor is at 5F00h. */
ASM64(invept_host, "invept 0x5f00, %rsi\n" STOP)
ASM64(invvpid_host, "invvpid 0x5f00, %rsi\n" STOP)

static void bad_operands(void **state)
{
	static const u64 eptp = EPT | 3 << 3 | 6;
	static const struct {
		bool vpid;
		u64 type, d0, d1;
		bool fine;
	} rows[] = {
		{false, 0, eptp, 0, false},
		{false, 3, eptp, 0, false},
		{false, 1, eptp, 0, true},
		{false, 1, eptp, 1, false},
		{false, 1, eptp | BIT(7), 0, false},
		{false, 1, (eptp & ~7ull) | 5, 0, false},
		{false, 1, eptp ^ 8, 0, false},
		{false, 1, eptp | BIT(50), 0, false},
		{false, 2, ~0ull, ~0ull, true},
		{true, 0, 1, TARGET, true},
		{true, 0, 0, TARGET, false},
		{true, 0, 0x10001, TARGET, false},
		{true, 0, 1, BIT(60), false},
		{true, 1, 1, ~0ull, true},
		{true, 1, 0, 0, false},
		{true, 1, BIT(63) | 1, 0, false},
		{true, 2, 0, 0, true},
		{true, 3, 2, 0, true},
		{true, 3, 0, 0, false},
		{true, 4, 1, 0, false},
		{true, 1ull << 32, 1, TARGET, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = VMX_WORLD(loads);
		bool failed;

		if (rows[i].vpid)
			PLACE(w, CODE, invvpid_host);
		else
			PLACE(w, CODE, invept_host);
		put(w, 0x5f00, rows[i].d0, 8);
		put(w, 0x5f08, rows[i].d1, 8);
		w->st.gpr[RSI] = rows[i].type;
		w->st.rip = CODE;
		world_run_to_stop(w);
		failed = x86_rflags(&w->st) & FL_ZF;
		if (failed == rows[i].fine || (failed && vmx_f(w)[VMCS_INSN_ERROR] != VMERR_INV_OPERAND))
			fail_msg("row %u: failed %d, error %llu", i, failed,
				 (unsigned long long)vmx_f(w)[VMCS_INSN_ERROR]);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(upper_rights), cmocka_unit_test(guest_tables),
		cmocka_unit_test(large_pages),	cmocka_unit_test(sizes_that_are_not_there),
		cmocka_unit_test(bad_operands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
