/* A file that is a flash chip's contents: mapped, so that the guest's changes are in it at once. */
#ifndef HOST_FLASH_FILE_H
#define HOST_FLASH_FILE_H

#include "base/err.h"
#include "base/types.h"

struct flash_file {
	u8 *data; /* NULL: there is none */
	u64 size;
	int fd;
};

/* Whole multiples of `block`, at most `most` bytes. keep: the file stays as it is. -ENOENT, -EINVAL: not such a file.
 */
int flash_file_open(const char *path, u64 block, u64 most, bool keep, struct flash_file *f, struct err *e);
void flash_file_close(struct flash_file *f);

#endif
