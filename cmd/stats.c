/* Counters as lines of name and number. */
#include "cmd/stats.h"

#include <inttypes.h>

#include "machine/machine.h"

void stats_print(struct machine *m, u64 ns, FILE *out)
{
	const struct vm *vm = machine_vm(m);
	double s = (double)ns / 1e9;

	fprintf(out, "seconds        %.3f\n", s);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		const struct vcpu_counters *c = vm->vcpu[i]->ops->counters(vm->vcpu[i]);
		const struct {
			const char *name;
			u64 v;
		} rows[] = {
			{"instructions", c->insns},  {"blocks", c->blocks},	 {"decoded", c->decoded},
			{"tlb misses", c->tlb_miss}, {"vm entries", c->entries}, {"vm exits", c->exits},
			{"interrupts", c->irqs},     {"port accesses", c->pio},	 {"mmio accesses", c->mmio},
			{"halts", c->halts},
		};

		for (unsigned k = 0; k < ARRAY_SIZE(rows); k++)
			if (rows[k].v)
				fprintf(out, "cpu%u %-14s %15" PRIu64 "  %14.0f /s\n", i, rows[k].name, rows[k].v,
					s > 0 ? (double)rows[k].v / s : 0);
	}
	if (log_limits(vm->log))
		fprintf(out, "limits met     %u\n", log_limits(vm->log));
}
