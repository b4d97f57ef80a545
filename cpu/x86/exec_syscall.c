/*
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS, IRET.
 * APM vol. 2 6.1 "Fast System Call and Return"; SDM vol. 2 "SYSCALL", "SYSRET", "SYSENTER", "SYSEXIT", "SWAPGS".
 *
 * The vendors differ: AMD has SYSCALL and SYSRET outside long mode and from compatibility mode (CSTAR), leaves SS's
 * hidden part alone in SYSRET, and faults a non-canonical return address at the target; Intel has SYSENTER and SYSEXIT
 * in long mode, and checks RCX in SYSRET.
 */
#include "cpu/x86/exec.h"
#include "cpu/x86/seg.h"

#define ATTR_CODE(dpl)	 (SEG_P | (dpl) << 5 | SEG_S | SEG_CODE | SEG_RW | SEG_ACCESSED | SEG_G)
#define ATTR_CODE64(dpl) (ATTR_CODE(dpl) | SEG_L)
#define ATTR_CODE32(dpl) (ATTR_CODE(dpl) | SEG_DB)
#define ATTR_STACK(dpl)	 (SEG_P | (dpl) << 5 | SEG_S | SEG_RW | SEG_ACCESSED | SEG_DB | SEG_G)

static struct x86_seg flat_seg(u16 sel, u16 attr)
{
	return (struct x86_seg){.sel = sel, .attr = attr, .limit = 0xffffffff};
}

static enum outcome arrive(struct x86_cpu *cpu, const struct insn *in, u64 rip)
{
	cpu->st.rip = rip;
	x86_update_mode(cpu);
	x86_update_attention(cpu);
	LEAVE(cpu, in, OUT_JUMP);
}

static enum outcome op_syscall(struct x86_cpu *cpu, const struct insn *in)
{
	struct x86_state *st = &cpu->st;
	u64 next = mask_ip(cpu, insn_next_rip(cpu, in), 4), rip;
	bool amd = st->vendor == X86_AMD, lm = in_long_mode(cpu);
	u16 sel = (st->msr.star >> 32) & 0xfffc;

	if (!(st->msr.efer & EFER_SCE) || (!amd && !in_code64(cpu)))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if (lm) {
		rip = in_code64(cpu) ? st->msr.lstar : st->msr.cstar;
		st->gpr[RCX] = next;
		st->gpr[R11] = x86_rflags(st) & ~FL_RF;
		x86_set_rflags(st, x86_rflags(st) & ~(st->msr.sfmask | FL_RF | FL_VM));
		st->seg[CS] = flat_seg(sel, ATTR_CODE64(0u));
	} else {
		rip = (u32)st->msr.star;
		st->gpr[RCX] = (u32)next;
		st->rflags &= ~(FL_VM | FL_IF | FL_RF);
		st->seg[CS] = flat_seg(sel, ATTR_CODE32(0u));
	}
	st->seg[SS] = flat_seg(sel + 8, ATTR_STACK(0u));
	st->cpl = 0;
	return arrive(cpu, in, rip);
}

static enum outcome op_sysret(struct x86_cpu *cpu, const struct insn *in)
{
	struct x86_state *st = &cpu->st;
	u64 rip = in->opsize == 8 ? st->gpr[RCX] : (u32)st->gpr[RCX];
	bool amd = st->vendor == X86_AMD;
	u16 sel = st->msr.star >> 48;

	if (!(st->msr.efer & EFER_SCE) || (!amd && !in_code64(cpu)))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if (st->cpl || (!amd && !la_canonical(cpu, rip)))
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (in->opsize == 8)
		st->seg[CS] = flat_seg((sel + 16) | 3, ATTR_CODE64(3u));
	else
		st->seg[CS] = flat_seg(sel | 3, ATTR_CODE32(3u));
	if (amd)
		st->seg[SS].sel = (sel + 8) | 3;
	else
		st->seg[SS] = flat_seg((sel + 8) | 3, ATTR_STACK(3u));
	if (in_long_mode(cpu))
		x86_set_rflags(st, st->gpr[R11] & 0x3c7fd7);
	else
		st->rflags |= FL_IF;
	if (st->rflags & FL_TF) /* unlike IRET: the trap comes before the first instruction there */
		st->pending_db |= DR6_BS;
	st->cpl = 3;
	return arrive(cpu, in, rip);
}

static enum outcome op_sysenter(struct x86_cpu *cpu, const struct insn *in)
{
	struct x86_state *st = &cpu->st;
	u16 sel = st->msr.sysenter_cs & 0xfffc;
	bool lm = in_long_mode(cpu);

	if (lm && st->vendor == X86_AMD)
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if (!sel || !(st->cr0 & CR0_PE))
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	st->rflags &= ~(FL_VM | FL_IF | FL_RF);
	st->gpr[RSP] = lm ? st->msr.sysenter_esp : (u32)st->msr.sysenter_esp;
	st->seg[CS] = flat_seg(sel, lm ? ATTR_CODE64(0u) : ATTR_CODE32(0u));
	st->seg[SS] = flat_seg(sel + 8, ATTR_STACK(0u));
	st->cpl = 0;
	return arrive(cpu, in, lm ? st->msr.sysenter_eip : (u32)st->msr.sysenter_eip);
}

static enum outcome op_sysexit(struct x86_cpu *cpu, const struct insn *in)
{
	struct x86_state *st = &cpu->st;
	u16 sel = st->msr.sysenter_cs & 0xfffc;
	bool wide = in->opsize == 8;
	u64 rip = wide ? st->gpr[RDX] : (u32)st->gpr[RDX], rsp = wide ? st->gpr[RCX] : (u32)st->gpr[RCX];

	if (in_long_mode(cpu) && st->vendor == X86_AMD)
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if (!sel || st->cpl || (wide && (!la_canonical(cpu, rip) || !la_canonical(cpu, rsp))))
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (wide)
		st->seg[CS] = flat_seg((sel + 32) | 3, ATTR_CODE64(3u));
	else
		st->seg[CS] = flat_seg((sel + 16) | 3, ATTR_CODE32(3u));
	st->seg[SS] = flat_seg((st->seg[CS].sel + 8) | 3, ATTR_STACK(3u));
	st->gpr[RSP] = rsp;
	st->cpl = 3;
	return arrive(cpu, in, rip);
}

static enum outcome op_swapgs(struct x86_cpu *cpu, const struct insn *in)
{
	u64 base = cpu->st.seg[GS].base;

	cpu->st.seg[GS].base = cpu->st.msr.kernel_gs_base;
	cpu->st.msr.kernel_gs_base = base;
	NEXT(cpu, in);
}

static enum outcome op_iret(struct x86_cpu *cpu, const struct insn *in)
{
	cpu->c.in = in; /* a task return saves the next RIP */
	return far_iret(cpu, in->opsize);
}

BIND(syscall)
BIND(sysret)
BIND(sysenter)
BIND(sysexit)
BIND(swapgs)

bool bind_iret(struct bind *b)
{
	switch (b->zi->mnemonic) {
	case ZYDIS_MNEMONIC_IRET: b->in->opsize = 2; break;
	case ZYDIS_MNEMONIC_IRETD: b->in->opsize = 4; break;
	default: b->in->opsize = 8; break;
	}
	b->in->fn = op_iret;
	return true;
}
