/* Every type of event injected, with every kind of failure on its way: what the exit says of the event that was under
 * delivery. SDM vol. 3 26.6 "Event Injection", 27.2.4 "Information for VM Exits During Event Delivery", table 6-5. */
#include "tests/unit/vmx_world.h"

#define VIOLATION 48
#define MISCONFIG 49
#define HOLE	  0x150000
#define PRESENT	  0x0e /* a gate's type byte without P */

ASM64(nops, "nop\n" VMCALL)

static const struct {
	u64 event, error, length;
	bool df; /* a second contributory exception makes a double fault of it */
} events[] = {
	{VEV_EXT_INT << 8 | 0x40, 0, 0, false},
	{VEV_NMI << 8 | EXC_NMI, 0, 0, false},
	{VEV_HARD_EXC << 8 | EXC_UD, 0, 0, false},
	{VEV_HARD_EXC << 8 | EXC_DE, 0, 0, true},
	{VEV_HARD_EXC << 8 | VEV_ERROR | EXC_GP, 0x28, 0, true},
	{VEV_HARD_EXC << 8 | VEV_ERROR | EXC_PF, 2, 0, true},
	{VEV_SOFT_INT << 8 | 0x41, 0, 2, false},
	{VEV_PRIV_SOFT << 8 | EXC_DB, 0, 1, false},
	{VEV_SOFT_EXC << 8 | EXC_BP, 0, 1, false},
	{VEV_SOFT_EXC << 8 | EXC_OF, 0, 1, false},
};

static struct world *injects(unsigned i)
{
	struct world *w = VMX_WORLD(nops);
	u64 *f = vmx_f(w);

	f[VMCS_GUEST_RFLAGS] |= FL_IF;
	f[VMCS_ENTRY_EVENT] = VEV_VALID | events[i].event;
	f[VMCS_ENTRY_ERROR] = events[i].error;
	f[VMCS_ENTRY_INSN_LEN] = events[i].length;
	return w;
}

/* The information of the event itself, and the guest at its instruction. */
static void assert_vectoring(struct world *w, unsigned i)
{
	const u64 *f = vmx_f(w);

	if (f[VMCS_IDT_EVENT] != (VEV_VALID | events[i].event))
		fail_msg("event %u: IDT-vectoring information %#llx", i, (unsigned long long)f[VMCS_IDT_EVENT]);
	if (events[i].event & VEV_ERROR)
		assert_int_equal(f[VMCS_IDT_ERROR], events[i].error);
	if (events[i].length)
		assert_int_equal(f[VMCS_INSN_LEN], events[i].length);
	assert_int_equal(f[VMCS_ENTRY_EVENT] & VEV_VALID, 0);
	assert_at(w, 0);
	assert_int_equal(f[VMCS_GUEST_RSP], w->st.gpr[RBP]);
}

static void stack_at(struct world *w, u64 rsp) { vmx_f(w)[VMCS_GUEST_RSP] = w->st.gpr[RBP] = rsp; }

/* The stack is not in EPT, or its entry there is broken. */
static void nested_stack(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
		for (unsigned broken = 0; broken < 2; broken++) {
			struct world *w = injects(i);

			put(w, EPT + 0x3000 + (HOLE >> 12 << 3), broken ? 2 : 0, 8);
			stack_at(w, HOLE + 0x1000);
			vmx_run(w);
			EXPECT_EXIT(w, broken ? MISCONFIG : VIOLATION, broken ? 0 : 2 | BIT(7) | BIT(8));
			assert_int_equal(vmx_f(w)[VMCS_GPA] & ~0xfffull, HOLE);
			assert_vectoring(w, i);
			world_free(w);
		}
	}
}

/* Nor is the IDT. */
static void nested_idt(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
		struct world *w = injects(i);

		put(w, EPT + 0x3000 + (HOLE >> 12 << 3), 0, 8);
		vmx_f(w)[VMCS_GUEST_IDTR_BASE] = HOLE;
		stack_at(w, GUEST_STACK);
		vmx_run(w);
		EXPECT_EXIT(w, VIOLATION, 1 | BIT(7) | BIT(8));
		assert_vectoring(w, i);
		world_free(w);
	}
}

/* A page fault of the guest's own tables: it exits as itself, also where a double fault would be next. */
static void page_fault(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
		struct world *w = injects(i);

		put(w, GUEST_TABLES + 0x3000 + (HOLE >> 12 << 3), 0, 8);
		stack_at(w, HOLE + 0x1000);
		vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_PF);
		vmx_run(w);
		assert_int_equal(vmx_f(w)[VMCS_REASON], 0);
		assert_int_equal(vmx_f(w)[VMCS_QUALIFICATION] & ~0xfffull, HOLE);
		assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT], VEV_VALID | VEV_ERROR | VEV_HARD_EXC << 8 | EXC_PF);
		assert_int_equal(vmx_f(w)[VMCS_EXIT_ERROR], 2);
		assert_vectoring(w, i);
		world_free(w);
	}
}

/* The gate is not present: #NP, whose error code names the gate, EXT unless software asked; or #DF. */
static void no_gate(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
		struct world *w = injects(i);
		unsigned vector = events[i].event & 0xff, type = VEV_TYPE(events[i].event);
		bool soft = type == VEV_SOFT_INT || type == VEV_SOFT_EXC;

		put(w, IDT + 16 * vector + 5, PRESENT, 1);
		stack_at(w, GUEST_STACK);
		vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_NP);
		vmx_run(w);
		EXPECT_EXIT(w, 0, 0);
		assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT], VEV_VALID | VEV_ERROR | VEV_HARD_EXC << 8 | EXC_NP);
		assert_int_equal(vmx_f(w)[VMCS_EXIT_ERROR], vector * 8 | 2 | !soft);
		assert_vectoring(w, i);
		world_free(w);

		w = injects(i); /* #NP is not wanted: its handler, or #DF */
		PLACE(w, STUBS + 16 * EXC_NP, nops);
		put(w, IDT + 16 * vector + 5, PRESENT, 1);
		stack_at(w, GUEST_STACK);
		vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_DF);
		vmx_run(w);
		if (events[i].df)
			assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT], VEV_VALID | VEV_ERROR | VEV_HARD_EXC << 8 | EXC_DF);
		else
			assert_int_equal(vmx_f(w)[VMCS_GUEST_RIP], STUBS + 16 * EXC_NP + 1);
		assert_int_equal(vmx_f(w)[VMCS_IDT_EVENT] & VEV_VALID, 0);
		world_free(w);
	}
}

/* An event whose delivery exits has ended HLT and blocking by STI and MOV SS: 27.1. */
static void wakes(void **state)
{
	static const struct {
		u64 event, activity, interruptibility, after;
	} rows[] = {
		{VEV_EXT_INT << 8 | 0x40, 1, 0, 0},
		{VEV_NMI << 8 | EXC_NMI, 1, 0, VINT_NMI},
		{VEV_NMI << 8 | EXC_NMI, 0, VINT_STI, VINT_NMI},
		{VEV_HARD_EXC << 8 | EXC_UD, 0, VINT_MOVSS, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = injects(0);

		put(w, EPT + 0x3000 + (HOLE >> 12 << 3), 0, 8);
		stack_at(w, HOLE + 0x1000);
		vmx_f(w)[VMCS_ENTRY_EVENT] = VEV_VALID | rows[i].event;
		vmx_f(w)[VMCS_GUEST_ACTIVITY] = rows[i].activity;
		vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = rows[i].interruptibility;
		vmx_run(w);
		EXPECT_EXIT(w, VIOLATION, 2 | BIT(7) | BIT(8));
		assert_int_equal(vmx_f(w)[VMCS_IDT_EVENT], VEV_VALID | rows[i].event);
		assert_int_equal(vmx_f(w)[VMCS_GUEST_ACTIVITY], 0);
		assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], rows[i].after);
		world_free(w);
	}
}

static struct world *real_mode(const u8 *code, unsigned n)
{
	struct world *w = vmx_world_of("Skylake-Client", code, code + n);
	u64 *f = vmx_f(w);

	f[VMCS_ENTRY] &= ~(u64)VMX_ENTRY_IA32E;
	f[VMCS_GUEST_CR0] = CR0_NE;
	f[VMCS_GUEST_IDTR_LIMIT] = 0x3ff;
	for (unsigned i = 0; i < X86_SREGS; i++) {
		f[VMCS_GUEST_ES_SEL + i] = 0;
		f[VMCS_GUEST_ES_AR + i] = 0x93;
		f[VMCS_GUEST_ES_LIMIT + i] = 0xffff;
	}
	f[VMCS_GUEST_CS_SEL] = (GUEST >> 4) & 0xffff;
	f[VMCS_GUEST_CS_BASE] = GUEST;
	f[VMCS_GUEST_RIP] = 0;
	return w;
}

/* Real-address mode has no error codes: 27.2.2, 27.2.4. */
static void real_mode_error(void **state)
{
	static const u8 store[] = {0xa3, 0xff, 0xff}; /* mov %ax, 0xffff */
	struct world *w = real_mode(store, sizeof(store));

	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_GP);
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT], VEV_VALID | VEV_HARD_EXC << 8 | EXC_GP);
	world_free(w);

	w = real_mode(store, sizeof(store)); /* its handler's stack is not in EPT */
	put(w, EPT + 0x3000 + (HOLE >> 12 << 3), 0, 8);
	vmx_f(w)[VMCS_GUEST_SS_SEL] = HOLE >> 4 & 0xffff;
	vmx_f(w)[VMCS_GUEST_SS_BASE] = HOLE;
	vmx_f(w)[VMCS_GUEST_RSP] = 0x100;
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 2 | BIT(7) | BIT(8));
	assert_int_equal(vmx_f(w)[VMCS_IDT_EVENT], VEV_VALID | VEV_HARD_EXC << 8 | EXC_GP);
	world_free(w);
}

/* No handler at all: the exit of a triple fault has no event under delivery. */
static void triple_fault(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
		struct world *w = injects(i);

		vmx_f(w)[VMCS_GUEST_IDTR_LIMIT] = 0;
		vmx_run(w);
		EXPECT_EXIT(w, 2, 0);
		assert_int_equal(vmx_f(w)[VMCS_IDT_EVENT] & VEV_VALID, 0);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nested_stack),	   cmocka_unit_test(nested_idt),   cmocka_unit_test(page_fault),
		cmocka_unit_test(no_gate),	   cmocka_unit_test(triple_fault), cmocka_unit_test(wakes),
		cmocka_unit_test(real_mode_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
