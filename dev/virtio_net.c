/* Frames to and from the two queues of the network device (virtio_net.h). */
#include "dev/virtio_net.h"

#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <string.h>

enum { RX, TX, QUEUES };

/* 5.1.6 "Device Operation": with VERSION_1 the header always ends in num_buffers. */
#define HEADER sizeof(struct virtio_net_hdr_v1)

/* ---- driver to host ---- */

/* The frame's length in `frame`; 0: nothing that could be sent. */
static size_t frame_take(const struct virtq_chain *c, u8 *frame)
{
	struct virtio_net_hdr_v1 h;
	u64 n = c->read_len - HEADER;

	if (c->read_len < HEADER + NET_HEADER || n > NET_FRAME_MAX)
		return 0;
	virtq_read(c, 0, &h, HEADER);
	/* Offloads were not negotiated: who asks for one all the same gets no frame out. */
	if (h.flags || h.gso_type)
		return 0;
	return virtq_read(c, HEADER, frame, (size_t)n);
}

static void transmit(struct virtio_net *n)
{
	u8 frame[NET_FRAME_MAX];

	while (virtq_pop(&n->virtio, TX, &n->chain)) {
		size_t len = frame_take(&n->chain, frame);

		virtq_push(&n->virtio, TX, &n->chain, 0);
		if (len && n->sink.send)
			n->sink.send(n->sink.ctx, frame, len);
	}
	virtq_flush(&n->virtio, TX);
}

/* ---- host to driver ---- */

static bool source_receive(void *ctx, const u8 *frame, size_t len)
{
	static const struct virtio_net_hdr_v1 header = {.num_buffers = 1};
	struct virtio_net *n = ctx;
	size_t done = 0;

	if (!virtq_pop(&n->virtio, RX, &n->chain))
		return false;
	/* A frame that does not fit its buffer is lost, as on a wire. */
	if (n->chain.write_len >= HEADER + len) {
		done = virtq_write(&n->virtio, &n->chain, 0, &header, HEADER);
		done += virtq_write(&n->virtio, &n->chain, HEADER, frame, len);
	}
	virtq_push(&n->virtio, RX, &n->chain, (u32)done);
	virtq_flush(&n->virtio, RX);
	return true;
}

struct net_source virtio_net_source(struct virtio_net *n) { return (struct net_source){source_receive, n}; }

void virtio_net_on_room(struct virtio_net *n, void (*cb)(void *ctx), void *ctx)
{
	n->room = cb;
	n->room_ctx = ctx;
}

/* ---- virtio ---- */

static void net_reset(void *dev) {}

static void net_notify(void *dev, unsigned q)
{
	struct virtio_net *n = dev;

	if (q == TX)
		transmit(n);
	else if (n->room)
		n->room(n->room_ctx);
}

static u64 config_read(void *dev, u32 offset, unsigned size)
{
	const struct virtio_net *n = dev;
	struct virtio_net_config config = {.status = VIRTIO_NET_S_LINK_UP};
	u64 v = 0;

	memcpy(config.mac, n->mac, NET_MAC);
	memcpy(&v, (const u8 *)&config + offset, size);
	return v;
}

static const struct virtio_ops net_ops = {
	.name = "virtio-net",
	.id = VIRTIO_ID_NET,
	.features = BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS),
	.queues = QUEUES,
	.queue_size = 256,
	.config_size = offsetof(struct virtio_net_config, max_virtqueue_pairs),
	.reset = net_reset,
	.notify = net_notify,
	.config_read = config_read,
};

void virtio_net_init(struct virtio_net *n, struct vm *vm, const u8 mac[NET_MAC], struct net_sink sink)
{
	memset(n, 0, sizeof(*n));
	memcpy(n->mac, mac, NET_MAC);
	n->sink = sink;
	virtio_init(&n->virtio, vm, &net_ops, n);
	virtio_pci_init(&n->pci, &n->virtio, 0x020000);
}

const struct device_class virtio_net_class = {
	.name = "virtio-net",
	.migration = MIGRATE_NONE, /* the queues are virtio_class's; connections end as if a cable was pulled */
	.reset = net_reset,
};
