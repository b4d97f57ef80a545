/* Starting and stopping them (instruments.h). */
#include "cmd/instruments.h"

#include <string.h>

#include "cmd/monitor.h"
#include "gdb/gdb.h"
#include "machine/machine.h"

/* gdb does not always tell which thread is selected: `monitor cpu N` chooses for good. */
static void from_gdb(void *ctx, unsigned vcpu, const char *line, FILE *out)
{
	struct instruments *i = ctx;
	unsigned n;

	if (!strcmp(line, "cpu")) {
		i->vcpu = -1;
	} else if (sscanf(line, "cpu %u", &n) == 1) {
		if (n < machine_vm(i->machine)->nvcpus)
			i->vcpu = (int)n;
		else
			fprintf(out, "there is no vCPU %u\n", n);
	} else {
		monitor_run(i->machine, i->vcpu < 0 ? vcpu : (unsigned)i->vcpu, line, out);
	}
}

int instruments_start(struct instruments *i, struct machine *m, const char *gdb, bool wait, struct err *e)
{
	const struct gdb_monitor monitor = {from_gdb, i};
	int rc;

	*i = (struct instruments){.machine = m, .vcpu = -1};
	if (!gdb)
		return 0;
	rc = gdb_start(machine_vm(m), gdb, wait, &monitor, &i->gdb, e);
	if (!rc)
		fprintf(stderr, "nestbox: gdb may connect to port %u%s\r\n", gdb_port(i->gdb),
			wait ? ", the guest waits for it" : "");
	return rc;
}

void instruments_stop(struct instruments *i)
{
	gdb_stop(i->gdb);
	i->gdb = NULL;
}
