/*
 * MUL IMUL MULX DIV IDIV.
 *
 * Products and quotients are the host's. A division that would raise #DE (SDM vol. 3 6.15, interrupt 0) is found out
 * first: a zero divisor, or a quotient that does not fit.
 */
#include "cpu/x86/check.h"
#include "cpu/x86/int.h"

static inline enum outcome source_read(struct x86_cpu *cpu, const struct insn *in, u16 reg, unsigned size, u64 *v)
{
	if (in->flags & IN_MEM)
		return operand_read(cpu, in, size, v);
	*v = reg_read(cpu, reg, size);
	return OUT_NEXT;
}

/* AX = AL * source. */
#define MUL8(name)                                                                                                     \
	HANDLER(name##_8)                                                                                              \
	{                                                                                                              \
		u64 s, fl = FLAGS(cpu), out;                                                                           \
                                                                                                                       \
		TRY(cpu, in, source_read(cpu, in, in->dst, 1, &s));                                                    \
		asm(ASM_LOAD_FLAGS "mov %[a], %%rax\n\t" #name " %b[s]\n\tmov %%rax, %[out]" ASM_SAVE_FLAGS            \
		    : "+&a"(fl), [out] "=&r"(out)                                                                      \
		    : [s] "r"(s), [a] "r"(cpu->st.gpr[RAX])                                                            \
		    : "cc");                                                                                           \
		REG16(cpu, CPU_OFF(st.gpr[RAX])) = out;                                                                \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}

/* rDX:rAX = rAX * source. */
#define MUL(name, T, bits)                                                                                             \
	HANDLER(name##_##bits)                                                                                         \
	{                                                                                                              \
		u64 v, fl = FLAGS(cpu), lo, hi = cpu->st.gpr[RDX];                                                     \
                                                                                                                       \
		TRY(cpu, in, source_read(cpu, in, in->dst, bits / 8, &v));                                             \
		asm(ASM_LOAD_FLAGS "mov %[a], %%rax\n\t" #name " %[s]\n\tmov %%rax, %[lo]" ASM_SAVE_FLAGS              \
		    : "+&a"(fl), [lo] "=&r"(lo), "+&d"(hi)                                                             \
		    : [s] "r"((T)v), [a] "r"(cpu->st.gpr[RAX])                                                         \
		    : "cc");                                                                                           \
		reg_write(cpu, CPU_OFF(st.gpr[RAX]), bits / 8, lo);                                                    \
		reg_write(cpu, CPU_OFF(st.gpr[RDX]), bits / 8, hi);                                                    \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}
#define MUL_ALL(name) MUL8(name) MUL(name, u16, 16) MUL(name, u32, 32) MUL(name, u64, 64)
MUL_ALL(mul)
MUL_ALL(imul)

/* Two and three operands. */
#define IMUL_TRUNCATED(T, bits)                                                                                        \
	static always_inline T imul_value##bits(T a, T s, u16 *fl)                                                     \
	{                                                                                                              \
		asm(ASM_LOAD_FLAGS "imul %[s], %[a]" ASM_SAVE_FLAGS : [a] "+r"(a), "+&a"(*fl) : [s] "r"(s) : "cc");    \
		return a;                                                                                              \
	}                                                                                                              \
	HANDLER(imul_rr##bits)                                                                                         \
	{                                                                                                              \
		u16 fl = FLAGS(cpu);                                                                                   \
		T d = imul_value##bits(REG(T, cpu, in->dst), REG(T, cpu, in->src), &fl);                               \
                                                                                                                       \
		reg_write(cpu, in->dst, bits / 8, d);                                                                  \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(imul_rm##bits)                                                                                         \
	{                                                                                                              \
		u16 fl = FLAGS(cpu);                                                                                   \
		u64 v;                                                                                                 \
		T d;                                                                                                   \
                                                                                                                       \
		TRY(cpu, in, operand_read(cpu, in, bits / 8, &v));                                                     \
		d = imul_value##bits(REG(T, cpu, in->dst), v, &fl);                                                    \
		reg_write(cpu, in->dst, bits / 8, d);                                                                  \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(imul_rri##bits)                                                                                        \
	{                                                                                                              \
		u16 fl = FLAGS(cpu);                                                                                   \
		T d = imul_value##bits(REG(T, cpu, in->src), in->imm, &fl);                                            \
                                                                                                                       \
		reg_write(cpu, in->dst, bits / 8, d);                                                                  \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(imul_rmi##bits)                                                                                        \
	{                                                                                                              \
		u16 fl = FLAGS(cpu);                                                                                   \
		u64 v;                                                                                                 \
		T d;                                                                                                   \
                                                                                                                       \
		TRY(cpu, in, operand_read(cpu, in, bits / 8, &v));                                                     \
		d = imul_value##bits(v, in->imm, &fl);                                                                 \
		reg_write(cpu, in->dst, bits / 8, d);                                                                  \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}
IMUL_TRUNCATED(u16, 16)
IMUL_TRUNCATED(u32, 32)
IMUL_TRUNCATED(u64, 64)

bool bind_mul(struct bind *b)
{
	static insn_fn *const h[4] = {mul_8, mul_16, mul_32, mul_64};

	b->in->fn = h[size_index(b->in->opsize)];
	return true;
}

bool bind_imul(struct bind *b)
{
	static insn_fn *const one[4] = {imul_8, imul_16, imul_32, imul_64};
	static insn_fn *const rr[4] = {NULL, imul_rr16, imul_rr32, imul_rr64}, *const rm[4] = {NULL, imul_rm16,
											       imul_rm32, imul_rm64};
	static insn_fn *const rri[4] = {NULL, imul_rri16, imul_rri32, imul_rri64};
	static insn_fn *const rmi[4] = {NULL, imul_rmi16, imul_rmi32, imul_rmi64};
	struct insn *in = b->in;
	unsigned size = size_index(in->opsize), mem = in->flags & IN_MEM;

	if (b->zi->operand_count_visible == 1)
		in->fn = one[size];
	else if (b->zi->operand_count_visible == 2)
		in->fn = (mem ? rm : rr)[size];
	else
		in->fn = (mem ? rmi : rri)[size];
	return in->fn;
}

/* BMI2: dst = high half, src = low half of rDX * src2; the high half wins when both are one register. */
HANDLER(mulx)
{
	u64 v;
	u128 p;

	TRY(cpu, in, source_read(cpu, in, in->src2, in->opsize, &v));
	if (in->opsize == 8) {
		p = (u128)cpu->st.gpr[RDX] * v;
		REG64(cpu, in->src) = (u64)p;
		REG64(cpu, in->dst) = (u64)(p >> 64);
	} else {
		p = (u64)(u32)cpu->st.gpr[RDX] * (u32)v;
		REG64(cpu, in->src) = (u32)p;
		REG64(cpu, in->dst) = (u32)(p >> 32);
	}
	NEXT(cpu, in);
}

bool bind_mulx(struct bind *b)
{
	b->in->fn = bind_protected(b) ? mulx : check_invalid;
	return true;
}

/* Whether hi:lo / d raises #DE; operands of `bits` bits, zero-extended. */
static always_inline bool div_faults(u64 hi, u64 lo, u64 d, unsigned bits) { return d == 0 || hi >= d; }

static noinline bool idiv_faults_slow(u64 hi, u64 lo, u64 d, unsigned bits)
{
	s128 n = bits == 64 ? (s128)((u128)hi << 64 | lo) : (s128)(s64)sign_extend(hi << bits | lo, 2 * bits);
	s64 div = sign_extend(d, bits);
	u128 un = n < 0 ? -(u128)n : (u128)n;
	u64 ud = div < 0 ? -(u64)div : (u64)div, limit = BIT(bits - 1);
	bool negative = (n < 0) != (div < 0);

	if ((u64)(un >> 64) >= ud)
		return true;
	return un / ud > limit - !negative;
}

static always_inline bool idiv_faults(u64 hi, u64 lo, u64 d, unsigned bits)
{
	if (d == 0)
		return true;
	/* The customary sign-extended dividend: only MIN / -1 is too large. */
	if (hi == (sign_extend(lo, bits) >> 63 ? MASK(bits) : 0))
		return lo == BIT(bits - 1) && d == MASK(bits);
	return idiv_faults_slow(hi, lo, d, bits);
}

#define DIV8(name)                                                                                                     \
	HANDLER(name##_8)                                                                                              \
	{                                                                                                              \
		u64 s, fl = FLAGS(cpu), out, ax = (u16)cpu->st.gpr[RAX];                                               \
                                                                                                                       \
		TRY(cpu, in, source_read(cpu, in, in->dst, 1, &s));                                                    \
		if (unlikely(name##_faults(ax >> 8, ax & 0xff, s, 8)))                                                 \
			LEAVE(cpu, in, x86_fault(cpu, EXC_DE, 0));                                                     \
		asm(ASM_LOAD_FLAGS "mov %[a], %%rax\n\t" #name " %b[s]\n\tmov %%rax, %[out]" ASM_SAVE_FLAGS            \
		    : "+&a"(fl), [out] "=&r"(out)                                                                      \
		    : [s] "r"(s), [a] "r"(ax)                                                                          \
		    : "cc");                                                                                           \
		REG16(cpu, CPU_OFF(st.gpr[RAX])) = out;                                                                \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}

#define DIV(name, T, bits)                                                                                             \
	HANDLER(name##_##bits)                                                                                         \
	{                                                                                                              \
		u64 v, fl = FLAGS(cpu), lo, hi = (T)cpu->st.gpr[RDX];                                                  \
                                                                                                                       \
		TRY(cpu, in, source_read(cpu, in, in->dst, bits / 8, &v));                                             \
		if (unlikely(name##_faults(hi, (T)cpu->st.gpr[RAX], v, bits)))                                         \
			LEAVE(cpu, in, x86_fault(cpu, EXC_DE, 0));                                                     \
		asm(ASM_LOAD_FLAGS "mov %[a], %%rax\n\t" #name " %[s]\n\tmov %%rax, %[lo]" ASM_SAVE_FLAGS              \
		    : "+&a"(fl), [lo] "=&r"(lo), "+&d"(hi)                                                             \
		    : [s] "r"((T)v), [a] "r"(cpu->st.gpr[RAX])                                                         \
		    : "cc");                                                                                           \
		reg_write(cpu, CPU_OFF(st.gpr[RAX]), bits / 8, lo);                                                    \
		reg_write(cpu, CPU_OFF(st.gpr[RDX]), bits / 8, hi);                                                    \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}
#define DIV_ALL(name)                                                                                                  \
	DIV8(name)                                                                                                     \
	DIV(name, u16, 16)                                                                                             \
	DIV(name, u32, 32)                                                                                             \
	DIV(name, u64, 64)                                                                                             \
	bool bind_##name(struct bind *b)                                                                               \
	{                                                                                                              \
		static insn_fn *const h[4] = {name##_8, name##_16, name##_32, name##_64};                              \
                                                                                                                       \
		b->in->fn = h[size_index(b->in->opsize)];                                                              \
		return true;                                                                                           \
	}
DIV_ALL(div)
DIV_ALL(idiv)
