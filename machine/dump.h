/*
 * What a person needs who wants to know why a guest broke or hangs: of each vCPU its registers, what keeps events away,
 * the instructions at RIP and who called; of a shutdown the faults that led to it; of the board what waits to be
 * delivered and which timers run.
 */
#ifndef MACHINE_DUMP_H
#define MACHINE_DUMP_H

#include <stdio.h>

#include "arch/x86/state.h"
#include "core/vm.h"

struct inspect_symbols;
struct pc;

/* One vCPU, not inside run; symbols may be NULL. */
void dump_vcpu(struct vm *vm, unsigned vcpu, const struct x86_state *st, const struct inspect_symbols *symbols,
	       FILE *out);
/* The board's part: local APICs, 8259s, timers. Lock held. */
void dump_board(struct pc *pc, FILE *out);
/* Interrupts that processors took, by vector, and rises of the I/O APIC's inputs. Lock held. */
void dump_interrupts(const struct pc *pc, FILE *out);
/* Whose timers run, and when they fire. Lock held. */
void dump_timers(struct pc *pc, FILE *out);
/* The text that `print` makes, into vm's log, line by line. */
void dump_log(struct vm *vm, void (*print)(void *ctx, FILE *out), void *ctx);

#endif
