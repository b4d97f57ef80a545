/* The software processor seen from outside (engine.h): what other threads may ask of it while it runs. */
#include "cpu/engine.h"

#include <x86intrin.h>

#include "cpu/x86/cpu.h"

u64 soft_vcpu_tsc(struct vcpu *v)
{
	return __rdtsc() + __atomic_load_n(&x86_cpu_of(v)->st.tsc_offset, __ATOMIC_RELAXED);
}
