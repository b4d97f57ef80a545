/* VMCS fields, VMX capabilities, and VM entry's rules: each broken once by the smallest change to a VMCS that breaks
 * none. */
#include <errno.h>
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

/* The rows of vmxctl.def: the MSR (480h + n) that shows them and the bit of it that goes with them. */
static const struct option {
	const char *name;
	u8 msr, bit;
} rows[] = {
#define MSR_OF_PIN				    0xd
#define MSR_OF_PROC				    0xe
#define MSR_OF_PROC2				    0xb
#define MSR_OF_EXIT				    0xf
#define MSR_OF_ENTRY				    0x10
#define MSR_OF_MISC				    5
#define MSR_OF_EPT_VPID				    0xc
#define MSR_OF_VMFUNC				    0x11
#define BIT_OF_MAY				    32 /* may be 1 no more */
#define BIT_OF_DEF1				    0  /* must be 1 again */
#define CTL(word, bit, name, kind, feature, option) {option, MSR_OF_##word, (bit) + BIT_OF_##kind},
#define CAP(msr, bit, option)			    {option, MSR_OF_##msr, bit},
#include "arch/x86/vmxctl.def"
#undef CTL
#undef CAP
};

/* All that goes with a row; "vmx-secondary-ctls" is not listed: see goes_with(). */
static const struct {
	const char *base, *dependents;
} closures[] = {
	{"vmx-nmi-exit", " vmx-vnmi vmx-vnmi-pending "},
	{"vmx-vnmi", " vmx-vnmi-pending "},
	{"vmx-preemption-timer", " vmx-exit-save-preemption-timer "},
	{"vmx-exit-host-addr-space-size", " vmx-entry-ia32e-mode "},
	{"vmx-flexpriority", " vmx-apicv-x2apic vmx-apicv-register vmx-apicv-vid vmx-posted-intr "},
	{"vmx-intr-exit", " vmx-apicv-vid vmx-posted-intr "},
	{"vmx-apicv-vid", " vmx-posted-intr "},
	{"vmx-exit-ack-intr", " vmx-posted-intr "},
	{"vmx-vmfunc", " vmx-eptp-switching "},
	{"vmx-ept", " vmx-unrestricted-guest vmx-pml vmx-ept-violation-ve vmx-mbec vmx-eptp-switching "
		    "vmx-ept-execonly vmx-page-walk-4 vmx-ept-2mb vmx-ept-1gb vmx-invept vmx-eptad "
		    "vmx-invept-single-context vmx-invept-all-context "},
	{"vmx-invept", " vmx-invept-single-context vmx-invept-all-context "},
	{"vmx-vpid", " vmx-invvpid vmx-invvpid-single-addr vmx-invvpid-single-context vmx-invvpid-all-context "
		     "vmx-invept-single-context-noglobals "},
	{"vmx-invvpid", " vmx-invvpid-single-addr vmx-invvpid-single-context vmx-invvpid-all-context "
			"vmx-invept-single-context-noglobals "},
};

static bool goes_with(const struct option *base, const struct option *o)
{
	char word[64];

	if (!strcmp(base->name, "vmx-secondary-ctls"))
		return o->msr == MSR_OF_PROC2 || o->msr == MSR_OF_EPT_VPID || o->msr == MSR_OF_VMFUNC ||
		       !strcmp(o->name, "vmx-posted-intr");
	snprintf(word, sizeof(word), " %s ", o->name);
	for (unsigned i = 0; i < ARRAY_SIZE(closures); i++)
		if (!strcmp(closures[i].base, base->name))
			return strstr(closures[i].dependents, word) != NULL;
	return false;
}

/* Each row has a name of its own; "off" takes away its bit and those of the rows that build on it, and no other. */
static void options_take_away(void **state)
{
	struct x86_model all;
	struct err e;

	assert_int_equal(x86_model_parse("Skylake-Client", &all, &e), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct x86_model without;
		u64 gone[0x12] = {0};
		char spec[128];

		assert_int_equal(vmx_option_find(rows[i].name, strlen(rows[i].name)), i);
		snprintf(spec, sizeof(spec), "Skylake-Client,%s=off", rows[i].name);
		assert_int_equal(x86_model_parse(spec, &without, &e), 0);
		for (unsigned k = 0; k < ARRAY_SIZE(rows); k++) {
			if (k != i && !goes_with(&rows[i], &rows[k]))
				continue;
			/* what the host's units cannot give is not there to go */
			if (rows[k].bit < 32 || rows[k].msr == MSR_OF_EPT_VPID ||
			    vmx_capability(&all, rows[k].msr) >> rows[k].bit & 1)
				gone[rows[k].msr] |= BIT(rows[k].bit);
			if (k == i)
				continue;
			snprintf(spec, sizeof(spec), "Skylake-Client,%s=on,%s=off", rows[k].name, rows[i].name);
			assert_int_equal(x86_model_parse(spec, &(struct x86_model){0}, &e), -EINVAL);
			assert_non_null(strstr(e.text, rows[k].name));
			assert_non_null(strstr(e.text, "cannot be on while"));
		}
		if (!(vmx_capability(&without, MSR_OF_PROC2) & (u64)VMX_PROC2_EPT << 32))
			gone[MSR_OF_EPT_VPID] |= BIT(8) | BIT(14); /* the memory types of its tables */
		for (unsigned n = 5; n < ARRAY_SIZE(gone); n++)	   /* 481h to 484h repeat the TRUE forms */
			if ((vmx_capability(&all, n) ^ vmx_capability(&without, n)) != gone[n])
				fail_msg("%s changes %#llx of %#x, not %#llx", rows[i].name,
					 (unsigned long long)(vmx_capability(&all, n) ^ vmx_capability(&without, n)),
					 0x480 + n, (unsigned long long)gone[n]);
	}
	assert_int_not_equal(x86_model_parse("EPYC,vmx-ept=off", &(struct x86_model){0}, &e), 0);
}

static void asked_without_base(void **state)
{
	static const struct {
		const char *spec, *text; /* NULL: fine */
	} specs[] = {
		{"Skylake-Client,vmx-pml=on", NULL},
		{"Skylake-Client,vmx-ept=off,vmx-pml=on", "CPU feature vmx-pml cannot be on while vmx-ept is off"},
		{"Skylake-Client,vmx-pml=on,vmx-ept=off", "CPU feature vmx-pml cannot be on while vmx-ept is off"},
		{"Skylake-Client,+vmx-pml,-vmx-pml,-vmx-ept", NULL},
		{"Skylake-Client,-vmx-ept,+vmx-ept,+vmx-pml", NULL},
		{"Skylake-Client,vmx-secondary-ctls=off,vmx-posted-intr=on",
		 "CPU feature vmx-posted-intr cannot be on while vmx-secondary-ctls is off"},
		{"Skylake-Client,invpcid=off,vmx-invpcid-exit=on",
		 "CPU feature vmx-invpcid-exit cannot be on while INVPCID is off"},
		{"Skylake-Client,vmx=off,vmx-hlt-exit=on", "CPU feature vmx-hlt-exit cannot be on while VMX is off"},
	};
	struct x86_model m;
	struct err e;

	for (unsigned i = 0; i < ARRAY_SIZE(specs); i++) {
		assert_int_equal(x86_model_parse(specs[i].spec, &m, &e), specs[i].text ? -EINVAL : 0);
		if (specs[i].text)
			assert_string_equal(e.text, specs[i].text);
	}
}

/* 48Bh, 48Ch and 491h are there with the controls that they describe. */
static void registers_exist(void **state)
{
	static const struct {
		const char *spec;
		bool proc2, ept_vpid, vmfunc;
	} specs[] = {
		{"Skylake-Client", true, true, true},
		{"Skylake-Client,vmx-vmfunc=off", true, true, false},
		{"Skylake-Client,vmx-ept=off", true, true, true},
		{"Skylake-Client,vmx-vpid=off", true, true, true},
		{"Skylake-Client,vmx-ept=off,vmx-vpid=off", true, false, true},
		{"Skylake-Client,vmx-secondary-ctls=off", false, false, false},
	};
	struct x86_model m;
	struct err e;

	for (unsigned i = 0; i < ARRAY_SIZE(specs); i++) {
		assert_int_equal(x86_model_parse(specs[i].spec, &m, &e), 0);
		for (unsigned n = 0; n <= 0x11; n++) {
			bool there = n == 0xb	 ? specs[i].proc2
				     : n == 0xc	 ? specs[i].ept_vpid
				     : n == 0x11 ? specs[i].vmfunc
						 : true;

			assert_int_equal(vmx_capability_exists(&m, n), there);
			if (!there)
				assert_int_equal(vmx_capability(&m, n), 0);
		}
	}
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
		cmocka_unit_test(options_take_away),	cmocka_unit_test(asked_without_base),
		cmocka_unit_test(registers_exist),	cmocka_unit_test(each_rule_fails),
		cmocka_unit_test(legal_oddities),	cmocka_unit_test(activity_events),
		cmocka_unit_test(length_zero),		cmocka_unit_test(qualifications),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
