/*
 * The task-switch intercept: EXITINFO1 and EXITINFO2 of each way to switch, and EXITINTINFO of those by a task gate in
 * the IDT. APM vol. 2 15.14.1 "Task Switch Intercept", 15.7.2.
 */
#include "svm_world.h"

#define EXIT_TASK 0x7d
#define GDT	  0x800
#define TASK_B	  0x20 /* an available TSS */
#define TASK_BUSY 0x28 /* a busy one, which IRET may go back to */
#define TGATE	  0x30 /* to TASK_B */
#define TASK_A	  0x38 /* the guest's own */
#define TSS_A	  0x3800
#define BY_IRET	  BIT(36)
#define BY_JMP	  BIT(38)
#define HAS_ERROR BIT(44)
#define RF_SAVED  BIT(48)

#define ASM_32(name, body) ASM(name, ".code32\n" body "\n .code64")
ASM_32(call_tss, "nop\n lcall $0x20, $0")
ASM_32(jmp_tss, "nop\n ljmp $0x20, $0")
ASM_32(call_gate, "lcall $0x30, $0")
ASM_32(jmp_gate, "ljmp $0x30, $0")
ASM_32(iret, "nop\n iret")
ASM_32(int_21, "nop\n int $0x21")
ASM_32(int3, "nop\n int3")
ASM_32(ud, "nop\n ud2")
ASM_32(gp, "mov $0x1000, %eax\n mov %eax, %ds")
ASM_32(intr, "mov $0x55, %al\n mov $0x601, %dx\n out %al, %dx\n nop")
ASM_32(nmi, "mov $0x600, %dx\n out %al, %dx\n nop")

static const struct row {
	const u8 *code, *end;
	u64 flags; /* at VMRUN */
	u16 sel;
	u8 at;
	u64 info2, event;
} rows[] = {
#define CODE_OF(name) name##_start, name##_end
	{CODE_OF(call_tss), 0, TASK_B, 1, 0, 0},
	{CODE_OF(jmp_tss), 0, TASK_B, 1, BY_JMP, 0},
	{CODE_OF(call_gate), 0, TASK_B, 0, 0, 0},
	{CODE_OF(jmp_gate), 0, TASK_B, 0, BY_JMP, 0},
	{CODE_OF(iret), FL_NT, TASK_BUSY, 1, BY_IRET, 0},
	{CODE_OF(int_21), 0, TASK_B, 1, 0, EVI_VALID | EVI_SOFT_INT << 8 | 0x21},
	{CODE_OF(int3), 0, TASK_B, 1, 0, EVI_VALID | EVI_EXCEPTION << 8 | EXC_BP},
	{CODE_OF(ud), 0, TASK_B, 1, RF_SAVED, EVI_VALID | EVI_EXCEPTION << 8 | EXC_UD},
	{CODE_OF(gp), 0, TASK_B, 5, HAS_ERROR | RF_SAVED | 0x1000,
	 EVI_VALID | EVI_EXCEPTION << 8 | EVI_ERROR | EXC_GP | 0x1000ull << 32},
	{CODE_OF(intr), FL_IF, TASK_B, 7, 0, EVI_VALID | EVI_INTR << 8 | 0x55},
	{CODE_OF(nmi), 0, TASK_B, 5, 0, EVI_VALID | EVI_NMI << 8 | EXC_NMI},
};

static struct world *task_world(const struct row *r)
{
	struct world *w = world_new("EPYC", host_once_start, host_once_end, r->code, r->end);
	struct vmcb *b = vmcb(w);

	b->s.efer = EFER_SVME;
	b->s.cr0 &= ~CR0_PG;
	b->s.cs.attr = 0xc9b;
	b->s.gdtr.limit = 0x3f;
	b->s.rflags |= r->flags;
	put64(w, GDT + TASK_B, 0x0000890040000067);
	put64(w, GDT + TASK_BUSY, 0x00008b0040000067);
	put64(w, GDT + TGATE, (u64)TASK_B << 16 | 0x85ull << 40);
	put64(w, GDT + TASK_A, 0x00008b0038000067);
	for (unsigned v = 0; v < 256; v++)
		put64(w, IDT + 8 * v, (u64)TASK_B << 16 | 0xe5ull << 40);
	put64(w, TSS_A, TASK_BUSY);
	w->st.tr = (struct x86_seg){TASK_A, 0x8b, 0x67, TSS_A};
	b->c.intercept3 |= BIT(EXIT_TASK - 0x60);
	return w;
}

static void each_source(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		struct world *w = task_world(r);
		struct vmcb *b = vmcb(w);

		run(w);
		if (b->c.exit_code != EXIT_TASK || b->c.exit_info1 != r->sel || b->c.exit_info2 != r->info2 ||
		    b->c.exit_int_info != r->event)
			fail_msg("row %u: exit %#llx info %#llx %#llx event %#llx at %#llx", i,
				 (unsigned long long)b->c.exit_code, (unsigned long long)b->c.exit_info1,
				 (unsigned long long)b->c.exit_info2, (unsigned long long)b->c.exit_int_info,
				 (unsigned long long)b->s.rip);
		if (b->s.rip != GUEST_CODE + (u64)r->at || b->c.next_rip)
			fail_msg("row %u: RIP %#llx", i, (unsigned long long)b->s.rip);
		/* Nothing is switched. */
		assert_int_equal(w->st.tr.sel, TASK_A);
		assert_int_equal(at(w, GDT + TASK_B)[5], 0x89);
		assert_int_equal(at(w, GDT + TASK_A)[5], 0x8b);
		assert_int_equal(b->s.rflags & FL_NT, r->flags & FL_NT);
		assert_false(b->s.cr0 & CR0_TS);
		assert_int_equal(b->s.rsp, GUEST_STACK);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_source),
	};
	int failed = cmocka_run_group_tests_name("task switches", tests, NULL, NULL);

	options.drop_every = 2;
	return failed + cmocka_run_group_tests_name("task switches without caches", tests, NULL, NULL);
}
