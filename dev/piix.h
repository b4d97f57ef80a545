/*
 * What firmware written for the 440FX chip set looks for on bus 0: the 82441FX host bridge (slot 0), the PIIX3's ISA
 * bridge (slot 1) and the PIIX4's power management function (slot 1, function 3). Intel 82441FX data sheet, 3.2 "PCI
 * Configuration Space Mapped Registers"; Intel 82371AB data sheet, ch. 7.
 *
 * They answer as such a board's would after firmware has set it up once: RAM is readable and writable everywhere below
 * 1 MiB whatever the PAM registers say, the PM registers stand at PM_BASE, SMI on the APM port counts as set up
 * already, and there is no SMM.
 *
 * The ISA bridge, with its interrupt router, is on the board without firmware too: PIRQRC[A:D] (60h-63h, data sheet 4.1.10)
 * say which ISA interrupt each PIRQ asserts besides its own input of the I/O APIC. PIRQA is INTA of slot 1.
 */
#ifndef DEV_PIIX_H
#define DEV_PIIX_H

#include "dev/pci.h"

#define PIIX_SLOT	 1u
#define PIIX_PM_FUNCTION 3u

#define PIIX_PIRQ	 0x60u /* of four registers: bits 3:0 an ISA interrupt, bit 7 none */
#define PIIX_IRQS	 16u

struct piix {
	struct pci_device isa, pm;
	struct irq_line irq[PIIX_IRQS]; /* those without a set function are not there */
	u32 wires;			/* bit n: INTx wire n of the bus is high */
	u32 high;			/* bit n: ISA interrupt n is asserted */
};

/* The PIRQ that a wire of the bus arrives at. */
static inline unsigned piix_pirq(unsigned wire) { return (wire + PCI_INTX - 1) % PCI_INTX; }

void piix_init_bridge(struct pci_device *host);
void piix_init(struct piix *p, unsigned pm_base, const struct irq_line irq[PIIX_IRQS]);
/* The level of a wire of the bus. */
void piix_intx_set(struct piix *p, unsigned wire, bool level);

#endif
