/* Whole files in memory. */
#ifndef CMD_FILE_H
#define CMD_FILE_H

#include "base/err.h"

struct file_bytes {
	u8 *data;
	size_t size;
};

/* Reads all of it. -errno with a sentence; the caller frees data. */
int file_read(const char *path, struct file_bytes *out, struct err *e);
/* Same, but a gzip, xz or zstd file is unpacked on the way (libarchive). */
int file_read_unpacked(const char *path, struct file_bytes *out, struct err *e);
/* The first line without its newline; false if it cannot be read. */
bool file_line(const char *path, char *buf, size_t size) must_check;
bool file_exists(const char *path);

#endif
