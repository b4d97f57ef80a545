/* Which instructions are control transfers, and what they leave in the record (lbr.h). */
#include "cpu/x86/lbr.h"
#include "arch/x86/insn.h"
#include "cpu/x86/int.h"

static void record(struct x86_state *st, u64 from, u64 to)
{
	st->msr.last_branch[0] = from;
	st->msr.last_branch[1] = to;
}

static bool is_unconditional(unsigned row)
{
	switch (row) {
	case ROW_JMP:
	case ROW_CALL:
	case ROW_RET:
	case ROW_IRET:
	case ROW_IRETD:
	case ROW_IRETQ:
	case ROW_SYSCALL:
	case ROW_SYSRET:
	case ROW_SYSENTER:
	case ROW_SYSEXIT: return true;
	default: return false;
	}
}

static bool is_conditional(unsigned row)
{
	switch (row) {
	case ROW_LOOP:
	case ROW_LOOPE:
	case ROW_LOOPNE:
	case ROW_JCXZ:
	case ROW_JECXZ:
	case ROW_JRCXZ:
#define CC(c) case ROW_J##c:
		CC(O)
		CC(NO)
		CC(B) CC(NB) CC(Z) CC(NZ) CC(BE) CC(NBE) CC(S) CC(NS) CC(P) CC(NP) CC(L) CC(NL) CC(LE) CC(NLE)
#undef CC
			return true;
	default: return false;
	}
}

void lbr_insn(struct x86_cpu *cpu, const struct insn *in, enum outcome o, u64 from)
{
	if (!in || (o != OUT_JUMP && o != OUT_END && o != OUT_NEXT))
		return;
	if (!is_unconditional(in->row) && (!is_conditional(in->row) || cpu->st.rip == from + in->len))
		return;
	record(&cpu->st, from, cpu->st.rip);
}

void lbr_event(struct x86_cpu *cpu, const struct x86_event *ev, u64 from)
{
	struct x86_state *st = &cpu->st;

	if (ev->vector == EXC_DB && ev->kind != EV_EXT_INT && ev->kind != EV_SOFT_INT) {
		st->msr.debugctl &= ~DEBUGCTL_LBR;
		x86_update_attention(cpu);
		return;
	}
	if (!lbr_on(st))
		return;
	st->msr.last_branch[2] = st->msr.last_branch[0];
	st->msr.last_branch[3] = st->msr.last_branch[1];
	record(st, from, st->rip);
}
