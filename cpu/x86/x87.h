/* x87 state as pure pieces that exec_x87.c and exec_xsave.c share. SDM vol. 1 8.1 "x87 FPU Execution Environment". */
#ifndef CPU_X86_X87_H
#define CPU_X86_X87_H

#include <string.h>

#include "arch/x86/state.h"
#include "cpu/x86/cpu.h"

#define X87_FCW_RESET 0x37fu
#define X87_TOP(fsw)  ((fsw) >> 11 & 7)

/* Reserved bits of FCW: bit 6 reads as 1, the others as 0. */
static inline u16 x87_fcw(u16 v) { return (v & 0x1f3f) | 0x40; }
/* FSW with ES and B as the exception flags and FCW's masks make them. */
static inline u16 x87_fsw(u16 fsw, u16 fcw) { return (fsw & 0x7f7f) | (fsw & ~fcw & 0x3f ? 0x8080 : 0); }
/* An unmasked exception waits for the next waiting instruction. */
static inline bool x87_pending(const struct x86_fpu *f) { return f->fsw & ~f->fcw & 0x3f; }

/* Moves TOP; the physical registers stay, so ST(i) are other ones. */
static inline void x87_set_top(struct x86_fpu *f, unsigned top)
{
	unsigned by = (top - X87_TOP(f->fsw)) & 7;
	u8 old[8][16];

	f->fsw = (f->fsw & ~0x3800) | top << 11;
	if (!by)
		return;
	memcpy(old, f->st, sizeof(old));
	for (unsigned i = 0; i < 8; i++)
		memcpy(f->st[i], old[(i + by) & 7], 16);
}

/* FNINIT. Register contents stay. */
static inline void x87_init(struct x86_fpu *f)
{
	x87_set_top(f, 0);
	f->fcw = X87_FCW_RESET;
	f->fsw = 0;
	f->ftw = 0;
	f->fop = 0;
	f->fip = f->fdp = 0;
	f->fcs = f->fds = 0;
}

struct bind;
/* exec_x87.c: any x87 instruction through its stub, and what it leaves in FIP, FDP, FOP. */
enum outcome x87_run(struct x86_cpu *cpu, const struct insn *in);
void x87_set_pointers(struct x86_cpu *cpu, const struct insn *in);
/* exec_x87_fast.c: a shorter way for the common ones, which falls back to x87_run; NULL: none. */
insn_fn *x87_fast(const struct bind *b);

#endif
