/* Breakpoints without a change to guest memory (debug.h). */
#include "cpu/x86/debug.h"

enum outcome debug_trap(struct x86_cpu *cpu, const struct insn *in)
{
	if (debug_breaks(&cpu->vm->debug, debug_la(cpu, insn_rip(cpu, in)), 1)) {
		debug_hit(cpu, DEBUG_BREAK);
	} else { /* the breakpoint is in another mapping of this page */
		cpu->debug.skip = 1;
		x86_update_attention(cpu);
	}
	LEAVE(cpu, in, OUT_RETRY);
}

void debug_run_enters(struct x86_cpu *cpu)
{
	const struct vm_debug *d = &cpu->vm->debug;

	if (cpu->debug.generation != d->generation) {
		cpu->debug.generation = d->generation;
		x86_drop_cache(cpu);
	}
	cpu->debug.skip = cpu->debug.hit && cpu->vcpu.debug.why == DEBUG_BREAK && cpu->debug.rip == cpu->st.rip;
	cpu->debug.hit = 0;
	cpu->vcpu.debug.why = DEBUG_PAUSED;
}

static bool has_trap(const struct block *b, u64 off)
{
	for (unsigned i = 0; i < b->n; i++)
		if (b->insn[i].off == off)
			return b->insn[i].op == debug_trap;
	return false;
}

bool debug_block_stale(const struct x86_cpu *cpu, const struct block *b, u64 la)
{
	const struct vm_debug *d = &cpu->vm->debug;

	for (unsigned i = 0; i < d->n; i++)
		if (d->point[i].kind <= DEBUG_HARD_BREAK && d->point[i].la - la < b->len &&
		    !has_trap(b, d->point[i].la - la))
			return true;
	return false;
}
