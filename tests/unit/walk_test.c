/* The page walker: formats, rights, reserved bits, accessed and dirty flags, nested stages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/walk.h"

#define MEM_SIZE  (1u << 20)
#define PHYS_BITS 40
#define DATA	  0x80000ull /* where mappings of the tests lead */

struct memory {
	struct walk_mem mem; /* first */
	u8 bytes[MEM_SIZE];
	u64 brk; /* next free table page */
	unsigned stores;
};

static bool seek(struct walk_mem *m, u64 pa)
{
	struct memory *t = (struct memory *)m;

	if (pa >= MEM_SIZE)
		return false;
	/* A window of one page, to see it move. */
	m->base = pa & ~0xfffull;
	m->size = 0x1000;
	m->host = t->bytes + m->base;
	return true;
}

static void stored(struct walk_mem *m, u64 pa) { ((struct memory *)m)->stores++; }

static struct memory *memory_new(void)
{
	struct memory *t = calloc(1, sizeof(*t));

	t->mem.seek = seek;
	t->mem.stored = stored;
	t->brk = 0x1000;
	return t;
}

static u64 page_new(struct memory *t)
{
	t->brk += 0x1000;
	return t->brk - 0x1000;
}

static u64 *entry(struct memory *t, u64 pa) { return (u64 *)(t->bytes + pa); }

/* Maps la through `levels` levels of 8-byte tables, making tables as needed; the leaf is at level `leaf`. Returns the
 * leaf's address. */
static u64 map(struct memory *t, u64 root, unsigned levels, unsigned leaf, u64 la, u64 pte)
{
	u64 table = root;

	for (unsigned level = levels;; level--) {
		u64 at = table + (la >> (12 + 9 * (level - 1)) & 511) * 8;

		if (level == leaf) {
			*entry(t, at) = pte;
			return at;
		}
		if (!(*entry(t, at) & PTE_P))
			*entry(t, at) = page_new(t) | PTE_P | PTE_W | PTE_U;
		table = *entry(t, at) & 0xfffffff000;
	}
}

static struct xlate long_mode(u64 cr3, u64 cr4, u64 efer)
{
	struct xlate x;

	xlate_from_regs(&x, CR0_PG | CR0_WP | CR0_PE, cr3, CR4_PAE | cr4, EFER_LMA | efer, NULL, PHYS_BITS, true, true);
	return x;
}

static const struct walk_access SR = {WALK_R, false, false}, SW = {WALK_W, false, false}, SX = {WALK_X, false, false},
				UR = {WALK_R, true, false}, UW = {WALK_W, true, false}, UX = {WALK_X, true, false},
				SR_SMAP = {WALK_R, false, true}, SW_SMAP = {WALK_W, false, true};

static void ok(const struct xlate *x, struct memory *t, u64 la, struct walk_access a, u64 pa)
{
	struct walk w;

	if (!walk_la(x, &t->mem, la, a, &w))
		fail_msg("%#llx: fault of stage %u, error %#x", (unsigned long long)la, w.stage, w.error);
	assert_int_equal(w.pa, pa);
	assert_true(w.perm & a.want);
}

static void faults(const struct xlate *x, struct memory *t, u64 la, struct walk_access a, u32 error)
{
	struct walk w;

	assert_false(walk_la(x, &t->mem, la, a, &w));
	assert_int_equal(w.stage, 0);
	assert_int_equal(w.error, error);
}

static void four_levels(void **state)
{
	struct memory *t = memory_new();
	u64 root = page_new(t), la = 0xffff812345678000ull, leaf;
	struct xlate x = long_mode(root | 0x18, 0, EFER_NXE);
	struct walk w;

	faults(&x, t, la, SR, 0);
	faults(&x, t, la, UW, PF_W | PF_U);
	faults(&x, t, la, UX, PF_I | PF_U);
	assert_int_equal(t->stores, 0);
	leaf = map(t, root, 4, 1, la, DATA | PTE_P | PTE_W | PTE_NX | PTE_G);
	ok(&x, t, la + 0x123, SR, DATA + 0x123);
	assert_int_equal(t->stores, 4); /* A in four entries */
	assert_int_equal(*entry(t, leaf), DATA | PTE_P | PTE_W | PTE_NX | PTE_G | PTE_A);
	assert_true(walk_la(&x, &t->mem, la, SR, &w));
	assert_int_equal(w.perm, WALK_R); /* not W while D is clear */
	assert_int_equal(w.page_bits, 12);
	assert_true(w.global);
	ok(&x, t, la, SW, DATA);
	assert_true(*entry(t, leaf) & PTE_D);
	assert_true(walk_la(&x, &t->mem, la, SR, &w));
	assert_int_equal(w.perm, WALK_R | WALK_W);
	faults(&x, t, la, SX, PF_P | PF_I);
	faults(&x, t, la, UR, PF_P | PF_U);
	faults(&x, t, la, UX, PF_P | PF_U | PF_I);
	x.nxe = false;
	x.rsvd |= PTE_NX;
	faults(&x, t, la, SR, PF_P | PF_RSVD);
	free(t);
}

static void rights(void **state)
{
	struct memory *t = memory_new();
	u64 root = page_new(t), la = 0x400000;
	struct xlate x = long_mode(root, CR4_SMEP | CR4_SMAP, EFER_NXE);

	map(t, root, 4, 1, la, DATA | PTE_P | PTE_U);
	ok(&x, t, la, UR, DATA);
	ok(&x, t, la, UX, DATA);
	faults(&x, t, la, UW, PF_P | PF_W | PF_U);
	faults(&x, t, la, SW, PF_P | PF_W);
	ok(&x, t, la, SR, DATA); /* AC lifts SMAP */
	faults(&x, t, la, SR_SMAP, PF_P);
	faults(&x, t, la, SW_SMAP, PF_P | PF_W);
	faults(&x, t, la, SX, PF_P | PF_I);
	x.wp = false;
	ok(&x, t, la, SW, DATA);
	faults(&x, t, la, UW, PF_P | PF_W | PF_U);
	x.smep = false;
	ok(&x, t, la, SX, DATA);
	x.smap = false;
	ok(&x, t, la, SR_SMAP, DATA);
	/* Rights are those of all levels together. */
	*entry(t, root) &= ~PTE_U;
	faults(&x, t, la, UR, PF_P | PF_U);
	*entry(t, root) |= PTE_NX;
	faults(&x, t, la, SX, PF_P | PF_I);
	free(t);
}

static void large_pages(void **state)
{
	struct memory *t = memory_new();
	u64 root = page_new(t), two = 0x40000000, one = 0x8000000000;
	struct xlate x = long_mode(root, 0, 0);
	struct walk w;
	u64 at2 = map(t, root, 4, 2, two, 0x12200000 | PTE_P | PTE_W | PTE_PS | BIT(12));
	u64 at1 = map(t, root, 4, 3, one, 0x80000000 | PTE_P | PTE_W | PTE_PS);

	ok(&x, t, two + 0x54321, SR, 0x12254321);
	ok(&x, t, one + 0x7654321, SW, 0x87654321);
	assert_true(walk_la(&x, &t->mem, one, SR, &w));
	assert_int_equal(w.guest_bits, 30);
	assert_true(walk_la(&x, &t->mem, two, SR, &w));
	assert_int_equal(w.guest_bits, 21);
	*entry(t, at2) |= BIT(13);
	faults(&x, t, two, SR, PF_P | PF_RSVD);
	*entry(t, at1) |= BIT(29);
	faults(&x, t, one, UW, PF_P | PF_RSVD | PF_W | PF_U);
	*entry(t, at1) &= ~BIT(29);
	x.gbyte = false;
	faults(&x, t, one, SR, PF_P | PF_RSVD);
	*entry(t, root) |= PTE_PS;
	faults(&x, t, two, SR, PF_P | PF_RSVD);
	*entry(t, root) ^= PTE_PS | PTE_G;
	faults(&x, t, two, SR, PF_P | PF_RSVD);
	x.amd = false;
	*entry(t, at2) &= ~BIT(13);
	ok(&x, t, two, SR, 0x12200000);
	*entry(t, at2) |= BIT(PHYS_BITS);
	faults(&x, t, two, SR, PF_P | PF_RSVD);
	free(t);
}

static void five_levels(void **state)
{
	struct memory *t = memory_new();
	u64 root = page_new(t), la = 0xff12345678123000ull;
	struct xlate x = long_mode(root, CR4_LA57, 0);

	map(t, root, 5, 1, la, DATA | PTE_P | PTE_W);
	ok(&x, t, la + 1, SW, DATA + 1);
	assert_int_equal(t->stores, 5);
	free(t);
}

static void pae(void **state)
{
	struct memory *t = memory_new();
	u64 root = page_new(t) + 0x60, pd = page_new(t), la = 0xc0201000, pdpte[4] = {0};
	struct xlate x;

	xlate_from_regs(&x, CR0_PG | CR0_WP, root, CR4_PAE, EFER_NXE, pdpte, PHYS_BITS, true, true);
	faults(&x, t, la, SW, PF_W);
	pdpte[3] = pd | PTE_P;
	map(t, pd, 2, 1, la & 0x3fffffff, DATA | PTE_P | PTE_W | PTE_U);
	ok(&x, t, la, UW, DATA);
	assert_int_equal(t->stores, 2);
	map(t, pd, 2, 1, la & 0x3fffffff, DATA | PTE_P | BIT(52)); /* 62:52 are reserved here, ignored in long mode */
	faults(&x, t, la, SR, PF_P | PF_RSVD);
	map(t, pd, 2, 2, la & 0x3fffffff, 0x600000 | PTE_P | PTE_PS | PTE_NX);
	ok(&x, t, la + 8, SR, 0x601008);
	faults(&x, t, la, SX, PF_P | PF_I);
	x.pdpte = NULL; /* read at each walk */
	faults(&x, t, la, SR, 0);
	*entry(t, root + 24) = pd | PTE_P;
	ok(&x, t, la + 8, SR, 0x601008);
	*entry(t, root + 24) |= PTE_W;
	faults(&x, t, la, SR, PF_P | PF_RSVD);
	free(t);
}

static void two_levels(void **state)
{
	struct memory *t = memory_new();
	u64 root = page_new(t), pt = page_new(t), la = 0xc0403000;
	u32 *pde = (u32 *)(t->bytes + root) + (la >> 22), *pte = (u32 *)(t->bytes + pt) + (la >> 12 & 1023);
	struct xlate x;

	xlate_from_regs(&x, CR0_PG, root, CR4_PSE, 0, NULL, PHYS_BITS, true, true);
	faults(&x, t, la, UX, PF_U); /* no I bit without NX or SMEP */
	*pde = (u32)pt | PTE_P | PTE_U | PTE_W;
	*pte = DATA | PTE_P | PTE_U;
	ok(&x, t, la + 4, UR, DATA + 4);
	faults(&x, t, la, UW, PF_P | PF_U | PF_W);
	ok(&x, t, la, SW, DATA); /* CR0.WP is clear */
	assert_int_equal(*pte, DATA | PTE_P | PTE_U | PTE_A | PTE_D);
	*pde = 0x12400000 | PTE_P | PTE_PS | 0x34 << 13;
	ok(&x, t, la, SR, 0x3412400000 | (la & 0x3fffff));
	*pde |= BIT(21);
	faults(&x, t, la, SR, PF_P | PF_RSVD);
	x.pse = false; /* PS is ignored, so is bit 21: the entry points to a table where there is no memory */
	faults(&x, t, la, UR, PF_P | PF_U);
	free(t);
}

static void protection_keys(void **state)
{
	struct memory *t = memory_new();
	u64 root = page_new(t), la = 0x7000;
	struct xlate x = long_mode(root, CR4_PKE, EFER_NXE);

	map(t, root, 4, 1, la, DATA | PTE_P | PTE_W | PTE_U | 5ull << 59);
	ok(&x, t, la, UW, DATA);
	x.pkru = 2u << 10; /* key 5: write disable */
	ok(&x, t, la, UR, DATA);
	faults(&x, t, la, UW, PF_P | PF_W | PF_U | PF_PK);
	faults(&x, t, la, SW, PF_P | PF_W | PF_PK);
	x.wp = false;
	ok(&x, t, la, SW, DATA);
	x.pkru = 1u << 10;
	faults(&x, t, la, UR, PF_P | PF_U | PF_PK);
	faults(&x, t, la, SR, PF_P | PF_PK);
	ok(&x, t, la, UX, DATA);
	x.pke = false;
	ok(&x, t, la, UR, DATA);
	free(t);
}

struct nested {
	struct memory *t;
	struct xlate guest, host;
	u64 groot, nroot;
};

/* Guest tables at guest-physical addresses that differ from their physical ones by 1 MiB. */
#define GPA 0x100000ull
static void nested_setup(struct nested *n)
{
	n->t = memory_new();
	n->groot = page_new(n->t);
	n->nroot = page_new(n->t);
	n->guest = long_mode(n->groot + GPA, 0, EFER_NXE);
	xlate_nested(&n->host, n->nroot, CR4_PAE | CR4_SMAP | CR4_SMEP, EFER_LMA | EFER_NXE, PHYS_BITS, true, true);
	n->guest.next = &n->host;
}

static void nested_table(struct nested *n, u64 pa, u64 flags) { map(n->t, n->nroot, 4, 1, pa + GPA, pa | flags); }

static void nested_faults(struct nested *n, u64 la, struct walk_access a, u32 error, u64 gpa, bool table)
{
	struct walk w;

	assert_false(walk_la(&n->guest, &n->t->mem, la, a, &w));
	assert_int_equal(w.stage, 1);
	assert_int_equal(w.error, error);
	assert_int_equal(w.fault_gpa, gpa);
	assert_int_equal(w.table, table);
}

static void nested_walks(void **state)
{
	const u64 all = PTE_P | PTE_W | PTE_U, la = 0x123456789000;
	struct nested n;
	struct walk w;
	u64 tables[4], at;

	nested_setup(&n);
	tables[0] = n.groot;
	for (unsigned i = 1; i < 4; i++)
		tables[i] = page_new(n.t);
	for (unsigned i = 0; i < 3; i++)
		*entry(n.t, tables[i] + (la >> (39 - 9 * i) & 511) * 8) = (tables[i + 1] + GPA) | all;
	at = tables[3] + (la >> 12 & 511) * 8;
	*entry(n.t, at) = 0x5000000 | all;
	/* Each table in turn is missing, then read-only, then there. A table access is a user write. */
	for (unsigned i = 0; i < 4; i++) {
		u64 gpa = tables[i] + GPA + (la >> (39 - 9 * i) & 511) * 8;

		nested_faults(&n, la, UX, PF_W | PF_U, gpa, true);
		nested_table(&n, tables[i], PTE_P | PTE_U);
		nested_faults(&n, la, SR, PF_P | PF_W | PF_U, gpa, true);
		nested_table(&n, tables[i], PTE_P | PTE_W);
		nested_faults(&n, la, SR, PF_P | PF_W | PF_U, gpa, true);
		nested_table(&n, tables[i], all);
	}
	nested_faults(&n, la + 8, SR, PF_U, 0x5000008, false);
	assert_false(*entry(n.t, at) & PTE_A);
	map(n.t, n.nroot, 4, 1, 0x5000000, DATA | PTE_P | PTE_U | PTE_NX);
	nested_faults(&n, la, SW, PF_P | PF_W | PF_U, 0x5000000, false);
	nested_faults(&n, la, SX, PF_P | PF_U | PF_I, 0x5000000, false);
	assert_false(*entry(n.t, at) & PTE_D);
	assert_true(walk_la(&n.guest, &n.t->mem, la + 8, SR, &w));
	assert_int_equal(w.pa, DATA + 8);
	assert_int_equal(w.gpa, 0x5000008);
	assert_int_equal(w.perm, WALK_R);
	/* The guest's own fault comes first. */
	*entry(n.t, at) &= ~PTE_W;
	assert_false(walk_la(&n.guest, &n.t->mem, la, SW, &w));
	assert_int_equal(w.stage, 0);
	assert_int_equal(w.error, PF_P | PF_W);
	*entry(n.t, at) |= PTE_W;
	map(n.t, n.nroot, 4, 1, 0x5000000, DATA | all);
	assert_true(walk_la(&n.guest, &n.t->mem, la, SW, &w));
	assert_int_equal(w.perm, WALK_R | WALK_W | WALK_X);
	assert_true(*entry(n.t, at) & PTE_D);
	/* The page of every guest table is dirty in the nested tables. */
	at = map(n.t, n.nroot, 4, 1, tables[2] + GPA, 0);
	nested_table(&n, tables[2], all);
	assert_true(walk_la(&n.guest, &n.t->mem, la, SR, &w));
	assert_true(*entry(n.t, at) & PTE_D);
	free(n.t);
}

static void nested_without_guest_paging(void **state)
{
	struct nested n;
	struct walk w;

	nested_setup(&n);
	xlate_from_regs(&n.guest, 0, 0, 0, 0, NULL, PHYS_BITS, true, true);
	n.guest.next = &n.host;
	nested_faults(&n, 0x7c00, SX, PF_U | PF_I, 0x7c00, false);
	map(n.t, n.nroot, 4, 2, 0, 0x200000 | PTE_P | PTE_W | PTE_U | PTE_PS);
	assert_true(walk_la(&n.guest, &n.t->mem, 0x7c00, SX, &w));
	assert_int_equal(w.pa, 0x207c00);
	assert_int_equal(w.page_bits, 21);
	assert_int_equal(w.guest_bits, 12);
	free(n.t);
}

static void table_cache(void **state)
{
	const u64 all = PTE_P | PTE_W | PTE_U;
	struct walk_cache *cache = calloc(1, sizeof(*cache));
	struct nested n;
	struct walk w;

	nested_setup(&n);
	n.host.cache = cache;
	*entry(n.t, n.groot) = (0x40000000 & ~0x3fffffffull) | GPA | all;
	nested_table(&n, n.groot, all);
	assert_false(walk_la(&n.guest, &n.t->mem, 0, SR, &w));
	nested_table(&n, n.groot, 0); /* unmapped, but remembered until the owner clears the cache */
	*entry(n.t, n.groot) = 0;
	assert_false(walk_la(&n.guest, &n.t->mem, 0, SR, &w));
	assert_int_equal(w.stage, 0);
	memset(cache, 0, sizeof(*cache));
	assert_false(walk_la(&n.guest, &n.t->mem, 0, SR, &w));
	assert_int_equal(w.stage, 1);
	free(cache);
	free(n.t);
}

static void tables_outside_memory(void **state)
{
	struct memory *t = memory_new();
	u64 root = page_new(t);
	struct xlate x = long_mode(0xfee00000, 0, EFER_NXE);

	faults(&x, t, 0x1000, SW, PF_P | PF_RSVD | PF_W); /* all ones */
	x = long_mode(root, 0, 0);
	*entry(t, root) = 0xfee00000 | PTE_P | PTE_W | PTE_U;
	faults(&x, t, 0x1000, SR, PF_P | PF_RSVD);
	x.dry = true;
	map(t, page_new(t), 4, 1, 0, 0);
	assert_int_equal(t->stores, 0);
	free(t);
}

/* Random entries anywhere: the walker never leaves memory, never sets a flag on a fault, and agrees with itself when
 * repeated. */
static void random_tables(void **state)
{
	struct memory *t = memory_new();
	struct walk w, again;
	unsigned good = 0;

	srand(1);
	for (u64 i = 0; i < MEM_SIZE / 8; i++) {
		u64 e = ((u64)rand() % (MEM_SIZE >> 12)) << 12 | (u64)(rand() & 0x17f) | PTE_P;

		if (rand() % 16 == 0)
			e |= (u64)rand() << 32;
		*entry(t, i * 8) = e;
	}
	for (unsigned i = 0; i < 200000; i++) {
		u64 cr4 = (rand() & 3 ? CR4_PAE : CR4_PSE) | (rand() & 1 ? CR4_SMEP | CR4_SMAP | CR4_PKE : 0) |
			  (rand() & 1 ? CR4_LA57 : 0);
		u64 efer = (cr4 & CR4_PAE && rand() & 1 ? EFER_LMA : 0) | (rand() & 1 ? EFER_NXE : 0);
		struct walk_access a = {1u << rand() % 3, rand() & 1, rand() & 1};
		u64 la = (u64)rand() << 17 ^ rand();
		struct xlate x, n;
		unsigned before;

		xlate_from_regs(&x, CR0_PG | (rand() & 1 ? CR0_WP : 0), (u64)rand() % MEM_SIZE, cr4, efer, NULL,
				PHYS_BITS, true, true);
		xlate_nested(&n, (u64)rand() % MEM_SIZE, CR4_PAE, EFER_LMA | EFER_NXE, PHYS_BITS, true, true);
		if (rand() & 1)
			x.next = &n;
		if (!(efer & EFER_LMA))
			la = (u32)la;
		x.pkru = (u32)rand();
		before = t->stores;
		if (!walk_la(&x, &t->mem, la, a, &w)) {
			if (!x.next)
				assert_int_equal(t->stores, before);
			continue;
		}
		good++;
		assert_true(walk_la(&x, &t->mem, la, a, &again));
		assert_int_equal(w.pa, again.pa);
		before = t->stores;
		assert_true(walk_la(&x, &t->mem, la, a, &again));
		assert_int_equal(t->stores, before);
	}
	assert_true(good > 1000);
	free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(four_levels),
		cmocka_unit_test(rights),
		cmocka_unit_test(large_pages),
		cmocka_unit_test(five_levels),
		cmocka_unit_test(pae),
		cmocka_unit_test(two_levels),
		cmocka_unit_test(protection_keys),
		cmocka_unit_test(nested_walks),
		cmocka_unit_test(nested_without_guest_paging),
		cmocka_unit_test(table_cache),
		cmocka_unit_test(tables_outside_memory),
		cmocka_unit_test(random_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
