/*
 * What a guest writes to a disk that must stay as it is: a nameless temporary file of the same size, and a bit for each
 * sector that is to be read from there. Requests are whole sectors, so nothing is ever copied up.
 */
#ifndef HOST_OVERLAY_H
#define HOST_OVERLAY_H

#include "base/err.h"
#include "base/types.h"

struct overlay;

/* For `size` bytes, in $TMPDIR or /var/tmp. */
int overlay_new(u64 size, struct overlay **out, struct err *e);
void overlay_free(struct overlay *o);
/* 0 or -errno; any thread. `base`: the disk's own file. */
int overlay_read(struct overlay *o, int base, u8 *buf, u64 offset, u64 size);
int overlay_write(struct overlay *o, const u8 *buf, u64 offset, u64 size);

/* The whole range, however the host cuts it. 0 or -errno; the file's end is -EIO. */
int file_transfer(int fd, bool in, u8 *buf, u64 offset, u64 size);

#endif
