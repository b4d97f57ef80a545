/* Raw mode, the thread that reads, the escape character. */
#include "cmd/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cmd/monitor.h"
#include "machine/machine.h"

#define ESCAPE	     1 /* Ctrl-A */
#define SIZE_LOOK_MS 250

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

static void say(const char *text) { terminal_write(NULL, (const u8 *)text, strlen(text)); }

/* One line for the monitor; the terminal is raw, so that line ends need their carriage return. */
static void monitor_line(struct terminal *t)
{
	char *text = NULL, *end;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		return;
	if (!strncmp(t->line, "cpu ", 4)) {
		unsigned long k = strtoul(t->line + 4, &end, 10);

		if (*end || k >= machine_vm(t->machine)->nvcpus)
			fprintf(f, "there is no such vCPU\n");
		else
			t->vcpu = (unsigned)k;
	} else if (t->length) {
		monitor_run(t->machine, t->vcpu, t->line, f);
	}
	fclose(f);
	for (char *p = text; p && *p; p = end) {
		end = p + strcspn(p, "\n");
		terminal_write(NULL, (const u8 *)p, (size_t)(end - p));
		if (*end) {
			say("\r\n");
			end++;
		}
	}
	free(text);
}

/* The guest stands still while the monitor has the keyboard. */
static void monitor_key(struct terminal *t, u8 c)
{
	if (c == '\r' || c == '\n') {
		say("\r\n");
		t->line[t->length] = 0;
		if (!strcmp(t->line, "c") || !strcmp(t->line, "cont")) {
			t->monitor = false;
			debug_resume(machine_vm(t->machine), DEBUG_MONITOR);
		} else {
			monitor_line(t);
			say("(nestbox) ");
		}
		t->length = 0;
	} else if ((c == 8 || c == 127) && t->length) {
		t->length--;
		say("\b \b");
	} else if (c >= ' ' && c < 127 && t->length < sizeof(t->line) - 1) {
		t->line[t->length++] = (char)c;
		terminal_write(NULL, &c, 1);
	}
}

static void monitor_enter(struct terminal *t)
{
	if (t->monitor)
		return;
	debug_pause(machine_vm(t->machine), DEBUG_MONITOR);
	t->monitor = true;
	t->length = 0;
	say("\r\nthe guest stands still; c: go on, cpu N: choose a vCPU, help: the other commands\r\n(nestbox) ");
}

static bool command(struct terminal *t, u8 c)
{
	static const char help[] =
		"\r\nCtrl-A x: leave   Ctrl-A c: monitor   Ctrl-A Ctrl-A: send Ctrl-A   Ctrl-A h: this\r\n";

	switch (c) {
	case 'x': machine_stop(t->machine, VM_USER); return false;
	case 'c': monitor_enter(t); break;
	case ESCAPE: t->to.input(t->to.ctx, &c, 1); break;
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
		} else if (t->monitor) {
			monitor_key(t, buf[i]);
		} else {
			out[k++] = buf[i];
		}
	}
	if (k)
		t->to.input(t->to.ctx, out, k);
	return true;
}

static void serial_input(void *ctx, const u8 *buf, size_t n) { machine_serial_input(ctx, buf, n); }

static void tell_size(struct terminal *t)
{
	struct winsize w;

	if (!t->to.size || ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) || (w.ws_row == t->rows && w.ws_col == t->columns))
		return;
	t->rows = w.ws_row;
	t->columns = w.ws_col;
	t->to.size(t->to.ctx, t->rows, t->columns);
}

static void *read_input(void *ctx)
{
	struct terminal *t = ctx;
	struct pollfd p[2] = {{.fd = t->quit[0], .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
	u8 buf[256];

	for (;;) {
		tell_size(t);
		if (poll(p, 2, t->to.size ? SIZE_LOOK_MS : -1) < 0 && errno != EINTR)
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

int terminal_start(struct terminal *t, struct machine *m, const struct terminal_sink *to, struct err *e)
{
	struct termios raw;
	int rc;

	*t = (struct terminal){.machine = m, .to = to ? *to : (struct terminal_sink){serial_input, NULL, m}};
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
