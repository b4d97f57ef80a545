/* RDMSR and WRMSR taken apart: exec_msr.c finds the row (arch/x86/msr.def), msr_call.c has what a field and a mask
 * cannot say. */
#ifndef CPU_X86_MSR_H
#define CPU_X86_MSR_H

#include "arch/x86/msr.h"
#include "cpu/x86/cpu.h"

/* `n`: which of the row's registers. false: #GP(0). */
struct msr_call {
	bool (*read)(struct x86_cpu *cpu, unsigned n, u64 *v);
	bool (*write)(struct x86_cpu *cpu, unsigned n, u64 v);
};

extern const struct msr_call msr_calls[MSR_CALLS];

/* The register as RDMSR and WRMSR see it, without privilege and intercepts; no trace. false: #GP(0). */
bool msr_read(struct x86_cpu *cpu, u32 index, u64 *v) must_check;
bool msr_write(struct x86_cpu *cpu, u32 index, u64 v) must_check;

/* time.c: the counter is moved by `delta`, and what derives from it follows. */
void tsc_move(struct x86_cpu *cpu, u64 delta);
/* The KVM-compatible clock: publishes the structure that the MSR points to. */
void kvm_clock_publish(struct x86_cpu *cpu);
void kvm_wall_clock_publish(struct x86_cpu *cpu, u64 pa);

#endif
