/*
 * Commands that `nest --exec LEVEL:COMMAND` wants run in this level: /nestbox/exec holds them for all levels, a line
 * each, "LEVEL COMMAND".
 *
 * They run one after the other by busybox's shell, before the level below starts, so what they change is in force when
 * it does. What one prints, on both streams, and its exit status go up the channel; they do not decide whether the
 * chain works.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/channel.h"
#include "cmd/file.h"
#include "cmd/init.h"
#include "cmd/initramfs.h"

/* JSON may take six bytes for one of these (\u0001), and a message is one line of the channel. */
#define OUTPUT_MAX (CHANNEL_LINE_MAX / 8)

static void run_shell_command(const char *command, int out)
{
	int null = open("/dev/null", O_RDONLY);

	setsid();
	dup2(null, 0);
	dup2(out, 1);
	dup2(out, 2);
	setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
	setenv("HOME", "/", 1);
	execl("/bin/busybox", "sh", "-c", command, (char *)NULL);
	fprintf(stderr, "/bin/busybox does not start: %s\n", strerror(errno));
	_exit(127);
}

/* All of it is read, so that the command never waits; what has no room is dropped. */
static size_t read_output(int fd, char *buf, size_t room, bool *cut)
{
	size_t n = 0;
	char rest[4096];

	for (;;) {
		bool full = n == room;
		ssize_t r = full ? read(fd, rest, sizeof(rest)) : read(fd, buf + n, room - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return n;
		*cut |= full;
		n += full ? 0 : (size_t)r;
	}
}

/* JSON text is UTF-8: where the output is not, the bytes above 7fh become question marks. */
static json_t *output_text(char *buf, size_t n)
{
	json_t *s = json_stringn(buf, n);

	if (s)
		return s;
	for (size_t i = 0; i < n; i++)
		if ((u8)buf[i] >= 0x80)
			buf[i] = '?';
	return json_stringn(buf, n);
}

static void exec_one(const struct init *in, const char *command, char *buf)
{
	int ends[2], status = 0;
	bool cut = false;
	size_t n = 0;
	pid_t child;

	if (pipe2(ends, O_CLOEXEC)) {
		init_report(in, "failed", "--exec", strerror(errno));
		return;
	}
	fflush(NULL);
	child = fork();
	if (!child)
		run_shell_command(command, ends[1]);
	close(ends[1]);
	if (child > 0) {
		n = read_output(ends[0], buf, OUTPUT_MAX, &cut);
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
	}
	close(ends[0]);
	if (child < 0) {
		init_report(in, "failed", "--exec", "no process for a command");
		return;
	}
	channel_send(in->channel, in->level, "exec",
		     json_pack("{s:s, s:i, s:o, s:b}", "command", command, "status",
			       WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), "output",
			       output_text(buf, n), "cut", cut));
}

char *init_exec_list(void)
{
	struct file_bytes f;
	char *text;

	if (!file_exists(INITRAMFS_EXEC) || file_read(INITRAMFS_EXEC, &f, NULL))
		return NULL;
	text = strndup((const char *)f.data, f.size);
	free(f.data);
	return text;
}

void init_exec(const struct init *in)
{
	char *list = init_exec_list(), *buf = list ? malloc(OUTPUT_MAX) : NULL, *save = NULL, *command;
	struct err e = {0};

	if (list && init_load_role("msr", &e) && e.code != ENOENT) /* for tools that read /dev/cpu; ENOENT: built in */
		fprintf(stderr, "nestbox L%u: %s\n", in->level, e.text);
	if (buf)
		for (char *line = strtok_r(list, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
			if (strtoul(line, &command, 10) == in->level && *command == ' ')
				exec_one(in, command + 1, buf);
	free(buf);
	free(list);
}
