/*
 * Near jumps: storing the new RIP and going on with the next block, or leaving to the loop. SDM vol. 3 6.15, #GP: a
 * target beyond CS.limit or non-canonical; the fault is the branch's own, RIP stays at it.
 *
 * 64-bit code chains blocks without the loop as long as nothing wants attention. A direct branch within a physical page
 * remembers the block that it leads to: while the branch runs, its page is mapped where it was, so the link holds
 * whatever happens to translations. Any other jump looks in the jump cache, which is keyed by what the translation
 * depends on. Other modes always come back to the loop.
 */
#ifndef CPU_X86_JUMP_H
#define CPU_X86_JUMP_H

#include "cpu/x86/block.h"
#include "cpu/x86/int.h"

#ifdef NESTBOX_THREADED
/* Nothing wants the loop's eye between this block and the next. */
static always_inline bool chain_may(const struct x86_cpu *cpu)
{
	return likely(!(atomic_load_explicit(&cpu->c.attention, memory_order_relaxed) & cpu->c.att_mask)) &&
	       likely(cpu->n.insns < cpu->chain_until);
}
#else
static always_inline bool chain_may(const struct x86_cpu *cpu) { return false; }
#endif

/* Goes on with a block, whose start st.rip is. A dead one leaves at its first instruction. */
static always_inline enum outcome chain_to(struct x86_cpu *cpu, const struct insn *in, struct block *b)
{
	cpu->n.blocks++;
	cpu->n.insns += in->pos;
	cpu->c.running = b;
	return b->insn[0].fn(cpu, b->insn);
}

/* 64-bit code, st.rip is the new RIP: to its block if it is known, else to the loop. */
static always_inline enum outcome chain_find(struct x86_cpu *cpu, const struct insn *in)
{
	const struct jump_entry *j = jump_slot(cpu, cpu->st.rip);

	if (likely(j->la == cpu->st.rip && j->key == cpu->c.jump_key) && chain_may(cpu))
		return chain_to(cpu, in, j->b);
	LEAVE(cpu, in, OUT_JUMP);
}

enum outcome chain_link(struct x86_cpu *cpu, const struct insn *in, bool taken); /* block.c */

/* The same for direct branches and the block's end, which remember their successors (LINK_HERE). */
static always_inline enum outcome chain_direct(struct x86_cpu *cpu, const struct insn *in, bool taken)
{
	struct block *b = in->link[taken];

	if (likely(b) && chain_may(cpu))
		return chain_to(cpu, in, b);
	return chain_link(cpu, in, taken);
}

/* Canonical for 4-level paging; jump_check knows of 5-level paging. */
static always_inline bool rip_plain(u64 rip) { return (u64)((s64)(rip << 16) >> 16) == rip; }

/* The same jumps with what is rare, out of the handlers' frames (block.c). */
enum outcome jump_unlinked64(struct x86_cpu *cpu, const struct insn *in, u64 to, bool taken);
enum outcome jump_checked64(struct x86_cpu *cpu, const struct insn *in, u64 to);

/* In 64-bit code with 64-bit operand size. A link leads to the branch's own page: its target is canonical. */
static always_inline enum outcome jump_direct64(struct x86_cpu *cpu, const struct insn *in, u64 to, bool taken)
{
	struct block *b = in->link[taken];

	if (unlikely(!b) || unlikely(!chain_may(cpu)))
		return jump_unlinked64(cpu, in, to, taken);
	cpu->st.rip = to;
	return chain_to(cpu, in, b);
}

static always_inline enum outcome jump_to64(struct x86_cpu *cpu, const struct insn *in, u64 to)
{
	if (unlikely(!rip_plain(to)))
		return jump_checked64(cpu, in, to);
	cpu->st.rip = to;
	return chain_find(cpu, in);
}

/* The target is cut to the operand size: AMD heeds a 16-bit one in 64-bit code too (APM vol. 3 1.2.4). */
static always_inline u64 jump_mask(u64 to, unsigned opsize)
{
	return opsize == 8 ? to : opsize == 4 ? (u32)to : (u16)to;
}

static inline enum outcome jump_to_any(struct x86_cpu *cpu, const struct insn *in, u64 to, unsigned opsize)
{
	to = jump_mask(to, opsize);
	TRY(cpu, in, jump_check(cpu, to));
	cpu->st.rip = to;
	LEAVE(cpu, in, OUT_JUMP);
}

/*
 * AMD heeds the operand-size prefix of near branches in 64-bit code, Intel ignores it; Zydis's operand width does not
 * tell. To be called first by binders of branches.
 */
static inline void bind_branch_size(struct bind *b)
{
	if (bind_code64(b) && b->zi->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR)
		b->in->opsize = b->cpu->st.vendor == X86_AMD && (b->zi->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE) &&
						!b->zi->raw.rex.W
					? 2
					: 8;
}

#endif
