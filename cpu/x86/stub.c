#include "cpu/x86/stub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/model.h"
#include "cpu/x86/block.h"
#include "cpu/x86/xm.h"

#define REGION_BYTES (1u << 20)
#define HOST_MEM     RSI
#define HOST_CPU     RDI

int stubs_new(struct x86_cpu *cpu)
{
	struct x86_stubs *s = aligned_alloc(64, ALIGN_UP(sizeof(*s), 64));
	int rc;

	if (!s)
		return -ENOMEM;
	memset(s, 0, sizeof(*s));
	rc = xm_init();
	if (!rc)
		rc = code_region_init(&s->region, REGION_BYTES, NULL);
	if (rc) {
		free(s);
		return rc;
	}
	s->wide_k = __builtin_cpu_supports("avx512bw");
	cpu->stubs = s;
	return 0;
}

void stubs_free(struct x86_cpu *cpu)
{
	if (!cpu->stubs)
		return;
	code_region_destroy(&cpu->stubs->region);
	free(cpu->stubs);
	cpu->stubs = NULL;
}

enum outcome stub_retry(struct x86_cpu *cpu, const struct insn *in)
{
	struct x86_stubs *s = cpu->stubs;
	struct block *running = cpu->c.running;

	/* The memory of this block stays as it is until the next is decoded, and the loop still counts by it. */
	blocks_drop_all(cpu);
	cpu->c.running = running;
	code_region_reset(&s->region);
	memset(s->hash, 0, sizeof(s->hash));
	s->n = 0;
	LEAVE(cpu, in, OUT_RETRY);
}

/* A register that a stub moves between struct x86_cpu and the host. */
struct stub_reg {
	u8 cls; /* enum below */
	u8 n;
	u8 width; /* of the load; vector registers only */
	bool load, store;
};
enum { SR_GPR, SR_MMX, SR_VEC, SR_K };

struct stub_plan {
	struct stub_key key;
	struct stub_reg reg[ZYDIS_MAX_OPERAND_COUNT];
	unsigned n;
	bool sets_flags;
	bool is_x87;
	bool reads_flags; /* FCMOVcc */
};

static void plan_reg(struct stub_plan *p, unsigned cls, unsigned n, unsigned width, bool load, bool store)
{
	struct stub_reg *r;

	for (unsigned i = 0; i < p->n; i++) {
		r = &p->reg[i];
		if (r->cls == cls && r->n == n) {
			r->load |= load;
			r->store |= store;
			r->width = MAX(r->width, width);
			return;
		}
	}
	p->reg[p->n++] = (struct stub_reg){cls, n, width, load, store};
}

static unsigned vector_width(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_XMM: return EMIT_128;
	case ZYDIS_REGCLASS_YMM: return EMIT_256;
	case ZYDIS_REGCLASS_ZMM: return EMIT_512;
	default: return 0;
	}
}

static bool is_gpr(ZydisRegister reg)
{
	ZydisRegisterClass c = ZydisRegisterGetClass(reg);

	return c == ZYDIS_REGCLASS_GPR8 || c == ZYDIS_REGCLASS_GPR16 || c == ZYDIS_REGCLASS_GPR32 ||
	       c == ZYDIS_REGCLASS_GPR64;
}

static unsigned gpr_number(ZydisRegister reg) { return (insn_reg_offset(reg) - CPU_OFF(st.gpr[0])) / 8; }

/* Lists what the instruction's operands, explicit and implicit, make the stub load and store. */
static bool plan_operands(struct stub_plan *p, const struct bind *b)
{
	bool legacy = b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY;
	bool merging =
		b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX && b->zi->avx.mask.mode == ZYDIS_MASK_MODE_MERGING;

	p->key.gpr = 0xff;
	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		const ZydisDecodedOperand *o = &b->op[i];
		bool rd = o->actions & ZYDIS_OPERAND_ACTION_MASK_READ,
		     wr = o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
		ZydisRegister reg = o->reg.value;

		if (!op_is_reg(o))
			continue;
		if (reg == ZYDIS_REGISTER_RFLAGS || reg == ZYDIS_REGISTER_EFLAGS || reg == ZYDIS_REGISTER_FLAGS) {
			p->sets_flags |= wr;
			p->reads_flags |= rd;
		} else if (vector_width(reg)) {
			/* A legacy instruction keeps what it does not write; so does a merging mask. */
			rd |= wr && (legacy || merging || (o->actions & ZYDIS_OPERAND_ACTION_CONDWRITE));
			plan_reg(p, SR_VEC, ZydisRegisterGetId(reg), legacy ? EMIT_128 : vector_width(reg), rd, wr);
		} else if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_MMX) {
			plan_reg(p, SR_MMX, ZydisRegisterGetId(reg), 8, true, wr);
		} else if (ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_MASK) {
			if (ZydisRegisterGetId(reg) || o->encoding != ZYDIS_OPERAND_ENCODING_MASK)
				plan_reg(p, SR_K, ZydisRegisterGetId(reg), 8, rd, wr);
		} else if (is_gpr(reg)) {
			if (o->encoding ==
			    ZYDIS_OPERAND_ENCODING_NONE) { /* PCMPESTRI and its like: the register is fixed */
				plan_reg(p, SR_GPR, gpr_number(reg), 8, rd, wr);
				continue;
			}
			if (p->key.gpr != 0xff)
				return false;
			p->key.gpr = gpr_number(reg);
			if (wr && o->size < 32)
				return false;
			plan_reg(p, SR_GPR, RAX, 8, rd, wr);
		} else if (!p->is_x87) {
			return false;
		}
	}
	return true;
}

/* Instructions whose W tells the size of an integer operand that is implicit or may be in memory. Outside 64-bit code
 * it is ignored. */
static bool w_is_gpr_size(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_VMOVD:
	case ZYDIS_MNEMONIC_VPINSRD:
	case ZYDIS_MNEMONIC_VPEXTRD:
	case ZYDIS_MNEMONIC_VPCMPESTRI:
	case ZYDIS_MNEMONIC_VPCMPESTRM:
	case ZYDIS_MNEMONIC_VCVTSI2SD:
	case ZYDIS_MNEMONIC_VCVTSI2SS:
	case ZYDIS_MNEMONIC_VCVTUSI2SD:
	case ZYDIS_MNEMONIC_VCVTUSI2SS: return true;
	default: return false;
	}
}

static void key_byte(struct stub_key *k, u8 v)
{
	if (k->len < sizeof(k->code))
		k->code[k->len] = v;
	k->len++;
}

/*
 * Writes the instruction anew: size and segment prefixes go, the memory operand becomes [RSI], a general register RAX;
 * what 16 and 32-bit code ignores in the prefixes (upper register bits, W of general registers) gets the value that
 * 64-bit code needs.
 */
static bool plan_code(struct stub_plan *p, const struct bind *b)
{
	const ZydisDecodedInstruction *zi = b->zi;
	struct stub_key *k = &p->key;
	bool code64 = (b->mode & MODE_SIZE) == 2, rm_mem = zi->raw.modrm.mod != 3, reg_gpr = false, rm_gpr = false,
	     is4 = false, any_gpr;
	u8 modrm, pre[4];
	unsigned tail;

	if (!(zi->attributes & ZYDIS_ATTRIB_HAS_MODRM))
		return false;
	for (unsigned i = 0; i < zi->operand_count; i++) {
		const ZydisDecodedOperand *o = &b->op[i];

		if (o->encoding == ZYDIS_OPERAND_ENCODING_IS4)
			is4 = true;
		if (!op_is_reg(o) || !is_gpr(o->reg.value))
			continue;
		if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
			reg_gpr = true;
		else if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM)
			rm_gpr = true;
		else if (o->encoding != ZYDIS_OPERAND_ENCODING_NONE)
			return false;
	}
	any_gpr = reg_gpr || rm_gpr || w_is_gpr_size(zi->mnemonic);
	modrm = rm_mem ? HOST_MEM : 0xc0 | (rm_gpr ? 0 : zi->raw.modrm.rm);
	modrm |= (reg_gpr ? 0 : zi->raw.modrm.reg) << 3;

	switch (zi->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_LEGACY: {
		u8 rex = 0x40;

		for (unsigned i = 0; i < zi->raw.prefix_count; i++) {
			u8 v = zi->raw.prefixes[i].value;

			if (v == 0x66 || v == 0xf2 || v == 0xf3)
				key_byte(k, v);
		}
		if (zi->attributes & ZYDIS_ATTRIB_HAS_REX)
			rex |= zi->raw.rex.W << 3 | (reg_gpr ? 0 : zi->raw.rex.R << 2) |
			       (rm_mem || rm_gpr ? 0 : zi->raw.rex.B);
		if (rex != 0x40)
			key_byte(k, rex);
		if (zi->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
			key_byte(k, 0x0f);
		if (zi->opcode_map == ZYDIS_OPCODE_MAP_0F38 || zi->opcode_map == ZYDIS_OPCODE_MAP_0F3A)
			key_byte(k, zi->opcode_map == ZYDIS_OPCODE_MAP_0F38 ? 0x38 : 0x3a);
		else if (zi->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT && zi->opcode_map != ZYDIS_OPCODE_MAP_0F)
			return false;
		break;
	}
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		memcpy(pre, b->bytes + zi->raw.vex.offset, 3);
		if (pre[0] == 0xc5) {
			pre[2] = pre[1] & 0x7f;
			pre[1] = (pre[1] & 0x80) | 0x61;
		}
		if (reg_gpr)
			pre[1] |= 0x80;
		if (rm_mem || rm_gpr)
			pre[1] |= 0x60;
		if (!code64) {
			pre[1] |= 0xe0;
			pre[2] |= 0x40;
			if (any_gpr)
				pre[2] &= 0x7f;
		}
		key_byte(k, 0xc4);
		key_byte(k, pre[1]);
		key_byte(k, pre[2]);
		break;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		memcpy(pre, b->bytes + zi->raw.evex.offset, 4);
		if (reg_gpr)
			pre[1] |= 0x90;
		if (rm_mem || rm_gpr)
			pre[1] |= 0x60;
		if (!code64) {
			pre[1] |= 0xf0;
			pre[2] |= 0x40;
			pre[3] |= 0x08;
			if (any_gpr)
				pre[2] &= 0x7f;
		}
		for (unsigned i = 0; i < 4; i++)
			key_byte(k, pre[i]);
		break;
	default: return false;
	}
	key_byte(k, zi->opcode);
	key_byte(k, modrm);
	tail = zi->raw.modrm.offset + 1 + !!(zi->attributes & ZYDIS_ATTRIB_HAS_SIB) + zi->raw.disp.size / 8;
	for (; tail < zi->length; tail++)
		key_byte(k, is4 && !code64 ? b->bytes[tail] & 0x7f : b->bytes[tail]);
	return k->len <= 15;
}

static s32 gpr_disp(const struct stub_plan *p, const struct stub_reg *r)
{
	unsigned n = r->n == RAX && p->key.gpr != 0xff ? p->key.gpr : r->n;

	return CPU_OFF(st.gpr[0]) + 8 * n;
}

static s32 vec_disp(unsigned n) { return CPU_OFF(st.fpu.vec[0]) + 64 * n; }

static void emit_loads(struct emit *e, const struct stub_plan *p, ZydisInstructionEncoding enc, bool wide_k)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct stub_reg *r = &p->reg[i];

		if (!r->load)
			continue;
		switch (r->cls) {
		case SR_GPR: emit_load64(e, r->n, HOST_CPU, gpr_disp(p, r)); break;
		case SR_MMX: emit_mmx_load(e, r->n, HOST_CPU, CPU_OFF(st.fpu.st[0]) + 16 * r->n); break;
		case SR_K: emit_k_load(e, wide_k, r->n, HOST_CPU, CPU_OFF(st.fpu.k[0]) + 8 * r->n); break;
		default:
			if (enc == ZYDIS_INSTRUCTION_ENCODING_LEGACY)
				emit_xmm_load(e, r->n, HOST_CPU, vec_disp(r->n));
			else if (r->n < 16 && r->width < EMIT_512)
				emit_vex_load(e, r->width, r->n, HOST_CPU, vec_disp(r->n));
			else
				emit_evex_load(e, r->width, r->n, HOST_CPU, vec_disp(r->n));
		}
	}
}

static void emit_stores(struct emit *e, const struct stub_plan *p, ZydisInstructionEncoding enc, bool wide_k,
			bool avx512)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct stub_reg *r = &p->reg[i];

		if (!r->store)
			continue;
		switch (r->cls) {
		case SR_GPR: emit_store64(e, r->n, HOST_CPU, gpr_disp(p, r)); break;
		case SR_MMX:
			emit_mmx_store(e, r->n, HOST_CPU, CPU_OFF(st.fpu.st[0]) + 16 * r->n);
			emit_store16_imm(e, HOST_CPU, CPU_OFF(st.fpu.st[0]) + 16 * r->n + 8, 0xffff);
			break;
		case SR_K: emit_k_store(e, wide_k, r->n, HOST_CPU, CPU_OFF(st.fpu.k[0]) + 8 * r->n); break;
		default:
			if (enc == ZYDIS_INSTRUCTION_ENCODING_LEGACY) {
				emit_xmm_store(e, r->n, HOST_CPU, vec_disp(r->n));
			} else if (enc == ZYDIS_INSTRUCTION_ENCODING_EVEX) {
				emit_evex_store(e, EMIT_512, r->n, HOST_CPU, vec_disp(r->n));
			} else {
				/* A VEX instruction clears its destination up to the widest register (SDM vol. 1 14.1.3
				 * "SIMD Floating-Point Register Extension"). */
				emit_vex_store(e, EMIT_256, r->n, HOST_CPU, vec_disp(r->n));
				if (avx512) {
					emit_vex_zero(e, r->n);
					emit_vex_store(e, EMIT_256, r->n, HOST_CPU, vec_disp(r->n) + 32);
				}
			}
		}
	}
}

static const void *emit_vector_stub(struct x86_cpu *cpu, const struct stub_plan *p, ZydisInstructionEncoding enc)
{
	struct x86_stubs *s = cpu->stubs;
	bool wide = false, mmx = false;
	struct emit e;

	for (unsigned i = 0; i < p->n; i++) {
		wide |= p->reg[i].cls == SR_VEC && p->reg[i].width > EMIT_128;
		mmx |= p->reg[i].cls == SR_MMX;
	}
	emit_begin(&e, &s->region);
	emit_loads(&e, p, enc, s->wide_k);
	emit_bytes(&e, p->key.code, p->key.len);
	if (p->sets_flags) {
		/* The form of st.oszapc; an ECX that PCMPxSTRI wrote stays. */
		emit_mov_imm32(&e, RAX, 0);
		emit_bytes(&e, "\x9f\x0f\x90\xc0", 4); /* lahf; seto al */
		emit_store64(&e, RAX, HOST_CPU, CPU_OFF(st.oszapc));
	}
	emit_stores(&e, p, enc, s->wide_k, x86_has(cpu->model, X86F_AVX512F));
	if (wide || enc == ZYDIS_INSTRUCTION_ENCODING_EVEX)
		emit_vzeroupper(&e); /* no transition penalty for the SSE code that follows */
	if (mmx)
		emit_emms(&e);
	emit_ret(&e);
	return emit_end(&e);
}

/* RDI = image, RSI = memory operand, R8 = cpu. FNSAVE also leaves the host's unit as FNINIT does: no exception stays
 * pending there. */
static const void *emit_x87_stub(struct x86_cpu *cpu, const struct stub_plan *p)
{
	struct emit e;

	emit_begin(&e, &cpu->stubs->region);
	emit_bytes(&e, "\xdd\x27", 2); /* frstor [rdi] */
	if (p->reads_flags || p->sets_flags) {
		emit_load64(&e, RAX, 8, CPU_OFF(st.oszapc));
		emit_bytes(&e, "\x04\x7f\x9e", 3); /* add al, 7fh makes OF; sahf the others */
	}
	emit_bytes(&e, p->key.code, p->key.len);
	if (p->sets_flags) {
		emit_mov_imm32(&e, RAX, 0);
		emit_bytes(&e, "\x9f\x0f\x90\xc0", 4); /* lahf; seto al */
		emit_store64(&e, RAX, 8, CPU_OFF(st.oszapc));
	}
	emit_bytes(&e, "\xdd\x37", 2); /* fnsave [rdi] */
	emit_ret(&e);
	return emit_end(&e);
}

static unsigned key_hash(const struct stub_key *k)
{
	u64 a, b;

	memcpy(&a, k->code, 8);
	memcpy(&b, k->code + 8, 8);
	a = (a ^ (b * 0x9e3779b97f4a7c15ull) ^ ((u64)k->gpr << 56)) * 0xff51afd7ed558ccdull;
	return (a >> 40) & (STUB_HASH - 1);
}

const void *stub_find(struct bind *b, bool *full)
{
	struct x86_stubs *s = b->cpu->stubs;
	struct stub_plan p = {.is_x87 = b->zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT};
	const void *run;
	unsigned i;

	*full = false;
	if (!plan_operands(&p, b) || !plan_code(&p, b))
		return NULL;
	for (i = key_hash(&p.key); s->hash[i].run; i = (i + 1) & (STUB_HASH - 1))
		if (!memcmp(&s->hash[i].key, &p.key, sizeof(p.key)))
			return s->hash[i].run;
	run = NULL;
	if (s->n < STUB_HASH / 2)
		run = p.is_x87 ? emit_x87_stub(b->cpu, &p) : emit_vector_stub(b->cpu, &p, b->zi->encoding);
	if (!run) {
		*full = true;
		return NULL;
	}
	s->hash[i].key = p.key;
	s->hash[i].run = run;
	s->n++;
	return run;
}

enum outcome x86_fpu_check_kinds(struct x86_cpu *cpu, unsigned kinds)
{
	const u64 avx = XCR0_SSE | XCR0_AVX, evex = avx | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
	const struct x86_state *st = &cpu->st;

	if (kinds & (FPU_AVX | FPU_EVEX)) {
		u64 need = kinds & FPU_EVEX ? evex : avx;

		if (!(st->cr4 & CR4_OSXSAVE) || (st->xcr0 & need) != need)
			return x86_fault(cpu, EXC_UD, 0);
	}
	if ((kinds & (FPU_MMX | FPU_SSE)) && (st->cr0 & CR0_EM))
		return x86_fault(cpu, EXC_UD, 0);
	if ((kinds & FPU_SSE) && !(st->cr4 & CR4_OSFXSR))
		return x86_fault(cpu, EXC_UD, 0);
	if ((st->cr0 & CR0_TS) || ((kinds & FPU_X87) && (st->cr0 & CR0_EM)))
		return x86_fault(cpu, EXC_NM, 0);
	return OUT_NEXT;
}

enum outcome x86_fpu_check(struct x86_cpu *cpu, const struct insn *in)
{
	return x86_fpu_check_kinds(cpu, in->aux & FPU_KINDS);
}
