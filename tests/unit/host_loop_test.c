/* The event loop on the host's own clock: timers, posted calls, descriptors, stopping with everything pending. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/loop.h"

struct fixture {
	struct vm vm;
	struct host_loop *loop;
	_Atomic unsigned count;
	u64 last, worst;
	struct timer timer;
	int pipe[2];
	unsigned bytes;
};

static struct fixture f;

static int setup(void **state)
{
	f = (struct fixture){0};
	if (vm_init(&f.vm, NULL, clock_host(), NULL) || pipe2(f.pipe, O_NONBLOCK))
		return -1;
	return host_loop_start(&f.vm, &f.loop, NULL);
}

static int teardown(void **state)
{
	host_loop_stop(f.loop);
	vm_destroy(&f.vm);
	close(f.pipe[0]);
	close(f.pipe[1]);
	return 0;
}

static u64 now(void) { return f.vm.clock->now(f.vm.clock); }

static void wait_count(unsigned n)
{
	for (unsigned i = 0; i < 5000 && atomic_load(&f.count) < n; i++)
		usleep(1000);
	assert_true(atomic_load(&f.count) >= n);
}

static void tick(void *ctx)
{
	u64 t = now();

	assert_true(t >= f.timer.deadline);
	if (atomic_fetch_add(&f.count, 1) < 199)
		timer_arm(&f.timer, MAX(f.timer.deadline + 500000, t));
}

/* 200 ticks of half a millisecond: never early, and not rounded up to milliseconds. */
static void timers(void **state)
{
	u64 start = now();

	vm_lock(&f.vm);
	timer_init(&f.timer, &f.vm.timers, tick, NULL);
	timer_arm(&f.timer, start + 500000);
	vm_unlock(&f.vm);
	wait_count(200);
	assert_true(now() - start >= 100000000);
	assert_true(now() - start < 2000000000);
}

static void sooner(void *ctx) { atomic_fetch_add(&f.count, 1); }

static void wakes_for_sooner(void **state)
{
	struct timer far;

	vm_lock(&f.vm);
	timer_init(&far, &f.vm.timers, sooner, NULL);
	timer_init(&f.timer, &f.vm.timers, sooner, NULL);
	timer_arm(&far, now() + 3600 * NS_PER_SEC);
	timer_arm(&f.timer, now() + 1000000);
	vm_unlock(&f.vm);
	wait_count(1);
	vm_lock(&f.vm);
	assert_true(far.armed);
	timer_arm(&f.timer, 0); /* in the past */
	vm_unlock(&f.vm);
	wait_count(2);
	vm_lock(&f.vm);
	timer_cancel(&far);
	vm_unlock(&f.vm);
}

static void posted(void *ctx)
{
	assert_int_equal(pthread_mutex_trylock(&f.vm.lock), 16); /* EBUSY: held */
	assert_int_equal((uintptr_t)ctx, atomic_load(&f.count)); /* in order */
	atomic_fetch_add(&f.count, 1);
}

static void posts(void **state)
{
	for (uintptr_t i = 0; i < 1000; i++)
		host_loop_post(f.loop, posted, (void *)i);
	wait_count(1000);
}

static void readable(void *ctx)
{
	char buf[64];
	ssize_t n = read(f.pipe[0], buf, sizeof(buf));

	f.bytes += n > 0 ? (unsigned)n : 0;
	atomic_fetch_add(&f.count, 1);
}

static void descriptors(void **state)
{
	struct host_watch *w;
	unsigned n;

	vm_lock(&f.vm);
	w = host_watch_fd(f.loop, f.pipe[0], readable, NULL);
	vm_unlock(&f.vm);
	assert_non_null(w);
	assert_int_equal(write(f.pipe[1], "abc", 3), 3);
	wait_count(1);
	assert_int_equal(write(f.pipe[1], "de", 2), 2);
	wait_count(2);
	vm_lock(&f.vm);
	assert_int_equal(f.bytes, 5);
	host_unwatch(w);
	n = atomic_load(&f.count);
	vm_unlock(&f.vm);
	assert_int_equal(write(f.pipe[1], "f", 1), 1);
	usleep(20000);
	assert_int_equal(atomic_load(&f.count), n);
	vm_lock(&f.vm); /* and again, left watched when the loop stops */
	assert_non_null(host_watch_fd(f.loop, f.pipe[0], readable, NULL));
	vm_unlock(&f.vm);
	wait_count(n + 1);
}

static void stops_with_work(void **state)
{
	for (unsigned i = 0; i < 100; i++)
		host_loop_post(f.loop, sooner, NULL);
	vm_lock(&f.vm);
	timer_init(&f.timer, &f.vm.timers, sooner, NULL);
	timer_arm(&f.timer, now() + 1);
	host_unwatch(host_watch_fd(f.loop, f.pipe[0], readable, NULL));
	vm_unlock(&f.vm);
}

#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(timers), T(wakes_for_sooner), T(posts), T(descriptors), T(stops_with_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
