/*
 * virtio over PCI, modern only (virtio 1.2, 4.1 "Virtio Over PCI Bus"): PCI id 1af4:1040+type, revision 1.
 *
 * One 32-bit memory BAR holds everything, a page each: common configuration, ISR, device configuration, notification (4
 * bytes a queue), MSI-X table, MSI-X pending bits. The configuration-access capability (4.1.4.9) reaches the same BAR
 * through configuration space. A vector for the configuration and one for each queue.
 */
#ifndef DEV_VIRTIO_PCI_H
#define DEV_VIRTIO_PCI_H

#include "dev/pci.h"
#include "dev/virtio.h"

#define VIRTIO_PCI_BAR	    0u
#define VIRTIO_PCI_BAR_SIZE 0x8000u

struct virtio_pci {
	struct pci_device pci;
	struct virtio *virtio;
	u8 cfg_cap; /* offset of the configuration-access capability */
};

/* class_code: base, sub, interface of the PCI class. The virtio device is initialised already. */
void virtio_pci_init(struct virtio_pci *p, struct virtio *v, u32 class_code);

extern const struct bus_ops virtio_pci_bar_ops;

#endif
