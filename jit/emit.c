/*
 * Encodings: SDM vol. 2 2.1 "Instruction Format for Protected Mode, Real-Address Mode, and Virtual-8086 Mode", 2.2.1
 * "REX Prefixes", 2.3.5 "The VEX Prefix", 2.7.1 "Instruction Format and EVEX".
 */
#include "jit/emit.h"

#include <string.h>

void emit_begin(struct emit *e, struct code_region *r)
{
	size_t at = ALIGN_UP(r->used, 16);

	e->region = r;
	e->full = at > r->size;
	e->start = e->p = r->write + (e->full ? r->size : at);
	e->end = r->write + r->size;
}

const void *emit_end(struct emit *e)
{
	if (e->full)
		return NULL;
	e->region->used = e->p - e->region->write;
	return code_region_run(e->region, e->start);
}

void emit_bytes(struct emit *e, const void *bytes, unsigned n)
{
	if (e->full || (size_t)(e->end - e->p) < n) {
		e->full = true;
		return;
	}
	memcpy(e->p, bytes, n);
	e->p += n;
}

/* ModRM, SIB where the base needs one, displacement. `disp8_ok`: EVEX scales an 8-bit displacement, so it is not used
 * there. */
static void emit_modrm_mem(struct emit *e, unsigned reg, unsigned base, s32 disp, bool disp8_ok)
{
	unsigned mod = disp8_ok && disp == (s8)disp ? 1 : 2;

	if (disp == 0 && (base & 7) != 5)
		mod = 0;
	emit_u8(e, mod << 6 | (reg & 7) << 3 | (base & 7));
	if ((base & 7) == 4)
		emit_u8(e, 0x24);
	if (mod == 1)
		emit_u8(e, disp);
	else if (mod == 2)
		emit_u32(e, disp);
}

void emit_op_mem(struct emit *e, u8 prefix, bool w, unsigned map, u8 opcode, unsigned reg, unsigned base, s32 disp)
{
	u8 rex = 0x40 | w << 3 | (reg >> 3 & 1) << 2 | (base >> 3 & 1);

	if (prefix)
		emit_u8(e, prefix);
	if (rex != 0x40)
		emit_u8(e, rex);
	if (map)
		emit_u8(e, 0x0f);
	if (map >= 2)
		emit_u8(e, map == 2 ? 0x38 : 0x3a);
	emit_u8(e, opcode);
	emit_modrm_mem(e, reg, base, disp, true);
}

void emit_load64(struct emit *e, unsigned reg, unsigned base, s32 disp)
{
	emit_op_mem(e, 0, true, 0, 0x8b, reg, base, disp);
}
void emit_store64(struct emit *e, unsigned reg, unsigned base, s32 disp)
{
	emit_op_mem(e, 0, true, 0, 0x89, reg, base, disp);
}

void emit_store16_imm(struct emit *e, unsigned base, s32 disp, u16 imm)
{
	emit_op_mem(e, 0x66, false, 0, 0xc7, 0, base, disp);
	emit_bytes(e, &imm, 2);
}

void emit_mov_imm32(struct emit *e, unsigned reg, u32 imm)
{
	if (reg >= 8)
		emit_u8(e, 0x41);
	emit_u8(e, 0xb8 | (reg & 7));
	emit_u32(e, imm);
}

void emit_mov_reg64(struct emit *e, unsigned dst, unsigned src)
{
	emit_u8(e, 0x48 | (src >> 3 & 1) << 2 | (dst >> 3 & 1));
	emit_u8(e, 0x89);
	emit_u8(e, 0xc0 | (src & 7) << 3 | (dst & 7));
}

void emit_ret(struct emit *e) { emit_u8(e, 0xc3); }

void emit_mmx_load(struct emit *e, unsigned mm, unsigned base, s32 disp)
{
	emit_op_mem(e, 0, false, 1, 0x6f, mm, base, disp);
}
void emit_mmx_store(struct emit *e, unsigned mm, unsigned base, s32 disp)
{
	emit_op_mem(e, 0, false, 1, 0x7f, mm, base, disp);
}
void emit_emms(struct emit *e) { emit_bytes(e, "\x0f\x77", 2); }

void emit_xmm_load(struct emit *e, unsigned xmm, unsigned base, s32 disp)
{
	emit_op_mem(e, 0, false, 1, 0x10, xmm, base, disp);
}
void emit_xmm_store(struct emit *e, unsigned xmm, unsigned base, s32 disp)
{
	emit_op_mem(e, 0, false, 1, 0x11, xmm, base, disp);
}

/* Three-byte VEX, map 0F. pp: 0 none, 1 66, 2 F3, 3 F2. */
static void emit_vex(struct emit *e, unsigned pp, bool w, bool l, u8 opcode, unsigned reg, unsigned vvvv, unsigned base)
{
	emit_u8(e, 0xc4);
	emit_u8(e, (~reg >> 3 & 1) << 7 | 1 << 6 | (~base >> 3 & 1) << 5 | 1);
	emit_u8(e, w << 7 | (~vvvv & 15) << 3 | l << 2 | pp);
	emit_u8(e, opcode);
}

void emit_vex_load(struct emit *e, enum emit_width width, unsigned reg, unsigned base, s32 disp)
{
	emit_vex(e, 0, false, width == EMIT_256, 0x10, reg, 0, base);
	emit_modrm_mem(e, reg, base, disp, true);
}

void emit_vex_store(struct emit *e, enum emit_width width, unsigned reg, unsigned base, s32 disp)
{
	emit_vex(e, 0, false, width == EMIT_256, 0x11, reg, 0, base);
	emit_modrm_mem(e, reg, base, disp, true);
}

void emit_vex_zero(struct emit *e, unsigned reg)
{
	emit_vex(e, 1, false, false, 0xef, reg, reg, reg);
	emit_u8(e, 0xc0 | (reg & 7) << 3 | (reg & 7));
}

void emit_vzeroupper(struct emit *e) { emit_bytes(e, "\xc5\xf8\x77", 3); }

static void emit_evex_move(struct emit *e, u8 opcode, enum emit_width width, unsigned reg, unsigned base, s32 disp)
{
	unsigned ll = width == EMIT_512 ? 2 : width == EMIT_256;

	emit_u8(e, 0x62);
	emit_u8(e, (~reg >> 3 & 1) << 7 | 1 << 6 | (~base >> 3 & 1) << 5 | (~reg >> 4 & 1) << 4 | 1);
	emit_u8(e, 0x7c);
	emit_u8(e, ll << 5 | 1 << 3);
	emit_u8(e, opcode);
	emit_modrm_mem(e, reg, base, disp, false);
}

void emit_evex_load(struct emit *e, enum emit_width width, unsigned reg, unsigned base, s32 disp)
{
	emit_evex_move(e, 0x10, width, reg, base, disp);
}

void emit_evex_store(struct emit *e, enum emit_width width, unsigned reg, unsigned base, s32 disp)
{
	emit_evex_move(e, 0x11, width, reg, base, disp);
}

void emit_k_load(struct emit *e, bool wide, unsigned k, unsigned base, s32 disp)
{
	emit_vex(e, 0, wide, false, 0x90, k, 0, base);
	emit_modrm_mem(e, k, base, disp, true);
}

void emit_k_store(struct emit *e, bool wide, unsigned k, unsigned base, s32 disp)
{
	emit_vex(e, 0, wide, false, 0x91, k, 0, base);
	emit_modrm_mem(e, k, base, disp, true);
}
