/*
 * Reading a model request: NAME[,feature=on|off|,+feature,-feature]… (model.h), and the rules between features.
 * VMX's controls and capabilities have names of their own (vmxctl.def) and are all on unless taken away.
 *
 * A feature falls away silently with the host unit that would run it or with the feature that it builds on; only what
 * the request names must hold, or the request is refused.
 */
#include "arch/x86/model.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

const struct x86_feature_row x86_feature_rows[X86_FEATURES] = {
#define FEATURE(name, leaf, sub, reg, bit, need) {#name, leaf, sub, CPUID_##reg, bit, NEED_##need},
#include "arch/x86/features.def"
#undef FEATURE
};

/* The first cannot be without the second. In an order that settles in one pass. */
static const struct {
	u16 feature, base;
} builds_on[] = {
#define ON(f, b)                                                                                                       \
	{                                                                                                              \
		X86F_##f, X86F_##b                                                                                     \
	}
	ON(SSE, FXSR),
	ON(SSE2, SSE),
	ON(SSE3, SSE2),
	ON(SSSE3, SSE3),
	ON(SSE4_1, SSSE3),
	ON(SSE4_2, SSE4_1),
	ON(SSE4A, SSE3),
	ON(PCLMULQDQ, SSE2),
	ON(AES, SSE2),
	ON(SHA_NI, SSE2),
	ON(GFNI, SSE2),
	ON(MMXEXT, MMX),
	ON(XSAVE, FXSR),
	ON(XSAVEOPT, XSAVE),
	ON(XSAVEC, XSAVE),
	ON(XGETBV1, XSAVE),
	ON(XSAVES, XSAVEC),
	ON(AVX, XSAVE),
	ON(AVX, SSE4_2),
	ON(FMA, AVX),
	ON(F16C, AVX),
	ON(AVX2, AVX),
	ON(VAES, AVX),
	ON(VPCLMULQDQ, AVX),
	ON(AVX_VNNI, AVX2),
	ON(AVX512F, AVX2),
	ON(AVX512DQ, AVX512F),
	ON(AVX512CD, AVX512F),
	ON(AVX512BW, AVX512F),
	ON(AVX512VL, AVX512F),
	ON(AVX512IFMA, AVX512F),
	ON(AVX512_VBMI, AVX512BW),
	ON(AVX512_VBMI2, AVX512BW),
	ON(AVX512_VNNI, AVX512F),
	ON(AVX512_BITALG, AVX512BW),
	ON(AVX512_VPOPCNTDQ, AVX512F),
	ON(AVX512_VP2INTERSECT, AVX512F),
	ON(AVX512_FP16, AVX512BW),
	ON(AVX512_BF16, AVX512BW),
	ON(PAE, CX8),
	ON(LM, PAE),
	ON(NX, PAE),
	ON(SYSCALL, LM),
	ON(LAHF_LM, LM),
	ON(CX16, LM),
	ON(PDPE1GB, LM),
	ON(PCID, LM),
	ON(FSGSBASE, LM),
	ON(INVPCID, LM),
	ON(X2APIC, APIC),
	ON(TSC_DEADLINE, APIC),
	ON(ARAT, APIC),
	ON(MCA, MCE),
	ON(TSC_DEADLINE, TSC),
	ON(TSC_ADJUST, TSC),
	ON(INVTSC, TSC),
	ON(RDTSCP, TSC),
	ON(RDPID, RDTSCP),
	ON(LA57, LM),
	ON(PKU, XSAVE),
	ON(VMX, LM),
	ON(SVM, LM),
	ON(SVM_NPT, SVM),
	ON(NRIP_SAVE, SVM),
	ON(VMCB_CLEAN, SVM),
	ON(FLUSHBYASID, SVM),
	ON(DECODEASSISTS, SVM),
	ON(LBRV, SVM),
	ON(TSC_SCALE, SVM),
	ON(PAUSEFILTER, SVM),
	ON(PFTHRESHOLD, PAUSEFILTER),
	ON(VGIF, SVM),
	ON(VNMI, SVM),
	ON(V_VMSAVE_VMLOAD, SVM_NPT), /* APM vol. 2 15.33.1: their address is a guest's physical one */
	ON(AVIC, SVM_NPT),	      /* 15.29.2: the backing page is reached through nested tables */
	ON(X2AVIC, AVIC),
	ON(BHI_CTRL, SPEC_CTRL),
	ON(ARCH_CAPABILITIES, SPEC_CTRL), /* its IBRS_ALL speaks of IA32_SPEC_CTRL.IBRS */
#undef ON
};

/* Names are compared without case, with '-', '.' and '_' the same. */
static bool name_is(const char *name, const char *s, size_t n)
{
	size_t i;

	for (i = 0; i < n && name[i]; i++) {
		char a = (char)tolower((unsigned char)name[i]), b = (char)tolower((unsigned char)s[i]);

		if (b == '-' || b == '.')
			b = '_';
		if (a != b)
			return false;
	}
	return i == n && !name[i];
}

static int feature_find(const char *s, size_t n)
{
	static const struct {
		const char *name;
		u16 feature;
	} aliases[] = {
		{"npt", X86F_SVM_NPT},
		{"nrips", X86F_NRIP_SAVE},
		{"lahf_lm", X86F_LAHF_LM},
		{"lzcnt", X86F_ABM},
		{"3dnowprefetch", X86F_PREFETCHW},
		{"pni", X86F_SSE3},
		{"pclmul", X86F_PCLMULQDQ},
		{"tsc_deadline_timer", X86F_TSC_DEADLINE},
		{"vls", X86F_V_VMSAVE_VMLOAD},
		{"tsc_scaling", X86F_TSC_SCALE},
		{"invariant_tsc", X86F_INVTSC},
		{"sha", X86F_SHA_NI},
	};

	for (unsigned i = 0; i < X86_FEATURES; i++)
		if (name_is(x86_feature_rows[i].name, s, n))
			return (int)i;
	for (unsigned i = 0; i < ARRAY_SIZE(aliases); i++)
		if (name_is(aliases[i].name, s, n))
			return aliases[i].feature;
	return -1;
}

static bool amd_only(const struct x86_feature_row *row) { return row->leaf == 0x8000000a || row->leaf == 0x80000021; }

static int set_feature(struct x86_model *m, u64 vmx_on[2], const char *s, size_t n, bool on, struct err *e)
{
	int f = feature_find(s, n), vmx = f < 0 ? vmx_option_find(s, n) : -1;
	const struct x86_feature_row *row;

	if (vmx >= 0) {
		if (m->vendor == X86_AMD)
			return err_set(e, EINVAL, "CPU feature %.*s belongs to Intel's models, %s is not one", (int)n,
				       s, m->name);
		m->vmx_off[vmx / 64] = (m->vmx_off[vmx / 64] & ~BIT(vmx % 64)) | (u64)!on << (vmx % 64);
		vmx_on[vmx / 64] = (vmx_on[vmx / 64] & ~BIT(vmx % 64)) | (u64)on << (vmx % 64);
		return 0;
	}
	if (f < 0)
		return err_set(e, EINVAL, "CPU model %s: no feature is called %.*s", m->name, (int)n, s);
	row = &x86_feature_rows[f];
	if (on && row->need == NEED_ABSENT)
		return err_set(e, EINVAL, "CPU feature %.*s is not implemented", (int)n, s);
	if (on && row->need == NEED_UNIT && !x86_host_has(f))
		return err_set(e, EINVAL, "CPU feature %.*s needs a host processor that has it", (int)n, s);
	if (on && m->vendor != X86_AMD && (amd_only(row) || f == X86F_SVM))
		return err_set(e, EINVAL, "CPU feature %.*s belongs to AMD's models, %s is not one", (int)n, s,
			       m->name);
	if (on && m->vendor == X86_AMD && f == X86F_VMX)
		return err_set(e, EINVAL, "CPU feature %.*s belongs to Intel's models, %s is not one", (int)n, s,
			       m->name);
	x86_set_feature(m, f, on);
	m->asked[f / 64] = (m->asked[f / 64] & ~BIT(f % 64)) | (u64)on << (f % 64);
	return 0;
}

static int set_option(struct x86_model *m, u64 vmx_on[2], const char *s, size_t n, struct err *e)
{
	const char *eq = memchr(s, '=', n);
	size_t name = eq ? (size_t)(eq - s) : n, value = eq ? n - name - 1 : 0;
	bool on = eq && ((value == 2 && !strncmp(eq + 1, "on", 2)) || (value == 3 && !strncmp(eq + 1, "yes", 3)));
	bool off = eq && ((value == 3 && !strncmp(eq + 1, "off", 3)) || (value == 2 && !strncmp(eq + 1, "no", 2)));

	if (n > 1 && (*s == '+' || *s == '-') && !eq)
		return set_feature(m, vmx_on, s + 1, n - 1, *s == '+', e);
	if (eq && name_is("phys_bits", s, name)) {
		long bits = strtol(eq + 1, NULL, 10);

		if (bits < 36 || bits > 52)
			return err_set(e, EINVAL, "CPU model %s: phys-bits must be from 36 to 52", m->name);
		m->phys_bits = (u8)bits;
		return 0;
	}
	if ((on || off) && (name_is("kvmclock", s, name) || name_is("kvm_clock", s, name))) {
		m->kvm_clock = on;
		return 0;
	}
	if (on || off)
		return set_feature(m, vmx_on, s, name, on, e);
	return err_set(e, EINVAL, "CPU model %s: \"%.*s\" is not feature=on, feature=off, +feature or -feature",
		       m->name, (int)n, s);
}

/* Takes out what the host's units cannot run and what has lost its base. */
static int settle(struct x86_model *m, const u64 vmx_on[2], struct err *e)
{
	for (unsigned f = 0; f < X86_FEATURES; f++)
		if (x86_has(m, f) && (x86_feature_rows[f].need == NEED_ABSENT ||
				      (x86_feature_rows[f].need == NEED_UNIT && !x86_host_has(f))))
			x86_set_feature(m, f, false);
	for (unsigned i = 0; i < ARRAY_SIZE(builds_on); i++) {
		unsigned f = builds_on[i].feature;

		if (!x86_has(m, f) || x86_has(m, builds_on[i].base))
			continue;
		if (m->asked[f / 64] >> (f % 64) & 1)
			return err_set(e, EINVAL, "CPU feature %s cannot be on while %s is off",
				       x86_feature_rows[f].name, x86_feature_rows[builds_on[i].base].name);
		x86_set_feature(m, f, false);
	}
	if (x86_has(m, X86F_LA57))
		m->virt_bits = 57;
	return vmx_options_check(m, vmx_on, e);
}

static int no_such_model(const char *spec, size_t n, struct err *e)
{
	char list[300] = "";

	for (const char *const *p = x86_model_names(); *p; p++) {
		if (list[0])
			strncat(list, ", ", sizeof(list) - strlen(list) - 1);
		strncat(list, *p, sizeof(list) - strlen(list) - 1);
	}
	return err_set(e, EINVAL, "no CPU model is called %.*s; there are %s", (int)n, spec, list);
}

int x86_model_parse(const char *spec, struct x86_model *m, struct err *e)
{
	size_t n = strcspn(spec, ",");
	u64 vmx_on[2] = {0};
	char name[32];
	int rc;

	if (n >= sizeof(name))
		return no_such_model(spec, n, e);
	memcpy(name, spec, n);
	name[n] = 0;
	if (!x86_model_named(name, m))
		return no_such_model(spec, n, e);
	for (spec += n; *spec == ','; spec += n) {
		spec++;
		n = strcspn(spec, ",");
		rc = set_option(m, vmx_on, spec, n, e);
		if (rc)
			return rc;
	}
	rc = settle(m, vmx_on, e);
	if (rc)
		return rc;
	m->tsc_khz = (u32)(clock_tsc_hz() / 1000);
	return 0;
}

u64 x86_model_efer(const struct x86_model *m)
{
	static const struct {
		u64 bits;
		u16 feature;
	} rows[] = {
		{EFER_SCE, X86F_SYSCALL},	{EFER_LME | EFER_LMA, X86F_LM}, {EFER_NXE, X86F_NX},
		{EFER_SVME, X86F_SVM},		{EFER_FFXSR, X86F_FXSR_OPT},	{EFER_TCE, X86F_TCE},
		{EFER_AUTOIBRS, X86F_AUTOIBRS},
	};
	u64 bits = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (x86_has(m, rows[i].feature))
			bits |= rows[i].bits;
	return bits;
}

u64 x86_model_xcr0(const struct x86_model *m)
{
	u64 x = XCR0_X87 | XCR0_SSE;

	if (!x86_has(m, X86F_XSAVE))
		return 0;
	if (x86_has(m, X86F_AVX))
		x |= XCR0_AVX;
	if (x86_has(m, X86F_AVX512F))
		x |= XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
	if (x86_has(m, X86F_PKU))
		x |= XCR0_PKRU;
	return x;
}
