/* The entropy device (virtio_rng.h). A chain gets at most RNG_MOST bytes, so that no request keeps the lock for long.
 */
#include "dev/virtio_rng.h"

#include <linux/virtio_ids.h>
#include <string.h>

#define RNG_MOST 4096u

static void rng_reset(void *dev) {}

static void rng_notify(void *dev, unsigned q)
{
	struct virtio_rng *r = dev;
	u8 buf[RNG_MOST];

	while (virtq_pop(&r->virtio, q, &r->chain)) {
		size_t n = (size_t)MIN(r->chain.write_len, (u64)sizeof(buf));

		r->entropy.fill(r->entropy.ctx, buf, n);
		virtq_push(&r->virtio, q, &r->chain, (u32)virtq_write(&r->virtio, &r->chain, 0, buf, n));
	}
	virtq_flush(&r->virtio, q);
}

static const struct virtio_ops rng_ops = {
	.name = "virtio-rng",
	.id = VIRTIO_ID_RNG,
	.queues = 1,
	.queue_size = 16,
	.reset = rng_reset,
	.notify = rng_notify,
};

void virtio_rng_init(struct virtio_rng *r, struct vm *vm, struct entropy entropy)
{
	memset(r, 0, sizeof(*r));
	r->entropy = entropy;
	virtio_init(&r->virtio, vm, &rng_ops, r);
	virtio_pci_init(&r->pci, &r->virtio, 0xff0000);
}

const struct device_class virtio_rng_class = {
	.name = "virtio-rng",
	.migration = MIGRATE_NONE,
	.reset = rng_reset,
};
