/* The files of a report, and how they arrive from inside a guest: in parts, out of a hostile hand. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/base64.h"
#include "cmd/report.h"

#define FILES_MAX 200u /* of one level */
#define FILE_MAX  (8u << 20)
#define BYTES_MAX (256u << 20)

const struct report_file *report_find(const struct report *r, unsigned level, const char *name)
{
	for (size_t i = 0; i < r->nfiles; i++)
		if (r->files[i].level == level && !strcmp(r->files[i].name, name))
			return &r->files[i];
	return NULL;
}

bool report_has_level(const struct report *r, unsigned level)
{
	for (size_t i = 0; i < r->nfiles; i++)
		if (r->files[i].level == level)
			return true;
	return false;
}

static struct report_file *add(struct report *r, unsigned level, const char *name)
{
	struct report_file *more;
	size_t n = 0;

	for (size_t i = 0; i < r->nfiles; i++)
		n += r->files[i].level == level;
	if (n >= FILES_MAX)
		return NULL;
	more = realloc(r->files, (r->nfiles + 1) * sizeof(*more));
	if (!more)
		return NULL;
	r->files = more;
	more += r->nfiles;
	*more = (struct report_file){.level = level, .name = strdup(name)};
	if (!more->name)
		return NULL;
	r->nfiles++;
	return more;
}

static int append(struct report *r, struct report_file *f, const char *data, size_t size)
{
	char *more;

	if (f->size + size > FILE_MAX || r->bytes + size > BYTES_MAX)
		return -EFBIG;
	more = realloc(f->data, f->size + size + 1);
	if (!more)
		return -ENOMEM;
	memcpy(more + f->size, data, size);
	f->data = more;
	f->size += size;
	f->data[f->size] = 0;
	r->bytes += size;
	return 0;
}

int report_put(struct report *r, unsigned level, const char *name, const char *by, const char *data, size_t size)
{
	struct report_file *f = add(r, level, name);

	if (!f)
		return -ENOMEM;
	f->by = strdup(by);
	return f->by ? append(r, f, data, size) : -ENOMEM;
}

int report_put_missing(struct report *r, unsigned level, const char *name, const char *why)
{
	struct report_file *f = add(r, level, name);

	if (!f)
		return -ENOMEM;
	f->why = strdup(why);
	return f->why ? 0 : -ENOMEM;
}

/* A name that is a file's in this level's folder, and nothing else: small letters, digits, '.', '-'. */
static bool good_name(const char *s)
{
	size_t n = s ? strlen(s) : 0;

	return n && n < 64 && s[0] != '.' && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789.-") == n;
}

/* "file": name, by, part (from 0), text or base64. Parts come in order. */
static int take_part(struct report *r, unsigned level, const char *name, const json_t *msg)
{
	const char *by = json_string_value(json_object_get(msg, "by"));
	const json_t *text = json_object_get(msg, "text");
	const char *packed = json_string_value(json_object_get(msg, "base64"));
	json_int_t part = json_integer_value(json_object_get(msg, "part"));
	struct report_file *f = (struct report_file *)report_find(r, level, name);
	u8 *data;
	size_t n;
	int rc;

	if (part == 0 ? f != NULL : !f || !f->by)
		return -EPROTO;
	if (!f) {
		rc = report_put(r, level, name, by ? by : "", "", 0);
		if (rc)
			return rc;
		f = &r->files[r->nfiles - 1];
	}
	if (json_is_string(text))
		return append(r, f, json_string_value(text), json_string_length(text));
	if (!packed)
		return -EPROTO;
	data = base64_decode(packed, strlen(packed), &n);
	if (!data)
		return -EPROTO;
	rc = append(r, f, (const char *)data, n);
	free(data);
	return rc;
}

void report_message(struct report *r, const json_t *msg)
{
	const char *type = json_string_value(json_object_get(msg, "type"));
	const char *name = json_string_value(json_object_get(msg, "name"));
	const char *why = json_string_value(json_object_get(msg, "why"));
	json_int_t level = json_integer_value(json_object_get(msg, "level"));

	if (!type || level < 1 || level >= REPORT_LEVELS || r->ended[level])
		return;
	if (!strcmp(type, "report_end")) {
		r->ended[level] = true;
	} else if (!strcmp(type, "file") || !strcmp(type, "missing")) {
		bool file = !strcmp(type, "file");

		if (!good_name(name) || (!file && report_find(r, (unsigned)level, name)) ||
		    (file ? take_part(r, (unsigned)level, name, msg)
			  : report_put_missing(r, (unsigned)level, name, why ? why : "")))
			r->parts_lost++;
	}
}

static int store_file(void *ctx, const char *name, const char *by, const char *data, size_t size)
{
	struct report_section *s = ctx;

	return report_put(s->report, s->level, name, by, data, size);
}

static int store_missing(void *ctx, const char *name, const char *why)
{
	struct report_section *s = ctx;

	return report_put_missing(s->report, s->level, name, why);
}

const struct report_out report_store = {.file = store_file, .missing = store_missing};

void report_free(struct report *r)
{
	for (size_t i = 0; i < r->nfiles; i++) {
		free(r->files[i].name);
		free(r->files[i].by);
		free(r->files[i].data);
		free(r->files[i].why);
	}
	free(r->files);
	*r = (struct report){0};
}
