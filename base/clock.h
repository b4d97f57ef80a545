/*
 * Time, handed in. A chip never reads the host's clock: it is given a `struct clock`, so that a test can turn the hands.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/types.h"

struct clock {
	u64 (*now)(struct clock *c);      /* monotonic nanoseconds */
	u64 (*wall)(struct clock *c);     /* nanoseconds since the Unix epoch */
	/* CLOCK_MONOTONIC's reading when this clock reads `now`; NULL: the same, or there is none. */
	u64 (*host)(struct clock *c, u64 now);
};

/* The host's CLOCK_MONOTONIC and CLOCK_REALTIME. */
struct clock *clock_host(void);

/* The host's clocks at a fraction of their rate, from the moment of its making on. */
struct clock_slow {
	struct clock clock;
	unsigned factor; /* of the host's seconds in one of its own */
	u64 now_ns, wall_ns; /* at that moment */
};
void clock_slow_init(struct clock_slow *c, unsigned factor);

/* A clock that a test sets by hand. */
struct clock_fake {
	struct clock clock;
	u64 now_ns;
	u64 wall_ns;
};
void clock_fake_init(struct clock_fake *c);

/* The host's TSC frequency in Hz, measured once against CLOCK_MONOTONIC (or read from CPUID 15h/40000010h where given). */
u64 clock_tsc_hz(void);

#define NS_PER_SEC 1000000000ull
/* a * b / c without overflow of the product. */
static inline u64 mul_div(u64 a, u64 b, u64 c)
{
	return (u64)((u128)a * b / c);
}

#endif
