/*
 * Names of architectural bits: control registers, RFLAGS, EFER, page-table entries, exceptions, segment attributes.
 * SDM vol. 3 2.5 "Control Registers", 4.5 "4-Level Paging and 5-Level Paging"; APM vol. 2 3.1 "System-Control Registers".
 */
#ifndef ARCH_X86_BITS_H
#define ARCH_X86_BITS_H

#include "base/types.h"

enum x86_gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum x86_sreg { ES, CS, SS, DS, FS, GS, X86_SREGS };
enum x86_vendor { X86_INTEL, X86_AMD };

enum x86_exception {
	EXC_DE = 0, EXC_DB = 1, EXC_NMI = 2, EXC_BP = 3, EXC_OF = 4, EXC_BR = 5, EXC_UD = 6, EXC_NM = 7, EXC_DF = 8,
	EXC_TS = 10, EXC_NP = 11, EXC_SS = 12, EXC_GP = 13, EXC_PF = 14, EXC_MF = 16, EXC_AC = 17, EXC_MC = 18,
	EXC_XM = 19, EXC_VE = 20, EXC_CP = 21, EXC_SX = 30,
};

#define FL_CF BIT(0)
#define FL_FIXED BIT(1)
#define FL_PF BIT(2)
#define FL_AF BIT(4)
#define FL_ZF BIT(6)
#define FL_SF BIT(7)
#define FL_TF BIT(8)
#define FL_IF BIT(9)
#define FL_DF BIT(10)
#define FL_OF BIT(11)
#define FL_IOPL (3ull << 12)
#define FL_NT BIT(14)
#define FL_RF BIT(16)
#define FL_VM BIT(17)
#define FL_AC BIT(18)
#define FL_VIF BIT(19)
#define FL_VIP BIT(20)
#define FL_ID BIT(21)
#define FL_OSZAPC (FL_OF | FL_SF | FL_ZF | FL_AF | FL_PF | FL_CF)

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

#define CR4_VME BIT(0)
#define CR4_PVI BIT(1)
#define CR4_TSD BIT(2)
#define CR4_DE BIT(3)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_MCE BIT(6)
#define CR4_PGE BIT(7)
#define CR4_PCE BIT(8)
#define CR4_OSFXSR BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP BIT(11)
#define CR4_LA57 BIT(12)
#define CR4_VMXE BIT(13)
#define CR4_SMXE BIT(14)
#define CR4_FSGSBASE BIT(16)
#define CR4_PCIDE BIT(17)
#define CR4_OSXSAVE BIT(18)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define CR4_PKE BIT(22)
#define CR4_CET BIT(23)

#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)
#define EFER_SVME BIT(12)
#define EFER_LMSLE BIT(13)
#define EFER_FFXSR BIT(14)
#define EFER_TCE BIT(15)
#define EFER_AUTOIBRS BIT(21)

#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)
#define XCR0_OPMASK BIT(5)
#define XCR0_ZMM_HI256 BIT(6)
#define XCR0_HI16_ZMM BIT(7)
#define XCR0_PKRU BIT(9)

/* Page-table entries, all formats with 8-byte entries. */
#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_PWT BIT(3)
#define PTE_PCD BIT(4)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_PS BIT(7)
#define PTE_G BIT(8)
#define PTE_NX BIT(63)

/* #PF error code. */
#define PF_P BIT(0)
#define PF_W BIT(1)
#define PF_U BIT(2)
#define PF_RSVD BIT(3)
#define PF_I BIT(4)
#define PF_PK BIT(5)

#define DR6_BS BIT(14)
#define DR6_BD BIT(13)
#define DR6_BT BIT(15)
#define DR6_FIXED 0xffff0ff0ull
#define DEBUGCTL_LBR BIT(0)
#define DEBUGCTL_BTF BIT(1)
#define DR7_FIXED BIT(10)
#define DR7_GD BIT(13)
/* Whether breakpoint i is on, for instructions (R/W field 0): SDM vol. 3 17.2.4 "Debug Control Register (DR7)". */
static inline bool dr7_code(u64 dr7, unsigned i) { return (dr7 >> (2 * i) & 3) && !(dr7 >> (16 + 4 * i) & 3); }
static inline bool dr7_any_code(u64 dr7) { return dr7_code(dr7, 0) || dr7_code(dr7, 1) || dr7_code(dr7, 2) || dr7_code(dr7, 3); }

/*
 * Segment attributes as the VMCB keeps them (APM vol. 2 15.5.1): descriptor bits 40-47 and 52-55 side by side.
 *   11  10  9  8    7  6 5  4  3 2 1 0
 *    G D/B  L AVL   P  DPL  S    type
 * A segment register that holds a null selector has P = 0 (VMX calls that "unusable").
 */
#define SEG_TYPE 0xfu
#define SEG_S 0x10u
#define SEG_DPL(a) (((a) >> 5) & 3)
#define SEG_P 0x80u
#define SEG_AVL 0x100u
#define SEG_L 0x200u
#define SEG_DB 0x400u
#define SEG_G 0x800u
#define SEG_CODE 0x8u     /* type bit 3, with S */
#define SEG_CONF 0x4u     /* code: conforming; data: expand-down */
#define SEG_RW 0x2u       /* code: readable; data: writable */
#define SEG_ACCESSED 0x1u

#endif
