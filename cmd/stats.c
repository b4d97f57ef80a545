/* Counters as lines of name and number. */
#include "cmd/stats.h"

#include <inttypes.h>
#include <stddef.h>

#include "inspect/nested.h"
#include "machine/machine.h"

static const struct {
	const char *name;
	size_t at;
} rows[] = {
	{"instructions", offsetof(struct vcpu_counters, insns)},
	{"blocks", offsetof(struct vcpu_counters, blocks)},
	{"decoded", offsetof(struct vcpu_counters, decoded)},
	{"tlb misses", offsetof(struct vcpu_counters, tlb_miss)},
	{"vm entries", offsetof(struct vcpu_counters, entries)},
	{"vm exits", offsetof(struct vcpu_counters, exits)},
	{"interrupts", offsetof(struct vcpu_counters, irqs)},
	{"port accesses", offsetof(struct vcpu_counters, pio)},
	{"mmio accesses", offsetof(struct vcpu_counters, mmio)},
	{"halts", offsetof(struct vcpu_counters, halts)},
};

static u64 *row_of(struct vcpu_counters *c, unsigned row) { return (u64 *)((char *)c + rows[row].at); }

void stats_mark(struct stats *s, struct machine *m, const char *name, u64 ns)
{
	const struct vm *vm = machine_vm(m);
	struct stats_mark *mark = &s->mark[s->n];

	if (s->n == ARRAY_SIZE(s->mark))
		return;
	s->n++;
	*mark = (struct stats_mark){.ns = ns};
	snprintf(mark->name, sizeof(mark->name), "%s", name);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct vcpu_counters c = *vm->vcpu[i]->ops->counters(vm->vcpu[i]);

		for (unsigned k = 0; k < ARRAY_SIZE(rows); k++)
			*row_of(&mark->n, k) += *row_of(&c, k);
	}
}

void stats_print_marks(const struct stats *s, FILE *out)
{
	fprintf(out, "%-14s", "until");
	for (unsigned i = 0; i < s->n; i++)
		fprintf(out, " %15s", s->mark[i].name);
	fprintf(out, "\n%-14s", "seconds");
	for (unsigned i = 0; i < s->n; i++)
		fprintf(out, " %15.3f", (double)(s->mark[i].ns - (i ? s->mark[i - 1].ns : 0)) / 1e9);
	fputc('\n', out);
	for (unsigned k = 0; k < ARRAY_SIZE(rows); k++) {
		fprintf(out, "%-14s", rows[k].name);
		for (unsigned i = 0; i < s->n; i++) {
			struct vcpu_counters now = s->mark[i].n,
					     before = i ? s->mark[i - 1].n : (struct vcpu_counters){0};

			fprintf(out, " %15" PRIu64, *row_of(&now, k) - *row_of(&before, k));
		}
		fputc('\n', out);
	}
	fputc('\n', out);
}

void stats_print(struct machine *m, u64 ns, FILE *out)
{
	const struct vm *vm = machine_vm(m);
	double s = (double)ns / 1e9;

	fprintf(out, "seconds        %.3f\n", s);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct vcpu_counters c = *vm->vcpu[i]->ops->counters(vm->vcpu[i]);

		for (unsigned k = 0; k < ARRAY_SIZE(rows); k++) {
			u64 v = *row_of(&c, k);

			if (v)
				fprintf(out, "cpu%u %-14s %15" PRIu64 "  %14.0f /s\n", i, rows[k].name, v,
					s > 0 ? (double)v / s : 0);
		}
	}
	if (machine_model(m))
		inspect_guests(machine_vm(m), machine_model(m)->vendor == X86_AMD, out);
	if (log_limits(vm->log))
		fprintf(out, "limits met     %u\n", log_limits(vm->log));
}

void stats_counters(struct machine *m, FILE *out)
{
	const struct vm *vm = machine_vm(m);

	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct vcpu_counters c = *vm->vcpu[i]->ops->counters(vm->vcpu[i]);

		for (unsigned k = 0; k < ARRAY_SIZE(rows); k++)
			if (*row_of(&c, k))
				fprintf(out, "cpu%u %-14s %15" PRIu64 "\n", i, rows[k].name, *row_of(&c, k));
	}
	if (machine_model(m))
		inspect_guests(machine_vm(m), machine_model(m)->vendor == X86_AMD, out);
}
