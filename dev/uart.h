/*
 * The 16550A: FIFOs of 16 bytes, all interrupt identifications, loopback, modem lines (peer always ready).
 *
 * Wiring: ports 0x3f8-0x3ff (COM1, IRQ 4) uart_ops. Host side: bytes go out through a char_sink, come in through
 * uart_source(). Cheap per byte: a byte is sent at once (THR is always empty); output is gathered and handed to the
 * sink in one call when the buffer is full, on a line's end, or a few ms later. Reception keeps the line's pace out of
 * it: input waits at the host until there is room, and `uart_room_cb` says when there is again.
 */
#ifndef DEV_UART_H
#define DEV_UART_H

#include "base/timer.h"
#include "core/bus.h"
#include "core/chardev.h"
#include "core/device.h"
#include "core/irq.h"

#define UART_FIFO 16u

struct uart_state {
	u8 ier, iir_thre, fcr, lcr, mcr, lsr, msr, scr; /* iir_thre: the THRE interrupt is pending */
	u8 dll, dlm;
	u8 rx[UART_FIFO];
	u8 rx_error[UART_FIFO]; /* LSR bits of each byte */
	u8 rx_head, rx_count;
	u8 timeout; /* character timeout interrupt pending */
	u8 zero[3];
};

struct uart {
	struct uart_state s;
	struct timer_queue *queue;
	struct timer flush, timeout;
	struct irq_line irq;
	struct char_sink sink;
	void (*room_cb)(void *ctx); /* may be NULL: the FIFO has room again */
	void *room_ctx;
	unsigned out_count;
	u8 out[512];
};

void uart_init(struct uart *u, struct timer_queue *queue, struct irq_line irq, struct char_sink sink);
/* Where the host puts input. */
struct char_source uart_source(struct uart *u);
/* Calls cb when a full FIFO has been emptied so that more input can come. */
void uart_on_room(struct uart *u, void (*cb)(void *ctx), void *ctx);
/* Hands gathered output to the sink now (also before the VM ends). */
void uart_flush(struct uart *u);

extern const struct bus_ops uart_ops;
extern const struct device_class uart_class;
extern const struct desc uart_state_desc;

#endif
