#include "cpu/x86/recall.h"

#include <string.h>

/* Versions of an instruction that take turns have places of their own if they differ in the first two bytes. */
static struct recalled *recall_place(struct recall *r, u64 pa, const u8 *bytes, unsigned avail)
{
	u64 first = bytes[0] | (avail > 1 ? bytes[1] << 8 : 0);

	return &r->entry[(pa * 0x9e3779b97f4a7c15ull ^ first * 0xff51afd7ed558ccdull) >> 52 & (RECALL_ENTRIES - 1)];
}

/* RIP-relative operands count from the block's start (decode.c). */
static void insn_move(struct insn *in, unsigned off)
{
	if ((in->flags & IN_MEM) && in->base == CPU_OFF(st.rip))
		in->disp += (s64)off - in->off;
	in->off = off;
}

unsigned recall_decode(struct x86_cpu *cpu, struct recall *r, u64 pa, const u8 *bytes, unsigned avail, u32 mode,
		       unsigned off, struct insn *in, bool *ends)
{
	struct recalled *e = recall_place(r, pa, bytes, avail);
	unsigned len;

	if (e->pa == pa && e->gen == r->gen && e->mode == mode && e->in.len <= avail &&
	    !memcmp(e->bytes, bytes, e->in.len)) {
		*in = e->in;
		insn_move(in, off);
		*ends = e->ends;
		return in->len;
	}
	len = insn_decode(cpu, bytes, avail, mode, off, in, ends);
	if (len) {
		*e = (struct recalled){.pa = pa, .gen = r->gen, .mode = mode, .ends = *ends, .in = *in};
		memcpy(e->bytes, bytes, len);
	}
	return len;
}
