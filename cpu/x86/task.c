/*
 * Hardware task switches: far JMP and CALL to a TSS or task gate, IRET with NT, interrupts through task gates. Not in
 * long mode. SDM vol. 3 7.3 "Task Switching", table 7-1 "Exception Conditions Checked During a Task Switch", 7.4 "Task
 * Linking"; APM vol. 2 12.4, 15.14.1 "Task Switch Intercept".
 *
 * Two halves: until the old state has been saved, a fault belongs to the old task and nothing has changed; once TR
 * names the new TSS, faults (bad selectors, stack, RIP) are the new task's, with its registers loaded.
 */
#include "cpu/x86/exec.h"
#include "cpu/x86/seg.h"
#include "cpu/x86/trace.h"
#include "cpu/x86/vmexit.h"

#define TSS16_MIN 0x2b
#define TSS32_MIN 0x67
/* EXITINFO2 of the task-switch intercept. */
#define INFO_IRET  BIT(36)
#define INFO_JMP   BIT(38)
#define INFO_ERROR BIT(44)
#define INFO_RF	   BIT(48)

/* Where a TSS of either size keeps things; selectors follow the registers in the order of enum x86_sreg of the TSS. */
struct tss_layout {
	u8 size;	     /* of a register: 2 or 4 */
	u8 rip, flags, gpr;  /* AX CX DX BX SP BP SI DI from gpr */
	u8 sreg, sregs, ldt; /* ES CS SS DS (FS GS) */
};

static const struct tss_layout layouts[2] = {
	{2, 0x0e, 0x10, 0x12, 0x22, 4, 0x2a},
	{4, 0x20, 0x24, 0x28, 0x48, 6, 0x60},
};
#define TSS_CR3	 0x1c
#define TSS_TRAP 0x64

struct task {
	u16 sel;
	u64 d, la; /* descriptor, and where it lies */
	struct x86_seg tr;
	const struct tss_layout *l;
	u8 image[0x68];
};

static u32 image_get(const struct task *t, unsigned offset, unsigned size)
{
	u32 v = 0;

	memcpy(&v, t->image + offset, size);
	return v;
}

static const struct tss_layout *layout_of(const struct x86_seg *tr) { return &layouts[(tr->attr & 8) != 0]; }

/* Bytes of a TSS that a switch reads or writes. */
static unsigned tss_bytes(const struct tss_layout *l) { return l->size == 4 ? 0x68 : 0x2c; }

static enum outcome task_find(struct x86_cpu *cpu, struct task *t, enum task_reason why, u32 ext)
{
	unsigned vector = why == TASK_IRET ? EXC_TS : EXC_GP, want;
	u32 error = (t->sel & 0xfffcu) | ext;
	enum outcome o;

	if (SEL_NULL(t->sel) || (t->sel & SEL_LDT))
		return x86_fault(cpu, vector, error);
	o = desc_read(cpu, t->sel, vector, ext, &t->d, &t->la);
	if (o != OUT_NEXT)
		return o;
	t->tr = desc_seg(t->sel, t->d);
	want = why == TASK_IRET ? SYS_TSS16_BUSY : SYS_TSS16;
	if ((t->tr.attr & (SEG_S | (SEG_TYPE & ~8u))) != want)
		return x86_fault(cpu, vector, error);
	if (!(t->tr.attr & SEG_P))
		return x86_fault(cpu, EXC_NP, error);
	if (t->tr.limit < (t->tr.attr & 8 ? TSS32_MIN : TSS16_MIN))
		return x86_fault(cpu, EXC_TS, error);
	t->l = layout_of(&t->tr);
	return OUT_NEXT;
}

/* RFLAGS as the old task's TSS gets it: with RF for a fault, as on a stack. */
static u64 flags_saved(const struct x86_cpu *cpu, enum task_reason why)
{
	u64 flags = why == TASK_GATE ? x86_event_flags(cpu, &cpu->c.delivering) : x86_rflags(&cpu->st);

	return why == TASK_IRET ? flags & ~FL_NT : flags;
}

static enum outcome task_intercept(struct x86_cpu *cpu, u16 sel, enum task_reason why, bool has_error, u32 error)
{
	u64 info = has_error ? INFO_ERROR | error : 0;

	if (!x86_exit_wanted(cpu, EXIT_TASK_SWITCH))
		return OUT_NEXT;
	if (why == TASK_IRET)
		info |= INFO_IRET;
	if (why == TASK_JMP)
		info |= INFO_JMP;
	if (flags_saved(cpu, why) & FL_RF)
		info |= INFO_RF;
	return x86_exit(cpu, EXIT_TASK_SWITCH, sel, info);
}

/* Reads or writes (through `f`) a TSS in pieces that mem.h takes. */
static enum outcome tss_copy(struct x86_cpu *cpu, u64 base, u8 *image, unsigned from, unsigned to, bool write)
{
	while (from < to) {
		unsigned n = MIN(to - from, 64u);
		enum outcome o = write ? mem_write_n(cpu, (u32)(base + from), image + from, n, ACC_SYSTEM)
				       : mem_read_n(cpu, (u32)(base + from), image + from, n, ACC_SYSTEM);

		if (o != OUT_NEXT)
			return o;
		from += n;
	}
	return OUT_NEXT;
}

static enum outcome tss_probe(struct x86_cpu *cpu, u64 base, unsigned from, unsigned to)
{
	for (; from < to; from += 64) {
		enum outcome o = mem_probe(cpu, (u32)(base + from), MIN(to - from, 64u), ACC_SYSTEM | ACC_WRITE);

		if (o != OUT_NEXT)
			return o;
	}
	return OUT_NEXT;
}

/* The dynamic fields of the task that is left: RIP to the last selector. */
static enum outcome task_save(struct x86_cpu *cpu, enum task_reason why, u64 next_rip)
{
	const struct tss_layout *l = layout_of(&cpu->st.tr);
	u8 image[0x68] = {0};
	u64 flags = flags_saved(cpu, why);

	memcpy(image + l->rip, &next_rip, l->size);
	memcpy(image + l->flags, &flags, l->size);
	for (unsigned i = 0; i < 8; i++)
		memcpy(image + l->gpr + i * l->size, &cpu->st.gpr[i], l->size);
	for (unsigned i = 0; i < l->sregs; i++)
		memcpy(image + l->sreg + i * l->size, &cpu->st.seg[i].sel, 2);
	return tss_copy(cpu, cpu->st.tr.base, image, l->rip, l->sreg + l->sregs * l->size, true);
}

/* Busy bits and the back link. SDM vol. 3 table 7-2 "Effect of a Task Switch on Busy Flag, NT Flag, Previous Task Link
 * Field, and TS Flag". */
static enum outcome task_link(struct x86_cpu *cpu, struct task *t, enum task_reason why)
{
	bool nested = why == TASK_CALL || why == TASK_GATE;
	u64 d, la;
	enum outcome o;

	if (!nested) {
		o = desc_read(cpu, cpu->st.tr.sel, EXC_TS, 0, &d, &la);
		if (o == OUT_NEXT)
			o = desc_mark_busy(cpu, la, false);
		if (o != OUT_NEXT)
			return o;
	}
	if (nested) {
		o = mem_write16(cpu, (u32)t->tr.base, cpu->st.tr.sel, ACC_SYSTEM);
		if (o != OUT_NEXT)
			return o;
	}
	return why == TASK_IRET ? OUT_NEXT : desc_mark_busy(cpu, t->la, true);
}

static void load_registers(struct x86_cpu *cpu, const struct task *t, bool nested)
{
	struct x86_state *st = &cpu->st;
	const struct tss_layout *l = t->l;
	u64 flags = image_get(t, l->flags, l->size) & 0x3f7fd5;

	st->rip = image_get(t, l->rip, l->size);
	if (l->size == 2)
		flags |= x86_rflags(st) & 0xffff0000 & ~FL_VM;
	x86_set_rflags(st, flags | (nested ? FL_NT : 0));
	for (unsigned i = 0; i < 8; i++) {
		u32 v = image_get(t, l->gpr + i * l->size, l->size);

		st->gpr[i] = l->size == 4 ? v : (st->gpr[i] & ~0xffffull) | v;
	}
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = (struct x86_seg){.sel = i < l->sregs ? image_get(t, l->sreg + i * l->size, 2) : 0};
	st->cr0 |= CR0_TS;
	st->dr7 &= ~0x155ull; /* the local enables and LE */
	if (image_get(t, TSS_TRAP, 2) & 1 && l->size == 4)
		st->pending_db |= DR6_BT;
}

static enum outcome load_ldtr(struct x86_cpu *cpu, u16 sel)
{
	enum outcome o;

	cpu->st.ldtr = (struct x86_seg){.sel = sel};
	o = seg_load_ldtr(cpu, sel);
	if (o == OUT_FAULT && (cpu->c.event.vector == EXC_GP || cpu->c.event.vector == EXC_NP))
		cpu->c.event.vector = EXC_TS;
	return o;
}

static enum outcome load_code(struct x86_cpu *cpu, u16 sel)
{
	struct code_target t;
	enum outcome o = SEL_NULL(sel) ? x86_fault(cpu, EXC_TS, 0) : code_target_read(cpu, sel, 0, &t);

	if (o == OUT_NEXT)
		o = code_target_check_level(cpu, &t, SEL_RPL(sel), 3, 0);
	if (o == OUT_FAULT && cpu->c.event.vector == EXC_GP)
		cpu->c.event.vector = EXC_TS;
	if (o == OUT_NEXT)
		o = code_target_mark(cpu, &t);
	if (o == OUT_NEXT)
		cpu->st.seg[CS] = t.seg;
	return o;
}

/* The new task's segments, in the order that SDM vol. 3 7.3 step 13 and table 7-1 give. */
static enum outcome load_segments(struct x86_cpu *cpu, const struct task *t)
{
	static const u8 data[] = {DS, ES, FS, GS};
	struct x86_state *st = &cpu->st;
	enum outcome o = load_ldtr(cpu, image_get(t, t->l->ldt, 2));

	if (o != OUT_NEXT)
		return o;
	if (st->rflags & FL_VM) {
		st->cpl = 3;
		for (unsigned i = 0; i < X86_SREGS; i++)
			seg_set_v86(cpu, i, st->seg[i].sel);
		return OUT_NEXT;
	}
	st->cpl = SEL_RPL(st->seg[CS].sel);
	x86_update_spaces(cpu);
	o = load_code(cpu, st->seg[CS].sel);
	if (o == OUT_NEXT)
		o = seg_check_stack(cpu, st->seg[SS].sel, st->cpl, EXC_TS, 0, &st->seg[SS]);
	for (unsigned i = 0; i < ARRAY_SIZE(data) && o == OUT_NEXT; i++)
		o = seg_load_data(cpu, data[i], st->seg[data[i]].sel, EXC_TS);
	return o;
}

static enum outcome push_error(struct x86_cpu *cpu, const struct task *t, u32 error, u32 ext)
{
	struct frame f;
	enum outcome o;

	x86_update_mode(cpu);
	frame_init_current(cpu, &f, t->l->size, ext);
	frame_add(&f, error);
	o = frame_push(cpu, &f);
	if (o == OUT_NEXT)
		frame_set_sp(cpu, f.sp, f.ss.attr, false);
	return o;
}

/* The second half: from here on the processor is in the new task. */
static enum outcome task_enter(struct x86_cpu *cpu, const struct task *t, bool nested, bool has_error, u32 error,
			       u32 ext)
{
	struct x86_state *st = &cpu->st;
	enum outcome o = OUT_NEXT;

	cpu->c.delivering.insn_len = 0;
	st->tr = t->tr;
	st->tr.attr |= SYS_BUSY;
	if (t->l->size == 4 && (st->cr0 & CR0_PG)) {
		u64 cr3 = image_get(t, TSS_CR3, 4);

		if (st->cr4 & CR4_PAE)
			o = load_pdptes(cpu, cr3);
		if (o == OUT_FAULT)
			return x86_fault(cpu, EXC_TS, (t->sel & 0xfffcu) | ext);
		if (o != OUT_NEXT)
			return o;
		st->cr3 = cr3;
		tlb_flush_current(cpu, false);
	}
	load_registers(cpu, t, nested);
	o = load_segments(cpu, t);
	if (o == OUT_NEXT && st->rip > st->seg[CS].limit)
		o = x86_fault(cpu, EXC_GP, ext);
	if (o == OUT_NEXT && has_error)
		o = push_error(cpu, t, error, ext);
	x86_update_mode(cpu);
	x86_update_attention(cpu);
	return o;
}

enum outcome task_switch(struct x86_cpu *cpu, u16 sel, enum task_reason why, u64 next_rip, bool has_error, u32 error,
			 u32 ext)
{
	struct task t = {.sel = sel};
	const struct tss_layout *old = layout_of(&cpu->st.tr);
	enum outcome o = task_find(cpu, &t, why, ext);

	if (o == OUT_NEXT)
		o = task_intercept(cpu, sel, why, has_error, error);
	if (o == OUT_NEXT)
		o = tss_probe(cpu, cpu->st.tr.base, 0, tss_bytes(old));
	if (o == OUT_NEXT)
		o = tss_probe(cpu, t.tr.base, 0, tss_bytes(t.l));
	if (o == OUT_NEXT)
		o = tss_copy(cpu, t.tr.base, t.image, 0, tss_bytes(t.l), false);
	if (o == OUT_NEXT)
		o = task_save(cpu, why, next_rip);
	if (o == OUT_NEXT)
		o = task_link(cpu, &t, why);
	if (o != OUT_NEXT)
		return o;
	if (trace_on(cpu->topics, TRACE_INT))
		trace_cpu(cpu, NULL, TRACE_INT, "task %04x -> %04x", cpu->st.tr.sel, sel);
	o = task_enter(cpu, &t, why == TASK_CALL || why == TASK_GATE, has_error, error, ext);
	if (o == OUT_NEXT)
		return OUT_JUMP;
	if (why == TASK_GATE)
		return o;
	if (o == OUT_FAULT)
		return x86_deliver(cpu);
	vmexit_complete(cpu, 0);
	return OUT_JUMP;
}
