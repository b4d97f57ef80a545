/*
 * The debugger's side of the processor (core/debug.h): where it leaves the guest.
 *
 * Breakpoints: a block that is decoded at a breakpoint's linear address ends there in an instruction of ours
 * (debug_trap). Blocks are found by physical address; one that another mapping of the page has made is checked when it
 * is found. One instruction at a time (MODE_SINGLE) there are no such ends; run_single() asks for itself. Watchpoints
 * share the way of DR7's data breakpoints: TLB tags of watched pages are withheld, mem.c looks. A hit sets ATT_STOP,
 * whose handler leaves run with RUN_DEBUG; the guest's state is that between two instructions.
 */
#ifndef CPU_X86_DEBUG_H
#define CPU_X86_DEBUG_H

#include "cpu/x86/block.h"

insn_fn debug_trap;
/* When run is entered: follows changed points; steps off the breakpoint that it left at. */
void debug_run_enters(struct x86_cpu *cpu);
/* Whether the block, now found at la, lacks the end that a breakpoint there wants. */
bool debug_block_stale(const struct x86_cpu *cpu, const struct block *b, u64 la);

static inline u64 debug_la(const struct x86_cpu *cpu, u64 rip)
{
	return cpu->c.mode & 2 ? rip : (u32)(rip + cpu->st.seg[CS].base);
}

/* The first hit counts. */
static inline void debug_hit(struct x86_cpu *cpu, enum debug_why why)
{
	if (cpu->debug.hit)
		return;
	cpu->debug.hit = 1;
	cpu->vcpu.debug.why = why;
	atomic_fetch_or(&cpu->c.attention, ATT_STOP);
}

/* Data was accessed: a watchpoint there stops behind this instruction, the rest of whose block is dropped. */
static inline void debug_watch(struct x86_cpu *cpu, u64 la, unsigned size, bool write)
{
	const struct debug_point *p = debug_watched(&cpu->vm->debug, la, size, write);

	if (!p || cpu->debug.hit)
		return;
	cpu->vcpu.debug.la = p->la;
	cpu->vcpu.debug.kind = p->kind;
	debug_hit(cpu, DEBUG_WATCH);
	block_leave_running(cpu);
}

#endif
