/*
 * CLC STC CMC CLD STD LAHF SAHF SALC, CLI STI.
 * SDM vol. 3 6.8.1 "Masking Maskable Hardware Interrupts"; 20.3.3 and 20.4 for VIF under CR4.VME and CR4.PVI.
 */
#include "cpu/x86/int.h"

HANDLER(clc)
{
	FLAGS(cpu) &= ~CF_AX;
	NEXT(cpu, in);
}

HANDLER(stc)
{
	FLAGS(cpu) |= CF_AX;
	NEXT(cpu, in);
}

HANDLER(cmc)
{
	FLAGS(cpu) ^= CF_AX;
	NEXT(cpu, in);
}

HANDLER(cld)
{
	cpu->st.rflags &= ~FL_DF;
	NEXT(cpu, in);
}

HANDLER(std)
{
	cpu->st.rflags |= FL_DF;
	NEXT(cpu, in);
}

HANDLER(lahf)
{
	REG8(cpu, CPU_OFF(st.gpr[RAX]) + 1) = FLAGS(cpu) >> 8;
	NEXT(cpu, in);
}

HANDLER(sahf)
{
	u16 ah = REG8(cpu, CPU_OFF(st.gpr[RAX]) + 1) & 0xd5;

	FLAGS(cpu) = (FLAGS(cpu) & OF_AX) | 0x200 | ah << 8;
	NEXT(cpu, in);
}

HANDLER(salc)
{
	REG8(cpu, CPU_OFF(st.gpr[RAX])) = FLAGS(cpu) & CF_AX ? 0xff : 0;
	NEXT(cpu, in);
}
BIND_ONE(clc)
BIND_ONE(stc)
BIND_ONE(cmc)
BIND_ONE(cld)
BIND_ONE(std)
BIND_ONE(lahf)
BIND_ONE(sahf)
BIND_ONE(salc)

/* Which flag CLI and STI act on at this privilege: IF, VIF, or none (#GP). Table 3-7 of CLI's page. */
static u64 interrupt_flag(const struct x86_cpu *cpu)
{
	unsigned iopl = (cpu->st.rflags & FL_IOPL) >> 12;

	if (!(cpu->c.mode & MODE_PE))
		return FL_IF;
	if (cpu->c.mode & MODE_V86)
		return iopl == 3 ? FL_IF : cpu->st.cr4 & CR4_VME ? FL_VIF : 0;
	if (cpu->st.cpl <= iopl)
		return FL_IF;
	return cpu->st.cpl == 3 && (cpu->st.cr4 & CR4_PVI) ? FL_VIF : 0;
}

HANDLER(cli)
{
	u64 flag = interrupt_flag(cpu);

	if (unlikely(!flag))
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (!(cpu->st.rflags & flag))
		NEXT(cpu, in);
	cpu->st.rflags &= ~flag;
	x86_update_attention(cpu);
	NEXT(cpu, in);
}

/* The shadow arises only when IF was clear. */
HANDLER(sti)
{
	u64 flag = interrupt_flag(cpu);

	if (unlikely(!flag) || (flag == FL_VIF && (cpu->st.rflags & FL_VIP)))
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (cpu->st.rflags & flag)
		NEXT(cpu, in);
	cpu->st.rflags |= flag;
	if (flag == FL_VIF)
		NEXT(cpu, in);
	cpu->st.shadow = SHADOW_STI;
	x86_update_attention(cpu);
	LEAVE(cpu, in, OUT_END);
}
BIND_ONE(cli)
BIND_ONE(sti)
