/* Our file under /etc/modprobe.d. It is known by its first line, and no other file is ever written. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/enable.h"

#define HEAD "# Written by nestbox enable and nestbox disable, which change this file and no other.\n"

int enable_file_plan(struct host *h, const char *module, bool on, struct enable_file *f, struct err *e)
{
	int rc = host_read(h, ENABLE_FILE, &f->old, NULL);

	if (rc && rc != -ENOENT && rc != -ENOTDIR)
		return err_set(e, -rc, "%s cannot be read: %s", ENABLE_FILE, strerror(-rc));
	if (f->old && strncmp(f->old, HEAD, strlen(HEAD)) != 0)
		return err_set(e, EEXIST, "%s is there and is not nestbox's: rename it, then try again", ENABLE_FILE);
	if (asprintf(&f->text, HEAD "options %s nested=%d\n", module, on) < 0) {
		f->text = NULL;
		return err_set(e, ENOMEM, "no memory");
	}
	return 0;
}

bool enable_file_changes(const struct enable_file *f) { return f->text && (!f->old || strcmp(f->old, f->text) != 0); }

static void print_lines(FILE *out, char mark, const char *text)
{
	for (; text && *text; text += strcspn(text, "\n"), text += *text == '\n')
		fprintf(out, "%c%.*s\n", mark, (int)strcspn(text, "\n"), text);
}

static unsigned count_lines(const char *text)
{
	unsigned n = 0;

	for (; text && *text; text++)
		n += *text == '\n' || !text[1];
	return n;
}

void enable_file_diff(const struct enable_file *f, FILE *out)
{
	size_t same = f->old ? strlen(HEAD) : 0; /* the head is in both */

	fprintf(out, "--- %s\n+++ %s\n@@ -%d,%u +1,%u @@\n", f->old ? ENABLE_FILE : "/dev/null", ENABLE_FILE,
		f->old ? 1 : 0, count_lines(f->old), count_lines(f->text));
	if (f->old) {
		print_lines(out, ' ', HEAD);
		print_lines(out, '-', f->old + same);
	}
	print_lines(out, '+', f->text + same);
}

static int write_temporary(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	size_t left = strlen(text);
	int rc = 0;

	if (fd < 0)
		return -errno;
	while (left && !rc) {
		ssize_t n = write(fd, text, left);

		if (n < 0 && errno != EINTR)
			rc = -errno;
		if (n > 0) {
			text += n;
			left -= (size_t)n;
		}
	}
	if (!rc && fsync(fd))
		rc = -errno;
	if (close(fd) && !rc)
		rc = -errno;
	return rc;
}

/* Opens, and makes if need be, a folder in `dir`. In a system that is not running no link is followed: it may lead out.
 */
static int open_folder(int dir, const char *name, bool links)
{
	mkdirat(dir, name, 0755);
	return openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (links ? 0 : O_NOFOLLOW));
}

static int open_conf_folder(const char *root)
{
	int top = open(*root ? root : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), etc, dir;

	if (top < 0)
		return -errno;
	etc = open_folder(top, "etc", !*root);
	dir = etc < 0 ? -1 : open_folder(etc, "modprobe.d", !*root);
	dir = dir < 0 ? -errno : dir;
	close(top);
	if (etc >= 0)
		close(etc);
	return dir;
}

int enable_file_write(const struct enable_file *f, const char *root, struct err *e)
{
	const char *base = strrchr(ENABLE_FILE, '/') + 1;
	char temporary[100];
	struct stat st;
	int dir = open_conf_folder(root), rc;

	if (dir < 0)
		return err_set(e, -dir, "%s/etc/modprobe.d cannot be opened as a folder: %s", root, strerror(-dir));
	if (!fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) && !S_ISREG(st.st_mode)) {
		close(dir);
		return err_set(e, EEXIST, "%s%s is not a plain file", root, ENABLE_FILE);
	}
	snprintf(temporary, sizeof(temporary), ".%s.%ld", base, (long)getpid());
	rc = write_temporary(dir, temporary, f->text);
	if (!rc && renameat(dir, temporary, dir, base))
		rc = -errno;
	if (rc)
		unlinkat(dir, temporary, 0);
	else
		fsync(dir);
	close(dir);
	return rc ? err_set(e, -rc, "%s%s cannot be written: %s", root, ENABLE_FILE, strerror(-rc)) : 0;
}

void enable_file_free(struct enable_file *f)
{
	free(f->old);
	free(f->text);
	*f = (struct enable_file){0};
}
