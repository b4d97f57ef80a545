/*
 * The tagged TLB: direct-mapped, indexed by linear page and space, checked by one compare.
 *
 * A *space* is a small number that stands for everything that a translation depends on besides the linear page: paging
 * mode and CR4/EFER bits, PCID or CR3, ASID and nCR3 while in a guest, and the access class (user, user with alignment
 * checks, supervisor, supervisor with SMAP in force). It is part of the tag, so a switch of CR3 with PCID, of CPL, or a
 * VM entry and exit changes the current space and flushes nothing. To flush a space is to give its key a fresh number;
 * when numbers run out, everything is cleared.
 *
 * An entry's tags are (linear page | space) for each kind of access it allows; ~0 for those it does not. The compare is
 * made with the page of the access's LAST byte while the index comes from the first: an access that crosses a page
 * never hits. What withholds a tag sends every such access through the slow path: no permission, A or D bit not yet
 * set, code in the page (writes), dirty log (writes), watchpoint, MMIO, memory tracing, alignment checks.
 */
#ifndef CPU_X86_TLB_H
#define CPU_X86_TLB_H

#include "base/types.h"

#define TLB_ENTRIES 4096
#define TLB_NO_TAG  (~0ull)
#define TLB_SPACES  4096 /* numbers 0 to 4095 fit below a page-aligned address */

/* TLB_ALIGN: user, with alignment checks (#AC). Its entries have no read or write tags, so that mem.c sees each access.
 */
enum tlb_class { TLB_SUPER, TLB_USER, TLB_SMAP, TLB_ALIGN, TLB_CLASSES };

struct tlb_entry {
	u64 read, write, exec; /* tags */
	u64 addend;	       /* host address = linear address + addend */
};

/* The whole translation that the slot holds, also where its tags are withheld; only the slow path asks it. */
struct tlb_phys {
	u64 tag;   /* linear page | space; TLB_NO_TAG: empty */
	u64 pa;	   /* physical page, after nested translation */
	u64 gpa;   /* guest-physical page, before it */
	u8 *host;  /* of the page; NULL: not RAM */
	u16 *flag; /* the page's word of ram_slot.flags; NULL: not RAM */
	u8 perm;   /* WALK_* */
	u8 global; /* PTE.G with CR4.PGE */
	u8 rom;	   /* stores are dropped */
	u8 apic;   /* the APIC-access page of VMX: no host, every access asks vapic_access */
};

#endif
