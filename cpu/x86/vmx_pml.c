/* Page-modification logging: SDM vol. 3 28.3.6. The index is in the VMCS and counts down; FFFFh: the log is full. */
#include "cpu/x86/svm.h"
#include "cpu/x86/vmx.h"

#define PML_ENTRIES 512

bool vmx_pml_room(struct x86_cpu *cpu)
{
	const struct vmcs *v = vmx_current(cpu, false);

	return v && v->f[VMCS_PML_INDEX] < PML_ENTRIES;
}

void vmx_pml_log(struct x86_cpu *cpu, u64 gpa)
{
	struct vmcs *v = vmx_current(cpu, true);
	u64 *log = v ? svm_page(cpu, v->f[VMCS_PML_ADDRESS], true) : NULL;

	if (!v)
		return;
	if (log)
		log[v->f[VMCS_PML_INDEX] % PML_ENTRIES] = gpa;
	svm_page_written(cpu, v->f[VMCS_PML_ADDRESS]);
	v->f[VMCS_PML_INDEX] = (u16)(v->f[VMCS_PML_INDEX] - 1);
}
