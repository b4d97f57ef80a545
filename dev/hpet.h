/*
 * The high precision event timer (IA-PC HPET Specification 1.0a): a 64-bit counter of 100 MHz and three comparators.
 *
 * Wiring: HPET_SIZE bytes of MMIO at HPET_BASE, hpet_ops. Outputs: input pins HPET_FIRST_PIN to 23 of the I/O APIC
 * (2.3.8 "Timer N Configuration and Capabilities Register", INT_ROUTE_CAP), and by legacy replacement (2.4.2) IRQ 0 and
 * IRQ
 * 8. The 8254's IRQ 0 and the RTC's IRQ 8 therefore come in here, by hpet_legacy_line, and go on unless replaced.
 *
 * Invariants: the count is `counter`, and while it runs the ticks since `since` on top. An
 * edge-triggered output is lowered and raised again at each event, so that a slow controller finds it high. There is no
 * FSB (MSI) delivery.
 */
#ifndef DEV_HPET_H
#define DEV_HPET_H

#include "base/timer.h"
#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"

#define HPET_BASE      0xfed00000u
#define HPET_SIZE      0x400u
#define HPET_TIMERS    3u
#define HPET_TICK_NS   10u
#define HPET_FIRST_PIN 20u
#define HPET_ID	       0x8086a201u /* low half of the capabilities: revision 1, 3 timers, 64 bits, legacy replacement */

struct hpet_timer_state {
	u64 config, comparator, period;
};

struct hpet_state {
	u64 config, status;
	u64 counter; /* ticks at `since` */
	u64 since;   /* ns of the clock; while it is enabled the counter runs from there */
	struct hpet_timer_state timer[HPET_TIMERS];
};

struct hpet_unit {
	struct hpet *hpet;
	struct timer timer;
	u64 due; /* count, not cut to 32 bits, at which the next event is */
};

struct hpet {
	struct hpet_state s;
	struct timer_queue *queue;
	struct irq_line out; /* pin + n is the I/O APIC's input n */
	struct irq_line irq0, irq8;
	bool legacy_in[2]; /* what the 8254 and the RTC say */
	struct hpet_unit unit[HPET_TIMERS];
};

void hpet_init(struct hpet *h, struct timer_queue *queue, struct irq_line out, struct irq_line irq0,
	       struct irq_line irq8);
/* Where the 8254's (0) or the RTC's (1) output is wired to. */
struct irq_line hpet_legacy_line(struct hpet *h, unsigned which);

extern const struct bus_ops hpet_ops;
extern const struct device_class hpet_class;
extern const struct desc hpet_state_desc;

#endif
