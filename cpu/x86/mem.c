/*
 * Guest memory beyond the fast path: TLB misses, accesses that cross a page, MMIO, pages that hold code, traced and
 * watched accesses.
 *
 * Order within one access (SDM vol. 3 6.9 "Prioritization of Concurrent Events"): canonical form, then translation of
 * the first page, then of the second; nothing is read or written before all have succeeded. Accesses of 1, 2, 4 and 8
 * bytes within a page are single host accesses, as mem.h's are.
 */
#include "cpu/x86/mem.h"

#include "cpu/x86/block.h"
#include "cpu/x86/debug.h"
#include "cpu/x86/share.h"
#include "cpu/x86/space.h"
#include "cpu/x86/trace.h"
#include "cpu/x86/vapic.h"
#include "cpu/x86/vmexit.h"
#include "cpu/x86/vmx.h"

/* One page's share of an access. */
struct piece {
	u8 *host; /* NULL: not RAM */
	u16 *flag;
	u64 pa;
	unsigned size;
	bool rom;
};

static u32 access_space(const struct x86_cpu *cpu, unsigned acc)
{
	if (acc & ACC_SYSTEM)
		return cpu->c.system_space;
	return acc & ACC_EXEC ? cpu->c.fetch_space : cpu->c.space;
}

static bool canonical(const struct x86_cpu *cpu, u64 la)
{
	return sign_extend(la, cpu->st.cr4 & CR4_LA57 ? 57 : 48) == la;
}

/* Whether an access that goes on at `next`, the start of a page, has left the address space or its flat segment. */
static bool crosses_edge(const struct x86_cpu *cpu, u64 next, unsigned acc)
{
	if (cpu->c.mode & 2)
		return !canonical(cpu, next);
	return !(u32)next && (cpu->c.mode & MODE_FLAT) && !(acc & ACC_SYSTEM);
}

/* Whether DR7 watches some byte of the page for this kind of access (SDM vol. 3 18.2.4 "Debug Control Register"). */
static bool page_watched(const struct x86_cpu *cpu, u64 page, bool write)
{
	for (unsigned i = 0; i < 4; i++) {
		unsigned kind = cpu->st.dr7 >> (16 + 4 * i) & 3;

		if ((cpu->st.dr7 >> (2 * i) & 3) && (kind == 3 || (kind == 1 && write)) &&
		    ALIGN_DOWN(cpu->st.dr[i], RAM_PAGE) == page)
			return true;
	}
	return debug_watched(&cpu->vm->debug, page, RAM_PAGE, write);
}

/* The slot's tags as its translation, the page's flags, traces and watchpoints allow. */
static void slot_tag(struct x86_cpu *cpu, struct tlb_entry *e, const struct tlb_phys *p)
{
	u64 page = ALIGN_DOWN(p->tag, RAM_PAGE);
	bool direct = p->host && likely(!trace_on(cpu->topics, TRACE_MEM));

	if (p->tag % TLB_CLASSES == TLB_ALIGN)
		direct = false;
	e->addend = (u64)p->host - page;
	e->exec = p->host && (p->perm & WALK_X) ? p->tag : TLB_NO_TAG;
	e->read = direct && (p->perm & WALK_R) ? p->tag : TLB_NO_TAG;
	e->write = direct && (p->perm & WALK_W) && !p->rom && share_may_write(cpu, p->flag) ? p->tag : TLB_NO_TAG;
	if (unlikely(cpu->c.watch)) {
		if (page_watched(cpu, page, false))
			e->read = TLB_NO_TAG;
		if (page_watched(cpu, page, true))
			e->write = TLB_NO_TAG;
	}
}

/* `address`: bits 7 and 8 of a violation's qualification, SDM vol. 3 table 27-7. Or #VE: OUT_FAULT. */
static enum outcome ept_exit(struct x86_cpu *cpu, const struct walk *w, u64 address, u64 la)
{
	switch ((enum walk_why)w->why) {
	case WALK_MISCONFIG: return x86_exit(cpu, EXIT_EPT_MISCONFIG, 0, w->fault_gpa);
	case WALK_APIC: return vapic_access_physical(cpu, w->pa);
	case WALK_LOG_FULL: return x86_exit(cpu, EXIT_PML_FULL, 0, 0);
	default: break;
	}
	if (unlikely(cpu->c.vmx.ve_area) && w->ve && vmx_ve(cpu, w->error | address, la, w->fault_gpa))
		return x86_fault(cpu, EXC_VE, 0);
	return x86_exit(cpu, EXIT_NPF, w->error | address, w->fault_gpa);
}

static noinline enum outcome walk_fault(struct x86_cpu *cpu, u64 la, const struct walk *w)
{
	if (w->stage == 0) {
		if (trace_on(cpu->topics, TRACE_PF))
			trace_cpu(cpu, NULL, TRACE_PF, "page fault at %#llx error %#x", (unsigned long long)la,
				  w->error);
		return x86_fault_pf(cpu, la, w->error);
	}
	if (trace_on(cpu->topics, TRACE_PF))
		trace_cpu(cpu, NULL, TRACE_PF, "nested page fault at %#llx (%s) error %#x, linear %#llx",
			  (unsigned long long)w->fault_gpa, w->table ? "table" : "final", w->error,
			  (unsigned long long)la);
	if (cpu->c.ept) {
		enum outcome o = ept_exit(cpu, w, BIT(7) | (w->table ? 0 : BIT(8)), la);

		if (o == OUT_EXIT)
			cpu->c.vmexit.la = la;
		return o;
	}
	/* APM vol. 2 15.25.6 "Nested versus Guest Page Faults, Fault Ordering". */
	return x86_exit(cpu, EXIT_NPF, w->error | (w->table ? BIT(33) : BIT(32)), w->fault_gpa);
}

static noinline enum outcome slot_fill(struct x86_cpu *cpu, u64 la, unsigned want, u32 space, struct tlb_phys *p)
{
	struct tlb_spaces *s = cpu->spaces;
	struct space_group *g = &s->group[space / TLB_CLASSES];
	enum tlb_class class = space % TLB_CLASSES;
	struct walk_access a = {
		.want = want, .user = class == TLB_USER || class == TLB_ALIGN, .smap = class == TLB_SMAP};
	const struct ram_slot *slot;
	struct walk w;

	cpu->n.tlb_miss++;
	if (unlikely(!walk_la(&s->guest, &s->mem, la, a, &w)))
		return walk_fault(cpu, la, &w);
	if (w.guest_bits > 12)
		filter_set(w.guest_bits == 30 ? g->huge : g->large, SPACE_FILTER, la >> (w.guest_bits == 30 ? 30 : 21));
	p->global = w.global && (cpu->st.cr4 & CR4_PGE);
	if (p->global)
		filter_set(s->seen_global, SPACE_FILTER, la >> 21);
	p->tag = ALIGN_DOWN(la, RAM_PAGE) | space;
	p->pa = ALIGN_DOWN(w.pa, RAM_PAGE);
	p->gpa = ALIGN_DOWN(w.gpa, RAM_PAGE);
	p->perm = w.perm;
	slot = ram_find(&cpu->vm->ram, w.pa);
	p->host = slot ? slot->host + (p->pa - slot->gpa) : NULL;
	p->flag = slot ? slot->flags + (p->pa - slot->gpa) / RAM_PAGE : NULL;
	p->rom = slot && slot->readonly;
	p->apic = unlikely(p->pa + 1 == cpu->c.vmx.apic_access) || unlikely(p->gpa + 1 == cpu->c.avic.bar);
	if (unlikely(p->apic))
		p->host = NULL;
	return OUT_NEXT;
}

/* Translates la for `want` and brings its slot up to date. */
static always_inline enum outcome translate(struct x86_cpu *cpu, u64 la, unsigned want, unsigned acc,
					    struct tlb_phys **out)
{
	u32 space = access_space(cpu, acc);
	struct tlb_entry *e = tlb_slot(cpu, la, space);
	struct tlb_phys *p = &cpu->c.tlb_phys[e - cpu->c.tlb];

	*out = p;
	if (p->tag != (ALIGN_DOWN(la, RAM_PAGE) | space) || !(p->perm & want)) {
		enum outcome o;

		if (unlikely((cpu->st.msr.efer & EFER_LMA) && !canonical(cpu, la)))
			return x86_fault(cpu, acc & ACC_STACK ? EXC_SS : EXC_GP, 0);
		o = slot_fill(cpu, la, want, space, p);
		if (unlikely(o != OUT_NEXT))
			return o;
	}
	slot_tag(cpu, e, p);
	return OUT_NEXT;
}

static struct piece piece_of(const struct tlb_phys *p, u64 la, unsigned size)
{
	unsigned off = la % RAM_PAGE;

	return (struct piece){p->host ? p->host + off : NULL, p->flag, p->pa + off, size, p->rom};
}

/* An access, or its second half, that begins in the APIC-access page. */
static noinline enum outcome piece_apic(struct x86_cpu *cpu, u64 la, unsigned size, unsigned want, struct piece *piece)
{
	enum outcome o = vmexit_apic_access(cpu, la, size, want, &piece->host);
	const struct ram_slot *slot;

	if (o != OUT_NEXT)
		return o;
	piece->pa = (cpu->c.vmx.on ? cpu->c.vmx.apic_page : cpu->c.avic.page) + la % RAM_PAGE;
	slot = ram_find(&cpu->vm->ram, piece->pa);
	piece->flag = slot->flags + (piece->pa - slot->gpa) / RAM_PAGE;
	return OUT_NEXT;
}

/* Outside long mode linear addresses have 32 bits. */
static u64 wrap_la(const struct x86_cpu *cpu, u64 la) { return likely(cpu->st.msr.efer & EFER_LMA) ? la : (u32)la; }

/*
 * SDM vol. 3 table 6-7 "Alignment Requirements by Data Type": numbers by their size, but 80-bit ones by 8 and
 * pseudo-descriptors of 48 bits by 4; of far pointers and bounds each part by itself. Vectors want 16, as silicon has it
 * for longer ones too. #AC comes before any page fault there; an address that is not canonical is #GP or #SS all the same.
 */
static bool misaligned(const struct x86_cpu *cpu, u64 la, unsigned size, unsigned acc)
{
	unsigned align = size == 10 ? 8 : size == 6 ? 4 : MIN(size & -size, 16u);

	if ((acc & ACC_SYSTEM) || !(la & (align - 1)))
		return false;
	return !(cpu->c.mode & 2) || canonical(cpu, la);
}

/* Splits [la, la + size), size <= 4096, into its one or two pages, all of them checked. */
static always_inline enum outcome pieces_of(struct x86_cpu *cpu, u64 la, unsigned size, unsigned want, unsigned acc,
					    struct piece piece[2], unsigned *n)
{
	unsigned first = RAM_PAGE - la % RAM_PAGE;
	struct tlb_phys *p = NULL;
	enum outcome o;

	la = wrap_la(cpu, la);
	/* For the whole access, before either page: canonical form, and in flat 32-bit code the segments' limit. */
	if (unlikely(size > first) && unlikely(crosses_edge(cpu, wrap_la(cpu, la + first), acc)))
		o = x86_fault(cpu, acc & ACC_STACK ? EXC_SS : EXC_GP, 0);
	else if (unlikely(cpu->c.space % TLB_CLASSES == TLB_ALIGN) && misaligned(cpu, la, size, acc))
		o = x86_fault(cpu, EXC_AC, 0);
	else
		o = translate(cpu, la, want, acc, &p);
	if (unlikely(o != OUT_NEXT))
		return o;
	*n = 1;
	piece[0] = piece_of(p, la, MIN(size, first));
	if (unlikely(p->apic)) {
		o = piece_apic(cpu, la, size, want, &piece[0]);
		if (o != OUT_NEXT)
			return o;
	}
	if (likely(size <= first))
		return OUT_NEXT;
	la = wrap_la(cpu, la + first);
	o = translate(cpu, la, want, acc, &p);
	if (unlikely(o != OUT_NEXT))
		return o;
	*n = 2;
	piece[1] = piece_of(p, la, size - first);
	/* Of more than 4 bytes as far as virtualization goes: it exits. */
	if (unlikely(p->apic))
		return piece_apic(cpu, la, size + 4, want, &piece[1]);
	return OUT_NEXT;
}

static always_inline void copy(void *dst, const void *src, unsigned size)
{
	switch (size) {
	case 1: memcpy(dst, src, 1); break;
	case 2: memcpy(dst, src, 2); break;
	case 4: memcpy(dst, src, 4); break;
	case 8: memcpy(dst, src, 8); break;
	default: memcpy(dst, src, size); break;
	}
}

/* The largest access of 1, 2, 4 or 8 bytes that fits. */
static unsigned io_size(unsigned left) { return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1; }

/* The local APIC answers its own processor; everything else is on the bus. */
static noinline void mmio_read(struct x86_cpu *cpu, u64 pa, u8 *buf, unsigned size)
{
	for (unsigned n; size; size -= n, pa += n, buf += n) {
		u64 v;

		n = io_size(size);
		cpu->n.mmio++;
		if (!cpu->apic_ops || !cpu->apic_ops->mmio_read(cpu->apic, pa, n, &v))
			v = vm_mmio_read(cpu->vm, pa, n);
		if (trace_on(cpu->topics, TRACE_MMIO))
			trace_cpu(cpu, NULL, TRACE_MMIO, "read %llx size %u = %llx", (unsigned long long)pa, n,
				  (unsigned long long)v);
		memcpy(buf, &v, n);
	}
}

static noinline void mmio_write(struct x86_cpu *cpu, u64 pa, const u8 *buf, unsigned size)
{
	for (unsigned n; size; size -= n, pa += n, buf += n) {
		u64 v = 0;

		n = io_size(size);
		memcpy(&v, buf, n);
		cpu->n.mmio++;
		if (trace_on(cpu->topics, TRACE_MMIO))
			trace_cpu(cpu, NULL, TRACE_MMIO, "write %llx size %u = %llx", (unsigned long long)pa, n,
				  (unsigned long long)v);
		if (!cpu->apic_ops || !cpu->apic_ops->mmio_write(cpu->apic, pa, n, v))
			vm_mmio_write(cpu->vm, pa, n, v);
	}
}

static void piece_read(struct x86_cpu *cpu, const struct piece *p, void *buf)
{
	if (likely(p->host))
		copy(buf, p->host, p->size);
	else
		mmio_read(cpu, p->pa, buf, p->size);
}

static void piece_write(struct x86_cpu *cpu, const struct piece *p, const void *buf)
{
	if (unlikely(!p->host)) {
		mmio_write(cpu, p->pa, buf, p->size);
		return;
	}
	if (p->rom)
		return;
	copy(p->host, buf, p->size);
	/* Against a claim by another processor, which counts before it reads the bytes. */
	if (cpu->vm->nvcpus > 1)
		atomic_thread_fence(memory_order_seq_cst);
	if (__atomic_load_n(p->flag, __ATOMIC_RELAXED) & RAM_CODE)
		block_written(cpu, p->pa, p->size);
}

/*
 * Data breakpoints that the access has hit: traps, due right after the instruction (SDM vol. 3 18.3.1.2), so the rest
 * of the running block is dropped.
 */
static noinline void watch_check(struct x86_cpu *cpu, u64 la, unsigned size, bool write)
{
	static const u8 lengths[] = {1, 2, 8, 4};
	u64 hits = 0;

	for (unsigned i = 0; i < 4; i++) {
		unsigned kind = cpu->st.dr7 >> (16 + 4 * i) & 3, len = lengths[cpu->st.dr7 >> (18 + 4 * i) & 3];
		u64 at = ALIGN_DOWN(cpu->st.dr[i], len);

		if ((cpu->st.dr7 >> (2 * i) & 3) && (kind == 3 || (kind == 1 && write)) && at < la + size &&
		    la < at + len)
			hits |= BIT(i);
	}
	if (hits && cpu->st.svm.gif) { /* APM vol. 2 15.17: with GIF 0 they are discarded */
		cpu->st.pending_db |= hits;
		x86_update_attention(cpu);
		block_leave_running(cpu);
	}
	debug_watch(cpu, la, size, write);
}

static noinline void trace_access(struct x86_cpu *cpu, const char *what, u64 la, const struct piece *p, const void *buf,
				  unsigned size)
{
	char hex[2 * 16 + 1] = "";
	unsigned n = MIN(size, 16u);

	for (unsigned i = 0; i < n; i++)
		snprintf(hex + 2 * i, 3, "%02x", ((const u8 *)buf)[n - 1 - i]);
	trace_cpu(cpu, NULL, TRACE_MEM, "%s %u at %#llx (%s %#llx) %s%s", what, size, (unsigned long long)la,
		  p->host ? "ram" : "mmio", (unsigned long long)p->pa, hex, size > n ? "…" : "");
}

enum outcome mem_read_slow(struct x86_cpu *cpu, u64 la, void *buf, unsigned size, unsigned acc)
{
	struct piece piece[2];
	unsigned n;
	enum outcome o = pieces_of(cpu, la, size, WALK_R, acc, piece, &n);

	if (unlikely(o != OUT_NEXT))
		return o;
	piece_read(cpu, &piece[0], buf);
	if (n == 2)
		piece_read(cpu, &piece[1], (u8 *)buf + piece[0].size);
	if (unlikely(cpu->c.watch))
		watch_check(cpu, la, size, false);
	if (unlikely(trace_on(cpu->topics, TRACE_MEM)))
		trace_access(cpu, "read", la, piece, buf, size);
	return OUT_NEXT;
}

enum outcome mem_write_slow(struct x86_cpu *cpu, u64 la, const void *buf, unsigned size, unsigned acc)
{
	struct piece piece[2];
	unsigned n;
	enum outcome o = pieces_of(cpu, la, size, WALK_W, acc, piece, &n);

	if (unlikely(o != OUT_NEXT))
		return o;
	if (unlikely(trace_on(cpu->topics, TRACE_MEM)))
		trace_access(cpu, "write", la, piece, buf, size);
	piece_write(cpu, &piece[0], buf);
	if (n == 2)
		piece_write(cpu, &piece[1], (const u8 *)buf + piece[0].size);
	if (unlikely(cpu->c.watch))
		watch_check(cpu, la, size, true);
	return OUT_NEXT;
}

enum outcome mem_rmw_slow(struct x86_cpu *cpu, u64 la, unsigned size, unsigned acc, struct mem_rmw *m)
{
	struct piece piece[2];
	unsigned n;
	enum outcome o = pieces_of(cpu, la, size, WALK_W, acc, piece, &n);

	if (unlikely(o != OUT_NEXT))
		return o;
	if (n == 1 && piece[0].host && !piece[0].rom && likely(!trace_on(cpu->topics, TRACE_MEM))) {
		/* Also where the page holds code: the operation stays atomic, and the code is dropped after it. */
		if (unlikely(cpu->c.watch))
			watch_check(cpu, la, size, true);
		m->p = piece[0].host;
		m->la = piece[0].pa;
		m->size = size;
		m->bounced = __atomic_load_n(piece[0].flag, __ATOMIC_RELAXED) & RAM_CODE ? RMW_CODE : 0;
		return OUT_NEXT;
	}
	piece_read(cpu, &piece[0], m->buf);
	if (n == 2)
		piece_read(cpu, &piece[1], m->buf + piece[0].size);
	m->p = m->buf;
	m->la = la;
	m->size = size;
	m->bounced = acc | ACC_WRITE;
	return OUT_NEXT;
}

enum outcome mem_rmw_finish(struct x86_cpu *cpu, struct mem_rmw *m)
{
	if (m->bounced != RMW_CODE)
		return mem_write_slow(cpu, m->la, m->p, m->size, m->bounced);
	if (cpu->vm->nvcpus > 1)
		atomic_thread_fence(memory_order_seq_cst);
	block_written(cpu, m->la, m->size);
	return OUT_NEXT;
}

enum outcome mem_probe(struct x86_cpu *cpu, u64 la, unsigned size, unsigned acc)
{
	unsigned want = acc & ACC_WRITE ? WALK_W : acc & ACC_EXEC ? WALK_X : WALK_R;

	if (size <= RAM_PAGE) {
		struct piece piece[2];
		unsigned pieces;

		return pieces_of(cpu, la, size, want, acc, piece, &pieces);
	}
	for (;;) {
		unsigned n = MIN(size, RAM_PAGE - (unsigned)(la % RAM_PAGE));
		struct tlb_phys *p;
		enum outcome o = translate(cpu, wrap_la(cpu, la), want, acc, &p);

		if (o != OUT_NEXT || n == size)
			return o;
		la += n;
		size -= n;
	}
}

enum outcome mem_read_pa(struct x86_cpu *cpu, u64 la, u64 *pa)
{
	struct tlb_phys *p;
	enum outcome o = translate(cpu, wrap_la(cpu, la), WALK_R, 0, &p);

	if (o == OUT_NEXT)
		*pa = p->pa + la % RAM_PAGE;
	return o;
}

enum outcome mem_fetch_pa(struct x86_cpu *cpu, u64 la, u64 *pa)
{
	struct tlb_phys *p;
	enum outcome o = translate(cpu, wrap_la(cpu, la), WALK_X, ACC_EXEC, &p);

	if (unlikely(o != OUT_NEXT))
		return o;
	if (unlikely(p->apic)) {
		u8 *none;

		return vmexit_apic_access(cpu, wrap_la(cpu, la), 1, WALK_X, &none);
	}
	*pa = p->pa + la % RAM_PAGE;
	filter_set(cpu->spaces->seen_exec, ARRAY_SIZE(cpu->spaces->seen_exec), wrap_la(cpu, la) >> 12);
	return OUT_NEXT;
}

enum outcome mem_nested_pa(struct x86_cpu *cpu, u64 gpa, bool write, u64 *pa)
{
	struct tlb_spaces *s = cpu->spaces;
	struct walk_access a = {.want = write ? WALK_W : WALK_R, .user = true};
	struct walk w;

	if (!walk_la(&s->nested, &s->mem, gpa, a, &w))
		return x86_exit(cpu, EXIT_NPF, w.error | BIT(32), gpa);
	*pa = w.pa;
	return OUT_NEXT;
}

enum outcome mem_read_gpa(struct x86_cpu *cpu, u64 gpa, void *buf, unsigned size)
{
	struct tlb_spaces *s = cpu->spaces;
	struct walk w;

	if (cpu->c.ept) {
		if (!walk_la(&s->nested, &s->mem, gpa, (struct walk_access){.want = WALK_R}, &w)) {
			w.fault_gpa = gpa;
			return ept_exit(cpu, &w, 0, 0);
		}
		gpa = w.pa;
		if (unlikely(ALIGN_DOWN(gpa, RAM_PAGE) + 1 == cpu->c.vmx.apic_access))
			return vapic_access_physical(cpu, gpa);
	}
	phys_read(cpu, gpa, buf, size);
	return OUT_NEXT;
}

void phys_read(struct x86_cpu *cpu, u64 pa, void *buf, unsigned size)
{
	for (unsigned n; size; size -= n, pa += n, buf = (u8 *)buf + n) {
		const u8 *host;

		n = MIN(size, RAM_PAGE - (unsigned)(pa % RAM_PAGE));
		host = ram_host(&cpu->vm->ram, pa, n);
		if (host)
			copy(buf, host, n);
		else
			mmio_read(cpu, pa, buf, n);
	}
}

void phys_write(struct x86_cpu *cpu, u64 pa, const void *buf, unsigned size)
{
	for (unsigned n; size; size -= n, pa += n, buf = (const u8 *)buf + n) {
		const struct ram_slot *slot = ram_find(&cpu->vm->ram, pa);
		struct piece p = {.pa = pa};

		n = p.size = MIN(size, RAM_PAGE - (unsigned)(pa % RAM_PAGE));
		if (slot) {
			p.host = slot->host + (pa - slot->gpa);
			p.flag = slot->flags + (pa - slot->gpa) / RAM_PAGE;
			p.rom = slot->readonly;
		}
		piece_write(cpu, &p, buf);
	}
}
