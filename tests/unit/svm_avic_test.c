/*
 * AVIC: which accesses go to the backing page, which exit and how; interrupts that are pending in it; IPIs to oneself,
 * to processors that run, halt, do not run or are not there; x2AVIC. APM vol. 2 15.29.
 */
#include "svm_world.h"

#include <pthread.h>

#define VMCB1	 0x38000
#define HSAVE1	 0x39000
#define BACKING	 0x3a000
#define PHYSICAL 0x3b000
#define LOGICAL	 0x3c000
#define BACKING1 0x3d000
#define BAR	 0x500000

#define VALID	BIT(63)
#define RUNNING BIT(62)

ASM(guest_nothing, "nop\n nop\n vmmcall")
ASM(guest_read, "mov 0x500000(%rdi), %esi\n vmmcall")
ASM(guest_read8, "mov 0x500000(%rdi), %rsi\n vmmcall")
ASM(guest_read1, "xor %esi, %esi\n mov 0x500000(%rdi), %sil\n vmmcall")
ASM(guest_write, "mov %esi, 0x500000(%rdi)\n nop\n vmmcall")
ASM(guest_fetch, "mov $0x500080, %eax\n jmp *%rax")
ASM(guest_cr8, "mov %cr8, %rsi\n mov %rdi, %cr8\n nop\n vmmcall")
ASM(guest_send, "movl $0x01000000, 0x500310\n movl $0x61, 0x500300\n 1: pause\n cmpl $0, 0x3000\n je 1b\n vmmcall")
ASM(guest_halt, "sti\n hlt\n 1: jmp 1b")
ASM(guest_spin, "sti\n 1: incl %ebx\n jmp 1b")
ASM(guest_rdmsr, "rdmsr\n mov %eax, %esi\n vmmcall")
ASM(guest_wrmsr, "wrmsr\n nop\n vmmcall")
#define CODE_OF(name) guest_##name##_start, guest_##name##_end

static u32 *reg(struct world *w, u64 page, unsigned at_) { return (u32 *)at(w, page + at_); }

static void avic_on(struct world *w, struct vmcb *b, u64 page, u32 id)
{
	b->c.int_ctl = (u32)VI_AVIC | VI_INTR_MASKING;
	b->c.np_control = NP_ENABLE;
	b->c.ncr3 = NESTED;
	b->c.avic_bar = BAR;
	b->c.avic_backing = page;
	b->c.avic_logical = LOGICAL;
	b->c.avic_physical = PHYSICAL | 3;
	*reg(w, page, 0x20) = id << 24;
	*reg(w, page, 0xe0) = ~0u;
	put64(w, PHYSICAL + 8 * id, page | VALID | RUNNING | id);
}

static struct world *avic_world(const u8 *code, const u8 *end, const char *model)
{
	struct world *w = world_new(model, host_once_start, host_once_end, code, end);

	avic_on(w, vmcb(w), BACKING, 0);
	return w;
}

/* Registers, by offset: what a read and a write do. */
enum how { ACCEL, TRAP, FAULT };
static const struct {
	u16 at;
	u8 read, write;
} registers[] = {
	{0x000, FAULT, FAULT}, {0x020, ACCEL, TRAP},  {0x030, ACCEL, FAULT}, {0x080, ACCEL, ACCEL},
	{0x090, ACCEL, FAULT}, {0x0a0, ACCEL, FAULT}, {0x0b0, ACCEL, ACCEL}, {0x0c0, ACCEL, TRAP},
	{0x0d0, ACCEL, TRAP},  {0x0e0, ACCEL, TRAP},  {0x0f0, ACCEL, TRAP},  {0x100, ACCEL, FAULT},
	{0x170, ACCEL, FAULT}, {0x180, ACCEL, FAULT}, {0x270, ACCEL, FAULT}, {0x280, ACCEL, TRAP},
	{0x2f0, FAULT, FAULT}, {0x310, ACCEL, ACCEL}, {0x320, ACCEL, TRAP},  {0x370, ACCEL, TRAP},
	{0x380, ACCEL, TRAP},  {0x390, FAULT, FAULT}, {0x3e0, ACCEL, TRAP},  {0x3f0, FAULT, FAULT},
	{0x400, FAULT, FAULT}, {0xff0, FAULT, FAULT},
};

static void reads_and_writes(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(registers); i++) {
		struct world *w = avic_world(CODE_OF(read), "EPYC");
		u32 at_ = registers[i].at;

		*reg(w, BACKING, at_) = 0x12345678;
		w->st.gpr[RDI] = at_;
		run(w);
		if (registers[i].read == ACCEL) {
			assert_exit(w, 0x81, 0, 0);
			if (at_ != 0xa0) /* PPR is computed */
				assert_int_equal(w->st.gpr[RSI], 0x12345678);
		} else {
			assert_exit(w, 0x402, at_, 0);
			assert_int_equal(vmcb(w)->s.rip, GUEST_CODE);
		}
		world_free(w);

		w = avic_world(CODE_OF(write), "EPYC");
		w->st.gpr[RDI] = at_;
		w->st.gpr[RSI] = 0x55;
		run(w);
		if (registers[i].write == ACCEL) {
			assert_exit(w, 0x81, 0, 0);
		} else {
			assert_exit(w, 0x402, at_ | BIT(32), 0);
			assert_int_equal(vmcb(w)->s.rip, GUEST_CODE + (registers[i].write == TRAP ? 6 : 0));
		}
		if (registers[i].write == FAULT)
			assert_int_not_equal(*reg(w, BACKING, at_), 0x55);
		else if (at_ == 0x310) /* of ICR's high half only the destination is kept */
			assert_int_equal(*reg(w, BACKING, at_), 0);
		else
			assert_int_equal(*reg(w, BACKING, at_), 0x55);
		assert_int_equal(vmcb(w)->c.next_rip, registers[i].write == ACCEL ? GUEST_CODE + 10 : 0);
		world_free(w);
	}
}

/* Accesses of a form that no register takes; the page must be mapped; without AVIC it is memory. */
static void odd_accesses(void **state)
{
	struct world *w = avic_world(CODE_OF(read8), "EPYC");

	w->st.gpr[RDI] = 0x20;
	run(w);
	assert_exit(w, 0x402, 0x20, 0);
	world_free(w);

	w = avic_world(CODE_OF(read), "EPYC");
	w->st.gpr[RDI] = 0x22;
	run(w);
	assert_exit(w, 0x402, 0x20, 0);
	world_free(w);

	w = avic_world(CODE_OF(read1), "EPYC");
	*reg(w, BACKING, 0x20) = 0xab000000;
	w->st.gpr[RDI] = 0x23;
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(w->st.gpr[RSI], 0xab);
	world_free(w);

	w = avic_world(CODE_OF(fetch), "EPYC");
	run(w);
	assert_exit(w, 0x402, 0x80, 0);
	world_free(w);

	w = avic_world(CODE_OF(write), "EPYC");
	vmcb(w)->c.avic_bar = HOLE + 0x100000;
	put64(w, TABLES + 0x2000 + 8 * (BAR >> 21), HOLE | 0x87);
	w->st.gpr[RDI] = 0x80;
	run(w);
	assert_int_equal(vmcb(w)->c.exit_code, 0x400);
	world_free(w);

	w = avic_world(CODE_OF(write), "EPYC,avic=off");
	w->st.gpr[RDI] = 0x390;
	w->st.gpr[RSI] = 0x77;
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(*reg(w, BAR, 0x390), 0x77);
	world_free(w);
}

/* Pending interrupts against TPR, ISR, IF; V_IRQ does not count. */
static void delivery(void **state)
{
	static const struct {
		u8 irr, isr, tpr;
		bool guest_if, taken;
		u8 ppr;
	} rows[] = {
		{0x61, 0, 0, true, true, 0x60},	    {0x61, 0, 0, false, false, 0},
		{0x61, 0, 0x60, true, false, 0x60}, {0x61, 0, 0x5f, true, true, 0x60},
		{0x61, 0x65, 0, true, false, 0x60}, {0x71, 0x65, 0x10, true, true, 0x70},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = avic_world(CODE_OF(nothing), "EPYC");

		vmcb(w)->c.int_ctl |= VI_IRQ | 15u << 16;
		vmcb(w)->c.int_vector = 0x99;
		*reg(w, BACKING, 0x200 + rows[i].irr / 32 * 16) = 1u << rows[i].irr % 32;
		if (rows[i].isr)
			*reg(w, BACKING, 0x100 + rows[i].isr / 32 * 16) = 1u << rows[i].isr % 32;
		*reg(w, BACKING, 0x80) = rows[i].tpr;
		vmcb(w)->s.rflags |= rows[i].guest_if ? FL_IF : 0;
		run(w);
		assert_exit(w, 0x81, 0, 0);
		if (*at(w, DATA) != rows[i].taken || *reg(w, BACKING, 0xa0) != rows[i].ppr)
			fail_msg("row %u: taken %u, PPR %#x", i, *at(w, DATA), *reg(w, BACKING, 0xa0));
		assert_int_equal(!*reg(w, BACKING, 0x200 + rows[i].irr / 32 * 16), rows[i].taken);
		if (rows[i].taken)
			assert_true(*reg(w, BACKING, 0x100 + rows[i].irr / 32 * 16) >> rows[i].irr % 32 & 1);
		assert_int_equal(vmcb(w)->c.int_ctl & VI_TPR, rows[i].tpr >> 4);
		world_free(w);
	}
}

/* TPR by CR8 and by its register lets an interrupt through; EOI the next; a level-triggered one's EOI is a trap. */
static void lets_through(void **state)
{
	struct world *w = avic_world(CODE_OF(cr8), "EPYC");

	*reg(w, BACKING, 0x80) = 0x70;
	*reg(w, BACKING, 0x230) = 2; /* 61h */
	vmcb(w)->s.rflags |= FL_IF;
	w->st.gpr[RDI] = 2;
	run(w);
	assert_int_equal(w->st.gpr[RSI], 7);
	assert_int_equal(*reg(w, BACKING, 0x80), 0x20);
	assert_int_equal(*at(w, DATA), 1);
	world_free(w);

	w = avic_world(CODE_OF(write), "EPYC");
	*reg(w, BACKING, 0x80) = 0x70;
	*reg(w, BACKING, 0x230) = 2;
	vmcb(w)->s.rflags |= FL_IF;
	w->st.gpr[RDI] = 0x80;
	run(w);
	assert_int_equal(*at(w, DATA), 1);
	world_free(w);

	for (unsigned level = 0; level < 2; level++) {
		w = avic_world(CODE_OF(write), "EPYC");
		*reg(w, BACKING, 0x230) = 2;
		*reg(w, BACKING, 0x130) = 4; /* 62h in service */
		*reg(w, BACKING, 0x1b0) = level ? 4 : 0;
		vmcb(w)->s.rflags |= FL_IF;
		w->st.gpr[RDI] = 0xb0;
		w->st.gpr[RSI] = 0;
		run(w);
		assert_int_equal(*at(w, DATA), !level);
		if (level) {
			assert_exit(w, 0x402, 0xb0 | BIT(32), 0x62);
			assert_int_equal(vmcb(w)->s.rip, GUEST_CODE + 6);
		}
		assert_int_equal(*reg(w, BACKING, 0x130), level ? 4 : 2);
		world_free(w);
	}
}

/* IPIs that one processor can send alone. Entry 1 of the physical table is valid and not running, 2 has no RAM behind.
 */
static void ipis(void **state)
{
	static const struct {
		u32 hi, lo;
		u64 info2; /* of an incomplete IPI; 0: none */
		u8 self, other;
	} rows[] = {
#define WHY(id, index) ((u64)(id) << 32 | (index))
#define NONE	       ~0ull
		{0, 0x40061, NONE, 1, 0},	       /* self */
		{0x01000000, 0x61, WHY(1, 1), 0, 1},   /* not running */
		{0x00000000, 0x61, NONE, 1, 0},	       /* itself, by number */
		{0x02000000, 0x61, WHY(3, 2), 0, 0},   /* its page is not RAM */
		{0x03000000, 0x61, WHY(2, 3), 0, 0},   /* not valid */
		{0x04000000, 0x61, WHY(2, 4), 0, 0},   /* beyond the table */
		{0x00000000, 0x461, WHY(0, 0), 0, 0},  /* NMI */
		{0x00000000, 0x8061, WHY(0, 0), 0, 0}, /* level */
		{0x00000000, 0x0f, WHY(4, 0), 0, 0},
		{0x01000000, 0x861, NONE, 1, 0}, /* logical, flat */
		{0x02000000, 0x861, WHY(1, 1), 0, 1},
		{0x03000000, 0x861, WHY(1, 1), 1, 1},
		{0x04000000, 0x861, WHY(2, 2), 0, 0},
		{0, 0xc0061, WHY(1, 1), 0, 1},	     /* all but itself */
		{0, 0x80061, WHY(1, 1), 1, 1},	     /* all */
		{0xff000000, 0x61, WHY(1, 1), 1, 1}, /* broadcast */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = avic_world(CODE_OF(write), "EPYC");

		put64(w, PHYSICAL + 8, BACKING1 | VALID | 1);
		put64(w, PHYSICAL + 16, i == 3 ? 0x40000000 | VALID | RUNNING | 2 : 0);
		*(u32 *)at(w, LOGICAL) = (u32)BIT(31) | 0;
		*(u32 *)at(w, LOGICAL + 4) = (u32)BIT(31) | 1;
		*reg(w, BACKING, 0x310) = rows[i].hi;
		w->st.gpr[RDI] = 0x300;
		w->st.gpr[RSI] = rows[i].lo;
		run(w);
		if (rows[i].info2 == NONE) {
			if (vmcb(w)->c.exit_code != 0x81)
				fail_msg("row %u: exit %#llx", i, (unsigned long long)vmcb(w)->c.exit_code);
		} else {
			assert_exit(w, 0x401, (u64)rows[i].hi << 32 | rows[i].lo, rows[i].info2);
			assert_int_equal(vmcb(w)->s.rip, GUEST_CODE + 6);
		}
		assert_int_equal(*reg(w, BACKING, 0x230), rows[i].self ? 2 : 0);
		assert_int_equal(*reg(w, BACKING1, 0x230), rows[i].other ? 2 : 0);
		world_free(w);
	}
}

/* The delivery status is not software's to set. */
static void icr_status(void **state)
{
	struct world *w = avic_world(CODE_OF(write), "EPYC");

	w->st.gpr[RDI] = 0x300;
	w->st.gpr[RSI] = 0x41061;
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(*reg(w, BACKING, 0x300), 0x40061);
	world_free(w);
}

/* Logical IDs of the cluster model: cluster 2, its members 1 and 3. */
static void cluster(void **state)
{
	struct world *w = avic_world(CODE_OF(write), "EPYC");

	*reg(w, BACKING, 0xe0) = 0x0fffffff;
	*reg(w, BACKING, 0x310) = 0x2a000000;
	*(u32 *)at(w, LOGICAL + 4 * 9) = (u32)BIT(31) | 0;
	*(u32 *)at(w, LOGICAL + 4 * 11) = (u32)BIT(31) | 1;
	put64(w, PHYSICAL + 8, BACKING1 | VALID | 1);
	w->st.gpr[RDI] = 0x300;
	w->st.gpr[RSI] = 0x861;
	run(w);
	assert_exit(w, 0x401, 0x2a00000000000861, WHY(1, 11));
	assert_int_equal(*reg(w, BACKING, 0x230), 2);
	assert_int_equal(*reg(w, BACKING1, 0x230), 2);
	world_free(w);
}

struct second {
	struct vcpu *v;
	struct err e;
	enum run_exit r;
};

static void *second_run(void *arg)
{
	struct second *s = arg;

	s->r = s->v->ops->run(s->v, &s->e);
	return NULL;
}

/* A guest on another processor gets an IPI without any exit, whether it runs or halts. */
static void doorbell(void **state)
{
	const u8 *const codes[2][2] = {{CODE_OF(halt)}, {CODE_OF(spin)}};

	for (unsigned i = 0; i < 2; i++) {
		struct world *w = avic_world(CODE_OF(send), "EPYC");
		struct vmcb *b = (struct vmcb *)at(w, VMCB1);
		struct second s = {0};
		struct x86_state st;
		pthread_t t;

		w->vm.nvcpus = 2;
		assert_int_equal(soft_vcpu_new(&w->vm, 1, &w->model, &options, &s.v, &s.e), 0);
		w->vm.vcpu[1] = s.v;
		*b = *vmcb(w);
		avic_on(w, b, BACKING1, 1);
		b->s.rip = 0x2400;
		b->s.rsp = 0x6000;
		memcpy(at(w, 0x2400), codes[i][0], (size_t)(codes[i][1] - codes[i][0]));
		s.v->ops->get_state(s.v, &st);
		host_state(&st);
		st.activity = ACT_RUNNING;
		st.gpr[RAX] = VMCB1;
		st.svm.hsave_pa = HSAVE1;
		assert_int_equal(s.v->ops->set_state(s.v, &st, &s.e), 0);
		atomic_store(&w->vm.stop, VM_RUNNING);
		assert_int_equal(pthread_create(&t, NULL, second_run, &s), 0);
		run(w);
		pthread_join(t, NULL);
		assert_int_equal(s.r, RUN_STOPPED);
		assert_int_equal(*at(w, DATA), 1);
		assert_int_equal(*reg(w, BACKING1, 0x130), 2); /* in service there */
		assert_int_equal(*reg(w, BACKING1, 0x230), 0);
		assert_int_equal(*reg(w, BACKING, 0x130), 0);
		world_free(w);
	}
}

/* x2AVIC: the same registers by MSR; ICR in one piece; SELF IPI. */
static void x2avic(void **state)
{
	static const struct {
		u32 msr;
		bool write;
		u64 value, exit, info1, info2;
	} rows[] = {
		{0x802, false, 0, 0x81, 0, 0},
		{0x839, false, 0, 0x402, 0x390, 0},
		{0x808, true, 0x30, 0x81, 0, 0},
		{0x808, true, 0x100, 0x4d, 0, 0},
		{0x80b, true, 0, 0x81, 0, 0},
		{0x80b, true, 1, 0x4d, 0, 0},
		{0x80f, true, 0x1ff, 0x402, 0xf0 | BIT(32), 0},
		{0x810, true, 0, 0x402, 0x100 | BIT(32), 0},
		{0x831, false, 0, 0x4d, 0, 0},
		{0x83f, true, 0x61, 0x81, 0, 0},
		{0x830, true, 0x100000061, 0x401, 0x100000061, WHY(1, 1)},
		{0x830, true, 0x800000861, 0x401, 0x800000861, WHY(2, 3)},
		{0x830, true, 0x300000861, 0x401, 0x300000861, WHY(1, 1)},
		{0x830, true, 0xffffffff00000061, 0x401, 0xffffffff00000061, WHY(1, 1)},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = rows[i].write ? avic_world(CODE_OF(wrmsr), "EPYC,x2avic=on")
						: avic_world(CODE_OF(rdmsr), "EPYC,x2avic=on");

		vmcb(w)->c.int_ctl |= VI_X2AVIC;
		vmcb(w)->c.exceptions = BIT(EXC_GP);
		*reg(w, BACKING, 0x20) = 0;
		put64(w, PHYSICAL + 8, BACKING1 | VALID | 1);
		w->st.gpr[RCX] = rows[i].msr;
		vmcb(w)->s.rax = (u32)rows[i].value;
		w->st.gpr[RDX] = rows[i].value >> 32;
		run(w);
		if (vmcb(w)->c.exit_code != rows[i].exit)
			fail_msg("row %u: exit %#llx", i, (unsigned long long)vmcb(w)->c.exit_code);
		assert_exit(w, rows[i].exit, rows[i].info1, rows[i].info2);
		if (rows[i].msr == 0x83f)
			assert_int_equal(*reg(w, BACKING, 0x230), 2);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes), cmocka_unit_test(odd_accesses), cmocka_unit_test(delivery),
		cmocka_unit_test(lets_through),	    cmocka_unit_test(ipis),	    cmocka_unit_test(cluster),
		cmocka_unit_test(doorbell),	    cmocka_unit_test(icr_status),   cmocka_unit_test(x2avic),
	};
	int failed = cmocka_run_group_tests_name("AVIC", tests, NULL, NULL);

	options.drop_every = 2;
	return failed + cmocka_run_group_tests_name("AVIC without caches", tests, NULL, NULL);
}
