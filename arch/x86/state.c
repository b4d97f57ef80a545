/*
 * The field tables of struct x86_state and the power-on state.
 * SDM vol. 3 9.1.1 "Processor State After Reset", table 9-1; APM vol. 2 14.1.3 "Processor Initialization State".
 */
#include "arch/x86/state.h"

#include <string.h>

static const struct desc_field seg_rows[] = {
	DESC_INT(struct x86_seg, sel),
	DESC_INT(struct x86_seg, attr),
	DESC_INT(struct x86_seg, limit),
	DESC_INT(struct x86_seg, base),
};
static DESC(seg_desc, struct x86_seg, seg_rows);

static const struct desc_field dtr_rows[] = {
	DESC_INT(struct x86_dtr, base),
	DESC_INT(struct x86_dtr, limit),
};
static DESC(dtr_desc, struct x86_dtr, dtr_rows);

/* Rows of vectors of bytes: one "element" of the table is one byte, so that 16- and 64-byte registers stay exact. */
#define DESC_BYTES(type, f)                                                                                            \
	{                                                                                                              \
#f, offsetof(type, f), 1, sizeof(((type *)0)->f), NULL                                                 \
	}

static const struct desc_field fpu_rows[] = {
	DESC_INT(struct x86_fpu, fcw), DESC_INT(struct x86_fpu, fsw),	DESC_INT(struct x86_fpu, ftw),
	DESC_INT(struct x86_fpu, fop), DESC_INT(struct x86_fpu, mxcsr), DESC_INT(struct x86_fpu, pkru),
	DESC_INT(struct x86_fpu, fip), DESC_INT(struct x86_fpu, fdp),	DESC_INT(struct x86_fpu, fcs),
	DESC_INT(struct x86_fpu, fds), DESC_BYTES(struct x86_fpu, st),	DESC_BYTES(struct x86_fpu, vec),
	DESC_ARR(struct x86_fpu, k),
};
static DESC(fpu_desc, struct x86_fpu, fpu_rows);

static const struct desc_field msr_rows[] = {
	DESC_INT(struct x86_msrs, efer),
	DESC_INT(struct x86_msrs, star),
	DESC_INT(struct x86_msrs, lstar),
	DESC_INT(struct x86_msrs, cstar),
	DESC_INT(struct x86_msrs, sfmask),
	DESC_INT(struct x86_msrs, kernel_gs_base),
	DESC_INT(struct x86_msrs, sysenter_cs),
	DESC_INT(struct x86_msrs, sysenter_esp),
	DESC_INT(struct x86_msrs, sysenter_eip),
	DESC_INT(struct x86_msrs, pat),
	DESC_INT(struct x86_msrs, tsc_aux),
	DESC_INT(struct x86_msrs, tsc_adjust),
	DESC_INT(struct x86_msrs, xss),
	DESC_INT(struct x86_msrs, misc_enable),
	DESC_INT(struct x86_msrs, debugctl),
	DESC_INT(struct x86_msrs, spec_ctrl),
	DESC_INT(struct x86_msrs, mtrr_def),
	DESC_ARR(struct x86_msrs, mtrr_fix),
	DESC_ARR(struct x86_msrs, mtrr_base),
	DESC_ARR(struct x86_msrs, mtrr_mask),
	DESC_INT(struct x86_msrs, mcg_status),
	DESC_ARR(struct x86_msrs, mc_ctl),
	DESC_ARR(struct x86_msrs, mc_status),
	DESC_ARR(struct x86_msrs, mc_addr),
	DESC_ARR(struct x86_msrs, mc_misc),
	DESC_INT(struct x86_msrs, feature_control),
	DESC_ARR(struct x86_msrs, last_branch),
	DESC_INT(struct x86_msrs, hwcr),
	DESC_INT(struct x86_msrs, syscfg),
	DESC_INT(struct x86_msrs, ls_cfg),
	DESC_INT(struct x86_msrs, de_cfg),
	DESC_INT(struct x86_msrs, nb_cfg),
	DESC_INT(struct x86_msrs, patch_level),
	DESC_INT(struct x86_msrs, tsc_ratio),
	DESC_ARR(struct x86_msrs, osvw),
	DESC_INT(struct x86_msrs, kvm_wall_clock),
	DESC_INT(struct x86_msrs, kvm_system_time),
	DESC_INT(struct x86_msrs, ucode_rev),
};
static DESC(msrs_desc, struct x86_msrs, msr_rows);

static const struct desc_field svm_rows[] = {
	DESC_INT(struct x86_svm, vm_cr),      DESC_INT(struct x86_svm, hsave_pa),   DESC_INT(struct x86_svm, vmcb),
	DESC_INT(struct x86_svm, int_ctl),    DESC_INT(struct x86_svm, int_vector), DESC_INT(struct x86_svm, g_pat),
	DESC_INT(struct x86_svm, pause_left), DESC_INT(struct x86_svm, pause_last), DESC_INT(struct x86_svm, nmi_blocked), DESC_INT(struct x86_svm, in_guest),
	DESC_INT(struct x86_svm, gif),
};
static DESC(svm_desc, struct x86_svm, svm_rows);

static const struct desc_field vmx_rows[] = {
	DESC_INT(struct x86_vmx, vmxon), DESC_INT(struct x86_vmx, vmcs),       DESC_INT(struct x86_vmx, nmi_blocked),
	DESC_INT(struct x86_vmx, timer), DESC_INT(struct x86_vmx, pause_last), DESC_INT(struct x86_vmx, pause_first),
	DESC_INT(struct x86_vmx, on),	 DESC_INT(struct x86_vmx, in_guest),
};
static DESC(vmx_desc, struct x86_vmx, vmx_rows);

static const struct desc_field state_rows[] = {
	DESC_ARR(struct x86_state, gpr),
	DESC_INT(struct x86_state, rip),
	DESC_INT(struct x86_state, rflags),
	DESC_INT(struct x86_state, oszapc),
	DESC_SUBS(struct x86_state, seg, &seg_desc),
	DESC_SUB(struct x86_state, ldtr, &seg_desc),
	DESC_SUB(struct x86_state, tr, &seg_desc),
	DESC_SUB(struct x86_state, gdtr, &dtr_desc),
	DESC_SUB(struct x86_state, idtr, &dtr_desc),
	DESC_INT(struct x86_state, cr0),
	DESC_INT(struct x86_state, cr2),
	DESC_INT(struct x86_state, cr3),
	DESC_INT(struct x86_state, cr4),
	DESC_INT(struct x86_state, xcr0),
	DESC_ARR(struct x86_state, pdpte),
	DESC_ARR(struct x86_state, dr),
	DESC_INT(struct x86_state, dr6),
	DESC_INT(struct x86_state, dr7),
	DESC_INT(struct x86_state, tsc_offset),
	DESC_INT(struct x86_state, cpl),
	DESC_INT(struct x86_state, activity),
	DESC_INT(struct x86_state, shadow),
	DESC_INT(struct x86_state, nmi_blocked),
	DESC_INT(struct x86_state, nmi_pending),
	DESC_INT(struct x86_state, vendor),
	DESC_INT(struct x86_state, pending_db),
	DESC_SUB(struct x86_state, fpu, &fpu_desc),
	DESC_SUB(struct x86_state, msr, &msrs_desc),
	DESC_SUB(struct x86_state, svm, &svm_desc),
	DESC_SUB(struct x86_state, vmx, &vmx_desc),
};
DESC(x86_state_desc, struct x86_state, state_rows);

#define PAT_RESET		 0x0007040600070406ull
#define MISC_ENABLE_FAST_STRINGS BIT(0)
#define MISC_ENABLE_NO_BTS	 BIT(11)
#define MISC_ENABLE_NO_PEBS	 BIT(12)
/* What hypervisors report as the microcode's revision, so that no erratum of real silicon is assumed to be open. */
#define UCODE_REV 0x01000065ull

static struct x86_seg real_segment(u16 sel, u64 base, u16 type)
{
	return (struct x86_seg){.sel = sel, .attr = SEG_P | SEG_S | type, .limit = 0xffff, .base = base};
}

static void reset_units(struct x86_state *st)
{
	st->xcr0 = XCR0_X87;
	st->fpu.fcw = 0x40;
	st->fpu.ftw = 0xff; /* tag word 5555h: all registers hold zero */
	st->fpu.mxcsr = 0x1f80;
	st->msr.pat = PAT_RESET;
	if (st->vendor == X86_INTEL) {
		st->msr.misc_enable = MISC_ENABLE_FAST_STRINGS | MISC_ENABLE_NO_BTS | MISC_ENABLE_NO_PEBS;
		st->msr.ucode_rev = UCODE_REV << 32;
	} else {
		st->msr.tsc_ratio = X86_TSC_RATIO_ONE;
		st->msr.patch_level = UCODE_REV;
	}
}

void x86_reset(struct x86_state *st, enum x86_vendor vendor, u32 signature, bool init)
{
	struct x86_state old = {0};

	if (init)
		old = *st;
	memset(st, 0, sizeof(*st));
	st->vendor = vendor;
	st->gpr[RDX] = signature;
	st->rip = 0xfff0;
	x86_set_rflags(st, FL_FIXED);
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = real_segment(0, 0, SEG_RW | SEG_ACCESSED);
	st->seg[CS] = real_segment(0xf000, 0xffff0000, SEG_CODE | SEG_RW | SEG_ACCESSED);
	st->ldtr = (struct x86_seg){.attr = SEG_P | 2, .limit = 0xffff};
	st->tr = (struct x86_seg){.attr = SEG_P | 11, .limit = 0xffff};
	st->gdtr.limit = 0xffff;
	st->idtr.limit = 0xffff;
	st->cr0 = CR0_CD | CR0_NW | CR0_ET;
	st->dr6 = DR6_FIXED;
	st->dr7 = DR7_FIXED;
	st->activity = ACT_RUNNING;
	st->svm.gif = 1;
	st->vmx.vmcs = X86_NO_VMCS;
	if (!init) {
		reset_units(st);
		return;
	}
	st->cr0 = CR0_ET | (old.cr0 & (CR0_CD | CR0_NW));
	st->xcr0 = old.xcr0;
	st->tsc_offset = old.tsc_offset;
	st->fpu = old.fpu;
	st->msr = old.msr;
	st->msr.efer = 0;
	st->svm.vm_cr = old.svm.vm_cr;
	st->svm.hsave_pa = old.svm.hsave_pa;
}
