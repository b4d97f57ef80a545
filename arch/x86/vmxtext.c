/* Numbers of VMX in the manual's words. */
#include "arch/x86/vmcs.h"

/* SDM vol. 3 30.4 "VM Instruction Error Numbers". */
const char *vmx_error_text(u64 number)
{
	static const char *const texts[] = {
		[1] = "VMCALL executed in VMX root operation",
		[2] = "VMCLEAR with invalid physical address",
		[3] = "VMCLEAR with VMXON pointer",
		[4] = "VMLAUNCH with non-clear VMCS",
		[5] = "VMRESUME with non-launched VMCS",
		[6] = "VMRESUME after VMXOFF",
		[7] = "VM entry with invalid control fields",
		[8] = "VM entry with invalid host-state fields",
		[9] = "VMPTRLD with invalid physical address",
		[10] = "VMPTRLD with VMXON pointer",
		[11] = "VMPTRLD with incorrect VMCS revision identifier",
		[12] = "VMREAD or VMWRITE from or to unsupported VMCS component",
		[13] = "VMWRITE to read-only VMCS component",
		[15] = "VMXON executed in VMX root operation",
		[16] = "VM entry with invalid executive-VMCS pointer",
		[17] = "VM entry with non-launched executive VMCS",
		[18] = "VM entry with executive-VMCS pointer not VMXON pointer",
		[19] = "VMCALL with non-clear VMCS",
		[20] = "VMCALL with invalid VM-exit control fields",
		[22] = "VMCALL with incorrect MSEG revision identifier",
		[23] = "VMXOFF under dual-monitor treatment of SMIs and SMM",
		[24] = "VMCALL with invalid SMM-monitor features",
		[25] = "VM entry with invalid VM-execution control fields in executive VMCS",
		[26] = "VM entry with events blocked by MOV SS",
		[28] = "invalid operand to INVEPT or INVVPID",
	};

	return number < ARRAY_SIZE(texts) && texts[number] ? texts[number] : "reserved";
}

/* SDM vol. 3 27.7 "VMX Aborts". */
const char *vmx_abort_text(u64 indicator)
{
	static const char *const texts[] = {
		[1] = "guest MSRs could not be saved in the VM-exit MSR-store area",
		[2] = "a PDPTE of the host's has reserved bits set",
		[3] = "the VMCS was corrupted after VM entry: its host state is illegal",
		[4] = "host MSRs could not be loaded from the VM-exit MSR-load area",
		[5] = "a machine-check event came during the VM exit",
		[6] = "the processor was in IA-32e mode and the host address-space size control is 0",
	};

	return indicator < ARRAY_SIZE(texts) && texts[indicator] ? texts[indicator] : "reserved";
}
