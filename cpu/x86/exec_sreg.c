/*
 * MOV, PUSH and POP with segment registers, and the far-pointer loads LDS LES LFS LGS LSS. Descriptor checks are
 * seg_load's (seg.c).
 *
 * A load ends the block, since decoding depends on segments. A load of SS (not LSS) holds interrupts and debug traps
 * off for one instruction: SDM vol. 3 6.8.3 "Masking Exceptions and Interrupts When Switching Stacks".
 */
#include "cpu/x86/check.h"
#include "cpu/x86/int.h"

/* aux: the segment register (enum x86_sreg). */
static bool sreg_operand(struct bind *b, unsigned i)
{
	static const u8 index[] = {ES, CS, SS, DS, FS, GS};

	b->in->aux = index[b->op[i].reg.value - ZYDIS_REGISTER_ES];
	return true;
}

static enum outcome loaded(struct x86_cpu *cpu, const struct insn *in)
{
	if (in->aux == SS) {
		cpu->st.shadow = SHADOW_MOVSS;
		x86_update_attention(cpu);
	}
	LEAVE(cpu, in, OUT_END);
}

/* A 32- or 64-bit register receives the selector with zeros above it; memory always 16 bits. */
HANDLER(mov_from_sreg)
{
	u16 sel = cpu->st.seg[in->aux].sel;

	if (in->flags & IN_MEM)
		TRY(cpu, in, operand_write(cpu, in, 2, sel));
	else
		reg_write(cpu, in->dst, in->opsize, sel);
	NEXT(cpu, in);
}

HANDLER(mov_to_sreg)
{
	u64 sel;

	if (in->flags & IN_MEM)
		TRY(cpu, in, operand_read(cpu, in, 2, &sel));
	else
		sel = REG16(cpu, in->src);
	TRY(cpu, in, seg_load(cpu, in->aux, sel));
	return loaded(cpu, in);
}

bool bind_mov_sreg(struct bind *b)
{
	if (op_is_reg(&b->op[0]) && ZydisRegisterGetClass(b->op[0].reg.value) == ZYDIS_REGCLASS_SEGMENT) {
		sreg_operand(b, 0);
		b->in->fn = b->in->aux == CS ? check_invalid : mov_to_sreg;
	} else {
		sreg_operand(b, 1);
		b->in->fn = mov_from_sreg;
	}
	return true;
}

HANDLER(push_sreg)
{
	TRY(cpu, in, stack_push(cpu, cpu->st.seg[in->aux].sel, in->opsize));
	NEXT(cpu, in);
}

HANDLER(pop_sreg)
{
	u64 v;

	TRY(cpu, in, stack_peek(cpu, 0, &v, in->opsize));
	/* The pop is done under the stack that was, the load may replace it. */
	if (in->aux == SS) {
		u64 rsp = cpu->st.gpr[RSP];
		enum outcome o;

		stack_adjust(cpu, in->opsize);
		o = seg_load(cpu, SS, v);
		if (o != OUT_NEXT) {
			cpu->st.gpr[RSP] = rsp;
			LEAVE(cpu, in, o);
		}
		return loaded(cpu, in);
	}
	TRY(cpu, in, seg_load(cpu, in->aux, v));
	stack_adjust(cpu, in->opsize);
	return loaded(cpu, in);
}

bool bind_push_sreg(struct bind *b)
{
	b->in->fn = push_sreg;
	return sreg_operand(b, 0);
}

bool bind_pop_sreg(struct bind *b)
{
	b->in->fn = pop_sreg;
	return sreg_operand(b, 0);
}

/* Offset and selector are read before anything is loaded. LSS needs no shadow: one instruction loads both SS and ESP.
 */
HANDLER(load_far)
{
	u64 offset;
	u16 sel;

	TRY(cpu, in, far_pointer(cpu, in, &sel, &offset));
	TRY(cpu, in, seg_load(cpu, in->aux, sel));
	reg_write(cpu, in->dst, in->opsize, offset);
	LEAVE(cpu, in, OUT_END);
}

bool bind_load_far(struct bind *b)
{
	struct insn *in = b->in;

	switch (b->zi->mnemonic) {
	case ZYDIS_MNEMONIC_LES: in->aux = ES; break;
	case ZYDIS_MNEMONIC_LDS: in->aux = DS; break;
	case ZYDIS_MNEMONIC_LFS: in->aux = FS; break;
	case ZYDIS_MNEMONIC_LGS: in->aux = GS; break;
	default: in->aux = SS; break;
	}
	/* AMD has no 16:64 pointers: REX.W is ignored (APM vol. 3, LFS). */
	if (b->cpu->st.vendor == X86_AMD && in->opsize == 8)
		in->opsize = 4;
	in->fn = load_far;
	return true;
}
