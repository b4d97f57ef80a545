/*
 * The VMCB: one page of guest RAM that describes an SVM guest. APM vol. 2 appendix B "VMCB Layout".
 *
 * The control area (1 KiB) is the hypervisor's, the state-save area (3 KiB) the guest's registers. Both structs are the
 * bytes as they lie in memory; their field tables (vmcb.c) tile. Names are the manual's, shortened. What the manual
 * calls reserved is named rsvd_OFFSET, and fields of features that are not offered are named all the same.
 */
#ifndef ARCH_X86_VMCB_H
#define ARCH_X86_VMCB_H

#include "base/desc.h"

struct vmcb_control {
	u16 cr_read, cr_write; /* 000h */
	u16 dr_read, dr_write; /* 004h */
	u32 exceptions;	       /* 008h */
	u32 intercept3;	       /* 00Ch: INTR … SHUTDOWN */
	u32 intercept4;	       /* 010h: VMRUN … EFER write trap, CR write traps */
	u32 intercept5;	       /* 014h: INVLPGB, INVPCID (bit 2), … */
	u8 rsvd_018[0x24];
	u16 pause_threshold; /* 03Ch */
	u16 pause_count;     /* 03Eh */
	u64 iopm;	     /* 040h */
	u64 msrpm;	     /* 048h */
	u64 tsc_offset;	     /* 050h */
	u32 asid;	     /* 058h */
	u8 tlb_control;	     /* 05Ch */
	u8 rsvd_05d[3];
	u32 int_ctl;	   /* 060h: VI_* */
	u32 int_vector;	   /* 064h: low byte */
	u64 int_state;	   /* 068h: bit 0 interrupt shadow, bit 1 guest interrupt mask (SEV-ES) */
	u64 exit_code;	   /* 070h */
	u64 exit_info1;	   /* 078h */
	u64 exit_info2;	   /* 080h */
	u64 exit_int_info; /* 088h: EVI_* */
	u64 np_control;	   /* 090h: NP_* */
	u64 avic_bar;	   /* 098h */
	u64 ghcb;	   /* 0A0h */
	u64 event_inj;	   /* 0A8h: EVI_* */
	u64 ncr3;	   /* 0B0h */
	u64 virt_ext;	   /* 0B8h: bit 0 LBR virtualization, bit 1 virtual VMLOAD and VMSAVE */
	u32 clean;	   /* 0C0h */
	u32 rsvd_0c4;
	u64 next_rip; /* 0C8h */
	u8 insn_len;  /* 0D0h: bytes that were fetched */
	u8 insn_bytes[15];
	u64 avic_backing; /* 0E0h */
	u64 rsvd_0e8;
	u64 avic_logical;  /* 0F0h */
	u64 avic_physical; /* 0F8h */
	u64 rsvd_100;
	u64 vmsa; /* 108h */
	u8 rsvd_110[0x2d0];
	u8 host_use[0x20]; /* 3E0h: never touched by the processor */
};

/* A segment register with its hidden part; attr is SEG_* of bits.h. GDTR and IDTR use limit and base only. */
struct vmcb_seg {
	u16 sel, attr;
	u32 limit;
	u64 base;
};

struct vmcb_save {
	struct vmcb_seg es, cs, ss, ds, fs, gs; /* 400h */
	struct vmcb_seg gdtr, ldtr, idtr, tr;
	u8 rsvd_0a0[0x2b];
	u8 cpl; /* 4CBh */
	u32 rsvd_0cc;
	u64 efer; /* 4D0h */
	u8 rsvd_0d8[0x70];
	u64 cr4, cr3, cr0; /* 548h */
	u64 dr7, dr6;
	u64 rflags, rip; /* 570h */
	u8 rsvd_180[0x58];
	u64 rsp; /* 5D8h */
	u64 s_cet, ssp, isst;
	u64 rax;					/* 5F8h */
	u64 star, lstar, cstar, sfmask, kernel_gs_base; /* 600h */
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 cr2; /* 640h */
	u8 rsvd_248[0x20];
	u64 g_pat; /* 668h */
	u64 dbgctl, br_from, br_to, last_excp_from, last_excp_to;
	u8 rsvd_298[0x48];
	u64 spec_ctrl; /* 6E0h */
	u8 rsvd_2e8[0x918];
};

struct vmcb {
	struct vmcb_control c;
	struct vmcb_save s;
};

/* How much of each area the processor reads and writes; beyond lie reserved bytes. */
#define VMCB_CONTROL_USED 0x110
#define VMCB_SAVE_USED	  0x2e8

_Static_assert(sizeof(struct vmcb_control) == 0x400, "control area");
_Static_assert(sizeof(struct vmcb) == 0x1000, "a VMCB is a page");
_Static_assert(offsetof(struct vmcb_control, exit_code) == 0x70, "EXITCODE");
_Static_assert(offsetof(struct vmcb_control, next_rip) == 0xc8, "nRIP");
_Static_assert(offsetof(struct vmcb_control, host_use) == 0x3e0, "host use");
_Static_assert(offsetof(struct vmcb_save, cpl) == 0xcb, "CPL");
_Static_assert(offsetof(struct vmcb_save, cr4) == 0x148, "CR4");
_Static_assert(offsetof(struct vmcb_save, rsp) == 0x1d8, "RSP");
_Static_assert(offsetof(struct vmcb_save, rax) == 0x1f8, "RAX");
_Static_assert(offsetof(struct vmcb_save, g_pat) == 0x268, "G_PAT");
_Static_assert(offsetof(struct vmcb_save, spec_ctrl) == 0x2e0, "SPEC_CTRL");

/* int_ctl. APM vol. 2 15.21 "Interrupt and Local APIC Support". */
#define VI_LIVE		(VI_TPR | VI_IRQ | VI_GIF | VI_NMI | VI_NMI_MASK) /* what #VMEXIT writes back */
#define VI_TPR		0xffu
#define VI_IRQ		BIT(8)
#define VI_GIF		BIT(9)
#define VI_NMI		BIT(11)
#define VI_NMI_MASK	BIT(12)
#define VI_PRIO(v)	(((v) >> 16) & 15)
#define VI_IGN_TPR	BIT(20)
#define VI_INTR_MASKING BIT(24)
#define VI_GIF_ENABLE	BIT(25)
#define VI_NMI_ENABLE	BIT(26)
#define VI_X2AVIC	BIT(30)
#define VI_AVIC		BIT(31)

/* EVENTINJ and EXITINTINFO: vector 7:0, type 10:8, EV 11, V 31, error code 63:32. APM vol. 2 15.20 "Event Injection".
 */
#define EVI_VECTOR  0xffu
#define EVI_TYPE(v) (((v) >> 8) & 7)
#define EVI_ERROR   BIT(11)
#define EVI_VALID   BIT(31)
enum vmcb_event_type { EVI_INTR = 0, EVI_NMI = 2, EVI_EXCEPTION = 3, EVI_SOFT_INT = 4 };

#define NP_ENABLE BIT(0)
#define NP_SEV	  BIT(1)
#define NP_SEV_ES BIT(2)

#define INTERCEPT4_CR_TRAPS 16 /* bits 31:16: writes of CR15 to CR0, behind the instruction */
#define INTERCEPT5_INVPCID  4u /* bit 2 */

#define VIRT_LBR    BIT(0)
#define VIRT_VMLOAD BIT(1)

/* TLB_CONTROL. APM vol. 2 15.16.1 "TLB Flush". */
enum vmcb_tlb { TLB_CTL_NONE = 0, TLB_CTL_ALL = 1, TLB_CTL_ASID = 3, TLB_CTL_ASID_NONGLOBAL = 7 };

/* EXITINFO1 of IOIO. APM vol. 2 15.10.2 "IN and OUT Behavior". */
#define IOIO_IN		   BIT(0)
#define IOIO_STR	   BIT(2)
#define IOIO_REP	   BIT(3)
#define IOIO_SIZE(bytes)   ((u64)(bytes) << 4) /* 1, 2, 4: bits 4, 5, 6 */
#define IOIO_ADSIZE(bytes) ((u64)(bytes) << 6) /* 2, 4, 8: bits 7, 8, 9 */
#define IOIO_SEG(sreg)	   ((u64)(sreg) << 10)
#define IOIO_PORT(port)	   ((u64)(port) << 16)

#define CR_ACCESS_MOV BIT(63) /* EXITINFO1 of CR exits with decode assists: MOV, its GPR in bits 3:0 */

extern const struct desc vmcb_desc;

#endif
