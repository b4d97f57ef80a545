/*
 * Real mode, 16- and 32-bit protected mode without paging, virtual-8086 mode, call gates with parameters, hardware task
 * switches. SDM vol. 3 chapters 5 to 7, 20.
 */
#include "tests/unit/cpu_world.h"

#include "cpu/x86/exec.h"

#define CS0	0x08
#define SS0	0x10
#define CS3	0x1b
#define SS3	0x23
#define TR_A	0x28
#define TR_B	0x30
#define GATE	0x38
#define TASK	0x40
#define LDT_SEL 0x48
#define SMALL	0x50 /* a data segment of one page at DATA */
#define DOWN	0x58 /* expand-down from 100h to FFFFh at DATA */

static void gate(struct world *w, unsigned vector, u64 offset, unsigned type, unsigned dpl)
{
	put(w, IDT + 8 * vector,
	    (offset & 0xffff) | CS0 << 16 | (0x80ull | dpl << 5 | type) << 40 | (offset >> 16 & 0xffff) << 48, 8);
}

static struct world *flat_world(void)
{
	struct world *w = world_new("EPYC");
	struct x86_state *st = &w->st;

	put(w, GDT + CS0, descriptor(0, 0xfffff, 0xc9b), 8);
	put(w, GDT + SS0, descriptor(0, 0xfffff, 0xc93), 8);
	put(w, GDT + (CS3 & ~7), descriptor(0, 0xfffff, 0xcfb), 8);
	put(w, GDT + (SS3 & ~7), descriptor(0, 0xfffff, 0xcf3), 8);
	put(w, GDT + TR_A, descriptor(TSS, 0x67, 0x08b), 8);
	put(w, GDT + TR_B, descriptor(TSS_B, 0x67, 0x089), 8);
	put(w, GDT + GATE, HANDLER | CS0 << 16 | 2ull << 32 | 0xecull << 40, 8); /* two parameters */
	put(w, GDT + TASK, (u64)TR_B << 16 | 0xe5ull << 40, 8);
	put(w, GDT + LDT_SEL, descriptor(LDT, 0xf, 0x082), 8);
	put(w, GDT + SMALL, descriptor(DATA, 0xfff, 0x4f3), 8);
	put(w, GDT + DOWN, descriptor(DATA, 0xff, 0x0f7), 8);
	put(w, LDT + 8, descriptor(0, 0xfffff, 0xcf3), 8);
	put(w, TSS + 4, INNER_STACK, 4);
	put(w, TSS + 8, SS0, 4);
	x86_set_rflags(st, FL_FIXED);
	st->rip = CODE;
	st->gpr[RSP] = STACK;
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = (struct x86_seg){SS0, 0xc93, 0xffffffff, 0};
	st->seg[CS] = (struct x86_seg){CS0, 0xc9b, 0xffffffff, 0};
	st->tr = (struct x86_seg){TR_A, 0x8b, 0x67, TSS};
	st->ldtr = (struct x86_seg){0};
	st->gdtr = (struct x86_dtr){GDT, 0x5f};
	st->idtr = (struct x86_dtr){IDT, 0x7ff};
	st->cr0 = CR0_PE | CR0_ET | CR0_NE;
	return w;
}

static void to_user(struct world *w)
{
	for (unsigned i = 0; i < X86_SREGS; i++)
		w->st.seg[i] = (struct x86_seg){SS3, 0xcf3, 0xffffffff, 0};
	w->st.seg[CS] = (struct x86_seg){CS3, 0xcfb, 0xffffffff, 0};
	w->st.cpl = 3;
	w->st.rip = USER;
	w->st.gpr[RSP] = USER_STACK;
}

ASM32(stop, STOP)
ASM32(iret, "mov %esp, %esi\n iret")
ASM32(user_int, "int $0x80\n mov $7, %ebx\n int $0x81")

static void interrupt_and_back(void **state)
{
	struct world *w = flat_world();

	to_user(w);
	PLACE(w, USER, user_int);
	PLACE(w, HANDLER, iret);
	PLACE(w, HANDLER + 0x100, stop);
	gate(w, 0x80, HANDLER, SYS_INT, 3);
	gate(w, 0x81, HANDLER + 0x100, SYS_TRAP, 3);
	w->st.rflags |= FL_IF;
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RBX], 7);
	assert_int_equal(w->st.gpr[RSI], INNER_STACK - 20);
	assert_true(w->st.rflags & FL_IF); /* a trap gate */
	assert_int_equal(w->st.cpl, 0);
	assert_int_equal(get(w, INNER_STACK - 4, 4), SS3);
	assert_int_equal(get(w, INNER_STACK - 8, 4), USER_STACK);
	assert_int_equal(get(w, INNER_STACK - 16, 4), CS3);
	assert_int_equal(get(w, INNER_STACK - 20, 4), USER + 9);
	world_free(w);
}

/* The caller's two parameters are copied; RET 8 drops them on both stacks. */
ASM32(call_with_two, "push $0x11\n push $0x22\n lcall $0x3b, $0\n mov $1, %ebx\n int $0x81")
ASM32(callee, "mov 8(%esp), %ecx\n mov 12(%esp), %edx\n mov %ds, %edi\n lret $8")

static void call_gate_copies(void **state)
{
	struct world *w = flat_world();

	to_user(w);
	PLACE(w, USER, call_with_two);
	PLACE(w, HANDLER, callee);
	PLACE(w, HANDLER + 0x100, stop);
	gate(w, 0x81, HANDLER + 0x100, SYS_TRAP, 3);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RBX], 1);
	assert_int_equal(w->st.gpr[RCX], 0x22);
	assert_int_equal(w->st.gpr[RDX], 0x11);
	assert_int_equal(get(w, INNER_STACK - 8, 4), USER_STACK); /* of INT 81h: both parameters are gone */
	world_free(w);
}

/* IRET into virtual-8086 mode, INT back through a gate. */
ASM16(v86_code, "mov %cs, %ax\n mov %ds, %bx\n movb $0x5a, 2\n int $0x80")

static void virtual_8086(void **state)
{
	struct world *w = flat_world();
	const u32 frame[] = {0,	    USER >> 4, FL_VM | FL_IOPL | FL_FIXED, 0x100, USER_STACK >> 4, 0x111, DATA >> 4,
			     0x222, 0x333};

	PLACE(w, CODE, iret);
	PLACE(w, USER, v86_code);
	PLACE(w, HANDLER, stop);
	gate(w, 0x80, HANDLER, SYS_INT, 3);
	memcpy(at(w, STACK), frame, sizeof(frame));
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RAX] & 0xffff, USER >> 4);
	assert_int_equal(w->st.gpr[RBX] & 0xffff, DATA >> 4);
	assert_int_equal(get(w, DATA + 2, 1), 0x5a);
	assert_int_equal(w->st.gpr[RSP], INNER_STACK - 36);
	assert_int_equal(get(w, INNER_STACK - 4, 4), 0x333);
	assert_int_equal(get(w, INNER_STACK - 16, 4), 0x111);
	assert_int_equal(get(w, INNER_STACK - 24, 4), 0x100);
	assert_true(get(w, INNER_STACK - 28, 4) & FL_VM);
	assert_int_equal(get(w, INNER_STACK - 36, 4), v86_code_end - v86_code_start);
	assert_int_equal(w->st.seg[DS].attr, 0);
	assert_false(w->st.rflags & FL_VM);
	world_free(w);
}

static void tss_fill(struct world *w, u64 tss, u64 eip, u16 cs, u16 ss)
{
	put(w, tss + 0x20, eip, 4);
	put(w, tss + 0x24, FL_FIXED, 4);
	put(w, tss + 0x38, 0x9800, 4);
	put(w, tss + 0x34, 0xabcd, 4);
	put(w, tss + 0x4c, cs, 2);
	put(w, tss + 0x50, ss, 2);
	put(w, tss + 0x54, ss, 2);
}

ASM32(call_task, "mov $3, %ecx\n lcall $0x40, $0\n mov $9, %esi\n" STOP)
ASM32(jmp_task, "mov $3, %ecx\n ljmp $0x30, $0\n")
ASM32(task_b, "mov %ebx, 0x4000\n iret\n")

static void task_call_and_return(void **state)
{
	struct world *w = flat_world();

	PLACE(w, CODE, call_task);
	PLACE(w, USER, task_b);
	tss_fill(w, TSS_B, USER, CS0, SS0);
	world_run_to_stop(w);
	assert_int_equal(get(w, DATA, 4), 0xabcd);
	assert_int_equal(w->st.gpr[RSI], 9);
	assert_int_equal(w->st.gpr[RCX], 3);
	assert_int_equal(w->st.gpr[RSP], STACK);
	assert_int_equal(w->st.tr.sel, TR_A);
	assert_int_equal(get(w, TSS_B, 2), TR_A);
	assert_int_equal(get(w, GDT + TR_A + 5, 1), 0x8b);
	assert_int_equal(get(w, GDT + TR_B + 5, 1), 0x89);
	assert_int_equal(get(w, TSS_B + 0x20, 4), USER + (task_b_end - task_b_start));
	assert_true(w->st.cr0 & CR0_TS);
	assert_false(w->st.rflags & FL_NT);
	world_free(w);
}

static void task_jump(void **state)
{
	struct world *w = flat_world();

	PLACE(w, CODE, jmp_task);
	PLACE(w, USER, stop);
	tss_fill(w, TSS_B, USER, CS3, SS3);
	put(w, TSS_B + 0x24, FL_FIXED | FL_IOPL, 4);
	world_run_to_stop(w);
	assert_int_equal(w->st.cpl, 3);
	assert_int_equal(w->st.gpr[RSP], 0x9800);
	assert_int_equal(get(w, GDT + TR_A + 5, 1), 0x89);
	assert_int_equal(get(w, GDT + TR_B + 5, 1), 0x8b);
	assert_int_equal(get(w, TSS + 0x20, 4), CODE + (jmp_task_end - jmp_task_start));
	assert_int_equal(get(w, TSS + 0x2c, 4), 3);
	world_free(w);
}

/* #GP through a task gate: the error code is on the new task's stack; a bad SS there is the new task's #TS. */
ASM32(bad_ds, "mov $0xfff8, %eax\n mov %eax, %ds")

static void task_gate_fault(void **state)
{
	struct world *w = flat_world();

	PLACE(w, CODE, bad_ds);
	PLACE(w, USER, stop);
	put(w, IDT + 8 * EXC_GP, (u64)TR_B << 16 | 0x85ull << 40, 8);
	tss_fill(w, TSS_B, USER, CS0, SS0);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RSP], 0x9800 - 4);
	assert_int_equal(get(w, 0x9800 - 4, 4), 0xfff8);
	assert_true(w->st.rflags & FL_NT);
	assert_int_equal(get(w, TSS + 0x20, 4), CODE + 5);
	world_free(w);

	w = flat_world();
	PLACE(w, CODE, jmp_task);
	PLACE(w, HANDLER, stop);
	gate(w, EXC_TS, HANDLER, SYS_INT, 0);
	tss_fill(w, TSS_B, USER, CS3, SS0);
	put(w, TSS_B + 4, INNER_STACK, 4);
	put(w, TSS_B + 8, SS0, 4);
	world_run_to_stop(w);
	assert_int_equal(get(w, INNER_STACK - 24, 4), SS0);
	assert_int_equal(get(w, INNER_STACK - 20, 4), USER);
	assert_int_equal(get(w, INNER_STACK - 16, 4), CS3);
	world_free(w);
}

ASM32(load_ds, "mov %eax, %ds\n")
ASM32(read_bx, "mov (%ebx), %ecx\n")
ASM32(write_cs, "mov %ecx, %cs:(%ebx)\n")
ASM32(lldt_ax, "lldt %ax\n")

static enum outcome one(struct world *w, u64 eax, u64 ebx)
{
	w->st.rip = CODE;
	w->st.gpr[RAX] = eax;
	w->st.gpr[RBX] = ebx;
	return world_step(w);
}

static void segment_limits(void **state)
{
	struct world *w = flat_world();

	PLACE(w, CODE, load_ds);
	assert_done(one(w, SMALL, 0));
	PLACE(w, CODE, read_bx);
	assert_done(one(w, 0, 0xffc));
	assert_fault(w, one(w, 0, 0xffd), EXC_GP, 0);
	assert_fault(w, one(w, 0, 0xfffffffc), EXC_GP, 0);
	PLACE(w, CODE, load_ds);
	assert_done(one(w, DOWN, 0));
	PLACE(w, CODE, read_bx);
	assert_fault(w, one(w, 0, 0xfc), EXC_GP, 0);
	assert_fault(w, one(w, 0, 0xff), EXC_GP, 0);
	assert_done(one(w, 0, 0x100));
	assert_done(one(w, 0, 0xfffc));
	assert_fault(w, one(w, 0, 0xfffd), EXC_GP, 0);
	PLACE(w, CODE, load_ds);
	assert_done(one(w, 0, 0));
	PLACE(w, CODE, read_bx);
	assert_fault(w, one(w, 0, 0x4000), EXC_GP, 0);
	PLACE(w, CODE, write_cs);
	assert_fault(w, one(w, 0, DATA), EXC_GP, 0);
	PLACE(w, CODE, load_ds);
	assert_fault(w, one(w, 0xc, 0), EXC_GP, 0xc); /* no LDT */
	PLACE(w, CODE, lldt_ax);
	assert_done(one(w, LDT_SEL, 0));
	PLACE(w, CODE, load_ds);
	assert_done(one(w, 0xf, 0));
	assert_fault(w, one(w, 0x14, 0), EXC_GP, 0x14);
	put(w, LDT + 8 + 5, 0x73, 1);
	assert_fault(w, one(w, 0xc, 0), EXC_NP, 0xc);
	world_free(w);
}

/* From reset's real mode: INT, far call, then protected mode by way of LGDT, CR0.PE and a far jump. */
ASM16(real_code, "int $0x21\n"
		 "lcall $0x200, $0x10\n"
		 "lgdtl %cs:0x80\n"
		 "mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n"
		 "ljmpl $0x08, $0x3000\n")
ASM16(real_int, "mov %sp, %si\n mov (%si), %bx\n iret")
ASM16(real_far, "mov $0x1234, %dx\n lret")
ASM32(protected, "mov $0x10, %ecx\n mov %ecx, %ds\n movl $1, 0x100000\n" STOP)

static void real_mode(void **state)
{
	struct world *w = flat_world();
	struct x86_state *st = &w->st;

	x86_reset(st, X86_AMD, 0, false);
	PLACE(w, CODE, real_code);
	PLACE(w, CODE + 0x200, real_int);
	PLACE(w, HANDLER + 0x10, real_far);
	PLACE(w, USER, protected);
	put(w, CODE + 0x80, 0x5f, 2);
	put(w, CODE + 0x82, GDT, 4);
	put(w, 0x21 * 4, 0x0100u << 16 | 0x200, 4);
	st->seg[CS].sel = CODE >> 4;
	st->seg[CS].base = CODE;
	st->rip = 0;
	st->gpr[RSP] = 0xfff00002; /* the stack pointer wraps at 16 bits; what is above stays */
	world_run_to_stop(w);
	assert_int_equal(st->gpr[RBX] & 0xffff, 2);
	assert_int_equal(st->gpr[RSI] & 0xffff, 0xfffc);
	assert_int_equal(st->gpr[RDX] & 0xffff, 0x1234);
	assert_int_equal(st->gpr[RSP], 0xfff00002);
	assert_int_equal(st->seg[CS].attr, 0xc9b);
	assert_int_equal(get(w, 0x100000, 4), 1);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(interrupt_and_back), cmocka_unit_test(call_gate_copies),
		cmocka_unit_test(virtual_8086),	      cmocka_unit_test(task_call_and_return),
		cmocka_unit_test(task_jump),	      cmocka_unit_test(task_gate_fault),
		cmocka_unit_test(segment_limits),     cmocka_unit_test(real_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
