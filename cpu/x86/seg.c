/*
 * Segments: limit and type checks of memory operands, loads of segment registers, LDTR and TR.
 * SDM vol. 3 5.3 "Limit Checking", 5.4 "Type Checking", 5.6 "Privilege Level Checking When Accessing Data Segments",
 * 5.7 "Privilege Level Checking When Loading the SS Register"; SDM vol. 2 "MOV", "LLDT", "LTR" for the faults' error
 * codes.
 */
#include "cpu/x86/seg.h"

#include "arch/x86/model.h"
#include "cpu/x86/exec.h"

bool seg_allows(const struct x86_seg *s, u64 offset, unsigned size, unsigned acc, bool typed)
{
	u64 last = offset + size - 1;

	if (typed) {
		if (!(s->attr & SEG_P))
			return false;
		if (acc & ACC_WRITE ? !attr_is_writable(s->attr) : !attr_is_readable(s->attr))
			return false;
		if (attr_is_data(s->attr) && (s->attr & SEG_CONF))
			return offset > s->limit && last <= (s->attr & SEG_DB ? 0xffffffffull : 0xffffull);
	}
	return last <= s->limit;
}

enum outcome seg_linear(struct x86_cpu *cpu, unsigned sreg, u64 offset, unsigned size, unsigned acc, u64 *la)
{
	const struct x86_seg *s = &cpu->st.seg[sreg];

	if (in_code64(cpu)) {
		u64 base = sreg >= FS ? s->base : 0, last = offset + size - 1;

		*la = base + offset;
		/* AMD's silicon wants first and last byte canonical before FS's or GS's base is added too, and does not let
		 * both wrap; Intel the sums alone. */
		if (unlikely(base && (!la_canonical(cpu, offset) || !la_canonical(cpu, last) ||
				      (last < offset && base + last < *la))) &&
		    cpu->st.vendor == X86_AMD)
			return x86_fault(cpu, EXC_GP, 0);
		return OUT_NEXT;
	}
	if (!seg_allows(s, offset, size, acc, !in_real_style(cpu)))
		return x86_fault(cpu, sreg == SS ? EXC_SS : EXC_GP, 0);
	*la = (u32)(s->base + offset);
	return OUT_NEXT;
}

/* Only the class within the space changes: everything else that a space stands for stays as it is (space.h). */
unsigned cpl_assume(struct x86_cpu *cpu, unsigned cpl)
{
	unsigned old = cpu->st.cpl;

	if (old == cpl)
		return old;
	cpu->st.cpl = cpl;
	cpu->c.space = space_of_data(cpu);
	return old;
}

enum outcome desc_read(struct x86_cpu *cpu, u16 sel, unsigned vector, u32 ext, u64 *d, u64 *la)
{
	u64 base = cpu->st.gdtr.base, limit = cpu->st.gdtr.limit;

	if (sel & SEL_LDT) {
		if (!(cpu->st.ldtr.attr & SEG_P))
			return x86_fault(cpu, vector, (sel & 0xfffcu) | ext);
		base = cpu->st.ldtr.base;
		limit = cpu->st.ldtr.limit;
	}
	if ((sel | 7u) > limit)
		return x86_fault(cpu, vector, (sel & 0xfffcu) | ext);
	*la = base + (sel & 0xfff8u);
	if (!in_long_mode(cpu))
		*la = (u32)*la;
	return mem_read64(cpu, *la, d, ACC_SYSTEM);
}

enum outcome desc_read_high(struct x86_cpu *cpu, u16 sel, unsigned vector, u32 ext, u64 la, u64 *hi)
{
	u64 limit = sel & SEL_LDT ? cpu->st.ldtr.limit : cpu->st.gdtr.limit;

	if ((sel | 7ull) + 8 > limit)
		return x86_fault(cpu, vector, (sel & 0xfffcu) | ext);
	return mem_read64(cpu, la + 8, hi, ACC_SYSTEM);
}

/* Other processors may set bits in the same byte: a locked OR, as silicon does it. */
static enum outcome desc_or(struct x86_cpu *cpu, u64 la, u8 bits)
{
	struct mem_rmw m;
	enum outcome o = mem_rmw_begin(cpu, la, 1, ACC_SYSTEM, &m);

	if (o != OUT_NEXT)
		return o;
	__atomic_fetch_or((u8 *)m.p, bits, __ATOMIC_SEQ_CST);
	return mem_rmw_end(cpu, &m);
}

enum outcome desc_mark_accessed(struct x86_cpu *cpu, u64 la, u64 *d)
{
	if (*d & DESC_ACCESSED)
		return OUT_NEXT;
	*d |= DESC_ACCESSED;
	return desc_or(cpu, la + 5, SEG_ACCESSED);
}

enum outcome desc_mark_busy(struct x86_cpu *cpu, u64 la, bool busy)
{
	u8 type;
	enum outcome o;

	if (busy)
		return desc_or(cpu, la + 5, SYS_BUSY);
	o = mem_read8(cpu, la + 5, &type, ACC_SYSTEM);
	if (o != OUT_NEXT)
		return o;
	return mem_write8(cpu, la + 5, type & ~SYS_BUSY, ACC_SYSTEM);
}

/* APM vol. 3 E.4 "Function 8000_0021h": NullSelectorClearsBase. Intel's processors always clear. */
void seg_set_null(struct x86_cpu *cpu, enum x86_sreg sreg, u16 sel)
{
	struct x86_seg *s = &cpu->st.seg[sreg];

	s->sel = sel;
	s->attr = 0;
	if (cpu->st.vendor == X86_INTEL || x86_has(cpu->model, X86F_NULL_SEL_CLR_BASE)) {
		s->base = 0;
		s->limit = 0;
	}
}

void seg_set_real(struct x86_cpu *cpu, enum x86_sreg sreg, u16 sel)
{
	cpu->st.seg[sreg].sel = sel;
	cpu->st.seg[sreg].base = (u64)sel << 4;
}

/* SDM vol. 3 20.2.1 "Enabling Virtual-8086 Mode", 26.3.1.2 for the attributes. */
void seg_set_v86(struct x86_cpu *cpu, enum x86_sreg sreg, u16 sel)
{
	cpu->st.seg[sreg] = (struct x86_seg){
		.sel = sel,
		.attr = SEG_P | SEG_S | 3u << 5 | SEG_RW | SEG_ACCESSED,
		.limit = 0xffff,
		.base = (u64)sel << 4,
	};
}

void seg_drop_inner(struct x86_cpu *cpu)
{
	static const u8 regs[] = {ES, DS, FS, GS};

	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		u16 attr = cpu->st.seg[regs[i]].attr;

		/* A null selector's base is left: VM exits leave FS and GS so, usable, with DPL 0 and a base. */
		if (!(attr & SEG_P) || SEL_NULL(cpu->st.seg[regs[i]].sel))
			continue;
		if (SEG_DPL(attr) < cpu->st.cpl && !(attr_is_code(attr) && attr_is_conforming(attr)))
			seg_set_null(cpu, regs[i], 0);
	}
}

enum outcome seg_check_stack(struct x86_cpu *cpu, u16 sel, unsigned cpl, unsigned vector, u32 ext, struct x86_seg *out)
{
	u64 d, la;
	u16 attr;
	u32 error = (sel & 0xfffcu) | ext;
	enum outcome o;

	if (SEL_NULL(sel))
		return x86_fault(cpu, vector, ext);
	o = desc_read(cpu, sel, vector, ext, &d, &la);
	if (o != OUT_NEXT)
		return o;
	attr = desc_attr(d);
	if (SEL_RPL(sel) != cpl || SEG_DPL(attr) != cpl || !attr_is_writable(attr))
		return x86_fault(cpu, vector, error);
	if (!(attr & SEG_P))
		return x86_fault(cpu, EXC_SS, error);
	o = desc_mark_accessed(cpu, la, &d);
	if (o != OUT_NEXT)
		return o;
	*out = desc_seg(sel, d);
	return OUT_NEXT;
}

static enum outcome load_ss(struct x86_cpu *cpu, u16 sel)
{
	enum outcome o;

	if (SEL_NULL(sel)) {
		if (!in_code64(cpu) || cpu->st.cpl == 3 || SEL_RPL(sel) != cpu->st.cpl)
			return x86_fault(cpu, EXC_GP, 0);
		seg_set_null(cpu, SS, sel);
	} else {
		o = seg_check_stack(cpu, sel, cpu->st.cpl, EXC_GP, 0, &cpu->st.seg[SS]);
		if (o != OUT_NEXT)
			return o;
	}
	x86_update_mode(cpu);
	return OUT_NEXT;
}

enum outcome seg_load_data(struct x86_cpu *cpu, enum x86_sreg sreg, u16 sel, unsigned vector)
{
	u64 d, la;
	u16 attr;
	u32 error = sel & 0xfffcu;
	enum outcome o;

	if (SEL_NULL(sel)) {
		seg_set_null(cpu, sreg, sel);
		return OUT_NEXT;
	}
	o = desc_read(cpu, sel, vector, 0, &d, &la);
	if (o != OUT_NEXT)
		return o;
	attr = desc_attr(d);
	if (!attr_is_readable(attr))
		return x86_fault(cpu, vector, error);
	if (!(attr_is_code(attr) && attr_is_conforming(attr)) && MAX(SEL_RPL(sel), cpu->st.cpl) > SEG_DPL(attr))
		return x86_fault(cpu, vector, error);
	if (!(attr & SEG_P))
		return x86_fault(cpu, EXC_NP, error);
	o = desc_mark_accessed(cpu, la, &d);
	if (o != OUT_NEXT)
		return o;
	cpu->st.seg[sreg] = desc_seg(sel, d);
	return OUT_NEXT;
}

enum outcome seg_load(struct x86_cpu *cpu, enum x86_sreg sreg, u16 sel)
{
	enum outcome o = OUT_NEXT;

	if (in_real_style(cpu)) {
		if (in_v86(cpu))
			seg_set_v86(cpu, sreg, sel);
		else
			seg_set_real(cpu, sreg, sel);
	} else if (sreg == SS) {
		return load_ss(cpu, sel);
	} else {
		o = seg_load_data(cpu, sreg, sel, EXC_GP);
	}
	if (o == OUT_NEXT && !in_code64(cpu))
		x86_update_mode(cpu);
	return o;
}

/* A descriptor of the GDT for LDTR or TR, 16 bytes of it in long mode. `types`: bit n allows system type n. */
static enum outcome system_read(struct x86_cpu *cpu, u16 sel, u32 types, struct x86_seg *seg, u64 *la)
{
	u64 d, hi = 0;
	u16 attr;
	u32 error = sel & 0xfffcu;
	enum outcome o;

	if (sel & SEL_LDT)
		return x86_fault(cpu, EXC_GP, error);
	o = desc_read(cpu, sel, EXC_GP, 0, &d, la);
	if (o != OUT_NEXT)
		return o;
	attr = desc_attr(d);
	if ((attr & SEG_S) || !(types >> (attr & SEG_TYPE) & 1))
		return x86_fault(cpu, EXC_GP, error);
	if (in_long_mode(cpu)) {
		o = desc_read_high(cpu, sel, EXC_GP, 0, *la, &hi);
		if (o != OUT_NEXT)
			return o;
		if (hi >> 40 & 0x1f) /* the upper half's type field must be 0 */
			return x86_fault(cpu, EXC_GP, error);
	}
	if (!(attr & SEG_P))
		return x86_fault(cpu, EXC_NP, error);
	*seg = desc_seg(sel, d);
	seg->base |= hi << 32;
	if (!la_canonical_kept(cpu, seg->base))
		return x86_fault(cpu, EXC_GP, error);
	return OUT_NEXT;
}

enum outcome seg_load_ldtr(struct x86_cpu *cpu, u16 sel)
{
	struct x86_seg seg;
	u64 la;
	enum outcome o;

	if (SEL_NULL(sel)) {
		cpu->st.ldtr.sel = sel;
		cpu->st.ldtr.attr = 0;
		return OUT_NEXT;
	}
	o = system_read(cpu, sel, BIT(SYS_LDT), &seg, &la);
	if (o == OUT_NEXT)
		cpu->st.ldtr = seg;
	return o;
}

enum outcome seg_load_tr(struct x86_cpu *cpu, u16 sel)
{
	struct x86_seg seg;
	u64 la;
	u32 types = in_long_mode(cpu) ? BIT(SYS_TSS) : BIT(SYS_TSS) | BIT(SYS_TSS16);
	enum outcome o;

	if (SEL_NULL(sel))
		return x86_fault(cpu, EXC_GP, 0);
	o = system_read(cpu, sel, types, &seg, &la);
	if (o != OUT_NEXT)
		return o;
	o = desc_mark_busy(cpu, la, true);
	if (o != OUT_NEXT)
		return o;
	seg.attr |= SYS_BUSY;
	cpu->st.tr = seg;
	return OUT_NEXT;
}
