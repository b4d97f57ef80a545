/*
 * What INVVPID must forget: the types 0 to 2 global translations too, type 3 the others; of every PCID. SDM vol. 3
 * 28.4.3.1 "Operations that Invalidate Cached Mappings", 30.3 "INVVPID".
 *
 * The guest reads 150008h, the host makes its table name another page and runs INVVPID of the type in ESI, and the
 * guest reads again. The descriptor is at 5F00h; what was read is in R9, what was read first in R8.
 */
#include "tests/unit/vmx_world.h"

#define TARGET 0x150000
#define OTHER  0x151000
#define PTE    (GUEST_TABLES + 0x3000 + (TARGET >> 12 << 3))

ASM64(reads, "mov 0x150008, %r9\n" VMCALL)
ASM64(flushes, "cmpl $0, 0x5ff0\n jne 1f\n incl 0x5ff0\n mov %r9, %r8\n mov %rdi, 0x27a80\n"
	       "invvpid 0x5f00, %rsi\n mov $0x681e, %eax\n mov $0x3000, %ecx\n vmwrite %rcx, %rax\n vmresume\n 1:" STOP)

static void each_type(void **state)
{
	static const struct {
		u64 type, vpid, la;
		bool global;
	} rows[] = {
		{0, 7, TARGET, false}, {0, 7, TARGET + 0xfff, true},
		{1, 7, 0, false},      {1, 7, 0, true},
		{2, 0, 0, false},      {2, 0, 0, true},
		{3, 7, 0, false},
	};

	assert_int_equal(PTE, 0x27a80);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		for (unsigned pcid = 0; pcid < 2; pcid++) {
			struct world *w = VMX_WORLD(reads);
			u64 *f = vmx_f(w), pte = rows[i].global ? PTE_G | 7 : 7;

			f[VMCS_VPID] = 7;
			f[VMCS_GUEST_CR4] |= CR4_PGE | (pcid ? CR4_PCIDE : 0);
			f[VMCS_GUEST_CR3] |= pcid ? 5 : 0;
			PLACE(w, HOST_CODE, flushes);
			put(w, PTE, TARGET | pte, 8);
			put(w, TARGET + 8, 1111, 8);
			put(w, OTHER + 8, 2222, 8);
			put(w, HOST_CODE + 0xf00, rows[i].vpid, 8);
			put(w, HOST_CODE + 0xf08, rows[i].la, 8);
			w->st.gpr[RSI] = rows[i].type;
			w->st.gpr[RDI] = OTHER | pte;
			vmx_run(w);
			EXPECT_EXIT(w, 18, 0);
			assert_int_equal(w->st.gpr[R8], 1111);
			if (w->st.gpr[R9] != 2222)
				fail_msg("row %u, PCID %u: the old translation is still used", i, pcid);
			world_free(w);
		}
	}
}

/* Translations of one VPID are not used for another: the same CR3, EPT and address, another page behind it. */
static void vpids_are_told_apart(void **state)
{
	struct world *w = VMX_WORLD(reads);
	u64 *f = vmx_f(w);

	f[VMCS_GUEST_CR4] |= CR4_PGE;
	put(w, PTE, TARGET | PTE_G | 7, 8);
	put(w, TARGET + 8, 1111, 8);
	put(w, OTHER + 8, 2222, 8);
	vmx_run(w);
	assert_int_equal(w->st.gpr[R9], 1111);
	put(w, PTE, OTHER | PTE_G | 7, 8);
	f[VMCS_VPID] = 2;
	f[VMCS_GUEST_RIP] = GUEST;
	vmx_run(w);
	assert_int_equal(w->st.gpr[R9], 2222);
	/* Without VPID nothing outlives an entry or an exit. */
	f[VMCS_PROC2] &= ~(u64)VMX_PROC2_VPID;
	for (unsigned i = 0; i < 2; i++) {
		put(w, PTE, (i ? OTHER : TARGET) | PTE_G | 7, 8);
		f[VMCS_GUEST_RIP] = GUEST;
		vmx_run(w);
		assert_int_equal(w->st.gpr[R9], i ? 2222 : 1111);
	}
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_type),
		cmocka_unit_test(vpids_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
