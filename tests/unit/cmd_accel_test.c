/* Which engine a guest gets: `auto` takes KVM only where it can do what the guest asks for, and says why. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/accel.h"

static const struct host_kvm none = {.can = KVM_NONE, .can_text = "there is no /dev/kvm", .can_word = "none"},
			     unusable = {.can = KVM_UNUSABLE, .can_text = "this host's KVM lacks X"},
			     flat = {.can = KVM_NO_NESTING, .can_text = "neither VMX nor SVM", .guest_debug = true},
			     nests = {.can = KVM_NESTS, .can_text = "they see SVM", .svm = true},
			     nests_vmx = {.can = KVM_NESTS, .can_text = "they see VMX", .vmx = true};

/* What is asked for, on which KVM, and what comes of it; rc other than 0: the error has `text`. */
static const struct {
	const struct host_kvm *kvm;
	const char *word, *cpu;
	unsigned wants;
	int rc;
	enum machine_accel engine;
	const char *text; /* in `why` or in the error */
} cases[] = {
	{&none, "auto", NULL, 0, 0, ACCEL_SOFT, "there is no /dev/kvm"},
	{&none, "kvm", NULL, 0, -ENODEV, 0, "cannot be used: there is no /dev/kvm"},
	{&unusable, "auto", NULL, 0, 0, ACCEL_SOFT, "lacks X"},
	{&unusable, "kvm", NULL, 0, -ENODEV, 0, "lacks X"},
	{&flat, "auto", NULL, 0, 0, ACCEL_KVM, "neither VMX nor SVM"},
	{&flat, "auto", "host", 0, 0, ACCEL_KVM, ""},
	{&flat, "auto", NULL, ACCEL_NESTED, 0, ACCEL_SOFT, "cannot nest here: neither VMX nor SVM"},
	{&flat, "auto", "EPYC,svm=on", 0, 0, ACCEL_SOFT, "cannot nest here"},
	{&flat, "auto", "Skylake-Client,+vmx", 0, 0, ACCEL_SOFT, "cannot nest here"},
	{&flat, "kvm", "EPYC,svm=on", 0, -ENODEV, 0, "cannot nest here"},
	{&flat, "kvm", "EPYC", 0, 0, ACCEL_KVM, ""},
	{&flat, "auto", "EPYC", 0, 0, ACCEL_SOFT, "a named model"},
	{&flat, "auto", NULL, ACCEL_DEBUG, 0, ACCEL_KVM, ""},
	{&nests, "auto", NULL, ACCEL_NESTED, 0, ACCEL_KVM, "they see SVM"},
	{&nests, "kvm", "host", ACCEL_NESTED, 0, ACCEL_KVM, ""},
	{&nests, "kvm", "EPYC", ACCEL_NESTED, 0, ACCEL_KVM, ""},
	{&nests, "kvm", "EPYC,+svm", 0, 0, ACCEL_KVM, ""},
	{&nests, "kvm", "Skylake-Client", 0, 0, ACCEL_KVM, ""},
	{&nests, "kvm", "Skylake-Client", ACCEL_NESTED, -ENODEV, 0, "no guest VMX here: they see SVM"},
	{&nests, "kvm", "Skylake-Client,+vmx", 0, -ENODEV, 0, "no guest VMX here: they see SVM"},
	{&nests, "kvm", "Skylake-Client,+VMX", 0, -ENODEV, 0, "no guest VMX here"},
	{&nests, "kvm", "Skylake-Client,vmx=yes", 0, -ENODEV, 0, "no guest VMX here"},
	{&nests, "kvm", "Skylake-Client,vmx=off", ACCEL_NESTED, 0, ACCEL_KVM, ""},
	{&nests, "auto", "Skylake-Client,vmx=on", 0, 0, ACCEL_SOFT, "no guest VMX here: they see SVM"},
	{&nests, "auto", "Skylake-Client", ACCEL_NESTED, 0, ACCEL_SOFT, "no guest VMX here: they see SVM"},
	{&nests_vmx, "auto", "EPYC", ACCEL_NESTED, 0, ACCEL_SOFT, "no guest SVM here: they see VMX"},
	{&nests_vmx, "kvm", "EPYC,+svm", 0, -ENODEV, 0, "no guest SVM here: they see VMX"},
	{&nests_vmx, "kvm", "host,+svm", 0, -ENODEV, 0, "no guest SVM here: they see VMX"},
	{&nests_vmx, "kvm", "Skylake-Client,vmx-ept=off", ACCEL_NESTED, 0, ACCEL_KVM, ""},
	{&nests, "auto", NULL, ACCEL_DEBUG, 0, ACCEL_SOFT, "KVM_CAP_SET_GUEST_DEBUG"},
	{&nests, "kvm", NULL, ACCEL_DEBUG, -ENODEV, 0, "KVM_CAP_SET_GUEST_DEBUG"},
	{&nests, "auto", NULL, ACCEL_SLOW, 0, ACCEL_SOFT, "--slow is the software processor's"},
	{&nests, "kvm", NULL, ACCEL_SLOW, -ENODEV, 0, "--slow is the software processor's"},
	{&nests, "soft", NULL, ACCEL_NESTED, 0, ACCEL_SOFT, ""},
	{&nests, "tcg", NULL, 0, -EINVAL, 0, "auto, kvm or soft"},
};

static void choices(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct accel a = {0};
		struct err e = {0};
		int rc = accel_choose_by(cases[i].kvm, cases[i].word, cases[i].cpu, cases[i].wants, &a, &e);
		const char *text = rc ? e.text : a.why;

		if (rc != cases[i].rc || (!rc && a.engine != cases[i].engine) || !strstr(text, cases[i].text))
			fail_msg("case %u: %d, engine %d, '%s'", i, rc, a.engine, text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(choices)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
