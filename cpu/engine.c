/* The software processor seen from outside (engine.h): what other threads may ask of it while it runs. */
#include "cpu/engine.h"

#include "cpu/x86/cpu.h"

u64 soft_vcpu_tsc(struct vcpu *v) { return x86_own_tsc(x86_cpu_of(v)); }
