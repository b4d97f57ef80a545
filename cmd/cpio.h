/* A newc archive that grows in memory, written by libarchive; parent folders are made as they are needed. */
#ifndef CMD_CPIO_H
#define CMD_CPIO_H

#include "base/err.h"

struct cpio;

struct cpio *cpio_new(struct err *e);
/* Paths are absolute; a path that is already there is left alone. 0 or -errno. */
int cpio_dir(struct cpio *c, const char *path, struct err *e);
int cpio_file(struct cpio *c, const char *path, unsigned mode, const void *data, size_t size, struct err *e);
int cpio_symlink(struct cpio *c, const char *path, const char *target, struct err *e);
int cpio_chardev(struct cpio *c, const char *path, unsigned mode, unsigned major, unsigned minor, struct err *e);
/* Ends the archive and hands its bytes over. The cpio is gone either way. */
int cpio_finish(struct cpio *c, u8 **data, size_t *size, struct err *e);
void cpio_free(struct cpio *c);

#endif
