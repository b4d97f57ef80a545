/*
 * JMP CALL RET LOOPcc JCXZ, near and far, and the software interrupts INT n, INT3, INTO, BOUND.
 *
 * Every one ends its block with st.rip set (OUT_JUMP), or with a recorded event. Far transfers are done by far.c.
 * SDM vol. 2: JMP, CALL, RET, LOOP, Jcc, INT n; vol. 3 20.2 "Virtual-8086 Mode" for INT n there.
 */
#include "cpu/x86/int.h"
#include "cpu/x86/jump.h"

HANDLER(jmp_rel64) { return jump_direct64(cpu, in, insn_next_rip(cpu, in) + in->imm, true); }
HANDLER(jmp_rel) { return jump_to_any(cpu, in, insn_next_rip(cpu, in) + in->imm, in->opsize); }
HANDLER(jmp_reg64) { return jump_to64(cpu, in, REG64(cpu, in->dst)); }
HANDLER(jmp_reg) { return jump_to_any(cpu, in, REG64(cpu, in->dst), in->opsize); }

HANDLER(jmp_mem)
{
	u64 to;

	TRY(cpu, in, operand_read(cpu, in, in->opsize, &to));
	return jump_to_any(cpu, in, to, in->opsize);
}

HANDLER(jmp_mem64)
{
	GUEST(u64) *p = look_read(cpu, in, 8);

	if (unlikely(!p))
		return jmp_mem(cpu, in);
	return jump_to64(cpu, in, *p);
}

HANDLER(jmp_far)
{
	u64 offset = in->imm;
	u16 sel = in->src2;

	if (in->flags & IN_MEM)
		TRY(cpu, in, far_pointer(cpu, in, &sel, &offset));
	LEAVE(cpu, in, far_jmp(cpu, sel, offset, in->opsize, mask_ip(cpu, insn_next_rip(cpu, in), 4)));
}

HANDLER(call_far)
{
	u64 offset = in->imm;
	u16 sel = in->src2;

	if (in->flags & IN_MEM)
		TRY(cpu, in, far_pointer(cpu, in, &sel, &offset));
	LEAVE(cpu, in, far_call(cpu, sel, offset, in->opsize, mask_ip(cpu, insn_next_rip(cpu, in), 4)));
}

static bool bind_far(struct bind *b, insn_fn *fn)
{
	struct insn *in = b->in;

	in->fn = fn;
	if (b->op[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
		in->imm = b->op[0].ptr.offset;
		in->src2 = b->op[0].ptr.segment;
	}
	/* AMD has no 16:64 pointers: REX.W is ignored (APM vol. 3, CALL (Far), JMP (Far)). */
	if (b->cpu->st.vendor == X86_AMD && in->opsize == 8)
		in->opsize = 4;
	return true;
}

bool bind_jmp(struct bind *b)
{
	bool wide;

	bind_branch_size(b);
	wide = bind_code64(b) && b->in->opsize == 8;
	if (b->zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return bind_far(b, jmp_far);
	b->in->links = wide && op_is_imm(&b->op[0]) ? LINK_HERE : 0;
	if (op_is_imm(&b->op[0]))
		b->in->fn = wide ? jmp_rel64 : jmp_rel;
	else if (op_is_reg(&b->op[0]))
		b->in->fn = wide ? jmp_reg64 : jmp_reg;
	else
		b->in->fn = wide && insn_flat(b->in) ? jmp_mem64 : jmp_mem;
	return true;
}

/* A fault of the push comes before one of the target, as on silicon; neither happens if either faults. */
static noinline enum outcome call_any(struct x86_cpu *cpu, const struct insn *in, u64 to)
{
	u64 next = jump_mask(insn_next_rip(cpu, in), in->opsize);

	to = jump_mask(to, in->opsize);
	TRY(cpu, in, stack_probe(cpu, -(s64)in->opsize, in->opsize));
	TRY(cpu, in, jump_check(cpu, to));
	TRY(cpu, in, stack_push(cpu, next, in->opsize));
	cpu->st.rip = to;
	LEAVE(cpu, in, OUT_JUMP);
}

/* The store that a call is, in 64-bit code; false: not so easily. */
static always_inline bool call_push64(struct x86_cpu *cpu, const struct insn *in, u64 to)
{
	u64 la = cpu->st.gpr[RSP] - 8;
	GUEST(u64) *p = mem_look(cpu, la, 8, ACC_WRITE);

	if (unlikely(!p) || unlikely(!rip_plain(to)))
		return false;
	*p = insn_next_rip(cpu, in);
	cpu->st.gpr[RSP] = la;
	cpu->st.rip = to;
	return true;
}

static always_inline enum outcome call_to64(struct x86_cpu *cpu, const struct insn *in, u64 to)
{
	return likely(call_push64(cpu, in, to)) ? chain_find(cpu, in) : call_any(cpu, in, to);
}

HANDLER(call_rel64)
{
	u64 to = insn_next_rip(cpu, in) + in->imm;

	return likely(call_push64(cpu, in, to)) ? chain_direct(cpu, in, true) : call_any(cpu, in, to);
}
HANDLER(call_rel) { return call_any(cpu, in, insn_next_rip(cpu, in) + in->imm); }
HANDLER(call_reg64) { return call_to64(cpu, in, REG64(cpu, in->dst)); }
HANDLER(call_reg) { return call_any(cpu, in, REG64(cpu, in->dst)); }

HANDLER(call_mem)
{
	u64 to;

	TRY(cpu, in, operand_read(cpu, in, in->opsize, &to));
	return call_any(cpu, in, to);
}

HANDLER(call_mem64)
{
	GUEST(u64) *p = look_read(cpu, in, 8);

	if (unlikely(!p))
		return call_mem(cpu, in);
	return call_to64(cpu, in, *p);
}

bool bind_call(struct bind *b)
{
	bool wide;

	bind_branch_size(b);
	wide = bind_code64(b) && b->in->opsize == 8;
	if (b->zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return bind_far(b, call_far);
	b->in->links = wide && op_is_imm(&b->op[0]) ? LINK_HERE : 0;
	if (op_is_imm(&b->op[0]))
		b->in->fn = wide ? call_rel64 : call_rel;
	else if (op_is_reg(&b->op[0]))
		b->in->fn = wide ? call_reg64 : call_reg;
	else
		b->in->fn = wide && insn_flat(b->in) ? call_mem64 : call_mem;
	return true;
}

/* imm: bytes of parameters to release, 0 without an operand. */
HANDLER_ANY(ret_any)
{
	u64 to;

	TRY(cpu, in, stack_peek(cpu, 0, &to, in->opsize));
	TRY(cpu, in, jump_check(cpu, to));
	stack_adjust(cpu, in->opsize + (s64)in->imm);
	cpu->st.rip = to;
	LEAVE(cpu, in, OUT_JUMP);
}

HANDLER(ret64)
{
	u64 la = cpu->st.gpr[RSP], to;
	GUEST(u64) *p = mem_look(cpu, la, 8, ACC_READ);

	if (unlikely(!p))
		return ret_any(cpu, in);
	to = *p;
	if (unlikely(!rip_plain(to)))
		return ret_any(cpu, in);
	cpu->st.gpr[RSP] = la + 8 + in->imm;
	cpu->st.rip = to;
	return chain_find(cpu, in);
}

HANDLER(ret_far) { LEAVE(cpu, in, far_ret(cpu, in->opsize, in->imm)); }

bool bind_ret(struct bind *b)
{
	bind_branch_size(b);
	if (b->zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		b->in->fn = ret_far;
	else
		b->in->fn = bind_code64(b) && b->in->opsize == 8 ? ret64 : ret_any;
	return true;
}

/* The count register has the address size. */
static u64 count_read(const struct x86_cpu *cpu, unsigned adsize)
{
	return cpu->st.gpr[RCX] & (adsize == 8 ? ~0ull : adsize == 4 ? 0xffffffffull : 0xffffull);
}

static enum outcome branch_if(struct x86_cpu *cpu, const struct insn *in, bool taken)
{
	u64 next = insn_next_rip(cpu, in);

	if (taken)
		return jump_to_any(cpu, in, next + in->imm, in->opsize);
	cpu->st.rip = mask_ip(cpu, next, 4);
	LEAVE(cpu, in, OUT_JUMP);
}

enum loop_kind { LOOP_ALWAYS, LOOP_ZERO, LOOP_NOT_ZERO };

/* aux: enum loop_kind. The count is written before the jump is checked only if the jump succeeds. */
HANDLER(loopcc)
{
	u64 count = count_read(cpu, in->adsize) - 1, next = insn_next_rip(cpu, in);
	bool zf = FLAGS(cpu) & ZF_AX, taken = in->adsize == 2 ? (u16)count : in->adsize == 4 ? (u32)count : count != 0;

	if (in->aux != LOOP_ALWAYS)
		taken = taken && zf == (in->aux == LOOP_ZERO);
	if (taken)
		TRY(cpu, in, jump_check(cpu, jump_mask(next + in->imm, in->opsize)));
	reg_write(cpu, CPU_OFF(st.gpr[RCX]), in->adsize, count);
	return branch_if(cpu, in, taken);
}

bool bind_loop(struct bind *b)
{
	bind_branch_size(b);
	b->in->fn = loopcc;
	b->in->aux = b->zi->mnemonic == ZYDIS_MNEMONIC_LOOP    ? LOOP_ALWAYS
		     : b->zi->mnemonic == ZYDIS_MNEMONIC_LOOPE ? LOOP_ZERO
							       : LOOP_NOT_ZERO;
	return true;
}

HANDLER(jcxz) { return branch_if(cpu, in, !count_read(cpu, in->adsize)); }

bool bind_jcxz(struct bind *b)
{
	bind_branch_size(b);
	b->in->fn = jcxz;
	return true;
}

/* The exit carries the vector (APM vol. 2 15.8.1 "Decode Assists"), so it is tested here. In virtual-8086 mode CR4.VME
 * may lead it to the program's own handler; else it is #GP(0) with IOPL below 3. */
HANDLER(int_n)
{
	if (x86_exit_wanted(cpu, EXIT_SWINT))
		LEAVE(cpu, in, x86_exit(cpu, EXIT_SWINT, (u8)in->imm, 0));
	if (cpu->c.mode & MODE_V86) {
		bool redirected = false;

		if (cpu->st.cr4 & CR4_VME)
			TRY(cpu, in,
			    v86_redirect(cpu, (u8)in->imm, mask_ip(cpu, insn_next_rip(cpu, in), 2), &redirected));
		if (redirected)
			LEAVE(cpu, in, OUT_JUMP);
		if ((cpu->st.rflags & FL_IOPL) != FL_IOPL)
			LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	}
	LEAVE(cpu, in, x86_soft_event(cpu, EV_SOFT_INT, (u8)in->imm, in->len));
}
HANDLER(int1) { LEAVE(cpu, in, x86_soft_event(cpu, EV_PRIV_SOFT, EXC_DB, in->len)); }
HANDLER(int3) { LEAVE(cpu, in, x86_soft_event(cpu, EV_SOFT_EXC, EXC_BP, in->len)); }

HANDLER(into)
{
	if (FLAGS(cpu) & OF_AX)
		LEAVE(cpu, in, x86_soft_event(cpu, EV_SOFT_EXC, EXC_OF, in->len));
	NEXT(cpu, in);
}

/* Two signed bounds in memory, inclusive. */
HANDLER(bound)
{
	unsigned size = in->opsize;
	u64 la, low = 0, high = 0;
	s64 value;

	TRY(cpu, in, insn_la(cpu, in, 2 * size, insn_acc(in), &la));
	TRY(cpu, in, mem_read_n(cpu, la, &low, size, insn_acc(in)));
	TRY(cpu, in, mem_read_n(cpu, la + size, &high, size, insn_acc(in)));
	value = (s64)sign_extend(reg_read(cpu, in->dst, size), 8 * size);
	if (value < (s64)sign_extend(low, 8 * size) || value > (s64)sign_extend(high, 8 * size))
		LEAVE(cpu, in, x86_fault(cpu, EXC_BR, 0));
	NEXT(cpu, in);
}

bool bind_int(struct bind *b)
{
	b->in->fn = int_n;
	return true;
}
BIND_ONE(int1)
BIND_ONE(int3)
BIND_ONE(into)
BIND_ONE(bound)
