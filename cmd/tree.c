/* The levels' messages taken in, the verdict drawn. */
#include "cmd/tree.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/progress.h"

#define LOG_RECORDS  20000
#define EXEC_RECORDS 100

bool tree_is_complaint(int priority, const char *text)
{
	static const char *const words[] = {
		"WARNING",
		"BUG:",
		"unchecked MSR access",
		"Call Trace",
		"lost interrupt",
		"nobody cared",
		"Marking clocksource",
		"Marking TSC",
		"as unstable",
		"clocksource: timekeeping watchdog",
		"hrtimer: interrupt took",
		"No irq handler for vector",
		"spurious",
		"detected stall",
		"stalls on CPUs",
		"soft lockup",
		"hard LOCKUP",
		"general protection",
		"Oops",
		"TSC calibration failed",
		"Unable to calibrate",
		"APIC calibration",
		"APIC frequency too slow",
		"timer doesn't work",
		"MP-BIOS bug",
		"[Firmware Bug]",
		"tainted",
		"not responding",
	};

	if (priority <= 2)
		return true;
	/* Said of every multiprocessor of AMD's whose TSC is not invariant: so it is in KVM's guests. */
	if (strstr(text, "Marking TSC unstable due to TSCs unsynchronized"))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (strstr(text, words[i]))
			return true;
	return false;
}

void tree_start(struct tree *t, unsigned depth, const char *signature, const char *host, FILE *out)
{
	memset(t, 0, sizeof(*t));
	t->depth = depth;
	t->out = out;
	snprintf(t->signature, sizeof(t->signature), "%s", signature);
	t->ascii = progress_columns(out) && !progress_utf8();
	tree_print_host(t, host);
}

static void keep(json_t **slot, json_t *msg)
{
	json_decref(*slot);
	*slot = json_incref(msg);
}

static void take_log(struct tree_level *l, const json_t *records)
{
	size_t i;
	json_t *r;

	if (!l->log)
		l->log = json_array();
	if (!l->complaints)
		l->complaints = json_array();
	json_array_foreach(records, i, r)
	{
		const char *text = json_string_value(json_array_get(r, 2));

		if (!text || json_array_size(l->log) >= LOG_RECORDS)
			continue;
		json_array_append(l->log, r);
		if (tree_is_complaint((int)json_integer_value(json_array_get(r, 0)), text))
			json_array_append_new(l->complaints, json_string(text));
	}
}

static void take_exec(struct tree *t, unsigned n, json_t *msg)
{
	struct tree_level *l = &t->level[n];

	if (!l->exec)
		l->exec = json_array();
	if (json_array_size(l->exec) >= EXEC_RECORDS)
		return;
	json_array_append(l->exec, msg);
	if (l->printed)
		tree_print_exec(t, n, msg);
}

static void take_console(struct tree *t, unsigned from, const json_t *msg)
{
	json_int_t of = json_integer_value(json_object_get(msg, "of"));
	const char *text = json_string_value(json_object_get(msg, "text"));

	if (of <= (json_int_t)from || of > (json_int_t)t->depth || !text)
		return;
	free(t->level[of].console);
	t->level[of].console = strdup(text);
}

void tree_message(struct tree *t, json_t *msg)
{
	json_int_t n = json_integer_value(json_object_get(msg, "level"));
	const char *type = tree_text_of(msg, "type");
	struct tree_level *l;

	if (n < 1 || n > (json_int_t)t->depth)
		return;
	l = &t->level[n];
	if (!strcmp(type, "hello")) {
		keep(&l->hello, msg);
	} else if (!strcmp(type, "kvm")) {
		keep(&l->kvm, msg);
		for (unsigned k = 1; k <= (unsigned)n; k++)
			tree_print_level(t, k);
	} else if (!strcmp(type, "evidence")) {
		keep(&l->evidence, msg);
		for (unsigned k = 1; k <= (unsigned)n + 1 && k <= t->depth; k++)
			tree_print_level(t, k);
	} else if (!strcmp(type, "error")) {
		if (!l->error) /* the first is the cause */
			keep(&l->error, msg);
	} else if (!strcmp(type, "cpuid")) {
		json_int_t ns = json_integer_value(json_object_get(msg, "ns"));
		l->cpuid_ns = ns > 0 ? (u64)ns : 0;
	} else if (!strcmp(type, "dmesg")) {
		take_log(l, json_object_get(msg, "records"));
	} else if (!strcmp(type, "exec")) {
		take_exec(t, (unsigned)n, msg);
	} else if (!strcmp(type, "console")) {
		take_console(t, (unsigned)n, msg);
	} else if (!strcmp(type, "done") || !strcmp(type, "up")) { /* up: nothing more is to come by itself */
		l->done = true;
	}
}

bool tree_is_up(const struct tree *t)
{
	for (unsigned n = 1; n <= t->depth; n++)
		if (!t->level[n].done)
			return false;
	return true;
}

static void broke(struct tree_verdict *v, enum exit_code code, unsigned level)
{
	v->code = code;
	v->level = level;
}

/* A level that spoke of its own failure; the deepest one is nearest to the cause. */
static bool find_error(const struct tree *t, struct tree_verdict *v)
{
	char below[16];

	for (unsigned n = t->depth; n >= 1; n--) {
		const json_t *error = t->level[n].error;
		const char *kind = tree_text_of(error, "kind");

		if (!error)
			continue;
		broke(v,
		      !strcmp(kind, "not_so")	 ? EXIT_NOT_SO
		      : !strcmp(kind, "timeout") ? EXIT_TIMEOUT
						 : EXIT_GUEST,
		      n);
		snprintf(below, sizeof(below), "L%u", n + 1);
		if (n < t->depth && !strcmp(tree_text_of(error, "what"), below)) { /* what it saw of the level below */
			v->level = n + 1;
			snprintf(v->text, sizeof(v->text), "%s: %s", below, tree_text_of(error, "why"));
			return true;
		}
		snprintf(v->text, sizeof(v->text), "L%u: %s: %s", n, tree_text_of(error, "what"),
			 tree_text_of(error, "why"));
		return true;
	}
	return false;
}

static bool find_gap(const struct tree *t, const char *stopped, struct tree_verdict *v)
{
	for (unsigned n = 1; n <= t->depth; n++) {
		const struct tree_level *l = &t->level[n];
		const char *want = n == 1 ? t->signature : "KVMKVMKVM", *is = tree_text_of(l->hello, "hypervisor");

		broke(v, EXIT_GUEST, n);
		if (!l->hello) {
			snprintf(v->text, sizeof(v->text), "L%u did not come up%s%s", n, stopped ? ": " : "",
				 stopped ? stopped : "");
			return true;
		}
		if (strcmp(is, want) != 0) {
			broke(v, EXIT_NOT_SO, n);
			snprintf(v->text, sizeof(v->text),
				 "L%u: its processor reports the hypervisor \"%s\", not \"%s\"", n, is, want);
			return true;
		}
		if (n < t->depth && !l->kvm) {
			snprintf(v->text, sizeof(v->text), "L%u said nothing of its KVM%s%s", n, stopped ? ": " : "",
				 stopped ? stopped : "");
			return true;
		}
		if (n > 1 && !tree_exits(t, n - 1)) {
			/* while it runs nothing is counted yet: then the stop is the news */
			broke(v, stopped ? EXIT_GUEST : EXIT_NOT_SO, n);
			snprintf(v->text, sizeof(v->text), "L%u: %s", n,
				 stopped ? stopped : "the KVM above it counted no exits for it");
			return true;
		}
	}
	for (unsigned n = t->depth; n >= 1; n--) {
		if (t->level[n].done)
			continue;
		broke(v, EXIT_GUEST, n);
		snprintf(v->text, sizeof(v->text), "L%u did not finish%s%s", n, stopped ? ": " : "",
			 stopped ? stopped : "");
		return true;
	}
	return false;
}

void tree_conclude(struct tree *t, const char *stopped, struct tree_verdict *v)
{
	*v = (struct tree_verdict){0};
	for (unsigned n = 1; n <= t->depth; n++)
		tree_print_level(t, n);
	if (find_error(t, v) || find_gap(t, stopped, v))
		return;
	broke(v, EXIT_DONE, 0);
	snprintf(v->text, sizeof(v->text), "nested KVM works: L%u ran on L%u's KVM, not on emulation", t->depth,
		 t->depth - 1);
}

static void set_if(json_t *o, const char *key, json_t *value)
{
	if (value)
		json_object_set(o, key, value);
}

json_t *tree_json(const struct tree *t, const struct tree_verdict *v)
{
	json_t *levels = json_array();

	for (unsigned n = 1; n <= t->depth; n++) {
		const struct tree_level *l = &t->level[n];
		json_t *o = json_pack("{s:i, s:b}", "level", (int)n, "done", l->done);

		set_if(o, "hello", l->hello);
		set_if(o, "kvm", l->kvm);
		set_if(o, "evidence", l->evidence);
		set_if(o, "error", l->error);
		set_if(o, "complaints", l->complaints);
		set_if(o, "exec", l->exec);
		if (l->cpuid_ns)
			json_object_set_new(o, "cpuid_ns", json_integer((json_int_t)l->cpuid_ns));
		if (l->console)
			json_object_set_new(o, "console", json_string(l->console));
		json_array_append_new(levels, o);
	}
	return json_pack("{s:b, s:s, s:i, s:i, s:o}", "works", v->code == EXIT_DONE, "verdict", v->text, "broke_at",
			 (int)v->level, "exit_code", (int)v->code, "levels", levels);
}

void tree_print_log(const struct tree *t, unsigned level, FILE *out)
{
	size_t i;
	json_t *r;

	json_array_foreach(t->level[level].log, i, r)
	{
		u64 us = (u64)json_integer_value(json_array_get(r, 1));

		fprintf(out, "<%d>[%5" PRIu64 ".%06" PRIu64 "] %s\n", (int)json_integer_value(json_array_get(r, 0)),
			us / 1000000, us % 1000000, json_string_value(json_array_get(r, 2)));
	}
}

void tree_free(struct tree *t)
{
	for (unsigned n = 1; n <= t->depth; n++) {
		struct tree_level *l = &t->level[n];

		json_decref(l->hello);
		json_decref(l->kvm);
		json_decref(l->evidence);
		json_decref(l->error);
		json_decref(l->log);
		json_decref(l->complaints);
		json_decref(l->exec);
		free(l->console);
		*l = (struct tree_level){0};
	}
}
