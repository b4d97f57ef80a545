/* The neutral numbers of VM exits, made from exits.def. */
#ifndef ARCH_X86_EXITS_H
#define ARCH_X86_EXITS_H

#include "base/types.h"

enum x86_exit {
#define EXIT(name, svm, vmx, text) EXIT_##name,
#include "arch/x86/exits.def"
#undef EXIT
	X86_EXITS,
	EXIT_NONE = X86_EXITS /* in instruction rows: nothing to test */
};

#define X86_EXIT_NO_CODE (~1ull) /* that vendor has no such exit */

struct x86_exit_row {
	const char *name, *text;
	u64 svm_code;
	u64 vmx_reason;
};

extern const struct x86_exit_row x86_exit_rows[X86_EXITS];

/* The row of an EXITCODE, or X86_EXITS. */
enum x86_exit x86_exit_of_svm(u64 code);
/* What VMX calls a basic exit reason; "reserved" for those that there are none of. */
const char *x86_exit_vmx_text(u64 reason);

#endif
