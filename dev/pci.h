/*
 * PCI bus 0: the host bridge's two ways to configuration space, type 0 functions, base address registers, INTx wires
 * and MSI-X.
 *
 * PCI Local Bus Specification 3.0, 3.2.2.3.2 "Software Generation of Configuration Transactions" (ports 0xcf8 and
 * 0xcfc), 6.1 "Configuration Space Organization", 6.2.5.1 "Address Maps", 6.8.2 "MSI-X Capability"; PCI Express
 * Base 7.2.2 "Enhanced Configuration Access Mechanism (ECAM)".
 *
 * Wiring: ports 0xcf8-0xcff pci_port_ops; PCI_ECAM_SIZE bytes of MMIO pci_ecam_ops; both with dev = the struct pci_bus.
 * Four INTx wires go out; INTA of slot n is wire n mod 4, as ever.
 *
 * Invariants: `state.config` is what a guest reads; a BAR is on its bus exactly when the command register decodes that
 * space, its address is not 0 and nobody else is there. Everything is under vm->lock.
 *
 * LIMIT: functions other than 0 have no BARs and no INTx; conventional (256 bytes of) configuration space, no option
 * ROMs.
 */
#ifndef DEV_PCI_H
#define DEV_PCI_H

#include "core/device.h"
#include "core/vm.h"

#define PCI_SLOTS     32u
#define PCI_MORE      4u /* functions other than 0, on the whole bus */
#define PCI_BARS      6u
#define PCI_VECTORS   32u
#define PCI_ECAM_SIZE 0x100000u /* bus 0 */
#define PCI_INTX      4u

struct pci_vector {
	u64 addr;
	u32 data;
	u32 control; /* bit 0: masked */
};

struct pci_state {
	u8 config[256];
	struct pci_vector vector[PCI_VECTORS]; /* MSI-X table */
	u64 pending;			       /* MSI-X pending bits */
	u64 intx;			       /* INTx as the function asserts it */
};

struct pci_bar {
	u64 size; /* 0: not implemented */
	u32 type; /* low bits of the register: PCI_BAR_* */
	const struct bus_ops *ops;
	bool mapped;
	u64 base; /* where it is on its bus while mapped */
};

#define PCI_BAR_IO	 1u
#define PCI_BAR_MEM32	 0u
#define PCI_BAR_MEM64	 4u
#define PCI_BAR_PREFETCH 8u

struct pci_bus;

struct pci_ids {
	u16 vendor, device, subvendor, subdevice;
	u32 class_code; /* base, sub, interface */
	u8 revision;
	u8 pin; /* interrupt pin: 0 none, 1 INTA */
};

struct pci_device {
	struct pci_state s;
	const char *name; /* a literal */
	struct pci_bus *bus;
	unsigned slot, function;
	void *dev; /* what the BARs' ops and the hooks take */
	u8 wmask[256];
	u8 initial[256];
	u8 last_cap; /* offset of the last capability in the list */
	u8 cap_end;  /* first free byte */
	u8 msix_cap; /* 0: none */
	unsigned vectors;
	struct pci_bar bar[PCI_BARS];
	/* Capabilities with side effects: called before a read and after a write of [offset, offset + size). May be
	 * NULL. */
	void (*config_reading)(void *dev, u32 offset, unsigned size);
	void (*config_written)(void *dev, u32 offset, unsigned size);
};

struct pci_bus_state {
	u32 address; /* 0xcf8 */
};

struct pci_bus {
	struct pci_bus_state s;
	struct vm *vm;
	struct pci_device *slot[PCI_SLOTS]; /* functions 0 */
	unsigned nmore;
	struct pci_device *more[PCI_MORE];
	struct irq_line intx[PCI_INTX];
	u32 intx_high[PCI_INTX]; /* bit n: slot n asserts that wire */
	/* Port 0xcf9 lies inside the dword at 0xcf8 but is a register of its own. May be NULL. */
	u8 (*reset_read)(void *ctx);
	void (*reset_write)(void *ctx, u8 value);
	void *reset_ctx;
};

void pci_bus_init(struct pci_bus *bus, struct vm *vm, const struct irq_line intx[PCI_INTX]);
/* The wire of a slot's INTA: index into intx[]. */
static inline unsigned pci_intx_wire(unsigned slot, unsigned pin) { return (slot + pin - 1) % PCI_INTX; }

/* A function is made in this order: init, its BARs and capabilities, attach. */
void pci_device_init(struct pci_device *d, const char *name, const struct pci_ids *ids, void *dev);
/* size: a power of two, at least 16 (memory) or 4 (ports). A 64-bit BAR takes index and index + 1. */
void pci_bar_init(struct pci_device *d, unsigned index, u32 type, u64 size, const struct bus_ops *ops);
/* Appends a capability of `size` bytes; returns its offset. The bytes after the two of its header are zero and
 * read-only. */
u8 pci_capability_add(struct pci_device *d, u8 id, unsigned size);
/* MSI-X with its table and pending bits at these offsets of a BAR, whose handlers call pci_msix_read and
 * pci_msix_write. */
void pci_msix_init(struct pci_device *d, unsigned vectors, unsigned bar, u32 table, u32 pending);
void pci_attach(struct pci_bus *bus, struct pci_device *d, unsigned slot);
/* A function 1 to 7 of a slot whose function 0 is there. */
void pci_attach_function(struct pci_bus *bus, struct pci_device *d, unsigned slot, unsigned function);
/* NULL: nobody answers. */
struct pci_device *pci_find(const struct pci_bus *bus, unsigned slot, unsigned function);
/* What firmware does: gives a BAR its address. */
void pci_bar_assign(struct pci_device *d, unsigned index, u64 base);
void pci_command_set(struct pci_device *d, u16 bits);
void pci_device_reset(struct pci_device *d);

u64 pci_bar_base(const struct pci_device *d, unsigned index);
/* Whether the function may read and write memory (command register, Bus Master Enable). */
bool pci_can_dma(const struct pci_device *d);
void pci_intx_set(struct pci_device *d, bool level);
bool pci_msix_enabled(const struct pci_device *d);
/* Sends the message of a vector now, or when it is unmasked. */
void pci_msix_send(struct pci_device *d, unsigned vector);
/* `offset` counts from the table's (pending bits': pci_msix_pending_read) start. */
u64 pci_msix_read(struct pci_device *d, u64 offset, unsigned size);
void pci_msix_write(struct pci_device *d, u64 offset, unsigned size, u64 value);
u64 pci_msix_pending_read(struct pci_device *d, u64 offset, unsigned size);

u64 pci_config_read(struct pci_device *d, u32 offset, unsigned size);
void pci_config_write(struct pci_device *d, u32 offset, unsigned size, u64 value);

extern const struct bus_ops pci_port_ops, pci_ecam_ops;
extern const struct desc pci_state_desc, pci_bus_state_desc;
/* pci_function_class: dev is the struct pci_device of any function. */
extern const struct device_class pci_bus_class, pci_function_class;

/* The host bridge itself: a function without registers of its own. */
void pci_bridge_init(struct pci_device *d);

#endif
