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
	t->guests = 1;
	t->out = out;
	snprintf(t->signature, sizeof(t->signature), "%s", signature);
	t->ascii = progress_columns(out) && !progress_utf8();
	tree_print_host(t, host);
}

struct tree_level *tree_guest(struct tree *t, unsigned n, unsigned k)
{
	if (n < 1 || n > t->depth || k < 1 || k > (n == t->depth ? t->guests : 1))
		return NULL;
	return k == 1 ? &t->level[n] : &t->more[k - 2];
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

static void take_exec(struct tree *t, unsigned n, struct tree_level *l, json_t *msg)
{
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
	json_int_t level = json_integer_value(json_object_get(msg, "level")),
		   guest = json_integer_value(json_object_get(msg, "guest"));
	const char *type = tree_text_of(msg, "type");
	unsigned n, k = guest > 1 && guest <= TREE_GUESTS ? (unsigned)guest : 1;
	bool evidence = !strcmp(type, "evidence");
	struct tree_level *l;

	if (level < 1 || level > (json_int_t)t->depth)
		return;
	n = (unsigned)level;
	l = tree_guest(t, evidence && k > 1 ? n + 1 : n, k); /* several guests' evidence lies with each */
	if (!l)
		return;
	if (!strcmp(type, "hello")) {
		keep(&l->hello, msg);
	} else if (!strcmp(type, "kvm")) {
		keep(&l->kvm, msg);
		for (unsigned i = 1; i <= n; i++)
			tree_print_level(t, i, 1);
	} else if (evidence) {
		keep(&l->evidence, msg);
		for (unsigned i = 1; i <= n; i++)
			tree_print_level(t, i, 1);
		if (n < t->depth)
			tree_print_level(t, n + 1, k);
	} else if (!strcmp(type, "error")) {
		if (!l->error) /* the first is the cause */
			keep(&l->error, msg);
	} else if (!strcmp(type, "cpuid")) {
		json_int_t ns = json_integer_value(json_object_get(msg, "ns"));
		l->cpuid_ns = ns > 0 ? (u64)ns : 0;
	} else if (!strcmp(type, "dmesg")) {
		take_log(l, json_object_get(msg, "records"));
	} else if (!strcmp(type, "exec")) {
		take_exec(t, n, l, msg);
	} else if (!strcmp(type, "console")) {
		take_console(t, n, msg);
	} else if (!strcmp(type, "done") || !strcmp(type, "up")) { /* up: nothing more is to come by itself */
		l->done = true;
	}
}

bool tree_is_up(const struct tree *t)
{
	for (unsigned n = 1; n <= t->depth; n++)
		if (!t->level[n].done)
			return false;
	for (unsigned k = 2; k <= t->guests; k++)
		if (!t->more[k - 2].done)
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

	for (unsigned k = t->guests; k >= 2; k--) {
		const json_t *error = t->more[k - 2].error;

		if (!error)
			continue;
		broke(v, EXIT_GUEST, t->depth);
		snprintf(v->text, sizeof(v->text), "L%u.%u: %s: %s", t->depth, k, tree_text_of(error, "what"),
			 tree_text_of(error, "why"));
		return true;
	}
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
		if (n > 1 && !tree_exits(t, n, 1)) {
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

/* The same of the innermost level's other guests. */
static bool find_gap_beside(const struct tree *t, struct tree_verdict *v)
{
	for (unsigned k = 2; k <= t->guests; k++) {
		const struct tree_level *l = &t->more[k - 2];
		const char *is = tree_text_of(l->hello, "hypervisor"), *why = NULL;

		if (!l->hello)
			why = "did not come up";
		else if (strcmp(is, "KVMKVMKVM") != 0)
			why = "does not report KVM as its hypervisor";
		else if (!tree_exits(t, t->depth, k))
			why = "caused no exits that the KVM above it counted";
		else if (!l->done)
			why = "did not finish";
		if (!why)
			continue;
		broke(v, l->hello && l->done ? EXIT_NOT_SO : EXIT_GUEST, t->depth);
		snprintf(v->text, sizeof(v->text), "L%u.%u %s", t->depth, k, why);
		return true;
	}
	return false;
}

void tree_conclude(struct tree *t, const char *stopped, struct tree_verdict *v)
{
	*v = (struct tree_verdict){0};
	for (unsigned n = 1; n <= t->depth; n++)
		tree_print_level(t, n, 1);
	for (unsigned k = 2; k <= t->guests; k++)
		tree_print_level(t, t->depth, k);
	if (find_error(t, v) || find_gap(t, stopped, v) || find_gap_beside(t, v))
		return;
	broke(v, EXIT_DONE, 0);
	if (t->guests > 1)
		snprintf(v->text, sizeof(v->text),
			 "nested KVM works: %u guests in L%u ran on L%u's KVM, not on emulation", t->guests, t->depth,
			 t->depth - 1);
	else
		snprintf(v->text, sizeof(v->text), "nested KVM works: L%u ran on L%u's KVM, not on emulation", t->depth,
			 t->depth - 1);
}

static void set_if(json_t *o, const char *key, json_t *value)
{
	if (value)
		json_object_set(o, key, value);
}

static json_t *level_json(const struct tree_level *l, unsigned n)
{
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
	return o;
}

json_t *tree_json(const struct tree *t, const struct tree_verdict *v)
{
	json_t *levels = json_array();

	for (unsigned n = 1; n <= t->depth; n++)
		json_array_append_new(levels, level_json(&t->level[n], n));
	for (unsigned k = 2; k <= t->guests; k++) {
		json_t *o = level_json(&t->more[k - 2], t->depth);

		json_object_set_new(o, "guest", json_integer((json_int_t)k));
		json_array_append_new(levels, o);
	}
	return json_pack("{s:b, s:s, s:i, s:i, s:o}", "works", v->code == EXIT_DONE, "verdict", v->text, "broke_at",
			 (int)v->level, "exit_code", (int)v->code, "levels", levels);
}

void tree_print_log(const struct tree_level *l, FILE *out)
{
	size_t i;
	json_t *r;

	json_array_foreach(l->log, i, r)
	{
		u64 us = (u64)json_integer_value(json_array_get(r, 1));

		fprintf(out, "<%d>[%5" PRIu64 ".%06" PRIu64 "] %s\n", (int)json_integer_value(json_array_get(r, 0)),
			us / 1000000, us % 1000000, json_string_value(json_array_get(r, 2)));
	}
}

static void level_free(struct tree_level *l)
{
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

void tree_free(struct tree *t)
{
	for (unsigned n = 1; n <= t->depth; n++)
		level_free(&t->level[n]);
	for (unsigned k = 0; k < TREE_GUESTS - 1; k++)
		level_free(&t->more[k]);
}
