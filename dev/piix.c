/* See piix.h. */
#include "dev/piix.h"

#include <linux/pci_regs.h>
#include <string.h>

#define PAM0	  0x59u
#define PAM_BYTES 7u
#define PAM_RAM	  0x33u /* read and write go to RAM, in both halves */
#define SMRAM	  0x72u

#define PIRQ_DISABLED 0x80u
#define PIRQ_IRQ      0x0fu
#define PIRQ_ALLOWED  0xdef8u /* 3 to 7, 9 to 12, 14, 15 */

#define PM_PMBA	   0x40u
#define PM_DEVACTB 0x58u
#define PM_REGMISC 0x80u
#define APMC_EN	   (1u << 25)
#define PMIOSE	   0x01u
#define PMBA_IO	   0x01u

static void put(struct pci_device *d, unsigned at, unsigned size, u32 v) { memcpy(d->s.config + at, &v, size); }

static void function_init(struct pci_device *d, const char *name, u16 device, u32 class_code, u8 revision, void *dev)
{
	const struct pci_ids ids = {
		.vendor = 0x8086,
		.device = device,
		.subvendor = 0x1af4,
		.subdevice = 0x1100,
		.class_code = class_code,
		.revision = revision,
	};

	pci_device_init(d, name, &ids, dev);
}

void piix_init_bridge(struct pci_device *host)
{
	function_init(host, "pci-bridge", 0x1237, 0x060000, 2, host);
	/* As after reset: firmware sees by PAM0 that it has to copy itself to RAM. */
	for (unsigned i = 0; i < PAM_BYTES; i++)
		host->wmask[PAM0 + i] = i ? PAM_RAM : PAM_RAM & 0xf0;
	host->s.config[SMRAM] = 0x02;
}

/* ---- INTx to ISA interrupts ---- */

static void route(struct piix *p)
{
	u32 now = 0, changed;

	for (unsigned wire = 0; wire < PCI_INTX; wire++) {
		u8 r = p->isa.s.config[PIIX_PIRQ + piix_pirq(wire)];

		if (p->wires >> wire & 1 && !(r & PIRQ_DISABLED))
			now |= BIT(r & PIRQ_IRQ) & PIRQ_ALLOWED;
	}
	changed = now ^ p->high;
	p->high = now;
	for (unsigned irq = 0; irq < PIIX_IRQS; irq++)
		if (changed >> irq & 1)
			irq_set(&p->irq[irq], now >> irq & 1);
}

void piix_intx_set(struct piix *p, unsigned wire, bool level)
{
	p->wires = level ? p->wires | 1u << wire : p->wires & ~(1u << wire);
	route(p);
}

static void config_written(void *dev, u32 offset, unsigned size) { route(dev); }

static void init_isa(struct piix *p)
{
	struct pci_device *d = &p->isa;

	function_init(d, "isa-bridge", 0x7000, 0x060100, 0, p);
	put(d, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	for (unsigned i = 0; i < PCI_INTX; i++) {
		d->s.config[PIIX_PIRQ + i] = PIRQ_DISABLED;
		d->wmask[PIIX_PIRQ + i] = PIRQ_DISABLED | PIRQ_IRQ;
	}
	d->config_written = config_written;
}

static void init_pm(struct pci_device *d, unsigned pm_base)
{
	function_init(d, "pm-function", 0x7113, 0x068000, 3, d);
	put(d, PCI_COMMAND, 2, PCI_COMMAND_IO);
	put(d, PM_PMBA, 4, pm_base | PMBA_IO);
	put(d, PM_DEVACTB, 4, APMC_EN);
	put(d, PM_REGMISC, 1, PMIOSE);
}

void piix_init(struct piix *p, unsigned pm_base, const struct irq_line irq[PIIX_IRQS])
{
	memset(p, 0, sizeof(*p));
	memcpy(p->irq, irq, sizeof(p->irq));
	init_isa(p);
	init_pm(&p->pm, pm_base);
}
