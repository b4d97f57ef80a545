/* A processor's state in words, for when a guest broke: registers, segments, control registers, the bytes and
 * instruction at RIP. */
#ifndef MACHINE_DUMP_H
#define MACHINE_DUMP_H

#include "arch/x86/state.h"
#include "core/vm.h"

/* Logs (log_warn) what `st` holds; phys_bits bounds the page walk to RIP. */
void dump_state(struct vm *vm, unsigned vcpu, const struct x86_state *st, unsigned phys_bits);

#endif
