/*
 * SVM on the software processor: a host of three instructions (VMRUN; OUT) and guests of a few, one topic a test. The
 * VMCB is made and read from outside. APM vol. 2 chapter 15.
 */
#include "svm_world.h"

/* Takes guests past CPUID, RDI times. */
ASM(host_loop,
    "1: vmrun\n mov 0xc8(%rax), %rbx\n mov %rbx, 0x578(%rax)\n dec %rdi\n jnz 1b\n mov $0xf4, %dx\n outb %al, %dx")
ASM(host_vmsave, "vmload\n mov $0x38000, %eax\n vmsave\n mov $0xf4, %dx\n outb %al, %dx")
/* Calls what VMSAVE stores over, before and after. */
ASM(host_over_code,
    "mov $0x38600, %edi\n call *%rdi\n mov %eax, %ebx\n mov $0x38000, %eax\n vmsave\n call *%rdi\n mov %eax, %ecx\n"
    "mov $0xf4, %dx\n outb %al, %dx")
ASM(host_nmi,
    "stgi\n clgi\n mov $1, %esi\n mov $0x600, %dx\n outb %al, %dx\n mov $2, %esi\n stgi\n mov $3, %esi\n 1: jmp 1b")
ASM(guest_cpuid, "1: cpuid\n cpuid\n cpuid\n cpuid\n jmp 1b")
ASM(guest_vmmcall, "mov $0x1234, %ebx\n vmmcall")
ASM(guest_out, "mov $0x1f7, %dx\n outw %ax, %dx")
ASM(guest_ins, "mov $0x1f0, %dx\n mov $3, %ecx\n mov $0x3000, %edi\n rep insl")
ASM(guest_rdmsr, "mov $0xc0000080, %ecx\n rdmsr\n mov $0x10, %ecx\n wrmsr")
ASM(guest_store, "mov $0x600123, %ebx\n movl $5, (%rbx)")
ASM(guest_ud, "nop\n ud2")
ASM(guest_pf, "mov $0x40000000, %ebx\n mov (%rbx), %ecx")
ASM(guest_sti, "sti\n nop\n nop\n 1: jmp 1b")
ASM(guest_dr, "mov %dr0, %r9\nhlt")
ASM(guest_invpcid, "mov $3, %r9d\ninvpcid 0x3000, %r9")
ASM(guest_cr, "mov %cr3, %r9")

/* The exit saves the guest and brings the host back behind VMRUN, with GIF 0. */
static void round_trip(void **state)
{
	struct world *w = WORLD(host_once, guest_vmmcall);
	struct vmcb *b = vmcb(w);

	w->st.dr7 = 0x455;
	b->c.int_state = 1;
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(b->s.rip, GUEST_CODE + 5);
	assert_int_equal(b->c.next_rip, GUEST_CODE + 8);
	assert_int_equal(b->s.rax, 0x77);
	assert_int_equal(b->s.rsp, GUEST_STACK);
	assert_int_equal(b->c.int_state, 0);
	assert_int_equal(b->c.exit_int_info, 0);
	assert_int_equal(w->st.gpr[RBX], 0x1234); /* not switched */
	assert_int_equal(w->st.gpr[RSP], STACK);
	assert_int_equal(w->st.gpr[RAX], VMCB);
	assert_int_equal(w->st.svm.gif, 0);
	assert_int_equal(w->st.svm.in_guest, 0);
	assert_int_equal(w->st.dr7, DR7_FIXED);
	assert_int_equal(w->st.cr4, CR4_PAE | CR4_OSFXSR);
	world_free(w);
}

static void invalid(void **state)
{
	struct world *w = WORLD(host_once, guest_vmmcall);

	vmcb(w)->c.asid = 0;
	run(w);
	assert_exit(w, ~0ull, 0, 0);
	assert_int_equal(vmcb(w)->s.rip, GUEST_CODE);
	assert_int_equal(w->st.gpr[RSP], STACK);
	world_free(w);
}

/* What --trace=vmexit tells of a round trip. */
static void traced(void **state)
{
	struct world *w = WORLD(host_once, guest_vmmcall);
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_int_equal(log_enable(w->vm.log, "vmexit,port", &w->e), 0);
	log_trace_to(w->vm.log, f);
	run(w);
	fflush(f);
	assert_non_null(strstr(text, ": cpu0 g0 0000000000002000 VMRUN vmcb 0x30000 asid "));
	assert_non_null(strstr(text, "#VMEXIT VMMCALL code 0x81 "));
	assert_non_null(strstr(text, ": cpu0 h0 "));
	assert_non_null(strstr(text, " out 00f4 size 1 = "));
	world_free(w);
	fclose(f);
	free(text);
}

static void io(void **state)
{
	struct world *w = WORLD(host_once, guest_out);

	vmcb(w)->c.intercept3 = BIT(27);
	*at(w, IOPM + 0x1f8 / 8) = 1; /* only the second byte of the access */
	run(w);
	assert_exit(w, 0x7b, 0x01f70000 | IOIO_SIZE(2) | IOIO_ADSIZE(8), GUEST_CODE + 6);
	world_free(w);

	w = WORLD(host_once, guest_ins);
	vmcb(w)->c.intercept3 = BIT(27);
	*at(w, IOPM + 0x1f0 / 8) = 1;
	run(w);
	assert_exit(w, 0x7b, 0x01f00000 | IOIO_IN | IOIO_STR | IOIO_REP | IOIO_SIZE(4) | IOIO_ADSIZE(8),
		    vmcb(w)->c.next_rip);
	world_free(w);
}

static void msr(void **state)
{
	struct world *w = WORLD(host_once, guest_rdmsr);

	vmcb(w)->c.intercept3 = BIT(28);
	*at(w, MSRPM + 0x10 / 4) = 2; /* writes of 10h only */
	run(w);
	assert_exit(w, 0x7c, 1, 0);
	assert_int_equal(w->st.gpr[RCX], 0x10);
	*at(w, MSRPM + 0x800 + 0x80 / 4) = 1;
	vmcb(w)->s.rip = GUEST_CODE;
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x7c, 0, 0);
	assert_int_equal(w->st.gpr[RCX], 0xc0000080);
	world_free(w);
}

static void nested_fault(void **state)
{
	struct world *w = WORLD(host_once, guest_store);

	nested_paging(w);
	run(w);
	assert_exit(w, 0x400, BIT(32) | PF_U | PF_W, HOLE + 0x123);
	assert_int_equal(vmcb(w)->s.rip, GUEST_CODE + 5);
	assert_int_equal(vmcb(w)->c.next_rip, 0);
	assert_int_equal(vmcb(w)->c.insn_len, 15);
	assert_memory_equal(vmcb(w)->c.insn_bytes, guest_store_start + 5, 6);
	put64(w, NESTED + 0x2000 + 8 * (HOLE >> 21),
	      HOLE | 0x87); /* mapped now: it goes on, to zeros that fault no more */
	memcpy(at(w, GUEST_CODE + 11), "\x0f\x01\xd9", 3);
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(*at(w, HOLE + 0x123), 5);
	/* The guest's own tables out of reach. */
	vmcb(w)->s.cr3 = HOLE;
	put64(w, NESTED + 0x2000 + 8 * (HOLE >> 21), 0);
	vmcb(w)->c.tlb_control = TLB_CTL_ASID;
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x400, BIT(33) | PF_U | PF_W, HOLE);
	world_free(w);
}

static void exceptions(void **state)
{
	struct world *w = WORLD(host_once, guest_ud);

	vmcb(w)->c.exceptions = BIT(EXC_UD);
	run(w);
	assert_exit(w, 0x40 + EXC_UD, 0, 0);
	assert_int_equal(vmcb(w)->s.rip, GUEST_CODE + 1);
	world_free(w);

	w = WORLD(host_once, guest_pf);
	vmcb(w)->c.exceptions = BIT(EXC_PF);
	vmcb(w)->s.cr2 = 0x99;
	run(w);
	assert_exit(w, 0x40 + EXC_PF, 0, 0x40000000);
	assert_int_equal(vmcb(w)->s.cr2, 0x99);
	assert_int_equal(vmcb(w)->c.insn_len, 15);
	world_free(w);
}

static void inject(void **state)
{
	struct world *w = WORLD(host_once, guest_vmmcall);
	struct vmcb *b = vmcb(w);
	u64 frame[5];

	b->c.exceptions = ~0u; /* an injected exception is not intercepted */
	b->c.event_inj = EVI_VALID | EVI_EXCEPTION << 8 | EXC_GP | EVI_ERROR | 0x18ull << 32;
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(*at(w, DATA), 1);
	assert_int_equal(b->s.rip, HANDLER + (u64)(handler_end - handler_start) - 3);
	assert_int_equal(b->c.event_inj & EVI_VALID, 0);
	memcpy(frame, at(w, GUEST_STACK - 48), sizeof(frame));
	assert_int_equal(frame[0], 0x18);
	assert_int_equal(frame[1], GUEST_CODE);
	/* A software interrupt returns to nRIP. */
	b->c.event_inj = EVI_VALID | EVI_SOFT_INT << 8 | 0x80;
	b->c.next_rip = GUEST_CODE + 2;
	b->s.rip = GUEST_CODE;
	b->s.rsp = GUEST_STACK;
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x81, 0, 0);
	memcpy(frame, at(w, GUEST_STACK - 40), sizeof(frame));
	assert_int_equal(frame[0], GUEST_CODE + 2);
	world_free(w);
}

/* A nested fault while an interrupt is delivered: EXITINTINFO has it, and nothing was pushed. */
static void fault_in_delivery(void **state)
{
	struct world *w = WORLD(host_once, guest_vmmcall);
	struct vmcb *b = vmcb(w);

	nested_paging(w);
	b->s.rsp = HOLE + 0x1000;
	b->c.event_inj = EVI_VALID | EVI_INTR << 8 | 0x41;
	run(w);
	assert_int_equal(b->c.exit_code, 0x400);
	assert_int_equal(b->c.exit_int_info, EVI_VALID | 0x41);
	assert_int_equal(b->s.rip, GUEST_CODE);
	assert_int_equal(b->s.rsp, HOLE + 0x1000);
	b->c.event_inj = EVI_VALID | EVI_SOFT_INT << 8 | 0x80;
	b->c.next_rip = GUEST_CODE + 2;
	host_state(&w->st);
	run(w);
	assert_int_equal(b->c.exit_code, 0x400);
	assert_int_equal(b->c.exit_int_info, EVI_VALID | EVI_SOFT_INT << 8 | 0x80);
	assert_int_equal(b->s.rip, GUEST_CODE);
	world_free(w);
}

static void virtual_interrupt(void **state)
{
	struct world *w = WORLD(host_once, guest_sti);
	struct vmcb *b = vmcb(w);

	b->c.int_ctl = VI_IRQ | 5u << 16 | VI_INTR_MASKING | 3;
	b->c.int_vector = 0x50;
	run(w);
	assert_exit(w, 0x81, 0, 0);
	assert_int_equal(*at(w, DATA), 1);
	assert_int_equal(b->c.int_ctl & VI_IRQ, 0);
	assert_int_equal(b->c.int_ctl & VI_TPR, 3);
	/* With the window intercepted it stays pending; STI's shadow holds it for one instruction. */
	b->c.int_ctl |= VI_IRQ;
	b->c.intercept3 = BIT(4);
	b->s.rip = GUEST_CODE;
	b->s.rflags = FL_FIXED;
	host_state(&w->st);
	run(w);
	assert_exit(w, 0x64, 0, 0);
	assert_int_equal(b->s.rip, GUEST_CODE + 2);
	assert_int_equal(b->c.int_ctl & VI_IRQ, VI_IRQ);
	world_free(w);
}

static void cr_access(void **state)
{
	struct world *w = WORLD(host_once, guest_cr);

	vmcb(w)->c.cr_read = BIT(3);
	run(w);
	assert_exit(w, 0x03, CR_ACCESS_MOV | 9, 0);
	world_free(w);
}

static void invpcid(void **state)
{
	struct world *w = WORLD_OF("EPYC-Milan", host_once, guest_invpcid);

	vmcb(w)->c.intercept5 = INTERCEPT5_INVPCID;
	run(w);
	assert_exit(w, 0xa2, 0x3000, 3);
	world_free(w);
}

static void dr_access(void **state)
{
	struct world *w = WORLD(host_once, guest_dr);

	vmcb(w)->c.dr_read = BIT(0);
	run(w);
	assert_exit(w, 0x20, 9, 0);
	world_free(w);

	w = WORLD(host_once, guest_dr);
	vmcb(w)->c.dr_read = BIT(0);
	vmcb(w)->c.exceptions = BIT(EXC_DB);
	vmcb(w)->s.dr7 = DR7_FIXED | DR7_GD;
	run(w);
	assert_exit(w, 0x40 + EXC_DB, 0, 0);
	assert_int_equal(vmcb(w)->s.dr6, DR6_FIXED | DR6_BD);
	world_free(w);
}

static void load_save(void **state)
{
	struct world *w = WORLD(host_vmsave, guest_cr);
	struct vmcb_save *from = &vmcb(w)->s, *to = &((struct vmcb *)at(w, 0x38000))->s;

	from->fs = (struct vmcb_seg){0x23, 0xcf3, 0xffffffff, 0x7fff00001000};
	from->gs = (struct vmcb_seg){0x2b, 0xcf3, 0xffffffff, 0x8000000000000}; /* made canonical */
	from->tr = (struct vmcb_seg){0x40, 0x8b, 0x67, 0xfffffe0000003000};
	from->ldtr = (struct vmcb_seg){0x48, 0x82, 0x17, 0x5000};
	from->kernel_gs_base = 0x1234;
	from->star = 0x0023001000000000;
	from->lstar = 0xffffffff81000000;
	from->sfmask = 0x47700;
	from->sysenter_cs = 0x10;
	run(w);
	assert_memory_equal(&to->fs, &from->fs, sizeof(from->fs));
	assert_memory_equal(&to->tr, &from->tr, sizeof(from->tr));
	assert_memory_equal(&to->ldtr, &from->ldtr, sizeof(from->ldtr));
	assert_int_equal(to->gs.base, 0);
	assert_int_equal(to->kernel_gs_base, 0x1234);
	assert_int_equal(to->star, from->star);
	assert_int_equal(to->lstar, from->lstar);
	assert_int_equal(to->sfmask, from->sfmask);
	assert_int_equal(to->sysenter_cs, 0x10);
	world_free(w);
}

/* Code in a page that the processor itself stores to: the field of STAR holds MOV EAX, imm; RET. */
static void save_over_code(void **state)
{
	struct world *w = WORLD(host_over_code, guest_cr);

	put64(w, 0x38600, 0x9090c300000005b8);
	w->st.msr.star = 0x9090c300000006b8;
	run(w);
	assert_int_equal(w->st.gpr[RBX], 5);
	assert_int_equal(w->st.gpr[RCX], 6);
	world_free(w);
}

/* An NMI that comes with GIF 0 is held until STGI. */
static void gif_holds_nmi(void **state)
{
	struct world *w = WORLD(host_nmi, guest_cr);

	memcpy(at(w, HANDLER), "\x66\xba\xf4\x00\xee\xeb\xfe", 7); /* mov $0xf4, %dx; out %al, %dx; jmp . */
	run(w);
	assert_int_equal(w->st.gpr[RSI], 2);
	world_free(w);
}

static void speed(void **state)
{
	struct world *w = WORLD(host_loop, guest_cpuid);
	struct clock *c = clock_host();
	u64 t;
	const u64 n = 300000;

	nested_paging(w);
	vmcb(w)->c.intercept3 = BIT(18);
	w->st.gpr[RDI] = n;
	t = c->now(c);
	run(w);
	t = c->now(c) - t;
	assert_exit(w, 0x72, 0, 0);
	print_message("VMRUN and #VMEXIT: %llu ns a pair\n", (unsigned long long)(t / n));
	world_free(w);
}

/* Without NRIPS the field is neither written nor read: an injected software interrupt returns to RIP. */
static void no_nrip_save(void **state)
{
	struct world *w =
		world_new("EPYC,nrip-save=off", host_once_start, host_once_end, guest_vmmcall_start, guest_vmmcall_end);
	struct vmcb *b = vmcb(w);
	u64 rip;

	b->c.event_inj = EVI_VALID | EVI_SOFT_INT << 8 | 0x80;
	b->c.next_rip = GUEST_CODE + 2;
	run(w);
	assert_exit(w, 0x81, 0, 0);
	memcpy(&rip, at(w, GUEST_STACK - 40), sizeof(rip));
	assert_int_equal(rip, GUEST_CODE);
	assert_int_equal(b->c.next_rip, GUEST_CODE + 2);
	world_free(w);
}

ASM(guest_read_cr0, "mov %cr0, %rcx\n vmmcall")

/* Without decode assists: no bytes of a nested fault's instruction, no register of a CR access. */
static void no_decode_assists(void **state)
{
	for (unsigned has = 0; has < 2; has++) {
		const char *model = has ? "EPYC" : "EPYC,decodeassists=off";
		struct world *w = world_new(model, host_once_start, host_once_end, guest_store_start, guest_store_end);

		nested_paging(w);
		run(w);
		assert_exit(w, 0x400, BIT(32) | PF_U | PF_W, HOLE + 0x123);
		assert_int_equal(vmcb(w)->c.insn_len, has ? 15 : 0);
		world_free(w);

		w = world_new(model, host_once_start, host_once_end, guest_read_cr0_start, guest_read_cr0_end);
		vmcb(w)->c.cr_read = 1;
		run(w);
		assert_exit(w, 0, has ? CR_ACCESS_MOV | RCX : 0, 0);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(invalid),
		cmocka_unit_test(traced),
		cmocka_unit_test(io),
		cmocka_unit_test(msr),
		cmocka_unit_test(nested_fault),
		cmocka_unit_test(exceptions),
		cmocka_unit_test(inject),
		cmocka_unit_test(no_nrip_save),
		cmocka_unit_test(no_decode_assists),
		cmocka_unit_test(fault_in_delivery),
		cmocka_unit_test(virtual_interrupt),
		cmocka_unit_test(cr_access),
		cmocka_unit_test(dr_access),
		cmocka_unit_test(invpcid),
		cmocka_unit_test(load_save),
		cmocka_unit_test(save_over_code),
		cmocka_unit_test(gif_holds_nmi),
		cmocka_unit_test(speed),
	};

	int failed = cmocka_run_group_tests_name("SVM", tests, NULL, NULL);

	/* All but the last, which measures, once more while the processor forgets its caches every other instruction.
	 */
	options.drop_every = 2;
	return failed + _cmocka_run_group_tests("SVM without caches", tests, ARRAY_SIZE(tests) - 1, NULL, NULL);
}
