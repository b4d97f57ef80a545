/* The options of `nestbox run` as rows, and what each does (run_options.h). */
#include "cmd/run_options.h"

#include <stdio.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/opt.h"

enum run_opt {
	RUN_ACCEL,
	RUN_CPU,
	RUN_SMP,
	RUN_MEMORY,
	RUN_KERNEL,
	RUN_MODULES,
	RUN_INITRD,
	RUN_MODULE,
	RUN_APPEND,
	RUN_TIMEOUT,
	RUN_TESTDEV,
	RUN_STAT,
	RUN_TRACE,
	RUN_DROP,
	RUN_SLOW,
	RUN_NOGRAPHIC,
	RUN_SERIAL,
	RUN_CONSOLE,
	RUN_DISK,
	RUN_NET,
	RUN_BIOS,
	RUN_VARS,
	RUN_DEBUGCON,
	RUN_GDB,
	RUN_WAIT,
	RUN_NO_REBOOT,
	RUN_SNAPSHOT,
	RUN_SYMBOLS,
	RUN_TRACE_FILE,
	RUN_HELP
};

static const struct opt run_opts[] = {
	[RUN_ACCEL] = {"accel", "-accel", "WHICH", "auto (the default), kvm, or soft: nestbox's own processor"},
	[RUN_CPU] = {"cpu", "-cpu", "MODEL[,F=on|off]", "the guest's processor (EPYC on soft, the host's on kvm)"},
	[RUN_SMP] = {"smp", "-smp", "N", "processors (1)"},
	[RUN_MEMORY] = {"memory", "-m", "SIZE", "memory, such as 512M (512M)"},
	[RUN_KERNEL] = {"kernel", "-kernel", "FILE", "the kernel: bzImage, ELF, PVH or multiboot (a distribution's)"},
	[RUN_MODULES] = {"modules", NULL, "DIR", "that kernel's modules, for the root without --initrd"},
	[RUN_INITRD] = {"initrd", "-initrd", "FILE", "the initial root (nestbox's own: a busybox shell)"},
	[RUN_MODULE] = {"module", NULL, "FILE[ WORDS]", "multiboot, PVH: a module with its words; up to 8"},
	[RUN_APPEND] = {"append", "-append", "TEXT", "the kernel's command line (console=ttyS0, or hvc0)"},
	[RUN_TIMEOUT] = {"timeout", NULL, "TIME", "stop after so many seconds, or 5m, 1h (none)"},
	[RUN_TESTDEV] = {"testdev", NULL, NULL, "test ports: writing V to 0xf4 ends the run with exit code 2V + 1"},
	[RUN_STAT] = {"stat", NULL, NULL, "processor counters at the end (exits by level: soft)"},
	[RUN_TRACE] = {"trace", "-trace", "TOPIC,...", "log these topics to stderr"},
	[RUN_DROP] = {"drop-every", NULL, "N", "soft: forget all caches every N instructions (a test)"},
	[RUN_SLOW] = {"slow", NULL, "N", "soft: a second of the guest's clocks lasts N of the host's, 1 to 8 (1)"},
	[RUN_NOGRAPHIC] = {"nographic", "-nographic", NULL, NULL},
	[RUN_SERIAL] = {"serial", "-serial", "stdio|none|FILE", "where ttyS0's output goes (stdio: this terminal)"},
	[RUN_CONSOLE] = {"console", NULL, "serial|virtio",
			 "what the terminal is in the guest: ttyS0, or hvc0 (serial)"},
	[RUN_DISK] = {"disk", NULL, "FILE[,ro,...]", "a raw disk image (virtio); also snapshot, queues=N, discard=on"},
	[RUN_NET] = {"net", NULL, "user[,...]", "a network of the guest's own; hostfwd=tcp::2222-:22 lets ssh in"},
	[RUN_BIOS] = {"bios", "-bios", "FILE", "firmware at the reset vector, such as SeaBIOS or OVMF"},
	[RUN_VARS] = {"vars", NULL, "FILE",
		      "where OVMF_CODE keeps its variables: a copy of OVMF_VARS, of the same build"},
	[RUN_DEBUGCON] = {"debugcon", NULL, "FILE", "what is written to ports 0xe9 and 0x402 (firmware, test ports)"},
	[RUN_GDB] = {"gdb", "-gdb", "[HOST:]PORT", "gdb may connect there (127.0.0.1 unless HOST says otherwise)"},
	[RUN_WAIT] = {"wait", NULL, NULL, "with --gdb: the guest starts when gdb lets it"},
	[RUN_NO_REBOOT] = {"no-reboot", "-no-reboot", NULL, "a reset of the machine ends the run (exit code 0)"},
	[RUN_SNAPSHOT] = {"snapshot", "-snapshot", NULL, "no disk's file is changed: writes go to a temporary one"},
	[RUN_SYMBOLS] = {"symbols", NULL, "FILE", "names for dumps and the monitor: an ELF file or a System.map"},
	[RUN_TRACE_FILE] = {"trace-file", NULL, "FILE", "where --trace goes instead of stderr"},
	[RUN_HELP] = {"help", "-h", NULL, "this text"},
};

const struct opt_table cmd_run_options = {run_opts, ARRAY_SIZE(run_opts)};

int run_usage(const char *why)
{
	fprintf(stderr, "nestbox run: %s\n", why);
	return EXIT_USAGE;
}

static int run_help(void)
{
	puts("nestbox run [options]: one guest, its console here; Ctrl-A x leaves\n");
	opt_help(run_opts, ARRAY_SIZE(run_opts), stdout);
	puts("\nexit codes: 0 the guest powered itself off, 2 usage, 3 the host refused, 4 the guest failed, 124 out "
	     "of time");
	return EXIT_DONE;
}

static int take_disk(struct run_options *o, const char *v)
{
	struct err e = {0};

	if (o->ndisks == PC_DISKS)
		return run_usage("there is room for 4 disks");
	return disk_options_parse(v, &o->disk[o->ndisks++], &e) ? run_usage(e.text) : -1;
}

static int take_net(struct run_options *o, const char *v)
{
	struct err e = {0};

	if (o->has_net)
		return run_usage("there is room for one network");
	o->has_net = true;
	net_options_init(&o->net);
	return net_options_parse(v, &o->net, &e) ? run_usage(e.text) : -1;
}

/* QEMU's words, or a file's name. */
static int take_serial(struct run_options *o, const char *v)
{
	static const char *const terminal[] = {"stdio", "mon:stdio"}, *const nowhere[] = {"none", "null"};

	o->serial_apart = true;
	o->serial_file = !strncmp(v, "file:", 5) ? v + 5 : v;
	for (unsigned i = 0; i < 2; i++) {
		if (!strcmp(v, terminal[i]))
			o->serial_apart = false;
		if (!strcmp(v, terminal[i]) || !strcmp(v, nowhere[i]))
			o->serial_file = NULL;
	}
	if (o->serial_file &&
	    (!*o->serial_file || !strncmp(v, "tcp:", 4) || !strncmp(v, "unix:", 5) || !strcmp(v, "pty")))
		return run_usage("--serial wants stdio, none or the name of a file");
	return -1;
}

/* One option. -1: go on; else the exit code. */
static int take_option(void *ctx, int which, const char *v)
{
	struct run_options *o = ctx;

	switch ((enum run_opt)which) {
	case RUN_ACCEL: o->accel = v; return -1;
	case RUN_CPU: o->cpu = v; return -1;
	case RUN_SMP: return opt_number(v, 1, VM_VCPUS, &o->smp) ? -1 : run_usage("--smp wants a number from 1 to 64");
	case RUN_MEMORY:
		return opt_size(v, 1ull << 20, &o->memory) && o->memory
			       ? -1
			       : run_usage("--memory wants a size, such as 512M");
	case RUN_KERNEL: o->kernel = v; return -1;
	case RUN_MODULES: o->modules = v; return -1;
	case RUN_INITRD: o->initrd = v; return -1;
	case RUN_MODULE:
		if (o->nmodules == MACHINE_MODULES)
			return run_usage("--module: 8 are the most");
		o->module[o->nmodules++] = v;
		return -1;
	case RUN_APPEND: o->append = v; return -1;
	case RUN_TIMEOUT: return opt_duration(v, &o->timeout_ms) ? -1 : run_usage("--timeout wants seconds, or 5m, 1h");
	case RUN_TESTDEV: o->testdev = true; return -1;
	case RUN_STAT: o->stat = true; return -1;
	case RUN_TRACE: o->trace = v; return -1;
	case RUN_DROP:
		return opt_number(v, 0, UINT64_MAX, &o->drop_every) ? -1 : run_usage("--drop-every wants a number");
	case RUN_SLOW:
		return opt_number(v, 1, MACHINE_SLOW, &o->slow) ? -1 : run_usage("--slow wants a number from 1 to 8");
	case RUN_NOGRAPHIC: return -1;
	case RUN_SERIAL: return take_serial(o, v);
	case RUN_CONSOLE:
		o->virtio_console = !strcmp(v, "virtio");
		return o->virtio_console || !strcmp(v, "serial") ? -1 : run_usage("--console wants serial or virtio");
	case RUN_DISK: return take_disk(o, v);
	case RUN_NET: return take_net(o, v);
	case RUN_GDB: o->gdb = v; return -1;
	case RUN_WAIT: o->wait = true; return -1;
	case RUN_BIOS: o->bios = v; return -1;
	case RUN_VARS: o->vars = v; return -1;
	case RUN_DEBUGCON: o->debugcon = v; return -1;
	case RUN_NO_REBOOT: o->no_reboot = true; return -1;
	case RUN_SNAPSHOT: o->snapshot = true; return -1;
	case RUN_SYMBOLS: o->symbols = v; return -1;
	case RUN_TRACE_FILE: o->trace_file = v; return -1;
	case RUN_HELP: return run_help();
	}
	return -1;
}

int run_options_take(struct run_options *o, int argc, char **argv)
{
	int code = opt_each(run_opts, ARRAY_SIZE(run_opts), argc - 1, argv + 1, take_option, run_usage, o);

	for (unsigned i = 0; i < o->ndisks; i++)
		o->disk[i].snapshot |= o->snapshot;
	return code;
}
