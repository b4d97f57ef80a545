/*
 * CPU models as data: what CPUID says, and so which instructions, MSRs and reserved bits there are.
 *
 * A model is a vendor, family/model/stepping, and a set of feature words; features.def has a row per CPUID feature bit. A request is NAME[,feat=on|off|,+feat,-feat]…;
 * each model is intersected with what the host's units can run (features whose row says they need the unit). An explicit
 * request for a feature that cannot be given is an error that names it.
 */
#ifndef ARCH_X86_MODEL_H
#define ARCH_X86_MODEL_H

#include "arch/x86/bits.h"
#include "base/err.h"

enum x86_feature {
#define FEATURE(name, leaf, sub, reg, bit, need) X86F_##name,
#include "arch/x86/features.def"
#undef FEATURE
	X86_FEATURES
};

/* Who provides a feature: see features.def. */
enum x86_need { NEED_SOFT, NEED_UNIT, NEED_ABSENT };
enum cpuid_reg { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

struct x86_feature_row {
	const char *name; /* as in features.def */
	u32 leaf;
	u8 sub, reg, bit, need;
};

extern const struct x86_feature_row x86_feature_rows[X86_FEATURES];

struct x86_model {
	char name[32];
	enum x86_vendor vendor;
	u32 signature; /* CPUID.1:EAX */
	char brand[49];
	u64 features[(X86_FEATURES + 63) / 64];
	u64 asked[(X86_FEATURES + 63) / 64]; /* by name: an engine that cannot give one of them refuses */
	u64 vmx_off[2]; /* rows of vmxctl.def that the request takes away */
	u8 phys_bits, virt_bits;
	u32 tsc_khz;
	bool kvm_clock; /* offer the KVM-compatible clock leaf at 40000100h */
};

static inline bool x86_has(const struct x86_model *m, enum x86_feature f)
{
	return m->features[f / 64] >> (f % 64) & 1;
}

static inline void x86_set_feature(struct x86_model *m, enum x86_feature f, bool on)
{
	m->features[f / 64] = (m->features[f / 64] & ~BIT(f % 64)) | (u64)on << (f % 64);
}

/* Parses "EPYC,svm=off". -EINVAL: unknown model or feature, or one that the host cannot give. Besides features there are
 * phys-bits=N (36 to 52) and kvmclock=on|off. */
int x86_model_parse(const char *spec, struct x86_model *m, struct err *e);
/* vmxctl.c: the row of vmxctl.def with this option's name ("vmx-ept"), counted from 0; -1: none. */
int vmx_option_find(const char *name, size_t n);
/* Refuses (-EINVAL) a request for rows, a bit each, of which one lacks a row that it builds on, or the model's feature. */
int vmx_options_check(const struct x86_model *m, const u64 on[2], struct err *e);
/* Names of all models, NULL-terminated. */
const char *const *x86_model_names(void);

/* models.c: the named models. false: no such name. `host` takes what the host's CPUID tells. Features that the host's units cannot
 * run are still in the set; x86_model_parse takes them out. */
bool x86_model_named(const char *name, struct x86_model *m);
/* Whether the host's CPUID has the feature's bit and, where registers need it, its XCR0 too. */
bool x86_host_has(enum x86_feature f);

/* EFER bits that the model defines. APM vol. 2 3.1.7 "Extended Feature Enable Register (EFER)". */
u64 x86_model_efer(const struct x86_model *m);
/* XCR0 bits that the model supports. */
u64 x86_model_xcr0(const struct x86_model *m);

/* What CPUID depends on besides the model. */
struct x86_cpuid_env {
	u32 apic_id;
	u32 vcpus;
	u64 cr4, xcr0, xss;
	bool no_monitor; /* IA32_MISC_ENABLE switches MONITOR off */
	bool no_apic;    /* IA32_APIC_BASE switches the local APIC off */
};
/* out: EAX, EBX, ECX, EDX. Leaves beyond the maximum answer as the vendor's manual says. */
void x86_cpuid(const struct x86_model *m, u32 leaf, u32 subleaf, const struct x86_cpuid_env *env, u32 out[4]);

#endif
