/*
 * What a hypervisor in the guest keeps for its own guests, in words: VMCBs and VMCSs in guest RAM, whether the next
 * entry with one would fail and by which of the manual's rules, and what has been counted of those that ran.
 *
 * Everything here only reads; the vCPUs must not be inside run. A VMCS is understood if nestbox's own processor made
 * it: its layout is each processor's own.
 */
#ifndef INSPECT_NESTED_H
#define INSPECT_NESTED_H

#include <stdio.h>

#include "arch/x86/model.h"
#include "arch/x86/state.h"
#include "arch/x86/vmcs.h"
#include "core/vm.h"

/* All fields that are not 0, with the meaning of bits; the names of the others on one line. */
void inspect_vmcb(struct vm *vm, u64 pa, FILE *out);
void inspect_vmcs(struct vm *vm, u64 pa, FILE *out);

/* Runs the rules of VMRUN with the VMCB at `pa`, of VMLAUNCH and VMRESUME with the current VMCS, and names each that
 * is broken with its section of the manual; then says what becomes of the instruction. */
void inspect_vmrun(struct vm *vm, const struct x86_state *st, const struct x86_model *model, u64 pa, FILE *out);
void inspect_vmentry(struct vm *vm, const struct x86_state *st, const struct x86_model *model, FILE *out);

/* EXITCODE: "VMEXIT_NPF: nested page fault". */
void inspect_svm_code(u64 code, FILE *out);

/* What the vCPUs have run: a table of exits by reason and level, then each VMCB or VMCS; nothing when there was none.
 * `svm`: the exits are SVM's. May be called while they run. */
void inspect_guests(struct vm *vm, bool svm, FILE *out);
/* The failures among it: the last refused entry, the last triple fault of a guest. */
void inspect_guest_failures(const struct vcpu_guests *g, bool svm, FILE *out);

#endif
