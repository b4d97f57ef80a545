/*
 * The part of virtio 1.2 that is neither transport nor device: feature and status negotiation, and the split virtqueue
 * (2.7 "Split Virtqueues") with indirect descriptors and event index.
 *
 * A device fills in `struct virtio_ops` and talks in chains: virtq_pop takes the next chain of buffers that the driver
 * made available, virtq_push gives it back, virtq_flush interrupts if the driver wants to know: once after a batch. A
 * transport (virtio_pci.h) presents the registers and passes interrupts on.
 *
 * Nothing in guest memory is trusted: a chain is copied and checked before its device sees it (bounds, loops, RAM only,
 * device-readable before device-writable). A violation sets DEVICE_NEEDS_RESET (2.1.2), names the reason in the log,
 * and the queues stand still until reset. Everything is under vm->lock.
 *
 * LIMIT: no packed virtqueues, no queue reset, no notification data.
 */
#ifndef DEV_VIRTIO_H
#define DEV_VIRTIO_H

#include "core/device.h"
#include "core/vm.h"

#define VIRTIO_QUEUES	 8u
#define VIRTQ_MAX	 256u /* descriptors in a queue */
#define VIRTQ_SEGMENTS	 256u /* buffers in a chain, indirect ones included */
#define VIRTIO_NO_VECTOR 0xffffu

struct virtq_state {
	u64 desc, avail, used; /* guest-physical addresses of the three parts */
	u16 size;	       /* power of two, at most VIRTQ_MAX */
	u16 enabled;
	u16 vector;	/* transport's: MSI-X vector or VIRTIO_NO_VECTOR */
	u16 next_avail; /* free-running index of the next entry to take */
	u16 next_used;	/* free-running index of the next entry to give back */
	u16 signalled;	/* next_used when the driver was last interrupted, or would have been */
	u16 zero[2];
};

struct virtio_state {
	u64 features; /* what the driver accepted */
	u32 device_feature_select, driver_feature_select;
	u16 queue_select;
	u16 config_vector;
	u8 status; /* 2.1 "Device Status Field" */
	u8 isr;	   /* bit 0 queue, bit 1 configuration */
	u8 generation;
	u8 zero;
	struct virtq_state q[VIRTIO_QUEUES];
};

struct virtio;

struct virtio_ops {
	const char *name; /* a literal, for the log */
	u16 id;		  /* 5 "Device Types" */
	u64 features;	  /* the device type's own; the ring's are added */
	unsigned queues;
	u16 queue_size;
	u32 config_size;
	void (*reset)(void *dev);
	/* The driver rang queue q: there may be new buffers. Only while DRIVER_OK. */
	void (*notify)(void *dev, unsigned q);
	bool patient; /* its driver does not wait for notify to have been done: that may come a little later */
	/* Device configuration, offset + size <= config_size. config_write may be NULL: read-only. */
	u64 (*config_read)(void *dev, u32 offset, unsigned size);
	void (*config_write)(void *dev, u32 offset, unsigned size, u64 value);
};

struct virtio_transport {
	/* Bits of `isr` that were just raised; `vector` is the queue's or the configuration's. */
	void (*interrupt)(void *ctx, u16 vector);
	/* May the device touch memory at all? */
	bool (*can_dma)(void *ctx);
	void *ctx;
};

struct virtio {
	struct virtio_state s;
	struct vm *vm;
	const struct virtio_ops *ops;
	void *dev;
	struct virtio_transport transport;
	bool warned;
};

#define VIRTIO_ISR_QUEUE  1u
#define VIRTIO_ISR_CONFIG 2u

struct virtq_segment {
	u8 *host; /* RAM, len bytes */
	u64 gpa;
	u32 len;
};

struct virtq_chain {
	u16 head;
	u16 nread, nwrite; /* segments: first the device-readable ones, then the device-writable */
	u64 read_len, write_len;
	struct virtq_segment segment[VIRTQ_SEGMENTS];
};

void virtio_init(struct virtio *v, struct vm *vm, const struct virtio_ops *ops, void *dev);
void virtio_set_transport(struct virtio *v, const struct virtio_transport *t);
void virtio_reset(struct virtio *v);
u64 virtio_offered(const struct virtio *v);
static inline bool virtio_has(const struct virtio *v, unsigned feature) { return v->s.features >> feature & 1; }
/* DRIVER_OK and not DEVICE_NEEDS_RESET. */
bool virtio_running(const struct virtio *v);

/* Transport side. */
void virtio_set_status(struct virtio *v, u8 status);
void virtio_set_features(struct virtio *v, u32 select, u32 bits);
void virtio_set_queue_size(struct virtio *v, unsigned q, u16 size);
void virtio_enable_queue(struct virtio *v, unsigned q);
void virtio_notify(struct virtio *v, unsigned q);

/* Device side. The configuration changed. */
void virtio_config_changed(struct virtio *v);
/* Takes the next chain. false: none (or the queue is not live). */
bool virtq_pop(struct virtio *v, unsigned q, struct virtq_chain *c);
/* Looks at the n-th chain that is available without taking it. */
bool virtq_peek(struct virtio *v, unsigned q, unsigned n, struct virtq_chain *c);
/* Gives a chain back with the number of bytes written into it. */
void virtq_push(struct virtio *v, unsigned q, const struct virtq_chain *c, u32 written);
/* Interrupts the driver for what was pushed, unless it does not want that. */
void virtq_flush(struct virtio *v, unsigned q);
/* Copies from the readable or to the writable part, from `offset` on. Returns how many bytes there were room for. */
size_t virtq_read(const struct virtq_chain *c, u64 offset, void *buf, size_t n);
size_t virtq_write(struct virtio *v, const struct virtq_chain *c, u64 offset, const void *buf, size_t n);

extern const struct desc virtio_state_desc;
extern const struct device_class virtio_class; /* dev: the struct virtio of any device */

#endif
