/*
 * The archive: tar, packed by zstd, written beside its final name and renamed when it is whole and on the disk. A
 * device or a pipe is written as it is.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/program.h"
#include "cmd/report.h"

struct sink {
	int fd;
	int error; /* positive errno of the write that failed */
};

static la_ssize_t sink_write(struct archive *a, void *ctx, const void *buf, size_t n)
{
	struct sink *s = ctx;
	ssize_t w;

	do
		w = write(s->fd, buf, n);
	while (w < 0 && errno == EINTR);
	if (w <= 0) {
		s->error = w < 0 ? errno : EIO;
		archive_set_error(a, s->error, "%s", strerror(s->error));
		return -1;
	}
	return w;
}

struct ustar {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6],
		version[2], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct ustar) == 512, "a block");

static bool data(struct archive *a, const void *p, size_t n)
{
	return !n || archive_write_data(a, p, n) == (la_ssize_t)n;
}

/* LEVEL/NAME in the folder; the reader's own files (level REPORT_LEVELS) stand in the folder itself. */
static int put(struct archive *a, const char *folder, const struct report_file *f)
{
	static const char zeros[512];
	struct ustar h = {.type = '0',
			  .magic = "ustar",
			  .version = {'0', '0'},
			  .mode = "0000644",
			  .uid = "0000000",
			  .gid = "0000000"};
	char level[16] = "";
	unsigned sum = 0;

	if (f->level < REPORT_LEVELS)
		snprintf(level, sizeof(level), "L%u/", f->level);
	if ((size_t)snprintf(h.name, sizeof(h.name), "%s/%s%s", folder, level, f->name) >= sizeof(h.name))
		return -ENAMETOOLONG;
	snprintf(h.size, sizeof(h.size), "%011llo", (unsigned long long)f->size);
	snprintf(h.mtime, sizeof(h.mtime), "%011llo", (unsigned long long)time(NULL) & 077777777777);
	memset(h.checksum, ' ', sizeof(h.checksum)); /* so it counts in its own sum */
	for (size_t i = 0; i < sizeof(h); i++)
		sum += ((const u8 *)&h)[i];
	snprintf(h.checksum, sizeof(h.checksum), "%06o", sum & 0777777);
	return data(a, &h, sizeof(h)) && data(a, f->data, f->size) && data(a, zeros, -f->size & 511) ? 0 : -EIO;
}

/* The entry that libarchive's raw format wants around the whole. */
static int begin(struct archive *a, struct sink *sink)
{
	struct archive_entry *entry = archive_entry_new();
	int rc = -EIO;

	if (!entry)
		return -ENOMEM;
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_write_set_bytes_in_last_block(a, 1);
	if (archive_write_set_format_raw(a) == ARCHIVE_OK && archive_write_add_filter_zstd(a) == ARCHIVE_OK &&
	    archive_write_open(a, sink, NULL, sink_write, NULL) == ARCHIVE_OK &&
	    archive_write_header(a, entry) == ARCHIVE_OK)
		rc = 0;
	archive_entry_free(entry);
	return rc;
}

static int write_all(const struct report *r, const char *folder, struct sink *sink, struct err *e)
{
	static const char end[1024];
	struct archive *a = archive_write_new();
	int rc;

	if (!a)
		return err_set(e, ENOMEM, "no memory for an archive");
	rc = begin(a, sink);
	/* the reader's files first */
	for (unsigned pass = 0; pass < 2; pass++)
		for (size_t i = 0; !rc && i < r->nfiles; i++) {
			if (program_interrupted())
				rc = -EINTR;
			else if (r->files[i].data && (r->files[i].level == REPORT_LEVELS) == !pass)
				rc = put(a, folder, &r->files[i]);
		}
	if (!rc && !data(a, end, sizeof(end)))
		rc = -EIO;
	if (rc)
		archive_write_fail(a); /* no more bytes on the way out */
	else if (archive_write_close(a) != ARCHIVE_OK)
		rc = -EIO;
	if (rc == -EINTR)
		err_set(e, EINTR, "interrupted");
	else if (rc)
		rc = err_set(e, sink->error ? sink->error : EIO, "%s",
			     sink->error ? strerror(sink->error) : archive_error_string(a));
	archive_write_free(a);
	return rc;
}

static int sync_folder_of(const char *path)
{
	char dir[4096];
	const char *slash = strrchr(path, '/');
	int fd;

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)MAX(slash - path, 1) : 1, slash ? path : ".");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	fsync(fd); /* not every file system can: the file itself is safe */
	close(fd);
	return 0;
}

/* Root by sudo writes for the user who called: the archive is that user's. */
static void give_to_caller(int fd)
{
	const char *user = getenv("SUDO_UID"), *group = getenv("SUDO_GID");
	char *end[2];
	unsigned long id[2];

	if (geteuid() != 0 || !user || !group)
		return;
	id[0] = strtoul(user, &end[0], 10);
	id[1] = strtoul(group, &end[1], 10);
	if (!*end[0] && !*end[1] && id[0] && fchown(fd, (uid_t)id[0], (gid_t)id[1]))
		return; /* it stays root's */
}

int report_archive(const struct report *r, const char *folder, const char *path, struct err *e)
{
	char temporary[4096];
	struct sink sink = {.fd = -1};
	struct stat st;
	bool direct = !stat(path, &st) && !S_ISREG(st.st_mode);
	int rc;

	if (direct && S_ISDIR(st.st_mode))
		return err_set(e, EISDIR, "%s is a folder: name a file in it", path);
	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= sizeof(temporary))
		return err_set(e, ENAMETOOLONG, "%.60s… is too long a path", path);
	sink.fd = direct ? open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY) : mkostemp(temporary, O_CLOEXEC);
	if (sink.fd < 0)
		return err_set(e, errno, "%s cannot be written: %s", path, strerror(errno));
	if (!direct)
		give_to_caller(sink.fd);
	rc = write_all(r, folder, &sink, e);
	if (!rc && !direct && fsync(sink.fd))
		rc = err_set(e, errno, "%s", strerror(errno));
	if (close(sink.fd) && !rc)
		rc = err_set(e, errno, "%s", strerror(errno));
	if (!rc && !direct && rename(temporary, path))
		rc = err_set(e, errno, "%s", strerror(errno));
	if (rc && !direct)
		unlink(temporary);
	if (!rc && !direct)
		rc = sync_folder_of(path);
	return rc && rc != -EINTR ? err_prefix(e, "%s cannot be written", path) : rc;
}
