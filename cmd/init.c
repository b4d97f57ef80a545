/*
 * Process 1 of a guest.
 *
 *   mounts -> channel -> hello -> [KVM module -> commands -> the level below -> evidence] or [commands -> CPUID time]
 * -> kernel log -> done -> power off
 *
 * Whatever goes wrong is told on the channel and on the console, and the guest still powers itself off; a watchdog does
 * so when a step hangs. Without nestbox.level on the command line there is no chain: a shell on the console instead.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cmd/channel.h"
#include "cmd/cmd.h"
#include "cmd/file.h"
#include "cmd/init.h"
#include "cmd/level.h"
#include "cmd/tree.h"

#define CHANNEL_WAIT_MS 10000

void init_report(const struct init *in, const char *kind, const char *what, const char *why)
{
	fprintf(stderr, "nestbox L%u: %s: %s\n", in->level, what, why);
	channel_send(in->channel, in->level, "error",
		     json_pack("{s:s, s:s, s:s}", "kind", kind, "what", what, "why", why));
}

void init_up(const struct init *in)
{
	init_send_log(in);
	channel_send(in->channel, in->level, "up", json_pack("{s:f}", "up_s", (double)init_uptime_ms() / 1000));
}

static void send_hello(const struct init *in)
{
	char hypervisor[13], vendor[49], brand[49];
	struct utsname u;

	init_hypervisor(hypervisor);
	level_own_cpu(vendor, brand);
	uname(&u);
	channel_send(in->channel, in->level, "hello",
		     json_pack("{s:s, s:s, s:s, s:s, s:f}", "kernel", u.release, "hypervisor", hypervisor, "vendor",
			       vendor, "model", brand, "up_s", (double)init_uptime_ms() / 1000));
}

/* 0, or -1 with the error told. */
static int load_kvm(const struct init *in)
{
	const char *module = level_kvm_module(in->vendor);
	struct err e = {0};
	json_t *parameters = init_module_parameters(module); /* built in? */
	char why[500];

	if (!init_has_nested_unit(in->vendor)) {
		snprintf(why, sizeof(why), "the processor has no %s",
			 in->vendor == X86_AMD ? "SVM (CPUID 80000001h ECX bit 2)" : "VMX (CPUID 1 ECX bit 5)");
		init_report(in, "not_so", module, why);
		json_decref(parameters);
		return -1;
	}
	if (!parameters && init_load_role("kvm", &e)) {
		init_report(in, "failed", module, e.text);
		return -1;
	}
	if (!parameters)
		parameters = init_module_parameters(module);
	if (!parameters || !file_exists("/dev/kvm")) {
		init_report(in, "failed", module,
			    parameters ? "it loaded, but there is no /dev/kvm" : "it is not there after loading");
		json_decref(parameters);
		return -1;
	}
	channel_send(in->channel, in->level, "kvm",
		     json_pack("{s:s, s:o}", "module", module, "parameters", parameters));
	return 0;
}

static void *watchdog(void *ctx)
{
	const struct init *in = ctx;
	u64 now;

	while ((now = init_uptime_ms()) < in->deadline_ms) {
		struct timespec nap = {.tv_sec = (time_t)((in->deadline_ms - now) / 1000) + 1};

		nanosleep(&nap, NULL);
	}
	fprintf(stderr, "nestbox L%u: out of time\n", in->level);
	init_power_off();
}

static void start_watchdog(struct init *in)
{
	pthread_t t;

	if (in->deadline_ms && !pthread_create(&t, NULL, watchdog, in))
		pthread_detach(t);
}

static void read_parameters(struct init *in)
{
	char value[32];

	if (init_parameter("nestbox.level", value, sizeof(value)))
		in->level = (unsigned)strtoul(value, NULL, 10);
	if (init_parameter("nestbox.depth", value, sizeof(value)))
		in->depth = (unsigned)strtoul(value, NULL, 10);
	in->guests = init_parameter("nestbox.guests", value, sizeof(value)) ? (unsigned)strtoul(value, NULL, 10) : 1;
	in->guests = MIN(MAX(in->guests, 1u), TREE_GUESTS);
	if (init_parameter("nestbox.timeout", value, sizeof(value)))
		in->deadline_ms = strtoull(value, NULL, 10) * 1000;
	in->report = init_parameter("nestbox.report", value, sizeof(value));
	in->keep = init_parameter("nestbox.keep", value, sizeof(value));
}

static void run_level(struct init *in)
{
	struct err e = {0};

	if (init_load_role("channel", &e) && e.code != ENOENT) /* ENOENT: built in */
		fprintf(stderr, "nestbox L%u: %s\n", in->level, e.text);
	if (init_open_channel(CHANNEL_WAIT_MS, &in->channel, &e)) {
		init_report(in, "failed", "channel", e.text);
		return;
	}
	if (in->keep && init_command_start(in))
		init_report(in, "failed", "commands", "no thread for them");
	send_hello(in);
	if (in->level < in->depth) {
		int rc = load_kvm(in);

		init_exec(in);
		if (!rc)
			init_next(in, &e);
	} else {
		init_exec(in);
		channel_send(in->channel, in->level, "cpuid", json_pack("{s:I}", "ns", (json_int_t)init_cpuid_ns()));
		if (in->keep) {
			init_up(in);
			init_command_wait(in);
		}
	}
	if (in->report)
		init_send_section(in);
	if (!in->keep)
		init_send_log(in);
	channel_send(in->channel, in->level, "done", json_pack("{s:f}", "up_s", (double)init_uptime_ms() / 1000));
}

/* A console that a module brings is not there when the kernel starts its process 1, which then has no open files. */
static void open_standard_files(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", O_RDWR);
}

/* The console's own device: /dev/console cannot be a controlling terminal. A virtio console comes some time after its
 * module. */
static int open_terminal(void)
{
	const struct timespec nap = {.tv_nsec = 2000000};
	const u64 until = init_uptime_ms() + CHANNEL_WAIT_MS;
	char name[32];
	int tty = -1;

	if (init_parameter("console", name, sizeof(name)) && !strcmp(name, "hvc0"))
		while ((tty = open("/dev/hvc0", O_RDWR | O_NOCTTY)) < 0 && init_uptime_ms() < until)
			nanosleep(&nap, NULL);
	return tty < 0 ? open("/dev/ttyS0", O_RDWR | O_NOCTTY) : tty;
}

static void run_shell(void)
{
	pid_t child = fork(), ended;
	int status;

	if (!child) {
		int tty = open_terminal();

		setsid();
		for (int fd = 0; tty >= 0 && fd < 3; fd++)
			dup2(tty, fd);
		ioctl(0, TIOCSCTTY, 1);
		setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
		setenv("TERM", "linux", 1);
		execl("/bin/busybox", "sh", "-l", (char *)NULL);
		perror("/bin/busybox");
		_exit(127);
	}
	do
		ended = wait(&status);
	while (ended != child && ended > 0);
}

int cmd_init(void)
{
	struct init in = {
		.channel = -1, .shell = -1, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
	struct err e = {0};

	open_standard_files();
	if (init_mount(&e)) {
		init_report(&in, "failed", "mounts", e.text);
		init_power_off();
	}
	read_parameters(&in);
	if (!in.depth) {
		if (init_load_role("channel", &e) && e.code != ENOENT)
			fprintf(stderr, "nestbox: %s\n", e.text);
		in.level = 1;
		if (init_command_start(&in)) /* for nestbox report */
			fprintf(stderr, "nestbox: no thread for commands\n");
		run_shell();
		init_power_off();
	}
	start_watchdog(&in);
	if (!level_own_vendor(&in.vendor) && in.level < in.depth)
		init_report(&in, "not_so", "processor", "it is neither Intel's nor AMD's");
	run_level(&in);
	init_power_off();
}
