/*
 * The common x87 instructions without the whole register file: the operands alone go through the host's unit.
 *
 * Taken only with FCW 37Fh (all exceptions masked, extended precision, round to nearest), which is also the host's, and
 * with the tags that the instruction wants. An exception other than precision sends it to x87_run before anything is
 * committed. PE and C1 are the host's; the host's own PE may be stale, so that it counts only where the guest's is set
 * already, and is cleared otherwise. SDM vol. 1 8.1.3 "x87 FPU Status Register", 8.5 "x87 FPU Floating-Point Exception
 * Conditions".
 */
#include "cpu/x86/int.h"
#include "cpu/x86/x87.h"

#define FSW_C1	    0x200u
#define FSW_PE	    0x20u
#define FSW_SERIOUS 0x5fu /* IE DE ZE OE UE SF */

enum x87_op { X87_ADD, X87_MUL, X87_COM, X87_COMP, X87_SUB, X87_SUBR, X87_DIV, X87_DIVR };

/* c.fpu_block would not do: it is set for want of AVX too. */
static always_inline bool ready(const struct x86_cpu *cpu)
{
	return !(cpu->st.cr0 & (CR0_EM | CR0_TS)) && cpu->st.fpu.fcw == X87_FCW_RESET;
}

static always_inline bool valid(const struct x86_fpu *f, unsigned i)
{
	return f->ftw >> ((X87_TOP(f->fsw) + i) & 7) & 1;
}

static always_inline long double get(const struct x86_fpu *f, unsigned i)
{
	long double v;

	memcpy(&v, f->st[i], 10);
	return v;
}

static always_inline void put(struct x86_fpu *f, unsigned i, long double v) { memcpy(f->st[i], &v, 10); }

/* What the host says of the operation that made the value. False: x87_run must do it. */
static always_inline bool clean(const struct x86_fpu *f, u16 sw)
{
	if (likely(!(sw & (FSW_SERIOUS | FSW_PE))) || likely(!(sw & FSW_SERIOUS) && (f->fsw & FSW_PE)))
		return true;
	__asm__ volatile("fnclex");
	return false;
}

static always_inline void finish(struct x86_cpu *cpu, const struct insn *in, u16 sw)
{
	cpu->st.fpu.fsw = (cpu->st.fpu.fsw & ~FSW_C1) | (sw & FSW_C1);
	x87_set_pointers(cpu, in);
}

static always_inline void push(struct x86_fpu *f)
{
	unsigned top = (X87_TOP(f->fsw) - 1) & 7;

	memmove(f->st[1], f->st[0], 7 * 16);
	f->fsw = (f->fsw & ~0x3800) | top << 11;
	f->ftw |= 1 << top;
}

static always_inline void pop(struct x86_fpu *f)
{
	unsigned top = X87_TOP(f->fsw);
	u8 first[16];

	memcpy(first, f->st[0], 16);
	memmove(f->st[0], f->st[1], 7 * 16);
	memcpy(f->st[7], first, 16);
	f->ftw &= ~(1 << top);
	f->fsw = (f->fsw & ~0x3800) | ((top + 1) & 7) << 11;
}

static always_inline long double operate(enum x87_op op, long double a, long double b, u16 *sw)
{
	long double r = op == X87_ADD	 ? a + b
			: op == X87_MUL	 ? a * b
			: op == X87_SUB	 ? a - b
			: op == X87_SUBR ? b - a
			: op == X87_DIV	 ? a / b
					 : b / a;

	__asm__ volatile("fnstsw %0" : "=a"(*sw), "+t"(r));
	return r;
}

static always_inline enum outcome arith(struct x86_cpu *cpu, const struct insn *in, enum x87_op op, unsigned dst,
					bool pops)
{
	struct x86_fpu *f = &cpu->st.fpu;
	unsigned i = in->cc;
	long double r;
	u16 sw;

	if (unlikely(!ready(cpu) || !valid(f, 0) || !valid(f, i)))
		return x87_run(cpu, in);
	r = operate(op, get(f, 0), get(f, i), &sw);
	if (unlikely(!clean(f, sw)))
		return x87_run(cpu, in);
	put(f, dst ? i : 0, r);
	finish(cpu, in, sw);
	if (pops)
		pop(f);
	NEXT(cpu, in);
}

static always_inline enum outcome arith_mem(struct x86_cpu *cpu, const struct insn *in, enum x87_op op, unsigned size)
{
	struct x86_fpu *f = &cpu->st.fpu;
	const void *p = look_read(cpu, in, size);
	long double r;
	float v32;
	double v64;
	u16 sw;

	if (unlikely(!p || !ready(cpu) || !valid(f, 0)))
		return x87_run(cpu, in);
	if (size == 4) {
		memcpy(&v32, p, 4);
		r = operate(op, get(f, 0), v32, &sw);
	} else {
		memcpy(&v64, p, 8);
		r = operate(op, get(f, 0), v64, &sw);
	}
	if (unlikely(!clean(f, sw)))
		return x87_run(cpu, in);
	put(f, 0, r);
	finish(cpu, in, sw);
	NEXT(cpu, in);
}

#define ARITH(name, op)                                                                                                \
	HANDLER(name##_st0) { return arith(cpu, in, op, 0, false); }                                                   \
	HANDLER(name##_sti) { return arith(cpu, in, op, 1, false); }                                                   \
	HANDLER(name##_pop) { return arith(cpu, in, op, 1, true); }                                                    \
	HANDLER(name##_m32) { return arith_mem(cpu, in, op, 4); }                                                      \
	HANDLER(name##_m64) { return arith_mem(cpu, in, op, 8); }
ARITH(fadd, X87_ADD)
ARITH(fmul, X87_MUL)
ARITH(fsub, X87_SUB)
ARITH(fsubr, X87_SUBR)
ARITH(fdiv, X87_DIV)
ARITH(fdivr, X87_DIVR)

static always_inline enum outcome load(struct x86_cpu *cpu, const struct insn *in, unsigned size)
{
	struct x86_fpu *f = &cpu->st.fpu;
	const void *p = look_read(cpu, in, size);
	long double r;
	float v32;
	double v64;
	u16 sw;

	if (unlikely(!p || !ready(cpu) || valid(f, 7)))
		return x87_run(cpu, in);
	if (size == 4) {
		memcpy(&v32, p, 4);
		r = v32;
	} else {
		memcpy(&v64, p, 8);
		r = v64;
	}
	__asm__ volatile("fnstsw %0" : "=a"(sw), "+t"(r));
	if (unlikely(!clean(f, sw & ~FSW_PE)))
		return x87_run(cpu, in);
	push(f);
	put(f, 0, r);
	finish(cpu, in, 0);
	NEXT(cpu, in);
}
HANDLER(fld_m32) { return load(cpu, in, 4); }
HANDLER(fld_m64) { return load(cpu, in, 8); }

static always_inline enum outcome store(struct x86_cpu *cpu, const struct insn *in, unsigned size, bool pops)
{
	struct x86_fpu *f = &cpu->st.fpu;
	void *p = look_write(cpu, in, size);
	float v32 = 0;
	double v64 = 0;
	u16 sw;

	if (unlikely(!p || !ready(cpu) || !valid(f, 0)))
		return x87_run(cpu, in);
	if (size == 4)
		v32 = (float)get(f, 0);
	else
		v64 = (double)get(f, 0);
	__asm__ volatile("fnstsw %0" : "=a"(sw) : "m"(v32), "m"(v64));
	if (unlikely(!clean(f, sw)))
		return x87_run(cpu, in);
	if (size == 4)
		memcpy(p, &v32, 4);
	else
		memcpy(p, &v64, 8);
	finish(cpu, in, sw);
	if (pops)
		pop(f);
	NEXT(cpu, in);
}
HANDLER(fst_m32) { return store(cpu, in, 4, false); }
HANDLER(fst_m64) { return store(cpu, in, 8, false); }
HANDLER(fstp_m32) { return store(cpu, in, 4, true); }
HANDLER(fstp_m64) { return store(cpu, in, 8, true); }

HANDLER(fld_sti)
{
	struct x86_fpu *f = &cpu->st.fpu;
	u8 v[16];

	if (unlikely(!ready(cpu) || !valid(f, in->cc) || valid(f, 7)))
		return x87_run(cpu, in);
	memcpy(v, f->st[in->cc], 16);
	push(f);
	memcpy(f->st[0], v, 16);
	finish(cpu, in, 0);
	NEXT(cpu, in);
}

static always_inline enum outcome store_sti(struct x86_cpu *cpu, const struct insn *in, bool pops)
{
	struct x86_fpu *f = &cpu->st.fpu;

	if (unlikely(!ready(cpu) || !valid(f, 0)))
		return x87_run(cpu, in);
	memmove(f->st[in->cc], f->st[0], 16);
	f->ftw |= 1 << ((X87_TOP(f->fsw) + in->cc) & 7);
	finish(cpu, in, 0);
	if (pops)
		pop(f);
	NEXT(cpu, in);
}
HANDLER(fst_sti) { return store_sti(cpu, in, false); }
HANDLER(fstp_sti) { return store_sti(cpu, in, true); }

HANDLER(fxch)
{
	struct x86_fpu *f = &cpu->st.fpu;
	u8 a[16], b[16];

	if (unlikely(!ready(cpu) || !valid(f, 0) || !valid(f, in->cc)))
		return x87_run(cpu, in);
	memcpy(a, f->st[0], 16);
	memcpy(b, f->st[in->cc], 16);
	memcpy(f->st[0], b, 16);
	memcpy(f->st[in->cc], a, 16);
	finish(cpu, in, 0);
	NEXT(cpu, in);
}

struct fast_arith {
	insn_fn *st0, *sti, *pop, *m32, *m64;
};
#define FAST(name)                                                                                                     \
	{                                                                                                              \
		name##_st0, name##_sti, name##_pop, name##_m32, name##_m64                                             \
	}
static const struct fast_arith fast_arith[8] = {
	[X87_ADD] = FAST(fadd),	  [X87_MUL] = FAST(fmul), [X87_SUB] = FAST(fsub),
	[X87_SUBR] = FAST(fsubr), [X87_DIV] = FAST(fdiv), [X87_DIVR] = FAST(fdivr),
};

static insn_fn *fast_mem(unsigned opcode, unsigned reg)
{
	static insn_fn *const moves32[8] = {fld_m32, NULL, fst_m32, fstp_m32}, *const moves64[8] = {fld_m64, NULL,
												    fst_m64, fstp_m64};

	switch (opcode) {
	case 0xd8: return fast_arith[reg].m32;
	case 0xdc: return fast_arith[reg].m64;
	case 0xd9: return moves32[reg];
	case 0xdd: return moves64[reg];
	default: return NULL;
	}
}

/* The handler for an x87 opcode, NULL: x87_run. */
insn_fn *x87_fast(const struct bind *b)
{
	unsigned opcode = b->zi->opcode, modrm = b->bytes[b->zi->raw.modrm.offset], reg = modrm >> 3 & 7;

	if (!bind_code64(b) || b->zi->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
		return NULL;
	if (b->in->flags & IN_MEM)
		return insn_flat(b->in) ? fast_mem(opcode, reg) : NULL;
	b->in->cc = modrm & 7;
	switch (opcode) {
	case 0xd8: return fast_arith[reg].st0;
	case 0xdc: return fast_arith[reg].sti;
	case 0xde: return fast_arith[reg].pop;
	case 0xdd: return reg == 2 ? fst_sti : reg == 3 ? fstp_sti : NULL;
	case 0xd9: return reg == 0 ? fld_sti : reg == 1 ? fxch : NULL;
	default: return NULL;
	}
}
