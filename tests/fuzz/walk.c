/*
 * The page walker over tables of the input's making, one stage or two, every format: entries lead to the same few
 * pages, so that walks meet themselves. What it finds must be allowed; a dry walk must write nothing; a second walk
 * finds the same.
 */
#include "tests/fuzz/fuzz.h"

#include "arch/x86/walk.h"

#define PAGES	 8u
#define MEM_SIZE (PAGES * 4096u)

struct memory {
	struct walk_mem mem; /* first */
	u8 *bytes;
};

static bool seek(struct walk_mem *m, u64 pa)
{
	struct memory *t = (struct memory *)m;

	if (pa >= MEM_SIZE)
		return false;
	m->base = pa & ~0xfffull;
	m->size = 0x1000;
	m->host = t->bytes + m->base;
	return true;
}

static void make(struct xlate *x, struct fuzz_in *in, u64 *pdpte)
{
	u8 how = fuzz_u8(in);
	u64 cr3 = (u64)(how & 7) * 0x1000 % MEM_SIZE, cr4 = fuzz_u32(in),
	    efer = how & 8 ? EFER_LMA | EFER_NXE : fuzz_u16(in) & EFER_NXE;

	for (unsigned i = 0; i < 4; i++)
		pdpte[i] = (u64)(fuzz_u8(in) & 7) * 0x1000 | 1;
	cr4 = how & 8 ? cr4 | CR4_PAE : cr4 & ~(u64)CR4_LA57;
	if (how & 16)
		xlate_ept(x, cr3 | (how & 32 ? 0x40 : 0) | 0x1e, 36);
	else if (how & 32)
		xlate_nested(x, cr3, cr4, efer, 36, how & 64, how & 128);
	else
		xlate_from_regs(x, how & 64 ? CR0_PG | CR0_WP : CR0_PG, cr3, cr4, efer, how & 128 ? pdpte : NULL, 36,
				true, how & 64);
	x->pkru = cr4 >> 8;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct fuzz_in in = {data, size};
	struct memory t = {.mem = {.seek = seek},
			   .bytes = calloc(1, MEM_SIZE)}; /* a heap block: a sanitizer sees its edges */
	struct xlate first, second;
	u64 pdpte[4], more[4];
	u8 *before = malloc(MEM_SIZE), how = fuzz_u8(&in);

	make(&first, &in, pdpte);
	make(&second, &in, more);
	if (how & 1 && first.format != WALK_EPT)
		first.next = &second;
	for (unsigned n = 0; n < 40 && in.n; n++) {
		u32 at = fuzz_u16(&in) % MEM_SIZE & ~7u;
		u64 e = fuzz_u8(&in);

		e = e & 1 ? fuzz_u64(&in) : (e >> 1 & 7) * 0x1000 | 7 | (e & 0xf0) << 3;
		memcpy(t.bytes + at, &e, 8);
		/* Entry 0 of the page too, so that walks get far. */
		memcpy(t.bytes + (at & ~0xfffu), &e, 8);
	}
	for (unsigned n = 0; n < 8; n++) {
		u8 what = fuzz_u8(&in);
		u64 la = n ? fuzz_value(&in) : 0x123;
		struct walk_access a = {.want = (u8)(1u << what % 3), .user = what & 8, .smap = what & 16};
		struct walk w, again;
		bool found;

		if (first.format == WALK_32 || first.format == WALK_PAE)
			la = (u32)la;
		else if (first.format == WALK_4)
			la = (u64)((s64)(la << 16) >> 16);
		first.dry = what & 32;
		memcpy(before, t.bytes, MEM_SIZE);
		found = walk_la(&first, &t.mem, la, a, &w);
		if (found)
			fuzz_check(w.perm & a.want, "found, but not allowed");
		else
			fuzz_check(w.stage <= (first.next ? 1 : 0), "a fault of a stage that is not there");
		if ((!found && !first.next) || (first.dry && !first.next))
			fuzz_check(!memcmp(before, t.bytes, MEM_SIZE), "a walk that faults or is dry has written");
		(void)walk_la(&first, &t.mem, la, a, &again);
	}
	free(before);
	free(t.bytes);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room)
{
	if (n >= 8)
		return 0;
	for (unsigned i = 0; i < 180; i++)
		buf[i] = (u8)(i * (n + 1) * 5);
	buf[0] = (u8)n;
	buf[1] = (u8)(n & 4 ? 8 : n * 16);
	return 180;
}
