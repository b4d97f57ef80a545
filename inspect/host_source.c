/* Files of a host, live or recorded. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inspect/host_internal.h"

#define TEXT_MAX  (4u << 20)
#define NAMES_MAX 100000

/* A recorded host's links stay inside its folder: openat2 with RESOLVE_IN_ROOT; a kernel before 5.6 follows no last
 * link instead. */
static int open_in(const struct host *h, const char *path, int flags)
{
	struct open_how how = {.resolve = RESOLVE_IN_ROOT};
	long fd;

	flags |= O_CLOEXEC | (flags & O_PATH ? 0 : O_NONBLOCK);
	how.flags = (u64)flags;

	if (h->live)
		fd = open(path, flags);
	else
		fd = syscall(SYS_openat2, h->root, path + 1, &how, sizeof(how));
	if (fd < 0 && !h->live && (errno == ENOSYS || errno == EPERM))
		fd = openat(h->root, path + 1, flags | O_NOFOLLOW);
	return fd < 0 ? -errno : (int)fd;
}

/* A recorded error of a file, as -errno; 0: none. */
static int recorded_error(const struct host *h, const char *path)
{
	static const int known[] = {EACCES, EPERM, EIO, ENODEV, ENXIO, EBUSY, EINVAL, ENOENT};
	char name[600];
	const char *value;

	if (h->live)
		return 0;
	snprintf(name, sizeof(name), "error:%s", path);
	value = host_fact(h, name);
	for (unsigned i = 0; value && i < ARRAY_SIZE(known); i++)
		if (!strcmp(value, strerrorname_np(known[i])))
			return -known[i];
	return value ? -EIO : 0;
}

static int keep_error(struct host *h, const char *path, int rc)
{
	char name[600];

	if (h->record >= 0 && rc != -ENOENT && rc != -ENOTDIR) {
		snprintf(name, sizeof(name), "error:%s", path);
		host_fact_set(h, name, "%s", strerrorname_np(-rc));
	}
	return rc;
}

int host_read(struct host *h, const char *path, char **text, size_t *size)
{
	size_t room = 4096, n = 0;
	char *buf;
	int rc = recorded_error(h, path), fd;

	*text = NULL;
	if (rc)
		return rc;
	fd = open_in(h, path, O_RDONLY);
	if (fd < 0)
		return keep_error(h, path, fd);
	buf = malloc(room + 1);
	while (buf) {
		ssize_t r = read(fd, buf + n, room - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0) {
			rc = -errno;
			break;
		}
		n += (size_t)r;
		if (!r || n >= TEXT_MAX)
			break;
		if (n == room) {
			char *more = realloc(buf, room * 2 + 1);

			if (!more)
				free(buf);
			buf = more;
			room *= 2;
		}
	}
	close(fd);
	if (!buf)
		return -ENOMEM;
	if (rc) {
		free(buf);
		return keep_error(h, path, rc);
	}
	buf[n] = 0;
	*text = buf;
	if (size)
		*size = n;
	host_keep_file(h, path, buf, n);
	return 0;
}

void host_harmless(char *text)
{
	for (; *text; text++)
		if (((u8)*text < ' ' && *text != '\t') || *text == 0x7f)
			*text = '?';
}

int host_line(struct host *h, const char *path, char *buf, size_t size)
{
	char *text;
	int rc = host_read(h, path, &text, NULL);

	buf[0] = 0;
	if (rc)
		return rc;
	text[strcspn(text, "\n")] = 0;
	host_harmless(text);
	snprintf(buf, size, "%s", text);
	free(text);
	return 0;
}

bool host_exists(struct host *h, const char *path)
{
	struct stat st;
	int fd = open_in(h, path, O_PATH);

	if (fd < 0)
		return false;
	if (!fstat(fd, &st))
		host_keep_name(h, path, S_ISDIR(st.st_mode));
	close(fd);
	return true;
}

int host_access(struct host *h, const char *path)
{
	int rc = recorded_error(h, path), fd;

	if (rc)
		return rc;
	fd = open_in(h, path, h->live ? O_RDWR : O_PATH);
	if (fd < 0)
		return keep_error(h, path, fd);
	close(fd);
	return 0;
}

int host_link(struct host *h, const char *path, char *buf, size_t size)
{
	int fd = open_in(h, path, O_PATH | O_NOFOLLOW), rc = 0;
	ssize_t n;

	buf[0] = 0;
	if (fd < 0)
		return fd;
	n = readlinkat(fd, "", buf, size - 1);
	if (n < 0)
		rc = -errno;
	buf[n < 0 ? 0 : n] = 0;
	close(fd);
	return rc;
}

static int compare_names(const void *a, const void *b) { return strcmp(a, b); }

bool host_grow(void **array, size_t n, size_t size)
{
	void *more;

	if (n & (n - 1)) /* room up to the next power of two */
		return true;
	more = realloc(*array, (n ? n * 2 : 1) * size);
	if (more)
		*array = more;
	return more;
}

int host_list(struct host *h, const char *dir, struct host_names *names)
{
	struct dirent *d;
	DIR *s;
	int rc = recorded_error(h, dir), fd;

	*names = (struct host_names){0};
	if (rc)
		return rc;
	fd = open_in(h, dir, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return keep_error(h, dir, fd);
	s = fdopendir(fd);
	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	while ((d = readdir(s)) && names->n < NAMES_MAX) {
		if (d->d_name[0] == '.')
			continue;
		if (!host_grow((void **)&names->name, names->n, sizeof(names->name[0]))) {
			rc = -ENOMEM;
			break;
		}
		snprintf(names->name[names->n], HOST_NAME, "%s", d->d_name);
		host_harmless(names->name[names->n++]);
	}
	closedir(s);
	if (names->n)
		qsort(names->name, names->n, sizeof(names->name[0]), compare_names);
	return rc;
}

void host_names_free(struct host_names *names)
{
	free(names->name);
	*names = (struct host_names){0};
}

/* Records of /dev/kmsg: "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT\n" and lines of key=value. */
static char *live_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	char record[8193], *text = NULL;
	size_t size;
	FILE *out = fd >= 0 ? open_memstream(&text, &size) : NULL;

	while (out) {
		ssize_t n = read(fd, record, sizeof(record) - 1);
		unsigned long long seq, us;
		unsigned priority;
		char *body;

		if (n < 0 && (errno == EPIPE || errno == EINTR)) /* EPIPE: overwritten meanwhile */
			continue;
		if (n <= 0)
			break;
		record[n] = 0;
		body = strchr(record, ';');
		if (body && sscanf(record, "%u,%llu,%llu", &priority, &seq, &us) == 3)
			fprintf(out, "[%5llu.%06llu] %.*s\n", us / 1000000, us % 1000000, (int)strcspn(body + 1, "\n"),
				body + 1);
	}
	if (out)
		fclose(out);
	if (fd >= 0)
		close(fd);
	return text;
}

char *host_kernel_log(struct host *h)
{
	char *text = NULL;

	if (!h->live)
		return host_read(h, "/dmesg", &text, NULL) ? NULL : text;
	text = live_log();
	if (text)
		host_keep_file(h, "/dmesg", text, strlen(text));
	return text;
}

bool host_is_live(const struct host *h) { return h->live; }

int host_open(const char *root, struct host **out, struct err *e)
{
	struct host *h = calloc(1, sizeof(*h));
	int rc = 0;

	if (!h)
		return err_set(e, ENOMEM, "no memory");
	h->live = !root;
	h->root = h->record = -1;
	if (root) {
		h->root = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
		rc = h->root < 0 ? err_set(e, errno, "%s cannot be opened as a folder: %s", root, strerror(errno))
				 : host_tables_load(h, e);
	}
	if (rc) {
		host_close(h);
		return rc;
	}
	*out = h;
	return 0;
}

void host_close(struct host *h)
{
	if (!h)
		return;
	host_record_finish(h);
	if (h->root >= 0)
		close(h->root);
	host_tables_free(h);
	free(h);
}
