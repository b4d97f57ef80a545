/*
 * Commands that come down the channel into a kept chain, or into the guest of `nestbox run` with our own root
 * (docs/CHANNEL.md): each is first handed to the level below, then done here.
 *
 * They are read by a thread of their own; the level's main thread runs the level below, or a shell, or waits in
 * init_command_wait.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/channel.h"
#include "cmd/init.h"
#include "cmd/report.h"
#include "machine/machine.h"

#define PORT_WAIT_MS 10000

static void hand_down(struct init *in, json_t *msg)
{
	size_t n;
	char *line = channel_line(msg, &n);

	pthread_mutex_lock(&in->lock);
	if (in->next && line)
		machine_channel_input(in->next, line, n);
	pthread_mutex_unlock(&in->lock);
	free(line);
}

void init_send_section(const struct init *in)
{
	struct err e = {0};

	if (init_load_role("msr", &e) && e.code != ENOENT) /* ENOENT: built in */
		fprintf(stderr, "nestbox L%u: %s\n", in->level, e.text);
	report_send(in->channel, in->level);
}

static void take_command(void *ctx, json_t *msg)
{
	struct init *in = ctx;
	const char *verb = json_string_value(json_object_get(msg, "do"));

	if (!verb)
		return;
	hand_down(in, msg);
	if (!strcmp(verb, "report")) {
		init_send_section(in);
	} else if (!strcmp(verb, "tty")) {
		init_shell(in, msg);
	} else if (!strcmp(verb, "stop")) {
		pthread_mutex_lock(&in->lock);
		in->stop = true;
		pthread_cond_broadcast(&in->changed);
		pthread_mutex_unlock(&in->lock);
	}
}

static void *read_commands(void *ctx)
{
	struct init *in = ctx;
	struct channel_rx rx = {.message = take_command, .ctx = in};
	struct timespec nap = {.tv_nsec = 20000000};
	u8 buf[4096];

	if (in->channel < 0 && init_open_channel(PORT_WAIT_MS, &in->channel, NULL))
		return NULL; /* nobody will ask */
	for (;;) {
		ssize_t n = read(in->channel, buf, sizeof(buf));

		if (n > 0)
			channel_rx_feed(&rx, buf, (size_t)n);
		else /* the host's side is not open: it may be again */
			nanosleep(&nap, NULL);
	}
	return NULL;
}

int init_command_start(struct init *in)
{
	pthread_t t;
	int rc = pthread_create(&t, NULL, read_commands, in);

	if (!rc)
		pthread_detach(t);
	return -rc;
}

void init_command_wait(struct init *in)
{
	pthread_mutex_lock(&in->lock);
	while (!in->stop)
		pthread_cond_wait(&in->changed, &in->lock);
	pthread_mutex_unlock(&in->lock);
}

void init_command_next(struct init *in, struct machine *m)
{
	pthread_mutex_lock(&in->lock);
	in->next = m;
	pthread_mutex_unlock(&in->lock);
}
