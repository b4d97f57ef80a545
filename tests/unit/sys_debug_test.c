/*
 * Debug exceptions: single step in all its corners, data, I/O and code breakpoints, general detect, ICEBP, debug
 * registers. SDM vol. 3 6.8.3, 18.2, 18.3; SDM vol. 2 "SYSCALL", "SYSRET", "INT1".
 */
#include "tests/unit/sys_world.h"

struct step {
	int vector;
	int at;	 /* RIP, from the program's start */
	u64 dr6; /* without the bits that are always 1 */
};

/* What IRET would do with the frame that the handler has found. */
static void resume(struct world *w, const struct taken *t)
{
	struct x86_state *st = &w->st;

	st->rip = t->rip;
	x86_set_rflags(st, t->flags);
	st->gpr[RSP] = t->rsp;
	st->seg[CS] = sys_seg(w, t->cs);
	st->seg[SS] = sys_seg(w, t->ss);
	st->cpl = t->cs & 3;
}

/* Runs to the program's end and compares every exception on the way. */
static void steps_of(struct world *w, const char *name, const struct step *want, unsigned n)
{
	u64 start = w->st.rip;

	for (unsigned i = 0;; i++) {
		struct taken t = sys_run(w);
		u64 dr6 = w->st.dr6 & ~DR6_FIXED;

		if (t.vector < 0) {
			if (i != n)
				fail_msg("%s: %u exceptions, not %u", name, i, n);
			return;
		}
		if (i == n || t.vector != want[i].vector || (int)(t.rip - start) != want[i].at || dr6 != want[i].dr6)
			fail_msg("%s: exception %u is %d at %d with DR6 %#llx", name, i, t.vector, (int)(t.rip - start),
				 (unsigned long long)dr6);
		w->st.dr6 = DR6_FIXED;
		resume(w, &t);
	}
}

ASM64(plain, "nop\n inc %eax\n jmp 1f\n 1: nop\n pushfq\n andl $~0x100, (%rsp)\n popfq\n nop\n" STOP)
ASM64(movss, "mov %ss, %eax\n mov %eax, %ss\n nop\n pushfq\n andl $~0x100, (%rsp)\n popfq\n" STOP)
ASM64(movss_twice, "mov %ss, %eax\n mov %eax, %ss\n mov %eax, %ss\n nop\n pushfq\n andl $~0x100, (%rsp)\n popfq\n" STOP)
ASM64(movss_icebp, "mov %ss, %eax\n mov %eax, %ss\n .byte 0xf1\n pushfq\n andl $~0x100, (%rsp)\n popfq\n" STOP)
ASM64(sti, "sti\n nop\n pushfq\n andl $~0x100, (%rsp)\n popfq\n" STOP)
ASM64(rep, "mov $3, %ecx\n rep movsb\n pushfq\n andl $~0x100, (%rsp)\n popfq\n" STOP)
ASM64(rep_cmp, "mov $9, %ecx\n repe cmpsb\n pushfq\n andl $~0x100, (%rsp)\n popfq\n" STOP)
ASM64(rep_none, "xor %ecx, %ecx\n rep movsb\n pushfq\n andl $~0x100, (%rsp)\n popfq\n" STOP)
ASM64(undefined, "nop\n ud2\n")
ASM64(icebp, ".byte 0xf1\n pushfq\n andl $~0x100, (%rsp)\n popfq\n" STOP)
ASM64(popf_sets, "pushfq\n orl $0x100, (%rsp)\n popfq\n nop\n pushfq\n andl $~0x100, (%rsp)\n popfq\n nop\n" STOP)
ASM64(cpuid, "xor %eax, %eax\n cpuid\n rdtsc\n in $0x80, %al\n pushfq\n andl $~0x100, (%rsp)\n popfq\n" STOP)
ASM64(hlt, "hlt\n pushfq\n andl $~0x100, (%rsp)\n popfq\n" STOP)

#define S(at)                                                                                                          \
	{                                                                                                              \
		EXC_DB, at, DR6_BS                                                                                     \
	}

static void single_steps(void **state)
{
#define ROW(name, ...)                                                                                                 \
	{                                                                                                              \
#name, name##_start, name##_end, { __VA_ARGS__ }                                                       \
	}
	static const struct {
		const char *name;
		const u8 *start, *end;
		struct step want[12];
	} rows[] = {
		ROW(plain, S(1), S(3), S(5), S(6), S(7), S(14), S(15)),
		ROW(movss, S(2), S(5), S(6), S(13), S(14)),
		ROW(movss_twice, S(2), S(6), S(7), S(8), S(15), S(16)), /* only the first load is special */
		ROW(movss_icebp, S(2), {EXC_DB, 5, 0}, S(6), S(13), S(14)),
		ROW(sti, S(1), S(2), S(3), S(10), S(11)),
		ROW(rep, S(5), S(5), S(5), S(7), S(8), S(15), S(16)),
		ROW(rep_cmp, S(5), S(5), S(7), S(8), S(15), S(16)), /* the second bytes differ */
		ROW(rep_none, S(2), S(4), S(5), S(12), S(13)),
		ROW(icebp, {EXC_DB, 1, 0}, S(2), S(9), S(10)),
		ROW(cpuid, S(2), S(4), S(6), S(8), S(9), S(16), S(17)),
		ROW(hlt, S(1), S(2), S(9), S(10)),
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = sys_world("EPYC", LONG, 0);
		unsigned n = 0;

		while (n < ARRAY_SIZE(rows[i].want) && rows[i].want[n].vector)
			n++;
		put(w, DATA, 0x0101, 2);
		put(w, DATA + 0x100, 0x0201, 2);
		w->st.gpr[RSI] = DATA;
		w->st.gpr[RDI] = DATA + 0x100;
		w->st.rflags |= FL_TF;
		memcpy(at(w, CODE), rows[i].start, (size_t)(rows[i].end - rows[i].start));
		steps_of(w, rows[i].name, rows[i].want, n);
		world_free(w);
	}
}

/* POPF that sets TF has no trap of its own, one that clears it has. */
static void popf(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 0);

	PROGRAM(w, popf_sets);
	steps_of(w, "popf", (const struct step[]){S(10), S(11), S(18), S(19)}, 4);
	world_free(w);
}

/* DEBUGCTL.BTF: a trap behind taken branches only, and once. */
ASM64(branches,
      "nop\n cmp %eax, %eax\n jne 1f\n nop\n 1: jmp 2f\n nop\n 2: nop\n pushfq\n andl $~0x100, (%rsp)\n popfq\n" STOP)

static void branch_steps(void **state)
{
	static const char *const models[] = {"EPYC", "Skylake-Client"};

	for (unsigned i = 0; i < 2; i++) {
		struct world *w = sys_world(models[i], LONG, 0);

		w->st.rflags |= FL_TF;
		w->st.msr.debugctl = DEBUGCTL_BTF;
		PROGRAM(w, branches);
		/* The #DB has cleared BTF: single steps from there. */
		steps_of(w, "branches", (const struct step[]){S(9), S(10), S(11), S(18), S(19)}, 5);
		assert_int_equal(w->st.msr.debugctl, 0);
		world_free(w);
	}
}

/* A fault comes instead of the trap; the flags that it saves have TF and RF. */
static void fault_instead(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 0);
	struct taken t;

	w->st.rflags |= FL_TF;
	PROGRAM(w, undefined);
	t = sys_run(w);
	assert_taken(t, EXC_DB, 0);
	resume(w, &t);
	w->st.dr6 = DR6_FIXED;
	t = sys_run(w);
	assert_taken(t, EXC_UD, 0);
	assert_true((t.flags & FL_TF) && (t.flags & FL_RF));
	assert_int_equal(w->st.dr6, DR6_FIXED);
	world_free(w);
}

/* INT n clears TF for its handler: no trap in between. */
ASM64(int_45, "int $0x45\n")

static void int_clears(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 3);
	struct taken t;

	w->st.rflags |= FL_TF;
	PROGRAM(w, int_45);
	t = sys_run(w);
	assert_taken(t, 0x45, 0);
	assert_true(t.flags & FL_TF);
	assert_false(w->st.rflags & FL_TF);
	assert_int_equal(w->st.dr6, DR6_FIXED);
	world_free(w);
}

/* SYSCALL heeds TF as IA32_FMASK leaves it, SYSRET as R11 has it. */
ASM64(syscall, "syscall\n")
ASM64(stop, "nop\n nop\n" STOP)
ASM64(sysret, "sysretq\n")
ASM64(iretq, "iretq\n")

static void fast_calls(void **state)
{
	for (unsigned masked = 0; masked < 2; masked++) {
		struct world *w = sys_world("EPYC", LONG, 3);
		struct taken t;

		w->st.rflags |= FL_TF;
		w->st.msr.star = (u64)C0_64 << 32;
		w->st.msr.lstar = CODE;
		w->st.msr.sfmask = masked ? FL_TF : 0;
		sys_gdt(w, C0_64 + 8, descriptor(0, 0xfffff, 0xc93));
		PLACE(w, CODE, stop);
		PROGRAM(w, syscall);
		t = sys_run(w);
		if (masked) {
			assert_int_equal(t.vector, -1);
		} else {
			assert_taken(t, EXC_DB, 0);
			assert_int_equal(t.rip, CODE);
		}
		assert_true(w->st.gpr[R11] & FL_TF);
		world_free(w);
	}
	for (unsigned ret = 0; ret < 2; ret++) {
		struct world *w = sys_world("EPYC", LONG, 0);
		const u64 frame[] = {USER, C3_64, FL_FIXED | FL_TF, USER_STACK, D3};
		struct taken t;

		w->st.msr.star = (u64)((C3_64 & ~3) - 16) << 48;
		w->st.gpr[RCX] = USER;
		w->st.gpr[R11] = FL_TF;
		PLACE(w, USER, stop);
		memcpy(at(w, STACK), frame, sizeof(frame));
		if (ret)
			PROGRAM(w, sysret);
		else
			PROGRAM(w, iretq);
		t = sys_run(w);
		assert_taken(t, EXC_DB, 0);
		assert_int_equal(t.rip, USER + (ret ? 0 : 1)); /* IRET: behind the first instruction there */
		world_free(w);
	}
}

/* Data breakpoints: every length and kind against every access near them. */
ASM64(ld1, "mov (%rbx), %al")
ASM64(ld2, "mov (%rbx), %ax")
ASM64(ld4, "mov (%rbx), %eax")
ASM64(ld8, "mov (%rbx), %rax")
ASM64(st1, "mov %al, (%rbx)")
ASM64(st2, "mov %ax, (%rbx)")
ASM64(st4, "mov %eax, (%rbx)")
ASM64(st8, "mov %rax, (%rbx)")
ASM64(rmw4, "lock addl $1, (%rbx)")
ASM64(ld16, "movups (%rbx), %xmm0")

static void data_breakpoints(void **state)
{
	static const struct {
		const u8 *start, *end;
		unsigned size;
		bool write;
	} rows[] = {{ld1_start, ld1_end, 1, false},   {ld2_start, ld2_end, 2, false}, {ld4_start, ld4_end, 4, false},
		    {ld8_start, ld8_end, 8, false},   {st1_start, st1_end, 1, true},  {st2_start, st2_end, 2, true},
		    {st4_start, st4_end, 4, true},    {st8_start, st8_end, 8, true},  {rmw4_start, rmw4_end, 4, true},
		    {ld16_start, ld16_end, 16, false}};
	static const unsigned lengths[] = {1, 2, 8, 4};

	for (unsigned r = 0; r < ARRAY_SIZE(rows); r++)
		for (unsigned l = 0; l < 4; l++)
			for (unsigned kind = 1; kind <= 3; kind += 2) {
				struct world *w = sys_world("EPYC", LONG, 0);
				unsigned k = (r + l) % 4; /* each register has its turn */

				w->st.dr[k] = DATA + 16 + (l ? 1 : 0); /* the low bits do not count */
				w->st.dr7 = DR7_FIXED | (u64)(l & 1 ? 1 : 2) << 2 * k |
					    (u64)(kind | l << 2) << (16 + 4 * k);
				w->st.pending_db = 0;
				sys_one(w, rows[r].start, rows[r].end);
				for (u64 a = DATA; a < DATA + 32; a++) {
					bool hit = a < DATA + 16 + lengths[l] && DATA + 16 < a + rows[r].size &&
						   (kind == 3 || rows[r].write);

					w->st.gpr[RBX] = a;
					w->st.pending_db = 0;
					assert_true(sys_again(w) <= OUT_RETRY); /* behind it, in the case of a hit */
					if (w->st.pending_db != (hit ? BIT(k) : 0))
						fail_msg("row %u at %d, length %u kind %u: %#llx", r,
							 (int)(a - DATA) - 16, lengths[l], kind,
							 (unsigned long long)w->st.pending_db);
				}
				world_free(w);
			}
}

/* Delivered behind the instruction, both hits together; what was in B0 to B3 before is gone, BS stays. */
ASM64(store_nop, "movl $1, 0x4000\n nop\n" STOP)
ASM64(rep_store, "mov $4, %ecx\n rep stosb\n" STOP)
ASM64(movss_mem, "mov 0x4000, %ss\n nop\n nop\n" STOP)

static void data_breakpoints_delivered(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 3);
	struct taken t;

	w->st.dr[1] = w->st.dr[2] = DATA;
	w->st.dr7 = DR7_FIXED | 0x14 | 0x0dd00000;
	w->st.dr6 = DR6_FIXED | 9 | DR6_BS;
	PROGRAM(w, store_nop);
	t = sys_run(w);
	assert_taken(t, EXC_DB, 0);
	assert_int_equal(t.rip, USER + 11);
	assert_int_equal(w->st.dr6, DR6_FIXED | 6 | DR6_BS);
	assert_false(t.flags & FL_RF);
	world_free(w);
	/* With TF: one exception that says both. */
	w = sys_world("EPYC", LONG, 0);
	w->st.dr[0] = DATA;
	w->st.dr7 = DR7_FIXED | 1 | 1 << 16;
	w->st.rflags |= FL_TF;
	PROGRAM(w, store_nop);
	t = sys_run(w);
	assert_taken(t, EXC_DB, 0);
	assert_int_equal(t.rip, CODE + 11);
	assert_int_equal(w->st.dr6, DR6_FIXED | 1 | DR6_BS);
	world_free(w);
	/* A repeated instruction stops behind the element. */
	w = sys_world("EPYC", LONG, 0);
	w->st.dr[0] = DATA + 1;
	w->st.dr7 = DR7_FIXED | 1 | 1 << 16;
	w->st.gpr[RDI] = DATA;
	PROGRAM(w, rep_store);
	t = sys_run(w);
	assert_taken(t, EXC_DB, 0);
	assert_int_equal(t.rip, CODE + 5);
	assert_int_equal(w->st.gpr[RCX], 2);
	assert_int_equal(w->st.gpr[RDI], DATA + 2);
	assert_true(t.flags & FL_RF);
	world_free(w);
	/* One that a load of SS hits waits for the next instruction. */
	w = sys_world("EPYC", LONG, 0);
	put(w, DATA, D0, 2);
	w->st.dr[0] = DATA;
	w->st.dr7 = DR7_FIXED | 1 | 3 << 16;
	PROGRAM(w, movss_mem);
	t = sys_run(w);
	assert_taken(t, EXC_DB, 0);
	assert_int_equal(t.rip, CODE + 8);
	assert_int_equal(w->st.dr6, DR6_FIXED | 1);
	world_free(w);
}

/* I/O breakpoints need CR4.DE. */
ASM64(out_80, "out %al, $0x81\n" STOP)
ASM64(in_80, "in $0x80, %eax\n" STOP)

static void io_breakpoints(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		struct world *w = sys_world("EPYC", LONG, 0);
		bool de = i & 1, in = i & 2, near = i & 4;
		struct taken t;

		w->st.cr4 = de ? w->st.cr4 | CR4_DE : w->st.cr4 & ~CR4_DE;
		w->st.dr[3] = near ? 0x80 : 0x84;
		w->st.dr7 = DR7_FIXED | 0x80 | 0x6ull << 28; /* two bytes */
		if (in)
			PROGRAM(w, in_80);
		else
			PROGRAM(w, out_80);
		t = sys_run(w);
		assert_int_equal(t.vector, de && near ? EXC_DB : -1);
		if (t.vector >= 0) {
			assert_int_equal(t.rip, CODE + 2);
			assert_int_equal(w->st.dr6, DR6_FIXED | 8);
		}
		world_free(w);
	}
}

/* Code breakpoints are faults; RF lets the instruction go, and behind a load of SS there is none. */
ASM64(three, "nop\n nop\n nop\n" STOP)

static void code_breakpoints(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 0);
	struct taken t;

	w->st.dr[0] = CODE + 1;
	w->st.dr[2] = CODE + 1;
	w->st.dr7 = DR7_FIXED | 0x22;
	PROGRAM(w, three);
	t = sys_run(w);
	assert_taken(t, EXC_DB, 0);
	assert_int_equal(t.rip, CODE + 1);
	assert_int_equal(w->st.dr6, DR6_FIXED | 5);
	assert_false(t.flags & FL_RF);
	resume(w, &t);
	t = sys_run(w); /* again, as nobody has set RF */
	assert_taken(t, EXC_DB, 0);
	resume(w, &t);
	w->st.rflags |= FL_RF;
	assert_int_equal(sys_run(w).vector, -1);
	assert_false(w->st.rflags & FL_RF);
	world_free(w);
	w = sys_world("EPYC", LONG, 0);
	w->st.dr[0] = CODE + 4;
	w->st.dr7 = DR7_FIXED | 2;
	PROGRAM(w, movss);
	w->st.rflags &= ~FL_TF;
	assert_int_equal(sys_run(w).vector, -1);
	world_free(w);
}

/* SDM vol. 3 18.3.1.1: what comes between two elements of a repeated instruction saves RF set, what comes behind the
 * last does not; its own breakpoint hits before the first element alone. */
ASM64(rep_out, "mov $0xf6, %edx\n rep outsb\n" STOP)
ASM64(rep_load, "rep lodsb\n" STOP)

static void resume_between_elements(void **state)
{
	for (unsigned n = 1; n <= 2; n++) {
		struct world *w = sys_world("EPYC", LONG, 0);
		struct taken t;

		w->st.rflags |= FL_IF;
		w->st.gpr[RSI] = DATA;
		w->st.gpr[RCX] = n;
		put(w, DATA, 0x4141, 2);
		PROGRAM(w, rep_out);
		t = sys_run(w);
		assert_taken(t, 0x41, 0);
		assert_int_equal(t.rip, n == 2 ? CODE + 5 : CODE + 7);
		assert_int_equal(t.flags & FL_RF, n == 2 ? FL_RF : 0);
		assert_int_equal(w->st.gpr[RCX], n - 1);
		world_free(w);
	}
	for (unsigned rf = 0; rf < 2; rf++) {
		struct world *w = sys_world("EPYC", LONG, 0);

		w->st.gpr[RSI] = DATA;
		w->st.gpr[RCX] = 5000; /* more than it does at once */
		w->st.dr[0] = CODE;
		w->st.dr7 = DR7_FIXED | 2;
		w->st.rflags |= rf ? FL_RF : 0;
		PROGRAM(w, rep_load);
		assert_int_equal(sys_run(w).vector, rf ? -1 : EXC_DB);
		assert_int_equal(w->st.gpr[RCX], rf ? 0 : 5000);
		assert_false(w->st.rflags & FL_RF);
		world_free(w);
	}
}

/* General detect, DR4 and DR5, reserved bits, privilege. */
ASM64(get_dr6, "mov %dr6, %rax")
ASM64(put_dr6, "mov %rax, %dr6")
ASM64(put_dr7, "mov %rax, %dr7")
ASM64(put_dr0, "mov %rax, %dr0")
ASM64(get_dr4, ".byte 0x0f, 0x21, 0xe0")
ASM64(put_dr5, ".byte 0x0f, 0x23, 0xe8")

static void debug_registers(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 0);
	struct taken t;

	w->st.gpr[RAX] = ~0ull >> 32;
	assert_done(ONE(w, put_dr6));
	assert_int_equal(w->st.dr6, DR6_FIXED | 0xe00f);
	w->st.gpr[RAX] = 0xffffdfffull;
	assert_done(ONE(w, put_dr7));
	assert_int_equal(w->st.dr7, 0xffff07ff);
	w->st.dr7 = DR7_FIXED;
	w->st.gpr[RAX] = BIT(32);
	assert_fault(w, ONE(w, put_dr6), EXC_GP, 0);
	assert_fault(w, ONE(w, put_dr7), EXC_GP, 0);
	w->st.gpr[RAX] = ~0ull;
	assert_done(ONE(w, put_dr0));
	assert_int_equal(w->st.dr[0], ~0ull);
	assert_fault(w, ONE(w, get_dr4), EXC_UD, 0); /* CR4.DE */
	w->st.cr4 &= ~CR4_DE;
	assert_done(ONE(w, get_dr4));
	assert_int_equal(w->st.gpr[RAX], w->st.dr6);
	w->st.gpr[RAX] = 0;
	assert_done(ONE(w, put_dr5));
	assert_int_equal(w->st.dr7, DR7_FIXED);
	world_free(w);
	w = sys_world("EPYC", LONG, 3);
	assert_fault(w, ONE(w, get_dr6), EXC_GP, 0);
	world_free(w);
	w = sys_world("EPYC", LONG, 0);
	w->st.dr7 = DR7_FIXED | DR7_GD;
	PROGRAM(w, get_dr6);
	t = sys_run(w);
	assert_taken(t, EXC_DB, 0);
	assert_int_equal(t.rip, CODE);
	assert_int_equal(w->st.dr6, DR6_FIXED | DR6_BD);
	assert_int_equal(w->st.dr7, DR7_FIXED); /* the handler may use the registers */
	assert_true(t.flags & FL_RF);
	world_free(w);
}

/* ICEBP does not look at the gate's DPL, INT3 does. */
ASM64(int3, "int3\n")

static void gates_of_breakpoints(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 3);

	sys_gate(w, EXC_DB, HANDLER + 16 * EXC_DB, C0_64, SYS_INT, 0);
	w->st.dr6 = DR6_FIXED | 7;
	PROGRAM(w, icebp);
	assert_taken(sys_run(w), EXC_DB, 0);
	assert_int_equal(w->st.dr6, DR6_FIXED | 7);
	world_free(w);
	w = sys_world("EPYC", LONG, 3);
	sys_gate(w, EXC_BP, HANDLER + 16 * EXC_BP, C0_64, SYS_INT, 0);
	PROGRAM(w, int3);
	assert_taken(sys_run(w), EXC_GP, EXC_BP * 8 + 2);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(single_steps),
		cmocka_unit_test(popf),
		cmocka_unit_test(branch_steps),
		cmocka_unit_test(fault_instead),
		cmocka_unit_test(int_clears),
		cmocka_unit_test(fast_calls),
		cmocka_unit_test(data_breakpoints),
		cmocka_unit_test(data_breakpoints_delivered),
		cmocka_unit_test(io_breakpoints),
		cmocka_unit_test(code_breakpoints),
		cmocka_unit_test(resume_between_elements),
		cmocka_unit_test(debug_registers),
		cmocka_unit_test(gates_of_breakpoints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
