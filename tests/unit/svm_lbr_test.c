/*
 * The record of the last branch and DEBUGCTL, in the host and switched with a guest. APM vol. 2 13.1.1.6 "Debug-Control
 * MSR", 15.23 "Last Branch Record Virtualization".
 */
#include "svm_world.h"

#define DBG_LBR BIT(0)
#define DBG_BTF BIT(1)

/* The addresses in the comments are from GUEST_CODE. */
ASM(guest_jmp, "jmp 1f\n nop\n 1: nop\n vmmcall")		      /* 0 -> 3 */
ASM(guest_jcc, "jmp 1f\n nop\n 1: xor %eax, %eax\n jnz 1b\n vmmcall") /* 0 -> 3; the other is not taken */
ASM(guest_call, "call 1f\n vmmcall\n 1: ret")			      /* 8 -> 5 */
ASM(guest_int, "jmp 1f\n nop\n 1: int $0x50")			      /* 3 -> HANDLER, 0 -> 3 before it */
ASM(guest_ud, "jmp 1f\n nop\n 1: ud2")				      /* the same by a fault */
ASM(guest_int1, "jmp 1f\n nop\n 1: .byte 0xf1")			      /* #DB: recording ends */
ASM(guest_set, "mov $0x1d9, %ecx\n mov $1, %eax\n xor %edx, %edx\n wrmsr\n jmp 1f\n nop\n 1: vmmcall")
ASM(guest_read, "mov $0x1d9, %ecx\n rdmsr\n mov %eax, %esi\n mov $0x1dc, %ecx\n rdmsr\n mov %eax, %edi\n vmmcall")
ASM(guest_write, "mov $0x1db, %ecx\n wrmsr\n vmmcall")
ASM(guest_step, "nop\n nop\n jmp 1f\n nop\n 1: nop\n vmmcall")
ASM(host_branches,
    "mov $0x1d9, %ecx\n mov $1, %eax\n xor %edx, %edx\n wrmsr\n mov $0x30000, %eax\n jmp 1f\n nop\n 1: vmrun\n"
    "mov $0xf4, %dx\n outb %al, %dx\n 2: jmp 2b")

static void assert_record(const u64 *have, u64 from, u64 to, u64 int_from, u64 int_to)
{
	assert_int_equal(have[0], from);
	assert_int_equal(have[1], to);
	assert_int_equal(have[2], int_from);
	assert_int_equal(have[3], int_to);
}

/* The guest's record is in the VMCB, the host's is what it was. */
static void guests(void **state)
{
	static const struct {
		const u8 *code, *end;
		u64 from, to, int_from, int_to, dbgctl;
	} rows[] = {
#define G GUEST_CODE
		{guest_jmp_start, guest_jmp_end, G, G + 3, 0x33, 0x44, DBG_LBR},
		{guest_jcc_start, guest_jcc_end, G, G + 3, 0x33, 0x44, DBG_LBR},
		{guest_call_start, guest_call_end, G + 8, G + 5, 0x33, 0x44, DBG_LBR},
		{guest_int_start, guest_int_end, G + 3, HANDLER, G, G + 3, DBG_LBR},
		{guest_ud_start, guest_ud_end, G + 3, HANDLER, G, G + 3, DBG_LBR},
		{guest_int1_start, guest_int1_end, G, G + 3, 0x33, 0x44, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = world_new("EPYC", host_once_start, host_once_end, rows[i].code, rows[i].end);
		struct vmcb *b = vmcb(w);

		b->c.virt_ext = VIRT_LBR;
		b->s.dbgctl = DBG_LBR;
		b->s.br_from = 0x11;
		b->s.br_to = 0x22;
		b->s.last_excp_from = 0x33;
		b->s.last_excp_to = 0x44;
		for (unsigned k = 0; k < 4; k++)
			w->st.msr.last_branch[k] = 0x1000 + k;
		run(w);
		assert_exit(w, 0x81, 0, 0);
		assert_record(&b->s.br_from, rows[i].from, rows[i].to, rows[i].int_from, rows[i].int_to);
		assert_int_equal(b->s.dbgctl, rows[i].dbgctl);
		assert_int_equal(w->st.msr.debugctl, 0);
		assert_record(w->st.msr.last_branch, 0x1000, 0x1001, 0x1002, 0x1003);
		world_free(w);
	}
}

/* The guest switches its own on; with the control off, or where the model lacks it, there is one DEBUGCTL for both. */
static void guest_msr(void **state)
{
	static const char *const models[] = {"EPYC", "EPYC", "EPYC,lbrv=off"};

	for (unsigned i = 0; i < ARRAY_SIZE(models); i++) {
		struct world *w = WORLD_OF(models[i], host_once, guest_set);
		struct vmcb *b = vmcb(w);

		b->c.virt_ext = i == 1 ? 0 : VIRT_LBR;
		run(w);
		assert_exit(w, 0x81, 0, 0);
		assert_int_equal(b->s.dbgctl, i ? 0 : DBG_LBR);
		assert_int_equal(b->s.br_from, i ? 0 : GUEST_CODE + 14);
		assert_int_equal(b->s.br_to, i ? 0 : GUEST_CODE + 17);
		assert_int_equal(w->st.msr.debugctl, i ? DBG_LBR : 0);
		world_free(w);
	}
}

static void guest_reads(void **state)
{
	struct world *w = WORLD(host_once, guest_read);

	vmcb(w)->c.virt_ext = VIRT_LBR;
	vmcb(w)->s.dbgctl = DBG_BTF | BIT(10); /* the reserved bit is dropped */
	vmcb(w)->s.br_to = 0x77;
	run(w);
	assert_int_equal(w->st.gpr[RSI], DBG_BTF);
	assert_int_equal(w->st.gpr[RDI], 0x77);
	world_free(w);
	/* The record is read-only. */
	w = WORLD(host_once, guest_write);
	vmcb(w)->c.exceptions = BIT(EXC_GP);
	run(w);
	assert_exit(w, 0x40 + EXC_GP, 0, 0);
	world_free(w);
}

/* The host's own branch before VMRUN; the guest's, switched, leave no trace in it. A broken VMCB gets no record. */
static void host_own(void **state)
{
	for (unsigned broken = 0; broken < 2; broken++) {
		struct world *w = WORLD(host_branches, guest_jmp);
		u64 jmp = CODE + 19;

		vmcb(w)->c.virt_ext = VIRT_LBR;
		vmcb(w)->s.br_from = 0x99;
		if (broken)
			vmcb(w)->c.asid = 0;
		run(w);
		assert_int_equal(vmcb(w)->c.exit_code, broken ? ~0ull : 0x81);
		assert_int_equal(w->st.msr.debugctl, DBG_LBR);
		assert_int_equal(w->st.msr.last_branch[0], jmp);
		assert_int_equal(w->st.msr.last_branch[1], jmp + 3);
		assert_int_equal(vmcb(w)->s.br_from, 0x99);
		assert_int_equal(vmcb(w)->s.dbgctl, 0);
		world_free(w);
	}
}

/* BTF: a single step stops behind taken branches alone, and #DB clears it. */
static void step_branches(void **state)
{
	struct world *w = WORLD(host_once, guest_step);
	struct vmcb *b = vmcb(w);

	b->c.virt_ext = VIRT_LBR;
	b->c.exceptions = BIT(EXC_DB);
	b->s.dbgctl = DBG_BTF;
	b->s.rflags = FL_FIXED | FL_TF;
	run(w);
	assert_exit(w, 0x40 + EXC_DB, 0, 0);
	assert_int_equal(b->s.rip, GUEST_CODE + 5);
	assert_int_equal(b->s.dr6, DR6_FIXED | DR6_BS);
	b->c.exceptions = 0;
	b->s.dbgctl = DBG_BTF;
	b->s.rip = GUEST_CODE;
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(b->s.dbgctl, 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests),   cmocka_unit_test(guest_msr),     cmocka_unit_test(guest_reads),
		cmocka_unit_test(host_own), cmocka_unit_test(step_branches),
	};
	int failed = cmocka_run_group_tests_name("last branches", tests, NULL, NULL);

	options.drop_every = 2;
	return failed + cmocka_run_group_tests_name("last branches without caches", tests, NULL, NULL);
}
