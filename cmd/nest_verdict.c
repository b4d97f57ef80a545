/* A chain's end: the verdict, what the levels' kernels said, the saved logs (nest_verdict.h). */
#include "cmd/nest_verdict.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/cmd.h"
#include "cmd/level.h"

/* false: no more of them are worth trying. */
static bool save_log(const char *folder, const struct tree_level *l, unsigned level, unsigned guest)
{
	char path[512], number[16] = "";

	if (guest > 1)
		snprintf(number, sizeof(number), ".%u", guest);
	snprintf(path, sizeof(path), "%s/dmesg-L%u%s.txt", folder, level, number);
	FILE *f = fopen(path, "w");
	if (!f) {
		fprintf(stderr, "nestbox nest: %s cannot be written: %s\n", path, strerror(errno));
		return false;
	}
	tree_print_log(l, f);
	bool lost = ferror(f);
	if (fclose(f) || lost)
		fprintf(stderr, "nestbox nest: %s is not whole: %s\n", path, strerror(errno));
	return true;
}

static void save_logs(struct nest_verdict *v)
{
	const struct tree_level *l;

	if (mkdir(v->options->dmesg, 0755) && errno != EEXIST)
		fprintf(stderr, "nestbox nest: %s cannot be made: %s\n", v->options->dmesg, strerror(errno));
	for (unsigned i = 1; i <= v->tree->depth; i++)
		for (unsigned k = 1; (l = tree_guest(v->tree, i, k)); k++)
			if (!save_log(v->options->dmesg, l, i, k))
				return;
}

static void print_complaints(struct nest_verdict *v)
{
	const struct tree_level *l;
	size_t at;
	json_t *text;

	for (unsigned i = 1; i <= v->tree->depth; i++)
		for (unsigned k = 1; (l = tree_guest(v->tree, i, k)); k++)
			json_array_foreach(l->complaints, at, text)
				fprintf(stderr, "L%u's kernel complained: %s\n", i, json_string_value(text));
}

/* The console of the level that broke, or the nearest one above it that left any words. */
static void print_console(struct nest_verdict *v, unsigned level)
{
	const char *text = NULL;
	char *own = NULL, *save = NULL, *copy;

	for (; level > 1; level--) {
		text = v->tree->level[level].console;
		if (text && *text)
			break;
		text = NULL;
	}
	if (!text)
		text = own = tail_text(v->serial, 20);
	copy = text ? strdup(text) : NULL;
	if (copy && *copy)
		fprintf(stderr, "L%u's last words on its console:\n", level ? level : 1);
	for (char *line = copy ? strtok_r(copy, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
		fprintf(stderr, "  L%u| %s\n", level ? level : 1, line);
	free(copy);
	free(own);
}

static void print_result(struct nest_verdict *v)
{
	const struct tree_verdict *r = &v->result;

	if (v->options->json) {
		json_t *all = tree_json(v->tree, r);

		json_dumpf(all, stdout, JSON_INDENT(1));
		putchar('\n');
		json_decref(all);
	} else if (r->code == EXIT_DONE) {
		puts(r->text);
	}
	fflush(stdout);
	if (r->code != EXIT_DONE) {
		fprintf(stderr, "nested KVM does not work here: %s\n", r->text);
		if (r->code != EXIT_NOT_SO)
			print_console(v, r->level);
	}
}

void nest_verdict(struct nest_verdict *v, enum vm_stop stop, const struct err *e)
{
	struct tree_verdict *r = &v->result;
	char stopped[500];

	if ((stop == VM_ERROR || stop == VM_TRIPLE_FAULT) && e->code)
		snprintf(stopped, sizeof(stopped), "%s", e->text);
	else
		snprintf(stopped, sizeof(stopped), "%s", level_stop_text(stop));
	tree_conclude(v->tree, stop == VM_POWEROFF ? NULL : stopped, r);
	if (stop == VM_TIMEOUT && r->code != EXIT_DONE)
		r->code = EXIT_TIMEOUT;
	print_result(v);
	if (r->code == EXIT_DONE && stop != VM_POWEROFF)
		fprintf(stderr, "L1 did not power itself off afterwards: %s\n", stopped);
	print_complaints(v);
	if (v->options->dmesg)
		save_logs(v);
}
