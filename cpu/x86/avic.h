/* AVIC: the virtual APIC of an SVM guest (avic.c). APM vol. 2 15.29 "Advanced Virtual Interrupt Controller". */
#ifndef CPU_X86_AVIC_H
#define CPU_X86_AVIC_H

#include "cpu/x86/svm.h"

/* The controls of VMRUN, decoded; evaluates what is pending. */
void avic_load(struct x86_cpu *cpu, const struct vmcb_control *v);
/* At #VMEXIT, and before a new load. */
void avic_clear(struct x86_cpu *cpu);

/* TPR's bits 7:4, which are CR8 and V_TPR. */
u64 avic_cr8(struct x86_cpu *cpu);
void avic_cr8_set(struct x86_cpu *cpu, u64 cr8);

/* An access of `size` bytes at la, whose guest-physical page is the APIC's. OUT_NEXT: it goes to *host, within the
 * backing page; OUT_EXIT; OUT_RETRY: when the instruction runs alone. */
enum outcome avic_access(struct x86_cpu *cpu, u64 la, unsigned size, unsigned want, u8 **host) must_check;
/* ATT_VAPIC: what a store leads to. Behind its instruction. */
void avic_written(struct x86_cpu *cpu);

/* RDMSR and WRMSR of 800h to 8FFh with x2AVIC. OUT_NEXT: done; OUT_FAULT: #GP; OUT_EXIT. */
enum outcome avic_msr(struct x86_cpu *cpu, u32 msr, bool write, u64 *v) must_check;

/* ATT_VIRQ: the highest pending interrupt that the priority lets through, or -1. avic_accept puts it in service. */
int avic_pending(struct x86_cpu *cpu);
void avic_accept(struct x86_cpu *cpu, unsigned vector);
/* WRMSR of the doorbell register: the processor with that APIC ID looks at its guest's pending interrupts. */
void avic_doorbell(struct x86_cpu *cpu, u32 apic_id);

#endif
