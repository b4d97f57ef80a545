/*
 * What the integer handlers (exec_*.c) share: flags through the host's own unit, the flat effective address, guarded
 * read-modify-write.
 *
 * Flags are exact by construction: the operation runs on the host and LAHF; SETO AL leaves its flags in AX in the form
 * that the state keeps (arch/x86/state.h). Where an instruction leaves some flags alone, or the manual calls them
 * undefined, the guest's flags are loaded into the host's first (ADD AL, 127 recreates OF; SAHF the rest), so that
 * silicon decides.
 *
 * Most operations have two handlers: NAME for 64-bit flat addressing, which must hit in the TLB and else hands over to
 * NAME_any, and NAME_any for every mode, segment checks, LOCK, page crossing and MMIO.
 */
#ifndef CPU_X86_INT_H
#define CPU_X86_INT_H

#include "cpu/x86/exec.h"

#define HANDLER(name) static enum outcome name(struct x86_cpu *cpu, const struct insn *in)
/* The general form of a handler: rarely taken in 64-bit code, kept out of the fast one's frame. */
#define HANDLER_ANY(name) static noinline enum outcome name(struct x86_cpu *cpu, const struct insn *in)

/* Guest memory has no alignment: GUEST(u32) is the type behind a pointer into it. */
typedef u8 mem_u8;
typedef s8 mem_s8;
typedef u16 mem_u16 __attribute__((aligned(1)));
typedef s16 mem_s16 __attribute__((aligned(1)));
typedef u32 mem_u32 __attribute__((aligned(1)));
typedef s32 mem_s32 __attribute__((aligned(1)));
typedef u64 mem_u64 __attribute__((aligned(1)));
#define GUEST(T) mem_##T

#define REG(T, cpu, off) (*(T *)((char *)(cpu) + (off)))
/* Only the low 16 bits of st.oszapc are ever used: 16-bit accesses on both sides keep store forwarding working. */
#define FLAGS(cpu) (*(u16 *)&(cpu)->st.oszapc)

/* Host flags from AX, and back. */
#define ASM_LOAD_FLAGS "addb $127, %%al\n\tsahf\n\t"
#define ASM_LOAD_CF    "btw $8, %%ax\n\t"
#define ASM_SAVE_FLAGS "\n\tlahf\n\tseto %%al"

#define FOR_CC(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

/* 1, 2, 4, 8 to 0, 1, 2, 3. */
static inline unsigned size_index(unsigned size) { return __builtin_ctz(size); }

static always_inline bool insn_flat(const struct insn *in) { return !(in->flags & IN_SEGCHECK) && in->adsize == 8; }

static always_inline u64 la_flat(struct x86_cpu *cpu, const struct insn *in)
{
	return REG64(cpu, in->base) + (REG64(cpu, in->index) << in->scale) + (u64)in->disp + REG64(cpu, in->seg);
}

static always_inline void *look_read(struct x86_cpu *cpu, const struct insn *in, unsigned size)
{
	return mem_look(cpu, la_flat(cpu, in), size, ACC_READ);
}

static always_inline void *look_write(struct x86_cpu *cpu, const struct insn *in, unsigned size)
{
	return mem_look(cpu, la_flat(cpu, in), size, ACC_WRITE);
}

/* The memory operand by any addressing: `size` is 1, 2, 4 or 8; *v is zero-extended. */
static inline enum outcome must_check operand_read(struct x86_cpu *cpu, const struct insn *in, unsigned size, u64 *v)
{
	enum outcome out;
	u64 la;

	out = insn_la(cpu, in, size, insn_acc(in), &la);
	if (unlikely(out != OUT_NEXT))
		return out;
	*v = 0;
	return mem_read_n(cpu, la, v, size, insn_acc(in));
}

static inline enum outcome must_check operand_write(struct x86_cpu *cpu, const struct insn *in, unsigned size, u64 v)
{
	enum outcome out;
	u64 la;

	out = insn_la(cpu, in, size, insn_acc(in) | ACC_WRITE, &la);
	if (unlikely(out != OUT_NEXT))
		return out;
	return mem_write_n(cpu, la, &v, size, insn_acc(in));
}

/*
 * Read-modify-write of the memory operand by any addressing. `locked` operations that cannot work in place (page
 * crossing, watched pages, MMIO) exclude one another by vm->split_lock between operand_rmw and operand_rmw_end; the
 * latter must follow a successful former.
 */
enum outcome rmw_locked(struct x86_cpu *cpu, u64 la, unsigned size, unsigned acc, struct mem_rmw *m) must_check;
enum outcome rmw_locked_end(struct x86_cpu *cpu, struct mem_rmw *m) must_check;

static inline enum outcome must_check rmw_at(struct x86_cpu *cpu, u64 la, unsigned size, unsigned acc, bool locked,
					     struct mem_rmw *m)
{
	if (unlikely(locked))
		return rmw_locked(cpu, la, size, acc, m);
	return mem_rmw_begin(cpu, la, size, acc, m);
}

static inline enum outcome must_check operand_rmw(struct x86_cpu *cpu, const struct insn *in, unsigned size,
						  bool locked, struct mem_rmw *m)
{
	enum outcome out;
	u64 la;

	out = insn_la(cpu, in, size, insn_acc(in) | ACC_WRITE, &la);
	if (unlikely(out != OUT_NEXT))
		return out;
	return rmw_at(cpu, la, size, insn_acc(in), locked, m);
}

static inline enum outcome must_check operand_rmw_end(struct x86_cpu *cpu, bool locked, struct mem_rmw *m)
{
	if (unlikely(locked))
		return rmw_locked_end(cpu, m);
	return mem_rmw_end(cpu, m);
}

bind_fn bind_mov_sreg; /* exec_sreg.c: MOV, PUSH, POP with a segment register */
bind_fn bind_push_sreg, bind_pop_sreg;
bind_fn bind_spin;		  /* exec_misc.c: PAUSE itself */
bind_fn bind_mov_cr, bind_mov_dr; /* exec_sys.c: they check CPL and exits themselves */

#define BIND_ONE(name)                                                                                                 \
	bool bind_##name(struct bind *b)                                                                               \
	{                                                                                                              \
		b->in->fn = name;                                                                                      \
		return true;                                                                                           \
	}

/* VEX and EVEX encodings are #UD in real and virtual-8086 mode: SDM vol. 2 2.3.1 "Instruction Format". */
static inline bool bind_protected(const struct bind *b) { return (b->mode & (MODE_PE | MODE_V86)) == MODE_PE; }
static inline bool bind_code64(const struct bind *b) { return (b->mode & MODE_SIZE) == 2; }

#endif
