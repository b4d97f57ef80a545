/* The block device against a disk in memory whose requests come back when the test says so. */
#include "virtio_driver.h"

#include <errno.h>
#include <linux/virtio_blk.h>

#include "dev/virtio_blk.h"

#define SECTORS 4096u

struct rig {
	struct driver d; /* first: the helpers take its address */
	struct virtio_blk blk;
	u8 disk[SECTORS * BLOCK_SECTOR];
	struct block_io *flight[64];
	unsigned nflight, flushes, discards;
	int rc;
};

static void submit(void *ctx, struct block_io *io)
{
	struct rig *r = ctx;

	assert_true(r->nflight < ARRAY_SIZE(r->flight));
	assert_true(io->offset <= sizeof(r->disk) && io->size <= sizeof(r->disk) - io->offset);
	r->flight[r->nflight++] = io;
}

static void carry_out(struct rig *r, struct block_io *io)
{
	switch (io->op) {
	case BLOCK_READ: memcpy(io->buf, r->disk + io->offset, io->size); break;
	case BLOCK_WRITE: memcpy(r->disk + io->offset, io->buf, io->size); break;
	case BLOCK_FLUSH: r->flushes++; break;
	case BLOCK_DISCARD: r->discards++; break;
	case BLOCK_ZERO: memset(r->disk + io->offset, 0, io->size); break;
	}
	io->rc = r->rc;
	io->done(io);
}

/* The newest first: any order must do. */
static void settle(struct rig *r)
{
	while (r->nflight)
		carry_out(r, r->flight[--r->nflight]);
}

static struct rig *make(bool readonly, unsigned queues)
{
	struct rig *r = calloc(1, sizeof(*r));
	const struct block_disk disk = {submit, r, sizeof(r->disk), readonly, true};

	driver_vm(&r->d);
	virtio_blk_init(&r->blk, &r->d.vm, &disk, queues, "serial-of-more-than-20-bytes");
	driver_attach(&r->d, &r->blk.pci, queues);
	for (unsigned i = 0; i < sizeof(r->disk); i++)
		r->disk[i] = (u8)(i * 7 + i / 512);
	return r;
}

static int setup(void **state) { return (*state = make(false, 2)) ? 0 : -1; }
static int setup_readonly(void **state) { return (*state = make(true, 1)) ? 0 : -1; }

static int teardown(void **state)
{
	struct rig *r = *state;

	settle(r);
	virtio_blk_destroy(&r->blk);
	vm_destroy(&r->d.vm);
	free(r);
	return 0;
}

#define FEATURES                                                                                                       \
	(BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES) | BIT(VIRTIO_BLK_F_MQ))
#define STATUS BUF(1)

/* Header at BUF(0), data at BUF(2), status at BUF(1); descriptors from 3n on. */
static void request(struct rig *r, unsigned q, unsigned n, u32 type, u64 sector, u32 len, bool in)
{
	struct virtio_blk_outhdr h = {.type = type, .sector = sector};
	u16 at = (u16)(3 * n);
	u32 header = BUF(0) + 16 * n, status = STATUS + n;

	memcpy(ram(&r->d, header), &h, sizeof(h));
	*(u8 *)ram(&r->d, status) = 0xff;
	desc_put(&r->d, q, at, header, sizeof(h), VRING_DESC_F_NEXT, len ? at + 1 : at + 2);
	desc_put(&r->d, q, at + 1u, BUF(2) + 0x1000 * n, len, VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0),
		 at + 2);
	desc_put(&r->d, q, at + 2u, status, 1, VRING_DESC_F_WRITE, 0);
	offer(&r->d, q, at);
	kick(&r->d, q);
}

static u8 finish(struct rig *r, u32 *written)
{
	struct vring_used_elem e;

	settle(r);
	assert_true(take(&r->d, 0, &e));
	assert_int_equal(e.id, 0);
	if (written)
		*written = e.len;
	return *(u8 *)ram(&r->d, STATUS);
}

static u8 whole(struct rig *r, u32 type, u64 sector, u32 len, bool in)
{
	request(r, 0, 0, type, sector, len, in);
	return finish(r, NULL);
}

static void offered(void **state)
{
	struct rig *r = *state;
	u64 f = driver_offered(&r->d);

	assert_int_equal(f & FEATURES, FEATURES);
	assert_false(f & BIT(VIRTIO_BLK_F_RO));
	assert_int_equal(vm_mmio_read(&r->d.vm, DEVICE, 8), SECTORS);
	assert_int_equal(vm_mmio_read(&r->d.vm, DEVICE + offsetof(struct virtio_blk_config, num_queues), 2), 2);
}

static void read_write(void **state)
{
	struct rig *r = *state;
	u32 written;

	driver_start(&r->d, FEATURES);
	request(r, 0, 0, VIRTIO_BLK_T_IN, 3, 1024, true);
	assert_int_equal(finish(r, &written), VIRTIO_BLK_S_OK);
	assert_int_equal(written, 1025);
	assert_memory_equal(ram(&r->d, BUF(2)), r->disk + 3 * 512, 1024);
	memset(ram(&r->d, BUF(2)), 0x5a, 1024);
	assert_int_equal(whole(r, VIRTIO_BLK_T_OUT, SECTORS - 2, 1024, false), VIRTIO_BLK_S_OK);
	assert_int_equal(r->disk[sizeof(r->disk) - 1], 0x5a);
	assert_int_equal(r->disk[sizeof(r->disk) - 1025], (u8)((sizeof(r->disk) - 1025) * 7 + (SECTORS - 3)));
	assert_int_equal(r->flushes, 0);
	assert_int_equal(whole(r, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	assert_int_equal(r->flushes, 1);
	assert_true(r->d.interrupts > 0);
}

/* More than one piece: 1 MiB, by descriptors of odd lengths, the header split too. */
static void pieces(void **state)
{
	struct rig *r = *state;
	struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN, .sector = 100};
	struct vring_used_elem e;

	driver_start(&r->d, FEATURES);
	memcpy(ram(&r->d, BUF(0)), &h, sizeof(h));
	desc_put(&r->d, 1, 0, BUF(0), 5, VRING_DESC_F_NEXT, 1);
	desc_put(&r->d, 1, 1, BUF(0) + 5, 11, VRING_DESC_F_NEXT, 2);
	desc_put(&r->d, 1, 2, BUF(16), 700001, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 3);
	desc_put(&r->d, 1, 3, BUF(16) + 700001, (1 << 20) - 700001 + 1, VRING_DESC_F_WRITE, 0);
	offer(&r->d, 1, 0);
	kick(&r->d, 1);
	settle(r);
	assert_true(take(&r->d, 1, &e));
	assert_int_equal(e.len, (1 << 20) + 1);
	assert_memory_equal(ram(&r->d, BUF(16)), r->disk + 100 * 512, 1 << 20);
	assert_int_equal(*(u8 *)ram(&r->d, BUF(16) + (1 << 20)), VIRTIO_BLK_S_OK);
}

static void refused(void **state)
{
	struct rig *r = *state;

	driver_start(&r->d, FEATURES);
	assert_int_equal(whole(r, VIRTIO_BLK_T_IN, SECTORS - 1, 1024, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(whole(r, VIRTIO_BLK_T_IN, ~0ull, 512, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(whole(r, VIRTIO_BLK_T_OUT, ~0ull >> 9, 512, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(whole(r, VIRTIO_BLK_T_OUT, 0, 511, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(whole(r, 77, 0, 512, false), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(whole(r, VIRTIO_BLK_T_DISCARD, 0, 15, false), VIRTIO_BLK_S_IOERR);
	r->rc = -ENOSPC;
	assert_int_equal(whole(r, VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(whole(r, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_IOERR);
	assert_false(driver_broken(&r->d));
}

static void readonly(void **state)
{
	struct rig *r = *state;
	u8 before = r->disk[0];

	assert_true(driver_offered(&r->d) & BIT(VIRTIO_BLK_F_RO));
	driver_start(&r->d, BIT(VIRTIO_BLK_F_RO));
	assert_int_equal(whole(r, VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(whole(r, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(r->disk[0], before);
	assert_int_equal(whole(r, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
}

static void get_id(void **state)
{
	struct rig *r = *state;

	driver_start(&r->d, FEATURES);
	assert_int_equal(whole(r, VIRTIO_BLK_T_GET_ID, 0, 20, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(ram(&r->d, BUF(2)), "serial-of-more-than-", 20);
	assert_int_equal(whole(r, VIRTIO_BLK_T_GET_ID, 0, 3, true), VIRTIO_BLK_S_OK);
}

static void ranges(void **state)
{
	struct rig *r = *state;
	struct virtio_blk_discard_write_zeroes z[2] = {{10, 2, 1}, {20, 1, 0}};

	driver_start(&r->d, FEATURES);
	memcpy(ram(&r->d, BUF(2)), z, sizeof(z));
	assert_int_equal(whole(r, VIRTIO_BLK_T_WRITE_ZEROES, 0, sizeof(z), false), VIRTIO_BLK_S_OK);
	for (unsigned i = 0; i < 1024; i++)
		assert_int_equal(r->disk[5120 + i], 0);
	assert_int_equal(r->disk[20 * 512 + 511], 0);
	assert_int_equal(r->disk[12 * 512 + 1], (u8)((12 * 512 + 1) * 7 + 12));
	/* A discard knows no flags. */
	assert_int_equal(whole(r, VIRTIO_BLK_T_DISCARD, 0, sizeof(z), false), VIRTIO_BLK_S_UNSUPP);
	z[0].flags = 0;
	memcpy(ram(&r->d, BUF(2)), z, sizeof(z));
	assert_int_equal(whole(r, VIRTIO_BLK_T_DISCARD, 0, sizeof(z), false), VIRTIO_BLK_S_OK);
	assert_int_equal(r->discards, 2);
	z[1].sector = SECTORS;
	memcpy(ram(&r->d, BUF(2)), z, sizeof(z));
	assert_int_equal(whole(r, VIRTIO_BLK_T_DISCARD, 0, sizeof(z), false), VIRTIO_BLK_S_IOERR);
	driver_start(&r->d, 0);
	assert_int_equal(whole(r, VIRTIO_BLK_T_DISCARD, 0, sizeof(z), false), VIRTIO_BLK_S_UNSUPP);
}

/* Without FLUSH accepted, a write is on the disk when it is done. */
static void write_through(void **state)
{
	struct rig *r = *state;

	driver_start(&r->d, 0);
	assert_int_equal(whole(r, VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_OK);
	assert_int_equal(r->flushes, 1);
	assert_int_equal(whole(r, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	assert_int_equal(r->flushes, 1);
}

static void many_at_once(void **state)
{
	struct rig *r = *state;
	struct vring_used_elem e;
	unsigned done = 0;

	driver_start(&r->d, FEATURES);
	for (unsigned n = 0; n < 20; n++)
		request(r, n & 1, n, VIRTIO_BLK_T_IN, n * 8, 512, true);
	assert_int_equal(r->nflight, VIRTIO_BLK_SLOTS);
	settle(r);
	for (unsigned q = 0; q < 2; q++)
		while (take(&r->d, q, &e))
			done++;
	assert_int_equal(done, 20);
	for (unsigned n = 0; n < 20; n++) {
		assert_int_equal(*(u8 *)ram(&r->d, STATUS + n), VIRTIO_BLK_S_OK);
		assert_memory_equal(ram(&r->d, BUF(2) + 0x1000 * n), r->disk + n * 8 * 512, 512);
	}
}

static void reset_in_flight(void **state)
{
	struct rig *r = *state;
	struct vring_used_elem e;

	driver_start(&r->d, FEATURES);
	for (unsigned n = 0; n < 20; n++)
		request(r, 0, n, VIRTIO_BLK_T_IN, 0, 512, true);
	driver_start(&r->d, FEATURES);
	memset(ram(&r->d, BUF(2)), 0x77, 512);
	settle(r);
	assert_false(take(&r->d, 0, &e));
	assert_int_equal(*(u8 *)ram(&r->d, BUF(2)), 0x77);
	assert_int_equal(whole(r, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
}

static void no_status(void **state)
{
	struct rig *r = *state;
	struct vring_used_elem e;

	driver_start(&r->d, FEATURES);
	desc_put(&r->d, 0, 0, BUF(0), 16, 0, 0);
	offer(&r->d, 0, 0);
	desc_put(&r->d, 0, 1, BUF(0), 3, 0, 0);
	offer(&r->d, 0, 1);
	kick(&r->d, 0);
	settle(r);
	assert_true(take(&r->d, 0, &e));
	assert_int_equal(e.len, 0);
	assert_true(take(&r->d, 0, &e));
}

static void random_rings(void **state)
{
	struct rig *r = *state;
	unsigned seed = 3;

	for (unsigned round = 0; round < 2000; round++) {
		struct virtio_blk_outhdr h;

		driver_start(&r->d, round & 1 ? FEATURES : 0);
		for (unsigned i = 0; i < 64; i++) {
			h.type = (u32)rand_r(&seed) % 15;
			h.sector = (u64)rand_r(&seed) % (SECTORS + 10);
			memcpy(ram(&r->d, BUF(i)), &h, sizeof(h));
		}
		driver_scramble(&r->d, &seed);
		if (rand_r(&seed) & 1)
			settle(r);
	}
	settle(r);
	driver_start(&r->d, FEATURES);
	assert_int_equal(whole(r, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(offered, setup, teardown),
		cmocka_unit_test_setup_teardown(read_write, setup, teardown),
		cmocka_unit_test_setup_teardown(pieces, setup, teardown),
		cmocka_unit_test_setup_teardown(refused, setup, teardown),
		cmocka_unit_test_setup_teardown(readonly, setup_readonly, teardown),
		cmocka_unit_test_setup_teardown(get_id, setup, teardown),
		cmocka_unit_test_setup_teardown(ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(write_through, setup, teardown),
		cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(reset_in_flight, setup, teardown),
		cmocka_unit_test_setup_teardown(no_status, setup, teardown),
		cmocka_unit_test_setup_teardown(random_rings, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
