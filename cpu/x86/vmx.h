/*
 * VMX on the software processor: VM entry (vmx_entry.c), VM exit (vmx_exit.c), the instructions (vmx_insn.c), the
 * controls and what they decide (vmx_control.c), VM functions and #VE (vmx_func.c). SDM vol. 3 chapters 23 to 30.
 *
 * The processor knows root operation, or non-root operation with a current VMCS. The VMCS is in guest RAM and nowhere
 * else; struct x86_cache holds what is decoded of its controls (exits, npt, ncr3, asid, vmx, ...), which comes from
 * vmx_decode_controls alone. VM entry's way is copy, check with vmentry_rules, commit.
 */
#ifndef CPU_X86_VMX_H
#define CPU_X86_VMX_H

#include "arch/x86/vmcs.h"
#include "cpu/x86/cpu.h"

#define vmx_has(c, word, name) (((c)->vmx.ctl[VMX_##word] & (u32)VMX_##word##_##name) != 0)

/* The current VMCS, or NULL when there is none or its page is not RAM. */
struct vmcs *vmx_current(struct x86_cpu *cpu, bool write);

/* VMLAUNCH and VMRESUME behind their instruction-level checks. OUT_JUMP after an entry, be it a failed one that has
 * exited; OUT_END with the flags of VMfail otherwise. */
enum outcome vmx_enter(struct x86_cpu *cpu, const struct insn *in, bool launch);
/* Flags and error field of VMfailValid, or VMfailInvalid without a current VMCS; of VMsucceed. */
void vmx_fail(struct x86_cpu *cpu, enum vmx_error error);
void vmx_fail_invalid(struct x86_cpu *cpu);
void vmx_succeed(struct x86_cpu *cpu);

/* The bits of CR0 that VM entries and exits load; the others are not modified. SDM vol. 3 26.3.2.1, 27.5.1. */
#define VMX_CR0_LOADED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_PG)

/* See vmexit.h. */
void vmx_vmexit(struct x86_cpu *cpu, u64 next_rip);
/* The exit of a VM entry that failed on the guest state or in its MSR area. */
void vmx_exit_entry_failed(struct x86_cpu *cpu, struct vmcs *v, enum x86_exit exit, u64 qualification);
void vmx_decode_controls(struct x86_cpu *cpu);
void vmx_controls_load(struct x86_cpu *cpu, const u64 *f);
void vmx_controls_clear(struct x86_cpu *cpu);

enum outcome vmx_check_io(struct x86_cpu *cpu, const struct insn *in, u16 port, unsigned size, bool is_in,
			  bool is_string, bool is_rep) must_check;
enum outcome vmx_check_msr(struct x86_cpu *cpu, u32 msr, bool write) must_check;
enum outcome vmx_check_exception(struct x86_cpu *cpu, const struct x86_event *ev) must_check;

/* Control registers under masks and shadows. A write exits, or *v becomes what is loaded. */
u64 vmx_read_cr(const struct x86_cpu *cpu, unsigned n, u64 real);
enum outcome vmx_write_cr(struct x86_cpu *cpu, unsigned n, u64 *v, u64 info) must_check;
enum outcome vmx_clts(struct x86_cpu *cpu, bool *keep) must_check;
enum outcome vmx_lmsw(struct x86_cpu *cpu, const struct insn *in, u64 source, u64 *v) must_check;
bool vmx_cr3_target(const struct x86_cpu *cpu, u64 v);
/* In VMX operation some bits of CR0 and CR4 are fixed to 1. */
bool vmx_cr0_valid(const struct x86_cpu *cpu, u64 v);
bool vmx_cr4_valid(const struct x86_cpu *cpu, u64 v);

/* The attention bits that only non-root operation has. */
#define ATT_VMX (ATT_VINTR | ATT_NMI_WINDOW | ATT_TPR | ATT_ALONE | ATT_VAPIC | ATT_VIRQ | ATT_TIMER | ATT_MTF)

/* CR8 under "use TPR shadow": vapic.h. */
static inline bool vmx_cr8_virtual(const struct x86_cpu *cpu) { return cpu->c.vmx.virtual_apic; }

/* The preemption timer (vmx_timer.c): from VM entry; its value now; ATT_TIMER once it is 0. */
void vmx_timer_start(struct x86_cpu *cpu, u32 value);
u32 vmx_timer_value(const struct x86_cpu *cpu);
void vmx_timer_poll(struct x86_cpu *cpu);

/* PAUSE under "PAUSE exiting" and "PAUSE-loop exiting" (vmx_func.c): false: it exits. */
bool vmx_pause_passes(struct x86_cpu *cpu, const struct insn *in);
/* Whether a convertible EPT violation becomes #VE (vmx_func.c); its information is in guest memory then. */
bool vmx_ve(struct x86_cpu *cpu, u64 qualification, u64 la, u64 gpa);
/* IRET, whose fault that #VE was, has ended blocking by NMI. */
void vmx_ve_nmi_iret(struct x86_cpu *cpu);
/* As VM entry wants EPTP. */
bool vmx_eptp_valid(const struct x86_cpu *cpu, u64 eptp);

/* The monitor trap flag's exit: SDM vol. 3 25.5.2. */
void vmx_mtf_exit(struct x86_cpu *cpu);

/* The page-modification log (vmx_pml.c). */
bool vmx_pml_room(struct x86_cpu *cpu);
void vmx_pml_log(struct x86_cpu *cpu, u64 gpa);

/* The information field for an event: SDM vol. 3 27.2.2, 27.2.4; the error code is in bits 63:32. */
u64 vmx_event_info(const struct x86_cpu *cpu, const struct x86_event *ev);
/* VM-exit instruction information and the address of its operand: SDM vol. 3 27.2.5. */
u64 vmx_insn_info(const struct x86_cpu *cpu, const struct insn *in);
u64 vmx_insn_displacement(const struct x86_cpu *cpu, const struct insn *in);

/* PAE paging: the four PDPTEs of st.cr3 into st.pdpte; false: one has reserved bits set. */
bool vmx_load_pdptes(struct x86_cpu *cpu);
/* One of the MSR areas. Returns the number (from 1) of the entry that failed, 0 for success. */
unsigned vmx_msrs_load(struct x86_cpu *cpu, u64 pa, u64 n);
unsigned vmx_msrs_store(struct x86_cpu *cpu, u64 pa, u64 n);

#endif
