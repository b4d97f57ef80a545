/* The local APIC's registers for people (device_class.words). */
#include <inttypes.h>

#include "dev/lapic_int.h"

const char *apic_delivery_name(unsigned mode)
{
	static const char *const names[8] = {"fixed", "lowest priority", "SMI",	  "remote read", "NMI",
					     "INIT",  "start-up",	 "ExtINT"};

	return names[mode & 7];
}

/* The set bits, which are vectors; those of `level` are marked. */
static void vectors(const char *name, const u32 *set, const u32 *level, FILE *out)
{
	bool any = false;

	fprintf(out, "  %s", name);
	for (unsigned v = 0; v < 256; v++) {
		if (!(set[v / 32] >> v % 32 & 1))
			continue;
		fprintf(out, " %02x%s", v, level[v / 32] >> v % 32 & 1 ? " (level)" : "");
		any = true;
	}
	fprintf(out, "%s\n", any ? "" : " none");
}

static void local_vectors(const struct lapic *l, FILE *out)
{
	static const char *const names[LVTS] = {"timer", "thermal", "perf", "LINT0", "LINT1", "error"};

	for (unsigned i = 0; i < LVTS; i++) {
		u32 v = l->s.lvt[i];

		fprintf(out, "  lvt %-8s %08x vector %02x", names[i], v, v & LVT_VECTOR);
		if (i != LVT_TIMER && i != LVT_ERROR)
			fprintf(out, " %s", apic_delivery_name(v >> LVT_MODE_SHIFT));
		fprintf(out, "%s\n", v & LVT_MASKED ? " masked" : "");
	}
}

static void timer_words(const struct lapic *l, FILE *out)
{
	static const char *const modes[4] = {"one-shot", "periodic", "TSC deadline", "reserved mode"};
	const struct lapic_tsc *tsc = &l->bus->tsc;
	u64 now = l->bus->vm->clock->now(l->bus->vm->clock);
	u32 d = l->s.divide;
	double ms;

	fprintf(out, "  timer %s", modes[lapic_timer_mode(l)]);
	if (lapic_timer_mode(l) == TIMER_TSC_DEADLINE) {
		fprintf(out, " %#" PRIx64, l->s.tsc_deadline);
		ms = ((double)l->s.tsc_deadline - (double)tsc->now(tsc->ctx, l->index)) / (double)tsc->hz * 1e3;
	} else {
		fprintf(out, ", initial count %u, divided by %u", l->s.initial_count,
			1u << ((((d & 3) | (d & 8) >> 1) + 1) & 7));
		ms = ((double)l->s.timer_deadline - (double)now) / 1e6;
	}
	if (l->s.timer_deadline || l->s.tsc_deadline)
		fprintf(out, ", fires in %.3f ms\n", ms);
	else
		fprintf(out, ", not running\n");
}

void lapic_words(const void *lapic, FILE *out)
{
	const struct lapic *l = lapic;
	int next = l->summary;

	fprintf(out, "lapic %u: base %#" PRIx64 " %s%s, id %x, %s by software, svr %08x\n", l->index, l->s.base,
		!lapic_enabled(l) ? "off"
		: lapic_x2(l)	  ? "x2APIC"
				  : "xAPIC",
		l->s.base & BASE_BSP ? ", boot processor" : "", lapic_id(l), l->s.svr & SVR_ENABLE ? "on" : "off",
		l->s.svr);
	fprintf(out, "  tpr %02x ppr %02x ldr %08x dfr %08x esr %02x (new %02x) icr %016" PRIx64 " extint wire %s\n",
		l->s.tpr, lapic_ppr(l), l->s.ldr, l->s.dfr, l->s.esr, l->s.esr_pending, l->s.icr,
		l->s.extint ? "high" : "low");
	local_vectors(l, out);
	timer_words(l, out);
	vectors("pending (irr):   ", l->s.irr, l->s.tmr, out);
	vectors("in service (isr):", l->s.isr, l->s.tmr, out);
	if (next == LAPIC_EXTINT)
		fprintf(out, "  offers the processor: what the 8259 pair has\n");
	else if (next >= 0)
		fprintf(out, "  offers the processor: vector %02x\n", (unsigned)next);
	else
		fprintf(out, "  offers the processor: nothing\n");
}
