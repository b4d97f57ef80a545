/*
 * Starting one level of the chain: its root file system, its command line, its memory, its machine.
 *
 * The host starts L1 by this, L1's init starts L2 by this, and so on; only the accelerator and the sinks differ.
 */
#ifndef CMD_LEVEL_H
#define CMD_LEVEL_H

#include "arch/x86/bits.h"
#include "cmd/initramfs.h"
#include "machine/machine.h"

struct kernel_image;

/* What a machine that may start again keeps of its first start; the owner frees it after the machine. */
struct level_kept {
	struct initramfs root;
	char cmdline[2048];
};

struct level_start {
	unsigned level;	 /* of the guest that is started: 1 on the host */
	unsigned depth;	 /* the innermost level */
	unsigned guests; /* of that level, side by side; 0: 1 */
	enum machine_accel accel;
	const char *cpu;
	enum x86_vendor vendor;		  /* of the guest's processor: which KVM module it will need */
	unsigned vcpus;			  /* 0: 1 */
	u64 memory;			  /* bytes; 0: chosen by what it must hold */
	u64 timeout_ms;			  /* 0: none */
	bool testdev;			  /* port 0xf4 */
	u64 drop_every;			  /* soft: throw all caches away every so many instructions */
	unsigned slow;			  /* machine.h */
	const struct disk_options *disks; /* as in struct machine_config */
	unsigned ndisks;
	const struct net_options *net;
	const struct kernel_image *kernel;
	const char *busybox; /* for an interactive root without levels (depth 0) and for `exec`, or NULL */
	const char *exec;    /* commands to run in levels: "LEVEL COMMAND\n"..., or NULL (init_exec.c) */
	bool keep;	     /* the chain stays up until it is told to stop */
	bool report;	     /* each level sends its section of a report at its end */
	const char *append;  /* more kernel command line, or NULL */
	struct char_sink serial, channel;
	struct char_sink terminal;	       /* as in struct machine_config: the guest's console is hvc0 then */
	struct level_kept *kept;	       /* not NULL: a reset starts the guest again; NULL: it ends the run */
	const struct inspect_symbols *symbols; /* may be NULL */
	struct log *log;
};

/* -ENOENT: a module is missing. *memory receives the bytes of RAM that the guest got; may be NULL. */
int level_new(const struct level_start *s, struct machine **out, u64 *memory, struct err *e);
const char *level_kvm_module(enum x86_vendor vendor);
/* "AuthenticAMD" and the brand string of the processor under this program; each buffer of at least 49 bytes. */
void level_own_cpu(char *vendor, char *brand);
bool level_own_vendor(enum x86_vendor *vendor);
/* Why a machine stopped, as the end of a sentence: "it powered itself off". */
const char *level_stop_text(enum vm_stop why);

#endif
