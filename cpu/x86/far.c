/*
 * Far JMP, CALL and RET in all modes, and the check of near jump targets. IRET is in iret.c, task switches in task.c.
 * SDM vol. 2 "JMP", "CALL", "RET" (operation); APM vol. 2 4.9.4 "Far Control Transfers through ... Gates".
 *
 * Each function commits last and leaves with OUT_JUMP.
 */
#include "cpu/x86/exec.h"
#include "cpu/x86/seg.h"

enum outcome jump_check(struct x86_cpu *cpu, u64 target)
{
	if (in_code64(cpu) ? !la_canonical(cpu, target) : target > cpu->st.seg[CS].limit)
		return x86_fault(cpu, EXC_GP, 0);
	return OUT_NEXT;
}

static enum outcome far_done(struct x86_cpu *cpu)
{
	x86_update_mode(cpu);
	return OUT_JUMP;
}

/* Real and virtual-8086 mode. */
static enum outcome far_real(struct x86_cpu *cpu, u16 sel, u64 offset, unsigned opsize, u64 next_rip, bool call)
{
	struct frame f;
	enum outcome o;

	if (opsize == 2)
		offset = (u16)offset;
	if (offset > cpu->st.seg[CS].limit)
		return x86_fault(cpu, EXC_GP, 0);
	if (call) {
		frame_init_current(cpu, &f, opsize, 0);
		frame_add(&f, cpu->st.seg[CS].sel);
		frame_add(&f, next_rip);
		o = frame_push(cpu, &f);
		if (o != OUT_NEXT)
			return o;
		frame_set_sp(cpu, f.sp, f.ss.attr, false);
	}
	seg_set_real(cpu, CS, sel);
	cpu->st.rip = offset;
	return far_done(cpu);
}

/* Pushes the return address on the present stack, then goes. */
static enum outcome enter_same(struct x86_cpu *cpu, struct code_target *t, unsigned size, u64 next_rip, bool call)
{
	struct frame f;
	enum outcome o = code_target_mark(cpu, t);

	if (o != OUT_NEXT)
		return o;
	if (call) {
		frame_init_current(cpu, &f, size, 0);
		frame_add(&f, cpu->st.seg[CS].sel);
		frame_add(&f, next_rip);
		o = frame_push(cpu, &f);
		if (o != OUT_NEXT)
			return o;
		frame_set_sp(cpu, f.sp, f.ss.attr, f.code64);
	}
	code_target_load(cpu, t);
	return far_done(cpu);
}

static enum outcome direct(struct x86_cpu *cpu, u16 sel, u64 offset, unsigned opsize, u64 next_rip, bool call)
{
	struct code_target t;
	enum outcome o = code_target_read(cpu, sel, 0, &t);

	if (o == OUT_NEXT)
		o = code_target_check_level(cpu, &t, cpu->st.cpl, cpu->st.cpl, 0);
	if (o == OUT_NEXT)
		o = code_target_check_rip(cpu, &t, opsize == 2 ? (u16)offset : offset, 0);
	if (o != OUT_NEXT)
		return o;
	return enter_same(cpu, &t, opsize, next_rip, call);
}

/* The inner stack of a call gate, with the caller's SS:SP and parameters on it. */
static enum outcome inner_frame(struct x86_cpu *cpu, struct frame *f, const struct code_target *t, unsigned count,
				u64 next_rip)
{
	u16 ss;
	u64 v;
	enum outcome o;

	if (in_long_mode(cpu)) {
		o = tss_stack64(cpu, 4 + 8 * t->cpl, 0, &f->sp);
		f->ss = (struct x86_seg){.sel = t->cpl};
		count = 0;
	} else {
		o = tss_stack(cpu, t->cpl, 0, &ss, &f->sp);
		if (o == OUT_NEXT)
			o = seg_check_stack(cpu, ss, t->cpl, EXC_TS, 0, &f->ss);
		f->ss_error = ss & 0xfffcu;
	}
	if (o != OUT_NEXT)
		return o;
	f->cpl = t->cpl;
	f->code64 = in_long_mode(cpu);
	f->typed = true;
	frame_add(f, cpu->st.seg[SS].sel);
	frame_add(f, cpu->st.gpr[RSP]);
	for (unsigned i = count; i-- > 0;) {
		o = stack_peek(cpu, i * f->size, &v, f->size);
		if (o != OUT_NEXT)
			return o;
		frame_add(f, v);
	}
	frame_add(f, cpu->st.seg[CS].sel);
	frame_add(f, next_rip);
	return OUT_NEXT;
}

static enum outcome enter_inner(struct x86_cpu *cpu, struct code_target *t, unsigned size, unsigned count, u64 next_rip)
{
	struct frame f = {.size = size};
	enum outcome o;

	t->cpl = SEG_DPL(t->seg.attr);
	o = inner_frame(cpu, &f, t, count, next_rip);
	if (o == OUT_NEXT)
		o = code_target_mark(cpu, t);
	if (o == OUT_NEXT)
		o = frame_push(cpu, &f);
	if (o != OUT_NEXT)
		return o;
	cpu->st.seg[SS] = f.ss;
	frame_set_sp(cpu, f.sp, f.ss.attr, f.code64);
	code_target_load(cpu, t);
	return far_done(cpu);
}

static enum outcome call_gate(struct x86_cpu *cpu, const struct x86_gate *g, u64 next_rip, bool call)
{
	struct code_target t;
	unsigned size = in_long_mode(cpu) ? 8 : g->type == SYS_CALL ? 4 : 2, dpl;
	bool inner;
	enum outcome o = code_target_read(cpu, g->sel, 0, &t);

	if (o != OUT_NEXT)
		return o;
	dpl = SEG_DPL(t.seg.attr);
	inner = !attr_is_conforming(t.seg.attr) && dpl < cpu->st.cpl;
	if ((in_long_mode(cpu) && !(t.seg.attr & SEG_L)) || dpl > cpu->st.cpl || (inner && !call))
		return x86_fault(cpu, EXC_GP, g->sel & 0xfffcu);
	if (!(t.seg.attr & SEG_P))
		return x86_fault(cpu, EXC_NP, g->sel & 0xfffcu);
	o = code_target_check_rip(cpu, &t, size == 2 ? (u16)g->offset : g->offset, 0);
	if (o != OUT_NEXT)
		return o;
	if (inner)
		return enter_inner(cpu, &t, size, g->count, next_rip);
	return enter_same(cpu, &t, size, next_rip, call);
}

/* A selector that names no segment: call gate, task gate or TSS. */
static enum outcome through_system(struct x86_cpu *cpu, u16 sel, u64 d, u64 la, u64 next_rip, bool call)
{
	struct x86_gate g = desc_gate(d, 0);
	u32 error = sel & 0xfffcu, types;
	u64 hi = 0;
	enum outcome o;

	types = in_long_mode(cpu)
			? BIT(SYS_CALL)
			: BIT(SYS_CALL) | BIT(SYS_CALL16) | BIT(SYS_TASK_GATE) | BIT(SYS_TSS) | BIT(SYS_TSS16);
	if (!(types >> g.type & 1) || g.dpl < MAX(cpu->st.cpl, SEL_RPL(sel)))
		return x86_fault(cpu, EXC_GP, error);
	if (in_long_mode(cpu)) {
		o = desc_read_high(cpu, sel, EXC_GP, 0, la, &hi);
		if (o != OUT_NEXT)
			return o;
		if (hi >> 40 & 0x1f)
			return x86_fault(cpu, EXC_GP, error);
		g = desc_gate(d, hi);
	}
	if (!g.present)
		return x86_fault(cpu, EXC_NP, error);
	switch (g.type) {
	case SYS_CALL:
	case SYS_CALL16: return call_gate(cpu, &g, next_rip, call);
	case SYS_TASK_GATE: return task_switch(cpu, g.sel, call ? TASK_CALL : TASK_JMP, next_rip, false, 0, 0);
	default: return task_switch(cpu, sel, call ? TASK_CALL : TASK_JMP, next_rip, false, 0, 0);
	}
}

static enum outcome far_transfer(struct x86_cpu *cpu, u16 sel, u64 offset, unsigned opsize, u64 next_rip, bool call)
{
	u64 d, la;
	enum outcome o;

	if (in_real_style(cpu))
		return far_real(cpu, sel, offset, opsize, next_rip, call);
	if (SEL_NULL(sel))
		return x86_fault(cpu, EXC_GP, 0);
	o = desc_read(cpu, sel, EXC_GP, 0, &d, &la);
	if (o != OUT_NEXT)
		return o;
	if (desc_attr(d) & SEG_S)
		return direct(cpu, sel, offset, opsize, next_rip, call);
	return through_system(cpu, sel, d, la, next_rip, call);
}

/* Offset and selector are read by themselves: each is aligned as it alone must be (SDM vol. 3 table 6-7 "Alignment
 * Requirements by Data Type"). */
enum outcome far_pointer(struct x86_cpu *cpu, const struct insn *in, u16 *sel, u64 *offset)
{
	unsigned acc = insn_acc(in);
	enum outcome o;
	u64 la;

	*offset = 0;
	o = insn_la(cpu, in, in->opsize + 2, acc, &la);
	if (o == OUT_NEXT)
		o = mem_read_n(cpu, la, offset, in->opsize, acc);
	return o == OUT_NEXT ? mem_read_n(cpu, la + in->opsize, sel, 2, acc) : o;
}

enum outcome far_jmp(struct x86_cpu *cpu, u16 sel, u64 offset, unsigned opsize, u64 next_rip)
{
	return far_transfer(cpu, sel, offset, opsize, next_rip, false);
}

enum outcome far_call(struct x86_cpu *cpu, u16 sel, u64 offset, unsigned opsize, u64 next_rip)
{
	return far_transfer(cpu, sel, offset, opsize, next_rip, true);
}

static enum outcome ret_real(struct x86_cpu *cpu, u64 rip, u16 sel, unsigned opsize, u16 pop_bytes)
{
	if (rip > cpu->st.seg[CS].limit)
		return x86_fault(cpu, EXC_GP, 0);
	stack_adjust(cpu, 2 * opsize + pop_bytes);
	seg_set_real(cpu, CS, sel);
	cpu->st.rip = rip;
	return far_done(cpu);
}

/* RET to an outer level takes SS:RSP from the stack too. Null SS is good for 64-bit code below CPL 3. */
static enum outcome ret_outer(struct x86_cpu *cpu, struct code_target *t, unsigned opsize, u16 pop_bytes)
{
	bool code64 = in_long_mode(cpu) && (t->seg.attr & SEG_L);
	struct x86_seg ss = {0};
	u64 rsp, sel;
	enum outcome o = stack_peek(cpu, 2 * opsize + pop_bytes, &rsp, opsize);

	if (o == OUT_NEXT)
		o = stack_peek(cpu, 3 * opsize + pop_bytes, &sel, opsize);
	if (o != OUT_NEXT)
		return o;
	if (SEL_NULL(sel) && code64 && t->cpl != 3 && SEL_RPL(sel) == t->cpl)
		ss.sel = sel;
	else
		o = seg_check_stack(cpu, sel, t->cpl, EXC_GP, 0, &ss);
	if (o == OUT_NEXT)
		o = code_target_mark(cpu, t);
	if (o != OUT_NEXT)
		return o;
	code_target_load(cpu, t);
	cpu->st.seg[SS] = ss;
	frame_set_sp(cpu, rsp + pop_bytes, ss.attr, code64);
	seg_drop_inner(cpu);
	return far_done(cpu);
}

enum outcome far_ret(struct x86_cpu *cpu, unsigned opsize, u16 pop_bytes)
{
	struct code_target t;
	u64 rip, sel;
	unsigned rpl;
	enum outcome o = stack_peek(cpu, 0, &rip, opsize);

	if (o == OUT_NEXT)
		o = stack_peek(cpu, opsize, &sel, opsize);
	if (o != OUT_NEXT)
		return o;
	if (in_real_style(cpu))
		return ret_real(cpu, rip, sel, opsize, pop_bytes);
	o = code_target_read(cpu, sel, 0, &t);
	if (o != OUT_NEXT)
		return o;
	rpl = SEL_RPL(sel);
	if (rpl < cpu->st.cpl)
		return x86_fault(cpu, EXC_GP, sel & 0xfffcu);
	o = code_target_check_level(cpu, &t, rpl, rpl, 0);
	if (o == OUT_NEXT)
		o = code_target_check_rip(cpu, &t, rip, 0);
	if (o != OUT_NEXT)
		return o;
	t.cpl = rpl;
	if (rpl > cpu->st.cpl)
		return ret_outer(cpu, &t, opsize, pop_bytes);
	o = code_target_mark(cpu, &t);
	if (o != OUT_NEXT)
		return o;
	stack_adjust(cpu, 2 * opsize + pop_bytes);
	code_target_load(cpu, &t);
	return far_done(cpu);
}
