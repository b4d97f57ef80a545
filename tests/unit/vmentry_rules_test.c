/* VMCS fields, VMX capabilities, and VM entry's rules: each broken once by the smallest change to a VMCS that breaks
 * none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/vmentry_rules.h"

#define FAR_AWAY BIT(41) /* beyond physical memory */
#define ODD	 BIT(60) /* no canonical address */

static struct x86_model model(void)
{
	struct x86_model m;

	assert_true(x86_model_named("Cascadelake-Server", &m));
	x86_set_feature(&m, X86F_VMX, true);
	return m;
}

static struct vmentry_env env(void)
{
	struct x86_model m = model();
	struct vmentry_env e;

	vmentry_env_init(&e, &m);
	e.host_long = true;
	return e;
}

static void every_field_is_found(void **state)
{
	for (unsigned i = 0; i < VMCS_FIELDS; i++) {
		u32 e = vmcs_rows[i].encoding;

		if (vmcs_find(e) != i)
			fail_msg("%s is not found", vmcs_rows[i].name);
		assert_int_equal(vmcs_find(e | VMCS_HIGH), VMCS_WIDTH(e) == VMCS_WIDTH_64 ? i : VMCS_NONE);
		assert_int_equal(vmcs_find(e | BIT(15)), VMCS_NONE);
		assert_int_equal(vmcs_find(e | BIT(32)), VMCS_NONE);
		assert_true((e >> 1 & 0x1ff) <= VMCS_INDEX_MAX);
	}
	assert_int_equal(vmcs_find(0x07fe), VMCS_NONE);
	assert_int_equal(vmcs_find(0x6c18), VMCS_NONE);
}

/* SDM vol. 3 appendix A: allowed 0-settings are allowed 1-settings too, and the TRUE MSRs only loosen. */
static void capabilities_agree(void **state)
{
	struct x86_model m = model();

	for (unsigned i = 0; i < 4; i++) {
		u64 old = vmx_capability(&m, 1 + i), loose = vmx_capability(&m, 0xd + i);

		assert_int_equal((u32)old & ~(old >> 32), 0);
		assert_int_equal((u32)loose & ~(u32)old, 0);
		assert_int_equal(old >> 32, loose >> 32);
	}
	assert_int_equal(vmx_capability(&m, 0) >> 32 & 0x1fff, 4096);
	assert_int_equal((u32)vmx_capability(&m, 0xb), 0);
	x86_set_feature(&m, X86F_INVPCID, false);
	assert_int_equal(vmx_capability(&m, 0xb) >> 32 & VMX_PROC2_INVPCID, 0);
}

/* Each row of vmxctl.def has a name of its own, and "off" takes its bit away and no other. */
static void options_take_away(void **state)
{
	static const char *const names[] = {
#define CTL(word, bit, name, kind, feature, option) option,
#define CAP(msr, bit, option)			    option,
#include "arch/x86/vmxctl.def"
#undef CTL
#undef CAP
	};
	struct err e;

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		struct x86_model all, without;
		unsigned changed = 0;
		char spec[96];

		assert_int_equal(vmx_option_find(names[i], strlen(names[i])), i);
		snprintf(spec, sizeof(spec), "Skylake-Client,%s=off", names[i]);
		assert_int_equal(x86_model_parse(spec, &without, &e), 0);
		assert_int_equal(x86_model_parse("Skylake-Client", &all, &e), 0);
		for (unsigned n = 5; n <= 0x11; n++) /* 481h to 484h repeat the TRUE forms */
			changed += (unsigned)__builtin_popcountll((vmx_capability(&all, n) ^ vmx_capability(&without, n)) &
								  ~(n > 0xc && n < 0x11 ? MASK(32) : 0));
		if (!strcmp(names[i], "vmx-vmfunc")) /* and 491h */
			changed--;
		if (changed != 1 && strncmp(names[i], "vmx-cr3-", 8) && strcmp(names[i] + 4, "exit-nosave-debugctl") &&
		    strcmp(names[i] + 4, "entry-noload-debugctl"))
			fail_msg("%s changes %u bits", names[i], changed);
	}
	assert_int_not_equal(x86_model_parse("EPYC,vmx-ept=off", &(struct x86_model){0}, &e), 0);
}

enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR };

/* A 64-bit guest under EPT and a 64-bit host. */
static void good(struct vmcs *v)
{
	struct vmentry_env e = env();
	u64 *f = v->f;

	memset(v, 0, sizeof(*v));
	f[VMCS_PIN] = e.must[VMX_PIN] | VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI | VMX_PIN_EXT_INT;
	f[VMCS_PROC] = e.must[VMX_PROC] | (u32)VMX_PROC_PROC2 | VMX_PROC_TPR_SHADOW | VMX_PROC_IO_BITMAPS |
		       VMX_PROC_MSR_BITMAPS;
	f[VMCS_PROC2] = VMX_PROC2_EPT | VMX_PROC2_VPID;
	f[VMCS_EXIT] = e.must[VMX_EXIT] | VMX_EXIT_HOST64 | VMX_EXIT_LOAD_PAT | VMX_EXIT_LOAD_EFER;
	f[VMCS_ENTRY] =
		e.must[VMX_ENTRY] | VMX_ENTRY_IA32E | VMX_ENTRY_LOAD_PAT | VMX_ENTRY_LOAD_EFER | VMX_ENTRY_LOAD_DEBUG;
	f[VMCS_VPID] = 1;
	f[VMCS_EPTP] = 0x10000 | 3 << 3 | 6;
	f[VMCS_LINK] = ~0ull;
	f[VMCS_HOST_CR0] = f[VMCS_GUEST_CR0] = CR0_PE | CR0_NE | CR0_PG;
	f[VMCS_HOST_CR4] = f[VMCS_GUEST_CR4] = CR4_PAE | CR4_VMXE;
	f[VMCS_HOST_PAT] = f[VMCS_GUEST_PAT] = 0x0007040600070406;
	f[VMCS_HOST_EFER] = f[VMCS_GUEST_EFER] = EFER_LMA | EFER_LME | EFER_SCE;
	f[VMCS_HOST_CS_SEL] = 0x10;
	f[VMCS_HOST_TR_SEL] = 0x40;
	f[VMCS_GUEST_DR7] = DR7_FIXED;
	f[VMCS_GUEST_RFLAGS] = FL_FIXED;
	for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
		f[VMCS_GUEST_ES_AR + i] = 0xc093;
		f[VMCS_GUEST_ES_LIMIT + i] = 0xffffffff;
	}
	f[VMCS_GUEST_CS_AR] = 0xa09b;
	f[VMCS_GUEST_LDTR_AR] = 0x82;
	f[VMCS_GUEST_LDTR_LIMIT] = 0x27;
	f[VMCS_GUEST_TR_AR] = 0x8b;
	f[VMCS_GUEST_TR_LIMIT] = 0x67;
}

static void event(u64 *f, unsigned type, unsigned vector)
{
	f[VMCS_ENTRY_EVENT] = VEV_VALID | type << 8 | vector;
	f[VMCS_GUEST_RFLAGS] |= FL_IF;
}

/* The same guest in legacy PAE paging. */
static void legacy(u64 *f)
{
	f[VMCS_ENTRY] &= ~(u64)VMX_ENTRY_IA32E;
	f[VMCS_GUEST_EFER] = EFER_SCE;
	f[VMCS_GUEST_CS_AR] = 0xc09b;
}

static void v86_guest(u64 *f)
{
	legacy(f);
	f[VMCS_GUEST_RFLAGS] |= FL_VM;
	for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
		f[VMCS_GUEST_ES_AR + i] = 0xf3;
		f[VMCS_GUEST_ES_LIMIT + i] = 0xffff;
	}
}

/* The same host without IA-32e mode. */
static void legacy_host(u64 *f, struct vmentry_env *e)
{
	legacy(f);
	e->host_long = false;
	f[VMCS_EXIT] &= ~(u64)VMX_EXIT_HOST64;
	f[VMCS_HOST_EFER] = 0;
	f[VMCS_HOST_SS_SEL] = 0x18;
}

static void posted(u64 *f)
{
	f[VMCS_PROC2] |= VMX_PROC2_VID;
	f[VMCS_PIN] |= VMX_PIN_POSTED;
	f[VMCS_EXIT] |= VMX_EXIT_ACK_INT;
	f[VMCS_POSTED_VECTOR] = 0xf2;
}

#define BREAK(rule, ...)                                                                                               \
	static void break_##rule(u64 *f, struct vmentry_env *e) { __VA_ARGS__; }
BREAK(PIN, f[VMCS_PIN] = 0)
BREAK(PROC, f[VMCS_PROC] |= BIT(17))
BREAK(PROC2, f[VMCS_PROC2] |= BIT(31))
BREAK(CR3_TARGETS, f[VMCS_CR3_TARGETS] = 5)
BREAK(IO_BITMAPS, f[VMCS_IO_BITMAP_B] = 8)
BREAK(MSR_BITMAP, f[VMCS_MSR_BITMAP] = FAR_AWAY)
BREAK(VIRTUAL_APIC, f[VMCS_VIRTUAL_APIC] = 16)
BREAK(TPR_THRESHOLD, f[VMCS_TPR_THRESHOLD] = 16)
BREAK(TPR_ABOVE, f[VMCS_TPR_THRESHOLD] = 5; e->virtual_tpr = 0x4f)
BREAK(APIC_SHADOW, f[VMCS_PROC] &= ~(u64)VMX_PROC_TPR_SHADOW; f[VMCS_PROC2] |= VMX_PROC2_APIC_REG)
BREAK(APIC_ACCESS, f[VMCS_PROC2] |= VMX_PROC2_APIC_ACCESS; f[VMCS_APIC_ACCESS] = 0x1008)
BREAK(APIC_MODES, f[VMCS_PROC2] |= VMX_PROC2_APIC_ACCESS | VMX_PROC2_X2APIC)
BREAK(VID, f[VMCS_PROC2] |= VMX_PROC2_VID; f[VMCS_PIN] &= ~(u64)VMX_PIN_EXT_INT)
BREAK(POSTED, f[VMCS_PROC2] |= VMX_PROC2_VID; f[VMCS_PIN] |= VMX_PIN_POSTED)
BREAK(POSTED_VECTOR, posted(f); f[VMCS_POSTED_VECTOR] = 0x1f2)
BREAK(POSTED_DESC, posted(f); f[VMCS_POSTED_DESC] = 0x1020)
BREAK(VIRTUAL_NMI, f[VMCS_PIN] &= ~(u64)VMX_PIN_NMI)
BREAK(NMI_WINDOW, f[VMCS_PIN] &= ~(u64)VMX_PIN_VIRTUAL_NMI; f[VMCS_PROC] |= VMX_PROC_NMI_WINDOW)
BREAK(VPID, f[VMCS_VPID] = 0)
BREAK(EPTP_TYPE, f[VMCS_EPTP] ^= 2)
BREAK(EPTP_LEVELS, f[VMCS_EPTP] ^= 8)
BREAK(EPTP_MBZ, f[VMCS_EPTP] |= BIT(7))
BREAK(EPTP_AD, f[VMCS_EPTP] |= EPTP_AD; e->ept_ad = false)
BREAK(PML, f[VMCS_PROC2] = VMX_PROC2_PML)
BREAK(PML_ADDRESS, f[VMCS_PROC2] |= VMX_PROC2_PML; f[VMCS_PML_ADDRESS] = 8)
BREAK(SHADOW, f[VMCS_PROC2] |= VMX_PROC2_SHADOW; f[VMCS_VMWRITE_BITMAP] = FAR_AWAY)
BREAK(SAVE_TIMER, f[VMCS_EXIT] |= VMX_EXIT_SAVE_TIMER)
BREAK(TSC_MULTIPLIER, f[VMCS_PROC2] |= VMX_PROC2_TSC_SCALING)
BREAK(FUNCTIONS, f[VMCS_PROC2] |= VMX_PROC2_VMFUNC; f[VMCS_FUNCTIONS] = BIT(1))
BREAK(EPTP_LIST, f[VMCS_PROC2] |= VMX_PROC2_VMFUNC; f[VMCS_FUNCTIONS] = VMX_FUNCTION_EPTP; f[VMCS_EPTP_LIST] = 8)
BREAK(VE_AREA, f[VMCS_PROC2] |= VMX_PROC2_VE; f[VMCS_VE_AREA] = FAR_AWAY)
BREAK(MBEC, f[VMCS_PROC2] = VMX_PROC2_MBEC)
BREAK(UNRESTRICTED, f[VMCS_PROC2] = VMX_PROC2_UNRESTRICTED)
BREAK(EXIT, f[VMCS_EXIT] |= BIT(31))
BREAK(EXIT_STORE, f[VMCS_EXIT_MSR_STORE] = 8; f[VMCS_EXIT_MSR_STORE_COUNT] = 1)
BREAK(EXIT_LOAD, f[VMCS_EXIT_MSR_LOAD] = BIT(40) - 16; f[VMCS_EXIT_MSR_LOAD_COUNT] = 2)
BREAK(ENTRY, f[VMCS_ENTRY] |= BIT(10))
BREAK(EVENT_TYPE, event(f, 1, 0))
BREAK(EVENT_VECTOR, event(f, VEV_NMI, 3))
BREAK(EVENT_ERROR, event(f, VEV_HARD_EXC, EXC_GP))
BREAK(EVENT_MBZ, event(f, VEV_EXT_INT, 32); f[VMCS_ENTRY_EVENT] |= BIT(12))
BREAK(EVENT_ERROR_MBZ, event(f, VEV_HARD_EXC, EXC_GP); f[VMCS_ENTRY_EVENT] |= VEV_ERROR; f[VMCS_ENTRY_ERROR] = BIT(16))
BREAK(EVENT_LENGTH, event(f, VEV_SOFT_INT, 0x80); f[VMCS_ENTRY_INSN_LEN] = 16)
BREAK(ENTRY_LOAD, f[VMCS_ENTRY_MSR_LOAD] = FAR_AWAY; f[VMCS_ENTRY_MSR_LOAD_COUNT] = 1)

BREAK(HOST_CR0, f[VMCS_HOST_CR0] &= ~CR0_NE)
BREAK(HOST_CR4, f[VMCS_HOST_CR4] &= ~CR4_VMXE)
BREAK(HOST_CR3, f[VMCS_HOST_CR3] = FAR_AWAY)
BREAK(HOST_SYSENTER, f[VMCS_HOST_SYSENTER_EIP] = ODD)
BREAK(HOST_PAT, f[VMCS_HOST_PAT] = 2)
BREAK(HOST_EFER_MBZ, f[VMCS_HOST_EFER] |= EFER_SVME)
BREAK(HOST_EFER, f[VMCS_HOST_EFER] &= ~EFER_LMA)
BREAK(HOST_SELECTORS, f[VMCS_HOST_ES_SEL] = 3)
BREAK(HOST_CS, f[VMCS_HOST_TR_SEL] = 0)
BREAK(HOST_SS, legacy_host(f, e); f[VMCS_HOST_SS_SEL] = 0)
BREAK(HOST_BASES, f[VMCS_HOST_GDTR_BASE] = ODD)
BREAK(HOST64, e->host_long = false)
BREAK(HOST_IA32E, legacy_host(f, e); f[VMCS_ENTRY] |= VMX_ENTRY_IA32E; f[VMCS_GUEST_EFER] |= EFER_LMA | EFER_LME)
BREAK(HOST_PCIDE, legacy_host(f, e); f[VMCS_HOST_CR4] |= CR4_PCIDE)
BREAK(HOST_PAE, f[VMCS_HOST_CR4] &= ~CR4_PAE)
BREAK(HOST_RIP, f[VMCS_HOST_RIP] = ODD)

BREAK(CR0, f[VMCS_GUEST_CR0] &= ~CR0_PG)
BREAK(CR0_PE, f[VMCS_PROC2] |= VMX_PROC2_UNRESTRICTED; f[VMCS_GUEST_CR0] &= ~CR0_PE)
BREAK(CR4, f[VMCS_GUEST_CR4] |= CR4_LA57)
BREAK(DEBUGCTL, f[VMCS_GUEST_DEBUGCTL] = BIT(5))
BREAK(IA32E_PAGING, f[VMCS_GUEST_CR4] &= ~CR4_PAE)
BREAK(PCIDE, legacy(f); f[VMCS_GUEST_CR4] |= CR4_PCIDE)
BREAK(CR3, f[VMCS_GUEST_CR3] = FAR_AWAY)
BREAK(DR7, f[VMCS_GUEST_DR7] |= BIT(32))
BREAK(SYSENTER, f[VMCS_GUEST_SYSENTER_ESP] = ODD)
BREAK(PAT, f[VMCS_GUEST_PAT] = 0x0300)
BREAK(EFER_MBZ, f[VMCS_GUEST_EFER] |= BIT(1))
BREAK(EFER_LMA, f[VMCS_GUEST_EFER] &= ~(EFER_LMA | EFER_LME))
BREAK(EFER_LME, f[VMCS_GUEST_EFER] &= ~EFER_LME)
BREAK(TR_TI, f[VMCS_GUEST_TR_SEL] = 4)
BREAK(SS_RPL, f[VMCS_GUEST_SS_SEL] = 3)
BREAK(V86, v86_guest(f); f[VMCS_GUEST_DS_LIMIT] = 0xfffff)
BREAK(BASES, f[VMCS_GUEST_SS_BASE] = BIT(32))
BREAK(CS_TYPE, f[VMCS_GUEST_CS_AR] = 0xa093)
BREAK(SS_TYPE, f[VMCS_GUEST_SS_AR] = 0xc091)
BREAK(DATA_TYPE, f[VMCS_GUEST_DS_AR] = 0xc092)
BREAK(SEG_S, f[VMCS_GUEST_FS_AR] &= ~(u64)SEG_S)
BREAK(CS_DPL, f[VMCS_GUEST_CS_AR] |= 0x60)
BREAK(SS_DPL, f[VMCS_GUEST_SS_AR] |= 0x60; f[VMCS_GUEST_CS_AR] |= 0x60)
BREAK(DATA_DPL, f[VMCS_GUEST_GS_SEL] = 3)
BREAK(SEG_P, f[VMCS_GUEST_ES_AR] &= ~(u64)SEG_P)
BREAK(SEG_MBZ, f[VMCS_GUEST_ES_AR] |= BIT(8))
BREAK(CS_L, f[VMCS_GUEST_CS_AR] |= BIT(14))
BREAK(SEG_G, f[VMCS_GUEST_DS_LIMIT] = 0xfffe)
BREAK(TR, f[VMCS_GUEST_TR_AR] = 0x83)
BREAK(LDTR, f[VMCS_GUEST_LDTR_AR] = 0x80)
BREAK(DTR_BASE, f[VMCS_GUEST_IDTR_BASE] = ODD)
BREAK(DTR_LIMIT, f[VMCS_GUEST_GDTR_LIMIT] = BIT(16))
BREAK(RIP, f[VMCS_GUEST_RIP] = ODD)
BREAK(RFLAGS, f[VMCS_GUEST_RFLAGS] = 0)
BREAK(RFLAGS_VM, v86_guest(f); f[VMCS_ENTRY] |= VMX_ENTRY_IA32E; f[VMCS_GUEST_EFER] |= EFER_LMA | EFER_LME)
BREAK(RFLAGS_IF, event(f, VEV_EXT_INT, 32); f[VMCS_GUEST_RFLAGS] = FL_FIXED)
BREAK(ACTIVITY, f[VMCS_GUEST_ACTIVITY] = 4)
BREAK(HLT_DPL, f[VMCS_GUEST_ACTIVITY] = 1; f[VMCS_GUEST_SS_AR] |= 0x60; f[VMCS_GUEST_CS_AR] |= 0x60;
      f[VMCS_GUEST_SS_SEL] = f[VMCS_GUEST_CS_SEL] = 3)
BREAK(HLT_SHADOW, f[VMCS_GUEST_ACTIVITY] = 1; f[VMCS_GUEST_INTERRUPTIBILITY] = VINT_MOVSS)
BREAK(HLT_EVENT, f[VMCS_GUEST_ACTIVITY] = 1; event(f, VEV_HARD_EXC, EXC_UD))
BREAK(INT_MBZ, f[VMCS_GUEST_INTERRUPTIBILITY] = BIT(5))
BREAK(INT_BOTH, f[VMCS_GUEST_INTERRUPTIBILITY] = 3; f[VMCS_GUEST_RFLAGS] |= FL_IF)
BREAK(INT_STI, f[VMCS_GUEST_INTERRUPTIBILITY] = VINT_STI)
BREAK(INT_EVENT, event(f, VEV_EXT_INT, 32); f[VMCS_GUEST_INTERRUPTIBILITY] = VINT_STI)
BREAK(INT_NMI, event(f, VEV_NMI, EXC_NMI); f[VMCS_GUEST_INTERRUPTIBILITY] = VINT_MOVSS)
BREAK(INT_VNMI, event(f, VEV_NMI, EXC_NMI); f[VMCS_GUEST_INTERRUPTIBILITY] = VINT_NMI)
BREAK(PENDING_MBZ, f[VMCS_GUEST_PENDING_DB] = BIT(16))
BREAK(PENDING_BS, f[VMCS_GUEST_INTERRUPTIBILITY] = VINT_MOVSS; f[VMCS_GUEST_RFLAGS] |= FL_TF)
BREAK(LINK, f[VMCS_LINK] = 0x5000)
BREAK(PDPTE, legacy(f); f[VMCS_GUEST_PDPTE2] = PTE_P | PTE_W)
#undef BREAK

static void (*const breakers[VMENTRY_RULES])(u64 *f, struct vmentry_env *e) = {
#define RULE(area, name, text, illegal) break_##name,
#define SECTION(text)
#include "arch/x86/vmentry_rules.def"
#undef SECTION
#undef RULE
};

static const char *name_of(enum vmentry_rule r) { return r == VMENTRY_RULES ? "(none)" : vmentry_rule_rows[r].name; }

static void each_rule_fails_once(void **state)
{
	for (unsigned i = 0; i < VMENTRY_RULES; i++) {
		struct vmentry_env e = env();
		enum vmentry_rule r;
		struct vmcs v;

		good(&v);
		r = vmentry_check(&v, &e);
		if (r != VMENTRY_RULES)
			fail_msg("the good VMCS breaks %s", name_of(r));
		breakers[i](v.f, &e);
		r = vmentry_check(&v, &e);
		if (r != i)
			fail_msg("%s: reported as %s", name_of((enum vmentry_rule)i), name_of(r));
	}
}

static void expect_legal(const char *what, struct vmcs *v, const struct vmentry_env *e)
{
	enum vmentry_rule r = vmentry_check(v, e);

	if (r != VMENTRY_RULES)
		fail_msg("%s breaks %s", what, name_of(r));
}

/* What the manual allows although it looks odd. */
static void legal_oddities(void **state)
{
	struct vmentry_env e = env();
	struct vmcs v;

	good(&v);
	v86_guest(v.f);
	expect_legal("virtual-8086 mode", &v, &e);
	good(&v);
	legacy_host(v.f, &e);
	expect_legal("a host outside IA-32e mode", &v, &e);
	e = env();
	good(&v); /* real mode: SDM vol. 3 24.6.2 "Unrestricted guest" */
	v86_guest(v.f);
	v.f[VMCS_PROC2] |= VMX_PROC2_UNRESTRICTED;
	v.f[VMCS_GUEST_RFLAGS] = FL_FIXED;
	v.f[VMCS_GUEST_CR0] = CR0_NE;
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		v.f[VMCS_GUEST_ES_AR + i] = 0x93;
	expect_legal("real mode", &v, &e);
	good(&v); /* unusable segments are not looked at */
	for (unsigned i = SEG_ES; i <= SEG_LDTR; i++)
		if (i != SEG_CS)
			v.f[VMCS_GUEST_ES_AR + i] = VAR_UNUSABLE;
	expect_legal("unusable segments", &v, &e);
	good(&v); /* maps and areas are not looked at without their controls and counts */
	v.f[VMCS_PROC] &= ~(u64)(VMX_PROC_IO_BITMAPS | VMX_PROC_MSR_BITMAPS);
	v.f[VMCS_IO_BITMAP_A] = v.f[VMCS_MSR_BITMAP] = v.f[VMCS_EXIT_MSR_LOAD] = ~0ull;
	expect_legal("maps that nobody reads", &v, &e);
	good(&v);
	v.f[VMCS_LINK] = 0x5000;
	e.link_valid = true;
	expect_legal("a valid link pointer", &v, &e);
}

/* Without IA32_VMX_MISC bit 30 an injected software event has an instruction. */
static void length_zero(void **state)
{
	struct vmentry_env e = env();
	struct vmcs v;

	good(&v);
	event(v.f, VEV_SOFT_INT, 0x80);
	v.f[VMCS_ENTRY_INSN_LEN] = 0;
	expect_legal("a length of 0", &v, &e);
	e.misc &= ~VMX_MISC_LENGTH_0;
	assert_int_equal(vmentry_check(&v, &e), VMENTRY_RULE_EVENT_LENGTH);
	v.f[VMCS_ENTRY_INSN_LEN] = 1;
	expect_legal("a length of 1", &v, &e);
}

/* 3 is for an NMI under blocking by STI, which is no rule here. */
static void qualifications(void **state)
{
	for (unsigned r = 0; r < VMENTRY_RULES; r++)
		if (r != VMENTRY_RULE_PDPTE && r != VMENTRY_RULE_LINK)
			assert_int_equal(vmentry_qualification((enum vmentry_rule)r), 0);
	assert_int_equal(vmentry_qualification(VMENTRY_RULE_PDPTE), 2);
	assert_int_equal(vmentry_qualification(VMENTRY_RULE_LINK), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_is_found), cmocka_unit_test(capabilities_agree),
		cmocka_unit_test(options_take_away),	cmocka_unit_test(each_rule_fails_once),
		cmocka_unit_test(legal_oddities),	cmocka_unit_test(length_zero),
		cmocka_unit_test(qualifications),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
