/* --trace=insn: each instruction before it runs, and the registers that it changed. */
#ifndef CPU_X86_TRACE_H
#define CPU_X86_TRACE_H

#include "cpu/x86/cpu.h"

void trace_insn_before(struct x86_cpu *cpu);
void trace_insn_after(struct x86_cpu *cpu);

#endif
