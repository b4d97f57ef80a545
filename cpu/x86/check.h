/*
 * The checks that come before an instruction's own work, in the one order that holds for all rows of insn.def:
 *
 *   1. #UD   mode (I_PE, I_SVM), vector or x87 unit not enabled
 *   2. #NM   CR0.TS, CR0.EM (I_VEC, I_X87)
 *   3. #GP   CPL (I_CPL0), CR4.UMIP (I_UMIP)
 *   4. VM exit (the row's exit)
 *   5. the operation: operands, then effect
 *
 * SDM vol. 3 26.1.1 "Relative Priority of Faults and VM Exits"; APM vol. 2 15.7 "#VMEXIT", 15.9 "Instruction Intercepts".
 * Rows without any of these are called directly.
 */
#ifndef CPU_X86_CHECK_H
#define CPU_X86_CHECK_H

#include "cpu/x86/cpu.h"

/* If the row has checks: moves fn to op and puts the prologue in its place. */
void check_wrap(struct insn *in);
/* Instructions that only fault: #UD, and #GP(0) for those above 15 bytes. */
insn_fn check_invalid;
insn_fn check_too_long;

#endif
