/*
 * What depends on a condition code: Jcc, SETcc, CMOVcc, one handler a condition so that the test is a constant mask.
 * SDM vol. 1 appendix B "EFLAGS Condition Codes".
 *
 * CMOVcc always reads its memory operand, and its 32-bit form clears the upper half whether it moves or not (SDM vol.
 * 2, CMOVcc).
 */
#include "cpu/x86/int.h"
#include "cpu/x86/jump.h"

#define CONDITIONAL(cc)                                                                                                \
	HANDLER(jcc64_##cc)                                                                                            \
	{                                                                                                              \
		bool taken = cond(FLAGS(cpu), cc);                                                                     \
                                                                                                                       \
		return jump_direct64(cpu, in, insn_next_rip(cpu, in) + (-(u64)taken & in->imm), taken);                \
	}                                                                                                              \
	HANDLER(jcc_any_##cc)                                                                                          \
	{                                                                                                              \
		u64 next = insn_next_rip(cpu, in);                                                                     \
                                                                                                                       \
		if (cond(FLAGS(cpu), cc))                                                                              \
			return jump_to_any(cpu, in, next + in->imm, in->opsize);                                       \
		cpu->st.rip = mask_ip(cpu, next, 4);                                                                   \
		LEAVE(cpu, in, OUT_JUMP);                                                                              \
	}                                                                                                              \
	HANDLER(setcc_r_##cc)                                                                                          \
	{                                                                                                              \
		REG8(cpu, in->dst) = cond(FLAGS(cpu), cc);                                                             \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(setcc_m_##cc)                                                                                          \
	{                                                                                                              \
		TRY(cpu, in, operand_write(cpu, in, 1, cond(FLAGS(cpu), cc)));                                         \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(cmov_rr16_##cc)                                                                                        \
	{                                                                                                              \
		if (cond(FLAGS(cpu), cc))                                                                              \
			REG16(cpu, in->dst) = REG16(cpu, in->src);                                                     \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(cmov_rr32_##cc)                                                                                        \
	{                                                                                                              \
		u32 a = REG32(cpu, in->dst), v = REG32(cpu, in->src);                                                  \
                                                                                                                       \
		REG64(cpu, in->dst) = cond(FLAGS(cpu), cc) ? v : a;                                                    \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(cmov_rr64_##cc)                                                                                        \
	{                                                                                                              \
		u64 a = REG64(cpu, in->dst), v = REG64(cpu, in->src);                                                  \
                                                                                                                       \
		REG64(cpu, in->dst) = cond(FLAGS(cpu), cc) ? v : a;                                                    \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER_ANY(cmov_rm_##cc)                                                                                      \
	{                                                                                                              \
		u64 v;                                                                                                 \
                                                                                                                       \
		TRY(cpu, in, operand_read(cpu, in, in->opsize, &v));                                                   \
		if (cond(FLAGS(cpu), cc))                                                                              \
			reg_write(cpu, in->dst, in->opsize, v);                                                        \
		else if (in->opsize == 4)                                                                              \
			REG64(cpu, in->dst) = REG32(cpu, in->dst);                                                     \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(cmov_rm64_##cc)                                                                                        \
	{                                                                                                              \
		GUEST(u64) *p = look_read(cpu, in, 8);                                                                 \
                                                                                                                       \
		if (unlikely(!p))                                                                                      \
			return cmov_rm_##cc(cpu, in);                                                                  \
		if (cond(FLAGS(cpu), cc))                                                                              \
			REG64(cpu, in->dst) = *p;                                                                      \
		NEXT(cpu, in);                                                                                         \
	}
FOR_CC(CONDITIONAL)

struct conditional {
	insn_fn *jcc64, *jcc_any, *setcc_r, *setcc_m, *cmov_rr16, *cmov_rr32, *cmov_rr64, *cmov_rm, *cmov_rm64;
};
#define CONDITIONAL_ROW(cc)                                                                                            \
	{jcc64_##cc,	 jcc_any_##cc,	 setcc_r_##cc, setcc_m_##cc,  cmov_rr16_##cc,                                  \
	 cmov_rr32_##cc, cmov_rr64_##cc, cmov_rm_##cc, cmov_rm64_##cc},
static const struct conditional conditionals[16] = {FOR_CC(CONDITIONAL_ROW)};

/* All three groups keep the condition in the low bits of the opcode. */
static const struct conditional *condition_of(struct bind *b)
{
	b->in->cc = b->zi->opcode & 15;
	return &conditionals[b->in->cc];
}

bool bind_jcc(struct bind *b)
{
	const struct conditional *c = condition_of(b);
	bool wide;

	bind_branch_size(b);
	wide = bind_code64(b) && b->in->opsize == 8;
	b->in->fn = wide ? c->jcc64 : c->jcc_any;
	b->in->links = wide ? LINK_HERE : 0;
	return true;
}

bool bind_setcc(struct bind *b)
{
	const struct conditional *c = condition_of(b);

	b->in->fn = b->in->flags & IN_MEM ? c->setcc_m : c->setcc_r;
	return true;
}

bool bind_cmovcc(struct bind *b)
{
	const struct conditional *c = condition_of(b);
	struct insn *in = b->in;

	if (in->flags & IN_MEM)
		in->fn = in->opsize == 8 && insn_flat(in) ? c->cmov_rm64 : c->cmov_rm;
	else
		in->fn = in->opsize == 8 ? c->cmov_rr64 : in->opsize == 4 ? c->cmov_rr32 : c->cmov_rr16;
	return true;
}
