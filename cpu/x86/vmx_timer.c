/*
 * The VMX-preemption timer: SDM vol. 3 25.5.1 "VMX-Preemption Timer".
 *
 * It counts at the rate of bit VMX_TIMER_SHIFT of the host's TSC (not the guest's). st.vmx.timer holds the TSC at which
 * it gets to 0. A vCPU looks out for it as for its APIC's deadline (time.c).
 */
#include "cpu/x86/vmx.h"

void vmx_timer_start(struct x86_cpu *cpu, u32 value)
{
	cpu->st.vmx.timer = ((x86_own_tsc(cpu) >> VMX_TIMER_SHIFT) + value) << VMX_TIMER_SHIFT;
	vmx_timer_poll(cpu);
}

u32 vmx_timer_value(const struct x86_cpu *cpu)
{
	u64 end = cpu->st.vmx.timer >> VMX_TIMER_SHIFT, t = x86_own_tsc(cpu) >> VMX_TIMER_SHIFT;

	return (s64)(end - t) > 0 ? (u32)(end - t) : 0;
}

void vmx_timer_poll(struct x86_cpu *cpu)
{
	if (cpu->c.vmx.timer && vmx_timer_value(cpu) == 0)
		atomic_fetch_or(&cpu->c.attention, ATT_TIMER);
}
