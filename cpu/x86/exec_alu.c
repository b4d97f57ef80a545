/*
 * ADD OR ADC SBB AND SUB XOR CMP TEST, INC DEC NEG NOT, ADCX ADOX.
 * SDM vol. 2 ch. 3-4, the instructions' pages; forms by operand: rr, ri, rm (register from memory), mr, mi.
 */
#include "cpu/x86/int.h"

/* name_r(d, s, &fl): on values; name_m(p, s, &fl) and name_l: on memory, the latter locked. */
#define ALU_CORE(name, op, T, bits, pre, ax)                                                                           \
	static always_inline T name##_r##bits(T d, T s, u16 *fl)                                                       \
	{                                                                                                              \
		asm(pre op " %[s], %[d]" ASM_SAVE_FLAGS : [d] "+r"(d), ax(*fl) : [s] "r"(s) : "cc");                   \
		return d;                                                                                              \
	}                                                                                                              \
	static always_inline void name##_m##bits(GUEST(T) * p, T s, u16 * fl)                                          \
	{                                                                                                              \
		asm(pre op " %[s], %[d]" ASM_SAVE_FLAGS : [d] "+m"(*p), ax(*fl) : [s] "r"(s) : "cc");                  \
	}                                                                                                              \
	static always_inline void name##_l##bits(GUEST(T) * p, T s, u16 * fl)                                          \
	{                                                                                                              \
		asm volatile(pre "lock " op " %[s], %[d]" ASM_SAVE_FLAGS                                               \
			     : [d] "+m"(*p), ax(*fl)                                                                   \
			     : [s] "r"(s)                                                                              \
			     : "cc", "memory");                                                                        \
	}

#define ALU_COMPARE(name, op, T, bits)                                                                                 \
	static always_inline T name##_r##bits(T d, T s, u16 *fl)                                                       \
	{                                                                                                              \
		asm(op " %[s], %[d]" ASM_SAVE_FLAGS : "=&a"(*fl) : [d] "r"(d), [s] "r"(s) : "cc");                     \
		return d;                                                                                              \
	}

/* Register destination, or none (`keep`: CMP, TEST). */
#define ALU_TO_REG(name, T, bits, keep)                                                                                \
	HANDLER(name##_rr##bits)                                                                                       \
	{                                                                                                              \
		u16 fl = FLAGS(cpu);                                                                                   \
		T d = name##_r##bits(REG(T, cpu, in->dst), REG(T, cpu, in->src), &fl);                                 \
                                                                                                                       \
		if (!keep)                                                                                             \
			reg_write(cpu, in->dst, bits / 8, d);                                                          \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(name##_ri##bits)                                                                                       \
	{                                                                                                              \
		u16 fl = FLAGS(cpu);                                                                                   \
		T d = name##_r##bits(REG(T, cpu, in->dst), (T)in->imm, &fl);                                           \
                                                                                                                       \
		if (!keep)                                                                                             \
			reg_write(cpu, in->dst, bits / 8, d);                                                          \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER_ANY(name##_rm##bits##_any)                                                                             \
	{                                                                                                              \
		u16 fl = FLAGS(cpu);                                                                                   \
		u64 v;                                                                                                 \
		T d;                                                                                                   \
                                                                                                                       \
		TRY(cpu, in, operand_read(cpu, in, bits / 8, &v));                                                     \
		d = name##_r##bits(REG(T, cpu, in->dst), (T)v, &fl);                                                   \
		if (!keep)                                                                                             \
			reg_write(cpu, in->dst, bits / 8, d);                                                          \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(name##_rm##bits)                                                                                       \
	{                                                                                                              \
		GUEST(T) *p = look_read(cpu, in, bits / 8);                                                            \
		T d;                                                                                                   \
		u16 fl = FLAGS(cpu);                                                                                   \
                                                                                                                       \
		if (unlikely(!p))                                                                                      \
			return name##_rm##bits##_any(cpu, in);                                                         \
		d = name##_r##bits(REG(T, cpu, in->dst), *p, &fl);                                                     \
		if (!keep)                                                                                             \
			reg_write(cpu, in->dst, bits / 8, d);                                                          \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}

/* Memory destination with source `value`; form is mr or mi. */
#define ALU_TO_MEM(name, T, bits, form, value)                                                                         \
	HANDLER_ANY(name##_##form##bits##_any)                                                                         \
	{                                                                                                              \
		bool locked = in->flags & IN_LOCK;                                                                     \
		u16 fl = FLAGS(cpu);                                                                                   \
		struct mem_rmw m;                                                                                      \
                                                                                                                       \
		TRY(cpu, in, operand_rmw(cpu, in, bits / 8, locked, &m));                                              \
		if (locked)                                                                                            \
			name##_l##bits(m.p, value, &fl);                                                               \
		else                                                                                                   \
			name##_m##bits(m.p, value, &fl);                                                               \
		TRY(cpu, in, operand_rmw_end(cpu, locked, &m));                                                        \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(name##_##form##bits)                                                                                   \
	{                                                                                                              \
		GUEST(T) *p = look_write(cpu, in, bits / 8);                                                           \
		u16 fl = FLAGS(cpu);                                                                                   \
                                                                                                                       \
		if (unlikely(!p))                                                                                      \
			return name##_##form##bits##_any(cpu, in);                                                     \
		name##_m##bits(p, value, &fl);                                                                         \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}

/* CMP and TEST with a memory first operand only read it. */
#define ALU_WITH_MEM(name, T, bits, form, value)                                                                       \
	HANDLER_ANY(name##_##form##bits##_any)                                                                         \
	{                                                                                                              \
		u16 fl;                                                                                                \
		u64 v;                                                                                                 \
                                                                                                                       \
		TRY(cpu, in, operand_read(cpu, in, bits / 8, &v));                                                     \
		name##_r##bits((T)v, value, &fl);                                                                      \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(name##_##form##bits)                                                                                   \
	{                                                                                                              \
		GUEST(T) *p = look_read(cpu, in, bits / 8);                                                            \
		u16 fl;                                                                                                \
                                                                                                                       \
		if (unlikely(!p))                                                                                      \
			return name##_##form##bits##_any(cpu, in);                                                     \
		name##_r##bits(*p, value, &fl);                                                                        \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}

#define ALU_MODIFY(name, op, T, bits, pre, ax)                                                                         \
	ALU_CORE(name, op, T, bits, pre, ax)                                                                           \
	ALU_TO_REG(name, T, bits, false)                                                                               \
	ALU_TO_MEM(name, T, bits, mr, REG(T, cpu, in->src))                                                            \
	ALU_TO_MEM(name, T, bits, mi, (T)in->imm)

#define ALU_TESTS(name, op, T, bits)                                                                                   \
	ALU_COMPARE(name, op, T, bits)                                                                                 \
	ALU_TO_REG(name, T, bits, true)                                                                                \
	ALU_WITH_MEM(name, T, bits, mr, REG(T, cpu, in->src))                                                          \
	ALU_WITH_MEM(name, T, bits, mi, (T)in->imm)

enum alu_form { RR, RI, RM, MR, MI, FORMS };

struct alu_handlers {
	insn_fn *flat[FORMS][4];
	insn_fn *any[FORMS][4]; /* register forms have none */
};

#define ALU_ROW(name, form, any)                                                                                       \
	{                                                                                                              \
		name##_##form##8##any, name##_##form##16##any, name##_##form##32##any, name##_##form##64##any          \
	}
#define ALU_HANDLERS(name)                                                                                             \
	static const struct alu_handlers name##_handlers = {                                                           \
		.flat = {ALU_ROW(name, rr, ), ALU_ROW(name, ri, ), ALU_ROW(name, rm, ), ALU_ROW(name, mr, ),           \
			 ALU_ROW(name, mi, )},                                                                         \
		.any = {ALU_ROW(name, rr, ), ALU_ROW(name, ri, ), ALU_ROW(name, rm, _any), ALU_ROW(name, mr, _any),    \
			ALU_ROW(name, mi, _any)},                                                                      \
	};

#define ALU_ALL_SIZES(kind, name, op, ...)                                                                             \
	kind(name, op, u8, 8, ##__VA_ARGS__) kind(name, op, u16, 16, ##__VA_ARGS__)                                    \
		kind(name, op, u32, 32, ##__VA_ARGS__) kind(name, op, u64, 64, ##__VA_ARGS__) ALU_HANDLERS(name)

ALU_ALL_SIZES(ALU_MODIFY, add, "add", "", "=&a")
ALU_ALL_SIZES(ALU_MODIFY, or, "or", "", "=&a")
ALU_ALL_SIZES(ALU_MODIFY, adc, "adc", ASM_LOAD_CF, "+&a")
ALU_ALL_SIZES(ALU_MODIFY, sbb, "sbb", ASM_LOAD_CF, "+&a")
ALU_ALL_SIZES(ALU_MODIFY, and, "and", "", "=&a")
ALU_ALL_SIZES(ALU_MODIFY, sub, "sub", "", "=&a")
ALU_ALL_SIZES(ALU_MODIFY, xor, "xor", "", "=&a")
ALU_ALL_SIZES(ALU_TESTS, cmp, "cmp")
ALU_ALL_SIZES(ALU_TESTS, test, "test")

static bool alu_bind(struct bind *b, const struct alu_handlers *h)
{
	struct insn *in = b->in;
	bool flat = insn_flat(in) && !(in->flags & IN_LOCK);
	unsigned form;

	if (op_is_mem(&b->op[0]))
		form = op_is_reg(&b->op[1]) ? MR : MI;
	else
		form = op_is_reg(&b->op[1]) ? RR : op_is_mem(&b->op[1]) ? RM : RI;
	in->fn = (flat ? h->flat : h->any)[form][size_index(in->opsize)];
	if (form == RI || form == MI)
		bind_live_imm(b);
	return true;
}

/* XOR or SUB of a register with itself, the customary way to clear it: no operand to wait for. */
HANDLER(clear_reg)
{
	REG64(cpu, in->dst) = 0;
	FLAGS(cpu) = ZF_AX | PF_AX | 0x200;
	NEXT(cpu, in);
}

static bool clears_register(const struct bind *b)
{
	return op_is_reg(&b->op[0]) && op_is_reg(&b->op[1]) && b->op[0].reg.value == b->op[1].reg.value &&
	       b->in->opsize >= 4;
}

bool bind_add(struct bind *b) { return alu_bind(b, &add_handlers); }
bool bind_or(struct bind *b) { return alu_bind(b, &or_handlers); }
bool bind_adc(struct bind *b) { return alu_bind(b, &adc_handlers); }
bool bind_sbb(struct bind *b) { return alu_bind(b, &sbb_handlers); }
bool bind_and(struct bind *b) { return alu_bind(b, &and_handlers); }
bool bind_cmp(struct bind *b) { return alu_bind(b, &cmp_handlers); }
bool bind_test(struct bind *b) { return alu_bind(b, &test_handlers); }

bool bind_sub(struct bind *b)
{
	b->in->fn = clear_reg;
	return clears_register(b) || alu_bind(b, &sub_handlers);
}

bool bind_xor(struct bind *b)
{
	b->in->fn = clear_reg;
	return clears_register(b) || alu_bind(b, &xor_handlers);
}

/* One operand. `pre` loads what the operation leaves alone. */
#define UNARY(name, op, T, bits, suffix, pre, ax, post)                                                                \
	HANDLER(name##_r##bits)                                                                                        \
	{                                                                                                              \
		T d = REG(T, cpu, in->dst);                                                                            \
		u16 fl = FLAGS(cpu);                                                                                   \
                                                                                                                       \
		asm(pre op " %[d]" post : [d] "+r"(d), ax(fl) : : "cc");                                               \
		reg_write(cpu, in->dst, bits / 8, d);                                                                  \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER_ANY(name##_m##bits##_any)                                                                              \
	{                                                                                                              \
		bool locked = in->flags & IN_LOCK;                                                                     \
		u16 fl = FLAGS(cpu);                                                                                   \
		struct mem_rmw m;                                                                                      \
                                                                                                                       \
		TRY(cpu, in, operand_rmw(cpu, in, bits / 8, locked, &m));                                              \
		if (locked)                                                                                            \
			asm volatile(pre "lock " op suffix " %[d]" post                                                \
				     : [d] "+m"(*(GUEST(T) *)m.p), ax(fl)                                              \
				     :                                                                                 \
				     : "cc", "memory");                                                                \
		else                                                                                                   \
			asm(pre op suffix " %[d]" post : [d] "+m"(*(GUEST(T) *)m.p), ax(fl) : : "cc");                 \
		TRY(cpu, in, operand_rmw_end(cpu, locked, &m));                                                        \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(name##_m##bits)                                                                                        \
	{                                                                                                              \
		GUEST(T) *p = look_write(cpu, in, bits / 8);                                                           \
		u16 fl = FLAGS(cpu);                                                                                   \
                                                                                                                       \
		if (unlikely(!p))                                                                                      \
			return name##_m##bits##_any(cpu, in);                                                          \
		asm(pre op suffix " %[d]" post : [d] "+m"(*p), ax(fl) : : "cc");                                       \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}

static bool unary_bind(struct bind *b, insn_fn *const h[3][4])
{
	struct insn *in = b->in;
	unsigned form = 0;

	if (op_is_mem(&b->op[0]))
		form = insn_flat(in) && !(in->flags & IN_LOCK) ? 1 : 2;
	in->fn = h[form][size_index(in->opsize)];
	return true;
}

#define UNARY_ALL_SIZES(name, op, pre, ax, post)                                                                       \
	UNARY(name, op, u8, 8, "b", pre, ax, post)                                                                     \
	UNARY(name, op, u16, 16, "w", pre, ax, post)                                                                   \
	UNARY(name, op, u32, 32, "l", pre, ax, post)                                                                   \
	UNARY(name, op, u64, 64, "q", pre, ax, post)                                                                   \
	bool bind_##name(struct bind *b)                                                                               \
	{                                                                                                              \
		static insn_fn *const h[3][4] = {                                                                      \
			{name##_r8, name##_r16, name##_r32, name##_r64},                                               \
			{name##_m8, name##_m16, name##_m32, name##_m64},                                               \
			{name##_m8_any, name##_m16_any, name##_m32_any, name##_m64_any},                               \
		};                                                                                                     \
                                                                                                                       \
		return unary_bind(b, h);                                                                               \
	}

UNARY_ALL_SIZES(inc, "inc", ASM_LOAD_CF, "+&a", ASM_SAVE_FLAGS)
UNARY_ALL_SIZES(dec, "dec", ASM_LOAD_CF, "+&a", ASM_SAVE_FLAGS)
UNARY_ALL_SIZES(neg, "neg", "", "=&a", ASM_SAVE_FLAGS)
UNARY_ALL_SIZES(not, "not", "", "+&a", "")

/* ADCX and ADOX carry through CF or OF alone and leave the other flags as they are. */
#define ADX(name, T, bits)                                                                                             \
	HANDLER(name##_##bits)                                                                                         \
	{                                                                                                              \
		T d = REG(T, cpu, in->dst), s;                                                                         \
		u16 fl = FLAGS(cpu);                                                                                   \
                                                                                                                       \
		if (in->flags & IN_MEM) {                                                                              \
			u64 v;                                                                                         \
                                                                                                                       \
			TRY(cpu, in, operand_read(cpu, in, bits / 8, &v));                                             \
			s = v;                                                                                         \
		} else {                                                                                               \
			s = REG(T, cpu, in->src);                                                                      \
		}                                                                                                      \
		asm(ASM_LOAD_FLAGS #name " %[s], %[d]" ASM_SAVE_FLAGS : [d] "+r"(d), "+&a"(fl) : [s] "r"(s) : "cc");   \
		reg_write(cpu, in->dst, bits / 8, d);                                                                  \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}
ADX(adcx, u32, 32)
ADX(adcx, u64, 64)
ADX(adox, u32, 32)
ADX(adox, u64, 64)

bool bind_adcx(struct bind *b)
{
	b->in->fn = b->in->opsize == 8 ? adcx_64 : adcx_32;
	return true;
}

bool bind_adox(struct bind *b)
{
	b->in->fn = b->in->opsize == 8 ? adox_64 : adox_32;
	return true;
}
