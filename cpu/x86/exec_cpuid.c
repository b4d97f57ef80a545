/* CPUID: the model's answer (arch/x86/cpuid.c), with what depends on this processor's registers. */
#include "arch/x86/model.h"
#include "cpu/x86/int.h"
#include "cpu/x86/trace.h"

/* SDM vol. 3 11.4.3 "Enabling or Disabling the Local APIC": CPUID does not show one that IA32_APIC_BASE switches off. */
static bool apic_enabled(struct x86_cpu *cpu)
{
	u64 base;

	return !cpu->apic_ops || !cpu->apic_ops->msr_read(cpu->apic, 0x1b, &base) || (base & BIT(11));
}

HANDLER(op_cpuid)
{
	struct x86_state *st = &cpu->st;
	u32 leaf = (u32)st->gpr[RAX], subleaf = (u32)st->gpr[RCX], out[4];
	const struct x86_cpuid_env env = {
		.no_apic = !apic_enabled(cpu),
		.apic_id = cpu->vcpu.index,
		.vcpus = cpu->vm->nvcpus,
		.cr4 = st->cr4,
		.xcr0 = st->xcr0,
		.xss = st->msr.xss,
		.no_monitor = st->vendor == X86_INTEL && !(st->msr.misc_enable & MISC_ENABLE_MONITOR),
	};

	x86_cpuid(cpu->model, leaf, subleaf, &env, out);
	if (trace_on(cpu->topics, TRACE_CPUID))
		trace_cpu(cpu, in, TRACE_CPUID, "cpuid %08x/%x: %08x %08x %08x %08x", leaf, subleaf, out[0], out[1],
			  out[2], out[3]);
	st->gpr[RAX] = out[0];
	st->gpr[RBX] = out[1];
	st->gpr[RCX] = out[2];
	st->gpr[RDX] = out[3];
	/* Serialising: code that another processor has changed is dropped before the next instruction. */
	LEAVE(cpu, in, OUT_END);
}

bool bind_cpuid(struct bind *b)
{
	b->in->fn = op_cpuid;
	return true;
}
