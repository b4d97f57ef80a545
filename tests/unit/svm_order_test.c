/*
 * What comes before an intercept and what after it: APM vol. 2 15.9 "Instruction Intercepts". And what the host's own
 * debugging sees of VMRUN and of GIF: 15.5.1 "VMRUN and TF/RF Bits in EFLAGS", 15.17 "Global Interrupt Flag".
 */
#include "svm_world.h"

ASM(bad_cr0, "mov $0x80000000, %edx\n mov %rdx, %cr0")
ASM(bad_cr3, "movabs $0x4000000000000000, %rdx\n mov %rdx, %cr3")
ASM(bad_cr4, "movabs $0x8000000000000000, %rdx\n mov %rdx, %cr4")
ASM(bad_cr8, "mov $16, %edx\n mov %rdx, %cr8")
ASM(bad_dr7, "movabs $0x100000000, %rdx\n mov %rdx, %dr7")
ASM(vmrun, "vmrun")
ASM(vmload, "vmload")
ASM(vmsave, "vmsave")
ASM(far_vmload, "movabs $0x10000000000000, %rax\n vmload")
ASM(good_vmload, "mov $0x38000, %eax\n vmload")
ASM(bad_monitor, "mov $1, %ecx\n mov $0x3000, %eax\n monitor")
ASM(lost_monitor, "xor %ecx, %ecx\n mov $0x40000000, %eax\n monitor")
ASM(bad_mwait, "mov $2, %ecx\n mwait")
ASM(lost_lmsw, "mov $0x40000000, %ebx\n lmsw (%rbx)")
ASM(icebp, ".byte 0xf1")
ASM(two, "nop\n nop\n vmmcall")
ASM(host_step, "pushf\n orl $0x100, (%rsp)\n popf\n vmrun\n nop\n mov $0xf4, %dx\n outb %al, %dx\n 1: jmp 1b")
ASM(host_watched, "mov 0x3000, %ecx\n nop\n mov $0xf4, %dx\n outb %al, %dx\n 1: jmp 1b")
ASM(host_handler, "mov (%rsp), %rbx\n mov $0xf4, %dx\n outb %al, %dx\n 1: jmp 1b")

#define EXC(vector) (0x40u + (vector))

static void exceptions_first(void **state)
{
	static const struct {
		const u8 *code, *end;
		unsigned asked; /* the intercept, by its exit code; #GP, #PF and #DB are intercepted too */
		unsigned exit;
	} rows[] = {
#define CODE_OF(name) name##_start, name##_end
		{CODE_OF(bad_cr0), 0x10, EXC(EXC_GP)},
		{CODE_OF(bad_cr0), 0x65, EXC(EXC_GP)},
		{CODE_OF(bad_cr3), 0x13, EXC(EXC_GP)},
		{CODE_OF(bad_cr4), 0x14, EXC(EXC_GP)},
		{CODE_OF(bad_cr8), 0x18, EXC(EXC_GP)},
		{CODE_OF(bad_dr7), 0x37, EXC(EXC_GP)},
		{CODE_OF(vmrun), 0x80, EXC(EXC_GP)},
		{CODE_OF(vmload), 0x82, EXC(EXC_GP)},
		{CODE_OF(vmsave), 0x83, EXC(EXC_GP)},
		{CODE_OF(far_vmload), 0x82, EXC(EXC_GP)},
		{CODE_OF(good_vmload), 0x82, 0x82},
		{CODE_OF(bad_monitor), 0x8a, EXC(EXC_GP)},
		{CODE_OF(lost_monitor), 0x8a, EXC(EXC_PF)},
		{CODE_OF(bad_mwait), 0x8b, EXC(EXC_GP)},
		{CODE_OF(lost_lmsw), 0x65, 0x65},    /* the intercept is before memory */
		{CODE_OF(icebp), EXC(EXC_DB), 0x81}, /* the handler's VMMCALL: vector 1, but no #DB */
		{CODE_OF(icebp), 0x88, 0x88},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = world_new("EPYC-Milan", CODE_OF(host_once), rows[i].code, rows[i].end);
		struct vmcb_control *c = &vmcb(w)->c;

		c->exceptions = BIT(EXC_GP) | BIT(EXC_PF) | BIT(EXC_DB);
		if (rows[i].asked < 0x40)
			(&c->cr_read)[rows[i].asked / 16] |= (u16)BIT(rows[i].asked % 16);
		else
			(&c->exceptions)[(rows[i].asked - 0x40) / 32] |= (u32)BIT(rows[i].asked % 32);
		run(w);
		if (c->exit_code != rows[i].exit)
			fail_msg("row %u: exit %#llx, not %#x", i, (unsigned long long)c->exit_code, rows[i].exit);
		world_free(w);
	}
}

static void handler_of_host(struct world *w)
{
	memcpy(at(w, HANDLER), host_handler_start, (size_t)(host_handler_end - host_handler_start));
	w->st.gpr[RBX] = 0;
}

/* TF of the host traps behind VMRUN, when the guest has been left, and not in the guest; after a refused VMRUN too. */
static void host_steps_over(void **state)
{
	for (unsigned refused = 0; refused < 2; refused++) {
		struct world *w = WORLD(host_step, two);

		handler_of_host(w);
		vmcb(w)->c.asid = refused ? 0 : 1;
		run(w);
		assert_exit(w, refused ? ~0ull : 0x81, 0, 0);
		assert_int_equal(vmcb(w)->s.rip, refused ? GUEST_CODE : GUEST_CODE + 2);
		assert_int_equal(w->st.svm.in_guest, 0);
		assert_int_equal(w->st.gpr[RBX], CODE + 12);
		assert_int_equal(w->st.dr6 & DR6_BS, DR6_BS);
		assert_int_equal(w->st.svm.gif, 0);
		world_free(w);
	}
}

/* Breakpoints on data and on code: none while GIF is 0. */
static void breakpoints_need_gif(void **state)
{
	static const struct {
		u64 dr7, hit;
	} rows[] = {{DR7_FIXED | 1 | 0xf0000, CODE + 7}, {DR7_FIXED | 4, CODE + 7}};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		for (unsigned gif = 0; gif < 2; gif++) {
			struct world *w = WORLD(host_watched, two);

			handler_of_host(w);
			w->st.dr[0] = DATA;
			w->st.dr[1] = CODE + 7;
			w->st.dr7 = rows[i].dr7;
			w->st.svm.gif = gif;
			run(w);
			assert_int_equal(w->st.gpr[RBX], gif ? rows[i].hit : 0);
			assert_int_equal(w->st.dr6 & 15, gif ? BIT(i) : 0);
			world_free(w);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(exceptions_first),
		cmocka_unit_test(host_steps_over),
		cmocka_unit_test(breakpoints_need_gif),
	};
	int failed = cmocka_run_group_tests_name("SVM order", tests, NULL, NULL);

	options.drop_every = 2;
	return failed + cmocka_run_group_tests_name("SVM order without caches", tests, NULL, NULL);
}
