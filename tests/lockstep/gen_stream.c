/*
 * Streams: two to eight random instructions in a row, with a forward conditional branch over some of them, a loop of a
 * few rounds around all of them, and stores into the code itself. They run as a whole, on the software processor as
 * blocks that chain as usual, and end at a UD2 or at the first fault: what goes wrong between instructions shows.
 *
 * RBX points to the data, R15 (EBP in 32-bit code) counts the rounds, RSP stays in the data: nothing else writes them.
 * Memory operands are RBX with a displacement.
 */
#include <string.h>

#include "tests/lockstep/lockstep.h"

#define PARTS_MAX 8u

struct part {
	u8 bytes[15];
	u8 len;
};

static unsigned counter(const struct ls *ls) { return ls->code32 ? RBP : 15; }

static bool writes_reserved(const struct ls *ls, const struct ls_case *c)
{
	for (unsigned i = 0; i < c->zi.operand_count; i++) {
		const ZydisDecodedOperand *o = &c->op[i];
		unsigned reg = 16;

		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER || !(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		if (ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_GPR8)
			reg = o->reg.value == ZYDIS_REGISTER_BL || o->reg.value == ZYDIS_REGISTER_BH ? RBX
			      : o->reg.value == ZYDIS_REGISTER_SPL				     ? RSP
			      : o->reg.value == ZYDIS_REGISTER_R15B				     ? 15
												     : 16;
		else
			reg = ls_gpr(o->reg.value);
		if (reg == RBX || reg == counter(ls))
			return true;
		if (reg == RSP && c->zi.mnemonic != ZYDIS_MNEMONIC_PUSH && c->zi.mnemonic != ZYDIS_MNEMONIC_POP)
			return true;
	}
	return false;
}

/* Leaves the stream, or depends on what the generators of single instructions arrange. */
static bool left_out(const struct ls_case *c)
{
	if (c->zi.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || c->zi.meta.category == ZYDIS_CATEGORY_STRINGOP)
		return true;
	if (c->zi.attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS))
		return true;
	switch (c->zi.mnemonic) {
	case ZYDIS_MNEMONIC_POPF:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
	case ZYDIS_MNEMONIC_PUSHF: /* TF is seen in one way of running only */
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_PUSHFQ:
	case ZYDIS_MNEMONIC_XLAT:
	case ZYDIS_MNEMONIC_CLZERO:
	case ZYDIS_MNEMONIC_INT3:
	case ZYDIS_MNEMONIC_INTO:
	case ZYDIS_MNEMONIC_BOUND:
	case ZYDIS_MNEMONIC_UD2:
	case ZYDIS_MNEMONIC_ENTER:
	case ZYDIS_MNEMONIC_LEAVE:
	case ZYDIS_MNEMONIC_FNSTENV: /* pointers */
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_LDMXCSR:
	case ZYDIS_MNEMONIC_VLDMXCSR:
	case ZYDIS_MNEMONIC_XGETBV: return true;
	default: return false;
	}
}

/* Makes the memory operand [RBX + displacement]. False: this form does not take it. */
static bool place(struct ls *ls, struct ls_case *c)
{
	unsigned at = c->zi.raw.modrm.offset, end = at + 1 + !!c->zi.raw.sib.offset + c->zi.raw.disp.size / 8,
		 rest = c->len - end, index = 0;
	u32 disp = (u32)ls_below(ls, 8192);
	u8 tail[8];

	for (; index < c->zi.operand_count; index++)
		if (c->op[index].type == ZYDIS_OPERAND_TYPE_MEMORY)
			break;
	if (index == c->zi.operand_count)
		return true;
	if (!at || rest > sizeof(tail) || c->op[index].mem.type != ZYDIS_MEMOP_TYPE_MEM || c->op[index].size > 512 ||
	    !c->op[index].size || at + 5 + rest > 15)
		return false;
	if (ls_chance(ls, 70))
		disp &= ~63u;
	memcpy(tail, c->bytes + end, rest);
	c->bytes[at] = (u8)(0x80 | (c->bytes[at] & 0x38) | 3);
	memcpy(c->bytes + at + 1, &disp, 4);
	memcpy(c->bytes + at + 5, tail, rest);
	if (!ls_decode(ls, c))
		return false;
	for (index = 0; index < c->zi.operand_count; index++) {
		const ZydisDecodedOperand *o = &c->op[index];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && (o->visibility != ZYDIS_OPERAND_VISIBILITY_EXPLICIT ||
							     ls_gpr(o->mem.base) != RBX || c->zi.address_width < 32))
			return c->zi.mnemonic == ZYDIS_MNEMONIC_PUSH || c->zi.mnemonic == ZYDIS_MNEMONIC_POP;
	}
	return c->len == at + 5 + rest;
}

static struct part one_part(struct ls *ls, unsigned mix)
{
	for (;;) {
		struct ls_case t = {0};
		unsigned kind = (unsigned)ls_below(ls, 100);
		struct part p = {0};

		if (!(kind < mix ? ls_pick_int : kind < mix + (100 - mix) * 3 / 4 ? ls_pick_vec : ls_pick_x87)(ls, &t))
			continue;
		if (left_out(&t) || !place(ls, &t) || left_out(&t) || writes_reserved(ls, &t))
			continue;
		memcpy(p.bytes, t.bytes, t.len);
		p.len = (u8)t.len;
		ls->per_mnemonic[t.zi.mnemonic]++;
		ls->covered[t.zi.mnemonic]++;
		return p;
	}
}

static void put(struct ls_case *c, const void *bytes, unsigned len)
{
	memcpy(c->stream + c->stream_len, bytes, len);
	c->stream_len += len;
}

/* MOV byte [RIP + …] or [disp32], imm8 that changes the code byte at `target`, an offset in the stream. */
static void put_store(struct ls *ls, struct ls_case *c, unsigned target)
{
	u8 store[7] = {0xc6, 0x05};
	u32 disp = ls->code32 ? (u32)c->rip + target : target - (c->stream_len + 7);

	memcpy(store + 2, &disp, 4);
	store[6] = (u8)ls_random(ls);
	put(c, store, sizeof(store));
}

static bool make(struct ls *ls, struct ls_case *c)
{
	unsigned n = 2 + (unsigned)ls_below(ls, PARTS_MAX - 1), mix = (unsigned)ls_below(ls, 3) * 40 + 20, from, to,
		 length = 0;
	unsigned branch = (unsigned)ls_below(ls, n), over = 1 + (unsigned)ls_below(ls, n - branch);
	bool loops = ls_chance(ls, 50), stores = ls_chance(ls, 30), early = ls_chance(ls, 50);
	u8 add[6] = {0x81, 0xc0 | RCX}, dec[3] = {0x49, 0xff, 0xcf}, ud2[2] = {0x0f, 0x0b}, jnz[6] = {0x0f, 0x85};
	struct part p[PARTS_MAX + 1];
	u32 rel;

	for (unsigned i = 0; i < n; i++)
		p[i] = one_part(ls, mix);
	c->len = 160;
	ls_begin(ls, c);
	c->rip = LS_CODE + (ls_chance(ls, 70) ? ls_below(ls, 3800) : 4096 - ls_below(ls, 128));
	ls_fill_fpu(ls, c);
	if (ls_chance(ls, 70))
		c->st.fpu.mxcsr |= 0x1f80;
	c->st.gpr[RBX] = LS_DATA + 2048;
	c->st.gpr[RSP] = LS_DATA + 12288 + 8 * ls_below(ls, 128);
	c->st.gpr[counter(ls)] = 1 + ls_below(ls, 4);
	ls_fill(ls, LS_DATA + 2048 + ls_below(ls, 8192), 256);

	/* parts … Jcc over `over` of them … [store] add ecx, imm32 [store] … dec, jnz start; ud2 */
	for (unsigned i = 0; i < n; i++) {
		if (i == branch) {
			u8 jcc[2] = {(u8)(0x70 | ls_below(ls, 16))};

			length = 0;
			for (unsigned j = i; j < i + over; j++)
				length += p[j].len;
			jcc[1] = (u8)length;
			put(c, jcc, 2);
		}
		put(c, p[i].bytes, p[i].len);
	}
	if (stores) {
		from = c->stream_len + (early ? 7 : 0);
		if (early)
			put_store(ls, c, from + 2 + (unsigned)ls_below(ls, 4));
		rel = (u32)ls_random(ls);
		memcpy(add + 2, &rel, 4);
		put(c, add, sizeof(add));
		if (!early)
			put_store(ls, c, from + 2 + (unsigned)ls_below(ls, 4));
	}
	if (loops) {
		if (ls->code32)
			put(c, "\x4d", 1); /* dec ebp */
		else
			put(c, dec, sizeof(dec));
		to = c->stream_len + 6;
		rel = -to;
		memcpy(jnz + 2, &rel, 4);
		put(c, jnz, sizeof(jnz));
	}
	put(c, ud2, sizeof(ud2));
	return true;
}

static void mask(const struct ls_case *c, struct ls_result *host, struct ls_result *soft)
{
	ls_mask_fpu(c, host, soft);
	if (host->vector == EXC_PF && soft->vector == EXC_PF) {
		host->cr2 &= ~0xfffull;
		soft->cr2 &= ~0xfffull;
	}
}

const struct ls_class ls_class_stream = {.name = "stream", .share = 3, .fpu = true, .make = make, .mask = mask};
const struct ls_class ls_class_stream32 = {
	.name = "stream32", .share = 1, .code32 = true, .fpu = true, .make = make, .mask = mask};
