/*
 * DAA DAS AAA AAS AAM AAD: #UD in 64-bit code (the decoder's affair). SDM vol. 2, the instructions' pages.
 *
 * A 64-bit host cannot run them, so that the flags the pages call undefined follow what processors are known to do: the sum's
 * own for DAA and DAS; for AAA, AAS the result's in AL; for AAM, AAD CF, AF and OF clear.
 */
#include "cpu/x86/int.h"

static u8 *al(struct x86_cpu *cpu) { return &REG8(cpu, CPU_OFF(st.gpr[RAX])); }
static u8 *ah(struct x86_cpu *cpu) { return &REG8(cpu, CPU_OFF(st.gpr[RAX]) + 1); }

/* SF ZF PF of a byte, with the other flags given. */
static void set_flags(struct x86_cpu *cpu, u8 v, u16 others)
{
	u16 fl;

	asm("test %1, %1" ASM_SAVE_FLAGS : "=&a"(fl) : "r"(v) : "cc");
	FLAGS(cpu) = (fl & ~(CF_AX | AF_AX | OF_AX)) | others;
}

HANDLER(daa)
{
	u8 old = *al(cpu);
	u16 fl = FLAGS(cpu), out = 0;

	if ((old & 15) > 9 || (fl & AF_AX)) {
		*al(cpu) += 6;
		out |= AF_AX;
	}
	if (old > 0x99 || (fl & CF_AX)) {
		*al(cpu) += 0x60;
		out |= CF_AX;
	}
	set_flags(cpu, *al(cpu), out);
	NEXT(cpu, in);
}

HANDLER(das)
{
	u8 old = *al(cpu);
	u16 fl = FLAGS(cpu), out = 0;

	if ((old & 15) > 9 || (fl & AF_AX)) {
		out |= AF_AX | (old < 6 || (fl & CF_AX) ? CF_AX : 0);
		*al(cpu) -= 6;
	}
	if (old > 0x99 || (fl & CF_AX)) {
		*al(cpu) -= 0x60;
		out |= CF_AX;
	}
	set_flags(cpu, *al(cpu), out);
	NEXT(cpu, in);
}

/* The adjustment carries from AL into AH: AX as one word. */
static void adjust(struct x86_cpu *cpu, s16 by)
{
	u16 out = 0;

	if ((*al(cpu) & 15) > 9 || (FLAGS(cpu) & AF_AX)) {
		REG16(cpu, CPU_OFF(st.gpr[RAX])) += by;
		out = AF_AX | CF_AX;
	}
	*al(cpu) &= 15;
	set_flags(cpu, *al(cpu), out);
}

HANDLER(aaa)
{
	adjust(cpu, 0x106);
	NEXT(cpu, in);
}

HANDLER(aas)
{
	adjust(cpu, -0x106);
	NEXT(cpu, in);
}

HANDLER(aam)
{
	u8 base = in->imm, v = *al(cpu);

	if (!base)
		LEAVE(cpu, in, x86_fault(cpu, EXC_DE, 0));
	*ah(cpu) = v / base;
	*al(cpu) = v % base;
	set_flags(cpu, *al(cpu), 0);
	NEXT(cpu, in);
}

HANDLER(aad)
{
	REG16(cpu, CPU_OFF(st.gpr[RAX])) = (u8)(*al(cpu) + *ah(cpu) * (u8)in->imm);
	set_flags(cpu, *al(cpu), 0);
	NEXT(cpu, in);
}
BIND_ONE(daa)
BIND_ONE(das)
BIND_ONE(aaa)
BIND_ONE(aas)
BIND_ONE(aam)
BIND_ONE(aad)
