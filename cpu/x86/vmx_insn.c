/*
 * The VMX instructions but for VM entry itself (vmx_entry.c). SDM vol. 3 30.3 "VMX Instructions", 30.2 "Conventions".
 *
 * The order of checks is the same for all: #UD outside VMX operation or in the wrong mode, exit in non-root operation,
 * #GP(0) above CPL 0, memory operand, VMfail, effect.
 */
#include "arch/x86/model.h"
#include "cpu/x86/int.h"
#include "cpu/x86/seg.h"
#include "cpu/x86/svm.h"
#include "cpu/x86/trace.h"
#include "cpu/x86/vmx.h"

#define FEATURE_CONTROL_VMX (BIT(0) | BIT(2)) /* locked, VMX outside SMX */

static void status(struct x86_cpu *cpu, u16 set)
{
	cpu->st.oszapc &= ~(u64)(CF_AX | PF_AX | AF_AX | ZF_AX | SF_AX | OF_AX);
	cpu->st.oszapc |= set;
}

void vmx_succeed(struct x86_cpu *cpu) { status(cpu, 0); }
void vmx_fail_invalid(struct x86_cpu *cpu) { status(cpu, CF_AX); }

void vmx_fail(struct x86_cpu *cpu, enum vmx_error error)
{
	struct vmcs *v = vmx_current(cpu, true);

	if (!v) {
		vmx_fail_invalid(cpu);
		return;
	}
	v->f[VMCS_INSN_ERROR] = error;
	svm_page_written(cpu, cpu->st.vmx.vmcs);
	status(cpu, ZF_AX);
	if (trace_on(cpu->topics, TRACE_VMEXIT))
		trace_cpu(cpu, NULL, TRACE_VMEXIT, "VMX instruction failed: error %u: %s", error,
			  vmx_error_text(error));
}

static bool wrong_mode(const struct x86_cpu *cpu)
{
	return (cpu->c.mode & (MODE_PE | MODE_V86)) != MODE_PE || (in_long_mode(cpu) && !in_code64(cpu));
}

/* What comes before an instruction's own work. */
static enum outcome prologue(struct x86_cpu *cpu, enum x86_exit exit)
{
	if (!cpu->st.vmx.on || wrong_mode(cpu))
		return x86_fault(cpu, EXC_UD, 0);
	if (cpu->c.vmx.on)
		return x86_exit(cpu, exit, 0, 0);
	if (cpu->st.cpl)
		return x86_fault(cpu, EXC_GP, 0);
	return OUT_NEXT;
}

static bool bad_region(const struct x86_cpu *cpu, u64 pa) { return (pa & 0xfff) || pa >> cpu->model->phys_bits; }

/* The revision identifier of a region; what is no memory has none. */
static u32 revision(struct x86_cpu *cpu, u64 pa)
{
	u32 v = ~0u;

	phys_read(cpu, pa, &v, sizeof(v));
	return v;
}

HANDLER(op_vmxon)
{
	struct x86_state *st = &cpu->st;
	u64 pa;

	if (!(st->cr4 & CR4_VMXE) || wrong_mode(cpu))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if (st->vmx.on) {
		TRY(cpu, in, prologue(cpu, EXIT_VMXON));
		vmx_fail(cpu, VMERR_VMXON_ROOT);
		LEAVE(cpu, in, OUT_END);
	}
	if (st->cpl || (st->cr0 & VMX_CR0_FIXED) != VMX_CR0_FIXED ||
	    (st->msr.feature_control & FEATURE_CONTROL_VMX) != FEATURE_CONTROL_VMX)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	TRY(cpu, in, operand_read(cpu, in, 8, &pa));
	if (bad_region(cpu, pa) || revision(cpu, pa) != VMCS_REVISION) {
		vmx_fail_invalid(cpu);
		LEAVE(cpu, in, OUT_END);
	}
	st->vmx.on = 1;
	st->vmx.vmxon = pa;
	st->vmx.vmcs = X86_NO_VMCS;
	vmx_succeed(cpu);
	x86_update_attention(cpu);
	LEAVE(cpu, in, OUT_END);
}

HANDLER(op_vmxoff)
{
	TRY(cpu, in, prologue(cpu, EXIT_VMXOFF));
	cpu->st.vmx.on = 0;
	cpu->st.vmx.vmxon = 0;
	cpu->st.vmx.vmcs = X86_NO_VMCS;
	vmx_succeed(cpu);
	x86_update_attention(cpu);
	LEAVE(cpu, in, OUT_END);
}

HANDLER(op_vmclear)
{
	u32 clear = VMCS_LAUNCH_CLEAR;
	u64 pa;

	TRY(cpu, in, prologue(cpu, EXIT_VMCLEAR));
	TRY(cpu, in, operand_read(cpu, in, 8, &pa));
	if (bad_region(cpu, pa)) {
		vmx_fail(cpu, VMERR_VMCLEAR_ADDRESS);
	} else if (pa == cpu->st.vmx.vmxon) {
		vmx_fail(cpu, VMERR_VMCLEAR_VMXON);
	} else {
		phys_write(cpu, pa + offsetof(struct vmcs, launch), &clear, sizeof(clear));
		if (cpu->st.vmx.vmcs == pa)
			cpu->st.vmx.vmcs = X86_NO_VMCS;
		vmx_succeed(cpu);
	}
	LEAVE(cpu, in, OUT_END);
}

HANDLER(op_vmptrld)
{
	u64 pa;

	TRY(cpu, in, prologue(cpu, EXIT_VMPTRLD));
	TRY(cpu, in, operand_read(cpu, in, 8, &pa));
	if (bad_region(cpu, pa)) {
		vmx_fail(cpu, VMERR_VMPTRLD_ADDRESS);
	} else if (pa == cpu->st.vmx.vmxon) {
		vmx_fail(cpu, VMERR_VMPTRLD_VMXON);
	} else if ((revision(cpu, pa) & ~(cpu->vmx_env.may[VMX_PROC2] & VMX_PROC2_SHADOW ? VMCS_IS_SHADOW : 0)) !=
		   VMCS_REVISION) {
		vmx_fail(cpu, VMERR_VMPTRLD_REVISION);
	} else {
		cpu->st.vmx.vmcs = pa;
		vmx_succeed(cpu);
	}
	LEAVE(cpu, in, OUT_END);
}

HANDLER(op_vmptrst)
{
	TRY(cpu, in, prologue(cpu, EXIT_VMPTRST));
	TRY(cpu, in, operand_write(cpu, in, 8, cpu->st.vmx.vmcs));
	vmx_succeed(cpu);
	LEAVE(cpu, in, OUT_END);
}

static u64 reg_operand(const struct x86_cpu *cpu, u16 off)
{
	u64 v = *(const u64 *)((const char *)cpu + off);

	return in_code64(cpu) ? v : (u32)v;
}

static u64 field_get(const struct vmcs *v, enum vmcs_field f, u64 encoding)
{
	return encoding & VMCS_HIGH ? v->f[f] >> 32 : v->f[f];
}

/* Outside 64-bit mode a full access clears bits 63:32 of a longer field: SDM vol. 3 30.3 "VMWRITE". */
static void field_set(struct vmcs *v, enum vmcs_field f, u64 encoding, u64 value)
{
	if (encoding & VMCS_HIGH)
		v->f[f] = (u32)v->f[f] | value << 32;
	else
		v->f[f] = value & vmcs_field_mask(f);
}

/* SDM vol. 3 24.6.15 "VMCS Shadowing Bitmap Addresses", 25.1.2. */
static bool shadowed(struct x86_cpu *cpu, u64 bitmap, u64 encoding)
{
	const u8 *p = cpu->c.vmx.shadow && !(encoding >> 15) ? svm_page(cpu, bitmap, false) : NULL;

	return p && !(p[encoding / 8] >> encoding % 8 & 1);
}

/* prologue() for VMREAD and VMWRITE, and the VMCS that they work on: the current one, or in non-root operation that of
 * the link pointer. NULL: there is none. */
static enum outcome vmcs_access(struct x86_cpu *cpu, enum x86_exit exit, u64 bitmap, u64 encoding, bool write,
				struct vmcs **v)
{
	enum outcome o = prologue(cpu, exit);

	if (o == OUT_EXIT && shadowed(cpu, bitmap, encoding)) {
		if (cpu->st.cpl)
			return x86_fault(cpu, EXC_GP, 0);
		*v = cpu->c.vmx.link == ~0ull ? NULL : svm_page(cpu, cpu->c.vmx.link, write);
		return OUT_NEXT;
	}
	*v = o == OUT_NEXT ? vmx_current(cpu, write) : NULL;
	return o;
}

/* false: VMREAD or VMWRITE has failed, for want of a VMCS or of the field. */
static bool has_field(struct x86_cpu *cpu, const struct vmcs *v, enum vmcs_field f)
{
	if (!v)
		vmx_fail_invalid(cpu);
	else if (f == VMCS_NONE)
		vmx_fail(cpu, VMERR_NO_FIELD);
	return v && f != VMCS_NONE;
}

HANDLER(op_vmread)
{
	unsigned size = in_code64(cpu) ? 8 : 4;
	u64 encoding, value;
	struct vmcs *v = NULL;
	enum vmcs_field f;

	encoding = reg_operand(cpu, in->src);
	TRY(cpu, in, vmcs_access(cpu, EXIT_VMREAD, cpu->c.vmx.vmread_bitmap, encoding, false, &v));
	f = vmcs_find(encoding);
	if (!has_field(cpu, v, f))
		LEAVE(cpu, in, OUT_END);
	value = field_get(v, f, encoding);
	if (in->flags & IN_MEM)
		TRY(cpu, in, operand_write(cpu, in, size, value));
	else
		REG64(cpu, in->dst) = size == 8 ? value : (u32)value;
	vmx_succeed(cpu);
	NEXT(cpu, in);
}

HANDLER(op_vmwrite)
{
	unsigned size = in_code64(cpu) ? 8 : 4;
	u64 encoding, value;
	struct vmcs *v = NULL;
	enum vmcs_field f;

	encoding = reg_operand(cpu, in->dst);
	TRY(cpu, in, vmcs_access(cpu, EXIT_VMWRITE, cpu->c.vmx.vmwrite_bitmap, encoding, true, &v));
	if (in->flags & IN_MEM)
		TRY(cpu, in, operand_read(cpu, in, size, &value));
	else
		value = reg_operand(cpu, in->src);
	f = vmcs_find(encoding);
	if (!has_field(cpu, v, f))
		LEAVE(cpu, in, OUT_END);
	if (VMCS_TYPE(encoding) == VMCS_TYPE_EXIT && !(cpu->vmx_cap[VMX_CAP_MISC] & VMX_MISC_VMWRITE_ANY)) {
		vmx_fail(cpu, VMERR_READ_ONLY);
		LEAVE(cpu, in, OUT_END);
	}
	field_set(v, f, encoding, value);
	svm_page_written(cpu, cpu->c.vmx.on ? cpu->c.vmx.link : cpu->st.vmx.vmcs);
	vmx_succeed(cpu);
	NEXT(cpu, in);
}

HANDLER(op_vmlaunch)
{
	TRY(cpu, in, prologue(cpu, EXIT_VMLAUNCH));
	LEAVE(cpu, in, vmx_enter(cpu, in, true));
}

HANDLER(op_vmresume)
{
	TRY(cpu, in, prologue(cpu, EXIT_VMRESUME));
	LEAVE(cpu, in, vmx_enter(cpu, in, false));
}

/* In non-root operation VMCALL exits from any mode and CPL. */
HANDLER(op_vmcall)
{
	if (cpu->c.vmx.on)
		LEAVE(cpu, in, x86_exit(cpu, EXIT_VMMCALL, 0, 0));
	TRY(cpu, in, prologue(cpu, EXIT_VMMCALL));
	vmx_fail(cpu, VMERR_VMCALL_ROOT);
	LEAVE(cpu, in, OUT_END);
}

enum invept_type { INVEPT_SINGLE = 1, INVEPT_ALL = 2 };
enum invvpid_type { INVVPID_ADDRESS, INVVPID_SINGLE, INVVPID_ALL, INVVPID_SINGLE_NONGLOBAL };

static enum outcome inv_descriptor(struct x86_cpu *cpu, const struct insn *in, u64 d[2])
{
	u64 la;
	enum outcome o = insn_la(cpu, in, 16, insn_acc(in), &la);

	return o == OUT_NEXT ? mem_read_n(cpu, la, d, 16, insn_acc(in)) : o;
}

/* As VM entry wants EPTP: SDM vol. 3 26.2.1.1. */
bool vmx_eptp_valid(const struct x86_cpu *cpu, u64 eptp)
{
	return ((eptp & 7) == 0 || (eptp & 7) == 6) && (eptp >> 3 & 7) == 3 && !(eptp & 0xf80) &&
	       !(eptp >> cpu->model->phys_bits) && (!(eptp & EPTP_AD) || (cpu->vmx_cap[VMX_CAP_EPT_VPID] & VMX_EPT_AD));
}

/* A type that is not supported fails before the descriptor is read: SDM vol. 3 30.3 "INVEPT", "INVVPID". */
HANDLER(op_invept)
{
	u64 type = reg_operand(cpu, in->dst), d[2], caps = cpu->vmx_cap[VMX_CAP_EPT_VPID];

	if (!(caps & VMX_EPT_INVEPT))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	TRY(cpu, in, prologue(cpu, EXIT_INVEPT));
	if (!(type == INVEPT_SINGLE && (caps & VMX_EPT_INVEPT_SINGLE)) &&
	    !(type == INVEPT_ALL && (caps & VMX_EPT_INVEPT_ALL))) {
		vmx_fail(cpu, VMERR_INV_OPERAND);
		LEAVE(cpu, in, OUT_END);
	}
	TRY(cpu, in, inv_descriptor(cpu, in, d));
	if (type == INVEPT_SINGLE && (d[1] || !vmx_eptp_valid(cpu, d[0]))) {
		vmx_fail(cpu, VMERR_INV_OPERAND);
		LEAVE(cpu, in, OUT_END);
	}
	tlb_flush_ept(cpu, type == INVEPT_SINGLE ? d[0] : 0);
	vmx_succeed(cpu);
	LEAVE(cpu, in, OUT_END);
}

static bool invvpid(struct x86_cpu *cpu, u64 type, const u64 d[2])
{
	u32 vpid = (u16)d[0];

	if (d[0] >> 16)
		return false;
	if (type == INVVPID_ALL) {
		tlb_flush_guests(cpu);
		return true;
	}
	if (!vpid)
		return false;
	if (type == INVVPID_ADDRESS) {
		if (!la_canonical_kept(cpu, d[1]))
			return false;
		tlb_flush_asid_page(cpu, vpid, d[1]);
		return true;
	}
	tlb_flush_asid(cpu, vpid, type == INVVPID_SINGLE_NONGLOBAL);
	return true;
}

HANDLER(op_invvpid)
{
	u64 type = reg_operand(cpu, in->dst), d[2], caps = cpu->vmx_cap[VMX_CAP_EPT_VPID];

	if (!(caps & VMX_EPT_INVVPID))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	TRY(cpu, in, prologue(cpu, EXIT_INVVPID));
	if (type > INVVPID_SINGLE_NONGLOBAL || !(caps & VMX_EPT_INVVPID_TYPE0 << type)) {
		vmx_fail(cpu, VMERR_INV_OPERAND);
		LEAVE(cpu, in, OUT_END);
	}
	TRY(cpu, in, inv_descriptor(cpu, in, d));
	if (invvpid(cpu, type, d))
		vmx_succeed(cpu);
	else
		vmx_fail(cpu, VMERR_INV_OPERAND);
	LEAVE(cpu, in, OUT_END);
}

BIND(vmxon)
BIND(vmxoff)
BIND(vmclear)
BIND(vmptrld)
BIND(vmptrst)
BIND(vmread)
BIND(vmwrite)
BIND(vmlaunch)
BIND(vmresume)
BIND(vmcall)
BIND(invept)
BIND(invvpid)
