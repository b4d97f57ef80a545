/*
 * The other system instructions: halt, cache and TLB control, counters, segment bases, AC, and those that only fault.
 * SDM vol. 2 at each name; APM vol. 3 chapter 4 "System Instruction Reference".
 *
 * Memory is coherent and caches nothing that a guest could see, so that WBINVD and INVD have nothing left to do. Where
 * a row's exit depends on operands, or comes after a check that only this instruction has (CR4.TSD, CR4.PCE), the
 * handler tests for it.
 */
#include "arch/x86/model.h"
#include "cpu/x86/int.h"
#include "cpu/x86/seg.h"

HANDLER(op_hlt)
{
	cpu->st.activity = ACT_HALTED;
	cpu->n.halts++;
	LEAVE(cpu, in, OUT_END);
}

HANDLER(op_cache_nothing) { LEAVE(cpu, in, OUT_END); }

/* The segment's limit is not checked, and a non-canonical address has no entry (SDM vol. 2 "INVLPG"). */
HANDLER(op_invlpg)
{
	u64 la = insn_ea(cpu, in) + REG64(cpu, in->seg);

	if (!in_code64(cpu))
		la = (u32)la;
	if (x86_exit_wanted(cpu, EXIT_INVLPG))
		LEAVE(cpu, in, x86_exit(cpu, EXIT_INVLPG, la, 0));
	if (la_canonical_kept(cpu, la))
		tlb_flush_page(cpu, la);
	LEAVE(cpu, in, OUT_END);
}

enum invpcid_type { INVPCID_ADDRESS, INVPCID_SINGLE, INVPCID_ALL, INVPCID_ALL_NONGLOBAL };

HANDLER(op_invpcid)
{
	u64 type = in_code64(cpu) ? REG64(cpu, in->dst) : REG32(cpu, in->dst), d[2], la;

	if (unlikely(cpu->c.vmx.no_invpcid)) /* before all other exceptions: SDM vol. 3 25.3 "INVPCID" */
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if (cpu->st.cpl)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (x86_exit_wanted(cpu, EXIT_INVPCID) && cpu->c.vmx.on)
		LEAVE(cpu, in, x86_exit(cpu, EXIT_INVPCID, 0, 0));
	TRY(cpu, in, insn_la(cpu, in, 16, insn_acc(in), &la));
	if (x86_exit_wanted(cpu, EXIT_INVPCID)) /* APM vol. 2 appendix C: the operand's address and the register */
		LEAVE(cpu, in, x86_exit(cpu, EXIT_INVPCID, la, type));
	TRY(cpu, in, mem_read_n(cpu, la, d, 16, insn_acc(in)));
	if (type > INVPCID_ALL_NONGLOBAL || d[0] >> 12)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (type <= INVPCID_SINGLE && d[0] && !(cpu->st.cr4 & CR4_PCIDE))
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (type == INVPCID_ADDRESS && !la_canonical_kept(cpu, d[1]))
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (type <= INVPCID_SINGLE)
		tlb_flush_pcid(cpu, (u16)d[0], type == INVPCID_ADDRESS, d[1]);
	else
		tlb_flush_current(cpu, true);
	LEAVE(cpu, in, OUT_END);
}

static void put_edx_eax(struct x86_cpu *cpu, u64 v)
{
	cpu->st.gpr[RAX] = (u32)v;
	cpu->st.gpr[RDX] = v >> 32;
}

HANDLER(op_rdtsc)
{
	if ((cpu->st.cr4 & CR4_TSD) && cpu->st.cpl)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (x86_exit_wanted(cpu, EXIT_RDTSC))
		LEAVE(cpu, in, x86_exit(cpu, EXIT_RDTSC, 0, 0));
	put_edx_eax(cpu, x86_tsc_shown(cpu));
	NEXT(cpu, in);
}

HANDLER(op_rdtscp)
{
	if (unlikely(cpu->c.vmx.no_rdtscp))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if ((cpu->st.cr4 & CR4_TSD) && cpu->st.cpl)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (x86_exit_wanted(cpu, EXIT_RDTSCP))
		LEAVE(cpu, in, x86_exit(cpu, EXIT_RDTSCP, 0, 0));
	asm volatile("lfence" ::: "memory"); /* it waits for all loads before it */
	put_edx_eax(cpu, x86_tsc_shown(cpu));
	cpu->st.gpr[RCX] = (u32)cpu->st.msr.tsc_aux;
	NEXT(cpu, in);
}

HANDLER(op_rdpid)
{
	if (unlikely(cpu->c.vmx.no_rdtscp))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	REG64(cpu, in->dst) = cpu->st.msr.tsc_aux;
	NEXT(cpu, in);
}

/* No counter is offered (CPUID leaf 0Ah is 0; AMD's MSRs raise #GP): every index is #GP(0). */
HANDLER(op_rdpmc)
{
	if (!(cpu->st.cr4 & CR4_PCE) && cpu->st.cpl)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (x86_exit_wanted(cpu, EXIT_RDPMC))
		LEAVE(cpu, in, x86_exit(cpu, EXIT_RDPMC, 0, 0));
	LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
}

/* #UD above CPL 0, not #GP. */
static enum outcome set_ac(struct x86_cpu *cpu, const struct insn *in, bool on)
{
	if (cpu->st.cpl || in_v86(cpu))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	cpu->st.rflags = (cpu->st.rflags & ~FL_AC) | (on ? FL_AC : 0);
	x86_update_spaces(cpu);
	NEXT(cpu, in);
}

HANDLER(op_clac) { return set_ac(cpu, in, false); }
HANDLER(op_stac) { return set_ac(cpu, in, true); }

/* RDFSBASE, RDGSBASE, WRFSBASE, WRGSBASE; aux: FS or GS. */
HANDLER(op_rdbase)
{
	if (!(cpu->st.cr4 & CR4_FSGSBASE))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	reg_write(cpu, in->dst, in->opsize, cpu->st.seg[in->aux].base);
	NEXT(cpu, in);
}

HANDLER(op_wrbase)
{
	u64 v = in->opsize == 8 ? REG64(cpu, in->dst) : REG32(cpu, in->dst);

	if (!(cpu->st.cr4 & CR4_FSGSBASE))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if (!la_canonical_kept(cpu, v))
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	cpu->st.seg[in->aux].base = v;
	NEXT(cpu, in);
}

/* UD0, UD1; RSM outside system management mode. */
HANDLER(op_undefined) { LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0)); }

/* SDM vol. 2 "RDPKRU", "WRPKRU". */
static enum outcome pkru_check(struct x86_cpu *cpu, bool zeros)
{
	if (!(cpu->st.cr4 & CR4_PKE))
		return x86_fault(cpu, EXC_UD, 0);
	return zeros ? OUT_NEXT : x86_fault(cpu, EXC_GP, 0);
}

HANDLER(op_rdpkru)
{
	TRY(cpu, in, pkru_check(cpu, !(u32)cpu->st.gpr[RCX]));
	put_edx_eax(cpu, cpu->st.fpu.pkru);
	NEXT(cpu, in);
}

HANDLER(op_wrpkru)
{
	TRY(cpu, in, pkru_check(cpu, !(u32)cpu->st.gpr[RCX] && !(u32)cpu->st.gpr[RDX]));
	cpu->st.fpu.pkru = (u32)cpu->st.gpr[RAX];
	x86_update_spaces(cpu);
	NEXT(cpu, in);
}

BIND(hlt)
BIND(rdpkru)
BIND(wrpkru)
BIND(cache_nothing)
BIND(invlpg)
BIND(invpcid)
BIND(rdtsc)
BIND(rdtscp)
BIND(rdpid)
BIND(rdpmc)
BIND(clac)
BIND(stac)
BIND(undefined)

bool bind_rdbase(struct bind *b)
{
	b->in->aux = b->zi->mnemonic == ZYDIS_MNEMONIC_RDFSBASE ? FS : GS;
	b->in->opsize = MAX(b->in->opsize, 4); /* 66h is ignored */
	b->in->fn = op_rdbase;
	return true;
}

bool bind_wrbase(struct bind *b)
{
	b->in->aux = b->zi->mnemonic == ZYDIS_MNEMONIC_WRFSBASE ? FS : GS;
	b->in->fn = op_wrbase;
	return true;
}
