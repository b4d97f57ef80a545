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
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/accel.h"
#include "cmd/channel.h"
#include "cmd/cmd.h"
#include "cmd/control.h"
#include "cmd/initramfs.h"
#include "cmd/kernel.h"
#include "cmd/level.h"
#include "cmd/opt.h"
#include "cmd/progress.h"
#include "cmd/report.h"
#include "cmd/shell.h"
#include "cmd/signals.h"
#include "cmd/stats.h"
#include "cmd/tree.h"
#include "inspect/host.h"

enum nest_opt {
	NEST_DEPTH,
	NEST_GUESTS,
	NEST_VENDOR,
	NEST_ACCEL,
	NEST_CPU,
	NEST_SMP,
	NEST_MEMORY,
	NEST_KERNEL,
	NEST_MODULES,
	NEST_APPEND,
	NEST_TIMEOUT,
	NEST_DMESG,
	NEST_JSON,
	NEST_STAT,
	NEST_TRACE,
	NEST_DROP,
	NEST_EXEC,
	NEST_CONSOLE,
	NEST_SHELL,
	NEST_KEEP,
	NEST_REPORT,
	NEST_HELP
};

static const struct opt nest_opts[] = {
	[NEST_DEPTH] = {"depth", NULL, "N", "how many levels of guests (2)"},
	[NEST_GUESTS] = {"guests", NULL, "N", "how many guests side by side in the innermost level, up to 8 (1)"},
	[NEST_VENDOR] = {"vendor", NULL, "NAME", "whose processor L1 gets: amd (the default) or intel"},
	[NEST_ACCEL] = {"accel", "-accel", "WHICH", "auto (the default), kvm, or soft: nestbox's own processor"},
	[NEST_CPU] = {"cpu", "-cpu", "MODEL[,F=on|off]", "L1's processor (EPYC on soft, the host's on kvm)"},
	[NEST_SMP] = {"smp", "-smp", "N", "processors of L1, and of each level inside it (1)"},
	[NEST_MEMORY] = {"memory", "-m", "SIZE", "L1's memory, such as 1G (chosen by need)"},
	[NEST_KERNEL] = {"kernel", "-kernel", "FILE", "the guests' kernel (a distribution's, see the manual)"},
	[NEST_MODULES] = {"modules", NULL, "DIR", "that kernel's modules"},
	[NEST_APPEND] = {"append", "-append", "TEXT", "more for L1's kernel command line"},
	[NEST_TIMEOUT] = {"timeout", NULL, "TIME", "give up after so many seconds, or 5m, 1h (300; with --keep none)"},
	[NEST_DMESG] = {"dmesg", NULL, "DIR", "save each level's kernel log there: dmesg-L1.txt, ..."},
	[NEST_JSON] = {"json", NULL, NULL, "one JSON object instead of the tree"},
	[NEST_STAT] = {"stat", NULL, NULL, "L1's processor counters at the end"},
	[NEST_TRACE] = {"trace", "-trace", "TOPIC,...", "log these topics to stderr"},
	[NEST_DROP] = {"drop-every", NULL, "N", "soft: forget all of L1's caches every N instructions (a test)"},
	[NEST_EXEC] = {"exec", NULL, "LEVEL:COMMAND", "run a shell command in that level and print what it says"},
	[NEST_CONSOLE] = {"console", NULL, NULL, "copy L1's serial console to stderr"},
	[NEST_SHELL] = {"shell", NULL, "LEVEL", "a shell in that level, when all are up; its end ends the chain"},
	[NEST_KEEP] = {"keep", NULL, NULL, "leave the chain running until Ctrl-C; nestbox report asks its levels"},
	[NEST_REPORT] = {"report", NULL, "FILE",
			 "write a report on all levels there, as nestbox report does, also when the chain breaks"},
	[NEST_HELP] = {"help", "-h", NULL, "this text"},
};

const struct opt_table cmd_nest_options = {nest_opts, ARRAY_SIZE(nest_opts)};

struct nest {
	char *exec; /* "LEVEL COMMAND\n"... */
	const char *accel_word, *cpu, *vendor_cpu, *kernel_file, *modules, *append, *dmesg, *trace;
	u64 depth, guests, smp, memory, timeout_ms, drop_every, shell_level;
	bool json, stat, console, keep;
	bool told;   /* a kept chain is up, and the verdict is out */
	int verdict; /* the exit code then */
	struct control *control;
	struct shell shell;	  /* if shell_level */
	struct report_job report; /* with --report: `output` */
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

static int usage(const char *why)
{
	fprintf(stderr, "nestbox nest: %s\n", why);
	return EXIT_USAGE;
}

static int nest_help(void)
{
	puts("nestbox nest [options]: runs a guest hypervisor and a guest inside it, and proves that it did\n");
	opt_help(nest_opts, ARRAY_SIZE(nest_opts), stdout);
	puts("\nexit codes: 0 nested KVM works, 1 it does not and the tree says where, 2 usage, 3 the host refused,\n"
	     "4 a guest failed, 124 out of time");
	return EXIT_DONE;
}

static int take_exec(struct nest *n, const char *v)
{
	const char *colon = strchr(v, ':');
	char *more;

	if (v[0] < '1' || v[0] > '8' || colon != v + 1 || !colon[1] || strchr(v, '\n'))
		return usage("--exec wants LEVEL:COMMAND, such as '1:uname -r'");
	if (asprintf(&more, "%s%c %s\n", n->exec ? n->exec : "", v[0], colon + 1) < 0)
		return EXIT_HOST;
	free(n->exec);
	n->exec = more;
	return -1;
}

/* One option. -1: go on; else the exit code. */
static int take_option(void *ctx, int which, const char *v)
{
	struct nest *n = ctx;
	char why[300];

	switch ((enum nest_opt)which) {
	case NEST_DEPTH:
		return opt_number(v, 2, TREE_LEVELS, &n->depth) ? -1 : usage("--depth wants a number from 2 to 8");
	case NEST_GUESTS:
		return opt_number(v, 1, TREE_GUESTS, &n->guests) ? -1 : usage("--guests wants a number from 1 to 8");
	case NEST_VENDOR:
		if (!strcmp(v, "intel"))
			n->vendor_cpu = "Haswell-noTSX-IBRS";
		else if (strcmp(v, "amd") && strcmp(v, "auto"))
			return usage("--vendor wants amd, intel or auto");
		return -1;
	case NEST_ACCEL: n->accel_word = v; return -1;
	case NEST_CPU: n->cpu = v; return -1;
	case NEST_SMP: return opt_number(v, 1, VM_VCPUS, &n->smp) ? -1 : usage("--smp wants a number from 1 to 64");
	case NEST_MEMORY:
		if (opt_size(v, 1ull << 20, &n->memory) && n->memory >= 64ull << 20)
			return -1;
		snprintf(why, sizeof(why), "--memory wants a size of at least 64M, not %.40s", v);
		return usage(why);
	case NEST_KERNEL: n->kernel_file = v; return -1;
	case NEST_MODULES: n->modules = v; return -1;
	case NEST_APPEND: n->append = v; return -1;
	case NEST_TIMEOUT:
		return opt_duration(v, &n->timeout_ms) ? -1 : usage("--timeout wants seconds, or 5m, 1h; 0 for none");
	case NEST_DMESG: n->dmesg = v; return -1;
	case NEST_JSON: n->json = true; return -1;
	case NEST_STAT: n->stat = true; return -1;
	case NEST_TRACE: n->trace = v; return -1;
	case NEST_DROP: return opt_number(v, 0, UINT64_MAX, &n->drop_every) ? -1 : usage("--drop-every wants a number");
	case NEST_EXEC: return take_exec(n, v);
	case NEST_CONSOLE: n->console = true; return -1;
	case NEST_SHELL:
		n->keep = true;
		return opt_number(v, 1, TREE_LEVELS, &n->shell_level) ? -1 : usage("--shell wants a level, such as 2");
	case NEST_KEEP: n->keep = true; return -1;
	case NEST_REPORT: n->report.output = v; return *v ? -1 : usage("--report wants a file's name");
	case NEST_HELP: return nest_help();
	}
	return -1;
}

static int take_options(struct nest *n, int argc, char **argv)
{
	return opt_each(nest_opts, ARRAY_SIZE(nest_opts), argc - 1, argv + 1, take_option, usage, n);
}

static int judge(struct nest *n, enum vm_stop stop, const struct err *e);

/* The counters at the moments that divide the run into boots: a level's hello, its KVM loaded, its end. */
static void mark_message(struct nest *n, const json_t *msg)
{
	const char *type = json_string_value(json_object_get(msg, "type"));
	char name[24];

	if (!n->stat || !type || (strcmp(type, "hello") != 0 && strcmp(type, "kvm") != 0 && strcmp(type, "done") != 0))
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
	if (n->shell_level)
		shell_message(&n->shell, msg);
	if (n->report.output)
		report_message(&n->report.report, msg);
	if (n->keep && !n->told && tree_is_up(&n->tree)) {
		n->told = true;
		progress_stop(&n->progress);
		n->verdict = judge(n, VM_POWEROFF, NULL);
		if (n->shell_level)
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
	if (n->console)
		fwrite(buf, 1, len, stderr);
}

static void describe_host(const struct nest *n, char *out, size_t room)
{
	char vendor[49], brand[49];

	level_own_cpu(vendor, brand);
	snprintf(out, room, "%s · /dev/kvm: %s · accelerator: %s", brand[0] ? brand : vendor, n->accel.kvm,
		 n->accel.engine == ACCEL_KVM ? "kvm" : "soft");
}

/* false: no more of them are worth trying. */
static bool save_log(const struct nest *n, const struct tree_level *l, unsigned level, unsigned guest)
{
	char path[512], number[16] = "";

	if (guest > 1)
		snprintf(number, sizeof(number), ".%u", guest);
	snprintf(path, sizeof(path), "%s/dmesg-L%u%s.txt", n->dmesg, level, number);
	FILE *f = fopen(path, "w");
	if (!f) {
		fprintf(stderr, "nestbox nest: %s cannot be written: %s\n", path, strerror(errno));
		return false;
	}
	tree_print_log(l, f);
	bool lost = ferror(f);
	if (fclose(f) || lost)
		fprintf(stderr, "nestbox nest: %s is not whole: %s\n", path, strerror(errno));
	return true;
}

static void save_logs(struct nest *n)
{
	const struct tree_level *l;

	if (mkdir(n->dmesg, 0755) && errno != EEXIST)
		fprintf(stderr, "nestbox nest: %s cannot be made: %s\n", n->dmesg, strerror(errno));
	for (unsigned i = 1; i <= n->tree.depth; i++)
		for (unsigned k = 1; (l = tree_guest(&n->tree, i, k)); k++)
			if (!save_log(n, l, i, k))
				return;
}

static void print_complaints(struct nest *n)
{
	const struct tree_level *l;
	size_t at;
	json_t *text;

	for (unsigned i = 1; i <= n->tree.depth; i++)
		for (unsigned k = 1; (l = tree_guest(&n->tree, i, k)); k++)
			json_array_foreach(l->complaints, at, text)
				fprintf(stderr, "L%u's kernel complained: %s\n", i, json_string_value(text));
}

/* The console of the level that broke, or the nearest one above it that left any words. */
static void print_console(struct nest *n, unsigned level)
{
	const char *text = NULL;
	char *own = NULL, *save = NULL, *copy;

	for (; level > 1; level--) {
		text = n->tree.level[level].console;
		if (text && *text)
			break;
		text = NULL;
	}
	if (!text)
		text = own = tail_text(&n->serial, 20);
	copy = text ? strdup(text) : NULL;
	if (copy && *copy)
		fprintf(stderr, "L%u's last words on its console:\n", level ? level : 1);
	for (char *line = copy ? strtok_r(copy, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
		fprintf(stderr, "  L%u| %s\n", level ? level : 1, line);
	free(copy);
	free(own);
}

static void print_verdict(struct nest *n, const struct tree_verdict *v)
{
	if (n->json) {
		json_t *all = tree_json(&n->tree, v);

		json_dumpf(all, stdout, JSON_INDENT(1));
		putchar('\n');
		json_decref(all);
	} else if (v->code == EXIT_DONE) {
		puts(v->text);
	}
	fflush(stdout);
	if (v->code != EXIT_DONE) {
		fprintf(stderr, "nested KVM does not work here: %s\n", v->text);
		if (v->code != EXIT_NOT_SO)
			print_console(n, v->level);
	}
}

static int judge(struct nest *n, enum vm_stop stop, const struct err *e)
{
	char stopped[500];
	struct tree_verdict v;

	if ((stop == VM_ERROR || stop == VM_TRIPLE_FAULT) && e->code)
		snprintf(stopped, sizeof(stopped), "%s", e->text);
	else
		snprintf(stopped, sizeof(stopped), "%s", level_stop_text(stop));
	tree_conclude(&n->tree, stop == VM_POWEROFF ? NULL : stopped, &v);
	if (stop == VM_TIMEOUT && v.code != EXIT_DONE)
		v.code = EXIT_TIMEOUT;
	snprintf(n->report.chain, sizeof(n->report.chain), "A chain of nestbox nest ran: %.400s.", v.text);
	print_verdict(n, &v);
	if (v.code == EXIT_DONE && stop != VM_POWEROFF)
		fprintf(stderr, "L1 did not power itself off afterwards: %s\n", stopped);
	print_complaints(n);
	if (n->dmesg)
		save_logs(n);
	return (int)v.code;
}

/* This host's section, and what the levels have sent. Another exit code only where all else went well. */
static int write_report(struct nest *n, int code)
{
	struct err e = {0};
	int rc = host_open(NULL, &n->report.host, &e);

	if (!rc)
		rc = report_collect_host(&n->report, &e);
	if (!rc)
		rc = report_finish(&n->report, &e);
	if (!rc)
		fprintf(stderr, "the report is in %s\n", n->report.output);
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
		.drop_every = n->drop_every,
		.level = 1,
		.depth = (unsigned)n->depth,
		.guests = (unsigned)n->guests,
		.accel = n->accel.engine,
		.cpu = n->accel.cpu,
		.vendor = n->accel.vendor,
		.vcpus = (unsigned)n->smp,
		.memory = n->memory,
		.timeout_ms = n->timeout_ms,
		.kernel = &n->kernel,
		.append = n->append,
		.busybox = n->exec || n->shell_level ? initramfs_busybox() : NULL,
		.exec = n->exec,
		.keep = n->keep,
		.report = n->report.output,
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
	if (n->keep &&
	    control_start(m, (unsigned)n->depth, "A chain of nestbox nest is up.", &n->control, &e)) /* works without */
		fprintf(stderr, "nestbox nest: nestbox report will not find this chain: %s\n", e.text);
	if (n->shell_level && shell_start(&n->shell, m, (unsigned)n->shell_level, &e)) {
		fprintf(stderr, "nestbox nest: %s\n", e.text);
		n->shell_level = 0;
	}
	n->started = clock->now(clock);
	if (!n->json && !n->console && !n->trace)
		progress_start(&n->progress, stdout);
	say_progress(n);
	stop = machine_run(m, &e);
	progress_stop(&n->progress);
	if (n->shell_level)
		shell_stop(&n->shell);
	ran = clock->now(clock) - n->started;
	signals_guard(signals, NULL);
	control_stop(n->control);
	n->control = NULL;
	code = n->told ? n->verdict : stop == VM_USER ? EXIT_GUEST : judge(n, stop, &e);
	if (n->stat) {
		stats_mark(&n->stats, m, "the end", ran);
		stats_print_marks(&n->stats, stderr);
		stats_print(m, ran, stderr);
	}
	machine_free(m);
	if (n->report.output && stop != VM_USER)
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
	if (n->trace && log_enable(n->log, n->trace, &e))
		return usage(e.text);
	for (const char *p = n->exec; p && *p; p = strchr(p, '\n') + 1)
		if ((u64)(*p - '0') > n->depth)
			return usage("--exec names a level deeper than --depth");
	if (n->shell_level > n->depth)
		return usage("--shell names a level deeper than --depth");
	if ((n->exec || n->shell_level) && !initramfs_busybox()) {
		fprintf(stderr, "nestbox nest: --exec and --shell want busybox on this host: install the package "
				"busybox-static\n");
		return EXIT_HOST;
	}
	rc = accel_choose(n->accel_word, n->cpu ? n->cpu : n->vendor_cpu, ACCEL_NESTED, &n->accel, &e);
	if (rc) {
		fprintf(stderr, "nestbox nest: %s\n", e.text);
		return rc == -EINVAL ? EXIT_USAGE : EXIT_HOST;
	}
	rc = kernel_find(n->kernel_file, n->modules, &n->kernel, &e);
	if (rc) {
		fprintf(stderr, "nestbox nest: %s\n", e.text);
		return rc == -ENOENT && (n->kernel_file || n->modules) ? EXIT_USAGE : EXIT_HOST;
	}
	describe_host(n, host, sizeof(host));
	tree_start(&n->tree, (unsigned)n->depth, n->accel.signature, host, n->json ? NULL : stdout);
	n->tree.guests = (unsigned)n->guests;
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
	n->accel_word = "auto";
	n->depth = 2;
	n->guests = 1;
	n->smp = 1;
	n->timeout_ms = UINT64_MAX;
	n->rx = (struct channel_rx){.message = nest_message, .ctx = n};
	code = take_options(n, argc, argv);
	if (n->timeout_ms == UINT64_MAX)
		n->timeout_ms = n->keep ? 0 : 300000;
	if (code < 0 && n->keep && n->report.output)
		code = usage("--keep and --report do not go together: nestbox report asks a chain that is kept");
	if (code < 0 && n->guests > 1 && (n->keep || n->report.output))
		code = usage("--guests does not go with --keep, --shell and --report: they know one guest in a level");
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
	free(n->exec);
	free(n);
	if (sig)
		fprintf(stderr, "nestbox nest: stopped, all levels are gone\n");
	return sig && !kept ? 128 + sig : code; /* a kept chain ends by a signal */
}
