/* Walks over field tables: the tiling check, the diff and the printout. */
#include "base/desc.h"

#include <inttypes.h>
#include <string.h>

#define PATH_MAX_LEN 160

const char *desc_check(const struct desc *d)
{
	static _Thread_local char text[200];
	u64 end = 0;

	for (u32 i = 0; i < d->nfields; i++) {
		const struct desc_field *f = &d->fields[i];

		if (f->offset != end) {
			snprintf(text, sizeof(text), "%s: %s at offset %u, but what is before it ends at %" PRIu64,
				 d->name, f->name, f->offset, end);
			return text;
		}
		if (!f->size || !f->count) {
			snprintf(text, sizeof(text), "%s: %s is empty", d->name, f->name);
			return text;
		}
		if (f->sub) {
			const char *why = desc_check(f->sub);

			if (why)
				return why;
			if (f->sub->size != f->size) {
				snprintf(text, sizeof(text), "%s: %s has %u bytes, its table %s has %u", d->name,
					 f->name, f->size, f->sub->name, f->sub->size);
				return text;
			}
		}
		end += (u64)f->size * f->count;
	}
	if (end != d->size) {
		snprintf(text, sizeof(text), "%s: the rows end at %" PRIu64 ", the struct at %u", d->name, end,
			 d->size);
		return text;
	}
	return NULL;
}

struct diff_walk {
	void (*cb)(void *ctx, const char *path, const void *va, const void *vb, u32 size);
	void *ctx;
	unsigned n;
	char path[PATH_MAX_LEN];
};

static void diff_walk(struct diff_walk *w, size_t len, const struct desc *d, const u8 *a, const u8 *b)
{
	for (u32 i = 0; i < d->nfields; i++) {
		const struct desc_field *f = &d->fields[i];

		if (!memcmp(a + f->offset, b + f->offset, (size_t)f->size * f->count))
			continue;
		for (u32 k = 0; k < f->count; k++) {
			const u8 *ea = a + f->offset + (size_t)k * f->size, *eb = b + f->offset + (size_t)k * f->size;
			char *tail = w->path + len;
			size_t room = sizeof(w->path) - len;
			int n;

			if (!memcmp(ea, eb, f->size))
				continue;
			n = f->count > 1 ? snprintf(tail, room, "%s%s[%u]", len ? "." : "", f->name, k)
					 : snprintf(tail, room, "%s%s", len ? "." : "", f->name);
			size_t sublen = len + MIN((size_t)n, room - 1);
			if (f->sub) {
				diff_walk(w, sublen, f->sub, ea, eb);
			} else {
				w->n++;
				if (w->cb)
					w->cb(w->ctx, w->path, ea, eb, f->size);
			}
			w->path[len] = 0;
		}
	}
}

unsigned desc_diff(const struct desc *d, const void *a, const void *b,
		   void (*cb)(void *ctx, const char *path, const void *va, const void *vb, u32 size), void *ctx)
{
	struct diff_walk w = {.cb = cb, .ctx = ctx};

	diff_walk(&w, 0, d, a, b);
	return w.n;
}

static void print_scalar(const u8 *p, u32 size, FILE *out)
{
	u64 v = 0;

	if (size <= 8) {
		memcpy(&v, p, size);
		fprintf(out, "%0*" PRIx64, (int)size * 2, v);
		return;
	}
	for (u32 i = 0; i < size; i++)
		fprintf(out, "%02x", p[i]);
}

static void print_walk(char *path, size_t len, const struct desc *d, const u8 *p, FILE *out)
{
	for (u32 i = 0; i < d->nfields; i++) {
		const struct desc_field *f = &d->fields[i];
		const u8 *base = p + f->offset;
		const char *dot = len ? "." : "";

		if (!f->sub && f->size == 1 && f->count > 1) {
			fprintf(out, "%s%s%s = ", path, dot, f->name);
			for (u32 k = 0; k < f->count; k++)
				fprintf(out, "%02x", base[k]);
			fputc('\n', out);
			continue;
		}
		for (u32 k = 0; k < f->count; k++) {
			size_t room = PATH_MAX_LEN - len;
			int n = f->count > 1 ? snprintf(path + len, room, "%s%s[%u]", dot, f->name, k)
					     : snprintf(path + len, room, "%s%s", dot, f->name);

			if (f->sub) {
				print_walk(path, len + MIN((size_t)n, room - 1), f->sub, base + (size_t)k * f->size,
					   out);
			} else {
				fprintf(out, "%s = ", path);
				print_scalar(base + (size_t)k * f->size, f->size, out);
				fputc('\n', out);
			}
			path[len] = 0;
		}
	}
}

void desc_print(const struct desc *d, const void *obj, FILE *out)
{
	char path[PATH_MAX_LEN] = "";

	print_walk(path, 0, d, obj, out);
}
