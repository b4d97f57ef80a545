/* Names and vendor numbers of the VM exits: the table that exits.def makes. */
#include "arch/x86/exits.h"

#define NONE X86_EXIT_NO_CODE
const struct x86_exit_row x86_exit_rows[X86_EXITS] = {
#define EXIT(name, svm, vmx, text) {#name, text, svm, vmx},
#include "arch/x86/exits.def"
#undef EXIT
};
