/*
 * The host's clocks and the rate of its time-stamp counter.
 *
 * CPUID 15h (SDM vol. 2A "CPUID", leaf 15H) gives the crystal's frequency and a ratio; hypervisors give the rate in kHz
 * in leaf 40000010h. Either is believed only if it agrees with a short measurement within 2 %.
 */
#include "base/clock.h"

#include <cpuid.h>
#include <stdatomic.h>
#include <time.h>
#include <x86intrin.h>

static u64 host_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (u64)ts.tv_sec * NS_PER_SEC + (u64)ts.tv_nsec;
}

static u64 host_now(struct clock *c) { return host_ns(CLOCK_MONOTONIC); }

static u64 host_wall(struct clock *c) { return host_ns(CLOCK_REALTIME); }

struct clock *clock_host(void)
{
	static struct clock host = {host_now, host_wall};

	return &host;
}

static u64 slow_now(struct clock *c)
{
	const struct clock_slow *s = container_of(c, struct clock_slow, clock);

	return s->now_ns + (host_ns(CLOCK_MONOTONIC) - s->now_ns) / s->factor;
}

static u64 slow_wall(struct clock *c)
{
	const struct clock_slow *s = container_of(c, struct clock_slow, clock);

	return s->wall_ns + (host_ns(CLOCK_REALTIME) - s->wall_ns) / s->factor;
}

static u64 slow_host(struct clock *c, u64 now)
{
	const struct clock_slow *s = container_of(c, struct clock_slow, clock);
	u64 ns = now > s->now_ns ? now - s->now_ns : 0;

	return ns > (INT64_MAX - s->now_ns) / s->factor ? INT64_MAX : s->now_ns + ns * s->factor;
}

void clock_slow_init(struct clock_slow *c, unsigned factor)
{
	*c = (struct clock_slow){
		.clock = {slow_now, slow_wall, slow_host},
		.factor = factor,
		.now_ns = host_ns(CLOCK_MONOTONIC),
		.wall_ns = host_ns(CLOCK_REALTIME),
	};
}

static u64 fake_now(struct clock *c) { return container_of(c, struct clock_fake, clock)->now_ns; }

static u64 fake_wall(struct clock *c) { return container_of(c, struct clock_fake, clock)->wall_ns; }

void clock_fake_init(struct clock_fake *c) { *c = (struct clock_fake){.clock = {fake_now, fake_wall}}; }

static u64 tsc_from_cpuid(void)
{
	u32 a, b, c, d;

	if (__get_cpuid_count(0x15, 0, &a, &b, &c, &d) && a && b && c)
		return mul_div(c, b, a);
	__cpuid(1, a, b, c, d);
	if (!(c & BIT(31)))
		return 0;
	__cpuid(0x40000000, a, b, c, d);
	if (a < 0x40000010 || a > 0x400000ff)
		return 0;
	__cpuid(0x40000010, a, b, c, d);
	return (u64)a * 1000;
}

/* Both clocks at one moment: of several readings the one that took the least time. */
static void read_both(u64 *tsc, u64 *ns)
{
	u64 best = UINT64_MAX;

	for (int i = 0; i < 8; i++) {
		u64 before = __rdtsc(), n = host_ns(CLOCK_MONOTONIC), after = __rdtsc();

		if (after - before < best) {
			best = after - before;
			*tsc = before + (after - before) / 2;
			*ns = n;
		}
	}
}

static u64 tsc_measure(u64 ns)
{
	u64 tsc0 = 0, ns0 = 0, tsc1 = 0, ns1 = 1;
	struct timespec rest = {.tv_nsec = (long)ns};

	read_both(&tsc0, &ns0);
	nanosleep(&rest, NULL);
	read_both(&tsc1, &ns1);
	return mul_div(tsc1 - tsc0, NS_PER_SEC, ns1 - ns0);
}

u64 clock_tsc_hz(void)
{
	static _Atomic u64 known; /* a fact about the host, the same whoever measures it */
	u64 hz = atomic_load(&known);

	if (hz)
		return hz;
	hz = tsc_from_cpuid();
	if (hz) {
		u64 rough = tsc_measure(5000000);

		if (hz < rough - rough / 50 || hz > rough + rough / 50)
			hz = 0;
	}
	if (!hz)
		hz = tsc_measure(50000000);
	u64 none = 0;
	return atomic_compare_exchange_strong(&known, &none, hz) ? hz : none;
}
