/*
 * The seam between a processor and its local APIC.
 *
 * The software processor asks through apic_ops (vCPU thread, vm->lock NOT held: the chip takes it where it needs it, and
 * `highest` must be cheap); the chip speaks to the processor through vcpu_ops' assert_* (core/vcpu.h) from any thread.
 * With KVM's in-kernel irqchip neither direction is used.
 */
#ifndef CORE_APIC_H
#define CORE_APIC_H

#include "base/types.h"

struct apic_ops {
	/* The vector that would be delivered now (IRR above PPR; 256 for an ExtINT, whose vector comes with ack), or -1. */
	int (*highest)(void *apic);
	/* Accepts it: IRR -> ISR (or the PIC's INTA cycle). Returns the vector, or -1 when it has gone. */
	int (*ack)(void *apic);
	/* A write of the EOI register. */
	void (*eoi)(void *apic);
	/* CR8: bits 7:4 of TPR. */
	u64 (*cr8_get)(void *apic);
	void (*cr8_set)(void *apic, u64 cr8);
	/* MSRs that belong to the APIC: IA32_APIC_BASE (1Bh), IA32_TSC_DEADLINE (6E0h), x2APIC (800h-8FFh). false: #GP(0). */
	bool (*msr_read)(void *apic, u32 msr, u64 *value) must_check;
	bool (*msr_write)(void *apic, u32 msr, u64 value) must_check;
	/* The TSC has got to what vcpu_ops->set_deadline said. */
	void (*deadline)(void *apic);
	/* The processor's own memory-mapped registers. false: gpa is not in them (moved, disabled, x2APIC mode). Lock not held. */
	bool (*mmio_read)(void *apic, u64 gpa, unsigned size, u64 *value) must_check;
	bool (*mmio_write)(void *apic, u64 gpa, unsigned size, u64 value) must_check;
};

#endif
