/* What the generators share: random registers, decoding, placing of memory operands and of bytes. */
#include <string.h>

#include "tests/lockstep/lockstep.h"

u64 ls_value(struct ls *ls)
{
	u64 v = ls_random(ls);

	switch (ls_below(ls, 12)) {
	case 0: return 0;
	case 1: return ~0ull;
	case 2: return ls_below(ls, 256);
	case 3: return -ls_below(ls, 256);
	case 4: return 1ull << (v & 63);
	case 5: return (1ull << (v & 63)) - 1;
	case 6: return (u32)v;
	case 7: return (u64)(s32)v;
	case 8: return 0x8000000080008080ull >> (8 * (v & 7));
	case 9: return v & 0x7fffffff7fff7f7full;
	default: return v;
	}
}

u64 ls_address(struct ls *ls, unsigned size)
{
	u64 kind = ls_below(ls, 100), in_rw = LS_DATA + 512 + ls_below(ls, LS_RW * 4096 - 1024 - size);

	if (kind < 40)
		return in_rw;
	if (kind < 75)
		return in_rw & ~(u64)(size & (size - 1) ? 15 : MIN(size, 64u) - 1);
	if (kind < 87) /* across two writable pages */
		return LS_DATA + 4096 * (1 + ls_below(ls, LS_RW - 1)) - 1 - ls_below(ls, size);
	if (kind < 90)
		return LS_RO + ls_below(ls, 4096 - size);
	if (kind < 93)
		return LS_RO - 1 - ls_below(ls, size);
	if (kind < 95)
		return LS_RO + 4096 - 1 - ls_below(ls, size);
	if (kind < 97)
		return LS_DATA - 1 - ls_below(ls, size);
	if (ls->code32)
		return ls_below(ls, 0x10000 - size); /* elsewhere the host process may have something */
	if (kind < 98)
		return 0x800000000000ull - 1 - ls_below(ls, size);
	return 0x800000000000ull + (ls_random(ls) >> 20);
}

unsigned ls_gpr(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64: return ZydisRegisterGetId(reg);
	default: return 16;
	}
}

void ls_begin(struct ls *ls, struct ls_case *c)
{
	for (unsigned i = 0; i < 16; i++)
		c->st.gpr[i] = ls_value(ls);
	if (ls->bases && !ls->code32) {
		c->st.seg[FS].base = ls_chance(ls, 50) ? 0 : sign_extend(ls_value(ls), 48);
		c->st.seg[GS].base = ls_chance(ls, 50) ? 0 : sign_extend(ls_value(ls), 48);
	}
	c->st.gpr[RSP] = ls_chance(ls, 90) ? LS_DATA + 1024 + ls_below(ls, LS_RW * 4096 - 2048) : ls_address(ls, 8);
	if (ls_chance(ls, 70))
		c->st.gpr[RSP] &= ~7ull;
	ls_fill(ls, c->st.gpr[RSP] - 64, 128);
	if (ls->code32)
		for (unsigned i = 0; i < 16; i++)
			c->st.gpr[i] = i < 8 ? (u32)c->st.gpr[i] : 0;
	x86_set_rflags(&c->st, (ls_random(ls) & FL_OSZAPC) | FL_IF);
}

void ls_decoder_init(const struct ls *ls, ZydisDecoder *d)
{
	if (ls->code32)
		ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32);
	else
		ZydisDecoderInit(d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
}

bool ls_decode(struct ls *ls, struct ls_case *c)
{
	ZydisDecoder decoder;

	ls_decoder_init(ls, &decoder);
	if (ls->model.vendor == X86_AMD)
		ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, c->bytes, 15, &c->zi, c->op)))
		return false;
	/* Else FS is the host's thread pointer. */
	if ((c->zi.attributes & ZYDIS_ATTRIB_HAS_SEGMENT_FS) && !ls->bases)
		return false;
	if (ls->only && strcmp(ls->only, ZydisMnemonicGetString(c->zi.mnemonic)))
		return false;
	c->len = c->zi.length;
	ls_put(ls, c);
	return true;
}

void ls_put(struct ls *ls, struct ls_case *c)
{
	/* Mostly within a page, sometimes across the two. */
	c->rip = ls_chance(ls, 90) ? LS_CODE + 16 + ls_below(ls, 4000) : LS_CODE + 4096 - 1 - ls_below(ls, c->len);
}

bool ls_loads_segment(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	for (unsigned i = 0; i < zi->operand_count_visible; i++)
		if (op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && (op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) &&
		    ZydisRegisterGetClass(op[i].reg.value) == ZYDIS_REGCLASS_SEGMENT)
			return true;
	return false;
}

void ls_poke(struct ls *ls, u64 la, const void *bytes, unsigned len)
{
	const u8 *from = bytes;

	if (la < LS_DATA && LS_DATA - la < len) {
		from += LS_DATA - la;
		len -= LS_DATA - la;
		la = LS_DATA;
	}
	if (la < LS_DATA || la >= LS_DATA + LS_DATA_SIZE)
		return;
	len = MIN(len, (unsigned)(LS_DATA + LS_DATA_SIZE - la));
	memcpy(ls->soft_data + (la - LS_DATA), from, len);
	ls_native_poke(la, from, len);
}

void ls_fill(struct ls *ls, u64 la, unsigned len)
{
	u64 buf[32];

	for (unsigned done = 0; done < len; done += sizeof(buf)) {
		for (unsigned i = 0; i < 32; i++)
			buf[i] = ls_chance(ls, 50) ? ls_random(ls) : ls_value(ls);
		ls_poke(ls, la + done, buf, MIN(len - done, (unsigned)sizeof(buf)));
	}
}

static void patch_disp(struct ls_case *c, u64 disp)
{
	u32 v = (u32)disp;

	memcpy(c->bytes + c->zi.raw.disp.offset, &v, 4);
}

u64 ls_operand_address(const struct ls_case *c, const ZydisDecodedOperand *o)
{
	unsigned base = ls_gpr(o->mem.base), index = ls_gpr(o->mem.index);
	u64 la = o->mem.disp.has_displacement ? (u64)o->mem.disp.value : 0;

	if (o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_EIP)
		la += c->rip + c->len;
	else if (base < 16)
		la += c->st.gpr[base];
	if (index < 16)
		la += c->st.gpr[index] * o->mem.scale;
	la = c->zi.address_width == 64 ? la : c->zi.address_width == 32 ? (u32)la : (u16)la;
	if (o->mem.segment == ZYDIS_REGISTER_FS || o->mem.segment == ZYDIS_REGISTER_GS)
		la += c->st.seg[o->mem.segment == ZYDIS_REGISTER_FS ? FS : GS].base;
	return la;
}

u64 ls_place(struct ls *ls, struct ls_case *c, const ZydisDecodedOperand *o, u64 want)
{
	unsigned base = ls_gpr(o->mem.base), index = ls_gpr(o->mem.index), size = MAX(o->size / 8, 1);
	u64 missing;

	if (!want)
		want = ls_address(ls, size);
	if (o->mem.segment == ZYDIS_REGISTER_FS || o->mem.segment == ZYDIS_REGISTER_GS) {
		struct x86_seg *seg = &c->st.seg[o->mem.segment == ZYDIS_REGISTER_FS ? FS : GS];

		/* What 32-bit addresses cannot reach. */
		if (c->zi.address_width != 64)
			seg->base &= 0x0fffffff;
		if (c->zi.address_width == 16)
			seg->base = 0;
	}
	if (index < 16 && ls_chance(ls, 70))
		c->st.gpr[index] = ls_below(ls, 64) - 32;
	missing = want - ls_operand_address(c, o);
	if (base < 16 && base != index) {
		c->st.gpr[base] += missing;
		if (ls->code32)
			c->st.gpr[base] = (u32)c->st.gpr[base];
		else if (c->zi.address_width == 32 && ls_chance(ls, 50))
			c->st.gpr[base] |= ls_random(ls) << 32; /* the upper half does not count */
	} else if (c->zi.raw.disp.size == 32) {
		/* The displacement is all that is left; it reaches the data from anywhere in the lower 2 GiB. */
		if (index < 16)
			c->st.gpr[index] &= 63;
		patch_disp(c, (u64)o->mem.disp.value + (want - ls_operand_address(c, o)));
		if (!ls_decode(ls, c))
			return 0;
		patch_disp(c, (u64)c->op[o - c->op].mem.disp.value + (want - ls_operand_address(c, o)));
		ZydisDecoder d;

		ls_decoder_init(ls, &d);
		ZydisDecoderDecodeFull(&d, c->bytes, sizeof(c->bytes), &c->zi, c->op);
	} else if (base < 16) { /* base and index are one register */
		c->st.gpr[base] = (want - (u64)o->mem.disp.value) / (1 + o->mem.scale);
	} else if (index < 16) {
		c->st.gpr[index] = (want - (u64)o->mem.disp.value) / o->mem.scale;
	}
	want = ls_operand_address(c, o);
	ls_fill(ls, want - 16, MIN(size, 64u) + 32);
	return want;
}
