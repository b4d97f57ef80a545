/* A child in a group of its own, its stdout in a pipe, its stdin and stderr nowhere. */
#include "cmd/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define WORDS 16

int program_interrupted(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	sigset_t set;

	sigpending(&set);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigismember(&set, signals[i]))
			return signals[i];
	return 0;
}

/* The file of a program, as execvp would find it, sbin folders added: users have them not in PATH. */
static bool find_program(const char *name, char *path, size_t room)
{
	const char *env = getenv("PATH");
	char list[4096];
	char *save = NULL;

	snprintf(list, sizeof(list), "%s:/usr/sbin:/sbin:/usr/bin:/bin:/usr/libexec", env ? env : "");
	if (strchr(name, '/'))
		return (size_t)snprintf(path, room, "%s", name) < room && !access(path, X_OK);
	for (char *dir = strtok_r(list, ":", &save); dir; dir = strtok_r(NULL, ":", &save))
		if (dir[0] == '/' && (size_t)snprintf(path, room, "%s/%s", dir, name) < room && !access(path, X_OK))
			return true;
	return false;
}

static _Noreturn void run_child(const char *path, char **argv, int out)
{
	static char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "PAGER=cat", NULL};
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	setpgid(0, 0);
	dup2(null, 0);
	dup2(out, 1);
	dup2(null, 2);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(path, argv, environment);
	_exit(127);
}

/* Until the end of its output, the time or a signal. */
static int read_output(int fd, u64 end, size_t limit, struct program_output *out)
{
	struct clock *clock = clock_host();
	char part[16384];

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		u64 now = clock->now(clock);
		ssize_t n;
		size_t room;

		if (program_interrupted())
			return -EINTR;
		if (now >= end)
			return -ETIMEDOUT;
		if (poll(&p, 1, (int)MIN((end - now) / 1000000 + 1, 50u)) <= 0)
			continue;
		n = read(fd, part, sizeof(part));
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n < 0)
			continue;
		if (!n)
			return 0;
		room = MIN((size_t)n, limit - out->size);
		out->cut |= room < (size_t)n;
		memcpy(out->text + out->size, part, room);
		out->size += room;
	}
}

/* A program may close its output and go on: it too has only until `end`. -1: killed. */
static int wait_for(pid_t child, u64 end)
{
	struct clock *clock = clock_host();
	struct timespec nap = {.tv_nsec = 2000000};
	int status = 0;
	pid_t ended;

	while ((ended = waitpid(child, &status, WNOHANG)) == 0 && clock->now(clock) < end && !program_interrupted())
		nanosleep(&nap, NULL);
	if (!ended) {
		kill(-child, SIGKILL);
		waitpid(child, &status, 0);
		return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int program_run(const char *words, u64 timeout_ms, size_t limit, struct program_output *out, struct err *e)
{
	char copy[512], path[600], *argv[WORDS + 1], *save = NULL;
	int ends[2], rc;
	unsigned n = 0;
	pid_t child;
	u64 end;

	*out = (struct program_output){0};
	snprintf(copy, sizeof(copy), "%s", words);
	for (char *w = strtok_r(copy, " ", &save); w && n < WORDS; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	argv[n] = NULL;
	if (!n || !find_program(argv[0], path, sizeof(path)))
		return err_set(e, ENOENT, "there is no program %s here", n ? argv[0] : "");
	out->text = malloc(limit + 1);
	if (!out->text)
		return err_set(e, ENOMEM, "no memory for what %s prints", argv[0]);
	if (pipe2(ends, O_CLOEXEC)) {
		rc = err_set(e, errno, "no pipe: %s", strerror(errno));
		goto out;
	}
	child = fork();
	if (!child)
		run_child(path, argv, ends[1]);
	close(ends[1]);
	if (child < 0) {
		close(ends[0]);
		rc = err_set(e, errno, "%s does not start: %s", argv[0], strerror(errno));
		goto out;
	}
	setpgid(child, child); /* whoever is first */
	end = clock_host()->now(clock_host()) + timeout_ms * 1000000;
	rc = read_output(ends[0], end, limit, out);
	close(ends[0]);
	if (rc)
		kill(-child, SIGKILL);
	out->status = wait_for(child, end);
	if (!rc && out->status < 0)
		rc = program_interrupted() ? -EINTR : -ETIMEDOUT;
	out->text[out->size] = 0;
	if (rc == -ETIMEDOUT)
		err_set(e, ETIMEDOUT, "%s did not end within %llu s", argv[0], (unsigned long long)timeout_ms / 1000);
	else if (rc)
		err_set(e, -rc, "%s: %s", argv[0], strerror(-rc));
out:
	if (rc) {
		free(out->text);
		out->text = NULL;
	}
	return rc;
}
