/*
 * The MC146818 real-time clock and its 128 bytes of CMOS memory.
 *
 * Wiring: ports 0x70-0x71 rtc_ops. Output: `irq8` (level while IRQF is set). The clock shows the wall clock of the timer queue's clock plus an
 * offset that the guest changes when it sets the time. Index bit 7 (NMI mask) is kept, CMOS bytes 0x0e-0x7f are memory; the sizes of
 * memory (0x15-0x18, 0x30-0x35, 0x5b-0x5d) and the century (0x32) are where PC firmware looks for them.
 */
#ifndef DEV_RTC_H
#define DEV_RTC_H

#include "base/timer.h"
#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"

struct rtc_state {
	s64 offset;        /* seconds: guest's time - wall clock (UTC) */
	u64 set_sec;       /* the time while SET is 1 or the divider is held: seconds since 1970 */
	u64 divider_ns;    /* phase: ns of the wall clock within a second at which the guest's second turns */
	u64 periodic_last; /* ns of the monotonic clock of the last periodic tick */
	u64 update_last;   /* guest second for which update and alarm flags were last raised */
	u8 cmos[128];      /* 0x00-0x0d: alarms and registers A to D live here, time bytes only while SET */
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
