/*
 * Control-transfer recording: DEBUGCTL.LBR. APM vol. 2 13.1.1.6 "Debug-Control MSR (DebugCtl)" and "Control-Transfer
 * Recording MSRs".
 *
 * AMD's processors have one record: st.msr.last_branch is LastBranchFromIP, LastBranchToIP, LastIntFromIP, LastIntToIP.
 * Recording runs one instruction at a time (ATT_STEP), so that it costs nothing while it is off. Intel's stack of
 * branches is not recorded.
 */
#ifndef CPU_X86_LBR_H
#define CPU_X86_LBR_H

#include "cpu/x86/cpu.h"

#define DEBUGCTL_AMD 0x3full /* LBR, BTF, and the four pins' */

static inline bool lbr_on(const struct x86_state *st)
{
	return (st->msr.debugctl & DEBUGCTL_LBR) && st->vendor == X86_AMD;
}

/* An instruction is done (outcome o), which was at `from`; st.rip is where it went on. A conditional branch to the
 * instruction behind it counts as not taken. */
void lbr_insn(struct x86_cpu *cpu, const struct insn *in, enum outcome o, u64 from);
/* An event was delivered that came at `from`; #DB ends recording and is not recorded. */
void lbr_event(struct x86_cpu *cpu, const struct x86_event *ev, u64 from);

#endif
