/*
 * The TLB's spaces and their invalidation (tlb.h, space.h).
 * SDM vol. 3 4.10.4 "Invalidation of TLBs and Paging-Structure Caches"; APM vol. 2 5.5 "Translation-Lookaside
 * Buffer", 15.16 "TLB Control".
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/model.h"
#include "cpu/x86/block.h"
#include "cpu/x86/mem.h"
#include "cpu/x86/space.h"
#include "cpu/x86/vmx.h"

#define MODE_CR0  (CR0_PG | CR0_WP)
#define MODE_CR4  (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE)
#define MODE_EFER (EFER_NXE | EFER_LMA)
#define ROOT_PCID BIT(63)
_Static_assert(!(MODE_CR0 & MODE_CR4) && !(MODE_EFER & (MODE_CR0 | MODE_CR4)), "space keys pack these bits");

/* host_mode of EPT, with mode-based execute control; no bits of the registers are there */
#define SPACE_EPT  BIT(0)
#define SPACE_MBEC BIT(1)

static void tlb_clear(struct x86_cpu *cpu)
{
	memset(cpu->c.tlb, 0xff, sizeof(cpu->c.tlb));
	memset(cpu->c.tlb_phys, 0xff, sizeof(cpu->c.tlb_phys));
}

static bool table_seek(struct walk_mem *m, u64 pa)
{
	struct tlb_spaces *s = container_of(m, struct tlb_spaces, mem);
	const struct ram_slot *slot = ram_find(&s->cpu->vm->ram, pa);

	if (!slot)
		return false;
	if (slot->readonly) {
		m->base = ALIGN_DOWN(pa, RAM_PAGE);
		m->size = RAM_PAGE;
		m->host = s->rom_page;
		memcpy(s->rom_page, slot->host + (m->base - slot->gpa), RAM_PAGE);
		return true;
	}
	m->base = slot->gpa;
	m->size = slot->size;
	m->host = slot->host;
	return true;
}

/* An accessed or dirty flag was set: the only stores that do not come through mem.c. */
static void table_stored(struct walk_mem *m, u64 pa)
{
	struct tlb_spaces *s = container_of(m, struct tlb_spaces, mem);
	const struct ram_slot *slot = ram_find(&s->cpu->vm->ram, pa);

	if (slot && (__atomic_load_n(&slot->flags[(pa - slot->gpa) / RAM_PAGE], __ATOMIC_RELAXED) & RAM_CODE))
		block_written(s->cpu, pa, 8);
}

static bool table_log_room(struct walk_mem *m) { return vmx_pml_room(container_of(m, struct tlb_spaces, mem)->cpu); }
static void table_log_page(struct walk_mem *m, u64 gpa)
{
	vmx_pml_log(container_of(m, struct tlb_spaces, mem)->cpu, gpa);
}

int tlb_new(struct x86_cpu *cpu)
{
	struct tlb_spaces *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->cpu = cpu;
	s->mem.seek = table_seek;
	s->mem.stored = table_stored;
	s->mem.log_room = table_log_room;
	s->mem.log_page = table_log_page;
	cpu->spaces = s;
	tlb_flush_all(cpu);
	return 0;
}

void tlb_free(struct x86_cpu *cpu)
{
	free(cpu->spaces);
	cpu->spaces = NULL;
}

static void space_key_make(const struct x86_cpu *cpu, struct space_key *k)
{
	const struct x86_state *st = &cpu->st;

	memset(k, 0, sizeof(*k));
	k->asid = cpu->c.asid;
	k->apic_access = cpu->c.avic.bar | cpu->c.vmx.apic_access | (u64)cpu->c.vmx.pml << 1;
	if (cpu->c.npt) {
		k->ncr3 = cpu->c.ncr3;
		if (cpu->c.ept)
			k->host_mode = SPACE_EPT | (vmx_has(&cpu->c, PROC2, MBEC) ? SPACE_MBEC : 0);
		else
			k->host_mode = (cpu->c.host_cr4 & MODE_CR4) | (cpu->c.host_efer & MODE_EFER);
	}
	if (!(st->cr0 & CR0_PG)) {
		k->mode = st->msr.efer & EFER_LMA;
		return;
	}
	k->mode = (st->cr0 & MODE_CR0) | (st->cr4 & MODE_CR4) | (st->msr.efer & MODE_EFER);
	k->root = st->cr4 & CR4_PCIDE ? ROOT_PCID | (st->cr3 & 0xfff) : st->cr3 & ~0x1full;
	if (st->cr4 & CR4_PKE)
		k->pkru = st->fpu.pkru;
}

static unsigned key_hash(const struct space_key *k)
{
	u64 h = k->root ^ k->mode * 31 ^ k->ncr3 * 3 ^ k->host_mode * 7 ^ ((u64)k->asid << 32) ^ k->pkru;

	return (unsigned)(h * 0x9e3779b97f4a7c15ull >> 48) % SPACE_HASH;
}

static void spaces_restart(struct tlb_spaces *s)
{
	tlb_clear(s->cpu);
	memset(s->hash, 0, sizeof(s->hash));
	memset(s->seen_global, 0, sizeof(s->seen_global));
	s->current = s->next = 0;
	tlb_flush_code_gen(s->cpu);
}

/* The group of a key; a key without a live one gets a fresh number. */
static unsigned space_group_of(struct tlb_spaces *s, const struct space_key *k)
{
	unsigned at = key_hash(k);
	struct space_group *g;

	for (; s->hash[at]; at = (at + 1) % SPACE_HASH) {
		g = &s->group[s->hash[at] - 1];
		if (memcmp(&g->key, k, sizeof(*k)) == 0) {
			if (g->live)
				return s->hash[at] - 1;
			break;
		}
	}
	if (s->next == SPACE_GROUPS) {
		spaces_restart(s);
		at = key_hash(k);
	}
	g = &s->group[s->next];
	memset(g, 0, sizeof(*g));
	g->key = *k;
	g->live = true;
	s->hash[at] = ++s->next;
	return s->next - 1;
}

static void xlate_eptp(const struct x86_cpu *cpu, struct xlate *x)
{
	xlate_ept(x, cpu->c.ncr3, cpu->model->phys_bits);
	x->gbyte = cpu->vmx_cap[VMX_CAP_EPT_VPID] & VMX_EPT_1G;
	x->no_2m = !(cpu->vmx_cap[VMX_CAP_EPT_VPID] & VMX_EPT_2M);
	x->exec_only = cpu->vmx_cap[VMX_CAP_EPT_VPID] & VMX_EPT_EXECUTE_ONLY;
	x->mbec = vmx_has(&cpu->c, PROC2, MBEC);
	x->apic_page = cpu->c.vmx.apic_access;
	x->pml = x->ept_ad && cpu->c.vmx.pml;
}

/* The stages that the key describes. */
static void xlate_make(struct x86_cpu *cpu, const struct space_key *k)
{
	struct tlb_spaces *s = cpu->spaces;
	const struct x86_state *st = &cpu->st;
	const struct x86_model *m = cpu->model;
	bool gbyte = x86_has(m, X86F_PDPE1GB), amd = m->vendor == X86_AMD;

	/* APM vol. 2 15.25.10 "Legacy PAE Mode": under nested paging the four entries are read from memory. */
	xlate_from_regs(&s->guest, st->cr0, st->cr3, st->cr4, st->msr.efer,
			cpu->c.npt && !cpu->c.ept ? NULL : st->pdpte, m->phys_bits, gbyte, amd);
	s->guest.pkru = st->fpu.pkru;
	if (!cpu->c.npt)
		return;
	if (cpu->c.ept)
		xlate_eptp(cpu, &s->nested);
	else
		xlate_nested(&s->nested, cpu->c.ncr3, cpu->c.host_cr4, cpu->c.host_efer, m->phys_bits, gbyte, amd);
	s->guest.next = &s->nested;
	s->nested.cache = &s->cache;
	if (s->cache_ncr3 != k->ncr3 || s->cache_apic != k->apic_access || s->cache_asid != k->asid || s->cache_host_mode != k->host_mode) {
		memset(&s->cache, 0, sizeof(s->cache));
		s->cache_ncr3 = k->ncr3;
		s->cache_asid = k->asid;
		s->cache_apic = k->apic_access;
		s->cache_host_mode = k->host_mode;
	}
}

/*
 * SDM vol. 3 6.15 "Interrupt 17": at CPL 3 AC asks for alignment checks; 4.6 "Access Rights": below it lifts SMAP, for
 * explicit accesses only.
 */
u16 space_of_data(const struct x86_cpu *cpu)
{
	u16 base = ALIGN_DOWN(cpu->c.system_space, TLB_CLASSES);
	bool ac = cpu->st.rflags & FL_AC;

	if (cpu->st.cpl == 3)
		return base + (ac && (cpu->st.cr0 & CR0_AM) ? TLB_ALIGN : TLB_USER);
	return ac ? base + TLB_SUPER : cpu->c.system_space;
}

void space_select(struct x86_cpu *cpu)
{
	struct tlb_spaces *s = cpu->spaces;
	struct space_group *g = &s->group[s->current];
	struct space_key k;
	bool smap = cpu->st.cr4 & CR4_SMAP;
	unsigned base;

	space_key_make(cpu, &k);
	if (likely(s->next && g->live && memcmp(&g->key, &k, sizeof(k)) == 0)) {
		s->guest.root = cpu->st.cr3; /* PCIDE: not in the key */
	} else {
		s->current = space_group_of(s, &k);
		xlate_make(cpu, &k);
	}
	base = s->current * TLB_CLASSES;
	cpu->c.system_space = base + (smap ? TLB_SMAP : TLB_SUPER);
	cpu->c.fetch_space = base + (cpu->st.cpl == 3 ? TLB_USER : TLB_SUPER);
	cpu->c.space = space_of_data(cpu);
	jump_key_update(cpu);
}

void tlb_flush_code_gen(struct x86_cpu *cpu)
{
	cpu->c.jump_gen++;
	jump_key_update(cpu);
	if (cpu->spaces)
		memset(cpu->spaces->seen_exec, 0, sizeof(cpu->spaces->seen_exec));
}

void tlb_flush_all(struct x86_cpu *cpu)
{
	struct tlb_spaces *s = cpu->spaces;

	spaces_restart(s);
	memset(&s->cache, 0, sizeof(s->cache));
	space_select(cpu);
}

static void slot_drop(struct x86_cpu *cpu, u64 page, u32 space, bool globals)
{
	struct tlb_entry *e = tlb_slot(cpu, page, space);
	struct tlb_phys *p = &cpu->c.tlb_phys[e - cpu->c.tlb];

	if (p->tag != (page | space) || (p->global && !globals))
		return;
	p->tag = TLB_NO_TAG;
	e->read = e->write = e->exec = TLB_NO_TAG;
}

/* Drops the entries of [page, end) of one group. */
static void group_drop_pages(struct x86_cpu *cpu, unsigned group, u64 page, u64 end, bool globals)
{
	for (; page != end; page += 0x1000)
		for (unsigned class = 0; class < TLB_CLASSES; class ++)
			slot_drop(cpu, page, group * TLB_CLASSES + class, globals);
}

static void page_dropped(struct x86_cpu *cpu, u64 la)
{
	if (filter_has(cpu->spaces->seen_exec, ARRAY_SIZE(cpu->spaces->seen_exec), la >> 12))
		tlb_flush_code_gen(cpu);
}

/* All fragments of la's page in one group, however large it is. */
static void group_drop_la(struct x86_cpu *cpu, unsigned group, u64 la, bool globals)
{
	struct space_group *g = &cpu->spaces->group[group];
	bool pse = !(g->key.mode & CR4_PAE);
	u64 start = ALIGN_DOWN(la, pse ? 4ull << 20 : 2ull << 20);

	if (unlikely(filter_has(g->huge, SPACE_FILTER, la >> 30))) {
		g->live = false;
		tlb_flush_code_gen(cpu);
	} else if (filter_has(g->large, SPACE_FILTER, start >> 21) ||
		   (pse && filter_has(g->large, SPACE_FILTER, (start >> 21) + 1))) {
		group_drop_pages(cpu, group, start, start + (pse ? 4ull << 20 : 2ull << 20), globals);
		tlb_flush_code_gen(cpu);
	} else {
		group_drop_pages(cpu, group, ALIGN_DOWN(la, 0x1000), ALIGN_DOWN(la, 0x1000) + 0x1000, globals);
	}
}

static bool may_be_global(const struct tlb_spaces *s, u64 la)
{
	u64 start = ALIGN_DOWN(la, 4ull << 20);

	return filter_has(s->seen_global, SPACE_FILTER, start >> 21) ||
	       filter_has(s->seen_global, SPACE_FILTER, (start >> 21) + 1);
}

/* Drops la's page in all groups of one ASID. */
static void asid_drop_la(struct x86_cpu *cpu, u32 asid, u64 la, bool globals)
{
	struct tlb_spaces *s = cpu->spaces;

	for (unsigned i = 0; i < s->next; i++)
		if (s->group[i].live && s->group[i].key.asid == asid)
			group_drop_la(cpu, i, la, globals);
	page_dropped(cpu, la);
	space_select(cpu);
}

void tlb_flush_page(struct x86_cpu *cpu, u64 la)
{
	struct tlb_spaces *s = cpu->spaces;

	if (may_be_global(s, la)) {
		asid_drop_la(cpu, cpu->c.asid, la, true);
		return;
	}
	group_drop_la(cpu, s->current, la, true);
	page_dropped(cpu, la);
	if (unlikely(!s->group[s->current].live))
		space_select(cpu);
}

void tlb_flush_asid_page(struct x86_cpu *cpu, u32 asid, u64 la) { asid_drop_la(cpu, asid, la, true); }

void tlb_flush_current(struct x86_cpu *cpu, bool globals)
{
	struct tlb_spaces *s = cpu->spaces;
	unsigned used = s->next;

	space_select(cpu);
	if (!globals && s->next != used)
		return; /* a fresh number already */
	if (globals) {
		for (unsigned i = 0; i < s->next; i++)
			if (s->group[i].key.asid == cpu->c.asid)
				s->group[i].live = false;
	}
	s->group[s->current].live = false;
	space_select(cpu);
}

void tlb_flush_pcid(struct x86_cpu *cpu, u16 pcid, bool page_only, u64 la)
{
	struct tlb_spaces *s = cpu->spaces;

	for (unsigned i = 0; i < s->next; i++) {
		struct space_group *g = &s->group[i];

		if (!g->live || g->key.asid != cpu->c.asid)
			continue;
		/* Without CR4.PCIDE every translation belongs to PCID 0. */
		if (g->key.root & ROOT_PCID ? (g->key.root & 0xfff) != pcid : pcid != 0)
			continue;
		if (page_only)
			group_drop_la(cpu, i, la, false);
		else
			g->live = false;
	}
	if (page_only)
		page_dropped(cpu, la);
	space_select(cpu);
}

void tlb_flush_asid(struct x86_cpu *cpu, u32 asid, bool keep_globals)
{
	struct tlb_spaces *s = cpu->spaces;

	for (unsigned i = 0; i < s->next; i++)
		if (s->group[i].key.asid == asid)
			s->group[i].live = false;
	if (s->cache_asid == asid)
		memset(&s->cache, 0, sizeof(s->cache));
	space_select(cpu);
}

void tlb_flush_ept(struct x86_cpu *cpu, u64 eptp)
{
	struct tlb_spaces *s = cpu->spaces;

	for (unsigned i = 0; i < s->next; i++)
		if ((s->group[i].key.host_mode & SPACE_EPT) && (!eptp || s->group[i].key.ncr3 >> 12 == eptp >> 12))
			s->group[i].live = false;
	memset(&s->cache, 0, sizeof(s->cache));
	space_select(cpu);
}

void tlb_flush_guests(struct x86_cpu *cpu)
{
	struct tlb_spaces *s = cpu->spaces;

	for (unsigned i = 0; i < s->next; i++)
		if (s->group[i].key.asid)
			s->group[i].live = false;
	memset(&s->cache, 0, sizeof(s->cache));
	space_select(cpu);
}

void tlb_drop_host_page(struct x86_cpu *cpu, u64 pa)
{
	pa = ALIGN_DOWN(pa, RAM_PAGE);
	for (unsigned i = 0; i < TLB_ENTRIES; i++)
		if (cpu->c.tlb_phys[i].pa == pa)
			cpu->c.tlb[i].write = TLB_NO_TAG;
}

void tlb_drop_host_pages(struct x86_cpu *cpu)
{
	for (unsigned i = 0; i < TLB_ENTRIES; i++)
		cpu->c.tlb[i].write = TLB_NO_TAG;
}
