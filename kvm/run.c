/*
 * The run loop: one while, one switch on KVM's own exit names.
 *
 * With the in-kernel irqchip HLT, interrupts, timers and IPIs never come here. What comes is port and memory-mapped I/O
 * of the board's chips, and the end. KVM completes IN and MMIO reads on the next KVM_RUN: before run returns, and
 * before a state is read, an unfinished one is completed with immediate_exit. Coalesced writes are older than the exit
 * that follows them, so the ring is emptied first; a timer empties it when no exit follows.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/exits.h"
#include "arch/x86/vmcs.h"
#include "kvm/internal.h"

#define DRAIN_NS (40 * 1000000ull)

static bool ring_empty(const struct kvm_vm *kvm)
{
	const struct kvm_coalesced_mmio_ring *ring = kvm->ring;

	return !ring || ring->first == __atomic_load_n(&ring->last, __ATOMIC_ACQUIRE);
}

void kvm_drain_locked(struct kvm_vm *kvm)
{
	struct kvm_coalesced_mmio_ring *ring = kvm->ring;

	while (!ring_empty(kvm)) {
		const struct kvm_coalesced_mmio *w = &ring->coalesced_mmio[ring->first % kvm->ring_entries];
		u64 value = 0;

		memcpy(&value, w->data, MIN(w->len, 8u));
		bus_write(w->pio ? &kvm->vm->ports : &kvm->vm->mmio, w->phys_addr, w->len, value);
		__atomic_store_n(&ring->first, (ring->first + 1) % kvm->ring_entries, __ATOMIC_RELEASE);
	}
}

static void drain(struct kvm_vm *kvm)
{
	if (likely(ring_empty(kvm)))
		return;
	vm_lock(kvm->vm);
	kvm_drain_locked(kvm);
	vm_unlock(kvm->vm);
}

static void drain_fire(void *ctx)
{
	struct kvm_vm *kvm = ctx;

	kvm_drain_locked(kvm);
	if (atomic_load(&kvm->running))
		timer_arm(&kvm->drain_timer, kvm->vm->clock->now(kvm->vm->clock) + DRAIN_NS);
}

void kvm_drain_init(struct kvm_vm *kvm) { timer_init(&kvm->drain_timer, &kvm->vm->timers, drain_fire, kvm); }

static void run_enter(struct kvm_vcpu *v)
{
	struct kvm_vm *kvm = v->kvm;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, KVM_KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	pthread_mutex_lock(&v->kick_lock);
	v->thread = pthread_self();
	v->in_run = true;
	pthread_mutex_unlock(&v->kick_lock);
	if (!atomic_fetch_add(&kvm->running, 1) && kvm->ring) {
		vm_lock(kvm->vm);
		timer_arm(&kvm->drain_timer, kvm->vm->clock->now(kvm->vm->clock) + DRAIN_NS);
		vm_unlock(kvm->vm);
	}
}

/* Lets KVM finish the instruction that exited, without running another. true: that was a step, or met a watchpoint. */
static bool finish(struct kvm_vcpu *v)
{
	int r;

	if (!v->unfinished)
		return false;
	v->unfinished = false;
	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	r = ioctl(v->fd, KVM_RUN, 0);
	__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	return !r && v->run->exit_reason == KVM_EXIT_DEBUG && !kvm_debug_exit(v);
}

static enum run_exit run_leave(struct kvm_vcpu *v, enum run_exit exit)
{
	if (finish(v) && exit == RUN_PAUSED)
		exit = RUN_DEBUG;
	kvm_debug_leave(v);
	drain(v->kvm);
	vm_lock(v->kvm->vm);
	kvm_doorbells_look(v->kvm);
	vm_unlock(v->kvm->vm);
	pthread_mutex_lock(&v->kick_lock);
	v->in_run = false;
	pthread_mutex_unlock(&v->kick_lock);
	atomic_fetch_sub(&v->kvm->running, 1);
	return exit;
}

static u64 rip_of(const struct kvm_vcpu *v)
{
	struct kvm_regs regs;

	return kvm_ioctl(v->fd, KVM_GET_REGS, &regs) < 0 ? 0 : regs.rip;
}

/* A record of one access: which way, where, what. */
static noinline void trace_io(struct kvm_vcpu *v, enum trace_topic t, const char *verb, u64 at, unsigned size,
			      u64 value)
{
	log_trace(v->vcpu.vm->log, t, "cpu%u %016" PRIx64 " %s %" PRIx64 " size %u = %" PRIx64, v->vcpu.index,
		  rip_of(v), verb, at, size, value);
}

/* One exit for `count` items of a string instruction. */
static void do_io(struct kvm_vcpu *v)
{
	struct kvm_run *run = v->run;
	u8 *data = (u8 *)run + run->io.data_offset;
	unsigned size = run->io.size;

	for (u32 i = 0; i < run->io.count; i++, data += size) {
		u64 value = 0;

		v->n.pio++;
		if (run->io.direction == KVM_EXIT_IO_IN) {
			value = vm_port_read(v->vcpu.vm, run->io.port, size);
			memcpy(data, &value, size);
			if (trace_on(v->vcpu.vm->topics, TRACE_PORT))
				trace_io(v, TRACE_PORT, "in", run->io.port, size, value);
		} else {
			memcpy(&value, data, size);
			if (trace_on(v->vcpu.vm->topics, TRACE_PORT))
				trace_io(v, TRACE_PORT, "out", run->io.port, size, value);
			vm_port_write(v->vcpu.vm, run->io.port, size, value);
		}
	}
	v->unfinished = true;
}

static void do_mmio(struct kvm_vcpu *v)
{
	struct kvm_run *run = v->run;
	u64 gpa = run->mmio.phys_addr;
	unsigned len = MIN(run->mmio.len, 8u);
	unsigned step = len & (len - 1) ? 1 : len; /* odd pieces of an access that crossed a page go byte by byte */

	for (unsigned i = 0; i < len; i += step) {
		u64 value = 0;

		v->n.mmio++;
		if (run->mmio.is_write) {
			memcpy(&value, run->mmio.data + i, step);
			if (trace_on(v->vcpu.vm->topics, TRACE_MMIO))
				trace_io(v, TRACE_MMIO, "write", gpa + i, step, value);
			vm_mmio_write(v->vcpu.vm, gpa + i, step, value);
		} else {
			value = vm_mmio_read(v->vcpu.vm, gpa + i, step);
			memcpy(run->mmio.data + i, &value, step);
			if (trace_on(v->vcpu.vm->topics, TRACE_MMIO))
				trace_io(v, TRACE_MMIO, "read", gpa + i, step, value);
		}
	}
	v->unfinished = true;
}

static const char *suberror_name(u32 suberror)
{
	switch (suberror) {
	case KVM_INTERNAL_ERROR_EMULATION: return "it cannot emulate the instruction";
	case KVM_INTERNAL_ERROR_SIMUL_EX: return "two exceptions at once";
	case KVM_INTERNAL_ERROR_DELIVERY_EV: return "an exit while an event was delivered";
	case KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON: return "an exit that it does not know";
	default: return "of a kind not known here";
	}
}

/* The reason is SVM's EXITCODE, VMX's exit reason with bit 31, or a VM-instruction error number. */
static void entry_failed(const struct kvm_vcpu *v, u64 reason, struct err *e)
{
	const char *words = (u32)reason == ~0u		? "VMEXIT_INVALID: the VMCB breaks one of VMRUN's rules"
			    : reason & VMX_ENTRY_FAILED ? x86_exit_vmx_text(reason & 0xffff)
							: vmx_error_text(reason);

	err_set(e, EIO, "the processor refused to enter the guest at RIP %#" PRIx64 ": hardware reason %#llx (%s)",
		rip_of(v), (unsigned long long)reason, words);
}

static int internal_error(const struct kvm_vcpu *v, struct err *e)
{
	const struct kvm_run *run = v->run;
	char detail[160] = "";
	size_t at = 0;

	if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && run->emulation_failure.ndata >= 3 &&
	    (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
		for (unsigned i = 0; i < MIN(run->emulation_failure.insn_size, 15); i++)
			at += (size_t)snprintf(detail + at, sizeof(detail) - at, " %02x",
					       run->emulation_failure.insn_bytes[i]);
	} else {
		for (unsigned i = 0; i < MIN(run->internal.ndata, 4u); i++)
			at += (size_t)snprintf(detail + at, sizeof(detail) - at, " %#llx",
					       (unsigned long long)run->internal.data[i]);
	}
	return err_set(e, EIO, "KVM internal error %u at RIP %#" PRIx64 ", %s:%s", run->internal.suberror, rip_of(v),
		       suberror_name(run->internal.suberror), detail);
}

static enum run_exit system_event(struct kvm_vcpu *v, struct err *e)
{
	switch (v->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN: vm_stop(v->vcpu.vm, VM_POWEROFF, 0); return RUN_STOPPED;
	case KVM_SYSTEM_EVENT_RESET: vm_stop(v->vcpu.vm, VM_RESET, 0); return RUN_STOPPED;
	default: err_set(e, EIO, "KVM reports system event %u", v->run->system_event.type); return RUN_ERROR;
	}
}

/* Returns true to go on; else *out says how run ends. */
static bool handle(struct kvm_vcpu *v, enum run_exit *out, struct err *e)
{
	struct kvm_run *run = v->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO: do_io(v); return true;
	case KVM_EXIT_MMIO: do_mmio(v); return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_NMI:
	case KVM_EXIT_IRQ_WINDOW_OPEN: return true;
	case KVM_EXIT_DEBUG:
		if (kvm_debug_exit(v))
			return true;
		*out = RUN_DEBUG;
		return false;
	case KVM_EXIT_SHUTDOWN:
		err_set(e, EIO, "triple fault: the processor shut down at RIP %#" PRIx64, rip_of(v));
		*out = RUN_TRIPLE_FAULT;
		return false;
	case KVM_EXIT_SYSTEM_EVENT: *out = system_event(v, e); return false;
	case KVM_EXIT_INTERNAL_ERROR: internal_error(v, e); break;
	case KVM_EXIT_FAIL_ENTRY: entry_failed(v, run->fail_entry.hardware_entry_failure_reason, e); break;
	case KVM_EXIT_UNKNOWN:
		err_set(e, EIO, "KVM does not know why the guest exited at RIP %#" PRIx64 ": hardware reason %#llx",
			rip_of(v), (unsigned long long)run->hw.hardware_exit_reason);
		break;
	default:
		err_set(e, EIO, "KVM left the guest at RIP %#" PRIx64 " for a reason not handled here: %u", rip_of(v),
			run->exit_reason);
		break;
	}
	*out = RUN_ERROR;
	return false;
}

enum run_exit kvm_vcpu_run(struct vcpu *vcpu, struct err *e)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
	enum run_exit exit = RUN_STOPPED;

	if (kvm_debug_enter(v, e)) {
		kvm_debug_leave(v);
		return RUN_ERROR;
	}
	run_enter(v);
	while (atomic_load(&vcpu->vm->stop) == VM_RUNNING && !debug_wanted(&vcpu->vm->debug, vcpu->index)) {
		int r = ioctl(v->fd, KVM_RUN, 0);
		int code = errno;

		v->n.exits++;
		v->unfinished = false;
		drain(v->kvm);
		if (likely(r >= 0)) {
			if (unlikely(trace_on(vcpu->vm->topics, TRACE_KVM)))
				log_trace(vcpu->vm->log, TRACE_KVM, "cpu%u exit %u", vcpu->index, v->run->exit_reason);
			if (!handle(v, &exit, e))
				break;
			continue;
		}
		if (code == EINTR || code == EAGAIN) { /* kicked, or an application processor that still waits */
			__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
			continue;
		}
		err_set(e, code, "KVM_RUN failed at RIP %#" PRIx64 ": %s", rip_of(v), strerror(code));
		exit = RUN_ERROR;
		break;
	}
	if (exit == RUN_STOPPED && atomic_load(&vcpu->vm->stop) == VM_RUNNING)
		exit = RUN_PAUSED;
	return run_leave(v, exit);
}
