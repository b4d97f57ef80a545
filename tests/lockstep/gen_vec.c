/*
 * Vector and x87 instructions: bytes that the decoder accepts and the CPU model has, memory operands in and around the
 * data pages, register contents rich in the numbers at which floating point turns corners, MXCSR and the x87 control
 * word random, exceptions unmasked included.
 *
 * Not compared, since silicon leaves it open or hides it:
 *   - x87 instruction and data pointers while no exception is pending: AMD then stores zeros (APM vol. 2 11.4.4), here
 * they are kept.
 *   - The data pointer, and what FNSTENV and FNSAVE tell of pointers: the host's system loses them when it switches
 *     tasks between loading the state and the instruction.
 *   - What of a pointer that FXRSTOR64 loads lies above the linear address width.
 *   - Misaligned SSE mode (MXCSR bit 17, MXCSR_MASK), which no CPU model offers.
 *   - The byte at which an access of more than 16 bytes, of an x87 environment, or under a mask faults, and whether a
 * non-canonical part of it is seen first: hardware makes such accesses in pieces. Of an XSAVE area, which of its pages.
 */
#include <string.h>

#include "arch/x86/xsave.h"
#include "cpu/x86/isa.h"
#include "cpu/x86/x87.h"
#include "tests/lockstep/lockstep.h"

enum encoding { GEN_LEGACY, GEN_VEX, GEN_EVEX, GEN_X87 };

static u8 random_byte(struct ls *ls) { return ls_random(ls) >> 40; }
static bool one_in(struct ls *ls, u32 n) { return ls_below(ls, n) == 0; }

static void pick_bytes(struct ls *ls, enum encoding encoding, u8 *c)
{
	static const u8 mandatory[4] = {0, 0x66, 0xf3, 0xf2};
	unsigned n = 0, x;

	switch (encoding) {
	case GEN_LEGACY:
		x = ls_below(ls, 4);
		if (x)
			c[n++] = mandatory[x];
		if (!ls->code32 && ls_below(ls, 2))
			c[n++] = 0x40 | ls_below(ls, 16);
		c[n++] = 0x0f;
		x = ls_below(ls, 4);
		if (x >= 2)
			c[n++] = x == 2 ? 0x38 : 0x3a;
		break;
	case GEN_VEX:
		c[n++] = 0xc4;
		c[n++] = (random_byte(ls) & 0xe0) | (ls->code32 ? 0xc0 : 0) | (1 + ls_below(ls, 3));
		c[n++] = random_byte(ls);
		break;
	case GEN_EVEX:
		c[n++] = 0x62;
		c[n++] = (random_byte(ls) & 0xf0) | (ls->code32 ? 0xc0 : 0) | (1 + ls_below(ls, 3));
		c[n++] = random_byte(ls) | 4;
		c[n++] = random_byte(ls);
		break;
	default: c[n++] = 0xd8 + ls_below(ls, 8); break;
	}
	while (n < 15)
		c[n++] = random_byte(ls);
}

/* What belongs to the vector and x87 units: the integer instructions of these extensions are compared elsewhere. */
static bool wanted_here(const ZydisDecodedInstruction *zi)
{
	switch (zi->meta.isa_ext) {
	case ZYDIS_ISA_EXT_X87:
	case ZYDIS_ISA_EXT_XSAVE:
	case ZYDIS_ISA_EXT_XSAVEC:
	case ZYDIS_ISA_EXT_XSAVEOPT: break;
	default:
		if (!isa_vector(zi))
			return false;
	}
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_PREFETCHNTA:
	case ZYDIS_MNEMONIC_PREFETCHT0:
	case ZYDIS_MNEMONIC_PREFETCHT1:
	case ZYDIS_MNEMONIC_PREFETCHT2:
	case ZYDIS_MNEMONIC_SFENCE:
	case ZYDIS_MNEMONIC_LFENCE:
	case ZYDIS_MNEMONIC_MFENCE:
	case ZYDIS_MNEMONIC_CRC32:
	case ZYDIS_MNEMONIC_POPCNT:
	case ZYDIS_MNEMONIC_LZCNT:
	case ZYDIS_MNEMONIC_XSETBV: return false;
	default: return !(zi->attributes & ZYDIS_ATTRIB_HAS_LOCK);
	}
}

static bool wanted(struct ls *ls, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	(void)op;
	return wanted_here(zi) && isa_allowed(&ls->model, zi);
}

static bool wanted_vec(struct ls *ls, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	return zi->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT && wanted(ls, zi, op);
}

static bool wanted_x87(struct ls *ls, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	return zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && wanted(ls, zi, op);
}

static bool is_xsave(const ZydisDecodedInstruction *zi)
{
	return zi->meta.isa_ext == ZYDIS_ISA_EXT_XSAVE || zi->meta.isa_ext == ZYDIS_ISA_EXT_XSAVEC ||
	       zi->meta.isa_ext == ZYDIS_ISA_EXT_XSAVEOPT;
}

static bool loads_area(const ZydisDecodedInstruction *zi)
{
	return is_xsave(zi) || zi->meta.isa_set == ZYDIS_ISA_SET_FXSAVE || zi->meta.isa_set == ZYDIS_ISA_SET_FXSAVE64;
}

static void fill_numbers(struct ls *ls, u8 *v, unsigned n)
{
	static const u32 f32[16] = {0,		0x80000000, 0x3f800000, 0x7f800000, 0xff800000, 0x7fc00000,
				    0x7f800001, 1,	    0x007fffff, 0x00800000, 0x7f7fffff, 0xbf800000,
				    0x4f000000, 0x5f000000, 0x33800000, 0x00000100};
	static const u64 f64[18] = {0,
				    1ull << 63,
				    0x3ff0000000000000,
				    0x7ff0000000000000,
				    0xfff0000000000000,
				    0x7ff8000000000000,
				    0x7ff0000000000001,
				    1,
				    0x000fffffffffffff,
				    0x0010000000000000,
				    0x7fefffffffffffff,
				    0xbff0000000000000,
				    0x41dfffffffc00000,
				    0x43e0000000000000,
				    0x36a0000000000000,
				    0x4340000000000001,
				    0x3690000000000000,
				    0x47efffffffffffff};
	unsigned kind = ls_below(ls, 5);

	for (unsigned i = 0; i < n; i += 8) {
		u64 x = ls_random(ls);

		switch (kind) {
		case 1: x = f32[ls_below(ls, 16)] | (u64)f32[ls_below(ls, 16)] << 32; break;
		case 2: x = f64[ls_below(ls, 18)]; break;
		case 3: /* singles of moderate exponents */
			x &= 0x807fffff807fffffull;
			x |= (u64)(100 + ls_below(ls, 54)) << 23 | (u64)(100 + ls_below(ls, 54)) << 55;
			break;
		case 4: x = (x & 0x800fffffffffffffull) | (u64)(1000 + ls_below(ls, 60)) << 52; break;
		default: break;
		}
		memcpy(v + i, &x, 8);
	}
}

static void fill_x87(struct ls *ls, struct x86_fpu *f)
{
	u64 bits = ls_random(ls);

	f->fcw = ls_below(ls, 2) ? X87_FCW_RESET : x87_fcw(bits);
	f->fsw = bits >> 16 & 0x7f00;
	if (ls_below(ls, 2))
		f->fsw &= ~0x40;
	if (one_in(ls, 8))
		f->fsw |= bits >> 32 & 0x3f;
	if (ls_below(ls, 6))
		f->fsw &= ~(~f->fcw & 0x3f); /* mostly nothing pending */
	f->fsw = x87_fsw(f->fsw, f->fcw);
	f->ftw = ls_below(ls, 3) ? 0xff : bits >> 48 & 0xff;
	if (one_in(ls, 8))
		f->ftw = 0;
	f->fop = ls_random(ls) & 0x7ff;
	f->fip = ls_random(ls) & 0x7fffffffffff;
	f->fdp = ls_random(ls) & 0x7fffffffffff;
	f->fcs = f->fds = 0;
	memset(f->st, 0, sizeof(f->st));
	for (unsigned i = 0; i < 8; i++) {
		u64 m = ls_random(ls);
		u16 e = 0x3fff - 40 + ls_below(ls, 80);

		switch (ls_below(ls, 8)) {
		case 0: e = 0; break;
		case 1:
			e = 0x7fff;
			if (ls_below(ls, 2))
				m = 1ull << 63;
			break;
		case 2: e = ls_random(ls) & 0x7fff; break;
		case 3:
			m = 0;
			e = 0;
			break;
		case 4:
			m = 1ull << 63;
			e = 0x3fff;
			break;
		case 5:
			m = (u64)ls_below(ls, 1000) << 54;
			e = 0x3fff + ls_below(ls, 20);
			break;
		default: break;
		}
		if (e && ls_below(ls, 12))
			m |= 1ull << 63;
		if (ls_below(ls, 2))
			e |= 0x8000;
		memcpy(f->st[i], &m, 8);
		memcpy(f->st[i] + 8, &e, 2);
	}
}

static u32 pick_mxcsr(struct ls *ls)
{
	u32 v = ls_random(ls) >> 32;

	switch (ls_below(ls, 6)) {
	case 0: return v & 0xffff;
	case 1: return (v & 0xe07f) | 0x1f80;
	case 2: return 0x1f80 | (v & 0x3f);
	case 3: return (v & 0x1f80) | (v & 0x10000 ? 0x20 : 0);
	default: return 0x1f80;
	}
}

/* Small index values for gathers and scatters, now and then one that leads out of the data. */
static void place_indexes(struct ls *ls, struct ls_case *c, const ZydisDecodedOperand *o)
{
	const char *name = ZydisMnemonicGetString(c->zi.mnemonic), *kind = strstr(name, "ther");
	u8 *v = c->st.fpu.vec[ZydisRegisterGetId(o->mem.index)];

	if (!kind)
		kind = strstr(name, "tter");
	for (unsigned i = 0; i < 16; i++) {
		s64 x = (s64)ls_below(ls, 512) - 256;

		if (one_in(ls, 200))
			x = 0x20000;
		if (kind && kind[4] == 'q') {
			if (i < 8)
				memcpy(v + 8 * i, &x, 8);
		} else {
			memcpy(v + 4 * i, &x, 4);
		}
	}
}

/*
 * An area for the XSAVE family, with a header that is mostly valid. Where the host has components elsewhere than we do,
 * a standard area that asks for them lies within the data.
 */
static void place_area(struct ls *ls, struct ls_case *c, const ZydisDecodedOperand *o)
{
	bool all = is_xsave(&c->zi) && x86_has(&ls->model, X86F_AVX512F) && ls_area_usable() && ls_chance(ls, 70);
	u64 known = all ? x86_model_xcr0(&ls->model) : 7, want = LS_DATA + ls_below(ls, LS_DATA_SIZE - 4096 - 832), la;
	u64 header[8] = {0};
	u32 mxcsr = ls_random(ls);

	if (all)
		want = LS_DATA + ls_below(ls, LS_RW * 4096 - XSAVE_AREA_MAX - 64);
	if (ls_chance(ls, 90))
		want &= ~63ull;
	if (is_xsave(&c->zi))
		c->st.gpr[RAX] = (c->st.gpr[RAX] & ~0xe0ull) | (ls_random(ls) & known) |
				 (ls_below(ls, 3) ? known & (known - ls_below(ls, 2)) : 0);
	la = ls_place(ls, c, o, want);
	for (unsigned i = 0; i < (all ? XSAVE_AREA_MAX : 576); i += 64) {
		u8 buf[64];

		fill_numbers(ls, buf, sizeof(buf));
		ls_poke(ls, la + i, buf, sizeof(buf));
	}
	if (ls_below(ls, 8)) {
		header[0] = ls_random(ls) & known;
		if (one_in(ls, 3)) {
			header[1] = XCOMP_COMPACT | (ls_random(ls) & known);
			if (ls_below(ls, 8))
				header[0] &= header[1];
		}
		if (one_in(ls, 12)) /* a reserved bit */
			header[ls_below(ls, 8)] |= BIT(ls_below(ls, 64));
		ls_poke(ls, la + 512, header, sizeof(header));
	} else if (all) {
		header[1] = ls_random(ls) & ~XCOMP_COMPACT;
		ls_poke(ls, la + 520, &header[1], 8);
	}
	if (ls_below(ls, 8)) {
		mxcsr &= 0xffff;
		ls_poke(ls, la + 24, &mxcsr, 4);
	}
	if (all &&
	    !(header[1] & XCOMP_COMPACT && c->zi.mnemonic >= ZYDIS_MNEMONIC_XRSTOR &&
	      c->zi.mnemonic <= ZYDIS_MNEMONIC_XRSTOR64) &&
	    c->zi.meta.isa_ext != ZYDIS_ISA_EXT_XSAVEC && la - LS_DATA <= LS_RW * 4096 - XSAVE_AREA_MAX)
		c->area = la;
}

static bool masked(const struct ls_case *c)
{
	if (c->zi.avx.mask.reg != ZYDIS_REGISTER_NONE && c->zi.avx.mask.reg != ZYDIS_REGISTER_K0)
		return true;
	if (strstr(ZydisMnemonicGetString(c->zi.mnemonic), "compress"))
		return true;
	return c->zi.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPS || c->zi.mnemonic == ZYDIS_MNEMONIC_VMASKMOVPD ||
	       c->zi.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVD || c->zi.mnemonic == ZYDIS_MNEMONIC_VPMASKMOVQ;
}

/* Some elements on a page that allows the access, some not; a mask that may leave those out. */
static u64 masked_address(struct ls *ls, struct ls_case *c, const ZydisDecodedOperand *o)
{
	unsigned size = MAX(o->size / 8, 1), out = (unsigned)ls_below(ls, size + 1);
	u64 *k = &c->st.fpu.k[ZydisRegisterGetId(c->zi.avx.mask.reg) & 7];

	switch (ls_below(ls, 4)) {
	case 0: *k &= ~MASK(ls_below(ls, 16)); break;
	case 1: *k &= MASK(ls_below(ls, 16)); break;
	case 2: *k = 1ull << ls_below(ls, 64) | 1ull << ls_below(ls, 16); break;
	default: break;
	}
	switch (ls_below(ls, 3)) {
	case 0: return LS_DATA - out;
	case 1: return LS_RO - size + out; /* matters to stores */
	default: return LS_RO + 4096 - size + out;
	}
}

static void place_operand(struct ls *ls, struct ls_case *c, const ZydisDecodedOperand *o)
{
	u8 buf[64];
	u64 la;

	if (loads_area(&c->zi)) {
		place_area(ls, c, o);
		return;
	}
	if (o->mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
		c->repeats = true;
		ls_place(ls, c, o, LS_DATA + 4096 + ls_below(ls, 4096));
		place_indexes(ls, c, o);
		return;
	}
	la = masked(c) && ls_chance(ls, 30) ? masked_address(ls, c, o) : 0;
	la = ls_place(ls, c, o, la);
	if (c->zi.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && ls_below(ls, 4)) {
		ls_poke(ls, la, c->st.fpu.st[ls_below(ls, 8)], 10);
	} else {
		fill_numbers(ls, buf, sizeof(buf));
		ls_poke(ls, la, buf, sizeof(buf));
	}
}

void ls_fill_fpu(struct ls *ls, struct ls_case *c)
{
	struct x86_fpu *f = &c->st.fpu;

	for (unsigned i = 0; i < 32; i++)
		fill_numbers(ls, f->vec[i], 64);
	for (unsigned i = 0; i < 8; i++) {
		f->k[i] = ls_random(ls);
		if (one_in(ls, 3))
			f->k[i] = one_in(ls, 4) ? 0 : f->k[i] & ls_random(ls) & ls_random(ls);
	}
	if (one_in(ls, 20))
		memset(f->k, 0, sizeof(f->k));
	if (one_in(ls, 20))
		memset(f->vec, 0, sizeof(f->vec));
	fill_x87(ls, f);
	f->mxcsr = pick_mxcsr(ls);
	if (x86_has(&ls->model, X86F_AVX512F))
		return;
	memset(f->vec[16], 0, 16 * 64);
	memset(f->k, 0, sizeof(f->k));
	for (unsigned i = 0; i < 16; i++)
		memset(f->vec[i] + (x86_has(&ls->model, X86F_AVX) ? 32 : 16), 0,
		       x86_has(&ls->model, X86F_AVX) ? 32 : 48);
}

bool ls_pick_vec(struct ls *ls, struct ls_case *c)
{
	struct ls_templates *t = ls_templates_of(ls, LS_T_VEC, wanted_vec);

	return t && ls_templates_pick(ls, t, c) && wanted(ls, &c->zi, c->op);
}

bool ls_pick_x87(struct ls *ls, struct ls_case *c)
{
	struct ls_templates *t = ls_templates_of(ls, LS_T_X87, wanted_x87);

	return t && ls_templates_pick(ls, t, c) && wanted(ls, &c->zi, c->op);
}

static bool make(struct ls *ls, struct ls_case *c, enum encoding encoding)
{
	struct x86_fpu *f = &c->st.fpu;

	c->repeats = false;
	c->area = 0;
	if (ls_chance(ls, 60)) {
		if (!(encoding == GEN_X87 ? ls_pick_x87 : ls_pick_vec)(ls, c))
			return false;
	} else {
		pick_bytes(ls, encoding, c->bytes);
		if (!ls_decode(ls, c) || !wanted(ls, &c->zi, c->op))
			return false;
	}
	if (is_xsave(&c->zi) && (ls_gpr(c->op[0].mem.base) == RAX || ls_gpr(c->op[0].mem.index) == RAX))
		return false; /* EAX is the mask */
	ls_begin(ls, c);
	ls_fill_fpu(ls, c);
	if ((c->zi.mnemonic == ZYDIS_MNEMONIC_FNSTENV || c->zi.mnemonic == ZYDIS_MNEMONIC_FNSAVE) && !x87_pending(f))
		f->fip = f->fdp = f->fop = 0;
	if (c->zi.mnemonic == ZYDIS_MNEMONIC_XGETBV)
		c->st.gpr[RCX] = ls_below(ls, 3);
	for (unsigned i = 0; i < c->zi.operand_count; i++)
		if (c->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			place_operand(ls, c, &c->op[i]);
	return true;
}

static bool make_vec(struct ls *ls, struct ls_case *c)
{
	return make(ls, c,
		    (enum encoding)ls_below(ls, x86_has(&ls->model, X86F_AVX512F) ? 3
						: x86_has(&ls->model, X86F_AVX)	  ? 2
										  : 1));
}

static bool make_x87(struct ls *ls, struct ls_case *c) { return make(ls, c, GEN_X87); }

static void mask_pointers(struct x86_fpu *f)
{
	f->fip = sign_extend(f->fip, 48);
	f->fdp = sign_extend(f->fdp, 48);
	f->fsw = x87_fsw(f->fsw, f->fcw);
	f->fcs = f->fds = 0;
	if (x87_pending(f))
		return;
	f->fip = f->fdp = 0;
	f->fop = 0;
}

static bool is_x87(const struct ls_case *c) { return c->zi.meta.isa_ext == ZYDIS_ISA_EXT_X87; }

static void mask_large(struct ls_result *host, struct ls_result *soft, bool pages)
{
	if (host->vector != EXC_PF || !soft->faulted)
		return;
	host->cr2 &= ~0xfffull;
	soft->cr2 &= ~0xfffull;
	if (pages && soft->vector == EXC_PF &&
	    (host->cr2 == soft->cr2 + 4096 || host->cr2 == soft->cr2 - 4096 || (host->cr2 ^ soft->cr2) == 0x10000))
		soft->cr2 = host->cr2;
	if (soft->vector == EXC_GP || soft->vector == EXC_SS) {
		soft->vector = host->vector;
		soft->error = host->error;
		soft->cr2 = host->cr2;
	}
}

/* Of a gather that was interrupted and then faulted, the bits above its vector length may be clear already. */
static void mask_gather(const struct ls_case *c, const struct ls_result *host, struct ls_result *soft)
{
	static const u8 zeros[64];
	unsigned reg = ZydisRegisterGetId(c->op[0].reg.value) & 31, size = c->zi.avx.vector_length / 8;

	if (c->op[0].type != ZYDIS_OPERAND_TYPE_REGISTER || !host->faulted || !soft->faulted || size >= 64)
		return;
	if (!memcmp(host->fpu.vec[reg] + size, zeros, 64 - size))
		memset(soft->fpu.vec[reg] + size, 0, 64 - size);
}

/* What the file's header lists. */
void ls_mask_fpu(const struct ls_case *c, struct ls_result *host, struct ls_result *soft)
{
	const u32 wide = 0x2ffff, ours = 0xffff, misaligned = 0x20000;
	u32 v;
	u64 la;

	if (host->fpu.mxcsr & misaligned && !host->faulted)
		*soft = *host;
	mask_pointers(&host->fpu);
	mask_pointers(&soft->fpu);
	if (!host->fpu.fdp)
		soft->fpu.fdp = 0;
	/* It may bring to light what was hidden when the state was loaded. */
	if (c->zi.mnemonic == ZYDIS_MNEMONIC_FLDCW && !x87_pending(&c->st.fpu)) {
		soft->fpu.fip = host->fpu.fip;
		soft->fpu.fdp = host->fpu.fdp;
		soft->fpu.fop = host->fpu.fop;
	}
	for (unsigned i = 0; i < c->zi.operand_count; i++)
		if (c->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && c->op[i].mem.type == ZYDIS_MEMOP_TYPE_VSIB)
			mask_gather(c, host, soft);
	for (unsigned i = 0; i < c->zi.operand_count; i++)
		if (c->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && (c->op[i].size > 80 + 48 * !is_x87(c) || masked(c)))
			mask_large(host, soft, loads_area(&c->zi) || c->zi.address_width == 16);
	if (!loads_area(&c->zi) || host->faulted || c->op[0].type != ZYDIS_OPERAND_TYPE_MEMORY)
		return;
	la = ls_operand_address(c, &c->op[0]) + 28;
	if (la - LS_DATA > LS_RW * 4096 - 4)
		return;
	memcpy(&v, ls_native_data() + (la - LS_DATA), 4);
	if (v == wide)
		ls_native_poke(la, &ours, 4);
}

const struct ls_class ls_class_vec = {.name = "vec", .share = 28, .fpu = true, .make = make_vec, .mask = ls_mask_fpu};
const struct ls_class ls_class_vec32 = {
	.name = "vec32", .share = 8, .code32 = true, .fpu = true, .make = make_vec, .mask = ls_mask_fpu};
const struct ls_class ls_class_x87 = {.name = "x87", .share = 9, .fpu = true, .make = make_x87, .mask = ls_mask_fpu};
const struct ls_class ls_class_x87_32 = {
	.name = "x87_32", .share = 4, .code32 = true, .fpu = true, .make = make_x87, .mask = ls_mask_fpu};
