/* What the vector files (exec_vec.c, exec_move.c, exec_gather.c) share: the fields of struct insn as they use them, and
 * MXCSR. */
#ifndef CPU_X86_VEC_H
#define CPU_X86_VEC_H

#include "cpu/x86/exec.h"
#include "cpu/x86/stub.h"

/*
 * in->aux: FPU_* and these. in->dst, in->opsize: the register that is written and its bytes (0: none or memory).
 * in->cc: for masked memory operands, VEC_MASK_* and the element's size as a shift; in->src: the mask's place;
 * in->src2: its number of bits.
 */
#define VEC_FP	  32u  /* reads rounding and reports exceptions through MXCSR */
#define VEC_STORE 64u  /* the memory operand is written */
#define VEC_ALIGN 128u /* the memory operand must be aligned to its size: else #GP(0) */

#define VEC_MASK_SHIFT 3u  /* low bits of cc: log2 of the element size */
#define VEC_QUIET      4u  /* heeds MXCSR's control bits, never raises or records an exception */
#define VEC_MASK_EACH  8u  /* bit i guards element i */
#define VEC_MASK_ANY   16u /* broadcasts: bit i guards element i modulo their number; stores: no fault is suppressed */
#define VEC_MASK_PACK  32u /* as many elements, from the first, as there are bits (compress and expand) */
#define VEC_MASKS      56u
#define VEC_MASK_SIGN  64u  /* the mask is the sign bits of a vector register, not an opmask */
#define VEC_BOUNCE     128u /* the stub must not have the guest's memory itself */

#define VEC(cpu, off) ((u8 *)(cpu) + (off))
static inline u16 vec_off(unsigned n) { return CPU_OFF(st.fpu.vec[0]) + 64 * n; }

/*
 * A handler is a body, which returns an outcome, and the way on. The split keeps locals whose address is taken out of
 * the handler itself: with one alive, the compiler could not turn NEXT into a jump.
 */
#define RUN(expr)                                                                                                      \
	do {                                                                                                           \
		enum outcome run_ = (expr);                                                                            \
		if (unlikely(run_ != OUT_NEXT))                                                                        \
			return run_;                                                                                   \
	} while (0)
#define VEC_HANDLER(name, body)                                                                                        \
	static enum outcome name(struct x86_cpu *cpu, const struct insn *in)                                           \
	{                                                                                                              \
		if (unlikely(cpu->c.fpu_block))                                                                        \
			TRY(cpu, in, x86_fpu_check(cpu, in));                                                          \
		TRY(cpu, in, body);                                                                                    \
		NEXT(cpu, in);                                                                                         \
	}

/* exec_move.c: the plain moves, without a stub. False: not one of them. */
bool bind_vector_move(struct bind *b);
/* exec_gather.c: VSIB instructions and MASKMOVQ, MASKMOVDQU. False: not implemented. */
bool bind_vector_scatter_gather(struct bind *b);
/* The units (FPU_*) that an instruction needs. */
unsigned vector_kinds(const struct bind *b);

#endif
