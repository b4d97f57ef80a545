/*
 * What non-root operation has of its own: VM functions, virtualization exceptions, PAUSE-loop exiting.
 * SDM vol. 3 25.5.6 "VM Functions", 25.5.7 "Virtualization Exceptions", 25.1.3 "PAUSE".
 *
 * EPTP switching replaces the EPTP of the current VMCS, so that a cache thrown away finds it there. A convertible EPT
 * violation is #VE while the second word of the information area is 0; the words are in guest RAM and nowhere else.
 */
#include <x86intrin.h>

#include "cpu/x86/int.h"
#include "cpu/x86/mem.h"
#include "cpu/x86/svm.h"
#include "cpu/x86/vmx.h"

#define EPTP_LIST_ENTRIES 512
#define VMFUNC_MAX	  63
#define QUAL_NMI_IRET	  BIT(12) /* SDM vol. 3 table 27-7 */

/* SDM vol. 3 25.5.7.2 "Virtualization-Exception Information". */
struct ve_area {
	u32 reason, busy;
	u64 qualification, la, gpa;
	u16 eptp_index;
};

static bool eptp_switch(struct x86_cpu *cpu, u32 entry)
{
	struct vmcs *v = vmx_current(cpu, true);
	u64 eptp;

	if (!v || entry >= EPTP_LIST_ENTRIES)
		return false;
	phys_read(cpu, v->f[VMCS_EPTP_LIST] + 8 * entry, &eptp, sizeof(eptp));
	if (!vmx_eptp_valid(cpu, eptp))
		return false;
	v->f[VMCS_EPTP] = eptp;
	if (cpu->vmx_env.may[VMX_PROC2] & VMX_PROC2_VE)
		v->f[VMCS_EPTP_INDEX] = (u16)entry;
	svm_page_written(cpu, cpu->st.vmx.vmcs);
	cpu->c.ncr3 = eptp;
	if (vmx_has(&cpu->c, PROC2, VPID))
		x86_update_spaces(cpu);
	else
		tlb_flush_asid(cpu, 0, false);
	return true;
}

/* Any mode, any CPL. */
HANDLER(op_vmfunc)
{
	u32 function = (u32)cpu->st.gpr[RAX];

	if (!cpu->c.vmx.on || !vmx_has(&cpu->c, PROC2, VMFUNC) || function > VMFUNC_MAX)
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if (!(cpu->c.vmx.functions >> function & 1) || !eptp_switch(cpu, (u32)cpu->st.gpr[RCX]))
		LEAVE(cpu, in, x86_exit(cpu, EXIT_VMFUNC, 0, 0));
	LEAVE(cpu, in, OUT_END);
}

BIND(vmfunc)

static u64 area_pa(const struct x86_cpu *cpu) { return cpu->c.vmx.ve_area & ~1ull; }

bool vmx_ve(struct x86_cpu *cpu, u64 qualification, u64 la, u64 gpa)
{
	const struct vmcs *v = vmx_current(cpu, false);
	struct ve_area *area = svm_page(cpu, area_pa(cpu), true);

	if (!v || !area || area->busy || !(cpu->st.cr0 & CR0_PE) || cpu->c.delivering.kind != EV_NONE)
		return false;
	area->reason = (u32)x86_exit_rows[EXIT_NPF].vmx_reason;
	area->busy = ~0u;
	area->qualification = qualification;
	area->la = la;
	area->gpa = gpa;
	area->eptp_index = (u16)v->f[VMCS_EPTP_INDEX];
	svm_page_written(cpu, area_pa(cpu));
	return true;
}

void vmx_ve_nmi_iret(struct x86_cpu *cpu)
{
	struct ve_area *area = svm_page(cpu, area_pa(cpu), true);

	if (!area)
		return;
	area->qualification |= QUAL_NMI_IRET;
	svm_page_written(cpu, area_pa(cpu));
}

/*
 * PLE_Gap is counted in instructions, as SVM's threshold is: what tells a loop is the work between two PAUSEs, not how
 * long it takes here. PLE_Window is ticks of the TSC.
 */
bool vmx_pause_passes(struct x86_cpu *cpu, const struct insn *in)
{
	struct x86_vmx *x = &cpu->st.vmx;
	u64 insns = cpu->n.insns + in->pos, tsc = __rdtsc() + cpu->st.tsc_offset, last = x->pause_last;

	if (vmx_has(&cpu->c, PROC, PAUSE))
		return false;
	if (cpu->st.cpl)
		return true;
	x->pause_last = insns;
	if (last && insns - last <= cpu->c.vmx.ple_gap)
		return tsc - x->pause_first <= cpu->c.vmx.ple_window;
	x->pause_first = tsc;
	return true;
}
