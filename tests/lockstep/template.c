/* Encodings by mnemonic: enumerated once, then filled with random registers, prefixes, displacements and immediates. */
#include <stdlib.h>
#include <string.h>

#include "tests/lockstep/lockstep.h"

struct group {
	ZydisMnemonic mnemonic;
	unsigned n, room;
	struct ls_template *t;
};

struct ls_templates {
	unsigned n;
	struct group *group;
	u16 group_of[ZYDIS_MNEMONIC_MAX_VALUE + 1]; /* + 1; 0: none */
};

static void add(struct ls_templates *t, ZydisMnemonic m, const struct ls_template *one)
{
	struct group *g;

	if (!t->group_of[m]) {
		g = realloc(t->group, (t->n + 1) * sizeof(*g));
		if (!g)
			return;
		t->group = g;
		t->group[t->n++] = (struct group){.mnemonic = m};
		t->group_of[m] = t->n;
	}
	g = &t->group[t->group_of[m] - 1];
	if (g->n == g->room) {
		unsigned room = g->room ? 2 * g->room : 4;
		struct ls_template *p = realloc(g->t, room * sizeof(*p));

		if (!p)
			return;
		g->t = p;
		g->room = room;
	}
	g->t[g->n++] = *one;
}

/* What of an encoding is not the opcode: register numbers' upper bits, the second source, EVEX's mask and zeroing. */
struct filling {
	u8 rex, vvvv, aaa;
	bool upper_r, upper_v, z;
};

static unsigned put_opcode(u8 *b, const struct ls_template *t, const struct filling *f)
{
	const u8 pp = t->prefix == 0x66 ? 1 : t->prefix == 0xf3 ? 2 : t->prefix == 0xf2 ? 3 : 0;
	unsigned n = 0;

	switch (t->encoding) {
	case LS_VEX:
		b[n++] = 0xc4;
		b[n++] = (u8)((~f->rex & 7) << 5) | t->map;
		b[n++] = (u8)(t->w << 7 | (~f->vvvv & 15) << 3 | t->ll << 2 | pp);
		break;
	case LS_EVEX:
		b[n++] = 0x62;
		b[n++] = (u8)((~f->rex & 7) << 5 | !f->upper_r << 4 | t->map);
		b[n++] = (u8)(t->w << 7 | (~f->vvvv & 15) << 3 | 4 | pp);
		b[n++] = (u8)(f->z << 7 | t->ll << 5 | t->b << 4 | !f->upper_v << 3 | f->aaa);
		break;
	default:
		if (t->prefix)
			b[n++] = t->prefix;
		if (f->rex)
			b[n++] = f->rex;
		if (t->map)
			b[n++] = 0x0f;
		if (t->map >= 2)
			b[n++] = t->map == 2 ? 0x38 : 0x3a;
	}
	b[n++] = t->opcode;
	return n;
}

/* Whether the register form's r/m is part of the opcode. */
static bool rm_is_opcode(const struct ls_template *t)
{
	if (t->encoding || t->memory)
		return false;
	return (t->map == 0 && (t->opcode & 0xf8) == 0xd8) ||
	       (t->map == 1 && (t->opcode == 0x01 || t->opcode == 0x1e || t->opcode == 0xae));
}

/* Whether EVEX's reg is part of the opcode. */
static bool reg_is_opcode(const struct ls_template *t)
{
	return (t->map == 1 && t->opcode >= 0x71 && t->opcode <= 0x73) ||
	       (t->map == 2 && (t->opcode == 0xc6 || t->opcode == 0xc7));
}

static void try_template(struct ls_templates *t, const struct ls_template *one, const ZydisDecoder *d, struct ls *ls,
			 ls_wanted *wanted)
{
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction zi;

	for (unsigned aaa = 0; aaa < (one->encoding == LS_EVEX ? 2 : 1); aaa++) {
		const struct filling f = {.aaa = (u8)aaa};
		u8 b[15] = {0};
		unsigned n = put_opcode(b, one, &f);

		/* With a SIB byte, which some forms ask for; an index register that is not the others'. */
		b[n] = (u8)(one->memory ? one->reg << 3 | 4 : 0xc0 | one->reg << 3 | one->rm);
		b[n + 1] = 0x3b;
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(d, b, sizeof(b), &zi, op)) || !wanted(ls, &zi, op))
			continue;
		if (!(zi.attributes & ZYDIS_ATTRIB_HAS_MODRM) && (one->memory || one->reg || one->rm))
			continue;
		add(t, zi.mnemonic, one);
		return;
	}
}

struct ls_templates *ls_templates_new(struct ls *ls, ls_wanted *wanted)
{
	static const u8 prefixes[] = {0, 0x66, 0xf2, 0xf3};
	struct ls_templates *t = calloc(1, sizeof(*t));
	ZydisDecoder d;

	if (!t)
		return NULL;
	ls_decoder_init(ls, &d);
	/* From the top: encoding, map, opcode, prefix, W, L, b, memory, reg, rm. */
	for (u32 i = 0; i < 3u << 23; i++) {
		struct ls_template one = {.encoding = (u8)(i >> 23),
					  .map = i >> 21 & 3,
					  .opcode = (u8)(i >> 13),
					  .prefix = prefixes[i >> 11 & 3],
					  .w = i >> 10 & 1,
					  .ll = i >> 8 & 3,
					  .b = i >> 7 & 1,
					  .memory = i >> 6 & 1,
					  .reg = i >> 3 & 7,
					  .rm = i & 7};

		if (one.rm && !rm_is_opcode(&one))
			continue;
		if (one.encoding ? !one.map : one.w || one.ll)
			continue;
		if (one.encoding == LS_EVEX ? one.reg > 1 && !reg_is_opcode(&one) : one.b || one.ll > 1)
			continue;
		try_template(t, &one, &d, ls, wanted);
	}
	return t;
}

bool ls_templates_has(const struct ls_templates *t, ZydisMnemonic m) { return t->group_of[m]; }

void ls_templates_free(struct ls_templates *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < t->n; i++)
		free(t->group[i].t);
	free(t->group);
	free(t);
}

/* Attempt 0 is free; the later ones leave out what an encoding may not have. */
static bool try_pick(struct ls *ls, const struct ls_template *one, unsigned attempt, struct ls_case *c)
{
	struct filling f = {.rex = ls_chance(ls, 60) ? 0x40 | (u8)ls_below(ls, 16) : 0};
	unsigned n = 0;
	u8 modrm;

	for (unsigned i = 0; i < sizeof(c->bytes); i++)
		c->bytes[i] = ls_random(ls);
	if (ls_chance(ls, 8))
		c->bytes[n++] = 0x67;
	if (ls_chance(ls, 4))
		c->bytes[n++] = ls_chance(ls, 50) ? 0x65 : 0x64;
	if (!one->encoding) {
		if (!one->prefix && ls_chance(ls, 15))
			c->bytes[n++] = 0x66;
		else if (one->prefix == 0x66 && ls_chance(ls, 10))
			c->bytes[n++] = ls_chance(ls, 50) ? 0xf2 : 0xf3;
		if (one->memory && ls_chance(ls, 8))
			c->bytes[n++] = 0xf0;
	} else {
		f.rex &= 7;
		f.upper_r = ls_chance(ls, 40);
		if (!attempt) {
			f.vvvv = (u8)ls_below(ls, 16);
			f.upper_v = ls_chance(ls, 40);
		}
		if (attempt != 2)
			f.aaa = ls_chance(ls, 30) && attempt < 3 ? 0 : (u8)(1 + ls_below(ls, 7));
		f.z = f.aaa && attempt < 2 && ls_chance(ls, 40);
	}
	if (ls->code32) { /* no REX, eight registers */
		f.rex = 0;
		f.vvvv &= 7;
		f.upper_r = f.upper_v = false;
	}
	n += put_opcode(c->bytes + n, one, &f);
	modrm = (u8)(one->reg << 3 | ls_below(ls, 8));
	if (one->encoding == LS_EVEX && !reg_is_opcode(one))
		modrm = (u8)ls_below(ls, 64);
	if (rm_is_opcode(one))
		modrm = (u8)(one->reg << 3 | one->rm);
	if (one->memory && attempt >= 2)
		modrm = (u8)((modrm & ~7) | 4);
	/* A group's opcode is chosen by reg; elsewhere reg is an operand, and all of them have templates. */
	c->bytes[n] = one->memory ? modrm | (u8)(ls_below(ls, 3) << 6) : modrm | 0xc0;
	/* Prefixes may have made a relative of it (MOVSD: MOVSQ): welcome, the caller looks whether it is wanted. */
	return ls_decode(ls, c);
}

struct ls_templates *ls_templates_of(struct ls *ls, enum ls_template_kind kind, ls_wanted *wanted)
{
	struct ls_templates **t = &ls->templates[kind][ls->code32];

	if (!*t)
		*t = ls_templates_new(ls, wanted);
	return *t;
}

bool ls_templates_pick(struct ls *ls, struct ls_templates *t, struct ls_case *c)
{
	const struct group *g = &t->group[ls_below(ls, t->n)];
	const struct ls_template *one;

	for (unsigned i = 0; ls->only && i < t->n; i++)
		if (!strcmp(ls->only, ZydisMnemonicGetString(t->group[i].mnemonic)))
			g = &t->group[i];
	one = &g->t[ls_below(ls, g->n)];
	for (unsigned attempt = 0; attempt < (one->encoding ? 4 : 1); attempt++)
		if (try_pick(ls, one, attempt, c))
			return true;
	return false;
}
