/*
 * The 8254 programmable interval timer: three counters of 1.193182 MHz, all six modes, BCD, latches and read-back; and
 * port 0x61, which holds counter 2's gate and the speaker.
 *
 * Wiring: ports 0x40-0x43 pit_ops, 0x61 pit_speaker_ops. Output: `irq0`, counter 0's OUT (ISA IRQ 0 = IOAPIC pin 2).
 * Counters are computed from the clock when somebody looks; only counter 0's edges run on a timer, and only while a
 * wire is connected.
 */
#ifndef DEV_PIT_H
#define DEV_PIT_H

#include "base/timer.h"
#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"

#define PIT_HZ 1193182u

struct pit_channel_state {
	u64 start;	/* ns at which the present count was loaded (gate's edge for modes 1 and 5) */
	u64 paused;	/* ticks counted before the gate went low (modes 0, 2, 3, 4) */
	u32 count;	/* initial count in ticks, 1 to 65536 (10000 in BCD); 0: none written yet */
	u32 next_count; /* modes 2, 3: written, loaded when the present period ends; 0: none */
	u8 mode;	/* 0 to 5 */
	u8 rw;		/* 1 low byte, 2 high byte, 3 low then high */
	u8 bcd;
	u8 gate;
	u8 write_low;  /* low byte written, waiting for the high one */
	u8 write_high; /* 1: the next write is the high byte */
	u8 read_high;  /* 1: the next read is the high byte */
	u8 latched;    /* bytes of the latched count still to read (bit 0 low, bit 1 high) */
	u16 latch;
	u8 status_latched;
	u8 status;
	u8 armed;      /* counting has begun (modes 1, 5: the gate's edge came) */
	u8 null_count; /* written, not loaded yet */
	u8 zero[2];
};

struct pit_state {
	struct pit_channel_state ch[3];
	u64 port61; /* bits 0 and 1: gate of counter 2, speaker */
};

struct pit {
	struct pit_state s;
	struct timer_queue *queue;
	struct timer timer; /* counter 0's next edge */
	struct irq_line irq0;
};

void pit_init(struct pit *pit, struct timer_queue *queue, struct irq_line irq0);

extern const struct bus_ops pit_ops, pit_speaker_ops;
extern const struct device_class pit_class;
extern const struct desc pit_state_desc;

#endif
