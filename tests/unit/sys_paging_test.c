/*
 * Paging in all modes: access rights, error codes, accessed and dirty flags, reserved bits, and what each instruction
 * that invalidates must make visible. SDM vol. 3 4.3 to 4.8, 4.10.4; SDM vol. 2 "INVPCID", "MOV to CR".
 *
 * The program runs from low addresses that are mapped for it; the tested page is at `la`, with entries of its own at
 * every level, and leads to physical DATA's page or large page.
 */
#include "tests/unit/sys_world.h"

#include "cpu/x86/mem.h"

struct format {
	const char *name;
	unsigned levels, leaf; /* leaf: 1: 4 KByte, 2: 2 or 4 MByte, 3: 1 GByte */
	bool legacy;	       /* 4-byte entries */
	u64 cr4, efer;
	u64 la;
};

#define LM (EFER_LME | EFER_LMA)
static const struct format formats[] = {
	{"32-bit", 2, 1, true, 0, 0, 0x40000000},
	{"32-bit, 4 MByte", 2, 2, true, CR4_PSE, 0, 0x40000000},
	{"PAE", 2, 1, false, CR4_PAE, 0, 0x41000000},
	{"PAE, 2 MByte", 2, 2, false, CR4_PAE, 0, 0x41000000},
	{"4 levels", 4, 1, false, CR4_PAE, LM, 1ull << 39},
	{"4 levels, 2 MByte", 4, 2, false, CR4_PAE, LM, 1ull << 39},
	{"4 levels, 1 GByte", 4, 3, false, CR4_PAE, LM, 1ull << 39},
	{"5 levels", 5, 1, false, CR4_PAE | CR4_LA57, LM, 1ull << 48},
};

struct rig {
	struct world *w;
	const struct format *f;
	u64 entry[6]; /* physical address of the tested entry at each level, from 1 */
	u64 code_pte; /* of the program's page */
};

ASM64(load, "mov (%rbx), %eax")
ASM64(store, "mov %eax, (%rbx)")
ASM64(fetch, "jmp *%rbx")

static u64 entry_get(struct rig *r, unsigned level) { return get(r->w, r->entry[level], r->f->legacy ? 4 : 8); }
static void entry_put(struct rig *r, unsigned level, u64 v) { put(r->w, r->entry[level], v, r->f->legacy ? 4 : 8); }

/* What the entry holds when everything is allowed. */
static u64 entry_plain(const struct rig *r, unsigned level)
{
	u64 next = TABLES + 0x8000 + 0x1000 * (level - 1);

	if (level > r->f->leaf)
		return next | 7;
	return level == 1 ? (DATA | 7) : 7 | PTE_PS;
}

static void tables_make(struct rig *r)
{
	const struct format *f = r->f;
	struct world *w = r->w;
	unsigned bits = f->legacy ? 10 : 9, size = f->legacy ? 4 : 8;
	u64 low = TABLES + 0x10000, table = TABLES;

	/* The program's: entries 0 down to a table of 4-KByte pages. */
	for (unsigned l = f->levels; l > 1; l--) {
		put(w, l == f->levels ? table : low, (low + 0x1000 * (l == f->levels ? 0 : 1)) | 7, size);
		if (l != f->levels)
			low += 0x1000;
	}
	for (u64 i = 0; i < 512; i++)
		put(w, low + size * i, i << 12 | 7, size);
	r->code_pte = low + size * ((w->st.cpl ? USER : CODE) >> 12);
	/* The tested ones. */
	for (unsigned l = f->levels; l >= 1; l--) {
		r->entry[l] = table + (f->la >> (12 + bits * (l - 1)) & MASK(bits)) * size;
		entry_put(r, l, entry_plain(r, l));
		table = TABLES + 0x8000 + 0x1000 * (l - 1);
	}
	w->st.cr3 = TABLES;
	if (f->levels == 2 && !f->legacy) { /* PAE: four registers above, all to the one page directory */
		put(w, TABLES + 0x2000, TABLES | 1, 8);
		for (unsigned i = 0; i < 4; i++)
			w->st.pdpte[i] = TABLES | 1;
		put(w, TABLES + 0x2008, TABLES | 1, 8);
		put(w, TABLES + 0x2010, TABLES | 1, 8);
		put(w, TABLES + 0x2018, TABLES | 1, 8);
		w->st.cr3 = TABLES + 0x2000;
	}
}

static struct rig rig_new(const struct format *f, unsigned cpl)
{
	struct rig r = {.f = f};
	struct world *w = r.w = sys_world("EPYC-Milan,+la57", f->efer ? LONG : PROT32, cpl);

	w->st.cr0 |= CR0_PG | CR0_WP;
	w->st.cr4 |= f->cr4;
	w->st.msr.efer |= f->efer;
	tables_make(&r);
	w->st.gpr[RBX] = f->la;
	return r;
}

static void again(struct rig *r)
{
	r->w->cpu->st = r->w->st;
	x86_update_all(r->w->cpu);
	tlb_flush_current(r->w->cpu, true);
}

/* One access; a fetch takes two steps. */
static enum outcome access(struct rig *r, unsigned kind)
{
	struct world *w = r->w;
	u64 start = w->st.cpl ? USER : CODE;
	enum outcome o;

	w->st.rip = start + 16 * kind;
	again(r);
	o = x86_step(w->cpu);
	if (kind == 2 && o == OUT_JUMP)
		o = x86_step(w->cpu);
	return o;
}

enum { READ, WRITE, FETCH };

static void programs(struct rig *r)
{
	u64 start = r->w->st.cpl ? USER : CODE;

	PLACE(r->w, start, load);
	PLACE(r->w, start + 16, store);
	PLACE(r->w, start + 32, fetch);
	put(r->w, DATA, 0x90909090, 4); /* both places that the page may lead to; stores leave it so */
	put(r->w, 0, 0x90909090, 4);
	r->w->st.gpr[RAX] = 0x90909090;
	/* Code was changed behind the processor's back. */
	assert_int_equal(r->w->v->ops->set_state(r->w->v, &r->w->st, &r->w->e), 0);
}

struct rights {
	bool present, write, user, nx;
};

static u64 with(u64 e, const struct rights *t)
{
	e &= ~(PTE_P | PTE_W | PTE_U | PTE_NX);
	return e | (t->present ? PTE_P : 0) | (t->write ? PTE_W : 0) | (t->user ? PTE_U : 0) | (t->nx ? PTE_NX : 0);
}

/* -1: allowed; else the error code. */
static int oracle(const struct x86_state *st, const struct rights *a, const struct rights *b, unsigned kind)
{
	bool user = a->user && b->user, write = a->write && b->write, nx = a->nx || b->nx, cpl3 = st->cpl == 3,
	     nxe = (st->msr.efer & EFER_NXE) && (st->cr4 & CR4_PAE), smep = st->cr4 & CR4_SMEP, ok;
	u32 error = (kind == WRITE ? PF_W : 0) | (cpl3 ? PF_U : 0) | (kind == FETCH && (nxe || smep) ? PF_I : 0);

	if (!a->present)
		return (int)error;
	if (a->nx && !nxe)
		return (int)(error | PF_P | PF_RSVD);
	if (!b->present)
		return (int)error;
	if (b->nx && !nxe)
		return (int)(error | PF_P | PF_RSVD);
	if (cpl3)
		ok = user && (kind != WRITE || write) && (kind != FETCH || !nx);
	else if (kind == FETCH)
		ok = !nx && !(smep && user);
	else
		ok = !(user && (st->cr4 & CR4_SMAP) && !(st->rflags & FL_AC)) &&
		     (kind != WRITE || write || !(st->cr0 & CR0_WP));
	return ok ? -1 : (int)(error | PF_P);
}

static void check_access(struct rig *r, unsigned upper, const struct rights *a, const struct rights *b, unsigned kind)
{
	struct world *w = r->w;
	unsigned leaf = r->f->leaf;
	int want = oracle(&w->st, a, b, kind), got = -1;
	enum outcome o;
	u64 e;

	entry_put(r, upper, with(entry_plain(r, upper), a));
	entry_put(r, leaf, with(entry_plain(r, leaf), b));
	o = access(r, kind);
	if (o == OUT_FAULT)
		got = w->cpu->c.event.vector == EXC_PF ? (int)w->cpu->c.event.error : 0x10000 + w->cpu->c.event.vector;
	if (got != want)
		fail_msg("%s, level %u P%dW%dU%dNX%d, leaf P%dW%dU%dNX%d, access %u cpl %u cr0 %#llx cr4 %#llx efer "
			 "%#llx: "
			 "%#x, not %#x",
			 r->f->name, upper, a->present, a->write, a->user, a->nx, b->present, b->write, b->user, b->nx,
			 kind, w->st.cpl, (unsigned long long)w->st.cr0, (unsigned long long)w->st.cr4,
			 (unsigned long long)w->st.msr.efer, got, want);
	e = entry_get(r, leaf);
	if (want >= 0) {
		assert_int_equal(w->cpu->c.event.cr2, r->f->la);
		assert_int_equal(e, with(entry_plain(r, leaf), b)); /* no flag was set */
		return;
	}
	assert_int_equal(e & (PTE_A | PTE_D), kind == WRITE ? PTE_A | PTE_D : PTE_A);
	for (unsigned l = leaf + 1; l <= r->f->levels; l++)
		assert_true(entry_get(r, l) & PTE_A);
	for (unsigned l = leaf + 1; l <= r->f->levels; l++)
		entry_put(r, l, entry_plain(r, l));
}

static void rights_with(struct rig *r)
{
	bool nx_exists = !r->f->legacy;

	unsigned first = MIN(r->f->leaf + 1, r->f->levels);

	for (unsigned upper = first; upper <= r->f->levels; upper++) {
		for (unsigned i = 0; i < 256; i++) {
			struct rights a = {i & 1, i & 2, i & 4, i & 8}, b = {i & 16, i & 32, i & 64, i & 128};

			if ((!nx_exists && (a.nx || b.nx)) || (upper == r->f->leaf && (i & 15) != 7))
				continue;
			for (unsigned kind = READ; kind <= FETCH; kind++)
				check_access(r, upper, &a, &b, kind);
		}
		entry_put(r, upper, entry_plain(r, upper));
	}
}

/* Every format, level, right, privilege, and switch of CR0, CR4 and EFER that matters. */
static void access_rights(void **state)
{
	for (unsigned f = 0; f < ARRAY_SIZE(formats); f++)
		for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
			struct rig r = rig_new(&formats[f], cpl);
			u64 cr0 = r.w->st.cr0, cr4 = r.w->st.cr4, efer = r.w->st.msr.efer;

			put(r.w, r.code_pte, get(r.w, r.code_pte, 4) & ~(cpl ? 0 : PTE_U), 4);
			programs(&r);
			for (unsigned i = 0; i < 32; i++) {
				if (formats[f].legacy && (i & 2))
					continue;
				if ((i & 16) && !(i & 8))
					continue;
				r.w->st.cr0 = i & 1 ? cr0 : cr0 & ~CR0_WP;
				r.w->st.msr.efer = i & 2 ? efer & ~EFER_NXE : efer | EFER_NXE;
				r.w->st.cr4 = cr4 | (i & 4 ? CR4_SMEP : 0) | (i & 8 ? CR4_SMAP : 0);
				r.w->st.rflags = (r.w->st.rflags & ~FL_AC) | (i & 16 ? FL_AC : 0);
				rights_with(&r);
			}
			world_free(r.w);
		}
}

/* Bits that must be zero, by level. `bit` 0 ends. The model has 40 bits of physical address. */
static void reserved_bits(void **state)
{
	static const struct {
		unsigned format, level;
		u8 bits[16];
	} rows[] = {
		{1, 2, {21}},
		{2, 1, {40, 51, 52, 62}},
		{2, 2, {40, 51, 52, 62}},
		{3, 2, {13, 20, 40, 52, 62}},
		{4, 1, {40, 51}},
		{4, 2, {40, 51}},
		{4, 3, {40, 51}},
		{4, 4, {7, 8, 40, 51}}, /* G: AMD's */
		{5, 2, {13, 20, 40, 51}},
		{6, 3, {13, 21, 29, 40, 51}},
		{7, 5, {7, 8, 40, 51}},
		{7, 4, {7, 8, 40, 51}},
		{7, 1, {40, 51}},
	};
	static const struct {
		unsigned format, level;
		u8 bits[16];
	} ignored[] = {
		{2, 1, {9, 10, 11, 63 /* checked with NX apart */}},
		{4, 1, {9, 11, 52, 58, 59, 62}},
		{4, 2, {8, 9, 11, 52, 62}},
		{4, 4, {9, 11, 52, 62}},
		{5, 2, {12, 9, 52}},
		{6, 3, {12, 8, 62}},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig r = rig_new(&formats[rows[i].format], 0);

		programs(&r);
		for (const u8 *b = rows[i].bits; *b; b++) {
			entry_put(&r, rows[i].level, entry_plain(&r, rows[i].level) | BIT(*b));
			assert_fault(r.w, access(&r, READ), EXC_PF, PF_P | PF_RSVD);
			assert_fault(r.w, access(&r, WRITE), EXC_PF, PF_P | PF_RSVD | PF_W);
			entry_put(&r, rows[i].level, (entry_plain(&r, rows[i].level) | BIT(*b)) & ~PTE_P);
			assert_fault(r.w, access(&r, READ), EXC_PF, 0);
		}
		world_free(r.w);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(ignored); i++) {
		struct rig r = rig_new(&formats[ignored[i].format], 0);

		programs(&r);
		for (const u8 *b = ignored[i].bits; *b && *b != 63; b++) {
			entry_put(&r, ignored[i].level, entry_plain(&r, ignored[i].level) | BIT(*b));
			assert_done(access(&r, READ));
		}
		world_free(r.w);
	}
}

/* PSE-36: bits 20:13 of a 4-MByte entry are bits 39:32 of the address: nobody answers there. */
static void pse36(void **state)
{
	struct rig r = rig_new(&formats[1], 0);

	programs(&r);
	entry_put(&r, 2, entry_plain(&r, 2) | BIT(13));
	put(r.w, 0, 0x1234, 4);
	assert_done(access(&r, READ));
	assert_int_equal((u32)r.w->cpu->st.gpr[RAX], 0xffffffff);
	entry_put(&r, 2, entry_plain(&r, 2));
	assert_done(access(&r, READ));
	assert_int_equal((u32)r.w->cpu->st.gpr[RAX], 0x1234);
	world_free(r.w);
}

/* MOV to CR3 loads the PDPTEs: reserved bits are #GP(0), and nothing has changed. */
ASM32(mov_cr3, "mov %eax, %cr3")

static void pdptes(void **state)
{
	static const u8 bits[] = {1, 2, 5, 6, 7, 8, 40, 52, 63};
	struct rig r = rig_new(&formats[2], 0);
	struct world *w = r.w;

	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++) {
		put(w, TABLES + 0x2018, TABLES | 1 | BIT(bits[i]), 8);
		w->st.gpr[RAX] = TABLES + 0x2000;
		assert_fault(w, ONE(w, mov_cr3), EXC_GP, 0);
		put(w, TABLES + 0x2018, TABLES | BIT(bits[i]), 8);
		assert_done(ONE(w, mov_cr3));
		assert_int_equal(w->st.pdpte[3], TABLES | BIT(bits[i]));
		put(w, TABLES + 0x2018, TABLES | 1, 8);
		assert_done(ONE(w, mov_cr3));
	}
	/* The registers hold: memory is not read again. */
	put(w, TABLES + 0x2008, 0, 8);
	programs(&r);
	assert_done(access(&r, READ));
	w->st.gpr[RAX] = TABLES + 0x2000;
	assert_done(ONE(w, mov_cr3));
	w->st.gpr[RBX] = r.f->la;
	programs(&r);
	assert_fault(w, access(&r, READ), EXC_PF, 0);
	world_free(w);
}

/* What an invalidation must make visible: page 1 is global or not, in this PCID or in another. */
ASM64(invlpg, "invlpg (%rbx)")
ASM64(invpcid, "invpcid (%rsi), %rdi")
ASM64(cr3, "mov %rdi, %cr3")
ASM64(cr4, "mov %rdi, %cr4")

static void seen(struct world *w, u64 want)
{
	w->st.gpr[RBX] = WINDOW;
	w->st.rip = CODE + 0x100;
	w->cpu->st = w->st;
	x86_update_all(w->cpu);
	assert_done(x86_step(w->cpu));
	w->st = w->cpu->st;
	assert_int_equal((u32)w->st.gpr[RAX], want);
}

/* Runs what lies at CODE + 0x200 without dropping caches. */
static void run_inval(struct world *w)
{
	w->st.rip = CODE + 0x200;
	w->cpu->st = w->st;
	x86_update_all(w->cpu);
	assert_done(x86_step(w->cpu));
	w->st = w->cpu->st;
}

enum inval { INVLPG, CR3, CR3_KEEP, PGE, INVPCID_0, INVPCID_1, INVPCID_2, INVPCID_3, INVALS };

static void prepare(struct world *w, enum inval how)
{
	u64 code = CODE + 0x200;

	w->st.gpr[RSI] = DATA + 0x100;
	w->st.gpr[RDI] = 0;
	switch (how) {
	case INVLPG: PLACE(w, code, invlpg); break;
	case CR3:
	case CR3_KEEP:
		PLACE(w, code, cr3);
		w->st.gpr[RDI] = w->st.cr3 | (how == CR3_KEEP ? BIT(63) : 0);
		break;
	case PGE:
		PLACE(w, code, cr4);
		w->st.gpr[RDI] = w->st.cr4 & ~CR4_PGE;
		break;
	default:
		PLACE(w, code, invpcid);
		w->st.gpr[RDI] = how - INVPCID_0;
		break;
	}
	put(w, DATA + 0x100, w->st.cr3 & 0xfff, 8);
	put(w, DATA + 0x108, WINDOW, 8);
}

static void invalidations(void **state)
{
	for (enum inval how = 0; how < INVALS; how++)
		for (unsigned global = 0; global < 2; global++)
			for (unsigned pcid = 0; pcid < 2; pcid++) {
				struct world *w = sys_world("EPYC-Milan", LONG, 0);
				bool fresh = how != CR3_KEEP && !(global && (how == CR3 || how >= INVPCID_0));

				if (how == INVPCID_2)
					fresh = true;
				w->st.cr4 |= CR4_PGE | (pcid ? CR4_PCIDE : 0);
				w->st.cr3 |= pcid ? 5 : 0;
				if (how == CR3_KEEP && !pcid) {
					world_free(w);
					continue;
				}
				put(w, DATA, 1, 4);
				put(w, USER, 2, 4);
				sys_page(w, WINDOW, DATA | 7 | (global ? PTE_G : 0));
				PLACE(w, CODE + 0x100, load);
				prepare(w, how);
				assert_int_equal(w->v->ops->set_state(w->v, &w->st, &w->e), 0);
				seen(w, 1);
				sys_page(w, WINDOW, USER | 7 | (global ? PTE_G : 0));
				w->st.gpr[RBX] = WINDOW;
				run_inval(w);
				if (fresh)
					seen(w, 2);
				world_free(w);
			}
}

static void invpcid_faults(void **state)
{
	struct world *w = sys_world("EPYC-Milan", LONG, 0);

	w->st.gpr[RSI] = DATA;
	for (unsigned type = 0; type < 6; type++) {
		w->st.cr4 &= ~CR4_PCIDE;
		w->st.gpr[RDI] = type;
		put(w, DATA, 0, 8);
		put(w, DATA + 8, 0, 8);
		if (type > 3) {
			assert_fault(w, ONE(w, invpcid), EXC_GP, 0);
			continue;
		}
		assert_done(ONE(w, invpcid));
		put(w, DATA, 1, 8);
		if (type < 2)
			assert_fault(w, ONE(w, invpcid), EXC_GP, 0); /* no PCIDs but 0 */
		w->st.cr4 |= CR4_PCIDE;
		assert_done(ONE(w, invpcid));
		put(w, DATA, 0x1001, 8);
		assert_fault(w, ONE(w, invpcid), EXC_GP, 0);
		put(w, DATA, 1, 8);
		put(w, DATA + 8, 1ull << 47, 8);
		if (type == 0)
			assert_fault(w, ONE(w, invpcid), EXC_GP, 0);
		else
			assert_done(ONE(w, invpcid));
	}
	w->st.gpr[RDI] = 0;
	sys_page(w, WINDOW, 0);
	w->st.gpr[RSI] = WINDOW;
	assert_fault(w, ONE(w, invpcid), EXC_PF, 0);
	world_free(w);
	w = sys_world("EPYC-Milan", LONG, 3);
	assert_fault(w, ONE(w, invpcid), EXC_GP, 0);
	world_free(w);
	w = sys_world("EPYC", LONG, 0);
	assert_fault(w, ONE(w, invpcid), EXC_UD, 0);
	world_free(w);
}

/* CR4.PCIDE: only in long mode, with PCID 0; CR3's bit 63 exists with it only. */
static void pcid_rules(void **state)
{
	struct world *w = sys_world("EPYC-Milan", LONG, 0);

	w->st.gpr[RDI] = w->st.cr4 | CR4_PCIDE;
	w->st.cr3 |= 8;
	assert_fault(w, ONE(w, cr4), EXC_GP, 0);
	w->st.cr3 &= ~0xfffull;
	assert_done(ONE(w, cr4));
	w->st.gpr[RDI] = w->st.cr3 | BIT(63) | 7;
	assert_done(ONE(w, cr3));
	assert_int_equal(w->st.cr3, TABLES | 7);
	w->st.gpr[RDI] = w->st.cr3 | BIT(62);
	assert_fault(w, ONE(w, cr3), EXC_GP, 0);
	w->st.gpr[RDI] = w->st.cr3 | BIT(40);
	assert_fault(w, ONE(w, cr3), EXC_GP, 0);
	w->st.gpr[RDI] = w->st.cr4 & ~CR4_PCIDE; /* may go with any PCID */
	assert_done(ONE(w, cr4));
	w->st.gpr[RDI] = w->st.cr3 | BIT(63);
	assert_fault(w, ONE(w, cr3), EXC_GP, 0);
	w->st.gpr[RDI] = w->st.cr4 & ~CR4_PAE;
	assert_fault(w, ONE(w, cr4), EXC_GP, 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(access_rights), cmocka_unit_test(reserved_bits), cmocka_unit_test(pse36),
		cmocka_unit_test(pdptes),	 cmocka_unit_test(invalidations), cmocka_unit_test(invpcid_faults),
		cmocka_unit_test(pcid_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
