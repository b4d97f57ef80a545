/*
 * The /dev/kvm engine: the same board with KVM's processor, local APICs, IOAPIC, 8259s and 8254 (KVM_CREATE_IRQCHIP,
 * KVM_CREATE_PIT2).
 */
#ifndef KVM_KVM_H
#define KVM_KVM_H

#include "arch/x86/model.h"
#include "core/vm.h"

struct kvm_vm;

/* Why this host's KVM can or cannot run (and nest) guests; text is a sentence. */
struct kvm_probe {
	bool usable;	  /* /dev/kvm opens, API version 12, the capabilities that the back end needs */
	bool nested;	  /* its guests would see VMX or SVM, and their nested state can be had */
	bool guest_debug; /* KVM_CAP_SET_GUEST_DEBUG */
	bool vmx, svm;	  /* in KVM_GET_SUPPORTED_CPUID */
	int nested_state; /* KVM_CAP_NESTED_STATE: bytes, 0: none */
	char text[200];
};
void kvm_probe(struct kvm_probe *p);

/* Opens /dev/kvm, makes the VM with the in-kernel irqchip, maps vm->ram as memslots. vm->msi and the IRQ pins are
 * connected. */
int kvm_vm_new(struct vm *vm, struct kvm_vm **out, struct err *e);
/* Interrupt input `pin` (GSI) of the in-kernel controllers. */
void kvm_irq_set(void *kvm_vm, unsigned pin, bool level);
/* CPUID: what KVM supports, intersected with `model` when not NULL (NULL: `host`, all that KVM supports). */
int kvm_vcpu_new(struct kvm_vm *kvm, unsigned index, const struct x86_model *model, struct vcpu **out, struct err *e);
/* The chips in the kernel to their power-on state; the vCPUs have vcpu_ops.reset. No vCPU runs, vm->lock not held. */
int kvm_vm_reset(struct kvm_vm *kvm, struct err *e);
/* Readable when a doorbell has rung (core/bus.h); -1: this KVM takes none. */
int kvm_doorbells_fd(const struct kvm_vm *kvm);
/* Hands the doorbells that rang to the bus. vm->lock held. */
void kvm_doorbells_look(struct kvm_vm *kvm);
void kvm_vm_free(struct kvm_vm *kvm);
/* Exits so far by KVM's own count (KVM_GET_STATS_FD "exits" of all vCPUs), 0 if KVM does not tell. */
u64 kvm_exits(struct kvm_vm *kvm);

#endif
