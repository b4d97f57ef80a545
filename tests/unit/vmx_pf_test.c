/*
 * Page faults that exit: bit 14 of the exception bitmap against the page-fault error-code mask and match, in both
 * senses. SDM vol. 3 24.6.3 "Exception Bitmap", 25.2.
 *
 * Where there is no exit the handler calls: the error code is on its stack and CR2 has the address, which an exit
 * leaves alone.
 */
#include "tests/unit/vmx_world.h"

#define TARGET 0x150000
#define PTE    (GUEST_TABLES + 0x3000 + (TARGET >> 12 << 3))

ASM64(loads, "mov 0x150008, %eax")
ASM64(stores, "mov %eax, 0x150008")
ASM64(calls, VMCALL)

static const struct fault {
	u64 pte;
	bool write, user;
	u32 error;
} faults[] = {
	{0, false, false, 0},
	{0, true, false, PF_W},
	{TARGET | PTE_P, true, false, PF_P | PF_W},
	{TARGET | PTE_P | BIT(51), false, false, PF_P | PF_RSVD},
	{0, false, true, PF_U},
	{0, true, true, PF_W | PF_U},
	{TARGET | PTE_P | PTE_W, false, true, PF_P | PF_U},
};

static const struct choice {
	u32 mask, match;
} choices[] = {
	{0, 0},			/* all match */
	{0, 1},			/* none does */
	{PF_P, PF_P},		/* of pages that are there */
	{PF_P, 0},		/* and that are not */
	{PF_P | PF_W, PF_W},	/* stores to those */
	{PF_P | PF_RSVD, PF_P}, /* reserved bits do not match: what a shadowing monitor wants */
	{PF_U, PF_U},		/* user mode's */
	{PF_P | PF_W | PF_U | PF_RSVD, PF_P | PF_U},
	{PF_W, PF_P | PF_W},	   /* a match outside the mask: none */
	{0xffffffff, PF_W | PF_U}, /* one error code alone */
	{0x80000000, 0},	   /* a bit that no error code has */
	{0x80000000, 0x80000000},
};

static struct world *fault_world(const struct fault *e, const struct choice *c, bool bit14)
{
	struct world *w = e->write ? VMX_WORLD(stores) : VMX_WORLD(loads);
	u64 *f = vmx_f(w);

	PLACE(w, STUBS + 16 * EXC_PF, calls);
	put(w, TSS + 4, INNER_STACK, 8);
	put(w, PTE, e->pte, 8);
	f[VMCS_GUEST_CR0] |= CR0_WP;
	f[VMCS_GUEST_CS_AR] |= e->user ? 0x60 : 0;
	f[VMCS_GUEST_SS_AR] |= e->user ? 0x60 : 0;
	f[VMCS_EXCEPTIONS] = bit14 ? BIT(EXC_PF) : ~(u32)BIT(EXC_PF);
	f[VMCS_PF_MASK] = c->mask;
	f[VMCS_PF_MATCH] = c->match;
	w->st.cr2 = 0x1234;
	return w;
}

static void exits(struct world *w, const struct fault *e)
{
	const u64 *f = vmx_f(w);

	EXPECT_EXIT(w, 0, TARGET + 8);
	assert_at(w, 0);
	assert_int_equal(f[VMCS_EXIT_EVENT], VEV_VALID | VEV_ERROR | VEV_HARD_EXC << 8 | EXC_PF);
	assert_int_equal(f[VMCS_EXIT_ERROR], e->error);
	assert_int_equal(f[VMCS_IDT_EVENT] & VEV_VALID, 0);
	assert_int_equal(w->st.cr2, 0x1234);
}

static void is_delivered(struct world *w, const struct fault *e)
{
	const u64 *f = vmx_f(w);

	EXPECT_EXIT(w, 18, 0);
	assert_int_equal(f[VMCS_GUEST_RIP], STUBS + 16 * EXC_PF);
	assert_int_equal(get(w, f[VMCS_GUEST_RSP], 8), e->error);
	assert_int_equal(get(w, f[VMCS_GUEST_RSP] + 8, 8), GUEST);
	assert_int_equal(w->st.cr2, TARGET + 8);
}

static void mask_and_match(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(faults); i++) {
		for (unsigned k = 0; k < ARRAY_SIZE(choices); k++) {
			for (unsigned bit14 = 0; bit14 < 2; bit14++) {
				const struct fault *e = &faults[i];
				bool equal = (e->error & choices[k].mask) == choices[k].match;
				struct world *w = fault_world(e, &choices[k], bit14);

				vmx_run(w);
				if ((vmx_f(w)[VMCS_REASON] == 0) != (equal == (bool)bit14))
					fail_msg("error %#x, mask %#x, match %#x, bit 14 %u: exit %llu", e->error,
						 choices[k].mask, choices[k].match, bit14,
						 (unsigned long long)vmx_f(w)[VMCS_REASON]);
				if (equal == (bool)bit14)
					exits(w, e);
				else
					is_delivered(w, e);
				world_free(w);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mask_and_match),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
