/* The timer queue under a clock that the test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <time.h>

#include "base/timer.h"

struct fixture {
	struct clock_fake clock;
	struct timer_queue q;
	struct timer t[4];
	unsigned fired[8], n, wakes;
};

struct probe {
	struct fixture *f;
	unsigned id;
};

static void note(void *ctx)
{
	struct probe *p = ctx;

	p->f->fired[p->f->n++] = p->id;
}

static void wake(void *ctx) { ((struct fixture *)ctx)->wakes++; }

static void start(struct fixture *f, struct probe *p)
{
	*f = (struct fixture){0};
	clock_fake_init(&f->clock);
	timer_queue_init(&f->q, &f->clock.clock);
	f->q.wake = wake;
	f->q.wake_ctx = f;
	for (unsigned i = 0; i < 4; i++) {
		p[i] = (struct probe){f, i};
		timer_init(&f->t[i], &f->q, note, &p[i]);
	}
}

static void fires_in_order(void **state)
{
	struct fixture f;
	struct probe p[4];

	start(&f, p);
	timer_arm(&f.t[2], 300);
	timer_arm(&f.t[0], 100);
	timer_arm(&f.t[1], 200);
	timer_arm(&f.t[3], 200);
	assert_int_equal(f.wakes, 2);
	assert_int_equal(timer_queue_run(&f.q), 100);
	f.clock.now_ns = 250;
	assert_int_equal(timer_queue_run(&f.q), 300);
	assert_int_equal(f.n, 3);
	assert_int_equal(f.fired[0], 0);
	assert_int_equal(f.fired[1], 1);
	assert_int_equal(f.fired[2], 3);
	assert_false(f.t[0].armed);
	assert_true(f.t[2].armed);
	timer_cancel(&f.t[2]);
	timer_cancel(&f.t[2]);
	assert_int_equal(timer_queue_run(&f.q), UINT64_MAX);
}

static void rearm_moves(void **state)
{
	struct fixture f;
	struct probe p[4];

	start(&f, p);
	timer_arm(&f.t[0], 100);
	timer_arm(&f.t[1], 150);
	timer_arm(&f.t[0], 200);
	f.clock.now_ns = 160;
	assert_int_equal(timer_queue_run(&f.q), 200);
	assert_int_equal(f.n, 1);
	assert_int_equal(f.fired[0], 1);
}

static void again(void *ctx)
{
	struct fixture *f = ctx;

	f->n++;
	timer_arm(&f->t[0], 10); /* already past */
	timer_cancel(&f->t[1]);	 /* due in this very run */
}

static void callback_may_arm_and_cancel(void **state)
{
	struct fixture f;
	struct probe p[4];

	start(&f, p);
	timer_init(&f.t[0], &f.q, again, &f);
	timer_arm(&f.t[0], 100);
	timer_arm(&f.t[1], 110);
	timer_arm(&f.t[2], 120);
	f.clock.now_ns = 1000;
	f.wakes = 0;
	assert_int_equal(timer_queue_run(&f.q), 10);
	assert_int_equal(f.n, 2);
	assert_int_equal(f.wakes, 0);
	assert_false(f.t[1].armed);
	assert_false(f.t[2].armed);
	assert_int_equal(timer_queue_run(&f.q), 10);
	assert_int_equal(f.n, 3);
}

static void host_clock_moves(void **state)
{
	struct clock *c = clock_host();
	u64 a = c->now(c);

	assert_true(c->now(c) >= a);
	assert_true(c->wall(c) > 1600000000ull * NS_PER_SEC);
	u64 hz = clock_tsc_hz();
	assert_true(hz > 100000000ull && hz < 20000000000ull);
	assert_int_equal(hz, clock_tsc_hz());
}

/* Its seconds last three of the host's, and it knows when in the host's. */
static void slow_clock(void **state)
{
	struct clock *host = clock_host();
	struct clock_slow s;
	u64 before, after, now, late, wall = host->wall(host);
	struct timespec rest = {.tv_nsec = 30000000};

	clock_slow_init(&s, 3);
	before = host->now(host);
	nanosleep(&rest, NULL);
	now = s.clock.now(&s.clock);
	after = host->now(host);
	assert_true(now - s.now_ns >= (before - s.now_ns) / 3 + 10000000 - 1);
	assert_true(now - s.now_ns <= (after - s.now_ns) / 3);
	assert_true(s.clock.wall(&s.clock) >= wall && s.clock.wall(&s.clock) < host->wall(host));
	late = s.clock.host(&s.clock, s.now_ns + 1000);
	assert_int_equal(late, s.now_ns + 3000);
	assert_int_equal(s.clock.host(&s.clock, 0), s.now_ns);
	assert_int_equal(s.clock.host(&s.clock, UINT64_MAX - 1), INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fires_in_order),
		cmocka_unit_test(rearm_moves),
		cmocka_unit_test(callback_may_arm_and_cancel),
		cmocka_unit_test(host_clock_moves),
		cmocka_unit_test(slow_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
