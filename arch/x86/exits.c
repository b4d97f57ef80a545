/* Names and vendor numbers of the VM exits: the table that exits.def makes. */
#include "arch/x86/exits.h"

#define NONE X86_EXIT_NO_CODE
const struct x86_exit_row x86_exit_rows[X86_EXITS] = {
#define EXIT(name, svm, vmx, text) {#name, text, svm, vmx},
#include "arch/x86/exits.def"
#undef EXIT
};

enum x86_exit x86_exit_of_svm(u64 code)
{
	unsigned i = 0;

	while (i < X86_EXITS && (x86_exit_rows[i].svm_code != code || code == NONE))
		i++;
	return (enum x86_exit)i;
}

static const char *const reasons[] = {
#define REASON(number, text) [number] = text,
#include "arch/x86/vmxreason.def"
#undef REASON
};

const char *x86_exit_vmx_text(u64 reason)
{
	return reason < ARRAY_SIZE(reasons) && reasons[reason] ? reasons[reason] : "reserved";
}
