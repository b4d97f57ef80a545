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
	char why[280];	    /* `auto` chose so because: a sentence; else what KVM cannot do, or "" */
	char kvm[40];	    /* "no nesting", "none", …: the state of /dev/kvm in a word or two */
};

/* What the guest asks for beyond a processor. */
enum accel_want {
	ACCEL_NESTED = 1, /* it shall start guests */
	ACCEL_DEBUG = 2,  /* --gdb */
	ACCEL_SLOW = 4,	  /* --slow */
};

/*
 * `word`: "auto", "kvm", "soft". `wants`: of enum accel_want; `auto` takes KVM only where it can do that. `cpu`: as
 * given, or NULL; a word for VMX or SVM in it wants ACCEL_NESTED, and with that a model wants its vendor's extension.
 * -EINVAL: the request is wrong; -ENODEV: the host cannot.
 */
int accel_choose(const char *word, const char *cpu, unsigned wants, struct accel *a, struct err *e);
/* The same, by what is known of /dev/kvm. */
int accel_choose_by(const struct host_kvm *kvm, const char *word, const char *cpu, unsigned wants, struct accel *a,
		    struct err *e);

/* Asks /dev/kvm what it can and sets the facts "kvm.*" that host_kvm_device reads: inspect/ itself cannot ask. */
void accel_measure_kvm(struct host *h);

#endif
