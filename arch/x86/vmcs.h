/*
 * The VMCS and the capabilities of VMX. SDM vol. 3 chapter 24 "Virtual Machine Control Structures", appendix A "VMX
 * Capability Reporting Facility".
 *
 * The VMCS region is a page of guest RAM: revision identifier, abort indicator, then what each processor may lay out
 * as it likes: here the launch state and a u64 for every field of vmcs.def. All of a VMCS is there and nowhere else.
 */
#ifndef ARCH_X86_VMCS_H
#define ARCH_X86_VMCS_H

#include "arch/x86/model.h"

enum vmcs_field {
#define VMCS(name, encoding) VMCS_##name,
#include "arch/x86/vmcs.def"
#undef VMCS
	VMCS_FIELDS,
	VMCS_NONE = VMCS_FIELDS
};

#define VMCS_REVISION	  0x4e425831u /* bit 31 is 0 */
#define VMCS_IS_SHADOW	  BIT(31)     /* of the revision: the shadow-VMCS indicator */
#define VMCS_LAUNCH_CLEAR 0u	      /* any other value than LAUNCHED means the same */
#define VMCS_LAUNCHED	  1u

struct vmcs {
	u32 revision, abort;
	u32 launch, rsvd;
	u64 f[VMCS_FIELDS];
};
_Static_assert(sizeof(struct vmcs) <= 4096, "a VMCS region is a page");

struct vmcs_row {
	const char *name;
	u32 encoding;
};
extern const struct vmcs_row vmcs_rows[VMCS_FIELDS];

/* Parts of an encoding: SDM vol. 3 table 24-18. */
#define VMCS_WIDTH(e)  ((e) >> 13 & 3) /* 0: 16 bits, 1: 64, 2: 32, 3: natural */
#define VMCS_TYPE(e)   ((e) >> 10 & 3) /* 0: control, 1: exit information, 2: guest, 3: host */
#define VMCS_HIGH      1u	       /* access type: the high half of a 64-bit field */
#define VMCS_TYPE_EXIT 1
#define VMCS_WIDTH_64  1
#define VMCS_INDEX_MAX 0x19 /* of all fields: IA32_VMX_VMCS_ENUM */

/* The field with this encoding (access type aside), or VMCS_NONE. */
enum vmcs_field vmcs_find(u64 encoding);
/* The bits that a field can hold. */
u64 vmcs_field_mask(enum vmcs_field f);

/* The five control words, and their bits as VMX_<WORD>_<NAME>. */
enum vmx_word { VMX_PIN, VMX_PROC, VMX_PROC2, VMX_EXIT, VMX_ENTRY, VMX_WORDS };

enum vmx_ctl {
#define CTL(word, bit, name, kind, feature, option) VMX_##word##_##name = (int)(1u << bit),
#define CAP(msr, bit, option)
#include "arch/x86/vmxctl.def"
#undef CTL
#undef CAP
};

/* The preemption timer counts down when this bit of the TSC changes: IA32_VMX_MISC bits 4:0. */
#define VMX_TIMER_SHIFT 5

/* Other capability MSRs that have rows in vmxctl.def. */
enum vmx_cap { VMX_CAP_MISC, VMX_CAP_EPT_VPID, VMX_CAP_VMFUNC, VMX_CAPS };
u64 vmx_cap(const struct x86_model *m, enum vmx_cap cap);
#define VMX_MISC_ACTIVITY     5 /* the bit of activity state 0; those of HLT, shutdown and wait-for-SIPI follow */
#define VMX_MISC_STORE_LMA    BIT(5)
#define VMX_MISC_VMWRITE_ANY  BIT(29)
#define VMX_MISC_LENGTH_0     BIT(30)
#define VMX_EPT_EXECUTE_ONLY  BIT(0)
#define VMX_EPT_2M	      BIT(16)
#define VMX_EPT_1G	      BIT(17)
#define VMX_EPT_INVEPT	      BIT(20)
#define VMX_EPT_AD	      BIT(21)
#define VMX_EPT_INVEPT_SINGLE BIT(25)
#define VMX_EPT_INVEPT_ALL    BIT(26)
#define VMX_EPT_INVVPID	      BIT(32)
#define VMX_EPT_INVVPID_TYPE0 BIT(40) /* and the three other types behind it */
#define VMX_FUNCTION_EPTP     BIT(0)  /* of the VM-function controls too: SDM vol. 3 24.6.14 */

/* Which bits of a word must be 1 and which may be, by the TRUE capability MSRs. */
void vmx_word_allowed(const struct x86_model *m, enum vmx_word w, u32 *must, u32 *may);

#define MSR_VMX_BASIC 0x480u
/* The value of MSR 480h + n; 0 where there is none. */
u64 vmx_capability(const struct x86_model *m, unsigned n);
/* 48Bh needs secondary controls, 48Ch EPT or VPIDs, 491h VM functions: SDM vol. 3 A.3.3, A.10, A.11. Without: #GP. */
bool vmx_capability_exists(const struct x86_model *m, unsigned n);
/* CR4 bits that the model has. */
u64 vmx_cr4_allowed(const struct x86_model *m);

#define VMX_CR0_FIXED (CR0_PE | CR0_NE | CR0_PG)
#define VMX_CR4_FIXED CR4_VMXE

/* Interruption information (entry, exit, IDT vectoring): SDM vol. 3 24.8.3. */
#define VEV_TYPE(v)   ((v) >> 8 & 7)
#define VEV_EXT_INT   0u
#define VEV_NMI	      2u
#define VEV_HARD_EXC  3u
#define VEV_SOFT_INT  4u
#define VEV_PRIV_SOFT 5u
#define VEV_SOFT_EXC  6u
#define VEV_OTHER     7u
#define VEV_ERROR     BIT(11)
#define VEV_NMI_IRET  BIT(12) /* exit: NMI unblocking due to IRET */
#define VEV_VALID     BIT(31)

/* Segment access rights: SDM vol. 3 table 24-2. */
#define VAR_UNUSABLE BIT(16)
static inline u64 vmx_ar(u16 attr) { return (attr & 0xffu) | (attr & 0xf00u) << 4 | (attr & SEG_P ? 0 : VAR_UNUSABLE); }
static inline u16 vmx_attr(u64 ar)
{
	u16 attr = (u16)((ar & 0xff) | (ar >> 4 & 0xf00));

	return ar & VAR_UNUSABLE ? attr & (u16)~SEG_P : attr;
}

/* Interruptibility state: SDM vol. 3 table 24-3. Bits 0 and 1 are SHADOW_STI and SHADOW_MOVSS of state.h. */
#define VINT_STI   BIT(0)
#define VINT_MOVSS BIT(1)
#define VINT_SMI   BIT(2)
#define VINT_NMI   BIT(3)

/* Pending debug exceptions: SDM vol. 3 table 24-4. Bits 3:0 and 14 are those of DR6. */
#define VPENDING_ENABLED BIT(12) /* an enabled breakpoint was met */

/* EPTP: SDM vol. 3 24.6.11. */
#define EPTP_AD BIT(6)

/* Basic exit reasons that the processor itself needs by number; others come from exits.def. */
#define VMX_ENTRY_FAILED BIT(31)

/* An entry of the MSR areas: SDM vol. 3 table 24-12. */
struct vmx_msr_entry {
	u32 index, rsvd;
	u64 value;
};
#define VMX_MSR_AREA_MAX 512u /* entries that software is told to keep to: IA32_VMX_MISC bits 27:25 */
/* Those that a load area cannot hold: SDM vol. 3 26.4 "Loading MSRs". */
static inline bool vmx_msr_unloadable(u32 index)
{
	return index == 0xc0000100 || index == 0xc0000101 || index - 0x800u < 0x100;
}

/* VM-instruction error numbers: SDM vol. 3 30.4. */
enum vmx_error {
	VMERR_VMCALL_ROOT = 1,
	VMERR_VMCLEAR_ADDRESS = 2,
	VMERR_VMCLEAR_VMXON = 3,
	VMERR_LAUNCH_NOT_CLEAR = 4,
	VMERR_RESUME_NOT_LAUNCHED = 5,
	VMERR_ENTRY_CONTROLS = 7,
	VMERR_ENTRY_HOST = 8,
	VMERR_VMPTRLD_ADDRESS = 9,
	VMERR_VMPTRLD_VMXON = 10,
	VMERR_VMPTRLD_REVISION = 11,
	VMERR_NO_FIELD = 12,
	VMERR_READ_ONLY = 13,
	VMERR_VMXON_ROOT = 15,
	VMERR_ENTRY_MOVSS = 26,
	VMERR_INV_OPERAND = 28,
};

/* "VM entry with invalid control fields"; "reserved" for numbers without a meaning. */
const char *vmx_error_text(u64 number);

/* VMX abort indicators: SDM vol. 3 27.7 "VMX Aborts". */
enum vmx_abort { VMABORT_MSR_STORE = 1, VMABORT_HOST_PDPTE = 2, VMABORT_VMCS = 3, VMABORT_MSR_LOAD = 4, VMABORT_IA32E = 6 };
const char *vmx_abort_text(u64 indicator);

#endif
