/* Findings as text of 80 columns, and as JSON. */
#include <stdlib.h>
#include <string.h>

#include "cmd/check.h"

#define COLUMNS 80

static const struct {
	const char *word, *key, *colour;
} severities[] = {
	[CHECK_OK] = {"ok", "ok", "\033[32m"},
	[CHECK_NOTE] = {"note", "note", "\033[36m"},
	[CHECK_WARNING] = {"warn", "warning", "\033[33m"},
	[CHECK_PROBLEM] = {"BAD", "problem", "\033[31m"},
};

static const struct {
	const char *group, *title;
} groups[] = {
	{"where", "where this is"}, {"possible", "is nesting possible"}, {"on", "is it on"}, {"fast", "is it fast"},
	{"safe", "is it safe"},
};

/* A text from column `at`, wrapped; the lines after the first begin there too. Columns are counted, not bytes. */
static void wrap(FILE *out, unsigned at, const char *text)
{
	unsigned column = at;

	while (*text) {
		size_t n = strcspn(text, " ");
		unsigned wide = 0;

		for (size_t i = 0; i < n; i++)
			wide += (text[i] & 0xc0) != 0x80;
		if (column > at && column + 1 + wide > COLUMNS) {
			fprintf(out, "\n%*s", at, "");
			column = at;
		} else if (column > at) {
			putc(' ', out);
			column++;
		}
		fwrite(text, 1, n, out);
		column += wide;
		text += n + strspn(text + n, " ");
	}
	putc('\n', out);
}

static void print_part(FILE *out, const char *label, const char *text, bool whole)
{
	if (!text || !*text)
		return;
	fprintf(out, "%7s%-5s", "", label);
	if (whole) /* a command: to be copied, so never broken */
		fprintf(out, "%s\n", text);
	else
		wrap(out, 12, text);
}

static void print_finding(const struct check_finding *f, bool verbose, bool colour, FILE *out)
{
	fprintf(out, "  %s%-4s%s ", colour ? severities[f->severity].colour : "", severities[f->severity].word,
		colour ? "\033[0m" : "");
	wrap(out, 7, f->what ? f->what : "");
	if (verbose || f->severity != CHECK_OK || f->name == CHECK_level)
		print_part(out, "why", f->evidence, false);
	if (verbose || f->severity != CHECK_OK) {
		print_part(out, "so", f->consequence, false);
		print_part(out, "do", f->remedy, true);
	}
}

void check_print(const struct check *c, bool verbose, bool colour, FILE *out)
{
	for (unsigned g = 0; g < ARRAY_SIZE(groups); g++) {
		bool any = false;

		for (unsigned i = 0; i < c->n; i++) {
			if (strcmp(check_rows[c->finding[i].name].group, groups[g].group) != 0)
				continue;
			if (!any)
				fprintf(out, "%s\n", groups[g].title);
			any = true;
			print_finding(&c->finding[i], verbose, colour, out);
		}
		if (any)
			putc('\n', out);
	}
	fprintf(out, "nesting is ");
	wrap(out, 11, c->nesting_text);
	if (c->nesting == NESTING_IMPOSSIBLE && c->cpu.arch == HOST_X86)
		fprintf(out, "nestbox nest works here all the same: it brings its own processor\n");
}

static void set_text(json_t *o, const char *key, const char *text)
{
	json_t *s = text ? json_string(text) : json_null();

	json_object_set_new(o, key, s ? s : json_null()); /* not UTF-8: null */
}

json_t *check_json(const struct check *c, int exit_code)
{
	static const char *const words[] = {[NESTING_ON] = "on",
					    [NESTING_OFF] = "off",
					    [NESTING_IMPOSSIBLE] = "impossible",
					    [NESTING_UNKNOWN] = "unknown"};
	json_t *all = json_array(), *level;

	for (unsigned i = 0; i < c->n; i++) {
		const struct check_finding *f = &c->finding[i];
		json_t *o = json_object();

		set_text(o, "name", check_rows[f->name].name);
		set_text(o, "part", f->part);
		set_text(o, "group", check_rows[f->name].group);
		set_text(o, "severity", severities[f->severity].key);
		set_text(o, "what", f->what);
		set_text(o, "evidence", f->evidence);
		set_text(o, "consequence", f->consequence);
		set_text(o, "remedy", f->remedy);
		json_array_append_new(all, o);
	}
	level = json_pack("{s:i, s:i, s:b}", "least", c->level.least, "most", c->level.most, "emulated",
			  c->level.emulated);
	set_text(level, "parent", c->level.parent);
	set_text(level, "how", c->level.how);
	return json_pack("{s:s, s:s, s:i, s:o, s:o}", "nesting", words[c->nesting], "text", c->nesting_text,
			 "exit_code", exit_code, "level", level, "findings", all);
}
