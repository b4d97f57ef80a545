/* Events in and around non-root operation: the monitor trap flag, NMIs in every window, injection and what goes wrong
 * on its way, IRET that fails, shutdown. SDM vol. 3 25.5.2, 26.6, 26.7, 27.2.3, 27.2.4. */
#include "tests/unit/vmx_world.h"

#include <pthread.h>
#include <unistd.h>

#define CALL	   18
#define MTF_EXIT   37
#define NMI_WINDOW 8
#define VIOLATION  48
#define HOLE	   0x150000

ASM64(steps, "inc %rcx\n mov $0x4000, %edi\n ud2")
ASM64(calls, VMCALL)
ASM64(ends, "nop\n nop\n" VMCALL)

static void hole_in_ept(struct world *w) { put(w, EPT + 0x3000 + (HOLE >> 12 << 3), 0, 8); }

/* One instruction an entry; a fault's delivery counts as one too. */
static void trap_flag(void **state)
{
	struct world *w = VMX_WORLD(steps);
	static const u64 rips[] = {GUEST + 3, GUEST + 8, STUBS + 16 * EXC_UD};

	vmx_f(w)[VMCS_PROC] |= VMX_PROC_MTF;
	for (unsigned i = 0; i < ARRAY_SIZE(rips); i++) {
		vmx_run(w);
		EXPECT_EXIT(w, MTF_EXIT, 0);
		assert_int_equal(vmx_f(w)[VMCS_GUEST_RIP], rips[i]);
	}
	world_free(w);
}

/* Behind an injected event; and injected itself, with the control off. */
static void trap_flag_at_entry(void **state)
{
	struct world *w = VMX_WORLD(steps);

	vmx_f(w)[VMCS_PROC] |= VMX_PROC_MTF;
	vmx_f(w)[VMCS_ENTRY_EVENT] = VEV_VALID | VEV_SOFT_INT << 8 | 0x80;
	vmx_f(w)[VMCS_ENTRY_INSN_LEN] = 2;
	vmx_run(w);
	EXPECT_EXIT(w, MTF_EXIT, 0);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_RIP], STUBS + 16 * 0x80);
	assert_int_equal(get(w, GUEST_STACK - 40, 8), GUEST + 2);
	world_free(w);

	w = VMX_WORLD(steps);
	vmx_f(w)[VMCS_ENTRY_EVENT] = VEV_VALID | VEV_OTHER << 8;
	vmx_run(w);
	EXPECT_EXIT(w, MTF_EXIT, 0);
	assert_at(w, 0);
	world_free(w);
}

/* Each type injected reaches its handler with the frame that it should have. */
static void injection(void **state)
{
	static const struct {
		u64 event, error, length;
		unsigned vector;
	} rows[] = {
		{VEV_EXT_INT << 8 | 0x40, 0, 0, 0x40},	     {VEV_NMI << 8 | 2, 0, 0, 2},
		{VEV_HARD_EXC << 8 | EXC_UD, 0, 0, EXC_UD},  {VEV_SOFT_INT << 8 | 0x41, 0, 2, 0x41},
		{VEV_PRIV_SOFT << 8 | EXC_DB, 0, 1, EXC_DB}, {VEV_SOFT_EXC << 8 | EXC_BP, 0, 1, EXC_BP},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = VMX_WORLD(ends);

		vmx_f(w)[VMCS_GUEST_RFLAGS] |= FL_IF;
		vmx_f(w)[VMCS_ENTRY_EVENT] = VEV_VALID | rows[i].event;
		vmx_f(w)[VMCS_ENTRY_INSN_LEN] = rows[i].length;
		vmx_f(w)[VMCS_EXCEPTIONS] = 0xffffffff; /* the event itself causes no exit */
		vmx_run(w);
		EXPECT_EXIT(w, CALL, 0);
		assert_int_equal(vmx_count(w, rows[i].vector), 1);
		assert_int_equal(get(w, GUEST_STACK - 40, 8), GUEST + rows[i].length);
		assert_int_equal(vmx_f(w)[VMCS_ENTRY_EVENT] & VEV_VALID, 0);
		world_free(w);
	}
}

/* The stack of the delivery is not mapped by EPT, or by the guest; or there is no gate: IDT-vectoring information. */
static void faults_during_delivery(void **state)
{
	const u64 event = VEV_VALID | VEV_HARD_EXC << 8 | VEV_ERROR | EXC_GP;
	struct world *w = VMX_WORLD(ends);

	hole_in_ept(w);
	vmx_f(w)[VMCS_GUEST_RSP] = HOLE + 0x1000;
	vmx_f(w)[VMCS_ENTRY_EVENT] = event;
	vmx_f(w)[VMCS_ENTRY_ERROR] = 0x28;
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 2 | BIT(7) | BIT(8));
	assert_int_equal(vmx_f(w)[VMCS_IDT_EVENT], event);
	assert_int_equal(vmx_f(w)[VMCS_IDT_ERROR], 0x28);
	assert_at(w, 0);
	world_free(w);

	w = VMX_WORLD(ends);
	put(w, GUEST_TABLES + 0x3000 + (HOLE >> 12 << 3), 0, 8);
	vmx_f(w)[VMCS_GUEST_RSP] = HOLE + 0x1000;
	vmx_f(w)[VMCS_ENTRY_EVENT] = VEV_VALID | VEV_SOFT_INT << 8 | 0x80;
	vmx_f(w)[VMCS_ENTRY_INSN_LEN] = 2;
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_PF);
	vmx_run(w);
	EXPECT_EXIT(w, 0, HOLE + 0xff8);
	assert_int_equal(vmx_f(w)[VMCS_IDT_EVENT], VEV_VALID | VEV_SOFT_INT << 8 | 0x80);
	assert_int_equal(vmx_f(w)[VMCS_INSN_LEN], 2);
	assert_at(w, 0);
	world_free(w);

	w = VMX_WORLD(ends); /* #GP's gate is not present: #DF, which exits */
	put(w, IDT + 16 * EXC_GP + 5, 0x0e, 1);
	vmx_f(w)[VMCS_ENTRY_EVENT] = event;
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_DF);
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT], VEV_VALID | VEV_ERROR | VEV_HARD_EXC << 8 | EXC_DF);
	world_free(w);

	w = VMX_WORLD(ends);
	vmx_f(w)[VMCS_GUEST_IDTR_LIMIT] = 0;
	vmx_f(w)[VMCS_ENTRY_EVENT] = event;
	vmx_run(w);
	EXPECT_EXIT(w, 2, 0);
	world_free(w);
}

ASM64(nmis, "out %al, $0xf5\n nop\n nop\n" VMCALL)
ASM64(shadow_nmi, "mov %ss, %bx\n mov %bx, %ss\n out %al, $0xf5\n nop\n" VMCALL)

/* NMI exiting: at once, behind MOV SS's shadow, whatever virtual blocking says. */
static void nmi_exits(void **state)
{
	struct world *w = VMX_WORLD(nmis);

	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_at(w, 2);
	assert_int_equal(w->st.nmi_blocked, 1); /* in the host, until its IRET */
	world_free(w);

	w = VMX_WORLD(nmis);
	vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = VINT_NMI;
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], VINT_NMI);
	world_free(w);

	w = VMX_WORLD(shadow_nmi);
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_at(w, 3 + 2 + 2);
	world_free(w);
}

/* Without NMI exiting the guest's own handler runs, and IRET ends the blocking. */
static void nmi_in_guest(void **state)
{
	struct world *w = VMX_WORLD(nmis);

	vmx_f(w)[VMCS_PIN] &= ~(u64)(VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI);
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(vmx_count(w, 2), 1);
	assert_int_equal(w->st.nmi_blocked, 0);
	world_free(w);
}

ASM64(iret, "iretq\n nop")

/* The window opens with the IRET that ends virtual blocking. */
static void nmi_window(void **state)
{
	const u64 frame[] = {GUEST + 2, VCS, FL_FIXED, GUEST_STACK, VSS};
	struct world *w = VMX_WORLD(iret);

	memcpy(at(w, GUEST_STACK), frame, sizeof(frame));
	vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = VINT_NMI;
	vmx_f(w)[VMCS_PROC] |= VMX_PROC_NMI_WINDOW;
	vmx_run(w);
	EXPECT_EXIT(w, NMI_WINDOW, 0);
	assert_at(w, 2);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], 0);
	world_free(w);
}

/* IRET's own faults say that it has ended blocking by NMI: bit 12. */
static void iret_unblocks(void **state)
{
	const u64 frame[] = {1ull << 50, VCS, FL_FIXED, GUEST_STACK, VSS};

	for (unsigned blocked = 0; blocked < 2; blocked++) {
		struct world *w = VMX_WORLD(iret);

		hole_in_ept(w);
		vmx_f(w)[VMCS_GUEST_RSP] = HOLE;
		vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = blocked ? VINT_NMI : 0;
		vmx_run(w);
		EXPECT_EXIT(w, VIOLATION, 1 | BIT(7) | BIT(8) | (blocked ? BIT(12) : 0));
		assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], 0);
		world_free(w);

		w = VMX_WORLD(iret);
		memcpy(at(w, GUEST_STACK), frame, sizeof(frame));
		vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = blocked ? VINT_NMI : 0;
		vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_GP);
		vmx_run(w);
		EXPECT_EXIT(w, 0, 0);
		assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT],
				 VEV_VALID | VEV_ERROR | VEV_HARD_EXC << 8 | EXC_GP | (blocked ? VEV_NMI_IRET : 0));
		world_free(w);
	}
}

static void *late_nmi(void *arg)
{
	struct world *w = arg;

	usleep(20000);
	w->vector = 0x40; /* held */
	w->v->ops->assert_intr(w->v);
	usleep(5000);
	w->v->ops->assert_nmi(w->v);
	return NULL;
}

/* In shutdown interrupts wait; an NMI exits, and the state is saved. */
static void shutdown_state(void **state)
{
	struct world *w = VMX_WORLD(calls);
	pthread_t t;

	vmx_f(w)[VMCS_GUEST_ACTIVITY] = 2;
	assert_int_equal(pthread_create(&t, NULL, late_nmi, w), 0);
	vmx_run(w);
	pthread_join(t, NULL);
	EXPECT_EXIT(w, 0, 0);
	assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT], VEV_VALID | VEV_NMI << 8 | 2);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_ACTIVITY], 2);
	world_free(w);
}

ASM64(tsc, "rdtsc\n" VMCALL)

/* The multiplier comes before the offset. */
static void tsc_scaled(void **state)
{
	struct world *w = VMX_WORLD(tsc);
	u64 before, seen;

	vmx_f(w)[VMCS_PROC] |= VMX_PROC_TSC_OFFSET;
	vmx_f(w)[VMCS_PROC2] |= VMX_PROC2_TSC_SCALING;
	vmx_f(w)[VMCS_TSC_MULTIPLIER] = BIT(46); /* a quarter */
	vmx_f(w)[VMCS_TSC_OFFSET] = BIT(62);
	before = x86_tsc(w->cpu);
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	seen = (w->st.gpr[RDX] << 32 | w->st.gpr[RAX]) - BIT(62);
	assert_in_range(seen, before / 4, x86_tsc(w->cpu) / 4);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trap_flag),
		cmocka_unit_test(trap_flag_at_entry),
		cmocka_unit_test(injection),
		cmocka_unit_test(faults_during_delivery),
		cmocka_unit_test(nmi_exits),
		cmocka_unit_test(nmi_in_guest),
		cmocka_unit_test(nmi_window),
		cmocka_unit_test(iret_unblocks),
		cmocka_unit_test(shutdown_state),
		cmocka_unit_test(tsc_scaled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
