/* Code that a target writes for its guest: 64-bit, a few instructions, as bytes. */
#ifndef TESTS_FUZZ_CODE_H
#define TESTS_FUZZ_CODE_H

#include "tests/fuzz/fuzz.h"

struct code {
	u8 *p;
	size_t n, room; /* what does not fit is left out */
};

static inline void code_bytes(struct code *c, const void *bytes, size_t n)
{
	if (n > c->room - c->n)
		return;
	memcpy(c->p + c->n, bytes, n);
	c->n += n;
}
#define CODE(c, ...) code_bytes(c, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

/* MOV r64, imm64; r is 0 to 15. */
static inline void code_mov(struct code *c, unsigned r, u64 v)
{
	u8 b[10] = {(u8)(0x48 | r >> 3), (u8)(0xb8 | (r & 7))};

	memcpy(b + 2, &v, 8);
	code_bytes(c, b, sizeof(b));
}

/* prefix (0: none) 0F op /reg [abs32] */
static inline void code_mem(struct code *c, u8 prefix, u8 op, unsigned reg, u32 at)
{
	u8 b[9], *p = b;

	if (prefix)
		*p++ = prefix;
	*p++ = 0x0f;
	*p++ = op;
	*p++ = (u8)(4 | reg << 3);
	*p++ = 0x25;
	memcpy(p, &at, 4);
	code_bytes(c, b, (size_t)(p + 4 - b));
}

/* WRMSR */
static inline void code_wrmsr(struct code *c, u32 msr, u64 v)
{
	code_mov(c, 1, msr);
	code_mov(c, 0, (u32)v);
	code_mov(c, 2, v >> 32);
	CODE(c, 0x0f, 0x30);
}

/* MOV CRn, RAX */
static inline void code_cr(struct code *c, unsigned n, u64 v)
{
	code_mov(c, 0, v);
	if (n >= 8)
		CODE(c, 0x44);
	CODE(c, 0x0f, 0x22, (u8)(0xc0 | (n & 7) << 3));
}

static inline void code_stop(struct code *c) { CODE(c, 0xe6, 0xf4); }

#endif
