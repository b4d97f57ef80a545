/*
 * SVM on the software processor: VMRUN and #VMEXIT (svm_world.c), the other instructions (svm_insn.c), what the
 * permission maps and the exception vector decide (svm_intercept.c). APM vol. 2 chapter 15 "Secure Virtual Machine".
 *
 * The processor knows no levels: only host, or guest with a current VMCB. The VMCB lives in guest RAM; what is decoded
 * of its control area is in struct x86_cache (exits, npt, ncr3, asid, iopm, msrpm, guest_tsc_offset, int_masking,
 * host_*) and comes from svm_decode_controls alone. VMRUN's way is copy, check with vmrun_rules, commit.
 */
#ifndef CPU_X86_SVM_H
#define CPU_X86_SVM_H

#include "arch/x86/vmcb.h"
#include "cpu/x86/cpu.h"

#define VM_CR_R_INIT BIT(1)

/* c.vmcb_ctl_flags */
#define SVM_INJECTING 1u  /* EVENTINJ's own exception is on its way, which no intercept sees */
#define SVM_VLS	      2u  /* VMLOAD and VMSAVE take guest-physical addresses */
#define SVM_VGIF      4u  /* STGI and CLGI change V_GIF */
#define SVM_VNMI      16u /* NMIs of the guest's own: V_NMI, V_NMI_MASK */
#define SVM_LBR	      8u  /* DEBUGCTL and the record of branches are the guest's own */

/* Completes the exit recorded in c.vmexit: writes the VMCB, loads the host state. st.rip is what the VMCB's RIP shall
 * be; next_rip goes to nRIP (0: unknown; dropped for exits that have none). c.delivering becomes EXITINTINFO.
 * Afterwards the processor runs the host. A failure to load host state is shutdown. */
void svm_vmexit(struct x86_cpu *cpu, u64 next_rip);
/* After loading a state with in_guest set (migration, cache drop): rebuilds c.exits, c.npt, c.ncr3, … from the VMCB in
 * guest RAM. */
void svm_decode_controls(struct x86_cpu *cpu);
/* VMRUN's work after its checks of instruction level; `in` is the instruction. Always ends with st.rip final: OUT_JUMP.
 */
enum outcome svm_vmrun(struct x86_cpu *cpu, const struct insn *in, u64 vmcb_pa);

/* A place in guest RAM that the processor itself reads or writes (VMCB, host save area). NULL: not RAM. Stores to its
 * page are followed by svm_page_written, which drops the decoded code that they have changed. */
void *svm_page(struct x86_cpu *cpu, u64 pa, bool write);
void svm_page_written(struct x86_cpu *cpu, u64 pa);

/* Intercept tests that need operands. OUT_NEXT: not intercepted; else OUT_EXIT with c.vmexit filled. All are no-ops
 * outside guest mode. */
enum outcome svm_check_io(struct x86_cpu *cpu, const struct insn *in, u16 port, unsigned size, bool is_in,
			  bool is_string, bool is_rep) must_check;
enum outcome svm_check_msr(struct x86_cpu *cpu, u32 msr, bool write) must_check;
/* An exception about to be delivered for the first time: OUT_EXIT if intercepted. */
enum outcome svm_check_exception(struct x86_cpu *cpu, const struct x86_event *ev) must_check;

/* PAUSE is intercepted: does the filter let this one pass? Counts it. APM vol. 2 15.14.4 "Pause Intercept Filtering".
 * VMX has no such filter: false. */
bool svm_pause_passes(struct x86_cpu *cpu, const struct insn *in);

/* c.guest_tsc_mul by the MSR, which has 32 bits behind the point. Ratio 0 comes as near as 2^-48. */
static inline u64 svm_tsc_mul(const struct x86_cpu *cpu)
{
	u64 ratio = cpu->st.msr.tsc_ratio;

	return ratio == X86_TSC_RATIO_ONE ? 0 : MAX(ratio << 16, 1);
}

/* APM vol. 2 15.33.2 "Virtual GIF (VGIF)": V_GIF 0 holds virtual interrupts. */
static inline bool svm_vgif_holds(const struct x86_cpu *cpu)
{
	return (cpu->c.vmcb_ctl_flags & SVM_VGIF) && !(cpu->st.svm.int_ctl & VI_GIF);
}

/* APM vol. 2 15.21.10 "Virtual NMI": blocking of the host's NMIs is another than the guest's, V_NMI_MASK. */
static inline bool svm_nmi_blocked(const struct x86_cpu *cpu)
{
	return cpu->c.vmcb_ctl_flags & SVM_VNMI ? cpu->st.svm.nmi_blocked : cpu->st.nmi_blocked;
}

/* V_INTR_MASKING: RFLAGS.IF of the host, not the guest's, decides about physical interrupts; svm_host_if is that bit.
 */
bool svm_intr_masked_by_vif(const struct x86_cpu *cpu);
static inline bool svm_host_if(const struct x86_cpu *cpu) { return cpu->c.host_rflags & FL_IF; }
/* A virtual interrupt that could be delivered now (V_IRQ, priority above V_TPR): its vector, or -1. The guest's IF and
 * shadow are the caller's matter. */
int svm_virtual_intr(struct x86_cpu *cpu);
/* It was accepted: V_IRQ is cleared. */
void svm_virtual_intr_taken(struct x86_cpu *cpu);
/* CR8 as the guest sees it: V_TPR under V_INTR_MASKING. false: the real APIC's. */
bool svm_cr8_virtual(const struct x86_cpu *cpu);
static inline u64 svm_cr8_get(const struct x86_cpu *cpu) { return cpu->st.svm.int_ctl & 15; }
static inline void svm_cr8_set(struct x86_cpu *cpu, u64 cr8)
{
	cpu->st.svm.int_ctl = (cpu->st.svm.int_ctl & ~(u64)VI_TPR) | (cr8 & 15);
}

/* APM vol. 2 15.9 "Instruction Intercepts", vectors 010h bits 31:15: the instruction is done, RIP is behind it. */
static inline bool exit_is_trap(u32 exit)
{
	return exit == EXIT_EFER_WRITE_TRAP || (exit >= EXIT_CR0_WRITE_TRAP && exit <= EXIT_CR15_WRITE_TRAP);
}
/* Ends an instruction that has written `now` to the register that `exit` is about. */
static inline enum outcome svm_write_trap(struct x86_cpu *cpu, u32 exit, u64 now)
{
	if (!x86_exit_wanted(cpu, (enum x86_exit)exit))
		return OUT_END;
	cpu->st.shadow = 0;
	return x86_exit(cpu, (enum x86_exit)exit, now, 0);
}

#endif
