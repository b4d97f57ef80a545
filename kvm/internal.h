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

/* An MSR: its number, and where struct x86_state has it. */
struct kvm_msr_at {
	u32 index, at;
};
#define KVM_MSRS 160

#define KVM_CHIPS 3 /* both 8259s, the IOAPIC */

/* Points in debug registers, and those that need an INT3 (debug.c). */
#define KVM_DEBUG_SLOTS 4
struct kvm_debug_slot {
	u64 la;
	u8 len, type, kind; /* bytes, DR7's R/W, enum debug_kind */
};
struct kvm_debug_plan {
	unsigned nslots, nsoft;
	struct kvm_debug_slot slot[KVM_DEBUG_SLOTS];
	u64 soft[DEBUG_POINTS];
};
struct kvm_debug_patch {
	u64 la;
	u8 *byte, old;
};

/* A place whose writes KVM turns into an eventfd's count (doorbell.c). */
struct kvm_door {
	u64 addr;
	int fd;
	bool used;
};
#define KVM_DOORS 64

struct kvm_vm {
	struct vm *vm;
	enum x86_vendor vendor; /* of the guest's processors */
	int sys_fd, fd;
	u32 run_size;			      /* bytes of a vCPU's mapping */
	u32 coalesced_page;		      /* page of it that holds the ring; 0: KVM has none */
	struct kvm_coalesced_mmio_ring *ring; /* in the first vCPU's mapping */
	u32 ring_entries;
	struct timer drain_timer;
	atomic_uint running; /* vCPUs inside run */
	int doors_fd;	     /* the doorbells' epoll set; -1: this KVM takes none */
	struct kvm_door door[KVM_DOORS];
	bool dirty_log;
	u32 pins; /* levels of the interrupt inputs */
	struct kvm_cpuid2 *supported;
	struct kvm_msr_at msr[KVM_MSRS]; /* those that KVM has, then those that it lacks */
	u32 nmsrs, nmsrs_lacking;
	bool sregs2;			    /* KVM_CAP_SREGS2 */
	bool payload;			    /* KVM_CAP_EXCEPTION_PAYLOAD, enabled */
	u32 nested_size;		    /* KVM_CAP_NESTED_STATE: bytes, 0: none */
	struct kvm_irqchip chip[KVM_CHIPS]; /* as they are at power-on */
	struct kvm_pit_state2 pit;
	u32 xsave_size;
	bool xsave2;
	struct kvm_xcomp xcomp[KVM_XCOMPS];
	struct kvm_vcpu *vcpu[VM_VCPUS];
	pthread_mutex_t debug_lock;
	unsigned debug_inside; /* vCPUs between kvm_debug_enter and _leave */
	bool block_irq;	       /* KVM can keep interrupts from a step */
	struct kvm_debug_plan plan;
	unsigned npatches;
	struct kvm_debug_patch patch[DEBUG_POINTS];
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
	struct kvm_saved *power_on;
	bool debug_on; /* KVM_SET_GUEST_DEBUG is in force */
};

/* All of a vCPU (save.c). */
struct kvm_saved {
	struct x86_state st;
	u64 apic_base, tsc_deadline;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct kvm_nested_state *nested; /* NULL: KVM has none */
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

/* vmx.c: after kvm_cpuid_set. model NULL: all that KVM gives. -ENOTSUP: KVM refuses. */
int kvm_vmx_set(struct kvm_vcpu *v, const struct x86_model *model, struct err *e);

/* run.c */
enum run_exit kvm_vcpu_run(struct vcpu *vcpu, struct err *e);
/* Hands the coalesced port writes to their devices. vm->lock held. */
void kvm_drain_locked(struct kvm_vm *kvm);
void kvm_drain_init(struct kvm_vm *kvm);

/* save.c: not inside run. */
int kvm_vcpu_save(struct kvm_vcpu *v, struct kvm_saved **out, struct err *e);
int kvm_vcpu_restore(struct kvm_vcpu *v, const struct kvm_saved *s, struct err *e);
void kvm_saved_free(struct kvm_saved *s);

/* state.c, msrs.c, fpu.c, nested.c: the parts of struct x86_state. */
void kvm_vcpu_get_state(struct vcpu *vcpu, struct x86_state *st);
int kvm_vcpu_set_state(struct vcpu *vcpu, const struct x86_state *st, struct err *e);
int kvm_msrs_get(struct kvm_vcpu *v, struct x86_state *st);
int kvm_msrs_set(struct kvm_vcpu *v, const struct x86_state *st, struct err *e);
/* Finds out, with the first vCPU, which MSRs there are. */
void kvm_msrs_probe(struct kvm_vcpu *v);
bool kvm_msr_get(struct kvm_vcpu *v, u32 msr, u64 *value);
bool kvm_msr_set(struct kvm_vcpu *v, u32 msr, u64 value);
int kvm_nested_get(struct kvm_vcpu *v, struct x86_state *st);
int kvm_nested_set(struct kvm_vcpu *v, const struct x86_state *st, struct err *e);
/* KVM's own block, to be freed; NULL: it does not tell. Only where nested_size is not 0. */
struct kvm_nested_state *kvm_nested_read(struct kvm_vcpu *v);
/* Out of nested guests and of VMX operation: 0, or -errno. */
long kvm_nested_leave(struct kvm_vcpu *v);
int kvm_fpu_get(struct kvm_vcpu *v, struct x86_state *st);
int kvm_fpu_set(struct kvm_vcpu *v, const struct x86_state *st, struct err *e);

/* debug.c */
bool kvm_debug_fits(const struct vcpu *vcpu);
/* Around the time that a vCPU is inside. */
int kvm_debug_enter(struct kvm_vcpu *v, struct err *e);
void kvm_debug_leave(struct kvm_vcpu *v);
/* KVM_EXIT_DEBUG: true to go on; else vcpu.debug says why the vCPU stands. */
bool kvm_debug_exit(struct kvm_vcpu *v);

/* dirty.c: slot i of vm->ram as a memory slot; 0, or -errno. */
int kvm_slot_set(struct kvm_vm *kvm, unsigned i);
void kvm_dirty_init(struct kvm_vm *kvm);

/* doorbell.c */
void kvm_doorbells_init(struct kvm_vm *kvm);
void kvm_doorbells_free(struct kvm_vm *kvm);

/* stats.c */
void kvm_stats_open(struct kvm_vcpu *v);
u64 kvm_vcpu_exits(const struct kvm_vcpu *v);

#endif
