/*
 * The commands of the remote protocol over a VM that stands still: one vCPU is one thread, numbered from 1.
 *
 * All-stop: whatever stops one vCPU stops all. stub_command() is called only while no vCPU is inside the guest; it
 * answers in `out`, or says that the guest is to go on (its steps and held vCPUs are then set, the caller resumes).
 */
#ifndef GDB_STUB_H
#define GDB_STUB_H

#include <stdio.h>

#include "core/vm.h"
#include "gdb/packet.h"

struct x86_state;

struct gdb_monitor {
	/* A line of `monitor`, about vCPU `vcpu`; what it has to say goes to out. */
	void (*run)(void *ctx, unsigned vcpu, const char *line, FILE *out);
	void *ctx;
};

struct gdb_stub {
	struct vm *vm;
	struct gdb_monitor monitor;
	unsigned vcpu; /* that g, m and the like are about */
	bool no_ack, names_breaks;
	struct x86_state *st; /* scratch */
};

enum stub_action { STUB_REPLY, STUB_RUN, STUB_DETACH, STUB_KILL };

int stub_init(struct gdb_stub *s, struct vm *vm, const struct gdb_monitor *monitor);
void stub_destroy(struct gdb_stub *s);
enum stub_action stub_command(struct gdb_stub *s, const char *data, u32 n, struct packet_out *out);
/* Why the VM stands: the stop packet, of the first vCPU that has a reason of its own. */
void stub_stopped(struct gdb_stub *s, bool by_user, struct packet_out *out);

#endif
