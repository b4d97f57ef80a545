/*
 * The local APIC's timer (SDM vol. 3 11.5.4 "APIC Timer"): one-shot and periodic counts at 1 GHz before the divider,
 * and TSC deadline.
 *
 * timer_deadline != 0 exactly while the host timer is armed, which serves the two counting modes. A guest cannot make
 * the event loop spin: periods shorter than PERIOD_MIN_NS run at that, and a host that was late drops the ticks in
 * between. The TSC is the processor's, which looks out for the deadline itself, running or asleep: a timer that
 * interrupts the host's processor at the very moment when its guest wants to see it would come late.
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

/* ~0: none. */
static void set_deadline(struct lapic *l, u64 tsc)
{
	struct vcpu *v = l->bus->vm->vcpu[l->index];

	if (v && v->ops->set_deadline)
		v->ops->set_deadline(v, tsc);
}

void lapic_timer_stop(struct lapic *l)
{
	set_deadline(l, ~0ull);
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

void lapic_timer_deadline(struct lapic *l)
{
	const struct lapic_tsc *tsc = &l->bus->tsc;

	if (!l->s.tsc_deadline || tsc->now(tsc->ctx, l->index) < l->s.tsc_deadline)
		return;
	lapic_timer_stop(l);
	l->s.tsc_deadline = 0;
	lapic_lvt_fire(l, LVT_TIMER);
}

void lapic_timer_set_tsc(struct lapic *l, u64 tsc)
{
	if (lapic_timer_mode(l) != TIMER_TSC_DEADLINE)
		return;
	l->s.tsc_deadline = tsc;
	set_deadline(l, tsc ? tsc : ~0ull);
	lapic_timer_deadline(l);
}

static void fire(void *ctx)
{
	struct lapic *l = ctx;
	u64 period = (u64)l->s.initial_count << divide_shift(l), t = now(l), next;

	switch (lapic_timer_mode(l)) {
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
