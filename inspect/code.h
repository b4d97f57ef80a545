/*
 * Code and stack of a vCPU in words: instructions from an address on, and who called whom.
 */
#ifndef INSPECT_CODE_H
#define INSPECT_CODE_H

#include "inspect/memory.h"

struct inspect_symbols;

/* The linear address of the next instruction. */
u64 inspect_code_address(const struct x86_state *st);
/* `count` instructions from the linear address la on, in the vCPU's present mode; `rip` marks one of them. symbols may
 * be NULL. Ends with a line that says so where there is no memory. */
void inspect_code(struct inspect_memory *m, const struct x86_state *st, u64 la, unsigned count,
		  const struct inspect_symbols *symbols, FILE *out);
/*
 * The callers: by the chain of frame pointers where RBP begins one, else the words on the stack that follow a call
 * instruction (some of which may be left over from earlier calls).
 */
void inspect_stack(struct inspect_memory *m, const struct x86_state *st, const struct inspect_symbols *symbols,
		   FILE *out);

#endif
