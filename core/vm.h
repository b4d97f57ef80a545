/*
 * The virtual machine: what all engines and chips share, and the rules by which they share it.
 *
 * Locking.
 *   vm->lock guards the buses, every chip's state and the timer queue. Chips' handlers and timer callbacks are called
 * with it held and never take it themselves; functions named *_locked want it held. RAM contents are not locked: guest
 * atomics are host atomics. RAM slots do not change after the board is built. A vCPU thread does not hold the lock
 * while guest instructions run; it takes it for each port or MMIO access. `stop` and the vCPUs' attention words are
 * atomics and need no lock. Standing still: a debugger asks all vCPUs out of the guest and waits (core/debug.h); while
 * they are out, their states, the points and all of RAM are his. Never while holding vm->lock, which a vCPU may need on
 * its way out. Order: vm->lock, then debug.lock, then an engine's own locks.
 */
#ifndef CORE_VM_H
#define CORE_VM_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/timer.h"
#include "core/apic.h"
#include "core/bus.h"
#include "core/debug.h"
#include "core/dirty.h"
#include "core/irq.h"
#include "core/ram.h"
#include "core/vcpu.h"

#define VM_VCPUS 64

enum vm_stop {
	VM_RUNNING,
	VM_POWEROFF,   /* ACPI S5 */
	VM_RESET,      /* keyboard controller, 0xcf9, ACPI reset register */
	VM_DEBUG_EXIT, /* port 0xf4; code in stop_code */
	VM_TRIPLE_FAULT,
	VM_TIMEOUT,
	VM_USER,  /* Ctrl-A x, a signal, the command that owns the VM */
	VM_ERROR, /* the engine or a device cannot go on */
};

struct vm {
	pthread_mutex_t lock;
	struct log *log;
	const u64 *topics; /* log_topics(log) */
	struct clock *clock;
	struct timer_queue timers;
	struct ram ram;
	struct bus ports;
	struct bus mmio;
	struct msi_sink msi;
	const struct apic_ops *apic_ops; /* NULL with an in-kernel irqchip */
	void *apic[VM_VCPUS];		 /* what apic_ops take, one a vCPU */
	unsigned nvcpus;
	struct vcpu *vcpu[VM_VCPUS];
	_Atomic u32 split_lock; /* spin lock of LOCK operations that cannot be done in place (cpu/: crossing pages) */
	_Atomic u32 frozen;	/* its holder has the other processors stand still (cpu/: LOCK across pages) */
	_Atomic int stop;	/* enum vm_stop; the first reason wins, but any wins over a reset */
	int stop_code;
	struct vm_debug debug;
	struct dirty_engine dirty; /* all NULL: the engine keeps no log */
	bool dirty_on;
	void (*on_stop)(void *ctx); /* called once, any thread, lock held or not: wakes whoever waits for the VM */
	void *on_stop_ctx;
};

int vm_init(struct vm *vm, struct log *log, struct clock *clock, struct err *e);
void vm_destroy(struct vm *vm);
static inline void vm_lock(struct vm *vm) { pthread_mutex_lock(&vm->lock); }
static inline void vm_unlock(struct vm *vm) { pthread_mutex_unlock(&vm->lock); }

/* Asks every vCPU to leave run; any thread, lock held or not. The first reason is kept, a reset gives way to others. */
void vm_stop(struct vm *vm, enum vm_stop why, int code);

/* A device's access to RAM. Writes drop decoded code and mark pages dirty. -EFAULT: not RAM. */
int vm_dma_read(struct vm *vm, u64 gpa, void *buf, u64 len) must_check;
int vm_dma_write(struct vm *vm, u64 gpa, const void *buf, u64 len) must_check;

/* Engine side of I/O: takes the lock, calls the bus. The engine traces, which knows who asks. */
u64 vm_port_read(struct vm *vm, u16 port, unsigned size);
void vm_port_write(struct vm *vm, u16 port, unsigned size, u64 value);
u64 vm_mmio_read(struct vm *vm, u64 gpa, unsigned size);
void vm_mmio_write(struct vm *vm, u64 gpa, unsigned size, u64 value);

#endif
