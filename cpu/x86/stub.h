/*
 * Stubs: the guest's own vector, x87 and crypto instructions, run on the host's unit.
 *
 * A stub is made once for each distinct instruction (with its memory operand replaced by [RSI] and its general register
 * by RAX, so that addresses do not multiply stubs): it loads the registers that the instruction names from struct
 * x86_cpu (RDI), runs the instruction, and stores what it wrote. Nothing stays in host vector registers between stubs.
 * (Residency across the instructions of a block is the translator's, which emits the instruction in line between its
 * own loads and stores; the interpreter's C code may use SSE registers itself.)
 *
 * MXCSR. Stubs do not touch it: with the guest's control bits at their reset value (all exceptions masked, round to
 * nearest, no FTZ or DAZ), which is what the host thread has too, an instruction simply runs, and its flags gather in
 * the host thread's MXCSR. Invariant while a vCPU runs: the guest's exception flags are those in st.fpu.mxcsr or the
 * host thread's. stub_clean_mxcsr() begins a run with none of the latter and goes with every store to st.fpu.mxcsr,
 * stub_fold_mxcsr() comes before anyone reads st.fpu.mxcsr's flags and before the run loop is left. C code on vCPU
 * threads must not do floating point. Any other control bits are loaded around the stub (exec_vec.c).
 *
 * A stub lives until the code region is full; then all stubs and all decoded blocks, which point to them, are dropped
 * together.
 */
#ifndef CPU_X86_STUB_H
#define CPU_X86_STUB_H

#include "cpu/x86/decode.h"
#include "cpu/x86/x87.h"
#include "jit/emit.h"

/* Which unit an instruction needs (bits): in->aux of all vector and x87 instructions, so that x86_fpu_check() knows. */
#define FPU_X87	  1u
#define FPU_MMX	  2u
#define FPU_SSE	  4u
#define FPU_AVX	  8u  /* VEX */
#define FPU_EVEX  16u /* EVEX and opmask instructions */
#define FPU_KINDS 31u

#define MXCSR_RESET 0x1f80u
#define MXCSR_FLAGS 0x3fu
#define MXCSR_MASKS 0x1f80u
#define MXCSR_DAZ   0x40u
#define MXCSR_FTZ   0x8000u
#define MXCSR_VALID 0xffffu /* MXCSR_MASK; bit 17 (misaligned SSE) is not offered */

typedef void stub_fn(struct x86_cpu *cpu, void *mem);
/* x87 instructions: loads the unit from an FNSAVE image and saves it there (exec_x87.c); the two zeros keep RDX and RCX
 * out of it. */
typedef void stub_x87_fn(void *image, void *mem, u64 zero0, u64 zero1, struct x86_cpu *cpu);

struct stub_key {
	u8 code[16]; /* the instruction as the stub holds it */
	u8 len;
	u8 gpr; /* the guest's register that RAX stands for; 0xff: none */
	u8 zero[6];
};

#define STUB_HASH 8192u /* a power of two; at most half full */

struct x86_stubs {
	u8 bounce[64] __attribute__((aligned(64))); /* memory operands that cannot be reached directly */
	struct code_region region;
	unsigned n;
	bool wide_k; /* the host has KMOVQ */
	struct {
		struct stub_key key;
		const void *run;
	} hash[STUB_HASH];
};

int stubs_new(struct x86_cpu *cpu);
void stubs_free(struct x86_cpu *cpu);
static inline void stub_clean_mxcsr(void)
{
	u32 v = MXCSR_RESET;

	__asm__ volatile("ldmxcsr %0" : : "m"(v) : "memory");
}
static inline u32 stub_host_mxcsr(void)
{
	u32 v;

	__asm__ volatile("stmxcsr %0" : "=m"(v) : : "memory");
	return v;
}
static inline void stub_fold_mxcsr(struct x86_cpu *cpu) { cpu->st.fpu.mxcsr |= stub_host_mxcsr() & MXCSR_FLAGS; }

/* The stub of the instruction being decoded. NULL with *full: no room (bind to stub_retry); NULL without: not possible.
 */
const void *stub_find(struct bind *b, bool *full);
/* Drops every stub and block, then comes back to the instruction. */
insn_fn stub_retry;

/* #UD, #NM or pending #MF for the units in `kinds`: OUT_NEXT when they may be used. */
enum outcome x86_fpu_check_kinds(struct x86_cpu *cpu, unsigned kinds) must_check;
enum outcome x86_fpu_check(struct x86_cpu *cpu, const struct insn *in) must_check;

/* exec_x87.c: TOP becomes 0 and every register valid (SDM vol. 1 9.5.1 "MMX Instructions and the x87 FPU Tag Word"). */
void x87_enter_mmx(struct x86_cpu *cpu);
/* exec_x87.c: #MF, or what CR0.NE = 0 makes of it. */
enum outcome x87_raise(struct x86_cpu *cpu) must_check;

#endif
