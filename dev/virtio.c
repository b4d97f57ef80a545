/*
 * Device status and feature negotiation (virtio 1.2, 2.1, 2.2 and 3.1 "Device Initialization"). The rings are in
 * virtio_queue.c.
 */
#include "dev/virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define RING_FEATURES (BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX))

void virtio_init(struct virtio *v, struct vm *vm, const struct virtio_ops *ops, void *dev)
{
	memset(v, 0, sizeof(*v));
	v->vm = vm;
	v->ops = ops;
	v->dev = dev;
	virtio_reset(v);
}

void virtio_set_transport(struct virtio *v, const struct virtio_transport *t) { v->transport = *t; }

void virtio_reset(struct virtio *v)
{
	memset(&v->s, 0, sizeof(v->s));
	v->s.config_vector = VIRTIO_NO_VECTOR;
	for (unsigned i = 0; i < v->ops->queues; i++) {
		v->s.q[i].size = v->ops->queue_size;
		v->s.q[i].vector = VIRTIO_NO_VECTOR;
	}
	v->ops->reset(v->dev);
}

u64 virtio_offered(const struct virtio *v) { return v->ops->features | RING_FEATURES; }

bool virtio_running(const struct virtio *v)
{
	return (v->s.status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET)) == VIRTIO_CONFIG_S_DRIVER_OK;
}

void virtio_set_features(struct virtio *v, u32 select, u32 bits)
{
	/* Fixed once FEATURES_OK is set (2.2.1). */
	if (select > 1 || v->s.status & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	v->s.features &= ~((u64)0xffffffff << (select * 32));
	v->s.features |= (u64)bits << (select * 32);
}

void virtio_set_status(struct virtio *v, u8 status)
{
	u8 old = v->s.status;

	if (!status) {
		virtio_reset(v);
		return;
	}
	/* FEATURES_OK is not taken when the driver wants what was not offered, or is not a 1.x driver. */
	if (status & ~old & VIRTIO_CONFIG_S_FEATURES_OK &&
	    (v->s.features & ~virtio_offered(v) || !virtio_has(v, VIRTIO_F_VERSION_1)))
		status &= (u8)~VIRTIO_CONFIG_S_FEATURES_OK;
	/* The driver cannot clear bits but by reset, and NEEDS_RESET is the device's. */
	v->s.status = old | (status & (u8)~VIRTIO_CONFIG_S_NEEDS_RESET);
	if (!(old & VIRTIO_CONFIG_S_DRIVER_OK) && virtio_running(v))
		for (unsigned i = 0; i < v->ops->queues; i++)
			virtio_notify(v, i);
}

void virtio_set_queue_size(struct virtio *v, unsigned q, u16 size)
{
	if (q < v->ops->queues && !v->s.q[q].enabled && size && size <= v->ops->queue_size && !(size & (size - 1)))
		v->s.q[q].size = size;
}

void virtio_enable_queue(struct virtio *v, unsigned q)
{
	if (q < v->ops->queues && v->s.status & VIRTIO_CONFIG_S_FEATURES_OK)
		v->s.q[q].enabled = 1;
}

void virtio_notify(struct virtio *v, unsigned q)
{
	if (q < v->ops->queues && v->s.q[q].enabled && virtio_running(v) &&
	    (!v->transport.can_dma || v->transport.can_dma(v->transport.ctx)))
		v->ops->notify(v->dev, q);
}

void virtio_config_changed(struct virtio *v)
{
	v->s.generation++;
	v->s.isr |= VIRTIO_ISR_CONFIG;
	if (v->s.status & VIRTIO_CONFIG_S_DRIVER_OK && v->transport.interrupt)
		v->transport.interrupt(v->transport.ctx, v->s.config_vector);
}

static const struct desc_field queue_fields[] = {
	DESC_INT(struct virtq_state, desc),	  DESC_INT(struct virtq_state, avail),
	DESC_INT(struct virtq_state, used),	  DESC_INT(struct virtq_state, size),
	DESC_INT(struct virtq_state, enabled),	  DESC_INT(struct virtq_state, vector),
	DESC_INT(struct virtq_state, next_avail), DESC_INT(struct virtq_state, next_used),
	DESC_INT(struct virtq_state, signalled),  DESC_ARR(struct virtq_state, zero),
};
static DESC(queue_desc, struct virtq_state, queue_fields);
static const struct desc_field state_fields[] = {
	DESC_INT(struct virtio_state, features),
	DESC_INT(struct virtio_state, device_feature_select),
	DESC_INT(struct virtio_state, driver_feature_select),
	DESC_INT(struct virtio_state, queue_select),
	DESC_INT(struct virtio_state, config_vector),
	DESC_INT(struct virtio_state, status),
	DESC_INT(struct virtio_state, isr),
	DESC_INT(struct virtio_state, generation),
	DESC_INT(struct virtio_state, zero),
	DESC_SUBS(struct virtio_state, q, &queue_desc),
};
DESC(virtio_state_desc, struct virtio_state, state_fields);

static void class_reset(void *dev) { virtio_reset(dev); }

const struct device_class virtio_class = {
	.name = "virtio",
	.migration = MIGRATE_STATE,
	.state = &virtio_state_desc,
	.reset = class_reset,
};
