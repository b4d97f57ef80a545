/* See piix.h. */
#include "dev/piix.h"

#include <linux/pci_regs.h>
#include <string.h>

#define PAM0	  0x59u
#define PAM_BYTES 7u
#define PAM_RAM	  0x33u /* read and write go to RAM, in both halves */
#define SMRAM	  0x72u

#define PIRQ_ROUTE    0x60u
#define PIRQ_DISABLED 0x80u

#define PM_PMBA	   0x40u
#define PM_DEVACTB 0x58u
#define PM_REGMISC 0x80u
#define APMC_EN	   (1u << 25)
#define PMIOSE	   0x01u
#define PMBA_IO	   0x01u

static void put(struct pci_device *d, unsigned at, unsigned size, u32 v) { memcpy(d->s.config + at, &v, size); }

void piix_init_bridge(struct pci_device *host)
{
	static const struct pci_ids ids = {
		.vendor = 0x8086,
		.device = 0x1237,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.class_code = 0x060000,
		.revision = 2,
	};

	pci_device_init(host, "pci-bridge", &ids, host);
	/* As after reset: firmware sees by PAM0 that it has to copy itself to RAM. */
	for (unsigned i = 0; i < PAM_BYTES; i++)
		host->wmask[PAM0 + i] = i ? PAM_RAM : PAM_RAM & 0xf0;
	host->s.config[SMRAM] = 0x02;
}

static void init_isa(struct pci_device *d)
{
	static const struct pci_ids ids = {
		.vendor = 0x8086,
		.device = 0x7000,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.class_code = 0x060100,
	};

	pci_device_init(d, "isa-bridge", &ids, d);
	put(d, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	for (unsigned i = 0; i < PCI_INTX; i++) {
		d->s.config[PIRQ_ROUTE + i] = PIRQ_DISABLED;
		d->wmask[PIRQ_ROUTE + i] = 0x8f;
	}
}

static void init_pm(struct pci_device *d, unsigned pm_base)
{
	static const struct pci_ids ids = {
		.vendor = 0x8086,
		.device = 0x7113,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.class_code = 0x068000,
		.revision = 3,
	};

	pci_device_init(d, "pm-function", &ids, d);
	put(d, PCI_COMMAND, 2, PCI_COMMAND_IO);
	put(d, PM_PMBA, 4, pm_base | PMBA_IO);
	put(d, PM_DEVACTB, 4, APMC_EN);
	put(d, PM_REGMISC, 1, PMIOSE);
}

void piix_init(struct piix *p, unsigned pm_base)
{
	init_isa(&p->isa);
	init_pm(&p->pm, pm_base);
}
