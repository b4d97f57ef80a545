/*
 * CPUID as a function of the model: the leaves that are not feature words, and the assembly of those that are.
 * SDM vol. 2 "CPUID"; APM vol. 3 appendix E. Leaves 40000000h to 400000FFh are nestbox's own, 40000100h the
 * KVM-compatible clock.
 *
 * Caches and TLBs are described as small, plain ones of the vendor: they exist for software that insists on reading
 * them.
 */
#include <string.h>

#include "arch/x86/model.h"
#include "arch/x86/xsave.h"

enum { A, B, C, D };

#define HYPERVISOR_BASE 0x40000000u
#define HYPERVISOR_MAX	0x40000010u
#define CLOCK_BASE	0x40000100u
#define CLOCK_MAX	0x40000101u
#define CLOCK_FEATURES	(BIT(3) | BIT(24)) /* CLOCKSOURCE2, CLOCKSOURCE_STABLE */
#define APIC_BUS_KHZ	1000000u	   /* the local APIC's timer clock, before its divider */
#define ASIDS		0x8000u
/* Bits of leaf 1 EDX that AMD repeats in 80000001h EDX (APM vol. 3 E.4.2). */
#define AMD_COPY 0x0183f3ffu

struct ctx {
	const struct x86_model *m;
	const struct x86_cpuid_env *env;
	u32 *r;
};

static void words(u32 *r, u32 a, u32 b, u32 c, u32 d)
{
	r[A] = a;
	r[B] = b;
	r[C] = c;
	r[D] = d;
}

static void text(u32 *r, const char *s12)
{
	memcpy(&r[B], s12, 4);
	memcpy(&r[C], s12 + 4, 4);
	memcpy(&r[D], s12 + 8, 4);
}

/* ORs in all feature bits that live in this leaf. */
static void features(const struct ctx *c, u32 leaf, u32 sub)
{
	for (unsigned f = 0; f < X86_FEATURES; f++) {
		const struct x86_feature_row *row = &x86_feature_rows[f];

		if (row->leaf == leaf && row->sub == sub && x86_has(c->m, f))
			c->r[row->reg] |= 1u << row->bit;
	}
}

static bool any_feature(const struct x86_model *m, u32 leaf, u32 sub)
{
	for (unsigned f = 0; f < X86_FEATURES; f++)
		if (x86_feature_rows[f].leaf == leaf && x86_feature_rows[f].sub == sub && x86_has(m, f))
			return true;
	return false;
}

static u32 id_bits(u32 vcpus)
{
	u32 n = 0;

	while (1u << n < vcpus)
		n++;
	return n;
}

static u32 basic_max(const struct x86_model *m) { return m->vendor == X86_INTEL ? 0x16 : 0xd; }

static u32 extended_max(const struct x86_model *m)
{
	if (m->vendor == X86_INTEL)
		return 0x80000008;
	return any_feature(m, 0x80000021, 0) ? 0x80000021 : 0x8000001e;
}

static void vendor_leaf(const struct ctx *c, u32 max)
{
	c->r[A] = max;
	/* EBX, EDX, ECX read "GenuineIntel" or "AuthenticAMD". */
	text(c->r, c->m->vendor == X86_INTEL ? "GenuntelineI" : "AuthcAMDenti");
}

static void leaf_1(const struct ctx *c)
{
	u32 vcpus = c->env->vcpus;

	c->r[A] = c->m->signature;
	c->r[B] = c->env->apic_id << 24 | MIN(vcpus, 255u) << 16 | 64 / 8 << 8;
	features(c, 1, 0);
	if (c->env->cr4 & CR4_OSXSAVE)
		c->r[C] |= 1u << 27;
	if (c->env->no_apic)
		c->r[D] &= ~(1u << 9);
	if (c->env->no_monitor)
		c->r[C] &= ~(1u << 3);
	if (vcpus < 2) {
		c->r[B] &= 0xff00ffffu;
		c->r[D] &= ~(1u << 28);
	}
}

/* Cache parameters in the form of leaf 4 and 8000001Dh: the two vendors differ only in details of EDX. */
static void cache_leaf(const struct ctx *c, u32 sub, bool amd)
{
	static const struct {
		u8 type, level, ways;
		u32 sets;
	} caches[] = {{1, 1, 8, 64}, {2, 1, 8, 64}, {3, 2, 8, 1024}, {3, 3, 16, 8192}};
	u32 shared;

	if (sub >= ARRAY_SIZE(caches))
		return;
	shared = caches[sub].level == 3 ? c->env->vcpus - 1 : 0;
	c->r[A] = caches[sub].type | caches[sub].level << 5 | 1u << 8 | shared << 14;
	if (!amd)
		c->r[A] |= MIN(c->env->vcpus - 1, 63u) << 26;
	c->r[B] = (64 - 1) | (u32)(caches[sub].ways - 1) << 22;
	c->r[C] = caches[sub].sets - 1;
	c->r[D] = caches[sub].level == 2 ? 2 : caches[sub].level == 3 ? 1 : 0;
}

static void leaf_7(const struct ctx *c, u32 sub)
{
	if (sub == 0)
		c->r[A] = any_feature(c->m, 7, 2) ? 2 : any_feature(c->m, 7, 1);
	if (sub > 2)
		return;
	features(c, 7, sub);
	if (sub == 0 && x86_has(c->m, X86F_PKU) && (c->env->cr4 & CR4_PKE))
		c->r[C] |= 1u << 4;
}

/* SDM vol. 2 "Extended Topology Enumeration Leaf": threads (one a core), then cores. */
static void leaf_b(const struct ctx *c, u32 sub)
{
	c->r[D] = c->env->apic_id;
	c->r[C] = sub & 0xff;
	if (sub == 0) {
		c->r[B] = 1;
		c->r[C] |= 1 << 8;
	} else if (sub == 1) {
		c->r[A] = id_bits(c->env->vcpus);
		c->r[B] = c->env->vcpus;
		c->r[C] |= 2 << 8;
	}
}

static void leaf_d(const struct ctx *c, u32 sub)
{
	u64 supported = x86_model_xcr0(c->m);

	if (!supported)
		return;
	if (sub == 0) {
		words(c->r, (u32)supported, xsave_standard_size(c->env->xcr0), xsave_standard_size(supported),
		      (u32)(supported >> 32));
	} else if (sub == 1) {
		features(c, 0xd, 1);
		if (x86_has(c->m, X86F_XSAVEC))
			c->r[B] = xsave_compact_size(c->env->xcr0 | c->env->xss);
	} else if (sub < XSAVE_COMPONENTS && (supported >> sub & 1)) {
		words(c->r, xsave_components[sub].size, xsave_components[sub].offset, 0, 0);
	}
}

static void basic_leaf(const struct ctx *c, u32 leaf, u32 sub)
{
	bool intel = c->m->vendor == X86_INTEL;

	switch (leaf) {
	case 0x0: vendor_leaf(c, basic_max(c->m)); return;
	case 0x1: leaf_1(c); return;
	case 0x2: /* descriptor FFh: see leaf 4; FEh: no TLB is described */
		if (intel)
			words(c->r, 0x00feff01, 0, 0, 0);
		return;
	case 0x4:
		if (intel)
			cache_leaf(c, sub, false);
		return;
	case 0x5: /* lines of 64 bytes; ECX bit 0 of MWAIT works; no C-state has sub-states to ask for */
		if (x86_has(c->m, X86F_MONITOR))
			words(c->r, 64, 64, 3, 0);
		return;
	case 0x6: features(c, 6, 0); return;
	case 0x7: leaf_7(c, sub); return;
	case 0xb: leaf_b(c, sub); return;
	case 0xd: leaf_d(c, sub); return;
	case 0x15: /* TSC = crystal * EBX / EAX; the crystal also clocks the APIC timer */
		words(c->r, APIC_BUS_KHZ, c->m->tsc_khz, APIC_BUS_KHZ * 1000, 0);
		return;
	case 0x16: words(c->r, c->m->tsc_khz / 1000, c->m->tsc_khz / 1000, 100, 0); return;
	default: return;
	}
}

static void hypervisor_leaf(const struct ctx *c, u32 leaf)
{
	switch (leaf) {
	case HYPERVISOR_BASE:
		c->r[A] = HYPERVISOR_MAX;
		text(c->r, "NestboxVirt ");
		return;
	case HYPERVISOR_MAX: words(c->r, c->m->tsc_khz, APIC_BUS_KHZ, 0, 0); return;
	case CLOCK_BASE:
		if (!c->m->kvm_clock)
			return;
		c->r[A] = CLOCK_MAX;
		text(c->r, "KVMKVMKVM\0\0");
		return;
	case CLOCK_MAX:
		if (c->m->kvm_clock)
			c->r[A] = CLOCK_FEATURES;
		return;
	default: return;
	}
}

static void extended_leaf(const struct ctx *c, u32 leaf, u32 sub)
{
	bool amd = c->m->vendor == X86_AMD;
	u32 vcpus = c->env->vcpus;

	switch (leaf) {
	case 0x80000000:
		c->r[A] = extended_max(c->m);
		if (amd)
			vendor_leaf(c, extended_max(c->m));
		return;
	case 0x80000001:
		features(c, leaf, 0);
		if (!amd)
			return;
		c->r[A] = c->m->signature;
		for (unsigned f = 0; f < X86_FEATURES; f++)
			if (x86_feature_rows[f].leaf == 1 && x86_feature_rows[f].reg == CPUID_EDX && x86_has(c->m, f))
				c->r[D] |= (1u << x86_feature_rows[f].bit) & AMD_COPY;
		if (c->env->no_apic)
			c->r[D] &= ~(1u << 9);
		if (vcpus < 2)
			c->r[C] &= ~(1u << 1); /* CmpLegacy */
		return;
	case 0x80000002:
	case 0x80000003:
	case 0x80000004: {
		char brand[48] = {0};

		memcpy(brand, c->m->brand, strnlen(c->m->brand, sizeof(brand)));
		memcpy(c->r, brand + 16 * (leaf - 0x80000002), 16);
		return;
	}
	case 0x80000005: /* L1: 32 KiB, 8 ways, 64-byte lines; TLBs of 64 entries, fully associative */
		if (amd)
			words(c->r, 0xff40ff40, 0xff40ff40, 0x20080140, 0x20080140);
		return;
	case 0x80000006: /* L2: 512 KiB, 8 ways; AMD's L3: 8 MiB, 16 ways */
		if (amd)
			words(c->r, 0x6c006400, 0x6c006400, 0x02006140, 0x00408140);
		else
			words(c->r, 0, 0, 0x02006040, 0);
		return;
	case 0x80000007: features(c, leaf, 0); return;
	case 0x80000008:
		c->r[A] = c->m->phys_bits | (u32)c->m->virt_bits << 8;
		features(c, leaf, 0);
		if (amd)
			c->r[C] = (vcpus - 1) | (vcpus > 1 ? id_bits(vcpus) << 12 : 0);
		return;
	case 0x8000000a:
		if (!x86_has(c->m, X86F_SVM))
			return;
		words(c->r, 1, ASIDS, 0, 0);
		features(c, leaf, 0);
		return;
	case 0x80000019: /* 1-GByte page TLBs */ words(c->r, 0xf040f040, 0xf0400000, 0, 0); return;
	case 0x8000001a: /* FP128, MOVU */ c->r[A] = 3; return;
	case 0x8000001d:
		if (x86_has(c->m, X86F_TOPOEXT))
			cache_leaf(c, sub, true);
		return;
	case 0x8000001e:
		if (x86_has(c->m, X86F_TOPOEXT))
			words(c->r, c->env->apic_id, c->env->apic_id & 0xff, 0, 0);
		return;
	case 0x80000021: features(c, leaf, 0); return;
	default: return;
	}
}

void x86_cpuid(const struct x86_model *m, u32 leaf, u32 subleaf, const struct x86_cpuid_env *env, u32 out[4])
{
	const struct ctx c = {m, env, out};

	words(out, 0, 0, 0, 0);
	if (leaf >> 28 == 4) {
		if (x86_has(m, X86F_HYPERVISOR))
			hypervisor_leaf(&c, leaf);
		return;
	}
	if (leaf >= 0x80000000 && leaf <= extended_max(m)) {
		extended_leaf(&c, leaf, subleaf);
		return;
	}
	if (leaf <= basic_max(m))
		basic_leaf(&c, leaf, subleaf);
	else if (m->vendor == X86_INTEL) /* SDM vol. 2 "CPUID": invalid leaves answer as the highest basic one */
		basic_leaf(&c, basic_max(m), subleaf);
}
