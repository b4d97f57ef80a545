/*
 * Guests with PAE paging: under EPT the four PDPTEs are fields of the VMCS, loaded by VM entry, saved by the exit, and
 * read from guest memory, through EPT, by what loads them; without EPT VM entry reads them there. SDM vol. 3 4.4.1
 * "PDPTE Registers", 24.4.2, 26.3.2.4, 27.3.1, 28.3.3.
 *
 * Two sets of tables: the first GiB is identity, at the start of each other one a page holds a number that names set
 * and GiB.
 */
#include "tests/unit/vmx_world.h"

#define VIOLATION      48
#define CALL	       18
#define PDPT(set)      (0x80020 + 0x40 * (u64)(set))
#define PD(set, n)     (0x81000 + 0x8000 * (u64)(set) + 0x1000 * (u64)(n))
#define PT(set, n)     (PD(set, n) + 0x4000)
#define NUMBER(set, n) (0xa0000 + 0x4000 * (u64)(set) + 0x1000 * (u64)(n))
#define VALUE(set, n)  (0x100u * ((set) + 1) + (n))
#define PDPTE(set, n)  (PD(set, n) | PTE_P)
#define EPT_OF(gpa)    (EPT + 0x3000 + ((gpa) >> 12 << 3))
#define ELSEWHERE      0xc0000 /* where EPT puts the page of the PDPTs */

#define READS "mov 0x40000000, %ebx\n mov 0x80000000, %edx\n mov 0xc0000000, %esi\n"

static void tables(struct world *w)
{
	for (unsigned set = 0; set < 2; set++) {
		put(w, PD(set, 0), 0x87, 8);
		for (unsigned n = 1; n < 4; n++) {
			put(w, PD(set, n), PT(set, n) | 7, 8);
			put(w, PT(set, n), NUMBER(set, n) | 7, 8);
			put(w, NUMBER(set, n), VALUE(set, n), 4);
		}
	}
}

static void pdpt(struct world *w, u64 pa, unsigned set)
{
	for (unsigned n = 0; n < 4; n++)
		put(w, pa + 8 * n, PDPTE(set, n), 8);
}

static void pae(u64 *f)
{
	f[VMCS_ENTRY] &= ~(u64)VMX_ENTRY_IA32E;
	f[VMCS_ENTRY] |= VMX_ENTRY_LOAD_EFER;
	f[VMCS_EXIT] |= VMX_EXIT_LOAD_EFER;
	f[VMCS_GUEST_EFER] = 0;
	f[VMCS_HOST_EFER] = EFER_LME | EFER_LMA;
	f[VMCS_GUEST_CS_AR] = 0xc09b;
	f[VMCS_GUEST_CR3] = PDPT(0);
	for (unsigned n = 0; n < 4; n++)
		f[VMCS_GUEST_PDPTE0 + n] = PDPTE(0, n);
}

/* A PAE guest with set 0 in the fields and set 1 in memory, at both places of CR3. */
static struct world *pae_world_of(const u8 *code, const u8 *end)
{
	struct world *w = vmx_world_of("Skylake-Client", code, end);

	tables(w);
	pae(vmx_f(w));
	pdpt(w, PDPT(0), 1);
	pdpt(w, PDPT(1), 1);
	return w;
}
#define PAE_WORLD(guest) pae_world_of(guest##_start, guest##_end)

#define expect_reads(w, set) reads_are(w, __LINE__, set)
static void reads_are(struct world *w, unsigned line, unsigned set)
{
	EXPECT_EXIT(w, CALL, 0);
	if (w->st.gpr[RBX] != VALUE(set, 1) || w->st.gpr[RDX] != VALUE(set, 2) || w->st.gpr[RSI] != VALUE(set, 3))
		fail_msg("line %u: reads %#llx %#llx %#llx, not set %u's", line, (unsigned long long)w->st.gpr[RBX],
			 (unsigned long long)w->st.gpr[RDX], (unsigned long long)w->st.gpr[RSI], set);
}

#define expect_fields(w, set) fields_are(w, __LINE__, set)
static void fields_are(struct world *w, unsigned line, unsigned set)
{
	for (unsigned n = 0; n < 4; n++)
		if (vmx_f(w)[VMCS_GUEST_PDPTE0 + n] != PDPTE(set, n))
			fail_msg("line %u: the field of PDPTE %u is %#llx", line, n,
				 (unsigned long long)vmx_f(w)[VMCS_GUEST_PDPTE0 + n]);
}

ASM32(reads, READS VMCALL)

static void from_the_fields(void **state)
{
	struct world *w = PAE_WORLD(reads);

	vmx_run(w);
	expect_reads(w, 0);
	expect_fields(w, 0);
	/* The next entry has others: not the translations of the first, so another VPID. */
	for (unsigned n = 0; n < 4; n++)
		vmx_f(w)[VMCS_GUEST_PDPTE0 + n] = PDPTE(1, n);
	vmx_f(w)[VMCS_GUEST_RIP] = GUEST;
	vmx_f(w)[VMCS_VPID] = 2;
	vmx_run(w);
	expect_reads(w, 1);
	expect_fields(w, 1);
	world_free(w);
}

/* One that is not present is a page fault of the guest's, whatever its other bits. */
static void not_present(void **state)
{
	struct world *w = PAE_WORLD(reads);
	u64 absent = PDPTE(0, 2) & ~PTE_P;

	vmx_f(w)[VMCS_GUEST_PDPTE2] = absent | 0x1e6;
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_PF);
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0x80000000);
	assert_int_equal(vmx_f(w)[VMCS_EXIT_ERROR], 0);
	assert_int_equal(w->st.gpr[RBX], VALUE(0, 1));
	assert_int_equal(vmx_f(w)[VMCS_GUEST_PDPTE2], absent | 0x1e6);
	world_free(w);
}

ASM32(loads_cr3, "mov %ecx, %cr3\n" READS VMCALL)
ASM32(changes_cr4, "mov %cr4, %eax\n or $0x80, %eax\n mov %eax, %cr4\n" READS VMCALL)
ASM32(changes_cr4_de, "mov %cr4, %eax\n or $8, %eax\n mov %eax, %cr4\n" READS VMCALL)
ASM32(sets_cr0, "mov %cr0, %eax\n or $0x80000000, %eax\n mov %eax, %cr0\n" READS VMCALL)
ASM32(flushes, "invlpg 0x40000000\n invlpg 0x80000000\n invlpg 0xc0000000\n" READS VMCALL)

/* MOV to CR3, CR4.PGE and CR0.PG load them from memory, as EPT shows it; CR4.DE and INVLPG do not. */
static void from_memory(void **state)
{
	static const struct {
		const u8 *code, *end;
		bool loads, off; /* `off`: paging, at entry */
	} rows[] = {
		{loads_cr3_start, loads_cr3_end, true, false},
		{changes_cr4_start, changes_cr4_end, true, false},
		{changes_cr4_de_start, changes_cr4_de_end, false, false},
		{sets_cr0_start, sets_cr0_end, true, true},
		{flushes_start, flushes_end, false, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		for (unsigned moved = 0; moved < 2; moved++) {
			struct world *w = pae_world_of(rows[i].code, rows[i].end);
			u64 *f = vmx_f(w);

			if (moved) { /* what is at the guest-physical address itself is not it */
				put(w, EPT_OF(PDPT(0)), ELSEWHERE | 6 << 3 | 7, 8);
				memcpy(at(w, ELSEWHERE), at(w, ALIGN_DOWN(PDPT(0), 4096)), 4096);
				memset(at(w, ALIGN_DOWN(PDPT(0), 4096)), 0, 4096);
			}
			if (rows[i].off)
				f[VMCS_GUEST_CR0] &= ~CR0_PG;
			w->st.gpr[RCX] = PDPT(1);
			vmx_run(w);
			expect_reads(w, rows[i].loads);
			expect_fields(w, rows[i].loads);
			assert_int_equal(f[VMCS_GUEST_CR3], i ? PDPT(0) : PDPT(1));
			world_free(w);
		}
	}
}

/* Reserved bits are #GP(0); memory that EPT does not give is a violation without a linear address. Both leave CR3 and
 * the PDPTEs as they were. 27.2.1, table 27-7. */
static void cannot_be_loaded(void **state)
{
	struct world *w = PAE_WORLD(loads_cr3);

	put(w, PDPT(1) + 24, PDPTE(1, 3) | PTE_W, 8);
	w->st.gpr[RCX] = PDPT(1);
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_GP);
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT], VEV_VALID | VEV_ERROR | VEV_HARD_EXC << 8 | EXC_GP);
	assert_at(w, 0);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_CR3], PDPT(0));
	expect_fields(w, 0);
	world_free(w);

	w = PAE_WORLD(loads_cr3);
	put(w, EPT_OF(PDPT(1)), 0, 8);
	w->st.gpr[RCX] = PDPT(1);
	vmx_run(w);
	EXPECT_EXIT(w, VIOLATION, 1);
	assert_int_equal(vmx_f(w)[VMCS_GPA], PDPT(1));
	assert_at(w, 0);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_CR3], PDPT(0));
	expect_fields(w, 0);
	/* The host puts the page there and the guest goes on. */
	put(w, EPT_OF(PDPT(1)), ALIGN_DOWN(PDPT(1), 4096) | 6 << 3 | 7, 8);
	w->st.gpr[RCX] = PDPT(1);
	vmx_run(w);
	expect_reads(w, 1);
	expect_fields(w, 1);
	world_free(w);
}

/* Without EPT entry reads them behind CR3 and the fields are not written. */
static void without_ept(void **state)
{
	struct world *w = PAE_WORLD(reads);

	vmx_f(w)[VMCS_PROC2] &= ~(u64)(VMX_PROC2_EPT | VMX_PROC2_UNRESTRICTED);
	vmx_run(w);
	expect_reads(w, 1);
	expect_fields(w, 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_the_fields),  cmocka_unit_test(not_present), cmocka_unit_test(from_memory),
		cmocka_unit_test(cannot_be_loaded), cmocka_unit_test(without_ept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
