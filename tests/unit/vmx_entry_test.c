/*
 * VM entries that fail, by VMLAUNCH and by VMRESUME: each way of vmentry_breaks.def to break a rule, PDPTEs in memory
 * and the MSR-load area. SDM vol. 3 26.2, 26.3, 26.8 "VM-Entry Failures During or After Loading Guest State".
 *
 * What a failure may change is compared with all that there is: the VMCS's fields and the processor's state, which
 * after exit 33 is the one that any other exit leaves. Then the repaired VMCS enters.
 */
#include "vmx_world.h"

#include "tests/unit/vmentry_breaks.h"

#define LEGACY_TABLE 0x70000 /* a page directory: 4 MiB, identity */
#define RAN	     DATA    /* how often the guest ran */

ASM64(guest, "incl 0x4000\n" VMCALL)
ASM64(launch, "vmlaunch\n" STOP)

/* Where things are in vmx_world.h: the fields that the world's VMCS gives to the good one. */
static const enum vmcs_field places[] = {
	VMCS_EPTP,
	VMCS_IO_BITMAP_A,
	VMCS_IO_BITMAP_B,
	VMCS_MSR_BITMAP,
	VMCS_VIRTUAL_APIC,
	VMCS_APIC_ACCESS,
	VMCS_POSTED_DESC,
	VMCS_HOST_CR3,
	VMCS_HOST_CS_SEL,
	VMCS_HOST_SS_SEL,
	VMCS_HOST_TR_SEL,
	VMCS_HOST_TR_BASE,
	VMCS_HOST_GDTR_BASE,
	VMCS_HOST_IDTR_BASE,
	VMCS_HOST_RIP,
	VMCS_HOST_RSP,
	VMCS_GUEST_CR3,
	VMCS_GUEST_RIP,
	VMCS_GUEST_RSP,
	VMCS_GUEST_TR_BASE,
	VMCS_GUEST_GDTR_BASE,
	VMCS_GUEST_GDTR_LIMIT,
	VMCS_GUEST_IDTR_BASE,
	VMCS_GUEST_IDTR_LIMIT,
};

struct setting {
	struct world *w;
	struct x86_state host; /* before an entry */
	struct x86_state back; /* after the guest's VMCALL */
	u64 good[VMCS_FIELDS];
	char options[160];
};

static struct vmcs *page(struct world *w) { return (struct vmcs *)at(w, VMCS_PAGE); }

static struct vmentry_env env_of(struct world *w)
{
	struct vmentry_env e;

	vmentry_env_init(&e, &w->model);
	e.host_long = true;
	return e;
}

/* Runs VMLAUNCH or VMRESUME in the state `st` with the fields `f`; what it leaves is in w->st and the VMCS. */
static void enter(struct world *w, const struct x86_state *st, const u64 *f, bool resume)
{
	memcpy(page(w)->f, f, sizeof(page(w)->f));
	page(w)->launch = resume ? VMCS_LAUNCHED : VMCS_LAUNCH_CLEAR;
	if (resume)
		PLACE(w, CODE, vmx_resume);
	else
		PLACE(w, CODE, launch);
	w->st = *st;
	put(w, RAN, 0, 4);
	world_run_to_stop(w);
}

static void expect_guest_ran(struct setting *s, const char *name)
{
	if (s->w->st.rip != HOST_CODE + 2 || page(s->w)->f[VMCS_REASON] != 18 || get(s->w, RAN, 4) != 1)
		fail_msg("%s: the good VMCS does not enter: rip %#llx error %llu reason %#llx", name,
			 (unsigned long long)s->w->st.rip, (unsigned long long)page(s->w)->f[VMCS_INSN_ERROR],
			 (unsigned long long)page(s->w)->f[VMCS_REASON]);
}

static void setting_free(struct setting *s)
{
	if (s->w)
		world_free(s->w);
	s->w = NULL;
}

/* A processor with these options, unless it is there already. */
static void setting_make(struct setting *s, const char *options)
{
	char spec[200];
	struct vmentry_env e;
	struct world *w;

	if (s->w && !strcmp(s->options, options))
		return;
	setting_free(s);
	snprintf(s->options, sizeof(s->options), "%s", options);
	snprintf(spec, sizeof(spec), VMENTRY_MODEL "%s", options);
	s->w = w = vmx_world_of(spec, guest_start, guest_end);
	e = env_of(w);
	vmentry_good(s->good, &e);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++)
		s->good[places[i]] = vmx_f(w)[places[i]];
	s->host = w->st;
	s->host.gpr[RBX] = 0x1234;
	s->host.cr2 = 0x5678;
	s->host.dr6 = DR6_FIXED | 3;
	s->host.dr7 = DR7_FIXED | 0x100;
	s->host.msr.debugctl = 1;
	s->host.msr.sysenter_cs = 0x99;
	put(w, LEGACY_TABLE, 0x87, 8);
	enter(w, &s->host, s->good, false);
	expect_guest_ran(s, "at first");
	s->back = w->st;
}

/* The model's options that make it what the break asks for. */
static const char *options_for(const struct vmentry_env *had, const struct vmentry_env *e)
{
	if (had->ept_ad && !e->ept_ad)
		return ",vmx-eptad=off";
	if ((had->misc & ~e->misc) & VMX_MISC_LENGTH_0)
		return ",vmx-zero-len-inject=off";
	if ((had->misc & ~e->misc) & BIT(VMX_MISC_ACTIVITY + 3))
		return ",vmx-activity-wait-sipi=off";
	if ((had->may[VMX_PROC] & ~e->may[VMX_PROC]) & VMX_PROC_MTF)
		return ",vmx-mtf=off";
	return "";
}

/* The same host in 32-bit protected mode with 4-MByte pages. */
static void host_legacy(struct x86_state *st)
{
	st->seg[CS].attr = 0xc9b;
	st->cr3 = LEGACY_TABLE;
	st->cr4 = CR4_PSE | CR4_OSFXSR | CR4_VMXE;
	st->msr.efer = 0;
}

static void differs(void *ctx, const char *path, const void *a, const void *b, u32 size)
{
	fprintf(stderr, "%s: %s differs\n", (const char *)ctx, path);
}

static void expect_state(const char *name, const struct x86_state *is, const struct x86_state *should)
{
	if (desc_diff(&x86_state_desc, is, should, differs, (void *)(uintptr_t)name))
		fail_msg("%s: the state is not as it should be", name);
}

static void expect_fields(const char *name, const u64 *is, const u64 *should)
{
	for (unsigned i = 0; i < VMCS_FIELDS; i++)
		if (is[i] != should[i])
			fail_msg("%s: %s is %#llx, not %#llx", name, vmcs_rows[i].name, (unsigned long long)is[i],
				 (unsigned long long)should[i]);
}

/* VMfailValid: SDM vol. 3 30.2 "Conventions". */
static void expect_vmfail(const char *name, struct setting *s, const struct x86_state *before, const u64 *f, u64 error)
{
	struct x86_state want = *before;
	u64 fields[VMCS_FIELDS];

	memcpy(fields, f, sizeof(fields));
	fields[VMCS_INSN_ERROR] = error;
	expect_fields(name, page(s->w)->f, fields);
	x86_set_rflags(&want, FL_FIXED | FL_ZF);
	want.rip = CODE + 5; /* behind the OUT */
	if (x86_rflags(&s->w->st) != x86_rflags(&want))
		fail_msg("%s: RFLAGS %#llx", name, (unsigned long long)x86_rflags(&s->w->st));
	want.rflags = s->w->st.rflags;
	want.oszapc = s->w->st.oszapc;
	expect_state(name, &s->w->st, &want);
}

static void expect_failed_entry(const char *name, struct setting *s, const u64 *f, u64 reason, u64 qualification)
{
	u64 fields[VMCS_FIELDS];

	memcpy(fields, f, sizeof(fields));
	fields[VMCS_REASON] = reason | VMX_ENTRY_FAILED;
	fields[VMCS_QUALIFICATION] = qualification;
	expect_fields(name, page(s->w)->f, fields);
	expect_state(name, &s->w->st, &s->back);
}

static void expect_nothing_ran(const char *name, struct setting *s, bool resume)
{
	if (get(s->w, RAN, 4))
		fail_msg("%s: the guest ran", name);
	for (unsigned v = 0; v < 256; v++)
		if (vmx_count(s->w, v))
			fail_msg("%s: vector %u was delivered", name, v);
	if (page(s->w)->launch != (resume ? VMCS_LAUNCHED : VMCS_LAUNCH_CLEAR))
		fail_msg("%s: the launch state has changed", name);
}

static void try_break(struct setting *s, const struct vmentry_break *b, bool resume)
{
	struct vmentry_env had, e;
	u64 f[VMCS_FIELDS];
	struct x86_state before;

	/* Once for what it asks for, once on the processor that has it. */
	for (unsigned i = 0; i < 2; i++) {
		had = e = env_of(s->w);
		memcpy(f, s->good, sizeof(f));
		b->apply(f, &e);
		if (!i)
			setting_make(s, options_for(&had, &e));
	}
	before = s->host;
	if (!e.host_long)
		host_legacy(&before);
	*at(s->w, VIRTUAL_APIC + 0x80) = (u8)e.virtual_tpr;
	enter(s->w, &before, f, resume);
	if (s->w->cpu->guests.refused_rule != b->rule)
		fail_msg("%s: refused by %s", b->name,
			 vmentry_rule_name((enum vmentry_rule)s->w->cpu->guests.refused_rule));
	switch (vmentry_rule_rows[b->rule].area) {
	case VMENTRY_CONTROL: expect_vmfail(b->name, s, &before, f, 7); break;
	case VMENTRY_HOST: expect_vmfail(b->name, s, &before, f, 8); break;
	default:
		expect_failed_entry(b->name, s, f, 33,
				    b->rule == VMENTRY_RULE_PDPTE  ? 2
				    : b->rule == VMENTRY_RULE_LINK ? 4
								   : 0);
	}
	expect_nothing_ran(b->name, s, resume);
	enter(s->w, &s->host, s->good, resume);
	expect_guest_ran(s, b->name);
	expect_state(b->name, &s->w->st, &s->back);
}

static void each_rule_fails(void **state)
{
	for (unsigned resume = 0; resume < 2; resume++) {
		struct setting s = {.w = NULL};

		setting_make(&s, "");
		for (unsigned i = 0; i < ARRAY_SIZE(vmentry_breaks); i++) {
			setting_make(&s, "");
			try_break(&s, &vmentry_breaks[i], resume);
		}
		setting_free(&s);
	}
}

/* The link pointer names pages that are there and are not what it wants: the current VMCS; one whose shadow indicator
 * is not the VMCS-shadowing control. */
static void link_pointers(void **state)
{
	static const struct {
		u64 link;
		u32 revision, proc2;
		bool legal;
	} tries[] = {
		{VMCS_PAGE, VMCS_REVISION, 0, false},
		{VMCS_SHADOW, VMCS_REVISION, 0, true},
		{VMCS_SHADOW, VMCS_REVISION + 1, 0, false},
		{VMCS_SHADOW, VMCS_REVISION | VMCS_IS_SHADOW, 0, false},
		{VMCS_SHADOW, VMCS_REVISION, VMX_PROC2_SHADOW, false},
		{VMCS_SHADOW, VMCS_REVISION | VMCS_IS_SHADOW, VMX_PROC2_SHADOW, true},
	};
	struct setting s = {.w = NULL};
	u64 f[VMCS_FIELDS];

	setting_make(&s, "");
	for (unsigned i = 0; i < ARRAY_SIZE(tries); i++) {
		memcpy(f, s.good, sizeof(f));
		f[VMCS_LINK] = tries[i].link;
		f[VMCS_PROC2] |= tries[i].proc2;
		f[VMCS_VMREAD_BITMAP] = VM_BITMAPS;
		f[VMCS_VMWRITE_BITMAP] = VM_BITMAPS + 0x1000;
		put(s.w, tries[i].link, tries[i].revision, 4);
		enter(s.w, &s.host, f, false);
		if (tries[i].legal)
			expect_guest_ran(&s, "a link pointer");
		else
			expect_failed_entry("a link pointer", &s, f, 33, 4);
	}
	setting_free(&s);
}

/* Without EPT the PDPTEs come from memory. SDM vol. 3 26.3.1.6. */
static void pdptes_in_memory(void **state)
{
	static const u64 bad[] = {PTE_P | PTE_W, PTE_P | PTE_U, PTE_P | BIT(8), PTE_P | FAR_AWAY, PTE_P | BIT(63)};
	struct setting s = {.w = NULL};
	u64 f[VMCS_FIELDS];

	setting_make(&s, "");
	for (unsigned i = 0; i < ARRAY_SIZE(bad) * 4; i++) {
		u64 table = LEGACY_TABLE + 0x1020;

		memcpy(f, s.good, sizeof(f));
		legacy(f);
		f[VMCS_PROC2] &= ~(u64)VMX_PROC2_EPT;
		f[VMCS_GUEST_CR3] = table;
		for (unsigned n = 0; n < 4; n++)
			put(s.w, table + 8 * n, n == i % 4 ? bad[i / 4] : 0, 8);
		enter(s.w, &s.host, f, false);
		assert_int_equal(vmx_f(s.w)[VMCS_REASON], 33 | VMX_ENTRY_FAILED);
		assert_int_equal(vmx_f(s.w)[VMCS_QUALIFICATION], 2);
		expect_nothing_ran("PDPTEs in memory", &s, false);
		enter(s.w, &s.host, s.good, false);
		expect_guest_ran(&s, "behind PDPTEs in memory");
	}
	setting_free(&s);
}

/* SDM vol. 3 26.4 "Loading MSRs": the exit qualification is the number of the entry, from 1. */
static void msr_loading(void **state)
{
	static const struct vmx_msr_entry good = {0x277, 0, 0x0007040600070406},
					  bad[] = {
						  {0xc0000100, 0, 0}, /* FS_BASE */
						  {0xc0000101, 0, 0}, /* GS_BASE */
						  {0x800, 0, 0},      /* x2APIC */
						  {0x8ff, 0, 0},
						  {0x9b, 0, 0}, /* IA32_SMM_MONITOR_CTL */
						  {0x277, 1, 0x0007040600070406},
						  {0x277, 0, 2}, /* what WRMSR refuses */
						  {0x480, 0, 0},
						  {0xdead, 0, 0},
					  };
	struct setting s = {.w = NULL};
	u64 f[VMCS_FIELDS];

	setting_make(&s, "");
	for (unsigned i = 0; i <= ARRAY_SIZE(bad); i++) {
		u64 n = i < ARRAY_SIZE(bad) ? i % 3 + 1 : VMX_MSR_AREA_MAX + 1, count = MAX(n, (u64)4);

		for (u64 k = 0; k < count; k++)
			memcpy(at(s.w, MSR_AREA + 16 * k), k + 1 == n && i < ARRAY_SIZE(bad) ? &bad[i] : &good, 16);
		memcpy(f, s.good, sizeof(f));
		f[VMCS_EXIT] |= VMX_EXIT_LOAD_PAT;
		f[VMCS_HOST_PAT] = s.back.msr.pat;
		f[VMCS_ENTRY_MSR_LOAD] = MSR_AREA;
		f[VMCS_ENTRY_MSR_LOAD_COUNT] = count;
		event(f, VEV_EXT_INT, 32);
		enter(s.w, &s.host, f, false);
		if (vmx_f(s.w)[VMCS_QUALIFICATION] != n)
			fail_msg("MSR %#x: not entry %llu", i < ARRAY_SIZE(bad) ? bad[i].index : 0,
				 (unsigned long long)n);
		expect_failed_entry("MSR loading", &s, f, 34, n);
		expect_nothing_ran("MSR loading", &s, false);
		enter(s.w, &s.host, s.good, false);
		expect_guest_ran(&s, "behind MSR loading");
	}
	setting_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_rule_fails),
		cmocka_unit_test(link_pointers),
		cmocka_unit_test(pdptes_in_memory),
		cmocka_unit_test(msr_loading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
