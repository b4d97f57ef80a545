/*
 * `nestbox run`: one guest at this level, its console on this terminal: the serial port, or a virtio console.
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
#include "cmd/control.h"
#include "cmd/file.h"
#include "cmd/initramfs.h"
#include "cmd/instruments.h"
#include "cmd/kernel.h"
#include "cmd/level.h"
#include "cmd/run_options.h"
#include "cmd/signals.h"
#include "cmd/stats.h"
#include "cmd/terminal.h"
#include "inspect/symbols.h"
#include "machine/pc.h"

struct run {
	struct run_options o;
	struct accel accel;
	struct kernel_image kernel;
	struct file_bytes initrd, bios;
	struct file_bytes module[MACHINE_MODULES];
	FILE *debugcon, *serial, *trace;
	struct inspect_symbols *symbols;
	struct level_kept kept;
	struct channel_rx rx; /* from our own root: sections of reports */
	struct control *control;
	bool foreign; /* the kernel is not Linux */
	bool whole;   /* the guest is all there: it needs no root of ours */
	struct log *log;
};

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
	const char *space = strchr(r->o.module[n], ' ');
	char path[512];

	snprintf(path, sizeof(path), "%.*s", space ? (int)(space - r->o.module[n]) : 500, r->o.module[n]);
	return read_file(path, &r->module[n]);
}

/* A kernel that is not Linux, or has its root given, is started as it is. */
static int read_kernel(struct run *r)
{
	struct file_bytes f = {0};
	struct machine_blob blob;
	int code = read_file(r->o.kernel, &f);

	if (code >= 0)
		return code;
	blob = (struct machine_blob){f.data, f.size};
	r->foreign = machine_kernel_is_foreign(&blob);
	r->whole = r->o.initrd || r->foreign;
	if (r->whole) {
		r->kernel.data = f.data;
		r->kernel.size = f.size;
		snprintf(r->kernel.path, sizeof(r->kernel.path), "%s", r->o.kernel);
	} else {
		free(f.data);
	}
	return -1;
}

static int find_kernel(struct run *r)
{
	struct err e = {0};
	int rc, code = -1;

	if (r->o.vars && !r->o.bios)
		return run_usage("--vars goes with --bios: the image that keeps its variables there");
	if (r->o.bios && r->o.virtio_console)
		return run_usage("--console virtio is for a kernel: firmware's terminal is the serial port");
	if (r->o.bios && !r->o.kernel) {
		r->whole = true;
		return read_file(r->o.bios, &r->bios);
	}
	if (r->o.bios)
		return run_usage("--bios starts what is on a disk: leave out --kernel");
	if (r->o.kernel)
		code = read_kernel(r);
	if (code >= 0 || r->whole)
		return code;
	rc = kernel_find(r->o.kernel, r->o.modules, &r->kernel, &e);
	return rc ? fail(&e, rc == -ENOENT && (r->o.kernel || r->o.modules) ? EXIT_USAGE : EXIT_HOST) : -1;
}

static int read_symbols(struct run *r)
{
	struct file_bytes f = {0};
	struct err e = {0};
	int code, rc;

	if (!r->o.symbols) { /* a kernel with a symbol table names itself */
		if (r->whole && inspect_symbols_new(r->kernel.data, r->kernel.size, &r->symbols, NULL))
			r->symbols = NULL;
		return -1;
	}
	code = read_file(r->o.symbols, &f);
	if (code >= 0)
		return code;
	rc = inspect_symbols_new(f.data, f.size, &r->symbols, &e);
	free(f.data);
	if (rc) {
		err_prefix(&e, "%s", r->o.symbols);
		return fail(&e, rc == -EINVAL ? EXIT_USAGE : EXIT_HOST);
	}
	return -1;
}

/* A file that is written while the guest runs. */
static int open_output(const char *path, FILE **out)
{
	if (!path)
		return -1;
	*out = fopen(path, "we");
	if (*out)
		return -1;
	fprintf(stderr, "nestbox run: %s cannot be written: %s\n", path, strerror(errno));
	return EXIT_HOST;
}

static int open_live_output(const char *path, FILE **out)
{
	int code = open_output(path, out);

	if (*out)
		setvbuf(*out, NULL, _IOLBF, 0); /* to be read while the guest runs */
	return code;
}

static int read_files(struct run *r)
{
	int code = find_kernel(r);

	if (code < 0 && r->o.initrd)
		code = read_file(r->o.initrd, &r->initrd);
	for (unsigned i = 0; i < r->o.nmodules && code < 0; i++)
		code = read_module(r, i);
	if (code < 0)
		code = open_live_output(r->o.debugcon, &r->debugcon);
	if (code < 0)
		code = open_live_output(r->o.serial_file, &r->serial);
	return code < 0 ? read_symbols(r) : code;
}

static void file_write(void *ctx, const u8 *buf, size_t n) { fwrite(buf, 1, n, ctx); }
static struct char_sink file_sink(FILE *f) { return f ? (struct char_sink){file_write, f} : (struct char_sink){0}; }

static int prepare(struct run *r)
{
	struct err e = {0};
	int rc;

	r->log = log_new(stderr, "");
	if (!r->log)
		return EXIT_HOST;
	if (r->o.trace && log_enable(r->log, r->o.trace, &e))
		return fail(&e, EXIT_USAGE);
	if (r->o.trace_file && !r->o.trace)
		return run_usage("--trace-file wants --trace with the topics");
	if (open_output(r->o.trace_file, &r->trace) >= 0)
		return EXIT_HOST;
	if (r->trace)
		log_trace_to(r->log, r->trace);
	rc = accel_choose(r->o.accel, r->o.cpu, (r->o.gdb ? ACCEL_DEBUG : 0) | (r->o.slow > 1 ? ACCEL_SLOW : 0), &r->accel, &e);
	if (rc)
		return fail(&e, rc == -EINVAL ? EXIT_USAGE : EXIT_HOST);
	if (!strcmp(r->o.accel, "auto"))
		fprintf(stderr, "accelerator: %s (%s)\n", r->accel.engine == ACCEL_KVM ? "kvm" : "soft", r->accel.why);
	return read_files(r);
}

static void run_message(void *ctx, json_t *msg)
{
	struct run *r = ctx;

	if (r->control)
		control_message(r->control, msg);
}

static void run_channel(void *ctx, const u8 *buf, size_t n) { channel_rx_feed(&((struct run *)ctx)->rx, buf, n); }

static void no_input(void *ctx, const u8 *buf, size_t n) {}
static void console_input(void *ctx, const u8 *buf, size_t n) { machine_terminal_input(ctx, buf, n); }
static void console_size(void *ctx, unsigned rows, unsigned columns) { machine_terminal_size(ctx, rows, columns); }

/* Whom the terminal's input goes to; NULL: the serial port. */
static const struct terminal_sink *input_of(const struct run *r, struct machine *m, struct terminal_sink *sink)
{
	if (r->o.virtio_console)
		*sink = (struct terminal_sink){console_input, console_size, m};
	else if (r->o.serial_apart)
		*sink = (struct terminal_sink){no_input, NULL, NULL};
	else
		return NULL;
	return sink;
}

static int make(struct run *r, struct machine **m, struct err *e)
{
	const struct char_sink out = {terminal_write, NULL}, none = {0};
	const struct char_sink serial = r->o.serial_apart || r->o.virtio_console ? file_sink(r->serial) : out;
	const struct char_sink terminal = r->o.virtio_console ? out : none;
	struct machine_config cfg = {
		.accel = r->accel.engine,
		.cpu = r->accel.cpu,
		.vcpus = (unsigned)r->o.smp,
		.memory = r->o.memory,
		.kernel = {r->kernel.data, r->kernel.size},
		.initrd = {r->initrd.data, r->initrd.size},
		.cmdline = r->o.append		 ? r->o.append
			   : r->foreign		 ? ""
			   : r->o.virtio_console ? "console=hvc0"
						 : "console=ttyS0",
		.kernel_name = r->kernel.path[0] ? r->kernel.path : NULL,
		.bios = {r->bios.data, r->bios.size},
		.vars = r->o.vars,
		.vars_keep = r->o.snapshot,
		.modules = r->o.nmodules,
		.debug = file_sink(r->debugcon),
		.serial = serial,
		.terminal = terminal,
		.timeout_ms = r->o.timeout_ms,
		.testdev = r->o.testdev,
		.drop_every = r->o.drop_every,
		.slow = (unsigned)r->o.slow,
		.disks = r->o.disk,
		.ndisks = r->o.ndisks,
		.net = r->o.has_net ? &r->o.net : NULL,
		.reboot = !r->o.no_reboot,
		.symbols = r->symbols,
		.log = r->log,
	};
	struct level_start shell = {
		.accel = r->accel.engine,
		.cpu = r->accel.cpu,
		.vcpus = (unsigned)r->o.smp,
		.memory = r->o.memory,
		.timeout_ms = r->o.timeout_ms,
		.testdev = r->o.testdev,
		.drop_every = r->o.drop_every,
		.slow = (unsigned)r->o.slow,
		.disks = r->o.disk,
		.ndisks = r->o.ndisks,
		.net = r->o.has_net ? &r->o.net : NULL,
		.kernel = &r->kernel,
		.busybox = initramfs_busybox(),
		.append = r->o.append,
		.serial = serial,
		.terminal = terminal,
		.channel = {run_channel, r},
		.kept = r->o.no_reboot ? NULL : &r->kept,
		.symbols = r->symbols,
		.log = r->log,
	};

	for (unsigned i = 0; i < r->o.nmodules; i++) {
		const char *words = strchr(r->o.module[i], ' ');

		cfg.module[i] = (struct machine_module){{r->module[i].data, r->module[i].size}, words ? words + 1 : ""};
	}
	if (r->whole || r->o.initrd)
		return machine_new(&cfg, m, e);
	if (!shell.busybox)
		return err_set(e, ENOENT, "no busybox on this host for a shell in the guest: give --initrd FILE");
	return level_new(&shell, m, NULL, e);
}

static int conclude(const struct run *r, enum vm_stop stop, int code, const struct err *e)
{
	switch (stop) {
	case VM_POWEROFF: return EXIT_DONE;
	case VM_USER: return EXIT_DONE;
	case VM_RESET:
		if (r->o.no_reboot)
			return EXIT_DONE;
		break;
	case VM_DEBUG_EXIT: return (code << 1 | 1) & 0xff;
	case VM_TIMEOUT: fprintf(stderr, "nestbox run: the guest ran out of time\n"); return EXIT_TIMEOUT;
	default: break;
	}
	fprintf(stderr, "nestbox run: the guest failed: %s\n", e->code ? e->text : level_stop_text(stop));
	return EXIT_GUEST;
}

static int run_machine(struct run *r, struct signals *signals)
{
	struct clock *clock = clock_host();
	struct err e = {0};
	struct instruments instruments;
	struct terminal_sink sink;
	struct terminal terminal;
	struct machine *m = NULL;
	enum vm_stop stop;
	u64 start;
	int code;

	if (make(r, &m, &e))
		return fail(&e, e.code == ENOENT && r->o.ndisks ? EXIT_USAGE : EXIT_HOST);
	if (instruments_start(&instruments, m, r->o.gdb, r->o.wait, &e)) {
		machine_free(m);
		return fail(&e, e.code == EINVAL ? EXIT_USAGE : EXIT_HOST);
	}
	if (terminal_start(&terminal, m, input_of(r, m, &sink), &e)) {
		instruments_stop(&instruments);
		machine_free(m);
		return fail(&e, EXIT_HOST);
	}
	if (!r->whole && control_start(m, 1, "A guest of nestbox run is up.", &r->control, &e)) /* works without */
		fprintf(stderr, "nestbox run: nestbox report will not find this guest: %s\n", e.text);
	e = (struct err){0};
	signals_guard(signals, m);
	start = clock->now(clock);
	stop = machine_run(m, &e);
	start = clock->now(clock) - start;
	signals_guard(signals, NULL);
	control_stop(r->control);
	r->control = NULL;
	terminal_stop(&terminal);
	instruments_stop(&instruments);
	code = conclude(r, stop, machine_vm(m)->stop_code, &e);
	if (r->o.stat)
		stats_print(m, start, stderr);
	machine_free(m);
	return code;
}

int cmd_run(int argc, char **argv)
{
	struct run r = {.o = {.accel = "auto", .smp = 1, .memory = 512ull << 20}};
	struct signals signals;
	struct err e = {0};
	int code = run_options_take(&r.o, argc, argv), sig = 0;

	r.rx = (struct channel_rx){.message = run_message, .ctx = &r};

	if (code < 0)
		code = prepare(&r);
	if (code < 0 && signals_start(&signals, &e)) {
		code = fail(&e, EXIT_HOST);
	} else if (code < 0) {
		code = run_machine(&r, &signals);
		sig = signals_stop(&signals);
	}
	channel_rx_free(&r.rx);
	kernel_free(&r.kernel);
	free(r.initrd.data);
	free(r.bios.data);
	for (unsigned i = 0; i < r.o.nmodules; i++)
		free(r.module[i].data);
	initramfs_free(&r.kept.root);
	inspect_symbols_free(r.symbols);
	if (r.debugcon)
		fclose(r.debugcon);
	if (r.serial)
		fclose(r.serial);
	log_free(r.log);
	if (r.trace)
		fclose(r.trace);
	return sig ? 128 + sig : code;
}
