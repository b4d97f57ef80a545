/*
 * One thread around libuv. Timers: a timerfd, since libuv's own timers count in milliseconds; it is set to the queue's first deadline, by
 * timer_queue's `wake` from whatever thread armed it (timerfd_settime is a system call and needs no hand-over).
 *
 * Everything that a callback touches is guarded by vm->lock; libuv's handles are touched by the loop's thread only, except uv_async_send.
 */
#include "host/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

struct host_watch {
	struct host_loop *loop;
	uv_poll_t poll;
	int fd;
	void (*cb)(void *ctx); /* NULL: unwatched, the handle is being closed */
	void *ctx;
	bool started;
	struct host_watch *next;
};

struct post {
	void (*cb)(void *ctx);
	void *ctx;
	struct post *next;
};

struct host_loop {
	struct vm *vm;
	uv_loop_t uv;
	uv_async_t async;
	uv_poll_t timer_poll;
	int timer_fd;
	u64 armed; /* deadline the timerfd is set to; vm->lock */
	pthread_t thread;
	bool stopping;             /* vm->lock */
	struct host_watch *watches; /* vm->lock */
	struct post *first_post, **last_post; /* vm->lock */
	pthread_mutex_t post_lock; /* host_loop_post may be called with or without vm->lock */
};

static void arm(struct host_loop *l, u64 deadline)
{
	struct itimerspec spec = {.it_value = {(time_t)(deadline / NS_PER_SEC), (long)(deadline % NS_PER_SEC)}};

	if (deadline == l->armed)
		return;
	l->armed = deadline;
	if (deadline == UINT64_MAX)
		spec.it_value = (struct timespec){0};
	else if (!deadline)
		spec.it_value.tv_nsec = 1;
	timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* timer_queue: the first deadline moved forward. */
static void on_wake(void *ctx)
{
	struct host_loop *l = ctx;

	arm(l, l->vm->timers.first ? l->vm->timers.first->deadline : UINT64_MAX);
}

static void on_timer(uv_poll_t *handle, int status, int events)
{
	struct host_loop *l = handle->data;
	u64 count, next;

	if (read(l->timer_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	vm_lock(l->vm);
	l->armed = UINT64_MAX;
	next = timer_queue_run(&l->vm->timers);
	arm(l, next);
	vm_unlock(l->vm);
}

static void on_fd(uv_poll_t *handle, int status, int events)
{
	struct host_watch *w = handle->data;

	vm_lock(w->loop->vm);
	if (w->cb)
		w->cb(w->ctx);
	vm_unlock(w->loop->vm);
}

static void free_watch(uv_handle_t *handle) { free(handle->data); }

/* Starts and ends the handles of watches that were added or dropped since; the loop's thread, lock held. */
static void sync_watches(struct host_loop *l)
{
	struct host_watch **at = &l->watches, *w;

	while ((w = *at)) {
		if (!w->cb) {
			*at = w->next;
			if (w->started)
				uv_close((uv_handle_t *)&w->poll, free_watch);
			else
				free(w);
			continue;
		}
		if (!w->started) {
			w->poll.data = w;
			uv_poll_init(&l->uv, &w->poll, w->fd);
			uv_poll_start(&w->poll, UV_READABLE, on_fd);
			w->started = true;
		}
		at = &w->next;
	}
}

static struct post *take_posts(struct host_loop *l)
{
	struct post *p;

	pthread_mutex_lock(&l->post_lock);
	p = l->first_post;
	l->first_post = NULL;
	l->last_post = &l->first_post;
	pthread_mutex_unlock(&l->post_lock);
	return p;
}

static void on_async(uv_async_t *handle)
{
	struct host_loop *l = handle->data;
	struct post *p = take_posts(l), *next;

	vm_lock(l->vm);
	for (; p; p = next) {
		next = p->next;
		if (!l->stopping)
			p->cb(p->ctx);
		free(p);
	}
	sync_watches(l);
	if (l->stopping)
		uv_stop(&l->uv);
	vm_unlock(l->vm);
}

static void *loop_thread(void *arg)
{
	struct host_loop *l = arg;

	uv_run(&l->uv, UV_RUN_DEFAULT);
	return NULL;
}

static void close_all(struct host_loop *l)
{
	for (struct host_watch *w = l->watches; w; w = w->next)
		w->cb = NULL;
	sync_watches(l);
	uv_close((uv_handle_t *)&l->async, NULL);
	uv_close((uv_handle_t *)&l->timer_poll, NULL);
	uv_run(&l->uv, UV_RUN_DEFAULT); /* runs the close callbacks */
	uv_loop_close(&l->uv);
	close(l->timer_fd);
}

int host_loop_start(struct vm *vm, struct host_loop **out, struct err *e)
{
	struct host_loop *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(e, ENOMEM, "no memory for the event loop");
	l->vm = vm;
	l->armed = UINT64_MAX;
	l->last_post = &l->first_post;
	pthread_mutex_init(&l->post_lock, NULL);
	l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (l->timer_fd < 0) {
		r = err_set(e, errno, "cannot make a timer: %s", strerror(errno));
		goto out_free;
	}
	r = uv_loop_init(&l->uv);
	if (r < 0) {
		err_set(e, -r, "cannot make the event loop: %s", uv_strerror(r));
		goto out_timer;
	}
	uv_async_init(&l->uv, &l->async, on_async);
	l->async.data = l;
	uv_poll_init(&l->uv, &l->timer_poll, l->timer_fd);
	l->timer_poll.data = l;
	uv_poll_start(&l->timer_poll, UV_READABLE, on_timer);
	vm->timers.wake_ctx = l;
	vm->timers.wake = on_wake;
	on_wake(l);
	r = pthread_create(&l->thread, NULL, loop_thread, l);
	if (r) {
		r = err_set(e, r, "cannot start the event loop's thread: %s", strerror(r));
		vm->timers.wake = NULL;
		close_all(l);
		goto out_free;
	}
	*out = l;
	return 0;

out_timer:
	close(l->timer_fd);
out_free:
	pthread_mutex_destroy(&l->post_lock);
	free(l);
	return r;
}

void host_loop_stop(struct host_loop *l)
{
	struct post *p, *next;

	vm_lock(l->vm);
	l->stopping = true;
	l->vm->timers.wake = NULL;
	vm_unlock(l->vm);
	uv_async_send(&l->async);
	pthread_join(l->thread, NULL);
	close_all(l);
	for (p = take_posts(l); p; p = next) {
		next = p->next;
		free(p);
	}
	pthread_mutex_destroy(&l->post_lock);
	free(l);
}

struct host_watch *host_watch_fd(struct host_loop *l, int fd, void (*cb)(void *ctx), void *ctx)
{
	struct host_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct host_watch){.loop = l, .fd = fd, .cb = cb, .ctx = ctx, .next = l->watches};
	l->watches = w;
	uv_async_send(&l->async);
	return w;
}

void host_unwatch(struct host_watch *w)
{
	if (!w)
		return;
	w->cb = NULL;
	uv_async_send(&w->loop->async);
}

void host_loop_post(struct host_loop *l, void (*cb)(void *ctx), void *ctx)
{
	struct post *p = malloc(sizeof(*p));

	if (!p)
		return;
	*p = (struct post){cb, ctx, NULL};
	pthread_mutex_lock(&l->post_lock);
	*l->last_post = p;
	l->last_post = &p->next;
	pthread_mutex_unlock(&l->post_lock);
	uv_async_send(&l->async);
}
