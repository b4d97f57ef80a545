/*
 * The local APIC's timer (SDM vol. 3 11.5.4 "APIC Timer"): one-shot and periodic counts at 1 GHz before the divider,
 * and TSC deadline.
 *
 * timer_deadline != 0 exactly while the host timer is armed. A guest cannot make the event loop spin: periods shorter
 * than PERIOD_MIN_NS run at that, and a host that was late drops the ticks in between.
 */
#include "dev/lapic_int.h"

#define PERIOD_MIN_NS 20000u

static unsigned divide_shift(const struct lapic *l)
{
	u32 d = l->s.divide;

	return (((d & 3) | (d & 8) >> 1) + 1) & 7;
}

static u64 now(const struct lapic *l) { return l->bus->vm->clock->now(l->bus->vm->clock); }

static void arm(struct lapic *l, u64 deadline)
{
	l->s.timer_deadline = deadline ? deadline : 1;
	timer_arm(&l->timer, deadline);
}

void lapic_timer_stop(struct lapic *l)
{
	l->s.timer_deadline = 0;
	timer_cancel(&l->timer);
}

void lapic_timer_start(struct lapic *l)
{
	if (lapic_timer_mode(l) == TIMER_TSC_DEADLINE)
		return;
	if (!l->s.initial_count)
		lapic_timer_stop(l);
	else
		arm(l, now(l) + ((u64)l->s.initial_count << divide_shift(l)));
}

u32 lapic_timer_count(struct lapic *l)
{
	u64 t = now(l), period = (u64)l->s.initial_count << divide_shift(l);

	if (!l->s.timer_deadline || lapic_timer_mode(l) == TIMER_TSC_DEADLINE)
		return 0;
	if (t < l->s.timer_deadline)
		return MIN(l->s.timer_deadline - t, period) >> divide_shift(l);
	if (lapic_timer_mode(l) == TIMER_ONE_SHOT || !period)
		return 0;
	return (period - (t - l->s.timer_deadline) % period) >> divide_shift(l);
}

void lapic_timer_divide(struct lapic *l, u32 value)
{
	u32 left = lapic_timer_count(l);
	bool running = l->s.timer_deadline && lapic_timer_mode(l) != TIMER_TSC_DEADLINE;

	l->s.divide = value & 11;
	if (running)
		arm(l, now(l) + ((u64)left << divide_shift(l)));
}

void lapic_timer_lvt(struct lapic *l, u32 value)
{
	bool was_tsc = lapic_timer_mode(l) == TIMER_TSC_DEADLINE;

	l->s.lvt[LVT_TIMER] = value;
	if (was_tsc == (lapic_timer_mode(l) == TIMER_TSC_DEADLINE))
		return;
	lapic_timer_stop(l);
	l->s.tsc_deadline = 0;
	l->s.initial_count = 0;
}

/* Fires at once when the deadline has passed, else sets the host's timer a moment after it. */
static void tsc_check(struct lapic *l)
{
	const struct lapic_tsc *tsc = &l->bus->tsc;
	u64 guest = tsc->now(tsc->ctx, l->index), delta, ns;

	if (guest >= l->s.tsc_deadline) {
		lapic_timer_stop(l);
		l->s.tsc_deadline = 0;
		lapic_lvt_fire(l, LVT_TIMER);
		return;
	}
	delta = l->s.tsc_deadline - guest;
	/* Far deadlines are looked at again once an hour. */
	if (delta / tsc->hz >= 3600)
		ns = 3600 * NS_PER_SEC;
	else
		ns = mul_div(delta, NS_PER_SEC, tsc->hz) + 1;
	arm(l, now(l) + ns);
}

void lapic_timer_set_tsc(struct lapic *l, u64 tsc)
{
	if (lapic_timer_mode(l) != TIMER_TSC_DEADLINE)
		return;
	l->s.tsc_deadline = tsc;
	if (tsc)
		tsc_check(l);
	else
		lapic_timer_stop(l);
}

static void fire(void *ctx)
{
	struct lapic *l = ctx;
	u64 period = (u64)l->s.initial_count << divide_shift(l), t = now(l), next;

	switch (lapic_timer_mode(l)) {
	case TIMER_TSC_DEADLINE: tsc_check(l); return;
	case TIMER_PERIODIC:
		if (period) {
			next = l->s.timer_deadline + MAX(period, PERIOD_MIN_NS);
			if (next <= t)
				next = t + MAX(period, PERIOD_MIN_NS) - (t - next) % MAX(period, PERIOD_MIN_NS);
			arm(l, next);
			break;
		}
		/* fall through */
	default: lapic_timer_stop(l);
	}
	lapic_lvt_fire(l, LVT_TIMER);
}

void lapic_timer_init(struct lapic *l) { timer_init(&l->timer, &l->bus->vm->timers, fire, l); }
