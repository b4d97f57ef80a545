/*
 * The virtual APIC of VMX non-root operation (vapic.c). SDM vol. 3 chapter 29. All are called on the vCPU's thread,
 * in non-root operation.
 */
#ifndef CPU_X86_VAPIC_H
#define CPU_X86_VAPIC_H

#include "cpu/x86/cpu.h"

/* The controls of VM entry, decoded; what the entry itself does: PPR virtualization, evaluation, the TPR threshold. */
void vapic_load(struct x86_cpu *cpu, const u64 *f);
/* PPR virtualization and evaluation anew. */
void vapic_resume(struct x86_cpu *cpu);

/* The virtual TPR, and a write of it by MOV to CR8. */
u64 vapic_tpr(struct x86_cpu *cpu);
void vapic_tpr_set(struct x86_cpu *cpu, u8 tpr);

/*
 * An access of `size` bytes at la, whose page is the APIC-access page. OUT_NEXT: it goes to *host, within the
 * virtual-APIC page; OUT_EXIT; OUT_RETRY: when the instruction runs alone.
 */
enum outcome vapic_access(struct x86_cpu *cpu, u64 la, unsigned size, unsigned want, u8 **host) must_check;
/* One that comes from no linear address: a table entry. Always OUT_EXIT. */
enum outcome vapic_access_physical(struct x86_cpu *cpu, u64 pa) must_check;
/* ATT_VAPIC: what a virtualized store leads to. Behind its instruction. */
void vapic_written(struct x86_cpu *cpu);

/* RDMSR and WRMSR of 800h to 8FFh under "virtualize x2APIC mode". */
bool vapic_msr_read(struct x86_cpu *cpu, u32 msr, u64 *v);
enum vapic_msr { VAPIC_MSR_NOT, VAPIC_MSR_DONE, VAPIC_MSR_GP };
enum vapic_msr vapic_msr_write(struct x86_cpu *cpu, u32 msr, u64 v);
static inline bool vapic_msr(const struct x86_cpu *cpu, u32 msr)
{
	return unlikely(cpu->c.vmx.x2apic) && msr - 0x800u < 0x100;
}

/* ATT_VIRQ: the virtual interrupt's vector, now in service; -1: there is none. */
int vapic_take(struct x86_cpu *cpu);
/* The notification interrupt has come, and is the APIC's to end. */
void vapic_posted(struct x86_cpu *cpu);

#endif
