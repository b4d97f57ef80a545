/* The asking side of the control socket, and the folder of the sockets. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/channel.h"
#include "cmd/control.h"
#include "cmd/control_dir.h"
#include "cmd/program.h"
#include "cmd/report.h"

#define ANSWER_MS 90000u

/* Is it a folder that only `user` can enter? */
static int check_dir(const char *dir, uid_t user, struct err *e)
{
	struct stat st;

	if (lstat(dir, &st))
		return err_set(e, errno, "%s: %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode) || st.st_uid != user || (st.st_mode & 077))
		return err_set(e, EPERM, "%s is not a folder of this user's alone", dir);
	return 0;
}

int control_dir(char *dir, size_t room, bool make, struct err *e)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	if (runtime && runtime[0] == '/' && !stat(runtime, &st) && S_ISDIR(st.st_mode))
		snprintf(dir, room, "%s/nestbox", runtime);
	else
		snprintf(dir, room, "/tmp/nestbox-%u", (unsigned)geteuid());
	if (strlen(dir) > 80 - 2)
		return err_set(e, ENAMETOOLONG, "%s is too long a path for sockets", dir);
	if (make && mkdir(dir, 0700) && errno != EEXIST)
		return err_set(e, errno, "%s cannot be made: %s", dir, strerror(errno));
	return check_dir(dir, geteuid(), e);
}

/* Root asks for a user, by sudo: the i-th folder in which that user's chains may be. */
static int caller_dir(unsigned i, char *dir, size_t room)
{
	const char *sudo = geteuid() == 0 ? getenv("SUDO_UID") : NULL;
	char *end;
	unsigned long user = sudo ? strtoul(sudo, &end, 10) : 0;

	if (!user || *end || user > UINT32_MAX)
		return -ENOENT;
	snprintf(dir, room, i ? "/tmp/nestbox-%lu" : "/run/user/%lu/nestbox", user);
	return check_dir(dir, (uid_t)user, NULL);
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (fd < 0)
		return -errno;
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/* A descriptor of the newest chain's socket in a folder; -ENOENT: none. Sockets that nobody listens on are removed. */
static int find_socket(const char *dir)
{
	char path[80 + 260];
	time_t newest = 0;
	struct dirent *d;
	int best = -ENOENT;
	DIR *s = opendir(dir);

	while (s && (d = readdir(s))) {
		struct stat st;
		int fd;

		snprintf(path, sizeof(path), "%s/%s", dir, d->d_name);
		if (!strstr(d->d_name, ".sock") || strlen(path) >= 108 || lstat(path, &st) || !S_ISSOCK(st.st_mode))
			continue;
		fd = connect_to(path);
		if (fd == -ECONNREFUSED)
			unlink(path);
		if (fd < 0)
			continue;
		if (best < 0 || st.st_mtime > newest) {
			if (best >= 0)
				close(best);
			best = fd;
			newest = st.st_mtime;
		} else {
			close(fd);
		}
	}
	if (s)
		closedir(s);
	return best;
}

static int find_chain(struct err *e)
{
	char dir[80];
	int rc = control_dir(dir, sizeof(dir), false, e);

	if (!rc)
		rc = find_socket(dir);
	for (unsigned i = 0; rc == -ENOENT && i < 2; i++)
		if (!caller_dir(i, dir, sizeof(dir)))
			rc = find_socket(dir);
	return rc;
}

struct ask {
	struct report *report;
	char *about;
	size_t room;
	char error[200];
	bool end;
};

static void ask_message(void *ctx, json_t *msg)
{
	struct ask *a = ctx;
	const char *type = json_string_value(json_object_get(msg, "type"));
	const char *about = json_string_value(json_object_get(msg, "about"));
	const char *why = json_string_value(json_object_get(msg, "why"));

	if (!type)
		return;
	if (!strcmp(type, "chain") && about) {
		snprintf(a->about, a->room, "%s", about);
	} else if (!strcmp(type, "end")) {
		a->end = true;
	} else if (!strcmp(type, "error")) {
		snprintf(a->error, sizeof(a->error), "%s", why ? why : "refused");
		a->end = true;
	} else {
		report_message(a->report, msg);
	}
}

static int read_answer(int fd, struct ask *a, struct err *e)
{
	struct channel_rx rx = {.message = ask_message, .ctx = a};
	struct clock *clock = clock_host();
	u64 end = clock->now(clock) + ANSWER_MS * 1000000ull;
	int rc = 0;

	while (!rc && !a->end) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		u8 buf[65536];
		ssize_t n;

		if (program_interrupted())
			rc = err_set(e, EINTR, "interrupted");
		else if (clock->now(clock) > end)
			rc = err_set(e, ETIMEDOUT, "the chain does not answer");
		if (rc || poll(&p, 1, 50) <= 0)
			continue;
		n = read(fd, buf, sizeof(buf));
		if (n <= 0)
			rc = err_set(e, EIO, "the chain went away while it answered");
		else
			channel_rx_feed(&rx, buf, (size_t)n);
	}
	channel_rx_free(&rx);
	return rc || !a->error[0] ? rc : err_set(e, EIO, "%s", a->error);
}

int control_ask(struct report *r, char *about, size_t room, struct err *e)
{
	static const char request[] = "{\"do\":\"report\"}\n";
	struct ask a = {.report = r, .about = about, .room = room};
	int fd = find_chain(e), rc;

	if (fd == -ENOENT)
		return 1;
	if (fd < 0)
		return fd;
	rc = write(fd, request, sizeof(request) - 1) == (ssize_t)sizeof(request) - 1
		     ? 0
		     : err_set(e, EIO, "the chain does not listen");
	if (!rc)
		rc = read_answer(fd, &a, e);
	close(fd);
	return rc;
}
