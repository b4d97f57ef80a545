/*
 * The event loop's thread: libuv around a timerfd for vm->timers, a queue of posted calls, and polled file descriptors.
 *
 * libuv's own timers count milliseconds, so the queue's next deadline goes into a timerfd (CLOCK_MONOTONIC, which is
 * what clock_host reads). timer_queue's wake sets it straight from the thread that armed: no round trip through the
 * loop. Only the loop's thread touches libuv's handles; other threads ask through the posted queue. Order of locks:
 * vm->lock, then post_lock. A watch owns a duplicate of its descriptor, so that the caller may close his own at any
 * time.
 */
#include "host/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

struct post {
	void (*cb)(void *ctx);
	void *ctx;
	struct post *next;
};

struct host_loop {
	struct vm *vm;
	uv_loop_t uv;
	uv_async_t async;
	uv_poll_t timer;
	int timer_fd;
	pthread_t thread;
	pthread_mutex_t post_lock; /* guards the two below */
	struct post *first, **last;
	bool stopping;
	struct host_watch *watches; /* vm->lock */
};

struct host_watch {
	struct host_loop *loop;
	uv_poll_t poll;
	int fd;
	void (*cb)(void *ctx); /* NULL once unwatched */
	void *ctx;
	bool polling; /* the handle belongs to libuv */
	struct host_watch *next;
};

static void set_timer(struct host_loop *loop, u64 deadline)
{
	struct clock *clock = loop->vm->clock;
	struct itimerspec spec = {0};

	if (deadline != UINT64_MAX) { /* 0 would disarm it */
		if (clock->host)
			deadline = clock->host(clock, deadline);
		spec.it_value.tv_sec = (time_t)(deadline / NS_PER_SEC);
		spec.it_value.tv_nsec = (long)(deadline % NS_PER_SEC);
		if (!deadline)
			spec.it_value.tv_nsec = 1;
	}
	timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void wake(void *ctx)
{
	struct host_loop *loop = ctx;

	set_timer(loop, loop->vm->timers.first ? loop->vm->timers.first->deadline : UINT64_MAX);
}

static void on_timer(uv_poll_t *poll, int status, int events)
{
	struct host_loop *loop = poll->data;
	u64 expirations;

	if (read(loop->timer_fd, &expirations, sizeof(expirations)) < 0 && errno != EAGAIN)
		return;
	vm_lock(loop->vm);
	set_timer(loop, timer_queue_run(&loop->vm->timers));
	vm_unlock(loop->vm);
}

static void on_async(uv_async_t *async)
{
	struct host_loop *loop = async->data;
	struct post *p, *next;
	bool stopping;

	pthread_mutex_lock(&loop->post_lock);
	p = loop->first;
	loop->first = NULL;
	loop->last = &loop->first;
	stopping = loop->stopping;
	pthread_mutex_unlock(&loop->post_lock);
	for (; p; p = next) {
		next = p->next;
		if (!stopping) {
			vm_lock(loop->vm);
			p->cb(p->ctx);
			vm_unlock(loop->vm);
		}
		free(p);
	}
	if (stopping)
		uv_stop(&loop->uv);
}

void host_loop_post(struct host_loop *loop, void (*cb)(void *ctx), void *ctx)
{
	struct post *p = malloc(sizeof(*p));

	if (!p) {
		vm_stop(loop->vm, VM_ERROR, ENOMEM);
		return;
	}
	*p = (struct post){cb, ctx, NULL};
	pthread_mutex_lock(&loop->post_lock);
	*loop->last = p;
	loop->last = &p->next;
	uv_async_send(&loop->async);
	pthread_mutex_unlock(&loop->post_lock);
}

/* ---- descriptors ---- */

static void watch_free(struct host_watch *w)
{
	struct host_watch **at = &w->loop->watches;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	close(w->fd);
	free(w);
}

static void on_watch_closed(uv_handle_t *h)
{
	struct host_watch *w = h->data;
	struct vm *vm = w->loop->vm;

	vm_lock(vm);
	watch_free(w);
	vm_unlock(vm);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct host_watch *w = poll->data;
	struct vm *vm = w->loop->vm;

	vm_lock(vm);
	if (status < 0) /* the descriptor is of no more use: one last call, in which the caller's read says why */
		uv_poll_stop(poll);
	if (w->cb)
		w->cb(w->ctx);
	vm_unlock(vm);
}

static void watch_start(void *ctx)
{
	struct host_watch *w = ctx;

	if (!w->cb || uv_poll_init(&w->loop->uv, &w->poll, w->fd))
		return;
	w->poll.data = w;
	w->polling = true;
	uv_poll_start(&w->poll, UV_READABLE, on_readable);
}

static void watch_end(void *ctx)
{
	struct host_watch *w = ctx;

	if (w->polling)
		uv_close((uv_handle_t *)&w->poll, on_watch_closed);
	else
		watch_free(w);
}

struct host_watch *host_watch_fd(struct host_loop *loop, int fd, void (*cb)(void *ctx), void *ctx)
{
	struct host_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->loop = loop;
	w->cb = cb;
	w->ctx = ctx;
	w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (w->fd < 0) {
		free(w);
		return NULL;
	}
	w->next = loop->watches;
	loop->watches = w;
	host_loop_post(loop, watch_start, w);
	return w;
}

void host_unwatch(struct host_watch *w)
{
	w->cb = NULL;
	host_loop_post(w->loop, watch_end, w);
}

/* ---- life ---- */

static void close_handle(uv_handle_t *h, void *ctx)
{
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

static void *run(void *ctx)
{
	struct host_loop *loop = ctx;

	uv_run(&loop->uv, UV_RUN_DEFAULT);
	return NULL;
}

/* Signals belong to the program's own threads. */
static int start_thread(struct host_loop *loop)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&loop->thread, NULL, run, loop);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!rc)
		pthread_setname_np(loop->thread, "loop");
	return rc;
}

static void destroy(struct host_loop *loop)
{
	struct host_watch *w, *next;
	struct post *p;

	uv_walk(&loop->uv, close_handle, NULL);
	uv_run(&loop->uv, UV_RUN_DEFAULT);
	uv_loop_close(&loop->uv);
	for (w = loop->watches; w; w = next) {
		next = w->next;
		close(w->fd);
		free(w);
	}
	while ((p = loop->first)) {
		loop->first = p->next;
		free(p);
	}
	close(loop->timer_fd);
	pthread_mutex_destroy(&loop->post_lock);
	free(loop);
}

int host_loop_start(struct vm *vm, struct host_loop **out, struct err *e)
{
	struct host_loop *loop = calloc(1, sizeof(*loop));
	int rc;

	if (!loop)
		return err_set(e, ENOMEM, "no memory for the event loop");
	loop->vm = vm;
	loop->last = &loop->first;
	loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (loop->timer_fd < 0) {
		rc = err_set(e, errno, "the host gives no timer: %s", strerror(errno));
		free(loop);
		return rc;
	}
	rc = uv_loop_init(&loop->uv);
	if (rc) {
		close(loop->timer_fd);
		free(loop);
		return err_set(e, -rc, "the host gives no event loop: %s", uv_strerror(rc));
	}
	pthread_mutex_init(&loop->post_lock, NULL);
	rc = uv_async_init(&loop->uv, &loop->async, on_async);
	if (!rc)
		rc = uv_poll_init(&loop->uv, &loop->timer, loop->timer_fd);
	if (!rc) {
		loop->async.data = loop;
		loop->timer.data = loop;
		rc = uv_poll_start(&loop->timer, UV_READABLE, on_timer);
	}
	if (!rc) {
		vm_lock(vm);
		vm->timers.wake = wake;
		vm->timers.wake_ctx = loop;
		wake(loop);
		vm_unlock(vm);
		rc = -start_thread(loop);
	}
	if (rc) {
		vm->timers.wake = NULL;
		destroy(loop);
		return err_set(e, -rc, "the event loop does not start: %s", uv_strerror(rc));
	}
	*out = loop;
	return 0;
}

void host_loop_stop(struct host_loop *loop)
{
	vm_lock(loop->vm);
	loop->vm->timers.wake = NULL;
	vm_unlock(loop->vm);
	pthread_mutex_lock(&loop->post_lock);
	loop->stopping = true;
	uv_async_send(&loop->async);
	pthread_mutex_unlock(&loop->post_lock);
	pthread_join(loop->thread, NULL);
	destroy(loop);
}
