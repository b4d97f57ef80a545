/*
 * Registers as GDB numbers them: the standard x86-64 features core, sse and segments, then one of ours with control
 * registers ("Debugging with GDB", appendix "Target Descriptions", "i386 Features"). The description that GDB reads and
 * the packets' layout come from the same rows.
 */
#ifndef GDB_REGS_H
#define GDB_REGS_H

#include "arch/x86/state.h"
#include "gdb/packet.h"

unsigned regs_count(void);
/* Bytes of register n; 0: there is none. */
unsigned regs_size(unsigned n);
void regs_get(const struct x86_state *st, unsigned n, u8 *buf);
/* false: that register cannot be written. */
bool regs_set(struct x86_state *st, unsigned n, const u8 *buf);
/* target.xml into buf: its length. */
u32 regs_xml(char *buf, u32 size);

#endif
