/* Requests of the block device, piece by piece (virtio_blk.h). */
#include "dev/virtio_blk.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER	   sizeof(struct virtio_blk_outhdr)
#define PIECE	   (256u << 10)
#define RANGES	   32u /* in one discard or write-zeroes request */
#define RANGE	   sizeof(struct virtio_blk_discard_write_zeroes)
#define QUEUE_SIZE 128u

static void serve(struct virtio_blk *b);

/* ---- the end of a request ---- */

static void finish(struct virtio_blk_slot *s, u8 status)
{
	struct virtio_blk *b = s->blk;
	u64 data = s->type == VIRTIO_BLK_T_IN || s->type == VIRTIO_BLK_T_GET_ID ? s->moved : 0;

	s->busy = false;
	if (s->chain.write_len && virtq_write(&b->virtio, &s->chain, s->chain.write_len - 1, &status, 1))
		virtq_push(&b->virtio, s->queue, &s->chain, (u32)data + 1);
	else
		virtq_push(&b->virtio, s->queue, &s->chain, 0);
	virtq_flush(&b->virtio, s->queue);
}

/* ---- pieces ---- */

static bool in_disk(const struct virtio_blk *b, u64 sector, u64 bytes)
{
	u64 sectors = b->disk.size / BLOCK_SECTOR;

	return !(bytes % BLOCK_SECTOR) && sector <= sectors && bytes / BLOCK_SECTOR <= sectors - sector;
}

static void submit(struct virtio_blk_slot *s, enum block_op op, u64 offset, u64 size)
{
	s->io.op = op;
	s->io.offset = offset;
	s->io.size = size;
	s->blk->disk.submit(s->blk->disk.ctx, &s->io);
}

static bool buffer(struct virtio_blk_slot *s, size_t n)
{
	if (s->buf_size < n) {
		u8 *buf = realloc(s->buf, n);

		if (!buf)
			return false;
		s->buf = buf;
		s->buf_size = n;
	}
	s->io.buf = s->buf;
	return true;
}

static void next_data(struct virtio_blk_slot *s)
{
	size_t n = (size_t)MIN(s->total - s->moved, (u64)PIECE);
	bool in = s->type == VIRTIO_BLK_T_IN;

	if (!buffer(s, n))
		return finish(s, VIRTIO_BLK_S_IOERR);
	if (!in)
		virtq_read(&s->chain, HEADER + s->moved, s->buf, n);
	submit(s, in ? BLOCK_READ : BLOCK_WRITE, s->offset + s->moved, n);
}

/* 5.2.6.1: a discard's flags are zero; a write-zeroes' may hold "unmap". */
static void next_range(struct virtio_blk_slot *s)
{
	struct virtio_blk_discard_write_zeroes r;
	bool discard = s->type == VIRTIO_BLK_T_DISCARD;
	u64 size;

	virtq_read(&s->chain, HEADER + s->moved, &r, RANGE);
	if (r.flags & ~(discard ? 0 : (u32)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		return finish(s, VIRTIO_BLK_S_UNSUPP);
	size = (u64)r.num_sectors * BLOCK_SECTOR;
	if (!in_disk(s->blk, r.sector, size))
		return finish(s, VIRTIO_BLK_S_IOERR);
	s->io.unmap = r.flags;
	submit(s, discard ? BLOCK_DISCARD : BLOCK_ZERO, r.sector * BLOCK_SECTOR, size);
}

static bool changes_data(u32 type)
{
	return type == VIRTIO_BLK_T_OUT || type == VIRTIO_BLK_T_WRITE_ZEROES || type == VIRTIO_BLK_T_DISCARD;
}

static void next_piece(struct virtio_blk_slot *s)
{
	if (s->moved < s->total) {
		if (s->type == VIRTIO_BLK_T_IN || s->type == VIRTIO_BLK_T_OUT)
			next_data(s);
		else
			next_range(s);
		return;
	}
	if (s->type == VIRTIO_BLK_T_FLUSH ||
	    (changes_data(s->type) && !virtio_has(&s->blk->virtio, VIRTIO_BLK_F_FLUSH))) {
		s->flushing = true;
		submit(s, BLOCK_FLUSH, 0, 0);
		return;
	}
	finish(s, VIRTIO_BLK_S_OK);
}

static void piece_done(struct block_io *io)
{
	struct virtio_blk_slot *s = container_of(io, struct virtio_blk_slot, io);

	if (s->orphan)
		s->busy = s->orphan = false;
	else if (io->rc)
		finish(s, VIRTIO_BLK_S_IOERR);
	else if (s->flushing)
		finish(s, VIRTIO_BLK_S_OK);
	else {
		if (s->type == VIRTIO_BLK_T_IN)
			virtq_write(&s->blk->virtio, &s->chain, s->moved, s->buf, (size_t)io->size);
		s->moved += io->op == BLOCK_READ || io->op == BLOCK_WRITE ? io->size : RANGE;
		next_piece(s);
	}
	serve(s->blk);
}

/* ---- the start of a request ---- */

static void get_id(struct virtio_blk_slot *s)
{
	char id[VIRTIO_BLK_SERIAL] = {0};

	memcpy(id, s->blk->serial, strlen(s->blk->serial));
	s->moved = virtq_write(&s->blk->virtio, &s->chain, 0, id, MIN(sizeof(id), (size_t)(s->chain.write_len - 1)));
	finish(s, VIRTIO_BLK_S_OK);
}

static void start_ranges(struct virtio_blk_slot *s, unsigned feature)
{
	if (!virtio_has(&s->blk->virtio, feature))
		return finish(s, VIRTIO_BLK_S_UNSUPP);
	s->total = s->chain.read_len - HEADER;
	if (!s->total || s->total % RANGE || s->total > RANGES * RANGE)
		return finish(s, VIRTIO_BLK_S_IOERR);
	next_piece(s);
}

static void start(struct virtio_blk_slot *s)
{
	struct virtio_blk *b = s->blk;
	struct virtio_blk_outhdr h = {0};

	s->total = s->moved = 0;
	s->flushing = s->io.unmap = false;
	s->type = ~0u;
	if (virtq_read(&s->chain, 0, &h, HEADER) != HEADER || !s->chain.write_len)
		return finish(s, VIRTIO_BLK_S_IOERR);
	s->type = h.type;
	if (changes_data(h.type) && b->disk.readonly)
		return finish(s, VIRTIO_BLK_S_IOERR);
	switch (h.type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		s->total = h.type == VIRTIO_BLK_T_IN ? s->chain.write_len - 1 : s->chain.read_len - HEADER;
		if (!in_disk(b, h.sector, s->total))
			return finish(s, VIRTIO_BLK_S_IOERR);
		s->offset = h.sector * BLOCK_SECTOR;
		return next_piece(s);
	case VIRTIO_BLK_T_FLUSH: return next_piece(s);
	case VIRTIO_BLK_T_GET_ID: return get_id(s);
	case VIRTIO_BLK_T_DISCARD: return start_ranges(s, VIRTIO_BLK_F_DISCARD);
	case VIRTIO_BLK_T_WRITE_ZEROES: return start_ranges(s, VIRTIO_BLK_F_WRITE_ZEROES);
	default: return finish(s, VIRTIO_BLK_S_UNSUPP);
	}
}

static struct virtio_blk_slot *free_slot(struct virtio_blk *b)
{
	for (unsigned i = 0; i < VIRTIO_BLK_SLOTS; i++)
		if (!b->slot[i].busy)
			return &b->slot[i];
	return NULL;
}

/* Starts what waits, one request of each queue in turn. */
static void serve(struct virtio_blk *b)
{
	struct virtio_blk_slot *s;
	unsigned empty = 0;

	while (empty < b->ops.queues && (s = free_slot(b))) {
		unsigned q = b->next_queue;

		b->next_queue = (q + 1) % b->ops.queues;
		if (!virtq_pop(&b->virtio, q, &s->chain)) {
			empty++;
			continue;
		}
		empty = 0;
		s->queue = (u16)q;
		s->busy = true;
		start(s);
	}
}

/* ---- virtio ---- */

static void blk_reset(void *dev)
{
	struct virtio_blk *b = dev;

	for (unsigned i = 0; i < VIRTIO_BLK_SLOTS; i++)
		b->slot[i].orphan = b->slot[i].busy;
	b->next_queue = 0;
}

static void blk_notify(void *dev, unsigned q) { serve(dev); }

static u64 config_read(void *dev, u32 offset, unsigned size)
{
	const struct virtio_blk *b = dev;
	const u32 most = (u32)MIN(b->disk.size / BLOCK_SECTOR, (u64)0x3fffff);
	const struct virtio_blk_config config = {
		.capacity = b->disk.size / BLOCK_SECTOR,
		.seg_max = QUEUE_SIZE - 2,
		.blk_size = BLOCK_SECTOR,
		.num_queues = (u16)b->ops.queues,
		.max_discard_sectors = most,
		.max_discard_seg = RANGES,
		.discard_sector_alignment = 4096 / BLOCK_SECTOR,
		.max_write_zeroes_sectors = most,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
	u64 v = 0;

	memcpy(&v, (const u8 *)&config + offset, size);
	return v;
}

static const struct virtio_ops blk_ops = {
	.name = "virtio-blk",
	.id = VIRTIO_ID_BLOCK,
	.features = BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE),
	.queue_size = QUEUE_SIZE,
	.patient = true,
	.config_size = offsetof(struct virtio_blk_config, unused1),
	.reset = blk_reset,
	.notify = blk_notify,
	.config_read = config_read,
};

void virtio_blk_init(struct virtio_blk *b, struct vm *vm, const struct block_disk *disk, unsigned queues,
		     const char *serial)
{
	memset(b, 0, sizeof(*b));
	b->disk = *disk;
	b->ops = blk_ops;
	b->ops.queues = queues;
	if (queues > 1)
		b->ops.features |= BIT(VIRTIO_BLK_F_MQ);
	if (disk->readonly)
		b->ops.features |= BIT(VIRTIO_BLK_F_RO);
	else
		b->ops.features |= BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_WRITE_ZEROES) |
				   (disk->discard ? BIT(VIRTIO_BLK_F_DISCARD) : 0);
	snprintf(b->serial, sizeof(b->serial), "%s", serial);
	for (unsigned i = 0; i < VIRTIO_BLK_SLOTS; i++) {
		b->slot[i].blk = b;
		b->slot[i].io.done = piece_done;
	}
	virtio_init(&b->virtio, vm, &b->ops, b);
	virtio_pci_init(&b->pci, &b->virtio, 0x010000);
}

void virtio_blk_destroy(struct virtio_blk *b)
{
	for (unsigned i = 0; i < VIRTIO_BLK_SLOTS; i++)
		free(b->slot[i].buf);
}

const struct device_class virtio_blk_class = {
	.name = "virtio-blk",
	.migration = MIGRATE_REFUSE, /* LIMIT: requests in flight and the disk file are the host's */
	.reset = blk_reset,
};
