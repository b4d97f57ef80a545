/* EPT at work: violations and misconfigurations at each level, accessed and dirty flags, the page-modification log.
 * SDM vol. 3 28.3 "The Extended Page Table Mechanism (EPT)". */
#include "tests/unit/vmx_world.h"

#define VIOLATION    48
#define MISCONFIG    49
#define LOG_FULL     62
#define CALL	     18
#define TARGET	     0x150000
#define ENTRY(level) (EPT + 0x1000 * (4 - (level)) + ((level) == 1 ? TARGET >> 12 << 3 : 0))
#define E_A	     BIT(8)
#define E_D	     BIT(9)

ASM64(loads, "mov 0x150008, %eax\n" VMCALL)
ASM64(stores, "mov %eax, 0x150008\n" VMCALL)
ASM64(jumps, "mov $0x150008, %eax\n jmp *%rax")
ASM64(two_stores, "mov %eax, 0x150008\n mov %eax, 0x151008\n mov %eax, 0x150008\n" VMCALL)

static const struct {
	const u8 *code, *end;
	u64 want; /* bits 2:0 of the qualification */
} kinds[] = {{loads_start, loads_end, 1}, {stores_start, stores_end, 2}, {jumps_start, jumps_end, 4}};

#define LINEAR (BIT(7) | BIT(8))

/* An entry of each level without the right that the access needs. Bits 5:3 of the qualification: what all entries
 * allow. */
static void violations(void **state)
{
	for (unsigned level = 1; level <= 4; level++) {
		for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
			for (u64 rights = 0; rights < 8; rights++) {
				struct world *w;
				u64 others = 0, e;

				if ((rights & 3) == 2 || (rights & kinds[k].want))
					continue;
				/* Above the last level all of the guest's memory is behind the entry. */
				if (level > 1 && rights)
					continue;
				w = vmx_world_of("Skylake-Client", kinds[k].code, kinds[k].end);
				e = get(w, ENTRY(level), 8);
				put(w, ENTRY(level), (e & ~7ull) | rights, 8);
				vmx_run(w);
				others = rights;
				if (level == 1) {
					EXPECT_EXIT(w, VIOLATION, kinds[k].want | others << 3 | LINEAR);
					assert_int_equal(vmx_f(w)[VMCS_GPA], TARGET + 8);
					assert_int_equal(vmx_f(w)[VMCS_LINEAR], TARGET + 8);
				} else { /* the first access is the guest's own table */
					EXPECT_EXIT(w, VIOLATION, 1 | BIT(7));
					assert_int_equal(vmx_f(w)[VMCS_GPA], GUEST_TABLES);
					assert_int_equal(vmx_f(w)[VMCS_LINEAR], GUEST);
				}
				world_free(w);
			}
		}
	}
}

/* SDM vol. 3 28.3.3.1: write without read, reserved bits of each level, reserved memory types. */
static void misconfigurations(void **state)
{
	static const struct {
		unsigned level;
		u64 set, clear;
	} rows[] = {
		{1, 2, 7},
		{2, 2, 7},
		{3, 2, 7},
		{4, 2, 7},
		{1, 6, 7},
		{1, BIT(45), 0},
		{2, BIT(45), 0},
		{3, BIT(45), 0},
		{4, BIT(45), 0},
		{2, BIT(3), 0},
		{3, BIT(6), 0},
		{4, BIT(7), 0},
		{4, BIT(4), 0},
		{1, 2 << 3, 7 << 3},
		{1, 3 << 3, 7 << 3},
		{1, 7 << 3, 7 << 3},
		{2, BIT(7) | 6 << 3, 0 /* a large page at 33000h */},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = VMX_WORLD(loads);

		put(w, ENTRY(rows[i].level), (get(w, ENTRY(rows[i].level), 8) & ~rows[i].clear) | rows[i].set, 8);
		vmx_run(w);
		EXPECT_EXIT(w, MISCONFIG, 0);
		assert_int_equal(vmx_f(w)[VMCS_GPA], rows[i].level == 1 ? TARGET + 8 : GUEST_TABLES);
		world_free(w);
	}
}

/* Execute-only memory, and a processor without it. */
static void execute_only(void **state)
{
	struct world *w = VMX_WORLD(loads);

	put(w, ENTRY(1), TARGET | 6 << 3 | 4, 8);
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 1 | 4 << 3 | LINEAR);
	world_free(w);
	w = vmx_world_of("Skylake-Client,vmx-ept-execonly=off", loads_start, loads_end);
	put(w, ENTRY(1), TARGET | 6 << 3 | 4, 8);
	vmx_run(w);
	EXPECT_EXIT(w, MISCONFIG, 0);
	world_free(w);
}

/* 28.3.4 "Accessed and Dirty Flags for EPT": tables of the guest are accessed as if for writing. */
static void flags(void **state)
{
	struct world *w = VMX_WORLD(loads);

	vmx_f(w)[VMCS_EPTP] |= EPTP_AD;
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(get(w, ENTRY(1), 8) & (E_A | E_D), E_A);
	assert_int_equal(get(w, ENTRY(2), 8) & (E_A | E_D), E_A);
	assert_int_equal(get(w, EPT + 0x3000 + (GUEST_TABLES >> 12 << 3), 8) & (E_A | E_D), E_A | E_D);
	world_free(w);

	w = VMX_WORLD(stores);
	vmx_f(w)[VMCS_EPTP] |= EPTP_AD;
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(get(w, ENTRY(1), 8) & (E_A | E_D), E_A | E_D);
	world_free(w);

	w = VMX_WORLD(stores); /* off: nothing is set */
	vmx_run(w);
	assert_int_equal(get(w, ENTRY(1), 8) & (E_A | E_D), 0);
	world_free(w);

	w = VMX_WORLD(loads); /* a table that cannot be written */
	vmx_f(w)[VMCS_EPTP] |= EPTP_AD;
	put(w, EPT + 0x3000 + (GUEST_TABLES >> 12 << 3), GUEST_TABLES | 6 << 3 | 5, 8);
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 3 | 5 << 3 | BIT(7));
	world_free(w);
}

/* SDM vol. 3 24.6.2, 28.3.2: with mode-based execute control bit 2 of EPT's entries is the right to fetch from
 * supervisor-mode addresses, bit 10 from user-mode ones; by the guest's tables, not by CPL. */
static void execute_by_mode(void **state)
{
	static const struct {
		u64 rights, user; /* of the page in EPT; U/S in the guest's table */
		bool fails;
	} rows[] = {
		{7, 0, false},
		{7, 1, true},
		{3 | BIT(10), 0, true},
		{3 | BIT(10), 1, false},
		{7 | BIT(10), 0, false},
		{7 | BIT(10), 1, false},
		{3, 0, true},
		{3, 1, true},
		{4, 0, false},
		{BIT(10), 1, false},
		{BIT(10), 0, true},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = VMX_WORLD(jumps);
		u64 entry = GUEST_TABLES + 0x3000 + (TARGET >> 12 << 3), r = rows[i].rights;

		vmx_f(w)[VMCS_PROC2] |= VMX_PROC2_MBEC;
		for (u64 e = EPT; e < EPT + 0x4000; e += 8) /* all may be executed by either */
			if (get(w, e, 8))
				put(w, e, get(w, e, 8) | BIT(10), 8);
		put(w, ENTRY(1), TARGET | 6 << 3 | r, 8);
		put(w, entry, TARGET | (rows[i].user ? 7 : 3), 8);
		put(w, TARGET + 8, 0xc1010f, 3); /* VMCALL */
		vmx_run(w);
		if (rows[i].fails)
			EXPECT_EXIT(w, VIOLATION, 4 | (r & 7) << 3 | (r & BIT(10) ? BIT(6) : 0) | LINEAR);
		else
			EXPECT_EXIT(w, CALL, 0);
		world_free(w);
	}
}

/* With the control an entry of bit 10 alone is there; without, it is not, and bit 10 is ignored. */
static void user_execute_alone(void **state)
{
	for (unsigned on = 0; on < 2; on++) {
		struct world *w = vmx_world_of("Skylake-Client,vmx-ept-execonly=off", loads_start, loads_end);

		vmx_f(w)[VMCS_PROC2] |= on ? VMX_PROC2_MBEC : 0;
		for (u64 e = EPT; e < EPT + 0x4000; e += 8)
			if (get(w, e, 8))
				put(w, e, get(w, e, 8) | BIT(10), 8);
		put(w, ENTRY(1), TARGET | 6 << 3 | BIT(10), 8);
		vmx_run(w);
		if (on)
			EXPECT_EXIT(w, MISCONFIG, 0);
		else
			EXPECT_EXIT(w, VIOLATION, 1 | LINEAR);
		world_free(w);
	}
}

/* Translations of one EPTP with and without the control are told apart: no INVEPT in between. */
static void modes_have_own_translations(void **state)
{
	struct world *w = VMX_WORLD(jumps);

	put(w, TARGET + 8, 0xc1010f, 3);
	put(w, GUEST_TABLES + 0x3000 + (TARGET >> 12 << 3), TARGET | 3, 8);
	put(w, ENTRY(1), TARGET | 6 << 3 | 3 | BIT(10), 8);
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 4 | 3 << 3 | LINEAR);
	put(w, GUEST_TABLES + 0x3000 + (TARGET >> 12 << 3), TARGET | 7, 8);
	for (u64 e = EPT; e < EPT + 0x4000; e += 8)
		if (get(w, e, 8))
			put(w, e, get(w, e, 8) | BIT(10), 8);
	vmx_f(w)[VMCS_PROC2] |= VMX_PROC2_MBEC;
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	vmx_f(w)[VMCS_PROC2] &= ~(u64)VMX_PROC2_MBEC;
	vmx_f(w)[VMCS_GUEST_RIP] = GUEST;
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 4 | 3 << 3 | LINEAR);
	world_free(w);
}

static struct world *logging(const u8 *code, const u8 *end, u64 index)
{
	struct world *w = vmx_world_of("Skylake-Client", code, end);

	vmx_f(w)[VMCS_EPTP] |= EPTP_AD;
	vmx_f(w)[VMCS_PROC2] |= VMX_PROC2_PML;
	vmx_f(w)[VMCS_PML_ADDRESS] = PML_LOG;
	vmx_f(w)[VMCS_PML_INDEX] = index;
	/* The tables on the way are dirty already. */
	for (u64 pa = 0; pa < WORLD_RAM; pa += 0x1000)
		if (pa < TARGET)
			put(w, EPT + 0x3000 + (pa >> 12 << 3), pa | 6 << 3 | 7 | E_A | E_D, 8);
	for (unsigned i = 0; i < 3; i++)
		put(w, EPT + 0x1000 * i, get(w, EPT + 0x1000 * i, 8) | E_A, 8);
	return w;
}

static void pages_are_logged(void **state)
{
	struct world *w = logging(two_stores_start, two_stores_end, 511);

	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(vmx_f(w)[VMCS_PML_INDEX], 509);
	assert_int_equal(get(w, PML_LOG + 511 * 8, 8), TARGET);
	assert_int_equal(get(w, PML_LOG + 510 * 8, 8), TARGET + 0x1000);
	world_free(w);
}

/* The last entry may be used; the next store exits, and has set nothing. */
static void log_fills(void **state)
{
	struct world *w = logging(two_stores_start, two_stores_end, 0);

	vmx_run(w);
	EXPECT_EXIT(w, LOG_FULL, 0);
	assert_int_equal(vmx_f(w)[VMCS_PML_INDEX], 0xffff);
	assert_at(w, 7);
	assert_int_equal(get(w, PML_LOG, 8), TARGET);
	assert_int_equal(get(w, ENTRY(1) + 8, 8) & E_D, 0);
	vmx_f(w)[VMCS_PML_INDEX] = 511;
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(get(w, PML_LOG + 511 * 8, 8), TARGET + 0x1000);
	world_free(w);
}

/* INVEPT of one context and of all forgets what EPT said of 150000h (entry 33a80h). */
#define FORGET(name, type)                                                                                             \
	ASM64(name,                                                                                                    \
	      "cmpl $0, 0x5ff0\n jne 1f\n incl 0x5ff0\n movq $0, 0x33a80\n mov $" #type ", %eax\n"                     \
	      "invept 0x5f00, %rax\n mov $0x681e, %eax\n mov $0x3000, %ebx\n vmwrite %rbx, %rax\n vmresume\n 1:" STOP)
FORGET(forget_one, 1)
FORGET(forget_all, 2)

static void invept_forgets(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		struct world *w = VMX_WORLD(loads);

		assert_int_equal(ENTRY(1), 0x33a80);
		if (i)
			PLACE(w, HOST_CODE, forget_all);
		else
			PLACE(w, HOST_CODE, forget_one);
		put(w, HOST_CODE + 0xf00, EPT | 3 << 3 | 6, 8);
		vmx_run(w);
		EXPECT_EXIT(w, VIOLATION, 1 | LINEAR);
		assert_int_equal(get(w, HOST_CODE + 0xff0, 4), 1);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(violations),
		cmocka_unit_test(misconfigurations),
		cmocka_unit_test(execute_only),
		cmocka_unit_test(flags),
		cmocka_unit_test(pages_are_logged),
		cmocka_unit_test(log_fills),
		cmocka_unit_test(execute_by_mode),
		cmocka_unit_test(user_execute_alone),
		cmocka_unit_test(modes_have_own_translations),
		cmocka_unit_test(invept_forgets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
