/* VMCS shadowing: SDM vol. 3 24.10 "VMCS Types: Ordinary and Shadow", 25.1.2, 30.3 "VMREAD", "VMWRITE", "VMPTRLD". */
#include "tests/unit/vmx_world.h"

#define READ_RAX_TO_RBX "vmread %rax, %rbx\n pushf\n pop %rsi\n"
#define FLAG_ZF		0x40
#define FLAG_CF		1

ASM64(read_field, READ_RAX_TO_RBX VMCALL)
ASM64(write_field, "vmwrite %rbx, %rax\n pushf\n pop %rsi\n" VMCALL)
ASM64(user_read, "vmread %rax, %rbx")
ASM64(read_memory, "vmread %rax, 0x123(%rcx,%rdx,4)")

static u64 *shadow(struct world *w) { return ((struct vmcs *)at(w, VMCS_SHADOW))->f; }

static struct world *shadow_world(const u8 *code, const u8 *end, u64 encoding)
{
	struct world *w = vmx_world_of("Skylake-Client", code, end);
	u64 *f = vmx_f(w);

	f[VMCS_PROC2] |= VMX_PROC2_SHADOW;
	f[VMCS_LINK] = VMCS_SHADOW;
	f[VMCS_VMREAD_BITMAP] = VM_BITMAPS;
	f[VMCS_VMWRITE_BITMAP] = VM_BITMAPS + 0x1000;
	((struct vmcs *)at(w, VMCS_SHADOW))->revision = VMCS_REVISION | VMCS_IS_SHADOW;
	w->st.gpr[RAX] = encoding;
	w->st.gpr[RBX] = 0x5a5a5a5a5a5a5a5a;
	return w;
}
#define SHADOW(name, encoding) shadow_world(name##_start, name##_end, encoding)

static void reads_and_writes(void **state)
{
	struct world *w = SHADOW(read_field, 0x681e);

	shadow(w)[VMCS_GUEST_RIP] = 0x1122334455667788;
	vmx_run(w);
	EXPECT_EXIT(w, 18, 0);
	assert_int_equal(w->st.gpr[RBX], 0x1122334455667788);
	assert_int_equal(w->st.gpr[RSI] & 0x8d5, 0);
	world_free(w);

	w = SHADOW(read_field, 0x2001); /* the high half */
	shadow(w)[VMCS_IO_BITMAP_A] = 0x77ull << 32;
	vmx_run(w);
	assert_int_equal(w->st.gpr[RBX], 0x77);
	world_free(w);

	w = SHADOW(write_field, 0x4402); /* exit information may be written: IA32_VMX_MISC bit 29 */
	vmx_run(w);
	EXPECT_EXIT(w, 18, 0);
	assert_int_equal(shadow(w)[VMCS_REASON], 0x5a5a5a5a);
	assert_int_equal(w->st.gpr[RSI] & 0x8d5, 0);
	world_free(w);
}

/* No such field: VMfailValid(12). No VMCS: VMfailInvalid. */
static void failures(void **state)
{
	struct world *w = SHADOW(read_field, 0x7ffe);

	vmx_run(w);
	EXPECT_EXIT(w, 18, 0);
	assert_int_equal(w->st.gpr[RSI] & 0x8d5, FLAG_ZF);
	assert_int_equal(vmx_f(w)[VMCS_INSN_ERROR], VMERR_NO_FIELD);
	world_free(w);

	w = SHADOW(write_field, 0x681e);
	vmx_f(w)[VMCS_LINK] = ~0ull;
	vmx_run(w);
	assert_int_equal(w->st.gpr[RSI] & 0x8d5, FLAG_CF);
	world_free(w);
}

static void bitmaps(void **state)
{
	static const struct {
		u64 encoding;
		unsigned byte, bit;
	} rows[] = {{0x0000, 0, 0}, {0x681e, 0x681e / 8, 6}, {0x7fff, 4095, 7}};
	struct world *w;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		w = SHADOW(read_field, rows[i].encoding);
		put(w, VM_BITMAPS + rows[i].byte, 1u << rows[i].bit, 1);
		vmx_run(w);
		EXPECT_EXIT(w, 23, 0);
		/* A register destination: SDM vol. 3 table 27-14. */
		assert_int_equal(vmx_f(w)[VMCS_INSN_INFO] & 0xf0000478, BIT(10) | RBX << 3 | RAX << 28);
		world_free(w);

		w = SHADOW(write_field, rows[i].encoding);
		put(w, VM_BITMAPS + 0x1000 + rows[i].byte, 1u << rows[i].bit, 1);
		vmx_run(w);
		EXPECT_EXIT(w, 25, 0);
		assert_int_equal(vmx_f(w)[VMCS_INSN_INFO] & 0xf0000478, BIT(10) | RBX << 3 | RAX << 28);
		world_free(w);
	}
	w = SHADOW(read_field, 0x8000); /* beyond the bitmap */
	vmx_run(w);
	EXPECT_EXIT(w, 23, 0);
	world_free(w);

	w = SHADOW(read_field, 0x681e);
	vmx_f(w)[VMCS_PROC2] &= ~(u64)VMX_PROC2_SHADOW;
	vmx_f(w)[VMCS_LINK] = ~0ull;
	vmx_run(w);
	EXPECT_EXIT(w, 23, 0);
	world_free(w);

	w = SHADOW(read_memory, 0x8000); /* the operand's address: SDM vol. 3 table 27-14 */
	vmx_run(w);
	EXPECT_EXIT(w, 23, 0x123);
	assert_int_equal(vmx_f(w)[VMCS_INSN_INFO], 2 | 2 << 7 | DS << 15 | RDX << 18 | RCX << 23 | (u64)RAX << 28);
	assert_int_equal(vmx_f(w)[VMCS_INSN_LEN], 8);
	world_free(w);
}

ASM64(load, "vmptrld 0x4000\n pushf\n pop %rsi\n" STOP)
ASM64(launch_flags, "vmlaunch\n pushf\n pop %rsi\n" STOP)

/* VMPTRLD takes a shadow VMCS where the processor has shadowing; VM entry takes none. */
static void pointers(void **state)
{
	static const struct {
		const char *model;
		u32 revision;
		u64 flags;
	} rows[] = {
		{"Skylake-Client", VMCS_REVISION | VMCS_IS_SHADOW, 0},
		{"Skylake-Client", VMCS_REVISION + 1, FLAG_ZF},
		{"Skylake-Client,vmx-shadow-vmcs=off", VMCS_REVISION | VMCS_IS_SHADOW, FLAG_ZF},
	};
	struct world *w;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		w = vmx_world_of(rows[i].model, read_field_start, read_field_end);
		PLACE(w, CODE, load);
		put(w, DATA, VMCS_SHADOW, 8);
		put(w, VMCS_SHADOW, rows[i].revision, 4);
		world_run_to_stop(w);
		assert_int_equal(w->st.gpr[RSI] & 0x8d5, rows[i].flags);
		if (rows[i].flags)
			assert_int_equal(vmx_f(w)[VMCS_INSN_ERROR], VMERR_VMPTRLD_REVISION);
		world_free(w);
	}
	w = VMX_WORLD(read_field);
	PLACE(w, CODE, launch_flags);
	put(w, VMCS_PAGE, VMCS_REVISION | VMCS_IS_SHADOW, 4);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RSI] & 0x8d5, FLAG_CF);
	world_free(w);
	/* The link pointer must be of the kind that the control says. */
	w = SHADOW(read_field, 0);
	put(w, VMCS_SHADOW, VMCS_REVISION, 4);
	vmx_run(w);
	EXPECT_EXIT(w, VMX_ENTRY_FAILED | 33, 4);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(failures),
		cmocka_unit_test(bitmaps),
		cmocka_unit_test(pointers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
