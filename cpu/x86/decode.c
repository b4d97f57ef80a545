/*
 * Bytes to struct insn. Zydis is the only decoder; this file turns what it says into operand offsets and calls the row's binder.
 *
 * Every byte sequence yields an instruction: what is invalid, missing from the CPU model, or not implemented raises #UD when it is
 * run (SDM vol. 3 6.15 "Interrupt 6"), what is longer than 15 bytes #GP(0).
 */
#include "cpu/x86/decode.h"

#include <string.h>

#include "arch/x86/insn.h"
#include "arch/x86/model.h"
#include "cpu/x86/check.h"
#include "cpu/x86/isa.h"

static const u16 row_of_mnemonic[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define INSN(mnemonic, family, flags, exit) [ZYDIS_MNEMONIC_##mnemonic] = ROW_##mnemonic,
#include "arch/x86/insn.def"
#undef INSN
};

static bind_fn *const binders[INSN_ROWS] = {
#define INSN(mnemonic, family, flags, exit) [ROW_##mnemonic] = bind_##family,
#include "arch/x86/insn.def"
#undef INSN
};

static void decoder_init(ZydisDecoder *d, u32 mode, bool amd)
{
	static const struct {
		ZydisMachineMode machine;
		ZydisStackWidth stack;
	} modes[2][3] = {
		{{ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16}, {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32}},
		{{ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16},
		 {ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32},
		 {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64}},
	};
	unsigned lm = !!(mode & MODE_LONG), size = mode & MODE_SIZE;

	ZydisDecoderInit(d, modes[lm][size].machine, modes[lm][size].stack);
	/* MPX is offered by no model: its opcodes are hints that do nothing, with any operand. */
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
	/* APM vol. 3 1.2.4: near branches in 64-bit mode obey the operand-size prefix; Intel ignores it. */
	if (amd)
		ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
}

u16 insn_reg_offset(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
		if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
			return CPU_OFF(st.gpr[0]) + 8 * (reg - ZYDIS_REGISTER_AH) + 1;
		if (reg < ZYDIS_REGISTER_AH)
			return CPU_OFF(st.gpr[0]) + 8 * (reg - ZYDIS_REGISTER_AL);
		return CPU_OFF(st.gpr[0]) + 8 * (reg - ZYDIS_REGISTER_SPL + RSP);
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return CPU_OFF(st.gpr[0]) + 8 * ZydisRegisterGetId(reg);
	default:
		return 0;
	}
}

static unsigned sreg_index(ZydisRegister reg)
{
	switch (reg) {
	case ZYDIS_REGISTER_ES: return ES;
	case ZYDIS_REGISTER_CS: return CS;
	case ZYDIS_REGISTER_SS: return SS;
	case ZYDIS_REGISTER_FS: return FS;
	case ZYDIS_REGISTER_GS: return GS;
	default: return DS;
	}
}

/*
 * The segment of string sources and other implicit memory operands: DS unless overridden by the last prefix that counts.
 * Read from the bytes, since the decoder names it only for operands that it lists.
 */
static unsigned prefix_sreg(const ZydisDecodedInstruction *zi, u32 mode)
{
	bool code64 = (mode & MODE_SIZE) == 2;
	unsigned sreg = DS;

	for (unsigned i = 0; i < zi->raw.prefix_count; i++)
		switch (zi->raw.prefixes[i].value) {
		case 0x64: sreg = FS; break;
		case 0x65: sreg = GS; break;
		case 0x2e: sreg = code64 ? sreg : CS; break;
		case 0x36: sreg = code64 ? sreg : SS; break;
		case 0x26: sreg = code64 ? sreg : ES; break;
		case 0x3e: sreg = code64 ? sreg : DS; break;
		default: break;
		}
	return sreg;
}

static void fill_segment(struct insn *in, u32 mode, unsigned sreg, bool amd)
{
	bool code64 = (mode & MODE_SIZE) == 2;

	in->sreg = sreg;
	in->seg = CPU_OFF(c.zero);
	if (sreg >= FS || !(mode & MODE_FLAT))
		in->seg = CPU_OFF(st.seg[0].base) + sreg * sizeof(struct x86_seg);
	if (code64 && sreg < FS) {
		in->seg = CPU_OFF(c.zero);
		if (sreg != SS)
			in->sreg = DS;
	}
	/* Stores through CS fault even where it is flat. */
	if (code64 ? amd && sreg >= FS : sreg >= FS || sreg == CS || !(mode & MODE_FLAT))
		in->flags |= IN_SEGCHECK;
	if (sreg == SS)
		in->flags |= IN_STACK;
}

static void fill_memory(struct bind *b, const ZydisDecodedOperand *o, unsigned off)
{
	struct insn *in = b->in;

	in->flags |= IN_MEM;
	in->msize = o->size / 8;
	in->disp = o->mem.disp.has_displacement ? o->mem.disp.value : 0;
	in->scale = o->mem.scale > 1 ? __builtin_ctz(o->mem.scale) : 0;
	if (o->mem.base == ZYDIS_REGISTER_RIP || o->mem.base == ZYDIS_REGISTER_EIP) {
		in->base = CPU_OFF(st.rip);
		in->disp += off + b->zi->length;
	} else if (o->mem.base != ZYDIS_REGISTER_NONE) {
		in->base = insn_reg_offset(o->mem.base);
	}
	/* A vector index (VSIB) is the binder's own affair. */
	if (o->mem.index != ZYDIS_REGISTER_NONE && insn_reg_offset(o->mem.index))
		in->index = insn_reg_offset(o->mem.index);
	fill_segment(in, b->mode, sreg_index(o->mem.segment), b->cpu->st.vendor == X86_AMD);
}

static void fill_operands(struct bind *b, unsigned off)
{
	struct insn *in = b->in;
	u16 *const regs[3] = {&in->dst, &in->src, &in->src2};
	bool have_imm = false;

	fill_segment(in, b->mode, prefix_sreg(b->zi, b->mode), b->cpu->st.vendor == X86_AMD);
	in->flags &= ~IN_STACK;
	for (unsigned i = 0; i < b->zi->operand_count_visible; i++) {
		const ZydisDecodedOperand *o = &b->op[i];

		if (op_is_reg(o) && i < 3) {
			*regs[i] = insn_reg_offset(o->reg.value);
		} else if (op_is_mem(o) && !(in->flags & IN_MEM)) {
			fill_memory(b, o, off);
			/* Zydis 4.0 takes REX.B for a base register where 32-bit SIB addressing has none (SDM vol. 2 table 2-5). */
			if (b->zi->raw.sib.offset && b->zi->raw.sib.base == 5 && b->zi->raw.modrm.mod == 0) {
				in->base = CPU_OFF(c.zero);
				in->disp = b->zi->raw.disp.value;
			}
		} else if (op_is_imm(o) && !have_imm) {
			in->imm = o->imm.is_signed ? (u64)o->imm.value.s : o->imm.value.u;
			have_imm = true;
		}
	}
}

u64 insn_imm(const struct insn *in, const u8 *bytes)
{
	unsigned n = in->live_imm & LIVE_BYTES;
	u64 v = 0;

	memcpy(&v, bytes + in->len - n, n);
	return in->live_imm & LIVE_SIGNED ? sign_extend(v, 8 * n) : v;
}

void bind_live_imm(struct bind *b)
{
	b->in->live_imm = b->zi->raw.imm[0].size / 8 | (b->zi->raw.imm[0].is_signed ? LIVE_SIGNED : 0);
	if (insn_imm(b->in, b->bytes) != b->in->imm)
		b->in->live_imm = 0;
}

static bool is_x87(const ZydisDecodedInstruction *zi) { return zi->meta.isa_ext == ZYDIS_ISA_EXT_X87; }

/* Picks the handler; false when there is none for this form. */
static bool bind_handler(struct bind *b, bool *ends)
{
	struct insn *in = b->in;
	unsigned row = row_of_mnemonic[b->zi->mnemonic];

	in->row = row;
	if (row) {
		if (!binders[row](b))
			return false;
		*ends = insn_rows[row].flags & I_END;
		check_wrap(in);
		return true;
	}
	if (is_x87(b->zi))
		return bind_x87(b);
	if (isa_vector(b->zi))
		return bind_vector(b);
	return false;
}

static void insn_clear(struct insn *in, unsigned off)
{
	memset(in, 0, sizeof(*in));
	in->base = in->index = in->seg = CPU_OFF(c.zero);
	in->off = off;
}

/* What makes it invalid may be any byte that is there: all of them count as its own. */
static unsigned yield_fault(struct insn *in, insn_fn *fn, unsigned off, unsigned len, bool *ends)
{
	insn_clear(in, off);
	in->fn = fn;
	in->len = len;
	*ends = true;
	return len;
}

static bool is_prefix(u8 v, u32 mode)
{
	switch (v) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
	case 0x64:
	case 0x65:
	case 0x66:
	case 0x67:
	case 0xf0:
	case 0xf2:
	case 0xf3: return true;
	default: return (mode & MODE_SIZE) == 2 && (v & 0xf0) == 0x40;
	}
}

static unsigned count_prefixes(const u8 *bytes, unsigned avail, u32 mode)
{
	unsigned n = 0;

	while (n < avail && is_prefix(bytes[n], mode))
		n++;
	return n;
}

/* AMD's UD0, UD1 and undefined 0F A6 and A7 have no ModRM, which the decoder counts for their length. */
static bool is_ud0(const u8 *bytes, unsigned avail, u32 mode)
{
	unsigned n = count_prefixes(bytes, avail, mode);

	return n + 2 <= avail && bytes[n] == 0x0f &&
	       (bytes[n + 1] == 0xff || bytes[n + 1] == 0xb9 || (bytes[n + 1] & ~1) == 0xa6);
}

/* 8F with a map number of 8 and above: XOP, TBM, LWP, which AMD has withdrawn and no model offers. */
static bool is_xop(const u8 *p) { return p[0] == 0x8f && (p[1] & 0x1f) >= 8; }

static bool begins_xop(const u8 *bytes, unsigned avail, u32 mode)
{
	unsigned n = count_prefixes(bytes, avail, mode);

	return n + 2 <= avail && is_xop(bytes + n);
}

static bool is_vex(const u8 *p, u32 mode)
{
	bool code64 = (mode & MODE_SIZE) == 2;

	return (p[0] == 0xc4 || p[0] == 0xc5 || p[0] == 0x62) && (code64 || p[1] >> 6 == 3);
}

/* Puts a VEX, EVEX or XOP instruction at p down as MOV with the same operand; returns by how much it is longer. */
static unsigned vex_as_mov(const u8 *p, u8 *mov, unsigned left)
{
	unsigned header = p[0] == 0x62 ? 5 : p[0] == 0xc4 ? 4 : 3, map = p[0] == 0xc5 ? 1 : p[1] & 7;
	u8 opcode = p[header - 1];
	bool immediate = map == 3 || (map == 1 && ((opcode >= 0x70 && opcode <= 0x73) || opcode == 0xc2 ||
						   (opcode >= 0xc4 && opcode <= 0xc6)));

	if (is_xop(p)) { /* silicon without XOP still counts the immediate of map 0Ah, and no other's */
		mov[0] = 0x8b;
		memcpy(mov + 1, p + 4, MAX(left, 4u) - 4);
		return 3 + ((p[1] & 0x1f) == 0xa ? 4 : 0);
	}
	if (map == 1 && opcode >> 4 == 8) { /* read as Jcc, with four bytes of displacement */
		mov[0] = 0x90;
		return header - 1 + 4;
	}
	if (map == 1 && opcode == 0x77) { /* VZEROUPPER's: nothing follows */
		mov[0] = 0x90;
		return header - 1;
	}
	mov[0] = 0x8b;
	memcpy(mov + 1, p + header, MAX(left, header) - header);
	return header - 1 + immediate;
}

/* AAM, AAD and JMP far, which 64-bit mode has taken away, keep their operands on silicon. 0: it is none of them. */
static unsigned removed_length(const u8 *bytes, unsigned n)
{
	bool rexw = n && (bytes[n - 1] & 0xf8) == 0x48, narrow = n && memchr(bytes, 0x66, n);

	switch (bytes[n]) {
	case 0xd4:
	case 0xd5: return n + 2;
	case 0xea: return n + (narrow && !rexw ? 5 : 7);
	default: return 0;
	}
}

/*
 * How long what the decoder calls invalid is, 0 if that is unknown: what is longer than 15 bytes raises #GP, and what
 * crosses into a page that cannot be fetched #PF, which both come before #UD. It is the length of a defined instruction
 * with the same opcode, address size and operand size; REX before C4, C5 or 62 takes them for their old meaning, an
 * opcode with ModRM. `n`: prefixes; `bytes` are 20, zeros behind those that are there.
 */
static unsigned invalid_length(const ZydisDecoder *d, const u8 *bytes, unsigned n, u32 mode, bool amd)
{
	bool vex = is_vex(bytes + n, mode) || (amd && is_xop(bytes + n));
	bool rex = n && (mode & MODE_SIZE) == 2 && (bytes[n - 1] & 0xf0) == 0x40;
	bool address = n && memchr(bytes, 0x67, n);
	const u8 mandatory[] = {n && memchr(bytes, 0x66, n) ? 0x66 : 0, 0, 0x66, 0xf2, 0xf3};

	for (unsigned i = 0; i < ARRAY_SIZE(mandatory); i++) {
		unsigned k = 0, left = INSN_BYTES_MAX - n, more = 0;
		u8 copy[INSN_BYTES_MAX + 8] = {0};
		ZydisDecodedInstruction zi;

		if (address)
			copy[k++] = 0x67;
		if (mandatory[i])
			copy[k++] = mandatory[i];
		if (rex)
			copy[k++] = bytes[n - 1];
		if (!rex && vex)
			more = vex_as_mov(bytes + n, copy + k, left);
		else
			memcpy(copy + k, bytes + n, left);
		if (rex && vex)
			copy[k] = 0x8b;
		if (ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(d, NULL, copy, 15, &zi)))
			return n + zi.length - k + more;
	}
	return removed_length(bytes, n);
}

unsigned insn_decode(struct x86_cpu *cpu, const u8 *bytes, unsigned avail, u32 mode, unsigned off, struct insn *in, bool *ends)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	struct bind b = {cpu, &zi, op, bytes, mode, in};
	bool amd = cpu->st.vendor == X86_AMD;
	u8 lax[INSN_BYTES_MAX + 5];
	ZyanStatus status;

	decoder_init(&decoder, mode, amd);
	avail = MIN(avail, INSN_BYTES_MAX);
	status = amd && begins_xop(bytes, avail, mode) ? ZYDIS_STATUS_DECODING_ERROR
						       : ZydisDecoderDecodeFull(&decoder, bytes, avail, &zi, op);
	if ((status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) && amd &&
	    is_ud0(bytes, avail, mode))
		return yield_fault(in, check_invalid, off, avail, ends);
	if (status == ZYDIS_STATUS_NO_MORE_DATA && avail < INSN_BYTES_MAX)
		return 0;
	if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG || status == ZYDIS_STATUS_NO_MORE_DATA)
		return yield_fault(in, check_too_long, off, avail, ends);
	if (!ZYAN_SUCCESS(status)) {
		unsigned prefixes = count_prefixes(bytes, avail, mode), len;

		memset(lax, 0, sizeof(lax));
		memcpy(lax, bytes, avail);
		if (amd && decode_lax(&decoder, lax, INSN_BYTES_MAX, prefixes, (mode & MODE_SIZE) == 2, &zi, op)) {
			if (zi.length > avail)
				return 0;
			b.bytes = lax;
		} else {
			len = amd && is_ud0(bytes, avail, mode) ? 2 : invalid_length(&decoder, lax, prefixes, mode, amd);
			/* While bytes behind may matter, the caller asks again with all of them. */
			if (avail < INSN_BYTES_MAX && len > avail)
				return 0;
			return yield_fault(in, len > INSN_BYTES_MAX ? check_too_long : check_invalid, off, avail, ends);
		}
	}

	insn_clear(in, off);
	in->len = zi.length;
	in->opsize = zi.operand_width / 8;
	in->adsize = zi.address_width / 8;
	if (zi.attributes & ZYDIS_ATTRIB_HAS_LOCK)
		in->flags |= IN_LOCK;
	if (zi.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE))
		in->flags |= IN_REP;
	if (zi.attributes & ZYDIS_ATTRIB_HAS_REPNE)
		in->flags |= IN_REPNE;
	*ends = false;
	fill_operands(&b, off);
	if (!isa_allowed(cpu->model, &zi))
		return yield_fault(in, check_invalid, off, zi.length, ends);
	if (!bind_handler(&b, ends)) {
		log_limit(cpu->vm->log, "instruction %s is not implemented (opcode map %d, %02x): it raises #UD",
			  ZydisMnemonicGetString(zi.mnemonic), zi.opcode_map, zi.opcode);
		return yield_fault(in, check_invalid, off, zi.length, ends);
	}
	return zi.length;
}

unsigned insn_text(const u8 *bytes, unsigned len, u32 mode, u64 rip, char *buf, size_t size)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZydisFormatter formatter;

	decoder_init(&decoder, mode, true);
	buf[0] = 0;
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, len, &zi, op)) ||
	    !ZYAN_SUCCESS(ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL)) ||
	    !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&formatter, &zi, op, zi.operand_count_visible, buf, size, rip, NULL))) {
		snprintf(buf, size, "(bad)");
		return 0;
	}
	return zi.length;
}
