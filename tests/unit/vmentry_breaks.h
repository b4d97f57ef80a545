/*
 * A VMCS that VM entry accepts, and each rule's violations of it (vmentry_breaks.def): one table, for the rules run dry
 * (vmentry_rules_test.c) and for VMLAUNCH and VMRESUME (vmx_entry_test.c).
 *
 * A break changes the VMCS's fields, and in struct vmentry_env what is not in the VMCS: capabilities, the virtual TPR,
 * the host's mode. Whoever has a processor gives it what the break asks for.
 */
#ifndef TESTS_UNIT_VMENTRY_BREAKS_H
#define TESTS_UNIT_VMENTRY_BREAKS_H

#include <string.h>

#include "arch/x86/vmentry_rules.h"

#define VMENTRY_MODEL "Cascadelake-Server"
#define FAR_AWAY      BIT(41) /* beyond physical memory */
#define ODD	      BIT(60) /* no canonical address */

enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR };

/* A 64-bit guest under EPT and a 64-bit host. */
static inline void vmentry_good(u64 *f, const struct vmentry_env *e)
{
	memset(f, 0, VMCS_FIELDS * sizeof(*f));
	f[VMCS_PIN] = e->must[VMX_PIN] | VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI | VMX_PIN_EXT_INT;
	f[VMCS_PROC] = e->must[VMX_PROC] | (u32)VMX_PROC_PROC2 | VMX_PROC_TPR_SHADOW | VMX_PROC_IO_BITMAPS |
		       VMX_PROC_MSR_BITMAPS;
	f[VMCS_PROC2] = VMX_PROC2_EPT | VMX_PROC2_VPID;
	f[VMCS_EXIT] = e->must[VMX_EXIT] | VMX_EXIT_HOST64 | VMX_EXIT_LOAD_PAT | VMX_EXIT_LOAD_EFER;
	f[VMCS_ENTRY] =
		e->must[VMX_ENTRY] | VMX_ENTRY_IA32E | VMX_ENTRY_LOAD_PAT | VMX_ENTRY_LOAD_EFER | VMX_ENTRY_LOAD_DEBUG;
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

static inline void event(u64 *f, unsigned type, unsigned vector)
{
	f[VMCS_ENTRY_EVENT] = VEV_VALID | type << 8 | vector;
	f[VMCS_GUEST_RFLAGS] |= FL_IF;
}

/* The same guest in legacy PAE paging. */
static inline void legacy(u64 *f)
{
	f[VMCS_ENTRY] &= ~(u64)VMX_ENTRY_IA32E;
	f[VMCS_GUEST_EFER] = EFER_SCE;
	f[VMCS_GUEST_CS_AR] = 0xc09b;
}

static inline void v86_guest(u64 *f)
{
	legacy(f);
	f[VMCS_GUEST_RFLAGS] |= FL_VM;
	for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
		f[VMCS_GUEST_ES_AR + i] = 0xf3;
		f[VMCS_GUEST_ES_LIMIT + i] = 0xffff;
	}
}

/* The same host without IA-32e mode. */
static inline void legacy_host(u64 *f, struct vmentry_env *e)
{
	legacy(f);
	e->host_long = false;
	f[VMCS_EXIT] &= ~(u64)VMX_EXIT_HOST64;
	f[VMCS_HOST_EFER] = 0;
	f[VMCS_HOST_SS_SEL] = 0x18;
}

static inline void posted(u64 *f)
{
	f[VMCS_PROC2] |= VMX_PROC2_VID;
	f[VMCS_PIN] |= VMX_PIN_POSTED;
	f[VMCS_EXIT] |= VMX_EXIT_ACK_INT;
	f[VMCS_POSTED_VECTOR] = 0xf2;
}

static inline void functions(u64 *f)
{
	f[VMCS_PROC2] |= VMX_PROC2_VMFUNC;
	f[VMCS_FUNCTIONS] = VMX_FUNCTION_EPTP;
}

static inline void ring_3(u64 *f)
{
	f[VMCS_GUEST_SS_AR] |= 0x60;
	f[VMCS_GUEST_CS_AR] |= 0x60;
	f[VMCS_GUEST_SS_SEL] |= 3;
	f[VMCS_GUEST_CS_SEL] |= 3;
}

static inline void sti_shadow(u64 *f)
{
	f[VMCS_GUEST_RFLAGS] |= FL_IF;
	f[VMCS_GUEST_INTERRUPTIBILITY] = VINT_STI;
}

/* Real mode: SDM vol. 3 24.6.2 "Unrestricted guest". */
static inline void real_guest(u64 *f)
{
	v86_guest(f);
	f[VMCS_PROC2] |= VMX_PROC2_UNRESTRICTED;
	f[VMCS_GUEST_RFLAGS] = FL_FIXED;
	f[VMCS_GUEST_CR0] = CR0_NE;
	for (unsigned i = SEG_ES; i <= SEG_GS; i++)
		f[VMCS_GUEST_ES_AR + i] = 0x93;
}

#define BREAK(rule, way, ...)                                                                                          \
	static void break_##rule##_##way(u64 *f, struct vmentry_env *e) { __VA_ARGS__; }
#include "tests/unit/vmentry_breaks.def"
#undef BREAK

static const struct vmentry_break {
	enum vmentry_rule rule;
	const char *name;
	void (*apply)(u64 *f, struct vmentry_env *e);
} vmentry_breaks[] = {
#define BREAK(rule, way, ...) {VMENTRY_RULE_##rule, #rule "." #way, break_##rule##_##way},
#include "tests/unit/vmentry_breaks.def"
#undef BREAK
};

static inline const char *vmentry_rule_name(enum vmentry_rule r)
{
	return r == VMENTRY_RULES ? "(none)" : vmentry_rule_rows[r].name;
}

#endif
