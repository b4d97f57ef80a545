/*
 * What the exec_*.c files share: reading and writing operands, stack, conditions, flags.
 *
 * OSZAPC is stored as LAHF; SETO AL leave it (arch/x86/state.h); CF is bit 8, PF 10, AF 12, ZF 14, SF 15, OF bit 0.
 */
#ifndef CPU_X86_EXEC_H
#define CPU_X86_EXEC_H

#include "cpu/x86/decode.h"
#include "cpu/x86/mem.h"

#define OF_AX 1u
#define CF_AX 0x100u
#define PF_AX 0x400u
#define AF_AX 0x1000u
#define ZF_AX 0x4000u
#define SF_AX 0x8000u

/* Condition code 0-15 of Jcc/SETcc/CMOVcc. */
static always_inline bool cond(u64 ax, unsigned cc)
{
	bool v;

	switch (cc >> 1) {
	case 0: v = ax & OF_AX; break;
	case 1: v = ax & CF_AX; break;
	case 2: v = ax & ZF_AX; break;
	case 3: v = ax & (CF_AX | ZF_AX); break;
	case 4: v = ax & SF_AX; break;
	case 5: v = ax & PF_AX; break;
	case 6: v = ((ax >> 15) ^ ax) & 1; break;
	default: v = (((ax >> 15) ^ ax) & 1) || (ax & ZF_AX); break;
	}
	return v ^ (cc & 1);
}

/* Writes a general register of 1, 2, 4 or 8 bytes; 4 clears the upper half (SDM vol. 1 3.4.1.1). */
static always_inline void reg_write(struct x86_cpu *cpu, u16 off, unsigned size, u64 v)
{
	switch (size) {
	case 1: REG8(cpu, off) = v; break;
	case 2: REG16(cpu, off) = v; break;
	default: REG64(cpu, off) = size == 4 ? (u32)v : v; break;
	}
}
static always_inline u64 reg_read(struct x86_cpu *cpu, u16 off, unsigned size)
{
	switch (size) {
	case 1: return REG8(cpu, off);
	case 2: return REG16(cpu, off);
	case 4: return REG32(cpu, off);
	default: return REG64(cpu, off);
	}
}

/* The next RIP, masked to the code size. */
static always_inline u64 mask_ip(const struct x86_cpu *cpu, u64 ip, unsigned opsize)
{
	if (likely(cpu->c.mode & 2))
		return ip; /* 64-bit code */
	return opsize == 2 ? (u16)ip : (u32)ip;
}

/* stack.c: pushes and pops `size` bytes with the stack's own address size and SS checks. Push: RSP moves only if the store succeeded. */
enum outcome stack_push(struct x86_cpu *cpu, u64 v, unsigned size) must_check;
enum outcome stack_pop(struct x86_cpu *cpu, u64 *v, unsigned size) must_check;
/* Reads `size` bytes at RSP + disp without moving RSP; stack_adjust moves it by n bytes under the stack's mask. */
enum outcome stack_peek(struct x86_cpu *cpu, s64 disp, u64 *v, unsigned size) must_check;
void stack_adjust(struct x86_cpu *cpu, s64 n);
/* Whether `size` bytes at RSP + disp could be written. */
enum outcome stack_probe(struct x86_cpu *cpu, s64 disp, unsigned size) must_check;

/* seg.c: data segment loads (MOV Sreg, POP Sreg, LxS), far transfers. `error` conventions per SDM instruction pages. */
enum outcome seg_load(struct x86_cpu *cpu, enum x86_sreg sreg, u16 sel) must_check;
enum outcome seg_load_ldtr(struct x86_cpu *cpu, u16 sel) must_check;
enum outcome seg_load_tr(struct x86_cpu *cpu, u16 sel) must_check;
/* The memory operand of opsize + 2 bytes, m16:16, m16:32 or m16:64: nothing is loaded. */
enum outcome far_pointer(struct x86_cpu *cpu, const struct insn *in, u16 *sel, u64 *offset) must_check;
enum outcome far_jmp(struct x86_cpu *cpu, u16 sel, u64 offset, unsigned opsize, u64 next_rip) must_check;
enum outcome far_call(struct x86_cpu *cpu, u16 sel, u64 offset, unsigned opsize, u64 next_rip) must_check;
enum outcome far_ret(struct x86_cpu *cpu, unsigned opsize, u16 pop_bytes) must_check;
enum outcome far_iret(struct x86_cpu *cpu, unsigned opsize) must_check;

/* v86.c: INT n under CR4.VME; *redirected: it has gone to the virtual-8086 program's own handler. */
enum outcome v86_redirect(struct x86_cpu *cpu, u8 vector, u64 next_rip, bool *redirected) must_check;

/* exec_cr.c: the registers of PAE paging from memory at `cr3`; #GP(0) for reserved bits, and nothing is changed. */
enum outcome load_pdptes(struct x86_cpu *cpu, u64 cr3) must_check;

/* A near jump's target check: non-canonical is #GP(0) in 64-bit code, beyond CS.limit #GP(0) elsewhere. */
enum outcome jump_check(struct x86_cpu *cpu, u64 target) must_check;

/* io.c: permission (CPL/IOPL, TSS bitmap), SVM intercept, then the port. */
enum outcome io_permission(struct x86_cpu *cpu, u16 port, unsigned size) must_check; /* without the intercept */
enum outcome io_check(struct x86_cpu *cpu, const struct insn *in, u16 port, unsigned size, bool is_in, bool is_string) must_check;
/* After the access: I/O breakpoints of DR7 that it has hit. */
void io_watch(struct x86_cpu *cpu, u16 port, unsigned size);

#endif
