/* VM functions and PAUSE-loop exiting: SDM vol. 3 25.5.6 "VM Functions", 25.1.3 "PAUSE". */
#include "tests/unit/vmx_world.h"

#define CALL	  18
#define VIOLATION 48
#define PAUSED	  40
#define VMFUNC	  59
#define LIST	  0x4c000
#define OTHER_EPT 0x4d000 /* PML4, PDPT, PD are EPT's next ones; a page table of its own */
#define TARGET	  0x150000

ASM64(switches, "mov 0x150008, %ebx\n xor %eax, %eax\n mov $1, %ecx\n vmfunc\n mov 0x150008, %edx\n" VMCALL)
ASM64(calls, "vmfunc\n" VMCALL)
ASM64(user_calls, "vmfunc\n ud2")

static struct world *functions(const char *model, const u8 *code, const u8 *end)
{
	struct world *w = vmx_world_of(model, code, end);

	vmx_f(w)[VMCS_PROC2] |= VMX_PROC2_VMFUNC;
	vmx_f(w)[VMCS_FUNCTIONS] = VMX_FUNCTION_EPTP;
	vmx_f(w)[VMCS_EPTP_LIST] = LIST;
	vmx_f(w)[VMCS_EPTP_INDEX] = 0x77;
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_UD);
	for (u64 i = 0; i < 512; i++) {
		put(w, OTHER_EPT + 0x3000 + 8 * i, get(w, EPT + 0x3000 + 8 * i, 8), 8);
		put(w, LIST + 8 * i, 1, 8); /* a reserved memory type */
	}
	for (u64 i = 0; i < 3; i++)
		put(w, OTHER_EPT + 0x1000 * i, (OTHER_EPT + 0x1000 * (i + 1)) | 7, 8);
	put(w, OTHER_EPT + 0x3000 + (TARGET >> 12 << 3), (TARGET + 0x1000) | 6 << 3 | 7, 8);
	put(w, LIST, EPT | 3 << 3 | 6, 8);
	put(w, LIST + 8, OTHER_EPT | 3 << 3 | 6, 8);
	put(w, TARGET + 8, 0x1111, 4);
	put(w, TARGET + 0x1008, 0x2222, 4);
	return w;
}
#define FUNCTIONS(name) functions("Skylake-Client", name##_start, name##_end)

/* The same linear address before and behind, with and without VPID; EPTP and its index are the VMCS's from then on. */
static void eptp_switches(void **state)
{
	for (unsigned vpid = 0; vpid < 2; vpid++) {
		struct world *w = FUNCTIONS(switches);

		if (!vpid)
			vmx_f(w)[VMCS_PROC2] &= ~(u64)VMX_PROC2_VPID;
		vmx_run(w);
		EXPECT_EXIT(w, CALL, 0);
		assert_int_equal(w->st.gpr[RBX], 0x1111);
		assert_int_equal(w->st.gpr[RDX], 0x2222);
		assert_int_equal(vmx_f(w)[VMCS_EPTP], get(w, LIST + 8, 8));
		assert_int_equal(vmx_f(w)[VMCS_EPTP_INDEX], 1);
		world_free(w);
	}
}

/* A processor that throws its cache away behind each instruction finds the new EPTP too. */
static void switch_outlives_the_cache(void **state)
{
	struct world *w = FUNCTIONS(switches);

	w->cpu->drop_every = 1;
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(w->st.gpr[RDX], 0x2222);
	world_free(w);
}

/* What exits: a function that is not enabled, an entry behind the list, one that VM entry would refuse. */
static void refusals_exit(void **state)
{
	static const struct {
		u64 eax, ecx, enabled;
	} rows[] = {{0, 0, 0}, {1, 0, 1}, {63, 0, 1}, {0, 512, 1}, {0, 0x100000001, 0}, {0, 2, 1}, {0, 511, 1}};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = FUNCTIONS(calls);

		vmx_f(w)[VMCS_FUNCTIONS] = rows[i].enabled;
		w->st.gpr[RAX] = rows[i].eax;
		w->st.gpr[RCX] = rows[i].ecx;
		vmx_run(w);
		EXPECT_EXIT(w, VMFUNC, 0);
		assert_at(w, 0);
		assert_int_equal(vmx_f(w)[VMCS_INSN_LEN], 3);
		assert_int_equal(vmx_f(w)[VMCS_EPTP], EPT | 3 << 3 | 6);
		assert_int_equal(vmx_f(w)[VMCS_EPTP_INDEX], 0x77);
		world_free(w);
	}
}

/* #UD: functions beyond 63, the control off, root operation. Only the lower halves of the registers count. */
static void invalid(void **state)
{
	struct world *w = FUNCTIONS(calls);

	w->st.gpr[RAX] = 64;
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	world_free(w);

	w = FUNCTIONS(calls);
	w->st.gpr[RAX] = 0;
	vmx_f(w)[VMCS_PROC2] &= ~(u64)VMX_PROC2_VMFUNC;
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	world_free(w);

	w = FUNCTIONS(calls);
	w->st.gpr[RAX] = 1ull << 32;
	w->st.gpr[RCX] = 1ull << 32 | 1;
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(vmx_f(w)[VMCS_EPTP_INDEX], 1);
	world_free(w);

	w = FUNCTIONS(calls);
	PLACE(w, CODE, calls);
	w->st.rip = CODE;
	w->st.gpr[RAX] = 0;
	assert_int_equal(world_run(w), RUN_STOPPED); /* #UD's stub comes back to it until the limit */
	assert_true(vmx_count(w, EXC_UD) > 0);
	world_free(w);
}

/* VMFUNC has no privilege of its own. */
static void from_user_mode(void **state)
{
	struct world *w = FUNCTIONS(user_calls);

	vmx_f(w)[VMCS_GUEST_CS_SEL] |= 3;
	vmx_f(w)[VMCS_GUEST_SS_SEL] |= 3;
	vmx_f(w)[VMCS_GUEST_CS_AR] |= 0x60;
	vmx_f(w)[VMCS_GUEST_SS_AR] |= 0x60;
	w->st.gpr[RAX] = 0;
	w->st.gpr[RCX] = 1;
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_at(w, 3);
	assert_int_equal(vmx_f(w)[VMCS_EPTP_INDEX], 1);
	world_free(w);
}

/* IA32_VMX_VMFUNC is there just when the control is. */
ASM64(reads, "mov $0x491, %ecx\n rdmsr\n" VMCALL)
static void capability(void **state)
{
	struct world *w = functions("Skylake-Client", reads_start, reads_end);

	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	assert_int_equal(w->st.gpr[RAX], VMX_FUNCTION_EPTP);
	world_free(w);

	w = vmx_world_of("Skylake-Client,vmx-vmfunc=off", reads_start, reads_end);
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_GP);
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	world_free(w);
}

ASM64(pauses, "pause\n nop\n pause\n" VMCALL)
ASM64(loops, "1: pause\n jmp 1b")
ASM64(slow_loops, "mov $2000, %ecx\n 1: pause\n nop\n nop\n nop\n nop\n loop 1b\n" VMCALL)

static struct world *loop_world(const u8 *code, const u8 *end, u64 gap, u64 window)
{
	struct world *w = vmx_world_of("Skylake-Client", code, end);

	vmx_f(w)[VMCS_PROC2] |= VMX_PROC2_PLE;
	vmx_f(w)[VMCS_PLE_GAP] = gap;
	vmx_f(w)[VMCS_PLE_WINDOW] = window;
	return w;
}

/* The first PAUSE after VM entry is the first of its loop; one later than the gap is another's first. */
static void pause_loops_exit(void **state)
{
	struct world *w = loop_world(pauses_start, pauses_end, 100, 0);

	vmx_run(w);
	EXPECT_EXIT(w, PAUSED, 0);
	assert_at(w, 3);
	assert_int_equal(vmx_f(w)[VMCS_INSN_LEN], 2);
	vmx_run(w); /* entered at the PAUSE */
	EXPECT_EXIT(w, CALL, 0);
	world_free(w);

	w = loop_world(pauses_start, pauses_end, 100, 0xffffffff);
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	world_free(w);

	w = loop_world(slow_loops_start, slow_loops_end, 3, 0);
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	world_free(w);

	w = loop_world(loops_start, loops_end, 3, 100000);
	w->cpu->insn_limit = 0;
	vmx_run(w);
	EXPECT_EXIT(w, PAUSED, 0);
	assert_at(w, 0);
	world_free(w);
}

/* "PAUSE exiting" comes first; above CPL 0 loops are nobody's business. */
static void pause_controls(void **state)
{
	struct world *w = loop_world(pauses_start, pauses_end, 100, 0xffffffff);

	vmx_f(w)[VMCS_PROC] |= VMX_PROC_PAUSE;
	vmx_run(w);
	EXPECT_EXIT(w, PAUSED, 0);
	assert_at(w, 0);
	world_free(w);

	w = loop_world(pauses_start, pauses_end, 100, 0);
	vmx_f(w)[VMCS_GUEST_CS_SEL] |= 3;
	vmx_f(w)[VMCS_GUEST_SS_SEL] |= 3;
	vmx_f(w)[VMCS_GUEST_CS_AR] |= 0x60;
	vmx_f(w)[VMCS_GUEST_SS_AR] |= 0x60;
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(eptp_switches),    cmocka_unit_test(switch_outlives_the_cache),
		cmocka_unit_test(refusals_exit),    cmocka_unit_test(invalid),
		cmocka_unit_test(from_user_mode),   cmocka_unit_test(capability),
		cmocka_unit_test(pause_loops_exit), cmocka_unit_test(pause_controls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
