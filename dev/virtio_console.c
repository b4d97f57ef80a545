/* The console device: control messages and the two data queues of its one port (virtio_console.h). */
#include "dev/virtio_console.h"

#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>

enum { RX, TX, CONTROL_RX, CONTROL_TX, QUEUES };
#define PORT 0u

/* ---- control: host to driver, 5.3.6.2 "Multiport Device Operation" ---- */

static bool is_terminal(const struct virtio_console *c) { return !c->port_name[0]; }

static size_t control_message(const struct virtio_console *c, u8 event, u8 *buf)
{
	struct virtio_console_control m = {.id = PORT, .event = event, .value = 1};
	/* 5.3.6.2: cols, rows. Some versions of Linux's driver take them the other way round. */
	const u16 size[2] = {c->columns, c->rows};
	const void *tail = event == VIRTIO_CONSOLE_RESIZE ? (const void *)size : c->port_name;
	size_t n = event == VIRTIO_CONSOLE_RESIZE      ? sizeof(size)
		   : event == VIRTIO_CONSOLE_PORT_NAME ? strlen(c->port_name)
						       : 0;

	memcpy(buf, &m, sizeof(m));
	memcpy(buf + sizeof(m), tail, n);
	return sizeof(m) + n;
}

static void controls_send(struct virtio_console *c)
{
	u8 buf[sizeof(struct virtio_console_control) + VIRTIO_CONSOLE_NAME];

	while (c->s.ncontrols && virtq_pop(&c->virtio, CONTROL_RX, &c->chain)) {
		size_t n = control_message(c, c->s.controls[0], buf);

		virtq_push(&c->virtio, CONTROL_RX, &c->chain, (u32)virtq_write(&c->virtio, &c->chain, 0, buf, n));
		memmove(c->s.controls, c->s.controls + 1, --c->s.ncontrols);
	}
	virtq_flush(&c->virtio, CONTROL_RX);
}

/* A driver that asks again and again without giving buffers is not answered more often than the queue here is long. */
static void control_queue(struct virtio_console *c, u8 event)
{
	if (c->s.ncontrols < VIRTIO_CONSOLE_CONTROLS)
		c->s.controls[c->s.ncontrols++] = event;
}

/* The size goes out as it is when the message is sent: one that waits is enough. */
static void resize_queue(struct virtio_console *c)
{
	if (c->rows && c->columns && virtio_has(&c->virtio, VIRTIO_CONSOLE_F_SIZE) &&
	    !memchr(c->s.controls, VIRTIO_CONSOLE_RESIZE, c->s.ncontrols))
		control_queue(c, VIRTIO_CONSOLE_RESIZE);
}

static void control_receive(struct virtio_console *c, const struct virtio_console_control *m)
{
	if (trace_on(c->virtio.vm->topics, TRACE_CHANNEL))
		log_trace(c->virtio.vm->log, TRACE_CHANNEL, "console: driver says event %u value %u of port %u",
			  m->event, m->value, m->id);
	switch (m->event) {
	case VIRTIO_CONSOLE_DEVICE_READY:
		if (m->value)
			control_queue(c, VIRTIO_CONSOLE_PORT_ADD);
		break;
	case VIRTIO_CONSOLE_PORT_READY:
		if (m->value && m->id == PORT) {
			control_queue(c, is_terminal(c) ? VIRTIO_CONSOLE_CONSOLE_PORT : VIRTIO_CONSOLE_PORT_NAME);
			control_queue(c, VIRTIO_CONSOLE_PORT_OPEN);
			resize_queue(c);
		}
		break;
	case VIRTIO_CONSOLE_PORT_OPEN:
		if (m->id == PORT) {
			c->s.guest_open = m->value == 1;
			if (c->s.guest_open && c->room)
				c->room(c->room_ctx);
		}
		break;
	}
}

static void controls_take(struct virtio_console *c)
{
	struct virtio_console_control m;

	while (virtq_pop(&c->virtio, CONTROL_TX, &c->chain)) {
		bool whole = virtq_read(&c->chain, 0, &m, sizeof(m)) == sizeof(m);

		virtq_push(&c->virtio, CONTROL_TX, &c->chain, 0);
		if (whole)
			control_receive(c, &m);
	}
	virtq_flush(&c->virtio, CONTROL_TX);
	controls_send(c);
}

/* ---- data ---- */

static void transmit(struct virtio_console *c)
{
	while (virtq_pop(&c->virtio, TX, &c->chain)) {
		for (unsigned i = 0; i < c->chain.nread; i++)
			if (c->chain.segment[i].len && c->sink.write)
				c->sink.write(c->sink.ctx, c->chain.segment[i].host, c->chain.segment[i].len);
		virtq_push(&c->virtio, TX, &c->chain, 0);
	}
	virtq_flush(&c->virtio, TX);
}

static size_t source_room(void *ctx)
{
	struct virtio_console *c = ctx;
	size_t room = 0;

	if (!c->s.guest_open)
		return 0;
	for (unsigned i = 0; i < VIRTQ_MAX && virtq_peek(&c->virtio, RX, i, &c->chain); i++)
		room += c->chain.write_len;
	return room;
}

static void source_receive(void *ctx, const u8 *buf, size_t n)
{
	struct virtio_console *c = ctx;

	while (n && virtq_pop(&c->virtio, RX, &c->chain)) {
		size_t took = virtq_write(&c->virtio, &c->chain, 0, buf, n);

		virtq_push(&c->virtio, RX, &c->chain, (u32)took);
		buf += took;
		n -= took;
	}
	virtq_flush(&c->virtio, RX);
}

struct char_source virtio_console_source(struct virtio_console *c)
{
	return (struct char_source){source_room, source_receive, c};
}

void virtio_console_on_room(struct virtio_console *c, void (*cb)(void *ctx), void *ctx)
{
	c->room = cb;
	c->room_ctx = ctx;
}

void virtio_console_resize(struct virtio_console *c, unsigned rows, unsigned columns)
{
	c->rows = (u16)MIN(rows, 0xffffu);
	c->columns = (u16)MIN(columns, 0xffffu);
	if (!c->s.guest_open)
		return; /* it is told when the port is ready */
	resize_queue(c);
	controls_send(c);
}

/* ---- virtio ---- */

static void console_reset(void *dev)
{
	struct virtio_console *c = dev;

	memset(&c->s, 0, sizeof(c->s));
}

static void console_notify(void *dev, unsigned q)
{
	struct virtio_console *c = dev;

	switch (q) {
	case RX:
		if (c->room)
			c->room(c->room_ctx);
		return;
	case TX: transmit(c); return;
	case CONTROL_RX: controls_send(c); return;
	case CONTROL_TX: controls_take(c); return;
	}
}

static u64 config_read(void *dev, u32 offset, unsigned size)
{
	const struct virtio_console *c = dev;
	const struct virtio_console_config config = {.cols = c->columns, .rows = c->rows, .max_nr_ports = 1};
	u64 v = 0;

	memcpy(&v, (const u8 *)&config + offset, size);
	return v;
}

#define CONSOLE_OPS(features_)                                                                                         \
	{                                                                                                              \
		.name = "virtio-console", .id = VIRTIO_ID_CONSOLE, .features = (features_), .queues = QUEUES,          \
		.queue_size = 128, .config_size = offsetof(struct virtio_console_config, emerg_wr),                    \
		.reset = console_reset, .notify = console_notify, .config_read = config_read,                          \
	}

static const struct virtio_ops port_ops = CONSOLE_OPS(BIT(VIRTIO_CONSOLE_F_MULTIPORT));
static const struct virtio_ops terminal_ops = CONSOLE_OPS(BIT(VIRTIO_CONSOLE_F_MULTIPORT) | BIT(VIRTIO_CONSOLE_F_SIZE));

void virtio_console_init(struct virtio_console *c, struct vm *vm, const char *port_name, struct char_sink sink)
{
	memset(c, 0, sizeof(*c));
	snprintf(c->port_name, sizeof(c->port_name), "%s", port_name ? port_name : "");
	c->sink = sink;
	virtio_init(&c->virtio, vm, is_terminal(c) ? &terminal_ops : &port_ops, c);
	virtio_pci_init(&c->pci, &c->virtio, 0x078000);
}

static const struct desc_field state_fields[] = {
	DESC_INT(struct virtio_console_state, guest_open),
	DESC_INT(struct virtio_console_state, ncontrols),
	DESC_ARR(struct virtio_console_state, controls),
	DESC_ARR(struct virtio_console_state, zero),
};
DESC(virtio_console_state_desc, struct virtio_console_state, state_fields);

const struct device_class virtio_console_class = {
	.name = "virtio-console",
	.migration = MIGRATE_STATE,
	.state = &virtio_console_state_desc,
	.reset = console_reset,
};
