/*
 * State that a guest loads as one piece: MSRs, control and debug registers with any value (KIND 1), and the images of
 * FXRSTOR, XRSTOR and XRSTORS (KIND 2), each saved again in every form. Models of both vendors, 64-bit code.
 */
#include "tests/fuzz/code.h"
#include "tests/fuzz/world.h"

#define MODELS 3
#define AREA   0x30000u
#define OUT    0x40000u

static struct world *choose(unsigned n)
{
	static const char *const names[MODELS] = {"host", "EPYC", "Haswell-noTSX-IBRS"};
	static struct world *worlds[MODELS];

	for (unsigned i = 0; i < MODELS; i++, n++)
		if (worlds[n % MODELS] || (worlds[n % MODELS] = world_new(names[n % MODELS])))
			return worlds[n % MODELS];
	abort();
}

static void registers(struct code *c, struct fuzz_in *in)
{
	static const u32 groups[] = {0,		 0x10,	     0x174,	 0x1d9,	     0x200, 0x250,	0x277,
				     0x2ff,	 0x400,	     0x480,	 0x600,	     0x800, 0xc0000080, 0xc0000100,
				     0xc0010000, 0xc0010110, 0x4b564d00, 0x40000000, 0xda0, 0x38d};

	for (unsigned i = 0; i < 60 && in->n; i++) {
		u8 what = fuzz_u8(in);
		u32 msr = groups[fuzz_u8(in) % ARRAY_SIZE(groups)] + (fuzz_u8(in) & 0x3f);

		switch (what & 7) {
		default: code_wrmsr(c, msr, fuzz_value(in)); break;
		case 4:
			code_mov(c, 1, msr);
			CODE(c, 0x0f, 0x32);
			break;
		case 5: code_cr(c, (const u8[]){0, 2, 3, 4, 8}[(what >> 3) % 5], fuzz_value(in)); break;
		case 6:
			code_mov(c, 0, fuzz_value(in));
			CODE(c, 0x0f, 0x23, (u8)(0xc0 | (what >> 3 & 7) << 3));
			break;
		case 7:
			code_mov(c, 1, what >> 5 & 1);
			code_mov(c, 0, (u32)fuzz_value(in));
			code_mov(c, 2, 0);
			CODE(c, 0x0f, 0x01, 0xd1); /* XSETBV */
			break;
		}
	}
}

static void images(struct code *c, struct fuzz_in *in)
{
	for (unsigned i = 0; i < 12 && in->n; i++) {
		u8 what = fuzz_u8(in), wide = what & 8 ? 0x48 : 0x40;
		u32 at = AREA + (what & 16 ? 0x1000 : 0) + (what & 32 ? fuzz_u8(in) : 0);
		u8 a[4];

		memcpy(a, &at, 4);
		code_mov(c, 0, what & 64 ? fuzz_u32(in) : 0xffffffff);
		code_mov(c, 2, what & 128 ? fuzz_u32(in) : 0);
		switch (what & 7) {
		case 0: CODE(c, wide, 0x0f, 0xae, 0x0c, 0x25, a[0], a[1], a[2], a[3]); break; /* FXRSTOR */
		case 1:
		case 2: CODE(c, wide, 0x0f, 0xae, 0x2c, 0x25, a[0], a[1], a[2], a[3]); break; /* XRSTOR */
		case 3: CODE(c, wide, 0x0f, 0xc7, 0x1c, 0x25, a[0], a[1], a[2], a[3]); break; /* XRSTORS */
		case 4: CODE(c, wide, 0x0f, 0xae, 0x24, 0x25, a[0], a[1], a[2], a[3]); break; /* XSAVE */
		case 5: CODE(c, wide, 0x0f, 0xc7, 0x24, 0x25, a[0], a[1], a[2], a[3]); break; /* XSAVEC */
		case 6: CODE(c, wide, 0x0f, 0xc7, 0x2c, 0x25, a[0], a[1], a[2], a[3]); break; /* XSAVES */
		default:
			CODE(c, 0xd9, 0xe8, 0xde, 0xc1, 0x66, 0x0f, 0xef, 0xc1, 0xc5, 0xf5, 0xef, 0xca, 0x0f, 0xae,
			     0x14, 0x25, a[0], a[1], a[2], a[3]);
			break;
		}
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const u8 skip[] = {0x48, 0x83, 0xc4, 0x08, 0x48, 0x83,
				  0x04, 0x24, 2,    0x48, 0xcf}; /* past WRMSR after #GP */
	struct fuzz_in in = {data, size};
	u8 how = fuzz_u8(&in);
	struct world *w = choose(how & 3);
	struct code c = {w->ram + W_CODE, 0, 0xff0};

	world_start(w, WORLD_64);
	world_place(w, W_HANDLER, skip, sizeof(skip));
	w->st.cr4 |= CR4_OSXSAVE;
	w->st.xcr0 = x86_model_xcr0(&w->model) & (how & 4 ? 3 : ~0ull);
	if (KIND == 1) {
		registers(&c, &in);
	} else {
		for (u8 n = fuzz_u8(&in) & 31; n--;) {
			u32 at = AREA + (n & 1 ? 512 : 0) + fuzz_u16(&in) % (n & 1 ? 64 : 0xb00);

			world_put(w, at, fuzz_value(&in));
			world_put(w, at + 0x1000, fuzz_value(&in));
		}
		images(&c, &in);
	}
	code_stop(&c);
	(void)world_run(w);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room)
{
	if (n >= 6)
		return 0;
	for (unsigned i = 0; i < 200; i++)
		buf[i] = (u8)(i * (2 * n + 3));
	buf[0] = (u8)n;
	return 200;
}
