/*
 * Every exit reason taken once, with its qualification, instruction length and instruction information. SDM vol. 3
 * appendix C "VMX Basic Exit Reasons", 27.2. The last test demands a row for each reason of exits.def.
 */
#include "tests/unit/vmx_world.h"

#include <pthread.h>
#include <unistd.h>

#include "arch/x86/exits.h"

static u64 reasons_taken[2]; /* by the rows below */

struct row {
	u64 reason;
	const u8 *code, *end;
	void (*setup)(struct world *w, u64 *f);
	u64 qualification;
	u64 info; /* instruction information; of reason 0 and 1 the interruption information */
	unsigned at, len;
};

#define SETUP(name, ...)                                                                                               \
	static void name(struct world *w, u64 *f) { __VA_ARGS__; }
SETUP(nothing, (void)f)
SETUP(exceptions, f[VMCS_EXCEPTIONS] = 0xffffffff)
SETUP(page_hole, f[VMCS_EXCEPTIONS] = BIT(EXC_PF); put(w, GUEST_TABLES + 0x3000 + 8 * 0x150, 0, 8))
SETUP(no_idt, f[VMCS_GUEST_IDTR_LIMIT] = 0)
SETUP(window, f[VMCS_PROC] |= VMX_PROC_INT_WINDOW; f[VMCS_GUEST_RFLAGS] |= FL_IF)
SETUP(nmi_window, f[VMCS_PROC] |= VMX_PROC_NMI_WINDOW)
SETUP(invlpg, f[VMCS_PROC] |= VMX_PROC_INVLPG)
SETUP(rdpmc, f[VMCS_PROC] |= VMX_PROC_RDPMC)
SETUP(rdtsc, f[VMCS_PROC] |= VMX_PROC_RDTSC)
SETUP(rdtscp, f[VMCS_PROC] |= VMX_PROC_RDTSC; f[VMCS_PROC2] |= VMX_PROC2_RDTSCP)
SETUP(mov_dr, f[VMCS_PROC] |= VMX_PROC_MOV_DR)
SETUP(mov_dr_de, f[VMCS_PROC] |= VMX_PROC_MOV_DR; f[VMCS_GUEST_CR4] |= CR4_DE)
SETUP(mov_dr_user, f[VMCS_PROC] |= VMX_PROC_MOV_DR; f[VMCS_GUEST_CS_AR] |= 0x60; f[VMCS_GUEST_SS_AR] |= 0x60)
SETUP(io, f[VMCS_PROC] |= VMX_PROC_IO)
SETUP(cr3, f[VMCS_PROC] |= VMX_PROC_CR3_LOAD)
SETUP(cr3_store, f[VMCS_PROC] |= VMX_PROC_CR3_STORE)
SETUP(cr8, f[VMCS_PROC] |= (u32)VMX_PROC_CR8_LOAD)
SETUP(cr0_mask, f[VMCS_CR0_MASK] = CR0_TS | CR0_PE; f[VMCS_CR0_SHADOW] = CR0_PE | CR0_TS)
SETUP(cr4_mask, f[VMCS_CR4_MASK] = CR4_TSD)
SETUP(pauses, f[VMCS_PROC] |= VMX_PROC_PAUSE)
SETUP(monitors, f[VMCS_PROC] |= VMX_PROC_MONITOR | VMX_PROC_MWAIT)
SETUP(descriptors, f[VMCS_PROC2] |= VMX_PROC2_DESC)
SETUP(wbinvd, f[VMCS_PROC2] |= VMX_PROC2_WBINVD)
SETUP(rdrand, f[VMCS_PROC2] |= VMX_PROC2_RDRAND)
SETUP(rdseed, f[VMCS_PROC2] |= VMX_PROC2_RDSEED)
SETUP(invpcid, f[VMCS_PROC2] |= VMX_PROC2_INVPCID; f[VMCS_PROC] |= VMX_PROC_INVLPG)
SETUP(functions, f[VMCS_PROC2] |= VMX_PROC2_VMFUNC)
SETUP(msrs, memset(at(w, MSR_BITMAP), 0xff, 4096))
SETUP(bad_state, f[VMCS_GUEST_RFLAGS] = 0)
SETUP(bad_msr, f[VMCS_ENTRY_MSR_LOAD] = MSR_AREA; f[VMCS_ENTRY_MSR_LOAD_COUNT] = 2; put(w, MSR_AREA, 0xc0000081, 8);
      put(w, MSR_AREA + 16, 0xc0000100, 8))
SETUP(trap_flag, f[VMCS_PROC] |= VMX_PROC_MTF)
SETUP(tpr, f[VMCS_PROC] |= VMX_PROC_TPR_SHADOW; put(w, VIRTUAL_APIC + 0x80, 0x70, 4); f[VMCS_TPR_THRESHOLD] = 5)
SETUP(apic, f[VMCS_PROC2] |= VMX_PROC2_APIC_ACCESS)
SETUP(apic_full, f[VMCS_PROC] |= VMX_PROC_TPR_SHADOW;
      f[VMCS_PROC2] |= VMX_PROC2_APIC_ACCESS | VMX_PROC2_APIC_REG | VMX_PROC2_VID; f[VMCS_GUEST_INT_STATUS] = 0x4000;
      f[VMCS_EOI_EXIT1] = 1)
SETUP(ept_hole, put(w, EPT + 0x3000 + 8 * 0x150, 0, 8))
SETUP(ept_broken, put(w, EPT + 0x3000 + 8 * 0x150, 2, 8))
SETUP(timer, f[VMCS_PIN] |= VMX_PIN_TIMER)
SETUP(osxsave, f[VMCS_GUEST_CR4] |= CR4_OSXSAVE)
SETUP(pml_full, f[VMCS_PROC2] |= VMX_PROC2_PML; f[VMCS_EPTP] |= EPTP_AD; f[VMCS_PML_ADDRESS] = PML_LOG;
      f[VMCS_PML_INDEX] = 0xffff)
SETUP(init, w->v->ops->assert_init(w->v); (void)f)
SETUP(legacy, f[VMCS_ENTRY] &= ~(u64)VMX_ENTRY_IA32E; f[VMCS_GUEST_CS_AR] = 0xc09b; f[VMCS_GUEST_CR0] &= ~CR0_PG;
      put(w, GDT + 0x28, descriptor(TSS_B, 0x67, 0x089), 8))

ASM64(cpuid, "nop\n cpuid")
ASM64(ud, "nop\n ud2")
ASM64(loads, "mov 0x150008, %eax")
ASM64(nmi, "out %al, $0xf5\n nop")
ASM64(interrupt, "mov $0x55, %al\n out %al, $0xf6\n nop")
ASM64(spin, "nop\n 1: jmp 1b")
ASM64(hlt, "hlt")
ASM64(invd, "invd")
ASM64(invlpg_code, "invlpg 0x12345(%rax)")
ASM64(rdpmc_code, "rdpmc")
ASM64(rdtsc_code, "rdtsc")
ASM64(rdtscp_code, "rdtscp")
ASM64(call, "vmcall")
ASM64(clear, "vmclear 0x10(%rsp)")
ASM64(launch, "vmlaunch")
ASM64(ptrld, "vmptrld 0x10(,%r9,8)")
ASM64(ptrst, "vmptrst (%rbp)")
ASM64(readf, "vmread %rsi, %r10")
ASM64(resume, "vmresume")
ASM64(writef, "vmwrite %r10, %rsi")
ASM64(off, "vmxoff")
ASM64(on, "vmxon (%rdi)")
ASM64(to_cr3, "mov %rdx, %cr3")
ASM64(from_cr3, "mov %cr3, %rbx")
ASM64(to_cr8, "mov %rdi, %cr8")
ASM64(to_cr4, "mov %cr4, %rax\n or $4, %rax\n mov %rax, %cr4")
ASM64(clts, "clts")
ASM64(lmsw, "mov $1, %ax\n lmsw %ax")
ASM64(to_dr, "mov %rsi, %db7")
ASM64(from_dr, "mov %db6, %r11")
ASM64(from_dr4, "mov %db4, %rcx")
ASM64(out_port, "mov $0x1f7, %dx\n outw %ax, %dx")
ASM64(in_imm, "in $0x71, %al")
ASM64(rep_ins, "mov $0x1f0, %dx\n mov $3, %ecx\n mov $0x4000, %edi\n rep insl")
ASM64(rdmsr, "mov $0x10, %ecx\n rdmsr")
ASM64(wrmsr, "mov $0xc0000080, %ecx\n wrmsr")
ASM64(mwait, "mwait")
ASM64(monitor, "monitor")
ASM64(pause_code, "pause")
ASM64(cr8_low, "mov $1, %eax\n mov %rax, %cr8")
ASM64(apic_read, "mov 0x50020, %eax")
ASM64(apic_eoi, "movl $0, 0x500b0")
ASM64(apic_icr, "movl $0x4400, 0x50300")
ASM64(sgdt, "sgdt 0x20(%rax,%rbx,2)")
ASM64(lidt, "lidt 0x20(%rax)")
ASM64(sldt, "sldt %ecx")
ASM64(ltr, "ltr %dx")
ASM64(lldt_mem, "lldt 4(%rcx)")
ASM64(invept, "invept 0x30(%rax), %rbx")
ASM64(invvpid, "invvpid 0x30(%rax), %r15")
ASM64(wbinvd_code, "wbinvd")
ASM64(xsetbv, "xsetbv")
ASM64(rdrand_code, "rdrand %r9")
ASM64(rdseed_code, "rdseed %cx")
ASM64(invpcid_code, "invpcid (%rax), %rdx")
ASM64(vmfunc_code, "vmfunc")
ASM64(stores, "mov %eax, 0x150008")
ASM32(jump_task, "ljmp $0x28, $0")

#define R(reason, code, setup, ...)                                                                                    \
	{                                                                                                              \
		reason, code##_start, code##_end, setup, __VA_ARGS__                                                   \
	}
#define QUAL			.qualification
#define MEM(base, index, scale) ((scale) | 2 << 7 | (u64)(index) << 18 | (u64)(base) << 23)
#define NO_INDEX		BIT(22)
#define NO_BASE			BIT(27)
#define REGISTERS		(BIT(10) | NO_INDEX | NO_BASE | 2 << 7)
static const struct row rows[] = {
	R(0, ud, exceptions, .info = VEV_VALID | VEV_HARD_EXC << 8 | EXC_UD, .at = 1),
	R(0, loads, page_hole, QUAL = 0x150008, .info = VEV_VALID | VEV_ERROR | VEV_HARD_EXC << 8 | EXC_PF),
	R(0, nmi, nothing, .info = VEV_VALID | VEV_NMI << 8 | 2, .at = 2),
	R(1, interrupt, nothing, .info = VEV_VALID | 0x55, .at = 4),
	R(2, ud, no_idt, .at = 1),
	R(3, spin, init, .at = 0),
	R(7, spin, window, .at = 0),
	R(8, spin, nmi_window, .at = 0),
	R(9, jump_task, legacy, QUAL = 0x28 | 2u << 30, .len = 7),
	R(10, cpuid, nothing, .at = 1, .len = 2),
	R(12, hlt, nothing, .len = 1),
	R(13, invd, nothing, .len = 2),
	R(14, invlpg_code, invlpg, QUAL = 0x12345, .len = 7),
	R(15, rdpmc_code, rdpmc, .len = 2),
	R(16, rdtsc_code, rdtsc, .len = 2),
	R(18, call, nothing, .len = 3),
	R(19, clear, nothing, QUAL = 0x10, .info = MEM(RSP, 0, 0) | NO_INDEX | SS << 15, .len = 6),
	R(20, launch, nothing, .len = 3),
	R(21, ptrld, nothing, QUAL = 0x10, .info = MEM(0, R9, 3) | NO_BASE | DS << 15, .len = 9),
	R(22, ptrst, nothing, .info = MEM(RBP, 0, 0) | NO_INDEX | SS << 15, .len = 4),
	R(23, readf, nothing, .info = REGISTERS | R10 << 3 | (u64)RSI << 28, .len = 4),
	R(24, resume, nothing, .len = 3),
	R(25, writef, nothing, .info = REGISTERS | R10 << 3 | (u64)RSI << 28, .len = 4),
	R(26, off, nothing, .len = 3),
	R(27, on, nothing, .info = MEM(RDI, 0, 0) | NO_INDEX | DS << 15, .len = 4),
	R(28, to_cr3, cr3, QUAL = 3 | RDX << 8, .len = 3),
	R(28, from_cr3, cr3_store, QUAL = 3 | 1 << 4 | RBX << 8, .len = 3),
	R(28, to_cr8, cr8, QUAL = 8 | RDI << 8, .len = 4),
	R(28, to_cr4, cr4_mask, QUAL = 4 | RAX << 8, .at = 7, .len = 3),
	R(28, clts, cr0_mask, QUAL = 2 << 4, .len = 2),
	R(28, lmsw, cr0_mask, QUAL = 3 << 4 | 1 << 16, .at = 4, .len = 3),
	R(29, to_dr, mov_dr, QUAL = 7 | RSI << 8, .len = 3),
	R(29, from_dr, mov_dr, QUAL = 6 | 1 << 4 | R11 << 8, .len = 4),
	R(29, from_dr4, mov_dr_de, QUAL = 4 | 1 << 4 | RCX << 8, .len = 3),
	R(29, from_dr, mov_dr_user, QUAL = 6 | 1 << 4 | R11 << 8, .len = 4),
	R(30, out_port, io, QUAL = 1 | 0x1f7 << 16, .at = 4, .len = 2),
	R(30, in_imm, io, QUAL = 0 | 1 << 3 | 1 << 6 | 0x71 << 16, .len = 2),
	R(30, rep_ins, io, QUAL = 3 | 1 << 3 | 1 << 4 | 1 << 5 | 0x1f0 << 16, .info = 2 << 7, .at = 14, .len = 2),
	R(31, rdmsr, msrs, .at = 5, .len = 2),
	R(32, wrmsr, msrs, .at = 5, .len = 2),
	R(VMX_ENTRY_FAILED | 33, spin, bad_state),
	R(VMX_ENTRY_FAILED | 34, spin, bad_msr, QUAL = 2),
	R(36, mwait, monitors, .len = 3),
	R(37, spin, trap_flag, .at = 1),
	R(39, monitor, monitors, .len = 3),
	R(40, pause_code, pauses, .len = 2),
	R(43, cr8_low, tpr, .at = 9),
	R(44, apic_read, apic, QUAL = 0x20, .len = 7),
	R(45, apic_eoi, apic_full, QUAL = 0x40, .at = 11),
	R(46, sgdt, descriptors, QUAL = 0x20, .info = MEM(RAX, RBX, 1) | DS << 15, .len = 5),
	R(46, lidt, descriptors, QUAL = 0x20, .info = MEM(RAX, 0, 0) | NO_INDEX | DS << 15 | 3 << 28, .len = 4),
	R(47, sldt, descriptors, .info = REGISTERS | RCX << 3, .len = 3),
	R(47, ltr, descriptors, .info = REGISTERS | RDX << 3 | 3 << 28, .len = 3),
	R(47, lldt_mem, descriptors, QUAL = 4, .info = MEM(RCX, 0, 0) | NO_INDEX | DS << 15 | 2 << 28, .len = 4),
	R(48, loads, ept_hole, QUAL = 0x181, .len = 7),
	R(49, loads, ept_broken, .len = 7),
	R(50, invept, nothing, QUAL = 0x30, .info = MEM(RAX, 0, 0) | NO_INDEX | DS << 15 | (u64)RBX << 28, .len = 6),
	R(51, rdtscp_code, rdtscp, .len = 3),
	R(52, spin, timer),
	R(53, invvpid, nothing, QUAL = 0x30, .info = MEM(RAX, 0, 0) | NO_INDEX | DS << 15 | (u64)R15 << 28, .len = 7),
	R(54, wbinvd_code, wbinvd, .len = 2),
	R(55, xsetbv, osxsave, .len = 3),
	R(56, apic_icr, apic_full, QUAL = 0x300, .at = 11),
	R(57, rdrand_code, rdrand, .info = REGISTERS | R9 << 3 | 2 << 11, .len = 4),
	R(58, invpcid_code, invpcid, .info = MEM(RAX, 0, 0) | NO_INDEX | DS << 15 | (u64)RDX << 28, .len = 5),
	R(59, vmfunc_code, functions, .len = 3),
	R(61, rdseed_code, rdseed, .info = REGISTERS | RCX << 3, .len = 4),
	R(62, stores, pml_full, .len = 0),
};

/* Bits of the instruction information that the tables of SDM vol. 3 27.2.5 define for the reason. */
static u64 info_mask(const struct row *r)
{
	bool memory = !(r->info & BIT(10));
	u64 address = 3 | 7 << 7 | BIT(10) | 7 << 15 | BIT(22) | BIT(27);

	if (memory && !(r->info & NO_INDEX))
		address |= 15 << 18;
	if (memory && !(r->info & NO_BASE))
		address |= 15u << 23;
	switch ((u8)r->reason) {
	case 30: return r->info ? 7 << 7 : 0;
	case 19:
	case 21:
	case 22:
	case 27: return address;
	case 46: return address | 3ull << 28;
	case 47: return (memory ? address : BIT(10) | 15 << 3) | 3ull << 28;
	case 23:
	case 25:
	case 50:
	case 53:
	case 58: return (memory ? address : BIT(10) | 15 << 3) | 15ull << 28;
	case 57:
	case 61: return 15 << 3 | 3 << 11;
	default: return 0;
	}
}

static void each_reason_once(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];
		struct world *w = vmx_world_of("Skylake-Client,+monitor", r->code, r->end);
		u64 *f = vmx_f(w), mask;

		f[VMCS_CR4_MASK] = 0;
		r->setup(w, f);
		w->st.gpr[RAX] = w->st.gpr[RBX] = w->st.gpr[RCX] = w->st.gpr[RDX] = 0;
		vmx_run(w);
		if (f[VMCS_REASON] != r->reason || f[VMCS_QUALIFICATION] != r->qualification)
			fail_msg("row %u: exit %#llx qualification %#llx at %#llx, not %#llx %#llx", i,
				 (unsigned long long)f[VMCS_REASON], (unsigned long long)f[VMCS_QUALIFICATION],
				 (unsigned long long)f[VMCS_GUEST_RIP], (unsigned long long)r->reason,
				 (unsigned long long)r->qualification);
		if (f[VMCS_GUEST_RIP] != GUEST + r->at)
			fail_msg("row %u, reason %llu: RIP %#llx", i, (unsigned long long)r->reason,
				 (unsigned long long)f[VMCS_GUEST_RIP]);
		if (r->len && f[VMCS_INSN_LEN] != r->len)
			fail_msg("row %u, reason %llu: length %llu", i, (unsigned long long)r->reason,
				 (unsigned long long)f[VMCS_INSN_LEN]);
		if (r->reason < 2 && f[VMCS_EXIT_EVENT] != r->info)
			fail_msg("row %u: event %#llx", i, (unsigned long long)f[VMCS_EXIT_EVENT]);
		mask = info_mask(r);
		if ((f[VMCS_INSN_INFO] ^ r->info) & mask)
			fail_msg("row %u, reason %llu: information %#llx, not %#llx (mask %#llx)", i,
				 (unsigned long long)r->reason, (unsigned long long)f[VMCS_INSN_INFO],
				 (unsigned long long)r->info, (unsigned long long)mask);
		reasons_taken[(u8)r->reason / 64] |= BIT(r->reason % 64);
		world_free(w);
	}
}

ASM64(rep_ins_fs, "mov $0x1f0, %dx\n mov $3, %ecx\n mov $0x4000, %edi\n rep outsl %fs:(%rsi), %dx")

/* INS and OUTS tell their address and size. */
static void string_io(void **state)
{
	struct world *w = VMX_WORLD(rep_ins_fs);

	vmx_f(w)[VMCS_PROC] |= VMX_PROC_IO;
	vmx_f(w)[VMCS_GUEST_ES_BASE + FS] = 0x1000;
	w->st.gpr[RSI] = 0x3456;
	vmx_run(w);
	EXPECT_EXIT(w, 30, 3 | 1 << 4 | 1 << 5 | 0x1f0 << 16);
	assert_int_equal(vmx_f(w)[VMCS_LINEAR], 0x4456);
	assert_int_equal(vmx_f(w)[VMCS_INSN_INFO] & (7 << 7 | 7 << 15), 2 << 7 | FS << 15);
	world_free(w);
}

static void *start_up(void *arg)
{
	struct world *w = arg;

	usleep(20000);
	w->v->ops->assert_nmi(w->v);
	w->v->ops->assert_sipi(w->v, 0x9a);
	return NULL;
}

/* A guest that waits for a SIPI: nothing else leaves the state. */
static void sipi(void **state)
{
	struct world *w = VMX_WORLD(spin);
	pthread_t t;

	vmx_f(w)[VMCS_GUEST_ACTIVITY] = 3;
	assert_int_equal(pthread_create(&t, NULL, start_up, w), 0);
	vmx_run(w);
	pthread_join(t, NULL);
	EXPECT_EXIT(w, 4, 0x9a);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_ACTIVITY], 3);
	reasons_taken[0] |= BIT(4);
	world_free(w);
}

static void every_reason_has_a_test(void **state)
{
	/* No system management mode, no safer mode extensions: these cannot happen. */
	static const enum x86_exit never[] = {EXIT_SMI, EXIT_RSM, EXIT_GETSEC};

	for (unsigned i = 0; i < X86_EXITS; i++) {
		u64 reason = x86_exit_rows[i].vmx_reason;
		bool can = reason != X86_EXIT_NO_CODE;

		for (unsigned k = 0; k < ARRAY_SIZE(never); k++)
			can &= i != never[k];
		if (can && !(reasons_taken[reason / 64] >> reason % 64 & 1))
			fail_msg("no test takes exit reason %llu, %s", (unsigned long long)reason,
				 x86_exit_rows[i].text);
	}
}

ASM64(xsaves_code, "xsaves (%rax)")
ASM64(xrstors_code, "xrstors (%rax)")

/* Without its control an instruction is #UD at any CPL, before other exceptions: 25.3. */
static void not_enabled(void **state)
{
	static const struct {
		const u8 *code, *end;
		u32 control;
	} insns[] = {
		{xsaves_code_start, xsaves_code_end, VMX_PROC2_XSAVES},
		{xrstors_code_start, xrstors_code_end, VMX_PROC2_XSAVES},
		{invpcid_code_start, invpcid_code_end, VMX_PROC2_INVPCID},
		{rdtscp_code_start, rdtscp_code_end, VMX_PROC2_RDTSCP},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(insns); i++) {
		for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
			for (unsigned on = 0; on < 2; on++) {
				struct world *w = vmx_world_of("Skylake-Client", insns[i].code, insns[i].end);
				u64 *f = vmx_f(w);

				f[VMCS_GUEST_CR4] |= CR4_OSXSAVE | CR4_TSD;
				f[VMCS_GUEST_CS_AR] |= cpl << 5;
				f[VMCS_GUEST_SS_AR] |= cpl << 5;
				f[VMCS_EXCEPTIONS] = BIT(EXC_UD) | BIT(EXC_GP);
				f[VMCS_PROC2] |= on ? insns[i].control : 0;
				f[VMCS_PROC] |= on && !cpl ? VMX_PROC_MTF : 0;
				w->st.gpr[RAX] = 1; /* not aligned: #GP */
				w->st.gpr[RDX] = 4; /* nor is this a type of INVPCID */
				vmx_run(w);
				if (on && !cpl && insns[i].control == VMX_PROC2_RDTSCP)
					EXPECT_EXIT(w, 37, 0);
				else
					assert_int_equal(vmx_f(w)[VMCS_EXIT_EVENT] & 0xff, on ? EXC_GP : EXC_UD);
				world_free(w);
			}
		}
	}
}

/* Reserved bits of CR0 are not loaded: 26.3.2.1, 27.5.1. */
static void reserved_cr0(void **state)
{
	struct world *w = VMX_WORLD(call);

	vmx_f(w)[VMCS_GUEST_CR0] |= BIT(6) | BIT(17);
	vmx_f(w)[VMCS_HOST_CR0] |= BIT(7) | BIT(28);
	vmx_run(w);
	assert_int_equal(vmx_f(w)[VMCS_GUEST_CR0], CR0_PE | CR0_ET | CR0_NE | CR0_PG);
	assert_int_equal(w->st.cr0, CR0_PE | CR0_ET | CR0_NE | CR0_PG);
	world_free(w);
}

ASM64(clears, "andl $0xfffffdff, (%rdi)\n" VMCALL)

/* IA32_VMX_MISC bit 5: whether exits store EFER.LMA in the "IA-32e mode guest" control. */
static void stores_lma(void **state)
{
	for (unsigned stores = 0; stores < 2; stores++) {
		struct world *w = VMX_WORLD(clears);

		if (!stores)
			w->cpu->vmx_cap[VMX_CAP_MISC] &= ~VMX_MISC_STORE_LMA;
		w->st.gpr[RDI] = VMCS_PAGE + offsetof(struct vmcs, f[VMCS_ENTRY]);
		vmx_run(w);
		assert_int_equal(!(vmx_f(w)[VMCS_ENTRY] & VMX_ENTRY_IA32E), !stores);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_reason_once),
		cmocka_unit_test(string_io),
		cmocka_unit_test(sipi),
		cmocka_unit_test(not_enabled),
		cmocka_unit_test(reserved_cr0),
		cmocka_unit_test(stores_lma),
		cmocka_unit_test(every_reason_has_a_test),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
