/* APIC virtualization: SDM vol. 3 chapter 29. A topic a test. */
#include "tests/unit/vmx_world.h"

#include <pthread.h>
#include <unistd.h>

#define EXIT_ACCESS  44
#define EXIT_EOI     45
#define EXIT_BELOW   43
#define EXIT_WRITTEN 56
#define EXIT_CALL    18
#define TPR	     0x80
#define ISR	     0x100
#define IRR	     0x200

static void apic(struct world *w, u32 controls)
{
	u64 *f = vmx_f(w);

	f[VMCS_PROC2] |= controls;
	if (controls & ~(u32)VMX_PROC2_APIC_ACCESS)
		f[VMCS_PROC] |= VMX_PROC_TPR_SHADOW;
}
#define APICV (VMX_PROC2_APIC_ACCESS | VMX_PROC2_APIC_REG | VMX_PROC2_VID)

static u32 reg(struct world *w, u32 at_) { return (u32)get(w, VIRTUAL_APIC + at_, 4); }
static void reg_set(struct world *w, u32 at_, u32 v) { put(w, VIRTUAL_APIC + at_, v, 4); }
static bool bit(struct world *w, u32 base, unsigned v) { return reg(w, base + v / 32 * 16) >> v % 32 & 1; }
static void bit_set(struct world *w, u32 base, unsigned v) { reg_set(w, base + v / 32 * 16, 1u << v % 32); }

ASM64(reads, "nop\n mov 0x50020, %eax")
ASM64(writes, "nop\n movl $1, 0x50300")
ASM64(fetches, "mov $0x50010, %eax\n jmp *%rax")
ASM64(int3, "mov $0x50808, %esp\n int3")
ASM64(across, "mov 0x4fffe, %eax")

/* Exits without virtualization, and each access type: SDM vol. 3 table 27-6. */
static void access_types(void **state)
{
	static const struct {
		const u8 *code, *end;
		u64 qualification;
	} rows[] = {
		{reads_start, reads_end, 0x0020},     {writes_start, writes_end, 0x1300},
		{fetches_start, fetches_end, 0x2010}, {int3_start, int3_end, 0x37f8},
		{across_start, across_end, 0x0000},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = vmx_world_of("Skylake-Client", rows[i].code, rows[i].end);

		apic(w, VMX_PROC2_APIC_ACCESS);
		vmx_run(w);
		EXPECT_EXIT(w, EXIT_ACCESS, rows[i].qualification);
		assert_int_equal(vmx_f(w)[VMCS_IDT_EVENT], i == 3 ? VEV_VALID | VEV_SOFT_EXC << 8 | 3 : 0);
		world_free(w);
	}
}

/* A guest's table in the APIC-access page: a guest-physical access. */
static void access_physical(void **state)
{
	struct world *w = VMX_WORLD(reads);

	apic(w, VMX_PROC2_APIC_ACCESS);
	put(w, GUEST_TABLES + 0x2000, APIC_ACCESS | 7, 8);
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_ACCESS, 0xf000 | GUEST >> 12 << 3);
	world_free(w);
}

ASM64(tpr_store,
      "movl $0x12345650, 0x50080\n mov 0x50080, %ebx\n movl $0x30, 0x50080\n inc %ecx\n inc %ecx\n 1: jmp 1b")

/* The TPR alone is virtual; the exit below the threshold comes right behind the store. */
static void tpr_threshold(void **state)
{
	struct world *w = VMX_WORLD(tpr_store);

	apic(w, VMX_PROC2_APIC_ACCESS);
	vmx_f(w)[VMCS_PROC] |= VMX_PROC_TPR_SHADOW;
	vmx_f(w)[VMCS_TPR_THRESHOLD] = 5;
	reg_set(w, TPR, 0x50);
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_BELOW, 0);
	assert_at(w, 11 + 7 + 11);
	assert_int_equal(w->st.gpr[RBX], 0x50);
	assert_int_equal(reg(w, TPR), 0x30);
	assert_int_equal(w->st.gpr[RCX], 0);
	world_free(w);
}

/* A threshold above the TPR at entry: no broken rule with virtualized accesses, but an exit at once (26.7.7). */
static void tpr_at_entry(void **state)
{
	struct world *w = VMX_WORLD(tpr_store);

	apic(w, VMX_PROC2_APIC_ACCESS);
	vmx_f(w)[VMCS_PROC] |= VMX_PROC_TPR_SHADOW;
	vmx_f(w)[VMCS_TPR_THRESHOLD] = 5;
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_BELOW, 0);
	assert_at(w, 0);
	world_free(w);
}

ASM64(registers, "mov 0x50030, %ebx\n mov 0x500b0, %ecx\n movl $0x11, 0x500d0\n inc %ecx")
ASM64(no_register, "mov 0x500a0, %ebx")
ASM64(wide, "mov 0x50030, %rbx")

static void registers_are_virtual(void **state)
{
	struct world *w = VMX_WORLD(registers);

	apic(w, VMX_PROC2_APIC_ACCESS | VMX_PROC2_APIC_REG);
	reg_set(w, 0x30, 0x50014);
	reg_set(w, 0xb0, 0x77);
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_WRITTEN, 0xd0);
	assert_at(w, 7 + 7 + 11);
	assert_int_equal(w->st.gpr[RBX], 0x50014);
	assert_int_equal(w->st.gpr[RCX], 0x77);
	assert_int_equal(reg(w, 0xd0), 0x11);
	world_free(w);

	w = VMX_WORLD(no_register); /* PPR is not in the list */
	apic(w, VMX_PROC2_APIC_ACCESS | VMX_PROC2_APIC_REG);
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_ACCESS, 0xa0);
	world_free(w);

	w = VMX_WORLD(wide);
	apic(w, VMX_PROC2_APIC_ACCESS | VMX_PROC2_APIC_REG);
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_ACCESS, 0x30);
	world_free(w);
}

ASM64(eoi, "movl $0, 0x500b0\n inc %ecx\n" VMCALL)

/* The end of vector 51h: SVI and PPR follow, the bitmap decides about the exit, what was held is delivered. */
static void eoi_virtualized(void **state)
{
	struct world *w = VMX_WORLD(eoi);

	apic(w, APICV);
	bit_set(w, ISR, 0x51);
	bit_set(w, ISR, 0x31);
	vmx_f(w)[VMCS_GUEST_INT_STATUS] = 0x5100;
	vmx_f(w)[VMCS_EOI_EXIT1] = BIT(0x51 - 64);
	w->st.gpr[RCX] = 0;
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_EOI, 0x51);
	assert_at(w, 11);
	assert_false(bit(w, ISR, 0x51));
	assert_int_equal(vmx_f(w)[VMCS_GUEST_INT_STATUS], 0x3100);
	assert_int_equal(reg(w, 0xa0), 0x30);
	world_free(w);

	w = VMX_WORLD(eoi);
	apic(w, APICV);
	bit_set(w, ISR, 0x51);
	bit_set(w, IRR, 0x45);
	vmx_f(w)[VMCS_GUEST_INT_STATUS] = 0x5145;
	vmx_f(w)[VMCS_GUEST_RFLAGS] |= FL_IF;
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_CALL, 0);
	assert_int_equal(vmx_count(w, 0x45), 1);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_INT_STATUS], 0x4500);
	assert_true(bit(w, ISR, 0x45));
	assert_false(bit(w, IRR, 0x45));
	world_free(w);
}

ASM64(self_ipi, "movl $0x40063, 0x50300\n nop\n nop\n sti\n nop\n" VMCALL)
ASM64(other_self_ipi, "movl $0x44863, 0x50300\n sti\n nop\n" VMCALL)
ASM64(other_ipi, "movl $0x63, 0x50300\n nop")

static void self_ipi_virtualized(void **state)
{
	struct world *w = VMX_WORLD(self_ipi);

	apic(w, APICV);
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_CALL, 0);
	assert_int_equal(vmx_count(w, 0x63), 1);
	assert_int_equal(get(w, GUEST_STACK - 40, 8), GUEST + 11 + 4); /* behind STI's shadow */
	world_free(w);

	w = VMX_WORLD(other_self_ipi); /* logical destination and level do not count */
	apic(w, APICV);
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_CALL, 0);
	assert_int_equal(vmx_count(w, 0x63), 1);
	world_free(w);

	w = VMX_WORLD(other_ipi);
	apic(w, APICV);
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_WRITTEN, 0x300);
	assert_at(w, 11);
	world_free(w);
}

/* RVI at VM entry: delivered at once, held by the TPR, by an interrupt window's exit, or while IF is clear. */
static void delivery_at_entry(void **state)
{
	static const struct {
		u64 flags;
		u32 tpr;
		bool window;
		unsigned delivered;
		u64 reason;
	} rows[] = {
		{FL_IF, 0, false, 1, EXIT_CALL},    {0, 0, false, 0, EXIT_CALL}, {FL_IF, 0x60, false, 0, EXIT_CALL},
		{FL_IF, 0x5f, false, 1, EXIT_CALL}, {FL_IF, 0, true, 0, 7},
	};
	static const u8 call[] = {0x0f, 0x01, 0xc1};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = vmx_world_of("Skylake-Client", call, call + 3);

		apic(w, APICV);
		bit_set(w, IRR, 0x62);
		reg_set(w, TPR, rows[i].tpr);
		vmx_f(w)[VMCS_GUEST_INT_STATUS] = 0x62;
		vmx_f(w)[VMCS_GUEST_RFLAGS] |= rows[i].flags;
		if (rows[i].window)
			vmx_f(w)[VMCS_PROC] |= VMX_PROC_INT_WINDOW;
		vmx_run(w);
		EXPECT_EXIT(w, rows[i].reason, 0);
		assert_int_equal(vmx_count(w, 0x62), rows[i].delivered);
		assert_int_equal(bit(w, IRR, 0x62), !rows[i].delivered);
		world_free(w);
	}
}

ASM64(cr8_tpr, "mov $3, %eax\n mov %rax, %cr8\n nop\n" VMCALL)

/* A lower TPR, by CR8, lets an interrupt through. */
static void tpr_releases(void **state)
{
	struct world *w = VMX_WORLD(cr8_tpr);

	apic(w, APICV);
	bit_set(w, IRR, 0x62);
	reg_set(w, TPR, 0x70);
	vmx_f(w)[VMCS_GUEST_INT_STATUS] = 0x62;
	vmx_f(w)[VMCS_GUEST_RFLAGS] |= FL_IF;
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_CALL, 0);
	assert_int_equal(vmx_count(w, 0x62), 1);
	assert_int_equal(reg(w, TPR), 0x30);
	world_free(w);
}

ASM64(x2_read, "mov $0x802, %ecx\n rdmsr\n" VMCALL)
ASM64(x2_tpr, "mov $0x808, %ecx\n mov $0x40, %eax\n xor %edx, %edx\n wrmsr\n rdmsr\n" VMCALL)
ASM64(x2_self, "mov $0x83f, %ecx\n mov $0x71, %eax\n xor %edx, %edx\n wrmsr\n nop\n" VMCALL)
ASM64(x2_eoi, "mov $0x80b, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr\n inc %ecx\n nop")
ASM64(x2_bad, "mov $0x808, %ecx\n mov $0x140, %eax\n xor %edx, %edx\n wrmsr")

static struct world *x2_world(const u8 *code, const u8 *end)
{
	struct world *w = vmx_world_of("Skylake-Client", code, end);

	apic(w, VMX_PROC2_X2APIC | VMX_PROC2_APIC_REG | VMX_PROC2_VID);
	vmx_f(w)[VMCS_GUEST_RFLAGS] |= FL_IF;
	return w;
}
#define X2(name) x2_world(name##_start, name##_end)

static void x2apic_registers(void **state)
{
	struct world *w = X2(x2_read);

	put(w, VIRTUAL_APIC + 0x20, 0x1234567800000007, 8);
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_CALL, 0);
	assert_int_equal(w->st.gpr[RAX], 7);
	assert_int_equal(w->st.gpr[RDX], 0x12345678);
	world_free(w);

	w = X2(x2_tpr);
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_CALL, 0);
	assert_int_equal(w->st.gpr[RAX], 0x40);
	world_free(w);

	w = X2(x2_self);
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_CALL, 0);
	assert_int_equal(vmx_count(w, 0x71), 1);
	world_free(w);

	w = X2(x2_eoi);
	bit_set(w, ISR, 0x80);
	vmx_f(w)[VMCS_GUEST_INT_STATUS] = 0x8000;
	vmx_f(w)[VMCS_EOI_EXIT2] = 1;
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_EOI, 0x80);
	assert_at(w, 5 + 2 + 2 + 2);
	world_free(w);

	w = X2(x2_bad);
	vmx_f(w)[VMCS_EXCEPTIONS] = BIT(EXC_GP);
	vmx_run(w);
	EXPECT_EXIT(w, 0, 0);
	assert_int_equal((u8)vmx_f(w)[VMCS_EXIT_EVENT], EXC_GP);
	world_free(w);
}

static void post(struct world *w, unsigned vector)
{
	put(w, POSTED + vector / 8, 1u << vector % 8, 1);
	put(w, POSTED + 32, 1, 1);
}

static void posting(struct world *w)
{
	apic(w, APICV);
	vmx_f(w)[VMCS_PIN] |= VMX_PIN_POSTED;
	vmx_f(w)[VMCS_PROC] &= ~(u64)VMX_PROC_HLT;
	vmx_f(w)[VMCS_GUEST_RFLAGS] |= FL_IF;
}

ASM64(notify, "mov $0xf2, %al\n out %al, $0xf6\n nop\n nop\n" VMCALL)
ASM64(other_vector, "mov $0xe1, %al\n out %al, $0xf6\n nop\n nop\n" VMCALL)
ASM64(waits, "hlt\n" VMCALL)

/* The notification vector is the processor's: the guest gets what was posted, the host no exit. */
static void posted_to_running(void **state)
{
	struct world *w = VMX_WORLD(notify);

	posting(w);
	post(w, 0x71);
	vmx_run(w);
	EXPECT_EXIT(w, EXIT_CALL, 0);
	assert_int_equal(vmx_count(w, 0x71), 1);
	assert_int_equal(get(w, POSTED + 32, 1), 0);
	assert_int_equal(get(w, POSTED + 14, 1), 0);
	assert_int_equal(w->eois, 1);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_INT_STATUS], 0x7100);
	world_free(w);

	w = VMX_WORLD(other_vector);
	posting(w);
	post(w, 0x71);
	vmx_run(w);
	EXPECT_EXIT(w, 1, 0);
	assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT], VEV_VALID | 0xe1);
	assert_int_equal(get(w, POSTED + 32, 1), 1);
	assert_int_equal(w->eois, 0);
	world_free(w);
}

static void *notifier(void *arg)
{
	struct world *w = arg;

	for (unsigned i = 0; i < 2; i++) {
		usleep(20000);
		if (i)
			post(w, 0x71);
		w->vector = 0xf2;
		w->v->ops->assert_intr(w->v);
	}
	return NULL;
}

/* A notification without anything posted leaves the guest halted; one with wakes it. */
static void posted_to_halted(void **state)
{
	struct world *w = VMX_WORLD(waits);
	pthread_t t;

	posting(w);
	assert_int_equal(pthread_create(&t, NULL, notifier, w), 0);
	vmx_run(w);
	pthread_join(t, NULL);
	EXPECT_EXIT(w, EXIT_CALL, 0);
	assert_int_equal(vmx_count(w, 0x71), 1);
	assert_int_equal(w->eois, 2);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(access_types),		 cmocka_unit_test(access_physical),
		cmocka_unit_test(tpr_threshold),	 cmocka_unit_test(tpr_at_entry),
		cmocka_unit_test(registers_are_virtual), cmocka_unit_test(eoi_virtualized),
		cmocka_unit_test(self_ipi_virtualized),	 cmocka_unit_test(delivery_at_entry),
		cmocka_unit_test(tpr_releases),		 cmocka_unit_test(x2apic_registers),
		cmocka_unit_test(posted_to_running),	 cmocka_unit_test(posted_to_halted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
