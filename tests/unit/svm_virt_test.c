/*
 * What SVM lets a guest do without an exit: its own clock rate, its own GIF, VMLOAD and VMSAVE by guest-physical
 * address, PAUSE up to a count. APM vol. 2 15.14.4, 15.30.5, 15.33.
 */
#include "svm_world.h"

ASM(guest_tsc, "rdtsc\n mov %eax, %esi\n mov %edx, %edi\n mov $0x10, %ecx\n rdmsr\n mov %edx, %ebx\n vmmcall")
ASM(guest_ratio, "mov $0xc0000104, %ecx\n rdmsr\n mov %eax, %esi\n mov %edx, %edi\n mov $256, %edx\n wrmsr\n vmmcall")
ASM(guest_gif, "sti\n nop\n nop\n stgi\n nop\n vmmcall")
ASM(guest_clgi, "clgi\n sti\n nop\n nop\n vmmcall")
ASM(guest_vmload, "mov $0x200000, %eax\n vmload\n mov $0x201000, %eax\n vmsave\n vmmcall")
ASM(guest_pauses, "1: pause\n incl %ebx\n jmp 1b")
ASM(guest_slow,
    "1: pause\n incl %ebx\n cmp $50, %ebx\n je 2f\n mov $20, %ecx\n 3: dec %ecx\n jnz 3b\n jmp 1b\n 2: vmmcall")

#define FAR_PAGE 0x500000 /* where the nested tables put 200000h */

static u64 edx_eax(u64 hi, u64 lo) { return hi << 32 | (u32)lo; }

/* Guest's time = host's x ratio + offset; RDTSC and RDMSR agree; the host's own is untouched. */
static void tsc_ratio(void **state)
{
	static const struct {
		u64 ratio, offset;
	} rows[] = {
		{BIT(32), 0}, {BIT(31), 0}, {BIT(33), 5ull << 60}, {BIT(32) + BIT(30), 1ull << 40}, {0, 1ull << 50},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = WORLD(host_once, guest_tsc);
		u64 first, second, low, high;
		u128 scaled;

		vmcb(w)->c.tsc_offset = rows[i].offset;
		w->st.msr.tsc_ratio = rows[i].ratio;
		low = __builtin_ia32_rdtsc() + w->st.tsc_offset;
		run(w);
		high = __builtin_ia32_rdtsc() + w->st.tsc_offset;
		assert_exit(w, 0x81, 0, 0);
		first = edx_eax(w->st.gpr[RDI], w->st.gpr[RSI]) - rows[i].offset;
		second = edx_eax(w->st.gpr[RBX], vmcb(w)->s.rax) - rows[i].offset;
		scaled = (u128)low * rows[i].ratio;
		assert_true(first >= (u64)(scaled >> 32));
		assert_true(second >= first);
		scaled = (u128)high * rows[i].ratio;
		assert_true(second <= (u64)(scaled >> 32) + (rows[i].ratio ? 0 : high >> 48));
		world_free(w);
	}
}

static void tsc_ratio_reserved(void **state)
{
	struct world *w = WORLD(host_once, guest_ratio);

	vmcb(w)->c.exceptions = BIT(EXC_GP);
	run(w);
	assert_exit(w, 0x40 + EXC_GP, 0, 0);
	assert_int_equal(edx_eax(w->st.gpr[RDI], w->st.gpr[RSI]), BIT(32));
	assert_int_equal(w->st.msr.tsc_ratio, BIT(32));
	world_free(w);
}

/* V_GIF 0 holds a virtual interrupt until the guest's STGI; the exit tells what V_GIF is. */
static void virtual_gif(void **state)
{
	struct world *w = WORLD(host_once, guest_gif);
	struct vmcb *b = vmcb(w);

	b->c.int_ctl = VI_GIF_ENABLE | VI_IRQ | 5u << 16 | VI_INTR_MASKING;
	b->c.int_vector = 0x50;
	b->c.intercept3 = BIT(4);
	run(w);
	assert_exit(w, 0x64, 0, 0);
	assert_int_equal(b->s.rip, GUEST_CODE + 6); /* behind STGI */
	assert_int_equal(b->c.int_ctl & VI_GIF, VI_GIF);
	assert_int_equal(b->c.int_ctl & VI_IRQ, VI_IRQ);
	assert_int_equal(w->st.svm.gif, 0);
	world_free(w);

	w = WORLD(host_once, guest_clgi);
	b = vmcb(w);
	b->c.int_ctl = VI_GIF_ENABLE | VI_GIF | VI_IRQ | 5u << 16 | VI_INTR_MASKING;
	b->c.intercept3 = BIT(4);
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(b->c.int_ctl & (VI_GIF | VI_IRQ), VI_IRQ);
	/* An intercept comes first, and V_GIF stays. */
	b->c.intercept4 |= BIT(5);
	b->c.int_ctl |= VI_GIF;
	b->s.rip = GUEST_CODE;
	b->s.rflags = FL_FIXED;
	host_state(&w->st);
	w->st.svm.gif = 1;
	run(w);
	assert_exit(w, 0x85, 0, 0);
	assert_int_equal(b->c.int_ctl & VI_GIF, VI_GIF);
	world_free(w);
}

/* V_GIF is the guest's alone: an NMI of the host's still leaves the guest. Without V_GIF_ENABLE V_GIF means nothing. */
static void virtual_gif_off(void **state)
{
	struct world *w = WORLD(host_once, guest_gif);
	struct vmcb *b = vmcb(w);

	b->c.int_ctl = VI_IRQ | 5u << 16 | VI_INTR_MASKING;
	b->c.int_vector = 0x50;
	b->c.intercept3 = BIT(4);
	run(w);
	assert_exit(w, 0x64, 0, 0);
	assert_int_equal(b->s.rip, GUEST_CODE + 2);
	world_free(w);

	w = WORLD(host_once, guest_clgi);
	b = vmcb(w);
	b->c.int_ctl = VI_GIF_ENABLE | VI_INTR_MASKING;
	b->c.intercept3 = BIT(1);
	w->st.svm.gif = 0; /* VMRUN sets it */
	w->v->ops->assert_nmi(w->v);
	run(w);
	assert_exit(w, 0x61, 0, 0);
	assert_int_equal(b->s.rip, GUEST_CODE);
	world_free(w);
}

static void map_far(struct world *w)
{
	nested_paging(w);
	/* 200000h by 4 KiB pages: the first two are at FAR_PAGE. */
	put64(w, NESTED + 0x2000 + 8, 0x60000 | 7);
	put64(w, 0x60000, FAR_PAGE | 0x67);
	put64(w, 0x60008, (FAR_PAGE + 0x1000) | 0x67);
	vmcb(w)->c.virt_ext = VIRT_VMLOAD;
}

static void virtual_vmload(void **state)
{
	struct world *w = WORLD(host_once, guest_vmload);
	struct vmcb *from = (struct vmcb *)at(w, FAR_PAGE), *to = (struct vmcb *)at(w, FAR_PAGE + 0x1000);

	map_far(w);
	from->s.fs = (struct vmcb_seg){0x23, 0xcf3, 0xffffffff, 0x7fff00001000};
	from->s.star = 0x1234567800000000;
	from->s.sysenter_esp = 0x5678;
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_memory_equal(&to->s.fs, &from->s.fs, sizeof(from->s.fs));
	assert_int_equal(to->s.star, from->s.star);
	assert_int_equal(to->s.sysenter_esp, 0x5678);
	/* VMSAVE to a page that may only be read: a nested page fault, as of a store. */
	put64(w, 0x60008, (FAR_PAGE + 0x1000) | 0x65);
	vmcb(w)->c.tlb_control = TLB_CTL_ASID;
	vmcb(w)->s.rip = GUEST_CODE;
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x400, BIT(32) | PF_P | PF_W | PF_U, 0x201000);
	assert_int_equal(vmcb(w)->s.rip, GUEST_CODE + 13);
	/* And VMLOAD from one that is not there. */
	put64(w, 0x60000, 0);
	vmcb(w)->s.rip = GUEST_CODE;
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x400, BIT(32) | PF_U, 0x200000);
	/* The intercepts come before all of it. */
	vmcb(w)->c.intercept4 |= BIT(2) | BIT(3);
	vmcb(w)->s.rip = GUEST_CODE;
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x82, 0, 0);
	vmcb(w)->s.rip = GUEST_CODE + 13;
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x83, 0, 0);
	world_free(w);
}

/* A guest outside long mode exits although nothing is intercepted; without the control the address is the host's. */
static void virtual_vmload_modes(void **state)
{
	struct world *w = WORLD(host_once, guest_vmload);
	struct vmcb *to;

	map_far(w);
	vmcb(w)->s.efer = EFER_SVME;
	vmcb(w)->s.cr0 = CR0_PE | CR0_ET | CR0_NE;
	vmcb(w)->s.cs.attr = 0xc9b;
	run(w);
	assert_exit(w, 0x82, 0, 0);
	world_free(w);

	w = WORLD(host_once, guest_vmload);
	map_far(w);
	vmcb(w)->c.virt_ext = 0;
	((struct vmcb *)at(w, 0x200000))->s.star = 77ull << 32;
	to = (struct vmcb *)at(w, 0x201000);
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(to->s.star, 77ull << 32);
	world_free(w);
}

static void pause_filter(void **state)
{
	static const struct {
		u16 count, threshold;
		u64 done;
	} rows[] = {{0, 0, 0}, {1, 0, 0}, {2, 0, 1}, {100, 0, 99}, {100, 3, 99}, {5, 3, 4}};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = WORLD(host_once, guest_pauses);

		vmcb(w)->c.intercept3 = BIT(23);
		vmcb(w)->c.pause_count = rows[i].count;
		vmcb(w)->c.pause_threshold = rows[i].threshold;
		run(w);
		assert_exit(w, 0x77, 0, 0);
		assert_int_equal(w->st.gpr[RBX], rows[i].done);
		assert_int_equal(vmcb(w)->c.next_rip, GUEST_CODE + 2);
		assert_int_equal(vmcb(w)->c.pause_count, rows[i].count);
		world_free(w);
	}
	/* PAUSEs far apart: the counter starts anew at each. */
	for (unsigned threshold = 10; threshold < 100; threshold += 80) {
		struct world *w = WORLD(host_once, guest_slow);

		vmcb(w)->c.intercept3 = BIT(23);
		vmcb(w)->c.pause_count = 3;
		vmcb(w)->c.pause_threshold = (u16)threshold;
		run(w);
		assert_exit(w, threshold == 10 ? 0x81 : 0x77, 0, 0);
		assert_int_equal(w->st.gpr[RBX], threshold == 10 ? 50 : 2);
		world_free(w);
	}
}

ASM(guest_iret, "nop\n push %rcx\n push %rsi\n pushf\n push %rbx\n push %rdi\n iretq\n nop\n 1: vmmcall")

static struct world *vnmi_world(u32 ctl)
{
	struct world *w = WORLD_OF("EPYC-Milan,vnmi=on", host_once, guest_iret);

	vmcb(w)->c.int_ctl = VI_NMI_ENABLE | ctl;
	vmcb(w)->c.intercept3 = BIT(1);
	w->st.gpr[RCX] = 0x18;
	w->st.gpr[RSI] = GUEST_STACK;
	w->st.gpr[RBX] = 0x10;
	w->st.gpr[RDI] = GUEST_CODE + (u64)(guest_iret_end - guest_iret_start) - 4;
	return w;
}

/* V_NMI goes to the guest's handler without an exit, once V_NMI_MASK and V_GIF let it. */
static void virtual_nmi(void **state)
{
	const u64 after_iret = GUEST_CODE + (u64)(guest_iret_end - guest_iret_start) - 4;
	static const struct {
		u32 ctl, shadow;
		int rip; /* that was pushed, from GUEST_CODE; -1: behind IRET; -2: not delivered */
		u32 end;
	} rows[] = {
		{VI_NMI, 0, 0, VI_NMI_MASK},
		{VI_NMI, 1, 1, VI_NMI_MASK}, /* an interrupt shadow holds it for an instruction */
		{VI_NMI | VI_NMI_MASK, 0, -1, VI_NMI_MASK},
		{VI_NMI_MASK, 0, -2, 0}, /* IRET ends the mask */
		{VI_NMI | VI_GIF_ENABLE, 0, -2, VI_NMI},
		{VI_NMI | VI_GIF_ENABLE | VI_GIF, 0, 0, VI_NMI_MASK},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = vnmi_world(rows[i].ctl);
		u64 rip;

		vmcb(w)->c.int_state = rows[i].shadow;
		run(w);
		assert_exit(w, 0x81, 0, 0);
		if ((vmcb(w)->c.int_ctl & (VI_NMI | VI_NMI_MASK)) != rows[i].end)
			fail_msg("row %u: int_ctl %#x", i, vmcb(w)->c.int_ctl);
		assert_int_equal(*at(w, DATA), rows[i].rip != -2);
		assert_int_equal(w->st.nmi_blocked, 0); /* the host's */
		memcpy(&rip, at(w, GUEST_STACK - 40), 8);
		if (rows[i].rip != -2)
			assert_int_equal(rip, rows[i].rip < 0 ? after_iret : GUEST_CODE + (u64)rows[i].rip);
		world_free(w);
	}
}

/* The host's NMI exits whatever the guest's mask is; an injected NMI sets the mask; the rule; a model without. */
static void virtual_nmi_others(void **state)
{
	struct world *w = vnmi_world(VI_NMI | VI_NMI_MASK);

	w->st.svm.gif = 0;
	w->v->ops->assert_nmi(w->v);
	run(w);
	assert_exit(w, 0x61, 0, 0);
	assert_int_equal(vmcb(w)->s.rip, GUEST_CODE);
	assert_int_equal(vmcb(w)->c.int_ctl & (VI_NMI | VI_NMI_MASK), VI_NMI | VI_NMI_MASK);
	world_free(w);

	w = vnmi_world(0);
	w->st.nmi_blocked = 1;
	vmcb(w)->c.event_inj = EVI_VALID | EVI_NMI << 8;
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(vmcb(w)->c.int_ctl & VI_NMI_MASK, VI_NMI_MASK);
	assert_int_equal(w->st.nmi_blocked, 1);
	world_free(w);

	w = vnmi_world(VI_NMI);
	vmcb(w)->c.intercept3 = 0;
	run(w);
	assert_exit(w, ~0ull, 0, 0);
	world_free(w);

	w = WORLD_OF("EPYC-Milan,vnmi=off", host_once, guest_gif);
	vmcb(w)->c.int_ctl = VI_NMI_ENABLE | VI_NMI;
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(*at(w, DATA), 0);
	assert_int_equal(vmcb(w)->c.int_ctl & VI_NMI, VI_NMI);
	world_free(w);
}

/* What the model lacks is as on a processor without it. */
static void unoffered(void **state)
{
	struct world *w = WORLD_OF("EPYC,vgif=off,vls=off,pausefilter=off,pfthreshold=off", host_once, guest_pauses);

	vmcb(w)->c.intercept3 = BIT(23);
	vmcb(w)->c.pause_count = 100;
	run(w);
	assert_exit(w, 0x77, 0, 0);
	assert_int_equal(w->st.gpr[RBX], 0);
	memcpy(at(w, GUEST_CODE), guest_gif_start, (size_t)(guest_gif_end - guest_gif_start));
	vmcb(w)->c.int_ctl = VI_GIF_ENABLE | VI_IRQ | 5u << 16 | VI_INTR_MASKING;
	vmcb(w)->c.intercept3 = BIT(4);
	vmcb(w)->s.rip = GUEST_CODE;
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x64, 0, 0);
	assert_int_equal(vmcb(w)->s.rip, GUEST_CODE + 2);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tsc_ratio),	  cmocka_unit_test(tsc_ratio_reserved),
		cmocka_unit_test(virtual_gif),	  cmocka_unit_test(virtual_gif_off),
		cmocka_unit_test(virtual_vmload), cmocka_unit_test(virtual_vmload_modes),
		cmocka_unit_test(pause_filter),	  cmocka_unit_test(unoffered),
		cmocka_unit_test(virtual_nmi),	  cmocka_unit_test(virtual_nmi_others),
	};
	int failed = cmocka_run_group_tests_name("SVM virtualization", tests, NULL, NULL);

	options.drop_every = 2;
	return failed + cmocka_run_group_tests_name("SVM virtualization without caches", tests, NULL, NULL);
}
