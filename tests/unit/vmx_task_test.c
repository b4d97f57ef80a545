/*
 * Task switches in the guest: none happens, each exits with its source, selector and the event under way; what is
 * checked before the exit faults. SDM vol. 3 25.4.2 "Treatment of Task Switches", table 27-2 (exit qualification),
 * 27.2.4, 27.2.5, 27.3.3.
 */
#include "tests/unit/vmx_world.h"

#define TASK_SWITCH 9
#define TASK_B	    0x28 /* an available TSS */
#define TASK_BUSY   0x38 /* a busy one, which IRET may go back to */
#define TGATE	    0x40 /* to TASK_B */
#define BAD_TASK    0x48
#define BAD_GATE    0x50 /* to BAD_TASK */

#define VEV(kind, vector) (VEV_VALID | VEV_##kind << 8 | (vector))

ASM32(call_tss, "nop\n lcall $0x28, $0")
ASM32(jmp_tss, "nop\n ljmp $0x28, $0")
ASM32(call_gate, "lcall $0x40, $0")
ASM32(jmp_gate, "ljmp $0x40, $0")
ASM32(iret, "nop\n iret")
ASM32(int_21, "nop\n int $0x21")
ASM32(int3, "nop\n int3")
ASM32(into, "nop\n into")
ASM32(icebp, "nop\n .byte 0xf1")
ASM32(ud, "nop\n ud2")
ASM32(gp, "mov $0x1000, %eax\n mov %eax, %ds")
ASM32(interrupt, "mov $0x55, %al\n sti\n out %al, $0xf6\n nop")
ASM32(nmi, "out %al, $0xf5\n nop")

ASM32(call_bad, "lcall $0x48, $0")
ASM32(jmp_bad, "ljmp $0x48, $0")
ASM32(jmp_bad_gate, "ljmp $0x50, $0")

static struct world *task_world(const u8 *code, const u8 *end)
{
	struct world *w = vmx_world_of("Skylake-Client", code, end);
	u64 *f = vmx_f(w);

	f[VMCS_ENTRY] &= ~(u64)VMX_ENTRY_IA32E;
	f[VMCS_GUEST_CS_AR] = 0xc09b;
	f[VMCS_GUEST_CR0] &= ~CR0_PG;
	f[VMCS_PIN] &= ~(u64)(VMX_PIN_EXT_INT | VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI);
	put(w, GDT + TASK_B, descriptor(TSS_B, 0x67, 0x089), 8);
	put(w, GDT + TASK_BUSY, descriptor(TSS_B, 0x67, 0x08b), 8);
	put(w, GDT + TGATE, (u64)TASK_B << 16 | 0x85ull << 40, 8);
	put(w, GDT + BAD_GATE, (u64)BAD_TASK << 16 | 0x85ull << 40, 8);
	for (unsigned v = 0; v < 256; v++)
		put(w, IDT + 8 * v, (u64)TASK_B << 16 | 0xe5ull << 40, 8);
	put(w, TSS, TASK_BUSY, 2);
	return w;
}

static const struct row {
	const u8 *code, *end;
	u64 flags; /* at entry */
	u16 sel;
	u8 source;   /* 0: CALL, 1: IRET, 2: JMP, 3: a task gate in the IDT */
	u8 at, len;  /* 0: not an instruction's */
	bool resume; /* RF as it would be in the old TSS */
	u64 event, error;
} rows[] = {
#define CODE_OF(name) name##_start, name##_end
	{CODE_OF(call_tss), 0, TASK_B, 0, 1, 7, false, 0, 0},
	{CODE_OF(jmp_tss), 0, TASK_B, 2, 1, 7, false, 0, 0},
	{CODE_OF(call_gate), 0, TASK_B, 0, 0, 7, false, 0, 0},
	{CODE_OF(jmp_gate), 0, TASK_B, 2, 0, 7, false, 0, 0},
	{CODE_OF(iret), FL_NT, TASK_BUSY, 1, 1, 1, false, 0, 0},
	{CODE_OF(int_21), 0, TASK_B, 3, 1, 2, false, VEV(SOFT_INT, 0x21), 0},
	{CODE_OF(int3), 0, TASK_B, 3, 1, 1, false, VEV(SOFT_EXC, EXC_BP), 0},
	{CODE_OF(into), FL_OF, TASK_B, 3, 1, 1, false, VEV(SOFT_EXC, EXC_OF), 0},
	{CODE_OF(icebp), 0, TASK_B, 3, 1, 1, false, VEV(PRIV_SOFT, EXC_DB), 0},
	{CODE_OF(ud), 0, TASK_B, 3, 1, 0, true, VEV(HARD_EXC, EXC_UD), 0},
	{CODE_OF(gp), 0, TASK_B, 3, 5, 0, true, VEV(HARD_EXC, EXC_GP) | VEV_ERROR, 0x1000},
	{CODE_OF(interrupt), 0, TASK_B, 3, 5, 0, false, VEV(EXT_INT, 0x55), 0},
	{CODE_OF(nmi), 0, TASK_B, 3, 2, 0, false, VEV(NMI, EXC_NMI), 0},
};

static void nothing_switched(struct world *w)
{
	const u64 *f = vmx_f(w);

	assert_int_equal(f[VMCS_GUEST_TR_SEL], VTR);
	assert_int_equal(f[VMCS_GUEST_TR_BASE], TSS);
	assert_int_equal(get(w, GDT + TASK_B, 8), descriptor(TSS_B, 0x67, 0x089));
	assert_int_equal(get(w, GDT + VTR, 8), descriptor(TSS, 0x67, 0x08b));
	assert_int_equal(get(w, TSS + 0x20, 8), 0); /* EIP and EFLAGS */
	assert_int_equal(get(w, TSS_B, 2), 0);
	assert_int_equal(f[VMCS_GUEST_CR0] & CR0_TS, 0);
	assert_int_equal(f[VMCS_GUEST_RSP], GUEST_STACK);
}

static void each_source(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		struct world *w = task_world(r->code, r->end);
		u64 *f = vmx_f(w);

		f[VMCS_GUEST_RFLAGS] |= r->flags;
		vmx_run(w);
		if (f[VMCS_REASON] != TASK_SWITCH || f[VMCS_QUALIFICATION] != (r->sel | (u64)r->source << 30) ||
		    f[VMCS_IDT_EVENT] != r->event || (r->error && f[VMCS_IDT_ERROR] != r->error))
			fail_msg("row %u: exit %llu qualification %#llx, event %#llx error %#llx", i,
				 (unsigned long long)f[VMCS_REASON], (unsigned long long)f[VMCS_QUALIFICATION],
				 (unsigned long long)f[VMCS_IDT_EVENT], (unsigned long long)f[VMCS_IDT_ERROR]);
		if (f[VMCS_GUEST_RIP] != GUEST + (u64)r->at || (r->len && f[VMCS_INSN_LEN] != r->len))
			fail_msg("row %u: RIP %#llx, length %llu", i, (unsigned long long)f[VMCS_GUEST_RIP],
				 (unsigned long long)f[VMCS_INSN_LEN]);
		if (!(f[VMCS_GUEST_RFLAGS] & FL_RF) == r->resume)
			fail_msg("row %u: RFLAGS %#llx", i, (unsigned long long)f[VMCS_GUEST_RFLAGS]);
		assert_int_equal(f[VMCS_GUEST_RFLAGS] & FL_NT, r->flags & FL_NT);
		assert_int_equal(f[VMCS_EXIT_EVENT] & VEV_VALID, 0);
		nothing_switched(w);
		world_free(w);
	}
}

/* The gate and the TSS's descriptor are looked at first. */
static void checked_before(void **state)
{
	static const struct {
		const u8 *code, *end;
		u64 flags, task; /* the descriptor of BAD_TASK */
		u16 link;
		unsigned vector;
		u32 error;
	} bad[] = {
		{CODE_OF(call_bad), 0, 0x00008b0000000067, 0, EXC_GP, BAD_TASK}, /* busy */
		{CODE_OF(jmp_bad), 0, 0x0000090000000067, 0, EXC_NP, BAD_TASK},
		{CODE_OF(jmp_bad), 0, 0x0000890000000066, 0, EXC_TS, BAD_TASK}, /* short */
		{CODE_OF(jmp_bad_gate), 0, 0x00008b0000000067, 0, EXC_GP, BAD_TASK},
		{CODE_OF(jmp_bad_gate), 0, 0x0000090000000067, 0, EXC_NP, BAD_TASK},
		{CODE_OF(jmp_bad_gate), 0, 0x00cf93000000ffff, 0, EXC_GP, BAD_TASK},	/* no TSS */
		{CODE_OF(iret), FL_NT, 0x0000890000000067, BAD_TASK, EXC_TS, BAD_TASK}, /* not busy */
		{CODE_OF(iret), FL_NT, 0, 0, EXC_TS, 0},
		{CODE_OF(int_21), 0, 0x0000090000000067, 0, EXC_NP, BAD_TASK},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct world *w = task_world(bad[i].code, bad[i].end);
		u64 *f = vmx_f(w);

		put(w, GDT + BAD_TASK, bad[i].task, 8);
		put(w, TSS, bad[i].link, 2);
		put(w, IDT + 8 * 0x21, (u64)BAD_TASK << 16 | 0xe5ull << 40, 8);
		f[VMCS_GUEST_RFLAGS] |= bad[i].flags;
		f[VMCS_EXCEPTIONS] = ~0u;
		vmx_run(w);
		if (f[VMCS_REASON] || (u8)f[VMCS_EXIT_EVENT] != bad[i].vector || f[VMCS_EXIT_ERROR] != bad[i].error)
			fail_msg("row %u: exit %llu event %#llx error %#llx", i, (unsigned long long)f[VMCS_REASON],
				 (unsigned long long)f[VMCS_EXIT_EVENT], (unsigned long long)f[VMCS_EXIT_ERROR]);
		assert_int_equal(f[VMCS_IDT_EVENT], bad[i].code == int_21_start ? VEV(SOFT_INT, 0x21) : 0);
		nothing_switched(w);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_source),
		cmocka_unit_test(checked_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
