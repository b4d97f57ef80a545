/*
 * Data movement: MOV (general registers, immediates, memory, moffs), MOVZX MOVSX MOVSXD LEA XCHG BSWAP MOVBE XLAT and
 * the sign extensions of the accumulator. MOV with segment registers is in exec_sreg.c, with control and debug
 * registers in exec_sys.c.
 */
#include "cpu/x86/check.h"
#include "cpu/x86/int.h"

#define MOV(T, bits)                                                                                                   \
	HANDLER(mov_rr##bits)                                                                                          \
	{                                                                                                              \
		reg_write(cpu, in->dst, bits / 8, REG(T, cpu, in->src));                                               \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(mov_ri##bits)                                                                                          \
	{                                                                                                              \
		reg_write(cpu, in->dst, bits / 8, (T)in->imm);                                                         \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER_ANY(mov_rm##bits##_any)                                                                                \
	{                                                                                                              \
		u64 v;                                                                                                 \
                                                                                                                       \
		TRY(cpu, in, operand_read(cpu, in, bits / 8, &v));                                                     \
		reg_write(cpu, in->dst, bits / 8, v);                                                                  \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(mov_rm##bits)                                                                                          \
	{                                                                                                              \
		GUEST(T) *p = look_read(cpu, in, bits / 8);                                                            \
                                                                                                                       \
		if (unlikely(!p))                                                                                      \
			return mov_rm##bits##_any(cpu, in);                                                            \
		reg_write(cpu, in->dst, bits / 8, *p);                                                                 \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER_ANY(mov_mr##bits##_any)                                                                                \
	{                                                                                                              \
		TRY(cpu, in, operand_write(cpu, in, bits / 8, REG(T, cpu, in->src)));                                  \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(mov_mr##bits)                                                                                          \
	{                                                                                                              \
		GUEST(T) *p = look_write(cpu, in, bits / 8);                                                           \
                                                                                                                       \
		if (unlikely(!p))                                                                                      \
			return mov_mr##bits##_any(cpu, in);                                                            \
		*p = REG(T, cpu, in->src);                                                                             \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER_ANY(mov_mi##bits##_any)                                                                                \
	{                                                                                                              \
		TRY(cpu, in, operand_write(cpu, in, bits / 8, in->imm));                                               \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(mov_mi##bits)                                                                                          \
	{                                                                                                              \
		GUEST(T) *p = look_write(cpu, in, bits / 8);                                                           \
                                                                                                                       \
		if (unlikely(!p))                                                                                      \
			return mov_mi##bits##_any(cpu, in);                                                            \
		*p = in->imm;                                                                                          \
		NEXT(cpu, in);                                                                                         \
	}
MOV(u8, 8)
MOV(u16, 16)
MOV(u32, 32)
MOV(u64, 64)

#define SIZES(name)                                                                                                    \
	{                                                                                                              \
		name##8, name##16, name##32, name##64                                                                  \
	}
#define SIZES_ANY(name)                                                                                                \
	{                                                                                                              \
		name##8_any, name##16_any, name##32_any, name##64_any                                                  \
	}

bool bind_mov(struct bind *b)
{
	static insn_fn *const rr[4] = SIZES(mov_rr), *const ri[4] = SIZES(mov_ri);
	static insn_fn *const rm[2][4] = {SIZES_ANY(mov_rm), SIZES(mov_rm)};
	static insn_fn *const mr[2][4] = {SIZES_ANY(mov_mr), SIZES(mov_mr)};
	static insn_fn *const mi[2][4] = {SIZES_ANY(mov_mi), SIZES(mov_mi)};
	struct insn *in = b->in;
	unsigned flat = insn_flat(in), size = size_index(in->opsize);

	for (unsigned i = 0; i < 2; i++) {
		if (!op_is_reg(&b->op[i]))
			continue;
		switch (ZydisRegisterGetClass(b->op[i].reg.value)) {
		case ZYDIS_REGCLASS_SEGMENT: return bind_mov_sreg(b);
		case ZYDIS_REGCLASS_CONTROL: return bind_mov_cr(b);
		case ZYDIS_REGCLASS_DEBUG: return bind_mov_dr(b);
		case ZYDIS_REGCLASS_TEST: in->fn = check_invalid; return true;
		default: break;
		}
	}
	if (op_is_mem(&b->op[0]))
		in->fn = (op_is_reg(&b->op[1]) ? mr : mi)[flat][size];
	else if (op_is_mem(&b->op[1]))
		in->fn = rm[flat][size];
	else
		in->fn = (op_is_reg(&b->op[1]) ? rr : ri)[size];
	if (op_is_imm(&b->op[1]))
		bind_live_imm(b);
	return true;
}

/* D and S: types of destination (after extension) and source; `size` is what is written. */
#define EXTEND(name, D, S, size)                                                                                       \
	HANDLER(name##_rr)                                                                                             \
	{                                                                                                              \
		reg_write(cpu, in->dst, size, (u64)(D)REG(S, cpu, in->src));                                           \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER_ANY(name##_rm_any)                                                                                     \
	{                                                                                                              \
		u64 v;                                                                                                 \
                                                                                                                       \
		TRY(cpu, in, operand_read(cpu, in, sizeof(S), &v));                                                    \
		reg_write(cpu, in->dst, size, (u64)(D)(S)v);                                                           \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(name##_rm)                                                                                             \
	{                                                                                                              \
		GUEST(S) *p = look_read(cpu, in, sizeof(S));                                                           \
                                                                                                                       \
		if (unlikely(!p))                                                                                      \
			return name##_rm_any(cpu, in);                                                                 \
		reg_write(cpu, in->dst, size, (u64)(D)*p);                                                             \
		NEXT(cpu, in);                                                                                         \
	}
/* A zero-extension to 32 bits is one to 64. */
EXTEND(movzx8_16, u16, u8, 2)
EXTEND(movzx8_64, u64, u8, 8)
EXTEND(movzx16_64, u64, u16, 8)
EXTEND(movsx8_16, s16, s8, 2)
EXTEND(movsx8_32, s32, s8, 4)
EXTEND(movsx8_64, s64, s8, 8)
EXTEND(movsx16_32, s32, s16, 4)
EXTEND(movsx16_64, s64, s16, 8)
EXTEND(movsx32_64, s64, s32, 8)
EXTEND(movsxd_16, u16, u32, 2) /* with a 16-bit destination AMD still reads 32 bits */

struct extend {
	insn_fn *rr, *rm, *any;
};
#define EXTEND_ROW(name)                                                                                               \
	{                                                                                                              \
		name##_rr, name##_rm, name##_rm_any                                                                    \
	}

static bool extend_bind(struct bind *b, const struct extend *e)
{
	struct insn *in = b->in;

	if (!e->rr)
		return false;
	in->fn = !op_is_mem(&b->op[1]) ? e->rr : insn_flat(in) ? e->rm : e->any;
	return true;
}

bool bind_movzx(struct bind *b)
{
	static const struct extend rows[2][4] = {
		{{0}, EXTEND_ROW(movzx8_16), EXTEND_ROW(movzx8_64), EXTEND_ROW(movzx8_64)},
		{{0}, {mov_rr16, mov_rm16, mov_rm16_any}, EXTEND_ROW(movzx16_64), EXTEND_ROW(movzx16_64)},
	};

	return extend_bind(b, &rows[b->op[1].size == 16][size_index(b->in->opsize)]);
}

bool bind_movsx(struct bind *b)
{
	static const struct extend movsxd16 = EXTEND_ROW(movsxd_16);
	static const struct extend rows[3][4] = {
		{{0}, EXTEND_ROW(movsx8_16), EXTEND_ROW(movsx8_32), EXTEND_ROW(movsx8_64)},
		{{0}, {mov_rr16, mov_rm16, mov_rm16_any}, EXTEND_ROW(movsx16_32), EXTEND_ROW(movsx16_64)},
		{{0}, {mov_rr16, mov_rm16, mov_rm16_any}, {mov_rr32, mov_rm32, mov_rm32_any}, EXTEND_ROW(movsx32_64)},
	};

	if (b->zi->mnemonic == ZYDIS_MNEMONIC_MOVSXD && b->in->opsize == 2 && b->cpu->st.vendor == X86_AMD)
		return extend_bind(b, &movsxd16);
	return extend_bind(b, &rows[size_index(b->op[1].size / 8)][size_index(b->in->opsize)]);
}

HANDLER(lea64)
{
	REG64(cpu, in->dst) = REG64(cpu, in->base) + (REG64(cpu, in->index) << in->scale) + (u64)in->disp;
	NEXT(cpu, in);
}

HANDLER(lea32)
{
	REG64(cpu, in->dst) = (u32)(REG64(cpu, in->base) + (REG64(cpu, in->index) << in->scale) + (u64)in->disp);
	NEXT(cpu, in);
}

HANDLER(lea_any)
{
	reg_write(cpu, in->dst, in->opsize, insn_ea(cpu, in));
	NEXT(cpu, in);
}

bool bind_lea(struct bind *b)
{
	struct insn *in = b->in;

	in->fn = lea_any;
	if (in->opsize == 8 && in->adsize == 8)
		in->fn = lea64;
	else if (in->adsize >= 4 && (in->opsize == 4 || (in->opsize == 8 && in->adsize == 4)))
		in->fn = lea32;
	return true;
}

/* XCHG with memory is locked with or without the prefix: SDM vol. 3 8.1.2.1 "Automatic Locking". */
#define XCHG(T, bits)                                                                                                  \
	HANDLER(xchg_rr##bits)                                                                                         \
	{                                                                                                              \
		T d = REG(T, cpu, in->dst), s = REG(T, cpu, in->src);                                                  \
                                                                                                                       \
		reg_write(cpu, in->dst, bits / 8, s);                                                                  \
		reg_write(cpu, in->src, bits / 8, d);                                                                  \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER_ANY(xchg_mr##bits##_any)                                                                               \
	{                                                                                                              \
		u16 reg = in->dst ? in->dst : in->src;                                                                 \
		T v = REG(T, cpu, reg);                                                                                \
		struct mem_rmw m;                                                                                      \
                                                                                                                       \
		TRY(cpu, in, operand_rmw(cpu, in, bits / 8, true, &m));                                                \
		asm volatile("xchg %0, %1" : "+r"(v), "+m"(*(GUEST(T) *)m.p) : : "memory");                            \
		TRY(cpu, in, operand_rmw_end(cpu, true, &m));                                                          \
		reg_write(cpu, reg, bits / 8, v);                                                                      \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(xchg_mr##bits)                                                                                         \
	{                                                                                                              \
		u16 reg = in->dst ? in->dst : in->src;                                                                 \
		GUEST(T) *p = look_write(cpu, in, bits / 8);                                                           \
		T v = REG(T, cpu, reg);                                                                                \
                                                                                                                       \
		if (unlikely(!p))                                                                                      \
			return xchg_mr##bits##_any(cpu, in);                                                           \
		asm volatile("xchg %0, %1" : "+r"(v), "+m"(*p) : : "memory");                                          \
		reg_write(cpu, reg, bits / 8, v);                                                                      \
		NEXT(cpu, in);                                                                                         \
	}
XCHG(u8, 8)
XCHG(u16, 16)
XCHG(u32, 32)
XCHG(u64, 64)

bool bind_xchg(struct bind *b)
{
	static insn_fn *const rr[4] = SIZES(xchg_rr);
	static insn_fn *const mr[2][4] = {SIZES_ANY(xchg_mr), SIZES(xchg_mr)};
	struct insn *in = b->in;
	unsigned size = size_index(in->opsize);

	in->fn = in->flags & IN_MEM ? mr[insn_flat(in)][size] : rr[size];
	return true;
}

/* F3 90 is PAUSE, but with REX.B it is the exchange of R8 and rAX that 90 alone would be. */
bool bind_pause(struct bind *b)
{
	struct insn *in = b->in;

	if (!b->zi->raw.rex.B)
		return bind_spin(b);
	in->opsize = b->zi->raw.rex.W ? 8 : b->zi->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE ? 2 : 4;
	in->dst = CPU_OFF(st.gpr[R8]);
	in->src = CPU_OFF(st.gpr[RAX]);
	return bind_xchg(b);
}

/* The 16-bit form is undefined in the manuals: the host decides. */
HANDLER(bswap16)
{
	u64 v = REG64(cpu, in->dst);

	asm(".byte 0x66, 0x0f, 0xc8" : "+a"(v));
	REG64(cpu, in->dst) = v;
	NEXT(cpu, in);
}

HANDLER(bswap32)
{
	REG64(cpu, in->dst) = __builtin_bswap32(REG32(cpu, in->dst));
	NEXT(cpu, in);
}

HANDLER(bswap64)
{
	REG64(cpu, in->dst) = __builtin_bswap64(REG64(cpu, in->dst));
	NEXT(cpu, in);
}

bool bind_bswap(struct bind *b)
{
	static insn_fn *const h[4] = {NULL, bswap16, bswap32, bswap64};

	b->in->fn = h[size_index(b->in->opsize)];
	return b->in->fn;
}

static u64 swap_bytes(u64 v, unsigned size) { return __builtin_bswap64(v) >> (64 - 8 * size); }

HANDLER(movbe_load)
{
	u64 v;

	TRY(cpu, in, operand_read(cpu, in, in->opsize, &v));
	reg_write(cpu, in->dst, in->opsize, swap_bytes(v, in->opsize));
	NEXT(cpu, in);
}

HANDLER(movbe_store)
{
	TRY(cpu, in, operand_write(cpu, in, in->opsize, swap_bytes(REG64(cpu, in->src), in->opsize)));
	NEXT(cpu, in);
}

bool bind_movbe(struct bind *b)
{
	b->in->fn = op_is_mem(&b->op[0]) ? movbe_store : movbe_load;
	return true;
}

/* The index AL is added within the address size. */
HANDLER(xlat)
{
	struct insn at = *in;
	u64 v;

	at.disp = (s64)REG8(cpu, CPU_OFF(st.gpr[RAX]));
	TRY(cpu, in, operand_read(cpu, &at, 1, &v));
	REG8(cpu, CPU_OFF(st.gpr[RAX])) = v;
	NEXT(cpu, in);
}

bool bind_xlat(struct bind *b)
{
	struct insn *in = b->in;

	/* Zydis hides the operand, so that the prefill has only its segment. */
	in->flags |= IN_MEM | (in->sreg == SS && !bind_code64(b) ? IN_STACK : 0);
	in->base = CPU_OFF(st.gpr[RBX]);
	in->fn = xlat;
	return true;
}

HANDLER(cbw)
{
	REG16(cpu, CPU_OFF(st.gpr[RAX])) = (s8)cpu->st.gpr[RAX];
	NEXT(cpu, in);
}

HANDLER(cwde)
{
	cpu->st.gpr[RAX] = (u32)(s16)cpu->st.gpr[RAX];
	NEXT(cpu, in);
}

HANDLER(cdqe)
{
	cpu->st.gpr[RAX] = (s32)cpu->st.gpr[RAX];
	NEXT(cpu, in);
}

HANDLER(cwd)
{
	REG16(cpu, CPU_OFF(st.gpr[RDX])) = (s16)cpu->st.gpr[RAX] >> 15;
	NEXT(cpu, in);
}

HANDLER(cdq)
{
	cpu->st.gpr[RDX] = (u32)((s32)cpu->st.gpr[RAX] >> 31);
	NEXT(cpu, in);
}

HANDLER(cqo)
{
	cpu->st.gpr[RDX] = (s64)cpu->st.gpr[RAX] >> 63;
	NEXT(cpu, in);
}

BIND_ONE(cbw)
BIND_ONE(cwde)
BIND_ONE(cdqe)
BIND_ONE(cwd)
BIND_ONE(cdq)
BIND_ONE(cqo)
