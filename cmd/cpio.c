/* The archive's bytes, and the set of paths already in it. */
#include "cmd/cpio.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct cpio {
	struct archive *a;
	u8 *data;
	size_t size, room;
	char **paths;
	size_t npaths, paths_room;
	unsigned ino;
};

static la_ssize_t grow(struct archive *a, void *ctx, const void *buf, size_t n)
{
	struct cpio *c = ctx;

	if (c->room - c->size < n) {
		size_t room = MAX(c->room * 2, c->size + n + (1u << 20));
		u8 *more = realloc(c->data, room);

		if (!more) {
			archive_set_error(a, ENOMEM, "no memory");
			return -1;
		}
		c->data = more;
		c->room = room;
	}
	memcpy(c->data + c->size, buf, n);
	c->size += n;
	return (la_ssize_t)n;
}

struct cpio *cpio_new(struct err *e)
{
	struct cpio *c = calloc(1, sizeof(*c));

	if (c)
		c->a = archive_write_new();
	if (!c || !c->a)
		goto fail;
	archive_write_set_format_cpio_newc(c->a);
	archive_write_set_bytes_per_block(c->a, 1 << 16);
	archive_write_set_bytes_in_last_block(c->a, 1);
	if (archive_write_open(c->a, c, NULL, grow, NULL) == ARCHIVE_OK)
		return c;
fail:
	cpio_free(c);
	err_set(e, ENOMEM, "no memory for an initramfs");
	return NULL;
}

static bool seen(struct cpio *c, const char *path)
{
	for (size_t i = 0; i < c->npaths; i++)
		if (!strcmp(c->paths[i], path))
			return true;
	return false;
}

static int remember(struct cpio *c, const char *path, struct err *e)
{
	if (c->npaths == c->paths_room) {
		size_t room = c->paths_room ? c->paths_room * 2 : 64;
		char **more = realloc(c->paths, room * sizeof(*more));

		if (!more)
			return err_set(e, ENOMEM, "no memory for an initramfs");
		c->paths = more;
		c->paths_room = room;
	}
	c->paths[c->npaths] = strdup(path);
	if (!c->paths[c->npaths])
		return err_set(e, ENOMEM, "no memory for an initramfs");
	c->npaths++;
	return 0;
}

static int put(struct cpio *c, const char *path, unsigned mode, const char *target, dev_t rdev, const void *data,
	       size_t size, struct err *e)
{
	struct archive_entry *entry;
	int rc;

	if (seen(c, path))
		return 0;
	rc = remember(c, path, e);
	if (rc)
		return rc;
	entry = archive_entry_new();
	if (!entry)
		return err_set(e, ENOMEM, "no memory for an initramfs");
	archive_entry_set_pathname(entry, path[0] == '/' ? path + 1 : path);
	archive_entry_set_mode(entry, mode);
	archive_entry_set_ino(entry, ++c->ino);
	archive_entry_set_nlink(entry, 1);
	archive_entry_set_size(entry, (la_int64_t)size);
	if (target)
		archive_entry_set_symlink(entry, target);
	if (S_ISCHR(mode))
		archive_entry_set_rdev(entry, rdev);
	if (archive_write_header(c->a, entry) != ARCHIVE_OK ||
	    (size && archive_write_data(c->a, data, size) != (la_ssize_t)size))
		rc = err_set(e, EIO, "%s cannot go into the initramfs: %s", path, archive_error_string(c->a));
	archive_entry_free(entry);
	return rc;
}

int cpio_dir(struct cpio *c, const char *path, struct err *e)
{
	char part[512];
	size_t len = strlen(path);

	if (len >= sizeof(part))
		return err_set(e, ENAMETOOLONG, "%s is too long a path", path);
	for (size_t i = 1; i <= len; i++) {
		if (path[i] && path[i] != '/')
			continue;
		memcpy(part, path, i);
		part[i] = 0;
		int rc = put(c, part, S_IFDIR | 0755, NULL, 0, NULL, 0, e);
		if (rc)
			return rc;
	}
	return 0;
}

static int parents(struct cpio *c, const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	char dir[512];

	if (!slash || slash == path)
		return 0;
	if ((size_t)(slash - path) >= sizeof(dir))
		return err_set(e, ENAMETOOLONG, "%s is too long a path", path);
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = 0;
	return cpio_dir(c, dir, e);
}

int cpio_file(struct cpio *c, const char *path, unsigned mode, const void *data, size_t size, struct err *e)
{
	int rc = parents(c, path, e);

	return rc ? rc : put(c, path, S_IFREG | mode, NULL, 0, data, size, e);
}

int cpio_symlink(struct cpio *c, const char *path, const char *target, struct err *e)
{
	int rc = parents(c, path, e);

	return rc ? rc : put(c, path, S_IFLNK | 0777, target, 0, NULL, 0, e);
}

int cpio_chardev(struct cpio *c, const char *path, unsigned mode, unsigned major, unsigned minor, struct err *e)
{
	int rc = parents(c, path, e);

	return rc ? rc : put(c, path, S_IFCHR | mode, NULL, makedev(major, minor), NULL, 0, e);
}

int cpio_finish(struct cpio *c, u8 **data, size_t *size, struct err *e)
{
	int rc = 0;

	if (archive_write_close(c->a) != ARCHIVE_OK) {
		rc = err_set(e, EIO, "the initramfs cannot be ended: %s", archive_error_string(c->a));
	} else {
		*data = c->data;
		*size = c->size;
		c->data = NULL;
	}
	cpio_free(c);
	return rc;
}

void cpio_free(struct cpio *c)
{
	if (!c)
		return;
	if (c->a)
		archive_write_free(c->a);
	free(c->data);
	for (size_t i = 0; i < c->npaths; i++)
		free(c->paths[i]);
	free(c->paths);
	free(c);
}
