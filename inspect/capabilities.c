/* Rows of vmxcap.def beside the values of a host. */
#include "inspect/capabilities.h"

#include <errno.h>
#include <string.h>

enum set {
	SET_PIN = VMX_PIN,
	SET_PROC = VMX_PROC,
	SET_PROC2 = VMX_PROC2,
	SET_EXIT = VMX_EXIT,
	SET_ENTRY = VMX_ENTRY,
	SET_PROC3 = VMX_WORDS,
	SET_BASIC,
	SET_MISC,
	SET_EPT_VPID,
	SET_VMFUNC,
	SET_FEATURE_CONTROL,
	SET_VM_CR,
	SET_SVM
};

static const struct cap {
	u8 set, bit;
	const char *text;
} caps[] = {
#define CAPBIT(set, bit, text) {SET_##set, bit, text},
#include "arch/x86/vmxcap.def"
#undef CAPBIT
};

static const struct {
	u8 set, bit;
	const char *name;
} names[] = {
#define CTL(word, bit, name, kind, feature, option) {VMX_##word, bit, option},
#define CAP(msr, bit, option)			    {SET_##msr, bit, option},
#include "arch/x86/vmxctl.def"
#undef CAP
#undef CTL
};

/* Our name for the bit, "-": none. */
static const char *name_of(const struct cap *c)
{
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].set == c->set && names[i].bit == c->bit)
			return names[i].name;
	for (unsigned f = 0; c->set == SET_SVM && f < X86_FEATURES; f++)
		if (x86_feature_rows[f].leaf == 0x8000000a && x86_feature_rows[f].reg == CPUID_EDX &&
		    x86_feature_rows[f].bit == c->bit)
			return x86_feature_rows[f].name;
	return "-";
}

const char *capability_control_text(enum vmx_word word, unsigned bit)
{
	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++)
		if (caps[i].set == (u8)word && caps[i].bit == bit)
			return caps[i].text;
	return NULL;
}

static void print_bits(FILE *out, enum set set, u64 value)
{
	u64 known = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++) {
		if (caps[i].set != set)
			continue;
		known |= BIT(caps[i].bit);
		fprintf(out, "  bit %2u  %-3s  %-34s %s\n", caps[i].bit, value & BIT(caps[i].bit) ? "yes" : "no",
			name_of(&caps[i]), caps[i].text);
	}
	if (set == SET_SVM && value & ~known)
		fprintf(out, "  bits without a name: 0x%llx\n", (unsigned long long)(value & ~known));
}

/* Low half: bits that must be 1; high half: bits that may be 1 (appendix A.3.1). */
static void print_controls(FILE *out, enum set set, u64 value)
{
	u32 must = (u32)value, may = (u32)(value >> 32);

	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++)
		if (caps[i].set == set)
			fprintf(out, "  bit %2u  %-8s  %-34s %s\n", caps[i].bit,
				must >> caps[i].bit & 1	 ? "always 1"
				: may >> caps[i].bit & 1 ? "0 or 1"
							 : "always 0",
				name_of(&caps[i]), caps[i].text);
}

static void print_basic(FILE *out, u64 v)
{
	fprintf(out, "  VMCS revision 0x%x, regions of %u bytes, memory type %u\n", (u32)v & 0x7fffffff,
		(u32)(v >> 32) & 0x1fff, (u32)(v >> 50) & 15);
	print_bits(out, SET_BASIC, v);
}

static void print_misc(FILE *out, u64 v)
{
	fprintf(out, "  preemption timer: TSC / 2^%u; %u CR3 targets; MSR lists of up to %u\n", (u32)v & 31,
		(u32)(v >> 16) & 511, 512 * (((u32)(v >> 25) & 7) + 1));
	print_bits(out, SET_MISC, v);
}

static const struct {
	u32 msr;
	const char *name;
	enum { RAW, BITS, CONTROLS, BASIC, MISC } kind;
	u8 set;
} registers[] = {
	{0x3a, "IA32_FEATURE_CONTROL", BITS, SET_FEATURE_CONTROL},
	{0x480, "IA32_VMX_BASIC", BASIC, SET_BASIC},
	{0x481, "IA32_VMX_PINBASED_CTLS", RAW, SET_PIN},
	{0x482, "IA32_VMX_PROCBASED_CTLS", RAW, SET_PROC},
	{0x483, "IA32_VMX_EXIT_CTLS", RAW, SET_EXIT},
	{0x484, "IA32_VMX_ENTRY_CTLS", RAW, SET_ENTRY},
	{0x485, "IA32_VMX_MISC", MISC, SET_MISC},
	{0x486, "IA32_VMX_CR0_FIXED0", RAW, 0},
	{0x487, "IA32_VMX_CR0_FIXED1", RAW, 0},
	{0x488, "IA32_VMX_CR4_FIXED0", RAW, 0},
	{0x489, "IA32_VMX_CR4_FIXED1", RAW, 0},
	{0x48a, "IA32_VMX_VMCS_ENUM", RAW, 0},
	{0x48d, "IA32_VMX_TRUE_PINBASED_CTLS", CONTROLS, SET_PIN},
	{0x48e, "IA32_VMX_TRUE_PROCBASED_CTLS", CONTROLS, SET_PROC},
	{0x48b, "IA32_VMX_PROCBASED_CTLS2", CONTROLS, SET_PROC2},
	{0x492, "IA32_VMX_PROCBASED_CTLS3", BITS, SET_PROC3},
	{0x48f, "IA32_VMX_TRUE_EXIT_CTLS", CONTROLS, SET_EXIT},
	{0x490, "IA32_VMX_TRUE_ENTRY_CTLS", CONTROLS, SET_ENTRY},
	{0x48c, "IA32_VMX_EPT_VPID_CAP", BITS, SET_EPT_VPID},
	{0x491, "IA32_VMX_VMFUNC", BITS, SET_VMFUNC},
};

static const char *why_not(int rc)
{
	switch (rc) {
	case -ENOENT: return "there is no /dev/cpu/0/msr (modprobe msr)";
	case -EACCES:
	case -EPERM: return "only root may read it";
	case -EIO: return "the processor does not have it";
	default: return strerror(-rc);
	}
}

static void print_register(struct host *h, unsigned i, FILE *out)
{
	u64 v;
	int rc = host_msr(h, registers[i].msr, &v);

	/* Without TRUE registers the plain ones say it (appendix A.2). */
	if (rc == -EIO && registers[i].kind == CONTROLS && registers[i].msr >= 0x48d)
		rc = host_msr(h, registers[i].msr - 0x48d + 0x481, &v);
	if (rc) {
		fprintf(out, "%s (0x%x): cannot be read: %s\n", registers[i].name, registers[i].msr, why_not(rc));
		return;
	}
	fprintf(out, "%s (0x%x): 0x%016llx\n", registers[i].name, registers[i].msr, (unsigned long long)v);
	switch (registers[i].kind) {
	case RAW: break;
	case BITS: print_bits(out, registers[i].set, v); break;
	case CONTROLS: print_controls(out, registers[i].set, v); break;
	case BASIC: print_basic(out, v); break;
	case MISC: print_misc(out, v); break;
	}
}

static void print_svm(struct host *h, FILE *out)
{
	u32 r[4];
	u64 v;
	int rc;

	fputs("SVM (AMD)\n\n", out);
	if (!host_cpuid(h, 0x8000000a, 0, r))
		fputs("CPUID leaf 8000000Ah is not there\n", out);
	else {
		fprintf(out, "CPUID 8000000Ah: revision %u, %u ASIDs, EDX 0x%08x\n", r[0] & 0xff, r[1], r[3]);
		print_bits(out, SET_SVM, r[3]);
	}
	rc = host_msr(h, 0xc0010114, &v);
	if (rc) {
		fprintf(out, "VM_CR (0xc0010114): cannot be read: %s\n", why_not(rc));
	} else {
		fprintf(out, "VM_CR (0xc0010114): 0x%016llx\n", (unsigned long long)v);
		print_bits(out, SET_VM_CR, v);
	}
}

void capabilities_print(struct host *h, FILE *out)
{
	u32 r[4];
	bool vmx = host_cpuid(h, 1, 0, r) && (r[2] & BIT(5)), svm;
	u64 v;

	svm = host_cpuid(h, 0x80000001, 0, r) && (r[2] & BIT(2));
	fprintf(out, "CPUID says: VMX %s, SVM %s\n\n", vmx ? "yes" : "no", svm ? "yes" : "no");
	if (svm)
		print_svm(h, out);
	/* The kernel takes VMX out of its own list where the firmware locked it off: the MSR tells. */
	if (vmx || !host_msr(h, 0x3a, &v)) {
		fputs("VMX (Intel)\n\n", out);
		for (unsigned i = 0; i < ARRAY_SIZE(registers); i++)
			if (vmx || registers[i].msr == 0x3a)
				print_register(h, i, out);
	}
}

int capabilities_print_msrs(struct host *h, FILE *out)
{
	static const u32 more[] = {0xc0010114};
	bool any = false;
	int first = 0;
	u32 r[4];
	bool vmx = host_cpuid(h, 1, 0, r) && (r[2] & BIT(5)), svm = host_cpuid(h, 0x80000001, 0, r) && (r[2] & BIT(2));

	for (unsigned i = 0; i < ARRAY_SIZE(registers) + ARRAY_SIZE(more); i++) {
		u32 msr = i < ARRAY_SIZE(registers) ? registers[i].msr : more[i - ARRAY_SIZE(registers)];
		u64 v;
		int rc;

		if (i < ARRAY_SIZE(registers) ? !vmx && msr != 0x3a : !svm)
			continue;
		rc = host_msr(h, msr, &v);
		if (!rc)
			fprintf(out, "0x%08x 0x%016llx\n", msr, (unsigned long long)v);
		else if (rc == -EIO)
			fprintf(out, "0x%08x EIO\n", msr);
		else if (!first)
			first = rc;
		any |= !rc || rc == -EIO;
	}
	return any ? 0 : first ? first : -ENODEV;
}
