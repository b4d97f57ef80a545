/*
 * The MC146818 real-time clock and its 128 bytes of CMOS memory.
 *
 * Wiring: ports 0x70-0x71 rtc_ops. Output: `irq8` (level while IRQF is set). The clock shows the wall clock of the
 * timer queue's clock plus an offset that the guest changes when it sets the time. Flags are brought up to date when
 * somebody looks; the timers run only for enabled interrupts. Index bit 7 (NMI mask) is kept, CMOS bytes 0x0e-0x7f are
 * memory; the sizes of memory (0x15-0x18, 0x30-0x35, 0x5b-0x5d) and the century (0x32) are where PC firmware looks for
 * them.
 */
#ifndef DEV_RTC_H
#define DEV_RTC_H

#include "base/timer.h"
#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"

struct rtc_state {
	s64 offset;	   /* ns: the guest's time - the wall clock (UTC) */
	u64 update_seen;   /* the guest's second at which the update and alarm flags were last brought up to date */
	u64 periodic_seen; /* and the periodic tick */
	u8 cmos[128];	   /* time bytes are valid only while the clock stands (SET, or the divider held) */
	u8 index;
	u8 zero[7];
};

struct rtc {
	struct rtc_state s;
	struct timer_queue *queue;
	struct timer periodic, update;
	struct irq_line irq8;
};

/* ram_low, ram_high: bytes of RAM below and above 4 GiB. */
void rtc_init(struct rtc *rtc, struct timer_queue *queue, struct irq_line irq8, u64 ram_low, u64 ram_high);

extern const struct bus_ops rtc_ops;
extern const struct device_class rtc_class;
extern const struct desc rtc_state_desc;

#endif
