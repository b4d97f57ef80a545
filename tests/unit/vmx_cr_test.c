/*
 * Control registers in the guest: guest/host masks and read shadows, CR3-target values, exits of CR8. SDM vol. 3 24.6.6
 * "Guest/Host Masks and Read Shadows for CR0 and CR4", 24.6.7 "CR3-Target Controls", 25.1.3, 25.3.
 */
#include "tests/unit/vmx_world.h"

#define CR_ACCESS 28
#define CALL	  18
#define CR0_REAL  (CR0_PE | CR0_ET | CR0_NE | CR0_PG)
#define CR4_REAL  (CR4_PAE | CR4_VMXE | CR4_OSFXSR)

ASM64(access_cr0, "mov %cr0, %rbx\n mov %rcx, %cr0\n mov %cr0, %rdx\n smsw %rsi\n" VMCALL)
ASM64(access_cr4, "mov %cr4, %rbx\n mov %rcx, %cr4\n mov %cr4, %rdx\n" VMCALL)

/* MOV reads the shadow where the mask is set, writes elsewhere; a masked bit that is not the shadow's exits. */
static void masks(void **state)
{
	static const struct {
		unsigned cr;
		u64 real, mask, shadow, read, write;
		u64 left; /* the register behind the write; 0: it exits */
	} rows[] = {
		/* Nothing masked: what the shadow says does not matter. */
		{4, CR4_REAL, 0, CR4_TSD, CR4_REAL, CR4_REAL | CR4_DE, CR4_REAL | CR4_DE},
		{0, CR0_REAL, 0, CR0_TS, CR0_REAL, CR0_REAL | CR0_WP, CR0_REAL | CR0_WP},
		/* A bit that the host hides, one that it feigns; another that is free, written beside them. */
		{4, CR4_REAL, CR4_VMXE, 0, CR4_PAE | CR4_OSFXSR, CR4_PAE | CR4_OSFXSR | CR4_DE, CR4_REAL | CR4_DE},
		{4, CR4_REAL, CR4_VMXE, 0, CR4_PAE | CR4_OSFXSR, CR4_REAL, 0},
		{4, CR4_REAL, CR4_TSD, CR4_TSD, CR4_REAL | CR4_TSD, CR4_REAL | CR4_TSD | CR4_PGE, CR4_REAL | CR4_PGE},
		{4, CR4_REAL, CR4_TSD, CR4_TSD, CR4_REAL | CR4_TSD, CR4_REAL, 0},
		{4, CR4_REAL | CR4_TSD, CR4_TSD, 0, CR4_REAL, CR4_REAL, CR4_REAL | CR4_TSD},
		{4, CR4_REAL | CR4_TSD, CR4_TSD, 0, CR4_REAL, CR4_REAL | CR4_TSD, 0},
		/* All masked: reads are the shadow, bits that the register cannot have too. */
		{4, CR4_REAL, ~0ull, CR4_PKE | BIT(31), CR4_PKE | BIT(31), CR4_PKE | BIT(31), CR4_REAL},
		{4, CR4_REAL, ~0ull, CR4_REAL, CR4_REAL, CR4_REAL | BIT(63), 0},
		{0, CR0_REAL | CR0_TS, CR0_TS, 0, CR0_REAL, CR0_REAL | CR0_MP, CR0_REAL | CR0_TS | CR0_MP},
		{0, CR0_REAL | CR0_TS, CR0_TS, 0, CR0_REAL, CR0_REAL | CR0_TS, 0},
		{0, CR0_REAL, CR0_NE, 0, CR0_REAL & ~CR0_NE, CR0_REAL & ~CR0_NE, CR0_REAL},
		{0, CR0_REAL, CR0_CD | CR0_NW, CR0_CD, CR0_REAL | CR0_CD, CR0_REAL | CR0_CD, CR0_REAL},
		{0, CR0_REAL, CR0_CD | CR0_NW, CR0_CD, CR0_REAL | CR0_CD, CR0_REAL | CR0_CD | CR0_NW, 0},
		{0, CR0_REAL, ~0ull, CR0_REAL | CR0_EM, CR0_REAL | CR0_EM, CR0_REAL | CR0_EM, CR0_REAL},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		bool four = rows[i].cr == 4;
		struct world *w = four ? VMX_WORLD(access_cr4) : VMX_WORLD(access_cr0);
		u64 *f = vmx_f(w), *real = four ? &f[VMCS_GUEST_CR4] : &f[VMCS_GUEST_CR0];

		*real = rows[i].real;
		f[four ? VMCS_CR4_MASK : VMCS_CR0_MASK] = rows[i].mask;
		f[four ? VMCS_CR4_SHADOW : VMCS_CR0_SHADOW] = rows[i].shadow;
		w->st.gpr[RCX] = rows[i].write;
		vmx_run(w);
		if (w->st.gpr[RBX] != rows[i].read)
			fail_msg("row %u: reads %#llx", i, (unsigned long long)w->st.gpr[RBX]);
		if (rows[i].left) {
			EXPECT_EXIT(w, CALL, 0);
			if (*real != rows[i].left)
				fail_msg("row %u: is %#llx behind the write", i, (unsigned long long)*real);
			assert_int_equal(w->st.gpr[RDX],
					 (rows[i].left & ~rows[i].mask) | (rows[i].shadow & rows[i].mask));
			if (!four)
				assert_int_equal(w->st.gpr[RSI], w->st.gpr[RDX]);
		} else {
			EXPECT_EXIT(w, CR_ACCESS, rows[i].cr | RCX << 8);
			assert_at(w, 3);
			assert_int_equal(f[VMCS_INSN_LEN], 3);
			assert_int_equal(*real, rows[i].real);
		}
		world_free(w);
	}
}

/* What VMX operation fixes is #GP where the host does not mask it. */
static void fixed_bits(void **state)
{
	struct world *w = VMX_WORLD(access_cr4);

	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_GP);
	w->st.gpr[RCX] = CR4_REAL & ~CR4_VMXE;
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT] & 0xff, EXC_GP);
	assert_at(w, 3);
	world_free(w);
}

ASM64(load_cr3, "mov %rcx, %cr3\n" VMCALL)

static void cr3_targets(void **state)
{
	static const u64 values[] = {TABLES, TABLES | 8, TABLES | 16, TABLES | 24, GUEST_TABLES | 8};

	for (unsigned count = 0; count <= 4; count++) {
		for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
			struct world *w = VMX_WORLD(load_cr3);
			u64 *f = vmx_f(w);

			f[VMCS_PROC] |= VMX_PROC_CR3_LOAD;
			f[VMCS_CR3_TARGETS] = count;
			memcpy(&f[VMCS_CR3_TARGET0], values, 4 * sizeof(values[0]));
			w->st.gpr[RCX] = values[i];
			vmx_run(w);
			if (i < count) {
				EXPECT_EXIT(w, CALL, 0);
				assert_int_equal(f[VMCS_GUEST_CR3], values[i]);
			} else {
				EXPECT_EXIT(w, CR_ACCESS, 3 | RCX << 8);
				assert_at(w, 0);
				assert_int_equal(f[VMCS_GUEST_CR3], GUEST_TABLES);
			}
			world_free(w);
		}
	}
}

ASM64(store_then_load, "mov %cr8, %rbx\n mov %rcx, %cr8\n" VMCALL)
ASM64(load_then_store, "mov %rcx, %cr8\n mov %cr8, %rbx\n" VMCALL)

/* Each control by itself, with and without a TPR shadow: what exits has touched neither TPR. */
static void cr8(void **state)
{
	for (unsigned shadow = 0; shadow < 2; shadow++) {
		for (unsigned exits = 0; exits < 4; exits++) {
			for (unsigned loads_first = 0; loads_first < 2; loads_first++) {
				struct world *w = loads_first ? VMX_WORLD(load_then_store) : VMX_WORLD(store_then_load);
				u64 *f = vmx_f(w), first, second;

				f[VMCS_PROC] |= exits & 1 ? VMX_PROC_CR8_STORE : 0;
				f[VMCS_PROC] |= exits & 2 ? VMX_PROC_CR8_LOAD : 0;
				f[VMCS_PROC] |= shadow ? VMX_PROC_TPR_SHADOW : 0;
				w->cr8 = 5;
				put(w, VIRTUAL_APIC + 0x80, 0x60, 4);
				w->st.gpr[RBX] = 0xff;
				w->st.gpr[RCX] = 9;
				vmx_run(w);
				first = loads_first ? exits & 2 : exits & 1;
				second = loads_first ? exits & 1 : exits & 2;
				if (first || second)
					EXPECT_EXIT(w, CR_ACCESS,
						    !!first != loads_first ? 8 | 1 << 4 | RBX << 8 : 8 | RCX << 8);
				else
					EXPECT_EXIT(w, CALL, 0);
				assert_at(w, first ? 0 : second ? 4 : 8);
				/* Only what ran before the exit has come through. */
				bool loaded = loads_first ? !first : !first && !second;
				bool stored = loads_first ? !first && !second : !first;

				assert_int_equal(w->cr8, loaded && !shadow ? 9 : 5);
				assert_int_equal(get(w, VIRTUAL_APIC + 0x80, 4), loaded && shadow ? 0x90 : 0x60);
				assert_int_equal(w->st.gpr[RBX], !stored ? 0xff : loads_first ? 9 : shadow ? 6 : 5);
				world_free(w);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(masks),
		cmocka_unit_test(fixed_bits),
		cmocka_unit_test(cr3_targets),
		cmocka_unit_test(cr8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
