/*
 * From bytes to struct insn: Zydis decodes, decode.c fills what all instructions share, and the row's bind function
 * picks the handler.
 *
 * Before a binder runs, decode.c has filled: row, len, off, opsize (zi->operand_width / 8), adsize, the memory operand
 * (base, index, scale, disp, seg, sreg, msize, IN_MEM, IN_STACK, IN_SEGCHECK), imm (the first immediate, sign-extended
 * if signed), dst/src/src2 (byte offsets of explicit operands 0, 1, 2 where they are general registers), and IN_LOCK,
 * IN_REP, IN_REPNE. A binder sets in->fn and returns true; false: this form is not implemented (#UD, LIMIT line). A row
 * with checks (CPL, exit, …) then gets fn moved to op and the common prologue as fn (check.c), so a binder need not
 * care.
 */
#ifndef CPU_X86_DECODE_H
#define CPU_X86_DECODE_H

#include <Zydis/Zydis.h>

#include "cpu/x86/cpu.h"

#define INSN_BYTES_MAX 15

struct bind {
	struct x86_cpu *cpu;
	const ZydisDecodedInstruction *zi;
	const ZydisDecodedOperand *op; /* explicit operands first */
	const u8 *bytes;
	u32 mode;
	struct insn *in;
};

typedef bool bind_fn(struct bind *b);

/* Every family named in insn.def has its function here: bool bind_FAMILY(struct bind *b). */
#define INSN(mnemonic, family, flags, exit) bind_fn bind_##family;
#include "arch/x86/insn.def"
#undef INSN
/* The binder of a family with one handler, op_FAMILY, for all its forms. */
#define BIND(family)                                                                                                   \
	bool bind_##family(struct bind *b)                                                                             \
	{                                                                                                              \
		b->in->fn = op_##family;                                                                               \
		return true;                                                                                           \
	}

bind_fn bind_vector; /* stub.c: SSE, AVX… without a row */
bind_fn bind_x87;    /* exec_x87.c: x87 without a row */

/* Byte offset in struct x86_cpu of a general register (any width; AH…BH included), 0 for others. */
u16 insn_reg_offset(ZydisRegister reg);
/* For binders whose handler reads the immediate from in->imm when it runs, and which make nothing else of it: a store
 * to its bytes need only change that. */
void bind_live_imm(struct bind *b);
/* The live immediate in the instruction's bytes. */
u64 insn_imm(const struct insn *in, const u8 *bytes);
static inline bool op_is_reg(const ZydisDecodedOperand *o) { return o->type == ZYDIS_OPERAND_TYPE_REGISTER; }
static inline bool op_is_mem(const ZydisDecodedOperand *o) { return o->type == ZYDIS_OPERAND_TYPE_MEMORY; }
static inline bool op_is_imm(const ZydisDecodedOperand *o) { return o->type == ZYDIS_OPERAND_TYPE_IMMEDIATE; }

/* Decodes one instruction of at most `avail` bytes (<= 15). Always yields an insn: an invalid one raises #UD when run,
 * one that is too long for 15 bytes #GP(0). Returns its length, or 0 when `avail` bytes are not enough and avail < 15.
 */
unsigned insn_decode(struct x86_cpu *cpu, const u8 *bytes, unsigned avail, u32 mode, unsigned off, struct insn *in,
		     bool *ends);
/* decode_lax.c: decodes what AMD's processors accept and the decoder refuses; `prefixes` bytes of legacy prefixes come
 * first. True: bytes have been changed to what was decoded. */
bool decode_lax(const ZydisDecoder *d, u8 *bytes, unsigned avail, unsigned prefixes, bool code64, ZydisDecodedInstruction *zi,
		ZydisDecodedOperand *op);
/* Text for traces: "mov rax, [rbx]"; rip is where the bytes lie. The length of the instruction, 0 if it is none. */
unsigned insn_text(const u8 *bytes, unsigned len, u32 mode, u64 rip, char *buf, size_t size);

#endif
