/*
 * The board: a PC made of the chips in dev/, an engine (software processor or KVM), and a kernel loaded into it.
 *
 * Life: machine_new (builds and loads everything), machine_run (starts one thread a vCPU, waits until the VM stops),
 * machine_free.
 */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "base/err.h"
#include "core/chardev.h"
#include "core/vm.h"

enum machine_accel { ACCEL_SOFT, ACCEL_KVM };

struct machine_blob {
	const void *data;
	size_t size;
};

struct machine_module {
	struct machine_blob file;
	const char *words; /* its command line, or NULL */
};

#define MACHINE_MODULES 8
#define MACHINE_SLOW	8 /* Linux counts 1000 / 8 TSC ticks of a kHz in 32 bits */
struct disk_options;
struct inspect_symbols;
struct x86_model;
struct pc;
struct net_options;

struct machine_config {
	enum machine_accel accel;
	const char *cpu; /* "EPYC,svm=off"; NULL: "host" */
	unsigned vcpus;	 /* 1 to VM_VCPUS */
	u64 memory;	 /* bytes */
	struct machine_blob
		kernel;		 /* whole file: bzImage, ELF, PVH, multiboot (machine/boot.h); or none, with `bios` */
	const char *kernel_name; /* first word of a multiboot command line; NULL: "kernel" */
	unsigned modules;
	struct machine_module module[MACHINE_MODULES]; /* multiboot and PVH: after the initrd */
	struct machine_blob bios;		       /* firmware at the reset vector, whole file; may be empty */
	const char *vars;	    /* file below `bios` that firmware keeps its variables in; or NULL */
	bool vars_keep;		    /* it stays as it is: changes are gone afterwards */
	struct machine_blob initrd; /* may be empty */
	const char *cmdline;
	struct char_sink serial;	  /* output of COM1; write NULL: discarded */
	struct char_sink debug;		  /* with `testdev` or `bios`: bytes written to ports 0xe9 and 0x402 */
	const char *channel_name;	  /* name of the virtio-console port, NULL: no such device */
	struct char_sink channel;	  /* what the guest writes to that port */
	struct char_sink terminal;	  /* output of a virtio console (hvc0); write NULL: no such device */
	const struct disk_options *disks; /* ndisks of them (host/disk.h) */
	unsigned ndisks;
	const struct net_options *net; /* host/net.h; NULL: no network */
	u64 timeout_ms;		       /* 0: none */
	bool testdev;		       /* port 0xf4 */
	u64 drop_every;
	unsigned
		slow; /* the software processor's: a second of the guest's clocks lasts so many of the host's; 0: one */
	bool reboot;  /* the board's reset starts the guest again; else it ends the run (VM_RESET) */
	/* Names of the guest's addresses, for dumps and the monitor; may be NULL. */
	const struct inspect_symbols *symbols;
	struct log *log;
};

/* Whether a kernel file is one that is whole by itself: no bzImage, or one whose version string is not Linux's,
 * "RELEASE (USER@HOST) …". */
bool machine_kernel_is_foreign(const struct machine_blob *file);

struct machine;

/* What cfg points to must stay until machine_free, but what only building needs: with `reboot` not set, the kernel, the
 * initrd and the modules need not. */
int machine_new(const struct machine_config *cfg, struct machine **out, struct err *e);
/* Returns why it stopped; e holds the sentence for VM_ERROR and VM_TRIPLE_FAULT. */
enum vm_stop machine_run(struct machine *m, struct err *e);
/* Any thread, also a signal-handling one (not a signal handler itself). */
void machine_stop(struct machine *m, enum vm_stop why);
struct vm *machine_vm(struct machine *m);
struct pc *machine_pc(struct machine *m);
/* The processor's model; NULL: it is KVM's, and only KVM knows. */
const struct x86_model *machine_model(const struct machine *m);
const struct inspect_symbols *machine_symbols(const struct machine *m);
/* Bytes for COM1, for the virtio console and for the channel port, queued until the guest takes them. Any thread, lock
 * not held. */
void machine_serial_input(struct machine *m, const void *buf, size_t n);
void machine_terminal_input(struct machine *m, const void *buf, size_t n);
void machine_channel_input(struct machine *m, const void *buf, size_t n);
/* The size of the terminal behind the virtio console. Any thread, lock not held. */
void machine_terminal_size(struct machine *m, unsigned rows, unsigned columns);
/* KVM's count of VM exits (ACCEL_KVM), or the software processor's. */
u64 machine_exits(struct machine *m);
void machine_free(struct machine *m);

#endif
