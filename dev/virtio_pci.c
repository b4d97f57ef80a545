/* Registers, interrupts and capabilities of the PCI transport (virtio_pci.h). */
#include "dev/virtio_pci.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <string.h>

#define AREA_SIZE	  0x1000u
#define NOTIFY_MULTIPLIER 4u

enum area { AREA_COMMON, AREA_ISR, AREA_DEVICE, AREA_NOTIFY, AREA_TABLE, AREA_PENDING };

/* ---- common configuration, 4.1.4.3 ---- */

static u64 common_read(struct virtio *v, u64 offset, unsigned size)
{
	struct virtio_state *s = &v->s;
	struct virtio_pci_common_cfg c = {0};
	u64 value = 0;

	if (offset + size > sizeof(c))
		return 0;
	c.device_feature_select = s->device_feature_select;
	if (s->device_feature_select < 2)
		c.device_feature = (u32)(virtio_offered(v) >> (s->device_feature_select * 32));
	c.guest_feature_select = s->driver_feature_select;
	if (s->driver_feature_select < 2)
		c.guest_feature = (u32)(s->features >> (s->driver_feature_select * 32));
	c.msix_config = s->config_vector;
	c.num_queues = (u16)v->ops->queues;
	c.device_status = s->status;
	c.config_generation = s->generation;
	c.queue_select = s->queue_select;
	if (s->queue_select < v->ops->queues) {
		const struct virtq_state *q = &s->q[s->queue_select];

		c.queue_size = q->size;
		c.queue_msix_vector = q->vector;
		c.queue_enable = q->enabled;
		c.queue_notify_off = s->queue_select;
		c.queue_desc_lo = (u32)q->desc;
		c.queue_desc_hi = (u32)(q->desc >> 32);
		c.queue_avail_lo = (u32)q->avail;
		c.queue_avail_hi = (u32)(q->avail >> 32);
		c.queue_used_lo = (u32)q->used;
		c.queue_used_hi = (u32)(q->used >> 32);
	}
	memcpy(&value, (u8 *)&c + offset, size);
	return value;
}

/* Writes of one half (4 bytes) or the whole (8) of a 64-bit field that starts at `field`. */
static void set_address(u64 *address, u64 field, u64 offset, unsigned size, u64 value)
{
	if (size == 8)
		*address = value;
	else if (size == 4)
		memcpy((u8 *)address + (offset - field), &value, 4);
}

static u16 vector_or_none(const struct virtio_pci *p, u64 value)
{
	return value < p->pci.vectors ? (u16)value : VIRTIO_NO_VECTOR;
}

static void common_write(struct virtio_pci *p, u64 offset, unsigned size, u64 value)
{
	struct virtio *v = p->virtio;
	struct virtio_state *s = &v->s;
	struct virtq_state *q = s->queue_select < v->ops->queues ? &s->q[s->queue_select] : NULL;

	if (offset % size || (size > 4 && offset < VIRTIO_PCI_COMMON_Q_DESCLO))
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT: s->device_feature_select = (u32)value; return;
	case VIRTIO_PCI_COMMON_GFSELECT: s->driver_feature_select = (u32)value; return;
	case VIRTIO_PCI_COMMON_GF: virtio_set_features(v, s->driver_feature_select, (u32)value); return;
	case VIRTIO_PCI_COMMON_MSIX: s->config_vector = vector_or_none(p, value); return;
	case VIRTIO_PCI_COMMON_STATUS:
		virtio_set_status(v, (u8)value);
		if (!value)
			pci_intx_set(&p->pci, false);
		return;
	case VIRTIO_PCI_COMMON_Q_SELECT: s->queue_select = (u16)value; return;
	}
	if (!q)
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE: virtio_set_queue_size(v, s->queue_select, (u16)value); return;
	case VIRTIO_PCI_COMMON_Q_MSIX: q->vector = vector_or_none(p, value); return;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		if (value == 1)
			virtio_enable_queue(v, s->queue_select);
		return;
	}
	if (q->enabled)
		return; /* 4.1.4.3.2: the driver must not move a queue that is enabled */
	switch (offset & ~7ull) {
	case VIRTIO_PCI_COMMON_Q_DESCLO: set_address(&q->desc, VIRTIO_PCI_COMMON_Q_DESCLO, offset, size, value); return;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
		set_address(&q->avail, VIRTIO_PCI_COMMON_Q_AVAILLO, offset, size, value);
		return;
	case VIRTIO_PCI_COMMON_Q_USEDLO: set_address(&q->used, VIRTIO_PCI_COMMON_Q_USEDLO, offset, size, value); return;
	}
}

/* ---- the BAR ---- */

static u64 isr_read(struct virtio_pci *p)
{
	u8 isr = p->virtio->s.isr;

	p->virtio->s.isr = 0;
	pci_intx_set(&p->pci, false);
	return isr;
}

static u64 bar_read(void *dev, u64 offset, unsigned size)
{
	struct virtio_pci *p = dev;
	struct virtio *v = p->virtio;
	u64 at = offset % AREA_SIZE;

	switch (offset / AREA_SIZE) {
	case AREA_COMMON: return common_read(v, at, size);
	case AREA_ISR: return at ? 0 : isr_read(p);
	case AREA_DEVICE: return at + size <= v->ops->config_size ? v->ops->config_read(v->dev, (u32)at, size) : 0;
	case AREA_TABLE: return pci_msix_read(&p->pci, at, size);
	case AREA_PENDING: return pci_msix_pending_read(&p->pci, at, size);
	}
	return 0;
}

static void bar_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct virtio_pci *p = dev;
	struct virtio *v = p->virtio;
	u64 at = offset % AREA_SIZE;

	switch (offset / AREA_SIZE) {
	case AREA_COMMON: common_write(p, at, size, value); return;
	case AREA_DEVICE:
		if (v->ops->config_write && at + size <= v->ops->config_size)
			v->ops->config_write(v->dev, (u32)at, size, value);
		return;
	case AREA_NOTIFY: virtio_notify(v, (unsigned)(at / NOTIFY_MULTIPLIER)); return;
	case AREA_TABLE: pci_msix_write(&p->pci, at, size, value); return;
	}
}

static bool bar_doorbell(void *dev, unsigned i, u64 *offset)
{
	const struct virtio_pci *p = dev;

	*offset = AREA_NOTIFY * AREA_SIZE + i * NOTIFY_MULTIPLIER;
	return p->virtio->ops->patient && i < p->virtio->ops->queues;
}

const struct bus_ops virtio_pci_bar_ops = {bar_read, bar_write, bar_doorbell};

/* ---- interrupts ---- */

static void interrupt(void *ctx, u16 vector)
{
	struct virtio_pci *p = ctx;

	if (!pci_msix_enabled(&p->pci))
		pci_intx_set(&p->pci, true);
	else if (vector != VIRTIO_NO_VECTOR)
		pci_msix_send(&p->pci, vector);
}

static bool can_dma(void *ctx)
{
	struct virtio_pci *p = ctx;

	return pci_can_dma(&p->pci);
}

/* ---- configuration-access capability, 4.1.4.9 ---- */

static bool cfg_access(struct virtio_pci *p, u32 offset, unsigned size, struct virtio_pci_cfg_cap *cap)
{
	u32 data = p->cfg_cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);

	if (offset >= data + 4 || offset + size <= data)
		return false;
	memcpy(cap, p->pci.s.config + p->cfg_cap, sizeof(*cap));
	return cap->cap.bar == VIRTIO_PCI_BAR &&
	       (cap->cap.length == 1 || cap->cap.length == 2 || cap->cap.length == 4) &&
	       !(cap->cap.offset % cap->cap.length) && cap->cap.offset <= VIRTIO_PCI_BAR_SIZE - cap->cap.length;
}

static void config_reading(void *dev, u32 offset, unsigned size)
{
	struct virtio_pci *p = dev;
	struct virtio_pci_cfg_cap cap;
	u64 value;

	if (!cfg_access(p, offset, size, &cap))
		return;
	value = bar_read(p, cap.cap.offset, cap.cap.length);
	memcpy(p->pci.s.config + p->cfg_cap + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data), &value, 4);
}

static void config_written(void *dev, u32 offset, unsigned size)
{
	struct virtio_pci *p = dev;
	struct virtio_pci_cfg_cap cap;
	u64 value = 0;

	if (!cfg_access(p, offset, size, &cap))
		return;
	memcpy(&value, cap.pci_cfg_data, cap.cap.length);
	bar_write(p, cap.cap.offset, cap.cap.length, value);
}

/* ---- making ---- */

static u8 cap_add(struct virtio_pci *p, u8 type, unsigned size, enum area area, u32 length)
{
	u8 at = pci_capability_add(&p->pci, PCI_CAP_ID_VNDR, size);
	struct virtio_pci_cap *cap = (struct virtio_pci_cap *)(p->pci.s.config + at);

	cap->cap_len = (u8)size;
	cap->cfg_type = type;
	cap->bar = VIRTIO_PCI_BAR;
	cap->offset = area * AREA_SIZE;
	cap->length = length;
	return at;
}

static void caps_add(struct virtio_pci *p)
{
	const struct virtio_ops *ops = p->virtio->ops;
	const u32 multiplier = NOTIFY_MULTIPLIER;
	u8 at;

	pci_msix_init(&p->pci, ops->queues + 1, VIRTIO_PCI_BAR, AREA_TABLE * AREA_SIZE, AREA_PENDING * AREA_SIZE);
	cap_add(p, VIRTIO_PCI_CAP_COMMON_CFG, sizeof(struct virtio_pci_cap), AREA_COMMON,
		sizeof(struct virtio_pci_common_cfg));
	at = cap_add(p, VIRTIO_PCI_CAP_NOTIFY_CFG, sizeof(struct virtio_pci_notify_cap), AREA_NOTIFY,
		     ops->queues * NOTIFY_MULTIPLIER);
	memcpy(p->pci.s.config + at + offsetof(struct virtio_pci_notify_cap, notify_off_multiplier), &multiplier, 4);
	cap_add(p, VIRTIO_PCI_CAP_ISR_CFG, sizeof(struct virtio_pci_cap), AREA_ISR, 1);
	if (ops->config_size)
		cap_add(p, VIRTIO_PCI_CAP_DEVICE_CFG, sizeof(struct virtio_pci_cap), AREA_DEVICE, ops->config_size);
	at = cap_add(p, VIRTIO_PCI_CAP_PCI_CFG, sizeof(struct virtio_pci_cfg_cap), AREA_COMMON, 0);
	p->cfg_cap = at;
	p->pci.wmask[at + offsetof(struct virtio_pci_cap, bar)] = 0xff;
	memset(p->pci.wmask + at + offsetof(struct virtio_pci_cap, offset), 0xff, 8);
	memset(p->pci.wmask + at + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data), 0xff, 4);
}

void virtio_pci_init(struct virtio_pci *p, struct virtio *v, u32 class_code)
{
	const struct pci_ids ids = {
		.vendor = 0x1af4,
		.device = 0x1040 + v->ops->id,
		.subvendor = 0x1af4,
		.subdevice = 0x0040 + v->ops->id,
		.class_code = class_code,
		.revision = 1,
		.pin = 1,
	};
	const struct virtio_transport t = {interrupt, can_dma, p};

	memset(p, 0, sizeof(*p));
	p->virtio = v;
	pci_device_init(&p->pci, v->ops->name, &ids, p);
	pci_bar_init(&p->pci, VIRTIO_PCI_BAR, PCI_BAR_MEM32, VIRTIO_PCI_BAR_SIZE, &virtio_pci_bar_ops);
	caps_add(p);
	p->pci.config_reading = config_reading;
	p->pci.config_written = config_written;
	virtio_set_transport(v, &t);
}
