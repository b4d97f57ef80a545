/*
 * PUSH POP PUSHA POPA ENTER LEAVE PUSHF POPF.
 * SDM vol. 2, the instructions' pages; vol. 1 6.2 "Stacks". Push and pop of 8 bytes in 64-bit code have fast handlers.
 */
#include "cpu/x86/int.h"

HANDLER_ANY(push_reg_any)
{
	TRY(cpu, in, stack_push(cpu, reg_read(cpu, in->dst, in->opsize), in->opsize));
	NEXT(cpu, in);
}

HANDLER(push_reg64)
{
	u64 v = REG64(cpu, in->dst), la = cpu->st.gpr[RSP] - 8;
	GUEST(u64) *p = mem_look(cpu, la, 8, ACC_WRITE);

	if (unlikely(!p))
		return push_reg_any(cpu, in);
	*p = v;
	cpu->st.gpr[RSP] = la;
	NEXT(cpu, in);
}

HANDLER(push_imm)
{
	TRY(cpu, in, stack_push(cpu, in->imm, in->opsize));
	NEXT(cpu, in);
}

HANDLER(push_mem)
{
	u64 v;

	TRY(cpu, in, operand_read(cpu, in, in->opsize, &v));
	TRY(cpu, in, stack_push(cpu, v, in->opsize));
	NEXT(cpu, in);
}

bool bind_push(struct bind *b)
{
	struct insn *in = b->in;

	if (op_is_imm(&b->op[0]))
		in->fn = push_imm;
	else if (op_is_mem(&b->op[0]))
		in->fn = push_mem;
	else if (ZydisRegisterGetClass(b->op[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
		return bind_push_sreg(b);
	else
		in->fn = bind_code64(b) && in->opsize == 8 ? push_reg64 : push_reg_any;
	return true;
}

HANDLER_ANY(pop_reg_any)
{
	u64 v;

	TRY(cpu, in, stack_pop(cpu, &v, in->opsize));
	reg_write(cpu, in->dst, in->opsize, v);
	NEXT(cpu, in);
}

HANDLER(pop_reg64)
{
	u64 la = cpu->st.gpr[RSP], v;
	GUEST(u64) *p = mem_look(cpu, la, 8, ACC_READ);

	if (unlikely(!p))
		return pop_reg_any(cpu, in);
	v = *p;
	cpu->st.gpr[RSP] = la + 8;
	REG64(cpu, in->dst) = v;
	NEXT(cpu, in);
}

/* An address formed with RSP uses its value after the pop. */
HANDLER(pop_mem)
{
	u64 v, rsp = cpu->st.gpr[RSP];
	enum outcome o;

	TRY(cpu, in, stack_pop(cpu, &v, in->opsize));
	o = operand_write(cpu, in, in->opsize, v);
	if (unlikely(o != OUT_NEXT)) {
		cpu->st.gpr[RSP] = rsp;
		LEAVE(cpu, in, o);
	}
	NEXT(cpu, in);
}

bool bind_pop(struct bind *b)
{
	struct insn *in = b->in;

	if (op_is_mem(&b->op[0]))
		in->fn = pop_mem;
	else if (ZydisRegisterGetClass(b->op[0].reg.value) == ZYDIS_REGCLASS_SEGMENT)
		return bind_pop_sreg(b);
	else
		in->fn = bind_code64(b) && in->opsize == 8 ? pop_reg64 : pop_reg_any;
	return true;
}

/* All eight stores are checked before the first. RSP is pushed as it was. */
HANDLER(pusha)
{
	unsigned size = in->opsize;
	u64 rsp = cpu->st.gpr[RSP];

	for (unsigned i = 1; i <= 8; i++)
		TRY(cpu, in, stack_probe(cpu, -(s64)(i * size), size));
	for (unsigned i = 0; i < 8; i++)
		TRY(cpu, in, stack_push(cpu, i == RSP ? rsp : cpu->st.gpr[i], size));
	NEXT(cpu, in);
}

HANDLER(popa)
{
	unsigned size = in->opsize;
	u64 v[8];

	for (unsigned i = 0; i < 8; i++)
		TRY(cpu, in, stack_peek(cpu, i * size, &v[i], size));
	for (unsigned i = 0; i < 8; i++)
		if (7 - i != RSP)
			reg_write(cpu, CPU_OFF(st.gpr[0]) + 8 * (7 - i), size, v[i]);
	stack_adjust(cpu, 8 * size);
	NEXT(cpu, in);
}
BIND_ONE(pusha)
BIND_ONE(popa)

/* RBP has the stack's size when it is copied from and to RSP. */
static unsigned frame_size(const struct x86_cpu *cpu) { return cpu->c.mode & 2 ? 8 : cpu->c.mode & MODE_SS32 ? 4 : 2; }

/* imm: bytes of locals; aux: nesting level. The final RSP must be writable (SDM vol. 2, ENTER). */
HANDLER(enter)
{
	unsigned size = in->opsize, level = in->aux & 31, bp_size = frame_size(cpu);
	u64 rsp = cpu->st.gpr[RSP], rbp = cpu->st.gpr[RBP], v, frame;
	enum outcome o;

	o = stack_push(cpu, rbp, size);
	frame = cpu->st.gpr[RSP];
	for (unsigned i = 1; o == OUT_NEXT && i < level; i++) {
		/* The outer frames' pointers lie below RBP: relative to RSP for the sake of stack_peek. */
		o = stack_peek(cpu, (s64)(rbp - (u64)i * size - cpu->st.gpr[RSP]), &v, size);
		if (o == OUT_NEXT)
			o = stack_push(cpu, v, size);
	}
	if (o == OUT_NEXT && level)
		o = stack_push(cpu, frame, size);
	if (o == OUT_NEXT)
		o = stack_probe(cpu, -(s64)in->imm, size);
	if (o != OUT_NEXT) {
		cpu->st.gpr[RSP] = rsp;
		LEAVE(cpu, in, o);
	}
	stack_adjust(cpu, -(s64)in->imm);
	reg_write(cpu, CPU_OFF(st.gpr[RBP]), MIN(size, bp_size), frame);
	NEXT(cpu, in);
}

bool bind_enter(struct bind *b)
{
	b->in->aux = b->op[1].imm.value.u;
	b->in->fn = enter;
	return true;
}

HANDLER_ANY(leave_any)
{
	u64 rsp = cpu->st.gpr[RSP], v;
	enum outcome o;

	reg_write(cpu, CPU_OFF(st.gpr[RSP]), frame_size(cpu), cpu->st.gpr[RBP]);
	o = stack_pop(cpu, &v, in->opsize);
	if (o != OUT_NEXT) {
		cpu->st.gpr[RSP] = rsp;
		LEAVE(cpu, in, o);
	}
	reg_write(cpu, CPU_OFF(st.gpr[RBP]), in->opsize, v);
	NEXT(cpu, in);
}

HANDLER(leave64)
{
	u64 la = cpu->st.gpr[RBP];
	GUEST(u64) *p = mem_look(cpu, la, 8, ACC_READ);

	if (unlikely(!p))
		return leave_any(cpu, in);
	cpu->st.gpr[RBP] = *p;
	cpu->st.gpr[RSP] = la + 8;
	NEXT(cpu, in);
}

bool bind_leave(struct bind *b)
{
	b->in->fn = bind_code64(b) && b->in->opsize == 8 ? leave64 : leave_any;
	return true;
}

static bool in_v86(const struct x86_cpu *cpu) { return cpu->c.mode & MODE_V86; }
static unsigned iopl(const struct x86_cpu *cpu) { return (cpu->st.rflags & FL_IOPL) >> 12; }

/* In virtual-8086 mode below IOPL 3, CR4.VME lends the 16-bit forms VIF in IF's place: SDM vol. 3 20.3.3. */
static bool v86_virtual(const struct x86_cpu *cpu, const struct insn *in)
{
	return (cpu->st.cr4 & CR4_VME) && in->opsize == 2;
}

HANDLER(pushf)
{
	u64 v = x86_rflags(&cpu->st) & ~(FL_VM | FL_RF);

	if (in_v86(cpu) && iopl(cpu) < 3) {
		if (!v86_virtual(cpu, in))
			LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
		v = (v & ~FL_IF) | FL_IOPL | (v & FL_VIF ? FL_IF : 0);
	}
	TRY(cpu, in, stack_push(cpu, v, in->opsize));
	NEXT(cpu, in);
}
BIND_ONE(pushf)

/* Leaves the block if what changed decides about interrupts, single step or (AC) SMAP. */
static enum outcome flags_commit(struct x86_cpu *cpu, const struct insn *in, u64 new)
{
	u64 changed = (x86_rflags(&cpu->st) ^ new) & (FL_IF | FL_TF | FL_AC | FL_RF);

	x86_set_rflags(&cpu->st, new);
	if (likely(!changed))
		NEXT(cpu, in);
	if (changed & FL_AC)
		x86_update_spaces(cpu);
	x86_update_attention(cpu);
	LEAVE(cpu, in, OUT_END);
}

/* SDM vol. 2, POPF: table 4-19 "Effect of POPF/POPFD on the EFLAGS Register". */
HANDLER(popf)
{
	u64 writable = FL_OSZAPC | FL_TF | FL_DF | FL_NT, old = x86_rflags(&cpu->st), v, new;

	TRY(cpu, in, stack_peek(cpu, 0, &v, in->opsize));
	if (in->opsize > 2)
		writable |= FL_AC | FL_ID | FL_RF;
	if (in_v86(cpu) && iopl(cpu) < 3) {
		if (!v86_virtual(cpu, in) || (v & FL_TF) || ((v & FL_IF) && (old & FL_VIP)))
			LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
		old = (old & ~FL_VIF) | (v & FL_IF ? FL_VIF : 0);
	} else if (in_v86(cpu)) {
		writable |= FL_IF;
	} else {
		if (cpu->st.cpl <= iopl(cpu))
			writable |= FL_IF;
		if (cpu->st.cpl == 0)
			writable |= FL_IOPL;
	}
	new = (old & ~writable) | (v & writable & ~FL_RF);
	stack_adjust(cpu, in->opsize);
	return flags_commit(cpu, in, new);
}
BIND_ONE(popf)
