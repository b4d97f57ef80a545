/*
 * What the files of kvm/ share.
 *
 * Locking: a vCPU's fd and run page belong to its thread while it is inside run; kick writes only run->immediate_exit
 * and, under kick_lock, sends the signal. The ring of coalesced port writes is emptied with vm->lock held by whoever
 * comes first.
 */
#ifndef KVM_INTERNAL_H
#define KVM_INTERNAL_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#include "arch/x86/state.h"
#include "kvm/kvm.h"

struct kvm_vcpu;

/* A component of the XSAVE area as this host lays it out (CPUID leaf 0Dh). */
struct kvm_xcomp {
	u32 offset, size;
};
#define KVM_XCOMPS 10

struct kvm_vm {
	struct vm *vm;
	int sys_fd, fd;
	u32 run_size;			      /* bytes of a vCPU's mapping */
	u32 coalesced_page;		      /* page of it that holds the ring; 0: KVM has none */
	struct kvm_coalesced_mmio_ring *ring; /* in the first vCPU's mapping */
	u32 ring_entries;
	struct timer drain_timer;
	atomic_uint running; /* vCPUs inside run */
	u32 pins;	     /* levels of the interrupt inputs */
	struct kvm_cpuid2 *supported;
	struct kvm_msr_list *msrs;
	u32 xsave_size;
	bool xsave2;
	struct kvm_xcomp xcomp[KVM_XCOMPS];
	struct kvm_vcpu *vcpu[VM_VCPUS];
	u64 past_exits; /* of vCPUs that are gone */
};

struct kvm_vcpu {
	struct vcpu vcpu; /* first */
	struct kvm_vm *kvm;
	int fd, stats_fd;
	u64 exits_at; /* place of "exits" in stats_fd; 0: not told */
	struct kvm_run *run;
	pthread_mutex_t kick_lock;
	pthread_t thread; /* valid while in_run */
	bool in_run;
	bool unfinished; /* the last exit is completed by the next KVM_RUN */
	struct vcpu_counters n;
};

static inline struct kvm_vcpu *kvm_vcpu_of(struct vcpu *v) { return (struct kvm_vcpu *)v; }

/* ioctl that starts again after signals: the result, or -errno. */
long kvm_ioctl(int fd, unsigned long request, void *arg);
long kvm_ioctl_int(int fd, unsigned long request, unsigned long arg);
int kvm_capability(int fd, unsigned cap);
#define KVM_KICK_SIGNAL (SIGRTMIN + 3)

/* cpuid.c: what KVM supports for its guests; free() it. */
struct kvm_cpuid2 *kvm_supported_cpuid(int sys_fd);
const struct kvm_cpuid_entry2 *kvm_cpuid_find(const struct kvm_cpuid2 *c, u32 leaf, u32 subleaf);
int kvm_cpuid_set(struct kvm_vcpu *v, const struct x86_model *model, struct err *e);

/* run.c */
enum run_exit kvm_vcpu_run(struct vcpu *vcpu, struct err *e);
/* Hands the coalesced port writes to their devices. vm->lock held. */
void kvm_drain_locked(struct kvm_vm *kvm);
void kvm_drain_init(struct kvm_vm *kvm);

/* state.c, msrs.c, fpu.c */
void kvm_vcpu_get_state(struct vcpu *vcpu, struct x86_state *st);
int kvm_vcpu_set_state(struct vcpu *vcpu, const struct x86_state *st, struct err *e);
int kvm_msrs_get(struct kvm_vcpu *v, struct x86_state *st);
int kvm_msrs_set(struct kvm_vcpu *v, const struct x86_state *st, struct err *e);
int kvm_fpu_get(struct kvm_vcpu *v, struct x86_state *st);
int kvm_fpu_set(struct kvm_vcpu *v, const struct x86_state *st, struct err *e);

/* stats.c */
void kvm_stats_open(struct kvm_vcpu *v);
u64 kvm_vcpu_exits(const struct kvm_vcpu *v);

#endif
