/* Raw mode, the thread that reads, the escape character. */
#include "cmd/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "machine/machine.h"

#define ESCAPE 1 /* Ctrl-A */

void terminal_write(void *ctx, const u8 *buf, size_t n)
{
	while (n) {
		ssize_t w = write(STDOUT_FILENO, buf, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

			poll(&p, 1, 1000);
			continue;
		}
		if (w <= 0)
			return; /* nobody listens any more: the guest goes on */
		buf += w;
		n -= (size_t)w;
	}
}

static bool command(struct terminal *t, u8 c)
{
	static const char help[] = "\r\nCtrl-A x: leave   Ctrl-A Ctrl-A: send Ctrl-A   Ctrl-A h: this\r\n";

	switch (c) {
	case 'x': machine_stop(t->machine, VM_USER); return false;
	case ESCAPE: machine_serial_input(t->machine, &c, 1); break;
	case 'h':
	case '?': terminal_write(NULL, (const u8 *)help, sizeof(help) - 1); break;
	default: break;
	}
	return true;
}

/* false: the user leaves. */
static bool take(struct terminal *t, const u8 *buf, size_t n)
{
	u8 out[256];
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		if (t->escaped) {
			t->escaped = false;
			if (!command(t, buf[i]))
				return false;
		} else if (t->raw && buf[i] == ESCAPE) {
			t->escaped = true;
		} else {
			out[k++] = buf[i];
		}
	}
	if (k)
		machine_serial_input(t->machine, out, k);
	return true;
}

static void *read_input(void *ctx)
{
	struct terminal *t = ctx;
	struct pollfd p[2] = {{.fd = t->quit[0], .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
	u8 buf[256];

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (p[0].revents)
			return NULL;
		if (!p[1].revents)
			continue;
		ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
		if (n <= 0 && !(n < 0 && (errno == EINTR || errno == EAGAIN)))
			p[1].fd = -1; /* at its end: only the quit pipe is left to wait for */
		else if (n > 0 && !take(t, buf, (size_t)n))
			return NULL;
	}
}

int terminal_start(struct terminal *t, struct machine *m, struct err *e)
{
	struct termios raw;
	int rc;

	*t = (struct terminal){.machine = m};
	if (pipe2(t->quit, O_CLOEXEC))
		return err_set(e, errno, "no pipe for the terminal: %s", strerror(errno));
	if (isatty(STDIN_FILENO) && !tcgetattr(STDIN_FILENO, &t->saved)) {
		raw = t->saved;
		cfmakeraw(&raw);
		t->raw = !tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	}
	rc = pthread_create(&t->thread, NULL, read_input, t);
	t->started = !rc;
	if (rc) {
		terminal_stop(t);
		return err_set(e, rc, "no thread for the terminal: %s", strerror(rc));
	}
	return 0;
}

void terminal_stop(struct terminal *t)
{
	if (t->started) {
		close(t->quit[1]);
		pthread_join(t->thread, NULL);
		close(t->quit[0]);
	}
	if (t->raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &t->saved);
	t->started = t->raw = false;
}
