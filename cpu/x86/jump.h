/*
 * Near jumps: storing the new RIP and leaving the block. SDM vol. 3 6.15, #GP: a target beyond CS.limit or
 * non-canonical; the fault is the branch's own, RIP stays at it.
 */
#ifndef CPU_X86_JUMP_H
#define CPU_X86_JUMP_H

#include "cpu/x86/int.h"

/* Canonical for 4-level paging; jump_check knows of 5-level paging. */
static always_inline bool rip_plain(u64 rip) { return (u64)((s64)(rip << 16) >> 16) == rip; }

/* In 64-bit code with 64-bit operand size. */
static always_inline enum outcome jump_to64(struct x86_cpu *cpu, const struct insn *in, u64 to)
{
	if (unlikely(!rip_plain(to)))
		TRY(cpu, in, jump_check(cpu, to));
	cpu->st.rip = to;
	LEAVE(cpu, in, OUT_JUMP);
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
