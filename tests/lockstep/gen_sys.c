/*
 * Instructions of the system as a program meets them: the privileged ones, SVM's and VMX's, and port I/O, all of which
 * must fault the same way; FS's and GS's bases; what tells of the processor (RDPID, RDTSCP).
 *
 * Not compared are the numbers that RDTSC, RDTSCP, RDRAND and RDSEED give. The rest of what is left out is in
 * ls_harmless: it enters the host's system, or is answered by it.
 */
#include "arch/x86/insn.h"
#include "cpu/x86/isa.h"
#include "tests/lockstep/lockstep.h"

static const u8 is_system[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define INSN(mnemonic, family, flags, exit) [ZYDIS_MNEMONIC_##mnemonic] = !((flags)&I_USER),
#include "arch/x86/insn.def"
#undef INSN
};

static bool names_system_register(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	for (unsigned i = 0; i < zi->operand_count_visible; i++)
		if (op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (ZydisRegisterGetClass(op[i].reg.value) == ZYDIS_REGCLASS_CONTROL ||
		     ZydisRegisterGetClass(op[i].reg.value) == ZYDIS_REGCLASS_DEBUG))
			return true;
	return false;
}

bool ls_harmless(const struct ls *ls, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR || ls_loads_segment(zi, op))
		return false;
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_INT: /* gates of the host's IDT */
	case ZYDIS_MNEMONIC_INT1:
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_SYSENTER:
	case ZYDIS_MNEMONIC_VMMCALL: /* the host's hypervisor answers */
	case ZYDIS_MNEMONIC_VMCALL:
	case ZYDIS_MNEMONIC_CPUID: /* a model's are its own */
	case ZYDIS_MNEMONIC_SGDT:  /* with UMIP the host's system answers */
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_STR:
	case ZYDIS_MNEMONIC_SMSW:
	case ZYDIS_MNEMONIC_LAR: /* the host's descriptors */
	case ZYDIS_MNEMONIC_LSL:
	case ZYDIS_MNEMONIC_VERR:
	case ZYDIS_MNEMONIC_VERW:
	case ZYDIS_MNEMONIC_LDS:
	case ZYDIS_MNEMONIC_LES:
	case ZYDIS_MNEMONIC_LFS:
	case ZYDIS_MNEMONIC_LGS:
	case ZYDIS_MNEMONIC_LSS:
	case ZYDIS_MNEMONIC_RDSSPD: /* the host's shadow stack */
	case ZYDIS_MNEMONIC_RDSSPQ:
	case ZYDIS_MNEMONIC_PVALIDATE: /* the silicon may have them unseen: no model offers them */
	case ZYDIS_MNEMONIC_MONITORX:
	case ZYDIS_MNEMONIC_MWAITX:
	case ZYDIS_MNEMONIC_RDPRU:
	case ZYDIS_MNEMONIC_MCOMMIT:
	case ZYDIS_MNEMONIC_RMPADJUST:
	case ZYDIS_MNEMONIC_RMPUPDATE:
	case ZYDIS_MNEMONIC_PSMASH:
	case ZYDIS_MNEMONIC_INVLPGB:
	case ZYDIS_MNEMONIC_TLBSYNC: return false;
	case ZYDIS_MNEMONIC_RDFSBASE:
	case ZYDIS_MNEMONIC_RDGSBASE:
	case ZYDIS_MNEMONIC_WRFSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE: return ls->bases;
	default: return true;
	}
}

static bool wanted(struct ls *ls, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	if (!isa_allowed(&ls->model, zi) || !ls_harmless(ls, zi, op))
		return false;
	return is_system[zi->mnemonic] || names_system_register(zi, op);
}

static bool make(struct ls *ls, struct ls_case *c)
{
	struct ls_templates *t = ls_templates_of(ls, LS_T_SYS, wanted);
	unsigned reg;

	if (!t || !ls_templates_pick(ls, t, c) || !wanted(ls, &c->zi, c->op))
		return false;
	ls_begin(ls, c);
	for (unsigned i = 0; i < c->zi.operand_count_visible; i++)
		if (c->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && c->op[i].mem.type == ZYDIS_MEMOP_TYPE_MEM)
			ls_place(ls, c, &c->op[i], 0);
	switch (c->zi.mnemonic) {
	case ZYDIS_MNEMONIC_WRFSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE:
		reg = ls_gpr(c->op[0].reg.value);
		if (ls_chance(ls, 80) && reg != RSP)
			c->st.gpr[reg] = sign_extend(c->st.gpr[reg], 47);
		break;
	case ZYDIS_MNEMONIC_RDPMC: c->st.gpr[RCX] = ls_below(ls, 8); break;
	default: break;
	}
	return true;
}

static void take(u64 *soft, u64 host, unsigned bits) { *soft = (*soft & ~MASK(bits)) | (host & MASK(bits)); }

static void mask(const struct ls_case *c, struct ls_result *host, struct ls_result *soft)
{
	if (host->faulted || soft->faulted)
		return;
	switch (c->zi.mnemonic) {
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDTSCP:
		take(&soft->gpr[RAX], host->gpr[RAX], 32);
		take(&soft->gpr[RDX], host->gpr[RDX], 32);
		break;
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
		if (!(host->rflags & FL_CF))
			soft->rflags = host->rflags; /* it had nothing to give */
		take(&soft->gpr[ls_gpr(c->op[0].reg.value)], host->gpr[ls_gpr(c->op[0].reg.value)], c->op[0].size);
		break;
	default: break;
	}
}

const struct ls_class ls_class_sys = {.name = "sys", .share = 1, .pinned = true, .make = make, .mask = mask};
const struct ls_class ls_class_sys32 = {
	.name = "sys32", .share = 1, .code32 = true, .pinned = true, .make = make, .mask = mask};
