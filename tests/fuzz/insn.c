/*
 * The decoder and the interpreter: random code in real, 32-bit, 64-bit and user mode, with random registers, on models
 * of both vendors. An input: mode, model, what the handler does, control bits, registers, 256 bytes of data, then code.
 */
#include "tests/fuzz/world.h"

#define MODELS 3

static struct world *worlds[MODELS];

static struct world *choose(unsigned n)
{
	static const char *const names[MODELS] = {"host", "EPYC", "Haswell-noTSX-IBRS"};

	for (unsigned i = 0; i < MODELS; i++, n++)
		if (worlds[n % MODELS] || (worlds[n % MODELS] = world_new(names[n % MODELS])))
			return worlds[n % MODELS];
	abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const u8 handlers[4][8] = {
		{0xe6, 0xf4},				       /* out %al, $0xf4 */
		{0x48, 0xcf},				       /* iretq (iretd) */
		{0x48, 0x83, 0x44, 0x24, 0x08, 1, 0x48, 0xcf}, /* skip a byte behind an error code's fault */
		{0x48, 0xff, 0x04, 0x24, 0x48, 0xcf},	       /* skip a byte */
	};
	struct fuzz_in in = {data, size};
	u8 how = fuzz_u8(&in), more = fuzz_u8(&in);
	struct world *w = choose(how >> 2 & 3);
	unsigned mode = how & 3;
	size_t room;

	world_start(w, (enum world_mode)mode);
	world_place(w, W_HANDLER, handlers[how >> 4 & 3], sizeof(handlers[0]));
	if (more & 1)
		w->st.cr4 |= CR4_OSXSAVE;
	if (more & 2)
		w->st.rflags |= FL_TF;
	if (more & 4)
		w->st.rflags |= FL_IF;
	if (more & 8)
		w->st.cr0 |= CR0_TS;
	if (more & 16)
		w->st.dr7 |= 0x000f0303; /* breakpoints on data */
	w->st.dr[0] = W_DATA;
	w->st.dr[1] = W_CODE + 4;
	for (unsigned i = 0; i < 16; i++)
		if (i != RSP || more & 32)
			w->st.gpr[i] = more & 64 ? fuzz_value(&in) : W_DATA + 16ull * fuzz_u8(&in);
	fuzz_bytes(&in, w->ram + W_DATA, 64);
	room = MIN(in.n, (size_t)(more & 128 ? 20 : 0x1000));
	/* Up against the end of a page, or from its start. */
	w->st.rip = more & 128 ? W_CODE + 0x1000 - room / 2 : W_CODE;
	world_place(w, w->st.rip, in.p, room);
	(void)world_run(w);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room)
{
	static const u8 code[] = {
		0x48, 0x89, 0xc3, 0x0f, 0xa2, 0xf3, 0xa4, 0xcd, 0x80, 0x66, 0x0f, 0x6f, 0x06, 0xd9, 0xe8, 0xdd,
		0x1e, 0xf0, 0x48, 0x0f, 0xb1, 0x0e, 0x0f, 0xc7, 0x0e, 0xc5, 0xfd, 0x6f, 0x06, 0x0f, 0x01, 0xd0,
		0x0f, 0x20, 0xc0, 0x0f, 0x22, 0xd8, 0x0f, 0x32, 0x0f, 0x30, 0x0f, 0xae, 0x06, 0x0f, 0xae, 0x0e,
		0x0f, 0x01, 0x16, 0x0f, 0x00, 0xde, 0x8e, 0xd8, 0xff, 0x2e, 0xcf, 0xe6, 0xf4,
	};
	static const u8 far_calls[] = {0x9a, 0, 0x20,	0, 0,	 W_CS32, 0,    0xea, 0, 0x20,
				       0,    0, W_TSS2, 0, 0x66, 0xcf,	 0xc8, 8,    0, 3};

	if (n >= 8)
		return 0;
	memset(buf, 0, 300);
	buf[0] = (u8)(n | (n & 4 ? 0x34 : 0));
	buf[1] = n & 4 ? 1 : 0;
	memcpy(buf + 2 + 15 + 64, n & 4 ? far_calls : code, n & 4 ? sizeof(far_calls) : sizeof(code));
	return 2 + 15 + 64 + (n & 4 ? sizeof(far_calls) : sizeof(code));
}
