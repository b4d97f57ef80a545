/* MSR and I/O bitmaps at their edges, and the scopes of INVVPID. SDM vol. 3 24.6.4, 24.6.9, 25.1.3, 30.3 "INVVPID". */
#include "tests/unit/vmx_world.h"

ASM64(in_byte, "in %dx, %al\n" VMCALL)
ASM64(in_long, "in %dx, %eax\n" VMCALL)
ASM64(reads, "rdmsr\n" VMCALL)
ASM64(writes, "wrmsr\n" VMCALL)
ASM64(loads, "mov 0x150008, %ebx\n" VMCALL)

/* `port` is intercepted; what an access of 1 or 4 bytes at `at` does. */
static void ports(void **state)
{
	static const struct {
		u32 port, at;
		bool wide, exits;
	} rows[] = {
		{0, 0, false, true},	       {0x7fff, 0x7fff, false, true},  {0x8000, 0x8000, false, true},
		{0xffff, 0xffff, false, true}, {0x8000, 0x7fff, false, false}, {0x7fff, 0x8000, false, false},
		{0x8000, 0x7ffd, true, true},  {0x8001, 0x7ffd, true, false},  {0x4000, 0xfffd, true, true},
		{0x4000, 0xfffc, true, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = rows[i].wide ? VMX_WORLD(in_long) : VMX_WORLD(in_byte);

		vmx_f(w)[VMCS_PROC] |= VMX_PROC_IO_BITMAPS;
		put(w, IO_BITMAPS + rows[i].port / 8, 1u << rows[i].port % 8, 1);
		w->st.gpr[RDX] = rows[i].at;
		vmx_run(w);
		EXPECT_EXIT(w, rows[i].exits ? 30 : 18,
			    rows[i].exits ? (rows[i].wide ? 3 : 0) | 1 << 3 | (u64)rows[i].at << 16 : 0);
		world_free(w);
	}
}

/* The four quarters of the MSR bitmap; beyond their ranges every access exits. */
static void msrs(void **state)
{
	static const struct {
		u32 msr;
		int byte; /* of the quarter; -1: outside the ranges */
		bool high;
	} rows[] = {
		{0, 0, false},		{0x10, 2, false},	 {0x1fff, 0x3ff, false},   {0x2000, -1, false},
		{0xbfffffff, -1, true}, {0xc0000000, 0, true},	 {0xc0000080, 0x10, true}, {0xc0001fff, 0x3ff, true},
		{0xc0002000, -1, true}, {0x40000000, -1, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		for (unsigned write = 0; write < 2; write++) {
			for (unsigned set = 0; set < 2; set++) {
				struct world *w = write ? VMX_WORLD(writes) : VMX_WORLD(reads);
				u64 at_ = MSR_BITMAP + 2048 * write + 1024 * rows[i].high + (u64)MAX(rows[i].byte, 0);
				bool exits = rows[i].byte < 0 || set;

				if (set && rows[i].byte >= 0)
					put(w, at_, 1u << rows[i].msr % 8, 1);
				/* A register that is not there, or refuses the value: the guest's #GP. */
				vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_GP);
				w->st.gpr[RCX] = rows[i].msr;
				w->st.gpr[RAX] = w->st.gpr[RDX] = 0xffffffff;
				vmx_run(w);
				if ((vmx_f(w)[VMCS_REASON] == 31 + write) != exits)
					fail_msg("MSR %#x, write %u, bit %u: exit %llu", rows[i].msr, write, set,
						 (unsigned long long)vmx_f(w)[VMCS_REASON]);
				world_free(w);
			}
		}
	}
}

/* The host changes the guest's table of 150000h (entry 27a80h) and goes on after INVVPID of the type in ESI. */
ASM64(forget, "cmpl $0, 0x5ff0\n jne 1f\n incl 0x5ff0\n movq $0, 0x27a80\n invvpid 0x5f00, %rsi\n pushf\n pop %r8\n"
	      "mov $0x681e, %eax\n mov $0x3000, %ecx\n vmwrite %rcx, %rax\n vmresume\n 1:" STOP)

static void invvpid(void **state)
{
	for (unsigned type = 0; type < 5; type++) {
		struct world *w = VMX_WORLD(loads);

		assert_int_equal(GUEST_TABLES + 0x3000 + 0x150 * 8, 0x27a80);
		PLACE(w, HOST_CODE, forget);
		put(w, HOST_CODE + 0xf00, 1, 8); /* VPID */
		put(w, HOST_CODE + 0xf08, 0x150000, 8);
		vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_PF);
		w->st.gpr[RSI] = type;
		vmx_run(w);
		if (type < 4)
			EXPECT_EXIT(w, 0, 0x150008);
		else
			assert_int_equal(vmx_f(w)[VMCS_INSN_ERROR], VMERR_INV_OPERAND);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports),
		cmocka_unit_test(msrs),
		cmocka_unit_test(invvpid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
