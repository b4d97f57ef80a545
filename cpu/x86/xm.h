/*
 * Unmasked SIMD floating-point exceptions, found by the host's unit: SDM vol. 1 11.5.3 "Handling SIMD Floating-Point
 * Exceptions in Software", APM vol. 1 4.10 "SIMD Floating-Point Exceptions".
 *
 * What an unmasked exception leaves in MXCSR does not follow from a masked run (a tiny result that is exact, PE beside
 * an unmasked #O or #U, the later operations of DPPS). So the stub runs with the guest's exceptions unmasked; the
 * host's #XM comes as SIGFPE, whose handler keeps MXCSR and returns from the stub in place of the instruction. The
 * handler's only way to its thread is a thread-local variable; a SIGFPE that is not ours goes to whoever had the signal
 * before.
 */
#ifndef CPU_X86_XM_H
#define CPU_X86_XM_H

#include "cpu/x86/stub.h"

/* Before any xm_run, and again where someone else may have taken the signal. -errno. */
int xm_init(void);
/*
 * Runs a stub under `mxcsr` (any masks, flags clear). True: it raised #XM, no register or memory has changed. The
 * host's MXCSR then holds the flags that the instruction has left; the caller cleans it.
 */
bool xm_run(struct x86_cpu *cpu, stub_fn *stub, void *mem, u32 mxcsr) must_check;

#endif
