/* The socket and the thread (gdb.h). */
#include "gdb/gdb.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

struct gdb_server {
	struct vm *vm;
	struct gdb_stub stub;
	int listen_fd, fd; /* fd: the client's, or -1 */
	int hit_fd, quit_fd;
	bool running; /* the client waits for a stop */
	bool quit;
	pthread_t thread;
	struct packet_in in;
	struct packet_out out;
	char frame[sizeof(((struct packet_out *)0)->data) + 4];
};

/* ---- the client ---- */

static void send_all(struct gdb_server *g, const char *p, u32 n)
{
	while (n) {
		ssize_t w = send(g->fd, p, n, MSG_NOSIGNAL);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return; /* the next read says that he is gone */
		p += w;
		n -= (u32)w;
	}
}

static void send_packet(struct gdb_server *g)
{
	if (g->out.overflow) {
		g->out.n = 0;
		packet_put(&g->out, "E01");
	}
	send_all(g, g->frame, packet_frame(&g->out, g->frame));
	g->out.n = 0;
	g->out.overflow = false;
}

static void run(struct gdb_server *g)
{
	g->running = true;
	debug_resume(g->vm, DEBUG_GDB);
}

static void stop(struct gdb_server *g, bool by_user)
{
	debug_pause(g->vm, DEBUG_GDB);
	int vm_stop_now = atomic_load(&g->vm->stop);

	if (!g->running || (vm_stop_now != VM_RUNNING && vm_stop_now != VM_RESET))
		return;
	g->running = false;
	stub_stopped(&g->stub, by_user, &g->out);
	send_packet(g);
}

static void drop_client(struct gdb_server *g)
{
	close(g->fd);
	g->fd = -1;
	debug_pause(g->vm, DEBUG_GDB);
	debug_clear(g->vm);
	run(g);
}

static void take_packet(struct gdb_server *g)
{
	enum stub_action a;

	if (!g->stub.no_ack)
		send_all(g, "+", 1);
	if (g->running) /* he is to wait; a packet now is no part of the protocol */
		return;
	a = stub_command(&g->stub, g->in.data, g->in.n, &g->out);
	if (a == STUB_REPLY || a == STUB_DETACH || g->out.n)
		send_packet(g);
	if (a == STUB_RUN)
		run(g);
	if (a == STUB_DETACH)
		drop_client(g);
	if (a == STUB_KILL) {
		drop_client(g);
		vm_stop(g->vm, VM_USER, 0);
	}
}

static void take_bytes(struct gdb_server *g)
{
	u8 buf[4096];
	ssize_t n = read(g->fd, buf, sizeof(buf));

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0) {
		drop_client(g);
		return;
	}
	for (ssize_t i = 0; i < n && g->fd >= 0; i++) {
		switch (packet_byte(&g->in, buf[i])) {
		case PACKET_NONE: break;
		case PACKET_READY: take_packet(g); break;
		case PACKET_BAD:
			if (!g->stub.no_ack)
				send_all(g, "-", 1);
			break;
		case PACKET_BREAK: stop(g, true); break;
		}
	}
}

static void take_client(struct gdb_server *g)
{
	int fd = accept4(g->listen_fd, NULL, NULL, SOCK_CLOEXEC), one = 1;

	if (fd < 0)
		return;
	if (g->fd >= 0) { /* one at a time */
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	g->fd = fd;
	g->in = (struct packet_in){0};
	g->out.n = 0;
	g->stub.no_ack = g->stub.names_breaks = g->running = false;
	g->stub.vcpu = 0;
	debug_pause(g->vm, DEBUG_GDB);
}

/* ---- the thread ---- */

static void *serve(void *ctx)
{
	struct gdb_server *g = ctx;

	while (!g->quit) {
		struct pollfd p[4] = {
			{.fd = g->quit_fd, .events = POLLIN},
			{.fd = g->hit_fd, .events = POLLIN},
			{.fd = g->listen_fd, .events = POLLIN},
			{.fd = g->fd, .events = POLLIN},
		};
		u64 count;

		if (poll(p, 4, -1) < 0)
			continue;
		if (p[0].revents)
			g->quit = true;
		if (p[1].revents && read(g->hit_fd, &count, sizeof(count)) > 0 && g->fd >= 0)
			stop(g, false);
		if (p[3].revents && g->fd >= 0)
			take_bytes(g);
		if (p[2].revents)
			take_client(g);
	}
	if (g->fd >= 0) {
		packet_put(&g->out, "W00");
		if (g->running)
			send_packet(g);
		close(g->fd);
	}
	return NULL;
}

static void on_hit(void *ctx)
{
	const u64 one = 1;
	struct gdb_server *g = ctx;
	ssize_t n = write(g->hit_fd, &one, sizeof(one));

	(void)n; /* a full counter wakes as well */
}

/* ---- life ---- */

static int listen_at(struct gdb_server *g, const char *address, struct err *e)
{
	const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *list = NULL;
	const char *text = strncmp(address, "tcp:", 4) ? address : address + 4, *colon = strrchr(text, ':');
	char host[256] = "127.0.0.1";
	int rc, one = 1;

	if (colon && colon != text)
		snprintf(host, sizeof(host), "%.*s", (int)MIN((size_t)(colon - text), sizeof(host) - 1), text);
	rc = getaddrinfo(host, colon ? colon + 1 : text, &hints, &list);
	if (rc)
		return err_set(e, EINVAL, "gdb: %s is no [HOST:]PORT: %s", address, gai_strerror(rc));
	g->listen_fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (g->listen_fd >= 0)
		setsockopt(g->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (g->listen_fd < 0 || bind(g->listen_fd, list->ai_addr, list->ai_addrlen) || listen(g->listen_fd, 1))
		rc = err_set(e, errno, "gdb: nothing can listen at %s: %s", address, strerror(errno));
	freeaddrinfo(list);
	return rc;
}

unsigned gdb_port(const struct gdb_server *g)
{
	struct sockaddr_storage a;
	socklen_t n = sizeof(a);

	if (getsockname(g->listen_fd, (struct sockaddr *)&a, &n))
		return 0;
	return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
					     : ((struct sockaddr_in *)&a)->sin_port);
}

static void destroy(struct gdb_server *g)
{
	if (g->listen_fd >= 0)
		close(g->listen_fd);
	if (g->hit_fd >= 0)
		close(g->hit_fd);
	if (g->quit_fd >= 0)
		close(g->quit_fd);
	stub_destroy(&g->stub);
	free(g);
}

static int start_thread(struct gdb_server *g)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&g->thread, NULL, serve, g);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

int gdb_start(struct vm *vm, const char *address, bool wait, const struct gdb_monitor *monitor, struct gdb_server **out,
	      struct err *e)
{
	struct gdb_server *g = calloc(1, sizeof(*g));
	int rc;

	if (!g)
		return err_set(e, ENOMEM, "no memory for the gdb stub");
	g->vm = vm;
	g->listen_fd = g->fd = -1;
	g->hit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	g->quit_fd = eventfd(0, EFD_CLOEXEC);
	if (stub_init(&g->stub, vm, monitor) || g->hit_fd < 0 || g->quit_fd < 0)
		rc = err_set(e, ENOMEM, "the gdb stub lacks memory or descriptors");
	else
		rc = listen_at(g, address, e);
	if (!rc) {
		vm->debug.on_hit = on_hit;
		vm->debug.on_hit_ctx = g;
		if (wait)
			debug_ask(vm, DEBUG_GDB);
		rc = start_thread(g);
		if (rc)
			rc = err_set(e, rc, "no thread for the gdb stub: %s", strerror(rc));
	}
	if (rc) {
		vm->debug.on_hit = NULL;
		destroy(g);
		return rc;
	}
	*out = g;
	return 0;
}

void gdb_stop(struct gdb_server *g)
{
	const u64 one = 1;

	if (!g)
		return;
	if (write(g->quit_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(g->thread, NULL);
	g->vm->debug.on_hit = NULL;
	destroy(g);
}
