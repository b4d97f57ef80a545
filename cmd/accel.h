/* Which engine a guest runs on, and what its processor will be. */
#ifndef CMD_ACCEL_H
#define CMD_ACCEL_H

#include "arch/x86/model.h"
#include "inspect/host_info.h"
#include "machine/machine.h"

struct accel {
	enum machine_accel engine;
	const char *cpu; /* the model's name and features for the machine; NULL: the host's */
	enum x86_vendor vendor;
	char signature[13]; /* the hypervisor that the guest will see in leaf 40000000h */
	char kvm[40];	    /* "no nesting", "none", …: the state of /dev/kvm in a word or two */
};

/*
 * `word`: "auto", "kvm", "soft". `nested`: the guest shall start guests, which `auto` takes into account. `cpu`: as
 * given, or NULL. -EINVAL: the request is wrong; -ENODEV: the host cannot.
 */
int accel_choose(const char *word, const char *cpu, bool nested, struct accel *a, struct err *e);

/* Asks /dev/kvm what it can and sets the facts "kvm.*" that host_kvm_device reads: inspect/ itself cannot ask. */
void accel_measure_kvm(struct host *h);

#endif
