/*
 * The GDB remote stub of a VM: `target remote HOST:PORT` of a stock gdb.
 *
 * It has a thread of its own, since it waits for vCPUs to leave the guest, which callbacks of the event loop (vm->lock
 * held) must not. One client at a time; the VM stands still from the moment it connects until it continues, detaches or
 * goes away. The protocol has no passwords: without HOST it listens on the loopback only.
 */
#ifndef GDB_GDB_H
#define GDB_GDB_H

#include "base/err.h"
#include "gdb/stub.h"

struct gdb_server;

/* `address`: [HOST:]PORT, or tcp:[HOST]:PORT. wait: no vCPU starts before a client lets it. Before the VM runs. */
int gdb_start(struct vm *vm, const char *address, bool wait, const struct gdb_monitor *monitor, struct gdb_server **out,
	      struct err *e);
/* The port that it listens on (what PORT 0 has become). */
unsigned gdb_port(const struct gdb_server *g);
/* After the VM has stopped: tells the client, ends the thread. */
void gdb_stop(struct gdb_server *g);

#endif
