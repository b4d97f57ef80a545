/*
 * What the fuzz targets share: a target is one file with LLVMFuzzerTestOneInput, which must survive whatever bytes it
 * is given, and fuzz_seed, which makes well-formed inputs to start from. It is linked with libFuzzer (-Dfuzz=true), or
 * with the small driver of main.c, which every build has.
 *
 * A target takes its input apart with `struct fuzz_in`; what is not there any more reads as 0.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
/* Seed n, at most `room` bytes; 0: there are no more. */
size_t fuzz_seed(unsigned n, u8 *buf, size_t room);

struct fuzz_in {
	const u8 *p;
	size_t n;
};

static inline void fuzz_bytes(struct fuzz_in *in, void *buf, size_t n)
{
	size_t have = MIN(n, in->n);

	if (have)
		memcpy(buf, in->p, have);
	memset((u8 *)buf + have, 0, n - have);
	in->p += have;
	in->n -= have;
}

#define FUZZ_NUMBER(type)                                                                                              \
	static inline type fuzz_##type(struct fuzz_in *in)                                                             \
	{                                                                                                              \
		type v;                                                                                                \
		fuzz_bytes(in, &v, sizeof(v));                                                                         \
		return v;                                                                                              \
	}
FUZZ_NUMBER(u8)
FUZZ_NUMBER(u16)
FUZZ_NUMBER(u32)
FUZZ_NUMBER(u64)

/* Below n. */
static inline unsigned fuzz_pick(struct fuzz_in *in, unsigned n) { return (n > 256 ? fuzz_u16(in) : fuzz_u8(in)) % n; }

/* A number whose likely values are the interesting ones: small, powers of two and their neighbours, all ones, any. */
static inline u64 fuzz_value(struct fuzz_in *in)
{
	u8 how = fuzz_u8(in);

	switch (how >> 6) {
	case 0: return how & 63;
	case 1: return 1ull << (how & 63);
	case 2: return (1ull << (how & 63)) - 1;
	default: return how & 32 ? ~(u64)fuzz_u16(in) : fuzz_u64(in);
	}
}

/* For writing seeds. */
struct fuzz_out {
	u8 *p;
	size_t n, room;
};

static inline void fuzz_put(struct fuzz_out *o, const void *buf, size_t n)
{
	if (n > o->room - o->n)
		abort();
	memcpy(o->p + o->n, buf, n);
	o->n += n;
}
static inline void fuzz_put_u8(struct fuzz_out *o, u8 v) { fuzz_put(o, &v, 1); }
static inline void fuzz_put_u16(struct fuzz_out *o, u16 v) { fuzz_put(o, &v, 2); }
static inline void fuzz_put_u64(struct fuzz_out *o, u64 v) { fuzz_put(o, &v, 8); }

/* What the target itself relies on, in any build. */
static inline void fuzz_check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

#endif
