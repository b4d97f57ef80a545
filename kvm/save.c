/*
 * The whole of a vCPU: struct x86_state, and what KVM holds beyond it: the local APIC with its base and deadline,
 * events between their recognition and their delivery, and nested state as KVM's block of bytes. A reset restores
 * what was saved when the vCPU was made.
 *
 * Order: nested state is left before the registers are set (CR4.VMXE may not be cleared in VMX operation) and entered
 * after them; events come last.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/internal.h"

#define MSR_TSC_DEADLINE 0x6e0

void kvm_saved_free(struct kvm_saved *s)
{
	if (s)
		free(s->nested);
	free(s);
}

static long read_all(struct kvm_vcpu *v, struct kvm_saved *s)
{
	struct kvm_sregs sregs;
	long rc = kvm_ioctl(v->fd, KVM_GET_SREGS, &sregs);

	if (!rc)
		rc = kvm_ioctl(v->fd, KVM_GET_LAPIC, &s->lapic);
	if (!rc)
		rc = kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &s->events);
	if (!rc && v->kvm->nested_size) {
		s->nested = kvm_nested_read(v);
		rc = s->nested ? 0 : -EIO;
	}
	s->apic_base = sregs.apic_base;
	kvm_msr_get(v, MSR_TSC_DEADLINE, &s->tsc_deadline); /* 0 where the guest has none */
	kvm_vcpu_get_state(&v->vcpu, &s->st);
	return rc;
}

int kvm_vcpu_save(struct kvm_vcpu *v, struct kvm_saved **out, struct err *e)
{
	struct kvm_saved *s = calloc(1, sizeof(*s));
	long rc = s ? read_all(v, s) : -ENOMEM;

	if (rc < 0) {
		kvm_saved_free(s);
		return err_set(e, (int)-rc, "KVM does not tell all of vCPU %u: %s", v->vcpu.index, strerror((int)-rc));
	}
	*out = s;
	return 0;
}

static long apic_base_set(struct kvm_vcpu *v, u64 base)
{
	struct kvm_sregs sregs;
	long rc = kvm_ioctl(v->fd, KVM_GET_SREGS, &sregs);

	if (rc < 0 || sregs.apic_base == base)
		return rc;
	sregs.apic_base = base;
	return kvm_ioctl(v->fd, KVM_SET_SREGS, &sregs);
}

static int state_set(struct kvm_vcpu *v, const struct kvm_saved *s, struct err *e)
{
	struct x86_state *st = malloc(sizeof(*st));
	int rc;

	if (!st)
		return err_set(e, ENOMEM, "no memory for a processor's state");
	*st = s->st;
	st->svm.gif = 1;
	st->svm.in_guest = 0;
	st->svm.vmcb = 0;
	st->vmx = (struct x86_vmx){.vmcs = X86_NO_VMCS};
	rc = kvm_vcpu_set_state(&v->vcpu, st, e);
	free(st);
	return rc;
}

static long rest_set(struct kvm_vcpu *v, const struct kvm_saved *s)
{
	struct kvm_vcpu_events events = s->events;
	long rc = kvm_ioctl(v->fd, KVM_SET_LAPIC, (void *)&s->lapic);

	if (s->tsc_deadline)
		kvm_msr_set(v, MSR_TSC_DEADLINE, s->tsc_deadline);
	if (!rc && s->nested)
		rc = kvm_ioctl(v->fd, KVM_SET_NESTED_STATE, s->nested);
	return rc ? rc : kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events);
}

int kvm_vcpu_restore(struct kvm_vcpu *v, const struct kvm_saved *s, struct err *e)
{
	long rc = kvm_nested_leave(v);
	int r;

	if (!rc)
		rc = apic_base_set(v, s->apic_base);
	if (!rc) {
		r = state_set(v, s, e);
		if (r)
			return r;
		rc = rest_set(v, s);
	}
	return rc < 0 ? err_set(e, (int)-rc, "KVM does not take vCPU %u back: %s", v->vcpu.index, strerror((int)-rc))
		      : 0;
}
