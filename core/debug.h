/*
 * What a debugger needs of a running VM: all vCPUs out of the guest, break and watch points, single steps.
 *
 * Whoever wants the guest to stand still sets his bit (debug_pause) and takes it back (debug_resume); vCPU threads are
 * inside the guest only between debug_enter and debug_leave. A vCPU that meets a point or has made its step leaves run
 * with RUN_DEBUG, and by that sets DEBUG_GDB's bit for all.
 *
 * Rules: points, `held` and the vCPUs' `debug` words change only while no vCPU is inside; so do states read and written
 * by a debugger. Addresses are linear, of whatever world a vCPU is in; no breakpoint is to be seen in guest memory while no vCPU is inside.
 * Order of locks: vm->lock, then debug.lock. debug_pause waits for vCPUs that may want vm->lock: never call it with
 * that held.
 */
#ifndef CORE_DEBUG_H
#define CORE_DEBUG_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/types.h"

struct vcpu;
struct vm;

#define DEBUG_POINTS 64

/* Numbers of the remote protocol's Z packets. */
enum debug_kind { DEBUG_SOFT_BREAK, DEBUG_HARD_BREAK, DEBUG_WRITE, DEBUG_READ, DEBUG_ACCESS };
/* Why a vCPU stands. */
enum debug_why { DEBUG_PAUSED, DEBUG_BREAK, DEBUG_WATCH, DEBUG_STEP };

struct debug_point {
	u64 la, len;
	u32 kind; /* enum debug_kind */
};

/* Of one vCPU: `step` is asked for; the others say why it has left run with RUN_DEBUG. */
struct vcpu_debug {
	u32 step;
	u32 why;  /* enum debug_why */
	u32 kind; /* enum debug_kind of the point */
	u64 la;	  /* of the watched access */
};

enum debug_holder { DEBUG_GDB = 1, DEBUG_MONITOR = 2, DEBUG_SAMPLER = 4 };

struct vm_debug {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	_Atomic u32 wanted;	   /* enum debug_holder: who wants the vCPUs out */
	_Atomic u64 held;	   /* vCPUs that stay out when the others run */
	unsigned inside;	   /* vCPUs between debug_enter and debug_leave */
	void (*on_hit)(void *ctx); /* a vCPU has left with RUN_DEBUG; may be NULL */
	void *on_hit_ctx;
	u32 generation; /* of the points: engines follow when they enter */
	unsigned n;
	struct debug_point point[DEBUG_POINTS];
};

void debug_init(struct vm_debug *d);
void debug_destroy(struct vm_debug *d);

/* Debuggers. debug_pause returns when all vCPUs are out; debug_ask does not wait. */
void debug_ask(struct vm *vm, enum debug_holder who);
void debug_pause(struct vm *vm, enum debug_holder who);
void debug_resume(struct vm *vm, enum debug_holder who);
/* 0, or -ENOSPC: the engine cannot meet one more; -ENOENT when there is no such point. */
int debug_add(struct vm *vm, const struct debug_point *p) must_check;
int debug_remove(struct vm *vm, const struct debug_point *p) must_check;
void debug_clear(struct vm *vm);

/* vCPU threads. Waits while somebody wants the vCPU out; false: the VM stops. */
bool debug_enter(struct vcpu *v) must_check;
void debug_leave(struct vcpu *v, bool hit);
/* Around a reset of the machine (vm->stop is VM_RESET, no vCPU runs): waits while somebody wants the guest to stand
 * still, then keeps debuggers out. false: the VM ends for another reason. */
bool debug_enter_reset(struct vm *vm) must_check;
void debug_leave_reset(struct vm *vm);
/* vm_stop: whoever waits looks again. */
void debug_wake(struct vm *vm);

/* Engines. */
static inline bool debug_wanted(const struct vm_debug *d, unsigned vcpu)
{
	return atomic_load(&d->wanted) || (atomic_load(&d->held) >> vcpu & 1);
}

/* Whether a breakpoint lies in [la, la + len). */
static inline bool debug_breaks(const struct vm_debug *d, u64 la, u64 len)
{
	for (unsigned i = 0; i < d->n; i++)
		if (d->point[i].kind <= DEBUG_HARD_BREAK && d->point[i].la - la < len)
			return true;
	return false;
}

/* The watchpoint that an access to [la, la + len) meets, or NULL. */
static inline const struct debug_point *debug_watched(const struct vm_debug *d, u64 la, u64 len, bool write)
{
	for (unsigned i = 0; i < d->n; i++) {
		const struct debug_point *p = &d->point[i];

		if (p->kind > DEBUG_HARD_BREAK && p->kind != (write ? DEBUG_READ : DEBUG_WRITE) && p->la < la + len &&
		    la < p->la + p->len)
			return p;
	}
	return NULL;
}

#endif
