/*
 * The local APICs (SDM vol. 3 ch. 11 "Advanced Programmable Interrupt Controller", APM vol. 2 ch. 16) and the bus that
 * joins them to each other, to the IOAPIC, to MSIs and to the 8259 pair.
 *
 * Wiring: MMIO 0xfee00000, 0x1000 bytes: lapic_mmio_ops with dev = the vCPU's struct lapic (one vCPU), or struct
 * apic_ops' mmio_* which know the accessing processor (many). vm->apic_ops = &lapic_ops, vm->apic[i] = &bus->apic[i],
 * vm->msi = lapic_bus_msi(bus).
 *
 * Invariants: `summary` is what `highest` would return, kept by every change of IRR, ISR, TPR, SVR, LINT0 and the PIC's
 * line, and read by the vCPU thread without the lock. Everything else is under vm->lock; the functions of lapic_ops
 * take it themselves, all others want it held. The timer counts at 1 GHz before the divider.
 */
#ifndef DEV_LAPIC_H
#define DEV_LAPIC_H

#include "core/device.h"
#include "core/vm.h"

#define LAPIC_BASE 0xfee00000u
#define LAPIC_SIZE 0x1000u

enum lapic_lvt { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVTS };

/* What `highest` gives while the 8259 pair asks through LINT0: the vector comes with the INTA cycle (`ack`). */
#define LAPIC_EXTINT 256

struct lapic_state {
	u64 base;	    /* IA32_APIC_BASE */
	u64 tsc_deadline;   /* IA32_TSC_DEADLINE: 0 when disarmed */
	u64 timer_deadline; /* ns of the clock at which the running count reaches 0; 0: not running */
	u64 icr;
	u32 id; /* the register: bits 31:24 (xAPIC), all 32 (x2APIC) */
	u32 tpr, ldr, dfr, svr;
	u32 esr, esr_pending; /* as read; gathered since the last write */
	u32 irr[8], isr[8], tmr[8];
	u32 lvt[LVTS];
	u32 initial_count, divide;
	u32 extint; /* level of the LINT0 wire */
};

struct lapic_bus;

struct lapic {
	struct lapic_state s;
	struct lapic_bus *bus;
	unsigned index;	     /* vCPU; also the initial APIC ID */
	_Atomic int summary; /* deliverable vector; LAPIC_EXTINT; -1 */
	u64 taken[256];	     /* by the processor, of each vector, the 8259 pair's too: for people */
	struct timer timer;
};

/* The guest's TSC of vCPU `index`, and its frequency; for the TSC-deadline timer. */
struct lapic_tsc {
	u64 (*now)(void *ctx, unsigned index);
	void *ctx;
	u64 hz;
};

struct lapic_bus {
	struct vm *vm;
	struct lapic_tsc tsc;
	bool allow_x2apic;	      /* EXTD may be set in IA32_APIC_BASE */
	u64 phys_mask;		      /* the bits of a physical address */
	int (*extint_ack)(void *ctx); /* the 8259 pair's INTA cycle; may be NULL */
	void *extint_ctx;
	void (*eoi)(void *ctx, u8 vector); /* EOI broadcast to the IOAPIC; may be NULL */
	void *eoi_ctx;
	unsigned n;
	struct lapic apic[VM_VCPUS];
};

enum apic_delivery {
	APIC_FIXED,
	APIC_LOWEST,
	APIC_SMI,
	APIC_REMOTE_READ,
	APIC_NMI,
	APIC_INIT,
	APIC_STARTUP,
	APIC_EXTINT
};
/* "fixed", "lowest", … */
const char *apic_delivery_name(unsigned mode);

/* One message on the bus. */
struct apic_msg {
	u32 dest;
	bool logical;
	u8 mode; /* enum apic_delivery */
	u8 vector;
	bool level; /* level triggered: sets TMR */
};

struct lapic_config {
	struct lapic_tsc tsc;
	bool allow_x2apic;
	unsigned phys_bits;
};

/* n local APICs, in reset state, for vCPUs 0 to n-1. vm->vcpu[] is looked at only when something is delivered. */
void lapic_bus_init(struct lapic_bus *bus, struct vm *vm, unsigned n, const struct lapic_config *cfg);
/* The message to every APIC that it addresses. Returns how many took it. */
unsigned lapic_bus_send(struct lapic_bus *bus, const struct apic_msg *m);
/* What firmware leaves behind on the boot processor: enabled, LINT0 = ExtINT, LINT1 = NMI ("virtual wire mode"). */
void lapic_virtual_wire(struct lapic *l);
/* A way in for MSIs (address 0xfeexxxxx, data). */
struct msi_sink lapic_bus_msi(struct lapic_bus *bus);
/* Output of the 8259 pair, wired to LINT0 of every processor (as virtual wire mode wants it). */
struct irq_line lapic_bus_extint(struct lapic_bus *bus);

extern const struct apic_ops lapic_ops;
extern const struct bus_ops lapic_mmio_ops;
extern const struct device_class lapic_class; /* dev: struct lapic */
extern const struct desc lapic_state_desc;

#endif
