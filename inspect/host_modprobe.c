/*
 * modprobe.d(5): the folders in their order, a file name in an earlier one hides the same name in a later one; what is
 * left is read in the order of the file names; options add up, and of two values for a parameter the kernel keeps the
 * last. The kernel's own command line (MODULE.PARAMETER=VALUE) comes after all files; `modprobe MODULE PARAMETER=VALUE`
 * after that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/host_info.h"
#include "inspect/host_internal.h"

static const char *const folders[] = {"/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d",
				      "/usr/lib/modprobe.d", "/lib/modprobe.d"};

struct conf {
	char name[HOST_NAME];
	const char *folder;
};

static void underscores(char *s)
{
	for (; *s; s++)
		if (*s == '-')
			*s = '_';
}

static bool add_row(struct host_modprobe *m, const struct host_modprobe_row *row)
{
	struct host_modprobe_row *more = realloc(m->row, (m->n + 1) * sizeof(*more));

	if (!more)
		return false;
	m->row = more;
	more[m->n++] = *row;
	return true;
}

static void take_line(struct host_modprobe *m, const char *file, unsigned line, const char *text)
{
	struct host_modprobe_row row = {.line = line};
	char verb[16];
	int used = 0;

	if (sscanf(text, " %15s %63s %n", verb, row.module, &used) < 2 || verb[0] == '#')
		return;
	if (!strcmp(verb, "options"))
		row.kind = MODPROBE_OPTIONS;
	else if (!strcmp(verb, "blacklist"))
		row.kind = MODPROBE_BLACKLIST;
	else if (!strcmp(verb, "install"))
		row.kind = MODPROBE_INSTALL;
	else
		return;
	underscores(row.module);
	snprintf(row.file, sizeof(row.file), "%s", file);
	if (used)
		snprintf(row.value, sizeof(row.value), "%s", text + used);
	host_harmless(row.module);
	host_harmless(row.value);
	(void)!add_row(m, &row);
}

static void read_conf(struct host *h, struct host_modprobe *m, const struct conf *c)
{
	char path[400], *text, *p, *end;
	unsigned line = 1, joined = 0;

	snprintf(path, sizeof(path), "%s/%s", c->folder, c->name);
	if (host_read(h, path, &text, NULL))
		return;
	for (p = end = text; *end; end++) {
		if (end[0] == '\\' && end[1] == '\n') { /* goes on in the next line */
			end[0] = end[1] = ' ';
			joined++;
		} else if (*end == '\n') {
			*end = 0;
			take_line(m, path, line, p);
			line += 1 + joined;
			joined = 0;
			p = end + 1;
		}
	}
	take_line(m, path, line, p);
	free(text);
}

static int compare_conf(const void *a, const void *b)
{
	return strcmp(((const struct conf *)a)->name, ((const struct conf *)b)->name);
}

static void add_folder(struct host *h, const char *folder, struct conf **all, size_t *n)
{
	struct host_names names;

	if (!host_list(h, folder, &names))
		for (size_t i = 0; i < names.n; i++) {
			size_t len = strlen(names.name[i]);
			bool hidden = len < 6 || strcmp(names.name[i] + len - 5, ".conf") != 0;

			for (size_t k = 0; k < *n && !hidden; k++)
				hidden = !strcmp((*all)[k].name, names.name[i]);
			if (hidden)
				continue;
			struct conf *more = realloc(*all, (*n + 1) * sizeof(*more));

			if (!more)
				break;
			*all = more;
			more[*n].folder = folder;
			snprintf(more[(*n)++].name, HOST_NAME, "%s", names.name[i]);
		}
	host_names_free(&names);
}

static void read_command_line(struct host *h, struct host_modprobe *m)
{
	char line[8192], *save = NULL;

	if (host_line(h, "/proc/cmdline", line, sizeof(line)))
		return;
	for (char *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		struct host_modprobe_row row = {.kind = MODPROBE_OPTIONS, .file = "the kernel command line"};
		char *dot = strchr(w, '.'), *equals = strchr(w, '=');

		if (!strncmp(w, "modprobe.blacklist=", 19)) {
			row.kind = MODPROBE_BLACKLIST;
			for (char *name = strtok(w + 19, ","); name; name = strtok(NULL, ",")) {
				snprintf(row.module, sizeof(row.module), "%s", name);
				underscores(row.module);
				(void)!add_row(m, &row);
			}
			continue;
		}
		if (!dot || !equals || dot > equals || (size_t)(dot - w) >= sizeof(row.module))
			continue;
		memcpy(row.module, w, (size_t)(dot - w));
		underscores(row.module);
		snprintf(row.value, sizeof(row.value), "%s", dot + 1);
		(void)!add_row(m, &row);
	}
}

int host_modprobe_read(struct host *h, struct host_modprobe *m)
{
	struct conf *all = NULL;
	size_t n = 0;

	*m = (struct host_modprobe){0};
	for (unsigned i = 0; i < ARRAY_SIZE(folders); i++)
		add_folder(h, folders[i], &all, &n);
	if (n)
		qsort(all, n, sizeof(*all), compare_conf);
	for (size_t i = 0; i < n; i++)
		read_conf(h, m, &all[i]);
	free(all);
	read_command_line(h, m);
	return 0;
}

void host_modprobe_free(struct host_modprobe *m)
{
	free(m->row);
	*m = (struct host_modprobe){0};
}

const struct host_modprobe_row *host_modprobe_option(const struct host_modprobe *m, const char *module,
						     const char *name, char *value, size_t room)
{
	const struct host_modprobe_row *found = NULL;
	size_t len = strlen(name);

	for (size_t i = 0; i < m->n; i++) {
		const struct host_modprobe_row *r = &m->row[i];

		if (r->kind != MODPROBE_OPTIONS || strcmp(r->module, module) != 0)
			continue;
		for (const char *p = r->value + strspn(r->value, " \t"); *p; p += strspn(p, " \t")) {
			size_t word = strcspn(p, " \t\n");

			if (!strncmp(p, name, len) && (p[len] == '=' || word == len)) {
				found = r;
				/* a bool without a value is true */
				snprintf(value, room, "%.*s", p[len] == '=' ? (int)(word - len - 1) : 1,
					 p[len] == '=' ? p + len + 1 : "Y");
			}
			p += word;
		}
	}
	return found;
}

const struct host_modprobe_row *host_modprobe_find(const struct host_modprobe *m, enum host_modprobe_kind kind,
						   const char *module)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->row[i].kind == kind && !strcmp(m->row[i].module, module))
			return &m->row[i];
	return NULL;
}
