/*
 * Running a machine (machine.h).
 *
 * Threads: one a vCPU, the event loop's (host/loop.h), and the caller of machine_run, which sleeps until vm_stop tells
 * it (on_stop) or the time is up. `wait_lock` guards nothing but that sleep; it is taken inside vm->lock at times,
 * never the other way round.
 *
 * A reset of the board stops the VM as every other end does; when all vCPU threads have gone, the machine is made as
 * new and they start again.
 */
#include "machine/machine_int.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/state.h"
#include "host/loop.h"
#include "inspect/code.h"
#include "inspect/symbols.h"
#include "kvm/kvm.h"
#include "machine/dump.h"

/* ---- running ---- */

static void keep_reason(struct machine *m, const struct err *why)
{
	pthread_mutex_lock(&m->wait_lock);
	if (!m->why.code)
		m->why = *why;
	pthread_mutex_unlock(&m->wait_lock);
}

/* ---- what is told of a guest that broke or hangs ---- */

struct report {
	struct machine *m;
	unsigned vcpu;
	struct x86_state st;
};

static void report_vcpu(void *ctx, FILE *out)
{
	struct report *r = ctx;

	dump_vcpu(&r->m->vm, r->vcpu, &r->st, r->m->cfg.symbols, out);
}

static void report_board(void *ctx, FILE *out)
{
	struct machine *m = ctx;

	vm_lock(&m->vm);
	dump_board(&m->pc, out);
	vm_unlock(&m->vm);
}

static void triple_fault(struct machine *m, struct vcpu *v, struct err *why)
{
	struct report *r = malloc(sizeof(*r));

	err_set(why, EIO, "vCPU %u shut down (triple fault)", v->index);
	if (r) {
		r->m = m;
		r->vcpu = v->index;
		v->ops->get_state(v, &r->st);
		err_set(why, EIO, "vCPU %u shut down (triple fault) at rip %#" PRIx64, v->index, r->st.rip);
		dump_log(&m->vm, report_vcpu, r);
	}
	free(r);
	keep_reason(m, why);
	vm_stop(&m->vm, VM_TRIPLE_FAULT, 0);
}

#define SAMPLES	  8u
#define SAMPLE_NS 10000000

/* Where each vCPU is at a few moments: a loop shows itself by that. Not when a debugger has the guest stand still. */
static void sample_rips(struct machine *m)
{
	struct vm *vm = &m->vm;
	struct x86_state *st = malloc(sizeof(*st));
	u64 rip[SAMPLES][VM_VCPUS];

	if (!st || atomic_load(&vm->debug.wanted)) {
		free(st);
		return;
	}
	for (unsigned i = 0; i < SAMPLES; i++) {
		nanosleep(&(struct timespec){.tv_nsec = SAMPLE_NS}, NULL);
		debug_pause(vm, DEBUG_SAMPLER);
		for (unsigned k = 0; k < vm->nvcpus; k++) {
			vm->vcpu[k]->ops->get_state(vm->vcpu[k], st);
			rip[i][k] = inspect_code_address(st);
		}
		debug_resume(vm, DEBUG_SAMPLER);
	}
	for (unsigned k = 0; k < vm->nvcpus; k++) {
		log_info(vm->log, "vCPU %u was at, every %u ms:", k, SAMPLE_NS / 1000000);
		for (unsigned i = 0; i < SAMPLES; i++) {
			char name[80];

			log_info(vm->log, "  %016" PRIx64 "%s", rip[i][k],
				 inspect_symbol_text(m->cfg.symbols, rip[i][k], name, sizeof(name)));
		}
	}
	free(st);
}

/* After a timeout, with the vCPU threads gone. */
static void report_hang(struct machine *m)
{
	struct report *r = malloc(sizeof(*r));

	for (unsigned i = 0; r && i < m->vm.nvcpus; i++) {
		r->m = m;
		r->vcpu = i;
		m->vm.vcpu[i]->ops->get_state(m->vm.vcpu[i], &r->st);
		dump_log(&m->vm, report_vcpu, r);
	}
	free(r);
	dump_log(&m->vm, report_board, m);
}

/* ---- vCPU threads ---- */

/* In and out of the guest as debuggers wish. */
static enum run_exit run_until_end(struct vcpu *v, struct err *e)
{
	enum run_exit exit = RUN_STOPPED;

	while (debug_enter(v)) {
		exit = v->ops->run(v, e);
		debug_leave(v, exit == RUN_DEBUG);
		if (exit != RUN_PAUSED && exit != RUN_DEBUG)
			break;
	}
	return exit;
}

static void *run_vcpu(void *arg)
{
	struct runner *r = arg;
	struct machine *m = r->m;
	struct vcpu *v = m->vm.vcpu[r->index];

	switch (run_until_end(v, &r->err)) {
	case RUN_PAUSED:
	case RUN_DEBUG:
	case RUN_STOPPED:
		if (atomic_load(&m->vm.stop) == VM_RUNNING) /* by a limit of its own */
			vm_stop(&m->vm, VM_USER, 0);
		break;
	case RUN_TRIPLE_FAULT: triple_fault(m, v, &r->err); break;
	case RUN_ERROR:
		if (!r->err.code)
			err_set(&r->err, EIO, "vCPU %u cannot go on", r->index);
		keep_reason(m, &r->err);
		vm_stop(&m->vm, VM_ERROR, 0);
		break;
	}
	return NULL;
}

static int start_vcpus(struct machine *m, struct err *e)
{
	for (unsigned i = 0; i < m->vm.nvcpus; i++) {
		struct runner *r = &m->runner[i];
		int rc;

		r->m = m;
		r->index = i;
		rc = pthread_create(&r->thread, NULL, run_vcpu, r);
		if (rc)
			return err_set(e, rc, "no thread for vCPU %u: %s", i, strerror(rc));
		r->started = true;
	}
	return 0;
}

/* Until the VM stops or `end` (ns of the host's clock; 0: none) has come. */
static void wait_stopped(struct machine *m, u64 end)
{
	struct timespec until = {.tv_sec = (time_t)(end / NS_PER_SEC), .tv_nsec = (long)(end % NS_PER_SEC)};
	bool late = false;

	pthread_mutex_lock(&m->wait_lock);
	while (!m->stopped && !late) {
		if (end)
			late = pthread_cond_timedwait(&m->wait, &m->wait_lock, &until) == ETIMEDOUT;
		else
			pthread_cond_wait(&m->wait, &m->wait_lock);
	}
	pthread_mutex_unlock(&m->wait_lock);
	if (late) {
		sample_rips(m);
		vm_stop(&m->vm, VM_TIMEOUT, 0);
	}
}

static void join_vcpus(struct machine *m)
{
	for (unsigned i = 0; i < m->vm.nvcpus; i++) {
		if (m->runner[i].started)
			pthread_join(m->runner[i].thread, NULL);
		m->runner[i].started = false;
	}
}

static void fail(struct machine *m, const struct err *why)
{
	keep_reason(m, why);
	vm_stop(&m->vm, VM_ERROR, 0);
}

/* Runs and resets in turn. */
static void run_board(struct machine *m, struct err *why)
{
	struct vm *vm = &m->vm;
	u64 end = m->cfg.timeout_ms ? clock_host()->now(clock_host()) + m->cfg.timeout_ms * 1000000 : 0;

	for (;;) {
		int reset = VM_RESET;

		if (start_vcpus(m, why))
			fail(m, why);
		else
			wait_stopped(m, end);
		join_vcpus(m);
		if (!m->cfg.reboot || !debug_enter_reset(vm))
			return;
		if (machine_reset(m, why))
			fail(m, why);
		debug_leave_reset(vm);
		pthread_mutex_lock(&m->wait_lock);
		m->stopped = false;
		pthread_mutex_unlock(&m->wait_lock);
		/* Whoever wants the VM to end has replaced VM_RESET. */
		if (!atomic_compare_exchange_strong(&vm->stop, &reset, VM_RUNNING))
			return;
	}
}

/* ---- what KVM takes without stopping a processor ---- */

static void doorbells_rang(void *ctx)
{
	struct machine *m = ctx;

	kvm_doorbells_look(m->kvm);
}

static int watch_doorbells(struct machine *m, struct host_loop *loop, struct err *e)
{
	int fd = m->kvm ? kvm_doorbells_fd(m->kvm) : -1;

	if (fd >= 0 && !host_watch_fd(loop, fd, doorbells_rang, m))
		return err_set(e, ENOMEM, "the event loop does not watch KVM's doorbells");
	return 0;
}

/* ---- all of a run ---- */

enum vm_stop machine_run(struct machine *m, struct err *e)
{
	struct host_loop *loop = NULL;
	struct err why = {0};
	enum vm_stop stop;

	if (host_loop_start(&m->vm, &loop, &why) || backend_start(&m->backend, loop, &why) ||
	    watch_doorbells(m, loop, &why))
		fail(m, &why);
	else
		run_board(m, &why);
	if (loop) {
		backend_stop(&m->backend);
		host_loop_stop(loop);
	}
	vm_lock(&m->vm);
	uart_flush(&m->pc.uart);
	vm_unlock(&m->vm);
	stop = (enum vm_stop)atomic_load(&m->vm.stop);
	if (stop == VM_TIMEOUT)
		report_hang(m);
	if (e && (stop == VM_ERROR || stop == VM_TRIPLE_FAULT))
		*e = m->why;
	return stop;
}
