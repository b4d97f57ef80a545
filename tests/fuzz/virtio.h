/*
 * A hostile driver of a virtio device over PCI: what the input says is done to its registers, its configuration space,
 * its rings and the memory they lead to. VIRTIO_RAM of memory, rings at fixed places to begin with, buffers from BUF
 * on; what a device's host side does is the target's (host_side).
 */
#ifndef TESTS_FUZZ_VIRTIO_H
#define TESTS_FUZZ_VIRTIO_H

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "dev/virtio_pci.h"
#include "tests/fuzz/fuzz.h"

#define VIRTIO_RAM 0x80000u
#define BAR	   0xc0000000u
#define RING(q)	   (0x1000u + (q)*0x2000u)
#define AVAIL(q)   (RING(q) + 0x1000)
#define USED(q)	   (RING(q) + 0x1800)
#define BUF	   0x20000u
#define SPAN	   0x8000u /* of virtio_pci's BAR */
#define RING_SIZE  64u

struct hostile {
	struct vm vm;
	struct pci_bus bus;
	struct virtio_pci *pci;
	unsigned queues;
	u8 *ram;
	void (*host_side)(struct hostile *h, struct fuzz_in *in);
	/* What a well-meant buffer starts with; may be NULL. */
	void (*fill)(struct hostile *h, struct fuzz_in *in, u8 *buf);
};

static void hostile_wire(void *ctx, unsigned pin, bool level) {}
static void hostile_msi(void *ctx, u64 addr, u32 data) {}

static inline void hostile_vm(struct hostile *h)
{
	const struct irq_line line = {hostile_wire, h, 0};
	const struct irq_line intx[PCI_INTX] = {line, line, line, line};

	memset(h, 0, sizeof(*h));
	fuzz_check(!vm_init(&h->vm, NULL, clock_host(), NULL) && !ram_add(&h->vm.ram, 0, VIRTIO_RAM, false, NULL),
		   "no memory");
	h->vm.msi = (struct msi_sink){hostile_msi, h};
	h->ram = ram_host(&h->vm.ram, 0, 1);
	pci_bus_init(&h->bus, &h->vm, intx);
}

static inline void reg_write(struct hostile *h, u32 reg, unsigned size, u64 v)
{
	vm_mmio_write(&h->vm, BAR + reg, size, v);
}

/* Negotiation and rings as a driver makes them. */
static inline void hostile_start(struct hostile *h, u64 features)
{
	pci_bar_assign(&h->pci->pci, 0, BAR);
	pci_command_set(&h->pci->pci, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	reg_write(h, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	reg_write(h, VIRTIO_PCI_COMMON_STATUS, 1, 3);
	features |= BIT(VIRTIO_F_VERSION_1);
	for (unsigned i = 0; i < 2; i++) {
		reg_write(h, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		reg_write(h, VIRTIO_PCI_COMMON_GF, 4, (u32)(features >> (32 * i)));
	}
	reg_write(h, VIRTIO_PCI_COMMON_STATUS, 1, 11);
	for (unsigned q = 0; q < h->queues; q++) {
		reg_write(h, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
		reg_write(h, VIRTIO_PCI_COMMON_Q_SIZE, 2, RING_SIZE);
		reg_write(h, VIRTIO_PCI_COMMON_Q_DESCLO, 4, RING(q));
		reg_write(h, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, AVAIL(q));
		reg_write(h, VIRTIO_PCI_COMMON_Q_USEDLO, 4, USED(q));
		reg_write(h, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	}
	reg_write(h, VIRTIO_PCI_COMMON_STATUS, 1, 15);
}

static inline void hostile_desc(struct hostile *h, struct fuzz_in *in, unsigned q)
{
	unsigned i = fuzz_u8(in) % RING_SIZE;
	u8 how = fuzz_u8(in);
	struct vring_desc d = {
		.addr = how & 32 ? fuzz_value(in) : BUF + fuzz_u16(in) * 4ull,
		.len = (u32)(how & 64 ? fuzz_value(in) : fuzz_u16(in) & 0x7ff),
		.flags = how & 7,
		.next = how & 128 ? fuzz_u16(in) : (u16)((i + 1 + (how >> 3 & 3)) % RING_SIZE),
	};

	memcpy(h->ram + RING(q) + i * sizeof(d), &d, sizeof(d));
}

static inline void hostile_offer(struct hostile *h, struct fuzz_in *in, unsigned q)
{
	u16 *avail = (u16 *)(h->ram + AVAIL(q)), head = fuzz_u8(in);

	avail[2 + avail[1] % RING_SIZE] = head & 128 ? fuzz_u16(in) : head % RING_SIZE;
	avail[1]++;
}

static inline u32 hostile_size(struct fuzz_in *in) { return 1u << (fuzz_u8(in) & 3); }

static inline void hostile_op(struct hostile *h, struct fuzz_in *in)
{
	u8 op = fuzz_u8(in);
	unsigned q = (op >> 4) % h->queues, size;
	u32 at;

	switch (op & 15) {
	case 0: hostile_start(h, op & 16 ? fuzz_u64(in) : ~0ull); break;
	case 1:
	case 2:
	case 3: hostile_desc(h, in, q); break;
	case 4:
	case 5: hostile_offer(h, in, q); break;
	case 6:
	case 7: reg_write(h, 0x3000 + q * 4, 2, op & 128 ? fuzz_u16(in) : q); break;
	case 8:
		at = fuzz_u8(in) & 0x3f;
		size = hostile_size(in);
		reg_write(h, at, size, fuzz_value(in));
		break;
	case 9: /* anywhere in the BAR: device configuration, MSI-X */
		at = fuzz_u16(in) % SPAN;
		size = hostile_size(in);
		if (op & 16)
			reg_write(h, at, size, fuzz_value(in));
		else
			(void)vm_mmio_read(&h->vm, BAR + at, size);
		break;
	case 10: /* configuration space, by ECAM's way */
		at = fuzz_u8(in);
		size = MIN(hostile_size(in), 4u);
		if (op & 16)
			pci_config_write(&h->pci->pci, at & ~(size - 1), size, fuzz_value(in));
		else
			(void)pci_config_read(&h->pci->pci, at & ~(size - 1), size);
		break;
	case 11: /* rings as bytes */
		at = RING(q) + fuzz_u16(in) % 0x1f00;
		fuzz_bytes(in, h->ram + at, 8);
		break;
	case 12:
		at = BUF + fuzz_u16(in) * 4u;
		if (h->fill)
			h->fill(h, in, h->ram + at);
		else
			fuzz_bytes(in, h->ram + at, 16);
		break;
	default: h->host_side(h, in);
	}
}

static inline void hostile_ops(struct hostile *h, struct fuzz_in *in)
{
	for (unsigned n = 0; in->n && n < 400; n++)
		hostile_op(h, in);
}

/* One chain of three buffers offered and rung for; n chooses flags. */
static inline size_t hostile_seed(unsigned n, u8 *buf)
{
	u8 *p = buf;
	const u8 ops[] = {
		0, /* start */
		12, 0,	0,
		1,  2,	3,
		4,  5,	6,
		7,  8,	9,
		10, 11, 12,
		13, 14, 15,
		1,  0,	1,
		0,  0,	16,
		0, /* descriptor 0: BUF, 16 bytes, more follow */
		1,  1,	(u8)(n & 1 ? 3 : 1),
		0,  1,	0,
		2, /* descriptor 1: 512 bytes */
		1,  2,	2,
		0,  2,	1,
		0, /* descriptor 2: a byte to be written */
		4,  0,	6,
		13, 13, 13, /* offer, ring, the host's side */
	};

	memcpy(p, ops, sizeof(ops));
	if (n & 2)
		for (size_t i = 19; i < sizeof(ops); i++)
			if (p[i] == 1 || p[i] == 4 || p[i] == 6)
				p[i] |= 16;
	return sizeof(ops);
}

#endif
