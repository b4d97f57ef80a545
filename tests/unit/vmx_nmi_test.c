/* NMIs in every window: blocked by STI, MOV SS, an NMI; injected; in the activity states; ended by IRET or not.
 * SDM vol. 3 25.2 "Other Causes of VM Exits", 25.3 "IRET", 26.6, 26.7.6 "NMI-Window Exiting", 27.3.4. */
#include "tests/unit/vmx_world.h"

#define CALL	   18
#define NMI_WINDOW 8
#define VIOLATION  48
#define HOLE	   0x150000
#define NMI_EVENT  (VEV_VALID | VEV_NMI << 8 | EXC_NMI)

ASM64(nops, "nop\n nop\n" VMCALL)
ASM64(stays, "hlt\n 1: jmp 1b")
ASM64(returns, "iretq\n out %al, $0xf5\n nop\n" VMCALL)
ASM64(nmi_first, "out %al, $0xf5\n nop\n iretq\n nop\n" VMCALL)

static void frame_to(struct world *w, u64 rip)
{
	const u64 frame[] = {rip, VCS, FL_FIXED, GUEST_STACK, VSS};

	memcpy(at(w, GUEST_STACK), frame, sizeof(frame));
}

/* NMI-window exiting waits for the end of each kind of blocking; where it finds none, it comes before the first
 * instruction, in HLT and in shutdown too. */
static void window(void **state)
{
	static const struct {
		u64 interruptibility, activity, at;
	} rows[] = {{0, 0, 0}, {VINT_STI, 0, 1}, {VINT_MOVSS, 0, 1}, {0, 1, 0}, {0, 2, 0}};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = VMX_WORLD(nops);

		vmx_f(w)[VMCS_PROC] |= VMX_PROC_NMI_WINDOW;
		vmx_f(w)[VMCS_GUEST_RFLAGS] |= FL_IF;
		vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = rows[i].interruptibility;
		vmx_f(w)[VMCS_GUEST_ACTIVITY] = rows[i].activity;
		vmx_run(w);
		EXPECT_EXIT(w, NMI_WINDOW, 0);
		assert_at(w, rows[i].at);
		assert_int_equal(vmx_f(w)[VMCS_GUEST_ACTIVITY], rows[i].activity);
		assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], 0);
		world_free(w);
	}
}

/* Virtual blocking outlasts all but IRET; physical NMIs exit all the same. */
static void window_held(void **state)
{
	struct world *w = VMX_WORLD(nops);

	vmx_f(w)[VMCS_PROC] |= VMX_PROC_NMI_WINDOW;
	vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = VINT_NMI;
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], VINT_NMI);
	world_free(w);

	w = VMX_WORLD(nmi_first);
	vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = VINT_NMI;
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT], NMI_EVENT);
	assert_at(w, 2);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], VINT_NMI);
	world_free(w);
}

/* An injected NMI blocks until the handler's IRET; the window's exit, asked for with it, comes right then. */
static void injected(void **state)
{
	struct world *w = VMX_WORLD(nops);

	vmx_f(w)[VMCS_PROC] |= VMX_PROC_NMI_WINDOW;
	vmx_f(w)[VMCS_ENTRY_EVENT] = NMI_EVENT;
	vmx_run(w);
	EXPECT_EXIT(w, NMI_WINDOW, 0);
	assert_int_equal(vmx_count(w, EXC_NMI), 1);
	assert_at(w, 0);
	world_free(w);

	w = VMX_WORLD(nops);
	PLACE(w, STUBS + 16 * EXC_NMI, nops); /* exits from within the handler */
	vmx_f(w)[VMCS_ENTRY_EVENT] = NMI_EVENT;
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], VINT_NMI);
	world_free(w);
}

/* One whose delivery fails is in the IDT-vectoring information, and blocking has begun. */
static void injected_in_vain(void **state)
{
	struct world *w = VMX_WORLD(nops);

	put(w, EPT + 0x3000 + (HOLE >> 12 << 3), 0, 8);
	vmx_f(w)[VMCS_GUEST_RSP] = HOLE + 0x1000;
	vmx_f(w)[VMCS_ENTRY_EVENT] = NMI_EVENT;
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 2 | BIT(7) | BIT(8));
	assert_int_equal(vmx_f(w)[VMCS_IDT_EVENT], NMI_EVENT);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], VINT_NMI);
	world_free(w);
}

/* NMI exiting without virtual NMIs: IRET does not end the blocking, which is the processor's own. */
static void iret_leaves_alone(void **state)
{
	struct world *w = VMX_WORLD(returns);

	frame_to(w, GUEST + 2);
	vmx_f(w)[VMCS_PIN] &= ~(u64)VMX_PIN_VIRTUAL_NMI;
	vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = VINT_NMI;
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], VINT_NMI);
	assert_int_equal(w->st.nmi_blocked, 1);
	world_free(w);
}

/* Neither control: the guest's IRET lets in the NMI that has waited for it. */
static void iret_lets_in(void **state)
{
	struct world *w = VMX_WORLD(nmi_first);

	frame_to(w, GUEST + 5);
	vmx_f(w)[VMCS_PIN] &= ~(u64)(VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI);
	vmx_f(w)[VMCS_GUEST_RSP] = GUEST_STACK;
	vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = VINT_NMI;
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(vmx_count(w, EXC_NMI), 1);
	assert_int_equal(get(w, GUEST_STACK - 40, 8), GUEST + 5);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], 0);
	world_free(w);
}

/* A halted guest is left by the host's NMI, still halted, and does not lose an NMI injected into it. */
static void halted(void **state)
{
	struct world *w = VMX_WORLD(stays);

	vmx_f(w)[VMCS_PROC] &= ~(u64)VMX_PROC_HLT;
	vmx_f(w)[VMCS_GUEST_ACTIVITY] = 1;
	w->v->ops->assert_nmi(w->v);
	w->st.nmi_blocked = 1; /* while the host launches */
	w->st.vmx.nmi_blocked = 0;
	vmx_f(w)[VMCS_PIN] &= ~(u64)VMX_PIN_VIRTUAL_NMI;
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT], NMI_EVENT);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_ACTIVITY], 1);
	world_free(w);

	w = VMX_WORLD(stays);
	PLACE(w, STUBS + 16 * EXC_NMI, nops);
	vmx_f(w)[VMCS_GUEST_ACTIVITY] = 1;
	vmx_f(w)[VMCS_ENTRY_EVENT] = NMI_EVENT;
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_ACTIVITY], 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(window),	    cmocka_unit_test(window_held),	 cmocka_unit_test(injected),
		cmocka_unit_test(injected_in_vain), cmocka_unit_test(iret_leaves_alone), cmocka_unit_test(iret_lets_in),
		cmocka_unit_test(halted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
