/*
 * A NOR flash chip with Intel's command set (CFI 0001h, "Intel/Sharp extended"; Intel 28F640J5 data sheet, table 4
 * "Command Definitions"), as firmware's variable store: a byte is programmed by 10h or 40h, a block of 4 KiB erased by
 * 20h and D0h.
 *
 * The bytes are the host's, who sees every change in them at once. The status register's ready bit is set by operations
 * and cleared by 50h, as on the emulated chip that OVMF looks for; a real one is ready whenever it can answer. A
 * program clears bits and never sets one, as flash cells do. No CFI query, no write buffer, no lock bits: those
 * commands leave the chip in read-array mode.
 */
#ifndef DEV_FLASH_H
#define DEV_FLASH_H

#include "core/bus.h"
#include "core/device.h"

#define FLASH_BLOCK 4096u

struct flash_state {
	u8 mode;
	u8 status;
	u8 zero[6];
};

struct flash {
	struct flash_state s;
	struct log *log;
	u8 *data;
	u64 size; /* whole blocks */
};

void flash_init(struct flash *f, struct log *log, u8 *data, u64 size);

extern const struct bus_ops flash_ops;
extern const struct device_class flash_class;
extern const struct desc flash_state_desc;

#endif
