/*
 * The pieces of a far transfer: its target code segment, the inner stack that a TSS names, and the frame that is pushed
 * there.
 *
 * Nothing here changes the processor until code_target_load() and frame_set_sp(): a transfer that faults half-way has
 * changed nothing but accessed bits in descriptors. SDM vol. 3 5.8 "Privilege Level Checking When Transferring Program
 * Control Between Code Segments", 5.8.5 "Stack Switching", 6.14.2 "64-Bit Mode Stack Frame".
 */
#include "cpu/x86/exec.h"
#include "cpu/x86/seg.h"

enum outcome code_target_read(struct x86_cpu *cpu, u16 sel, u32 ext, struct code_target *t)
{
	u16 attr;
	enum outcome o;

	if (SEL_NULL(sel))
		return x86_fault(cpu, EXC_GP, ext);
	o = desc_read(cpu, sel, EXC_GP, ext, &t->d, &t->la);
	if (o != OUT_NEXT)
		return o;
	t->seg = desc_seg(sel, t->d);
	t->cpl = cpu->st.cpl;
	attr = t->seg.attr;
	if (!attr_is_code(attr) || (in_long_mode(cpu) && (attr & SEG_L) && (attr & SEG_DB)))
		return x86_fault(cpu, EXC_GP, (sel & 0xfffcu) | ext);
	return OUT_NEXT;
}

enum outcome code_target_check_level(struct x86_cpu *cpu, const struct code_target *t, unsigned cpl, unsigned rpl_max,
				     u32 ext)
{
	unsigned dpl = SEG_DPL(t->seg.attr);
	u32 error = (t->seg.sel & 0xfffcu) | ext;

	if (attr_is_conforming(t->seg.attr) ? dpl > cpl : dpl != cpl || SEL_RPL(t->seg.sel) > rpl_max)
		return x86_fault(cpu, EXC_GP, error);
	if (!(t->seg.attr & SEG_P))
		return x86_fault(cpu, EXC_NP, error);
	return OUT_NEXT;
}

enum outcome code_target_check_rip(struct x86_cpu *cpu, struct code_target *t, u64 rip, u32 ext)
{
	if (in_long_mode(cpu) && (t->seg.attr & SEG_L)) {
		if (!la_canonical(cpu, rip))
			return x86_fault(cpu, EXC_GP, ext);
	} else {
		rip = (u32)rip;
		if (rip > t->seg.limit)
			return x86_fault(cpu, EXC_GP, ext);
	}
	t->rip = rip;
	return OUT_NEXT;
}

enum outcome code_target_mark(struct x86_cpu *cpu, struct code_target *t)
{
	enum outcome o = desc_mark_accessed(cpu, t->la, &t->d);

	t->seg.attr |= SEG_ACCESSED;
	return o;
}

void code_target_load(struct x86_cpu *cpu, const struct code_target *t)
{
	cpu->st.seg[CS] = t->seg;
	cpu->st.seg[CS].sel = (t->seg.sel & 0xfffcu) | t->cpl;
	cpu->st.cpl = t->cpl;
	cpu->st.rip = t->rip;
}

enum outcome tss_stack64(struct x86_cpu *cpu, unsigned offset, u32 ext, u64 *rsp)
{
	const struct x86_seg *tr = &cpu->st.tr;

	if (offset + 7 > tr->limit)
		return x86_fault(cpu, EXC_TS, (tr->sel & 0xfffcu) | ext);
	return mem_read64(cpu, tr->base + offset, rsp, ACC_SYSTEM);
}

enum outcome tss_stack(struct x86_cpu *cpu, unsigned cpl, u32 ext, u16 *ss, u64 *rsp)
{
	const struct x86_seg *tr = &cpu->st.tr;
	bool wide = tr->attr & 8;
	unsigned offset = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
	u16 sp16;
	u32 sp32;
	enum outcome o;

	if (offset + (wide ? 5 : 3) > tr->limit)
		return x86_fault(cpu, EXC_TS, (tr->sel & 0xfffcu) | ext);
	if (wide) {
		o = mem_read32(cpu, (u32)(tr->base + offset), &sp32, ACC_SYSTEM);
		*rsp = sp32;
	} else {
		o = mem_read16(cpu, (u32)(tr->base + offset), &sp16, ACC_SYSTEM);
		*rsp = sp16;
	}
	if (o != OUT_NEXT)
		return o;
	return mem_read16(cpu, (u32)(tr->base + offset + (wide ? 4 : 2)), ss, ACC_SYSTEM);
}

void frame_init_current(struct x86_cpu *cpu, struct frame *f, unsigned size, u32 ext)
{
	f->ss = cpu->st.seg[SS];
	f->sp = cpu->st.gpr[RSP];
	f->size = size;
	f->cpl = cpu->st.cpl;
	f->ss_error = ext;
	f->code64 = in_code64(cpu);
	f->typed = !in_real_style(cpu);
	f->n = 0;
}

static u64 stack_mask(u16 ss_attr, bool code64)
{
	if (code64)
		return ~0ull;
	return ss_attr & SEG_DB ? 0xffffffffull : 0xffffull;
}

static u64 frame_la(const struct frame *f, u64 sp) { return f->code64 ? sp : (u32)(f->ss.base + sp); }

static bool frame_allows(struct x86_cpu *cpu, const struct frame *f, u64 sp, unsigned size)
{
	if (f->code64)
		return la_canonical(cpu, sp) && la_canonical(cpu, sp + size - 1);
	return seg_allows(&f->ss, sp, size, ACC_WRITE, f->typed);
}

/* The whole frame in one store. */
static enum outcome push_together(struct x86_cpu *cpu, struct frame *f, u64 low)
{
	u8 buf[64];
	unsigned total = f->n * f->size;

	if (!frame_allows(cpu, f, low, total))
		return x86_fault(cpu, EXC_SS, f->ss_error);
	for (unsigned i = 0; i < f->n; i++)
		memcpy(buf + total - (i + 1) * f->size, &f->v[i], f->size);
	return mem_write_n(cpu, frame_la(f, low), buf, total, ACC_STACK);
}

/* A frame that is long or wraps around the end of its segment: every place is probed before the first store. */
static enum outcome push_apart(struct x86_cpu *cpu, struct frame *f, u64 mask)
{
	enum outcome o;

	for (unsigned i = 0; i < f->n; i++) {
		u64 sp = (f->sp - (i + 1) * f->size) & mask;

		if (!frame_allows(cpu, f, sp, f->size))
			return x86_fault(cpu, EXC_SS, f->ss_error);
		o = mem_probe(cpu, frame_la(f, sp), f->size, ACC_STACK | ACC_WRITE);
		if (o != OUT_NEXT)
			return o;
	}
	for (unsigned i = 0; i < f->n; i++) {
		u64 sp = (f->sp - (i + 1) * f->size) & mask;

		o = mem_write_n(cpu, frame_la(f, sp), &f->v[i], f->size, ACC_STACK);
		if (o != OUT_NEXT)
			return o;
	}
	return OUT_NEXT;
}

enum outcome frame_push(struct x86_cpu *cpu, struct frame *f)
{
	u64 mask = stack_mask(f->ss.attr, f->code64);
	unsigned total = f->n * f->size;
	u64 low = (f->sp - total) & mask;
	unsigned old = cpl_assume(cpu, f->cpl);
	enum outcome o;

	if (total <= 64 && low <= mask - (total - 1)) {
		o = push_together(cpu, f, low);
		if (unlikely(o != OUT_NEXT)) /* CR2 is that of the first push that fails */
			o = push_apart(cpu, f, mask);
	} else {
		o = push_apart(cpu, f, mask);
	}
	cpl_assume(cpu, old);
	f->sp = low;
	return o;
}

void frame_set_sp(struct x86_cpu *cpu, u64 sp, u16 ss_attr, bool code64)
{
	if (code64)
		cpu->st.gpr[RSP] = sp;
	else if (ss_attr & SEG_DB)
		cpu->st.gpr[RSP] = (u32)sp;
	else
		cpu->st.gpr[RSP] = (cpu->st.gpr[RSP] & ~0xffffull) | (u16)sp;
}
