/*
 * The virtio block device (virtio 1.2, 5.2 "Block Device"): read, write, flush, discard, write zeroes, get id; one or
 * several queues.
 *
 * A request takes a slot, which holds its chain and a buffer of the device's own; data moves through that buffer in
 * pieces, so that the length of a request is not limited and the host side never touches guest memory. With no slot
 * free, requests wait in their rings.
 *
 *   free -> (virtq_pop) busy: piece, piece, ... -> status written, chain pushed -> free
 *   reset while busy: orphan; its end only frees the slot
 *
 * Writes are in the host's cache until a flush; a driver that did not accept FLUSH gets one after each write (5.2.6.2).
 */
#ifndef DEV_VIRTIO_BLK_H
#define DEV_VIRTIO_BLK_H

#include "core/block.h"
#include "dev/virtio_pci.h"

#define VIRTIO_BLK_SLOTS  16u
#define VIRTIO_BLK_SERIAL 20u /* bytes that GET_ID returns */

struct virtio_blk;

struct virtio_blk_slot {
	struct virtio_blk *blk;
	struct block_io io;
	struct virtq_chain chain;
	u32 type; /* VIRTIO_BLK_T_* */
	u16 queue;
	bool busy, orphan;
	bool flushing;	  /* the data is written, its flush is under way */
	u64 offset;	  /* on the disk, of the request's first byte */
	u64 total, moved; /* bytes of data in the chain, and how many of them are dealt with */
	u8 *buf;
	size_t buf_size;
};

struct virtio_blk {
	struct virtio virtio;
	struct virtio_pci pci;
	struct virtio_ops ops; /* features and the number of queues are each disk's own */
	struct block_disk disk;
	char serial[VIRTIO_BLK_SERIAL + 1];
	unsigned next_queue; /* that is served first when a slot becomes free */
	struct virtio_blk_slot slot[VIRTIO_BLK_SLOTS];
};

/* queues: 1 to VIRTIO_QUEUES. The serial is cut at VIRTIO_BLK_SERIAL bytes. */
void virtio_blk_init(struct virtio_blk *b, struct vm *vm, const struct block_disk *disk, unsigned queues,
		     const char *serial);
/* No request is in flight any more. */
void virtio_blk_destroy(struct virtio_blk *b);

extern const struct device_class virtio_blk_class;

#endif
