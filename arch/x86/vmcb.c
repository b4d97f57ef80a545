/* The VMCB's field tables: they tile, reserved bytes included. */
#include "arch/x86/vmcb.h"

#define C(f)  DESC_INT(struct vmcb_control, f)
#define CA(f) DESC_ARR(struct vmcb_control, f)
static const struct desc_field control_fields[] = {
	C(cr_read),    C(cr_write),	C(dr_read),	  C(dr_write),	      C(exceptions),  C(intercept3),
	C(intercept4), C(intercept5),	CA(rsvd_018),	  C(pause_threshold), C(pause_count), C(iopm),
	C(msrpm),      C(tsc_offset),	C(asid),	  C(tlb_control),     CA(rsvd_05d),   C(int_ctl),
	C(int_vector), C(int_state),	C(exit_code),	  C(exit_info1),      C(exit_info2),  C(exit_int_info),
	C(np_control), C(avic_bar),	C(ghcb),	  C(event_inj),	      C(ncr3),	      C(virt_ext),
	C(clean),      C(rsvd_0c4),	C(next_rip),	  C(insn_len),	      CA(insn_bytes), C(avic_backing),
	C(rsvd_0e8),   C(avic_logical), C(avic_physical), C(rsvd_100),	      C(vmsa),	      CA(rsvd_110),
	CA(host_use),
};
static DESC(control_desc, struct vmcb_control, control_fields);

#define G(f) DESC_INT(struct vmcb_seg, f)
static const struct desc_field seg_fields[] = {G(sel), G(attr), G(limit), G(base)};
static DESC(seg_desc, struct vmcb_seg, seg_fields);

#define S(f)   DESC_INT(struct vmcb_save, f)
#define SA(f)  DESC_ARR(struct vmcb_save, f)
#define SEG(f) DESC_SUB(struct vmcb_save, f, &seg_desc)
static const struct desc_field save_fields[] = {
	SEG(es),
	SEG(cs),
	SEG(ss),
	SEG(ds),
	SEG(fs),
	SEG(gs),
	SEG(gdtr),
	SEG(ldtr),
	SEG(idtr),
	SEG(tr),
	SA(rsvd_0a0),
	S(cpl),
	S(rsvd_0cc),
	S(efer),
	SA(rsvd_0d8),
	S(cr4),
	S(cr3),
	S(cr0),
	S(dr7),
	S(dr6),
	S(rflags),
	S(rip),
	SA(rsvd_180),
	S(rsp),
	S(s_cet),
	S(ssp),
	S(isst),
	S(rax),
	S(star),
	S(lstar),
	S(cstar),
	S(sfmask),
	S(kernel_gs_base),
	S(sysenter_cs),
	S(sysenter_esp),
	S(sysenter_eip),
	S(cr2),
	SA(rsvd_248),
	S(g_pat),
	S(dbgctl),
	S(br_from),
	S(br_to),
	S(last_excp_from),
	S(last_excp_to),
	SA(rsvd_298),
	S(spec_ctrl),
	SA(rsvd_2e8),
};
static DESC(save_desc, struct vmcb_save, save_fields);

static const struct desc_field vmcb_fields[] = {
	DESC_SUB(struct vmcb, c, &control_desc),
	DESC_SUB(struct vmcb, s, &save_desc),
};
DESC(vmcb_desc, struct vmcb, vmcb_fields);
