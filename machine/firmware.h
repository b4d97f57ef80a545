/* What firmware leaves in a processor before an operating system starts, besides the boot protocol's own demands. */
#ifndef MACHINE_FIRMWARE_H
#define MACHINE_FIRMWARE_H

#include "arch/x86/state.h"

/*
 * MTRRs (SDM vol. 3 12.11 "Memory Type Range Registers (MTRRs)"): all memory is write-back, but uncached from 3 to 4
 * GiB, where devices are. Without them an operating system takes all memory for uncached and leaves the PAT alone.
 */
void firmware_set_mtrrs(struct x86_state *st, unsigned phys_bits);
/* Physical address width of the processor that this program runs on. */
unsigned firmware_host_phys_bits(void);

#endif
