/*
 * libslirp and the thread that polls its sockets (net.h).
 *
 * Everything is under vm->lock but `poll` itself. `asleep` says that the thread sleeps on a set of sockets that the
 * next packet may outdate: who sends one then wakes it by the eventfd. Frames for a guest without a buffer wait in a
 * short queue; beyond that they are lost, and TCP sends them again.
 */
#include "host/net.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <slirp/libslirp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WAITING	 64u /* frames */
#define SOCKETS	 1024u
#define LONGEST	 1000u /* ms between two looks at libslirp's own timers */
#define NS_IN_MS 1000000u

struct slirp_lib {
	void *handle;
	__typeof__(&slirp_new) new;
	__typeof__(&slirp_cleanup) cleanup;
	__typeof__(&slirp_pollfds_fill) pollfds_fill;
	__typeof__(&slirp_pollfds_poll) pollfds_poll;
	__typeof__(&slirp_input) input;
	__typeof__(&slirp_add_hostfwd) add_hostfwd;
};

struct net_user {
	struct vm *vm;
	struct slirp_lib lib;
	Slirp *slirp;
	struct net_source to;
	int wake;
	pthread_t thread;
	bool started, stopping, asleep;
	nfds_t nsockets;
	struct pollfd socket[SOCKETS];
	unsigned first, nwaiting;
	struct {
		u16 len;
		u8 frame[NET_FRAME_MAX];
	} waiting[WAITING];
};

/* ---- libslirp's side ---- */

static bool deliver(struct net_user *n, const u8 *frame, size_t len)
{
	return n->to.receive && n->to.receive(n->to.ctx, frame, len);
}

void net_user_room(void *net_user)
{
	struct net_user *n = net_user;

	while (n->nwaiting && deliver(n, n->waiting[n->first].frame, n->waiting[n->first].len)) {
		n->first = (n->first + 1) % WAITING;
		n->nwaiting--;
	}
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct net_user *n = opaque;
	unsigned at = (n->first + n->nwaiting) % WAITING;

	if (len > NET_FRAME_MAX)
		return (ssize_t)len;
	if (!n->nwaiting && deliver(n, buf, len))
		return (ssize_t)len;
	if (n->nwaiting < WAITING) {
		n->waiting[at].len = (u16)len;
		memcpy(n->waiting[at].frame, buf, len);
		n->nwaiting++;
	}
	return (ssize_t)len;
}

static void guest_error(const char *msg, void *opaque)
{
	struct net_user *n = opaque;

	if (trace_on(n->vm->topics, TRACE_DEV))
		log_trace(n->vm->log, TRACE_DEV, "net: %s", msg);
}

static int64_t clock_ns(void *opaque)
{
	struct net_user *n = opaque;

	return (int64_t)n->vm->clock->now(n->vm->clock);
}

static void *timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
	struct net_user *n = opaque;
	struct timer *t = calloc(1, sizeof(*t));

	if (t)
		timer_init(t, &n->vm->timers, cb, cb_opaque);
	return t;
}

static void timer_free(void *timer, void *opaque)
{
	if (timer)
		timer_cancel(timer);
	free(timer);
}

static void timer_mod(void *timer, int64_t ms, void *opaque)
{
	if (timer && ms >= 0)
		timer_arm(timer, (u64)ms * NS_IN_MS);
}

static void wake(void *opaque)
{
	struct net_user *n = opaque;

	if (!n->asleep)
		return;
	n->asleep = false;
	eventfd_write(n->wake, 1);
}

static void poll_fd(int fd, void *opaque) {}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_ns,
	.timer_new = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = poll_fd,
	.unregister_poll_fd = poll_fd,
	.notify = wake,
};

/* ---- the chip's side ---- */

static void sink_send(void *ctx, const u8 *frame, size_t len)
{
	struct net_user *n = ctx;

	n->lib.input(n->slirp, frame, (int)len);
	wake(n);
}

struct net_sink net_user_sink(struct net_user *n) { return (struct net_sink){sink_send, n}; }

void net_user_connect(struct net_user *n, struct net_source to) { n->to = to; }

/* ---- the thread ---- */

static int add_poll(int fd, int events, void *opaque)
{
	struct net_user *n = opaque;
	short e = 0;

	if (n->nsockets == SOCKETS) {
		log_limit(n->vm->log, "a guest's network has at most %u sockets", SOCKETS);
		return 0; /* the wake descriptor's place, in which nothing is ever seen */
	}
	if (events & SLIRP_POLL_IN)
		e |= POLLIN;
	if (events & SLIRP_POLL_OUT)
		e |= POLLOUT;
	if (events & SLIRP_POLL_PRI)
		e |= POLLPRI;
	n->socket[n->nsockets] = (struct pollfd){fd, e, 0};
	return (int)n->nsockets++;
}

static int get_revents(int index, void *opaque)
{
	const struct net_user *n = opaque;
	short r = index > 0 ? n->socket[index].revents : 0;

	return (r & POLLIN ? SLIRP_POLL_IN : 0) | (r & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (r & POLLPRI ? SLIRP_POLL_PRI : 0) | (r & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (r & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static void *run(void *ctx)
{
	struct net_user *n = ctx;

	vm_lock(n->vm);
	while (!n->stopping) {
		u32 timeout = LONGEST;
		eventfd_t count;
		int rc;

		n->socket[0] = (struct pollfd){n->wake, POLLIN, 0};
		n->nsockets = 1;
		n->lib.pollfds_fill(n->slirp, &timeout, add_poll, n);
		n->asleep = true;
		vm_unlock(n->vm);
		rc = poll(n->socket, n->nsockets, (int)MIN(timeout, LONGEST));
		if (rc > 0 && n->socket[0].revents)
			eventfd_read(n->wake, &count);
		vm_lock(n->vm);
		n->asleep = false;
		n->lib.pollfds_poll(n->slirp, rc < 0, get_revents, n);
	}
	vm_unlock(n->vm);
	return NULL;
}

int net_user_start(struct net_user *n, struct err *e)
{
	sigset_t all, old;
	int rc;

	n->stopping = false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&n->thread, NULL, run, n);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		return err_set(e, rc, "no thread for the network: %s", strerror(rc));
	pthread_setname_np(n->thread, "net");
	n->started = true;
	return 0;
}

void net_user_stop(struct net_user *n)
{
	if (!n->started)
		return;
	vm_lock(n->vm);
	n->stopping = true;
	wake(n);
	vm_unlock(n->vm);
	pthread_join(n->thread, NULL);
	n->started = false;
}

/* ---- opening ---- */

static int load(struct slirp_lib *l, struct err *e)
{
	l->handle = dlopen("libslirp.so.0", RTLD_NOW | RTLD_LOCAL);
	if (!l->handle)
		return err_set(e, ENOSYS, "the user network needs libslirp (Debian's package libslirp0): %s",
			       dlerror());
	l->new = (__typeof__(l->new))dlsym(l->handle, "slirp_new");
	l->cleanup = (__typeof__(l->cleanup))dlsym(l->handle, "slirp_cleanup");
	l->pollfds_fill = (__typeof__(l->pollfds_fill))dlsym(l->handle, "slirp_pollfds_fill");
	l->pollfds_poll = (__typeof__(l->pollfds_poll))dlsym(l->handle, "slirp_pollfds_poll");
	l->input = (__typeof__(l->input))dlsym(l->handle, "slirp_input");
	l->add_hostfwd = (__typeof__(l->add_hostfwd))dlsym(l->handle, "slirp_add_hostfwd");
	if (!l->new || !l->cleanup || !l->pollfds_fill || !l->pollfds_poll || !l->input || !l->add_hostfwd)
		return err_set(e, ENOSYS, "libslirp is too old: the user network needs 4.0 or later");
	return 0;
}

static struct in_addr address(u8 last) { return (struct in_addr){htonl(0x0a000200u | last)}; }

static int make_network(struct net_user *n, const struct net_options *o, struct err *e)
{
	const SlirpConfig cfg = {
		.version = 1,
		.restricted = o->restricted,
		.in_enabled = true,
		.vnetwork = address(0),
		.vnetmask = {htonl(0xffffff00)},
		.vhost = address(2),
		.vnameserver = address(3),
		.vdhcp_start = address(15),
		.vhostname = "nestbox",
	};

	n->slirp = n->lib.new(&cfg, &callbacks, n);
	if (!n->slirp)
		return err_set(e, EIO, "libslirp makes no network");
	for (unsigned i = 0; i < o->nforwards; i++) {
		const struct net_forward *f = &o->forward[i];

		if (n->lib.add_hostfwd(n->slirp, f->udp, (struct in_addr){f->host}, f->host_port,
				       (struct in_addr){f->guest}, f->guest_port))
			return err_set(e, errno ? errno : EIO, "port %u of the host cannot be forwarded: %s",
				       f->host_port, strerror(errno));
	}
	return 0;
}

int net_user_open(struct vm *vm, const struct net_options *o, struct net_user **out, struct err *e)
{
	struct net_user *n = calloc(1, sizeof(*n));
	int rc;

	if (!n)
		return err_set(e, ENOMEM, "no memory for a network");
	n->vm = vm;
	n->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = n->wake < 0 ? err_set(e, errno, "the host gives no eventfd: %s", strerror(errno)) : load(&n->lib, e);
	if (!rc)
		rc = make_network(n, o, e);
	if (rc) {
		net_user_close(n);
		return rc;
	}
	*out = n;
	return 0;
}

void net_user_close(struct net_user *n)
{
	if (!n)
		return;
	if (n->slirp)
		n->lib.cleanup(n->slirp);
	if (n->lib.handle)
		dlclose(n->lib.handle);
	if (n->wake >= 0)
		close(n->wake);
	free(n);
}
