/*
 * Hardware task switches: every way in, 16- and 32-bit TSSs, busy bits, NT, the back link, TS, CR3, LDT, the T bit, and
 * the faults of the old and of the new task. SDM vol. 3 7.2 to 7.4, tables 7-1 and 7-2.
 */
#include "tests/unit/sys_world.h"

#define TASK_B	 (FREE + 0x10)
#define TGATE	 (FREE + 0x18)
#define B_STACK	 0x9800
#define LDT_DESC (FREE + 0x20)

/* A TSS of either size for a task at USER that has CS, SS as given. */
static void task_fill(struct world *w, bool wide, u16 cs, u16 ss, u32 flags)
{
	if (wide) {
		put(w, TSS_B + 0x1c, TABLES, 4);
		put(w, TSS_B + 0x20, USER, 4);
		put(w, TSS_B + 0x24, flags, 4);
		for (unsigned i = 0; i < 8; i++)
			put(w, TSS_B + 0x28 + 4 * i, i == RSP ? B_STACK : 0xb0000 + i, 4);
		for (unsigned i = 0; i < 6; i++)
			put(w, TSS_B + 0x48 + 4 * i, i == CS ? cs : ss, 2);
		put(w, TSS_B + 0x60, 0, 4);
		put(w, TSS_B + 0x64, 0, 4);
	} else {
		put(w, TSS_B + 0x0e, USER, 2);
		put(w, TSS_B + 0x10, flags, 2);
		for (unsigned i = 0; i < 8; i++)
			put(w, TSS_B + 0x12 + 2 * i, i == RSP ? B_STACK : 0xb0 + i, 2);
		for (unsigned i = 0; i < 4; i++)
			put(w, TSS_B + 0x22 + 2 * i, i == CS ? cs : ss, 2);
		put(w, TSS_B + 0x2a, 0, 2);
	}
	put(w, TSS_B, 0, 2);
}

static struct world *task_world(bool wide, unsigned cpl)
{
	struct world *w = sys_world("EPYC", PROT32, cpl);

	sys_gdt(w, TASK_B, descriptor(TSS_B, wide ? 0x67 : 0x2b, wide ? 0x0e9 : 0x0e1));
	sys_gdt(w, TGATE, (u64)TASK_B << 16 | 0xe5ull << 40);
	sys_gdt(w, LDT_DESC, descriptor(LDT, 0x1f, 0x082));
	task_fill(w, wide, C0_32, D0, FL_FIXED);
	w->st.gpr[RBX] = 0x1234;
	put(w, USER, 0xf4e6, 2);
	return w;
}

ASM32(call_tss, "lcall $0x90, $0\n")
ASM32(jmp_tss, "ljmp $0x90, $0\n")
ASM32(call_gate, "lcall $0x98, $0\n")
ASM32(jmp_gate, "ljmp $0x98, $0\n")
ASM32(int_45, "int $0x45\n nop\n")
ASM32(iret, "iret\n")

static u8 type_of(struct world *w, u16 sel) { return (u8)(get(w, GDT + sel + 5, 1) & 0x1f); }

/* Table 7-2. */
static void ways_in(void **state)
{
	static const struct {
		const u8 *start, *end;
		bool nested;
	} rows[] = {{call_tss_start, call_tss_end, true},
		    {jmp_tss_start, jmp_tss_end, false},
		    {call_gate_start, call_gate_end, true},
		    {jmp_gate_start, jmp_gate_end, false},
		    {int_45_start, int_45_end - 1, true}};

	for (unsigned r = 0; r < ARRAY_SIZE(rows); r++)
		for (unsigned wide = 0; wide < 2; wide++) {
			struct world *w = task_world(wide, 0);
			u8 avail = wide ? SYS_TSS : SYS_TSS16;

			put(w, IDT + 8 * 0x45, (u64)TASK_B << 16 | 0xe5ull << 40, 8);
			memcpy(at(w, CODE), rows[r].start, (size_t)(rows[r].end - rows[r].start));
			assert_int_equal(sys_run(w).vector, -1);
			assert_int_equal(w->st.tr.sel, TASK_B);
			assert_int_equal(type_of(w, TASK_B), avail | 2);
			assert_int_equal(type_of(w, TASK_A), rows[r].nested ? SYS_TSS_BUSY : SYS_TSS);
			assert_int_equal(!!(w->st.rflags & FL_NT), rows[r].nested);
			assert_int_equal(get(w, TSS_B, 2), rows[r].nested ? TASK_A : 0);
			assert_true(w->st.cr0 & CR0_TS);
			assert_int_equal(w->st.gpr[RSP] & 0xffff, B_STACK);
			assert_int_equal(w->st.gpr[RBX] & 0xffff, wide ? 3 : 0xb3);
			/* The old task, as its own format has it. */
			assert_int_equal(get(w, TSS + 0x20, 4), CODE + (u64)(rows[r].end - rows[r].start));
			assert_int_equal(get(w, TSS + 0x34, 4), 0x1234);
			assert_int_equal(get(w, TSS + 0x4c, 2), C0_32);
			assert_int_equal(get(w, TSS + 0x38, 4), STACK);
			world_free(w);
		}
}

/* IRET with NT goes back along the link; the task left is available again, its saved NT clear. */
static void way_back(void **state)
{
	struct world *w = task_world(true, 0);

	PLACE(w, USER, iret);
	PROGRAM(w, call_tss);
	put(w, CODE + 7, 0xf4e6, 2);
	assert_int_equal(sys_run(w).vector, -1);
	assert_int_equal(w->st.tr.sel, TASK_A);
	assert_int_equal(w->st.rip, CODE + 9);
	assert_int_equal(type_of(w, TASK_B), SYS_TSS);
	assert_int_equal(type_of(w, TASK_A), SYS_TSS_BUSY);
	assert_false(w->st.rflags & FL_NT);
	assert_false(get(w, TSS_B + 0x24, 4) & FL_NT);
	assert_int_equal(get(w, TSS_B + 0x20, 4), USER + 1);
	world_free(w);
}

/* A fault's RFLAGS are saved with RF, in the TSS as on a stack: SDM vol. 3 18.3.1.1 "Instruction-Breakpoint Exception
 * Condition", 27.3.3. The error code is on the new task's stack. */
ASM32(ud, "ud2\n nop\n")
ASM32(no_segment, "mov %eax, %ds\n nop\n")

static void resume_flag(void **state)
{
	static const struct {
		const u8 *start, *end;
		unsigned vector;
		bool fault, has_error;
	} rows[] = {
		{ud_start, ud_end, EXC_UD, true, false},
		{no_segment_start, no_segment_end, EXC_GP, true, true},
		{int_45_start, int_45_end, 0x45, false, false},
	};

	for (unsigned r = 0; r < ARRAY_SIZE(rows); r++) {
		struct world *w = task_world(true, 0);

		put(w, IDT + 8 * rows[r].vector, (u64)TASK_B << 16 | 0xe5ull << 40, 8);
		memcpy(at(w, CODE), rows[r].start, (size_t)(rows[r].end - rows[r].start));
		w->st.gpr[RAX] = 0x1000;
		assert_int_equal(sys_run(w).vector, -1);
		assert_int_equal(w->st.tr.sel, TASK_B);
		assert_int_equal(!(get(w, TSS + 0x24, 4) & FL_RF), !rows[r].fault);
		assert_int_equal(get(w, TSS + 0x20, 4), rows[r].fault ? CODE : CODE + 2);
		assert_int_equal(w->st.gpr[RSP], rows[r].has_error ? B_STACK - 4 : B_STACK);
		if (rows[r].has_error)
			assert_int_equal(get(w, B_STACK - 4, 4), 0x1000);
		world_free(w);
	}
}

/* What is refused before anything has changed. */
static void refused(void **state)
{
	static const struct {
		const u8 *start, *end;
		u64 tss, gate; /* descriptors, 0: as they are */
		unsigned cpl;
		int vector;
		u32 error;
	} rows[] = {
		{call_tss_start, call_tss_end, 0x0000eb0000000067, 0, 0, EXC_GP, TASK_B}, /* busy */
		{call_tss_start, call_tss_end, 0x0000690000000067, 0, 0, EXC_NP, TASK_B},
		{call_tss_start, call_tss_end, 0x0000e90000000066, 0, 0, EXC_TS, TASK_B}, /* short */
		{call_tss_start, call_tss_end, 0x0000e1000000002a, 0, 0, EXC_TS, TASK_B},
		{jmp_tss_start, jmp_tss_end, 0x0000890000000067, 0, 3, EXC_GP, TASK_B}, /* DPL */
		{jmp_gate_start, jmp_gate_end, 0, 0x0000850000900000, 3, EXC_GP, TGATE},
		{jmp_gate_start, jmp_gate_end, 0, 0x0000650000900000, 0, EXC_NP, TGATE},
		{jmp_gate_start, jmp_gate_end, 0, 0x0000e50000000000, 0, EXC_GP, 0},
		{jmp_gate_start, jmp_gate_end, 0, 0x0000e50000940000, 0, EXC_GP, 0x94}, /* in the LDT */
		{jmp_gate_start, jmp_gate_end, 0, 0x0000e50010000000, 0, EXC_GP, 0x1000},
		{jmp_gate_start, jmp_gate_end, 0, 0x0000e50000080000, 0, EXC_GP, C0_32}, /* no TSS */
		{jmp_gate_start, jmp_gate_end, 0x0000890000000067, 0, 3, -1, 0}, /* the TSS's DPL does not count */
	};

	for (unsigned r = 0; r < ARRAY_SIZE(rows); r++) {
		struct world *w = task_world(true, rows[r].cpl);
		u64 code = w->st.rip;
		struct taken t;

		if (rows[r].tss)
			sys_gdt(w, TASK_B, rows[r].tss | (u64)TSS_B << 16);
		if (rows[r].gate)
			sys_gdt(w, TGATE, rows[r].gate);
		if (rows[r].cpl)
			put(w, TSS_B + 0x20, USER + 0x100, 4);
		put(w, USER + 0x100, 0xf4e6, 2);
		memcpy(at(w, code), rows[r].start, (size_t)(rows[r].end - rows[r].start));
		t = sys_run(w);
		if (t.vector != rows[r].vector || t.error != rows[r].error || (t.vector >= 0 && t.rip != code))
			fail_msg("row %u: vector %d error %#x rip %#llx", r, t.vector, t.error,
				 (unsigned long long)t.rip);
		if (t.vector >= 0) {
			assert_int_equal(w->st.tr.sel, TASK_A);
			assert_false(w->st.cr0 & CR0_TS);
		}
		world_free(w);
	}
	/* IRET's link: #TS. */
	{
		static const struct {
			u16 link;
			u32 error;
		} links[] = {{0, 0}, {TASK_B, TASK_B}, {TASK_B | 4, TASK_B | 4}, {0x1000, 0x1000}};

		for (unsigned i = 0; i < ARRAY_SIZE(links); i++) {
			struct world *w = task_world(true, 0);

			put(w, TSS, links[i].link, 2);
			w->st.rflags |= FL_NT;
			PROGRAM(w, iret);
			assert_taken(sys_run(w), EXC_TS, links[i].error);
			world_free(w);
		}
	}
}

/* Table 7-1, from step 7 on: faults of the new task, before its first instruction, with its registers. */
static void faults_of_the_new_task(void **state)
{
	static const struct {
		unsigned field; /* in the TSS */
		u16 value;
		u64 d; /* at FREE */
		int vector;
		u32 error;
	} rows[] = {
		{0x4c, 0, 0, EXC_TS, 0},			/* CS null */
		{0x4c, FREE, 0x00cf93000000ffff, EXC_TS, FREE}, /* no code */
		{0x4c, FREE, 0x00cffb000000ffff, EXC_TS, FREE}, /* DPL is not RPL */
		{0x4c, FREE, 0x00cf1b000000ffff, EXC_NP, FREE},
		{0x50, 0, 0, EXC_TS, 0},			/* SS null */
		{0x50, FREE, 0x00cf91000000ffff, EXC_TS, FREE}, /* read-only */
		{0x50, FREE, 0x00cff3000000ffff, EXC_TS, FREE},
		{0x50, FREE | 3, 0x00cf93000000ffff, EXC_TS, FREE},
		{0x50, FREE, 0x00cf13000000ffff, EXC_SS, FREE},
		{0x54, FREE, 0x00cf98000000ffff, EXC_TS, FREE}, /* DS: execute-only */
		{0x48, FREE, 0x00cf13000000ffff, EXC_NP, FREE}, /* ES */
		{0x5c, 0x1000, 0, EXC_TS, 0x1000},		/* GS */
		{0x60, FREE, 0x0000890000000067, EXC_TS, FREE}, /* LDTR: no LDT */
		{0x60, FREE, 0x0000020000000067, EXC_TS, FREE}, /* not present */
		{0x60, FREE | 4, 0, EXC_TS, FREE | 4},
	};

	for (unsigned r = 0; r < ARRAY_SIZE(rows); r++) {
		struct world *w = task_world(true, 0);
		struct taken t;

		sys_gdt(w, FREE, rows[r].d);
		put(w, TSS_B + rows[r].field, rows[r].value, 2);
		/* Its faults are handled by a third task, so that its own segments need not be good. */
		sys_gdt(w, FREE + 0x40, descriptor(LDT + 0x800, 0x67, 0x0e9));
		memcpy(at(w, LDT + 0x800), at(w, TSS_B), 0x68);
		put(w, LDT + 0x800 + rows[r].field, rows[r].field == 0x4c ? C0_32 : rows[r].field == 0x60 ? 0 : D0, 2);
		put(w, LDT + 0x820, HANDLER + 16 * (unsigned)rows[r].vector, 4);
		put(w, IDT + 8 * (unsigned)rows[r].vector, (u64)(FREE + 0x40) << 16 | 0xe5ull << 40, 8);
		PROGRAM(w, jmp_tss);
		t = sys_run(w);
		if (t.vector != rows[r].vector || t.error != rows[r].error)
			fail_msg("row %u: vector %d error %#x", r, t.vector, t.error);
		assert_int_equal(get(w, LDT + 0x800, 2), TASK_B); /* linked to the new task: it was there already */
		assert_int_equal(get(w, TSS_B + 0x20, 4), USER);
		assert_int_equal(type_of(w, TASK_A), SYS_TSS);
		world_free(w);
	}
}

/* The T bit: a trap before the new task's first instruction. The local breakpoints do not outlive the switch. */
static void trap_bit(void **state)
{
	struct world *w = task_world(true, 0);
	struct taken t;

	put(w, TSS_B + 0x64, 1, 2);
	w->st.dr7 = DR7_FIXED | 0x155 | 0x200;
	w->st.dr[0] = w->st.dr[1] = w->st.dr[2] = w->st.dr[3] = 0xffff0000;
	PROGRAM(w, jmp_tss);
	t = sys_run(w);
	assert_taken(t, EXC_DB, 0);
	assert_int_equal(t.rip, USER);
	assert_int_equal(w->st.dr6, DR6_FIXED | DR6_BT);
	assert_int_equal(w->st.dr7, DR7_FIXED | 0x200);
	world_free(w);
}

/* CR3 and LDTR come from the TSS; an outer task has its own level and stack; a virtual-8086 one too. */
static void what_is_loaded(void **state)
{
	struct world *w = task_world(true, 0);

	/* 32-bit paging, identity: a second set of tables that shows another page at WINDOW. */
	for (unsigned s = 0; s < 2; s++) {
		put(w, TABLES + 0x2000 * s, (TABLES + 0x1000 + 0x2000 * s) | 7, 4);
		for (u64 i = 0; i < 512; i++)
			put(w, TABLES + 0x1000 + 0x2000 * s + 4 * i, i << 12 | 7, 4);
	}
	put(w, TABLES + 0x3000 + 4 * (WINDOW >> 12), DATA | 7, 4);
	put(w, DATA, 0x5a5a, 4);
	put(w, WINDOW, 0xa5a5, 4);
	put(w, TSS_B + 0x1c, TABLES + 0x2000, 4);
	put(w, TSS_B + 0x60, LDT_DESC, 2);
	w->st.cr3 = TABLES;
	w->st.cr0 |= CR0_PG;
	memcpy(at(w, USER), "\xa1\x00\x00\x10\x00\xe6\xf4", 7); /* mov WINDOW, %eax */
	PROGRAM(w, jmp_tss);
	assert_int_equal(sys_run(w).vector, -1);
	assert_int_equal(w->st.gpr[RAX], 0x5a5a);
	assert_int_equal(w->st.cr3, TABLES + 0x2000);
	assert_int_equal(w->st.ldtr.sel, LDT_DESC);
	assert_int_equal(w->st.ldtr.base, LDT);
	world_free(w);

	w = task_world(true, 0);
	task_fill(w, true, C3_32, D3, FL_FIXED | FL_IOPL | FL_IF);
	PROGRAM(w, jmp_tss);
	assert_int_equal(sys_run(w).vector, -1);
	assert_int_equal(w->st.cpl, 3);
	assert_true(w->st.rflags & FL_IF);
	world_free(w);

	w = task_world(true, 0);
	task_fill(w, true, USER >> 4, USER >> 4, FL_FIXED | FL_VM | FL_IOPL);
	put(w, TSS_B + 0x20, 0, 4);
	put(w, TSS_B + 0x66, 0x68, 2);
	memcpy(at(w, USER), "\x0f\x0b", 2);
	PROGRAM(w, jmp_tss);
	{
		struct taken t;

		put(w, TSS_B + 4, INNER_STACK, 4);
		put(w, TSS_B + 8, D0, 4);
		t = sys_run(w);
		assert_taken(t, EXC_UD, 0);
		assert_true(t.flags & FL_VM);
		assert_int_equal(t.cs, USER >> 4);
	}
	world_free(w);
}

/* PAE paging: the switch loads the PDPTEs of the new CR3. */
static void pae_task(void **state)
{
	struct world *w = task_world(true, 0);

	for (unsigned s = 0; s < 2; s++) {
		u64 at_pdpt = TABLES + 0x8000 + 0x20 * s, pd = TABLES + 0x1000 + 0x2000 * s, pt = pd + 0x1000;

		put(w, at_pdpt, pd | 1, 8);
		put(w, pd, pt | 7, 8);
		for (u64 i = 0; i < 512; i++)
			put(w, pt + 8 * i, i << 12 | 7, 8);
	}
	put(w, TABLES + 0x4000 + 8 * (WINDOW >> 12), DATA | 7, 8);
	put(w, DATA, 0x5a5a, 4);
	put(w, WINDOW, 0xa5a5, 4);
	put(w, TSS_B + 0x1c, TABLES + 0x8020, 4);
	w->st.pdpte[0] = (TABLES + 0x1000) | 1;
	w->st.cr3 = TABLES + 0x8000;
	w->st.cr4 |= CR4_PAE;
	w->st.cr0 |= CR0_PG;
	memcpy(at(w, USER), "\xa1\x00\x00\x10\x00\xe6\xf4", 7);
	PROGRAM(w, jmp_tss);
	assert_int_equal(sys_run(w).vector, -1);
	assert_int_equal(w->st.gpr[RAX], 0x5a5a);
	world_free(w);
}

/* There are none in long mode. */
ASM64(iretq, "iretq\n")
ASM64(far64, "lcall *0x4000\n")

static void long_mode(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 0);

	w->st.rflags |= FL_NT;
	assert_fault(w, ONE(w, iretq), EXC_GP, 0);
	w->st.rflags &= ~FL_NT;
	sys_gdt(w, TASK_B, descriptor(TSS_B, 0x67, 0x0e9));
	sys_gdt(w, TGATE, (u64)TASK_B << 16 | 0xe5ull << 40);
	put(w, DATA + 4, TASK_B, 2);
	assert_fault(w, ONE(w, far64), EXC_GP, TASK_B);
	put(w, DATA + 4, TGATE, 2);
	assert_fault(w, ONE(w, far64), EXC_GP, TGATE);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ways_in),     cmocka_unit_test(way_back),
		cmocka_unit_test(refused),     cmocka_unit_test(faults_of_the_new_task),
		cmocka_unit_test(trap_bit),    cmocka_unit_test(what_is_loaded),
		cmocka_unit_test(pae_task),    cmocka_unit_test(long_mode),
		cmocka_unit_test(resume_flag),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
