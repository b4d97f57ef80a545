/*
 * All that the architecture says one logical processor holds, and nothing else: plain data that may be copied, saved, diffed
 * and moved between engines. Its field table (state.c) tiles: there is no padding and no field outside the table.
 *
 * Not here: the local APIC (a chip in dev/; CR8 lives in its TPR, IA32_APIC_BASE and IA32_TSC_DEADLINE too) and anything
 * that can be rebuilt (cpu/: struct x86_cache).
 *
 * RFLAGS is kept in two words so that arithmetic need not read-modify-write: `oszapc` holds the six status flags in the form that
 * LAHF; SETO AL leave in AX (AH = SF ZF 0 AF 0 PF 1 CF, AL = OF), `rflags` the others with the six bits zero. Use
 * x86_rflags() and x86_set_rflags().
 */
#ifndef ARCH_X86_STATE_H
#define ARCH_X86_STATE_H

#include "arch/x86/bits.h"
#include "base/desc.h"

struct x86_seg {
	u16 sel;
	u16 attr; /* SEG_* of bits.h */
	u32 limit; /* bytes - 1, granularity applied */
	u64 base;
};

struct x86_dtr {
	u64 base;
	u64 limit;
};

enum x86_activity { ACT_RUNNING, ACT_HALTED, ACT_SHUTDOWN, ACT_WAIT_SIPI };

/* What keeps events away for one instruction or until IRET. */
#define SHADOW_STI BIT(0)
#define SHADOW_MOVSS BIT(1)

/* x87 and vector state, by register; the XSAVE instructions scatter and gather it. */
struct x86_fpu {
	u16 fcw, fsw;
	u16 ftw; /* abridged: bit n set = physical register n not empty (FXSAVE's form) */
	u16 fop;
	u32 mxcsr;
	u32 pkru;
	u64 fip, fdp; /* 64-bit form; selectors in fcs, fds for the 32-bit forms */
	u32 fcs, fds;
	u8 st[8][16];   /* ST(0)…ST(7): relative to TOP, 80-bit value then zeros (FXSAVE's form) */
	u8 vec[32][64]; /* ZMM0-31; XMM and YMM are their low bytes */
	u64 k[8];
};

#define X86_MTRR_VAR 8
#define MISC_ENABLE_MONITOR BIT(18)
#define X86_TSC_RATIO_ONE BIT(32) /* APM vol. 2 15.30.5 "TSC Ratio MSR (C000_0104h)": 8 bits before the point, 32 behind */

struct x86_msrs {
	u64 efer, star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 pat, tsc_aux, tsc_adjust;
	u64 xss;
	u64 misc_enable, debugctl, spec_ctrl;
	u64 mtrr_def, mtrr_fix[11], mtrr_base[X86_MTRR_VAR], mtrr_mask[X86_MTRR_VAR];
	u64 mcg_status;
	u64 mc_ctl[8], mc_status[8], mc_addr[8], mc_misc[8];
	u64 feature_control; /* IA32_FEATURE_CONTROL */
	u64 last_branch[4]; /* AMD: LastBranchFromIP, LastBranchToIP, LastIntFromIP, LastIntToIP */
	u64 hwcr, syscfg, ls_cfg, de_cfg, nb_cfg, patch_level, tsc_ratio; /* AMD */
	u64 osvw[2];
	u64 kvm_wall_clock, kvm_system_time; /* KVM-compatible clock, leaf 40000100h */
	u64 ucode_rev;
};

/*
 * SVM as far as it is processor state (APM vol. 2 ch. 15). The VMCB's controls are not here: they are read from guest RAM at `vmcb`
 * whenever the decoded form is rebuilt; the host state that VMRUN saves is in guest RAM at `hsave_pa`.
 */
struct x86_svm {
	u64 vm_cr, hsave_pa;
	u64 vmcb;     /* physical address of the current VMCB while in_guest */
	u64 int_ctl;  /* V_TPR, V_IRQ, V_GIF…: live copy while in_guest */
	u64 int_vector;
	u64 g_pat;    /* the guest's PAT under nested paging */
	u64 pause_left; /* PAUSEs that the filter still lets pass, while in_guest */
	u64 pause_last; /* the processor's count of instructions at the last of them */
	u64 nmi_blocked; /* 0 or 1: blocking of physical NMIs while in_guest with V_NMI_ENABLE (nmi_blocked is V_NMI_MASK) */
	u32 in_guest; /* 0 or 1 */
	u32 gif;      /* 0 or 1; 1 at reset */
};

/*
 * VMX as far as it is processor state (SDM vol. 3 ch. 23 to 27). The VMCS is in guest RAM, all of it.
 */
struct x86_vmx {
	u64 vmxon;	 /* the VMXON region, while on */
	u64 vmcs;	 /* the current VMCS; X86_NO_VMCS: none */
	u64 nmi_blocked; /* 0 or 1: blocking of physical NMIs while in_guest with virtual NMIs (nmi_blocked is the virtual one) */
	u64 timer;	 /* the preemption timer, while in_guest with it active: the TSC at which it is 0 */
	u64 pause_last;	 /* PAUSE-loop exiting: the processor's count of instructions at the last PAUSE; 0: none since VM entry */
	u64 pause_first; /* and the TSC at the first of its loop */
	u32 on;		 /* 0 or 1: in VMX operation */
	u32 in_guest;	 /* 0 or 1: non-root */
};
#define X86_NO_VMCS (~0ull)

struct x86_state {
	u64 gpr[16];
	u64 rip;
	u64 rflags, oszapc;
	struct x86_seg seg[X86_SREGS], ldtr, tr;
	struct x86_dtr gdtr, idtr;
	u64 cr0, cr2, cr3, cr4, xcr0;
	u64 pdpte[4]; /* PAE paging: loaded by MOV to CR3 */
	u64 dr[4], dr6, dr7;
	u64 tsc_offset; /* guest TSC = host TSC + tsc_offset (before SVM's or VMX's own offset) */
	u32 cpl;
	u32 activity;   /* enum x86_activity */
	u32 shadow;     /* SHADOW_* */
	u32 nmi_blocked; /* 0 or 1 */
	u32 nmi_pending; /* latched, not yet delivered */
	u32 vendor;      /* enum x86_vendor */
	/* A trap that is due after the instruction just completed (single step, data breakpoint): DR6 bits. */
	u64 pending_db;
	struct x86_fpu fpu;
	struct x86_msrs msr;
	struct x86_svm svm;
	struct x86_vmx vmx;
};

extern const struct desc x86_state_desc;

static inline u64 x86_rflags(const struct x86_state *st)
{
	return st->rflags | FL_FIXED | ((st->oszapc >> 8) & 0xd5) | ((st->oszapc & 1) << 11);
}

static inline void x86_set_rflags(struct x86_state *st, u64 v)
{
	st->rflags = (v & ~FL_OSZAPC) | FL_FIXED;
	st->oszapc = ((v & 0xd5) << 8) | 0x200 | ((v >> 11) & 1);
}

/* Power-on state: SDM vol. 3 9.1.1 "Processor State After Reset", table 9-1. INIT keeps what the table says it keeps. */
void x86_reset(struct x86_state *st, enum x86_vendor vendor, u32 signature, bool init);

#endif
