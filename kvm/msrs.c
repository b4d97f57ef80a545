/*
 * MSRs between struct x86_state and KVM: the rows of msr.def that hold something, in two ioctls.
 *
 * Which of them KVM has is found by reading them from the first vCPU. One that KVM lacks, or refuses, is not there for
 * the guest either; a value other than 0 that is lost that way is said.
 *
 * The TSC moves as an offset from the host's. IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC's belong to the
 * in-kernel APIC (save.c); VMX's capabilities follow from the model (vmx.c); EFER and the segments' bases travel with
 * the special registers (state.c).
 */
#include "arch/x86/msr.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "kvm/internal.h"

/*
 * Where `count` registers are: number k at `at` + k % group * pitch + k / group * 8 of struct x86_state. group 0: they
 * hold nothing, or travel elsewhere.
 */
struct msr_place {
	u32 index;
	u16 count, vendors; /* enum x86_msr_vendor */
	u16 at, group, pitch;
};

#define FIELD(field) offsetof(struct x86_state, field), 1, 8
#define NOWHERE	     0, 0, 0
/* Rows with a function of their own: what it keeps. */
#define AT_tsc		   NOWHERE
#define AT_pred_cmd	   NOWHERE
#define AT_avic_doorbell   NOWHERE
#define AT_efer		   NOWHERE
#define AT_vmx_capability  NOWHERE
#define AT_tsc_adjust	   FIELD(msr.tsc_adjust)
#define AT_feature_control FIELD(msr.feature_control)
#define AT_debugctl	   FIELD(msr.debugctl)
#define AT_last_branch	   FIELD(msr.last_branch)
#define AT_mtrr_var	   offsetof(struct x86_state, msr.mtrr_base), 2, 8 * X86_MTRR_VAR
#define AT_mtrr_fix64k	   FIELD(msr.mtrr_fix[0])
#define AT_mtrr_fix16k	   FIELD(msr.mtrr_fix[1])
#define AT_mtrr_fix4k	   FIELD(msr.mtrr_fix[3])
#define AT_mtrr_def	   FIELD(msr.mtrr_def)
#define AT_pat		   FIELD(msr.pat)
#define AT_mc_bank	   offsetof(struct x86_state, msr.mc_ctl), 4, 8 * X86_MC_BANKS
#define AT_kvm_wall_clock  FIELD(msr.kvm_wall_clock)
#define AT_kvm_system_time FIELD(msr.kvm_system_time)
#define AT_tsc_ratio	   FIELD(msr.tsc_ratio)
#define AT_hwcr		   FIELD(msr.hwcr)
#define AT_vm_cr	   FIELD(svm.vm_cr)
#define AT_vm_hsave_pa	   FIELD(svm.hsave_pa)

_Static_assert(offsetof(struct x86_msrs, mtrr_mask) - offsetof(struct x86_msrs, mtrr_base) == 8 * X86_MTRR_VAR,
	       "pitch");
_Static_assert(offsetof(struct x86_msrs, mc_misc) - offsetof(struct x86_msrs, mc_ctl) == 3 * 8 * X86_MC_BANKS, "pitch");

static const struct msr_place places[] = {
#define MSR_KEEP(index, count, name, vendors, feature, field, mask) {index, count, MSR_##vendors, FIELD(field)},
#define MSR_ADDR(index, name, vendors, feature, field)		    {index, 1, MSR_##vendors, FIELD(field)},
#define MSR_SHOW(index, name, vendors, feature, field)		    {index, 1, MSR_##vendors, FIELD(field)},
#define MSR_CALL(index, count, name, vendors, feature, function)    {index, count, MSR_##vendors, AT_##function},
#define MSR_CONST(index, count, name, vendors, feature, value)
#define MSR_APIC(index, count, name, vendors, feature)
#define MSR_LACK(index, count, name, vendors, feature)
#include "arch/x86/msr.def"
};

/* A segment's base moves with its segment; two rows with one index have the same field. */
static bool moves(const struct msr_place *p, const struct kvm_vm *kvm)
{
	return p->group && p->at >= offsetof(struct x86_state, msr) &&
	       (p->vendors & (kvm->vendor == X86_AMD ? MSR_AMD : MSR_INTEL)) &&
	       !(p > places && p[-1].index == p->index && (p[-1].vendors & p->vendors));
}

/* ---- ioctls ---- */

/* struct kvm_msrs with one entry. */
struct msr_one {
	u32 nmsrs, pad;
	struct kvm_msr_entry entry;
};
_Static_assert(offsetof(struct msr_one, entry) == sizeof(struct kvm_msrs), "the entry follows the head");

bool kvm_msr_set(struct kvm_vcpu *v, u32 msr, u64 value)
{
	struct msr_one m = {.nmsrs = 1, .entry = {.index = msr, .data = value}};

	return kvm_ioctl(v->fd, KVM_SET_MSRS, &m) == 1;
}

bool kvm_msr_get(struct kvm_vcpu *v, u32 msr, u64 *value)
{
	struct msr_one m = {.nmsrs = 1, .entry = {.index = msr}};

	if (kvm_ioctl(v->fd, KVM_GET_MSRS, &m) != 1)
		return false;
	*value = m.entry.data;
	return true;
}

static struct kvm_msrs *list_new(const struct kvm_vm *kvm)
{
	struct kvm_msrs *list = calloc(1, sizeof(*list) + kvm->nmsrs * sizeof(list->entries[0]));

	for (u32 i = 0; list && i < kvm->nmsrs; i++)
		list->entries[list->nmsrs++].index = kvm->msr[i].index;
	return list;
}

static u64 *field_of(const struct kvm_vm *kvm, u32 i, struct x86_state *st)
{
	return (u64 *)((char *)st + kvm->msr[i].at);
}

/* ---- which there are ---- */

/* Those that KVM lacks come last. */
void kvm_msrs_probe(struct kvm_vcpu *v)
{
	struct kvm_vm *kvm = v->kvm;
	struct kvm_msr_at lacks[KVM_MSRS];
	u32 nlacks = 0;

	if (kvm->nmsrs)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		const struct msr_place *p = &places[i];

		for (u32 k = 0; moves(p, kvm) && k < p->count; k++) {
			const struct kvm_msr_at m = {p->index + k, p->at + k % p->group * p->pitch + k / p->group * 8};
			u64 value;

			assert(kvm->nmsrs + nlacks < KVM_MSRS);
			if (kvm_msr_get(v, m.index, &value))
				kvm->msr[kvm->nmsrs++] = m;
			else
				lacks[nlacks++] = m;
		}
	}
	memcpy(&kvm->msr[kvm->nmsrs], lacks, nlacks * sizeof(lacks[0]));
	kvm->nmsrs_lacking = nlacks;
}

/* ---- the time stamp counter ---- */

#define MSR_TSC 0x10

static int tsc_attr(struct kvm_vcpu *v, unsigned long request, u64 *offset)
{
	struct kvm_device_attr a = {.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (u64)offset};

	return (int)kvm_ioctl(v->fd, request, &a);
}

static int tsc_get(struct kvm_vcpu *v, u64 *offset)
{
	u64 tsc;

	if (!tsc_attr(v, KVM_GET_DEVICE_ATTR, offset))
		return 0;
	if (!kvm_msr_get(v, MSR_TSC, &tsc))
		return -EIO;
	*offset = tsc - __rdtsc();
	return 0;
}

/* What KVM has already is not written: vCPUs whose counters were made equal stay so. */
static int tsc_set(struct kvm_vcpu *v, u64 offset, struct err *e)
{
	u64 now;

	if (!tsc_attr(v, KVM_GET_DEVICE_ATTR, &now) && (now == offset || !tsc_attr(v, KVM_SET_DEVICE_ATTR, &offset)))
		return 0;
	if (!kvm_msr_set(v, MSR_TSC, __rdtsc() + offset))
		return err_set(e, EIO, "KVM does not take the guest's time stamp counter");
	return 0;
}

/* ---- all of them ---- */

static void say_lost(struct kvm_vcpu *v, u32 index, u64 value)
{
	struct vm *vm = v->vcpu.vm;

	if (value && trace_on(vm->topics, TRACE_KVM))
		log_trace(vm->log, TRACE_KVM, "KVM does not take MSR %#x = %#llx", index, (unsigned long long)value);
}

/* KVM stops at the first that it refuses: the rest follows. */
static long set_list(struct kvm_vcpu *v, struct kvm_msrs *list)
{
	while (list->nmsrs) {
		long n = kvm_ioctl(v->fd, KVM_SET_MSRS, list);

		if (n < 0)
			return n;
		if ((u32)n >= list->nmsrs)
			return 0;
		say_lost(v, list->entries[n].index, list->entries[n].data);
		list->nmsrs -= (u32)n + 1;
		memmove(list->entries, list->entries + n + 1, list->nmsrs * sizeof(list->entries[0]));
	}
	return 0;
}

/* Keeps the entries whose value is another in st. */
static void keep_changed(const struct kvm_vm *kvm, struct kvm_msrs *list, const struct x86_state *st)
{
	u32 n = 0;

	for (u32 i = 0; i < kvm->nmsrs; i++) {
		u64 value = *field_of(kvm, i, (struct x86_state *)st);

		if (list->entries[i].data != value)
			list->entries[n++] = (struct kvm_msr_entry){.index = kvm->msr[i].index, .data = value};
	}
	list->nmsrs = n;
}

int kvm_msrs_set(struct kvm_vcpu *v, const struct x86_state *st, struct err *e)
{
	const struct kvm_vm *kvm = v->kvm;
	struct kvm_msrs *list = list_new(kvm);
	long rc;

	if (!list)
		return err_set(e, ENOMEM, "no memory for a list of MSRs");
	rc = kvm_ioctl(v->fd, KVM_GET_MSRS, list);
	if (rc >= 0) {
		keep_changed(kvm, list, st);
		rc = set_list(v, list);
	}
	free(list);
	if (rc < 0)
		return err_set(e, (int)-rc, "KVM does not take the guest's MSRs: %s", strerror((int)-rc));
	for (u32 i = kvm->nmsrs; i < kvm->nmsrs + kvm->nmsrs_lacking; i++)
		say_lost(v, kvm->msr[i].index, *field_of(kvm, i, (struct x86_state *)st));
	return tsc_set(v, st->tsc_offset, e);
}

int kvm_msrs_get(struct kvm_vcpu *v, struct x86_state *st)
{
	const struct kvm_vm *kvm = v->kvm;
	struct kvm_msrs *list = list_new(kvm);
	long rc;

	if (!list)
		return -ENOMEM;
	rc = kvm_ioctl(v->fd, KVM_GET_MSRS, list);
	for (u32 i = 0; rc > 0 && i < (u32)rc; i++)
		*field_of(kvm, i, st) = list->entries[i].data;
	free(list);
	if (rc < (long)kvm->nmsrs)
		return rc < 0 ? (int)rc : -EIO;
	return tsc_get(v, &st->tsc_offset);
}
