/*
 * Descriptor-table registers, LDTR and TR, and the instructions that ask about selectors: LAR, LSL, VERR, VERW, ARPL.
 * SDM vol. 2 at each name; SDM vol. 3 2.4 "Memory-Management Registers", 5.10 "Pointer Validation".
 */
#include "cpu/x86/int.h"
#include "cpu/x86/seg.h"

static enum outcome selector_get(struct x86_cpu *cpu, const struct insn *in, u16 reg, u16 *sel)
{
	u64 v = REG16(cpu, reg);

	if (in->flags & IN_MEM) {
		enum outcome o = operand_read(cpu, in, 2, &v);

		if (o != OUT_NEXT)
			return o;
	}
	*sel = (u16)v;
	return OUT_NEXT;
}

static enum outcome table_store(struct x86_cpu *cpu, const struct insn *in, const struct x86_dtr *t)
{
	u8 buf[10];
	unsigned size = in_code64(cpu) ? 10 : 6;
	u16 limit = (u16)t->limit;
	u64 la;
	enum outcome o = insn_la(cpu, in, size, insn_acc(in) | ACC_WRITE, &la);

	if (o != OUT_NEXT)
		return o;
	memcpy(buf, &limit, 2);
	memcpy(buf + 2, &t->base, size - 2);
	return mem_write_n(cpu, la, buf, size, insn_acc(in));
}

static enum outcome table_load(struct x86_cpu *cpu, const struct insn *in, struct x86_dtr *t)
{
	u8 buf[10];
	unsigned size = in_code64(cpu) ? 10 : 6;
	struct x86_dtr v = {0};
	u64 la;
	enum outcome o = insn_la(cpu, in, size, insn_acc(in), &la);

	if (o == OUT_NEXT)
		o = mem_read_n(cpu, la, buf, size, insn_acc(in));
	if (o != OUT_NEXT)
		return o;
	memcpy(&v.limit, buf, 2);
	memcpy(&v.base, buf + 2, size - 2);
	if (!in_code64(cpu) && in->opsize == 2)
		v.base &= 0xffffff;
	if (!la_canonical_kept(cpu, v.base))
		return x86_fault(cpu, EXC_GP, 0);
	*t = v;
	return OUT_NEXT;
}

HANDLER(op_sgdt)
{
	TRY(cpu, in, table_store(cpu, in, &cpu->st.gdtr));
	NEXT(cpu, in);
}
HANDLER(op_sidt)
{
	TRY(cpu, in, table_store(cpu, in, &cpu->st.idtr));
	NEXT(cpu, in);
}
HANDLER(op_lgdt)
{
	TRY(cpu, in, table_load(cpu, in, &cpu->st.gdtr));
	LEAVE(cpu, in, OUT_END); /* serialising */
}
HANDLER(op_lidt)
{
	TRY(cpu, in, table_load(cpu, in, &cpu->st.idtr));
	LEAVE(cpu, in, OUT_END); /* serialising */
}

HANDLER(op_lldt)
{
	u16 sel;

	TRY(cpu, in, selector_get(cpu, in, in->dst, &sel));
	TRY(cpu, in, seg_load_ldtr(cpu, sel));
	LEAVE(cpu, in, OUT_END); /* serialising */
}
HANDLER(op_ltr)
{
	u16 sel;

	TRY(cpu, in, selector_get(cpu, in, in->dst, &sel));
	TRY(cpu, in, seg_load_tr(cpu, sel));
	LEAVE(cpu, in, OUT_END); /* serialising */
}

static enum outcome selector_put(struct x86_cpu *cpu, const struct insn *in, u16 sel)
{
	if (in->flags & IN_MEM)
		return operand_write(cpu, in, 2, sel);
	reg_write(cpu, in->dst, in->opsize, sel);
	return OUT_NEXT;
}
HANDLER(op_sldt)
{
	TRY(cpu, in, selector_put(cpu, in, cpu->st.ldtr.sel));
	NEXT(cpu, in);
}
HANDLER(op_str)
{
	TRY(cpu, in, selector_put(cpu, in, cpu->st.tr.sel));
	NEXT(cpu, in);
}

static void set_zf(struct x86_cpu *cpu, bool zf) { cpu->st.oszapc = (cpu->st.oszapc & ~(u64)ZF_AX) | (zf ? ZF_AX : 0); }

/*
 * The descriptor that a program asks about: *found is false when the selector is null, beyond its table, not visible at
 * this CPL and RPL, or of a system type not in `types`. Only page faults fault.
 */
static enum outcome descriptor_ask(struct x86_cpu *cpu, u16 sel, u32 types, u64 *d, bool *found)
{
	u64 la, hi;
	u16 attr;
	enum outcome o;

	*found = false;
	if (SEL_NULL(sel))
		return OUT_NEXT;
	o = desc_read(cpu, sel, EXC_GP, 0, d, &la);
	if (o != OUT_NEXT)
		return o == OUT_FAULT && cpu->c.event.vector == EXC_GP ? OUT_NEXT : o;
	attr = desc_attr(*d);
	if (!(attr & SEG_S)) {
		if (!(types >> (attr & SEG_TYPE) & 1))
			return OUT_NEXT;
		if (in_long_mode(cpu)) {
			o = desc_read_high(cpu, sel, EXC_GP, 0, la, &hi);
			if (o != OUT_NEXT)
				return o == OUT_FAULT && cpu->c.event.vector == EXC_GP ? OUT_NEXT : o;
			if (hi >> 40 & 0x1f)
				return OUT_NEXT;
		}
	}
	*found = (attr_is_code(attr) && attr_is_conforming(attr)) || SEG_DPL(attr) >= MAX(cpu->st.cpl, SEL_RPL(sel));
	return OUT_NEXT;
}

#define TYPES_LONG   (BIT(SYS_LDT) | BIT(SYS_TSS) | BIT(SYS_TSS_BUSY))
#define TYPES_LEGACY (TYPES_LONG | BIT(SYS_TSS16) | BIT(SYS_TSS16_BUSY))

HANDLER(op_lar)
{
	u32 types = in_long_mode(cpu) ? TYPES_LONG | BIT(SYS_CALL)
				      : TYPES_LEGACY | BIT(SYS_CALL) | BIT(SYS_CALL16) | BIT(SYS_TASK_GATE);
	bool found;
	u16 sel;
	u64 d;

	TRY(cpu, in, selector_get(cpu, in, in->src, &sel));
	TRY(cpu, in, descriptor_ask(cpu, sel, types, &d, &found));
	if (found)
		reg_write(cpu, in->dst, in->opsize, (d >> 32) & (in->opsize == 2 ? 0xff00 : 0xffff00));
	set_zf(cpu, found);
	NEXT(cpu, in);
}

HANDLER(op_lsl)
{
	bool found;
	u16 sel;
	u64 d;

	TRY(cpu, in, selector_get(cpu, in, in->src, &sel));
	TRY(cpu, in, descriptor_ask(cpu, sel, in_long_mode(cpu) ? TYPES_LONG : TYPES_LEGACY, &d, &found));
	if (found)
		reg_write(cpu, in->dst, in->opsize, desc_limit(d));
	set_zf(cpu, found);
	NEXT(cpu, in);
}

/* aux: 1 for VERW. */
HANDLER(op_ver)
{
	bool found;
	u16 sel;
	u64 d;

	TRY(cpu, in, selector_get(cpu, in, in->dst, &sel));
	TRY(cpu, in, descriptor_ask(cpu, sel, 0, &d, &found));
	set_zf(cpu, found && (in->aux ? attr_is_writable(desc_attr(d)) : attr_is_readable(desc_attr(d))));
	NEXT(cpu, in);
}

HANDLER(op_arpl)
{
	u16 dst = REG16(cpu, in->dst), src = REG16(cpu, in->src);
	bool memory = in->flags & IN_MEM, lower;
	u64 la = 0;

	if (memory) { /* it is written only if it changes */
		TRY(cpu, in, insn_la(cpu, in, 2, insn_acc(in), &la));
		TRY(cpu, in, mem_read16(cpu, la, &dst, insn_acc(in)));
	}
	lower = SEL_RPL(dst) < SEL_RPL(src);
	dst = (dst & ~3u) | SEL_RPL(src);
	if (lower && memory) {
		TRY(cpu, in, insn_la(cpu, in, 2, insn_acc(in) | ACC_WRITE, &la));
		TRY(cpu, in, mem_write16(cpu, la, dst, insn_acc(in)));
	} else if (lower) {
		REG16(cpu, in->dst) = dst;
	}
	set_zf(cpu, lower);
	NEXT(cpu, in);
}

BIND(sgdt)
BIND(sidt)
BIND(lgdt)
BIND(lidt)
BIND(lldt)
BIND(ltr)
BIND(sldt)
BIND(str)
BIND(lar)
BIND(lsl)
BIND(arpl)

bool bind_ver(struct bind *b)
{
	b->in->aux = b->zi->mnemonic == ZYDIS_MNEMONIC_VERW;
	b->in->fn = op_ver;
	return true;
}
