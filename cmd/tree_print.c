/*
 * The tree in words. A level is one line of parts, " · " between them; where a terminal is narrower than the line it
 * goes on under its first part, and where its locale knows no UTF-8 ASCII stands in.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/progress.h"
#include "cmd/tree.h"

const char *tree_text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "?";
}

u64 tree_exits(const struct tree *t, unsigned n, unsigned k)
{
	const json_t *evidence = k > 1 ? t->more[k - 2].evidence : n > 1 ? t->level[n - 1].evidence : NULL;
	json_int_t exits = json_integer_value(json_object_get(evidence, "exits"));

	return exits > 0 ? (u64)exits : 0;
}

static unsigned width_of(const char *s, size_t n)
{
	unsigned w = 0;

	for (size_t i = 0; i < n; i++)
		w += ((u8)s[i] & 0xc0) != 0x80;
	return w;
}

static void put(const struct tree *t, const char *s, size_t n)
{
	static const struct {
		const char *utf8, *ascii;
	} row[] = {{"└─", "`-"}, {"├─", "|-"}, {"·", "-"}, {"µ", "u"}};

	for (size_t i = 0; i < n;) {
		unsigned k = 0;

		while (k < ARRAY_SIZE(row) && strncmp(s + i, row[k].utf8, strlen(row[k].utf8)) != 0)
			k++;
		if (!t->ascii || k == ARRAY_SIZE(row)) {
			putc(s[i++], t->out);
		} else {
			fputs(row[k].ascii, t->out);
			i += strlen(row[k].utf8);
		}
	}
}

/* A part; one that no line has room for is broken between its words. Returns the column behind it. */
static unsigned put_part(const struct tree *t, const char *s, size_t n, unsigned at, unsigned indent, unsigned columns)
{
	bool whole = !columns || at + width_of(s, n) <= columns, first = true;

	while (n) {
		const char *blank = whole ? NULL : memchr(s, ' ', n);
		size_t k = blank ? (size_t)(blank - s) : n;

		if (!whole && at > indent && at + !first + width_of(s, k) > columns) {
			fprintf(t->out, "\n%*s", (int)indent, "");
			at = indent;
		} else if (!first) {
			putc(' ', t->out);
			at++;
		}
		put(t, s, k);
		at += width_of(s, k);
		first = false;
		k += blank ? 1 : 0;
		s += k;
		n -= k;
	}
	return at;
}

/* `head`, then `text`, which goes on in the column where it began when a terminal has no room for the next part. */
static void print_parts(const struct tree *t, const char *head, const char *text)
{
	static const char between[] = " · ";
	unsigned columns = progress_columns(t->out), indent = width_of(head, strlen(head)), at = indent;
	bool first = true;

	put(t, head, strlen(head));
	if (columns && indent > columns / 2)
		indent = columns / 4;
	while (*text) {
		const char *end = strstr(text, between);
		size_t n = end ? (size_t)(end - text) : strlen(text);
		unsigned w = width_of(text, n);

		if (!first && columns && at + 3 + w > columns) {
			fprintf(t->out, "\n%*s", (int)indent, "");
			at = indent;
		} else if (!first) {
			put(t, between, sizeof(between) - 1);
			at += 3;
		}
		at = put_part(t, text, n, at, indent, columns);
		first = false;
		text += n + (end ? sizeof(between) - 1 : 0);
	}
	putc('\n', t->out);
}

void tree_print_host(const struct tree *t, const char *host)
{
	if (!t->out)
		return;
	print_parts(t, "L0  this host         ", host);
	fflush(t->out);
}

/* 12041 -> "12 041" */
static void group_digits(u64 v, char *out, size_t room)
{
	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%" PRIu64, v);
	size_t k = 0;

	for (int i = 0; i < n && k + 2 < room; i++) {
		if (i && (n - i) % 3 == 0)
			out[k++] = ' ';
		out[k++] = digits[i];
	}
	out[k] = 0;
}

static void add_parameters(const struct tree_level *l, FILE *out)
{
	static const char *const names[] = {"nested", "npt", "ept", "enable_shadow_vmcs", "enable_apicv"};
	const json_t *p = json_object_get(l->kvm, "parameters");

	fprintf(out, " · %s", tree_text_of(l->kvm, "module"));
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		const char *v = json_string_value(json_object_get(p, names[i]));

		if (v)
			fprintf(out, " %s=%s", names[i], v);
	}
}

static void add_evidence(const struct tree_level *l, unsigned n, u64 count, FILE *out)
{
	char exits[32];

	group_digits(count, exits, sizeof(exits));
	fprintf(out, " · on L%u's KVM (%s exits", n - 1, exits);
	if (l->cpuid_ns)
		fprintf(out, l->cpuid_ns < 1000 ? ", cpuid %.0f ns" : ", cpuid %.1f µs",
			l->cpuid_ns < 1000 ? (double)l->cpuid_ns : (double)l->cpuid_ns / 1000);
	fputc(')', out);
}

/* Each line behind the level's name; what a terminal would take for a command is not passed on. */
void tree_print_exec(const struct tree *t, unsigned n, const json_t *exec)
{
	const char *s = json_string_value(json_object_get(exec, "output"));
	FILE *out = t->out;
	bool start = true;

	if (!out)
		return;
	fprintf(out, "L%u$ %s\n", n, tree_text_of(exec, "command"));
	for (; s && *s; s++) {
		if (start)
			fprintf(out, "L%u| ", n);
		start = *s == '\n';
		putc(((unsigned char)*s < ' ' && *s != '\n' && *s != '\t') || *s == 0x7f ? '?' : *s, out);
	}
	if (!start)
		putc('\n', out);
	if (json_is_true(json_object_get(exec, "cut")))
		fprintf(out, "L%u: the rest of its output had no room\n", n);
	if (json_integer_value(json_object_get(exec, "status")))
		fprintf(out, "L%u: exit status %d\n", n, (int)json_integer_value(json_object_get(exec, "status")));
	fflush(out);
}

/* "   └─ L2  nested guest       "; of several guests the one that is printed last closes the branch. */
static void level_head(struct tree *t, unsigned n, unsigned k, char *out, size_t room)
{
	bool several = n == t->depth && t->guests > 1, last = true;
	char number[16] = "";

	for (unsigned i = 1; several && i <= t->guests; i++)
		last &= i == k || tree_guest(t, n, i)->printed;
	if (several)
		snprintf(number, sizeof(number), ".%u", k);
	snprintf(out, room, "%*s%s L%u%s  %s   ", (int)(3 * (n - 1)), "", last ? "└─" : "├─", n, number,
		 n < t->depth ? "guest hypervisor" : "nested guest    ");
}

void tree_print_level(struct tree *t, unsigned n, unsigned k)
{
	struct tree_level *l = tree_guest(t, n, k);
	char head[80], *text = NULL;
	size_t size, i;
	json_t *exec;
	FILE *f;

	if (!t->out || l->printed || !l->hello)
		return;
	f = open_memstream(&text, &size);
	if (!f)
		return;
	level_head(t, n, k, head, sizeof(head));
	l->printed = true;
	fprintf(f, "Linux %s", tree_text_of(l->hello, "kernel"));
	if (l->kvm)
		add_parameters(l, f);
	if (n > 1 && (k > 1 ? l->evidence : t->level[n - 1].evidence))
		add_evidence(l, n, tree_exits(t, n, k), f);
	fprintf(f, " · up in %.1f s", json_number_value(json_object_get(l->hello, "up_s")));
	if (!fclose(f))
		print_parts(t, head, text);
	free(text);
	json_array_foreach(l->exec, i, exec) tree_print_exec(t, n, exec);
	fflush(t->out);
}

void tree_stage(const struct tree *t, char *out, size_t room)
{
	unsigned n = 1;

	while (n < t->depth && t->level[n].hello && t->level[n].kvm)
		n++;
	if (!t->level[n].hello)
		snprintf(out, room, "L%u's kernel starts", n);
	else if (n < t->depth)
		snprintf(out, room, "L%u loads KVM", n);
	else if (!t->level[n].done)
		snprintf(out, room, "L%u is up and measures", n);
	else
		snprintf(out, room, "the levels end");
}
