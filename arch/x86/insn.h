/*
 * The instruction table: which instructions there are, what must be checked before each, and which VM exit it may cause.
 *
 * A row is INSN(mnemonic, family, flags, exit): the mnemonic is Zydis's (ZYDIS_MNEMONIC_*), the family names the function bind_FAMILY in
 * cpu/x86/ that picks the handler for the operands at hand, flags are I_*, exit is a name of exits.def or NONE. The order in which a
 * row's checks are made is written once, in cpu/x86/check.c, with the sections that say so.
 */
#ifndef ARCH_X86_INSN_H
#define ARCH_X86_INSN_H

#include "base/types.h"

#define I_CPL0 1u     /* #GP(0) above CPL 0 */
#define I_PE 2u       /* #UD in real and virtual-8086 mode */
#define I_X87 4u      /* #NM by CR0.EM/TS, then a pending #MF */
#define I_VEC 8u      /* SSE or AVX: #UD/#NM by CR0, CR4, XCR0 */
#define I_END 16u     /* ends the block: jumps, and whatever decoded code depends on */
#define I_USER 32u    /* allowed at CPL 3 and free of system state: lockstep compares it with silicon */
#define I_UMIP 64u    /* #GP(0) above CPL 0 with CR4.UMIP */
#define I_WAIT 128u   /* x87 instruction that does not report a pending #MF (FNxxx control) */
#define I_SVM 256u    /* #UD without EFER.SVME, or outside protected mode */
#define I_IOPL 512u   /* CLI, STI: the handler's own IOPL/VME rules */

enum insn_row_index {
	ROW_NONE, /* no row: #UD and a LIMIT line */
#define INSN(mnemonic, family, flags, exit) ROW_##mnemonic,
#include "arch/x86/insn.def"
#undef INSN
	INSN_ROWS
};

struct insn_row {
	const char *name;
	u16 flags;
	u16 exit; /* enum x86_exit; EXIT_NONE */
};

extern const struct insn_row insn_rows[INSN_ROWS];

#endif
