#include "arch/x86/walk.h"

#define LEVELS	  5
#define PTE_PK(e) ((e) >> 59 & 15)

enum step { STEP_OK, STEP_FAULT, STEP_AGAIN };

struct table_path {
	unsigned n;
	struct {
		void *host; /* of the entry */
		u64 entry;  /* as it was read */
		u64 pa;
		u64 gpa; /* the entry's address before the next stage */
	} at[LEVELS];
};

void xlate_from_regs(struct xlate *x, u64 cr0, u64 cr3, u64 cr4, u64 efer, const u64 *pdpte, unsigned phys_bits,
		     bool gbyte, bool amd)
{
	*x = (struct xlate){
		.wp = cr0 & CR0_WP,
		.smep = cr4 & CR4_SMEP,
		.smap = cr4 & CR4_SMAP,
		.gbyte = gbyte,
		.amd = amd,
		.root = cr3,
		.rsvd = MASK(52) & ~MASK(phys_bits),
		.phys_mask = MASK(phys_bits) & ~0xfffull,
	};
	if (!(cr0 & CR0_PG)) {
		x->format = WALK_NONE;
		return;
	}
	if (!(cr4 & CR4_PAE)) {
		x->format = WALK_32;
		x->pse = cr4 & CR4_PSE;
		return;
	}
	x->nxe = efer & EFER_NXE;
	if (!x->nxe)
		x->rsvd |= PTE_NX;
	if (efer & EFER_LMA) {
		x->format = cr4 & CR4_LA57 ? WALK_5 : WALK_4;
		x->pke = cr4 & CR4_PKE;
	} else {
		x->format = WALK_PAE;
		x->rsvd |= MASK(63) & ~MASK(52);
		x->pdpte = pdpte;
	}
}

void xlate_nested(struct xlate *x, u64 ncr3, u64 host_cr4, u64 host_efer, unsigned phys_bits, bool gbyte, bool amd)
{
	xlate_from_regs(x, CR0_PG, ncr3, host_cr4 & ~(CR4_SMEP | CR4_SMAP | CR4_PKE), host_efer, NULL, phys_bits, gbyte,
			amd);
}

void xlate_ept(struct xlate *x, u64 eptp, unsigned phys_bits)
{
	*x = (struct xlate){
		.format = WALK_EPT,
		.ept_ad = eptp & BIT(6),
		.gbyte = true,
		.exec_only = true,
		.root = eptp,
		.rsvd = MASK(52) & ~MASK(phys_bits),
		.phys_mask = MASK(phys_bits) & ~0xfffull,
	};
}

static always_inline bool fault(const struct xlate *x, struct walk *w, struct walk_access a, u32 error)
{
	if (a.want == WALK_W)
		error |= PF_W;
	if (a.user)
		error |= PF_U;
	if (a.want == WALK_X && (x->nxe || x->smep))
		error |= PF_I;
	w->stage = 0;
	w->table = false;
	w->why = WALK_VIOLATION;
	w->ve = false;
	w->error = error;
	return false;
}

/* Runs the stage that follows x; gives its faults their place in the list. */
static bool next_stage(const struct xlate *x, struct walk_mem *m, u64 gpa, unsigned want, bool table, bool user_la,
		       struct walk *sub, struct walk *w)
{
	if (walk_la(x->next, m, gpa, (struct walk_access){.want = want, .user = true, .user_la = user_la}, sub))
		return true;
	w->table = sub->stage ? sub->table : table;
	w->fault_gpa = sub->stage ? sub->fault_gpa : gpa;
	w->stage = sub->stage + 1;
	w->error = sub->error;
	w->why = sub->why;
	w->ve = sub->ve;
	return false;
}

/*
 * Nested tables take every access to an entry as a write (APM vol. 2 15.25.5); EPT does so with its accessed and dirty
 * flags on (SDM vol. 3 28.3.3.2), else a read is a read and only setting a flag is a write.
 */
static unsigned table_want(const struct xlate *next)
{
	return next->format != WALK_EPT || next->ept_ad ? WALK_W : WALK_R;
}

static bool table_address(const struct xlate *x, struct walk_mem *m, u64 gpa, u64 *pa, struct walk *w)
{
	struct walk_cache *cache = x->next->cache;
	u64 tag = (gpa & ~0xfffull) | 1;
	unsigned line = (gpa >> 12) % WALK_CACHE;
	struct walk sub;

	if (cache && likely(cache->line[line].tag == tag)) {
		*pa = cache->line[line].pa | (gpa & 0xfff);
		return true;
	}
	if (!next_stage(x, m, gpa, table_want(x->next), true, false, &sub, w)) {
		if (x->next->ept_ad)
			w->error |= 1;
		return false;
	}
	*pa = sub.pa;
	if (unlikely((sub.pa & ~0xfffull) + 1 == x->next->apic_page)) {
		w->stage = 1;
		w->table = true;
		w->why = WALK_APIC;
		w->ve = false;
		w->error = 0;
		w->fault_gpa = gpa;
		w->pa = sub.pa;
		return false;
	}
	if (cache) {
		cache->line[line].tag = tag;
		cache->line[line].pa = sub.pa & ~0xfffull;
	}
	return true;
}

static always_inline void *entry_host(struct walk_mem *m, u64 pa)
{
	if (unlikely(pa - m->base >= m->size) && !m->seek(m, pa))
		return NULL;
	return m->host + (pa - m->base);
}

static always_inline u64 entry_read(const void *host, bool wide)
{
	if (unlikely(!host))
		return wide ? ~0ull : 0xffffffffull;
	return wide ? __atomic_load_n((const u64 *)host, __ATOMIC_RELAXED)
		    : __atomic_load_n((const u32 *)host, __ATOMIC_RELAXED);
}

/* Sets flags in the entries of the path. STEP_AGAIN: somebody changed one in the meantime. */
static noinline enum step set_flags(const struct xlate *x, struct walk_mem *m, struct table_path *path, bool wide,
				    bool dirty, struct walk *w)
{
	for (unsigned i = 0; i < path->n; i++) {
		u64 old = path->at[i].entry;
		u64 new = old | PTE_A | (dirty && i == path->n - 1 ? PTE_D : 0);
		u32 old32 = old;
		bool done;

		if (new == old)
			continue;
		if (x->next && table_want(x->next) == WALK_R) {
			struct walk sub;

			if (!next_stage(x, m, path->at[i].gpa, WALK_W, true, false, &sub, w))
				return STEP_FAULT;
		}
		if (wide)
			done = __atomic_compare_exchange_n((u64 *)path->at[i].host, &old, new, false, __ATOMIC_SEQ_CST,
							   __ATOMIC_SEQ_CST);
		else
			done = __atomic_compare_exchange_n((u32 *)path->at[i].host, &old32, (u32) new, false,
							   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		if (!done)
			return STEP_AGAIN;
		if (m->stored)
			m->stored(m, path->at[i].pa);
	}
	return STEP_OK;
}

/* What accesses of a's privilege may do with a page of these rights; *pk_denies: the data rights that its protection
 * key takes away. */
static always_inline unsigned page_rights(const struct xlate *x, struct walk_access a, bool user, bool write, bool nx,
					  u64 leaf, bool pk, unsigned *pk_denies)
{
	unsigned perm;

	*pk_denies = 0;
	if (a.user) {
		perm = !user ? 0 : WALK_R | (write ? WALK_W : 0) | (nx ? 0 : WALK_X);
	} else {
		perm = user && a.smap && x->smap ? 0 : WALK_R | (write || !x->wp ? WALK_W : 0);
		if (!nx && !(user && x->smep))
			perm |= WALK_X;
	}
	/* SDM vol. 3 4.6.2 "Protection Keys": user-mode addresses, data accesses only. */
	if (pk && x->pke && user) {
		unsigned key = x->pkru >> (2 * PTE_PK(leaf)) & 3;

		if (key & 1)
			*pk_denies = WALK_R | WALK_W;
		else if ((key & 2) && (a.user || x->wp))
			*pk_denies = WALK_W;
	}
	return perm;
}

/* Address bits of a 4-MByte page: bits 20:13 of the entry are its bits 39:32 (SDM vol. 3 4.3, PSE-36). */
static always_inline bool pse_page(const struct xlate *x, u64 e, u64 *base)
{
	*base = (e & 0xffc00000) | (e >> 13 & 0xff) << 32;
	return !(e & BIT(21)) && !(*base & ~x->phys_mask);
}

static always_inline enum step walk_tables(const struct xlate *x, struct walk_mem *m, u64 la, struct walk_access a,
					   struct walk *w, enum walk_format format, bool nested)
{
	const bool wide = format != WALK_32;
	const unsigned bits = wide ? 9 : 10, top = format == WALK_4 ? 4 : format == WALK_5 ? 5 : 2;
	u64 table = wide ? x->root & x->phys_mask : x->root & 0xfffff000, both = PTE_W | PTE_U | PTE_A, any = 0, e,
	    base;
	struct table_path path = {0};
	unsigned shift, level, perm, pk_denies;

	if (format == WALK_PAE) {
		u64 at = (x->root & 0xffffffe0) + (la >> 27 & 0x18);

		if (x->pdpte) {
			e = x->pdpte[la >> 30 & 3];
		} else {
			if (nested && !table_address(x, m, at, &at, w))
				return STEP_FAULT;
			e = entry_read(entry_host(m, at), true);
		}
		if (!(e & PTE_P))
			return fault(x, w, a, 0), STEP_FAULT;
		if (e & (x->rsvd | PTE_NX | 0x1e6))
			return fault(x, w, a, PF_P | PF_RSVD), STEP_FAULT;
		table = e & x->phys_mask;
	}
	for (level = top, shift = 12 + (top - 1) * bits;; level--, shift -= bits) {
		u64 at = table + (la >> shift & MASK(bits)) * (wide ? 8 : 4);
		bool leaf = level == 1;
		void *host;

		path.at[path.n].gpa = at;
		if (nested && !table_address(x, m, at, &at, w))
			return STEP_FAULT;
		host = entry_host(m, at);
		e = entry_read(host, wide);
		path.at[path.n].host = host;
		path.at[path.n].entry = e;
		path.at[path.n++].pa = at;
		if (!(e & PTE_P))
			return fault(x, w, a, 0), STEP_FAULT;
		if (wide && unlikely(e & x->rsvd))
			return fault(x, w, a, PF_P | PF_RSVD), STEP_FAULT;
		both &= e;
		any |= e;
		base = wide ? e & x->phys_mask : e & 0xfffff000;
		if (level > 3) {
			if (unlikely(e & (x->amd ? PTE_PS | PTE_G : PTE_PS)))
				return fault(x, w, a, PF_P | PF_RSVD), STEP_FAULT;
		} else if (level > 1 && (e & PTE_PS) && (wide || x->pse)) {
			leaf = true;
			if (!wide ? !pse_page(x, e, &base)
				  : (base & MASK(shift) & ~BIT(12)) || (level == 3 && !x->gbyte))
				return fault(x, w, a, PF_P | PF_RSVD), STEP_FAULT;
			base &= ~MASK(shift);
		}
		if (leaf)
			break;
		table = base;
	}
	perm = page_rights(x, a, both & PTE_U, both & PTE_W, (any & PTE_NX) && x->nxe, e, format >= WALK_4, &pk_denies);
	if (unlikely(!(perm & a.want) || (pk_denies & a.want)))
		return fault(x, w, a, PF_P | (pk_denies & a.want ? PF_PK : 0)), STEP_FAULT;
	w->gpa = base | (la & MASK(shift));
	w->pa = w->gpa;
	w->page_bits = w->guest_bits = shift;
	w->global = !!(e & PTE_G);
	w->perm = perm & ~pk_denies;
	if (a.want != WALK_W && !(e & PTE_D))
		w->perm &= ~WALK_W;
	if (nested) {
		struct walk sub;

		if (!next_stage(x, m, w->gpa, a.want, false, both & PTE_U, &sub, w))
			return STEP_FAULT;
		w->pa = sub.pa;
		w->perm &= sub.perm;
		w->page_bits = MIN(w->page_bits, sub.page_bits);
	}
	if (likely((both & PTE_A) && (a.want != WALK_W || (e & PTE_D))) || x->dry)
		return STEP_OK;
	return set_flags(x, m, &path, wide, a.want == WALK_W, w);
}

#define EPT_RIGHTS    7ull
#define EPT_USER_X    BIT(10) /* with mode-based execute control */
#define EPT_NO_VE     BIT(63) /* SDM vol. 3 25.5.7.1 "Convertible EPT Violations" */
#define EPT_TYPE(e)   ((e) >> 3 & 7)
#define EPT_LARGE     BIT(7)
#define EPT_A	      BIT(8)
#define EPT_D	      BIT(9)
#define EPT_BAD_TYPES (BIT(2) | BIT(3) | BIT(7))

/* The rights to execute of one of EPT's entries. */
static u64 ept_exec(const struct xlate *x) { return x->mbec ? WALK_X | EPT_USER_X : WALK_X; }

/* SDM vol. 3 28.3.3.1 "EPT Misconfigurations". */
static bool ept_misconfigured(const struct xlate *x, u64 e, unsigned level, bool leaf)
{
	u64 rsvd = x->rsvd;

	if ((e & 3) == 2 || (!x->exec_only && !(e & 1) && (e & ept_exec(x))))
		return true;
	if (!leaf)
		rsvd |= 0xf8;
	else if (BIT(EPT_TYPE(e)) & EPT_BAD_TYPES)
		return true;
	else if (level > 1)
		rsvd |= MASK(12 + 9 * (level - 1)) & ~0xfffull;
	return e & rsvd;
}

/* Sets accessed and dirty flags of EPT along the path. */
static noinline enum step ept_set_flags(const struct xlate *x, struct walk_mem *m, const struct table_path *path,
					u64 gpa, bool dirty, struct walk *w)
{
	if (x->pml && !m->log_room(m)) { /* SDM vol. 3 28.3.6 "Page-Modification Logging" */
		w->why = WALK_LOG_FULL;
		return STEP_FAULT;
	}
	for (unsigned i = 0; i < path->n; i++) {
		u64 old = path->at[i].entry, new = old | EPT_A | (dirty && i == path->n - 1 ? EPT_D : 0);

		if (new == old)
			continue;
		if (!__atomic_compare_exchange_n((u64 *)path->at[i].host, &old, new, false, __ATOMIC_SEQ_CST,
						 __ATOMIC_SEQ_CST))
			return STEP_AGAIN;
		if (m->stored)
			m->stored(m, path->at[i].pa);
		if (x->pml && (new & ~old &EPT_D))
			m->log_page(m, gpa & ~0xfffull);
	}
	return STEP_OK;
}

/* SDM vol. 3 28.3.2 "EPT Translation Mechanism", 28.3.3 "EPT-Induced VM Exits". */
static noinline enum step walk_ept(const struct xlate *x, struct walk_mem *m, u64 gpa, struct walk_access a,
				   struct walk *w)
{
	u64 table = x->root & x->phys_mask, any = EPT_RIGHTS | ept_exec(x), rights = any, flags = EPT_A, e;
	unsigned allowed;
	struct table_path path = {0};
	unsigned shift = 39, level = 4;
	bool leaf, dirty;

	w->stage = 0;
	w->table = false;
	w->why = WALK_VIOLATION;
	w->ve = false;
	for (;; level--, shift -= 9) {
		u64 at = table + (gpa >> shift & 0x1ff) * 8;
		void *host = entry_host(m, at);

		e = entry_read(host, true);
		path.at[path.n].host = host;
		path.at[path.n].entry = e;
		path.at[path.n++].pa = at;
		leaf = level == 1 || ((e & EPT_LARGE) && ((level == 2 && !x->no_2m) || (level == 3 && x->gbyte)));
		if (!(e & any) || gpa >> 48) {
			w->error = a.want;
			w->ve = !(e & (any | EPT_NO_VE));
			return STEP_FAULT;
		}
		if (unlikely(ept_misconfigured(x, e, level, leaf))) {
			w->error = a.want;
			w->why = WALK_MISCONFIG;
			return STEP_FAULT;
		}
		rights &= e;
		flags &= e;
		table = e & x->phys_mask;
		if (leaf)
			break;
	}
	allowed = rights & EPT_RIGHTS;
	if (x->mbec && a.user_la)
		allowed = (allowed & ~WALK_X) | (rights & EPT_USER_X ? WALK_X : 0);
	if (!(allowed & a.want)) {
		w->error = a.want | (u32)(rights & EPT_RIGHTS) << 3 | (rights & EPT_USER_X ? BIT(6) : 0);
		w->ve = !(e & EPT_NO_VE);
		return STEP_FAULT;
	}
	dirty = !x->ept_ad || (e & EPT_D);
	w->pa = w->gpa = (table & ~MASK(shift)) | (gpa & MASK(shift));
	w->page_bits = w->guest_bits = (u8)shift;
	w->global = 0;
	w->perm = (u8)allowed;
	if (a.want != WALK_W && !dirty)
		w->perm &= (u8)~WALK_W;
	if (!x->ept_ad || x->dry || ((flags & EPT_A) && (a.want != WALK_W || dirty)))
		return STEP_OK;
	w->error = a.want;
	return ept_set_flags(x, m, &path, gpa, a.want == WALK_W, w);
}

static bool walk_untranslated(const struct xlate *x, struct walk_mem *m, u64 la, struct walk_access a, struct walk *w)
{
	struct walk sub;

	w->gpa = w->pa = la;
	w->perm = WALK_R | WALK_W | WALK_X;
	w->page_bits = 30;
	w->guest_bits = 12;
	w->global = 0;
	if (!x->next)
		return true;
	if (!next_stage(x, m, la, a.want, false, true, &sub, w))
		return false;
	w->pa = sub.pa;
	w->perm = sub.perm;
	w->page_bits = sub.page_bits;
	return true;
}

static noinline enum step walk_once(const struct xlate *x, struct walk_mem *m, u64 la, struct walk_access a,
				    struct walk *w)
{
	bool nested = x->next;

	switch (x->format) {
	case WALK_32: return walk_tables(x, m, la, a, w, WALK_32, nested);
	case WALK_PAE: return walk_tables(x, m, la, a, w, WALK_PAE, nested);
	case WALK_5: return walk_tables(x, m, la, a, w, WALK_5, nested);
	case WALK_4: return walk_tables(x, m, la, a, w, WALK_4, true);
	case WALK_EPT: return walk_ept(x, m, la, a, w);
	default: return fault(x, w, a, 0), STEP_FAULT;
	}
}

bool walk_la(const struct xlate *x, struct walk_mem *m, u64 la, struct walk_access a, struct walk *w)
{
	enum step step;

	if (unlikely(x->format == WALK_NONE))
		return walk_untranslated(x, m, la, a, w);
	do {
		if (likely(x->format == WALK_4 && !x->next))
			step = walk_tables(x, m, la, a, w, WALK_4, false);
		else
			step = walk_once(x, m, la, a, w);
	} while (unlikely(step == STEP_AGAIN));
	return step == STEP_OK;
}
