/*
 * Events from outside: NMI and its blocking, interrupt shadows, priorities, HLT, INIT. SDM vol. 3 6.7.1 "Handling
 * Multiple NMIs", 6.8, 6.9 "Priority Among Concurrent Events", 9.1.1; SDM vol. 2 "STI", "IRET", "HLT".
 *
 * A write to port F5h asserts an NMI, one to F6h an interrupt (cpu_world.h).
 */
#include "tests/unit/sys_world.h"

/* Where the first interrupt is taken. */
static struct taken first(const u8 *start, const u8 *end, u64 flags)
{
	struct world *w = sys_world("EPYC", LONG, 0);
	struct taken t;

	w->st.rflags |= flags;
	w->st.gpr[RAX] = 0x40;
	memcpy(at(w, CODE), start, (size_t)(end - start));
	t = sys_run(w);
	world_free(w);
	return t;
}
#define FIRST(name, flags) first(name##_start, name##_end, flags)
#define assert_at(t, vec, off)                                                                                         \
	do {                                                                                                           \
		struct taken t_ = (t);                                                                                 \
		assert_int_equal(t_.vector, vec);                                                                      \
		assert_int_equal(t_.rip, CODE + (off));                                                                \
	} while (0)

ASM64(at_once, "out %al, $0xf6\n nop\n nop\n" STOP)
ASM64(sti_shadow, "out %al, $0xf6\n sti\n nop\n nop\n" STOP)
ASM64(sti_again, "sti\n out %al, $0xf6\n nop\n" STOP)
ASM64(sti_set, "out %al, $0xf6\n nop\n sti\n sti\n nop\n" STOP)
ASM64(sti_cli, "out %al, $0xf6\n sti\n cli\n nop\n nop\n" STOP)
ASM64(popf_if, "out %al, $0xf6\n push $0x202\n popfq\n nop\n" STOP)
ASM64(ss_shadow, "mov %ss, %ebx\n push $0x202\n out %al, $0xf6\n popfq\n" STOP)
ASM64(movss, "mov %ss, %ebx\n cli\n out %al, $0xf6\n sti\n mov %ebx, %ss\n nop\n nop\n" STOP)
ASM64(movss_nmi, "mov %ss, %ebx\n push $0xf5\n pop %rdx\n mov %ebx, %ss\n out %al, %dx\n nop\n" STOP)
ASM64(nmi_ss, "mov %ss, %ebx\n out %al, $0xf5\n nop\n" STOP)
ASM64(both, "out %al, $0xf6\n out %al, $0xf5\n nop\n sti\n nop\n nop\n" STOP)
ASM64(cr8, "mov $5, %ecx\n out %al, $0xf6\n hlt\n" STOP)

static void shadows(void **state)
{
	assert_at(FIRST(at_once, FL_IF), 0x40, 2);
	assert_int_equal(FIRST(at_once, 0).vector, -1);
	assert_at(FIRST(sti_shadow, 0), 0x40, 4); /* behind the NOP after STI */
	assert_at(FIRST(sti_shadow, FL_IF), 0x40, 2);
	assert_at(FIRST(sti_again, FL_IF), 0x40, 3); /* STI with IF set holds nothing */
	assert_at(FIRST(sti_set, 0), 0x40, 5);	     /* nor does the second of two */
	assert_int_equal(FIRST(sti_cli, 0).vector, -1);
	assert_at(FIRST(popf_if, 0), 0x40, 8);
	assert_at(FIRST(movss, 0), 0x40, 8); /* STI's shadow covers MOV SS; MOV SS in a shadow casts none */
	assert_at(FIRST(nmi_ss, 0), EXC_NMI, 4);
	assert_at(FIRST(movss_nmi, 0), EXC_NMI, 11); /* a load of SS holds NMIs too */
	assert_at(FIRST(both, 0), EXC_NMI, 4);	     /* an NMI does not heed IF */
}

/* NMIs are held until IRET, and one of them is latched; a fault in the handler's IRET leaves the count right. */
ASM64(nmi_program, "out %al, $0xf5\n nop\n nop\n" STOP)
ASM64(nmi_nested,
      "inc %ebx\n cmp $2, %ebx\n ja 1f\n cmp $1, %ebx\n jne 2f\n"
      "out %al, $0xf5\n out %al, $0xf5\n nop\n mov %ebx, %ecx\n int $0x50\n nop\n mov %ebx, %edx\n 2: iretq\n"
      "1: ud2\n")
ASM64(iret_only, "iretq\n")

static void nmi_blocking(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 0);

	PROGRAM(w, nmi_program);
	PLACE(w, USER + 0x100, nmi_nested);
	PLACE(w, USER + 0x200, iret_only);
	sys_gate(w, EXC_NMI, USER + 0x100, C0_64, SYS_INT, 0);
	sys_gate(w, 0x50, USER + 0x200, C0_64, SYS_INT, 0);
	assert_int_equal(sys_run(w).vector, -1);
	assert_int_equal(w->st.gpr[RBX], 2); /* two asserted in the handler are one */
	assert_int_equal(w->st.gpr[RCX], 1); /* and wait */
	assert_int_equal(w->st.gpr[RDX], 2); /* until any IRET: the one of INT 50h */
	assert_int_equal(w->st.nmi_blocked, 0);
	world_free(w);
}

/* SDM vol. 3 6.7.1: on Intel's processors an IRET that faults has ended the blocking all the same. */
static void iret_that_faults(void **state)
{
	for (unsigned intel = 0; intel < 2; intel++) {
		struct world *w = sys_world(intel ? "Skylake-Client" : "EPYC", LONG, 0);

		w->st.nmi_blocked = 1;
		assert_int_equal(ONE(w, iret_only), OUT_FAULT); /* to a null CS */
		assert_int_equal(w->cpu->c.event.vector, EXC_GP);
		assert_int_equal(w->st.nmi_blocked, !intel);
		world_free(w);
	}
}

/* Priorities at one boundary: debug trap, then NMI, then interrupt. */
ASM64(prio, "nop\n nop\n nop\n")

static void priorities(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 0);
	struct taken t;

	w->st.rflags |= FL_IF;
	w->st.pending_db = DR6_BS;
	w->vector = 0x40;
	PROGRAM(w, prio);
	w->v->ops->assert_intr(w->v);
	w->v->ops->assert_nmi(w->v);
	t = sys_run(w);
	assert_at(t, EXC_NMI, HANDLER + 16 * EXC_DB - CODE); /* the trap was first: its handler is interrupted */
	assert_int_equal(get(w, STACK - 40, 8), CODE);
	w->st.nmi_blocked = 0; /* both return */
	w->st.rip = CODE;
	w->st.gpr[RSP] = STACK;
	w->st.rflags |= FL_IF;
	t = sys_run(w);
	assert_at(t, 0x40, 0);
	world_free(w);
}

/* INIT: what is reset and what is kept (table 9-1); on the bootstrap processor it goes on at the reset vector. */
ASM64(busy, "1: nop\n jmp 1b\n")

static void init(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 0);

	w->st.gpr[RBX] = 7;
	w->st.fpu.vec[3][0] = 9;
	w->st.cr2 = 5;
	w->st.msr.pat = 0x0606060606060606;
	w->st.msr.star = 3;
	w->st.cr0 |= CR0_CD;
	PROGRAM(w, busy);
	w->v->ops->assert_init(w->v);
	assert_int_equal(w->v->ops->set_state(w->v, &w->st, &w->e), 0);
	w->v->ops->assert_init(w->v);
	/* There is no memory at FFFFFFF0h: all ones, an invalid instruction, and no IDT for it. */
	world_run(w);
	assert_int_equal(w->st.gpr[RBX], 0);
	assert_int_equal(w->st.gpr[RDX], w->model.signature);
	assert_int_equal(w->st.cr0, CR0_ET | CR0_CD);
	assert_int_equal(w->st.cr2, 0);
	assert_int_equal(w->st.cr3, 0);
	assert_int_equal(w->st.cr4, 0);
	assert_int_equal(w->st.msr.efer, 0);
	assert_int_equal(w->st.dr7, DR7_FIXED);
	assert_int_equal(w->st.fpu.vec[3][0], 9);
	assert_true(w->st.msr.pat == 0x0606060606060606);
	assert_int_equal(w->st.msr.star, 3);
	world_free(w);
}

/* Interrupts change nothing but what they say: IF, TF, NT, RF by gate; AC and the rest stay. */
static void trap_gate_keeps_if(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 0);
	struct taken t;

	sys_gate(w, 0x40, HANDLER + 16 * 0x40, C0_64, SYS_TRAP, 0);
	w->st.rflags |= FL_IF | FL_AC | FL_ID;
	w->st.gpr[RAX] = 0x40;
	PROGRAM(w, at_once);
	t = sys_run(w);
	assert_at(t, 0x40, 2);
	assert_int_equal(x86_rflags(&w->st) & (FL_IF | FL_AC | FL_ID), FL_IF | FL_AC | FL_ID);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shadows),    cmocka_unit_test(nmi_blocking),
		cmocka_unit_test(priorities), cmocka_unit_test(iret_that_faults),
		cmocka_unit_test(init),	      cmocka_unit_test(trap_gate_keeps_if),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
