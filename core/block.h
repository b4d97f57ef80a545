/*
 * A disk as a chip sees it: requests go down with vm->lock held, and each comes back through its `done`, later, on
 * another thread, with vm->lock held again. In between the request and its buffer belong to the disk.
 *
 * The chip has checked the range: offset and size are whole sectors within the disk, and nothing that changes data goes
 * to one that is read-only. Requests in flight at the same time may be carried out in any order; a flush covers what
 * was done before it was submitted.
 */
#ifndef CORE_BLOCK_H
#define CORE_BLOCK_H

#include "base/types.h"

#define BLOCK_SECTOR 512u

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,   /* all that was done reaches stable storage */
	BLOCK_DISCARD, /* the range's content is of no interest any more */
	BLOCK_ZERO,    /* reads as zeroes from now on */
};

struct block_io {
	enum block_op op;
	bool unmap; /* BLOCK_ZERO: the space may be given back to the host */
	u64 offset; /* bytes */
	u64 size;
	u8 *buf; /* READ and WRITE: size bytes */
	int rc;	 /* when done: 0 or -errno */
	void (*done)(struct block_io *io);
	struct block_io *next; /* the disk's own while in flight */
};

struct block_disk {
	void (*submit)(void *ctx, struct block_io *io);
	void *ctx;
	u64 size; /* bytes, whole sectors */
	bool readonly;
	bool discard; /* DISCARD is of use */
};

#endif
