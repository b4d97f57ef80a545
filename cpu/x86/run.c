/*
 * The run loop: events, find a block, run it, settle its outcome.
 *
 *        ┌──────────── attend ◄───────────────┐
 *        │  stop · halt · events · shadow     │
 *        ▼                                    │
 *   block_find ──fault──► settle              │
 *        │                  ▲   deliver / vmexit / advance RIP
 *        ▼                  │                 │
 *    block_run ──outcome────┘─────────────────┘
 *
 * One instruction at a time (MODE_SINGLE) when something must be looked at after each: an interrupt shadow, TF, code
 * breakpoints, instruction traces. Other threads speak to the loop only through c.attention, which is also the futex on
 * which a halted processor sleeps.
 */
#include <errno.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arch/x86/insn.h"
#include "cpu/engine.h"
#include "cpu/x86/block.h"
#include "cpu/x86/debug.h"
#include "cpu/x86/decode.h"
#include "cpu/x86/exec.h"
#include "cpu/x86/guests.h"
#include "cpu/x86/lbr.h"
#include "cpu/x86/monitor.h"
#include "cpu/x86/msr.h"
#include "cpu/x86/share.h"
#include "cpu/x86/stub.h"
#include "cpu/x86/trace.h"
#include "cpu/x86/vmexit.h"
#include "cpu/x86/xm.h"

/*
 * Instructions that run between two visits to the loop, which then looks at the alarms. Not every handler's NEXT is a
 * sibling call, so this also bounds the stack.
 */
#define CHAIN_MAX 2048

static enum outcome block_run(struct x86_cpu *cpu, struct block *b)
{
	const struct insn *in = b->insn;
	enum outcome o;

	cpu->c.running = b;
	cpu->chain_until = MIN(cpu->count_until, cpu->n.insns + CHAIN_MAX);
	while ((o = in->fn(cpu, in)) == OUT_NEXT)
		in++;
	return o;
}

/*
 * RF in what an exit saves when a nested translation or the APIC-access page stopped the instruction: as with a fault,
 * the instruction comes again, and its breakpoint must not. SDM vol. 3 27.3.3 "Saving RIP, RSP, RFLAGS, and SSP": 1;
 * for SVM it is as it was.
 */
static u64 exit_resume(const struct x86_cpu *cpu)
{
	u32 exit = cpu->c.vmexit.exit;

	if ((exit != EXIT_NPF && exit != EXIT_EPT_MISCONFIG && exit != EXIT_APIC_ACCESS) ||
	    cpu->c.delivering.kind != EV_NONE)
		return 0;
	return cpu->st.vmx.in_guest ? FL_RF : cpu->c.resume;
}

/* Moves RIP to where the outcome wants it, and takes the event or exit that it recorded. */
static void settle(struct x86_cpu *cpu, const struct insn *in, enum outcome o)
{
	unsigned size = cpu->c.mode & MODE_SIZE ? 4 : 2;
	u64 next = in ? mask_ip(cpu, insn_next_rip(cpu, in), size) : 0;

	switch (o) {
	case OUT_NEXT:
	case OUT_JUMP: return;
	case OUT_END: cpu->st.rip = next; return;
	case OUT_RETRY: cpu->st.rip += in->off; return;
	case OUT_FAULT:
		if (in)
			cpu->st.rip = mask_ip(cpu, insn_rip(cpu, in), size);
		x86_deliver(cpu);
		return;
	case OUT_TRAP:
		cpu->st.rip = next;
		x86_deliver(cpu);
		return;
	case OUT_EXIT:
		if (in)
			cpu->st.rip = exit_is_trap(cpu->c.vmexit.exit) ? next : mask_ip(cpu, insn_rip(cpu, in), size);
		cpu->st.rflags |= exit_resume(cpu);
		vmexit_complete(cpu, next);
		return;
	}
}

/* Blocks that chained to this one have counted themselves. */
static void count(struct x86_cpu *cpu, const struct insn *in, enum outcome o)
{
	cpu->n.blocks++;
	cpu->n.insns += (unsigned)(in - cpu->c.running->insn) + (o != OUT_RETRY);
}

/* Runs from st.rip to the next reason to leave a block, and settles it. */
static enum outcome run_once(struct x86_cpu *cpu)
{
	struct block *b;
	enum outcome o = block_find(cpu, &b);

	if (unlikely(o != OUT_NEXT)) {
		cpu->c.in = NULL;
		settle(cpu, NULL, o);
		return o;
	}
	o = block_run(cpu, b);
	count(cpu, cpu->c.in, o);
	settle(cpu, cpu->c.in, o);
	return o;
}

/* SDM vol. 3 18.3.1.1 "Instruction-Breakpoint Exception Condition": DR7's enabled breakpoints of type 00. Gives DR6
 * bits. */
static u64 code_breakpoints(const struct x86_cpu *cpu)
{
	u64 hits = 0, la = cpu->st.rip + (cpu->c.mode & 2 ? 0 : cpu->st.seg[CS].base);

	for (unsigned i = 0; i < 4; i++)
		if (dr7_code(cpu->st.dr7, i) && cpu->st.dr[i] == la)
			hits |= BIT(i);
	return hits;
}

/* One instruction with all that may happen around it: code breakpoint, shadow, single step, trace. */
static void run_single(struct x86_cpu *cpu)
{
	bool step = cpu->st.rflags & FL_TF;
	u32 guest = cpu->c.guest, shadow = cpu->st.shadow;
	u64 count_until = cpu->count_until, start = cpu->st.rip, resume = cpu->st.rflags & FL_RF;
	enum outcome o;

	if (unlikely(cpu->vm->debug.n) && !cpu->debug.skip &&
	    debug_breaks(&cpu->vm->debug, debug_la(cpu, cpu->st.rip), 1)) {
		debug_hit(cpu, DEBUG_BREAK);
		return;
	}
	if (cpu->debug.skip) {
		cpu->debug.skip = 0;
		x86_update_attention(cpu);
	}
	/* SDM vol. 3 18.3.1.1: behind a load of SS there is none. APM vol. 2 15.17: with GIF 0 debug registers match
	 * nothing. */
	if (dr7_any_code(cpu->st.dr7) && cpu->st.svm.gif && !(cpu->st.rflags & FL_RF) && !(shadow & SHADOW_MOVSS)) {
		u64 hits = code_breakpoints(cpu);

		if (hits) {
			x86_fault(cpu, EXC_DB, 0);
			cpu->c.event.db = hits;
			x86_deliver(cpu);
			if (cpu->vcpu.debug.step)
				debug_hit(cpu, DEBUG_STEP);
			return;
		}
	}
	cpu->st.rflags &= ~FL_RF;
	cpu->c.resume = resume;
	cpu->c.mode |= MODE_SINGLE;
	cpu->count_until = 0;
	if (trace_on(cpu->topics, TRACE_INSN))
		trace_insn_before(cpu);
	o = run_once(cpu);
	if (trace_on(cpu->topics, TRACE_INSN))
		trace_insn_after(cpu);
	cpu->c.mode &= ~MODE_SINGLE;
	cpu->c.resume = 0;
	cpu->count_until = count_until;
	x86_alarms(cpu);
	/* OUT_RETRY from behind it: it is done, and its block was dropped by what it stored. */
	if (o == OUT_RETRY && cpu->c.in->off)
		o = OUT_END;
	if (o == OUT_RETRY)
		cpu->st.rflags |= resume;
	if (unlikely(lbr_on(&cpu->st)))
		lbr_insn(cpu, cpu->c.in, o, start);
	if (cpu->vcpu.debug.step && o != OUT_RETRY)
		debug_hit(cpu, DEBUG_STEP);
	if (shadow && cpu->c.guest == guest) {
		cpu->st.shadow = 0;
		x86_update_attention(cpu);
	}
	/*
	 * TF as it was before counts, but SYSCALL and SYSRET heed what they have loaded. A load of SS has no trap of
	 * its own, and an entry into a guest brings none along.
	 */
	if (cpu->c.in && (cpu->c.in->row == ROW_SYSCALL || cpu->c.in->row == ROW_SYSRET))
		step = cpu->st.rflags & FL_TF;
	/* SDM vol. 3 18.4.3 "Single-Stepping on Branches". */
	if (step && (cpu->st.msr.debugctl & DEBUGCTL_BTF))
		step = o == OUT_JUMP && cpu->st.rip != mask_ip(cpu, start + cpu->c.in->len, 4);
	if (step && cpu->c.guest == guest && !(cpu->st.shadow & SHADOW_MOVSS) &&
	    (o == OUT_NEXT || o == OUT_JUMP || o == OUT_END)) {
		cpu->st.pending_db |= DR6_BS;
		x86_update_attention(cpu);
	}
}

static u32 attention(struct x86_cpu *cpu)
{
	return atomic_load_explicit(&cpu->c.attention, memory_order_relaxed) & cpu->c.att_mask;
}

void x86_sleep(struct x86_cpu *cpu, u32 raw, enum cpu_wake how)
{
	u64 ns = x86_alarm_ns(cpu);
	struct timespec limit = {(time_t)(ns / NS_PER_SEC), (long)(ns % NS_PER_SEC)};

	share_park(cpu);
	__atomic_store_n(&cpu->wake, how, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &cpu->c.attention, FUTEX_WAIT_PRIVATE, raw, ~ns ? &limit : NULL, NULL, 0);
	__atomic_store_n(&cpu->wake, WAKE_RUNS, __ATOMIC_SEQ_CST);
	share_unpark(cpu);
	x86_alarms(cpu);
}

/* HLT: sleeps until an event that matters arrives. */
static void halt_wait(struct x86_cpu *cpu)
{
	u32 raw = atomic_load(&cpu->c.attention);

	if (!(raw & cpu->c.att_mask & ~(u32)(ATT_STEP | ATT_SHADOW | ATT_ALONE | ATT_MTF)))
		x86_sleep(cpu, raw, WAKE_HLT);
}

void x86_attract(struct x86_cpu *cpu, u32 bits)
{
	atomic_fetch_or(&cpu->c.attention, bits);
	if (__atomic_load_n(&cpu->wake, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, &cpu->c.attention, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* An instruction or event is behind us, and the guest was not left for it (n.exits is still `exits`). */
static void mtf_due(struct x86_cpu *cpu, u64 exits)
{
	if (attention(cpu) & ATT_VAPIC)
		vmexit_apic_written(cpu);
	if (cpu->c.vmx.mtf && cpu->n.exits == exits)
		vmx_mtf_exit(cpu);
}

/* Whatever is due before the next block. Returns true when the loop must leave run(), with *exit set. */
static noinline bool attend(struct x86_cpu *cpu, enum run_exit *exit, struct err *e)
{
	u64 exits = cpu->n.exits;

	if (attention(cpu) & ATT_VAPIC)
		vmexit_apic_written(cpu);
	if (cpu->st.activity == ACT_SHUTDOWN && !cpu->c.vmx.on) {
		err_set(e, EIO, "triple fault: the processor shut down at RIP %#llx", (unsigned long long)cpu->st.rip);
		*exit = RUN_TRIPLE_FAULT;
		return true;
	}
	if (attention(cpu) & ATT_STOP) {
		atomic_fetch_and(&cpu->c.attention, ~(u32)ATT_STOP);
		if (atomic_load(&cpu->vm->stop) != VM_RUNNING) {
			*exit = RUN_STOPPED;
			return true;
		}
		if (cpu->debug.hit || debug_wanted(&cpu->vm->debug, cpu->vcpu.index)) {
			*exit = cpu->debug.hit ? RUN_DEBUG : RUN_PAUSED;
			cpu->debug.rip = cpu->st.rip;
			return true;
		}
	}
	if (attention(cpu) & ATT_DROP)
		share_attend(cpu);
	/* A debugger's step is into an interrupt's handler only when the processor waits for one. */
	if (unlikely(cpu->vcpu.debug.step) && cpu->st.activity == ACT_RUNNING && !cpu->st.pending_db) {
		run_single(cpu);
		return false;
	}
	if (x86_events(cpu)) {
		mtf_due(cpu, exits);
		if (unlikely(cpu->vcpu.debug.step))
			debug_hit(cpu, DEBUG_STEP);
		return false;
	}
	if (cpu->st.activity != ACT_RUNNING) {
		halt_wait(cpu);
		return false;
	}
	if (attention(cpu) & (ATT_SHADOW | ATT_STEP | ATT_ALONE | ATT_MTF)) {
		bool on = cpu->c.vmx.mtf;

		atomic_fetch_and(&cpu->c.attention, ~(u32)ATT_ALONE);
		run_single(cpu);
		if (on)
			mtf_due(cpu, exits);
	}
	return false;
}

static enum run_exit soft_run(struct vcpu *v, struct err *e)
{
	struct x86_cpu *cpu = x86_cpu_of(v);
	u64 next_drop = cpu->drop_every ? cpu->n.insns + cpu->drop_every : ~0ull;
	u64 limit = cpu->insn_limit ? cpu->n.insns + cpu->insn_limit : ~0ull;
	enum run_exit exit;

	share_unpark(cpu);
	stub_clean_mxcsr();
	if (xm_init()) {
		err_set(e, EINVAL, "SIGFPE's handler cannot be set");
		share_park(cpu);
		return RUN_ERROR;
	}
	prctl(PR_SET_TIMERSLACK, 1ul); /* x86_sleep ends when it shall, not up to 50 us later */
	debug_run_enters(cpu);
	x86_update_all(cpu);
	cpu->count_until = 0;
	for (;;) {
		if (unlikely(attention(cpu)) || unlikely(cpu->st.activity != ACT_RUNNING)) {
			if (attend(cpu, &exit, e))
				break;
			continue;
		}
		if (unlikely(cpu->n.insns >= cpu->count_until)) {
			if (cpu->n.insns >= limit) {
				exit = RUN_STOPPED;
				break;
			}
			if (cpu->n.insns >= next_drop) {
				x86_drop_cache(cpu);
				next_drop = cpu->n.insns + cpu->drop_every;
			}
			cpu->count_until = MIN(MIN(next_drop, limit), cpu->n.insns + CHAIN_MAX);
			x86_alarms(cpu);
			continue;
		}
		run_once(cpu);
	}
	cpu->count_until = 0;
	stub_fold_mxcsr(cpu);
	share_park(cpu);
	return exit;
}

enum outcome x86_step(struct x86_cpu *cpu)
{
	struct block *b;
	enum outcome o;

	stub_clean_mxcsr();
	cpu->c.mode |= MODE_SINGLE;
	o = block_find(cpu, &b);
	cpu->c.in = NULL;
	if (o == OUT_NEXT) {
		o = block_run(cpu, b);
		count(cpu, cpu->c.in, o);
		if (o == OUT_END)
			cpu->st.rip = mask_ip(cpu, insn_next_rip(cpu, cpu->c.in), 4);
	}
	cpu->c.mode &= ~MODE_SINGLE;
	stub_fold_mxcsr(cpu);
	return o;
}

enum outcome x86_run_to_event(struct x86_cpu *cpu, u64 insns)
{
	const u64 end = cpu->n.insns + insns;
	enum outcome o = OUT_NEXT;
	struct block *b;

	stub_clean_mxcsr();
	while (cpu->n.insns < end) {
		if (cpu->drop_every)
			x86_drop_cache(cpu);
		cpu->count_until = cpu->drop_every ? MIN(end, cpu->n.insns + cpu->drop_every) : end;
		cpu->c.in = NULL;
		o = block_find(cpu, &b);
		if (o == OUT_NEXT) {
			o = block_run(cpu, b);
			count(cpu, cpu->c.in, o);
		}
		if (o == OUT_FAULT || o == OUT_TRAP || o == OUT_EXIT) {
			if (cpu->c.in)
				cpu->st.rip += cpu->c.in->off + (o == OUT_TRAP ? cpu->c.in->len : 0);
			break;
		}
		settle(cpu, cpu->c.in, o);
		o = OUT_NEXT;
	}
	cpu->count_until = 0;
	stub_fold_mxcsr(cpu);
	return o;
}

static void soft_kick(struct vcpu *v) { x86_attract(x86_cpu_of(v), ATT_STOP); }
static void soft_assert_intr(struct vcpu *v) { x86_attract(x86_cpu_of(v), ATT_INTR); }
static void soft_assert_nmi(struct vcpu *v) { x86_attract(x86_cpu_of(v), ATT_NMI); }
static void soft_assert_smi(struct vcpu *v) { x86_attract(x86_cpu_of(v), ATT_SMI); }

/*
 * INIT and start-up messages come one after the other (vm->lock is held), so that only a SIPI that follows the INIT is
 * still pending when the processor gets to either. One that finds it running stays pending, to no effect, until the
 * next INIT takes it away.
 */
static void soft_assert_init(struct vcpu *v)
{
	struct x86_cpu *cpu = x86_cpu_of(v);

	atomic_fetch_and(&cpu->c.attention, ~(u32)ATT_SIPI);
	x86_attract(cpu, ATT_INIT);
}

static void soft_assert_sipi(struct vcpu *v, u8 vector)
{
	__atomic_store_n(&x86_cpu_of(v)->sipi_vector, vector, __ATOMIC_RELAXED);
	x86_attract(x86_cpu_of(v), ATT_SIPI);
}

static void soft_set_deadline(struct vcpu *v, u64 tsc)
{
	__atomic_store_n(&x86_cpu_of(v)->deadline, tsc, __ATOMIC_RELAXED);
}

static void soft_get_state(struct vcpu *v, struct x86_state *st) { *st = x86_cpu_of(v)->st; }

static int soft_set_state(struct vcpu *v, const struct x86_state *st, struct err *e)
{
	struct x86_cpu *cpu = x86_cpu_of(v);

	cpu->st = *st;
	monitor_release(cpu);
	x86_drop_cache(cpu);
	x86_update_all(cpu);
	return 0;
}

static void power_on(struct x86_cpu *cpu)
{
	x86_reset(&cpu->st, cpu->model->vendor, cpu->model->signature, false);
	if (cpu->model->vendor == X86_INTEL && x86_has(cpu->model, X86F_MONITOR))
		cpu->st.msr.misc_enable |= MISC_ENABLE_MONITOR;
	if (cpu->vcpu.index) /* SDM vol. 3 8.4.1 "BSP and AP Processors" */
		cpu->st.activity = ACT_WAIT_SIPI;
	atomic_store(&cpu->c.attention, 0);
	cpu->debug.hit = 0;
}

static void soft_reset(struct vcpu *v)
{
	struct x86_cpu *cpu = x86_cpu_of(v);

	monitor_release(cpu);
	power_on(cpu);
	x86_drop_cache(cpu);
	x86_update_all(cpu);
}

static void soft_drop_code(struct vcpu *v, u64 pa, u64 len) { share_drop(x86_cpu_of(v), pa, len, false); }

static const struct vcpu_counters *soft_counters(struct vcpu *v) { return &x86_cpu_of(v)->n; }

static bool soft_read_msr(struct vcpu *v, u32 index, u64 *value) { return msr_read(x86_cpu_of(v), index, value); }

static const struct vcpu_shutdown *soft_shutdown(struct vcpu *v) { return &x86_cpu_of(v)->shut; }

static const struct vcpu_guests *soft_guests(struct vcpu *v) { return &x86_cpu_of(v)->guests; }

static void soft_destroy(struct vcpu *v)
{
	struct x86_cpu *cpu = x86_cpu_of(v);

	stubs_free(cpu);
	blocks_free(cpu);
	tlb_free(cpu);
	pthread_mutex_destroy(&cpu->drops.lock);
	free(cpu);
}

static const struct vcpu_ops soft_ops = {
	.run = soft_run,
	.kick = soft_kick,
	.get_state = soft_get_state,
	.set_state = soft_set_state,
	.reset = soft_reset,
	.assert_intr = soft_assert_intr,
	.assert_nmi = soft_assert_nmi,
	.assert_smi = soft_assert_smi,
	.assert_init = soft_assert_init,
	.assert_sipi = soft_assert_sipi,
	.set_deadline = soft_set_deadline,
	.drop_code = soft_drop_code,
	.counters = soft_counters,
	.read_msr = soft_read_msr,
	.shutdown = soft_shutdown,
	.guests = soft_guests,
	.destroy = soft_destroy,
};

int soft_vcpu_new(struct vm *vm, unsigned index, const struct x86_model *model, const struct soft_options *o,
		  struct vcpu **out, struct err *e)
{
	struct x86_cpu *cpu = aligned_alloc(64, ALIGN_UP(sizeof(*cpu), 64));

	if (!cpu)
		return err_set(e, ENOMEM, "no memory for a vCPU");
	memset(cpu, 0, sizeof(*cpu));
	cpu->vcpu = (struct vcpu){.ops = &soft_ops, .vm = vm, .index = index};
	cpu->vm = vm;
	guests_init(&cpu->guests);
	cpu->topics = vm->topics;
	cpu->model = model;
	cpu->apic_ops = vm->apic_ops;
	cpu->apic = vm->apic[index];
	vmentry_env_init(&cpu->vmx_env, model);
	vmrun_env_init(&cpu->svm_env, model);
	for (unsigned i = 0; i < VMX_CAPS; i++)
		cpu->vmx_cap[i] = vmx_cap(model, (enum vmx_cap)i);
	cpu->tsc_hz = model->tsc_khz * 1000ull;
	cpu->deadline = ~0ull;
	if (o) {
		cpu->drop_every = o->drop_every;
		cpu->insn_limit = o->insn_limit;
	}
	pthread_mutex_init(&cpu->drops.lock, NULL);
	share_park(cpu);
	power_on(cpu);
	if (tlb_new(cpu) || blocks_new(cpu) || stubs_new(cpu)) {
		soft_destroy(&cpu->vcpu);
		return err_set(e, ENOMEM, "no memory for a vCPU's caches");
	}
	x86_drop_cache(cpu);
	x86_update_all(cpu);
	*out = &cpu->vcpu;
	return 0;
}
