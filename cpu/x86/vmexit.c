/* The vendor-neutral entry points of guest mode (vmexit.h): by st.vmx.in_guest to VMX, else to SVM. */
#include "cpu/x86/vmexit.h"

#include "cpu/x86/avic.h"
#include "cpu/x86/vapic.h"

void vmexit_complete(struct x86_cpu *cpu, u64 next_rip)
{
	cpu->monitor.armed = 0;
	if (cpu->st.vmx.in_guest)
		vmx_vmexit(cpu, next_rip);
	else
		svm_vmexit(cpu, next_rip);
}

void vmexit_decode_controls(struct x86_cpu *cpu)
{
	svm_decode_controls(cpu);
	vmx_decode_controls(cpu);
}

enum outcome vmexit_check_io(struct x86_cpu *cpu, const struct insn *in, u16 port, unsigned size, bool is_in,
			     bool is_string, bool is_rep)
{
	if (cpu->c.vmx.on)
		return vmx_check_io(cpu, in, port, size, is_in, is_string, is_rep);
	return svm_check_io(cpu, in, port, size, is_in, is_string, is_rep);
}

enum outcome vmexit_check_msr(struct x86_cpu *cpu, u32 msr, bool write)
{
	if (unlikely(cpu->c.vmx.on))
		return vmx_check_msr(cpu, msr, write);
	return svm_check_msr(cpu, msr, write);
}

enum outcome vmexit_check_exception(struct x86_cpu *cpu, const struct x86_event *ev)
{
	if (unlikely(cpu->c.vmx.on))
		return vmx_check_exception(cpu, ev);
	return svm_check_exception(cpu, ev);
}

bool vmexit_pause_passes(struct x86_cpu *cpu, const struct insn *in)
{
	return cpu->c.vmx.on ? vmx_pause_passes(cpu, in) : svm_pause_passes(cpu, in);
}

void vmexit_apic_written(struct x86_cpu *cpu)
{
	if (cpu->c.vmx.on)
		vapic_written(cpu);
	else
		avic_written(cpu);
}

enum outcome vmexit_apic_access(struct x86_cpu *cpu, u64 la, unsigned size, unsigned want, u8 **host)
{
	if (cpu->c.vmx.on)
		return vapic_access(cpu, la, size, want, host);
	return avic_access(cpu, la, size, want, host);
}
