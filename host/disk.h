/*
 * A disk in a raw file, or a block device of the host's.
 *
 * Requests (core/block.h) are carried out by a few threads; what they have done is handed back on the event loop's
 * thread, many at once. The file is locked against a second user: shared when read-only, else exclusive.
 *
 * Life: disk_open, disk_start with the loop running, requests, disk_stop with no vCPU running any more (all that was
 * submitted is carried out; what is not handed back by then never is), disk_close. start and stop may repeat.
 */
#ifndef HOST_DISK_H
#define HOST_DISK_H

#include "base/err.h"
#include "core/block.h"
#include "host/loop.h"

struct disk_options {
	char path[4096];
	bool readonly;
	bool snapshot; /* what the guest writes goes to a temporary file and is gone afterwards */
	bool discard; /* the guest's discards make holes in the file */
	unsigned queues;
};

struct disk;

/* "FILE[,ro][,snapshot][,queues=N][,discard=on|off]"; ",," in FILE is a comma. -EINVAL with the sentence. */
int disk_options_parse(const char *text, struct disk_options *o, struct err *e);

/* -ENOENT, -EINVAL: it cannot be a disk; others: the host refuses. */
int disk_open(const struct disk_options *o, struct disk **out, struct err *e);
struct block_disk disk_block(struct disk *d);
int disk_start(struct disk *d, struct host_loop *loop, struct err *e);
void disk_stop(struct disk *d);
void disk_close(struct disk *d);

#endif
