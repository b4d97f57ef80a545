/*
 * Events, far transfers and fast system calls of long mode: one topic a test, each a few instructions and what they
 * left behind. SDM vol. 3 6.14 "Exception and Interrupt Handling in 64-bit Mode"; APM vol. 2 8.9 "Long-Mode Interrupt
 * Control Transfers".
 */
#include "tests/unit/cpu_world.h"

#include "cpu/x86/exec.h"

#define CS0	  0x08
#define SS0	  0x10
#define CS3_32	  0x1b
#define SS3	  0x23
#define CS3	  0x2b
#define TR	  0x30
#define CALL_GATE 0x40
#define CS0_32	  0x50
#define HOLE	  0x100000 /* the page that no table maps */

static void gate(struct world *w, unsigned vector, u64 offset, unsigned type, unsigned dpl, unsigned ist)
{
	put(w, IDT + 16 * vector,
	    (offset & 0xffff) | CS0 << 16 | (u64)ist << 32 | (0x80ull | dpl << 5 | type) << 40 |
		    (offset >> 16 & 0xffff) << 48,
	    8);
	put(w, IDT + 16 * vector + 8, 0, 8);
}

static void tables(struct world *w)
{
	put(w, TABLES, (TABLES + 0x1000) | 7, 8);
	put(w, TABLES + 0x1000, (TABLES + 0x2000) | 7, 8);
	put(w, TABLES + 0x2000, (TABLES + 0x3000) | 7, 8);
	for (u64 i = 0; i < 512; i++)
		put(w, TABLES + 0x3000 + 8 * i, i << 12 == HOLE ? 0 : i << 12 | 7, 8);
	put(w, GDT + CS0, descriptor(0, 0xfffff, 0xa9a), 8); /* not yet accessed */
	put(w, GDT + SS0, descriptor(0, 0xfffff, 0xc93), 8);
	put(w, GDT + (CS3_32 & ~7), descriptor(0, 0xfffff, 0xcfb), 8);
	put(w, GDT + (SS3 & ~7), descriptor(0, 0xfffff, 0xcf3), 8);
	put(w, GDT + (CS3 & ~7), descriptor(0, 0xfffff, 0xafb), 8);
	put(w, GDT + TR, descriptor(TSS, 0x67, 0x089), 8);
	put(w, GDT + TR + 8, 0, 8);
	put(w, GDT + CALL_GATE, HANDLER | CS0 << 16 | 0xecull << 40, 8);
	put(w, GDT + CALL_GATE + 8, 0, 8);
	put(w, GDT + CS0_32, descriptor(0, 0xfffff, 0xc9b), 8);
	put(w, TSS + 4, INNER_STACK, 8);
	put(w, TSS + 36, IST_STACK, 8);
}

static struct x86_seg seg(u16 sel, u16 attr) { return (struct x86_seg){sel, attr, 0xffffffff, 0}; }

static struct world *long_world(const char *model, bool user)
{
	struct world *w = world_new(model);
	struct x86_state *st = &w->st;

	tables(w);
	x86_set_rflags(st, FL_FIXED);
	st->cpl = user ? 3 : 0;
	st->rip = user ? USER : CODE;
	st->gpr[RSP] = user ? USER_STACK : STACK;
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = (struct x86_seg){0};
	st->seg[CS] = user ? seg(CS3, 0xafb) : seg(CS0, 0xa9b);
	st->seg[SS] = user ? seg(SS3, 0xcf3) : seg(SS0, 0xc93);
	st->tr = (struct x86_seg){TR, 0x8b, 0x67, TSS};
	st->gdtr = (struct x86_dtr){GDT, 0x5f};
	st->idtr = (struct x86_dtr){IDT, 0xfff};
	st->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP;
	st->cr3 = TABLES;
	st->cr4 = CR4_PAE | CR4_OSFXSR;
	st->msr.efer = EFER_LME | EFER_LMA | EFER_SCE;
	st->msr.star = (u64)CS0 << 32 | (u64)(CS3_32) << 48;
	st->msr.lstar = HANDLER;
	st->msr.sfmask = FL_IF | FL_TF;
	return w;
}

ASM64(stop, STOP)
ASM64(iretq, "iretq")
ASM64(user_int, "int $0x80\n mov $5, %ebx\n syscall")
/* The frame that a handler finds, copied to DATA, is looked at after the stop. */
ASM64(copy_frame, "mov %rsp, %rsi\n mov $0x4000, %edi\n mov $8, %ecx\n rep movsq\n" STOP)

static void int_and_iret(void **state)
{
	struct world *w = long_world("EPYC", true);

	PLACE(w, USER, user_int);
	PLACE(w, HANDLER, stop);
	PLACE(w, HANDLER + 0x100, iretq);
	gate(w, 0x80, HANDLER + 0x100, SYS_TRAP, 3, 0);
	w->st.rflags |= FL_IF | FL_AC;
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RBX], 5);
	assert_int_equal(w->st.gpr[RCX], USER + 9);
	assert_int_equal(w->st.gpr[R11] & (FL_IF | FL_AC), FL_IF | FL_AC);
	assert_int_equal(w->st.cpl, 0);
	assert_int_equal(w->st.seg[CS].sel, CS0);
	assert_int_equal(w->st.seg[SS].sel, SS0);
	assert_false(w->st.rflags & FL_IF);
	assert_int_equal(w->st.gpr[RSP], USER_STACK);
	/* The interrupt's frame, with the accessed bit that it set. */
	assert_int_equal(get(w, INNER_STACK - 8, 8), SS3);
	assert_int_equal(get(w, INNER_STACK - 16, 8), USER_STACK);
	assert_int_equal(get(w, INNER_STACK - 24, 8), FL_IF | FL_AC | FL_FIXED);
	assert_int_equal(get(w, INNER_STACK - 32, 8), CS3);
	assert_int_equal(get(w, INNER_STACK - 40, 8), USER + 2);
	assert_int_equal(get(w, GDT + CS0 + 5, 1), 0x9b);
	world_free(w);
}

ASM64(touch_hole, "movl $1, 0x100010")

static void page_fault_on_ist(void **state)
{
	struct world *w = long_world("EPYC", true);

	PLACE(w, USER, touch_hole);
	PLACE(w, HANDLER, copy_frame);
	gate(w, EXC_PF, HANDLER, SYS_INT, 0, 1);
	world_run_to_stop(w);
	assert_int_equal(w->st.cr2, HOLE + 0x10);
	assert_int_equal(w->st.gpr[RSP], (IST_STACK & ~15) - 48);
	assert_int_equal(get(w, DATA, 8), PF_W | PF_U);
	assert_int_equal(get(w, DATA + 8, 8), USER);
	assert_int_equal(get(w, DATA + 24, 8), FL_FIXED | FL_RF);
	assert_int_equal(get(w, DATA + 32, 8), USER_STACK);
	assert_int_equal(w->st.seg[SS].sel, 0);
	world_free(w);
}

/* #PF whose gate is not present: the contributory #NP makes it #DF; without a gate for that, shutdown. */
static void double_fault(void **state)
{
	struct world *w = long_world("EPYC", true);

	PLACE(w, USER, touch_hole);
	PLACE(w, HANDLER, copy_frame);
	gate(w, EXC_DF, HANDLER, SYS_INT, 0, 0);
	gate(w, EXC_PF, HANDLER, SYS_INT, 0, 0);
	put(w, IDT + 16 * EXC_PF + 5, 0x0e, 1);
	world_run_to_stop(w);
	assert_int_equal(get(w, DATA, 8), 0);
	assert_int_equal(get(w, DATA + 8, 8), USER);
	world_free(w);

	w = long_world("EPYC", true);
	PLACE(w, USER, touch_hole);
	assert_int_equal(world_run(w), RUN_TRIPLE_FAULT);
	assert_int_equal(w->st.activity, ACT_SHUTDOWN);
	assert_int_equal(w->st.rip, USER);
	world_free(w);
}

/* A software interrupt through a gate above the program: #GP with the gate's index, EXT clear, RIP at the INT. */
static void int_without_privilege(void **state)
{
	struct world *w = long_world("EPYC", true);

	PLACE(w, USER, user_int);
	PLACE(w, HANDLER, copy_frame);
	gate(w, 0x80, HANDLER, SYS_INT, 0, 0);
	gate(w, EXC_GP, HANDLER, SYS_INT, 0, 0);
	world_run_to_stop(w);
	assert_int_equal(get(w, DATA, 8), 0x80 * 8 + 2);
	assert_int_equal(get(w, DATA + 8, 8), USER);
	world_free(w);
}

ASM32(compat, "mov $0x12345678, %eax\n push %eax\n int $0x80\n")

/* To 32-bit code by IRETQ, back through a gate: the frame is a 64-bit one. */
static void compatibility_mode(void **state)
{
	struct world *w = long_world("EPYC", false);
	const u64 frame[] = {USER, CS3_32, FL_FIXED | FL_IF, USER_STACK, SS3};

	PLACE(w, CODE, iretq);
	PLACE(w, USER, compat);
	PLACE(w, HANDLER, copy_frame);
	gate(w, 0x80, HANDLER, SYS_INT, 3, 0);
	memcpy(at(w, STACK), frame, sizeof(frame));
	world_run_to_stop(w);
	assert_int_equal(get(w, USER_STACK - 4, 4), 0x12345678);
	assert_int_equal(get(w, DATA, 8), USER + 8);
	assert_int_equal(get(w, DATA + 8, 8), CS3_32);
	assert_int_equal(get(w, DATA + 24, 8), USER_STACK - 4);
	assert_int_equal(get(w, DATA + 32, 8), SS3);
	world_free(w);
}

/* To an outer level: segments of an inner one are dropped, but a null selector keeps its base (a VM exit's FS). */
static void iret_drops_segments(void **state)
{
	struct world *w = long_world("EPYC", false);
	const u64 frame[] = {USER, CS3, FL_FIXED | FL_IOPL, USER_STACK, SS3};

	PLACE(w, CODE, iretq);
	PLACE(w, USER, stop);
	memcpy(at(w, STACK), frame, sizeof(frame));
	w->st.seg[FS] = (struct x86_seg){0, 0xc93, 0xffffffff, 0x1234};
	w->st.seg[GS] = (struct x86_seg){SS0, 0xc93, 0xffffffff, 0x5678};
	world_run_to_stop(w);
	assert_int_equal(w->st.cpl, 3);
	assert_int_equal(w->st.seg[FS].base, 0x1234);
	assert_int_equal(w->st.seg[GS].sel, 0);
	assert_int_equal(w->st.seg[GS].attr & SEG_P, 0);
	world_free(w);
}

static void iret_faults(void **state)
{
	struct world *w = long_world("EPYC", false);
	u64 frame[] = {USER, CS3, FL_FIXED, USER_STACK, SS3};

	PLACE(w, CODE, iretq);
	frame[0] = 1ull << 47;
	memcpy(at(w, STACK), frame, sizeof(frame));
	assert_fault(w, world_step(w), EXC_GP, 0);
	frame[0] = USER;
	frame[1] = CS3 & ~3;
	memcpy(at(w, STACK), frame, sizeof(frame));
	assert_fault(w, world_step(w), EXC_GP, CS3 & ~3);
	frame[1] = CS3;
	frame[4] = 0;
	memcpy(at(w, STACK), frame, sizeof(frame));
	assert_fault(w, world_step(w), EXC_GP, 0);
	frame[4] = 0x1003;
	memcpy(at(w, STACK), frame, sizeof(frame));
	assert_fault(w, world_step(w), EXC_GP, 0x1000);
	frame[4] = SS3;
	memcpy(at(w, STACK), frame, sizeof(frame));
	put(w, GDT + (SS3 & ~7) + 5, 0x73, 1);
	assert_fault(w, world_step(w), EXC_SS, SS3 & ~3);
	put(w, GDT + (SS3 & ~7) + 5, 0xf3, 1);
	w->st.rflags |= FL_NT;
	assert_fault(w, world_step(w), EXC_GP, 0);
	w->st.rflags &= ~FL_NT;
	assert_int_equal(world_step(w), OUT_JUMP);
	assert_int_equal(w->st.cpl, 3);
	world_free(w);
}

ASM64(sysretq, "sysretq")
ASM64(sysretl, "sysretl")

static void sysret(void **state)
{
	static const char *const models[] = {"EPYC", "Haswell-noTSX-IBRS"};

	for (unsigned i = 0; i < 2; i++) {
		struct world *w = long_world(models[i], false);
		bool intel = i == 1;

		PLACE(w, CODE, sysretq);
		w->st.gpr[RCX] = 1ull << 62;
		w->st.gpr[R11] = FL_IF | FL_CF | FL_RF | FL_VM;
		if (intel) {
			assert_fault(w, world_step(w), EXC_GP, 0);
		} else {
			assert_int_equal(world_step(w), OUT_JUMP);
			assert_int_equal(w->st.rip, 1ull << 62); /* faults at the target */
			w->st.cpl = 0;
			w->st.rip = CODE;
		}
		w->st.gpr[RCX] = USER;
		w->st.seg[CS] = seg(CS0, 0xa9b);
		assert_int_equal(world_step(w), OUT_JUMP);
		assert_int_equal(w->st.seg[CS].sel, CS3);
		assert_int_equal(w->st.seg[SS].sel, SS3);
		assert_int_equal(w->st.seg[SS].attr, intel ? 0xcf3 : 0xc93);
		assert_int_equal(x86_rflags(&w->st), FL_IF | FL_CF | FL_FIXED);
		assert_int_equal(w->st.cpl, 3);

		PLACE(w, CODE, sysretl);
		w->st.cpl = 0;
		w->st.rip = CODE;
		w->st.seg[CS] = seg(CS0, 0xa9b);
		w->st.gpr[RCX] = 0xffffffff00003000;
		assert_int_equal(world_step(w), OUT_JUMP);
		assert_int_equal(w->st.rip, USER);
		assert_int_equal(w->st.seg[CS].attr, 0xcfb);
		world_free(w);
	}
}

ASM64(call_gate, "lcall *0x4000\n 1: hlt")
ASM64(far_return, "mov %rsp, %rbx\n lretq")

static void call_gate_inwards(void **state)
{
	struct world *w = long_world("EPYC", true);

	PLACE(w, USER, call_gate);
	PLACE(w, HANDLER, far_return);
	PLACE(w, HANDLER + 0x100, stop);
	gate(w, EXC_GP, HANDLER + 0x100, SYS_INT, 0, 0); /* HLT at CPL 3 */
	put(w, DATA + 4, CALL_GATE | 3, 2);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RBX], INNER_STACK - 32);
	assert_int_equal(get(w, INNER_STACK - 40, 8), USER + 7); /* the fault's frame: we came back */
	assert_int_equal(get(w, INNER_STACK - 32, 8), CS3);
	world_free(w);
}

/* STI keeps the interrupt away for one instruction; HLT after it is left by the interrupt. */
ASM64(sti_hlt, "mov $0x40, %al\n out %al, $0xf6\n nop\n sti\n hlt\n 1: jmp 1b")

static void interrupt_after_sti(void **state)
{
	struct world *w = long_world("EPYC", false);

	PLACE(w, CODE, sti_hlt);
	PLACE(w, HANDLER, copy_frame);
	gate(w, 0x40, HANDLER, SYS_INT, 0, 0);
	world_run_to_stop(w);
	assert_int_equal(get(w, DATA, 8), CODE + 7);
	assert_int_equal(get(w, DATA + 16, 8), FL_FIXED | FL_IF);
	assert_int_equal(w->cpu->n.irqs, 1);
	assert_int_equal(w->cpu->n.halts, 1);
	assert_int_equal(w->st.activity, ACT_RUNNING);
	world_free(w);
}

/* An NMI raised in the NMI handler waits for its IRET. */
ASM64(nmi_main, "out %al, $0xf5\n nop\n nop\n" STOP)
ASM64(nmi_handler, "inc %ebx\n cmp $2, %ebx\n je 1f\n out %al, $0xf5\n nop\n mov %ebx, %ecx\n 1: iretq")

static void nmi_blocks_nmi(void **state)
{
	struct world *w = long_world("EPYC", false);

	PLACE(w, CODE, nmi_main);
	PLACE(w, HANDLER, nmi_handler);
	gate(w, EXC_NMI, HANDLER, SYS_INT, 0, 0);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RBX], 2);
	assert_int_equal(w->st.gpr[RCX], 1);
	assert_int_equal(w->st.nmi_blocked, 0);
	world_free(w);
}

ASM64(step_main, "pushfq\n orl $0x100, (%rsp)\n popfq\n nop\n nop\n pushfq\n andl $~0x100, (%rsp)\n popfq\n" STOP)
ASM64(count_iret, "inc %ebx\n mov %dr6, %rcx\n iretq")

static void single_step(void **state)
{
	struct world *w = long_world("EPYC", false);

	PLACE(w, CODE, step_main);
	PLACE(w, HANDLER, count_iret);
	gate(w, EXC_DB, HANDLER, SYS_INT, 0, 0);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RBX], 5); /* NOP NOP PUSHF AND POPF: POPF began with TF set */
	assert_int_equal(w->st.gpr[RCX], DR6_FIXED | DR6_BS);
	world_free(w);
}

ASM64(code_break, "nop\n nop\n" STOP)
ASM64(set_rf, "inc %ebx\n orl $0x10000, 16(%rsp)\n iretq")

static void code_breakpoint(void **state)
{
	struct world *w = long_world("EPYC", false);

	PLACE(w, CODE, code_break);
	PLACE(w, HANDLER, set_rf);
	gate(w, EXC_DB, HANDLER, SYS_INT, 0, 0);
	w->st.dr[1] = CODE + 1;
	w->st.dr7 = DR7_FIXED | 4;
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RBX], 1);
	assert_int_equal(w->st.dr6, DR6_FIXED | 2);
	world_free(w);
}

ASM64(data_break, "mov %eax, 0x4004\n inc %ebx\n inc %ebx\n inc %ebx\n" STOP)
ASM64(saved_rip, "mov (%rsp), %rcx\n iretq")

/* In the midst of a block: the trap comes before the next instruction. */
static void data_breakpoint(void **state)
{
	struct world *w = long_world("EPYC", false);

	(void)state;
	PLACE(w, CODE, data_break);
	PLACE(w, HANDLER, saved_rip);
	gate(w, EXC_DB, HANDLER, SYS_INT, 0, 0);
	w->st.dr[0] = DATA + 4;
	w->st.dr7 = DR7_FIXED | 2 | 0xdull << 16;
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RCX], CODE + 7);
	assert_int_equal(w->st.gpr[RBX], 3);
	assert_int_equal(w->st.dr6, DR6_FIXED | 1);
	world_free(w);
}

ASM64(undefined, "ud2")
ASM64(saved_error, "mov (%rsp), %rcx\n" STOP)

/* #UD finds its gate not present: #NP's error code says by EXT what AMD's and Intel's manuals say differently. */
static void exception_ext(void **state)
{
	static const struct {
		const char *model;
		u32 error;
	} row[] = {{"EPYC", 0x32}, {"Skylake-Client", 0x33}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
		struct world *w = long_world(row[i].model, false);

		PLACE(w, CODE, undefined);
		PLACE(w, HANDLER, saved_error);
		gate(w, EXC_UD, HANDLER, SYS_INT, 0, 0);
		*(u8 *)at(w, IDT + EXC_UD * 16 + 5) &= 0x7f;
		gate(w, EXC_NP, HANDLER, SYS_INT, 0, 0);
		world_run_to_stop(w);
		assert_int_equal(w->st.gpr[RCX], row[i].error);
		world_free(w);
	}
}

ASM64(lar_ax, "lar %bx, %eax")
ASM64(lsl_ax, "lsl %bx, %eax")
ASM64(verw_bx, "verw %bx")
ASM64(ltr_bx, "ltr %bx")
ASM64(mov_ds, "mov %ebx, %ds")
ASM64(mov_ss, "mov %ebx, %ss")

static bool zf(const struct world *w) { return x86_rflags(&w->st) & FL_ZF; }

static enum outcome one(struct world *w, u64 rbx)
{
	w->st.rip = CODE;
	w->st.gpr[RBX] = rbx;
	return world_step(w);
}

static void selectors(void **state)
{
	struct world *w = long_world("EPYC", false);

	PLACE(w, CODE, lar_ax);
	assert_done(one(w, CS3));
	assert_true(zf(w));
	assert_int_equal(w->st.gpr[RAX], 0xaffb00);
	assert_done(one(w, 0x1000));
	assert_false(zf(w));
	assert_done(one(w, TR));
	assert_true(zf(w));
	PLACE(w, CODE, lsl_ax);
	assert_done(one(w, TR));
	assert_int_equal(w->st.gpr[RAX], 0x67);
	assert_done(one(w, CALL_GATE));
	assert_false(zf(w));
	PLACE(w, CODE, verw_bx);
	one(w, SS0);
	assert_true(zf(w));
	one(w, CS0);
	assert_false(zf(w));
	PLACE(w, CODE, mov_ds);
	assert_done(one(w, SS3));
	assert_int_equal(w->st.seg[DS].attr, 0xcf3);
	assert_fault(w, one(w, TR), EXC_GP, TR);
	assert_done(one(w, 0));
	PLACE(w, CODE, mov_ss);
	assert_fault(w, one(w, SS3), EXC_GP, SS3 & ~3);
	assert_done(one(w, 0));
	assert_int_equal(w->st.shadow, SHADOW_MOVSS);
	PLACE(w, CODE, ltr_bx);
	assert_done(one(w, TR));
	assert_int_equal(get(w, GDT + TR + 5, 1), 0x8b);
	assert_fault(w, one(w, TR), EXC_GP, TR);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(int_and_iret),
		cmocka_unit_test(page_fault_on_ist),
		cmocka_unit_test(double_fault),
		cmocka_unit_test(int_without_privilege),
		cmocka_unit_test(compatibility_mode),
		cmocka_unit_test(iret_drops_segments),
		cmocka_unit_test(iret_faults),
		cmocka_unit_test(sysret),
		cmocka_unit_test(call_gate_inwards),
		cmocka_unit_test(interrupt_after_sti),
		cmocka_unit_test(nmi_blocks_nmi),
		cmocka_unit_test(single_step),
		cmocka_unit_test(code_breakpoint),
		cmocka_unit_test(data_breakpoint),
		cmocka_unit_test(exception_ext),
		cmocka_unit_test(selectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
