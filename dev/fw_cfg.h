/*
 * fw_cfg: numbered items of configuration, and named files, that firmware reads from its host (QEMU,
 * docs/specs/fw_cfg.rst).
 *
 * Wiring: ports 0x510-0x511 fw_cfg_ops (selector, data), 0x514-0x51b fw_cfg_dma_ops. Items are made while the board is
 * built and do not change; they are read-only. Numbers in items are little-endian, in the file directory and the DMA
 * interface big-endian.
 */
#ifndef DEV_FW_CFG_H
#define DEV_FW_CFG_H

#include "core/device.h"
#include "core/vm.h"

#define FW_CFG_ITEMS	   64u
#define FW_CFG_FILES	   32u
#define FW_CFG_RAM_SIZE	   0x03u
#define FW_CFG_NB_CPUS	   0x05u
#define FW_CFG_BOOT_MENU   0x0eu
#define FW_CFG_MAX_CPUS	   0x0fu
#define FW_CFG_KERNEL_DATA 0x11u
#define FW_CFG_FILE_FIRST  0x20u
#define FW_CFG_IRQ0	   0x8002u

struct fw_cfg_state {
	u64 dma; /* address register */
	u32 offset;
	u16 key;
	u8 zero[2];
};

struct fw_cfg_item {
	u16 key;
	u32 size;
	u8 *data;
};

struct fw_cfg {
	struct fw_cfg_state s;
	struct vm *vm;
	unsigned items, files;
	struct fw_cfg_item item[FW_CFG_ITEMS];
	char name[FW_CFG_FILES][56];
};

void fw_cfg_init(struct fw_cfg *f, struct vm *vm);
void fw_cfg_destroy(struct fw_cfg *f);
/* The data is copied. -ENOMEM, -ENOSPC. */
int fw_cfg_add(struct fw_cfg *f, u16 key, const void *data, size_t size, struct err *e);
int fw_cfg_add_number(struct fw_cfg *f, u16 key, u64 value, unsigned size, struct err *e);
int fw_cfg_add_file(struct fw_cfg *f, const char *name, const void *data, size_t size, struct err *e);

extern const struct bus_ops fw_cfg_ops, fw_cfg_dma_ops;
extern const struct device_class fw_cfg_class;
extern const struct desc fw_cfg_state_desc;

#endif
