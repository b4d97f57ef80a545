/*
 * Events: recorded as values by whoever finds them, then delivered through the IDT (or the real-mode vector table) in
 * one place.
 *
 *   x86_fault … x86_exit ──► c.event, c.vmexit ──► x86_deliver
 *                                                     │
 *        ┌──────► intercepted? ──► #VMEXIT            │
 *        │             │ no  ◄────────────────────────┘
 *        │             ▼
 *        │        gate, stack, frame ──► first instruction of the handler
 *        │             │ fault or exit on the way
 *        └── double-fault rules ──► shutdown
 *
 * SDM vol. 3 6.12 "Exception and Interrupt Handling", 6.14 "Exception and Interrupt Handling in 64-bit Mode", 6.15
 * "Interrupt 8" (table 6-5), 20.1.4 "Interrupt and Exception Handling" (real mode), 20.3 (virtual-8086 mode); APM vol.
 * 2 chapter 8, 15.12 "Exception Intercepts".
 *
 * While an event is under way c.delivering holds it, so that an exit can report it (EXITINTINFO). The processor changes
 * only when the frame has been stored: what fails before leaves RIP, CPL and stack as they were.
 */
#include "cpu/x86/exec.h"
#include "cpu/x86/lbr.h"
#include "cpu/x86/seg.h"
#include "cpu/x86/trace.h"
#include "cpu/x86/vmexit.h"

#define VECTORS_WITH_ERROR                                                                                             \
	(BIT(EXC_DF) | BIT(EXC_TS) | BIT(EXC_NP) | BIT(EXC_SS) | BIT(EXC_GP) | BIT(EXC_PF) | BIT(EXC_AC) |             \
	 BIT(EXC_CP) | BIT(29) | BIT(EXC_SX))
#define CONTRIBUTORY (BIT(EXC_DE) | BIT(EXC_TS) | BIT(EXC_NP) | BIT(EXC_SS) | BIT(EXC_GP) | BIT(EXC_CP))
#define PAGE_FAULTS  (BIT(EXC_PF) | BIT(EXC_VE))

enum outcome x86_fault(struct x86_cpu *cpu, unsigned vector, u32 error)
{
	cpu->c.event = (struct x86_event){
		.kind = EV_FAULT,
		.vector = vector,
		.has_error = VECTORS_WITH_ERROR >> vector & 1,
		.error = error,
	};
	return OUT_FAULT;
}

enum outcome x86_fault_pf(struct x86_cpu *cpu, u64 la, u32 error)
{
	x86_fault(cpu, EXC_PF, error);
	cpu->c.event.cr2 = la;
	return OUT_FAULT;
}

enum outcome x86_soft_event(struct x86_cpu *cpu, enum event_kind kind, unsigned vector, unsigned insn_len)
{
	cpu->c.event = (struct x86_event){.kind = kind, .vector = vector, .insn_len = insn_len};
	return OUT_TRAP;
}

enum outcome x86_exit(struct x86_cpu *cpu, enum x86_exit exit, u64 info1, u64 info2)
{
	cpu->c.vmexit = (struct x86_vmexit){.exit = exit, .info1 = info1, .info2 = info2};
	return OUT_EXIT;
}

/* INT n, INT3 and INTO: the gate's DPL counts. */
static bool event_is_soft(const struct x86_event *ev) { return ev->kind == EV_SOFT_INT || ev->kind == EV_SOFT_EXC; }
static bool event_is_exception(const struct x86_event *ev)
{
	return ev->kind == EV_FAULT || ev->kind == EV_TRAP || ev->kind == EV_SOFT_EXC || ev->kind == EV_PRIV_SOFT;
}

/*
 * EXT in the error code of a fault on the way. SDM vol. 3 6.13 "Error Code": set unless the program asked for the
 * event; APM vol. 2 8.4.1 "Selector-Error Code": set for sources outside the processor, which an exception is not.
 */
static u32 event_ext(const struct x86_cpu *cpu, const struct x86_event *ev)
{
	return cpu->model->vendor == X86_AMD ? !event_is_soft(ev) && !event_is_exception(ev) : !event_is_soft(ev);
}

/* RFLAGS as pushed: SDM vol. 3 18.3.1.1: RF is set by all faults but an instruction breakpoint. */
u64 x86_event_flags(const struct x86_cpu *cpu, const struct x86_event *ev)
{
	u64 flags = x86_rflags(&cpu->st);

	if (ev->kind == EV_FAULT && (ev->vector != EXC_DB || (ev->db & DR6_BD)))
		flags |= FL_RF;
	return flags;
}

static void flags_enter(struct x86_cpu *cpu, bool interrupt_gate)
{
	cpu->st.rflags &= ~(FL_TF | FL_NT | FL_RF | FL_VM | (interrupt_gate ? FL_IF : 0));
}

/* What the handler finds besides its frame and flags. */
static void event_commit(struct x86_cpu *cpu, const struct x86_event *ev)
{
	struct x86_state *st = &cpu->st;

	st->shadow = 0;
	st->activity = ACT_RUNNING;
	cpu->monitor.armed = 0;
	if (ev->kind == EV_NMI)
		st->nmi_blocked = 1;
	if (event_is_exception(ev) && ev->vector == EXC_PF)
		st->cr2 = ev->cr2;
	if (event_is_exception(ev) && ev->vector == EXC_DB)
		x86_db_commit(st, ev->db);
	x86_update_mode(cpu);
	x86_update_attention(cpu);
}

static enum outcome deliver_real(struct x86_cpu *cpu, const struct x86_event *ev)
{
	struct frame f;
	u32 far;
	enum outcome o;

	if (ev->vector * 4u + 3 > cpu->st.idtr.limit)
		return x86_fault(cpu, EXC_GP, ev->vector * 8 + 2);
	o = mem_read32(cpu, (u32)(cpu->st.idtr.base + ev->vector * 4), &far, ACC_SYSTEM);
	if (o != OUT_NEXT)
		return o;
	if ((far & 0xffff) > cpu->st.seg[CS].limit)
		return x86_fault(cpu, EXC_GP, 0);
	frame_init_current(cpu, &f, 2, 0);
	frame_add(&f, x86_event_flags(cpu, ev));
	frame_add(&f, cpu->st.seg[CS].sel);
	frame_add(&f, cpu->st.rip);
	o = frame_push(cpu, &f);
	if (o != OUT_NEXT)
		return o;
	frame_set_sp(cpu, f.sp, f.ss.attr, false);
	seg_set_real(cpu, CS, far >> 16);
	cpu->st.rip = far & 0xffff;
	cpu->st.rflags &= ~FL_AC;
	flags_enter(cpu, true);
	event_commit(cpu, ev);
	return OUT_NEXT;
}

/* The gate of a vector, checked as far as both its formats are alike. `size`: bytes of an entry. */
static enum outcome gate_read(struct x86_cpu *cpu, const struct x86_event *ev, unsigned size, u32 types, unsigned cpl,
			      struct x86_gate *g)
{
	u64 d[2] = {0}, la = cpu->st.idtr.base + ev->vector * size;
	u32 error = ev->vector * 8u + 2 + event_ext(cpu, ev);
	enum outcome o;

	if (ev->vector * size + size - 1 > cpu->st.idtr.limit)
		return x86_fault(cpu, EXC_GP, error);
	o = mem_read_n(cpu, size == 8 ? (u32)la : la, d, size, ACC_SYSTEM);
	if (o != OUT_NEXT)
		return o;
	*g = desc_gate(d[0], d[1]);
	if (!(types >> g->type & 1) || (event_is_soft(ev) && g->dpl < cpl))
		return x86_fault(cpu, EXC_GP, error);
	if (!g->present)
		return x86_fault(cpu, EXC_NP, error);
	return OUT_NEXT;
}

/* The handler's segment; t->cpl becomes the level that it runs at. */
static enum outcome handler_read(struct x86_cpu *cpu, const struct x86_gate *g, u32 ext, unsigned cpl, bool long_mode,
				 struct code_target *t)
{
	unsigned dpl;
	u32 error = (g->sel & 0xfffcu) | ext;
	enum outcome o = code_target_read(cpu, g->sel, ext, t);

	if (o != OUT_NEXT)
		return o;
	dpl = SEG_DPL(t->seg.attr);
	if (dpl > cpl || (long_mode && !(t->seg.attr & SEG_L)))
		return x86_fault(cpu, EXC_GP, error);
	if (!(t->seg.attr & SEG_P))
		return x86_fault(cpu, EXC_NP, error);
	t->cpl = attr_is_conforming(t->seg.attr) ? cpl : dpl;
	return code_target_check_rip(cpu, t, g->offset, ext);
}

/* SDM vol. 3 6.14.2 to 6.14.5: an aligned stack, always SS:RSP, IST. */
static enum outcome enter64(struct x86_cpu *cpu, const struct x86_event *ev, unsigned cpl)
{
	struct frame f = {.size = 8, .code64 = true, .ss_error = event_ext(cpu, ev)};
	struct code_target t;
	struct x86_gate g;
	u32 ext = event_ext(cpu, ev);
	enum outcome o = gate_read(cpu, ev, 16, BIT(SYS_INT) | BIT(SYS_TRAP), cpl, &g);

	if (o == OUT_NEXT)
		o = handler_read(cpu, &g, ext, cpl, true, &t);
	if (o != OUT_NEXT)
		return o;
	if (g.ist)
		o = tss_stack64(cpu, 36 + 8 * (g.ist - 1), ext, &f.sp);
	else if (t.cpl != cpl)
		o = tss_stack64(cpu, 4 + 8 * t.cpl, ext, &f.sp);
	else
		f.sp = cpu->st.gpr[RSP];
	if (o == OUT_NEXT)
		o = code_target_mark(cpu, &t);
	if (o != OUT_NEXT)
		return o;
	f.sp &= ~15ull;
	f.cpl = t.cpl;
	frame_add(&f, cpu->st.seg[SS].sel);
	frame_add(&f, cpu->st.gpr[RSP]);
	frame_add(&f, x86_event_flags(cpu, ev));
	frame_add(&f, cpu->st.seg[CS].sel);
	frame_add(&f, cpu->st.rip);
	if (ev->has_error)
		frame_add(&f, ev->error);
	o = frame_push(cpu, &f);
	if (o != OUT_NEXT)
		return o;
	if (t.cpl != cpl)
		cpu->st.seg[SS] = (struct x86_seg){.sel = t.cpl};
	cpu->st.gpr[RSP] = f.sp;
	code_target_load(cpu, &t);
	flags_enter(cpu, g.type == SYS_INT);
	event_commit(cpu, ev);
	return OUT_NEXT;
}

/* The new stack of a legacy gate that leads inwards. */
static enum outcome legacy_inner(struct x86_cpu *cpu, struct frame *f, unsigned cpl, u32 ext)
{
	u16 ss;
	enum outcome o = tss_stack(cpu, cpl, ext, &ss, &f->sp);

	if (o == OUT_NEXT)
		o = seg_check_stack(cpu, ss, cpl, EXC_TS, ext, &f->ss);
	if (o != OUT_NEXT)
		return o;
	f->cpl = cpl;
	f->ss_error = (ss & 0xfffcu) | ext;
	f->typed = true;
	f->code64 = false;
	f->n = 0;
	if (in_v86(cpu)) {
		frame_add(f, cpu->st.seg[GS].sel);
		frame_add(f, cpu->st.seg[FS].sel);
		frame_add(f, cpu->st.seg[DS].sel);
		frame_add(f, cpu->st.seg[ES].sel);
	}
	frame_add(f, cpu->st.seg[SS].sel);
	frame_add(f, cpu->st.gpr[RSP]);
	return OUT_NEXT;
}

static enum outcome enter_legacy(struct x86_cpu *cpu, const struct x86_event *ev, unsigned cpl)
{
	static const u32 types = BIT(SYS_INT) | BIT(SYS_TRAP) | BIT(SYS_INT16) | BIT(SYS_TRAP16) | BIT(SYS_TASK_GATE);
	static const u8 data[] = {ES, DS, FS, GS};
	struct code_target t;
	struct x86_gate g;
	struct frame f;
	u32 ext = event_ext(cpu, ev);
	bool v86 = in_v86(cpu), wide, inner;
	enum outcome o = gate_read(cpu, ev, 8, types, cpl, &g);

	if (o != OUT_NEXT)
		return o;
	if (g.type == SYS_TASK_GATE) {
		cpl_assume(cpu, cpl);
		return task_switch(cpu, g.sel, TASK_GATE, cpu->st.rip, ev->has_error, ev->error, ext);
	}
	wide = g.type & 8;
	if (!wide)
		g.offset = (u16)g.offset;
	o = handler_read(cpu, &g, ext, cpl, false, &t);
	if (o != OUT_NEXT)
		return o;
	inner = t.cpl != cpl;
	if (v86 && t.cpl != 0)
		return x86_fault(cpu, EXC_GP, (g.sel & 0xfffcu) | ext);
	frame_init_current(cpu, &f, wide ? 4 : 2, ext);
	f.size = wide ? 4 : 2;
	f.cpl = t.cpl;
	if (inner)
		o = legacy_inner(cpu, &f, t.cpl, ext);
	if (o == OUT_NEXT)
		o = code_target_mark(cpu, &t);
	if (o != OUT_NEXT)
		return o;
	frame_add(&f, x86_event_flags(cpu, ev));
	frame_add(&f, cpu->st.seg[CS].sel);
	frame_add(&f, cpu->st.rip);
	if (ev->has_error)
		frame_add(&f, ev->error);
	o = frame_push(cpu, &f);
	if (o != OUT_NEXT)
		return o;
	if (inner)
		cpu->st.seg[SS] = f.ss;
	frame_set_sp(cpu, f.sp, f.ss.attr, false);
	if (v86)
		for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
			cpu->st.seg[data[i]] = (struct x86_seg){0};
	code_target_load(cpu, &t);
	flags_enter(cpu, (g.type & 7) == SYS_INT16);
	event_commit(cpu, ev);
	return OUT_NEXT;
}

/*
 * Tables, TSS and inner stacks are the supervisor's: on the way the processor's accesses are those of CPL 0, so that
 * they hit in the TLB. A task switch settles all of that itself and ends with OUT_JUMP.
 */
static enum outcome deliver_once(struct x86_cpu *cpu, const struct x86_event *ev)
{
	unsigned cpl = cpu->st.cpl;
	enum outcome o;

	if (!(cpu->st.cr0 & CR0_PE))
		return deliver_real(cpu, ev);
	cpl_assume(cpu, 0);
	o = in_long_mode(cpu) ? enter64(cpu, ev, cpl) : enter_legacy(cpu, ev, cpl);
	if (o == OUT_JUMP) {
		event_commit(cpu, ev);
		return OUT_NEXT;
	}
	if (o != OUT_NEXT)
		cpl_assume(cpu, cpl);
	return o;
}

/* SDM vol. 3 table 6-5 "Conditions for Generating a Double Fault". false: the processor shuts down. */
static bool combine(const struct x86_event *first, struct x86_event *second)
{
	u64 one = BIT(first->vector & 31), two = BIT(second->vector & 31);

	if (!event_is_exception(first) || first->kind == EV_SOFT_EXC)
		return true;
	if (first->vector == EXC_DF)
		return !(two & (CONTRIBUTORY | PAGE_FAULTS));
	if (((one & CONTRIBUTORY) && (two & CONTRIBUTORY)) ||
	    ((one & PAGE_FAULTS) && (two & (CONTRIBUTORY | PAGE_FAULTS))))
		*second = (struct x86_event){.kind = EV_FAULT, .vector = EXC_DF, .has_error = true};
	return true;
}

/* SDM vol. 3 6.15 "Interrupt 8": NMI, INIT or reset would end it; APM vol. 2 15.14.3 "Shutdown Intercept". */
static enum outcome shutdown(struct x86_cpu *cpu)
{
	cpu->c.delivering.kind = EV_NONE;
	if (x86_exit_wanted(cpu, EXIT_SHUTDOWN)) {
		x86_exit(cpu, EXIT_SHUTDOWN, 0, 0);
		vmexit_complete(cpu, 0);
		return OUT_JUMP;
	}
	cpu->st.activity = ACT_SHUTDOWN;
	return OUT_RETRY;
}

static struct vcpu_fault fault_of(const struct x86_event *ev)
{
	return (struct vcpu_fault){
		.known = 1,
		.vector = ev->vector,
		.interrupt = !event_is_exception(ev),
		.has_error = ev->has_error,
		.error = ev->error,
		.cr2 = ev->cr2,
	};
}

/* For whoever asks after a shutdown: `second` was met while `first` was delivered. */
static noinline void remember(struct x86_cpu *cpu, const struct x86_event *first, const struct x86_event *second)
{
	struct vcpu_shutdown *s = &cpu->shut;

	if (first->kind == EV_FAULT && first->vector == EXC_DF) {
		s->third = fault_of(second);
		return;
	}
	*s = (struct vcpu_shutdown){.first = fault_of(first), .second = fault_of(second)};
}

static noinline void trace_event(struct x86_cpu *cpu, const struct x86_event *ev)
{
	static const char *const kinds[] = {"none",	      "fault", "trap",	    "int n",
					    "soft exception", "icebp", "interrupt", "nmi"};

	trace_cpu(cpu, NULL, TRACE_INT, "%s %02x error %#x cr2 %#llx cs %04x ss:rsp %04x:%#llx", kinds[ev->kind],
		  ev->vector, ev->has_error ? ev->error : 0, (unsigned long long)ev->cr2, cpu->st.seg[CS].sel,
		  cpu->st.seg[SS].sel, (unsigned long long)cpu->st.gpr[RSP]);
}

/* A software event that does not reach its handler leaves RIP at the instruction. Returns the RIP behind it, 0 for
 * other events. */
static u64 event_rewind(struct x86_cpu *cpu, unsigned insn_len)
{
	u64 next = cpu->st.rip;

	if (!insn_len)
		return 0;
	cpu->st.rip = mask_ip(cpu, next - insn_len, cpu->c.mode & MODE_SIZE ? 4 : 2);
	return next;
}

/* SDM vol. 3 27.1 "Architectural State Before a VM Exit": what an event leaves in CR2 and DR6 is there although its
 * delivery was cut short, since whoever injects it again does not set them; in VMX it has also ended HLT and blocking
 * by STI and MOV SS. */
static void event_interrupted(struct x86_cpu *cpu, const struct x86_event *ev)
{
	if (event_is_exception(ev) && ev->vector == EXC_PF)
		cpu->st.cr2 = ev->cr2;
	if (event_is_exception(ev) && ev->vector == EXC_DB)
		x86_db_commit(&cpu->st, ev->db);
	if (cpu->c.vmx.on) {
		cpu->st.activity = ACT_RUNNING;
		cpu->st.shadow = 0;
	}
}

enum outcome x86_deliver(struct x86_cpu *cpu)
{
	struct x86_event ev = cpu->c.event;
	enum outcome o;

	cpu->c.delivering.kind = EV_NONE;
	for (;;) {
		unsigned insn_len = ev.insn_len;
		u64 next, from = cpu->st.rip;

		if (trace_on(cpu->topics, TRACE_INT))
			trace_event(cpu, &ev);
		o = vmexit_check_exception(cpu, &ev);
		if (o == OUT_NEXT) {
			cpu->c.delivering = ev;
			o = deliver_once(cpu, &ev);
			if (likely(o == OUT_NEXT)) {
				cpu->c.delivering.kind = EV_NONE;
				if (unlikely(cpu->st.msr.debugctl))
					lbr_event(cpu, &ev, from - insn_len);
				return OUT_JUMP;
			}
			insn_len = cpu->c.delivering.insn_len; /* 0 when the fault belongs to the new task */
		}
		next = event_rewind(cpu, insn_len);
		if (o == OUT_FAULT)
			o = vmexit_check_exception(cpu, &cpu->c.event);
		if (o == OUT_EXIT) {
			if (cpu->c.delivering.kind != EV_NONE)
				event_interrupted(cpu, &cpu->c.delivering);
			vmexit_complete(cpu, next);
			return OUT_JUMP;
		}
		remember(cpu, &ev, &cpu->c.event);
		/* A page fault has loaded CR2 although another event takes its place. */
		event_interrupted(cpu, &ev);
		if (cpu->c.event.vector == EXC_PF)
			cpu->st.cr2 = cpu->c.event.cr2;
		if (!combine(&ev, &cpu->c.event))
			return shutdown(cpu);
		ev = cpu->c.event;
		if (cpu->c.vmx.on &&
		    ev.vector == EXC_DF) /* SDM vol. 3 27.2.4: the exit of #DF is not during delivery */
			cpu->c.delivering.kind = EV_NONE;
	}
}
