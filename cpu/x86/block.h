/*
 * Blocks of decoded instructions: found by (physical address, mode), dropped when their bytes are written.
 *
 * Each processor keeps its own blocks (no lock on the way to an instruction). A page that holds decoded code is counted
 * in RAM_CODE of ram_slot.flags, and every TLB withholds its write tag (share.h); a store then comes through mem.c to
 * block_written(), which drops just the blocks whose bytes have changed. Devices use vcpu_ops.drop_code.
 */
#ifndef CPU_X86_BLOCK_H
#define CPU_X86_BLOCK_H

#include "cpu/x86/cpu.h"

static always_inline struct jump_entry *jump_slot(struct x86_cpu *cpu, u64 la)
{
	return &cpu->c.jump[(la ^ (la >> 12) ^ (cpu->c.jump_key & 0xffff) * 0x4du) & (JUMP_CACHE - 1)];
}
/* After fetch_space, mode or jump_gen. */
static inline void jump_key_update(struct x86_cpu *cpu)
{
	cpu->c.jump_key = cpu->c.fetch_space | (u64)cpu->c.mode << 16 | cpu->c.jump_gen << 32;
}

int blocks_new(struct x86_cpu *cpu);
void blocks_free(struct x86_cpu *cpu);
/* The block at st.rip in the present mode: OUT_NEXT with *out set, or the fetch's fault or exit (recorded). */
enum outcome block_find(struct x86_cpu *cpu, struct block **out) must_check;
/* [pa, pa + len) was written by this vCPU's own store: drops the blocks of all processors whose instructions have
 * changed. */
void block_written(struct x86_cpu *cpu, u64 pa, u64 len);
/* It is about to be: drops all blocks there. */
void block_discard(struct x86_cpu *cpu, u64 pa, u64 len);
/* This vCPU's blocks only; `all`: also those whose bytes are what they were. */
void block_drop(struct x86_cpu *cpu, u64 pa, u64 len, bool all);
/* After the instruction that runs now the block is left: what is due behind it is then looked at. */
static inline void block_leave_running(struct x86_cpu *cpu)
{
	if (cpu->c.running)
		block_drop(cpu, cpu->c.running->pa, 1, true);
}
/* Drops all blocks. */
void blocks_drop_all(struct x86_cpu *cpu);
/* Whether any block has bytes in this physical page. */
bool block_page_has_code(struct x86_cpu *cpu, u64 pa);

#endif
