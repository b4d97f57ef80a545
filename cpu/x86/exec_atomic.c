/*
 * XADD, CMPXCHG, CMPXCHG8B, CMPXCHG16B, and what LOCK needs when it cannot work in place.
 * SDM vol. 3 8.1.2 "Bus Locking"; APM vol. 2 7.3.2 "Access Atomicity". CMPXCHG always stores to memory: a failed
 * comparison too needs write access.
 */
#include "cpu/x86/int.h"
#include "cpu/x86/share.h"

/* Only then does the operation have to be kept from the others' ordinary accesses: MMIO is never shared that way. */
static bool must_freeze(const struct x86_cpu *cpu, u64 la, unsigned size)
{
	return cpu->vm->nvcpus > 1 && la % RAM_PAGE + size > RAM_PAGE;
}

enum outcome rmw_locked(struct x86_cpu *cpu, u64 la, unsigned size, unsigned acc, struct mem_rmw *m)
{
	bool freeze = must_freeze(cpu, la, size);
	enum outcome o;

	m->p = mem_look(cpu, la, size, ACC_WRITE);
	if (likely(m->p)) {
		m->bounced = 0;
		return OUT_NEXT;
	}
	share_split_lock(cpu);
	if (unlikely(freeze))
		share_freeze(cpu);
	o = mem_rmw_begin(cpu, la, size, acc, m);
	if (o != OUT_NEXT || !m->bounced) {
		if (unlikely(freeze))
			share_thaw(cpu);
		share_split_unlock(cpu);
	}
	return o;
}

enum outcome rmw_locked_end(struct x86_cpu *cpu, struct mem_rmw *m)
{
	enum outcome o;

	if (likely(!m->bounced))
		return OUT_NEXT;
	o = mem_rmw_end(cpu, m);
	share_thaw(cpu);
	share_split_unlock(cpu);
	return o;
}

#define ATOMIC(T, bits, k)                                                                                             \
	HANDLER(xadd_r##bits)                                                                                          \
	{                                                                                                              \
		T d = REG(T, cpu, in->dst), s = REG(T, cpu, in->src);                                                  \
		u16 fl;                                                                                                \
                                                                                                                       \
		asm("xadd %[s], %[d]" ASM_SAVE_FLAGS : [d] "+r"(d), [s] "+r"(s), "=&a"(fl) : : "cc");                  \
		reg_write(cpu, in->src, bits / 8, s);                                                                  \
		reg_write(cpu, in->dst, bits / 8, d);                                                                  \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(xadd_m##bits)                                                                                          \
	{                                                                                                              \
		bool locked = in->flags & IN_LOCK;                                                                     \
		T s = REG(T, cpu, in->src);                                                                            \
		struct mem_rmw m;                                                                                      \
		u16 fl;                                                                                                \
                                                                                                                       \
		TRY(cpu, in, operand_rmw(cpu, in, bits / 8, locked, &m));                                              \
		if (locked)                                                                                            \
			asm volatile("lock xadd %[s], %[d]" ASM_SAVE_FLAGS                                             \
				     : [d] "+m"(*(GUEST(T) *)m.p), [s] "+r"(s), "=&a"(fl)                              \
				     :                                                                                 \
				     : "cc", "memory");                                                                \
		else                                                                                                   \
			asm("xadd %[s], %[d]" ASM_SAVE_FLAGS                                                           \
			    : [d] "+m"(*(GUEST(T) *)m.p), [s] "+r"(s), "=&a"(fl)                                       \
			    :                                                                                          \
			    : "cc");                                                                                   \
		TRY(cpu, in, operand_rmw_end(cpu, locked, &m));                                                        \
		reg_write(cpu, in->src, bits / 8, s);                                                                  \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	/* Whole registers: which upper halves a 32-bit form clears depends on the comparison. */                      \
	HANDLER(cmpxchg_r##bits)                                                                                       \
	{                                                                                                              \
		u64 a = cpu->st.gpr[RAX], fl;                                                                          \
		T d = REG(T, cpu, in->dst);                                                                            \
		u64 wide = bits >= 32 ? REG64(cpu, in->dst) : d;                                                       \
                                                                                                                       \
		asm("cmpxchg %" k "[s], %" k "[d]\n\tmov %%rax, %[a]" ASM_SAVE_FLAGS                                   \
		    : [d] "+r"(wide), "=&a"(fl), [a] "=&r"(a)                                                          \
		    : [s] "r"((u64)REG(T, cpu, in->src)), "1"(a)                                                       \
		    : "cc");                                                                                           \
		cpu->st.gpr[RAX] = a;                                                                                  \
		reg_write(cpu, in->dst, bits == 32 ? 8 : bits / 8, wide);                                              \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}                                                                                                              \
	HANDLER(cmpxchg_m##bits)                                                                                       \
	{                                                                                                              \
		u64 fl = cpu->st.gpr[RAX], a;                                                                          \
		bool locked = in->flags & IN_LOCK;                                                                     \
		struct mem_rmw m;                                                                                      \
                                                                                                                       \
		TRY(cpu, in, operand_rmw(cpu, in, bits / 8, locked, &m));                                              \
		if (locked)                                                                                            \
			asm volatile("lock cmpxchg %[s], %[d]\n\tmov %%rax, %[a]" ASM_SAVE_FLAGS                       \
				     : [d] "+m"(*(GUEST(T) *)m.p), "+&a"(fl), [a] "=&r"(a)                             \
				     : [s] "r"(REG(T, cpu, in->src))                                                   \
				     : "cc", "memory");                                                                \
		else                                                                                                   \
			asm("cmpxchg %[s], %[d]\n\tmov %%rax, %[a]" ASM_SAVE_FLAGS                                     \
			    : [d] "+m"(*(GUEST(T) *)m.p), "+&a"(fl), [a] "=&r"(a)                                      \
			    : [s] "r"(REG(T, cpu, in->src))                                                            \
			    : "cc");                                                                                   \
		TRY(cpu, in, operand_rmw_end(cpu, locked, &m));                                                        \
		cpu->st.gpr[RAX] = a;                                                                                  \
		FLAGS(cpu) = fl;                                                                                       \
		NEXT(cpu, in);                                                                                         \
	}
ATOMIC(u8, 8, "b")
ATOMIC(u16, 16, "w")
ATOMIC(u32, 32, "k")
ATOMIC(u64, 64, "q")

bool bind_xadd(struct bind *b)
{
	static insn_fn *const r[4] = {xadd_r8, xadd_r16, xadd_r32, xadd_r64}, *const m[4] = {xadd_m8, xadd_m16,
											     xadd_m32, xadd_m64};

	b->in->fn = (b->in->flags & IN_MEM ? m : r)[size_index(b->in->opsize)];
	return true;
}

bool bind_cmpxchg(struct bind *b)
{
	static insn_fn *const r[4] = {cmpxchg_r8, cmpxchg_r16, cmpxchg_r32, cmpxchg_r64};
	static insn_fn *const m[4] = {cmpxchg_m8, cmpxchg_m16, cmpxchg_m32, cmpxchg_m64};

	b->in->fn = (b->in->flags & IN_MEM ? m : r)[size_index(b->in->opsize)];
	return true;
}

/* Only ZF changes. The two halves are compared with EDX:EAX (RDX:RAX) and replaced by ECX:EBX (RCX:RBX). */
HANDLER(cmpxchg8b)
{
	u64 *gpr = cpu->st.gpr, old = (u64)(u32)gpr[RDX] << 32 | (u32)gpr[RAX],
	    new = (u64)(u32)gpr[RCX] << 32 | (u32)gpr[RBX];
	bool locked = in->flags & IN_LOCK, equal;
	struct mem_rmw m;

	TRY(cpu, in, operand_rmw(cpu, in, 8, locked, &m));
	if (locked)
		asm volatile("lock cmpxchg %[s], %[d]"
			     : [d] "+m"(*(GUEST(u64) *)m.p), "+a"(old), "=@ccz"(equal)
			     : [s] "r"(new)
			     : "memory");
	else
		asm("cmpxchg %[s], %[d]" : [d] "+m"(*(GUEST(u64) *)m.p), "+a"(old), "=@ccz"(equal) : [s] "r"(new));
	TRY(cpu, in, operand_rmw_end(cpu, locked, &m));
	if (!equal) {
		gpr[RAX] = (u32)old;
		gpr[RDX] = old >> 32;
	}
	FLAGS(cpu) = (FLAGS(cpu) & ~ZF_AX) | (equal ? ZF_AX : 0);
	NEXT(cpu, in);
}

/* Aligned or #GP(0), so that it never crosses a page. */
HANDLER(cmpxchg16b)
{
	u64 *gpr = cpu->st.gpr, lo = gpr[RAX], hi = gpr[RDX], la;
	unsigned acc = insn_acc(in);
	bool locked = in->flags & IN_LOCK, equal;
	struct mem_rmw m;

	TRY(cpu, in, insn_la(cpu, in, 16, acc | ACC_WRITE, &la));
	if (la & 15)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	TRY(cpu, in, rmw_at(cpu, la, 16, acc, locked, &m));
	if (m.p == m.buf) {
		GUEST(u64) *p = m.p;

		equal = p[0] == lo && p[1] == hi;
		lo = p[0];
		hi = p[1];
		if (equal) {
			p[0] = gpr[RBX];
			p[1] = gpr[RCX];
		}
	} else {
		asm volatile("lock cmpxchg16b %[d]"
			     : [d] "+m"(*(u128 *)m.p), "+a"(lo), "+d"(hi), "=@ccz"(equal)
			     : "b"(gpr[RBX]), "c"(gpr[RCX])
			     : "memory");
	}
	TRY(cpu, in, operand_rmw_end(cpu, locked, &m));
	if (!equal) {
		gpr[RAX] = lo;
		gpr[RDX] = hi;
	}
	FLAGS(cpu) = (FLAGS(cpu) & ~ZF_AX) | (equal ? ZF_AX : 0);
	NEXT(cpu, in);
}
BIND_ONE(cmpxchg8b)
BIND_ONE(cmpxchg16b)
