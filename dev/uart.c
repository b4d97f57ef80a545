/*
 * The 16550A (National Semiconductor PC16550D data sheet, 8.0 "Registers").
 *
 * The transmitter is infinitely fast: THRE and TEMT are always set, and each byte written raises the THRE interrupt
 * anew. OUT2 gates the interrupt wire, as on every PC; in loopback the wire is off because OUT2's pin is.
 */
#include "dev/uart.h"

#include <string.h>

#include "dev/bytes.h"

enum { REG_DATA, REG_IER, REG_IIR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

enum { IER_RDA = 1, IER_THRE = 2, IER_LINE = 4, IER_MODEM = 8 };
enum { IIR_NONE = 1, IIR_MODEM = 0, IIR_THRE = 2, IIR_RDA = 4, IIR_LINE = 6, IIR_TIMEOUT = 0xc, IIR_FIFO = 0xc0 };
enum { FCR_ENABLE = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4 };
enum { LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 16 };
enum {
	LSR_DR = 1,
	LSR_OE = 2,
	LSR_PE = 4,
	LSR_FE = 8,
	LSR_BI = 16,
	LSR_THRE = 32,
	LSR_TEMT = 64,
	LSR_FIFO_ERROR = 128
};
enum { MSR_DELTAS = 0x0f, MSR_TERI = 4, MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80 };

#define LSR_ERRORS (LSR_OE | LSR_PE | LSR_FE | LSR_BI)
#define FLUSH_NS   4000000u

static bool fifo(const struct uart *u) { return u->s.fcr & FCR_ENABLE; }
static unsigned capacity(const struct uart *u) { return fifo(u) ? UART_FIFO : 1; }

static unsigned trigger(const struct uart *u)
{
	static const u8 level[4] = {1, 4, 8, 14};

	return fifo(u) ? level[u->s.fcr >> 6] : 1;
}

/* The interrupt of highest priority, as IIR shows it. */
static u8 identify(const struct uart *u)
{
	u8 on = u->s.ier;

	if (on & IER_LINE && u->s.lsr & LSR_ERRORS)
		return IIR_LINE;
	if (on & IER_RDA && u->s.rx_count >= trigger(u))
		return IIR_RDA;
	if (on & IER_RDA && u->s.timeout)
		return IIR_TIMEOUT;
	if (on & IER_THRE && u->s.iir_thre)
		return IIR_THRE;
	if (on & IER_MODEM && u->s.msr & MSR_DELTAS)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update(struct uart *u)
{
	bool gate = (u->s.mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;

	irq_set(&u->irq, gate && identify(u) != IIR_NONE);
}

/* ---- output ---- */

void uart_flush(struct uart *u)
{
	unsigned n = u->out_count;

	timer_cancel(&u->flush);
	u->out_count = 0;
	if (n && u->sink.write)
		u->sink.write(u->sink.ctx, u->out, n);
}

static void flush_fire(void *ctx) { uart_flush(ctx); }

static void send(struct uart *u, u8 byte)
{
	u->out[u->out_count++] = byte;
	if (byte == '\n' || u->out_count == sizeof(u->out))
		uart_flush(u);
	else if (u->out_count == 1)
		timer_arm(&u->flush, u->queue->clock->now(u->queue->clock) + FLUSH_NS);
}

/* ---- input ---- */

/* Bits of one character: start, 5 to 8 data, parity, 1 or 2 stop. */
static unsigned char_bits(const struct uart *u)
{
	return 1 + 5 + (u->s.lcr & 3) + (u->s.lcr >> 3 & 1) + 1 + (u->s.lcr >> 2 & 1);
}

static void arm_timeout(struct uart *u)
{
	u32 divisor = u->s.dlm << 8 | u->s.dll;

	u->s.timeout = 0;
	if (!fifo(u) || !u->s.rx_count)
		timer_cancel(&u->timeout);
	else /* four characters' time at 115200 / divisor baud */
		timer_arm(&u->timeout, u->queue->clock->now(u->queue->clock) +
					       (u64)(divisor ? divisor : 1) * 4 * char_bits(u) * NS_PER_SEC / 115200);
}

static void timeout_fire(void *ctx)
{
	struct uart *u = ctx;

	u->s.timeout = 1;
	update(u);
}

/* The byte at the top of the FIFO shows its errors in LSR. */
static void show_errors(struct uart *u)
{
	if (u->s.rx_count)
		u->s.lsr |= u->s.rx_error[u->s.rx_head];
}

static void receive(struct uart *u, u8 byte, u8 errors)
{
	if (u->s.rx_count == capacity(u)) {
		u->s.lsr |= LSR_OE;
		if (!fifo(u)) /* the holding register is overwritten, a FIFO keeps what it has */
			u->s.rx[u->s.rx_head] = byte;
		return;
	}
	u->s.rx[(u->s.rx_head + u->s.rx_count) % UART_FIFO] = byte;
	u->s.rx_error[(u->s.rx_head + u->s.rx_count) % UART_FIFO] = errors;
	u->s.rx_count++;
	if (u->s.rx_count == 1)
		show_errors(u);
	arm_timeout(u);
}

static u8 take(struct uart *u)
{
	u8 byte = u->s.rx[u->s.rx_head];

	if (!u->s.rx_count)
		return 0;
	u->s.rx_head = (u->s.rx_head + 1) % UART_FIFO;
	u->s.rx_count--;
	show_errors(u);
	arm_timeout(u);
	update(u);
	if (!u->s.rx_count && u->room_cb)
		u->room_cb(u->room_ctx);
	return byte;
}

static void clear_rx(struct uart *u)
{
	u->s.rx_head = u->s.rx_count = u->s.timeout = 0;
	timer_cancel(&u->timeout);
	if (u->room_cb)
		u->room_cb(u->room_ctx);
}

static size_t source_room(void *ctx)
{
	const struct uart *u = ctx;

	return u->s.mcr & MCR_LOOP ? 0 : capacity(u) - u->s.rx_count;
}

static void source_receive(void *ctx, const u8 *buf, size_t n)
{
	struct uart *u = ctx;

	for (size_t i = 0; i < n; i++)
		receive(u, buf[i], 0);
	update(u);
}

struct char_source uart_source(struct uart *u) { return (struct char_source){source_room, source_receive, u}; }

void uart_on_room(struct uart *u, void (*cb)(void *ctx), void *ctx)
{
	u->room_cb = cb;
	u->room_ctx = ctx;
}

/* ---- registers ---- */

/* Modem inputs: the peer's lines, always ready, or in loopback our own outputs. */
static void update_modem(struct uart *u)
{
	u8 mcr = u->s.mcr, lines = MSR_CTS | MSR_DSR | MSR_DCD, change;

	if (mcr & MCR_LOOP)
		lines = (mcr & MCR_RTS ? MSR_CTS : 0) | (mcr & MCR_DTR ? MSR_DSR : 0) | (mcr & MCR_OUT1 ? MSR_RI : 0) |
			(mcr & MCR_OUT2 ? MSR_DCD : 0);
	change = (u->s.msr ^ lines) & 0xf0;
	if (change & MSR_RI && lines & MSR_RI)
		change &= ~MSR_RI; /* only the trailing edge of RI counts */
	u->s.msr = lines | (u->s.msr & MSR_DELTAS) | change >> 4;
}

static void write_fcr(struct uart *u, u8 v)
{
	bool toggles = (v ^ u->s.fcr) & FCR_ENABLE;

	u->s.fcr = v & FCR_ENABLE ? v & 0xc9 : 0; /* the other bits are programmable only with bit 0 */
	if (toggles || v & FCR_CLEAR_RX)
		clear_rx(u);
	if ((toggles || v & FCR_CLEAR_TX) && u->s.ier & IER_THRE)
		u->s.iir_thre = 1;
}

static void uart_put(void *dev, unsigned reg, u8 v)
{
	struct uart *u = dev;
	bool dlab = u->s.lcr & LCR_DLAB;

	switch (reg & 7) {
	case REG_DATA:
		if (dlab) {
			u->s.dll = v;
			break;
		}
		if (u->s.mcr & MCR_LOOP)
			receive(u, v, 0);
		else
			send(u, v);
		u->s.iir_thre = 1;
		break;
	case REG_IER:
		if (dlab) {
			u->s.dlm = v;
			break;
		}
		if (v & ~u->s.ier & IER_THRE)
			u->s.iir_thre = 1;
		u->s.ier = v & 0x0f;
		break;
	case REG_IIR: write_fcr(u, v); break;
	case REG_LCR: u->s.lcr = v; break;
	case REG_MCR:
		u->s.mcr = v & 0x1f;
		update_modem(u);
		if (!(v & MCR_LOOP) && u->room_cb)
			u->room_cb(u->room_ctx);
		break;
	case REG_SCR: u->s.scr = v; return;
	default: /* LSR and MSR are read-only (writing them is for factory tests) */ return;
	}
	update(u);
}

static u8 read_lsr(struct uart *u)
{
	u8 v = u->s.lsr | LSR_THRE | LSR_TEMT | (u->s.rx_count ? LSR_DR : 0);

	for (unsigned i = 0; fifo(u) && i < u->s.rx_count; i++)
		if (u->s.rx_error[(u->s.rx_head + i) % UART_FIFO])
			v |= LSR_FIFO_ERROR;
	if (u->s.lsr) {
		u->s.lsr = 0;
		update(u);
	}
	return v;
}

static u8 uart_get(void *dev, unsigned reg)
{
	struct uart *u = dev;
	bool dlab = u->s.lcr & LCR_DLAB;
	u8 v;

	switch (reg & 7) {
	case REG_DATA: return dlab ? u->s.dll : take(u);
	case REG_IER: return dlab ? u->s.dlm : u->s.ier;
	case REG_IIR:
		v = identify(u);
		if (v == IIR_THRE) {
			u->s.iir_thre = 0;
			update(u);
		}
		return v | (fifo(u) ? IIR_FIFO : 0);
	case REG_LCR: return u->s.lcr;
	case REG_MCR: return u->s.mcr;
	case REG_LSR: return read_lsr(u);
	case REG_MSR:
		v = u->s.msr;
		u->s.msr &= ~MSR_DELTAS;
		if (v & MSR_DELTAS)
			update(u);
		return v;
	default: return u->s.scr;
	}
}

static u64 uart_read(void *dev, u64 offset, unsigned size) { return bytes_read(dev, offset, size, uart_get); }
static void uart_write(void *dev, u64 offset, unsigned size, u64 value)
{
	bytes_write(dev, offset, size, value, uart_put);
}

static void power_on(struct uart *u)
{
	memset(&u->s, 0, sizeof(u->s));
	u->s.msr = MSR_CTS | MSR_DSR | MSR_DCD;
	u->s.dll = 12; /* 9600 baud, as firmware leaves it */
}

static void reset(void *dev)
{
	struct uart *u = dev;

	uart_flush(u);
	timer_cancel(&u->timeout);
	power_on(u);
	irq_set(&u->irq, false);
}

void uart_init(struct uart *u, struct timer_queue *queue, struct irq_line irq, struct char_sink sink)
{
	memset(u, 0, sizeof(*u));
	u->queue = queue;
	u->irq = irq;
	u->sink = sink;
	timer_init(&u->flush, queue, flush_fire, u);
	timer_init(&u->timeout, queue, timeout_fire, u);
	power_on(u);
}

const struct bus_ops uart_ops = {uart_read, uart_write};

#define F(f) DESC_INT(struct uart_state, f)
#define A(f) DESC_ARR(struct uart_state, f)
static const struct desc_field fields[] = {
	F(ier), F(iir_thre), F(fcr), F(lcr),	  F(mcr),     F(lsr),	   F(msr),     F(scr),
	F(dll), F(dlm),	     A(rx),  A(rx_error), F(rx_head), F(rx_count), F(timeout), A(zero),
};
DESC(uart_state_desc, struct uart_state, fields);

const struct device_class uart_class = {"uart", MIGRATE_STATE, &uart_state_desc, reset};
