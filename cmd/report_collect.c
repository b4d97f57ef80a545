/* The rows of report_items.def, one after the other. */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "cmd/program.h"
#include "cmd/report.h"
#include "inspect/host.h"

#define PROGRAM_MS 10000
#define FILES_MAX  4000 /* of one item */

enum arch { ANY, X86, S390, PPC, ARM };
enum way { FILE_, FILES, PROG, OWN };

static const struct item {
	const char *name;
	enum arch arch;
	enum way way;
	const char *what;
	int (*own)(struct host *h, FILE *out, struct err *e);
	unsigned kib;
} items[] = {
#define ITEM(name, arch, way, what, kib)  ITEM_##way(name, arch, what, kib)
#define ITEM_FILE(name, arch, what, kib)  {name, arch, FILE_, what, NULL, kib},
#define ITEM_FILES(name, arch, what, kib) {name, arch, FILES, what, NULL, kib},
#define ITEM_PROG(name, arch, what, kib)  {name, arch, PROG, what, NULL, kib},
#define ITEM_OWN(name, arch, what, kib)	  {name, arch, OWN, "nestbox: " #what, report_##what, kib},
#include "cmd/report_items.def"
#undef ITEM
};

struct collect {
	struct host *host;
	const struct report_out *out;
	enum arch arch;
	FILE *text; /* of the alternative being tried */
	size_t limit;
	unsigned nfiles;
	bool any, cut;
};

/* A recorded host's processor is what its /proc/cpuinfo looks like. */
static enum arch arch_of(struct host *h)
{
	char *cpuinfo;
	enum arch arch = X86;
	struct utsname u;

	if (host_is_live(h) && !uname(&u))
		return !strcmp(u.machine, "s390x")	 ? S390
		       : !strncmp(u.machine, "ppc", 3)	 ? PPC
		       : !strncmp(u.machine, "aarch", 5) ? ARM
							 : X86;
	if (host_read(h, "/proc/cpuinfo", &cpuinfo, NULL))
		return X86;
	if (strstr(cpuinfo, "IBM/S390"))
		arch = S390;
	else if (strstr(cpuinfo, "CPU implementer"))
		arch = ARM;
	else if (strstr(cpuinfo, "POWER"))
		arch = PPC;
	free(cpuinfo);
	return arch;
}

static long text_size(struct collect *c) { return MAX(ftell(c->text), 0l); }

/* A file among others: one line as "NAME: VALUE", more under a head line. */
static void add_file(struct collect *c, const char *path)
{
	char *text, *p;
	size_t size, room;
	int rc;

	if (c->nfiles++ >= FILES_MAX || (size_t)text_size(c) >= c->limit) {
		c->cut = true;
		return;
	}
	rc = host_read(c->host, path, &text, &size);
	if (rc == -EISDIR)
		return;
	if (rc) {
		fprintf(c->text, "%s: (cannot be read: %s)\n", path, strerror(-rc));
		return;
	}
	c->any = true;
	for (size_t i = 0; i < size; i++)
		if (!text[i])
			text[i] = i + 1 < size ? ' ' : '\n';
	p = memchr(text, '\n', size);
	if (!p || p == text + size - 1) {
		fprintf(c->text, "%s: %.*s\n", path, (int)(p ? size - 1 : size), text);
	} else {
		room = c->limit - (size_t)text_size(c);
		p = text + (size > room ? size - room : 0); /* of a log the end is what counts */
		c->cut |= p != text;
		fprintf(c->text, "==> %s <==%s\n%s%s\n", path, p == text ? "" : " (its end)", p,
			text[size - 1] == '\n' ? "" : "\n");
	}
	free(text);
}

/* All that one pattern names: each part of a path with a '*' is looked for in its folder. */
static void add_pattern(struct collect *c, const char *done, const char *rest)
{
	char path[600], part[HOST_NAME];
	struct host_names names;
	const char *slash = strchr(rest, '/');

	snprintf(part, sizeof(part), "%.*s", (int)(slash ? (size_t)(slash - rest) : strlen(rest)), rest);
	if (!strchr(part, '*')) {
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", done, part) >= sizeof(path))
			return;
		if (slash)
			add_pattern(c, path, slash + 1);
		else if (host_exists(c->host, path))
			add_file(c, path);
		return;
	}
	if (!host_list(c->host, done, &names))
		for (size_t i = 0; i < names.n; i++) {
			if (fnmatch(part, names.name[i], FNM_PERIOD) ||
			    (size_t)snprintf(path, sizeof(path), "%s/%s", done, names.name[i]) >= sizeof(path))
				continue;
			if (slash)
				add_pattern(c, path, slash + 1);
			else
				add_file(c, path);
		}
	host_names_free(&names);
}

static int try_files(struct collect *c, const struct item *it, struct err *e)
{
	char copy[512], *save = NULL;

	c->nfiles = 0;
	snprintf(copy, sizeof(copy), "%s", it->what);
	for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
		add_pattern(c, "", p + 1);
	if (c->any)
		return 0;
	return c->nfiles ? err_set(e, EACCES, "%s: none can be read by this user", it->what)
			 : err_set(e, ENOENT, "there is nothing at %s", it->what);
}

static int try_file(struct collect *c, const struct item *it, struct err *e)
{
	char *text;
	size_t size, from;
	int rc = host_read(c->host, it->what, &text, &size);

	if (rc)
		return err_set(e, -rc, "%s cannot be read: %s", it->what, strerror(-rc));
	from = size > c->limit ? size - c->limit : 0;
	c->cut = from;
	fwrite(text + from, 1, size - from, c->text);
	free(text);
	return size ? 0 : err_set(e, ENODATA, "%s is empty", it->what);
}

static int try_program(struct collect *c, const struct item *it, struct err *e)
{
	struct program_output o;
	int rc;

	if (!host_is_live(c->host))
		return err_set(e, ENOENT, "%s is not run for a recorded host", it->what);
	rc = program_run(it->what, PROGRAM_MS, c->limit, &o, e);
	if (rc)
		return rc;
	fwrite(o.text, 1, o.size, c->text);
	c->cut = o.cut;
	if (!o.size)
		rc = err_set(e, ENODATA, "%s prints nothing (exit status %d)", it->what, o.status);
	free(o.text);
	return rc;
}

static int try_own(struct collect *c, const struct item *it, struct err *e)
{
	int rc = it->own(c->host, c->text, e);

	if (!rc && !text_size(c))
		return err_set(e, ENODATA, "%s: nothing", it->what);
	return rc;
}

static int try_item(struct collect *c, const struct item *it, struct err *e)
{
	switch (it->way) {
	case FILE_: return try_file(c, it, e);
	case FILES: return try_files(c, it, e);
	case PROG: return try_program(c, it, e);
	case OWN: return try_own(c, it, e);
	}
	return -EINVAL;
}

/* One alternative. 1: it had nothing, and why has the reason added. */
static int collect_one(struct collect *c, const struct item *it, char *why, size_t room)
{
	struct err e = {0};
	char *text = NULL;
	size_t size = 0;
	int rc;

	c->text = open_memstream(&text, &size);
	if (!c->text)
		return -ENOMEM;
	c->limit = it->kib * (size_t)1024;
	c->any = c->cut = false;
	rc = try_item(c, it, &e);
	if (fclose(c->text) && !rc)
		rc = -ENOMEM;
	if (!rc) {
		char by[200];

		snprintf(by, sizeof(by), "%s%s", it->what, c->cut ? " (not all of it)" : "");
		rc = c->out->file(c->out->ctx, it->name, by, text, size);
	} else if (rc != -EINTR && rc != -ENOMEM) {
		size_t n = strlen(why);

		snprintf(why + n, room - n, "%s%s", n ? "; " : "", e.text);
		rc = 1;
	}
	free(text);
	return rc;
}

int report_collect(struct host *h, const struct report_out *out)
{
	struct collect c = {.host = h, .out = out, .arch = arch_of(h)};

	for (unsigned i = 0; i < ARRAY_SIZE(items); i++) {
		const char *name = items[i].name;
		char why[1200] = "";
		bool mine = false;
		int rc = 1;

		/* its alternatives stand together */
		for (; i < ARRAY_SIZE(items) && !strcmp(items[i].name, name); i++) {
			if (items[i].arch != ANY && items[i].arch != c.arch)
				continue;
			mine = true;
			if (program_interrupted())
				return -EINTR;
			if (rc == 1)
				rc = collect_one(&c, &items[i], why, sizeof(why));
		}
		i--;
		if (rc == 1 && mine)
			rc = out->missing(out->ctx, name, why);
		if (rc && rc != 1)
			return rc;
	}
	return 0;
}
