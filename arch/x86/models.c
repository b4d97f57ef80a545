/*
 * The named CPU models, and what the host's own processor has.
 *
 * A model's features are a chain of sets: each generation adds to the one before. Names follow QEMU's, features are
 * those of the silicon of that name as far as rows of features.def exist, plus what a virtual machine always wants:
 * x2APIC, the TSC deadline timer, an invariant TSC, a local APIC timer that never stops, and immunity to what
 * speculating processors suffer from.
 */
#include <cpuid.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "arch/x86/model.h"

#define END	X86_FEATURES
#define F(name) X86F_##name

static const u16 always[] = {F(X2APIC), F(TSC_DEADLINE), F(TSC_ADJUST), F(HYPERVISOR), F(ARAT), F(INVTSC), END};

/* The software processor runs no guest instruction ahead of its turn: no guest branch, return or load is predicted, and
 * nothing of one guest stays in a buffer for another. So it says, and kernels leave out what they would do against it.
 */
static const u16 immune_amd[] = {F(AUTOIBRS), F(SSB_NO), F(BTC_NO), F(SRSO_NO), F(TSA_SQ_NO), F(TSA_L1_NO), END};
static const u16 immune_intel[] = {F(ARCH_CAPABILITIES), F(BHI_CTRL), END};

static const u16 common[] = {
	F(VME),	    F(MONITOR), F(FPU),	     F(DE),	F(PSE),	   F(TSC),    F(MSR),	  F(PAE),	F(MCE),
	F(CX8),	    F(APIC),	F(SEP),	     F(MTRR),	F(PGE),	   F(MCA),    F(CMOV),	  F(PAT),	F(PSE36),
	F(CLFLUSH), F(MMX),	F(FXSR),     F(SSE),	F(SSE2),   F(HT),     F(SSE3),	  F(PCLMULQDQ), F(SSSE3),
	F(FMA),	    F(CX16),	F(SSE4_1),   F(SSE4_2), F(MOVBE),  F(POPCNT), F(AES),	  F(XSAVE),	F(AVX),
	F(F16C),    F(RDRAND),	F(FSGSBASE), F(BMI1),	F(AVX2),   F(SMEP),   F(BMI2),	  F(XSAVEOPT),	F(XGETBV1),
	F(LAHF_LM), F(ABM),	F(SYSCALL),  F(NX),	F(RDTSCP), F(LM),     F(PDPE1GB), END,
};

static const u16 epyc[] = {
	F(RDSEED),	  F(ADX),	 F(SMAP),      F(CLFLUSHOPT),  F(SHA_NI),      F(XSAVEC),
	F(XSAVES),	  F(CMP_LEGACY), F(SVM),       F(SSE4A),       F(PREFETCHW),   F(OSVW),
	F(TOPOEXT),	  F(MMXEXT),	 F(SVM_NPT),   F(NRIP_SAVE),   F(VMCB_CLEAN),  F(FLUSHBYASID),
	F(DECODEASSISTS), F(LBRV),	 F(TSC_SCALE), F(PAUSEFILTER), F(PFTHRESHOLD), F(V_VMSAVE_VMLOAD),
	F(VGIF),	  F(AVIC),	 END,
};
static const u16 epyc_rome[] = {F(UMIP), F(RDPID), F(CLWB), F(WBNOINVD), END};
static const u16 epyc_milan[] = {
	F(ERMS), F(FSRM), F(PCID), F(INVPCID), F(VAES), F(VPCLMULQDQ), F(LFENCE_RDTSC), F(NULL_SEL_CLR_BASE),
	F(PKU),	 END,
};

static const u16 haswell[] = {F(ERMS), F(PCID), F(INVPCID), F(VMX), F(SPEC_CTRL), END};
static const u16 skylake[] = {F(RDSEED), F(ADX), F(SMAP), F(CLFLUSHOPT), F(PREFETCHW), F(XSAVEC), F(XSAVES), END};
static const u16 cascadelake[] = {
	F(CLWB), F(AVX512F), F(AVX512DQ), F(AVX512CD), F(AVX512BW), F(AVX512VL), F(AVX512_VNNI), F(PKU), END,
};

static const struct model_row {
	const char *name;
	enum x86_vendor vendor;
	u32 signature;
	const char *brand;
	const u16 *sets[5];
} rows[] = {
	{"EPYC", X86_AMD, 0x00800f12, "AMD EPYC Processor", {common, epyc}},
	{"EPYC-Rome", X86_AMD, 0x00830f10, "AMD EPYC-Rome Processor", {common, epyc, epyc_rome}},
	{"EPYC-Milan", X86_AMD, 0x00a00f11, "AMD EPYC-Milan Processor", {common, epyc, epyc_rome, epyc_milan}},
	{"Haswell-noTSX-IBRS", X86_INTEL, 0x000306c1, "Intel Core Processor (Haswell, no TSX)", {common, haswell}},
	{"Skylake-Client", X86_INTEL, 0x000506e3, "Intel Core Processor (Skylake)", {common, haswell, skylake}},
	{"Cascadelake-Server",
	 X86_INTEL,
	 0x00050656,
	 "Intel Xeon Processor (Cascadelake)",
	 {common, haswell, skylake, cascadelake}},
};

#define PHYS_BITS 40
#define VIRT_BITS 48

static void host_leaf(u32 leaf, u32 sub, u32 out[4])
{
	u32 max;

	__cpuid(leaf & 0x80000000u, max, out[1], out[2], out[3]);
	if (leaf > max) {
		memset(out, 0, 4 * sizeof(out[0]));
		return;
	}
	__cpuid_count(leaf, sub, out[0], out[1], out[2], out[3]);
}

/* The host's XCR0; 0 when its system does not use XSAVE. */
static u64 host_xcr0(void)
{
	u32 r[4], lo, hi;

	host_leaf(1, 0, r);
	if (!(r[2] & BIT(27)))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo | (u64)hi << 32;
}

/* Registers that the host's system must have enabled. */
static u64 feature_xcr0(enum x86_feature f)
{
	switch (f) {
	case F(AVX):
	case F(FMA):
	case F(F16C):
	case F(AVX2):
	case F(VAES):
	case F(VPCLMULQDQ):
	case F(AVX_VNNI): return XCR0_SSE | XCR0_AVX;
	default: break;
	}
	if (strncmp(x86_feature_rows[f].name, "AVX512", 6) == 0)
		return XCR0_SSE | XCR0_AVX | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
	return 0;
}

bool x86_host_has(enum x86_feature f)
{
	const struct x86_feature_row *row = &x86_feature_rows[f];
	u64 need = feature_xcr0(f);
	u32 r[4];

	if (row->leaf == 7 && row->sub) {
		host_leaf(7, 0, r);
		if (r[0] < row->sub)
			return false;
	}
	host_leaf(row->leaf, row->sub, r);
	return (r[row->reg] >> row->bit & 1) && (!need || (host_xcr0() & need) == need);
}

static void add_set(struct x86_model *m, const u16 *set)
{
	for (; *set != END; set++)
		x86_set_feature(m, *set, true);
}

static bool host_is_amd(void)
{
	u32 r[4];

	host_leaf(0, 0, r);
	return (r[1] == 0x68747541 && r[3] == 0x69746e65 && r[2] == 0x444d4163) || /* AuthenticAMD */
	       (r[1] == 0x6f677948);						   /* HygonGenuine */
}

static void model_host(struct x86_model *m)
{
	u32 r[4];

	strcpy(m->name, "host");
	m->vendor = host_is_amd() ? X86_AMD : X86_INTEL;
	host_leaf(1, 0, r);
	m->signature = r[0];
	for (unsigned i = 0; i < 3; i++) {
		host_leaf(0x80000002 + i, 0, r);
		memcpy(m->brand + 16 * i, r, 16);
	}
	for (unsigned f = 0; f < X86_FEATURES; f++)
		if (x86_feature_rows[f].need != NEED_ABSENT && x86_host_has(f))
			x86_set_feature(m, f, true);
	/* What the host itself may be denied by the hypervisor above it, but we have. */
	if (m->vendor == X86_AMD)
		add_set(m, (const u16[]){F(SVM), F(SVM_NPT), F(NRIP_SAVE), F(VMCB_CLEAN), F(FLUSHBYASID),
					 F(DECODEASSISTS), F(LBRV), F(TSC_SCALE), F(PAUSEFILTER), F(PFTHRESHOLD),
					 F(V_VMSAVE_VMLOAD), F(VGIF), F(AVIC), END});
	else
		x86_set_feature(m, F(VMX), true);
}

static bool model_row(const char *name, struct x86_model *m)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strcasecmp(rows[i].name, name) != 0)
			continue;
		strncpy(m->name, rows[i].name, sizeof(m->name) - 1);
		strncpy(m->brand, rows[i].brand, sizeof(m->brand) - 1);
		m->vendor = rows[i].vendor;
		m->signature = rows[i].signature;
		for (unsigned k = 0; rows[i].sets[k]; k++)
			add_set(m, rows[i].sets[k]);
		return true;
	}
	return false;
}

bool x86_model_named(const char *name, struct x86_model *m)
{
	memset(m, 0, sizeof(*m));
	m->phys_bits = PHYS_BITS;
	m->virt_bits = VIRT_BITS;
	m->kvm_clock = true;
	add_set(m, always);
	if (strcasecmp(name, "host") == 0)
		model_host(m);
	else if (!model_row(name, m))
		return false;
	add_set(m, m->vendor == X86_AMD ? immune_amd : immune_intel);
	return true;
}

const char *const *x86_model_names(void)
{
	static const char *const names[] = {
		"host", "EPYC", "EPYC-Rome", "EPYC-Milan", "Haswell-noTSX-IBRS", "Skylake-Client", "Cascadelake-Server",
		NULL,
	};

	return names;
}
