/*
 * The virtio console (virtio 1.2, 5.3 "Console Device") with MULTIPORT: here one port, of one of two kinds. With a name
 * it is no console but a byte stream for programs (Linux: /dev/virtio-ports/NAME, found by
 * /sys/class/virtio-ports/vportNpM/name). Without one it is a console port: a terminal (Linux: /dev/hvc0), with F_SIZE.
 *
 * Queues: 0 receive and 1 transmit of port 0, 2 control to the driver, 3 control from the driver.
 *
 *   driver DEVICE_READY -> PORT_ADD -> driver PORT_READY -> PORT_NAME, PORT_OPEN; a program opens it: driver PORT_OPEN
 *                                                        or CONSOLE_PORT, PORT_OPEN, RESIZE -> driver PORT_OPEN
 *
 * Host side: output goes to a char_sink; input waits at the host while the port is closed in the guest or no buffer is
 * there, and `on_room` is called when that may have changed.
 */
#ifndef DEV_VIRTIO_CONSOLE_H
#define DEV_VIRTIO_CONSOLE_H

#include "core/chardev.h"
#include "dev/virtio_pci.h"

#define VIRTIO_CONSOLE_NAME	64u
#define VIRTIO_CONSOLE_CONTROLS 8u

struct virtio_console_state {
	u8 guest_open;
	u8 ncontrols;			      /* messages for the driver that wait for a buffer */
	u8 controls[VIRTIO_CONSOLE_CONTROLS]; /* their event numbers, oldest first */
	u8 zero[6];
};

struct virtio_console {
	struct virtio_console_state s;
	struct virtio virtio;
	struct virtio_pci pci;
	char port_name[VIRTIO_CONSOLE_NAME]; /* empty: a console port */
	u16 rows, columns;		     /* of the terminal at the host; 0: not known */
	struct char_sink sink;
	void (*room)(void *ctx);
	void *room_ctx;
	struct virtq_chain chain; /* scratch */
};

/* port_name is copied, at most VIRTIO_CONSOLE_NAME - 1 bytes; NULL: a console port. */
void virtio_console_init(struct virtio_console *c, struct vm *vm, const char *port_name, struct char_sink sink);
struct char_source virtio_console_source(struct virtio_console *c);
/* The size of the terminal behind a console port, told to the driver now and after each reset. vm->lock held. */
void virtio_console_resize(struct virtio_console *c, unsigned rows, unsigned columns);
void virtio_console_on_room(struct virtio_console *c, void (*cb)(void *ctx), void *ctx);

extern const struct device_class virtio_console_class;
extern const struct desc virtio_console_state_desc;

#endif
