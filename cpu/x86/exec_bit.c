/*
 * BT BTS BTR BTC, BSF BSR LZCNT TZCNT POPCNT, BMI1 and BMI2 bit fields, CRC32.
 *
 * With a register index and a memory base the bit string reaches all of memory: the index is signed and selects the
 * word as well as the bit (SDM vol. 2, BT; vol. 1 4.6 "Bit field"). BSF and BSR of zero leave the destination as the
 * host's unit does.
 *
 * LIMIT: on a model without BMI1 or ABM, TZCNT and LZCNT should run as BSF and BSR; they do so only if the host lacks
 * them too.
 */
#include "cpu/x86/check.h"
#include "cpu/x86/int.h"

static enum outcome bit_linear(struct x86_cpu *cpu, const struct insn *in, unsigned acc, u64 *la)
{
	struct insn at = *in;

	if (!in->aux) /* index in a register */
		at.disp += ((s64)sign_extend(reg_read(cpu, in->src, in->opsize), 8 * in->opsize) >>
			    (3 + size_index(in->opsize))) *
			   in->opsize;
	return insn_la(cpu, &at, in->opsize, acc | insn_acc(in), la);
}

/* aux: the index is an immediate. `rmw`: all but BT. */
#define BIT_TEST(name, suffix, T, bits, rmw)                                                                           \
	static always_inline T name##_value##bits(T d, T index, u16 *fl)                                               \
	{                                                                                                              \
		asm(ASM_LOAD_FLAGS #name " %[i], %[d]" ASM_SAVE_FLAGS                                                  \
		    : [d] "+r"(d), "+&a"(*fl)                                                                          \
		    : [i] "r"(index)                                                                                   \
		    : "cc");                                                                                           \
		return d;                                                                                              \
	}                                                                                                              \
	HANDLER(name##_r##bits)                                                                                        \
	{                                                                                                              \
		u16 fl = FLAGS(cpu);                                                                                   \
		T d = name##_value##bits(REG(T, cpu, in->dst), in->aux ? (T)in->imm : REG(T, cpu, in->src), &fl);      \
                                                                                                                       \
		if (rmw)                                                                                               \
			reg_write(cpu, in->dst, bits / 8, d);                                                          \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(name##_m##bits)                                                                                        \
	{                                                                                                              \
		T index = (in->aux ? (T)in->imm : REG(T, cpu, in->src)) & (bits - 1);                                  \
		bool locked = in->flags & IN_LOCK;                                                                     \
		u16 fl = FLAGS(cpu);                                                                                   \
		struct mem_rmw m;                                                                                      \
		u64 la, v = 0;                                                                                         \
                                                                                                                       \
		TRY(cpu, in, bit_linear(cpu, in, rmw ? ACC_WRITE : ACC_READ, &la));                                    \
		if (!rmw) {                                                                                            \
			TRY(cpu, in, mem_read_n(cpu, la, &v, bits / 8, insn_acc(in)));                                 \
			name##_value##bits(v, index, &fl);                                                             \
			FLAGS(cpu) = fl;                                                                               \
			NEXT(cpu, in);                                                                                 \
		}                                                                                                      \
		TRY(cpu, in, rmw_at(cpu, la, bits / 8, insn_acc(in), locked, &m));                                     \
		if (locked)                                                                                            \
			asm volatile(ASM_LOAD_FLAGS "lock bt" suffix " %[i], %[d]" ASM_SAVE_FLAGS                      \
				     : [d] "+m"(*(GUEST(T) *)m.p), "+&a"(fl)                                           \
				     : [i] "r"(index)                                                                  \
				     : "cc", "memory");                                                                \
		else                                                                                                   \
			*(GUEST(T) *)m.p = name##_value##bits(*(GUEST(T) *)m.p, index, &fl);                           \
		TRY(cpu, in, operand_rmw_end(cpu, locked, &m));                                                        \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}

/* The locked form of BT does not decode; its suffix only keeps the unused path valid. */
#define BIT_TEST_ALL(name, suffix, rmw)                                                                                \
	BIT_TEST(name, suffix, u16, 16, rmw)                                                                           \
	BIT_TEST(name, suffix, u32, 32, rmw)                                                                           \
	BIT_TEST(name, suffix, u64, 64, rmw)                                                                           \
	bool bind_##name(struct bind *b)                                                                               \
	{                                                                                                              \
		static insn_fn *const r[4] = {NULL, name##_r16, name##_r32, name##_r64};                               \
		static insn_fn *const m[4] = {NULL, name##_m16, name##_m32, name##_m64};                               \
                                                                                                                       \
		b->in->aux = op_is_imm(&b->op[1]);                                                                     \
		b->in->fn = (b->in->flags & IN_MEM ? m : r)[size_index(b->in->opsize)];                                \
		return b->in->fn;                                                                                      \
	}
BIT_TEST_ALL(bt, "s", false)
BIT_TEST_ALL(bts, "s", true)
BIT_TEST_ALL(btr, "r", true)
BIT_TEST_ALL(btc, "c", true)

/* Source: register in->src or memory. */
static always_inline enum outcome source_read(struct x86_cpu *cpu, const struct insn *in, unsigned size, u64 *v)
{
	if (in->flags & IN_MEM)
		return operand_read(cpu, in, size, v);
	*v = reg_read(cpu, in->src, size);
	return OUT_NEXT;
}

/* The VEX forms that Zydis knows are another processor's (KNC). */
static bool scan_bind(struct bind *b, insn_fn *const h[4])
{
	b->in->fn = b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ? h[size_index(b->in->opsize)] : check_invalid;
	return b->in->fn;
}

/* The whole destination register takes part, since a zero source may leave any of it alone. */
#define SCAN(name, op, letter, bits)                                                                                   \
	HANDLER(name##_##bits)                                                                                         \
	{                                                                                                              \
		u64 v, d = REG64(cpu, in->dst);                                                                        \
		u16 fl = FLAGS(cpu);                                                                                   \
                                                                                                                       \
		TRY(cpu, in, source_read(cpu, in, bits / 8, &v));                                                      \
		asm(ASM_LOAD_FLAGS op " %" letter "[s], %" letter "[d]" ASM_SAVE_FLAGS                                 \
		    : [d] "+r"(d), "+&a"(fl)                                                                           \
		    : [s] "r"(v)                                                                                       \
		    : "cc");                                                                                           \
		REG64(cpu, in->dst) = d;                                                                               \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}
#define SCAN_ALL(name)                                                                                                 \
	SCAN(name, #name, "w", 16)                                                                                     \
	SCAN(name, #name, "k", 32)                                                                                     \
	SCAN(name, #name, "q", 64)                                                                                     \
	bool bind_##name(struct bind *b)                                                                               \
	{                                                                                                              \
		static insn_fn *const h[4] = {NULL, name##_16, name##_32, name##_64};                                  \
                                                                                                                       \
		return scan_bind(b, h);                                                                                \
	}
SCAN_ALL(bsf)
SCAN_ALL(bsr)
SCAN_ALL(lzcnt)
SCAN_ALL(tzcnt)
SCAN_ALL(popcnt)

static bool bmi_bind(struct bind *b, insn_fn *fn32, insn_fn *fn64)
{
	b->in->fn = !bind_protected(b) ? check_invalid : b->in->opsize == 8 ? fn64 : fn32;
	return true;
}

/*
 * BMI by operand form: two (dst, r/m), three with r/m last (ANDN PDEP PEXT), three with r/m in the middle (BEXTR BZHI).
 * Flags that the page calls undefined are the host's.
 */
#define BMI2OP(name, T, bits)                                                                                          \
	HANDLER(name##_##bits)                                                                                         \
	{                                                                                                              \
		u16 fl = FLAGS(cpu);                                                                                   \
		u64 v;                                                                                                 \
		T d;                                                                                                   \
                                                                                                                       \
		TRY(cpu, in, source_read(cpu, in, bits / 8, &v));                                                      \
		asm(ASM_LOAD_FLAGS #name " %[s], %[d]" ASM_SAVE_FLAGS                                                  \
		    : [d] "=&r"(d), "+&a"(fl)                                                                          \
		    : [s] "r"((T)v)                                                                                    \
		    : "cc");                                                                                           \
		reg_write(cpu, in->dst, bits / 8, d);                                                                  \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}
/* `a` is the AT&T first operand (the manual's last), r/m or the VEX.vvvv register as `mem_first` says. */
#define BMI3OP(name, T, bits, mem_last)                                                                                \
	HANDLER(name##_##bits)                                                                                         \
	{                                                                                                              \
		u16 fl = FLAGS(cpu);                                                                                   \
		u64 v;                                                                                                 \
		T d, a, b;                                                                                             \
                                                                                                                       \
		if (in->flags & IN_MEM)                                                                                \
			TRY(cpu, in, operand_read(cpu, in, bits / 8, &v));                                             \
		else                                                                                                   \
			v = REG(T, cpu, mem_last ? in->src2 : in->src);                                                \
		a = mem_last ? (T)v : REG(T, cpu, in->src2);                                                           \
		b = mem_last ? REG(T, cpu, in->src) : (T)v;                                                            \
		asm(ASM_LOAD_FLAGS #name " %[a], %[b], %[d]" ASM_SAVE_FLAGS                                            \
		    : [d] "=&r"(d), "+&a"(fl)                                                                          \
		    : [a] "r"(a), [b] "r"(b)                                                                           \
		    : "cc");                                                                                           \
		reg_write(cpu, in->dst, bits / 8, d);                                                                  \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}
#define BMI_BIND(name)                                                                                                 \
	bool bind_##name(struct bind *b) { return bmi_bind(b, name##_32, name##_64); }
#define BMI2OP_ALL(name)	   BMI2OP(name, u32, 32) BMI2OP(name, u64, 64) BMI_BIND(name)
#define BMI3OP_ALL(name, mem_last) BMI3OP(name, u32, 32, mem_last) BMI3OP(name, u64, 64, mem_last) BMI_BIND(name)
BMI2OP_ALL(blsi)
BMI2OP_ALL(blsmsk)
BMI2OP_ALL(blsr)
BMI3OP_ALL(andn, true)
BMI3OP_ALL(pdep, true)
BMI3OP_ALL(pext, true)
BMI3OP_ALL(bextr, false)
BMI3OP_ALL(bzhi, false)

/* The destination is 32 bits, or 64 with REX.W; the source's size is the operand's own. */
HANDLER(crc32)
{
	unsigned size = in->aux;
	u64 v, crc = REG32(cpu, in->dst);

	TRY(cpu, in, source_read(cpu, in, size, &v));
	switch (size) {
	case 1: asm("crc32b %b1, %k0" : "+r"(crc) : "r"(v)); break;
	case 2: asm("crc32w %w1, %k0" : "+r"(crc) : "r"(v)); break;
	case 4: asm("crc32l %k1, %k0" : "+r"(crc) : "r"(v)); break;
	default: asm("crc32q %q1, %q0" : "+r"(crc) : "r"(v)); break;
	}
	REG64(cpu, in->dst) = (u32)crc;
	NEXT(cpu, in);
}

bool bind_crc32(struct bind *b)
{
	b->in->aux = b->op[1].size / 8;
	b->in->fn = crc32;
	return true;
}
