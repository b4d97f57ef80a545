/*
 * `nestbox run`: one guest at this level, its serial console on this terminal.
 *
 * Without --initrd the guest gets nestbox's own root with busybox: a shell on the console, and power off when it ends.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/accel.h"
#include "cmd/channel.h"
#include "cmd/cmd.h"
#include "cmd/file.h"
#include "cmd/initramfs.h"
#include "cmd/instruments.h"
#include "cmd/kernel.h"
#include "cmd/level.h"
#include "cmd/opt.h"
#include "cmd/signals.h"
#include "cmd/stats.h"
#include "cmd/terminal.h"
#include "host/disk.h"
#include "host/net.h"
#include "machine/pc.h"

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
	RUN_NOGRAPHIC,
	RUN_SERIAL,
	RUN_DISK,
	RUN_NET,
	RUN_BIOS,
	RUN_DEBUGCON,
	RUN_GDB,
	RUN_WAIT,
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
	[RUN_APPEND] = {"append", "-append", "TEXT", "the kernel's command line (console=ttyS0 …)"},
	[RUN_TIMEOUT] = {"timeout", NULL, "TIME", "stop after so many seconds, or 5m, 1h (none)"},
	[RUN_TESTDEV] = {"testdev", NULL, NULL, "test ports: writing V to 0xf4 ends the run with exit code 2V + 1"},
	[RUN_STAT] = {"stat", NULL, NULL, "processor counters at the end"},
	[RUN_TRACE] = {"trace", "-trace", "TOPIC,...", "log these topics to stderr"},
	[RUN_DROP] = {"drop-every", NULL, "N", "soft: forget all caches every N instructions (a test)"},
	[RUN_NOGRAPHIC] = {"nographic", "-nographic", NULL, NULL},
	[RUN_SERIAL] = {"serial", "-serial", "stdio", NULL},
	[RUN_DISK] = {"disk", NULL, "FILE[,ro,...]", "a raw disk image (virtio); also queues=N, discard=on"},
	[RUN_NET] = {"net", NULL, "user[,...]", "a network of the guest's own; hostfwd=tcp::2222-:22 lets ssh in"},
	[RUN_BIOS] = {"bios", "-bios", "FILE", "firmware at the reset vector, such as SeaBIOS or OVMF"},
	[RUN_DEBUGCON] = {"debugcon", NULL, "FILE", "what is written to ports 0xe9 and 0x402 (firmware, test ports)"},
	[RUN_GDB] = {"gdb", "-gdb", "[HOST:]PORT", "gdb may connect there (127.0.0.1 unless HOST says otherwise)"},
	[RUN_WAIT] = {"wait", NULL, NULL, "with --gdb: the guest starts when gdb lets it"},
	[RUN_HELP] = {"help", "-h", NULL, "this text"},
};

const struct opt_table cmd_run_options = {run_opts, ARRAY_SIZE(run_opts)};

struct run {
	const char *accel_word, *cpu, *kernel_file, *modules, *initrd_file, *append, *trace;
	u64 memory, smp, timeout_ms, drop_every;
	const char *gdb;
	bool wait, testdev, stat;
	struct accel accel;
	struct kernel_image kernel;
	struct file_bytes initrd, bios;
	const char *bios_file, *debugcon_file;
	unsigned modules_given;
	const char *module_spec[MACHINE_MODULES];
	struct file_bytes module[MACHINE_MODULES];
	FILE *debugcon;
	bool foreign; /* the kernel is not Linux */
	bool whole;   /* the guest is all there: it needs no root of ours */
	struct disk_options disk[PC_DISKS];
	unsigned ndisks;
	struct net_options net;
	bool has_net;
	struct log *log;
};

static int usage(const char *why)
{
	fprintf(stderr, "nestbox run: %s\n", why);
	return EXIT_USAGE;
}

static int run_help(void)
{
	puts("nestbox run [options]: one guest, its serial console here; Ctrl-A x leaves\n");
	opt_help(run_opts, ARRAY_SIZE(run_opts), stdout);
	puts("\nexit codes: 0 the guest powered itself off, 2 usage, 3 the host refused, 4 the guest failed, 124 out "
	     "of time");
	return EXIT_DONE;
}

static int take_disk(struct run *r, const char *v)
{
	struct err e = {0};

	if (r->ndisks == PC_DISKS)
		return usage("there is room for 4 disks");
	return disk_options_parse(v, &r->disk[r->ndisks++], &e) ? usage(e.text) : -1;
}

static int take_net(struct run *r, const char *v)
{
	struct err e = {0};

	if (r->has_net)
		return usage("there is room for one network");
	r->has_net = true;
	net_options_init(&r->net);
	return net_options_parse(v, &r->net, &e) ? usage(e.text) : -1;
}

/* One option. -1: go on; else the exit code. */
static int take_option(void *ctx, int which, const char *v)
{
	struct run *r = ctx;

	switch ((enum run_opt)which) {
	case RUN_ACCEL: r->accel_word = v; return -1;
	case RUN_CPU: r->cpu = v; return -1;
	case RUN_SMP: return opt_number(v, 1, VM_VCPUS, &r->smp) ? -1 : usage("--smp wants a number from 1 to 64");
	case RUN_MEMORY:
		return opt_size(v, 1ull << 20, &r->memory) && r->memory ? -1
									: usage("--memory wants a size, such as 512M");
	case RUN_KERNEL: r->kernel_file = v; return -1;
	case RUN_MODULES: r->modules = v; return -1;
	case RUN_INITRD: r->initrd_file = v; return -1;
	case RUN_MODULE:
		if (r->modules_given == MACHINE_MODULES)
			return usage("--module: 8 are the most");
		r->module_spec[r->modules_given++] = v;
		return -1;
	case RUN_APPEND: r->append = v; return -1;
	case RUN_TIMEOUT: return opt_duration(v, &r->timeout_ms) ? -1 : usage("--timeout wants seconds, or 5m, 1h");
	case RUN_TESTDEV: r->testdev = true; return -1;
	case RUN_STAT: r->stat = true; return -1;
	case RUN_TRACE: r->trace = v; return -1;
	case RUN_DROP: return opt_number(v, 0, UINT64_MAX, &r->drop_every) ? -1 : usage("--drop-every wants a number");
	case RUN_NOGRAPHIC: return -1;
	case RUN_SERIAL:
		if (!strcmp(v, "stdio") || !strcmp(v, "mon:stdio"))
			return -1;
		return usage("--serial: only stdio is there yet");
	case RUN_DISK: return take_disk(r, v);
	case RUN_NET: return take_net(r, v);
	case RUN_GDB: r->gdb = v; return -1;
	case RUN_WAIT: r->wait = true; return -1;
	case RUN_BIOS: r->bios_file = v; return -1;
	case RUN_DEBUGCON: r->debugcon_file = v; return -1;
	case RUN_HELP: return run_help();
	}
	return -1;
}

static int take_options(struct run *r, int argc, char **argv)
{
	return opt_each(run_opts, ARRAY_SIZE(run_opts), argc - 1, argv + 1, take_option, usage, r);
}

static int fail(const struct err *e, enum exit_code code)
{
	fprintf(stderr, "nestbox run: %s\n", e->text);
	return (int)code;
}

static int read_file(const char *path, struct file_bytes *out)
{
	struct err e = {0};
	int rc = file_read(path, out, &e);

	return rc ? fail(&e, rc == -ENOENT ? EXIT_USAGE : EXIT_HOST) : -1;
}

/* "FILE" or "FILE words of its command line". */
static int read_module(struct run *r, unsigned n)
{
	const char *space = strchr(r->module_spec[n], ' ');
	char path[512];

	snprintf(path, sizeof(path), "%.*s", space ? (int)(space - r->module_spec[n]) : 500, r->module_spec[n]);
	return read_file(path, &r->module[n]);
}

/* A kernel that is not Linux, or has its root given, is started as it is. */
static int read_kernel(struct run *r)
{
	struct file_bytes f = {0};
	struct machine_blob blob;
	int code = read_file(r->kernel_file, &f);

	if (code >= 0)
		return code;
	blob = (struct machine_blob){f.data, f.size};
	r->foreign = machine_kernel_is_foreign(&blob);
	r->whole = r->initrd_file || r->foreign;
	if (r->whole) {
		r->kernel.data = f.data;
		r->kernel.size = f.size;
		snprintf(r->kernel.path, sizeof(r->kernel.path), "%s", r->kernel_file);
	} else {
		free(f.data);
	}
	return -1;
}

static int find_kernel(struct run *r)
{
	struct err e = {0};
	int rc, code = -1;

	if (r->bios_file && !r->kernel_file) {
		r->whole = true;
		return read_file(r->bios_file, &r->bios);
	}
	if (r->bios_file)
		return usage("--bios starts what is on a disk: leave out --kernel");
	if (r->kernel_file)
		code = read_kernel(r);
	if (code >= 0 || r->whole)
		return code;
	rc = kernel_find(r->kernel_file, r->modules, &r->kernel, &e);
	return rc ? fail(&e, rc == -ENOENT && (r->kernel_file || r->modules) ? EXIT_USAGE : EXIT_HOST) : -1;
}

static int read_files(struct run *r)
{
	int code = find_kernel(r);

	if (code < 0 && r->initrd_file)
		code = read_file(r->initrd_file, &r->initrd);
	for (unsigned i = 0; i < r->modules_given && code < 0; i++)
		code = read_module(r, i);
	if (code < 0 && r->debugcon_file && !(r->debugcon = fopen(r->debugcon_file, "w"))) {
		fprintf(stderr, "nestbox run: %s cannot be written: %s\n", r->debugcon_file, strerror(errno));
		code = EXIT_HOST;
	}
	if (code < 0 && r->debugcon)
		setvbuf(r->debugcon, NULL, _IOLBF, 0); /* to be read while the guest runs */
	return code;
}

static void debugcon_write(void *ctx, const u8 *buf, size_t n)
{
	struct run *r = ctx;

	if (r->debugcon)
		fwrite(buf, 1, n, r->debugcon);
}

static int prepare(struct run *r)
{
	struct err e = {0};
	int rc;

	r->log = log_new(stderr, "");
	if (!r->log)
		return EXIT_HOST;
	if (r->trace && log_enable(r->log, r->trace, &e))
		return fail(&e, EXIT_USAGE);
	rc = accel_choose(r->accel_word, r->cpu, false, &r->accel, &e);
	if (rc)
		return fail(&e, rc == -EINVAL ? EXIT_USAGE : EXIT_HOST);
	if (r->gdb && r->accel.engine == ACCEL_KVM)
		return usage("--gdb works with nestbox's own processor only: add --accel soft");
	return read_files(r);
}

static int make(struct run *r, struct machine **m, struct err *e)
{
	struct machine_config cfg = {
		.accel = r->accel.engine,
		.cpu = r->accel.cpu,
		.vcpus = (unsigned)r->smp,
		.memory = r->memory,
		.kernel = {r->kernel.data, r->kernel.size},
		.initrd = {r->initrd.data, r->initrd.size},
		.cmdline = r->append	? r->append
			   : r->foreign ? ""
					: "console=ttyS0",
		.kernel_name = r->kernel.path[0] ? r->kernel.path : NULL,
		.bios = {r->bios.data, r->bios.size},
		.modules = r->modules_given,
		.debug = {debugcon_write, r},
		.serial = {terminal_write, NULL},
		.timeout_ms = r->timeout_ms,
		.testdev = r->testdev,
		.drop_every = r->drop_every,
		.disks = r->disk,
		.ndisks = r->ndisks,
		.net = r->has_net ? &r->net : NULL,
		.log = r->log,
	};
	struct level_start shell = {
		.accel = r->accel.engine,
		.cpu = r->accel.cpu,
		.vcpus = (unsigned)r->smp,
		.memory = r->memory,
		.timeout_ms = r->timeout_ms,
		.testdev = r->testdev,
		.drop_every = r->drop_every,
		.disks = r->disk,
		.ndisks = r->ndisks,
		.net = r->has_net ? &r->net : NULL,
		.kernel = &r->kernel,
		.busybox = initramfs_busybox(),
		.append = r->append,
		.serial = {terminal_write, NULL},
		.log = r->log,
	};

	for (unsigned i = 0; i < r->modules_given; i++) {
		const char *words = strchr(r->module_spec[i], ' ');

		cfg.module[i] = (struct machine_module){{r->module[i].data, r->module[i].size}, words ? words + 1 : ""};
	}
	if (r->whole || r->initrd_file)
		return machine_new(&cfg, m, e);
	if (!shell.busybox)
		return err_set(e, ENOENT, "no busybox on this host for a shell in the guest: give --initrd FILE");
	return level_new(&shell, m, NULL, e);
}

static int conclude(enum vm_stop stop, int code, const struct err *e)
{
	switch (stop) {
	case VM_POWEROFF: return EXIT_DONE;
	case VM_USER: return EXIT_DONE;
	case VM_DEBUG_EXIT: return (code << 1 | 1) & 0xff;
	case VM_TIMEOUT: fprintf(stderr, "nestbox run: the guest ran out of time\n"); return EXIT_TIMEOUT;
	default:
		fprintf(stderr, "nestbox run: the guest failed: %s\n", e->code ? e->text : level_stop_text(stop));
		return EXIT_GUEST;
	}
}

static int run_machine(struct run *r, struct signals *signals)
{
	struct clock *clock = clock_host();
	struct err e = {0};
	struct instruments instruments;
	struct terminal terminal;
	struct machine *m = NULL;
	enum vm_stop stop;
	u64 start;
	int code;

	if (make(r, &m, &e))
		return fail(&e, e.code == ENOENT && r->ndisks ? EXIT_USAGE : EXIT_HOST);
	if (instruments_start(&instruments, m, r->gdb, r->wait, &e)) {
		machine_free(m);
		return fail(&e, e.code == EINVAL ? EXIT_USAGE : EXIT_HOST);
	}
	if (terminal_start(&terminal, m, &e)) {
		instruments_stop(&instruments);
		machine_free(m);
		return fail(&e, EXIT_HOST);
	}
	signals_guard(signals, m);
	start = clock->now(clock);
	stop = machine_run(m, &e);
	start = clock->now(clock) - start;
	signals_guard(signals, NULL);
	terminal_stop(&terminal);
	instruments_stop(&instruments);
	code = conclude(stop, machine_vm(m)->stop_code, &e);
	if (r->stat)
		stats_print(m, start, stderr);
	machine_free(m);
	return code;
}

int cmd_run(int argc, char **argv)
{
	struct run r = {.accel_word = "auto", .smp = 1, .memory = 512ull << 20};
	struct signals signals;
	struct err e = {0};
	int code = take_options(&r, argc, argv), sig = 0;

	if (code < 0)
		code = prepare(&r);
	if (code < 0 && signals_start(&signals, &e)) {
		code = fail(&e, EXIT_HOST);
	} else if (code < 0) {
		code = run_machine(&r, &signals);
		sig = signals_stop(&signals);
	}
	kernel_free(&r.kernel);
	free(r.initrd.data);
	free(r.bios.data);
	for (unsigned i = 0; i < r.modules_given; i++)
		free(r.module[i].data);
	if (r.debugcon)
		fclose(r.debugcon);
	log_free(r.log);
	return sig ? 128 + sig : code;
}
