/* What `nestbox run` was asked for. */
#ifndef CMD_RUN_OPTIONS_H
#define CMD_RUN_OPTIONS_H

#include "host/disk.h"
#include "host/net.h"
#include "machine/machine.h"
#include "machine/pc.h"

struct run_options {
	const char *accel, *cpu, *kernel, *modules, *initrd, *append, *bios, *debugcon, *gdb, *trace, *trace_file,
		*symbols, *vars;
	u64 memory, smp, timeout_ms, drop_every, slow;
	bool virtio_console;	 /* the terminal is hvc0 and not the serial port */
	bool serial_apart;	 /* the serial port has not the terminal but serial_file */
	const char *serial_file; /* what it sends goes there; NULL: nowhere */
	bool wait, testdev, stat, no_reboot, snapshot;
	unsigned nmodules;
	const char *module[MACHINE_MODULES]; /* "FILE words" */
	unsigned ndisks;
	struct disk_options disk[PC_DISKS];
	bool has_net;
	struct net_options net;
};

/* -1: go on; else the exit code, after a sentence or the help text. */
int run_options_take(struct run_options *o, int argc, char **argv);
/* Says what is wrong with an option: EXIT_USAGE. */
int run_usage(const char *why);

#endif
