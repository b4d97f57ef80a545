/*
 * Spaces: what TLB tags stand for. The part of the TLB that only tlb.c, mem.c and update.c see.
 *
 * A group of TLB_CLASSES consecutive numbers belongs to one key: everything but the linear page and the privilege that
 * a translation depends on. Invariants:
 *   - A live group's key is found through the hash, and no other live group has it.
 *   - Numbers only grow until they run out; then the TLB is emptied and they start anew. A flush of a group gives its
 * key a fresh number when it is next selected, so stale entries can never match.
 *   - large[] and huge[] (and seen.global for all groups) are filters: a clear bit says that no fragment of such a page
 * was entered.
 */
#ifndef CPU_X86_SPACE_H
#define CPU_X86_SPACE_H

#include "arch/x86/walk.h"
#include "cpu/x86/cpu.h"

#define SPACE_GROUPS (TLB_SPACES / TLB_CLASSES)
#define SPACE_HASH   (2 * SPACE_GROUPS)
#define SPACE_FILTER 8 /* words of 64 bits */

struct space_key {
	u64 mode;	     /* CR0, CR4 and EFER bits that the walk heeds (their positions do not collide) */
	u64 root;	     /* CR3, or BIT(63) | PCID */
	u64 ncr3, host_mode; /* under nested paging */
	u64 apic_access;     /* VMX: c.vmx.apic_access; bit 1: page-modification logging */
	u32 asid, pkru;
};

struct space_group {
	struct space_key key;
	bool live;
	u64 large[SPACE_FILTER]; /* 2-MByte regions with fragments of a large page */
	u64 huge[SPACE_FILTER];	 /* 1-GByte regions likewise */
};

struct tlb_spaces {
	struct x86_cpu *cpu;
	unsigned current, next; /* group in use, next never used */
	struct xlate guest, nested;
	struct walk_mem mem;
	u64 cache_ncr3, cache_host_mode, cache_apic; /* whose table pages `cache` holds */
	u32 cache_asid;
	struct walk_cache cache;
	u64 seen_global[SPACE_FILTER]; /* 2-MByte regions with global pages, any group */
	u64 seen_exec[64];	       /* pages that instructions were fetched from since jump_gen last changed */
	u8 rom_page[RAM_PAGE];	       /* stands in for a read-only page that a table lies in */
	u16 hash[SPACE_HASH];	       /* group + 1 */
	struct space_group group[SPACE_GROUPS];
};

static inline unsigned filter_bit(u64 region, unsigned words)
{
	return (unsigned)(region * 0x9e3779b97f4a7c15ull >> 40) % (64 * words);
}
static inline void filter_set(u64 *f, unsigned words, u64 region)
{
	unsigned bit = filter_bit(region, words);

	f[bit / 64] |= BIT(bit % 64);
}
static inline bool filter_has(const u64 *f, unsigned words, u64 region)
{
	unsigned bit = filter_bit(region, words);

	return f[bit / 64] >> (bit % 64) & 1;
}

/* Makes the group of the present registers current (its number may be new) and sets the spaces by CPL and AC. */
void space_select(struct x86_cpu *cpu);

#endif
