/*
 * The chips of the board and their wires. The table in pc.c is the whole wiring: what each chip is, which engine brings
 * it, where it answers, which interrupt input it drives.
 *
 * With the KVM engine, the local APICs, the IOAPIC, the 8259 pair and the 8254 are KVM's own; all else is the same
 * chips on the same wires.
 */
#ifndef MACHINE_PC_H
#define MACHINE_PC_H

#include "core/chardev.h"
#include "dev/debug_exit.h"
#include "dev/debugcon.h"
#include "dev/flash.h"
#include "dev/fw_cfg.h"
#include "dev/hpet.h"
#include "dev/i8042.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/pci.h"
#include "dev/pci_testdev.h"
#include "dev/pic.h"
#include "dev/piix.h"
#include "dev/pit.h"
#include "dev/pm.h"
#include "dev/rtc.h"
#include "dev/testdev.h"
#include "dev/uart.h"
#include "dev/virtio_blk.h"
#include "dev/virtio_console.h"
#include "dev/virtio_net.h"
#include "dev/virtio_rng.h"

/* The IOAPIC input that ISA IRQ 0 arrives at, whoever brings the IOAPIC. */
#define PC_IRQ0_GSI 2u
#define PC_INTX_GSI 16u /* the first of four inputs of the I/O APIC */
#define PC_DISKS    4u

struct pc_disk {
	struct block_disk disk;
	unsigned queues;
};

struct pc_flash {
	u8 *data; /* NULL: there is none */
	u64 base, size;
};

struct pc_config {
	unsigned vcpus;
	u64 memory;
	/* Where interrupt inputs are: the engine's controllers, or NULL for those of the board. */
	void (*irqchip_set)(void *irqchip, unsigned gsi, bool level);
	void *irqchip;
	struct lapic_config lapic; /* for the board's own */
	struct char_sink serial;
	const char *channel_name; /* NULL: no console device */
	struct char_sink channel;
	struct char_sink terminal; /* of a virtio console; write NULL: no such device */
	struct char_sink debug;	   /* ports 0xe9 and 0x402 */
	struct entropy entropy;	   /* fill NULL: no such device */
	unsigned ndisks;
	struct pc_disk disk[PC_DISKS];
	struct net_sink net; /* send NULL: no network device */
	u8 mac[NET_MAC];
	bool testdev;
	struct pc_flash flash; /* firmware's variables */
	bool firmware; /* a firmware image runs: it finds a 440FX board, and gives PCI functions their addresses */
};

struct pc {
	struct vm *vm;
	struct pc_config cfg;
	struct lapic_bus lapic;
	struct ioapic ioapic;
	struct pic pic;
	struct hpet hpet;
	struct pit pit;
	struct rtc rtc;
	struct pm pm;
	struct i8042 i8042;
	struct uart uart;
	struct debug_exit debug_exit;
	struct debugcon debugcon;
	struct testdev testdev;
	struct pci_testdev pci_testdev;
	struct fw_cfg fw_cfg;
	struct flash flash;
	struct piix piix;
	struct pci_bus pci;
	struct pci_device bridge;
	struct virtio_console console, terminal; /* the channel's port; a console port */
	struct virtio_rng rng;
	struct virtio_net net;
	struct virtio_blk blk[PC_DISKS];
};

/* Puts all chips on vm's buses; vm->apic_ops, vm->apic[] and vm->msi are set when the interrupt controllers are the
 * board's. RAM is there. */
int pc_init(struct pc *pc, struct vm *vm, const struct pc_config *cfg, struct err *e);
/* What firmware does before an operating system starts: gives PCI functions their addresses. */
void pc_firmware(struct pc *pc);
/* All chips to their power-on state, then what firmware does. Lock held. */
void pc_reset(struct pc *pc);
/* Each chip that is there, or each part of one, in the order of the wiring table. */
void pc_each(struct pc *pc, void (*fn)(void *ctx, const struct device_class *class, void *dev), void *ctx);
/* The name of the chip that holds this address. */
const char *pc_owner(const struct pc *pc, const void *at);
/* What chips hold of the host's memory; no request is in flight any more. */
void pc_destroy(struct pc *pc);

#endif
