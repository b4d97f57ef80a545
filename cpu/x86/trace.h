/*
 * --trace, as far as the processor makes it. A record begins with the vCPU, h (host) or g (guest of SVM or VMX) with
 * the CPL, and RIP: "cpu0 g3 0000000000401000"; "+" behind RIP says that it is the start of the block in which it
 * happened.
 */
#ifndef CPU_X86_TRACE_H
#define CPU_X86_TRACE_H

#include "cpu/x86/cpu.h"

/* One record; `in`: the instruction that runs, NULL when it is not known. */
void trace_cpu(struct x86_cpu *cpu, const struct insn *in, enum trace_topic t, const char *fmt, ...) printf_like(4, 5);
/* insn: each instruction before it runs, and the registers that it changed. */
void trace_insn_before(struct x86_cpu *cpu);
void trace_insn_after(struct x86_cpu *cpu);

#endif
