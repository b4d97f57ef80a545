/*
 * A shell in this level for `nest --shell` (docs/CHANNEL.md): busybox on a terminal of its own, whose bytes go up the
 * channel. One a chain; it is started by the first message that says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/base64.h"
#include "cmd/channel.h"
#include "cmd/init.h"

struct shell_out {
	int channel, master;
	unsigned level;
	pid_t child;
};

static void send_end(const struct shell_out *o, const char *why)
{
	channel_send(o->channel, o->level, "tty_end", why ? json_pack("{s:s}", "why", why) : json_object());
}

static void *pass_output(void *ctx)
{
	struct shell_out *o = ctx;
	u8 buf[4096];
	ssize_t n;
	int status;

	/* EIO: nobody has the terminal open any more */
	while ((n = read(o->master, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR)) {
		char *text = n > 0 ? base64_encode(buf, (size_t)n) : NULL;

		if (text)
			channel_send(o->channel, o->level, "tty", json_pack("{s:s}", "out", text));
		free(text);
	}
	while (waitpid(o->child, &status, 0) < 0 && errno == EINTR)
		;
	send_end(o, NULL);
	free(o);
	return NULL;
}

static _Noreturn void run_busybox(const char *terminal, const char *term, unsigned level)
{
	char prompt[32];
	int fd;

	setsid();
	fd = open(terminal, O_RDWR); /* the first terminal that a session opens is its own */
	for (int i = 0; fd >= 0 && i < 3; i++)
		dup2(fd, i);
	ioctl(0, TIOCSCTTY, 0);
	snprintf(prompt, sizeof(prompt), "L%u:\\w# ", level);
	setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
	setenv("HOME", "/", 1);
	setenv("TERM", term, 1);
	setenv("PS1", prompt, 1);
	execl("/bin/busybox", "sh", (char *)NULL);
	fprintf(stderr, "/bin/busybox does not start: %s\r\n", strerror(errno));
	_exit(127);
}

/* Opens the terminal's master; its name to `name`. */
static int open_master(char *name, size_t room)
{
	int fd;

	mkdir("/dev/pts", 0755);
	if (mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=0666") && errno != EBUSY)
		return -1;
	fd = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd >= 0 && (unlockpt(fd) || ptsname_r(fd, name, room))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void start_shell(struct init *in, const char *term)
{
	struct shell_out *o = calloc(1, sizeof(*o));
	char name[64];
	pthread_t t;

	if (!o)
		return;
	*o = (struct shell_out){.channel = in->channel, .level = in->level, .master = open_master(name, sizeof(name))};
	if (o->master >= 0) {
		fflush(NULL);
		o->child = fork();
		if (!o->child)
			run_busybox(name, term, in->level);
	}
	if (o->master < 0 || o->child < 0 || pthread_create(&t, NULL, pass_output, o)) {
		send_end(o, strerror(errno));
		free(o);
		return;
	}
	in->shell = o->master;
	pthread_detach(t);
}

void init_shell(struct init *in, const json_t *msg)
{
	const char *text = json_string_value(json_object_get(msg, "in")),
		   *term = json_string_value(json_object_get(msg, "term"));
	struct winsize size = {
		.ws_row = (unsigned short)json_integer_value(json_object_get(msg, "rows")),
		.ws_col = (unsigned short)json_integer_value(json_object_get(msg, "columns")),
	};
	size_t n = 0, at = 0;
	u8 *bytes;

	if (json_integer_value(json_object_get(msg, "level")) != (json_int_t)in->level)
		return;
	if (in->shell < 0 && json_is_true(json_object_get(msg, "start")))
		start_shell(in, term ? term : "linux");
	if (in->shell < 0)
		return;
	if (size.ws_row && size.ws_col)
		ioctl(in->shell, TIOCSWINSZ, &size);
	bytes = text ? base64_decode(text, strlen(text), &n) : NULL;
	while (bytes && at < n) {
		ssize_t w = write(in->shell, bytes + at, n - at);

		if (w < 0 && errno != EINTR)
			break;
		at += w > 0 ? (size_t)w : 0;
	}
	free(bytes);
}
