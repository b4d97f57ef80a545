/*
 * MSRs whose reads or writes do more than keep bits. SDM vol. 4; SDM vol. 3 11.11 "Memory Type Range Registers", 11.12
 * "Page Attribute Table", 15.3 "Machine-Check MSRs"; APM vol. 2 3.1.7 "Extended Feature Enable Register", 15.30 "SVM
 * Related MSRs".
 *
 * Memory types are kept and read back, and change nothing: the host's memory is write-back throughout.
 */
#include "cpu/x86/avic.h"
#include "cpu/x86/lbr.h"
#include "cpu/x86/mem.h"
#include "cpu/x86/msr.h"
#include "cpu/x86/svm.h"
#include "cpu/x86/vmx.h"

static bool tsc_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = x86_tsc(cpu);
	return true;
}
/* SDM vol. 3 17.17.3 "Time-Stamp Counter Adjustment": a write of either register shows in the other. */
static bool tsc_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	u64 delta = v - x86_tsc(cpu);

	cpu->st.msr.tsc_adjust += delta;
	tsc_move(cpu, delta);
	return true;
}

static bool tsc_adjust_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.msr.tsc_adjust;
	return true;
}
static bool tsc_adjust_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	u64 delta = v - cpu->st.msr.tsc_adjust;

	cpu->st.msr.tsc_adjust = v;
	tsc_move(cpu, delta);
	return true;
}

#define FEATURE_CONTROL_LOCK BIT(0)
#define FEATURE_CONTROL_BITS 0x7ull /* lock, VMX inside SMX, VMX outside SMX */

static bool feature_control_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.msr.feature_control;
	return true;
}
static bool feature_control_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	if ((cpu->st.msr.feature_control & FEATURE_CONTROL_LOCK) || (v & ~FEATURE_CONTROL_BITS))
		return false;
	cpu->st.msr.feature_control = v;
	return true;
}

/* Write-only. Nothing is predicted here, so that a barrier has nothing to hold back. */
static bool pred_cmd_write(struct x86_cpu *cpu, unsigned n, u64 v) { return !(v & ~1ull); }

static bool tsc_ratio_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.msr.tsc_ratio;
	return true;
}
static bool tsc_ratio_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	if (v >> 40)
		return false;
	cpu->st.msr.tsc_ratio = v;
	if (cpu->st.svm.in_guest)
		cpu->c.guest_tsc_mul = svm_tsc_mul(cpu);
	return true;
}

static bool avic_doorbell_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	if (v >> 32)
		return false;
	avic_doorbell(cpu, (u32)v);
	return true;
}

static bool last_branch_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.msr.last_branch[n];
	return true;
}

static bool debugctl_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.msr.debugctl;
	return true;
}
static bool debugctl_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	if (v & ~(cpu->st.vendor == X86_AMD ? DEBUGCTL_AMD : DEBUGCTL_LBR | DEBUGCTL_BTF))
		return false;
	if ((v & DEBUGCTL_LBR) && cpu->st.vendor != X86_AMD)
		log_limit(cpu->vm->log, "DEBUGCTL.LBR: branches are not recorded");
	cpu->st.msr.debugctl = v;
	x86_update_attention(cpu);
	return true;
}

static bool mtrr_var_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = n & 1 ? cpu->st.msr.mtrr_mask[n / 2] : cpu->st.msr.mtrr_base[n / 2];
	return true;
}
static bool mtrr_var_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	u64 reserved = ~MASK(cpu->model->phys_bits) | (n & 1 ? 0x7ff : 0xf00);

	if ((v & reserved) || (!(n & 1) && !x86_mtrr_type_valid((u8)v)))
		return false;
	*(n & 1 ? &cpu->st.msr.mtrr_mask[n / 2] : &cpu->st.msr.mtrr_base[n / 2]) = v;
	return true;
}

static bool mtrr_fix_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.msr.mtrr_fix[n];
	return true;
}
/* APM vol. 2 7.9.1 "Extended Fixed-Range MTRR Type-Field Encodings": RdMem and WrMem, where SYSCFG.MtrrFixDramModEn
 * shows them. */
static bool mtrr_fix_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	u8 extra = cpu->st.vendor == X86_AMD && (cpu->st.msr.syscfg & BIT(19)) ? 0x18 : 0;

	for (unsigned i = 0; i < 8; i++)
		if (!x86_mtrr_type_valid((u8)(v >> (8 * i)) & ~extra))
			return false;
	cpu->st.msr.mtrr_fix[n] = v;
	return true;
}
static bool mtrr_fix16k_read(struct x86_cpu *cpu, unsigned n, u64 *v) { return mtrr_fix_read(cpu, 1 + n, v); }
static bool mtrr_fix16k_write(struct x86_cpu *cpu, unsigned n, u64 v) { return mtrr_fix_write(cpu, 1 + n, v); }
static bool mtrr_fix4k_read(struct x86_cpu *cpu, unsigned n, u64 *v) { return mtrr_fix_read(cpu, 3 + n, v); }
static bool mtrr_fix4k_write(struct x86_cpu *cpu, unsigned n, u64 v) { return mtrr_fix_write(cpu, 3 + n, v); }

static bool mtrr_def_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.msr.mtrr_def;
	return true;
}
static bool mtrr_def_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	if ((v & ~0xcffull) || !x86_mtrr_type_valid((u8)v))
		return false;
	cpu->st.msr.mtrr_def = v;
	return true;
}

/* APM vol. 2 15.25.2 "Replicated State": a guest under nested paging has a PAT of its own. */
static u64 *pat_register(struct x86_cpu *cpu)
{
	return cpu->c.npt && !cpu->c.ept ? &cpu->st.svm.g_pat : &cpu->st.msr.pat;
}
static bool pat_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = *pat_register(cpu);
	return true;
}
static bool pat_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	for (unsigned i = 0; i < 8; i++)
		if (!x86_pat_type_valid((u8)(v >> (8 * i))))
			return false;
	*pat_register(cpu) = v;
	return true;
}

#define HWCR_MC_STATUS_WR_EN BIT(18)

static u64 *mc_register(struct x86_cpu *cpu, unsigned n)
{
	u64 *const kind[4] = {cpu->st.msr.mc_ctl, cpu->st.msr.mc_status, cpu->st.msr.mc_addr, cpu->st.msr.mc_misc};

	return &kind[n % 4][n / 4];
}
static bool mc_bank_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = *mc_register(cpu, n);
	return true;
}
/* SDM vol. 3 15.3.2.2: only 0 may be written to STATUS, ADDR and MISC, but for AMD's switch in HWCR. */
static bool mc_bank_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	if (n % 4 && v && !(cpu->st.vendor == X86_AMD && (cpu->st.msr.hwcr & HWCR_MC_STATUS_WR_EN)))
		return false;
	*mc_register(cpu, n) = v;
	return true;
}

static bool kvm_wall_clock_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.msr.kvm_wall_clock;
	return true;
}
static bool kvm_wall_clock_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	cpu->st.msr.kvm_wall_clock = v;
	kvm_wall_clock_publish(cpu, v);
	return true;
}
static bool kvm_system_time_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.msr.kvm_system_time;
	return true;
}
static bool kvm_system_time_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	cpu->st.msr.kvm_system_time = v;
	kvm_clock_publish(cpu);
	return true;
}

#define VM_CR_LOCK   BIT(3)
#define VM_CR_SVMDIS BIT(4)
#define VM_CR_BITS   0x1full /* DPD, R_INIT, DIS_A20M, LOCK, SVMDIS */

static u64 efer_defined(const struct x86_cpu *cpu)
{
	return x86_model_efer(cpu->model) & ~(cpu->st.svm.vm_cr & VM_CR_SVMDIS ? EFER_SVME : 0);
}

static bool efer_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.msr.efer;
	return true;
}
/* LMA is what CR0.PG made it; a write does not change it. */
static bool efer_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	u64 old = cpu->st.msr.efer, new = (v & ~EFER_LMA) | (old & EFER_LMA);

	if ((new & ~efer_defined(cpu)) || (((old ^ new) & EFER_LME) && (cpu->st.cr0 & CR0_PG)))
		return false;
	cpu->st.msr.efer = new;
	if ((old ^ new) & EFER_NXE)
		tlb_flush_current(cpu, true);
	x86_update_mode(cpu);
	return true;
}

#define HWCR_TSC_FREQ_SEL BIT(24) /* read-only: the counter runs at P0's frequency */
#define HWCR_WRITABLE	  (BIT(3) | BIT(4) | BIT(6) | BIT(8) | BIT(10) | HWCR_MC_STATUS_WR_EN)

static bool hwcr_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.msr.hwcr | HWCR_TSC_FREQ_SEL;
	return true;
}
static bool hwcr_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	if (v & ~(HWCR_WRITABLE | HWCR_TSC_FREQ_SEL))
		return false;
	cpu->st.msr.hwcr = v & HWCR_WRITABLE;
	return true;
}

static bool vm_cr_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.svm.vm_cr;
	return true;
}
/* APM vol. 2 15.30.1: LOCK keeps LOCK and SVMDIS as they are until reset; SVMDIS cannot be set while SVM is in use. */
static bool vm_cr_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	u64 locked = cpu->st.svm.vm_cr & VM_CR_LOCK ? VM_CR_LOCK | VM_CR_SVMDIS : 0;

	if (v & ~VM_CR_BITS)
		return false;
	v = (v & ~locked) | (cpu->st.svm.vm_cr & locked);
	if ((v & VM_CR_SVMDIS) && (cpu->st.msr.efer & EFER_SVME))
		return false;
	cpu->st.svm.vm_cr = v;
	return true;
}

static bool vm_hsave_pa_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = cpu->st.svm.hsave_pa;
	return true;
}
static bool vm_hsave_pa_write(struct x86_cpu *cpu, unsigned n, u64 v)
{
	if ((v & (RAM_PAGE - 1)) || v >> cpu->model->phys_bits)
		return false;
	cpu->st.svm.hsave_pa = v;
	return true;
}

static bool vmx_capability_read(struct x86_cpu *cpu, unsigned n, u64 *v)
{
	*v = vmx_capability(cpu->model, n);
	return vmx_capability_exists(cpu->model, n);
}

const struct msr_call msr_calls[MSR_CALLS] = {
#define CALL(name) [MSR_CALL_##name] = {name##_read, name##_write}
	CALL(tsc),
	CALL(tsc_adjust),
	CALL(feature_control),
	[MSR_CALL_pred_cmd] = {NULL, pred_cmd_write},
	CALL(debugctl),
	CALL(tsc_ratio),
	[MSR_CALL_avic_doorbell] = {NULL, avic_doorbell_write},
	[MSR_CALL_last_branch] = {last_branch_read, NULL},
	CALL(mtrr_var),
	[MSR_CALL_mtrr_fix64k] = {mtrr_fix_read, mtrr_fix_write},
	CALL(mtrr_fix16k),
	CALL(mtrr_fix4k),
	CALL(mtrr_def),
	CALL(pat),
	CALL(mc_bank),
	CALL(kvm_wall_clock),
	CALL(kvm_system_time),
	CALL(efer),
	CALL(hwcr),
	CALL(vm_cr),
	CALL(vm_hsave_pa),
	[MSR_CALL_vmx_capability] = {vmx_capability_read, NULL},
#undef CALL
};
