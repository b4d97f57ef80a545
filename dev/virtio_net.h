/*
 * The virtio network device (virtio 1.2, 5.1 "Network Device"): one pair of queues, 0 receive and 1 transmit, a MAC
 * address, a link that is always up. No offloads are offered: every frame is complete, with its checksums.
 *
 * LIMIT: no control queue, no mergeable receive buffers, frames of at most NET_FRAME_MAX bytes.
 */
#ifndef DEV_VIRTIO_NET_H
#define DEV_VIRTIO_NET_H

#include "core/net.h"
#include "dev/virtio_pci.h"

#define NET_MAC 6u

struct virtio_net {
	struct virtio virtio;
	struct virtio_pci pci;
	u8 mac[NET_MAC];
	struct net_sink sink;
	void (*room)(void *ctx);
	void *room_ctx;
	struct virtq_chain chain; /* scratch; not across calls of the host side, which may answer at once */
};

void virtio_net_init(struct virtio_net *n, struct vm *vm, const u8 mac[NET_MAC], struct net_sink sink);
struct net_source virtio_net_source(struct virtio_net *n);
/* Called when receive, which said false, may do better now. */
void virtio_net_on_room(struct virtio_net *n, void (*cb)(void *ctx), void *ctx);

extern const struct device_class virtio_net_class;

#endif
