/* CPU model requests and the CPUID leaves that follow from them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/model.h"

static const struct x86_cpuid_env one = {.apic_id = 0, .vcpus = 1, .cr4 = CR4_OSXSAVE, .xcr0 = 7};

static struct x86_model parse(const char *spec)
{
	struct x86_model m;
	struct err e = {0};

	if (x86_model_parse(spec, &m, &e))
		fail_msg("%s: %s", spec, e.text);
	return m;
}

static void refused(const char *spec, const char *word)
{
	struct x86_model m;
	struct err e = {0};

	assert_int_equal(x86_model_parse(spec, &m, &e), -22);
	if (!strstr(e.text, word))
		fail_msg("%s: \"%s\" does not name %s", spec, e.text, word);
}

static void requests(void **state)
{
	struct x86_model m = parse("EPYC,svm=off");

	assert_false(x86_has(&m, X86F_SVM));
	assert_false(x86_has(&m, X86F_SVM_NPT));
	m = parse("epyc,-npt,+pcid,phys-bits=46,kvmclock=off");
	assert_true(x86_has(&m, X86F_SVM));
	assert_false(x86_has(&m, X86F_SVM_NPT));
	assert_true(x86_has(&m, X86F_PCID));
	assert_int_equal(m.phys_bits, 46);
	assert_false(m.kvm_clock);
	m = parse("EPYC,avx=off");
	assert_false(x86_has(&m, X86F_AVX2));
	m = parse("EPYC,sse4.2=off");
	assert_false(x86_has(&m, X86F_SSE4_2));
	assert_false(x86_has(&m, X86F_AVX));
	refused("Pentium", "EPYC-Milan");
	refused("EPYC,frobnicate=on", "frobnicate");
	refused("EPYC,vmx=on", "vmx");
	refused("EPYC,svm=maybe", "svm=maybe");
	refused("EPYC,svm=off,npt=on", "SVM");
	refused("EPYC,svm=off,vgif=on", "SVM");
	refused("EPYC,npt=off,vls=on", "SVM_NPT");
	refused("EPYC,npt=off,avic=on", "SVM_NPT");
	refused("EPYC,pausefilter=off,pfthreshold=on", "PAUSEFILTER");
	refused("Skylake-Client,svm=on", "svm");
	refused("EPYC,phys-bits=64", "phys-bits");
	refused("EPYC,", "\"\"");
	refused("", "EPYC");
	refused("a-name-that-is-much-longer-than-any-model-of-a-processor", "EPYC");
}

static void identity(void **state)
{
	struct x86_model m = parse("EPYC");
	u32 r[4];

	x86_cpuid(&m, 0, 0, &one, r);
	assert_int_equal(r[0], 0xd);
	assert_memory_equal(&r[1], "Auth", 4);
	assert_memory_equal(&r[3], "enti", 4);
	assert_memory_equal(&r[2], "cAMD", 4);
	x86_cpuid(&m, 1, 0, &one, r);
	assert_int_equal(r[0], 0x800f12);
	assert_true(r[2] & BIT(27)); /* OSXSAVE follows CR4 */
	assert_false(r[3] & BIT(28));
	x86_cpuid(&m, 0x80000002, 0, &one, r);
	assert_memory_equal(r, "AMD EPYC Process", 16);
	x86_cpuid(&m, 0x80000001, 0, &one, r);
	assert_true(r[2] & BIT(2));
	assert_true(r[3] & BIT(29));
	assert_true(r[3] & BIT(0));
	x86_cpuid(&m, 0x8000000a, 0, &one, r);
	assert_int_equal(r[0], 1);
	assert_true(r[1] > 1);
	assert_true(r[3] & BIT(0));
	x86_cpuid(&m, 0x13, 0, &one, r); /* beyond the maximum: zeros on AMD */
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
	m = parse("EPYC,svm=off");
	x86_cpuid(&m, 0x8000000a, 0, &one, r);
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
	m = parse("Skylake-Client");
	x86_cpuid(&m, 0, 0, &one, r);
	assert_memory_equal(&r[1], "Genu", 4);
	assert_memory_equal(&r[3], "ineI", 4);
	assert_memory_equal(&r[2], "ntel", 4);
	x86_cpuid(&m, 0x15, 0, &one, r);
	assert_int_equal((u64)r[2] * r[1] / r[0] / 1000, m.tsc_khz);
}

static void hypervisor(void **state)
{
	struct x86_model m = parse("EPYC");
	u32 r[4];

	x86_cpuid(&m, 0x40000000, 0, &one, r);
	assert_int_equal(r[0], 0x40000010);
	assert_memory_equal(&r[1], "NestboxVirt ", 12);
	x86_cpuid(&m, 0x40000010, 0, &one, r);
	assert_int_equal(r[0], m.tsc_khz);
	x86_cpuid(&m, 0x40000100, 0, &one, r);
	assert_memory_equal(&r[1], "KVMKVMKVM\0\0\0", 12);
	x86_cpuid(&m, 0x40000101, 0, &one, r);
	assert_int_equal(r[0], 0x01000008);
	m = parse("EPYC,hypervisor=off");
	x86_cpuid(&m, 0x40000000, 0, &one, r);
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
}

static void xsave_leaf(void **state)
{
	struct x86_model m = parse("EPYC");
	struct x86_cpuid_env env = one;
	u32 r[4];

	if (!x86_has(&m, X86F_AVX))
		skip();
	x86_cpuid(&m, 0xd, 0, &env, r);
	assert_int_equal(r[0], 7);
	assert_int_equal(r[1], 832);
	assert_int_equal(r[2], 832);
	env.xcr0 = 1;
	x86_cpuid(&m, 0xd, 0, &env, r);
	assert_int_equal(r[1], 576);
	x86_cpuid(&m, 0xd, 2, &env, r);
	assert_int_equal(r[0], 256);
	assert_int_equal(r[1], 576);
	x86_cpuid(&m, 0xd, 5, &env, r);
	assert_int_equal(r[0] | r[1], 0);
}

static void topology(void **state)
{
	struct x86_model m = parse("EPYC");
	const struct x86_cpuid_env four = {.apic_id = 2, .vcpus = 4};
	u32 r[4];

	x86_cpuid(&m, 1, 0, &four, r);
	assert_int_equal(r[1] >> 24, 2);
	assert_int_equal(r[1] >> 16 & 0xff, 4);
	assert_true(r[3] & BIT(28));
	x86_cpuid(&m, 0xb, 1, &four, r);
	assert_int_equal(r[0], 2);
	assert_int_equal(r[1], 4);
	assert_int_equal(r[2], 0x201);
	assert_int_equal(r[3], 2);
	x86_cpuid(&m, 0x80000008, 0, &four, r);
	assert_int_equal(r[2], 2 << 12 | 3);
	assert_int_equal(r[0], 40 | 48 << 8);
	x86_cpuid(&m, 0x8000001d, 3, &four, r);
	assert_int_equal(r[0] >> 14 & 0xfff, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),   cmocka_unit_test(identity), cmocka_unit_test(hypervisor),
		cmocka_unit_test(xsave_leaf), cmocka_unit_test(topology),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
