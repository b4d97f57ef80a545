/*
 * Pages of code between processors: who may still store directly to a page whose instructions somebody has decoded, and
 * how a store reaches the decoded blocks of others.
 *
 * ram_slot.flags counts the processors that hold code of a page (RAM_CODE) and names those that may have its write tag
 * in their TLB (RAM_WRITER); both are one atomic word, so that of a claim and of a grant one always sees the other:
 *
 *   claim   count up, then ask every writer named to withhold its tag, and wait until each has done so; only then are
 * bytes decoded. grant   (mem.c, slot_tag) a write tag only while the count is 0, with the processor's name in the
 * word. store   to a counted page goes the slow way; after it, other holders get the range in their queue (ATT_DROP)
 * and drop their blocks before their next block. A locked operation is in the queue before anything that the processor
 * stores later can be seen, and serialising instructions end a block: cross-modifying code as SDM vol. 3 8.1.3
 * "Handling Self- and Cross-Modifying Code" wants it.
 *
 * The wait cannot lock up: whoever waits serves requests to itself meanwhile; processors that sleep or do not run at
 * all are `parked`: they look at their queue before they touch the guest again. No lock is held while waiting.
 */
#ifndef CPU_X86_SHARE_H
#define CPU_X86_SHARE_H

#include "cpu/x86/cpu.h"

/* Between instructions only. After it no processor stores to the page without block_written() hearing of it. */
void share_claim(struct x86_cpu *cpu, u64 page);
void share_release(struct x86_cpu *cpu, u64 page);
/* Bytes of a counted page were stored by this processor: the others drop their blocks of it, as block_drop does. */
void share_written(struct x86_cpu *cpu, u64 pa, u64 len, bool all);
/* ATT_DROP: what others have asked of this processor. Between blocks. */
void share_attend(struct x86_cpu *cpu);
/* Any thread. A full queue means everything. */
void share_drop(struct x86_cpu *to, u64 pa, u64 len, bool all);

/*
 * Stops all other processors between blocks, and lets them go on: for a locked operation that no host instruction can
 * do in place. The caller holds vm->split_lock, and no pointer into guest memory.
 */
void share_freeze(struct x86_cpu *cpu);
void share_thaw(struct x86_cpu *cpu);
/* Waits for vm->split_lock, parked meanwhile. */
void share_split_lock(struct x86_cpu *cpu);
static inline void share_split_unlock(struct x86_cpu *cpu)
{
	atomic_store_explicit(&cpu->vm->split_lock, 0, memory_order_release);
}

/* Around anything that may take long and touches no guest state of this processor: sleeping, paused, not running. */
static inline void share_park(struct x86_cpu *cpu) { __atomic_store_n(&cpu->parked, 1, __ATOMIC_SEQ_CST); }
static inline void share_unpark(struct x86_cpu *cpu) { __atomic_store_n(&cpu->parked, 0, __ATOMIC_SEQ_CST); }

/* Whether this processor may store directly to the page: leaves its name as a writer. */
static inline bool share_may_write(const struct x86_cpu *cpu, u16 *flag)
{
	u16 me = (u16)((cpu->vcpu.index + 1) << RAM_WRITER_SHIFT), f = __atomic_load_n(flag, __ATOMIC_RELAXED), named;

	do {
		if (f & RAM_CODE)
			return false;
		named = f & RAM_WRITER;
		if (named == me || named == RAM_WRITER)
			return true;
		named = named ? RAM_WRITER : me;
	} while (!__atomic_compare_exchange_n(flag, &f, (u16)(f | named), true, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
	return true;
}

#endif
