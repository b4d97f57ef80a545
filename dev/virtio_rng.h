/* The virtio entropy device (virtio 1.2, 5.4 "Entropy Device"): one queue, buffers come back full of random bytes. */
#ifndef DEV_VIRTIO_RNG_H
#define DEV_VIRTIO_RNG_H

#include "core/entropy.h"
#include "dev/virtio_pci.h"

struct virtio_rng {
	struct virtio virtio;
	struct virtio_pci pci;
	struct entropy entropy;
	struct virtq_chain chain; /* scratch */
};

void virtio_rng_init(struct virtio_rng *r, struct vm *vm, struct entropy entropy);

extern const struct device_class virtio_rng_class;

#endif
