/* The chain's side of the control socket. */
#include "cmd/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cmd/channel.h"
#include "cmd/control_dir.h"
#include "cmd/report.h"
#include "machine/machine.h"

#define COLLECT_S  60 /* for all levels together */
#define REQUEST_MS 5000

struct control {
	struct machine *machine;
	unsigned depth;
	char *about;
	char path[108];
	int listen, wake[2];
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct report *report; /* being collected; NULL: nobody asked */
	bool stopping;
};

const char *control_path(const struct control *c) { return c->path; }

void control_message(struct control *c, const json_t *msg)
{
	pthread_mutex_lock(&c->lock);
	if (c->report) {
		report_message(c->report, msg);
		pthread_cond_signal(&c->changed);
	}
	pthread_mutex_unlock(&c->lock);
}

static bool all_ended(const struct control *c)
{
	for (unsigned i = 1; i <= c->depth; i++)
		if (!c->report->ended[i])
			return false;
	return true;
}

/* Asks the levels, and waits for them. */
static void collect(struct control *c, struct report *r)
{
	static const char request[] = "{\"do\":\"report\"}\n";
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += COLLECT_S;
	pthread_mutex_lock(&c->lock);
	c->report = r;
	pthread_mutex_unlock(&c->lock);
	machine_channel_input(c->machine, request, sizeof(request) - 1);
	pthread_mutex_lock(&c->lock);
	while (!c->stopping && !all_ended(c) && pthread_cond_timedwait(&c->changed, &c->lock, &until) != ETIMEDOUT)
		;
	c->report = NULL;
	pthread_mutex_unlock(&c->lock);
}

static int answer(const struct control *c, int fd, const struct report *r)
{
	struct report_out out = report_send_out;
	int rc = channel_send(fd, 0, "chain", json_pack("{s:s, s:i}", "about", c->about, "depth", (int)c->depth));

	for (size_t i = 0; !rc && i < r->nfiles; i++) {
		const struct report_file *f = &r->files[i];
		struct report_send to = {fd, f->level};

		out.ctx = &to;
		rc = f->data ? out.file(&to, f->name, f->by, f->data, f->size) : out.missing(&to, f->name, f->why);
	}
	for (unsigned i = 1; !rc && i <= c->depth; i++)
		if (!r->ended[i])
			rc = channel_send(
				fd, i, "missing",
				json_pack("{s:s, s:s}", "name", "the-rest", "why", "the level did not answer in time"));
	return rc ? rc : channel_send(fd, 0, "end", json_object());
}

/* The request: one line. */
static bool read_request(int fd, char *line, size_t room)
{
	size_t n = 0;

	while (n + 1 < room) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t got;

		if (poll(&p, 1, REQUEST_MS) <= 0)
			return false;
		got = read(fd, line + n, room - 1 - n);
		if (got <= 0)
			return false;
		n += (size_t)got;
		line[n] = 0;
		if (memchr(line, '\n', n))
			return true;
	}
	return false;
}

static void serve(struct control *c, int fd)
{
	struct timeval patience = {.tv_sec = 10};
	struct report r = {0};
	json_t *request;
	char line[1024];

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (!read_request(fd, line, sizeof(line)))
		return;
	request = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);
	const char *verb = json_string_value(json_object_get(request, "do"));
	if (verb && !strcmp(verb, "report")) {
		collect(c, &r);
		answer(c, fd, &r);
		report_free(&r);
	} else {
		channel_send(fd, 0, "error", json_pack("{s:s}", "why", "the request is not known"));
	}
	json_decref(request);
}

static void *run(void *ctx)
{
	struct control *c = ctx;
	struct pollfd p[2] = {{.fd = c->listen, .events = POLLIN}, {.fd = c->wake[0], .events = POLLIN}};

	for (;;) {
		int fd;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			break;
		if (!p[0].revents)
			continue;
		fd = accept4(c->listen, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		serve(c, fd);
		close(fd);
	}
	return NULL;
}

static int open_socket(struct control *c, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char dir[80];
	int rc = control_dir(dir, sizeof(dir), true, e);

	if (rc)
		return rc;
	snprintf(c->path, sizeof(c->path), "%s/%d.sock", dir, (int)getpid());
	memcpy(a.sun_path, c->path, sizeof(c->path));
	c->listen = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->listen < 0)
		return err_set(e, errno, "no socket: %s", strerror(errno));
	unlink(c->path); /* of a process with our number that is gone */
	if (bind(c->listen, (struct sockaddr *)&a, sizeof(a)) || chmod(c->path, 0600) || listen(c->listen, 4))
		return err_set(e, errno, "%s cannot be made: %s", c->path, strerror(errno));
	return 0;
}

static void release(struct control *c)
{
	if (c->listen >= 0) {
		unlink(c->path);
		close(c->listen);
	}
	if (c->wake[0] >= 0) {
		close(c->wake[0]);
		close(c->wake[1]);
	}
	free(c->about);
	free(c);
}

int control_start(struct machine *m, unsigned depth, const char *about, struct control **out, struct err *e)
{
	struct control *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(e, ENOMEM, "no memory");
	*c = (struct control){.machine = m, .depth = depth, .about = strdup(about), .listen = -1, .wake = {-1, -1}};
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	rc = c->about ? open_socket(c, e) : err_set(e, ENOMEM, "no memory");
	if (!rc && pipe2(c->wake, O_CLOEXEC))
		rc = err_set(e, errno, "no pipe: %s", strerror(errno));
	if (!rc) {
		rc = -pthread_create(&c->thread, NULL, run, c);
		if (rc)
			err_set(e, -rc, "no thread: %s", strerror(-rc));
	}
	if (rc) {
		release(c);
		return rc;
	}
	*out = c;
	return 0;
}

void control_stop(struct control *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->stopping = true;
	pthread_cond_signal(&c->changed);
	pthread_mutex_unlock(&c->lock);
	close(c->wake[1]); /* hang-up wakes the thread */
	pthread_join(c->thread, NULL);
	close(c->wake[0]);
	c->wake[0] = c->wake[1] = -1;
	release(c);
}
