/* Flags and exits of the instructions: the table that insn.def makes. */
#include "arch/x86/insn.h"

#include "arch/x86/exits.h"

const struct insn_row insn_rows[INSN_ROWS] = {
	[ROW_NONE] = {"(none)", 0, EXIT_NONE},
#define INSN(mnemonic, family, flags, exit) [ROW_##mnemonic] = {#mnemonic, flags, EXIT_##exit},
#include "arch/x86/insn.def"
#undef INSN
};
