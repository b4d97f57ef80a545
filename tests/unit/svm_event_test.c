/*
 * Events of an SVM guest: injection of each type, faults while an event is delivered, what holds NMIs, interrupts and
 * virtual interrupts, the edges of the permission maps, and the host state that #VMEXIT checks. APM vol.
 * 2 15.10, 15.11, 15.20, 15.21, 15.6.
 */
#include "svm_world.h"

ASM(guest_vmmcall, "nop\n nop\n vmmcall")
ASM(guest_nmi_blocked,
    "mov $0x600, %dx\n out %al, %dx\n nop\n nop\n push %rcx\n push %rsi\n pushf\n push %rbx\n push %rdi\n iretq")
ASM(guest_nmi_shadow, "mov $0x600, %dx\n mov $0x18, %ecx\n mov %ecx, %ss\n out %al, %dx\n nop\n vmmcall")
ASM(guest_intr, "mov $0x601, %dx\n mov $0x55, %al\n out %al, %dx\n nop\n vmmcall")
ASM(guest_sti, "mov $0x601, %dx\n mov $0x55, %al\n out %al, %dx\n sti\n nop\n vmmcall")
ASM(guest_spin, "nop\n nop\n nop\n vmmcall")
ASM(guest_cr8, "mov %cr8, %rsi\n mov $4, %eax\n mov %rax, %cr8\n nop\n vmmcall")
ASM(guest_in, "in %dx, %al\n vmmcall")
ASM(guest_in2, "in %dx, %ax\n vmmcall")
ASM(guest_in4, "in %dx, %eax\n vmmcall")
ASM(guest_rdmsr, "rdmsr\n vmmcall")
ASM(guest_wrmsr, "wrmsr\n vmmcall")
ASM(guest_hsave, "mov %rsi, (%rdi)\n vmmcall")

#define VMMCALL_IN_HANDLER (HANDLER + (u64)(handler_end - handler_start) - 3)

static u64 stack64(struct world *w, unsigned below)
{
	u64 v;

	memcpy(&v, at(w, GUEST_STACK - below), 8);
	return v;
}

static const struct {
	u64 inject;
	u64 next;  /* nRIP of the VMCB */
	u64 frame; /* RIP that is pushed */
	u32 ext;   /* EXT in the error code of a fault on the way */
} events[] = {
	{EVI_INTR << 8 | 0x41, 0, GUEST_CODE, 1},
	{EVI_NMI << 8 | 2, 0, GUEST_CODE, 1},
	{EVI_NMI << 8 | 0x77, 0, GUEST_CODE, 1}, /* the vector is ignored */
	{EVI_EXCEPTION << 8 | EXC_UD, 0, GUEST_CODE, 0},
	{EVI_EXCEPTION << 8 | EVI_ERROR | EXC_PF | 5ull << 32, 0, GUEST_CODE, 0},
	{EVI_EXCEPTION << 8 | EXC_BP, GUEST_CODE + 1, GUEST_CODE + 1, 0},
	{EVI_EXCEPTION << 8 | EXC_OF, GUEST_CODE + 1, GUEST_CODE + 1, 0},
	{EVI_SOFT_INT << 8 | 0x80, GUEST_CODE + 2, GUEST_CODE + 2, 0},
};

static unsigned vector_of(u64 inject) { return EVI_TYPE(inject) == EVI_NMI ? EXC_NMI : inject & EVI_VECTOR; }

/* Into the handler; no intercept sees it. */
static void injected(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
		struct world *w = WORLD(host_once, guest_vmmcall);
		struct vmcb *b = vmcb(w);
		bool error = events[i].inject & EVI_ERROR;

		b->c.event_inj = EVI_VALID | events[i].inject;
		b->c.next_rip = events[i].next;
		b->c.exceptions = ~0u;
		b->c.intercept3 = BIT(0) | BIT(1) | BIT(21);
		b->s.cr2 = 0x1234;
		run(w);
		assert_exit(w, 0x81, 0, 0);
		assert_int_equal(b->s.rip, VMMCALL_IN_HANDLER);
		assert_int_equal(stack64(w, error ? 48 : 40), error ? 5 : events[i].frame);
		assert_int_equal(stack64(w, 40), events[i].frame);
		assert_int_equal(b->c.exit_int_info, 0);
		assert_int_equal(b->c.event_inj & EVI_VALID, 0);
		assert_int_equal(b->s.cr2, 0x1234);
		assert_int_equal(w->st.nmi_blocked, EVI_TYPE(events[i].inject) == EVI_NMI);
		world_free(w);
	}
}

/* The IDT's limit, its page, the stack's page: an intercepted #GP or a nested fault names the event. */
static void cut_short(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
		for (unsigned where = 0; where < 3; where++) {
			struct world *w = WORLD(host_once, guest_vmmcall);
			struct vmcb *b = vmcb(w);
			u64 info = (events[i].inject & ~(u64)EVI_VECTOR) | vector_of(events[i].inject) | EVI_VALID;

			nested_paging(w);
			b->c.event_inj = EVI_VALID | events[i].inject;
			b->c.next_rip = events[i].next;
			b->c.exceptions = BIT(EXC_GP);
			if (where == 0)
				b->s.idtr.limit = 0;
			else if (where == 1)
				b->s.idtr.base = HOLE;
			else
				b->s.rsp = HOLE + 0x1000;
			run(w);
			if (where == 0)
				assert_exit(w, 0x40 + EXC_GP, vector_of(info) * 8 + 2 + events[i].ext, 0);
			else if (where == 1)
				assert_exit(w, 0x400, BIT(32) | PF_U, HOLE + 16 * vector_of(info));
			else
				assert_int_equal(b->c.exit_info1, BIT(32) | PF_U | PF_W);
			if (b->c.exit_int_info != info)
				fail_msg("row %u, %u: EXITINTINFO %#llx", i, where,
					 (unsigned long long)b->c.exit_int_info);
			assert_int_equal(b->s.rip, GUEST_CODE);
			assert_int_equal(w->st.nmi_blocked, 0);
			world_free(w);
		}
	}
}

/* Without an intercept the fault on the way goes the guest's way: double fault, shutdown. */
static void double_fault(void **state)
{
	struct world *w = WORLD(host_once, guest_vmmcall);
	struct vmcb *b = vmcb(w);

	b->c.event_inj = EVI_VALID | EVI_EXCEPTION << 8 | EVI_ERROR | EXC_GP;
	put64(w, IDT + 16 * EXC_GP, 0);
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(stack64(w, 48), 0); /* #DF's error code */
	b->c.event_inj = EVI_VALID | EVI_EXCEPTION << 8 | EVI_ERROR | EXC_GP;
	b->c.intercept3 = BIT(31);
	b->s.idtr.limit = 0;
	b->s.rip = GUEST_CODE;
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x7f, 0, 0);
	assert_int_equal(b->c.exit_int_info, 0);
	world_free(w);
}

/* An NMI inside an NMI's handler waits for IRET; the intercept sees it there. */
static void nmi_blocked(void **state)
{
	struct world *w = WORLD(host_once, guest_nmi_blocked);
	struct vmcb *b = vmcb(w);

	b->c.intercept3 = BIT(1);
	w->st.nmi_blocked = 1;
	w->st.gpr[RCX] = 0x18;
	w->st.gpr[RSI] = GUEST_STACK;
	w->st.gpr[RBX] = 0x10;
	w->st.gpr[RDI] = GUEST_CODE + 0x100;
	run(w);
	assert_exit(w, 0x61, 0, 0);
	assert_int_equal(b->s.rip, GUEST_CODE + 0x100);
	assert_int_equal(w->st.nmi_blocked, 0);
	world_free(w);
}

static void nmi_shadow(void **state)
{
	struct world *w = WORLD(host_once, guest_nmi_shadow);

	vmcb(w)->c.intercept3 = BIT(1);
	w->st.svm.gif = 0; /* VMRUN sets it */
	w->v->ops->assert_nmi(w->v);
	run(w);
	assert_exit(w, 0x61, 0, 0);
	assert_int_equal(vmcb(w)->s.rip, GUEST_CODE);
	world_free(w);

	w = WORLD(host_once, guest_nmi_shadow);
	vmcb(w)->c.intercept3 = BIT(1);
	run(w);
	assert_exit(w, 0x61, 0, 0);
	assert_int_equal(vmcb(w)->s.rip, GUEST_CODE + 12); /* behind OUT, which ended MOV SS's shadow */
	assert_int_equal(vmcb(w)->c.int_state, 0);
	world_free(w);
}

/* An NMI comes before an interrupt; both before a virtual interrupt. */
static void priorities(void **state)
{
	struct world *w = WORLD(host_once, guest_spin);
	struct vmcb *b = vmcb(w);

	b->c.intercept3 = BIT(0) | BIT(1) | BIT(4);
	b->c.int_ctl = VI_IRQ | 15u << 16;
	b->s.rflags |= FL_IF;
	apic_vector = 0x55;
	w->st.svm.gif = 0;
	w->v->ops->assert_nmi(w->v);
	w->v->ops->assert_intr(w->v);
	run(w);
	assert_exit(w, 0x61, 0, 0);
	host_state(&w->st);
	w->st.svm.gif = 0; /* the NMI waits; without its intercept it is the guest's */
	w->v->ops->assert_intr(w->v);
	b->c.intercept3 = BIT(0) | BIT(4);
	b->c.int_ctl |= VI_INTR_MASKING;
	w->st.rflags |= FL_IF;
	run(w);
	assert_exit(w, 0x60, 0, 0);
	assert_int_equal(b->s.rip, HANDLER); /* the NMI first; the host's IF counts, not the handler's */
	world_free(w);
}

ASM(guest_looks, "1: mov %rcx, %rbx\n rdtsc\n shl $32, %rdx\n lea (%rdx, %rax), %rcx\n jmp 1b")
ASM(guest_halts, "hlt")

/* The APIC's deadline: a guest that has seen it pass sees nothing later, and one that sleeps is woken. */
static void deadline(void **state)
{
	for (int halts = 0; halts < 2; halts++) {
		struct world *w = halts ? WORLD(host_once, guest_halts) : WORLD(host_once, guest_looks);
		u64 end = soft_vcpu_tsc(w->v) + w->model.tsc_khz * 20ull;

		vmcb(w)->c.intercept3 = BIT(0);
		vmcb(w)->s.rflags |= FL_IF;
		w->v->ops->set_deadline(w->v, end);
		run(w);
		assert_exit(w, 0x60, 0, 0);
		assert_true(soft_vcpu_tsc(w->v) >= end);
		assert_true(halts || w->st.gpr[RBX] < end); /* the last but one that it saw */
		world_free(w);
	}
}

/* V_INTR_MASKING: the host's IF decides about physical interrupts, the guest's about virtual ones. */
static void masking(void **state)
{
	static const struct {
		bool masking, host_if, guest_if;
		u64 exit;
	} rows[] = {
		{false, false, false, 0x81}, {false, false, true, 0x60}, {false, true, false, 0x81},
		{true, false, false, 0x81},  {true, false, true, 0x81},	 {true, true, false, 0x60},
		{true, true, true, 0x60},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = WORLD(host_once, guest_intr);

		vmcb(w)->c.intercept3 = BIT(0);
		vmcb(w)->c.int_ctl = rows[i].masking ? VI_INTR_MASKING : 0;
		vmcb(w)->s.rflags |= rows[i].guest_if ? FL_IF : 0;
		w->st.rflags |= rows[i].host_if ? FL_IF : 0;
		run(w);
		if (vmcb(w)->c.exit_code != rows[i].exit)
			fail_msg("row %u: exit %#llx", i, (unsigned long long)vmcb(w)->c.exit_code);
		assert_int_equal(vmcb(w)->s.rip, GUEST_CODE + (rows[i].exit == 0x60 ? 7 : 8));
		assert_int_equal(apic_vector, 0x55); /* nobody has acknowledged it */
		world_free(w);
	}
}

/* Not intercepted, an interrupt is the guest's own; STI's shadow holds it for one instruction. */
static void intr_to_guest(void **state)
{
	struct world *w = WORLD(host_once, guest_sti);

	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(vmcb(w)->s.rip, VMMCALL_IN_HANDLER);
	assert_int_equal(stack64(w, 40), GUEST_CODE + 9);
	assert_int_equal(apic_vector, -1);
	world_free(w);
}

/* Priority against V_TPR, V_IGN_TPR, and MOV to CR8 that lets it through. */
static void virtual_priority(void **state)
{
	static const struct {
		u32 ctl;
		bool taken;
	} rows[] = {
		{VI_IRQ | 5u << 16 | 5, false},
		{VI_IRQ | 6u << 16 | 5, true},
		{VI_IRQ | 1u << 16 | 15 | VI_IGN_TPR, true},
		{6u << 16 | 5, false},
		{VI_IRQ | 0u << 16, false},
		{VI_IRQ | VI_IGN_TPR, true},
	};
	struct world *w;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		w = WORLD(host_once, guest_spin);
		vmcb(w)->c.int_ctl = rows[i].ctl | VI_INTR_MASKING;
		vmcb(w)->c.int_vector = 0x91;
		vmcb(w)->s.rflags |= FL_IF;
		run(w);
		if ((vmcb(w)->s.rip == VMMCALL_IN_HANDLER) != rows[i].taken)
			fail_msg("row %u: RIP %#llx", i, (unsigned long long)vmcb(w)->s.rip);
		assert_int_equal(vmcb(w)->c.int_ctl & VI_IRQ, rows[i].taken ? 0 : rows[i].ctl & VI_IRQ);
		world_free(w);
	}
	w = WORLD(host_once, guest_cr8);
	vmcb(w)->c.int_ctl = VI_IRQ | 5u << 16 | 9 | VI_INTR_MASKING;
	vmcb(w)->s.rflags |= FL_IF;
	run(w);
	assert_int_equal(w->st.gpr[RSI], 9);
	assert_int_equal(vmcb(w)->c.int_ctl & VI_TPR, 4);
	assert_int_equal(stack64(w, 40), GUEST_CODE + 13);
	world_free(w);
	/* Without V_INTR_MASKING CR8 reads as the APIC's, but V_TPR takes writes too: APM vol. 2 15.21.2. */
	w = WORLD(host_once, guest_cr8);
	vmcb(w)->c.int_ctl = VI_IRQ | 5u << 16 | 9;
	vmcb(w)->s.rflags |= FL_IF;
	run(w);
	assert_int_equal(w->st.gpr[RSI], 0);
	assert_int_equal(vmcb(w)->c.int_ctl & VI_TPR, 4);
	assert_int_equal(stack64(w, 40), GUEST_CODE + 13);
	world_free(w);
}

static void io_map_edges(void **state)
{
	static const struct {
		const u8 *code, *end;
		u16 port;
		unsigned bit; /* the only one that is set */
		u64 size;     /* of the exit; 0: none */
	} rows[] = {
#define GUEST(name) guest_##name##_start, guest_##name##_end
		{GUEST(in), 0, 0, 1},
		{GUEST(in), 0, 1, 0},
		{GUEST(in2), 7, 8, 2},
		{GUEST(in2), 7, 9, 0},
		{GUEST(in4), 0x7ffe, 0x8001, 4},
		{GUEST(in4), 0x7ffe, 0x8002, 0},
		{GUEST(in), 0xffff, 0xffff, 1},
		{GUEST(in2), 0xffff, 0x10000, 2},
		{GUEST(in4), 0xffff, 0x10002, 4},
		{GUEST(in4), 0xffff, 0x10003, 0},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = world_new("EPYC", host_once_start, host_once_end, rows[i].code, rows[i].end);

		vmcb(w)->c.intercept3 = BIT(27);
		vmcb(w)->c.iopm = IOPM | 0xabc; /* the low bits are ignored */
		*at(w, IOPM + rows[i].bit / 8) = (u8)BIT(rows[i].bit % 8);
		w->st.gpr[RDX] = rows[i].port;
		run(w);
		if (vmcb(w)->c.exit_code != (rows[i].size ? 0x7b : 0x81))
			fail_msg("row %u: exit %#llx", i, (unsigned long long)vmcb(w)->c.exit_code);
		if (rows[i].size)
			assert_int_equal(vmcb(w)->c.exit_info1,
					 IOIO_PORT(rows[i].port) | IOIO_IN | IOIO_SIZE(rows[i].size) | IOIO_ADSIZE(8));
		world_free(w);
	}
}

static void msr_map_edges(void **state)
{
	static const struct {
		u32 msr;
		int bit; /* of the map, the only one that is set (write: + 1); -1: in none */
	} rows[] = {
		{0, 0},
		{0x1fff, 0x3ffe},
		{0x2000, -1},
		{0xbfffffff, -1},
		{0xc0000000, 0x4000},
		{0xc0001fff, 0x7ffe},
		{0xc0002000, -1},
		{0xc000ffff, -1},
		{0xc0010000, 0x8000},
		{0xc0011fff, 0xbffe},
		{0xc0012000, -1},
		{0xffffffff, -1},
	};

	for (unsigned i = 0; i < 4 * ARRAY_SIZE(rows); i++) {
		u32 msr = rows[i / 4].msr;
		int bit = rows[i / 4].bit;
		bool write = i & 1, other = i & 2; /* the map has the other direction's bit */
		struct world *w = write ? WORLD(host_once, guest_wrmsr) : WORLD(host_once, guest_rdmsr);
		bool exits = bit < 0 || !other;

		vmcb(w)->c.intercept3 = BIT(28);
		vmcb(w)->c.exceptions = BIT(EXC_GP);
		vmcb(w)->c.msrpm = MSRPM | 0x123;
		if (bit >= 0) {
			bit += write != other;
			*at(w, MSRPM + (unsigned)bit / 8) = (u8)BIT(bit % 8);
		}
		w->st.gpr[RCX] = msr;
		w->st.gpr[RDX] = 0;
		run(w);
		if ((vmcb(w)->c.exit_code == 0x7c) != exits)
			fail_msg("MSR %#x write %u other %u: exit %#llx", msr, write, other,
				 (unsigned long long)vmcb(w)->c.exit_code);
		if (exits)
			assert_int_equal(vmcb(w)->c.exit_info1, write);
		world_free(w);
	}
}

/* What #VMEXIT reloads is checked: shutdown. */
static void host_checks(void **state)
{
	static const struct {
		size_t field;
		u64 value;
		bool ends;
	} rows[] = {
#define FIELD(f) HSAVE + 0x400 + offsetof(struct vmcb_save, f)
		{FIELD(cr0), CR0_PG | CR0_NE | CR0_ET, false}, /* PE is forced */
		{FIELD(cr0), CR0_PE | CR0_PG | CR0_NW, true},
		{FIELD(cr0), BIT(32) | CR0_PE | CR0_PG, true},
		{FIELD(cr3), BIT(60), true},
		{FIELD(cr4), BIT(30), true},
		{FIELD(cr4), 0, true},
		{FIELD(efer), EFER_LME | EFER_LMA, true},
		{FIELD(efer), EFER_LME | EFER_LMA | EFER_SVME | BIT(9), true},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = WORLD(host_once, guest_hsave);
		enum run_exit r;

		w->st.gpr[RDI] = rows[i].field;
		w->st.gpr[RSI] = rows[i].value;
		assert_int_equal(w->v->ops->set_state(w->v, &w->st, &w->e), 0);
		atomic_store(&w->vm.stop, VM_RUNNING);
		r = w->v->ops->run(w->v, &w->e);
		if (r != (rows[i].ends ? RUN_TRIPLE_FAULT : RUN_STOPPED))
			fail_msg("row %u: run ended with %d", i, r);
		assert_exit(w, 0x81, 0, 0);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(injected),	cmocka_unit_test(cut_short),	 cmocka_unit_test(double_fault),
		cmocka_unit_test(nmi_blocked),	cmocka_unit_test(nmi_shadow),	 cmocka_unit_test(priorities),
		cmocka_unit_test(masking),	cmocka_unit_test(intr_to_guest), cmocka_unit_test(virtual_priority),
		cmocka_unit_test(io_map_edges), cmocka_unit_test(msr_map_edges), cmocka_unit_test(host_checks),
		cmocka_unit_test(deadline),
	};
	int failed = cmocka_run_group_tests_name("SVM events", tests, NULL, NULL);

	options.drop_every = 2;
	return failed + cmocka_run_group_tests_name("SVM events without caches", tests, NULL, NULL);
}
