/*
 * `nestbox nest`: builds the chain, shows it as a tree while it grows, and judges it by what the levels report.
 *
 * L1's messages arrive on a vCPU's thread with vm->lock held (core/chardev.h), so everything that they touch is read by
 * this file's thread only after machine_run has returned.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/accel.h"
#include "cmd/channel.h"
#include "cmd/cmd.h"
#include "cmd/control.h"
#include "cmd/initramfs.h"
#include "cmd/kernel.h"
#include "cmd/level.h"
#include "cmd/nest_options.h"
#include "cmd/nest_verdict.h"
#include "cmd/progress.h"
#include "cmd/report.h"
#include "cmd/shell.h"
#include "cmd/signals.h"
#include "cmd/stats.h"
#include "cmd/tree.h"
#include "inspect/host.h"

struct nest {
	struct nest_options o;
	bool told;   /* a kept chain is up, and the verdict is out */
	int verdict; /* the exit code then */
	struct control *control;
	struct shell shell;	  /* if o.shell_level */
	struct report_job report; /* with --report */
	struct accel accel;
	struct kernel_image kernel;
	struct log *log;
	struct tree tree;
	struct progress progress;
	struct channel_rx rx;
	struct tail serial;
	struct machine *machine;
	u64 started; /* by the host's clock */
	struct stats stats;
};

/* The counters at the moments that divide the run into boots: a level's hello, its KVM loaded, its end. */
static void mark_message(struct nest *n, const json_t *msg)
{
	const char *type = json_string_value(json_object_get(msg, "type"));
	char name[24];

	if (!n->o.stat || !type ||
	    (strcmp(type, "hello") != 0 && strcmp(type, "kvm") != 0 && strcmp(type, "done") != 0))
		return;
	snprintf(name, sizeof(name), "L%u %s", (unsigned)json_integer_value(json_object_get(msg, "level")), type);
	stats_mark(&n->stats, n->machine, name, clock_host()->now(clock_host()) - n->started);
}

/* The stage, and while L1's kernel starts what it said last. */
static void say_progress(struct nest *n)
{
	char stage[64], line[400], *last;

	if (!n->progress.started)
		return;
	last = n->tree.level[1].hello ? NULL : tail_text(&n->serial, 1);
	tree_stage(&n->tree, stage, sizeof(stage));
	snprintf(line, sizeof(line), "%s%s%.300s", stage, last && *last ? ": " : "", last ? last : "");
	progress_say(&n->progress, tree_is_up(&n->tree) ? "" : line);
	free(last);
}

/* The exit code. */
static int judge(struct nest *n, enum vm_stop stop, const struct err *e)
{
	struct nest_verdict v = {.tree = &n->tree, .options = &n->o, .serial = &n->serial};

	nest_verdict(&v, stop, e);
	snprintf(n->report.chain, sizeof(n->report.chain), "A chain of nestbox nest ran: %.400s.", v.result.text);
	return (int)v.result.code;
}

static void nest_message(void *ctx, json_t *msg)
{
	struct nest *n = ctx;

	mark_message(n, msg);

	if (trace_on(log_topics(n->log), TRACE_CHANNEL)) {
		char *text = json_dumps(msg, JSON_COMPACT);

		log_trace(n->log, TRACE_CHANNEL, "%.2000s", text ? text : "");
		free(text);
	}
	progress_pause(&n->progress);
	tree_message(&n->tree, msg);
	say_progress(n);
	progress_resume(&n->progress);
	if (n->control)
		control_message(n->control, msg);
	if (n->o.shell_level)
		shell_message(&n->shell, msg);
	if (n->o.report)
		report_message(&n->report.report, msg);
	if (n->o.keep && !n->told && tree_is_up(&n->tree)) {
		n->told = true;
		progress_stop(&n->progress);
		n->verdict = judge(n, VM_POWEROFF, NULL);
		if (n->o.shell_level)
			shell_ready(&n->shell);
		else if (n->control)
			fprintf(stderr, "the chain stays up: Ctrl-C ends it, nestbox report asks its levels\n");
	}
}

static void nest_channel(void *ctx, const u8 *buf, size_t len) { channel_rx_feed(&((struct nest *)ctx)->rx, buf, len); }

static void nest_serial(void *ctx, const u8 *buf, size_t len)
{
	struct nest *n = ctx;

	tail_feed(&n->serial, buf, len);
	if (n->progress.started && memchr(buf, '\n', len) && !n->tree.level[1].hello) {
		progress_pause(&n->progress);
		say_progress(n);
		progress_resume(&n->progress);
	}
	if (n->o.console)
		fwrite(buf, 1, len, stderr);
}

static void describe_host(const struct nest *n, char *out, size_t room)
{
	char vendor[49], brand[49];

	level_own_cpu(vendor, brand);
	snprintf(out, room, "%s · /dev/kvm: %s · accelerator: %s", brand[0] ? brand : vendor, n->accel.kvm,
		 n->accel.engine == ACCEL_KVM ? "kvm" : "soft");
}

/* This host's section, and what the levels have sent. Another exit code only where all else went well. */
static int write_report(struct nest *n, int code)
{
	struct err e = {0};
	int rc;

	n->report.output = n->o.report;
	rc = host_open(NULL, &n->report.host, &e);
	if (!rc)
		rc = report_collect_host(&n->report, &e);
	if (!rc)
		rc = report_finish(&n->report, &e);
	if (!rc)
		fprintf(stderr, "the report is in %s\n", n->o.report);
	else
		fprintf(stderr, "nestbox nest: no report: %s\n", e.text);
	return rc && code == EXIT_DONE ? EXIT_HOST : code;
}

static int nest_run(struct nest *n, struct signals *signals)
{
	struct err e = {0};
	struct machine *m;
	struct clock *clock = clock_host();
	enum vm_stop stop;
	u64 ran;
	int rc, code;

	struct level_start first = {
		.drop_every = n->o.drop_every,
		.level = 1,
		.depth = (unsigned)n->o.depth,
		.guests = (unsigned)n->o.guests,
		.accel = n->accel.engine,
		.cpu = n->accel.cpu,
		.vendor = n->accel.vendor,
		.vcpus = (unsigned)n->o.smp,
		.memory = n->o.memory,
		.timeout_ms = n->o.timeout_ms,
		.kernel = &n->kernel,
		.append = n->o.append,
		.busybox = n->o.exec || n->o.shell_level ? initramfs_busybox() : NULL,
		.exec = n->o.exec,
		.keep = n->o.keep,
		.report = n->o.report,
		.serial = {nest_serial, n},
		.channel = {nest_channel, n},
		.log = n->log,
	};
	rc = level_new(&first, &m, NULL, &e);
	if (rc) {
		fprintf(stderr, "nested KVM does not work here: L1: %s\n", e.text);
		return rc == -ENOENT ? EXIT_GUEST : EXIT_HOST; /* ENOENT: a module that L1 needs */
	}
	signals_guard(signals, m);
	n->machine = m;
	if (n->o.keep && control_start(m, (unsigned)n->o.depth, "A chain of nestbox nest is up.", &n->control,
				       &e)) /* works without */
		fprintf(stderr, "nestbox nest: nestbox report will not find this chain: %s\n", e.text);
	if (n->o.shell_level && shell_start(&n->shell, m, (unsigned)n->o.shell_level, &e)) {
		fprintf(stderr, "nestbox nest: %s\n", e.text);
		n->o.shell_level = 0;
	}
	n->started = clock->now(clock);
	if (!n->o.json && !n->o.console && !n->o.trace)
		progress_start(&n->progress, stdout);
	say_progress(n);
	stop = machine_run(m, &e);
	progress_stop(&n->progress);
	if (n->o.shell_level)
		shell_stop(&n->shell);
	ran = clock->now(clock) - n->started;
	signals_guard(signals, NULL);
	control_stop(n->control);
	n->control = NULL;
	code = n->told ? n->verdict : stop == VM_USER ? EXIT_GUEST : judge(n, stop, &e);
	if (n->o.stat) {
		stats_mark(&n->stats, m, "the end", ran);
		stats_print_marks(&n->stats, stderr);
		stats_print(m, ran, stderr);
	}
	machine_free(m);
	if (n->o.report && stop != VM_USER)
		code = write_report(n, code);
	return code;
}

static int nest_prepare(struct nest *n)
{
	struct err e = {0};
	char host[200];
	int rc;

	n->log = log_new(stderr, "");
	if (!n->log)
		return EXIT_HOST;
	if (n->o.trace && log_enable(n->log, n->o.trace, &e))
		return nest_usage(e.text);
	if ((n->o.exec || n->o.shell_level) && !initramfs_busybox()) {
		fprintf(stderr, "nestbox nest: --exec and --shell want busybox on this host: install the package "
				"busybox-static\n");
		return EXIT_HOST;
	}
	rc = accel_choose(n->o.accel, n->o.cpu ? n->o.cpu : n->o.vendor_cpu, ACCEL_NESTED, &n->accel, &e);
	if (rc) {
		fprintf(stderr, "nestbox nest: %s\n", e.text);
		return rc == -EINVAL ? EXIT_USAGE : EXIT_HOST;
	}
	rc = kernel_find(n->o.kernel, n->o.modules, &n->kernel, &e);
	if (rc) {
		fprintf(stderr, "nestbox nest: %s\n", e.text);
		return rc == -ENOENT && (n->o.kernel || n->o.modules) ? EXIT_USAGE : EXIT_HOST;
	}
	describe_host(n, host, sizeof(host));
	tree_start(&n->tree, (unsigned)n->o.depth, n->accel.signature, host, n->o.json ? NULL : stdout);
	n->tree.guests = (unsigned)n->o.guests;
	return -1;
}

int cmd_nest(int argc, char **argv)
{
	struct nest *n = calloc(1, sizeof(*n));
	struct signals signals;
	struct err e = {0};
	int code, sig = 0;
	bool kept;

	if (!n)
		return EXIT_HOST;
	n->rx = (struct channel_rx){.message = nest_message, .ctx = n};
	code = nest_options_take(&n->o, argc, argv);
	if (code < 0)
		code = nest_prepare(n);
	if (code < 0 && signals_start(&signals, &e)) {
		fprintf(stderr, "nestbox nest: %s\n", e.text);
		code = EXIT_HOST;
	} else if (code < 0) {
		code = nest_run(n, &signals);
		sig = signals_stop(&signals);
	}
	kept = n->told;
	kernel_free(&n->kernel);
	channel_rx_free(&n->rx);
	tree_free(&n->tree);
	log_free(n->log);
	report_job_free(&n->report);
	free(n->o.exec);
	free(n);
	if (sig)
		fprintf(stderr, "nestbox nest: stopped, all levels are gone\n");
	return sig && !kept ? 128 + sig : code; /* a kept chain ends by a signal */
}
