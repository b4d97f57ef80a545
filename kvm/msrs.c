/*
 * MSRs between struct x86_msrs and KVM: one row an MSR. An MSR that KVM does not list, or refuses, is not there for the
 * guest either; a value other than 0 that is lost that way is said.
 *
 * The TSC moves as an offset from the host's. IA32_APIC_BASE and the x2APIC's belong to the in-kernel APIC; EFER
 * travels with the special registers (state.c); the microcode revision is KVM's own word.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "kvm/internal.h"

#define MSR_TSC 0x10

struct msr_row {
	u32 index;
	u32 offset; /* of a u64 in struct x86_msrs */
};

#define M(msr, field)                                                                                                  \
	{                                                                                                              \
		msr, offsetof(struct x86_msrs, field)                                                                  \
	}
static const struct msr_row msr_rows[] = {
	M(0xc0000081, star),
	M(0xc0000082, lstar),
	M(0xc0000083, cstar),
	M(0xc0000084, sfmask),
	M(0xc0000102, kernel_gs_base),
	M(0x174, sysenter_cs),
	M(0x175, sysenter_esp),
	M(0x176, sysenter_eip),
	M(0x277, pat),
	M(0xc0000103, tsc_aux),
	M(0x3b, tsc_adjust),
	M(0xda0, xss),
	M(0x1a0, misc_enable),
	M(0x1d9, debugctl),
	M(0x48, spec_ctrl),
	M(0x3a, feature_control),
	M(0x2ff, mtrr_def),
	M(0x250, mtrr_fix[0]),
	M(0x258, mtrr_fix[1]),
	M(0x259, mtrr_fix[2]),
	M(0x268, mtrr_fix[3]),
	M(0x269, mtrr_fix[4]),
	M(0x26a, mtrr_fix[5]),
	M(0x26b, mtrr_fix[6]),
	M(0x26c, mtrr_fix[7]),
	M(0x26d, mtrr_fix[8]),
	M(0x26e, mtrr_fix[9]),
	M(0x26f, mtrr_fix[10]),
	M(0x200, mtrr_base[0]),
	M(0x201, mtrr_mask[0]),
	M(0x202, mtrr_base[1]),
	M(0x203, mtrr_mask[1]),
	M(0x204, mtrr_base[2]),
	M(0x205, mtrr_mask[2]),
	M(0x206, mtrr_base[3]),
	M(0x207, mtrr_mask[3]),
	M(0x208, mtrr_base[4]),
	M(0x209, mtrr_mask[4]),
	M(0x20a, mtrr_base[5]),
	M(0x20b, mtrr_mask[5]),
	M(0x20c, mtrr_base[6]),
	M(0x20d, mtrr_mask[6]),
	M(0x20e, mtrr_base[7]),
	M(0x20f, mtrr_mask[7]),
	M(0x17a, mcg_status),
	M(0xc0010015, hwcr),
	M(0xc0011029, de_cfg),
	M(0x4b564d00, kvm_wall_clock),
	M(0x4b564d01, kvm_system_time),
};
#undef M

/* MSRs that KVM takes although its list, which names what may vary, leaves them out. */
static bool always_there(u32 msr)
{
	return (msr >= 0x200 && msr <= 0x20f) || (msr >= 0x250 && msr <= 0x26f) || msr == 0x277 || msr == 0x2ff;
}

static bool listed(const struct kvm_vm *kvm, u32 msr)
{
	if (always_there(msr))
		return true;
	for (u32 i = 0; i < kvm->msrs->nmsrs; i++)
		if (kvm->msrs->indices[i] == msr)
			return true;
	return false;
}

/* struct kvm_msrs with one entry. */
struct msr_one {
	u32 nmsrs, pad;
	struct kvm_msr_entry entry;
};
_Static_assert(offsetof(struct msr_one, entry) == sizeof(struct kvm_msrs), "the entry follows the head");

static bool msr_set(struct kvm_vcpu *v, u32 msr, u64 value)
{
	struct msr_one m = {.nmsrs = 1, .entry = {.index = msr, .data = value}};

	return kvm_ioctl(v->fd, KVM_SET_MSRS, &m) == 1;
}

static bool msr_get(struct kvm_vcpu *v, u32 msr, u64 *value)
{
	struct msr_one m = {.nmsrs = 1, .entry = {.index = msr}};

	if (kvm_ioctl(v->fd, KVM_GET_MSRS, &m) != 1)
		return false;
	*value = m.entry.data;
	return true;
}

int kvm_msrs_set(struct kvm_vcpu *v, const struct x86_state *st, struct err *e)
{
	struct vm *vm = v->vcpu.vm;

	for (unsigned i = 0; i < ARRAY_SIZE(msr_rows); i++) {
		const struct msr_row *r = &msr_rows[i];
		u64 value = *(const u64 *)((const char *)&st->msr + r->offset), now;

		if (listed(v->kvm, r->index) &&
		    ((msr_get(v, r->index, &now) && now == value) || msr_set(v, r->index, value)))
			continue;
		if (value && trace_on(vm->topics, TRACE_KVM))
			log_trace(vm->log, TRACE_KVM, "KVM does not take MSR %#x = %#llx", r->index,
				  (unsigned long long)value);
	}
	if (!msr_set(v, MSR_TSC, __rdtsc() + st->tsc_offset))
		return err_set(e, EIO, "KVM does not take the guest's time stamp counter");
	return 0;
}

int kvm_msrs_get(struct kvm_vcpu *v, struct x86_state *st)
{
	u64 tsc;

	for (unsigned i = 0; i < ARRAY_SIZE(msr_rows); i++)
		if (listed(v->kvm, msr_rows[i].index))
			msr_get(v, msr_rows[i].index, (u64 *)((char *)&st->msr + msr_rows[i].offset));
	if (!msr_get(v, MSR_TSC, &tsc))
		return -EIO;
	st->tsc_offset = tsc - __rdtsc();
	return 0;
}
