/*
 * Nested paging beyond four levels of 4 KiB: nested faults at leaves of 2 MiB and 1 GiB, and guests with PAE and with
 * two-level paging. APM vol. 2 15.25.6 "Nested versus Guest Page Faults, Fault Ordering", 15.25.10 "Legacy PAE Mode".
 */
#include "svm_world.h"

#define NPF 0x400

/* A guest-physical address for a leaf of its own: indices 1, 1, 1. */
#define FAR	 0x8040200000
#define FAR_PDPT 0x48000
#define FAR_PD	 0x49000
#define FAR_LA	 0x600000 /* where the guest's tables put it */
#define LEAF_2M	 0x400000 /* where nested tables put it: as far from the leaf's begin as FAR is */
#define LEAF_1G	 0x200000

ASM(guest_load, "mov 0x600120, %r9\n vmmcall")
ASM(guest_store, "movq $5, 0x600120\n vmmcall")
ASM(guest_fetch, "mov $0x600120, %eax\n jmp *%rax")

/* Makes the leaf; returns its entry. `level`: 2 or 3. */
static u64 leaf_make(struct world *w, unsigned level)
{
	nested_paging(w);
	put64(w, NESTED + 8, FAR_PDPT | 7);
	put64(w, FAR_PDPT + 8, level == 3 ? 0x87 : FAR_PD | 7);
	put64(w, FAR_PD + 8, LEAF_2M | 0x87);
	put64(w, TABLES + 0x2000 + 8 * (FAR_LA >> 21), FAR | 0x87);
	w->st.msr.efer |= EFER_NXE;
	return level == 3 ? FAR_PDPT + 8 : FAR_PD + 8;
}

static u64 get64(struct world *w, u64 pa)
{
	u64 v;

	memcpy(&v, at(w, pa), 8);
	return v;
}

static void large_leaves(void **state)
{
	static const struct {
		const u8 *code, *end;
		u64 clear, set, error;
		unsigned at;
	} rows[] = {
#define GUEST(name) guest_##name##_start, guest_##name##_end
		{GUEST(load), PTE_P, 0, PF_U, 0},
		{GUEST(store), PTE_P, 0, PF_U | PF_W, 0},
		{GUEST(store), PTE_W, 0, PF_P | PF_U | PF_W, 0},
		{GUEST(load), PTE_U, 0, PF_P | PF_U, 0},
		{GUEST(fetch), 0, PTE_NX, PF_P | PF_U | PF_I, 0x120},
		{GUEST(load), 0, BIT(51), PF_P | PF_U | PF_RSVD, 0},
		{GUEST(load), 0, BIT(13), PF_P | PF_U | PF_RSVD, 0}, /* bit 12 is PAT */
		{GUEST(store), 0, BIT(20), PF_P | PF_U | PF_W | PF_RSVD, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		for (unsigned level = 2; level <= 3; level++) {
			struct world *w = world_new("EPYC", host_once_start, host_once_end, rows[i].code, rows[i].end);
			u64 entry = leaf_make(w, level);

			put64(w, entry, (get64(w, entry) & ~rows[i].clear) | rows[i].set);
			run(w);
			if (vmcb(w)->c.exit_info1 != (BIT(32) | rows[i].error))
				fail_msg("row %u level %u: info %#llx", i, level,
					 (unsigned long long)vmcb(w)->c.exit_info1);
			assert_exit(w, NPF, BIT(32) | rows[i].error, FAR + 0x120);
			assert_int_equal(vmcb(w)->s.rip, rows[i].at ? FAR_LA + rows[i].at : GUEST_CODE);
			assert_int_equal(get64(w, entry) & (PTE_A | PTE_D), 0);
			world_free(w);
		}
	}
}

/* What the leaves give when nothing is wrong: the right memory, A and D. */
static void large_leaves_at_work(void **state)
{
	for (unsigned level = 2; level <= 3; level++) {
		u64 pa = (level == 3 ? LEAF_1G : LEAF_2M) + 0x120, entry;
		struct world *w = WORLD(host_once, guest_load);

		entry = leaf_make(w, level);
		put64(w, entry, get64(w, entry) | BIT(12)); /* PAT */
		put64(w, pa, 4711);
		run(w);
		assert_exit(w, 0x81, 0, 0);
		assert_int_equal(w->st.gpr[R9], 4711);
		assert_int_equal(get64(w, entry) & (PTE_A | PTE_D), PTE_A);
		world_free(w);

		w = WORLD(host_once, guest_store);
		entry = leaf_make(w, level);
		run(w);
		assert_exit(w, 0x81, 0, 0);
		assert_int_equal(get64(w, pa), 5);
		assert_int_equal(get64(w, entry) & (PTE_A | PTE_D), PTE_A | PTE_D);
		world_free(w);
	}
}

/* Without 1-GByte pages bit 7 of a PDPTE is reserved. */
static void no_giant_leaf(void **state)
{
	struct world *w =
		world_new("EPYC,pdpe1gb=off", host_once_start, host_once_end, guest_load_start, guest_load_end);

	leaf_make(w, 3);
	run(w);
	assert_exit(w, NPF, BIT(32) | PF_P | PF_U | PF_RSVD, FAR + 0x120);
	world_free(w);
}

/*
 * Legacy guests. Guest-physical 400000h to 407FFFh has a nested table of 4-KByte pages: the guest's tables lie there,
 * not where they are in memory. LA 5120h is a page behind 4-KByte tables, 600120h one of a large page.
 */
#define LOW	0x400000
#define LOW_PT	0x4a000
#define LOW_RAM 0x500000
#define PAGE_GP (LOW + 0x4000)

ASM(legacy_load, ".code32\n mov 0x5120, %ecx\n mov 0x600124, %esi\n vmmcall\n .code64")
ASM(legacy_store, ".code32\n movl $5, 0x5120\n vmmcall\n .code64")

static void legacy_nested(struct world *w)
{
	nested_paging(w);
	put64(w, NESTED + 0x2000 + 8 * (LOW >> 21), LOW_PT | 7);
	for (u64 i = 0; i < 8; i++)
		put64(w, LOW_PT + 8 * i, (LOW_RAM + i * 0x1000) | 7);
	put64(w, NESTED + 0x2000 + 8 * (0x600000 >> 21), 0x600000 | 0x87);
	vmcb(w)->s.efer = EFER_SVME;
	vmcb(w)->s.cs.attr = 0xc9b;
	put64(w, LOW_RAM + 0x4120, 1111);
	put64(w, 0x600124, 2222);
}

/* PDPT at 400020h, then a PD and a PT; entry 3 of the PD is 2 MiB at 600000h. */
static void pae_guest(struct world *w)
{
	legacy_nested(w);
	vmcb(w)->s.cr3 = LOW + 0x20;
	put64(w, LOW_RAM + 0x20, (LOW + 0x1000) | PTE_P);
	put64(w, LOW_RAM + 0x1000, (LOW + 0x2000) | 7);
	put64(w, LOW_RAM + 0x1018, 0x600000 | 0x87);
	for (u64 i = 0; i < 512; i++)
		put64(w, LOW_RAM + 0x2000 + 8 * i, (i == 5 ? PAGE_GP : i << 12) | 7);
}

static void put32(struct world *w, u64 pa, u32 v) { memcpy(at(w, pa), &v, 4); }

/* PD at 400000h, PT at 402000h; entry 1 of the PD is 4 MiB at 400000h. */
static void two_level_guest(struct world *w)
{
	legacy_nested(w);
	vmcb(w)->s.cr3 = LOW;
	vmcb(w)->s.cr4 = CR4_PSE;
	put32(w, LOW_RAM, (LOW + 0x2000) | 7);
	put32(w, LOW_RAM + 4, LOW | 0x87);
	for (u32 i = 0; i < 1024; i++)
		put32(w, LOW_RAM + 0x2000 + 4 * i, (i == 5 ? PAGE_GP : i << 12) | 7);
}

static void (*const guests[])(struct world *w) = {pae_guest, two_level_guest};

static void legacy_guests(void **state)
{
	for (unsigned g = 0; g < ARRAY_SIZE(guests); g++) {
		struct world *w = WORLD(host_once, legacy_load);

		guests[g](w);
		run(w);
		assert_exit(w, 0x81, 0, 0);
		assert_int_equal(w->st.gpr[RCX], 1111);
		assert_int_equal(w->st.gpr[RSI], 2222);
		/* A and D of the guest's tables are set where nested paging has them; a PDPTE has neither. */
		assert_int_equal(at(w, LOW_RAM + 0x2000 + (g ? 4 : 8) * 5)[0] & (PTE_A | PTE_D), PTE_A);
		assert_int_equal(get64(w, LOW_RAM + 0x20), g ? 0 : (LOW + 0x1000) | PTE_P);
		world_free(w);

		w = WORLD(host_once, legacy_store);
		guests[g](w);
		run(w);
		assert_exit(w, 0x81, 0, 0);
		assert_int_equal(get64(w, LOW_RAM + 0x4120), 5);
		assert_int_equal(at(w, LOW_RAM + 0x2000 + (g ? 4 : 8) * 5)[0] & (PTE_A | PTE_D), PTE_A | PTE_D);
		world_free(w);
	}
}

/* Each of the guest's tables, then the page; tables are walked as by a user's store. */
static void legacy_faults(void **state)
{
	static const struct {
		unsigned guest, page; /* of LOW */
		u64 clear, error, gpa;
		bool final;
	} rows[] = {
		{0, 0, PTE_P, PF_U | PF_W, LOW + 0x20, false},
		{0, 1, PTE_P, PF_U | PF_W, LOW + 0x1000, false},
		{0, 1, PTE_W, PF_P | PF_U | PF_W, LOW + 0x1000, false},
		{0, 2, PTE_P, PF_U | PF_W, LOW + 0x2000 + 8 * (GUEST_CODE >> 12), false},
		{0, 2, PTE_U, PF_P | PF_U | PF_W, LOW + 0x2000 + 8 * (GUEST_CODE >> 12), false},
		{0, 4, PTE_P, PF_U, PAGE_GP + 0x120, true},
		{1, 0, PTE_P, PF_U | PF_W, LOW, false},
		{1, 0, PTE_W, PF_P | PF_U | PF_W, LOW, false},
		{1, 2, PTE_P, PF_U | PF_W, LOW + 0x2000 + 4 * (GUEST_CODE >> 12), false},
		{1, 2, PTE_W, PF_P | PF_U | PF_W, LOW + 0x2000 + 4 * (GUEST_CODE >> 12), false},
		{1, 4, PTE_P, PF_U, PAGE_GP + 0x120, true},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = WORLD(host_once, legacy_load);
		u64 pte = LOW_PT + 8 * rows[i].page, info;

		guests[rows[i].guest](w);
		put64(w, pte, get64(w, pte) & ~rows[i].clear);
		run(w);
		info = BIT(rows[i].final ? 32 : 33) | rows[i].error;
		if (vmcb(w)->c.exit_info1 != info || vmcb(w)->c.exit_info2 != rows[i].gpa)
			fail_msg("row %u: info %#llx %#llx", i, (unsigned long long)vmcb(w)->c.exit_info1,
				 (unsigned long long)vmcb(w)->c.exit_info2);
		assert_exit(w, NPF, info, rows[i].gpa);
		assert_int_equal(vmcb(w)->s.rip, GUEST_CODE);
		world_free(w);
	}
	/* The large page of each: behind its own leaf there is no memory. */
	for (unsigned g = 0; g < ARRAY_SIZE(guests); g++) {
		struct world *w = WORLD(host_once, legacy_load);

		guests[g](w);
		put64(w, NESTED + 0x2000 + 8 * (0x600000 >> 21), 0);
		run(w);
		assert_exit(w, NPF, BIT(32) | PF_U, 0x600124);
		assert_int_equal(vmcb(w)->s.rip, GUEST_CODE + 6);
		world_free(w);
	}
}

/* A fault of the guest's own tables stays the guest's. */
static void legacy_guest_fault(void **state)
{
	for (unsigned g = 0; g < ARRAY_SIZE(guests); g++) {
		struct world *w = WORLD(host_once, legacy_load);

		guests[g](w);
		put32(w, LOW_RAM + 0x2000 + (g ? 4 : 8) * 5, 0);
		vmcb(w)->c.exceptions = BIT(EXC_PF);
		run(w);
		assert_exit(w, 0x40 + EXC_PF, 0, 0x5120);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(large_leaves),	 cmocka_unit_test(large_leaves_at_work),
		cmocka_unit_test(no_giant_leaf), cmocka_unit_test(legacy_guests),
		cmocka_unit_test(legacy_faults), cmocka_unit_test(legacy_guest_fault),
	};
	int failed = cmocka_run_group_tests_name("leaves and modes", tests, NULL, NULL);

	options.drop_every = 2;
	return failed + cmocka_run_group_tests_name("leaves and modes without caches", tests, NULL, NULL);
}
