/*
 * The level below: its machine on this kernel's KVM, its messages passed on, and the evidence that it ran there.
 *
 * The evidence is KVM's own: the exits that its VM took, read while the VM still exists, since its counters go with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/channel.h"
#include "cmd/init.h"
#include "cmd/initramfs.h"
#include "cmd/kernel.h"
#include "cmd/level.h"

/* What this level leaves itself to report a level below that ran out of time. */
#define REPORT_MS 4000

struct next {
	struct init *in;
	unsigned guest; /* 1...; 0: the only one */
	struct channel_rx rx;
	struct tail console;
	bool error, done;
	struct machine *machine;
	u64 started; /* ms of uptime */
};

static void next_serial(void *ctx, const u8 *buf, size_t n) { tail_feed(&((struct next *)ctx)->console, buf, n); }

static void next_channel(void *ctx, const u8 *buf, size_t n) { channel_rx_feed(&((struct next *)ctx)->rx, buf, n); }

static void send_evidence(const struct next *next);

/* A level speaks for itself and for those inside it, never for one above. */
static void next_message(void *ctx, json_t *msg)
{
	struct next *next = ctx;
	json_int_t level = json_integer_value(json_object_get(msg, "level"));
	const char *type = json_string_value(json_object_get(msg, "type"));

	if (!type || level <= (json_int_t)next->in->level || level > (json_int_t)next->in->depth)
		return;
	next->error |= !strcmp(type, "error");
	next->done |= !strcmp(type, "done") && level == (json_int_t)next->in->level + 1;
	if (next->guest)
		json_object_set_new(msg, "guest", json_integer((json_int_t)next->guest));
	channel_forward(next->in->channel, msg);
	if (!strcmp(type, "up") &&
	    level == (json_int_t)next->in->level + 1) { /* a kept chain: this level is up too then */
		send_evidence(next);
		init_up(next->in);
	}
}

static void send_console(struct next *next)
{
	char *text = tail_text(&next->console, 20);

	if (text)
		channel_send(next->in->channel, next->in->level, "console",
			     json_pack("{s:i, s:s}", "of", (int)next->in->level + 1, "text", text));
	free(text);
}

/* debugfs counts for all VMs together: of several each has what KVM tells the VM's owner. */
static void send_evidence(const struct next *next)
{
	json_t *counters = init_kvm_counters();
	json_int_t exits = next->guest ? 0 : json_integer_value(json_object_get(counters, "exits"));
	double seconds = (double)(init_uptime_ms() - next->started) / 1000;

	if (!exits) /* no debugfs, or several */
		exits = (json_int_t)machine_exits(next->machine);
	channel_send(next->in->channel, next->in->level, "evidence",
		     json_pack("{s:I, s:f, s:o, s:i}", "exits", exits, "seconds", seconds, "counters", counters,
			       "guest", (int)next->guest));
}

static int run_next(struct next *next, struct machine *m, struct err *e)
{
	struct init *in = next->in;
	char what[24];
	enum vm_stop stop;

	next->started = init_uptime_ms();
	init_command_next(in, m);
	stop = machine_run(m, e);
	init_command_next(in, NULL);
	send_evidence(next);
	if (in->report) /* now: with the VM go its counters */
		init_send_section(in);
	in->report = false;
	if (stop == VM_POWEROFF && next->done)
		return 0;
	send_console(next);
	if (next->error) /* it said itself what was wrong */
		return err_set(e, EIO, "L%u reported an error", in->level + 1);
	snprintf(what, sizeof(what), "L%u", in->level + 1);
	if ((stop == VM_ERROR || stop == VM_TRIPLE_FAULT) && e->code)
		init_report(in, "failed", what, e->text);
	else
		init_report(in, stop == VM_TIMEOUT ? "timeout" : "failed", what, level_stop_text(stop));
	return err_set(e, EIO, "L%u did not finish: %s", in->level + 1, level_stop_text(stop));
}

struct side { /* one of several guests */
	struct next next;
	pthread_t thread;
	bool started;
	int rc;
	struct err e;
};

static void *run_side(void *ctx)
{
	struct side *s = ctx;

	s->rc = run_next(&s->next, s->next.machine, &s->e);
	return NULL;
}

/* Several are run by a thread each; the first error is the level's. */
static int run_sides(struct side *side, unsigned n, struct err *e)
{
	int rc = 0;

	for (unsigned k = 0; k < n && n > 1; k++)
		side[k].started = !pthread_create(&side[k].thread, NULL, run_side, &side[k]);
	for (unsigned k = 0; k < n; k++) {
		if (side[k].started)
			pthread_join(side[k].thread, NULL);
		else
			run_side(&side[k]);
		if (side[k].rc && !rc) {
			rc = side[k].rc;
			*e = side[k].e;
		}
	}
	return rc;
}

int init_next(struct init *in, struct err *e)
{
	unsigned guests = in->level + 1 == in->depth ? in->guests : 1, made = 0;
	struct side *side = calloc(guests, sizeof(*side));
	struct log *log = log_new(stderr, "");
	struct kernel_image kernel;
	char *exec = init_exec_list();
	char what[24];
	u64 memory, now = init_uptime_ms();
	int rc;

	snprintf(what, sizeof(what), "starting L%u", in->level + 1);
	rc = side ? kernel_find(INITRAMFS_KERNEL, NULL, &kernel, e) : err_set(e, ENOMEM, "no memory");
	if (rc) {
		init_report(in, "failed", what, e->text);
		goto out_log;
	}
	for (; made < guests && !rc; made += !rc) {
		struct next *next = &side[made].next;
		struct level_start start = {
			.level = in->level + 1,
			.depth = in->depth,
			.guests = in->guests,
			.accel = ACCEL_KVM,
			.vendor = in->vendor,
			.vcpus = (unsigned)MIN(MAX(sysconf(_SC_NPROCESSORS_ONLN), 1), VM_VCPUS),
			.timeout_ms = !in->deadline_ms			      ? 0
				      : in->deadline_ms > now + 2 * REPORT_MS ? in->deadline_ms - now - REPORT_MS
									      : REPORT_MS,
			.kernel = &kernel,
			.busybox = initramfs_busybox(), /* it is here if it was asked for */
			.exec = exec,
			.keep = in->keep,
			.report = in->report,
			.serial = {next_serial, next},
			.channel = {next_channel, next},
			.log = log,
		};

		*next = (struct next){
			.in = in, .guest = guests > 1 ? made + 1 : 0, .rx = {.message = next_message, .ctx = next}};
		rc = level_new(&start, &next->machine, &memory, e);
	}
	kernel_free(&kernel);
	if (rc) {
		init_report(in, "failed", what, e->text);
	} else {
		channel_send(in->channel, in->level, "start",
			     json_pack("{s:s, s:I}", "cpu", "host", "memory_mib", (json_int_t)(memory >> 20)));
		rc = run_sides(side, made, e);
	}
	for (unsigned k = 0; k < made; k++) {
		machine_free(side[k].next.machine);
		channel_rx_free(&side[k].next.rx);
	}
out_log:
	free(side);
	free(exec);
	log_free(log);
	return rc;
}
