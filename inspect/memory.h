/*
 * A vCPU's linear memory seen from outside: through its page tables, and while it runs a guest of its own through the
 * nested tables of the VMCB or the EPT of the VMCS. The walk is dry: no accessed or dirty flag is set, nothing of the
 * guest changes but what is written.
 *
 * The vCPU must not be inside run. Reserved bits above the processor's physical width do not end a walk here.
 */
#ifndef INSPECT_MEMORY_H
#define INSPECT_MEMORY_H

#include <stdio.h>

#include "arch/x86/state.h"
#include "arch/x86/walk.h"
#include "core/vm.h"

struct inspect_memory {
	struct walk_mem mem; /* first */
	struct vm *vm;
	struct xlate guest, nested;
};

/* Keeps pointers to itself and to `st`. */
void inspect_memory(struct inspect_memory *m, struct vm *vm, const struct x86_state *st);
/* false: not mapped; `w` says where the walk ended. */
bool inspect_translate(struct inspect_memory *m, u64 la, struct walk *w);
/* How many of the n bytes at la could be read or written: up to the first that is not mapped RAM. */
size_t inspect_read(struct inspect_memory *m, u64 la, void *buf, size_t n);
size_t inspect_write(struct inspect_memory *m, u64 la, const void *buf, size_t n);
/* The walk in words, a line for each table entry of each stage. */
void inspect_walk(struct inspect_memory *m, const struct x86_state *st, u64 la, FILE *out);

#endif
