/*
 * Firmware: an image of it at the reset vector, or, without one, what it leaves in a processor before an operating
 * system starts, besides the boot protocol's own demands.
 */
#ifndef MACHINE_FIRMWARE_H
#define MACHINE_FIRMWARE_H

#include "arch/x86/state.h"
#include "machine/machine.h"

/*
 * MTRRs (SDM vol. 3 12.11 "Memory Type Range Registers (MTRRs)"): all memory is write-back, but uncached from 3 to 4
 * GiB, where devices are. Without them an operating system takes all memory for uncached and leaves the PAT alone.
 */
void firmware_set_mtrrs(struct x86_state *st, unsigned phys_bits);
/* Puts an image where a processor starts after reset: it ends at 4 GiB, read-only. -EINVAL: it has no size that such an
 * image can have. */
int firmware_map(struct ram *ram, const struct machine_blob *image, struct err *e);
/* Its last 128 KiB once more, in RAM, below 1 MiB: at power-on and after each reset. */
void firmware_shadow(struct ram *ram, const struct machine_blob *image);
/* Physical address width of the processor that this program runs on. */
unsigned firmware_host_phys_bits(void);

#endif
