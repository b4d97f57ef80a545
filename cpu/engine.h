/* The software processor as an engine: what machine/ needs to know of cpu/. */
#ifndef CPU_ENGINE_H
#define CPU_ENGINE_H

#include "arch/x86/model.h"
#include "core/vm.h"

struct soft_options {
	u64 drop_every; /* throw all caches away every so many instructions; 0: never */
	u64 insn_limit; /* stop (RUN_STOPPED) after so many instructions; 0: none */
};

/* A software vCPU in its reset state. vm->apic_ops and vm->apic[index] must be set before it runs. */
int soft_vcpu_new(struct vm *vm, unsigned index, const struct x86_model *model, const struct soft_options *o, struct vcpu **out,
		  struct err *e);

/* The vCPU's time stamp counter now, without the offset of a nested guest: what its local APIC's deadline timer goes by. Any thread. */
u64 soft_vcpu_tsc(struct vcpu *v);

#endif
