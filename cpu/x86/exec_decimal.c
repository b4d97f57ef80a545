/*
 * DAA DAS AAA AAS AAM AAD: #UD in 64-bit code (the decoder's affair). SDM vol. 2, the instructions' pages.
 *
 * A 64-bit host runs them in compatibility mode only, so they are computed. Flags that the pages call undefined are
 * those of the addition or subtraction that does the work, as AMD's processors leave them (tests/lockstep, class
 * int32): of AL for DAA, DAS, AAD; of AX for AAA, AAS.
 */
#include "cpu/x86/int.h"

static u8 *al(struct x86_cpu *cpu) { return &REG8(cpu, CPU_OFF(st.gpr[RAX])); }
static u8 *ah(struct x86_cpu *cpu) { return &REG8(cpu, CPU_OFF(st.gpr[RAX]) + 1); }

/* AL += by or -= by; gives the flags of that. */
static u16 add_al(struct x86_cpu *cpu, u8 by)
{
	u16 fl;

	asm("add %2, %1" ASM_SAVE_FLAGS : "=&a"(fl), "+m"(*al(cpu)) : "r"(by) : "cc");
	return fl;
}

static u16 sub_al(struct x86_cpu *cpu, u8 by)
{
	u16 fl;

	asm("sub %2, %1" ASM_SAVE_FLAGS : "=&a"(fl), "+m"(*al(cpu)) : "r"(by) : "cc");
	return fl;
}

static void set_flags(struct x86_cpu *cpu, u16 fl, u16 carries) { FLAGS(cpu) = (fl & ~(CF_AX | AF_AX)) | carries; }

/* The decimal correction of AL, and with it AF and CF. */
static u8 correction(struct x86_cpu *cpu, u16 *carries)
{
	u8 v = *al(cpu), by = 0;
	u16 fl = FLAGS(cpu);

	*carries = 0;
	if ((v & 15) > 9 || (fl & AF_AX)) {
		by = 6;
		*carries |= AF_AX;
	}
	if (v > 0x99 || (fl & CF_AX)) {
		by += 0x60;
		*carries |= CF_AX;
	}
	return by;
}

HANDLER(daa)
{
	u16 carries;
	u8 by = correction(cpu, &carries);

	set_flags(cpu, add_al(cpu, by), carries);
	NEXT(cpu, in);
}

/* A borrow of the lower digit's correction counts too. */
HANDLER(das)
{
	u16 carries;
	u8 old = *al(cpu), by = correction(cpu, &carries);

	if ((carries & AF_AX) && old < 6)
		carries |= CF_AX;
	set_flags(cpu, sub_al(cpu, by), carries);
	NEXT(cpu, in);
}

static bool needs_adjust(struct x86_cpu *cpu) { return (*al(cpu) & 15) > 9 || (FLAGS(cpu) & AF_AX); }

/* The adjustment carries from AL into AH: AX is one word. */
HANDLER(aaa)
{
	u16 by = needs_adjust(cpu) ? 0x106 : 0, fl;

	asm("add %2, %1" ASM_SAVE_FLAGS : "=&a"(fl), "+m"(REG16(cpu, CPU_OFF(st.gpr[RAX]))) : "r"(by) : "cc");
	*al(cpu) &= 15;
	set_flags(cpu, fl, by ? AF_AX | CF_AX : 0);
	NEXT(cpu, in);
}

HANDLER(aas)
{
	u16 by = needs_adjust(cpu) ? 0x106 : 0, fl;

	asm("sub %2, %1" ASM_SAVE_FLAGS : "=&a"(fl), "+m"(REG16(cpu, CPU_OFF(st.gpr[RAX]))) : "r"(by) : "cc");
	*al(cpu) &= 15;
	set_flags(cpu, fl, by ? AF_AX | CF_AX : 0);
	NEXT(cpu, in);
}

HANDLER(aam)
{
	u8 base = in->imm, v = *al(cpu);

	if (!base)
		LEAVE(cpu, in, x86_fault(cpu, EXC_DE, 0));
	*ah(cpu) = v / base;
	*al(cpu) = v % base;
	FLAGS(cpu) = add_al(cpu, 0);
	NEXT(cpu, in);
}

HANDLER(aad)
{
	FLAGS(cpu) = add_al(cpu, *ah(cpu) * (u8)in->imm);
	*ah(cpu) = 0;
	NEXT(cpu, in);
}
BIND_ONE(daa)
BIND_ONE(das)
BIND_ONE(aaa)
BIND_ONE(aas)
BIND_ONE(aam)
BIND_ONE(aad)
