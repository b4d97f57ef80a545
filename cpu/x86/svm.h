/*
 * SVM on the software processor: VMRUN and #VMEXIT (svm_world.c), the other instructions (svm_insn.c), intercept details.
 * APM vol. 2 chapter 15 "Secure Virtual Machine". The processor knows no levels: only host, or guest with a current VMCB.
 */
#ifndef CPU_X86_SVM_H
#define CPU_X86_SVM_H

#include "cpu/x86/cpu.h"

/* Completes the exit recorded in c.vmexit: writes the VMCB, loads the host state. st.rip is what the VMCB's RIP shall be; next_rip goes
 * to nRIP (0: unknown). Afterwards the processor runs the host. A failure to load host state is shutdown. */
void svm_vmexit(struct x86_cpu *cpu, u64 next_rip);
/* After loading a state with in_guest set (migration, cache drop): rebuilds c.exits, c.npt, c.ncr3, … from the VMCB in guest RAM. */
void svm_decode_controls(struct x86_cpu *cpu);
/* Intercept tests that need operands. OUT_NEXT: not intercepted; else OUT_EXIT with c.vmexit filled. All are no-ops outside guest mode. */
enum outcome svm_check_io(struct x86_cpu *cpu, const struct insn *in, u16 port, unsigned size, bool is_in, bool is_string, bool is_rep) must_check;
enum outcome svm_check_msr(struct x86_cpu *cpu, u32 msr, bool write) must_check;
/* An exception about to be delivered for the first time: OUT_EXIT if intercepted. */
enum outcome svm_check_exception(struct x86_cpu *cpu, const struct x86_event *ev) must_check;
/* Virtual interrupt masking: V_INTR_MASKING makes RFLAGS.IF of the host decide about physical interrupts. */
bool svm_intr_masked_by_vif(const struct x86_cpu *cpu);
/* A virtual interrupt that could be delivered now (V_IRQ, priority above V_TPR): its vector, or -1. */
int svm_virtual_intr(struct x86_cpu *cpu);
/* It was accepted: V_IRQ is cleared. */
void svm_virtual_intr_taken(struct x86_cpu *cpu);
/* CR8 as the guest sees it: V_TPR under V_INTR_MASKING. false: the real APIC's. */
bool svm_cr8_virtual(const struct x86_cpu *cpu);

#endif
