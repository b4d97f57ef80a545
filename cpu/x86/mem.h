/*
 * Guest memory by linear address. The fast path is one index, one compare and one add (tlb.h); everything else is mem.c's.
 *
 * Accesses of 1, 2, 4, 8 bytes inline, any size up to 64 through mem_read_n/mem_write_n; those that cross a page are checked on both pages
 * before either is touched. Outcomes: OUT_NEXT (done), OUT_FAULT (#PF, #GP or #SS for a non-canonical address), OUT_EXIT (nested page fault).
 */
#ifndef CPU_X86_MEM_H
#define CPU_X86_MEM_H

#include <string.h>

#include "cpu/x86/cpu.h"

/* Kind of access, for the slow path. */
#define ACC_READ 0u
#define ACC_WRITE 1u
#define ACC_EXEC 2u
#define ACC_STACK 4u  /* a non-canonical address is #SS(0), not #GP(0) */
#define ACC_SYSTEM 8u /* implicit supervisor access: descriptor tables, TSS, event delivery at any CPL */

static always_inline struct tlb_entry *tlb_slot(struct x86_cpu *cpu, u64 la, u32 space)
{
	return &cpu->c.tlb[((la >> 12) ^ (space * 0x65u)) & (TLB_ENTRIES - 1)];
}

/* Host address for [la, la + size) if the TLB allows it at once, else NULL. */
static always_inline void *mem_look(struct x86_cpu *cpu, u64 la, unsigned size, unsigned acc)
{
	u32 space = acc & ACC_SYSTEM ? cpu->c.system_space : cpu->c.space;
	struct tlb_entry *e = tlb_slot(cpu, la, space);
	u64 tag = ((la + size - 1) & ~0xfffull) | space;

	void *p;

	if (unlikely(tag != (acc & ACC_WRITE ? e->write : e->read)))
		return NULL;
	p = (void *)(la + e->addend);
	if (!p)
		__builtin_unreachable(); /* saves the callers' test */
	return p;
}

enum outcome mem_read_slow(struct x86_cpu *cpu, u64 la, void *buf, unsigned size, unsigned acc) must_check;
enum outcome mem_write_slow(struct x86_cpu *cpu, u64 la, const void *buf, unsigned size, unsigned acc) must_check;

#define MEM_ACCESSORS(bits)                                                                                       \
	static always_inline enum outcome must_check mem_read##bits(struct x86_cpu *cpu, u64 la, u##bits *v, unsigned acc) \
	{                                                                                                         \
		void *p = mem_look(cpu, la, bits / 8, acc & ACC_SYSTEM);                                                  \
                                                                                                                  \
		if (likely(p)) {                                                                                  \
			memcpy(v, p, bits / 8);                                                                   \
			return OUT_NEXT;                                                                          \
		}                                                                                                 \
		return mem_read_slow(cpu, la, v, bits / 8, acc);                                                  \
	}                                                                                                         \
	static always_inline enum outcome must_check mem_write##bits(struct x86_cpu *cpu, u64 la, u##bits v, unsigned acc) \
	{                                                                                                         \
		void *p = mem_look(cpu, la, bits / 8, (acc & ACC_SYSTEM) | ACC_WRITE);                          \
                                                                                                                  \
		if (likely(p)) {                                                                                  \
			memcpy(p, &v, bits / 8);                                                                  \
			return OUT_NEXT;                                                                          \
		}                                                                                                 \
		return mem_write_slow(cpu, la, &v, bits / 8, acc | ACC_WRITE);                                    \
	}
MEM_ACCESSORS(8)
MEM_ACCESSORS(16)
MEM_ACCESSORS(32)
MEM_ACCESSORS(64)

static inline enum outcome must_check mem_read_n(struct x86_cpu *cpu, u64 la, void *buf, unsigned size, unsigned acc)
{
	void *p = mem_look(cpu, la, size, acc & ACC_SYSTEM);

	if (unlikely(!p))
		return mem_read_slow(cpu, la, buf, size, acc);
	memcpy(buf, p, size);
	return OUT_NEXT;
}

static inline enum outcome must_check mem_write_n(struct x86_cpu *cpu, u64 la, const void *buf, unsigned size, unsigned acc)
{
	void *p = mem_look(cpu, la, size, (acc & ACC_SYSTEM) | ACC_WRITE);

	if (unlikely(!p))
		return mem_write_slow(cpu, la, buf, size, acc | ACC_WRITE);
	memcpy(p, buf, size);
	return OUT_NEXT;
}

/*
 * Read-modify-write. mem_rmw_begin checks for write and gives a pointer to operate on: guest memory itself (a locked host instruction on it is the guest's
 * atomic), or the bounce buffer for MMIO, page-crossing and watched pages; mem_rmw_end stores a bounced value back, or drops the code that
 * the operation has written to.
 */
struct mem_rmw {
	void *p;
	u64 la;
	u32 size;
	u32 bounced; /* 0: nothing is left to do at the end; RMW_CODE: p is guest memory at physical `la`; else the ACC_* bits of the access */
	u8 buf[64];
};

#define RMW_CODE 0x100u

enum outcome mem_rmw_finish(struct x86_cpu *cpu, struct mem_rmw *m) must_check;
enum outcome mem_rmw_slow(struct x86_cpu *cpu, u64 la, unsigned size, unsigned acc, struct mem_rmw *m) must_check;

static always_inline enum outcome must_check mem_rmw_begin(struct x86_cpu *cpu, u64 la, unsigned size, unsigned acc, struct mem_rmw *m)
{
	m->p = mem_look(cpu, la, size, (acc & ACC_SYSTEM) | ACC_WRITE);
	if (likely(m->p)) {
		m->bounced = 0;
		return OUT_NEXT;
	}
	return mem_rmw_slow(cpu, la, size, acc | ACC_WRITE, m);
}

static always_inline enum outcome must_check mem_rmw_end(struct x86_cpu *cpu, struct mem_rmw *m)
{
	if (likely(!m->bounced))
		return OUT_NEXT;
	return mem_rmw_finish(cpu, m);
}

/* Checks that [la, la + size) could be written (or read) now, without touching it: what PUSHA, ENTER, far calls and event delivery need. */
enum outcome mem_probe(struct x86_cpu *cpu, u64 la, unsigned size, unsigned acc) must_check;

/* The physical address of a byte that may be read at la, after a check like a load's. */
enum outcome mem_read_pa(struct x86_cpu *cpu, u64 la, u64 *pa) must_check;

/* Reads instruction bytes: the physical address of la for execution at the present CPL. */
/* A guest-physical address through the nested tables alone: APM vol. 2 15.33.1. OUT_EXIT: nested page fault. */
enum outcome mem_nested_pa(struct x86_cpu *cpu, u64 gpa, bool write, u64 *pa) must_check;
enum outcome mem_fetch_pa(struct x86_cpu *cpu, u64 la, u64 *pa) must_check;

/* Physical memory as the processor sees it (RAM or MMIO), for tables and the VMCB. A store drops decoded code of the page. */
void phys_read(struct x86_cpu *cpu, u64 pa, void *buf, unsigned size);
void phys_write(struct x86_cpu *cpu, u64 pa, const void *buf, unsigned size);

/* At a guest-physical address, within a page: through EPT if it is on (PDPTEs). */
enum outcome mem_read_gpa(struct x86_cpu *cpu, u64 gpa, void *buf, unsigned size) must_check;

/* tlb.c */
u16 space_of_data(const struct x86_cpu *cpu); /* c.space as CPL, AC and CR0.AM want it, in the current group */
int tlb_new(struct x86_cpu *cpu);
void tlb_free(struct x86_cpu *cpu);
void tlb_flush_all(struct x86_cpu *cpu);                     /* every space of every guest */
void tlb_flush_page(struct x86_cpu *cpu, u64 la);            /* INVLPG: this space's page and global ones */
void tlb_flush_current(struct x86_cpu *cpu, bool globals);   /* MOV CR3 without the no-flush bit; CR4/CR0 changes with globals */
void tlb_flush_pcid(struct x86_cpu *cpu, u16 pcid, bool page_only, u64 la); /* INVPCID types 0 and 1 */
void tlb_flush_asid(struct x86_cpu *cpu, u32 asid, bool keep_globals);      /* TLB_CONTROL 3 and 7 */
void tlb_flush_ept(struct x86_cpu *cpu, u64 eptp);           /* INVEPT; 0: of every EPTP */
void tlb_flush_guests(struct x86_cpu *cpu);                  /* INVVPID of all contexts: every ASID but 0 */
void tlb_flush_asid_page(struct x86_cpu *cpu, u32 asid, u64 la);            /* INVLPGA */
void tlb_drop_host_page(struct x86_cpu *cpu, u64 pa);        /* withhold write tags of a physical page: it now holds code */
void tlb_drop_host_pages(struct x86_cpu *cpu);               /* and of all pages */
void tlb_flush_code_gen(struct x86_cpu *cpu);                /* forget cached jumps */

/* Effective address without segment base, masked to the address size. */
static always_inline u64 insn_ea(struct x86_cpu *cpu, const struct insn *in)
{
	u64 ea = REG64(cpu, in->base) + (REG64(cpu, in->index) << in->scale) + (u64)in->disp;

	if (unlikely(in->adsize != 8))
		ea &= in->adsize == 4 ? 0xffffffffull : 0xffffull;
	return ea;
}

/* Segment limit and type checks of the memory operand outside flat modes; gives the linear address (seg.c). */
enum outcome seg_linear(struct x86_cpu *cpu, unsigned sreg, u64 offset, unsigned size, unsigned acc, u64 *la) must_check;

/* Linear address of the memory operand of `in`, for an access of `size` bytes. */
static always_inline enum outcome must_check insn_la(struct x86_cpu *cpu, const struct insn *in, unsigned size, unsigned acc, u64 *la)
{
	u64 ea = insn_ea(cpu, in);

	if (unlikely(in->flags & IN_SEGCHECK))
		return seg_linear(cpu, in->sreg, ea, size, acc, la);
	*la = ea + REG64(cpu, in->seg);
	return OUT_NEXT;
}
static always_inline unsigned insn_acc(const struct insn *in) { return in->flags & IN_STACK ? ACC_STACK : 0; }

#endif
