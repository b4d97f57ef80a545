/* VMX aborts: SDM vol. 3 27.7. What VM entry has checked changes in memory while the guest runs, or an MSR area names
 * what cannot be stored or loaded; the indicator is written and the processor shuts down, the host process goes on. */
#include "tests/unit/vmx_world.h"

ASM64(calls, VMCALL)
ASM64(spoils, "mov %ebx, (%rax)\n mov %ecx, (%rdx)\n" VMCALL)
ASM32(spoils32, "mov %ebx, (%eax)\n mov %ecx, (%edx)\n" VMCALL)

static u64 field_at(enum vmcs_field f) { return VMCS_PAGE + offsetof(struct vmcs, f) + 8 * f; }

/* The guest stores RBX and RCX to these two fields. */
static void spoil(struct world *w, enum vmcs_field one, u64 v1, enum vmcs_field two, u64 v2)
{
	w->st.gpr[RAX] = field_at(one);
	w->st.gpr[RBX] = v1;
	w->st.gpr[RDX] = field_at(two);
	w->st.gpr[RCX] = v2;
}

static void aborts(struct world *w, enum vmx_abort why)
{
	w->st.rip = CODE;
	assert_int_equal(world_run(w), RUN_TRIPLE_FAULT);
	assert_int_equal(((struct vmcs *)at(w, VMCS_PAGE))->abort, why);
	assert_int_equal(w->st.vmx.in_guest, 0);
	assert_int_equal(w->st.activity, ACT_SHUTDOWN);
	world_free(w);
}

static void msr_areas(void **state)
{
	static const u32 unstorable[] = {0x808, 0x12345678}, unloadable[] = {0x808, 0xc0000100, 0x12345678};

	for (unsigned i = 0; i < ARRAY_SIZE(unstorable); i++) {
		struct world *w = VMX_WORLD(calls);

		vmx_f(w)[VMCS_EXIT_MSR_STORE] = MSR_AREA;
		vmx_f(w)[VMCS_EXIT_MSR_STORE_COUNT] = 2;
		put(w, MSR_AREA, 0xc0000081, 8);
		put(w, MSR_AREA + 16, unstorable[i], 8);
		aborts(w, VMABORT_MSR_STORE);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(unloadable); i++) {
		struct world *w = VMX_WORLD(calls);

		vmx_f(w)[VMCS_EXIT_MSR_LOAD] = MSR_AREA;
		vmx_f(w)[VMCS_EXIT_MSR_LOAD_COUNT] = 1;
		put(w, MSR_AREA, unloadable[i], 8);
		aborts(w, VMABORT_MSR_LOAD);
	}
}

static void corrupted_vmcs(void **state)
{
	static const struct {
		enum vmcs_field field;
		u64 value;
	} rows[] = {{VMCS_HOST_CR0, 0}, {VMCS_HOST_CR4, 0}, {VMCS_HOST_CS_SEL, 0}, {VMCS_HOST_TR_SEL, 3}};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = VMX_WORLD(spoils);

		spoil(w, rows[i].field, rows[i].value, VMCS_EXECUTIVE_VMCS, 0);
		aborts(w, VMABORT_VMCS);
	}
}

/* A 64-bit guest whose host turns into a 32-bit one. */
static void leaves_long_mode(void **state)
{
	struct world *w = VMX_WORLD(spoils);

	spoil(w, VMCS_EXIT, vmx_f(w)[VMCS_EXIT] & ~(u64)VMX_EXIT_HOST64, VMCS_ENTRY,
	      vmx_f(w)[VMCS_ENTRY] & ~(u64)VMX_ENTRY_IA32E);
	aborts(w, VMABORT_IA32E);
}

/* The same behind a 32-bit guest: then the host is in PAE paging, and its CR3 leads to reserved bits. */
static void host_pdptes(void **state)
{
	struct world *w = VMX_WORLD(spoils32);
	u64 *f = vmx_f(w);

	f[VMCS_ENTRY] &= ~(u64)VMX_ENTRY_IA32E;
	f[VMCS_GUEST_CS_AR] = 0xc09b;
	f[VMCS_GUEST_CR0] &= ~CR0_PG;
	spoil(w, VMCS_EXIT, f[VMCS_EXIT] & ~(u64)VMX_EXIT_HOST64, VMCS_EXECUTIVE_VMCS, 0);
	aborts(w, VMABORT_HOST_PDPTE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(msr_areas),
		cmocka_unit_test(corrupted_vmcs),
		cmocka_unit_test(leaves_long_mode),
		cmocka_unit_test(host_pdptes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
