/*
 * Nested paging: faults at each level of the nested tables, for the final address and for each of the guest's tables,
 * and what TLB_CONTROL and INVLPGA must flush. APM vol. 2 15.25.6 "Nested versus Guest Page Faults, Fault Ordering",
 * 15.16 "TLB Control".
 */
#include "svm_world.h"

#define NXE EFER_NXE

/* A guest-physical address with tables of its own, four levels of 4 KiB, for eight pages at FAR_RAM. */
#define FAR	 0x8040200000 /* indices 1, 1, 1, 0 */
#define FAR_PDPT 0x48000
#define FAR_PD	 0x49000
#define FAR_PT	 0x4a000
#define FAR_RAM	 0x500000
#define FAR_LA	 0x600000 /* where the guest's tables put it, by 2 MiB */

static const u64 entry[4] = {NESTED + 8, FAR_PDPT + 8, FAR_PD + 8, FAR_PT};

ASM(guest_load, "mov 0x600120, %r9\n vmmcall")
ASM(guest_store, "movq $5, 0x600120\n vmmcall")
ASM(guest_fetch, "mov $0x600120, %eax\n jmp *%rax")
ASM(guest_rmw, "lock incl 0x600120\n vmmcall")

static u64 get64(struct world *w, u64 pa)
{
	u64 v;

	memcpy(&v, at(w, pa), 8);
	return v;
}

static void far_map(struct world *w)
{
	nested_paging(w);
	put64(w, entry[0], FAR_PDPT | 7);
	put64(w, entry[1], FAR_PD | 7);
	put64(w, entry[2], FAR_PT | 7);
	for (u64 i = 0; i < 8; i++)
		put64(w, FAR_PT + 8 * i, (FAR_RAM + i * 0x1000) | 7);
	put64(w, TABLES + 0x2000 + 8 * (FAR_LA >> 21), FAR | 0x87);
	w->st.msr.efer |= NXE;
}

/* The final address. */
static void final_levels(void **state)
{
	static const struct {
		const u8 *code, *end;
		u64 clear, set; /* of the entry */
		u64 error;
		unsigned at;
	} rows[] = {
#define GUEST(name) guest_##name##_start, guest_##name##_end
		{GUEST(load), PTE_P, 0, PF_U, 0},
		{GUEST(store), PTE_P, 0, PF_U | PF_W, 0},
		{GUEST(rmw), PTE_P, 0, PF_U | PF_W, 0},
		{GUEST(fetch), PTE_P, 0, PF_U | PF_I, 0x120},
		{GUEST(store), PTE_W, 0, PF_P | PF_U | PF_W, 0},
		{GUEST(load), PTE_U, 0, PF_P | PF_U, 0},
		{GUEST(load), 0, BIT(51), PF_P | PF_U | PF_RSVD, 0},
		{GUEST(fetch), 0, PTE_NX, PF_P | PF_U | PF_I, 0x120},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		for (unsigned level = 0; level < 4; level++) {
			struct world *w = world_new("EPYC", host_once_start, host_once_end, rows[i].code, rows[i].end);
			struct vmcb *b = vmcb(w);

			far_map(w);
			put64(w, entry[level], (get64(w, entry[level]) & ~rows[i].clear) | rows[i].set);
			run(w);
			if (b->c.exit_info1 != (BIT(32) | rows[i].error))
				fail_msg("row %u level %u: info %#llx", i, level, (unsigned long long)b->c.exit_info1);
			assert_exit(w, 0x400, BIT(32) | rows[i].error, FAR + 0x120);
			assert_int_equal(b->s.rip, rows[i].at ? FAR_LA + rows[i].at : GUEST_CODE);
			assert_int_equal(b->s.cr2, 0);
			assert_int_equal(b->c.next_rip, 0);
			/* Nothing was marked on a walk that failed at its end. */
			assert_int_equal(get64(w, TABLES + 0x2000 + 8 * (FAR_LA >> 21)) & PTE_D, 0);
			world_free(w);
		}
	}
}

/* The guest's four tables are the pages FAR to FAR + 3000h; the walk for its code meets them one by one. */
static void table_levels(void **state)
{
	static const struct {
		u64 clear, set, error;
	} rows[] = {
		{PTE_P, 0, PF_U | PF_W}, {PTE_W, 0, PF_P | PF_U | PF_W}, {0, BIT(51), PF_P | PF_U | PF_W | PF_RSVD}};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		for (u64 level = 0; level < 4; level++) {
			struct world *w = WORLD(host_once, guest_load);
			u64 index = level == 3 ? GUEST_CODE >> 12 : 0, pte;

			far_map(w);
			for (u64 k = 0; k < 3; k++)
				put64(w, FAR_RAM + k * 0x1000, (FAR + (k + 1) * 0x1000) | 7);
			for (u64 k = 0; k < 16; k++)
				put64(w, FAR_RAM + 0x3000 + 8 * k, k << 12 | 7);
			vmcb(w)->s.cr3 = FAR;
			pte = FAR_PT + 8 * level;
			put64(w, pte, (get64(w, pte) & ~rows[i].clear) | rows[i].set);
			run(w);
			assert_exit(w, 0x400, BIT(33) | rows[i].error, FAR + level * 0x1000 + 8 * index);
			assert_int_equal(vmcb(w)->s.rip, GUEST_CODE);
			world_free(w);
		}
	}
}

/* The guest's own fault comes first; and a nested fault on the way of delivering it has it as EXITINTINFO. */
static void order(void **state)
{
	struct world *w = WORLD(host_once, guest_store);

	far_map(w);
	vmcb(w)->c.exceptions = BIT(EXC_PF);
	put64(w, TABLES + 0x2000 + 8 * (FAR_LA >> 21), FAR | 0x85); /* read-only, and not there either */
	vmcb(w)->s.cr0 |= CR0_WP;
	put64(w, FAR_PT, 0);
	run(w);
	assert_exit(w, 0x40 + EXC_PF, PF_P | PF_W, FAR_LA + 0x120);
	vmcb(w)->c.exceptions = 0;
	vmcb(w)->s.idtr.base = 0x400000;
	put64(w, NESTED + 0x2000 + 8 * 2, 0);
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x400, BIT(32) | PF_U, 0x400000 + 16 * EXC_PF);
	assert_int_equal(vmcb(w)->c.exit_int_info,
			 EVI_VALID | EVI_EXCEPTION << 8 | EVI_ERROR | EXC_PF | (PF_P | PF_W) << 32);
	assert_int_equal(vmcb(w)->s.rip, GUEST_CODE);
	world_free(w);
}

/*
 * The guest reads FAR_LA + 120h, the host changes a table (RDI: entry, RSI: value), does the row's flush and lets the
 * guest read again. BL: TLB_CONTROL of the second VMRUN; RCX: the ASID of an INVLPGA of the page, 0: none.
 */
ASM(host_flush, "mov $0x30000, %eax\n vmrun\n mov %rsi, (%rdi)\n mov %r9, %r8\n mov %bl, 0x3005c\n jrcxz 1f\n"
		"mov $0x600120, %eax\n invlpga %rax, %ecx\n 1: mov $0x30000, %eax\n movq $0x2000, 0x30578\n vmrun\n"
		"mov $0xf4, %dx\n outb %al, %dx")

static void flushes(void **state)
{
	static const struct {
		u64 control, asid;
		bool nested; /* the nested table changes, else the guest's */
		bool global;
	} rows[] = {
		{TLB_CTL_ALL, 0, false, false},
		{TLB_CTL_ALL, 0, true, false},
		{TLB_CTL_ALL, 0, false, true},
		{TLB_CTL_ASID, 0, false, false},
		{TLB_CTL_ASID, 0, true, false},
		{TLB_CTL_ASID, 0, false, true},
		{TLB_CTL_ASID_NONGLOBAL, 0, false, false},
		{0, 7, false, false},
		{0, 7, false, true},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = WORLD(host_flush, guest_load);
		u64 guest_entry = TABLES + 0x2000 + 8 * (FAR_LA >> 21);

		far_map(w);
		vmcb(w)->c.asid = 7;
		vmcb(w)->s.cr4 |= CR4_PGE;
		put64(w, FAR_RAM + 0x120, 1111);
		put64(w, 0x700120, 2222);
		if (rows[i].global)
			put64(w, guest_entry, get64(w, guest_entry) | PTE_G);
		w->st.gpr[RDI] = rows[i].nested ? FAR_PT : guest_entry;
		w->st.gpr[RSI] = rows[i].nested ? 0x700000 | 7 : 0x600000 | 0x87;
		if (!rows[i].nested)
			put64(w, NESTED + 0x2000 + 8 * (HOLE >> 21), 0x600000 | 0x87);
		put64(w, 0x600120, 2222);
		w->st.gpr[RBX] = rows[i].control;
		w->st.gpr[RCX] = rows[i].asid;
		run(w);
		assert_exit(w, 0x81, 0, 0);
		assert_int_equal(w->st.gpr[R8], 1111);
		if (w->st.gpr[R9] != 2222)
			fail_msg("row %u: the old translation is still used", i);
		world_free(w);
	}
}

/* Without the feature 3 and 7 are reserved and flush all: ASID 7 is entered again behind a flush of ASID 8. */
ASM(host_asids, "vmrun\n mov %r9, %r8\n mov %rsi, (%rdi)\n movl $8, 0x30058\n mov %bl, 0x3005c\n"
		"movq $0x2000, 0x30578\n vmrun\n movl $7, 0x30058\n movb $0, 0x3005c\n movq $0x2000, 0x30578\n vmrun\n"
		"mov $0xf4, %dx\n outb %al, %dx")

static void no_flush_by_asid(void **state)
{
	static const u8 controls[] = {TLB_CTL_ASID, TLB_CTL_ASID_NONGLOBAL};

	for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
		struct world *w = world_new("EPYC,flushbyasid=off", host_asids_start, host_asids_end, guest_load_start,
					    guest_load_end);

		far_map(w);
		vmcb(w)->c.asid = 7;
		put64(w, FAR_RAM + 0x120, 1111);
		put64(w, 0x700120, 2222);
		w->st.gpr[RDI] = FAR_PT;
		w->st.gpr[RSI] = 0x700000 | 7;
		w->st.gpr[RBX] = controls[i];
		run(w);
		assert_exit(w, 0x81, 0, 0);
		assert_int_equal(w->st.gpr[R8], 1111);
		assert_int_equal(w->st.gpr[R9], 2222);
		world_free(w);
	}
}

/*
 * ASID 0 is the host's: INVLPGA by the host of its own page, global or not, before any guest has run and behind one.
 * The host reads 600120h, changes its table (RDI: entry, RSI: value) and reads again. APM vol. 3 "INVLPGA".
 */
ASM(host_own, "jrcxz 1f\n vmrun\n 1: mov 0x600120, %r8\n mov %rsi, (%rdi)\n mov $0x600120, %eax\n xor %ecx, %ecx\n"
	      "invlpga %rax, %ecx\n mov 0x600120, %r9\n mov $0xf4, %dx\n outb %al, %dx")

static void own_pages(void **state)
{
	for (unsigned i = 0; i < 4; i++) {
		struct world *w = WORLD(host_own, guest_load);
		u64 entry_pa = TABLES + 0x2000 + 8 * (FAR_LA >> 21), global = i & 1 ? PTE_G : 0;

		put64(w, entry_pa, 0x600000 | 0x87 | global);
		put64(w, 0x600120, 1111);
		put64(w, 0x400120, 2222);
		w->st.cr4 |= CR4_PGE;
		w->st.gpr[RCX] = i >> 1;
		w->st.gpr[RDI] = entry_pa;
		w->st.gpr[RSI] = 0x400000 | 0x87 | global;
		run(w);
		assert_int_equal(w->st.gpr[R8], 1111);
		assert_int_equal(w->st.gpr[R9], 2222);
		world_free(w);
	}
}

/* Without the feature NP_ENABLE, nCR3 and G_PAT are ignored: the guest's addresses are physical. */
static void no_nested_paging(void **state)
{
	struct world *w = world_new("EPYC,npt=off", host_once_start, host_once_end, guest_load_start, guest_load_end);

	nested_paging(w); /* its tables have a hole there */
	put64(w, HOLE + 0x120, 3333);
	vmcb(w)->c.ncr3 = ~0ull;
	vmcb(w)->s.g_pat = ~0ull;
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(w->st.gpr[R9], 3333);
	assert_int_equal(vmcb(w)->s.g_pat, ~0ull);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(final_levels), cmocka_unit_test(table_levels),	    cmocka_unit_test(order),
		cmocka_unit_test(flushes),	cmocka_unit_test(no_flush_by_asid), cmocka_unit_test(no_nested_paging),
		cmocka_unit_test(own_pages),
	};
	int failed = cmocka_run_group_tests_name("nested paging", tests, NULL, NULL);

	options.drop_every = 2;
	return failed + cmocka_run_group_tests_name("nested paging without caches", tests, NULL, NULL);
}
