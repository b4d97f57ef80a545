/*
 * A processor in VMX operation for tests: a host that launches and stops, a 64-bit guest of a few instructions under
 * EPT, and a VMCS that is made and read from outside. SDM vol. 3 chapters 23 to 30.
 *
 * Memory is identity-mapped at both stages. The guest starts at GUEST, its IDT leads to stubs at STUBS that count
 * their vector and return; the exit's handler stops the world.
 */
#ifndef TESTS_UNIT_VMX_WORLD_H
#define TESTS_UNIT_VMX_WORLD_H

#include "tests/unit/cpu_world.h"

#include "arch/x86/vmcs.h"

#define GUEST	     USER
#define GUEST_STACK  0x8000
#define HOST_CODE    0x5000 /* where exits go */
#define GUEST_TABLES 0x24000
#define EPT	     0x30000 /* PML4, PDPT, PD, PT of the first 2 MiB */
#define VMCS_PAGE    0x40000
#define VMCS_SHADOW  0x41000
#define VMXON_PAGE   0x42000
#define IO_BITMAPS   0x43000 /* two pages */
#define MSR_BITMAP   0x45000
#define VIRTUAL_APIC 0x46000
#define POSTED	     0x47000
#define MSR_AREA     0x48000
#define PML_LOG	     0x49000
#define VM_BITMAPS   0x4a000 /* VMREAD's, VMWRITE's */
#define APIC_ACCESS  0x50000
#define STUBS	     0x60000 /* 16 bytes a vector */
#define COUNTS	     0x62000 /* a u32 a vector: how often its stub ran */
#define VCS	     0x08
#define VSS	     0x10
#define VTR	     0x30

#define VMCALL "vmcall\n"

ASM64(vmx_launch, "vmlaunch\n out %al, $0xf4")
ASM64(vmx_stop, STOP)
ASM64(vmx_resume, "vmresume\n" STOP)
ASM64(vmx_stub, "incl 0x11223344\n iretq")

static inline u64 *vmx_f(struct world *w) { return ((struct vmcs *)at(w, VMCS_PAGE))->f; }

static inline void vmx_tables(struct world *w)
{
	for (u64 t = TABLES; t <= GUEST_TABLES; t += GUEST_TABLES - TABLES) {
		put(w, t, (t + 0x1000) | 7, 8);
		put(w, t + 0x1000, (t + 0x2000) | 7, 8);
		put(w, t + 0x2000, (t + 0x3000) | 7, 8);
		for (u64 i = 0; i < 512; i++)
			put(w, t + 0x3000 + 8 * i, i << 12 | 7, 8);
	}
	put(w, EPT, (EPT + 0x1000) | 7, 8);
	put(w, EPT + 0x1000, (EPT + 0x2000) | 7, 8);
	put(w, EPT + 0x2000, (EPT + 0x3000) | 7, 8);
	for (u64 i = 0; i < 512; i++)
		put(w, EPT + 0x3000 + 8 * i, i << 12 | 6 << 3 | 7, 8);
	put(w, GDT + VCS, descriptor(0, 0xfffff, 0xa9b), 8);
	put(w, GDT + VSS, descriptor(0, 0xfffff, 0xc93), 8);
	put(w, GDT + VTR, descriptor(TSS, 0x67, 0x08b), 8);
	put(w, GDT + VTR + 8, 0, 8);
	for (u64 v = 0; v < 256; v++) {
		u64 stub = STUBS + 16 * v;
		u32 count = (u32)(COUNTS + 4 * v);

		put(w, IDT + 16 * v, (stub & 0xffff) | VCS << 16 | 0x8eull << 40 | (stub >> 16) << 48, 8);
		put(w, IDT + 16 * v + 8, 0, 8);
		PLACE(w, stub, vmx_stub);
		memcpy(at(w, stub + 3), &count, 4);
	}
}

static inline void vmx_host(struct x86_state *st)
{
	x86_set_rflags(st, FL_FIXED);
	st->rip = CODE;
	st->gpr[RSP] = STACK;
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = (struct x86_seg){VSS, 0xc93, 0xffffffff, 0};
	st->seg[CS] = (struct x86_seg){VCS, 0xa9b, 0xffffffff, 0};
	st->tr = (struct x86_seg){VTR, 0x8b, 0x67, TSS};
	st->gdtr = (struct x86_dtr){GDT, 0x5f};
	st->idtr = (struct x86_dtr){IDT, 0xfff};
	st->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
	st->cr3 = TABLES;
	st->cr4 = CR4_PAE | CR4_OSFXSR | CR4_VMXE;
	st->msr.efer = EFER_LME | EFER_LMA;
	st->msr.feature_control = 5;
	st->vmx.on = 1;
	st->vmx.vmxon = VMXON_PAGE;
	st->vmx.vmcs = VMCS_PAGE;
}

static inline void vmx_controls(struct world *w)
{
	struct vmcs *v = (struct vmcs *)at(w, VMCS_PAGE);
	u32 must[VMX_WORDS], may;
	u64 *f = v->f;

	for (unsigned i = 0; i < VMX_WORDS; i++)
		vmx_word_allowed(&w->model, (enum vmx_word)i, &must[i], &may);
	v->revision = ((struct vmcs *)at(w, VMXON_PAGE))->revision = VMCS_REVISION;
	f[VMCS_PIN] = must[VMX_PIN] | VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI | VMX_PIN_EXT_INT;
	f[VMCS_PROC] = must[VMX_PROC] | (u32)VMX_PROC_PROC2 | VMX_PROC_MSR_BITMAPS | VMX_PROC_HLT;
	f[VMCS_PROC2] = VMX_PROC2_EPT | VMX_PROC2_VPID | VMX_PROC2_UNRESTRICTED;
	f[VMCS_EXIT] = must[VMX_EXIT] | VMX_EXIT_HOST64 | VMX_EXIT_ACK_INT;
	f[VMCS_ENTRY] = must[VMX_ENTRY] | VMX_ENTRY_IA32E;
	f[VMCS_VPID] = 1;
	f[VMCS_EPTP] = EPT | 3 << 3 | 6;
	f[VMCS_LINK] = ~0ull;
	f[VMCS_IO_BITMAP_A] = IO_BITMAPS;
	f[VMCS_IO_BITMAP_B] = IO_BITMAPS + 0x1000;
	f[VMCS_MSR_BITMAP] = MSR_BITMAP;
	f[VMCS_VIRTUAL_APIC] = VIRTUAL_APIC;
	f[VMCS_APIC_ACCESS] = APIC_ACCESS;
	f[VMCS_POSTED_DESC] = POSTED;
	f[VMCS_POSTED_VECTOR] = 0xf2;
	f[VMCS_HOST_CR0] = f[VMCS_GUEST_CR0] = CR0_PE | CR0_NE | CR0_PG;
	f[VMCS_HOST_CR4] = f[VMCS_GUEST_CR4] = CR4_PAE | CR4_VMXE | CR4_OSFXSR;
	f[VMCS_HOST_CR3] = TABLES;
	f[VMCS_HOST_CS_SEL] = VCS;
	f[VMCS_HOST_SS_SEL] = VSS;
	f[VMCS_HOST_TR_SEL] = VTR;
	f[VMCS_HOST_TR_BASE] = TSS;
	f[VMCS_HOST_GDTR_BASE] = GDT;
	f[VMCS_HOST_IDTR_BASE] = IDT;
	f[VMCS_HOST_RIP] = HOST_CODE;
	f[VMCS_HOST_RSP] = STACK;
}

static inline void vmx_guest(u64 *f)
{
	f[VMCS_GUEST_CR3] = GUEST_TABLES;
	f[VMCS_GUEST_RIP] = GUEST;
	f[VMCS_GUEST_RSP] = GUEST_STACK;
	f[VMCS_GUEST_RFLAGS] = FL_FIXED;
	f[VMCS_GUEST_DR7] = DR7_FIXED;
	for (unsigned i = 0; i < X86_SREGS; i++) {
		f[VMCS_GUEST_ES_SEL + i] = VSS;
		f[VMCS_GUEST_ES_AR + i] = 0xc093;
		f[VMCS_GUEST_ES_LIMIT + i] = 0xffffffff;
	}
	f[VMCS_GUEST_CS_SEL] = VCS;
	f[VMCS_GUEST_CS_AR] = 0xa09b;
	f[VMCS_GUEST_LDTR_AR] = VAR_UNUSABLE;
	f[VMCS_GUEST_TR_SEL] = VTR;
	f[VMCS_GUEST_TR_AR] = 0x8b;
	f[VMCS_GUEST_TR_LIMIT] = 0x67;
	f[VMCS_GUEST_TR_BASE] = TSS;
	f[VMCS_GUEST_GDTR_BASE] = GDT;
	f[VMCS_GUEST_GDTR_LIMIT] = 0x5f;
	f[VMCS_GUEST_IDTR_BASE] = IDT;
	f[VMCS_GUEST_IDTR_LIMIT] = 0xfff;
}

static inline struct world *vmx_world_of(const char *model, const u8 *code, const u8 *end)
{
	struct world *w = world_new(model);

	vmx_tables(w);
	vmx_host(&w->st);
	vmx_controls(w);
	vmx_guest(vmx_f(w));
	PLACE(w, CODE, vmx_launch);
	PLACE(w, HOST_CODE, vmx_stop);
	memcpy(at(w, GUEST), code, (size_t)(end - code));
	return w;
}
#define VMX_WORLD(guest) vmx_world_of("Skylake-Client", guest##_start, guest##_end)

/* Launches (or goes on from an exit with the launch state cleared) and runs to the exit. */
static inline void vmx_run(struct world *w)
{
	w->st.rip = CODE;
	((struct vmcs *)at(w, VMCS_PAGE))->launch = VMCS_LAUNCH_CLEAR;
	world_run_to_stop(w);
	if (w->st.rip == CODE + 3)
		fail_msg("VMLAUNCH failed: error %llu", (unsigned long long)vmx_f(w)[VMCS_INSN_ERROR]);
}

static inline void vmx_expect(struct world *w, unsigned line, u64 reason, u64 qualification)
{
	const u64 *f = vmx_f(w);

	if (f[VMCS_REASON] != reason || f[VMCS_QUALIFICATION] != qualification)
		fail_msg("line %u: exit %#llx qualification %#llx at %#llx, not %#llx %#llx", line,
			 (unsigned long long)f[VMCS_REASON], (unsigned long long)f[VMCS_QUALIFICATION],
			 (unsigned long long)f[VMCS_GUEST_RIP], (unsigned long long)reason,
			 (unsigned long long)qualification);
}
#define EXPECT_EXIT(w, reason, qualification) vmx_expect(w, __LINE__, reason, qualification)
#define assert_at(w, offset)		      assert_int_equal(vmx_f(w)[VMCS_GUEST_RIP], GUEST + (offset))

static inline unsigned vmx_count(struct world *w, unsigned vector) { return (unsigned)get(w, COUNTS + 4 * vector, 4); }

#endif
