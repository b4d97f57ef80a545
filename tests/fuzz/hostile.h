/*
 * What the two targets of a hostile L1 share: memory that it spoils, and the code of its guest. Physical memory above
 * W_NESTED:
 *
 *   20000h nested tables (to 24fffh)   28000h bitmaps   2c000h virtual-APIC page, save areas   30000h, 31000h control
 * blocks
 *
 * The host's and the guest's memory are the same, so a guest that runs can write to the block that describes it.
 */
#ifndef TESTS_FUZZ_HOSTILE_H
#define TESTS_FUZZ_HOSTILE_H

#include "tests/fuzz/code.h"
#include "tests/fuzz/world.h"

#define H_BITMAPS 0x28000
#define H_AREA	  0x2c000
#define H_BLOCK	  0x30000ull /* and the next page */
#define H_PLACES  8

/* An address to spoil: mostly in what the processor reads by itself. */
static inline u64 hostile_address(struct fuzz_in *in)
{
	static const u32 pages[H_PLACES] = {(u32)H_BLOCK, (u32)H_BLOCK + 0x1000, H_AREA, H_BITMAPS,
					    W_NESTED,	  W_NESTED + 0x1000,	 W_GDT,	 W_IDT};
	u16 at = fuzz_u16(in);

	return pages[at >> 13] + (at & 0xff8);
}

/* A physical address for a pointer field: one of ours, the edge of RAM, or beyond. */
static inline u64 hostile_pointer(struct fuzz_in *in)
{
	static const u64 at[] = {H_BLOCK,
				 H_BLOCK + 0x1000,
				 H_AREA,
				 H_BITMAPS,
				 W_NESTED,
				 W_TABLES,
				 WORLD_RAM - 0x1000,
				 WORLD_RAM,
				 0xfeb00000,
				 0xfffffffff000,
				 0x2000,
				 0xfff,
				 W_DATA,
				 W_STACK - 0x1000,
				 W_CODE,
				 0};

	return at[fuzz_u8(in) % ARRAY_SIZE(at)] + (fuzz_u8(in) > 240 ? 0xff8 : 0);
}

static inline u64 hostile_value(struct fuzz_in *in)
{
	u8 how = fuzz_u8(in);

	return how < 96 ? hostile_pointer(in) : fuzz_value(in);
}

static inline void hostile_spoil(struct world *w, struct fuzz_in *in, unsigned n)
{
	while (n-- && in->n) {
		u64 at = hostile_address(in);

		world_put(w, at, fuzz_u8(in) & 1 ? world_get(w, at) ^ fuzz_value(in) : hostile_value(in));
	}
}

/* The guest's code: instructions that exit, that reach for the control block, or bytes. */
static inline void hostile_guest(struct code *c, struct fuzz_in *in, unsigned n)
{
	static const u8 some[][8] = {
		{3, 0x0f, 0xa2},	     /* cpuid */
		{1, 0xf4},		     /* hlt */
		{2, 0xe6, 0xf6},	     /* out: an interrupt */
		{2, 0xe6, 0xf5},	     /* out: an NMI */
		{3, 0x0f, 0x01, 0xd9},	     /* vmmcall */
		{3, 0x0f, 0x01, 0xc1},	     /* vmcall */
		{3, 0x0f, 0x01, 0xd8},	     /* vmrun */
		{3, 0x0f, 0x01, 0xc2},	     /* vmlaunch */
		{2, 0x0f, 0x0b},	     /* ud2 */
		{2, 0xcd, 0x80},	     /* int 80h */
		{1, 0xcc},		     /* int3 */
		{1, 0xfb},		     /* sti */
		{2, 0x48, 0xcf},	     /* iretq */
		{2, 0x0f, 0x32},	     /* rdmsr */
		{2, 0x0f, 0x30},	     /* wrmsr */
		{3, 0x0f, 0x20, 0xd8},	     /* mov cr3, rax */
		{3, 0x0f, 0x22, 0xd8},	     /* mov rax, cr3 */
		{3, 0x0f, 0x22, 0xe0},	     /* mov rax, cr4 */
		{3, 0x0f, 0x22, 0xc0},	     /* mov rax, cr0 */
		{4, 0x44, 0x0f, 0x22, 0xc0}, /* mov rax, cr8 */
		{3, 0x0f, 0x23, 0xf8},	     /* mov rax, dr7 */
		{2, 0xf3, 0x6c},	     /* rep insb */
		{2, 0xf3, 0x6f},	     /* rep outsd */
		{3, 0x48, 0x89, 0x03},	     /* mov rax, (rbx) */
		{3, 0x48, 0x8b, 0x03},	     /* mov (rbx), rax */
		{3, 0x0f, 0x01, 0xdf},	     /* invlpga */
		{3, 0x0f, 0x01, 0xdc},	     /* stgi */
		{3, 0x0f, 0x01, 0xdd},	     /* clgi */
		{1, 0xf1},		     /* icebp */
		{2, 0xf3, 0x90},	     /* pause */
		{2, 0x0f, 0x09},	     /* wbinvd */
		{3, 0x0f, 0x01, 0xd1},	     /* xsetbv */
		{4, 0xf3, 0x0f, 0xc7, 0xf0}, /* senduipi, an opcode that is not there */
		{3, 0x0f, 0x01, 0x3b},	     /* invlpg (rbx) */
		{3, 0x0f, 0x00, 0xd8},	     /* ltr */
		{3, 0x0f, 0x01, 0x13},	     /* lgdt (rbx) */
		{3, 0xff, 0x2b},	     /* ljmp (rbx) */
		{2, 0x0f, 0x31},	     /* rdtsc */
		{3, 0x0f, 0x01, 0xf9},	     /* rdtscp */
	};

	while (n-- && in->n) {
		u8 what = fuzz_u8(in);

		if (what < 160) {
			const u8 *s = some[what % ARRAY_SIZE(some)];

			code_bytes(c, s + 1, MIN(s[0], 7));
		} else if (what < 200) {
			code_mov(c, what & 1 ? 3 : what & 2 ? 1 : what & 4 ? 0 : 2, hostile_value(in));
		} else if (what < 220) {
			code_mov(c, 3, hostile_address(in));
			code_mov(c, 0, hostile_value(in));
			CODE(c, 0x48, 0x89, 0x03);
		} else {
			u8 bytes[8];
			size_t len = 1 + what % 8;

			fuzz_bytes(in, bytes, len);
			code_bytes(c, bytes, len);
		}
	}
}

#endif
