/* What building (machine.c), running (machine_run.c) and resetting (machine_reset.c) a machine share; nobody else
 * includes it. */
#ifndef MACHINE_MACHINE_INT_H
#define MACHINE_MACHINE_INT_H

#include <pthread.h>

#include "arch/x86/model.h"
#include "machine/backend.h"
#include "machine/input.h"
#include "machine/machine.h"
#include "machine/pc.h"

struct kvm_vm;

struct runner {
	struct machine *m;
	unsigned index;
	pthread_t thread;
	bool started;
	struct err err;
};

struct machine {
	struct vm vm;
	struct clock_slow clock; /* if cfg.slow */
	bool vm_made;
	enum machine_accel accel;
	struct x86_model model;
	unsigned phys_bits;
	struct kvm_vm *kvm;
	struct pc pc;
	struct backend backend;
	struct input serial, terminal, channel;
	struct machine_config cfg; /* what it points to stays the caller's (machine.h) */
	struct runner runner[VM_VCPUS];
	pthread_mutex_t wait_lock;
	pthread_cond_t wait;
	bool stopped;
	struct err why; /* of the first vCPU that could not go on; under wait_lock */
};

/* machine.c: the processors as firmware leaves them and the kernel in memory, or the firmware's own image in its place.
 */
int machine_load(struct machine *m, struct err *e);
/* machine_reset.c: all processors are out; the board, RAM and the processors as they were when the machine was new. */
int machine_reset(struct machine *m, struct err *e);

#endif
