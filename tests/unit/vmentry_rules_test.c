/* VMCS fields, VMX capabilities, and VM entry's rules: each broken once by the smallest change to a VMCS that breaks
 * none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/vmentry_breaks.h"

static struct x86_model model(void)
{
	struct x86_model m;

	assert_true(x86_model_named(VMENTRY_MODEL, &m));
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
			changed +=
				(unsigned)__builtin_popcountll((vmx_capability(&all, n) ^ vmx_capability(&without, n)) &
							       ~(n > 0xc && n < 0x11 ? MASK(32) : 0));
		if (!strcmp(names[i], "vmx-vmfunc")) /* and 491h */
			changed--;
		if (changed != 1 && strncmp(names[i], "vmx-cr3-", 8) && strcmp(names[i] + 4, "exit-nosave-debugctl") &&
		    strcmp(names[i] + 4, "entry-noload-debugctl"))
			fail_msg("%s changes %u bits", names[i], changed);
	}
	assert_int_not_equal(x86_model_parse("EPYC,vmx-ept=off", &(struct x86_model){0}, &e), 0);
}

static void good(struct vmcs *v)
{
	struct vmentry_env e = env();

	memset(v, 0, sizeof(*v));
	vmentry_good(v->f, &e);
}

static void each_rule_fails(void **state)
{
	bool broken[VMENTRY_RULES] = {false};

	for (unsigned i = 0; i < ARRAY_SIZE(vmentry_breaks); i++) {
		const struct vmentry_break *b = &vmentry_breaks[i];
		struct vmentry_env e = env();
		enum vmentry_rule r;
		struct vmcs v;

		good(&v);
		r = vmentry_check(&v, &e);
		if (r != VMENTRY_RULES)
			fail_msg("the good VMCS breaks %s", vmentry_rule_name(r));
		b->apply(v.f, &e);
		r = vmentry_check(&v, &e);
		if (r != b->rule)
			fail_msg("%s: reported as %s", b->name, vmentry_rule_name(r));
		broken[r] = true;
	}
	for (unsigned r = 0; r < VMENTRY_RULES; r++)
		if (!broken[r])
			fail_msg("nothing breaks %s", vmentry_rule_name((enum vmentry_rule)r));
}

static void expect_legal(const char *what, struct vmcs *v, const struct vmentry_env *e)
{
	enum vmentry_rule r = vmentry_check(v, e);

	if (r != VMENTRY_RULES)
		fail_msg("%s breaks %s", what, vmentry_rule_name(r));
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
	good(&v);
	real_guest(v.f);
	expect_legal("real mode", &v, &e);
	event(v.f, VEV_HARD_EXC, EXC_GP);
	expect_legal("an exception without its error code in real mode", &v, &e);
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

/* SDM vol. 3 26.3.1.5: what may come in each activity state. */
static void activity_events(void **state)
{
	static const struct {
		u8 activity, type, vector;
	} legal[] = {
		{1, VEV_EXT_INT, 32}, {1, VEV_NMI, EXC_NMI}, {1, VEV_HARD_EXC, EXC_DB}, {1, VEV_HARD_EXC, EXC_MC},
		{1, VEV_OTHER, 0},    {2, VEV_NMI, EXC_NMI}, {2, VEV_HARD_EXC, EXC_MC}, {0, VEV_SOFT_INT, 0x80},
	};
	struct vmentry_env e = env();
	struct vmcs v;

	for (unsigned i = 0; i < ARRAY_SIZE(legal); i++) {
		good(&v);
		v.f[VMCS_GUEST_ACTIVITY] = legal[i].activity;
		event(v.f, legal[i].type, legal[i].vector);
		expect_legal("an event that the activity state admits", &v, &e);
	}
	good(&v);
	v.f[VMCS_GUEST_ACTIVITY] = 3;
	expect_legal("wait-for-SIPI without an event", &v, &e);
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
		cmocka_unit_test(options_take_away),	cmocka_unit_test(each_rule_fails),
		cmocka_unit_test(legal_oddities),	cmocka_unit_test(activity_events),
		cmocka_unit_test(length_zero),		cmocka_unit_test(qualifications),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
