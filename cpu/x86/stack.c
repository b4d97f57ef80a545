/*
 * The stack as instructions use it. Its address size is 64 bits in 64-bit code, else SS.B's (SDM vol. 1 6.2.3
 * "Address-Size Attribute for Stack"); accesses go through SS, faults are #SS. RSP moves only when the access has
 * succeeded.
 */
#include "cpu/x86/exec.h"

static unsigned stack_size(const struct x86_cpu *cpu)
{
	if (likely(cpu->c.mode & 2))
		return 8;
	return cpu->c.mode & MODE_SS32 ? 4 : 2;
}

static u64 stack_mask(const struct x86_cpu *cpu)
{
	unsigned size = stack_size(cpu);

	return size == 8 ? ~0ull : size == 4 ? 0xffffffffull : 0xffffull;
}

static enum outcome stack_linear(struct x86_cpu *cpu, u64 sp, unsigned size, unsigned acc, u64 *la)
{
	*la = sp;
	if (likely(cpu->c.mode & 2))
		return OUT_NEXT;
	return seg_linear(cpu, SS, sp, size, acc | ACC_STACK, la);
}

void stack_adjust(struct x86_cpu *cpu, s64 n)
{
	u64 *rsp = &cpu->st.gpr[RSP], mask = stack_mask(cpu);

	*rsp = mask == 0xffff ? (*rsp & ~mask) | ((*rsp + (u64)n) & mask) : (*rsp + (u64)n) & mask;
}

enum outcome stack_peek(struct x86_cpu *cpu, s64 disp, u64 *v, unsigned size)
{
	enum outcome o;
	u64 la;

	o = stack_linear(cpu, (cpu->st.gpr[RSP] + (u64)disp) & stack_mask(cpu), size, ACC_READ, &la);
	if (o != OUT_NEXT)
		return o;
	*v = 0;
	return mem_read_n(cpu, la, v, size, ACC_STACK);
}

enum outcome stack_push(struct x86_cpu *cpu, u64 v, unsigned size)
{
	enum outcome o;
	u64 la;

	o = stack_linear(cpu, (cpu->st.gpr[RSP] - size) & stack_mask(cpu), size, ACC_WRITE, &la);
	if (o == OUT_NEXT)
		o = mem_write_n(cpu, la, &v, size, ACC_STACK);
	if (o == OUT_NEXT)
		stack_adjust(cpu, -(s64)size);
	return o;
}

enum outcome stack_pop(struct x86_cpu *cpu, u64 *v, unsigned size)
{
	enum outcome o = stack_peek(cpu, 0, v, size);

	if (o == OUT_NEXT)
		stack_adjust(cpu, size);
	return o;
}

enum outcome stack_probe(struct x86_cpu *cpu, s64 disp, unsigned size)
{
	enum outcome o;
	u64 la;

	o = stack_linear(cpu, (cpu->st.gpr[RSP] + (u64)disp) & stack_mask(cpu), size, ACC_WRITE, &la);
	if (o != OUT_NEXT)
		return o;
	return mem_probe(cpu, la, size, ACC_WRITE | ACC_STACK);
}
