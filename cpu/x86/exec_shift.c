/*
 * SHL SHR SAR ROL ROR RCL RCR SHLD SHRD, and BMI2's SHLX SHRX SARX RORX.
 *
 * The host shifts by CL with the guest's flags loaded, so that a zero count keeps them and undefined ones (OF for
 * counts above 1, AF) are the silicon's. SDM vol. 2, SAL/SAR/SHL/SHR and RCL/RCR/ROL/ROR.
 */
#include "cpu/x86/check.h"
#include "cpu/x86/int.h"

/* Memory forms are never locked: the value goes through a register. `count` of _c forms is CL, of _i forms the
 * immediate. */
#define SHIFT_FORM(name, T, bits, form, count)                                                                         \
	HANDLER(name##_r##form##bits)                                                                                  \
	{                                                                                                              \
		u16 fl = FLAGS(cpu);                                                                                   \
		T d = name##bits(REG(T, cpu, in->dst), count, &fl);                                                    \
                                                                                                                       \
		reg_write(cpu, in->dst, bits / 8, d);                                                                  \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER_ANY(name##_m##form##bits##_any)                                                                        \
	{                                                                                                              \
		u16 fl = FLAGS(cpu);                                                                                   \
		struct mem_rmw m;                                                                                      \
                                                                                                                       \
		TRY(cpu, in, operand_rmw(cpu, in, bits / 8, false, &m));                                               \
		*(GUEST(T) *)m.p = name##bits(*(GUEST(T) *)m.p, count, &fl);                                           \
		TRY(cpu, in, operand_rmw_end(cpu, false, &m));                                                         \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(name##_m##form##bits)                                                                                  \
	{                                                                                                              \
		GUEST(T) *p = look_write(cpu, in, bits / 8);                                                           \
		u16 fl = FLAGS(cpu);                                                                                   \
                                                                                                                       \
		if (unlikely(!p))                                                                                      \
			return name##_m##form##bits##_any(cpu, in);                                                    \
		*p = name##bits(*p, count, &fl);                                                                       \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}

#define SHIFT(name, T, bits)                                                                                           \
	static always_inline T name##bits(T d, u8 count, u16 *fl)                                                      \
	{                                                                                                              \
		asm(ASM_LOAD_FLAGS #name " %%cl, %[d]" ASM_SAVE_FLAGS : [d] "+r"(d), "+&a"(*fl) : "c"(count) : "cc");  \
		return d;                                                                                              \
	}                                                                                                              \
	SHIFT_FORM(name, T, bits, c, (u8)cpu->st.gpr[RCX])                                                             \
	SHIFT_FORM(name, T, bits, i, (u8)in->imm)

#define SHIFT_ROW(name, form, any)                                                                                     \
	{                                                                                                              \
		name##_##form##8##any, name##_##form##16##any, name##_##form##32##any, name##_##form##64##any          \
	}
#define SHIFT_ALL(name)                                                                                                \
	SHIFT(name, u8, 8)                                                                                             \
	SHIFT(name, u16, 16)                                                                                           \
	SHIFT(name, u32, 32)                                                                                           \
	SHIFT(name, u64, 64)                                                                                           \
	bool bind_##name(struct bind *b)                                                                               \
	{                                                                                                              \
		static insn_fn *const h[2][3][4] = {                                                                   \
			{SHIFT_ROW(name, rc, ), SHIFT_ROW(name, mc, ), SHIFT_ROW(name, mc, _any)},                     \
			{SHIFT_ROW(name, ri, ), SHIFT_ROW(name, mi, ), SHIFT_ROW(name, mi, _any)},                     \
		};                                                                                                     \
                                                                                                                       \
		return shift_bind(b, h);                                                                               \
	}

static bool shift_bind(struct bind *b, insn_fn *const h[2][3][4])
{
	struct insn *in = b->in;
	unsigned where = !(in->flags & IN_MEM) ? 0 : insn_flat(in) ? 1 : 2;

	in->fn = h[op_is_imm(&b->op[1])][where][size_index(in->opsize)];
	return true;
}

SHIFT_ALL(shl)
SHIFT_ALL(shr)
SHIFT_ALL(sar)
SHIFT_ALL(rol)
SHIFT_ALL(ror)
SHIFT_ALL(rcl)
SHIFT_ALL(rcr)

/* aux: the count is in CL. 16-bit forms with counts above 16 are undefined: the host decides. */
#define DOUBLE_SHIFT(name, T, bits)                                                                                    \
	static always_inline T name##bits(T d, T s, u8 count, u16 *fl)                                                 \
	{                                                                                                              \
		asm(ASM_LOAD_FLAGS #name " %%cl, %[s], %[d]" ASM_SAVE_FLAGS                                            \
		    : [d] "+r"(d), "+&a"(*fl)                                                                          \
		    : "c"(count), [s] "r"(s)                                                                           \
		    : "cc");                                                                                           \
		return d;                                                                                              \
	}                                                                                                              \
	HANDLER(name##_##bits)                                                                                         \
	{                                                                                                              \
		u8 count = in->aux ? cpu->st.gpr[RCX] : in->imm;                                                       \
		u16 fl = FLAGS(cpu);                                                                                   \
		struct mem_rmw m;                                                                                      \
		T d;                                                                                                   \
                                                                                                                       \
		if (!(in->flags & IN_MEM)) {                                                                           \
			d = name##bits(REG(T, cpu, in->dst), REG(T, cpu, in->src), count, &fl);                        \
			reg_write(cpu, in->dst, bits / 8, d);                                                          \
		} else {                                                                                               \
			TRY(cpu, in, operand_rmw(cpu, in, bits / 8, false, &m));                                       \
			*(GUEST(T) *)m.p = name##bits(*(GUEST(T) *)m.p, REG(T, cpu, in->src), count, &fl);             \
			TRY(cpu, in, operand_rmw_end(cpu, false, &m));                                                 \
		}                                                                                                      \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}

#define DOUBLE_SHIFT_ALL(name)                                                                                         \
	DOUBLE_SHIFT(name, u16, 16)                                                                                    \
	DOUBLE_SHIFT(name, u32, 32)                                                                                    \
	DOUBLE_SHIFT(name, u64, 64)                                                                                    \
	bool bind_##name(struct bind *b)                                                                               \
	{                                                                                                              \
		static insn_fn *const h[4] = {NULL, name##_16, name##_32, name##_64};                                  \
                                                                                                                       \
		b->in->aux = op_is_reg(&b->op[2]);                                                                     \
		b->in->fn = h[size_index(b->in->opsize)];                                                              \
		return b->in->fn;                                                                                      \
	}
DOUBLE_SHIFT_ALL(shld)
DOUBLE_SHIFT_ALL(shrd)

/* BMI2: no flags; the count is in src2 (the VEX.vvvv register), for RORX an immediate. */
#define SHIFTX(name, T, bits, expr)                                                                                    \
	HANDLER(name##_##bits)                                                                                         \
	{                                                                                                              \
		u64 v;                                                                                                 \
		unsigned n;                                                                                            \
		T s;                                                                                                   \
                                                                                                                       \
		if (in->flags & IN_MEM)                                                                                \
			TRY(cpu, in, operand_read(cpu, in, bits / 8, &v));                                             \
		else                                                                                                   \
			v = REG(T, cpu, in->src);                                                                      \
		s = (T)v;                                                                                              \
		n = REG8(cpu, in->src2) & (bits - 1);                                                                  \
		reg_write(cpu, in->dst, bits / 8, expr);                                                               \
		NEXT(cpu, in);                                                                                         \
	}
#define SHIFTX_ALL(name, U, S, expr_u, expr_s) SHIFTX(name, U, 32, expr_u) SHIFTX(name, S, 64, expr_s)
SHIFTX_ALL(shlx, u32, u64, s << n, s << n)
SHIFTX_ALL(shrx, u32, u64, s >> n, s >> n)
SHIFTX_ALL(sarx, s32, s64, (u32)(s >> n), (u64)(s >> n))

static bool shiftx_bind(struct bind *b, insn_fn *fn32, insn_fn *fn64)
{
	b->in->fn = !bind_protected(b) ? check_invalid : b->in->opsize == 8 ? fn64 : fn32;
	return true;
}

bool bind_shlx(struct bind *b) { return shiftx_bind(b, shlx_32, shlx_64); }
bool bind_shrx(struct bind *b) { return shiftx_bind(b, shrx_32, shrx_64); }
bool bind_sarx(struct bind *b) { return shiftx_bind(b, sarx_32, sarx_64); }

HANDLER(rorx)
{
	unsigned bits = in->opsize * 8, n = in->imm & (bits - 1);
	u64 v;

	if (in->flags & IN_MEM)
		TRY(cpu, in, operand_read(cpu, in, in->opsize, &v));
	else
		v = reg_read(cpu, in->src, in->opsize);
	reg_write(cpu, in->dst, in->opsize, n ? v >> n | v << (bits - n) : v);
	NEXT(cpu, in);
}

bool bind_rorx(struct bind *b) { return shiftx_bind(b, rorx, rorx); }
