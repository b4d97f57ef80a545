/*
 * NOP and its kin, fences, cache-line instructions, RDRAND and RDSEED, UD2.
 *
 * Hints that name memory (NOP, PREFETCHh, CLDEMOTE) access none. CLFLUSH, CLFLUSHOPT and CLWB are checked like byte
 * loads (SDM vol. 2) and flush nothing, since the caches are the host's and coherent.
 */
#include <sched.h>
#include <sys/random.h>

#include "cpu/x86/check.h"
#include "cpu/x86/int.h"
#include "cpu/x86/vmexit.h"

#define SPINS_TO_YIELD 64

HANDLER(nop) { NEXT(cpu, in); }

/* 0F 0D (PREFETCH, PREFETCHW) with a register is #UD on AMD, a NOP on Intel. */
bool bind_nop(struct bind *b)
{
	bool prefetch = b->zi->opcode_map == ZYDIS_OPCODE_MAP_0F && b->zi->opcode == 0x0d;

	b->in->fn = prefetch && b->zi->raw.modrm.mod == 3 && b->cpu->st.vendor == X86_AMD ? check_invalid : nop;
	return true;
}

bool bind_ud2(struct bind *b)
{
	b->in->fn = check_invalid;
	return true;
}

/* A processor that spins lets its host's other threads go first. */
HANDLER(spin)
{
	if (x86_exit_wanted(cpu, EXIT_PAUSE) && !vmexit_pause_passes(cpu, in))
		LEAVE(cpu, in, x86_exit(cpu, EXIT_PAUSE, 0, 0));
	if (cpu->vm->nvcpus > 1 && ++cpu->spins % SPINS_TO_YIELD == 0)
		sched_yield();
	else
		asm volatile("pause");
	NEXT(cpu, in);
}

BIND_ONE(spin)

/*
 * x86-TSO holds on both sides, but the host's own fences are needed: MFENCE's, SFENCE's behind the non-temporal stores
 * that stubs make, and LFENCE's, which keeps RDTSC behind the loads before it (SDM vol. 3 17.17 "Time-Stamp Counter").
 */
HANDLER(mfence)
{
	asm volatile("mfence" ::: "memory");
	NEXT(cpu, in);
}

HANDLER(lfence)
{
	asm volatile("lfence" ::: "memory");
	NEXT(cpu, in);
}

HANDLER(sfence)
{
	asm volatile("sfence" ::: "memory");
	NEXT(cpu, in);
}
BIND_ONE(mfence)
BIND_ONE(lfence)
BIND_ONE(sfence)

HANDLER(clflush)
{
	u64 la;

	TRY(cpu, in, insn_la(cpu, in, 1, insn_acc(in), &la));
	TRY(cpu, in, mem_probe(cpu, la, 1, insn_acc(in)));
	NEXT(cpu, in);
}
BIND_ONE(clflush)

/* Zeroes the 64-byte line that rAX points into: APM vol. 3, CLZERO. */
HANDLER(clzero)
{
	static const u8 zeros[64];
	struct insn at = *in;
	u64 la;

	at.base = CPU_OFF(st.gpr[RAX]);
	TRY(cpu, in, insn_la(cpu, &at, 1, ACC_WRITE, &la));
	TRY(cpu, in, mem_write_n(cpu, ALIGN_DOWN(la, 64), zeros, 64, 0));
	NEXT(cpu, in);
}
BIND_ONE(clzero)

/* RDRAND and RDSEED always succeed: the host's kernel gives the entropy. CF = 1, the other status flags are cleared. */
HANDLER(rdrand)
{
	u64 v = 0;

	if (getrandom(&v, sizeof(v), 0) != sizeof(v)) {
		reg_write(cpu, in->dst, in->opsize, 0);
		FLAGS(cpu) = 0x200;
		NEXT(cpu, in);
	}
	reg_write(cpu, in->dst, in->opsize, v);
	FLAGS(cpu) = CF_AX | 0x200;
	NEXT(cpu, in);
}
BIND_ONE(rdrand)
