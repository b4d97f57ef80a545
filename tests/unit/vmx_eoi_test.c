/*
 * The EOI-exit bitmaps: which of the four, and which bit of it, a virtualized EOI looks at. SDM vol. 3 24.6.8
 * "Controls for APIC Virtualization", 29.1.4 "EOI Virtualization".
 */
#include "tests/unit/vmx_world.h"

#define EXIT_EOI 45
#define ISR	 0x100

ASM64(eoi, "movl $0, 0x500b0\n" VMCALL)

static void each_bitmap(void **state)
{
	static const u8 vectors[] = {0x10, 0x1f, 0x20, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xc0, 0xdf, 0xe0, 0xff};

	for (unsigned i = 0; i < ARRAY_SIZE(vectors); i++) {
		for (unsigned others = 0; others < 2; others++) { /* all bits but the vector's, or that alone */
			struct world *w = VMX_WORLD(eoi);
			unsigned v = vectors[i];
			u64 *f = vmx_f(w), word = VIRTUAL_APIC + ISR + v / 32 * 16;

			f[VMCS_PROC] |= VMX_PROC_TPR_SHADOW;
			f[VMCS_PROC2] |= VMX_PROC2_APIC_ACCESS | VMX_PROC2_APIC_REG | VMX_PROC2_VID;
			put(w, word, 1u << v % 32, 4);
			f[VMCS_GUEST_INT_STATUS] = v << 8;
			for (unsigned k = 0; k < 4; k++)
				f[VMCS_EOI_EXIT0 + k] = (k == v / 64 ? BIT(v % 64) : 0) ^ (others ? ~0ull : 0);
			vmx_run(w);
			EXPECT_EXIT(w, others ? 18 : EXIT_EOI, others ? 0 : v);
			assert_at(w, 11);
			assert_int_equal(get(w, word, 4), 0);
			assert_int_equal(f[VMCS_GUEST_INT_STATUS], 0);
			world_free(w);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_bitmap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
