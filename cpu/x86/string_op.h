/*
 * Operands of string instructions: [rSI] in DS or the overriding segment, [rDI] always in ES, count in rCX, all of the
 * address size. SDM vol. 1 7.3.9 "String Operations".
 */
#ifndef CPU_X86_STRING_OP_H
#define CPU_X86_STRING_OP_H

#include "cpu/x86/int.h"

/* The prefill knows rSI's segment; this adds the kind of fault that a stack segment raises. INS and OUTS have no 64-bit
 * form. */
static inline bool bind_string_operands(struct bind *b)
{
	struct insn *in = b->in;

	in->flags |= in->sreg == SS && !bind_code64(b) ? IN_STACK : 0;
	if (b->zi->meta.category == ZYDIS_CATEGORY_IOSTRINGOP)
		in->opsize = MIN(in->opsize, 4);
	return true;
}

static always_inline u64 string_mask(const struct insn *in)
{
	return in->adsize == 8 ? ~0ull : in->adsize == 4 ? 0xffffffffull : 0xffffull;
}
static always_inline u64 string_count(const struct x86_cpu *cpu, const struct insn *in)
{
	return cpu->st.gpr[RCX] & string_mask(in);
}
static always_inline void string_count_set(struct x86_cpu *cpu, const struct insn *in, u64 n)
{
	reg_write(cpu, CPU_OFF(st.gpr[RCX]), in->adsize, n);
}

static always_inline unsigned string_acc(const struct insn *in, unsigned reg) { return reg == RSI ? insn_acc(in) : 0; }

/* Linear address of the element that RSI or RDI points at. */
static always_inline enum outcome must_check string_la(struct x86_cpu *cpu, const struct insn *in, unsigned reg,
						       unsigned size, unsigned acc, u64 *la)
{
	u64 ea = cpu->st.gpr[reg] & string_mask(in);

	if (unlikely(!(cpu->c.mode & 2) || (reg == RSI && (in->flags & IN_SEGCHECK))))
		return seg_linear(cpu, reg == RSI ? in->sreg : ES, ea, size, acc | string_acc(in, reg), la);
	*la = reg == RSI ? ea + REG64(cpu, in->seg) : ea;
	return OUT_NEXT;
}

static always_inline void string_advance(struct x86_cpu *cpu, const struct insn *in, unsigned reg, u64 bytes)
{
	reg_write(cpu, CPU_OFF(st.gpr[0]) + 8 * reg, in->adsize, cpu->st.gpr[reg] + bytes);
}

/*
 * Between two elements: an event that comes there saves RF set, so that the instruction's own breakpoint does not hit
 * again when it goes on (SDM vol. 3 18.3.1.1 "Instruction-Breakpoint Exception Condition"). The last element clears it.
 */
static always_inline enum outcome string_pause(struct x86_cpu *cpu)
{
	cpu->st.rflags |= FL_RF;
	return OUT_RETRY;
}
static always_inline void string_end(struct x86_cpu *cpu) { cpu->st.rflags &= ~FL_RF; }

/* To the next element by DF. */
static always_inline void string_step(struct x86_cpu *cpu, const struct insn *in, unsigned reg, unsigned size)
{
	string_advance(cpu, in, reg, cpu->st.rflags & FL_DF ? -(u64)size : size);
}

#endif
