/*
 * A vCPU of /dev/kvm with cpu_world.h's memory and one port, F4h, that stops it; and pieces of its run that another
 * thread ends.
 */
#ifndef TESTS_UNIT_KVM_WORLD_H
#define TESTS_UNIT_KVM_WORLD_H

#include "tests/unit/cpu_world.h"

#include "kvm/internal.h"

struct kvm_world {
	struct vm vm;
	struct kvm_vm *kvm;
	struct vcpu *v;
	struct err e;
};

static void kvm_port(void *dev, u64 offset, unsigned size, u64 value)
{
	vm_stop(&((struct kvm_world *)dev)->vm, VM_DEBUG_EXIT, 0);
}
static const struct bus_ops kvm_ports = {world_ones, kvm_port};

static inline struct kvm_world *kvm_world_new(void)
{
	struct kvm_world *w = calloc(1, sizeof(*w));

	assert_int_equal(vm_init(&w->vm, log_new(stderr, ""), clock_host(), &w->e), 0);
	if (getenv("TRACE"))
		log_enable(w->vm.log, getenv("TRACE"), &w->e);
	assert_int_equal(ram_add(&w->vm.ram, 0, WORLD_RAM, false, &w->e), 0);
	w->vm.nvcpus = 1;
	if (kvm_vm_new(&w->vm, &w->kvm, &w->e) || kvm_vcpu_new(w->kvm, 0, NULL, &w->v, &w->e))
		fail_msg("%s", w->e.text);
	w->vm.vcpu[0] = w->v;
	bus_add(&w->vm.ports, 0xf4, 1, &kvm_ports, w, "stop", &w->e);
	return w;
}

static inline void kvm_world_free(struct kvm_world *w)
{
	struct log *log = w->vm.log;

	vm_destroy(&w->vm);
	kvm_vm_free(w->kvm);
	log_free(log);
	free(w);
}

/* Skips without a KVM; else whether it nests. */
static inline bool need_kvm(void)
{
	struct kvm_probe p;

	kvm_probe(&p);
	if (!p.usable) {
		print_message("%s\n", p.text);
		skip();
	}
	return p.nested;
}

static void *kvm_world_stop_soon(void *ctx)
{
	nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
	vm_stop(ctx, VM_USER, 0);
	return NULL;
}

static inline void kvm_world_run_a_while(struct kvm_world *w)
{
	pthread_t t;

	atomic_store(&w->vm.stop, VM_RUNNING);
	pthread_create(&t, NULL, kvm_world_stop_soon, &w->vm);
	if (w->v->ops->run(w->v, &w->e) != RUN_STOPPED)
		fail_msg("%s", w->e.text);
	pthread_join(t, NULL);
}

#endif
