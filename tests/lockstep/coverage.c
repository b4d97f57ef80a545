/*
 * Coverage: the mnemonics of which the decoder knows an encoding, the CPU model has the feature and the processor a row
 * or a stub, against the instances that ran. A zero is a hole, unless the table below says why it must be.
 */
#include <stdio.h>

#include "arch/x86/insn.h"
#include "cpu/x86/isa.h"
#include "tests/lockstep/lockstep.h"

static const u8 has_row[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define INSN(mnemonic, family, flags, exit) [ZYDIS_MNEMONIC_##mnemonic] = 1,
#include "arch/x86/insn.def"
#undef INSN
};

static bool offered(struct ls *ls, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	(void)op;
	return isa_allowed(&ls->model, zi) &&
	       (has_row[zi->mnemonic] || isa_vector(zi) || zi->meta.isa_ext == ZYDIS_ISA_EXT_X87);
}

#define LISTED(m, why)                                                                                                 \
	{                                                                                                              \
		ZYDIS_MNEMONIC_##m, why                                                                                \
	}
static const char in_system[] = "enters the host's system, or leaves the code segment";
static const char descriptors[] = "reads the host's descriptor tables";
static const char emulated[] = "with UMIP the host's system answers in its place";
static const struct {
	ZydisMnemonic mnemonic;
	const char *why;
} excused[] = {
	LISTED(INT, in_system),
	LISTED(INT1, in_system),
	LISTED(IRET, in_system),
	LISTED(IRETD, in_system),
	LISTED(IRETQ, in_system),
	LISTED(SYSCALL, in_system),
	LISTED(SYSENTER, in_system),
	LISTED(VMMCALL, "the host's hypervisor answers"),
	LISTED(VMCALL, "the host's hypervisor answers"),
	LISTED(CPUID, "a model's answers are its own"),
	LISTED(SGDT, emulated),
	LISTED(SIDT, emulated),
	LISTED(SLDT, emulated),
	LISTED(STR, emulated),
	LISTED(SMSW, emulated),
	LISTED(LAR, descriptors),
	LISTED(LSL, descriptors),
	LISTED(VERR, descriptors),
	LISTED(VERW, descriptors),
	LISTED(LDS, descriptors),
	LISTED(LES, descriptors),
	LISTED(LFS, descriptors),
	LISTED(LGS, descriptors),
	LISTED(LSS, descriptors),
	LISTED(RDSSPD, "shows the host's shadow stack, where it has one"),
	LISTED(RDSSPQ, "shows the host's shadow stack, where it has one"),
};

static const char *excuse(const struct ls *ls, ZydisMnemonic m)
{
	if (!ls->bases && m >= ZYDIS_MNEMONIC_RDFSBASE && m <= ZYDIS_MNEMONIC_RDGSBASE)
		return "not allowed to programs here";
	if (!ls->bases && m >= ZYDIS_MNEMONIC_WRFSBASE && m <= ZYDIS_MNEMONIC_WRGSBASE)
		return "not allowed to programs here";
	for (unsigned i = 0; i < ARRAY_SIZE(excused); i++)
		if (excused[i].mnemonic == m)
			return excused[i].why;
	return NULL;
}

unsigned ls_coverage_show(struct ls *ls)
{
	struct ls_templates *t[2];
	unsigned n = 0, holes = 0, idle = 0;
	u64 total = 0;

	for (unsigned i = 0; i < 2; i++) {
		ls->code32 = i;
		t[i] = ls_templates_new(ls, offered);
	}
	for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE && t[0] && t[1]; m++) {
		const char *name = ZydisMnemonicGetString(m);

		if (!ls_templates_has(t[0], m) && !ls_templates_has(t[1], m))
			continue;
		n++;
		total += ls->covered[m];
		if (ls->covered[m]) {
			printf("  %-16s %llu\n", name, (unsigned long long)ls->covered[m]);
		} else if (excuse(ls, m)) {
			printf("  %-16s 0 (%s)\n", name, excuse(ls, m));
			idle++;
		} else {
			printf("  %-16s 0: HOLE\n", name);
			holes++;
		}
	}
	printf("coverage: %u mnemonics offered, %u ran (%llu instances), %u excused, %u holes\n", n, n - idle - holes,
	       (unsigned long long)total, idle, holes);
	for (unsigned i = 0; i < 2; i++)
		ls_templates_free(t[i]);
	return holes;
}
