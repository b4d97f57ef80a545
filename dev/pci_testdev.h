/*
 * The PCI function that test suites know as "pci-testdev" (QEMU, docs/specs/pci-testdev.rst): vendor 1b36, device 0005.
 *
 * Writing n to byte 0 of a BAR (0: memory, 1: ports) selects that BAR's test n; its header is then read from the BAR's
 * start: which width to write which data at which offset. Each such write adds one to the header's count.
 */
#ifndef DEV_PCI_TESTDEV_H
#define DEV_PCI_TESTDEV_H

#include "dev/pci.h"

#define PCI_TESTDEV_TESTS 6u /* three a BAR */
#define PCI_TESTDEV_NONE  0xffffffffu

struct pci_testdev_state {
	u32 current; /* index of the test, or PCI_TESTDEV_NONE */
	u32 count[PCI_TESTDEV_TESTS];
};

struct pci_testdev {
	struct pci_testdev_state s;
	struct pci_device pci;
};

void pci_testdev_init(struct pci_testdev *t);

extern const struct device_class pci_testdev_class;
extern const struct desc pci_testdev_state_desc;

#endif
