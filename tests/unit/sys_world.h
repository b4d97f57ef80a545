/*
 * Small guests for system-mode rules: a world (cpu_world.h) set up in a mode and at a privilege level, with a handler
 * for every vector that stops it, so that a test says what ran and what came of it.
 *
 *   handlers   one of 16 bytes a vector at HANDLER: OUT to port F4h
 *   program    at CODE in CPL 0, real and virtual-8086 mode, at USER in CPL 3
 *   paging     LONG and COMPAT: identity, 2-MByte pages, all rights; MAP_PT is a table of 4-KByte pages for the second
 *              megabyte (from WINDOW), which tests change. The others run without paging.
 */
#ifndef TESTS_UNIT_SYS_WORLD_H
#define TESTS_UNIT_SYS_WORLD_H

#include "tests/unit/cpu_world.h"

#include "cpu/x86/exec.h"

enum sys_mode { REAL, PROT16, PROT32, V86, COMPAT, LONG };
#define MODE_NAMES                                                                                                     \
	{                                                                                                              \
		"real", "16-bit", "32-bit", "v86", "compatibility", "64-bit"                                           \
	}

#define C0_32	0x08
#define D0	0x10
#define C3_32	0x1b
#define D3	0x23
#define C0_64	0x28
#define C3_64	0x33
#define TASK_A	0x38 /* 16 bytes in long mode */
#define C0_16	0x48
#define D0_16	0x50
#define C3_16	0x5b
#define D3_16	0x63
#define FREE	0x80 /* and up: the test's own descriptors */
#define IO_MAP	0x68 /* in the TSS: I/O bitmap of 16 ports' worth, all clear */
#define WINDOW	0x100000ull
#define MAP_PT	(TABLES + 0x3000)
#define V86_SEG (USER >> 4)

struct taken {
	int vector; /* -1: the program stopped itself */
	u32 error;
	u64 rip, flags, rsp;
	u16 cs, ss;
};

static inline void sys_gdt(struct world *w, unsigned sel, u64 d) { put(w, GDT + (sel & ~7u), d, 8); }

static inline void sys_gate(struct world *w, unsigned vector, u64 offset, u16 sel, unsigned type, unsigned dpl)
{
	u64 d = (offset & 0xffff) | (u64)sel << 16 | (0x80ull | dpl << 5 | type) << 40 | (offset >> 16 & 0xffff) << 48;

	if (w->st.msr.efer & EFER_LMA) {
		put(w, IDT + 16 * vector, d, 8);
		put(w, IDT + 16 * vector + 8, offset >> 32, 8);
	} else {
		put(w, IDT + 8 * vector, d, 8);
	}
}

static inline void sys_page(struct world *w, u64 la, u64 pte) { put(w, MAP_PT + (la >> 12 & 511) * 8, pte, 8); }

static inline void sys_paging(struct world *w)
{
	put(w, TABLES, (TABLES + 0x1000) | 7, 8);
	put(w, TABLES + 0x1000, (TABLES + 0x2000) | 7, 8);
	put(w, TABLES + 0x2000, MAP_PT | 7, 8);
	for (u64 i = 0; i < 512; i++)
		put(w, MAP_PT + 8 * i, i << 12 | 7, 8);
	w->st.cr3 = TABLES;
}

static inline void sys_descriptors(struct world *w, bool lm)
{
	sys_gdt(w, C0_32, descriptor(0, 0xfffff, 0xc9b));
	sys_gdt(w, D0, descriptor(0, 0xfffff, 0xc93));
	sys_gdt(w, C3_32, descriptor(0, 0xfffff, 0xcfb));
	sys_gdt(w, D3, descriptor(0, 0xfffff, 0xcf3));
	sys_gdt(w, C0_64, descriptor(0, 0xfffff, 0xa9b));
	sys_gdt(w, C3_64, descriptor(0, 0xfffff, 0xafb));
	sys_gdt(w, TASK_A, descriptor(TSS, 0xff, 0x08b));
	sys_gdt(w, C0_16, descriptor(0, 0xffff, 0x09b));
	sys_gdt(w, D0_16, descriptor(0, 0xffff, 0x093));
	sys_gdt(w, C3_16, descriptor(0, 0xffff, 0x0fb));
	sys_gdt(w, D3_16, descriptor(0, 0xffff, 0x0f3));
	put(w, TSS + 4, INNER_STACK, lm ? 8 : 4);
	if (!lm)
		put(w, TSS + 8, D0, 4);
	put(w, TSS + 0x66, IO_MAP, 2);
	put(w, TSS + IO_MAP + 0x20, 0xff, 1); /* port 100h and up: denied */
	for (unsigned v = 0; v < 256; v++)
		sys_gate(w, v, HANDLER + 16 * v, lm ? C0_64 : C0_32, SYS_INT, 3);
}

static inline struct x86_seg sys_seg(struct world *w, u16 sel)
{
	return sel & ~3u ? desc_seg(sel, get(w, GDT + (sel & ~7u), 8)) : (struct x86_seg){.sel = sel};
}

static inline void sys_segments(struct world *w, u16 cs, u16 data)
{
	for (unsigned i = 0; i < X86_SREGS; i++)
		w->st.seg[i] = sys_seg(w, data);
	w->st.seg[CS] = sys_seg(w, cs);
}

static inline void sys_v86(struct world *w)
{
	for (unsigned i = 0; i < X86_SREGS; i++)
		w->st.seg[i] = (struct x86_seg){.sel = V86_SEG, .attr = 0xf3, .limit = 0xffff, .base = USER};
	w->st.rflags |= FL_VM;
	w->st.rip = 0;
}

static inline struct world *sys_world(const char *model, enum sys_mode mode, unsigned cpl)
{
	static const u16 cs[][2] = {
		[PROT16] = {C0_16, C3_16}, {C0_32, C3_32}, {C0_32, C3_32}, {C0_32, C3_32}, {C0_64, C3_64}};
	struct world *w = world_new(model);
	struct x86_state *st = &w->st;
	bool lm = mode >= COMPAT, user = cpl == 3;

	for (unsigned v = 0; v < 256; v++) {
		memcpy(at(w, HANDLER + 16 * v), "\xe6\xf4", 2);
		put(w, 4 * v, HANDLER + 16 * v, 4);
	}
	x86_set_rflags(st, FL_FIXED);
	st->rip = user ? USER : CODE;
	st->gpr[RSP] = user ? USER_STACK : STACK;
	st->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_DE;
	if (mode == REAL) {
		st->seg[CS].sel = 0;
		st->seg[CS].base = 0;
		st->idtr = (struct x86_dtr){0, 0x3ff};
		return w;
	}
	st->cr0 = CR0_PE | CR0_ET | CR0_NE | (lm ? CR0_PG | CR0_WP : 0);
	if (lm) {
		st->msr.efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
		st->cr4 |= CR4_PAE;
		sys_paging(w);
	}
	sys_descriptors(w, lm);
	st->gdtr = (struct x86_dtr){GDT, 0x1ff};
	st->idtr = (struct x86_dtr){IDT, 0xfff};
	st->tr = sys_seg(w, TASK_A);
	st->ldtr = (struct x86_seg){0};
	st->cpl = cpl;
	sys_segments(w, cs[mode][user], mode == PROT16 ? (user ? D3_16 : D0_16) : user ? D3 : D0);
	if (mode == V86)
		sys_v86(w);
	return w;
}

static inline bool sys_has_error(unsigned v) { return v == 8 || (v >= 10 && v <= 14) || v == 17 || v == 21; }

/* Runs to a handler, or to the program's own OUT to F4h. */
static inline struct taken sys_run(struct world *w)
{
	struct taken t = {.vector = -1};
	bool lm, real;
	unsigned size;
	u64 sp;

	world_run_to_stop(w);
	if (w->st.rip < HANDLER || w->st.rip >= USER || (w->st.rip & 15) != 2)
		return t;
	t.vector = (int)(w->st.rip - HANDLER) / 16;
	lm = w->st.msr.efer & EFER_LMA;
	real = !(w->st.cr0 & CR0_PE);
	size = lm ? 8 : real ? 2 : 4;
	sp = w->st.gpr[RSP];
	if (!real && sys_has_error((unsigned)t.vector)) {
		t.error = (u32)get(w, sp, 4);
		sp += size;
	}
	t.rip = get(w, sp, size);
	t.cs = (u16)get(w, sp + size, 2);
	t.flags = get(w, sp + 2 * size, size);
	if (lm || (!real && ((t.cs & 3) || (t.flags & FL_VM)))) {
		t.rsp = get(w, sp + 3 * size, size);
		t.ss = (u16)get(w, sp + 4 * size, 2);
	}
	return t;
}

/* One instruction at the program's start; registers as w->st has them. */
static inline enum outcome sys_one(struct world *w, const void *start, const void *end)
{
	w->st.rip = w->st.rflags & FL_VM ? 0 : w->st.cpl == 3 ? USER : CODE;
	memcpy(at(w, w->st.seg[CS].base + w->st.rip), start, (size_t)((const u8 *)end - (const u8 *)start));
	return world_step(w);
}
#define ONE(w, name) sys_one(w, name##_start, name##_end)
/* Once more at the program's start with w->st, after ONE: caches stay, so code and tables must be as they were. */
static inline enum outcome sys_again(struct world *w)
{
	enum outcome o;

	w->st.rip = w->st.rflags & FL_VM ? 0 : w->st.cpl == 3 ? USER : CODE;
	w->cpu->st = w->st;
	x86_update_all(w->cpu);
	o = x86_step(w->cpu);
	w->st = w->cpu->st;
	return o;
}
/* Places the program where it starts. */
#define PROGRAM(w, name) PLACE(w, (w)->st.seg[CS].base + (w)->st.rip, name)

#define assert_taken(t, vec, err)                                                                                      \
	do {                                                                                                           \
		struct taken t_ = (t);                                                                                 \
		if (t_.vector != (vec) || t_.error != (u32)(err))                                                      \
			fail_msg("line %d: vector %d error %#x, not %d and %#x", __LINE__, t_.vector, t_.error, vec,   \
				 (u32)(err));                                                                          \
	} while (0)

#endif
