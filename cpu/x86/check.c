#include "cpu/x86/check.h"

#include "arch/x86/insn.h"
#include "cpu/x86/stub.h"

static enum outcome check_prologue(struct x86_cpu *cpu, const struct insn *in)
{
	const struct insn_row *row = &insn_rows[in->row];
	u32 flags = row->flags;

	if ((flags & (I_PE | I_SVM)) && (cpu->c.mode & (MODE_PE | MODE_V86)) != MODE_PE)
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if ((flags & I_SVM) && !(cpu->st.msr.efer & EFER_SVME))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if ((flags & (I_VEC | I_X87)) && unlikely(cpu->c.fpu_block))
		TRY(cpu, in, x86_fpu_check(cpu, in));
	if ((flags & I_CPL0) && cpu->st.cpl)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if ((flags & I_UMIP) && cpu->st.cpl && (cpu->st.cr4 & CR4_UMIP))
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (row->exit != EXIT_NONE && x86_exit_wanted(cpu, row->exit))
		LEAVE(cpu, in, x86_exit(cpu, row->exit, 0, 0));
	return in->op(cpu, in);
}

void check_wrap(struct insn *in)
{
	const struct insn_row *row = &insn_rows[in->row];

	if (!(row->flags & (I_PE | I_SVM | I_VEC | I_X87 | I_CPL0 | I_UMIP)) && row->exit == EXIT_NONE)
		return;
	in->op = in->fn;
	in->fn = check_prologue;
}

enum outcome check_invalid(struct x86_cpu *cpu, const struct insn *in) { LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0)); }
enum outcome check_too_long(struct x86_cpu *cpu, const struct insn *in) { LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0)); }
