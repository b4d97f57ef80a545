/* Virtualization exceptions: SDM vol. 3 25.5.7. */
#include "tests/unit/vmx_world.h"

#define CALL	  18
#define VIOLATION 48
#define TARGET	  0x150000
#define AREA	  0x4b000
#define NO_VE	  BIT(63)
#define LINEAR	  (BIT(7) | BIT(8))
#define ENTRY(pa) (EPT + 0x3000 + ((u64)(pa) >> 12 << 3))

ASM64(loads, "mov 0x150008, %eax\n" VMCALL)
ASM64(stores, "mov %eax, 0x150008\n" VMCALL)
ASM64(iret, "iretq\n nop")
/* #VE's handler maps the page and lets the next one come: (the handler's frame has no error code). */
ASM64(mends, "movq $0x150037, 0x33a80\n movl $0, 0x4b004\n incl 0x62050\n iretq")

static struct world *ve_world(const u8 *code, const u8 *end, u64 entry)
{
	struct world *w = vmx_world_of("Skylake-Client", code, end);

	assert_int_equal(ENTRY(TARGET), 0x33a80);
	assert_int_equal(COUNTS + 4 * EXC_VE, 0x62050);
	vmx_f(w)[VMCS_PROC2] |= VMX_PROC2_VE;
	vmx_f(w)[VMCS_VE_AREA] = AREA;
	vmx_f(w)[VMCS_EPTP_INDEX] = 0x1234;
	put(w, ENTRY(TARGET), entry, 8);
	return w;
}
#define VE_WORLD(name, entry) ve_world(name##_start, name##_end, entry)

static void assert_area(struct world *w, u64 qualification)
{
	assert_int_equal(get(w, AREA, 4), VIOLATION);
	assert_int_equal(get(w, AREA + 4, 4), 0xffffffff);
	assert_int_equal(get(w, AREA + 8, 8), qualification);
	assert_int_equal(get(w, AREA + 16, 8), TARGET + 8);
	assert_int_equal(get(w, AREA + 24, 8), TARGET + 8);
	assert_int_equal(get(w, AREA + 32, 2), 0x1234);
}

/* To the guest's handler, which mends what it is told of; the instruction runs again. */
static void delivered(void **state)
{
	struct world *w = VE_WORLD(loads, 0);

	put(w, TARGET + 8, 0x4711, 4);
	PLACE(w, STUBS + 16 * 0x80, mends); /* longer than a stub: over those of vectors 80h to 83h */
	put(w, IDT + 16 * EXC_VE, ((STUBS + 16 * 0x80) & 0xffff) | VCS << 16 | 0x8eull << 40 | (u64)(STUBS >> 16) << 48,
	    8);
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(w->st.gpr[RAX], 0x4711);
	assert_int_equal(vmx_count(w, EXC_VE), 1);
	assert_int_equal(get(w, AREA + 8, 8), 1 | LINEAR);
	assert_int_equal(get(w, GUEST_STACK - 40, 8), GUEST); /* no error code */
	world_free(w);
}

/* Bit 20 of the exception bitmap. */
static void intercepted(void **state)
{
	struct world *w = VE_WORLD(stores, TARGET | 6 << 3 | 5);

	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_VE);
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT], VEV_VALID | VEV_HARD_EXC << 8 | EXC_VE);
	assert_at(w, 0);
	assert_area(w, 2 | 5 << 3 | LINEAR);
	world_free(w);
}

/* Bit 63 of the entry that is not present or maps the page decides, that of one that refers to a table does not. */
static void suppressed(void **state)
{
	static const struct {
		u64 at, entry;
		bool exits;
	} rows[] = {
		{ENTRY(TARGET), NO_VE, true},
		{ENTRY(TARGET), TARGET | 6 << 3 | 5 | NO_VE, true},
		{ENTRY(TARGET), TARGET | 6 << 3 | 5, false},
		{ENTRY(TARGET), 0, false},
		{EPT + 0x2000, (EPT + 0x3000) | 7 | NO_VE, false},
		{EPT, (EPT + 0x1000) | 7 | NO_VE, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = VE_WORLD(stores, 0);

		put(w, rows[i].at, rows[i].entry, 8);
		vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_VE);
		vmx_run(w);
		if (vmx_f(w)[VMCS_REASON] != (rows[i].exits ? VIOLATION : 0))
			fail_msg("row %u: exit %llu", i, (unsigned long long)vmx_f(w)[VMCS_REASON]);
		assert_int_equal(get(w, AREA + 4, 4), rows[i].exits ? 0 : 0xffffffff);
		world_free(w);
	}
}

/* A large page's bit 63 counts. */
static void suppressed_large(void **state)
{
	for (unsigned set = 0; set < 2; set++) {
		struct world *w = VE_WORLD(stores, 0);

		put(w, EPT + 0x2000 + 8, 0x200000 | BIT(7) | 6 << 3 | 5 | (set ? NO_VE : 0), 8); /* 2 MiB up */
		put(w, GUEST_TABLES + 0x3000 + (TARGET >> 12 << 3), 0x200000 | 7, 8);
		vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_VE);
		vmx_run(w);
		EXPECT_EXIT(w, set ? VIOLATION : 0, set ? 2 | 5 << 3 | LINEAR : 0);
		world_free(w);
	}
}

/* Misconfigurations are never converted; nor are violations while the area is in use, or without the control. */
static void exits_all_the_same(void **state)
{
	struct world *w = VE_WORLD(loads, 2);

	vmx_run(w);
	EXPECT_EXIT(w, 49, 0);
	world_free(w);

	w = VE_WORLD(loads, 0);
	put(w, AREA + 4, 1, 4);
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 1 | LINEAR);
	assert_int_equal(get(w, AREA, 4), 0);
	world_free(w);

	w = VE_WORLD(loads, 0);
	vmx_f(w)[VMCS_PROC2] &= ~(u64)VMX_PROC2_VE;
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 1 | LINEAR);
	assert_int_equal(get(w, AREA + 4, 4), 0);
	world_free(w);

	w = VE_WORLD(loads, 0); /* while an event is delivered: it is the stack's page */
	vmx_f(w)[VMCS_GUEST_RSP] = TARGET + 0x1000;
	vmx_f(w)[VMCS_ENTRY_EVENT] = VEV_VALID | VEV_SOFT_INT << 8 | 0x80;
	vmx_f(w)[VMCS_ENTRY_INSN_LEN] = 2;
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 2 | LINEAR);
	assert_int_equal(vmx_f(w)[VMCS_IDT_EVENT], VEV_VALID | VEV_SOFT_INT << 8 | 0x80);
	assert_int_equal(get(w, AREA + 4, 4), 0);
	world_free(w);
}

/* Its own delivery that fails: IDT-vectoring information; and as severe as a page fault. */
static void fails_on_its_way(void **state)
{
	struct world *w = VE_WORLD(loads, 0);

	vmx_f(w)[VMCS_GUEST_RSP] = TARGET + 0x1000;
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 2 | LINEAR);
	assert_int_equal(vmx_f(w)[VMCS_IDT_EVENT], VEV_VALID | VEV_HARD_EXC << 8 | EXC_VE);
	assert_int_equal(get(w, AREA + 8, 8), 1 | LINEAR);
	world_free(w);

	w = VE_WORLD(loads, 0);
	put(w, IDT + 16 * EXC_VE + 5, 0x0e, 1); /* not present: #NP, contributory */
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_DF);
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT] & 0xff, EXC_DF);
	world_free(w);
}

/* IRET's: the qualification says that blocking by NMI has ended, and so does the exit. */
static void iret_unblocks(void **state)
{
	struct world *w = VE_WORLD(iret, 0);

	vmx_f(w)[VMCS_GUEST_RSP] = TARGET + 8;
	vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = VINT_NMI;
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_VE);
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT], VEV_VALID | VEV_NMI_IRET | VEV_HARD_EXC << 8 | EXC_VE);
	assert_area(w, 1 | LINEAR | BIT(12));
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delivered),	      cmocka_unit_test(intercepted),
		cmocka_unit_test(suppressed),	      cmocka_unit_test(suppressed_large),
		cmocka_unit_test(exits_all_the_same), cmocka_unit_test(fails_on_its_way),
		cmocka_unit_test(iret_unblocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
