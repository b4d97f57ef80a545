/*
 * Decoded instructions remembered by physical address and bytes, so that a block that was killed for one changed
 * instruction, or one that begins within another, asks Zydis only about what is new.
 *
 * What an entry says depends on its bytes, the mode and the processor's model only; where it lies in its block is set
 * anew. All entries are forgotten with the blocks, since some point to stubs.
 */
#ifndef CPU_X86_RECALL_H
#define CPU_X86_RECALL_H

#include "cpu/x86/decode.h"

#define RECALL_ENTRIES 4096u /* a power of two */

struct recalled {
	u64 pa;
	u64 gen; /* of struct recall, else the entry is empty */
	u32 mode;
	bool ends;
	u8 bytes[INSN_BYTES_MAX];
	struct insn in;
};

struct recall {
	u64 gen; /* 1 and up */
	struct recalled entry[RECALL_ENTRIES];
};

/* As insn_decode, for code at `pa`. */
unsigned recall_decode(struct x86_cpu *cpu, struct recall *r, u64 pa, const u8 *bytes, unsigned avail, u32 mode,
		       unsigned off, struct insn *in, bool *ends);
static inline void recall_drop(struct recall *r) { r->gen++; }

#endif
