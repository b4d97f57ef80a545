/* What `run` puts beside a guest for whoever looks into it: the gdb stub, with the monitor's commands behind it. */
#ifndef CMD_INSTRUMENTS_H
#define CMD_INSTRUMENTS_H

#include "base/err.h"

struct machine;
struct gdb_server;

struct instruments {
	struct machine *machine;
	struct gdb_server *gdb;
	int vcpu; /* that gdb's `monitor` is about; -1: gdb's current thread */
};

/* Before the machine runs. gdb: address or NULL; wait: the guest does not start before gdb lets it. */
int instruments_start(struct instruments *i, struct machine *m, const char *gdb, bool wait, struct err *e);
/* After it has stopped. */
void instruments_stop(struct instruments *i);

#endif
