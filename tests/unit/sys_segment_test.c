/*
 * Segments and privilege: every combination of descriptor type, DPL, RPL, CPL and presence against the manual's rules,
 * written down here a second time. SDM vol. 3 5.6 to 5.8; SDM vol. 2 "MOV", "JMP", "CALL", "RET", "IRET", "LAR", "LSL",
 * "VERR", "LLDT", "LTR".
 */
#include "tests/unit/sys_world.h"

struct expect {
	int vector; /* -1: no fault */
	u32 error;
};
static const struct expect fine = {-1, 0};

/* A descriptor at FREE, in all its variety. */
struct variety {
	unsigned type; /* with S: 0 to 31 */
	unsigned dpl, rpl, cpl;
	bool present;
};

static bool v_code(const struct variety *v) { return (v->type & 0x18) == 0x18; }
static bool v_data(const struct variety *v) { return (v->type & 0x18) == 0x10; }
static bool v_conforming(const struct variety *v) { return v_code(v) && (v->type & 4); }
static bool v_readable(const struct variety *v) { return v_data(v) || (v_code(v) && (v->type & 2)); }
static bool v_writable(const struct variety *v) { return v_data(v) && (v->type & 2); }
static struct expect at_sel(int vector) { return (struct expect){vector, FREE}; }

static void v_put(struct world *w, const struct variety *v, unsigned flags)
{
	sys_gdt(w, FREE, descriptor(0, 0xfffff, flags << 8 | (v->present ? 0x80u : 0) | v->dpl << 5 | v->type));
	sys_gdt(w, FREE + 8, 0);
}

static void v_check(struct world *w, const char *what, const struct variety *v, enum outcome o, struct expect e)
{
	int vector = o == OUT_FAULT ? w->cpu->c.event.vector : -1;
	u32 error = o == OUT_FAULT ? w->cpu->c.event.error : 0;

	if (vector != e.vector || error != e.error)
		fail_msg("%s: type %#x dpl %u rpl %u cpl %u present %d: vector %d error %#x, not %d and %#x", what,
			 v->type, v->dpl, v->rpl, v->cpl, v->present, vector, error, e.vector, e.error);
}

#define FOR_VARIETY(v, types)                                                                                          \
	for (v.type = 0; v.type < (types); v.type++)                                                                   \
		for (v.dpl = 0; v.dpl < 4; v.dpl++)                                                                    \
			for (v.rpl = 0; v.rpl < 4; v.rpl++)                                                            \
				for (unsigned p_ = 0; p_ < 2; p_++)                                                    \
					if ((v.present = p_) || v.dpl == 0 || v.dpl == 3)

/* The state before each try; tries change it. */
static void restore(struct world *w, const struct x86_state *st) { w->st = *st; }

ASM32(mov_ds, "mov %eax, %ds")
ASM32(mov_gs, "mov %eax, %gs")
ASM32(mov_ss, "mov %eax, %ss")
ASM32(pop_es, "pop %es")
ASM32(lfs, "lfs (%ebx), %ecx")

static struct expect data_load(const struct variety *v)
{
	unsigned level = MAX(v->cpl, v->rpl);

	if (!v_readable(v) || (!v_conforming(v) && level > v->dpl))
		return at_sel(EXC_GP);
	return v->present ? fine : at_sel(EXC_NP);
}

static struct expect stack_load(const struct variety *v)
{
	if (!v_writable(v) || v->rpl != v->cpl || v->dpl != v->cpl)
		return at_sel(EXC_GP);
	return v->present ? fine : at_sel(EXC_SS);
}

static void data_segments(void **state)
{
	static const struct {
		const char *name;
		const u8 *start, *end;
		unsigned reg;
	} rows[] = {{"mov ds", mov_ds_start, mov_ds_end, DS},
		    {"mov gs", mov_gs_start, mov_gs_end, GS},
		    {"pop es", pop_es_start, pop_es_end, ES},
		    {"lfs", lfs_start, lfs_end, FS},
		    {"mov ss", mov_ss_start, mov_ss_end, SS}};

	for (unsigned mode = PROT32; mode <= COMPAT; mode += COMPAT - PROT32)
		for (unsigned cpl = 0; cpl <= 3; cpl += 3)
			for (unsigned r = 0; r < ARRAY_SIZE(rows); r++) {
				struct world *w = sys_world("EPYC", mode, cpl);
				struct x86_state st = w->st;
				struct variety v = {.cpl = cpl};

				sys_one(w, rows[r].start, rows[r].end);
				FOR_VARIETY(v, 32)
				{
					u16 sel = (u16)(FREE | v.rpl), was = w->st.seg[rows[r].reg].sel;
					struct expect e = rows[r].reg == SS ? stack_load(&v) : data_load(&v);
					enum outcome o;

					restore(w, &st);
					was = w->st.seg[rows[r].reg].sel;
					v_put(w, &v, 0xc);
					w->st.gpr[RAX] = sel;
					w->st.gpr[RBX] = DATA;
					put(w, w->st.gpr[RSP], sel, 4);
					put(w, DATA + 4, sel, 2);
					o = sys_again(w);
					v_check(w, rows[r].name, &v, o, e);
					assert_int_equal(w->st.seg[rows[r].reg].sel, e.vector < 0 ? sel : was);
					/* The accessed bit is set by success only. */
					assert_int_equal(get(w, GDT + FREE + 5, 1) & 0x1f,
							 v.type | (e.vector < 0 ? 1 : 0));
				}
				world_free(w);
			}
}

/* Null selectors, and those outside the tables. */
ASM64(mov_ss64, "mov %eax, %ss")

static void selectors_at_the_edge(void **state)
{
	struct world *w = sys_world("EPYC", PROT32, 0);

	for (unsigned rpl = 0; rpl < 4; rpl++) {
		w->st.gpr[RAX] = rpl;
		assert_done(ONE(w, mov_ds));
		assert_fault(w, ONE(w, mov_ss), EXC_GP, 0);
	}
	w->st.gdtr.limit = FREE + 6;
	w->st.gpr[RAX] = FREE;
	assert_fault(w, ONE(w, mov_ds), EXC_GP, FREE);
	w->st.gpr[RAX] = FREE | 4;
	assert_fault(w, ONE(w, mov_ds), EXC_GP, FREE | 4);
	world_free(w);
	for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
		w = sys_world("EPYC", LONG, cpl);
		for (unsigned rpl = 0; rpl < 4; rpl++) {
			w->st.gpr[RAX] = rpl;
			if (cpl == 0 && rpl == 0)
				assert_done(ONE(w, mov_ss64));
			else
				assert_fault(w, ONE(w, mov_ss64), EXC_GP, 0);
		}
		world_free(w);
	}
}

/* Far JMP and CALL that name the segment itself. */
ASM32(ljmp, "ljmp *(%ebx)")
ASM32(lcall, "lcall *(%ebx)")
ASM32(lret, "lret")
ASM64(ljmp64, "ljmp *(%rbx)")
ASM64(lret64, "lretq")
ASM64(iretq, "iretq")
ASM32(iret, "iret")

static struct expect direct(const struct variety *v)
{
	if (!v_code(v))
		return at_sel(EXC_GP);
	if (v_conforming(v) ? v->dpl > v->cpl : v->rpl > v->cpl || v->dpl != v->cpl)
		return at_sel(EXC_GP);
	return v->present ? fine : at_sel(EXC_NP);
}

static void far_direct(void **state)
{
	for (unsigned call = 0; call < 2; call++)
		for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
			struct world *w = sys_world("EPYC", PROT32, cpl);
			struct x86_state st = w->st;
			struct variety v = {.cpl = cpl};

			if (call)
				ONE(w, lcall);
			else
				ONE(w, ljmp);
			FOR_VARIETY(v, 32)
			{
				struct expect e = direct(&v);
				enum outcome o;

				if (!(v.type & 0x10)) /* gates and TSSs have their own test */
					continue;
				restore(w, &st);
				v_put(w, &v, 0xc);
				w->st.gpr[RBX] = DATA;
				put(w, DATA, 0x1234, 4);
				put(w, DATA + 4, FREE | v.rpl, 2);
				o = sys_again(w);
				v_check(w, call ? "call" : "jmp", &v, o, e);
				if (e.vector >= 0)
					continue;
				assert_int_equal(w->st.rip, 0x1234);
				assert_int_equal(w->st.cpl, cpl);
				assert_int_equal(w->st.seg[CS].sel, FREE | cpl);
				assert_int_equal(w->st.gpr[RSP], st.gpr[RSP] - (call ? 8 : 0));
			}
			world_free(w);
		}
}

/* RET: to the same or an outer level. */
static struct expect far_return(const struct variety *v)
{
	if (!v_code(v) || v->rpl < v->cpl)
		return at_sel(EXC_GP);
	if (v_conforming(v) ? v->dpl > v->rpl : v->dpl != v->rpl)
		return at_sel(EXC_GP);
	return v->present ? fine : at_sel(EXC_NP);
}

static void returns(void **state)
{
	for (unsigned iret_too = 0; iret_too < 2; iret_too++)
		for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
			struct world *w = sys_world("EPYC", PROT32, cpl);
			struct x86_state st = w->st;
			struct variety v = {.cpl = cpl};

			if (iret_too)
				ONE(w, iret);
			else
				ONE(w, lret);
			FOR_VARIETY(v, 32)
			{
				struct expect e = far_return(&v);
				u32 frame[5] = {0x1234, FREE | v.rpl};
				unsigned n = 2;
				enum outcome o;

				restore(w, &st);
				v_put(w, &v, 0xc);
				if (iret_too)
					frame[n++] = FL_FIXED;
				sys_gdt(w, FREE + 8, descriptor(0, 0xfffff, 0xc93 | v.rpl << 5));
				frame[n++] = 0x5678;
				frame[n] = (FREE + 8) | v.rpl;
				memcpy(at(w, w->st.gpr[RSP]), frame, sizeof(frame));
				w->st.seg[FS] = (struct x86_seg){D0, 0xc93, 0xffffffff, 0};
				o = sys_again(w);
				v_check(w, iret_too ? "iret" : "ret", &v, o, e);
				if (e.vector >= 0)
					continue;
				assert_int_equal(w->st.cpl, v.rpl);
				assert_int_equal(w->st.gpr[RSP],
						 v.rpl > cpl ? 0x5678 : st.gpr[RSP] + (iret_too ? 12 : 8));
				/* Segments of an inner level do not stay. */
				assert_int_equal(w->st.seg[FS].sel, v.rpl > cpl ? 0 : D0);
			}
			world_free(w);
		}
}

/* SS of a return to an outer level. */
static void return_stacks(void **state)
{
	for (unsigned iret_too = 0; iret_too < 2; iret_too++) {
		struct world *w = sys_world("EPYC", PROT32, 0);
		struct x86_state st = w->st;
		struct variety v = {.cpl = 3};

		if (iret_too)
			ONE(w, iret);
		else
			ONE(w, lret);
		FOR_VARIETY(v, 32)
		{
			u32 frame[5] = {0x1234, C3_32};
			unsigned n = 2;

			restore(w, &st);
			v_put(w, &v, 0xc);
			if (iret_too)
				frame[n++] = FL_FIXED;
			frame[n++] = 0x5678;
			frame[n] = FREE | v.rpl;
			memcpy(at(w, w->st.gpr[RSP]), frame, sizeof(frame));
			v_check(w, "outer stack", &v, sys_again(w), stack_load(&v));
			if (w->st.cpl == 0)
				assert_int_equal(w->st.gpr[RSP], st.gpr[RSP]);
		}
		world_free(w);
	}
}

/* Call gates: the gate's DPL against CPL and RPL, then the target's against CPL. */
struct gate_case {
	unsigned type, dpl, rpl, cpl, target; /* target: type | DPL << 5 */
	bool call, gate_present, present;
};

static struct expect through_gate(const struct gate_case *g, bool lm)
{
	unsigned dpl = g->target >> 5 & 3;
	bool code = (g->target & 0x18) == 0x18, conforming = g->target & 4;
	struct expect to = {EXC_GP, FREE + 0x20};

	if (lm ? g->type != SYS_CALL : g->type != SYS_CALL && g->type != SYS_CALL16)
		return at_sel(EXC_GP);
	if (g->dpl < g->cpl || g->dpl < g->rpl)
		return at_sel(EXC_GP);
	if (!g->gate_present)
		return at_sel(EXC_NP);
	if (!code || dpl > g->cpl)
		return to;
	if (!g->call && !conforming && dpl != g->cpl)
		return to;
	if (!g->present)
		return (struct expect){EXC_NP, FREE + 0x20};
	return fine;
}

static void try_gate(struct world *w, const struct x86_state *st, const struct gate_case *g, bool lm)
{
	struct expect e = through_gate(g, lm);
	unsigned dpl = g->target >> 5 & 3, cpl;
	struct variety v = {g->type, g->dpl, g->rpl, g->cpl, g->gate_present};
	enum outcome o;

	restore(w, st);
	put(w, GDT + FREE,
	    0x1234 | (u64)(FREE + 0x20) << 16 | (u64)((g->gate_present ? 0x80 : 0) | g->dpl << 5 | g->type) << 40, 8);
	put(w, GDT + FREE + 8, 0, 8);
	sys_gdt(w, FREE + 0x20, descriptor(0, 0xfffff, (lm ? 0xa00 : 0xc00) | (g->present ? 0x80u : 0) | g->target));
	w->st.gpr[RBX] = DATA;
	put(w, DATA + 4, FREE | g->rpl, 2);
	o = sys_again(w);
	v_check(w, g->call ? "call gate" : "jmp gate", &v, o, e);
	if (e.vector >= 0)
		return;
	cpl = g->target & 4 ? g->cpl : dpl;
	assert_int_equal(w->st.cpl, cpl);
	assert_int_equal(w->st.rip, 0x1234);
	assert_int_equal(w->st.seg[CS].sel, (FREE + 0x20) | cpl);
	if (cpl != g->cpl)
		assert_true(w->st.gpr[RSP] >= INNER_STACK - 32 && w->st.gpr[RSP] < INNER_STACK);
}

ASM64(lcall64, "lcall *(%rbx)")

static void call_gates(void **state)
{
	static const unsigned types[] = {SYS_CALL16, SYS_CALL, SYS_INT, SYS_LDT, SYS_TRAP16};
	static const unsigned targets[] = {0x1b, 0x3b, 0x7b, 0x1f, 0x7f, 0x13, 0x0c};

	for (unsigned lm = 0; lm < 2; lm++)
		for (unsigned cpl = 0; cpl <= 3; cpl += 3)
			for (unsigned call = 0; call < 2; call++) {
				struct world *w = sys_world("EPYC", lm ? LONG : PROT32, cpl);
				struct x86_state st = w->st;

				put(w, TSS + 12, INNER_STACK, 8);
				if (!lm) {
					put(w, TSS + 12, INNER_STACK, 4);
					put(w, TSS + 16, (FREE + 0x30) | 1, 4);
					sys_gdt(w, FREE + 0x30, descriptor(0, 0xfffff, 0xcb3));
				}
				if (lm && call)
					ONE(w, lcall64);
				else if (lm)
					ONE(w, ljmp64);
				else if (call)
					ONE(w, lcall);
				else
					ONE(w, ljmp);
				for (unsigned i = 0; i < ARRAY_SIZE(types) * ARRAY_SIZE(targets) * 64; i++) {
					struct gate_case g = {
						types[i / 64 / ARRAY_SIZE(targets)],   i & 3, i >> 2 & 3, cpl,
						targets[i / 64 % ARRAY_SIZE(targets)], call,  i >> 4 & 1, i >> 5 & 1};

					try_gate(w, &st, &g, lm);
				}
				world_free(w);
			}
}

/* A call gate in long mode takes 16 bytes, whose upper half has type 0; its target must be 64-bit code. */
static void call_gate_long(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 3);

	w->st.gpr[RBX] = DATA;
	put(w, DATA + 4, FREE | 3, 2);
	put(w, GDT + FREE, 0x1234 | (u64)C0_64 << 16 | 0xecull << 40, 8);
	put(w, GDT + FREE + 8, 0, 8);
	assert_int_equal(ONE(w, lcall64), OUT_JUMP);
	assert_int_equal(w->st.cpl, 0);
	assert_int_equal(w->st.seg[SS].sel, 0);
	world_free(w);
	w = sys_world("EPYC", LONG, 3);
	w->st.gpr[RBX] = DATA;
	put(w, DATA + 4, FREE | 3, 2);
	put(w, GDT + FREE, 0x1234 | (u64)C0_64 << 16 | 0xecull << 40, 8);
	put(w, GDT + FREE + 8, 1ull << 40, 8);
	assert_fault(w, ONE(w, lcall64), EXC_GP, FREE);
	put(w, GDT + FREE + 8, 0x8000, 8); /* not canonical */
	assert_fault(w, ONE(w, lcall64), EXC_GP, 0);
	put(w, GDT + FREE + 8, 0, 8);
	put(w, GDT + FREE + 2, C0_32, 2);
	assert_fault(w, ONE(w, lcall64), EXC_GP, C0_32);
	w->st.gdtr.limit = FREE + 14;
	put(w, GDT + FREE + 2, C0_64, 2);
	assert_fault(w, ONE(w, lcall64), EXC_GP, FREE);
	world_free(w);
}

/* INT n: the gate's DPL, the handler's level, the flags that each kind of gate clears. */
ASM32(int_45, "int $0x45")

static void interrupt_gates(void **state)
{
	static const unsigned types[] = {SYS_INT, SYS_TRAP, SYS_INT16, SYS_TRAP16};

	for (unsigned cpl = 0; cpl <= 3; cpl += 3)
		for (unsigned dpl = 0; dpl < 4; dpl++)
			for (unsigned t = 0; t < ARRAY_SIZE(types); t++)
				for (unsigned conforming = 0; conforming < 2; conforming++) {
					struct world *w = sys_world("EPYC", PROT32, cpl);
					struct taken k;

					sys_gdt(w, FREE, descriptor(0, 0xfffff, 0xc9b | conforming << 2));
					sys_gate(w, 0x45, HANDLER + 16 * 0x45, FREE, types[t], dpl);
					if (conforming)
						w->st.rflags |= FL_IOPL;
					w->st.rflags |= FL_IF | FL_NT | FL_AC;
					PROGRAM(w, int_45);
					k = sys_run(w);
					if (dpl < cpl) {
						assert_taken(k, EXC_GP, 0x45 * 8 + 2);
						world_free(w);
						continue;
					}
					assert_int_equal(k.vector, 0x45);
					assert_int_equal(w->st.cpl, conforming ? cpl : 0);
					assert_int_equal(!!(w->st.rflags & FL_IF), t & 1);
					assert_false(w->st.rflags & (FL_NT | FL_TF | FL_RF));
					assert_true(w->st.rflags & FL_AC);
					assert_int_equal(w->st.seg[CS].sel, FREE | (conforming ? cpl : 0));
					assert_int_equal(get(w, w->st.gpr[RSP], 2), (cpl ? USER : CODE) + 2);
					world_free(w);
				}
}

/* IRET: what of RFLAGS each level may change. SDM vol. 2 "IRET", the operation's flag lists. */
static void iret_flags(void **state)
{
	const u64 all = 0x3f7fd5;

	for (unsigned cpl = 0; cpl <= 3; cpl += 3)
		for (unsigned iopl = 0; iopl < 4; iopl++) {
			struct world *w = sys_world("EPYC", LONG, cpl);
			u64 frame[5] = {0x1234, cpl ? C3_64 : C0_64, all & ~(FL_VM | FL_NT | FL_RF), STACK,
					cpl ? D3 : D0};
			u64 want = FL_OSZAPC | FL_TF | FL_DF | FL_AC | FL_ID | FL_FIXED | (u64)iopl << 12;

			w->st.rflags |= (u64)iopl << 12;
			if (cpl == 0)
				want |= FL_IOPL | FL_VIF | FL_VIP;
			if (cpl <= iopl)
				want |= FL_IF;
			memcpy(at(w, w->st.gpr[RSP]), frame, sizeof(frame));
			assert_int_equal(ONE(w, iretq), OUT_JUMP);
			assert_int_equal(x86_rflags(&w->st), want);
			world_free(w);
		}
}

/* LAR, LSL, VERR, VERW: ZF says whether the descriptor is there for this level. */
ASM32(lar, "lar %ebx, %eax")
ASM32(lsl, "lsl %ebx, %eax")
ASM32(verr, "verr %bx")
ASM32(verw, "verw %bx")

static bool visible(const struct variety *v, u32 types)
{
	if (!(v->type & 0x10) && !(types >> v->type & 1))
		return false;
	return v_conforming(v) || v->dpl >= MAX(v->cpl, v->rpl);
}

static void descriptor_questions(void **state)
{
	/* SDM vol. 2 tables 3-54 and 3-61 (and those of long mode): the system types that LAR and LSL answer for. */
	static const u32 types[2][2] = {{0x1a3e | BIT(12), 0x0a0e}, {0x1a04, 0x0a04}};

	for (unsigned lm = 0; lm < 2; lm++)
		for (unsigned cpl = 0; cpl <= 3; cpl += 3)
			for (unsigned op = 0; op < 4; op++) {
				struct world *w = sys_world("EPYC", lm ? COMPAT : PROT32, cpl);
				struct x86_state st = w->st;
				struct variety v = {.cpl = cpl};

				switch (op) {
				case 0: ONE(w, lar); break;
				case 1: ONE(w, lsl); break;
				case 2: ONE(w, verr); break;
				default: ONE(w, verw); break;
				}
				FOR_VARIETY(v, 32)
				{
					bool want =
						op < 2 ? visible(&v, types[lm][op])
						       : visible(&v, 0) && (op == 2 ? v_readable(&v) : v_writable(&v));

					restore(w, &st);
					v_put(w, &v, 0xc);
					w->st.gpr[RBX] = FREE | v.rpl;
					assert_done(sys_again(w));
					if (!!(x86_rflags(&w->st) & FL_ZF) != want)
						fail_msg("op %u long %u: type %#x dpl %u rpl %u cpl %u: ZF %d", op, lm,
							 v.type, v.dpl, v.rpl, cpl, !want);
					if (want && op == 0)
						assert_int_equal(
							w->st.gpr[RAX] &
								0xfff0ffff, /* the limit's bits are undefined */
							0xc00000 | (v.present ? 0x8000u : 0) | v.dpl << 13 |
								v.type << 8);
					if (want && op == 1)
						assert_int_equal(w->st.gpr[RAX], 0xffffffff);
				}
				world_free(w);
			}
}

/* LLDT and LTR. */
ASM32(lldt, "lldt %ax")
ASM32(ltr, "ltr %ax")

static void system_segments(void **state)
{
	for (unsigned lm = 0; lm < 2; lm++)
		for (unsigned tr = 0; tr < 2; tr++) {
			struct world *w = sys_world("EPYC", lm ? LONG : PROT32, 0);
			struct x86_state st = w->st;
			struct variety v = {.cpl = 0};

			if (tr)
				ONE(w, ltr);
			else
				ONE(w, lldt);
			FOR_VARIETY(v, 32)
			{
				bool good = tr ? v.type == SYS_TSS || (!lm && v.type == SYS_TSS16) : v.type == SYS_LDT;
				struct expect e = !good ? at_sel(EXC_GP) : v.present ? fine : at_sel(EXC_NP);

				restore(w, &st);
				v_put(w, &v, 0);
				w->st.gpr[RAX] = FREE | v.rpl;
				v_check(w, tr ? "ltr" : "lldt", &v, sys_again(w), e);
				if (e.vector < 0 && tr)
					assert_int_equal(get(w, GDT + FREE + 5, 1) & 0x1f, v.type | 2);
			}
			w->st.gpr[RAX] = FREE | 4;
			assert_fault(w, sys_again(w), EXC_GP, FREE | 4);
			w->st.gpr[RAX] = 0;
			if (tr)
				assert_fault(w, sys_again(w), EXC_GP, 0);
			else
				assert_done(sys_again(w));
			world_free(w);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_segments),   cmocka_unit_test(selectors_at_the_edge),
		cmocka_unit_test(far_direct),	   cmocka_unit_test(returns),
		cmocka_unit_test(return_stacks),   cmocka_unit_test(call_gates),
		cmocka_unit_test(call_gate_long),  cmocka_unit_test(interrupt_gates),
		cmocka_unit_test(iret_flags),	   cmocka_unit_test(descriptor_questions),
		cmocka_unit_test(system_segments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
