/* The block device under a hostile driver, with a disk in memory that answers when the input says so, in any order, and
 * checks what chip and disk have agreed on (core/block.h). */
#include "tests/fuzz/virtio.h"

#include <linux/virtio_blk.h>

#include "dev/virtio_blk.h"

#define SECTORS 256u

struct rig {
	struct hostile h; /* first */
	struct virtio_blk blk;
	u8 disk[SECTORS * BLOCK_SECTOR];
	struct block_io *flight[VIRTIO_BLK_SLOTS];
	unsigned n;
	bool readonly;
};

static void submit(void *ctx, struct block_io *io)
{
	struct rig *r = ctx;

	fuzz_check(r->n < VIRTIO_BLK_SLOTS, "more requests than slots");
	fuzz_check(io->offset <= sizeof(r->disk) && io->size <= sizeof(r->disk) - io->offset, "beyond the disk");
	fuzz_check(!(io->offset % BLOCK_SECTOR) && !(io->size % BLOCK_SECTOR), "no whole sectors");
	fuzz_check(!r->readonly || io->op == BLOCK_READ || io->op == BLOCK_FLUSH, "a change to a read-only disk");
	r->flight[r->n++] = io;
}

static void carry_out(struct rig *r, unsigned which, int rc)
{
	struct block_io *io = r->flight[which];

	r->flight[which] = r->flight[--r->n];
	switch (io->op) {
	case BLOCK_READ: memcpy(io->buf, r->disk + io->offset, io->size); break;
	case BLOCK_WRITE: memcpy(r->disk + io->offset, io->buf, io->size); break;
	case BLOCK_ZERO: memset(r->disk + io->offset, 0, io->size); break;
	default: break;
	}
	io->rc = rc;
	io->done(io);
}

static void host_side(struct hostile *h, struct fuzz_in *in)
{
	struct rig *r = (struct rig *)h;
	u8 how = fuzz_u8(in);

	if (r->n)
		carry_out(r, (how & 15) % r->n, how & 128 ? -5 : 0);
}

static void fill(struct hostile *h, struct fuzz_in *in, u8 *buf)
{
	struct virtio_blk_outhdr header = {.type = fuzz_u8(in) % 16, .sector = fuzz_value(in) % (SECTORS * 2)};

	memcpy(buf, &header, sizeof(header));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct rig r;
	struct fuzz_in in = {data, size};
	u8 how = fuzz_u8(&in);
	struct block_disk disk = {submit, &r, sizeof(r.disk), how & 1, how & 2};

	hostile_vm(&r.h);
	r.n = 0;
	r.readonly = how & 1;
	r.h.queues = 1 + (how >> 2) % VIRTIO_QUEUES;
	r.h.pci = &r.blk.pci;
	r.h.host_side = host_side;
	r.h.fill = fill;
	virtio_blk_init(&r.blk, &r.h.vm, &disk, r.h.queues, "serial");
	pci_attach(&r.h.bus, &r.blk.pci.pci, 1);
	hostile_start(&r.h, ~0ull);
	hostile_ops(&r.h, &in);
	for (unsigned n = 0; r.n && n < 100000; n++)
		carry_out(&r, 0, 0);
	/* A ring may lead to requests for ever; a reset ends them. */
	reg_write(&r.h, VIRTIO_PCI_COMMON_STATUS, 1, 0);
	pci_device_reset(&r.blk.pci.pci);
	virtio_class.reset(&r.blk.virtio);
	for (unsigned n = 0; r.n && n < 10000; n++)
		carry_out(&r, 0, 0);
	fuzz_check(!r.n, "requests after a reset");
	virtio_blk_destroy(&r.blk);
	vm_destroy(&r.h.vm);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room)
{
	if (n >= 4)
		return 0;
	buf[0] = (u8)(n == 3 ? 1 : 6);
	return 1 + hostile_seed(n, buf + 1);
}
