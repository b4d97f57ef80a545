/*
 * What the processor asks of the guest mode that it is in, whichever vendor's: completing a VM exit, and the intercept
 * tests that need operands. Instructions without operands of interest only test the neutral bitmap (x86_exit_wanted).
 */
#ifndef CPU_X86_VMEXIT_H
#define CPU_X86_VMEXIT_H

#include "cpu/x86/svm.h"
#include "cpu/x86/vmx.h"

/* Completes the exit recorded in c.vmexit: st.rip is the RIP to be saved, next_rip that behind the instruction (0:
 * unknown). */
void vmexit_complete(struct x86_cpu *cpu, u64 next_rip);
/* Rebuilds the decoded controls in the cache from the VMCB or VMCS. */
void vmexit_decode_controls(struct x86_cpu *cpu);

/* OUT_NEXT: not intercepted; else OUT_EXIT with c.vmexit filled. */
enum outcome vmexit_check_io(struct x86_cpu *cpu, const struct insn *in, u16 port, unsigned size, bool is_in,
			     bool is_string, bool is_rep) must_check;
enum outcome vmexit_check_msr(struct x86_cpu *cpu, u32 msr, bool write) must_check;
/* A PAUSE whose exit is wanted, and that does not take it this time: loops alone are to exit. */
bool vmexit_pause_passes(struct x86_cpu *cpu, const struct insn *in);
/* An exception about to be delivered. */
enum outcome vmexit_check_exception(struct x86_cpu *cpu, const struct x86_event *ev) must_check;

/* ATT_VAPIC: what a store to a virtual APIC's register leads to. Behind its instruction. */
void vmexit_apic_written(struct x86_cpu *cpu);
/* An access at la, in the page that the virtual APIC has in c.tlb_phys: see vapic_access, avic_access. */
enum outcome vmexit_apic_access(struct x86_cpu *cpu, u64 la, unsigned size, unsigned want, u8 **host) must_check;

#endif
