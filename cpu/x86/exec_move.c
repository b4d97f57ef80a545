/*
 * Plain vector moves without a stub: what string functions and compilers emit most. SDM vol. 2 MOVUPS, MOVAPS, MOVDQU,
 * MOVDQA, MOVD, MOVQ, MOVSS, MOVSD and their VEX forms; PXOR and XORPS of a register with itself.
 *
 * A legacy form leaves what lies above bit 127 as it was; a VEX form clears everything above what it writes.
 */
#include <string.h>

#include "cpu/x86/vec.h"

static always_inline enum outcome must_check vec_put(struct x86_cpu *cpu, const struct insn *in, const void *from,
						     unsigned size, bool vex)
{
	u8 *to = VEC(cpu, in->dst), buf[32];

	memcpy(buf, from, size); /* a register may be moved to itself */
	memcpy(to, buf, size);
	if (vex)
		memset(to + size, 0, 64 - size);
	return OUT_NEXT;
}

static always_inline enum outcome must_check vec_put64(struct x86_cpu *cpu, const struct insn *in, u64 v, bool vex)
{
	u64 pair[2] = {v, 0};

	return vec_put(cpu, in, pair, 16, vex);
}

static always_inline enum outcome must_check gpr_put(struct x86_cpu *cpu, const struct insn *in, u64 v)
{
	REG64(cpu, in->dst) = v;
	return OUT_NEXT;
}

static always_inline enum outcome must_check move_load(struct x86_cpu *cpu, const struct insn *in, unsigned size,
						       bool vex, bool align)
{
	u8 buf[32];
	const void *mem;
	u64 la;

	RUN(insn_la(cpu, in, size, insn_acc(in), &la));
	if (align && unlikely(la & (size - 1)))
		return x86_fault(cpu, EXC_GP, 0);
	mem = mem_look(cpu, la, size, ACC_READ);
	if (unlikely(!mem)) {
		RUN(mem_read_slow(cpu, la, buf, size, insn_acc(in)));
		mem = buf;
	}
	if (size < 16) {
		u64 v = 0;

		memcpy(&v, mem, MIN(size, 8));
		return vec_put64(cpu, in, v, vex);
	}
	return vec_put(cpu, in, mem, size, vex);
}

static always_inline enum outcome must_check move_store(struct x86_cpu *cpu, const struct insn *in, unsigned size,
							bool align)
{
	void *mem;
	u64 la;

	RUN(insn_la(cpu, in, size, ACC_WRITE | insn_acc(in), &la));
	if (align && unlikely(la & (size - 1)))
		return x86_fault(cpu, EXC_GP, 0);
	mem = mem_look(cpu, la, size, ACC_WRITE);
	if (unlikely(!mem))
		return mem_write_slow(cpu, la, VEC(cpu, in->src), size, ACC_WRITE | insn_acc(in));
	memcpy(mem, VEC(cpu, in->src), size);
	return OUT_NEXT;
}

static always_inline enum outcome must_check move_zero(struct x86_cpu *cpu, const struct insn *in, unsigned size)
{
	memset(VEC(cpu, in->dst), 0, size);
	return OUT_NEXT;
}

/* Names: bytes moved; v: VEX, clears what is above; a: aligned. */
VEC_HANDLER(move_reg16, vec_put(cpu, in, VEC(cpu, in->src), 16, false))
VEC_HANDLER(move_reg16v, vec_put(cpu, in, VEC(cpu, in->src), 16, true))
VEC_HANDLER(move_reg32v, vec_put(cpu, in, VEC(cpu, in->src), 32, true))
VEC_HANDLER(move_load4, move_load(cpu, in, 4, false, false))
VEC_HANDLER(move_load8, move_load(cpu, in, 8, false, false))
VEC_HANDLER(move_load4v, move_load(cpu, in, 4, true, false))
VEC_HANDLER(move_load8v, move_load(cpu, in, 8, true, false))
VEC_HANDLER(move_load16, move_load(cpu, in, 16, false, false))
VEC_HANDLER(move_load16a, move_load(cpu, in, 16, false, true))
VEC_HANDLER(move_load16v, move_load(cpu, in, 16, true, false))
VEC_HANDLER(move_load16av, move_load(cpu, in, 16, true, true))
VEC_HANDLER(move_load32v, move_load(cpu, in, 32, true, false))
VEC_HANDLER(move_load32av, move_load(cpu, in, 32, true, true))
VEC_HANDLER(move_store4, move_store(cpu, in, 4, false))
VEC_HANDLER(move_store8, move_store(cpu, in, 8, false))
VEC_HANDLER(move_store16, move_store(cpu, in, 16, false))
VEC_HANDLER(move_store16a, move_store(cpu, in, 16, true))
VEC_HANDLER(move_store32, move_store(cpu, in, 32, false))
VEC_HANDLER(move_store32a, move_store(cpu, in, 32, true))
VEC_HANDLER(move_from_gpr32, vec_put64(cpu, in, REG32(cpu, in->src), false))
VEC_HANDLER(move_from_gpr64, vec_put64(cpu, in, REG64(cpu, in->src), false))
VEC_HANDLER(move_from_gpr32v, vec_put64(cpu, in, REG32(cpu, in->src), true))
VEC_HANDLER(move_from_gpr64v, vec_put64(cpu, in, REG64(cpu, in->src), true))
VEC_HANDLER(move_to_gpr32, gpr_put(cpu, in, REG32(cpu, in->src)))
VEC_HANDLER(move_to_gpr64, gpr_put(cpu, in, REG64(cpu, in->src)))
VEC_HANDLER(move_zero16, move_zero(cpu, in, 16))
VEC_HANDLER(move_zero64, move_zero(cpu, in, 64))

/* Offset of a vector register operand, 0 for anything else. */
static u16 vec_operand(const ZydisDecodedOperand *o)
{
	if (!op_is_reg(o))
		return 0;
	switch (ZydisRegisterGetClass(o->reg.value)) {
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM: return vec_off(ZydisRegisterGetId(o->reg.value));
	default: return 0;
	}
}

/* Whole-register moves of 16 or 32 bytes. */
static insn_fn *pick_full(const struct bind *b, bool align, bool vex, bool wide)
{
	if (op_is_mem(&b->op[0])) {
		if (wide)
			return align ? move_store32a : move_store32;
		return align ? move_store16a : move_store16;
	}
	if (op_is_mem(&b->op[1])) {
		if (wide)
			return align ? move_load32av : move_load32v;
		if (vex)
			return align ? move_load16av : move_load16v;
		return align ? move_load16a : move_load16;
	}
	return wide ? move_reg32v : vex ? move_reg16v : move_reg16;
}

/* MOVD, MOVQ, MOVSS, MOVSD of 4 or 8 bytes between a vector register and memory or a general register. */
static insn_fn *pick_low(const struct bind *b, unsigned size, bool vex)
{
	bool v0 = vec_operand(&b->op[0]), v1 = vec_operand(&b->op[1]);

	if (op_is_mem(&b->op[0]) && v1)
		return size == 4 ? move_store4 : move_store8;
	if (v0 && op_is_mem(&b->op[1])) {
		if (vex)
			return size == 4 ? move_load4v : move_load8v;
		return size == 4 ? move_load4 : move_load8;
	}
	if (v0 && !v1 && b->in->src) {
		if (vex)
			return size == 4 ? move_from_gpr32v : move_from_gpr64v;
		return size == 4 ? move_from_gpr32 : move_from_gpr64;
	}
	if (!v0 && v1 && b->in->dst)
		return size == 4 ? move_to_gpr32 : move_to_gpr64;
	return NULL; /* register to register: merges, or MMX */
}

static bool same_register(const struct bind *b, unsigned x, unsigned y)
{
	return vec_operand(&b->op[x]) && vec_operand(&b->op[x]) == vec_operand(&b->op[y]);
}

bool bind_vector_move(struct bind *b)
{
	struct insn *in = b->in;
	bool vex = b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	insn_fn *fn = NULL;

	if (b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX || (in->aux & FPU_MMX))
		return false;
	switch (b->zi->mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_VMOVUPS:
	case ZYDIS_MNEMONIC_VMOVUPD:
	case ZYDIS_MNEMONIC_VMOVDQU:
	case ZYDIS_MNEMONIC_VLDDQU: fn = pick_full(b, false, vex, b->zi->avx.vector_length == 256); break;
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD:
	case ZYDIS_MNEMONIC_MOVNTDQ:
	case ZYDIS_MNEMONIC_MOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA: fn = pick_full(b, true, vex, b->zi->avx.vector_length == 256); break;
	case ZYDIS_MNEMONIC_MOVD:
	case ZYDIS_MNEMONIC_VMOVD:
	case ZYDIS_MNEMONIC_MOVSS:
	case ZYDIS_MNEMONIC_VMOVSS:
		if (b->zi->operand_count_visible == 2)
			fn = pick_low(b, 4, vex);
		break;
	case ZYDIS_MNEMONIC_MOVQ:
	case ZYDIS_MNEMONIC_VMOVQ:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_VMOVSD:
		if (b->zi->operand_count_visible == 2)
			fn = pick_low(b, 8, vex);
		break;
	case ZYDIS_MNEMONIC_PXOR:
	case ZYDIS_MNEMONIC_XORPS:
	case ZYDIS_MNEMONIC_XORPD:
		if (same_register(b, 0, 1))
			fn = move_zero16;
		break;
	case ZYDIS_MNEMONIC_VPXOR:
	case ZYDIS_MNEMONIC_VXORPS:
	case ZYDIS_MNEMONIC_VXORPD:
		if (same_register(b, 1, 2))
			fn = move_zero64;
		break;
	default: break;
	}
	if (!fn)
		return false;
	if (vec_operand(&b->op[0]))
		in->dst = vec_operand(&b->op[0]);
	if (vec_operand(&b->op[1]))
		in->src = vec_operand(&b->op[1]);
	in->fn = fn;
	return true;
}
