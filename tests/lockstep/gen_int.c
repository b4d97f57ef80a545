/*
 * Integer instructions: every mnemonic of insn_int.def that is marked I_USER, with all operand forms that 64-bit code
 * can encode.
 *
 * Left out are forms that end more than an instruction (segment loads, far transfers); RDSSP depends on the host's
 * shadow stacks.
 */
#include <string.h>

#include "arch/x86/insn.h"
#include "cpu/x86/isa.h"
#include "tests/lockstep/lockstep.h"

static const u8 is_integer[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define INSN(mnemonic, family, flags, exit) [ZYDIS_MNEMONIC_##mnemonic] = !!((flags)&I_USER),
#include "arch/x86/insn_int.def"
#undef INSN
};

static bool wanted(struct ls *ls, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	if (!is_integer[zi->mnemonic] || zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
	    !isa_allowed(&ls->model, zi) || ls_loads_segment(zi, op))
		return false;
	for (unsigned i = 0; i < zi->operand_count_visible; i++)
		if (op[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    (ZydisRegisterGetClass(op[i].reg.value) == ZYDIS_REGCLASS_CONTROL ||
		     ZydisRegisterGetClass(op[i].reg.value) == ZYDIS_REGCLASS_DEBUG))
			return false;
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_RDSSPD:
	case ZYDIS_MNEMONIC_RDSSPQ: return false;
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_CMPSD: return zi->meta.category == ZYDIS_CATEGORY_STRINGOP;
	default: return true;
	}
}

static void string_case(struct ls *ls, struct ls_case *c)
{
	const unsigned size = c->zi.operand_width / 8;
	u64 address_mask = !ls->code32 && c->zi.address_width == 32 && ls_chance(ls, 50) ? ls_random(ls) << 32 : 0;
	u64 from = ls_address(ls, size), to = ls_chance(ls, 20) ? from + ls_below(ls, 32) - 16 : ls_address(ls, size);

	const u64 source = from;

	/* Which of two faults is reported is not defined. */
	if ((from - LS_DATA >= LS_DATA_SIZE - 4096 ||
	     (c->zi.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS))) &&
	    to - LS_DATA >= LS_DATA_SIZE - 4096)
		to = LS_DATA + 8192;

	c->repeats = c->zi.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
	if (c->zi.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS)) {
		struct x86_seg *seg = &c->st.seg[c->zi.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS ? FS : GS];

		if (c->zi.address_width != 64)
			seg->base &= 0x0fffffff;
		from -= seg->base;
	}
	c->st.gpr[RSI] = from | address_mask;
	c->st.gpr[RDI] = to | address_mask;
	if (ls_chance(ls, 90))
		c->st.gpr[RCX] = (ls_chance(ls, 5) ? ls_below(ls, 600) : ls_below(ls, 24)) | address_mask;
	else
		c->st.gpr[RCX] = ls_below(ls, 5000);
	if (ls_chance(ls, 25))
		c->st.rflags |= FL_DF;
	ls_fill(ls, source - 64, 192);
	if (ls_chance(ls, 50)) {
		/* Long runs of equal elements for CMPS and SCAS. */
		u8 same[192];

		memset(same, (int)ls_random(ls), sizeof(same));
		ls_poke(ls, source - 32, same, 64 + (unsigned)ls_below(ls, 100));
		ls_poke(ls, to - 32, same, 64 + (unsigned)ls_below(ls, 100));
		c->st.gpr[RAX] = same[0] * 0x0101010101010101ull;
	}
}

/* A bit string's index in a register: reaches some pages in either direction. */
static void bit_string(struct ls *ls, struct ls_case *c, u64 la)
{
	unsigned index = c->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER ? ls_gpr(c->op[1].reg.value) : 16;

	if (index == 16 || index == ls_gpr(c->op[0].mem.base) || index == ls_gpr(c->op[0].mem.index))
		return;
	c->st.gpr[index] = ls_chance(ls, 80) ? ls_below(ls, 16384) - 8192 : ls_value(ls);
}

static void divisible(struct ls *ls, struct ls_case *c)
{
	unsigned reg = c->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER ? ls_gpr(c->op[0].reg.value) : 16;

	switch (ls_below(ls, 5)) {
	case 0: c->st.gpr[RDX] = 0; break;
	case 1: c->st.gpr[RDX] = (s64)c->st.gpr[RAX] >> 63; break;
	case 2: c->st.gpr[RDX] = ls_below(ls, 16); break;
	case 3: c->st.gpr[RDX] = -ls_below(ls, 16); break;
	}
	if (c->zi.operand_width == 8 && ls_chance(ls, 70))
		c->st.gpr[RAX] = ls_chance(ls, 50) ? ls_below(ls, 4096) : -ls_below(ls, 4096);
	if (reg < 16 && reg != RDX && reg != RAX && ls_chance(ls, 30))
		c->st.gpr[reg] = ls_value(ls) | 1;
}

static bool has_repeat_prefix(const ZydisDecodedInstruction *zi)
{
	for (unsigned i = 0; i < zi->raw.prefix_count; i++)
		if (zi->raw.prefixes[i].value == 0xf2 || zi->raw.prefixes[i].value == 0xf3)
			return true;
	return false;
}

/* What else a mnemonic needs to do something worth comparing. `la`: its memory operand, or 0. */
static bool adjust(struct ls *ls, struct ls_case *c, u64 la)
{
	u64 rsp = c->st.gpr[RSP], v;

	switch (c->zi.mnemonic) {
	case ZYDIS_MNEMONIC_XLAT: c->st.gpr[RBX] = ls_address(ls, 1) - (u8)c->st.gpr[RAX]; break;
	case ZYDIS_MNEMONIC_CLZERO: c->st.gpr[RAX] = ls_address(ls, 64); break;
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		if (la)
			bit_string(ls, c, la);
		break;
	case ZYDIS_MNEMONIC_CMPXCHG:
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		if (la && ls_chance(ls, 50)) {
			unsigned half = c->zi.mnemonic == ZYDIS_MNEMONIC_CMPXCHG ? 8 : c->zi.operand_width / 8;

			ls_poke(ls, la, &c->st.gpr[RAX], half);
			ls_poke(ls, la + half, &c->st.gpr[RDX], half);
		}
		break;
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV: divisible(ls, c); break;
	case ZYDIS_MNEMONIC_ENTER:
		c->st.gpr[RBP] = ls_chance(ls, 80) ? LS_DATA + 2048 + ls_below(ls, 8192) : ls_address(ls, 8);
		break;
	case ZYDIS_MNEMONIC_LEAVE: c->st.gpr[RBP] = ls_address(ls, 8); break;
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
		/* NT, ID and AC do not come back through a signal frame. */
		v = ls_random(ls) & ~(FL_NT | FL_ID | FL_AC);
		if (c->zi.operand_width == 16)
			v &= 0xffff;
		ls_poke(ls, rsp, &v, 8);
		break;
	case ZYDIS_MNEMONIC_RET:
		v = ls_chance(ls, 70) ? ls_random(ls) >> 17 : ls_value(ls);
		ls_poke(ls, rsp, &v, 8);
		break;
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL:
		v = ls_chance(ls, 70) ? ls_random(ls) >> 17 : ls_value(ls);
		if (la)
			ls_poke(ls, la, &v, 8);
		break;
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD:
		if (!la && ls_chance(ls, 50))
			c->st.gpr[RCX] = ls_below(ls, 70);
		break;
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
		/* Reserved with other than string instructions (SDM vol. 2 2.1.1); AMD's LOOPcc take them for the
		 * condition. */
		if (has_repeat_prefix(&c->zi))
			return false;
		/* fall through */
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		if (ls_chance(ls, 50))
			c->st.gpr[RCX] = ls_below(ls, 3) | (!ls->code32 && ls_chance(ls, 30) ? ls_random(ls) << 32 : 0);
		break;
	default: break;
	}
	return true;
}

bool ls_pick_int(struct ls *ls, struct ls_case *c)
{
	struct ls_templates *t = ls_templates_of(ls, LS_T_INT, wanted);

	return t && ls_templates_pick(ls, t, c) && wanted(ls, &c->zi, c->op);
}

static bool make(struct ls *ls, struct ls_case *c)
{
	u64 la = 0;

	c->repeats = false;
	if (!ls_pick_int(ls, c))
		return false;
	ls_begin(ls, c);
	if (c->zi.meta.category == ZYDIS_CATEGORY_STRINGOP) {
		if (c->zi.address_width == 16)
			return false; /* nothing is mapped there: both operands would fault */
		string_case(ls, c);
		return true;
	}
	for (unsigned i = 0; i < c->zi.operand_count_visible && !la; i++)
		if (c->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && c->op[i].mem.type == ZYDIS_MEMOP_TYPE_MEM)
			la = ls_place(ls, c, &c->op[i], 0);
	return adjust(ls, c, la);
}

/*
 * A POPA that faults may have loaded some registers already. The manuals (SDM vol. 2, POPA) say nothing of it, and it
 * is harmless: RSP has not moved, so that the instruction loads them again when it is restarted.
 */
void ls_mask_int(const struct ls_case *c, struct ls_result *host, struct ls_result *soft)
{
	if ((c->zi.mnemonic == ZYDIS_MNEMONIC_POPA || c->zi.mnemonic == ZYDIS_MNEMONIC_POPAD) && host->faulted &&
	    soft->faulted)
		for (unsigned i = 0; i < 8; i++)
			if (i != RSP)
				soft->gpr[i] = host->gpr[i];
}

const struct ls_class ls_class_int = {.name = "int", .share = 30, .make = make};
const struct ls_class ls_class_int32 = {.name = "int32", .share = 8, .code32 = true, .make = make, .mask = ls_mask_int};
