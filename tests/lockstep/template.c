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

static bool add(struct ls_templates *t, ZydisMnemonic m, const struct ls_template *one)
{
	struct group *g;

	if (!t->group_of[m]) {
		g = realloc(t->group, (t->n + 1) * sizeof(*g));
		if (!g)
			return false;
		t->group = g;
		t->group[t->n++] = (struct group){.mnemonic = m};
		t->group_of[m] = t->n;
	}
	g = &t->group[t->group_of[m] - 1];
	if (g->n == g->room) {
		unsigned room = g->room ? 2 * g->room : 4;
		struct ls_template *p = realloc(g->t, room * sizeof(*p));

		if (!p)
			return false;
		g->t = p;
		g->room = room;
	}
	g->t[g->n++] = *one;
	return true;
}

static unsigned put_opcode(u8 *b, const struct ls_template *t, u8 rex, u8 vvvv)
{
	unsigned n = 0;

	if (t->vex) {
		u8 pp = t->prefix == 0x66 ? 1 : t->prefix == 0xf3 ? 2 : t->prefix == 0xf2 ? 3 : 0;

		b[n++] = 0xc4;
		b[n++] = (u8)((~rex & 7) << 5) | t->map;
		b[n++] = (u8)(t->vex_w << 7 | (~vvvv & 15) << 3 | t->vex_l << 2 | pp);
	} else {
		if (t->prefix)
			b[n++] = t->prefix;
		if (rex)
			b[n++] = rex;
		if (t->map)
			b[n++] = 0x0f;
		if (t->map >= 2)
			b[n++] = t->map == 2 ? 0x38 : 0x3a;
	}
	b[n++] = t->opcode;
	return n;
}

struct ls_templates *ls_templates_new(struct ls *ls,
				      bool (*wanted)(const ZydisDecodedInstruction *, const ZydisDecodedOperand *))
{
	static const u8 prefixes[] = {0, 0x66, 0xf2, 0xf3};
	struct ls_templates *t = calloc(1, sizeof(*t));
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction zi;
	ZydisDecoder d;

	if (!t)
		return NULL;
	ls_decoder_init(ls, &d);
	for (unsigned i = 0; i < 2u * 4 * 4 * 256 * 8 * 2 * 4; i++) {
		struct ls_template one = {.vex = i & 1,
					  .map = i >> 1 & 3,
					  .prefix = prefixes[i >> 3 & 3],
					  .opcode = i >> 5,
					  .reg = i >> 13 & 7,
					  .memory = i >> 16 & 1,
					  .vex_w = i >> 17 & 1,
					  .vex_l = i >> 18 & 1};
		u8 b[15] = {0};
		unsigned n;

		if ((one.vex && !one.map) || (!one.vex && (one.vex_w || one.vex_l)))
			continue;
		n = put_opcode(b, &one, 0, 0);
		b[n] = (u8)(one.memory ? one.reg << 3 | 3 : 0xc0 | one.reg << 3 | 1);
		if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, b, sizeof(b), &zi, op)) || !wanted(&zi, op))
			continue;
		if (!(zi.attributes & ZYDIS_ATTRIB_HAS_MODRM) && (one.memory || one.reg))
			continue;
		if (!add(t, zi.mnemonic, &one))
			break;
	}
	return t;
}

void ls_templates_free(struct ls_templates *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < t->n; i++)
		free(t->group[i].t);
	free(t->group);
	free(t);
}

bool ls_templates_pick(struct ls *ls, struct ls_templates *t, struct ls_case *c)
{
	const struct group *g = &t->group[ls_below(ls, t->n)];
	const struct ls_template *one;
	unsigned n = 0;
	u8 rex = ls_chance(ls, 60) ? 0x40 | (u8)ls_below(ls, 16) : 0, modrm;

	if (!g->n)
		return false;
	one = &g->t[ls_below(ls, g->n)];
	for (unsigned i = 0; i < sizeof(c->bytes); i++)
		c->bytes[i] = ls_random(ls);
	if (ls_chance(ls, 8))
		c->bytes[n++] = 0x67;
	if (ls_chance(ls, 4))
		c->bytes[n++] = 0x65;
	if (!one->vex) {
		if (!one->prefix && ls_chance(ls, 15))
			c->bytes[n++] = 0x66;
		else if (one->prefix == 0x66 && ls_chance(ls, 10))
			c->bytes[n++] = ls_chance(ls, 50) ? 0xf2 : 0xf3;
		if (one->memory && ls_chance(ls, 8))
			c->bytes[n++] = 0xf0;
	}
	if (ls->code32) /* no REX, eight registers */
		n += put_opcode(c->bytes + n, one, 0, (u8)ls_below(ls, 8));
	else
		n += put_opcode(c->bytes + n, one, one->vex ? rex & 7 : rex, (u8)ls_below(ls, 16));
	modrm = (u8)(one->reg << 3 | ls_below(ls, 8));
	/* A group's opcode is chosen by reg; elsewhere reg is an operand, and all of them have templates. */
	c->bytes[n] = one->memory ? modrm | (u8)(ls_below(ls, 3) << 6) : modrm | 0xc0;
	/* Prefixes may have made a relative of it (MOVSD: MOVSQ): welcome, the caller looks whether it is wanted. */
	return ls_decode(ls, c);
}
