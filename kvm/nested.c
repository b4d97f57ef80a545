/*
 * Nested state of a vCPU: KVM keeps the current VMCS or VMCB in a form of its own and gives it as a block of bytes
 * (KVM_GET_NESTED_STATE). Whole it moves only between KVMs, as a part of struct kvm_saved. struct x86_state is told
 * what it has a place for: GIF, VMX operation, which VMCS or VMCB. Back goes what needs no block: GIF, and VMX
 * operation without a current VMCS.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/vmcb.h"
#include "kvm/internal.h"

#define NO_ADDRESS (~0ull) /* KVM: not in VMX operation, no current VMCS */

struct kvm_nested_state *kvm_nested_read(struct kvm_vcpu *v)
{
	struct kvm_nested_state *n = calloc(1, MAX(v->kvm->nested_size, (u32)sizeof(*n)));

	if (!n)
		return NULL;
	n->size = v->kvm->nested_size;
	if (kvm_ioctl(v->fd, KVM_GET_NESTED_STATE, n) < 0) {
		free(n);
		return NULL;
	}
	return n;
}

static void svm_in(struct x86_state *st, const struct kvm_nested_state *n)
{
	const struct kvm_svm_nested_state_data *data = n->data.svm;
	struct vmcb_control c;

	st->svm.gif = !!(n->flags & KVM_STATE_NESTED_GIF_SET);
	st->svm.in_guest = !!(n->flags & KVM_STATE_NESTED_GUEST_MODE);
	if (!st->svm.in_guest)
		return;
	st->svm.vmcb = n->hdr.svm.vmcb_pa;
	memcpy(&c, data->vmcb12, sizeof(c));
	st->svm.int_ctl = c.int_ctl;
	st->svm.int_vector = c.int_vector;
}

static void vmx_in(struct x86_state *st, const struct kvm_nested_state *n)
{
	if (n->hdr.vmx.vmxon_pa == NO_ADDRESS)
		return;
	st->vmx.on = 1;
	st->vmx.vmxon = n->hdr.vmx.vmxon_pa;
	if (n->hdr.vmx.vmcs12_pa != NO_ADDRESS)
		st->vmx.vmcs = n->hdr.vmx.vmcs12_pa;
	st->vmx.in_guest = !!(n->flags & KVM_STATE_NESTED_GUEST_MODE);
}

int kvm_nested_get(struct kvm_vcpu *v, struct x86_state *st)
{
	struct kvm_nested_state *n;

	st->svm.gif = 1;
	st->vmx.vmcs = X86_NO_VMCS;
	if (!v->kvm->nested_size)
		return 0;
	n = kvm_nested_read(v);
	if (!n)
		return -EIO;
	if (n->format == KVM_STATE_NESTED_FORMAT_SVM)
		svm_in(st, n);
	else if (n->format == KVM_STATE_NESTED_FORMAT_VMX)
		vmx_in(st, n);
	free(n);
	return 0;
}

/* What kvm_nested_get tells. */
static bool same(const struct x86_state *a, const struct x86_state *b)
{
	return a->svm.gif == b->svm.gif && a->svm.in_guest == b->svm.in_guest && a->svm.vmcb == b->svm.vmcb &&
	       a->vmx.on == b->vmx.on && a->vmx.in_guest == b->vmx.in_guest && a->vmx.vmxon == b->vmx.vmxon &&
	       a->vmx.vmcs == b->vmx.vmcs;
}

/* Neither in a guest nor with a current VMCS. */
static long set_outside(struct kvm_vcpu *v, bool gif, u64 vmxon)
{
	struct kvm_nested_state *n = kvm_nested_read(v);
	u16 format;
	long rc;

	if (!n)
		return -EIO;
	format = n->format;
	memset(n, 0, sizeof(*n));
	n->size = sizeof(*n);
	n->format = format;
	if (format == KVM_STATE_NESTED_FORMAT_SVM) {
		n->flags = gif ? KVM_STATE_NESTED_GIF_SET : 0;
	} else {
		n->hdr.vmx.vmxon_pa = vmxon;
		n->hdr.vmx.vmcs12_pa = NO_ADDRESS;
	}
	rc = kvm_ioctl(v->fd, KVM_SET_NESTED_STATE, n);
	free(n);
	return rc;
}

int kvm_nested_set(struct kvm_vcpu *v, const struct x86_state *st, struct err *e)
{
	struct x86_state now = {0};
	long rc;

	if (kvm_nested_get(v, &now))
		return err_set(e, EIO, "KVM does not tell the guest's nested state");
	if (same(&now, st))
		return 0;
	if (st->svm.in_guest || st->vmx.in_guest || st->vmx.vmcs != X86_NO_VMCS)
		return err_set(e, ENOTSUP,
			       "KVM takes a processor with a current VMCS, or inside a nested guest, from KVM only");
	if (!v->kvm->nested_size)
		return err_set(e, ENOTSUP, "this KVM does not nest (no KVM_CAP_NESTED_STATE)");
	rc = set_outside(v, st->svm.gif, st->vmx.on ? st->vmx.vmxon : NO_ADDRESS);
	return rc < 0 ? err_set(e, (int)-rc, "KVM does not take the guest's nested state: %s", strerror((int)-rc)) : 0;
}

long kvm_nested_leave(struct kvm_vcpu *v) { return v->kvm->nested_size ? set_outside(v, true, NO_ADDRESS) : 0; }
