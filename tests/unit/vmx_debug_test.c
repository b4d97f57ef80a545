/* Debug exceptions around VM exits and entries: RFLAGS.RF and the pending debug exceptions as exits save them and
 * entries take them. SDM vol. 3 27.3.3, 27.3.4, 26.7.3 "Delivery of Pending Debug Exceptions after VM Entry", table
 * 24-4. */
#include "tests/unit/vmx_world.h"

#define CALL	  18
#define CPUID	  10
#define VIOLATION 48
#define HOLE	  0x150000
#define DATA	  0x4000
#define RF	  true

ASM64(loads, "mov 0x150008, %eax\n" VMCALL)
ASM64(cpuid, "cpuid\n" VMCALL)
ASM64(ud, "ud2")
ASM64(int3, "int3")
ASM64(nops, "nop\n nop\n" VMCALL)
ASM64(interrupt, "mov $0xf6, %edx\n rep outsb\n" VMCALL)
ASM64(load_ss, "mov %bx, %ss\n cpuid\n nop\n" VMCALL)
ASM64(load_ss_memory, "mov 0x4000, %ss\n cpuid\n nop\n" VMCALL)

static struct world *hole_world(const u8 *code, const u8 *end, u64 entry)
{
	struct world *w = vmx_world_of("Skylake-Client", code, end);

	put(w, EPT + 0x3000 + (HOLE >> 12 << 3), entry, 8);
	vmx_f(w)[VMCS_GUEST_CR4] |= CR4_DE;
	return w;
}

/* RF set, and a code breakpoint that makes it matter, at the instruction that exits. */
static void armed(struct world *w)
{
	vmx_f(w)[VMCS_ENTRY] |= VMX_ENTRY_LOAD_DEBUG;
	vmx_f(w)[VMCS_GUEST_DR7] = DR7_FIXED | 2;
	vmx_f(w)[VMCS_GUEST_RFLAGS] |= FL_RF;
	w->st.dr[0] = GUEST;
}

static void assert_exit(struct world *w, unsigned line, u64 reason, bool rf)
{
	vmx_run(w);
	if (vmx_f(w)[VMCS_REASON] != reason || !(vmx_f(w)[VMCS_GUEST_RFLAGS] & FL_RF) != !rf)
		fail_msg("line %u: exit %llu, RFLAGS %#llx", line, (unsigned long long)vmx_f(w)[VMCS_REASON],
			 (unsigned long long)vmx_f(w)[VMCS_GUEST_RFLAGS]);
	world_free(w);
}
#define EXIT_RF(w, reason, rf) assert_exit(w, __LINE__, reason, rf)

static void resume_flag(void **state)
{
	struct world *w = hole_world(loads_start, loads_end, 0); /* faults of EPT: set */

	EXIT_RF(w, VIOLATION, RF);
	w = hole_world(loads_start, loads_end, 2);
	EXIT_RF(w, 49, RF);
	w = hole_world(loads_start, loads_end, 0);
	vmx_f(w)[VMCS_PROC2] |= VMX_PROC2_APIC_ACCESS;
	vmx_f(w)[VMCS_APIC_ACCESS] = HOLE;
	put(w, EPT + 0x3000 + (HOLE >> 12 << 3), HOLE | 6 << 3 | 7, 8);
	EXIT_RF(w, 44, RF);

	w = VMX_WORLD(ud); /* exceptions: as their frame would have it */
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_UD);
	EXIT_RF(w, 0, RF);
	w = VMX_WORLD(int3);
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_BP);
	EXIT_RF(w, 0, !RF);
	w = VMX_WORLD(nops);
	armed(w);
	vmx_f(w)[VMCS_GUEST_RFLAGS] &= ~FL_RF;
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_DB);
	EXIT_RF(w, 0, !RF);

	w = VMX_WORLD(cpuid); /* instructions that exit: clear */
	armed(w);
	EXIT_RF(w, CPUID, !RF);

	w = hole_world(nops_start, nops_end, 0); /* under delivery: as the event's frame would have it */
	vmx_f(w)[VMCS_GUEST_RSP] = HOLE + 0x1000;
	vmx_f(w)[VMCS_ENTRY_EVENT] = VEV_VALID | VEV_SOFT_INT << 8 | 0x80;
	EXIT_RF(w, VIOLATION, !RF);

	w = VMX_WORLD(interrupt); /* an interrupt between two elements */
	w->st.gpr[RCX] = 2;
	w->st.gpr[RSI] = DATA;
	put(w, DATA, 0x4141, 2);
	vmx_f(w)[VMCS_PROC] &= ~(u64)VMX_PROC_IO;
	EXIT_RF(w, 1, RF);
}

/* The violation mended, the instruction goes on past its own breakpoint. */
static void breakpoint_hits_once(void **state)
{
	struct world *w = hole_world(loads_start, loads_end, 0);

	armed(w);
	vmx_f(w)[VMCS_EXIT] |= VMX_EXIT_SAVE_DEBUG;
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_DB);
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 1 | BIT(7) | BIT(8));
	put(w, EPT + 0x3000 + (HOLE >> 12 << 3), HOLE | 6 << 3 | 7, 8);
	vmx_run(w);
	EXPECT_EXIT(w, CALL, 0);
	world_free(w);
}

/* Held by blocking by MOV SS: a single step, a data breakpoint. Going on delivers them behind the next instruction. */
static void pending(void **state)
{
	for (unsigned memory = 0; memory < 2; memory++) {
		struct world *w = memory ? VMX_WORLD(load_ss_memory) : VMX_WORLD(load_ss);
		u64 held = memory ? BIT(0) | BIT(12) : DR6_BS, length = memory ? 7 : 2;

		put(w, DATA, VSS, 2);
		w->st.gpr[RBX] = VSS;
		w->st.dr[0] = DATA;
		vmx_f(w)[VMCS_ENTRY] |= VMX_ENTRY_LOAD_DEBUG;
		vmx_f(w)[VMCS_EXIT] |= VMX_EXIT_SAVE_DEBUG;
		vmx_f(w)[VMCS_GUEST_DR7] = DR7_FIXED | (memory ? 2 | 3 << 16 : 0);
		vmx_f(w)[VMCS_GUEST_RFLAGS] |= memory ? 0 : FL_TF;
		vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_DB);
		vmx_run(w);
		EXPECT_EXIT(w, CPUID, 0);
		assert_at(w, length);
		assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], VINT_MOVSS);
		assert_int_equal(vmx_f(w)[VMCS_GUEST_PENDING_DB], held);
		vmx_run(w); /* the same again: what was saved may be loaded */
		EXPECT_EXIT(w, CPUID, 0);
		assert_int_equal(vmx_f(w)[VMCS_GUEST_PENDING_DB], held);
		vmx_f(w)[VMCS_GUEST_RIP] += 2;
		vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = 0; /* CPUID was emulated: due at once */
		vmx_run(w);
		EXPECT_EXIT(w, 0, held & ~BIT(12));
		assert_at(w, length + 2);
		assert_int_equal(vmx_f(w)[VMCS_GUEST_PENDING_DB], 0);
		world_free(w);
	}
}

/* STI's blocking holds no single step: what a hypervisor steps over is not stepped again. */
ASM64(sti_xor, "sti; xor %eax, %eax; cpuid")
static void step_over_sti(void **state)
{
	struct world *w = VMX_WORLD(sti_xor);

	vmx_f(w)[VMCS_GUEST_RFLAGS] = (vmx_f(w)[VMCS_GUEST_RFLAGS] | FL_TF) & ~FL_IF;
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_DB);
	vmx_run(w);
	EXPECT_EXIT(w, 0, DR6_BS);
	assert_at(w, 1);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY], VINT_STI);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_PENDING_DB], 0);
	vmx_f(w)[VMCS_GUEST_INTERRUPTIBILITY] = 0;
	vmx_run(w);
	EXPECT_EXIT(w, 0, DR6_BS);
	assert_at(w, 3);
	world_free(w);
}

/* What an entry's field makes pending: bits 3:0 alone nothing, bit 12 or BS a #DB, none with an event injected. */
static void pending_at_entry(void **state)
{
	static const struct {
		u64 pending, event, reason, qualification;
	} rows[] = {
		{BIT(0), 0, CALL, 0},
		{BIT(12), 0, 0, 0},
		{BIT(12) | BIT(1), 0, 0, BIT(1)},
		{DR6_BS | BIT(2), 0, 0, DR6_BS | BIT(2)},
		{DR6_BS, VEV_VALID | VEV_NMI << 8 | EXC_NMI, CALL, 0},
		{DR6_BS, VEV_VALID | VEV_HARD_EXC << 8 | EXC_UD, CALL, 0},
		{DR6_BS, VEV_VALID | VEV_SOFT_INT << 8 | 0x80, CALL, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = VMX_WORLD(nops);

		vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_DB);
		vmx_f(w)[VMCS_GUEST_PENDING_DB] = rows[i].pending;
		vmx_f(w)[VMCS_ENTRY_EVENT] = rows[i].event;
		vmx_run(w);
		EXPECT_EXIT(w, rows[i].reason, rows[i].qualification);
		assert_int_equal(vmx_f(w)[VMCS_GUEST_PENDING_DB], 0);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resume_flag),
		cmocka_unit_test(breakpoint_hits_once),
		cmocka_unit_test(pending),
		cmocka_unit_test(step_over_sti),
		cmocka_unit_test(pending_at_entry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
