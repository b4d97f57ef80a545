/* A driver for any virtio device over PCI, for tests: negotiation, rings at fixed places, one request after another. */
#ifndef TESTS_UNIT_VIRTIO_DRIVER_H
#define TESTS_UNIT_VIRTIO_DRIVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "dev/virtio_pci.h"

#define RAM_SIZE 0x400000u
#define BAR	 0xc0000000u
#define QSIZE	 64u
#define RING(q)	 (0x10000u + (q)*0x2000u)
#define AVAIL(q) (RING(q) + 0x800)
#define USED(q)	 (RING(q) + 0x1000)
#define BUF(i)	 (0x100000u + (i)*0x1000u)
#define COMMON	 BAR
#define DEVICE	 (BAR + 0x2000)
#define NOTIFY	 (BAR + 0x3000)

struct driver {
	struct vm vm;
	struct pci_bus bus;
	struct pci_device *pci;
	unsigned queues, interrupts;
	u16 avail[VIRTIO_QUEUES], seen[VIRTIO_QUEUES];
};

static inline void driver_wire(void *ctx, unsigned pin, bool level) { ((struct driver *)ctx)->interrupts += level; }

static inline void driver_vm(struct driver *d)
{
	const struct irq_line line = {driver_wire, d, 0};
	const struct irq_line intx[PCI_INTX] = {line, line, line, line};

	assert_int_equal(vm_init(&d->vm, NULL, clock_host(), NULL), 0);
	assert_int_equal(ram_add(&d->vm.ram, 0, RAM_SIZE, false, NULL), 0);
	pci_bus_init(&d->bus, &d->vm, intx);
}

static inline void driver_attach(struct driver *d, struct virtio_pci *p, unsigned queues)
{
	d->pci = &p->pci;
	d->queues = queues;
	pci_attach(&d->bus, &p->pci, 1);
	pci_bar_assign(&p->pci, 0, BAR);
	pci_command_set(&p->pci, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static inline void *ram(struct driver *d, u64 gpa) { return ram_host(&d->vm.ram, gpa, 1); }
static inline void reg_write(struct driver *d, u32 reg, unsigned size, u64 v)
{
	vm_mmio_write(&d->vm, COMMON + reg, size, v);
}
static inline u64 reg_read(struct driver *d, u32 reg, unsigned size)
{
	return vm_mmio_read(&d->vm, COMMON + reg, size);
}

static inline u64 driver_offered(struct driver *d)
{
	u64 v;

	reg_write(d, VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	v = reg_read(d, VIRTIO_PCI_COMMON_DF, 4) << 32;
	reg_write(d, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	return v | reg_read(d, VIRTIO_PCI_COMMON_DF, 4);
}

static inline void driver_start(struct driver *d, u64 features)
{
	reg_write(d, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	reg_write(d, VIRTIO_PCI_COMMON_STATUS, 1, 3);
	features |= BIT(VIRTIO_F_VERSION_1);
	for (unsigned i = 0; i < 2; i++) {
		reg_write(d, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		reg_write(d, VIRTIO_PCI_COMMON_GF, 4, (u32)(features >> (32 * i)));
	}
	reg_write(d, VIRTIO_PCI_COMMON_STATUS, 1, 11);
	assert_int_equal(reg_read(d, VIRTIO_PCI_COMMON_STATUS, 1), 11);
	for (unsigned q = 0; q < d->queues; q++) {
		reg_write(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
		reg_write(d, VIRTIO_PCI_COMMON_Q_SIZE, 2, MIN(QSIZE, reg_read(d, VIRTIO_PCI_COMMON_Q_SIZE, 2)));
		reg_write(d, VIRTIO_PCI_COMMON_Q_DESCLO, 4, RING(q));
		reg_write(d, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, AVAIL(q));
		reg_write(d, VIRTIO_PCI_COMMON_Q_USEDLO, 4, USED(q));
		reg_write(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
		memset(ram(d, RING(q)), 0, 0x2000);
		d->avail[q] = d->seen[q] = 0;
	}
	reg_write(d, VIRTIO_PCI_COMMON_STATUS, 1, 15);
}

static inline bool driver_broken(struct driver *d)
{
	return reg_read(d, VIRTIO_PCI_COMMON_STATUS, 1) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static inline void desc_put(struct driver *d, unsigned q, unsigned i, u64 addr, u32 len, u16 flags, u16 next)
{
	struct vring_desc v = {addr, len, flags, next};

	memcpy((u8 *)ram(d, RING(q)) + i * sizeof(v), &v, sizeof(v));
}

static inline unsigned queue_size(struct driver *d, unsigned q)
{
	reg_write(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
	return (unsigned)reg_read(d, VIRTIO_PCI_COMMON_Q_SIZE, 2);
}

static inline void offer(struct driver *d, unsigned q, u16 head)
{
	u16 *avail = ram(d, AVAIL(q));

	avail[2 + d->avail[q] % queue_size(d, q)] = head;
	avail[1] = ++d->avail[q];
}

static inline void kick(struct driver *d, unsigned q) { vm_mmio_write(&d->vm, NOTIFY + q * 4, 2, q); }

static inline bool take(struct driver *d, unsigned q, struct vring_used_elem *e)
{
	u16 *used = ram(d, USED(q));

	if (used[1] == d->seen[q])
		return false;
	memcpy(e, (u8 *)used + 4 + 8 * (d->seen[q]++ % queue_size(d, q)), sizeof(*e));
	return true;
}

/* Random bytes in the rings of every queue, and random descriptors that are nearly right. */
static inline void driver_scramble(struct driver *d, unsigned *seed)
{
	u8 *mem = ram(d, 0);

	for (unsigned q = 0; q < d->queues; q++) {
		for (unsigned i = 0; i < QSIZE; i++)
			desc_put(d, q, i, BUF((unsigned)rand_r(seed) % 64) + (unsigned)rand_r(seed) % 64,
				 (u32)rand_r(seed) % 3000, (u16)(rand_r(seed) % 4), (u16)(rand_r(seed) % QSIZE));
		for (unsigned i = 0; rand_r(seed) % 2 && i < 20; i++)
			mem[RING(q) + (unsigned)rand_r(seed) % 0x2000] = (u8)rand_r(seed);
		for (unsigned i = (unsigned)rand_r(seed) % 8; i; i--)
			offer(d, q, (u16)(rand_r(seed) % QSIZE));
		kick(d, q);
	}
}

#endif
