/* A vCPU's registers in words. */
#ifndef INSPECT_REGISTERS_H
#define INSPECT_REGISTERS_H

#include <stdio.h>

#include "arch/x86/state.h"

/* General, segment, control and debug registers, and what keeps events away. */
void inspect_registers(const struct x86_state *st, unsigned vcpu, FILE *out);
/* One line: is it running, halted, may it be interrupted. */
void inspect_events(const struct x86_state *st, FILE *out);

#endif
