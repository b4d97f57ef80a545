/* Whole files in memory, packed ones unpacked. */
#include "cmd/file.h"

#include <archive.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (1ull << 31)

int file_read(const char *path, struct file_bytes *out, struct err *e)
{
	struct stat st;
	size_t room, n = 0;
	u8 *buf = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc; /* a FIFO's writer is not waited for */

	if (fd < 0)
		return err_set(e, errno, "%s cannot be opened: %s", path, strerror(errno));
	if (fstat(fd, &st)) {
		rc = err_set(e, errno, "%s: %s", path, strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode) || st.st_size < 0 || (u64)st.st_size > FILE_MAX) {
		rc = err_set(e, EINVAL, "%s is %s", path,
			     S_ISDIR(st.st_mode)   ? "a folder, not a file"
			     : S_ISREG(st.st_mode) ? "too large"
						   : "a device or a pipe, not a file");
		goto out;
	}
	room = (size_t)st.st_size + 1; /* files of /proc and /sys say 0 */
	if (room < 4096)
		room = 4096;
	buf = malloc(room);
	while (buf) {
		ssize_t r = read(fd, buf + n, room - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0) {
			rc = err_set(e, errno, "%s cannot be read: %s", path, strerror(errno));
			goto out;
		}
		if (!r)
			break;
		n += (size_t)r;
		if (n == room) {
			u8 *more = realloc(buf, room * 2);

			if (!more)
				free(buf);
			buf = more;
			room *= 2;
		}
	}
	if (!buf) {
		rc = err_set(e, ENOMEM, "no memory to read %s", path);
		goto out;
	}
	*out = (struct file_bytes){buf, n};
	buf = NULL;
	rc = 0;
out:
	free(buf);
	close(fd);
	return rc;
}

static bool looks_packed(const struct file_bytes *f)
{
	static const u8 gzip[] = {0x1f, 0x8b}, xz[] = {0xfd, '7', 'z', 'X', 'Z', 0}, zstd[] = {0x28, 0xb5, 0x2f, 0xfd};

	return (f->size > 6 && !memcmp(f->data, xz, sizeof(xz))) ||
	       (f->size > 4 && !memcmp(f->data, zstd, sizeof(zstd))) ||
	       (f->size > 2 && !memcmp(f->data, gzip, sizeof(gzip)));
}

static int unpack(const char *path, const struct file_bytes *in, struct file_bytes *out, struct err *e)
{
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	size_t room = in->size * 4 + 4096, n = 0;
	u8 *buf = malloc(room);
	int rc = err_set(e, ENOMEM, "no memory to unpack %s", path);

	if (!a || !buf)
		goto out;
	archive_read_support_filter_gzip(a);
	archive_read_support_filter_xz(a);
	archive_read_support_filter_zstd(a);
	archive_read_support_format_raw(a);
	if (archive_read_open_memory(a, in->data, in->size) != ARCHIVE_OK ||
	    archive_read_next_header(a, &entry) != ARCHIVE_OK) {
		rc = err_set(e, EINVAL, "%s cannot be unpacked: %s", path, archive_error_string(a));
		goto out;
	}
	for (;;) {
		la_ssize_t r = archive_read_data(a, buf + n, room - n);

		if (r < 0) {
			rc = err_set(e, EINVAL, "%s cannot be unpacked: %s", path, archive_error_string(a));
			goto out;
		}
		if (!r)
			break;
		n += (size_t)r;
		if (n == room) {
			u8 *more = room < FILE_MAX ? realloc(buf, room * 2) : NULL;

			if (!more)
				goto out;
			buf = more;
			room *= 2;
		}
	}
	*out = (struct file_bytes){buf, n};
	buf = NULL;
	rc = 0;
out:
	free(buf);
	archive_read_free(a);
	return rc;
}

int file_read_unpacked(const char *path, struct file_bytes *out, struct err *e)
{
	struct file_bytes raw = {0};
	int rc = file_read(path, &raw, e);

	if (rc)
		return rc;
	if (!looks_packed(&raw)) {
		*out = raw;
		return 0;
	}
	rc = unpack(path, &raw, out, e);
	free(raw.data);
	return rc;
}

bool file_line(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return false;
	buf[n] = 0;
	buf[strcspn(buf, "\n")] = 0;
	return true;
}

bool file_exists(const char *path) { return !access(path, F_OK); }
