/*
 * Exceptions in words: what an error code says, what an interrupt descriptor is, and how a processor came to a
 * shutdown.
 */
#ifndef INSPECT_FAULT_H
#define INSPECT_FAULT_H

#include "core/vcpu.h"
#include "inspect/memory.h"

/* "#PF", "#GP", "interrupt 20h". */
const char *inspect_vector_name(unsigned vector, char buf[24]);
/* One line: entry `vector` of the IDT (the IVT in real mode), and what is wrong with it if something is. */
void inspect_gate(struct inspect_memory *m, const struct x86_state *st, unsigned vector, FILE *out);
/* The faults of a shutdown, a line each. */
void inspect_faults(const struct vcpu_shutdown *s, FILE *out);
/* The same, and the IDT entries that should have taken them. */
void inspect_shutdown(struct inspect_memory *m, const struct x86_state *st, const struct vcpu_shutdown *s, FILE *out);

#endif
