/*
 * Exceptions: each one's vector, error code and saved RIP; the error codes of failing deliveries with their IDT and EXT
 * bits; double and triple faults. SDM vol. 3 6.13 "Error Code", 6.15 "Exception and Interrupt Reference", table 6-5
 * "Conditions for Generating a Double Fault".
 */
#include "tests/unit/sys_world.h"

#define BAD_RSP	 ((1ull << 47) + 0x100)
#define BAD_PAGE 0x180000ull /* not present */

/* Programs; `fault` says that the saved RIP is the last instruction's, whose length is given. */
ASM64(de, "xor %edx, %edx\n xor %ecx, %ecx\n div %ecx\n")
ASM64(bp, "int3\n")
ASM64(ud, "ud2\n")
ASM64(nm, "mov %cr0, %rax\n or $8, %eax\n mov %rax, %cr0\n fnop\n")
ASM64(nm_sse, "mov %cr0, %rax\n or $8, %eax\n mov %rax, %cr0\n xorps %xmm0, %xmm0\n")
ASM64(ud_em, "mov %cr0, %rax\n or $4, %eax\n mov %rax, %cr0\n xorps %xmm0, %xmm0\n")
ASM64(mf, "fninit\n movl $0x0, 0x4000\n fldz\n fld1\n movw $0x37b, 0x4000\n fldcw 0x4000\n fdivp\n fwait\n")
ASM64(xm, "movl $0x1d80, 0x4000\n ldmxcsr 0x4000\n xorps %xmm1, %xmm1\n mov $0x3f800000, %eax\n movd %eax, %xmm0\n"
	  "divss %xmm1, %xmm0\n")
ASM64(xm_off, "mov %cr4, %rax\n and $~0x400, %eax\n mov %rax, %cr4\n movl $0x1d80, 0x4000\n ldmxcsr 0x4000\n"
	      "xorps %xmm1, %xmm1\n mov $0x3f800000, %eax\n movd %eax, %xmm0\n divss %xmm1, %xmm0\n")
ASM64(gp_sel, "mov $0xfff8, %eax\n mov %eax, %ds\n")
ASM64(gp_0, "xor %eax, %eax\n mov %eax, %ss\n mov $3, %eax\n mov %eax, %ss\n")
ASM64(gp_canon, "mov $1, %eax\n shl $47, %rax\n mov (%rax), %eax\n")
ASM64(ss_canon, "mov $1, %eax\n shl $47, %rax\n add $16, %rax\n mov %rax, %rsp\n push %rax\n")
ASM64(ss_rbp, "mov $1, %ebp\n shl $47, %rbp\n mov (%rbp), %eax\n")
ASM64(pf_r, "mov 0x180000, %eax\n")
ASM64(pf_w, "movl $1, 0x180008\n")
ASM64(soft, "int $0x45\n")
ASM64(icebp, ".byte 0xf1\n")

ASM32(de32, "xor %edx, %edx\n xor %ecx, %ecx\n div %ecx\n")
ASM32(of32, "mov $0x7fffffff, %eax\n inc %eax\n into\n")
ASM32(br32, "movl $4, 0x4000\n movl $9, 0x4004\n mov $10, %eax\n bound %eax, 0x4000\n")
ASM32(ss32, "movl $2, %esp\n sub $0x10, %esp\n mov %ss:0x10000(%esp), %eax\n")
ASM32(bp32, "int3\n")
ASM32(ud32, "ud2\n")
ASM32(aam32, "aam $0\n")

ASM16(de16, "xor %dx, %dx\n xor %cx, %cx\n div %cx\n")
ASM16(of16, "mov $0x7fff, %ax\n inc %ax\n into\n")
ASM16(br16, "movw $4, 0x4000\n movw $9, 0x4002\n mov $3, %ax\n bound %ax, 0x4000\n")
ASM16(gp16, "mov $0xffff, %bx\n mov (%bx), %ax\n")
ASM16(ss16, "mov $0xffff, %bp\n mov (%bp), %ax\n")
ASM16(soft16, "int $0x45\n")
ASM16(ud16, "ud2\n")
ASM16(bp16, "int3\n")

struct program {
	const char *name;
	enum sys_mode mode;
	unsigned cpl;
	const u8 *start, *end;
	int vector;
	u32 error;
	int back; /* bytes from the saved RIP to the program's end */
};
#define P(name, mode, cpl, vector, error, back)                                                                        \
	{                                                                                                              \
#name, mode, cpl, name##_start, name##_end, vector, error, back                                        \
	}

static void each_exception(void **state)
{
	static const struct program rows[] = {
		P(de, LONG, 3, EXC_DE, 0, 2),	    P(bp, LONG, 3, EXC_BP, 0, 0),
		P(ud, LONG, 3, EXC_UD, 0, 2),	    P(nm, LONG, 0, EXC_NM, 0, 2),
		P(nm_sse, LONG, 0, EXC_NM, 0, 3),   P(ud_em, LONG, 0, EXC_UD, 0, 3),
		P(mf, LONG, 3, EXC_MF, 0, 1),	    P(xm, LONG, 3, EXC_XM, 0, 4),
		P(xm_off, LONG, 0, EXC_UD, 0, 4),   P(gp_sel, LONG, 0, EXC_GP, 0xfff8, 2),
		P(gp_0, LONG, 0, EXC_GP, 0, 2),	    P(gp_canon, LONG, 3, EXC_GP, 0, 2),
		P(ss_canon, LONG, 3, EXC_SS, 0, 1), P(ss_rbp, LONG, 3, EXC_SS, 0, 3),
		P(pf_r, LONG, 0, EXC_PF, 0, 7),	    P(pf_w, LONG, 3, EXC_PF, PF_W | PF_U, 11),
		P(soft, LONG, 3, 0x45, 0, 0),	    P(icebp, LONG, 3, EXC_DB, 0, 0),
		P(de32, PROT32, 3, EXC_DE, 0, 2),   P(of32, PROT32, 3, EXC_OF, 0, 0),
		P(br32, PROT32, 3, EXC_BR, 0, 6),   P(bp32, PROT32, 3, EXC_BP, 0, 0),
		P(ud32, PROT32, 0, EXC_UD, 0, 2),   P(aam32, COMPAT, 3, EXC_DE, 0, 2),
		P(of32, COMPAT, 3, EXC_OF, 0, 0),   P(de16, REAL, 0, EXC_DE, 0, 2),
		P(of16, REAL, 0, EXC_OF, 0, 0),	    P(br16, REAL, 0, EXC_BR, 0, 4),
		P(gp16, REAL, 0, EXC_GP, 0, 2),	    P(ss16, REAL, 0, EXC_SS, 0, 3),
		P(soft16, REAL, 0, 0x45, 0, 0),	    P(ud16, REAL, 0, EXC_UD, 0, 2),
		P(bp16, REAL, 0, EXC_BP, 0, 0),	    P(gp16, PROT16, 0, EXC_GP, 0, 2),
		P(ss16, PROT16, 0, EXC_SS, 0, 3),
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct program *p = &rows[i];
		struct world *w = sys_world("EPYC", p->mode, p->cpl);
		u64 start = w->st.rip;
		struct taken t;

		if (p->mode >= COMPAT)
			sys_page(w, BAD_PAGE, 0);
		memcpy(at(w, start), p->start, (size_t)(p->end - p->start));
		t = sys_run(w);
		if (t.vector != p->vector || t.error != p->error ||
		    t.rip != start + (u64)(p->end - p->start) - (u64)p->back)
			fail_msg("%s in mode %d: vector %d error %#x rip %#llx", p->name, p->mode, t.vector, t.error,
				 (unsigned long long)t.rip);
		if (p->vector == EXC_PF)
			assert_int_equal(w->st.cr2, BAD_PAGE + (p->start == pf_w_start ? 8 : 0));
		world_free(w);
	}
}

/* A stack segment with a limit: #SS(0), its descriptor not present: #SS(selector). */
ASM32(push32, "push %eax\n")
ASM32(load_ss, "mov %eax, %ss\n")
ASM32(load_fs, "mov %eax, %fs\n")

static void stack_faults(void **state)
{
	struct world *w = sys_world("EPYC", PROT32, 0);

	sys_gdt(w, FREE, descriptor(0, 0xfff, 0x493));
	sys_gdt(w, FREE + 8, descriptor(0, 0xfff, 0x413));
	sys_gdt(w, FREE + 16, descriptor(0, 0xfff, 0x473));
	w->st.gpr[RAX] = FREE;
	assert_done(ONE(w, load_ss));
	w->st.gpr[RSP] = 0x1000;
	assert_done(ONE(w, push32));
	w->st.gpr[RSP] = 0x1001;
	assert_fault(w, ONE(w, push32), EXC_SS, 0);
	w->st.gpr[RAX] = FREE + 8;
	assert_fault(w, ONE(w, load_ss), EXC_SS, FREE + 8);
	w->st.gpr[RAX] = FREE + 16;
	assert_fault(w, ONE(w, load_fs), EXC_NP, FREE + 16);
	world_free(w);
}

/* What is wrong with the way to the handler, by how the event came about. */
enum flaw { NO_GATE, GATE_TYPE, GATE_NP, CS_NULL, CS_DATA, CS_LIMIT, CS_NP, RSP_BAD, TSS_SHORT, FLAWS };
enum source { BY_INT, BY_INT3, BY_FAULT, BY_INTR };

static void make_flaw(struct world *w, enum flaw f, unsigned v)
{
	bool lm = w->st.msr.efer & EFER_LMA;
	unsigned size = lm ? 16 : 8;
	u64 at_gate = IDT + size * v;

	switch (f) {
	case NO_GATE: w->st.idtr.limit = size * v - 1; break;
	case GATE_TYPE: put(w, at_gate + 5, 0xe2, 1); break;
	case GATE_NP: put(w, at_gate + 5, 0x6e, 1); break;
	case CS_NULL: put(w, at_gate + 2, 3, 2); break;
	case CS_DATA: put(w, at_gate + 2, D0, 2); break;
	case CS_LIMIT: put(w, at_gate + 2, 0x1000, 2); break;
	case CS_NP:
		sys_gdt(w, FREE, descriptor(0, 0xfffff, lm ? 0xa1b : 0xc1b));
		put(w, at_gate + 2, FREE, 2);
		break;
	case RSP_BAD: put(w, TSS + 4, BAD_RSP, 8); break;
	default: /* IST 7 lies beyond the TSS */
		put(w, at_gate + 4, 7, 1);
		w->st.tr.limit = 0x53;
		break;
	}
}

static void flaw_expected(enum flaw f, unsigned v, bool ext, int *vector, u32 *error)
{
	*vector = f == GATE_NP || f == CS_NP ? EXC_NP : f == RSP_BAD ? EXC_SS : f == TSS_SHORT ? EXC_TS : EXC_GP;
	switch (f) {
	case NO_GATE:
	case GATE_TYPE:
	case GATE_NP: *error = v * 8 + 2; break;
	case CS_DATA: *error = D0; break;
	case CS_LIMIT: *error = 0x1000; break;
	case CS_NP: *error = FREE; break;
	case TSS_SHORT: *error = TASK_A; break;
	default: *error = 0; break;
	}
	*error |= ext;
}

ASM64(int_43, "int $0x43\n")
ASM64(int_3, "int3\n")
ASM64(intr_43, "nop\n nop\n")

/* SDM vol. 3 6.13: EXT is set unless the program asked for the event; APM vol. 2 8.4.1: for interrupts only. */
static void delivery_errors(void **state)
{
	for (unsigned amd = 0; amd < 2; amd++)
		for (unsigned lm = 0; lm < 2; lm++)
			for (enum flaw f = 0; f < FLAWS; f++)
				for (enum source s = 0; s <= BY_INTR; s++) {
					static const unsigned vectors[] = {0x43, EXC_BP, EXC_UD, 0x43};
					struct world *w =
						sys_world(amd ? "EPYC" : "Skylake-Client", lm ? LONG : PROT32, 3);
					unsigned v = vectors[s];
					int vector;
					u32 error;

					if (!lm &&
					    (f == RSP_BAD || f == TSS_SHORT)) { /* inner_stack_errors has these */
						world_free(w);
						continue;
					}
					put(w, TSS + 36, IST_STACK & ~15, 8);
					for (unsigned i = 0; lm && i < 256; i++)
						put(w, IDT + 16 * i + 4, i != v, 1);
					make_flaw(w, f, v);
					flaw_expected(f, v, s == BY_INTR || (s == BY_FAULT && !amd), &vector, &error);
					w->st.rflags |= s == BY_INTR ? FL_IF : 0;
					if (s == BY_INT)
						PLACE(w, USER, int_43);
					else if (s == BY_INT3)
						PLACE(w, USER, int_3);
					else if (s == BY_FAULT)
						PLACE(w, USER, ud);
					else
						PLACE(w, USER, intr_43);
					if (s == BY_INTR) {
						w->vector = 0x43;
						w->v->ops->assert_intr(w->v);
					}
					if (f == NO_GATE && v < EXC_GP) {
						/* The #GP's gate is out of reach too. */
						assert_int_equal(world_run(w), RUN_TRIPLE_FAULT);
					} else {
						struct taken t = sys_run(w);

						if (t.vector != vector || t.error != error || t.rip != USER)
							fail_msg("long %u flaw %d source %d: vector %d error %#x rip "
								 "%#llx",
								 lm, f, s, t.vector, t.error,
								 (unsigned long long)t.rip);
					}
					world_free(w);
				}
}

/* An inner stack that cannot be had: #TS or #SS with the selector from the TSS. */
static void inner_stack_errors(void **state)
{
	static const struct {
		u16 ss;
		u64 d;
		int vector;
		u32 error;
	} rows[] = {
		{0, 0, EXC_TS, 0},
		{FREE, 0, EXC_TS, FREE},			  /* type */
		{FREE, 0x00cf9b000000ffff, EXC_TS, FREE},	  /* code */
		{FREE, 0x00cf91000000ffff, EXC_TS, FREE},	  /* read-only */
		{FREE, 0x00cff3000000ffff, EXC_TS, FREE},	  /* DPL 3 */
		{FREE | 3, 0x00cf93000000ffff, EXC_TS, FREE},	  /* RPL 3 */
		{FREE, 0x00cf13000000ffff, EXC_SS, FREE},	  /* not present */
		{0x1000, 0, EXC_TS, 0x1000},			  /* beyond the table */
		{FREE | 4, 0x00cf93000000ffff, EXC_TS, FREE | 4}, /* no LDT */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		for (unsigned ext = 0; ext < 2; ext++) {
			struct world *w = sys_world("Skylake-Client", PROT32, 3);
			unsigned v = ext ? EXC_UD : 0x43;
			struct taken t;

			/* The failing handler at CPL 1, so that the next one finds the stack of CPL 0. */
			sys_gdt(w, FREE + 0x20, descriptor(0, 0xfffff, 0xcbb));
			sys_gate(w, v, HANDLER + 16 * v, FREE + 0x20, SYS_INT, 3);
			sys_gdt(w, FREE,
				rows[i].d == 0x00cf93000000ffff || rows[i].d == 0x00cf13000000ffff
					? rows[i].d | 0x200000000000
					: rows[i].d);
			if (rows[i].ss == (FREE | 3))
				put(w, TSS + 16, FREE | 3, 2);
			else
				put(w, TSS + 16, rows[i].ss ? rows[i].ss | (i == 5 ? 0 : 1) : 0, 2);
			put(w, TSS + 12, INNER_STACK, 4);
			if (ext)
				PLACE(w, USER, ud);
			else
				PLACE(w, USER, int_43);
			t = sys_run(w);
			if (t.vector != rows[i].vector || t.error != (rows[i].error | ext) || t.rip != USER)
				fail_msg("row %u ext %u: vector %d error %#x rip %#llx", i, ext, t.vector, t.error,
					 (unsigned long long)t.rip);
			world_free(w);
		}
}

/* Table 6-5. `first` is raised by a program at CPL 3, `second` by the way to its handler. */
ASM64(f_gp, "hlt\n")
ASM64(f_np, "mov $0x80, %eax\n mov %eax, %ds\n")
ASM64(f_nm, "fnop\n")

static bool contributory(unsigned v) { return v == EXC_DE || (v >= EXC_TS && v <= EXC_GP); }
static bool makes_double(unsigned first, unsigned second)
{
	if (first == EXC_PF)
		return second == EXC_PF || contributory(second);
	return contributory(first) && contributory(second);
}

static void spoil(struct world *w, unsigned v, unsigned second)
{
	switch (second) {
	case EXC_NP: put(w, IDT + 16 * v + 5, 0x6e, 1); break;
	case EXC_GP: put(w, IDT + 16 * v + 5, 0xe2, 1); break;
	case EXC_PF: put(w, TSS + 4, BAD_PAGE + 0x800, 8); break;
	case EXC_SS: put(w, TSS + 4, BAD_RSP, 8); break;
	default: /* #TS: IST 7 lies beyond the TSS */
		put(w, IDT + 16 * v + 4, 7, 1);
		w->st.tr.limit = 0x53;
		break;
	}
}

static void double_faults(void **state)
{
	static const struct {
		unsigned vector;
		const u8 *start, *end;
	} firsts[] = {
		{EXC_DE, de_start, de_end},	{EXC_UD, ud_start, ud_end},	    {EXC_NM, f_nm_start, f_nm_end},
		{EXC_NP, f_np_start, f_np_end}, {EXC_SS, ss_rbp_start, ss_rbp_end}, {EXC_GP, f_gp_start, f_gp_end},
		{EXC_PF, pf_r_start, pf_r_end}, {EXC_BP, bp_start, bp_end},	    {EXC_DB, icebp_start, icebp_end},
		{EXC_MF, mf_start, mf_end},	{EXC_XM, xm_start, xm_end},	    {0x45, soft_start, soft_end}};
	static const unsigned seconds[] = {EXC_TS, EXC_NP, EXC_SS, EXC_GP, EXC_PF};

	for (unsigned i = 0; i < ARRAY_SIZE(firsts); i++)
		for (unsigned k = 0; k < ARRAY_SIZE(seconds); k++)
			for (unsigned third = 0; third < 2; third++) {
				struct world *w = sys_world("EPYC", LONG, 3);
				unsigned first = firsts[i].vector, second = seconds[k];
				bool twice = makes_double(first, second);
				struct taken t;

				sys_page(w, BAD_PAGE, 0);
				sys_gdt(w, FREE, descriptor(0, 0xfffff, 0xc73)); /* not present */
				if (first == EXC_NM)
					w->st.cr0 |= CR0_TS;
				put(w, TSS + 36, IST_STACK & ~15, 8);
				for (unsigned v = 0; v < 256; v++)
					if (v != first || second == first)
						put(w, IDT + 16 * v + 4, 1, 1);
				if (first == second) /* the same gate cannot be flawed and good */
					goto next;
				spoil(w, first, second);
				memcpy(at(w, USER), firsts[i].start, (size_t)(firsts[i].end - firsts[i].start));
				if (third) { /* and the double fault's handler cannot be reached either */
					put(w, IDT + 16 * EXC_DF + 5, 0x6e, 1);
					if (!twice)
						goto next;
					assert_int_equal(world_run(w), RUN_TRIPLE_FAULT);
					assert_int_equal(w->st.activity, ACT_SHUTDOWN);
					goto next;
				}
				t = sys_run(w);
				if (t.vector != (int)(twice ? EXC_DF : second) || (twice && t.error))
					fail_msg("#%u, then #%u: handler %d error %#x", first, second, t.vector,
						 t.error);
				if (second == EXC_PF || first == EXC_PF)
					assert_int_equal(w->st.cr2, second == EXC_PF ? BAD_PAGE + 0x7f8 : BAD_PAGE);
			next:
				world_free(w);
			}
}

/* A page fault in the delivery of a page fault: CR2 is the first's until the second is delivered; #DF keeps it. */
static void page_fault_twice(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 3);

	sys_page(w, BAD_PAGE, 0);
	put(w, TSS + 4, BAD_PAGE + 0x800, 8);
	put(w, TSS + 36, IST_STACK & ~15, 8);
	put(w, IDT + 16 * EXC_DF + 4, 1, 1);
	PLACE(w, USER, pf_w);
	assert_taken(sys_run(w), EXC_DF, 0);
	world_free(w);
}

/* Real mode: a vector beyond the IDT's limit is #GP, without one for that either shutdown. */
static void real_limit(void **state)
{
	struct world *w = sys_world("EPYC", REAL, 0);
	struct taken t;

	w->st.idtr.limit = 4 * 0x40 + 3;
	PROGRAM(w, soft16);
	t = sys_run(w);
	assert_int_equal(t.vector, EXC_GP);
	assert_int_equal(t.rip, CODE);
	world_free(w);
	w = sys_world("EPYC", REAL, 0);
	w->st.idtr.limit = 4 * 4;
	PROGRAM(w, soft16);
	assert_int_equal(world_run(w), RUN_TRIPLE_FAULT);
	world_free(w);
}

/* An instruction whose bytes end with its page, and nothing behind: #UD when they are enough to tell that there is no
 * such instruction, else #PF for the byte that is missing. Silicon of AMD says so for each (tests/lockstep). */
static void invalid_at_a_pages_end(void **state)
{
	static const struct {
		u8 n, bytes[9];
		bool missing, more_on_intel;
	} rows[] = {
		{1, {0x06}, false, false},		     /* PUSH ES is none in 64-bit mode */
		{2, {0xf0, 0x06}, false, false},	     /* nor behind LOCK */
		{3, {0x66, 0x48, 0x06}, false, false},	     /* nor others */
		{2, {0xd4, 0x00}, false, false},	     /* AAM, with its operand */
		{7, {0xea, 0, 0, 0, 0, 0, 0}, false, false}, /* JMP far */
		{6, {0x66, 0xea, 0, 0, 0, 0}, false, false}, /* JMP far of 16 bits */
		{2, {0x0f, 0x0b}, false, false},	     /* UD2 */
		{2, {0x0f, 0x04}, false, false},	     /* no opcode */
		{3, {0xf3, 0x0f, 0x04}, false, false},	     /* behind REP */
		{2, {0x8d, 0xc0}, false, false},	     /* LEA of a register */
		{3, {0xf0, 0x90, 0x90}, false, false},	     /* LOCK NOP */
		{2, {0x0f, 0xff}, false, true},		     /* UD0: AMD's has no ModRM byte */
		{1, {0x0f}, true, false},		     /* an opcode's first byte */
		{1, {0x66}, true, false},		     /* a prefix */
		{1, {0xd4}, true, false},		     /* AAM without its operand */
		{6, {0xea, 0, 0, 0, 0, 0}, true, false},     /* JMP far without all of it */
		{2, {0x48, 0xc7}, true, false},		     /* MOV without its ModRM byte */
		{3, {0x48, 0x8b, 0x05}, true, false},	     /* without its displacement */
		{5, {0x48, 0xc7, 0xc0, 1, 2}, true, false},  /* without all of its immediate */
		{2, {0xc5, 0xf8}, true, false},		     /* VEX without an opcode */
	};
	static const char *const models[] = {"EPYC", "Skylake-Client"};

	for (unsigned m = 0; m < ARRAY_SIZE(models); m++)
		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
			struct world *w = sys_world(models[m], LONG, 0);
			bool missing = rows[i].missing || (m == 1 && rows[i].more_on_intel);
			enum outcome o;

			sys_page(w, WINDOW + 0x1000, 0);
			w->st.rip = WINDOW + 0x1000 - rows[i].n;
			memcpy(at(w, w->st.rip), rows[i].bytes, rows[i].n);
			o = world_step(w);
			if (o != OUT_FAULT || w->cpu->c.event.vector != (missing ? EXC_PF : EXC_UD) ||
			    (missing && w->cpu->c.event.cr2 != WINDOW + 0x1000))
				fail_msg("%s, row %u: outcome %d, vector %u, CR2 %#llx", models[m], i, o,
					 w->cpu->c.event.vector, (unsigned long long)w->cpu->c.event.cr2);
			world_free(w);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(invalid_at_a_pages_end), cmocka_unit_test(each_exception),
		cmocka_unit_test(stack_faults),		  cmocka_unit_test(delivery_errors),
		cmocka_unit_test(inner_stack_errors),	  cmocka_unit_test(double_faults),
		cmocka_unit_test(page_fault_twice),	  cmocka_unit_test(real_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
