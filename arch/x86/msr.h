/*
 * The table of model-specific registers, made from msr.def: which there are for a CPU model, where each is held, and
 * what may be written. The processor (cpu/x86/exec_msr.c) and the inspector read the same rows.
 */
#ifndef ARCH_X86_MSR_H
#define ARCH_X86_MSR_H

#include "arch/x86/model.h"
#include "arch/x86/state.h"

#define X86_MC_BANKS 8

enum x86_msr_kind {
	MSR_KIND_KEEP,
	MSR_KIND_ADDR,
	MSR_KIND_SHOW,
	MSR_KIND_CONST,
	MSR_KIND_CALL,
	MSR_KIND_APIC,
	MSR_KIND_LACK
};

/* Registers with a function of their own. */
enum x86_msr_call {
	MSR_CALL_none,
	MSR_CALL_tsc,
	MSR_CALL_tsc_adjust,
	MSR_CALL_feature_control,
	MSR_CALL_pred_cmd,
	MSR_CALL_debugctl,
	MSR_CALL_tsc_ratio,
	MSR_CALL_avic_doorbell,
	MSR_CALL_last_branch,
	MSR_CALL_mtrr_var,
	MSR_CALL_mtrr_fix64k,
	MSR_CALL_mtrr_fix16k,
	MSR_CALL_mtrr_fix4k,
	MSR_CALL_mtrr_def,
	MSR_CALL_pat,
	MSR_CALL_mc_bank,
	MSR_CALL_kvm_wall_clock,
	MSR_CALL_kvm_system_time,
	MSR_CALL_efer,
	MSR_CALL_hwcr,
	MSR_CALL_vm_cr,
	MSR_CALL_vm_hsave_pa,
	MSR_CALL_vmx_capability,
	MSR_CALLS
};

enum x86_msr_vendor { MSR_INTEL = 1, MSR_AMD = 2, MSR_BOTH = 3 };

/* Conditions that are no feature of features.def. */
#define X86F_ALWAYS    X86_FEATURES
#define X86F_KVM_CLOCK (X86_FEATURES + 1)

struct x86_msr_row {
	u32 index;
	u16 count;  /* consecutive registers */
	u8 kind;    /* enum x86_msr_kind */
	u8 call;    /* enum x86_msr_call */
	u8 vendors; /* enum x86_msr_vendor */
	u16 feature;
	u16 where; /* byte offset in struct x86_state */
	u64 value; /* writable bits, or the constant */
	const char *name;
};

/* All rows, sorted by index. */
extern const struct x86_msr_row x86_msr_rows[];
extern const unsigned x86_msr_row_count;

/* The row of a register that exists in this model, or NULL. */
const struct x86_msr_row *x86_msr_find(const struct x86_model *m, u32 index);
/* Whether a byte of a PAT entry or of an MTRR names a memory type. */
bool x86_pat_type_valid(u8 type);
bool x86_mtrr_type_valid(u8 type);

#endif
