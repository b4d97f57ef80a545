/*
 * What has been counted of a guest's guests (core/vcpu.h: vcpu_guests), of all vCPUs together, in words (nested.h).
 */
#include <inttypes.h>
#include <stdlib.h>

#include "arch/x86/exits.h"
#include "arch/x86/vmentry_rules.h"
#include "arch/x86/vmrun_rules.h"
#include "inspect/fault.h"
#include "inspect/nested.h"

#define NONE (~0ull)
#define ROWS 64u /* of all vCPUs together; the last one takes what is left over */

struct sums {
	unsigned n;
	struct vcpu_guest of[ROWS];
};

static struct vcpu_guest *row_of(struct sums *s, u64 at)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->of[i].at == at)
			return &s->of[i];
	if (s->n < ROWS) {
		s->of[s->n].at = s->n < ROWS - 1 ? at : NONE;
		s->n++;
	}
	return &s->of[s->n - 1];
}

static void add(struct sums *s, const struct vcpu_guest *g)
{
	struct vcpu_guest *row = row_of(s, g->at);

	row->entries += g->entries;
	row->refused += g->refused;
	if (g->under_for && (!row->under_for || row->under == g->under)) {
		row->under = g->under;
		row->under_for += g->under_for;
	} else if (row->under_for > g->under_for) {
		row->under_for -= g->under_for;
	} else if (g->under_for) {
		row->under = g->under;
		row->under_for = g->under_for - row->under_for;
	}
	for (unsigned e = 0; e < X86_EXITS; e++)
		row->exits[e] += g->exits[e];
}

/* Levels are L2, and L3 with all below it: L1 runs them by turns in the same VMCB. An asker whose other requests led
 * elsewhere was taken for one by chance. */
static bool deeper(const struct sums *s, const struct vcpu_guest *g)
{
	for (unsigned i = 0; i < s->n && g->under_for; i++)
		if (s->of[i].at == g->under)
			return g->under_for * 2 > s->of[i].exits[EXIT_VMRUN] + s->of[i].exits[EXIT_VMLAUNCH] +
							  s->of[i].exits[EXIT_VMRESUME];
	return false;
}

/* ---- the table ---- */

struct line {
	u64 code; /* of the vendor; several of our numbers may share one */
	enum x86_exit exit;
	u64 count[2]; /* L2; L3 and deeper */
};

static int by_count(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	u64 nx = x->count[0] + x->count[1], ny = y->count[0] + y->count[1];

	return nx < ny ? 1 : nx > ny ? -1 : x->exit < y->exit ? -1 : 1;
}

static unsigned lines_make(const struct sums *s, bool svm, struct line *line)
{
	unsigned n = 0;

	for (unsigned e = 0; e < X86_EXITS; e++) {
		u64 code = svm ? x86_exit_rows[e].svm_code : x86_exit_rows[e].vmx_reason;
		unsigned k = 0;

		while (k < n && line[k].code != code)
			k++;
		if (k == n)
			line[n++] = (struct line){.code = code, .exit = (enum x86_exit)e};
		for (unsigned i = 0; i < s->n; i++)
			line[k].count[deeper(s, &s->of[i])] += s->of[i].exits[e];
	}
	qsort(line, n, sizeof(*line), by_count);
	return n;
}

static void print_table(const struct sums *s, bool svm, FILE *out)
{
	struct line line[X86_EXITS];
	unsigned n = lines_make(s, svm, line), guests[2] = {0};
	u64 total[2] = {0};

	for (unsigned i = 0; i < s->n; i++)
		guests[deeper(s, &s->of[i])]++;
	fprintf(out, "VM exits of %15s%s\n", "L2", guests[1] ? "    L3 and deeper" : "");
	for (unsigned i = 0; i < n; i++) {
		if (!line[i].count[0] && !line[i].count[1])
			break;
		total[0] += line[i].count[0];
		total[1] += line[i].count[1];
		fprintf(out, "%27" PRIu64, line[i].count[0]);
		if (guests[1])
			fprintf(out, "  %15" PRIu64, line[i].count[1]);
		if (svm && line[i].code == NONE)
			fprintf(out, "     -1  ");
		else
			fprintf(out, svm ? "  %4" PRIx64 "h  " : "  %4" PRIu64 "   ", line[i].code);
		if (svm)
			inspect_svm_code(line[i].code, out);
		else
			fprintf(out, "%s", x86_exit_vmx_text(line[i].code));
		fputc('\n', out);
	}
	fprintf(out, "%27" PRIu64, total[0]);
	if (guests[1])
		fprintf(out, "  %15" PRIu64, total[1]);
	fprintf(out, "         in all\n");
}

static void print_guests(const struct sums *s, const char *what, FILE *out)
{
	for (unsigned i = 0; i < s->n; i++) {
		const struct vcpu_guest *g = &s->of[i];

		if (g->at == NONE)
			fprintf(out, "more %ss than there is room for: ", what);
		else
			fprintf(out, "%s %#" PRIx64 " %s: ", what, g->at, deeper(s, g) ? "L3 or deeper" : "L2");
		fprintf(out, "%" PRIu64 " entries", g->entries);
		if (g->refused)
			fprintf(out, ", %" PRIu64 " refused", g->refused);
		if (deeper(s, g))
			fprintf(out, ", asked for by the guest of %s %#" PRIx64, what, g->under);
		fputc('\n', out);
	}
}

static void print_refusal(const struct vcpu_guests *g, bool svm, const char *what, FILE *out)
{
	u32 rule = g->refused_rule;

	fprintf(out, "%s refused, the last time with %s %#" PRIx64 ": ", svm ? "VMRUN" : "VM entry", what,
		g->refused_at);
	if (rule == VCPU_REFUSED_PDPTE)
		fprintf(out, "a PDPTE, in memory, has reserved bits set\n");
	else if (rule == VCPU_REFUSED_MSR)
		fprintf(out, "entry %u of the VM-entry MSR-load area cannot be loaded\n", g->refused_entry);
	else if (svm)
		fprintf(out, "%s: %s\n", vmrun_rule_rows[rule].name, vmrun_rule_rows[rule].text);
	else
		fprintf(out, "%s: %s\n", vmentry_rule_rows[rule].name, vmentry_rule_rows[rule].text);
}

void inspect_guest_failures(const struct vcpu_guests *g, bool svm, FILE *out)
{
	const char *what = svm ? "VMCB" : "VMCS";

	if (g->refused_at != NONE)
		print_refusal(g, svm, what, out);
	if (g->shut_at != NONE) {
		fprintf(out, "triple fault in the guest of %s %#" PRIx64 "\n", what, g->shut_at);
		inspect_faults(&g->shut, out);
	}
}

void inspect_guests(struct vm *vm, bool svm, FILE *out)
{
	struct sums *s = calloc(1, sizeof(*s));

	for (unsigned i = 0; i < vm->nvcpus && s; i++) {
		struct vcpu *v = vm->vcpu[i];
		const struct vcpu_guests *g = v->ops->guests ? v->ops->guests(v) : NULL;

		for (unsigned k = 0; g && k < g->n; k++)
			add(s, &g->of[k]);
	}
	if (s && s->n) {
		print_table(s, svm, out);
		print_guests(s, svm ? "VMCB" : "VMCS", out);
		for (unsigned i = 0; i < vm->nvcpus; i++)
			inspect_guest_failures(vm->vcpu[i]->ops->guests(vm->vcpu[i]), svm, out);
	}
	free(s);
}
