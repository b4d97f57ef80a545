/*
 * VMX's and SVM's capabilities in words: the MSRs 480h to 492h, IA32_FEATURE_CONTROL, VM_CR, and CPUID leaf 8000000Ah
 * of a host.
 */
#ifndef INSPECT_CAPABILITIES_H
#define INSPECT_CAPABILITIES_H

#include "arch/x86/vmcs.h"
#include "inspect/host.h"

/* Writes the tables of what the processor has; what cannot be read is said where it would stand. */
void capabilities_print(struct host *h, FILE *out);
/* The raw registers behind them, as DIR/msr of a recorded host has them. Returns 0, or the -errno of the first when
 * none can be read. */
int capabilities_print_msrs(struct host *h, FILE *out);
/* What a bit of a VMX control word means, such as "HLT exiting". NULL: the manual names none. */
const char *capability_control_text(enum vmx_word word, unsigned bit);

#endif
