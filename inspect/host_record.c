/* Writing a host down in the form that host_open reads. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inspect/host_internal.h"

static void failed(struct host *h)
{
	if (!h->record_error)
		h->record_error = -errno;
}

/* Makes the folders above `path`. */
static bool make_parents(struct host *h, const char *path)
{
	char part[600];

	for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		if ((size_t)snprintf(part, sizeof(part), "%.*s", (int)(p - path - 1), path + 1) >= sizeof(part)) {
			errno = ENAMETOOLONG;
			return false;
		}
		if (mkdirat(h->record, part, 0755) && errno != EEXIST)
			return false;
	}
	return true;
}

void host_keep_file(struct host *h, const char *path, const char *text, size_t size)
{
	int fd;

	if (h->record < 0)
		return;
	fd = make_parents(h, path) ? openat(h->record, path + 1, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
	if (fd < 0) {
		failed(h);
		return;
	}
	while (size) {
		ssize_t n = write(fd, text, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			failed(h);
			break;
		}
		text += n;
		size -= (size_t)n;
	}
	if (close(fd))
		failed(h);
}

void host_record_link(struct host *h, const char *path, const char *target)
{
	if (h->record >= 0 && (!make_parents(h, path) || (symlinkat(target, h->record, path + 1) && errno != EEXIST)))
		failed(h);
}

void host_keep_name(struct host *h, const char *path, bool folder)
{
	int fd;

	if (h->record < 0)
		return;
	if (!make_parents(h, path)) {
		failed(h);
	} else if (folder) {
		if (mkdirat(h->record, path + 1, 0755) && errno != EEXIST)
			failed(h);
	} else {
		fd = openat(h->record, path + 1, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0)
			failed(h);
		else
			close(fd);
	}
}

int host_record(struct host *h, const char *dir, struct err *e)
{
	if (mkdir(dir, 0755) && errno != EEXIST)
		return err_set(e, errno, "%s cannot be made: %s", dir, strerror(errno));
	h->record = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return h->record < 0 ? err_set(e, errno, "%s cannot be opened: %s", dir, strerror(errno)) : 0;
}

int host_record_error(const struct host *h) { return h->record_error; }

static void print_msrs(struct host *h, FILE *out)
{
	for (size_t i = 0; i < h->nmsr; i++) {
		const struct host_msr_row *row = &h->msr[i];

		if (row->error)
			fprintf(out, "0x%08x %s\n", row->msr, strerrorname_np(row->error));
		else
			fprintf(out, "0x%08x 0x%016llx\n", row->msr, (unsigned long long)row->value);
	}
}

static void print_facts(struct host *h, FILE *out)
{
	for (size_t i = 0; i < h->nfacts; i++)
		fprintf(out, "%s=%s\n", h->fact[i].name, h->fact[i].value);
}

int host_record_finish(struct host *h)
{
	static const struct {
		const char *path;
		void (*print)(struct host *h, FILE *out);
	} tables[] = {{"/cpuid", host_cpuid_print}, {"/msr", print_msrs}, {"/facts", print_facts}};

	for (unsigned i = 0; h->record >= 0 && i < ARRAY_SIZE(tables); i++) {
		char *text;
		size_t size;
		FILE *out = open_memstream(&text, &size);

		if (!out) {
			h->record_error = -ENOMEM;
			break;
		}
		tables[i].print(h, out);
		fclose(out);
		host_keep_file(h, tables[i].path, text, size);
		free(text);
	}
	if (h->record >= 0)
		close(h->record);
	h->record = -1;
	return h->record_error;
}
