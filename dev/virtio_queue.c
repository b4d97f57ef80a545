/*
 * The split virtqueue (virtio 1.2, 2.7): taking chains from the available ring, giving them back through the used ring,
 * and who wants to hear of it.
 *
 * Order: the driver writes a descriptor and its ring entry before it moves avail.idx, and so is read here after it with
 * acquire; the used entry is written before used.idx moves. Both sides then publish "wake me at" and look again, which
 * needs a full fence in between (2.7.10 "Available Buffer Notification Suppression").
 */
#include "dev/virtio.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <string.h>

static void broken(struct virtio *v, unsigned q, const char *why)
{
	if (v->s.status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	/* Once in words: a driver could do it over and over. */
	if (!v->warned)
		log_warn(v->vm->log, "%s: the driver broke queue %u: %s; the device waits for its reset", v->ops->name,
			 q, why);
	v->warned = true;
	v->s.status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	virtio_config_changed(v);
}

/* A little-endian u16 of a ring, or NULL. Rings are aligned as 2.7 demands, so that no access is torn. */
static u16 *ring_u16(struct virtio *v, u64 gpa) { return gpa & 1 ? NULL : ram_host(&v->vm->ram, gpa, 2); }

static bool ring_load(struct virtio *v, u64 gpa, u16 *value)
{
	u16 *p = ring_u16(v, gpa);

	if (p)
		*value = __atomic_load_n(p, __ATOMIC_ACQUIRE);
	return p;
}

/* Addresses of the parts: available ring flags, idx, ring[size], used_event; used ring flags, idx, ring[size],
 * avail_event. */
static u64 avail_idx(const struct virtq_state *s) { return s->avail + 2; }
static u64 avail_entry(const struct virtq_state *s, u16 n) { return s->avail + 4 + 2ull * (n & (s->size - 1)); }
static u64 used_event(const struct virtq_state *s) { return s->avail + 4 + 2ull * s->size; }
static u64 used_idx(const struct virtq_state *s) { return s->used + 2; }
static u64 used_entry(const struct virtq_state *s, u16 n) { return s->used + 4 + 8ull * (n & (s->size - 1)); }
static u64 avail_event(const struct virtq_state *s) { return s->used + 4 + 8ull * s->size; }

static const char *chain_add(struct virtio *v, struct virtq_chain *c, const struct vring_desc *d)
{
	struct virtq_segment *seg;
	unsigned n = c->nread + c->nwrite;

	if (n == VIRTQ_SEGMENTS)
		return "a chain of too many descriptors";
	seg = &c->segment[n];
	seg->gpa = d->addr;
	seg->len = d->len;
	seg->host = d->len ? ram_host(&v->vm->ram, d->addr, d->len) : NULL;
	if (d->len && !seg->host)
		return "a buffer outside RAM";
	if (d->flags & VRING_DESC_F_WRITE) {
		c->nwrite++;
		c->write_len += d->len;
	} else {
		if (c->nwrite)
			return "a device-readable buffer after a device-writable one";
		c->nread++;
		c->read_len += d->len;
	}
	return NULL;
}

/* Follows `next` through a table of `n` descriptors from entry `at`. NULL: done. */
static const char *chain_walk(struct virtio *v, struct virtq_chain *c, u64 table, u32 n, u32 at, bool indirect)
{
	for (u32 left = n; left; left--) {
		struct vring_desc d;

		if (at >= n)
			return "a descriptor index out of range";
		if (ram_read(&v->vm->ram, table + (u64)at * sizeof(d), &d, sizeof(d)))
			return "a descriptor table outside RAM";
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (indirect || !virtio_has(v, VIRTIO_RING_F_INDIRECT_DESC) || d.flags & VRING_DESC_F_NEXT)
				return "an indirect descriptor where none may be";
			if (!d.len || d.len % sizeof(d) || d.len / sizeof(d) > VIRTQ_SEGMENTS)
				return "an indirect table of a bad length";
			return chain_walk(v, c, d.addr, d.len / sizeof(d), 0, true);
		}
		const char *why = chain_add(v, c, &d);

		if (why)
			return why;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return NULL;
		at = d.next;
	}
	return "a chain that loops";
}

/* How many chains wait; 0 also when the queue is not live. */
static u16 waiting(struct virtio *v, unsigned q)
{
	struct virtq_state *s = &v->s.q[q];
	u16 idx;

	if (!s->enabled || !virtio_running(v))
		return 0;
	if (s->desc & 15 || s->avail & 1 || s->used & 3 || !ring_load(v, avail_idx(s), &idx)) {
		broken(v, q, "rings outside RAM or badly aligned");
		return 0;
	}
	if ((u16)(idx - s->next_avail) > s->size) {
		broken(v, q, "an available index too far ahead");
		return 0;
	}
	return (u16)(idx - s->next_avail);
}

static bool fetch(struct virtio *v, unsigned q, u16 index, struct virtq_chain *c)
{
	struct virtq_state *s = &v->s.q[q];
	const char *why;

	c->nread = c->nwrite = 0;
	c->read_len = c->write_len = 0;
	if (!ring_load(v, avail_entry(s, index), &c->head)) {
		broken(v, q, "an available ring outside RAM");
		return false;
	}
	why = chain_walk(v, c, s->desc, s->size, c->head, false);
	if (why)
		broken(v, q, why);
	return !why;
}

bool virtq_peek(struct virtio *v, unsigned q, unsigned n, struct virtq_chain *c)
{
	return n < waiting(v, q) && fetch(v, q, (u16)(v->s.q[q].next_avail + n), c);
}

bool virtq_pop(struct virtio *v, unsigned q, struct virtq_chain *c)
{
	struct virtq_state *s = &v->s.q[q];
	u16 n = waiting(v, q);

	if (!n && virtio_has(v, VIRTIO_RING_F_EVENT_IDX) && s->enabled && virtio_running(v)) {
		/* "Ring me for the next one", then look once more for one that came meanwhile. */
		if (vm_dma_write(v->vm, avail_event(s), &s->next_avail, 2)) {
			broken(v, q, "a used ring outside RAM");
			return false;
		}
		atomic_thread_fence(memory_order_seq_cst);
		n = waiting(v, q);
	}
	if (!n || !fetch(v, q, s->next_avail, c))
		return false;
	s->next_avail++;
	return true;
}

void virtq_push(struct virtio *v, unsigned q, const struct virtq_chain *c, u32 written)
{
	struct virtq_state *s = &v->s.q[q];
	struct vring_used_elem e = {.id = c->head, .len = written};
	u16 next = s->next_used + 1;

	if (!virtio_running(v) || !s->enabled)
		return;
	if (vm_dma_write(v->vm, used_entry(s, s->next_used), &e, sizeof(e))) {
		broken(v, q, "a used ring outside RAM");
		return;
	}
	atomic_thread_fence(memory_order_release);
	if (vm_dma_write(v->vm, used_idx(s), &next, 2)) {
		broken(v, q, "a used ring outside RAM");
		return;
	}
	s->next_used = next;
}

void virtq_flush(struct virtio *v, unsigned q)
{
	struct virtq_state *s = &v->s.q[q];
	u16 event, flags;
	bool want;

	if (s->signalled == s->next_used || !virtio_running(v))
		return;
	atomic_thread_fence(memory_order_seq_cst);
	if (virtio_has(v, VIRTIO_RING_F_EVENT_IDX)) {
		if (!ring_load(v, used_event(s), &event))
			return broken(v, q, "an available ring outside RAM");
		want = vring_need_event(event, s->next_used, s->signalled);
	} else {
		if (!ring_load(v, s->avail, &flags))
			return broken(v, q, "an available ring outside RAM");
		want = !(flags & VRING_AVAIL_F_NO_INTERRUPT);
	}
	s->signalled = s->next_used;
	if (!want)
		return;
	v->s.isr |= VIRTIO_ISR_QUEUE;
	if (v->transport.interrupt)
		v->transport.interrupt(v->transport.ctx, s->vector);
}

size_t virtq_read(const struct virtq_chain *c, u64 offset, void *buf, size_t n)
{
	size_t done = 0;

	for (unsigned i = 0; i < c->nread && done < n; i++) {
		const struct virtq_segment *s = &c->segment[i];
		size_t part;

		if (offset >= s->len) {
			offset -= s->len;
			continue;
		}
		part = MIN(n - done, (size_t)(s->len - offset));
		memcpy((u8 *)buf + done, s->host + offset, part);
		done += part;
		offset = 0;
	}
	return done;
}

size_t virtq_write(struct virtio *v, const struct virtq_chain *c, u64 offset, const void *buf, size_t n)
{
	size_t done = 0;

	for (unsigned i = c->nread; i < (unsigned)c->nread + c->nwrite && done < n; i++) {
		const struct virtq_segment *s = &c->segment[i];
		size_t part;

		if (offset >= s->len) {
			offset -= s->len;
			continue;
		}
		part = MIN(n - done, (size_t)(s->len - offset));
		if (vm_dma_write(v->vm, s->gpa + offset, (const u8 *)buf + done, part))
			break; /* chain_add saw it in RAM, and slots stay */
		done += part;
		offset = 0;
	}
	return done;
}
