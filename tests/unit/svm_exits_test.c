/*
 * Every SVM exit code taken once, with its EXITINFO1, EXITINFO2, RIP and nRIP. APM vol. 2 appendix C "SVM Intercept
 * Exit Codes", 15.7 to 15.14. The row's code says which intercept bit is set. The last test demands a row for each code
 * of exits.def.
 */
#include "svm_world.h"

#include "arch/x86/exits.h"

#define MODEL "EPYC-Milan"

struct row {
	u64 code;
	const u8 *text, *end;
	void (*setup)(struct world *w, struct vmcb *b);
	u64 info1, info2;
	unsigned at;  /* RIP, from GUEST_CODE */
	unsigned len; /* nRIP is behind so many bytes; 0: nRIP is 0 */
};

static bool taken[X86_EXITS];

#define SETUP(name, ...)                                                                                               \
	static void name(struct world *w, struct vmcb *b) { __VA_ARGS__; }
SETUP(nothing, (void)b)
SETUP(legacy, b->s.efer = EFER_SVME; b->s.cr0 &= ~CR0_PG; b->s.cs.attr = 0xc9b; b->s.gdtr.limit = 0x2f;
      put64(w, 0x820, 0x0000890000000067); put64(w, 0x828, 0x0000120000000000))
SETUP(short_tss, legacy(w, b); put64(w, 0x820, 0x0000890000000010))
SETUP(overflow, legacy(w, b); b->s.rflags |= FL_OF)
SETUP(bounds, legacy(w, b); put64(w, DATA, 0x600000005))
SETUP(single_step, b->s.rflags |= FL_TF)
SETUP(task_switched, b->s.cr0 |= CR0_TS)
SETUP(legacy_errors, b->s.cr0 &= ~CR0_NE; (void)w)
SETUP(no_idt, b->s.idtr.limit = 0)
SETUP(sse, b->s.cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT)
SETUP(user, b->s.cs.attr = 0xafb; b->s.ss.attr = 0xcf3; b->s.cpl = 3; b->s.cr0 |= CR0_AM; b->s.rflags |= FL_AC)
SETUP(interrupts, b->s.rflags |= FL_IF)
SETUP(virtual_interrupt, b->s.rflags |= FL_IF; b->c.int_ctl = VI_IRQ | 5u << 16)
SETUP(redirect_init, w->st.svm.vm_cr = 2; (void)b)
SETUP(osxsave, b->s.cr4 |= CR4_OSXSAVE)
SETUP(ports, memset(at(w, IOPM), 0xff, 0x2001); (void)b)
SETUP(msrs, memset(at(w, MSRPM), 0xff, 0x2000); (void)b)
SETUP(no_asid, b->c.asid = 0)
/* Values of RDX that MOV to CRn takes: those that it does not are #GP before the intercept. */
SETUP(good_cr0, w->st.gpr[RDX] = b->s.cr0 | CR0_WP)
SETUP(good_cr2, (void)w; (void)b)
SETUP(good_cr3, w->st.gpr[RDX] = b->s.cr3)
SETUP(good_cr4, w->st.gpr[RDX] = b->s.cr4 | CR4_PGE)
SETUP(good_cr8, (void)w; (void)b)
SETUP(efer, b->s.rax = EFER_LME | EFER_SVME | EFER_SCE; (void)w)
SETUP(vmcb_operand, b->s.rax = 0x38000; (void)w)
SETUP(avic, b->c.int_ctl = (u32)VI_AVIC; b->c.avic_bar = 0x500000; b->c.avic_backing = 0x3a000;
      b->c.avic_physical = 0x3b000; nested_paging(w))
SETUP(hole, nested_paging(w); (void)b)

#define MOV_FROM_CR(n) ASM(from_cr##n, "mov %cr" #n ", %r9")
#define MOV_TO_CR(n)   ASM(to_cr##n, "mov %rdx, %cr" #n)
MOV_FROM_CR(0)
MOV_FROM_CR(2)
MOV_FROM_CR(3)
MOV_FROM_CR(4)
MOV_FROM_CR(8)
MOV_TO_CR(0)
MOV_TO_CR(2)
MOV_TO_CR(3)
MOV_TO_CR(4)
MOV_TO_CR(8)
#define MOV_DR(n)                                                                                                      \
	ASM(from_dr##n, "mov %dr" #n ", %rsi")                                                                         \
	ASM(to_dr##n, "mov %r11, %dr" #n)
MOV_DR(0)
MOV_DR(1)
MOV_DR(2)
MOV_DR(3)
MOV_DR(4)
MOV_DR(5)
MOV_DR(6)
MOV_DR(7)
ASM(smsw, "smsw %ax")
ASM(lmsw, "mov $1, %ax\n lmsw %ax")
ASM(lmsw_mem, "lmsw 0x3000")
ASM(clts, "clts")
ASM(divide, "xor %ecx, %ecx\n div %ecx")
ASM(step, "nop\n nop")
ASM(int3, "nop\n int3")
ASM(into, ".code32\n nop\n into\n .code64")
ASM(bound, ".code32\n xor %eax, %eax\n bound %eax, 0x3000\n .code64")
ASM(ud, "nop\n ud2")
ASM(fnop, "fnop")
ASM(jump_task, ".code32\n ljmp $0x20, $0\n .code64")
ASM(not_present, "mov $0x28, %eax\n mov %eax, %ds")
ASM(bad_stack, "movabs $0x8000000000000000, %rsp\n push %rax")
ASM(bad_address, "movabs $0x8000000000000000, %rbx\n mov (%rbx), %al")
ASM(page, "mov $0x40000008, %ebx\n orb $1, (%rbx)")
ASM(x87, "fninit\n movl $0x340, (%rsp)\n fldcw (%rsp)\n fld1\n fldz\n fdivrp\n fwait")
ASM(unaligned, "mov 1(%rsp), %eax")
ASM(simd,
    "movl $0x1d80, (%rsp)\n ldmxcsr (%rsp)\n xorps %xmm0, %xmm0\n movl $0x3f800000, (%rsp)\n movss (%rsp), %xmm1\n"
    "divss %xmm0, %xmm1")
ASM(intr, "mov $0x55, %al\n mov $0x601, %dx\n out %al, %dx\n nop")
ASM(nmi, "mov $0x600, %dx\n out %al, %dx\n nop")
ASM(smi, "mov $0x603, %dx\n out %al, %dx\n nop")
ASM(init, "mov $0x602, %dx\n out %al, %dx\n nop")
ASM(spin, "1: jmp 1b")
ASM(sidt, "sidt (%rsp)")
ASM(sgdt, "sgdt (%rsp)")
ASM(sldt, "sldt %eax")
ASM(str, "str %eax")
ASM(lidt, "lidt (%rsp)")
ASM(lgdt, "lgdt (%rsp)")
ASM(lldt, "lldt %ax")
ASM(ltr, "ltr %ax")
ASM(rdtsc, "rdtsc")
ASM(rdpmc, "rdpmc")
ASM(pushf, "pushf")
ASM(popf, "popf")
ASM(cpuid, "nop\n cpuid")
ASM(rsm, "rsm")
ASM(iret, "iretq")
ASM(int_n, "int $0x81")
ASM(invd, "invd")
ASM(pause, "pause")
ASM(hlt, "hlt")
ASM(invlpg, "mov $0x1000, %ebx\n invlpg 0x234(%rbx)")
ASM(invlpga, "mov $0x5678, %eax\n invlpga %rax, %ecx")
ASM(in_imm, "in $0x71, %al")
ASM(outs_gs, "mov $0x3f8, %dx\n .byte 0x65\n outsw")
ASM(rdmsr, "mov $0x10, %ecx\n rdmsr")
ASM(wrmsr, "mov $0xc0000080, %ecx\n wrmsr")
ASM(vmrun, "vmrun")
ASM(vmmcall, "vmmcall")
ASM(vmload, "vmload")
ASM(vmsave, "vmsave")
ASM(stgi, "stgi")
ASM(clgi, "clgi")
ASM(skinit, "skinit")
ASM(rdtscp, "rdtscp")
ASM(icebp, ".byte 0xf1")
ASM(wbinvd, "wbinvd")
ASM(monitor, "xor %ecx, %ecx\n mov $0x3000, %eax\n monitor")
ASM(mwait, "xor %ecx, %ecx\n mwait")
ASM(armed, "xor %ecx, %ecx\n mov $0x3000, %eax\n monitor\n mwait")
ASM(xsetbv, "xsetbv")
ASM(invpcid, "mov $2, %ecx\n invpcid 0x10(%rsp), %rcx")
ASM(store, "movl $5, 0x600120")

ASM(apic_nmi, "movl $0x400, 0x500300")
ASM(apic_count, "mov 0x500390, %eax")

#define R(code, text, setup, ...)                                                                                      \
	{                                                                                                              \
		code, text##_start, text##_end, setup, __VA_ARGS__                                                     \
	}
#define I1 .info1
#define I2 .info2
#define CR(n)                                                                                                          \
	R(n, from_cr##n, nothing, I1 = CR_ACCESS_MOV | R9, .len = 4),                                                  \
		R(0x10 + n, to_cr##n, good_cr##n, I1 = CR_ACCESS_MOV | RDX, .len = 3 + (n == 8))
#define DR(n) R(0x20 + n, from_dr##n, nothing, I1 = RSI, .len = 3), R(0x30 + n, to_dr##n, nothing, I1 = R11, .len = 4)
static const struct row rows[] = {
	CR(0),
	CR(2),
	CR(3),
	CR(4),
	CR(8),
	DR(0),
	DR(1),
	DR(2),
	DR(3),
	DR(4),
	DR(5),
	DR(6),
	DR(7),
	R(0x00, smsw, nothing, .len = 4),
	R(0x10, lmsw, nothing, .at = 4, .len = 3),
	R(0x10, clts, nothing, .len = 2),
	R(0x40, divide, nothing, .at = 2),
	R(0x41, step, single_step, .at = 1),
	R(0x43, int3, nothing, .at = 1, .len = 1),
	R(0x44, into, overflow, .at = 1, .len = 1),
	R(0x45, bound, bounds, .at = 2, .len = 6),
	R(0x46, ud, nothing, .at = 1),
	R(0x47, fnop, task_switched),
	R(0x48, ud, no_idt, .at = 1),
	R(0x4a, jump_task, short_tss, I1 = 0x20),
	R(0x4b, not_present, legacy, I1 = 0x28, .at = 5),
	R(0x4c, bad_stack, nothing, .at = 10),
	R(0x4d, bad_address, nothing, .at = 10),
	R(0x4e, page, nothing, I1 = PF_W, I2 = 0x40000008, .at = 5),
	R(0x50, x87, nothing, .at = 18),
	R(0x51, unaligned, user),
	R(0x53, simd, sse, .at = 26),
	R(0x5e, init, redirect_init, I1 = 1, .at = 5),
	R(0x60, intr, interrupts, .at = 7),
	R(0x61, nmi, nothing, .at = 5),
	R(0x62, smi, nothing, .at = 5),
	R(0x63, init, nothing, .at = 5),
	R(0x64, spin, virtual_interrupt),
	R(0x65, lmsw_mem, nothing, .len = 8),
	R(0x65, to_cr0, good_cr0, I1 = CR_ACCESS_MOV | RDX, .len = 3),
	R(0x66, sidt, nothing, .len = 4),
	R(0x67, sgdt, nothing, .len = 4),
	R(0x68, sldt, nothing, .len = 3),
	R(0x69, str, nothing, .len = 3),
	R(0x6a, lidt, nothing, .len = 4),
	R(0x6b, lgdt, nothing, .len = 4),
	R(0x6c, lldt, nothing, .len = 3),
	R(0x6d, ltr, nothing, .len = 3),
	R(0x6e, rdtsc, nothing, .len = 2),
	R(0x6f, rdpmc, nothing, .len = 2),
	R(0x70, pushf, nothing, .len = 1),
	R(0x71, popf, nothing, .len = 1),
	R(0x72, cpuid, nothing, .at = 1, .len = 2),
	R(0x73, rsm, nothing, .len = 2),
	R(0x74, iret, nothing, .len = 2),
	R(0x75, int_n, nothing, I1 = 0x81, .len = 2),
	R(0x76, invd, nothing, .len = 2),
	R(0x77, pause, nothing, .len = 2),
	R(0x78, hlt, nothing, .len = 1),
	R(0x79, invlpg, nothing, I1 = 0x1234, .at = 5, .len = 7),
	R(0x7a, invlpga, nothing, I1 = 0x5678, .at = 5, .len = 3),
	R(0x7b, in_imm, ports, I1 = IOIO_PORT(0x71) | IOIO_SIZE(1) | IOIO_ADSIZE(8) | IOIO_IN, I2 = GUEST_CODE + 2,
	  .len = 2),
	R(0x7b, outs_gs, ports, I1 = IOIO_PORT(0x3f8) | IOIO_SIZE(2) | IOIO_ADSIZE(8) | IOIO_STR | IOIO_SEG(GS),
	  I2 = GUEST_CODE + 7, .at = 4, .len = 3),
	R(0x7c, rdmsr, msrs, .at = 5, .len = 2),
	R(0x7c, wrmsr, msrs, I1 = 1, .at = 5, .len = 2),
	R(0x7d, jump_task, legacy, I1 = 0x20, I2 = BIT(38)),
	R(0x7e, x87, legacy_errors, .at = 18),
	R(0x7f, ud, no_idt, .at = 1),
	R(0x80, vmrun, vmcb_operand, .len = 3),
	R(0x81, vmmcall, nothing, .len = 3),
	R(0x82, vmload, vmcb_operand, .len = 3),
	R(0x83, vmsave, vmcb_operand, .len = 3),
	R(0x84, stgi, nothing, .len = 3),
	R(0x85, clgi, nothing, .len = 3),
	R(0x86, skinit, nothing, .len = 3),
	R(0x87, rdtscp, nothing, .len = 3),
	R(0x88, icebp, nothing, .len = 1),
	R(0x89, wbinvd, nothing, .len = 2),
	R(0x8a, monitor, nothing, .at = 7, .len = 3),
	R(0x8b, mwait, nothing, .at = 2, .len = 3),
	R(0x8c, armed, nothing, .at = 10, .len = 3),
	R(0x8d, xsetbv, osxsave, .len = 3),
	R(0x8f, wrmsr, efer, I1 = EFER_LME | EFER_LMA | EFER_SVME | EFER_SCE, .at = 7),
	R(0x90, to_cr0, good_cr0, I1 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP, .at = 3),
	R(0x90, lmsw, nothing, I1 = CR0_PE | CR0_PG | CR0_ET | CR0_NE, .at = 7),
	R(0x90, clts, task_switched, I1 = CR0_PE | CR0_PG | CR0_ET | CR0_NE, .at = 2),
	R(0x92, to_cr2, good_cr2, .at = 3),
	R(0x93, to_cr3, good_cr3, I1 = TABLES, .at = 3),
	R(0x94, to_cr4, good_cr4, I1 = CR4_PAE | CR4_PGE, .at = 3),
	R(0x98, to_cr8, good_cr8, .at = 4),
	R(0xa2, invpcid, nothing, I1 = GUEST_STACK + 0x10, I2 = 2, .at = 5, .len = 7),
	R(0x400, store, hole, I1 = BIT(32) | PF_U | PF_W, I2 = 0x600120),
	R(0x401, apic_nmi, avic, I1 = 0x400, .at = 11),
	R(0x402, apic_count, avic, I1 = 0x390),
	R(~0ull, spin, no_asid),
};

/* The intercept bit of an exit code. */
static void intercept(struct vmcb_control *c, u64 code)
{
	if (code < 0x40)
		(&c->cr_read)[code / 16] |= (u16)BIT(code % 16);
	else if (code < 0xc0)
		(&c->exceptions)[(code - 0x40) / 32] |= (u32)BIT(code % 32);
}

static enum x86_exit exit_of(u64 code)
{
	unsigned i = 0;

	while (i < X86_EXITS && x86_exit_rows[i].svm_code != code)
		i++;
	return (enum x86_exit)i;
}

static void each_code_once(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		struct world *w = world_new(MODEL, host_once_start, host_once_end, r->text, r->end);
		struct vmcb *b = vmcb(w);

		intercept(&b->c, r->code);
		w->st.gpr[RDX] = w->st.gpr[RCX] = 0;
		r->setup(w, b);
		run(w);
		if (b->c.exit_code != r->code || b->c.exit_info1 != r->info1 || b->c.exit_info2 != r->info2)
			fail_msg("row %u: exit %#llx info %#llx %#llx at %#llx, not %#llx %#llx %#llx", i,
				 (unsigned long long)b->c.exit_code, (unsigned long long)b->c.exit_info1,
				 (unsigned long long)b->c.exit_info2, (unsigned long long)b->s.rip,
				 (unsigned long long)r->code, (unsigned long long)r->info1,
				 (unsigned long long)r->info2);
		if (b->s.rip != GUEST_CODE + r->at)
			fail_msg("row %u, exit %#llx: RIP %#llx", i, (unsigned long long)r->code,
				 (unsigned long long)b->s.rip);
		if (b->c.next_rip != (r->len ? GUEST_CODE + r->at + r->len : 0))
			fail_msg("row %u, exit %#llx: nRIP %#llx", i, (unsigned long long)r->code,
				 (unsigned long long)b->c.next_rip);
		taken[exit_of(r->code)] = true;
		world_free(w);
	}
}

/* Without the intercept bit the same guests do not take that exit (but INVALID and the nested fault). */
static void none_unasked(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		struct world *w;

		if (r->code >= 0x400 || r->code == 0x80 || r->code == 0x81 || r->text == spin_start ||
		    r->text == mwait_start || r->text == hlt_start || r->text == init_start)
			continue; /* always asked for, or the guest would not end */
		w = world_new(MODEL, host_once_start, host_once_end, r->text, r->end);
		w->st.gpr[RDX] = w->st.gpr[RCX] = 0;
		r->setup(w, vmcb(w));
		vmcb(w)->c.intercept3 |= BIT(31); /* shutdown ends what goes wrong */
		vmcb(w)->c.exceptions |= r->code == 0x46 ? 0 : BIT(EXC_UD);
		if (r->code == 0x7f || r->text == armed_start) {
			world_free(w);
			continue;
		}
		memcpy(at(w, GUEST_CODE + (u64)(r->end - r->text)), "\x0f\x01\xd9\x0f\x0b", 5);
		run(w);
		if (vmcb(w)->c.exit_code == r->code)
			fail_msg("row %u: exit %#llx was not asked for", i, (unsigned long long)r->code);
		world_free(w);
	}
}

static bool never(unsigned exit)
{
	/*
	 * No RDPRU.
	 * Exceptions: NMI is not one; no coprocessor segment overrun, machine checks, CET, SEV; the rest are reserved.
	 */
	static const enum x86_exit none[] = {EXIT_RDPRU};
	static const u32 exceptions = BIT(2) | BIT(9) | BIT(15) | BIT(18) | 0xbff00000;
	u64 code = x86_exit_rows[exit].svm_code;

	for (unsigned i = 0; i < ARRAY_SIZE(none); i++)
		if (exit == none[i])
			return true;
	if (code < 0x20 || (code >= 0x90 && code < 0xa0))
		return !(BIT(code % 16) & 0x11d);
	if (code < 0x40)
		return code % 16 > 7;
	return code < 0x60 && (exceptions >> (code - 0x40) & 1);
}

static void every_code_has_a_row(void **state)
{
	for (unsigned i = 0; i < X86_EXITS; i++) {
		if (x86_exit_rows[i].svm_code == X86_EXIT_NO_CODE && i != EXIT_INVALID)
			continue;
		if (!never(i) && !taken[i])
			fail_msg("no test takes exit code %#llx, %s", (unsigned long long)x86_exit_rows[i].svm_code,
				 x86_exit_rows[i].text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_code_once),
		cmocka_unit_test(none_unasked),
		cmocka_unit_test(every_code_has_a_row),
	};
	int failed = cmocka_run_group_tests_name("SVM exits", tests, NULL, NULL);

	options.drop_every = 2;
	return failed + cmocka_run_group_tests_name("SVM exits without caches", tests, NULL, NULL);
}
