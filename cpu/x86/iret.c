/*
 * IRET in all modes. SDM vol. 2 "IRET/IRETD/IRETQ" (operation); APM vol. 3 "IRET"; SDM vol. 3 20.2.3 "Leaving
 * Virtual-8086 Mode".
 *
 * RF comes from the image only while a code breakpoint is armed in DR7: it matters to nothing else, and code that runs
 * in blocks does not clear it after each instruction (run.c's single steps do).
 */
#include "cpu/x86/exec.h"
#include "cpu/x86/seg.h"
#include "cpu/x86/vmx.h"

/* What IRET at `cpl` may change of RFLAGS; VM is the caller's. */
static void load_flags(struct x86_cpu *cpu, u64 v, unsigned opsize, unsigned cpl)
{
	u64 old = x86_rflags(&cpu->st), mask = FL_OSZAPC | FL_TF | FL_DF | FL_NT;
	unsigned iopl = (old & FL_IOPL) >> 12;
	bool v86 = old & FL_VM;

	if (opsize > 2)
		mask |= FL_RF | FL_AC | FL_ID;
	if (cpl == 0 && !v86)
		mask |= FL_IOPL | (opsize > 2 ? FL_VIF | FL_VIP : 0);
	if (cpl <= iopl)
		mask |= FL_IF;
	if (!dr7_any_code(cpu->st.dr7))
		v &= ~FL_RF;
	x86_set_rflags(&cpu->st, (old & ~mask) | (v & mask));
}

/* Where IF belongs to the monitor: CR4.VME lends the 16-bit form VIF instead (SDM vol. 3 20.3.3.4). */
static bool v86_below_iopl(const struct x86_cpu *cpu) { return in_v86(cpu) && (cpu->st.rflags & FL_IOPL) != FL_IOPL; }

/* SDM vol. 3 25.3 "IRET": with NMI exiting and no virtual NMIs, blocking is left alone. */
static bool nmi_unblocks(const struct x86_cpu *cpu)
{
	return !cpu->c.vmx.on || !vmx_has(&cpu->c, PIN, NMI) || vmx_has(&cpu->c, PIN, VIRTUAL_NMI);
}

static enum outcome iret_done(struct x86_cpu *cpu)
{
	if (nmi_unblocks(cpu))
		cpu->st.nmi_blocked = 0;
	x86_update_mode(cpu);
	x86_update_attention(cpu);
	return OUT_JUMP;
}

static enum outcome iret_real(struct x86_cpu *cpu, u64 rip, u16 sel, u64 flags, unsigned opsize)
{
	unsigned cpl = cpu->st.cpl;

	bool lent = v86_below_iopl(cpu);

	if (rip > cpu->st.seg[CS].limit)
		return x86_fault(cpu, EXC_GP, 0);
	if (lent && ((flags & FL_TF) || ((flags & FL_IF) && (cpu->st.rflags & FL_VIP))))
		return x86_fault(cpu, EXC_GP, 0);
	stack_adjust(cpu, 3 * opsize);
	seg_set_real(cpu, CS, sel);
	cpu->st.rip = rip;
	load_flags(cpu, flags, opsize, in_v86(cpu) ? 3 : cpl);
	if (lent)
		cpu->st.rflags = (cpu->st.rflags & ~FL_VIF) | (flags & FL_IF ? FL_VIF : 0);
	return iret_done(cpu);
}

/* From CPL 0 with VM set in the image: the whole virtual-8086 frame. */
static enum outcome iret_to_v86(struct x86_cpu *cpu, u64 rip, u16 sel, u64 flags)
{
	static const u8 order[] = {SS, ES, DS, FS, GS};
	u64 esp, v[ARRAY_SIZE(order)];
	enum outcome o = stack_peek(cpu, 12, &esp, 4);

	for (unsigned i = 0; i < ARRAY_SIZE(order) && o == OUT_NEXT; i++)
		o = stack_peek(cpu, 16 + 4 * i, &v[i], 4);
	if (o != OUT_NEXT)
		return o;
	if (rip > 0xffff)
		return x86_fault(cpu, EXC_GP, 0);
	load_flags(cpu, flags, 4, 0);
	cpu->st.rflags |= FL_VM;
	cpu->st.cpl = 3;
	seg_set_v86(cpu, CS, sel);
	for (unsigned i = 0; i < ARRAY_SIZE(order); i++)
		seg_set_v86(cpu, order[i], v[i]);
	cpu->st.gpr[RSP] = esp;
	cpu->st.rip = rip;
	return iret_done(cpu);
}

static enum outcome iret_task(struct x86_cpu *cpu)
{
	u16 link;
	enum outcome o;

	if (in_long_mode(cpu))
		return x86_fault(cpu, EXC_GP, 0);
	o = mem_read16(cpu, (u32)cpu->st.tr.base, &link, ACC_SYSTEM);
	if (o != OUT_NEXT)
		return o;
	return task_switch(cpu, link, TASK_IRET, insn_next_rip(cpu, cpu->c.in), false, 0, 0);
}

/* The target with all checks of its own; t->cpl is the level returned to. */
static enum outcome iret_target(struct x86_cpu *cpu, u64 rip, u16 sel, struct code_target *t)
{
	unsigned rpl = SEL_RPL(sel);
	enum outcome o = code_target_read(cpu, sel, 0, t);

	if (o != OUT_NEXT)
		return o;
	if (rpl < cpu->st.cpl)
		return x86_fault(cpu, EXC_GP, sel & 0xfffcu);
	o = code_target_check_level(cpu, t, rpl, rpl, 0);
	if (o == OUT_NEXT)
		o = code_target_check_rip(cpu, t, rip, 0);
	if (o == OUT_NEXT)
		o = code_target_mark(cpu, t);
	t->cpl = rpl;
	return o;
}

/* With SS:RSP from the frame: every IRET of 64-bit code, and others to an outer level. */
static enum outcome iret_with_stack(struct x86_cpu *cpu, struct code_target *t, u64 flags, unsigned opsize, u64 rsp,
				    u16 sel)
{
	bool code64 = in_long_mode(cpu) && (t->seg.attr & SEG_L);
	unsigned old = cpu->st.cpl;
	struct x86_seg ss = {0};
	enum outcome o = OUT_NEXT;

	if (SEL_NULL(sel) && code64 && t->cpl != 3 && SEL_RPL(sel) == t->cpl)
		ss.sel = sel;
	else
		o = seg_check_stack(cpu, sel, t->cpl, EXC_GP, 0, &ss);
	if (o != OUT_NEXT)
		return o;
	code_target_load(cpu, t);
	cpu->st.seg[SS] = ss;
	frame_set_sp(cpu, rsp, ss.attr, code64);
	load_flags(cpu, flags, opsize, old);
	if (t->cpl > old)
		seg_drop_inner(cpu);
	return iret_done(cpu);
}

static enum outcome iret_code64(struct x86_cpu *cpu, unsigned opsize)
{
	struct code_target t;
	u64 v[5] = {0};
	u8 buf[40];
	enum outcome o = mem_read_n(cpu, cpu->st.gpr[RSP], buf, 5 * opsize, ACC_STACK);

	if (o != OUT_NEXT)
		return o;
	for (unsigned i = 0; i < 5; i++)
		memcpy(&v[i], buf + i * opsize, opsize);
	o = iret_target(cpu, v[0], v[1], &t);
	if (o != OUT_NEXT)
		return o;
	return iret_with_stack(cpu, &t, v[2], opsize, v[3], v[4]);
}

static enum outcome iret_legacy(struct x86_cpu *cpu, unsigned opsize)
{
	struct code_target t;
	u64 rip, sel, flags, rsp, ss;
	unsigned cpl = cpu->st.cpl;
	enum outcome o = stack_peek(cpu, 0, &rip, opsize);

	if (o == OUT_NEXT)
		o = stack_peek(cpu, opsize, &sel, opsize);
	if (o == OUT_NEXT)
		o = stack_peek(cpu, 2 * opsize, &flags, opsize);
	if (o != OUT_NEXT)
		return o;
	if (in_real_style(cpu))
		return iret_real(cpu, rip, sel, flags, opsize);
	if ((flags & FL_VM) && opsize == 4 && !cpl && !in_long_mode(cpu))
		return iret_to_v86(cpu, rip, sel, flags);
	o = iret_target(cpu, rip, sel, &t);
	if (o != OUT_NEXT)
		return o;
	if (t.cpl > cpl) {
		o = stack_peek(cpu, 3 * opsize, &rsp, opsize);
		if (o == OUT_NEXT)
			o = stack_peek(cpu, 4 * opsize, &ss, opsize);
		if (o != OUT_NEXT)
			return o;
		return iret_with_stack(cpu, &t, flags, opsize, rsp, ss);
	}
	stack_adjust(cpu, 3 * opsize);
	code_target_load(cpu, &t);
	load_flags(cpu, flags, opsize, cpl);
	return iret_done(cpu);
}

static enum outcome iret_any(struct x86_cpu *cpu, unsigned opsize)
{
	if (v86_below_iopl(cpu) && (opsize != 2 || !(cpu->st.cr4 & CR4_VME)))
		return x86_fault(cpu, EXC_GP, 0);
	if (!in_real_style(cpu) && (cpu->st.rflags & FL_NT))
		return iret_task(cpu);
	if (in_code64(cpu))
		return iret_code64(cpu, opsize);
	return iret_legacy(cpu, opsize);
}

/*
 * Intel's processors end blocking by NMI although IRET fails: SDM vol. 3 6.7.1 "Handling Multiple NMIs". In VMX
 * non-root operation the exit tells so: 27.2.3.
 */
enum outcome far_iret(struct x86_cpu *cpu, unsigned opsize)
{
	bool blocked = cpu->st.vendor == X86_INTEL && cpu->st.nmi_blocked && nmi_unblocks(cpu);
	enum outcome o = iret_any(cpu, opsize);

	if (unlikely(blocked) && (o == OUT_FAULT || o == OUT_EXIT)) {
		cpu->st.nmi_blocked = 0;
		x86_update_attention(cpu);
		*(o == OUT_FAULT ? &cpu->c.event.nmi_iret : &cpu->c.vmexit.nmi_iret) = 1;
		if (o == OUT_FAULT && cpu->c.event.vector == EXC_VE)
			vmx_ve_nmi_iret(cpu);
	}
	return o;
}
