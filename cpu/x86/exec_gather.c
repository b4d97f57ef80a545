/*
 * Instructions whose memory operand is several addresses, or bytes picked by a mask: gathers, scatters, MASKMOVQ and
 * MASKMOVDQU. They are element by element in C, since each element may fault on its own.
 *
 * SDM vol. 2 VPGATHERDD and its like, VPSCATTERDD; 2.3.12 "Vector SIB (VSIB) Memory Addressing". A fault leaves what
 * was done before it: elements are taken from the lowest up, the mask bit of each finished one is cleared, and the
 * instruction continues when it is run again.
 */
#include <string.h>

#include "cpu/x86/seg.h"
#include "cpu/x86/vec.h"

/* in->dst: data register, in->src: index register, in->src2: mask, in->opsize: elements, in->cc: */
#define G_DATA8	  1u /* elements of 8 bytes, else 4 */
#define G_INDEX8  2u /* indexes of 8 bytes, else 4 */
#define G_OPMASK  4u /* the mask is an opmask, else the sign bits of a vector register */
#define G_SCATTER 8u

static enum outcome must_check element_la(struct x86_cpu *cpu, const struct insn *in, unsigned i, unsigned size,
					  unsigned acc, u64 *la)
{
	const u8 *index = VEC(cpu, in->src);
	u64 ea;
	s64 x;
	s32 x4;

	if (in->cc & G_INDEX8) {
		memcpy(&x, index + 8 * i, 8);
	} else {
		memcpy(&x4, index + 4 * i, 4);
		x = x4;
	}
	ea = REG64(cpu, in->base) + ((u64)x << in->scale) + (u64)in->disp;
	if (in->adsize != 8)
		ea &= in->adsize == 4 ? 0xffffffffull : 0xffffull;
	if (in->flags & IN_SEGCHECK)
		return seg_linear(cpu, in->sreg, ea, size, acc, la);
	*la = ea + REG64(cpu, in->seg);
	return OUT_NEXT;
}

static u32 mask_bits(const struct x86_cpu *cpu, const struct insn *in, unsigned size)
{
	const u8 *m = (const u8 *)cpu + in->src2;
	u32 bits = 0;

	if (in->cc & G_OPMASK) {
		memcpy(&bits, m, 4);
		return bits & MASK(in->opsize);
	}
	for (unsigned i = 0; i < in->opsize; i++)
		bits |= (u32)(m[size * i + size - 1] >> 7) << i;
	return bits;
}

/* The mask is clear when all is done; a fault at element i leaves it clear below i and as it was from there on. */
static void mask_clear(struct x86_cpu *cpu, const struct insn *in, unsigned size, u32 left)
{
	u8 *m = (u8 *)cpu + in->src2;
	unsigned done = left ? __builtin_ctz(left) : 0;

	if (in->cc & G_OPMASK)
		REG64(cpu, in->src2) &= left ? ~MASK(done) : 0;
	else
		memset(m, 0, left ? size * done : 64);
}

static enum outcome gather_body(struct x86_cpu *cpu, const struct insn *in)
{
	unsigned size = in->cc & G_DATA8 ? 8 : 4, acc = insn_acc(in) | (in->cc & G_SCATTER ? ACC_WRITE : 0);
	u8 *data = VEC(cpu, in->dst);
	u32 bits = mask_bits(cpu, in, size);
	enum outcome o = OUT_NEXT;
	u64 la;

	for (; bits; bits &= bits - 1) {
		unsigned i = __builtin_ctz(bits);

		o = element_la(cpu, in, i, size, acc, &la);
		if (o != OUT_NEXT)
			break;
		if (in->cc & G_SCATTER)
			o = mem_write_n(cpu, la, data + size * i, size, acc);
		else
			o = mem_read_n(cpu, la, data + size * i, size, acc);
		if (o != OUT_NEXT)
			break;
	}
	mask_clear(cpu, in, size, bits);
	if (o == OUT_NEXT && !(in->cc & G_SCATTER))
		memset(data + size * in->opsize, 0, 64 - size * in->opsize);
	return o;
}
VEC_HANDLER(vec_gather, gather_body(cpu, in))

/* in->src: data, in->src2: mask, in->opsize: bytes. The address is DS:rDI, the segment as overridden. All of
 * the operand must be writable whatever the mask says, as on silicon (SDM vol. 2 MASKMOVDQU leaves it open). */
static enum outcome maskmov_body(struct x86_cpu *cpu, const struct insn *in)
{
	unsigned acc = ACC_WRITE | insn_acc(in);
	bool code64 = in_code64(cpu);
	u64 la, ea = insn_ea(cpu, in), piece;
	u32 bits = 0;

	if ((in->aux & FPU_MMX) && x87_pending(&cpu->st.fpu))
		return x87_raise(cpu);
	if (in->aux & FPU_MMX)
		x87_enter_mmx(cpu); /* even if it faults, as on silicon */
	RUN(insn_la(cpu, in, code64 ? 8 : in->opsize, acc, &la));
	for (unsigned i = 0; i < in->opsize; i += 8) { /* in pieces of 8 bytes */
		if (i && code64 && (in->flags & IN_SEGCHECK))
			RUN(seg_linear(cpu, in->sreg, ea + i, 8, acc, &piece));
		RUN(mem_probe(cpu, la + i, 8, acc));
	}
	for (unsigned i = 0; i < in->opsize; i++)
		bits |= (u32)(VEC(cpu, in->src2)[i] >> 7) << i;
	while (bits) {
		unsigned first = __builtin_ctz(bits), n = __builtin_ctz(~(bits >> first));

		RUN(mem_write_n(cpu, la + first, VEC(cpu, in->src) + first, n, acc));
		bits &= ~(u32)(MASK(n) << first);
	}
	return OUT_NEXT;
}
VEC_HANDLER(vec_maskmov, maskmov_body(cpu, in))

static bool bind_maskmov(struct bind *b)
{
	struct insn *in = b->in;
	bool mmx = in->aux & FPU_MMX;
	unsigned data = ZydisRegisterGetId(b->op[0].reg.value), mask = ZydisRegisterGetId(b->op[1].reg.value);

	in->opsize = mmx ? 8 : 16;
	in->src = mmx ? CPU_OFF(st.fpu.st[0]) + 16 * data : vec_off(data);
	in->src2 = mmx ? CPU_OFF(st.fpu.st[0]) + 16 * mask : vec_off(mask);
	in->base = CPU_OFF(st.gpr[RDI]);
	if (in->sreg == SS)
		in->flags |= IN_STACK;
	in->fn = vec_maskmov;
	return true;
}

bool bind_vector_scatter_gather(struct bind *b)
{
	struct insn *in = b->in;
	const ZydisDecodedOperand *mem = NULL, *data = NULL, *mask = NULL;
	bool scatter = false;
	unsigned index_size;

	switch (b->zi->mnemonic) {
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU: return bind_maskmov(b);
	case ZYDIS_MNEMONIC_VPSCATTERDD:
	case ZYDIS_MNEMONIC_VPSCATTERDQ:
	case ZYDIS_MNEMONIC_VSCATTERDPS:
	case ZYDIS_MNEMONIC_VSCATTERDPD:
		scatter = true;
		index_size = 4;
		break;
	case ZYDIS_MNEMONIC_VPSCATTERQD:
	case ZYDIS_MNEMONIC_VPSCATTERQQ:
	case ZYDIS_MNEMONIC_VSCATTERQPS:
	case ZYDIS_MNEMONIC_VSCATTERQPD:
		scatter = true;
		index_size = 8;
		break;
	case ZYDIS_MNEMONIC_VPGATHERDD:
	case ZYDIS_MNEMONIC_VPGATHERDQ:
	case ZYDIS_MNEMONIC_VGATHERDPS:
	case ZYDIS_MNEMONIC_VGATHERDPD: index_size = 4; break;
	case ZYDIS_MNEMONIC_VPGATHERQD:
	case ZYDIS_MNEMONIC_VPGATHERQQ:
	case ZYDIS_MNEMONIC_VGATHERQPS:
	case ZYDIS_MNEMONIC_VGATHERQPD: index_size = 8; break;
	default: return false;
	}
	for (unsigned i = 0; i < b->zi->operand_count_visible; i++) {
		const ZydisDecodedOperand *o = &b->op[i];

		if (op_is_mem(o))
			mem = o;
		else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
			data = o;
		else if (o->encoding == ZYDIS_OPERAND_ENCODING_MASK || o->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD)
			mask = o;
	}
	if (!mem || !data || !mask)
		return false;
	in->cc = (mem->element_size == 64 ? G_DATA8 : 0) | (index_size == 8 ? G_INDEX8 : 0) | (scatter ? G_SCATTER : 0);
	in->dst = vec_off(ZydisRegisterGetId(data->reg.value));
	in->src = vec_off(ZydisRegisterGetId(mem->mem.index));
	in->src2 = vec_off(ZydisRegisterGetId(mask->reg.value));
	if (ZydisRegisterGetClass(mask->reg.value) == ZYDIS_REGCLASS_MASK) {
		in->cc |= G_OPMASK;
		in->src2 = CPU_OFF(st.fpu.k[0]) + 8 * ZydisRegisterGetId(mask->reg.value);
	}
	in->opsize = b->zi->avx.vector_length / MAX(index_size * 8, mem->element_size);
	in->fn = vec_gather;
	return true;
}
