/*
 * A hostile L1 on VMX: VMCSs that are good but for what the input spoils, its own sequence of VMX instructions, and a
 * guest that may write to all of memory, its VMCS and EPT tables included.
 *
 * An input: what is on, fields to change, changes to memory, L1's instructions, the guest's.
 */
#include "arch/x86/vmentry_rules.h"
#include "tests/fuzz/hostile.h"

#define VMXON	 (H_AREA + 0x1000)
#define POINTERS W_DATA /* VMXON region, the VMCSs, then what the input says */
#define EXITED	 0x5000 /* L1's code at an exit */
#define APIC	 H_AREA

#define LOCKED_ON 5u /* IA32_FEATURE_CONTROL */

static void fields_make(struct world *w, u64 *f, u8 how)
{
	struct vmentry_env e;

	vmentry_env_init(&e, &w->model);
	f[VMCS_PIN] = e.must[VMX_PIN] | (how & 8 ? VMX_PIN_EXT_INT | VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI : 0);
	f[VMCS_PROC] = e.must[VMX_PROC] | (u32)VMX_PROC_PROC2 | (how & 8 ? VMX_PROC_TPR_SHADOW : 0) |
		       (how & 16 ? VMX_PROC_IO_BITMAPS | VMX_PROC_MSR_BITMAPS : 0);
	f[VMCS_PROC2] = (how & 4 ? VMX_PROC2_EPT | VMX_PROC2_VPID : 0) | (how & 128 ? VMX_PROC2_UNRESTRICTED : 0);
	if ((how & 68) == 68)
		f[VMCS_PROC2] |= VMX_PROC2_VMFUNC | VMX_PROC2_VE | VMX_PROC2_MBEC | VMX_PROC2_PLE;
	f[VMCS_PROC] &= e.may[VMX_PROC];
	f[VMCS_PROC2] &= e.may[VMX_PROC2];
	f[VMCS_EXIT] = e.must[VMX_EXIT] | VMX_EXIT_HOST64 | VMX_EXIT_LOAD_PAT | VMX_EXIT_LOAD_EFER | VMX_EXIT_SAVE_EFER;
	f[VMCS_ENTRY] =
		e.must[VMX_ENTRY] | VMX_ENTRY_IA32E | VMX_ENTRY_LOAD_PAT | VMX_ENTRY_LOAD_EFER | VMX_ENTRY_LOAD_DEBUG;
	f[VMCS_EXCEPTIONS] = how & 32 ? 0xffffffff : 0;
	f[VMCS_VPID] = 1;
	f[VMCS_EPTP] = W_NESTED | 3 << 3 | 6 | (how & 64 ? EPTP_AD : 0);
	f[VMCS_FUNCTIONS] = VMX_FUNCTION_EPTP;
	f[VMCS_EPTP_LIST] = H_AREA;
	f[VMCS_VE_AREA] = APIC;
	f[VMCS_LINK] = ~0ull;
	f[VMCS_IO_BITMAP_A] = H_BITMAPS;
	f[VMCS_IO_BITMAP_B] = H_BITMAPS + 0x1000;
	f[VMCS_MSR_BITMAP] = H_BITMAPS + 0x2000;
	f[VMCS_VIRTUAL_APIC] = APIC;
	f[VMCS_EXIT_MSR_STORE] = f[VMCS_EXIT_MSR_LOAD] = f[VMCS_ENTRY_MSR_LOAD] = H_AREA + 0x800;
	f[VMCS_HOST_CR0] = f[VMCS_GUEST_CR0] = CR0_PE | CR0_NE | CR0_PG;
	f[VMCS_HOST_CR3] = f[VMCS_GUEST_CR3] = W_TABLES;
	f[VMCS_HOST_CR4] = f[VMCS_GUEST_CR4] = CR4_PAE | CR4_VMXE | CR4_OSFXSR;
	f[VMCS_HOST_PAT] = f[VMCS_GUEST_PAT] = 0x0007040600070406;
	f[VMCS_HOST_EFER] = f[VMCS_GUEST_EFER] = EFER_LMA | EFER_LME | EFER_SCE | EFER_NXE;
	f[VMCS_HOST_CS_SEL] = W_CS64;
	f[VMCS_HOST_SS_SEL] = W_DS;
	f[VMCS_HOST_TR_SEL] = W_TR;
	f[VMCS_HOST_TR_BASE] = f[VMCS_GUEST_TR_BASE] = W_TSS;
	f[VMCS_HOST_GDTR_BASE] = f[VMCS_GUEST_GDTR_BASE] = W_GDT;
	f[VMCS_HOST_IDTR_BASE] = f[VMCS_GUEST_IDTR_BASE] = W_IDT;
	f[VMCS_HOST_RSP] = W_STACK;
	f[VMCS_HOST_RIP] = EXITED;
	f[VMCS_GUEST_GDTR_LIMIT] = 0x7f;
	f[VMCS_GUEST_IDTR_LIMIT] = 0xfff;
	f[VMCS_GUEST_DR7] = DR7_FIXED;
	f[VMCS_GUEST_RFLAGS] = FL_FIXED;
	f[VMCS_GUEST_RIP] = W_GUEST;
	f[VMCS_GUEST_RSP] = W_STACK - 0x400;
	for (unsigned i = 0; i < X86_SREGS; i++) {
		f[VMCS_GUEST_ES_AR + i] = 0xc093;
		f[VMCS_GUEST_ES_LIMIT + i] = 0xffffffff;
		f[VMCS_GUEST_ES_SEL + i] = W_DS;
	}
	f[VMCS_GUEST_CS_SEL] = W_CS64;
	f[VMCS_GUEST_CS_AR] = 0xa09b;
	f[VMCS_GUEST_LDTR_AR] = VAR_UNUSABLE;
	f[VMCS_GUEST_TR_SEL] = W_TR;
	f[VMCS_GUEST_TR_AR] = 0x8b;
	f[VMCS_GUEST_TR_LIMIT] = 0x2067;
	if (how & 128 && how & 4) { /* an unrestricted guest in real mode */
		f[VMCS_GUEST_CR0] = CR0_NE;
		f[VMCS_GUEST_EFER] = 0;
		f[VMCS_ENTRY] &= ~(u64)VMX_ENTRY_IA32E;
		for (unsigned i = 0; i < X86_SREGS; i++) {
			f[VMCS_GUEST_ES_AR + i] = 0x93;
			f[VMCS_GUEST_ES_LIMIT + i] = 0xffff;
			f[VMCS_GUEST_ES_SEL + i] = 0;
		}
		f[VMCS_GUEST_CS_AR] = 0x9b;
		f[VMCS_GUEST_IDTR_BASE] = 0;
		f[VMCS_GUEST_IDTR_LIMIT] = 0x3ff;
	}
}

static void vmcs_make(struct world *w, u64 at, u8 how)
{
	struct vmcs *v = (struct vmcs *)(w->ram + at);

	v->revision = VMCS_REVISION;
	fields_make(w, v->f, how);
}

static void fields_spoil(struct world *w, struct fuzz_in *in, unsigned n)
{
	struct vmcs *v = (struct vmcs *)(w->ram + H_BLOCK);

	while (n-- && in->n) {
		u64 *f = &v->f[fuzz_u8(in) % VMCS_FIELDS];
		u8 how = fuzz_u8(in);

		*f = how & 1 ? *f ^ 1ull << (how >> 2) : how & 2 ? hostile_value(in) : *f + (u64)(s64)(s8)fuzz_u8(in);
	}
}

static u32 some_field(struct fuzz_in *in)
{
	unsigned n = fuzz_u8(in);

	return n < VMCS_FIELDS ? vmcs_rows[n].encoding | (n & fuzz_u8(in) & 1) : fuzz_u32(in);
}

static void host_code(struct world *w, struct code *c, struct fuzz_in *in, unsigned n)
{
	for (unsigned i = 0; i < n && in->n; i++) {
		u8 what = fuzz_u8(in);
		u32 at = POINTERS + 8 * (what >> 4 & 3);

		if (what & 64) {
			at = POINTERS + 0x20 + 16 * i;
			world_put(w, at, hostile_value(in));
			world_put(w, at + 8, fuzz_u8(in) & 1 ? hostile_value(in) : 0);
		}
		switch (what & 15) {
		case 0: code_mem(c, 0xf3, 0xc7, 6, at); break; /* VMXON */
		case 1: code_mem(c, 0x66, 0xc7, 6, at); break; /* VMCLEAR */
		case 2:
		case 3: code_mem(c, 0, 0xc7, 6, at); break; /* VMPTRLD */
		case 4: code_mem(c, 0, 0xc7, 7, at); break; /* VMPTRST */
		case 5: CODE(c, 0x0f, 0x01, 0xc2); break;   /* VMLAUNCH */
		case 6: CODE(c, 0x0f, 0x01, 0xc3); break;   /* VMRESUME */
		case 7: CODE(c, 0x0f, 0x01, 0xc4); break;   /* VMXOFF */
		case 8:
		case 9:
			code_mov(c, 0, some_field(in));
			code_mov(c, 3, hostile_value(in));
			CODE(c, 0x0f, 0x79, 0xc3); /* VMWRITE */
			break;
		case 10:
			code_mov(c, 0, some_field(in));
			CODE(c, 0x0f, 0x78, 0xc3); /* VMREAD */
			break;
		case 11: /* INVEPT, INVVPID */
			code_mov(c, 0, fuzz_u8(in) & 3);
			CODE(c, 0x66, 0x0f, 0x38, what & 128 ? 0x80 : 0x81, 0x04, 0x25, (u8)at, (u8)(at >> 8), 0, 0);
			break;
		case 12: code_wrmsr(c, what & 128 ? 0x3a : 0xc0000080, fuzz_value(in)); break;
		case 13: code_cr(c, fuzz_u8(in) & 8 ? 8 : fuzz_u8(in) & 4, fuzz_value(in)); break;
		case 14: CODE(c, 0xe6, what & 128 ? 0xf5 : 0xf6); break;
		case 15: hostile_guest(c, in, 2); break;
		}
	}
}

/* Past the instruction that exited and on with the guest: VMREAD and VMWRITE of RIP with the length added, VMRESUME. */
static void exit_code(struct code *c)
{
	code_mov(c, 1, vmcs_rows[VMCS_GUEST_RIP].encoding);
	CODE(c, 0x0f, 0x78, 0xca); /* vmread %rcx, %rdx */
	code_mov(c, 3, vmcs_rows[VMCS_INSN_LEN].encoding);
	CODE(c, 0x0f, 0x78, 0xdd);				  /* vmread %rbx, %rbp */
	CODE(c, 0x48, 0x01, 0xea);				  /* add %rbp, %rdx */
	CODE(c, 0x0f, 0x79, 0xca);				  /* vmwrite %rdx, %rcx */
	CODE(c, 0x49, 0xff, 0xc7, 0x49, 0x83, 0xff, 12, 0x74, 3); /* twelve times */
	CODE(c, 0x0f, 0x01, 0xc3);
	code_stop(c);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct world *w;
	struct fuzz_in in = {data, size};
	u8 how = fuzz_u8(&in), on = fuzz_u8(&in), counts = fuzz_u8(&in), more = fuzz_u8(&in);
	struct code c;

	if (!w)
		w = world_new("Haswell-noTSX-IBRS");
	world_start(w, WORLD_64);
	world_map(w, W_NESTED, 7, 0x37, 0xb7);
	w->st.cr4 |= on & 1 ? 0 : CR4_VMXE;
	w->st.msr.feature_control = on & 2 ? 0 : LOCKED_ON;
	w->st.rflags |= on & 4 ? FL_IF : 0;
	memcpy(w->ram + VMXON, &(u32){VMCS_REVISION}, 4);
	world_put(w, POINTERS, VMXON);
	world_put(w, POINTERS + 8, H_BLOCK);
	world_put(w, POINTERS + 16, H_BLOCK + 0x1000);
	world_put(w, POINTERS + 24, H_BLOCK);
	vmcs_make(w, H_BLOCK, how);
	vmcs_make(w, H_BLOCK + 0x1000, (u8)(how << 3 | how >> 5));
	fields_spoil(w, &in, counts & 7);
	hostile_spoil(w, &in, counts >> 3 & 7);
	c = (struct code){w->ram + W_HANDLER, 0, 64};
	if (on & 8)
		CODE(&c, 0x48, 0xcf);
	code_stop(&c);
	c = (struct code){w->ram + EXITED, 0, 0xff0};
	host_code(w, &c, &in, more & 7);
	exit_code(&c);
	c = (struct code){w->ram + W_CODE, 0, 0xff0};
	code_mem(&c, 0xf3, 0xc7, 6, POINTERS);
	code_mem(&c, 0, 0xc7, 6, POINTERS + 8);
	host_code(w, &c, &in, more >> 3 & 15);
	CODE(&c, 0x0f, 0x01, 0xc2);
	code_mem(&c, 0, 0xc7, 6, POINTERS + 16);
	CODE(&c, 0x0f, 0x01, 0xc2);
	code_stop(&c);
	c = (struct code){w->ram + W_GUEST, 0, 0xff0};
	hostile_guest(&c, &in, 60);
	CODE(&c, 0x0f, 0x01, 0xc1, 0xf4);
	(void)world_run(w);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room)
{
	/* Each of the ways of fields_make; without changes; guest instructions 0 to 40. */
	if (n >= 16)
		return 0;
	memset(buf, 0, 60);
	buf[0] = (u8)(n < 8 ? 1u << n | (n > 4 ? 4 : 0) : n * 37);
	buf[1] = n & 1 ? 4 : 8;
	for (u8 i = 0; i < 40; i++)
		buf[4 + i] = (u8)((i * (n + 1)) % 160);
	return 44;
}
