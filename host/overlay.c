/* The temporary file and its bitmap (overlay.h). A sector's bit is set after its bytes are there. */
#include "host/overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/block.h"

struct overlay {
	int fd;
	u64 *bits;
};

int file_transfer(int fd, bool in, u8 *buf, u64 offset, u64 size)
{
	while (size) {
		ssize_t n = in ? pread(fd, buf, size, (off_t)offset) : pwrite(fd, buf, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* 0: somebody made the file shorter */
			return n ? -errno : -EIO;
		buf += n;
		offset += (u64)n;
		size -= (u64)n;
	}
	return 0;
}

static int nameless_file(const char *dir)
{
	char name[4096];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || snprintf(name, sizeof(name), "%s/nestbox-XXXXXX", dir) >= (int)sizeof(name))
		return fd;
	fd = mkostemp(name, O_CLOEXEC); /* a file system without O_TMPFILE */
	if (fd >= 0)
		unlink(name);
	return fd;
}

int overlay_new(u64 size, struct overlay **out, struct err *e)
{
	const char *dir = getenv("TMPDIR");
	struct overlay *o = calloc(1, sizeof(*o));

	if (!dir || !*dir)
		dir = "/var/tmp";
	if (o)
		o->bits = calloc(size / BLOCK_SECTOR / 64 + 1, sizeof(*o->bits));
	if (!o || !o->bits) {
		free(o);
		return err_set(e, ENOMEM, "no memory for a disk's snapshot");
	}
	o->fd = nameless_file(dir);
	if (o->fd < 0 || ftruncate(o->fd, (off_t)size)) {
		int code = errno;

		overlay_free(o);
		return err_set(e, code, "no temporary file for a disk's snapshot in %s: %s", dir, strerror(code));
	}
	*out = o;
	return 0;
}

void overlay_free(struct overlay *o)
{
	if (!o)
		return;
	if (o->fd >= 0)
		close(o->fd);
	free(o->bits);
	free(o);
}

static bool written(const struct overlay *o, u64 sector)
{
	return __atomic_load_n(&o->bits[sector / 64], __ATOMIC_ACQUIRE) >> sector % 64 & 1;
}

int overlay_read(struct overlay *o, int base, u8 *buf, u64 offset, u64 size)
{
	int rc = 0;

	while (size && !rc) {
		u64 sector = offset / BLOCK_SECTOR, n = BLOCK_SECTOR;
		bool here = written(o, sector);

		while (n < size && written(o, (offset + n) / BLOCK_SECTOR) == here)
			n += BLOCK_SECTOR;
		rc = file_transfer(here ? o->fd : base, true, buf, offset, n);
		buf += n;
		offset += n;
		size -= n;
	}
	return rc;
}

int overlay_write(struct overlay *o, const u8 *buf, u64 offset, u64 size)
{
	int rc = file_transfer(o->fd, false, (u8 *)buf, offset, size);

	for (u64 at = offset; at < offset + size && !rc; at += BLOCK_SECTOR)
		__atomic_fetch_or(&o->bits[at / BLOCK_SECTOR / 64], BIT(at / BLOCK_SECTOR % 64), __ATOMIC_RELEASE);
	return rc;
}
