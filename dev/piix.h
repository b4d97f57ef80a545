/*
 * What firmware written for the 440FX chip set looks for on bus 0: the 82441FX host bridge (slot 0), the PIIX3's ISA
 * bridge (slot 1) and the PIIX4's power management function (slot 1, function 3). Intel 82441FX data sheet, 3.2 "PCI
 * Configuration Space Mapped Registers"; Intel 82371AB data sheet, ch. 7.
 *
 * They answer as such a board's would after firmware has set it up once: RAM is readable and writable everywhere below
 * 1 MiB whatever the PAM registers say, the PM registers stand at PM_BASE, SMI on the APM port counts as set up
 * already, and there is no SMM. The interrupt router's registers are kept, but INTx goes to the I/O APIC only.
 */
#ifndef DEV_PIIX_H
#define DEV_PIIX_H

#include "dev/pci.h"

#define PIIX_SLOT	 1u
#define PIIX_PM_FUNCTION 3u

struct piix {
	struct pci_device isa, pm;
};

void piix_init_bridge(struct pci_device *host);
void piix_init(struct piix *p, unsigned pm_base);

#endif
