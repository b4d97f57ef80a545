/*
 * An emitter of x86-64 instructions into a code region. It knows encodings and nothing of guests.
 *
 * Registers are hardware numbers (0-15 general, 0-31 vector, 0-7 opmask); a memory operand is base + 32-bit
 * displacement (8-bit where it fits). Running out of room is not an error of each call: the emitter stops writing and
 * sets `full`; emit_end() then returns NULL and gives the space back.
 */
#ifndef JIT_EMIT_H
#define JIT_EMIT_H

#include "jit/code.h"

struct emit {
	struct code_region *region;
	u8 *start, *p, *end; /* in the write view */
	bool full;
};

enum emit_width { EMIT_128 = 16, EMIT_256 = 32, EMIT_512 = 64 };

/* Begins at the region's next 16-byte boundary. */
void emit_begin(struct emit *e, struct code_region *r);
/* Commits what was written and returns where it runs, or NULL (nothing is kept) if the region was too small. */
const void *emit_end(struct emit *e);

void emit_bytes(struct emit *e, const void *bytes, unsigned n);
static inline void emit_u8(struct emit *e, u8 b) { emit_bytes(e, &b, 1); }
static inline void emit_u32(struct emit *e, u32 v) { emit_bytes(e, &v, 4); }
static inline void emit_u64(struct emit *e, u64 v) { emit_bytes(e, &v, 8); }

/* An instruction with a ModRM byte and a memory operand: prefix (0, 66, F2, F3), REX.W, opcode map (0: one byte, 1: 0F,
 * 2: 0F38, 3: 0F3A). */
void emit_op_mem(struct emit *e, u8 prefix, bool w, unsigned map, u8 opcode, unsigned reg, unsigned base, s32 disp);

void emit_load64(struct emit *e, unsigned reg, unsigned base, s32 disp);  /* mov r64, [base + disp] */
void emit_store64(struct emit *e, unsigned reg, unsigned base, s32 disp); /* mov [base + disp], r64 */
void emit_store16_imm(struct emit *e, unsigned base, s32 disp, u16 imm);  /* mov word [base + disp], imm */
void emit_mov_imm32(struct emit *e, unsigned reg, u32 imm);		  /* mov r32, imm32: leaves flags alone */
void emit_mov_reg64(struct emit *e, unsigned dst, unsigned src);
void emit_ret(struct emit *e);

void emit_mmx_load(struct emit *e, unsigned mm, unsigned base, s32 disp);
void emit_mmx_store(struct emit *e, unsigned mm, unsigned base, s32 disp);
void emit_emms(struct emit *e);
/* Legacy SSE moves (MOVUPS), registers 0-15: leave the upper parts alone. */
void emit_xmm_load(struct emit *e, unsigned xmm, unsigned base, s32 disp);
void emit_xmm_store(struct emit *e, unsigned xmm, unsigned base, s32 disp);
/* VEX moves (VMOVUPS), registers 0-15, 128 or 256 bits: a load clears what is above. */
void emit_vex_load(struct emit *e, enum emit_width width, unsigned reg, unsigned base, s32 disp);
void emit_vex_store(struct emit *e, enum emit_width width, unsigned reg, unsigned base, s32 disp);
void emit_vex_zero(struct emit *e, unsigned reg); /* vpxor: clears the whole register */
void emit_vzeroupper(struct emit *e);
/* EVEX moves (VMOVUPS), registers 0-31. */
void emit_evex_load(struct emit *e, enum emit_width width, unsigned reg, unsigned base, s32 disp);
void emit_evex_store(struct emit *e, enum emit_width width, unsigned reg, unsigned base, s32 disp);
/* KMOVQ (wide) or KMOVW. */
void emit_k_load(struct emit *e, bool wide, unsigned k, unsigned base, s32 disp);
void emit_k_store(struct emit *e, bool wide, unsigned k, unsigned base, s32 disp);

#endif
