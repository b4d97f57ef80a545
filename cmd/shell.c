/* The host's end of a level's shell. */
#include "cmd/shell.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/base64.h"
#include "cmd/channel.h"
#include "machine/machine.h"

static void send_down(const struct shell *s, json_t *msg)
{
	size_t n;
	char *text;

	json_object_set_new(msg, "do", json_string("tty"));
	json_object_set_new(msg, "level", json_integer((json_int_t)s->level));
	text = channel_line(msg, &n);
	json_decref(msg);
	if (text)
		machine_channel_input(s->machine, text, n);
	free(text);
}

static void shell_input(void *ctx, const u8 *buf, size_t n)
{
	char *text = base64_encode(buf, n);

	if (text)
		send_down(ctx, json_pack("{s:s}", "in", text));
	free(text);
}

static void shell_size(void *ctx, unsigned rows, unsigned columns)
{
	send_down(ctx, json_pack("{s:i, s:i}", "rows", (int)rows, "columns", (int)columns));
}

static void wait_while(struct shell *s, enum shell_phase phase)
{
	while (s->phase == phase && !s->stopped)
		pthread_cond_wait(&s->changed, &s->lock);
}

static void *attend(void *ctx)
{
	static const char stop[] = "{\"do\":\"stop\"}\n";
	struct shell *s = ctx;
	struct terminal_sink to = {shell_input, shell_size, s};
	const char *term = getenv("TERM");
	struct terminal terminal;
	struct err e = {0};
	bool ended;

	pthread_mutex_lock(&s->lock);
	wait_while(s, SHELL_WAITS);
	ended = s->stopped;
	pthread_mutex_unlock(&s->lock);
	if (ended)
		return NULL;
	fprintf(stderr, "a shell in L%u; its end, or Ctrl-A x, is the end of all levels\n", s->level);
	send_down(s, json_pack("{s:b, s:s}", "start", 1, "term", term && *term ? term : "linux"));
	if (terminal_start(&terminal, s->machine, &to, &e)) {
		fprintf(stderr, "nestbox nest: %s\n", e.text);
		machine_stop(s->machine, VM_USER);
		return NULL;
	}
	pthread_mutex_lock(&s->lock);
	wait_while(s, SHELL_RUNS);
	ended = s->stopped;
	pthread_mutex_unlock(&s->lock);
	terminal_stop(&terminal);
	if (!ended)
		machine_channel_input(s->machine, stop, sizeof(stop) - 1);
	return NULL;
}

int shell_start(struct shell *s, struct machine *m, unsigned level, struct err *e)
{
	int rc;

	*s = (struct shell){.machine = m, .level = level};
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	rc = pthread_create(&s->thread, NULL, attend, s);
	return rc ? err_set(e, rc, "no thread for the shell: %s", strerror(rc)) : 0;
}

static void enter(struct shell *s, enum shell_phase phase, bool stopped)
{
	pthread_mutex_lock(&s->lock);
	if (phase > s->phase)
		s->phase = phase;
	s->stopped |= stopped;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

void shell_ready(struct shell *s) { enter(s, SHELL_RUNS, false); }

void shell_message(struct shell *s, const json_t *msg)
{
	const char *type = json_string_value(json_object_get(msg, "type")),
		   *out = json_string_value(json_object_get(msg, "out"));
	size_t n;
	u8 *bytes;

	if (!type || json_integer_value(json_object_get(msg, "level")) != (json_int_t)s->level)
		return;
	if (!strcmp(type, "tty") && out) {
		bytes = base64_decode(out, strlen(out), &n);
		if (bytes)
			terminal_write(NULL, bytes, n);
		free(bytes);
	} else if (!strcmp(type, "tty_end")) {
		const char *why = json_string_value(json_object_get(msg, "why"));

		if (why)
			fprintf(stderr, "nestbox nest: no shell in L%u: %.200s\r\n", s->level, why);
		enter(s, SHELL_ENDED, false);
	}
}

void shell_stop(struct shell *s)
{
	enter(s, SHELL_WAITS, true);
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
}
