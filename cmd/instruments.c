/* Starting and stopping them (instruments.h). */
#include "cmd/instruments.h"

#include "cmd/monitor.h"
#include "gdb/gdb.h"
#include "machine/machine.h"

static void from_gdb(void *ctx, unsigned vcpu, const char *line, FILE *out) { monitor_run(ctx, vcpu, line, out); }

int instruments_start(struct instruments *i, struct machine *m, const char *gdb, bool wait, struct err *e)
{
	const struct gdb_monitor monitor = {from_gdb, m};
	int rc;

	*i = (struct instruments){.machine = m};
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
