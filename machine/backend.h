/*
 * The host's side of the board: its disk files, its network, its entropy; what the chips of pc.h are given.
 *
 * Life: backend_open before the board is built, backend_connect after; backend_start and backend_stop around a run;
 * backend_close once the board is gone.
 */
#ifndef MACHINE_BACKEND_H
#define MACHINE_BACKEND_H

#include "host/disk.h"
#include "host/flash_file.h"
#include "host/net.h"
#include "machine/machine.h"
#include "machine/pc.h"

struct backend {
	unsigned ndisks;
	struct disk *disk[PC_DISKS];
	struct net_user *net; /* NULL: none */
	struct flash_file vars;
};

/* Opens what cfg asks for and fills in pc. After a failure too, backend_close. */
int backend_open(struct backend *b, const struct machine_config *cfg, struct vm *vm, struct pc_config *pc,
		 struct err *e);
void backend_connect(struct backend *b, struct pc *pc);
int backend_start(struct backend *b, struct host_loop *loop, struct err *e);
/* No vCPU runs any more; the loop still does. */
void backend_stop(struct backend *b);
void backend_close(struct backend *b);

#endif
