/*
 * MOVS STOS LODS CMPS SCAS with all repeat prefixes.
 *
 * An instruction is restartable: rSI, rDI and rCX move with each finished element (SDM vol. 1 7.3.9.2), so that a fault
 * leaves them exact. Forward runs inside one page of each operand are done at once by the host's own REP MOVS and REP
 * STOS, which have the guest's semantics for overlapping operands too. After STRING_BUDGET bytes the instruction leaves
 * with OUT_RETRY, so that interrupts are seen. Under RFLAGS.TF there is a trap behind each element (SDM vol.
 * 3 18.3.1.4), and behind one that a data breakpoint has seen (18.3.1.2).
 */
#include "cpu/x86/string_op.h"

#define STRING_BUDGET 65536
#define SLOW_COST     64 /* bytes of budget that an element outside a run uses up */

static bool repeats(const struct insn *in) { return in->flags & (IN_REP | IN_REPNE); }

/* Elements that may be done before the next look at traps. */
static always_inline u64 string_left(const struct x86_cpu *cpu, const struct insn *in)
{
	u64 count = string_count(cpu, in);

	return unlikely(cpu->st.rflags & FL_TF) ? MIN(count, 1u) : count;
}

/* Whether a trap is due before the next element; the last one's is the instruction's. */
static always_inline bool string_traps(struct x86_cpu *cpu, const struct insn *in)
{
	bool step = cpu->st.rflags & FL_TF;

	if (likely(!step && !cpu->st.pending_db) || !string_count(cpu, in))
		return false;
	if (step)
		cpu->st.pending_db |= DR6_BS;
	x86_update_attention(cpu);
	return true;
}

/* Elements from the operand's present place to the end of its page or of the address size, the host address of the
 * first; 0: none at once. */
static always_inline u64 run_of(struct x86_cpu *cpu, const struct insn *in, unsigned reg, unsigned size, unsigned acc,
				void **p)
{
	u64 ea = cpu->st.gpr[reg] & string_mask(in), la = ea, bytes, wrap = string_mask(in) - ea;

	if (likely(cpu->c.mode & 2)) {
		if (reg == RSI && (in->flags & IN_SEGCHECK))
			return 0;
		if (reg == RSI)
			la += REG64(cpu, in->seg);
	} else if (!(cpu->c.mode & MODE_FLAT) || (reg == RSI && in->sreg >= FS)) {
		return 0;
	}
	bytes = RAM_PAGE - la % RAM_PAGE;
	if (wrap < bytes)
		bytes = wrap; /* one short: an element that ends at the wrap goes alone */
	if (bytes < size)
		return 0;
	*p = mem_look(cpu, la, 1, acc);
	return *p ? bytes / size : 0;
}

static always_inline void host_movs(void *d, const void *s, u64 n, unsigned size)
{
	switch (size) {
	case 1: asm volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory"); break;
	case 2: asm volatile("rep movsw" : "+D"(d), "+S"(s), "+c"(n) : : "memory"); break;
	case 4: asm volatile("rep movsl" : "+D"(d), "+S"(s), "+c"(n) : : "memory"); break;
	default: asm volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(n) : : "memory"); break;
	}
}

static always_inline void host_stos(void *d, u64 v, u64 n, unsigned size)
{
	switch (size) {
	case 1: asm volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(v) : "memory"); break;
	case 2: asm volatile("rep stosw" : "+D"(d), "+c"(n) : "a"(v) : "memory"); break;
	case 4: asm volatile("rep stosl" : "+D"(d), "+c"(n) : "a"(v) : "memory"); break;
	default: asm volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(v) : "memory"); break;
	}
}

static inline enum outcome movs_one(struct x86_cpu *cpu, const struct insn *in, unsigned size)
{
	u64 v = 0, from, to;
	enum outcome o;

	o = string_la(cpu, in, RSI, size, ACC_READ, &from);
	if (o == OUT_NEXT)
		o = mem_read_n(cpu, from, &v, size, string_acc(in, RSI));
	if (o == OUT_NEXT)
		o = string_la(cpu, in, RDI, size, ACC_WRITE, &to);
	if (o == OUT_NEXT)
		o = mem_write_n(cpu, to, &v, size, 0);
	if (o != OUT_NEXT)
		return o;
	string_step(cpu, in, RSI, size);
	string_step(cpu, in, RDI, size);
	return OUT_NEXT;
}

static inline enum outcome stos_one(struct x86_cpu *cpu, const struct insn *in, unsigned size)
{
	enum outcome o;
	u64 to;

	o = string_la(cpu, in, RDI, size, ACC_WRITE, &to);
	if (o == OUT_NEXT)
		o = mem_write_n(cpu, to, &cpu->st.gpr[RAX], size, 0);
	if (o != OUT_NEXT)
		return o;
	string_step(cpu, in, RDI, size);
	return OUT_NEXT;
}

static inline enum outcome lods_one(struct x86_cpu *cpu, const struct insn *in, unsigned size)
{
	enum outcome o;
	u64 from, v = 0;

	o = string_la(cpu, in, RSI, size, ACC_READ, &from);
	if (o == OUT_NEXT)
		o = mem_read_n(cpu, from, &v, size, string_acc(in, RSI));
	if (o != OUT_NEXT)
		return o;
	reg_write(cpu, CPU_OFF(st.gpr[RAX]), size, v);
	string_step(cpu, in, RSI, size);
	return OUT_NEXT;
}

/* Does as many elements as possible at once, at least one; *done counts them. */
static always_inline enum outcome movs_some(struct x86_cpu *cpu, const struct insn *in, unsigned size, u64 count,
					    u64 *done)
{
	void *s = NULL, *d = NULL;
	u64 n;

	*done = 1;
	if (cpu->st.rflags & FL_DF)
		return movs_one(cpu, in, size);
	n = run_of(cpu, in, RSI, size, ACC_READ, &s);
	if (n)
		n = MIN(n, run_of(cpu, in, RDI, size, ACC_WRITE, &d));
	n = MIN(n, count);
	if (n == 0)
		return movs_one(cpu, in, size);
	host_movs(d, s, n, size);
	string_advance(cpu, in, RSI, n * size);
	string_advance(cpu, in, RDI, n * size);
	*done = n;
	return OUT_NEXT;
}

static always_inline enum outcome stos_some(struct x86_cpu *cpu, const struct insn *in, unsigned size, u64 count,
					    u64 *done)
{
	void *d = NULL;
	u64 n;

	*done = 1;
	if (cpu->st.rflags & FL_DF)
		return stos_one(cpu, in, size);
	n = MIN(run_of(cpu, in, RDI, size, ACC_WRITE, &d), count);
	if (n == 0)
		return stos_one(cpu, in, size);
	host_stos(d, cpu->st.gpr[RAX], n, size);
	string_advance(cpu, in, RDI, n * size);
	*done = n;
	return OUT_NEXT;
}

static always_inline enum outcome lods_some(struct x86_cpu *cpu, const struct insn *in, unsigned size, u64 count,
					    u64 *done)
{
	*done = 1;
	return lods_one(cpu, in, size);
}

#define STRING_MOVE(name, bits)                                                                                        \
	HANDLER(name##_##bits)                                                                                         \
	{                                                                                                              \
		TRY(cpu, in, name##_one(cpu, in, bits / 8));                                                           \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(rep_##name##_##bits)                                                                                   \
	{                                                                                                              \
		u64 count, done, cost = 0;                                                                             \
                                                                                                                       \
		while ((count = string_left(cpu, in))) {                                                               \
			if (cost >= STRING_BUDGET)                                                                     \
				LEAVE(cpu, in, string_pause(cpu));                                                     \
			TRY(cpu, in, name##_some(cpu, in, bits / 8, count, &done));                                    \
			string_count_set(cpu, in, string_count(cpu, in) - done);                                       \
			if (unlikely(string_traps(cpu, in)))                                                           \
				LEAVE(cpu, in, string_pause(cpu));                                                     \
			cost += MAX(done * (bits / 8), SLOW_COST);                                                     \
		}                                                                                                      \
		string_end(cpu);                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}
#define STRING_MOVE_ALL(name)                                                                                          \
	STRING_MOVE(name, 8)                                                                                           \
	STRING_MOVE(name, 16)                                                                                          \
	STRING_MOVE(name, 32)                                                                                          \
	STRING_MOVE(name, 64)                                                                                          \
	bool bind_##name(struct bind *b)                                                                               \
	{                                                                                                              \
		static insn_fn *const h[2][4] = {{name##_8, name##_16, name##_32, name##_64},                          \
						 {rep_##name##_8, rep_##name##_16, rep_##name##_32, rep_##name##_64}}; \
                                                                                                                       \
		b->in->fn = h[repeats(b->in)][size_index(b->in->opsize)];                                              \
		return bind_string_operands(b);                                                                        \
	}
STRING_MOVE_ALL(movs)
STRING_MOVE_ALL(stos)
STRING_MOVE_ALL(lods)

/* CMPS compares [rSI] - [rDI], SCAS rAX - [rDI]. If both operands fault, AMD's processors report that of [rDI]. */
static u16 compare_flags(u64 a, u64 b, unsigned size)
{
	u16 fl;

	switch (size) {
	case 1: asm("cmp %b2, %b1" ASM_SAVE_FLAGS : "=&a"(fl) : "r"(a), "r"(b) : "cc"); break;
	case 2: asm("cmp %w2, %w1" ASM_SAVE_FLAGS : "=&a"(fl) : "r"(a), "r"(b) : "cc"); break;
	case 4: asm("cmp %k2, %k1" ASM_SAVE_FLAGS : "=&a"(fl) : "r"(a), "r"(b) : "cc"); break;
	default: asm("cmp %q2, %q1" ASM_SAVE_FLAGS : "=&a"(fl) : "r"(a), "r"(b) : "cc"); break;
	}
	return fl;
}

static inline enum outcome compare_one(struct x86_cpu *cpu, const struct insn *in, unsigned size, bool scan, u16 *fl)
{
	u64 la, a = reg_read(cpu, CPU_OFF(st.gpr[RAX]), size), b = 0;
	enum outcome o;

	o = string_la(cpu, in, RDI, size, ACC_READ, &la);
	if (o == OUT_NEXT)
		o = mem_read_n(cpu, la, &b, size, 0);
	if (o == OUT_NEXT && !scan) {
		a = 0;
		o = string_la(cpu, in, RSI, size, ACC_READ, &la);
		if (o == OUT_NEXT)
			o = mem_read_n(cpu, la, &a, size, string_acc(in, RSI));
	}
	if (o != OUT_NEXT)
		return o;
	*fl = compare_flags(a, b, size);
	if (!scan)
		string_step(cpu, in, RSI, size);
	string_step(cpu, in, RDI, size);
	return OUT_NEXT;
}

/* A forward run: stops behind the first element whose equality is not `equal`. */
#define COMPARE_RUN(T, bits)                                                                                           \
	static always_inline u64 compare_run##bits(const GUEST(T) * a, const GUEST(T) * b, bool scan, bool equal,      \
						   u64 n, u16 *fl)                                                     \
	{                                                                                                              \
		u64 i = 0;                                                                                             \
                                                                                                                       \
		while (i < n - 1 && (a[scan ? 0 : i] == b[i]) == equal)                                                \
			i++;                                                                                           \
		*fl = compare_flags(a[scan ? 0 : i], b[i], bits / 8);                                                  \
		return i + 1;                                                                                          \
	}
COMPARE_RUN(u8, 8)
COMPARE_RUN(u16, 16)
COMPARE_RUN(u32, 32)
COMPARE_RUN(u64, 64)

#define STRING_COMPARE(name, T, bits, scan)                                                                            \
	HANDLER(name##_##bits)                                                                                         \
	{                                                                                                              \
		u16 fl;                                                                                                \
                                                                                                                       \
		TRY(cpu, in, compare_one(cpu, in, bits / 8, scan, &fl));                                               \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	static inline enum outcome name##_some##bits(struct x86_cpu *cpu, const struct insn *in, u64 count, u64 *done, \
						     u16 *fl)                                                          \
	{                                                                                                              \
		void *a = &cpu->st.gpr[RAX], *b = NULL;                                                                \
		u64 n = 0;                                                                                             \
                                                                                                                       \
		*done = 1;                                                                                             \
		if (!(cpu->st.rflags & FL_DF)) {                                                                       \
			n = run_of(cpu, in, RDI, bits / 8, ACC_READ, &b);                                              \
			if (n && !scan)                                                                                \
				n = MIN(n, run_of(cpu, in, RSI, bits / 8, ACC_READ, &a));                              \
		}                                                                                                      \
		n = MIN(n, count);                                                                                     \
		if (n == 0)                                                                                            \
			return compare_one(cpu, in, bits / 8, scan, fl);                                               \
		*done = compare_run##bits(a, b, scan, in->flags & IN_REP, n, fl);                                      \
		if (!scan)                                                                                             \
			string_advance(cpu, in, RSI, *done *(bits / 8));                                               \
		string_advance(cpu, in, RDI, *done *(bits / 8));                                                       \
		return OUT_NEXT;                                                                                       \
	}                                                                                                              \
	HANDLER(rep_##name##_##bits)                                                                                   \
	{                                                                                                              \
		u64 count, done, cost = 0;                                                                             \
		u16 fl = FLAGS(cpu);                                                                                   \
                                                                                                                       \
		while ((count = string_left(cpu, in))) {                                                               \
			if (cost >= STRING_BUDGET)                                                                     \
				LEAVE(cpu, in, string_pause(cpu));                                                     \
			TRY(cpu, in, name##_some##bits(cpu, in, count, &done, &fl));                                   \
			FLAGS(cpu) = fl;                                                                               \
			string_count_set(cpu, in, string_count(cpu, in) - done);                                       \
			if (!(fl & ZF_AX) == !!(in->flags & IN_REP))                                                   \
				break;                                                                                 \
			if (unlikely(string_traps(cpu, in)))                                                           \
				LEAVE(cpu, in, string_pause(cpu));                                                     \
			cost += MAX(done * (bits / 8), SLOW_COST);                                                     \
		}                                                                                                      \
		string_end(cpu);                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}
#define STRING_COMPARE_ALL(name, scan)                                                                                 \
	STRING_COMPARE(name, u8, 8, scan)                                                                              \
	STRING_COMPARE(name, u16, 16, scan)                                                                            \
	STRING_COMPARE(name, u32, 32, scan)                                                                            \
	STRING_COMPARE(name, u64, 64, scan)                                                                            \
	bool bind_##name(struct bind *b)                                                                               \
	{                                                                                                              \
		static insn_fn *const h[2][4] = {{name##_8, name##_16, name##_32, name##_64},                          \
						 {rep_##name##_8, rep_##name##_16, rep_##name##_32, rep_##name##_64}}; \
                                                                                                                       \
		b->in->fn = h[repeats(b->in)][size_index(b->in->opsize)];                                              \
		return bind_string_operands(b);                                                                        \
	}
STRING_COMPARE_ALL(cmps, false)
STRING_COMPARE_ALL(scas, true)

/* One mnemonic, two instructions: the SSE2 ones have no string category. */
bool bind_movsd(struct bind *b)
{
	return b->zi->meta.category == ZYDIS_CATEGORY_STRINGOP ? bind_movs(b) : bind_vector(b);
}
bool bind_cmpsd(struct bind *b)
{
	return b->zi->meta.category == ZYDIS_CATEGORY_STRINGOP ? bind_cmps(b) : bind_vector(b);
}
