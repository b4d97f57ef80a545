/*
 * Any bytes: random ones, instructions behind random prefixes (repeated, contradicting, LOCK on what takes none, more
 * than 15 bytes in all), and instructions with a few bits flipped, which makes reserved fields of VEX and EVEX and
 * opcodes that nobody has defined. What must come out is the same #UD, #GP or result.
 */
#include <string.h>

#include "cpu/x86/isa.h"
#include "tests/lockstep/lockstep.h"

static bool offered(struct ls *ls, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *op)
{
	return isa_allowed(&ls->model, zi) && ls_harmless(ls, zi, op);
}

static void put_prefixes(struct ls *ls, struct ls_case *c)
{
	static const u8 prefix[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x65, 0x64, 0x48};
	unsigned n = ls_chance(ls, 10) ? ls_below(ls, LS_BYTES - 1) : 1 + ls_below(ls, 4);
	u8 one = prefix[ls_below(ls, ARRAY_SIZE(prefix))];
	bool repeated = ls_chance(ls, 20);

	memmove(c->bytes + n, c->bytes, LS_BYTES - n);
	for (unsigned i = 0; i < n; i++)
		c->bytes[i] = repeated ? one : prefix[ls_below(ls, ARRAY_SIZE(prefix))];
}

static void pick(struct ls *ls, struct ls_case *c)
{
	struct ls_templates *t = ls_templates_of(ls, LS_T_OFFERED, offered);
	unsigned kind = ls_below(ls, 10);

	if (kind < 2) {
		for (unsigned i = 0; i < LS_BYTES; i++)
			c->bytes[i] = ls_random(ls) >> 40;
		return;
	}
	while (!ls_templates_pick(ls, t, c))
		;
	if (kind < 6)
		put_prefixes(ls, c);
	else
		for (unsigned n = 1 + ls_below(ls, 3); n; n--)
			c->bytes[ls_below(ls, MIN(c->len, 6))] ^= 1 << ls_below(ls, 8);
}

/* What an instruction needs that is not the point here. False: leave it out. */
static bool settle(struct ls *ls, struct ls_case *c)
{
	switch (c->zi.mnemonic) {
	case ZYDIS_MNEMONIC_POPF: /* flags that do not come back through a signal frame */
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_POPFQ:
	case ZYDIS_MNEMONIC_RDTSC: /* gen_sys.c compares what can be */
	case ZYDIS_MNEMONIC_RDTSCP:
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
	case ZYDIS_MNEMONIC_RDPID:
	case ZYDIS_MNEMONIC_FNSTENV: /* gen_vec.c knows what the pointers must be */
	case ZYDIS_MNEMONIC_FNSAVE: return false;
	case ZYDIS_MNEMONIC_LOOPE: /* gen_int.c: reserved */
	case ZYDIS_MNEMONIC_LOOPNE:
		for (unsigned i = 0; i < c->zi.raw.prefix_count; i++)
			if (c->zi.raw.prefixes[i].value == 0xf2 || c->zi.raw.prefixes[i].value == 0xf3)
				return false;
		return true;
	default: break;
	}
	if (c->zi.meta.category == ZYDIS_CATEGORY_STRINGOP || c->zi.meta.category == ZYDIS_CATEGORY_IOSTRINGOP) {
		c->repeats = true;
		c->st.gpr[RCX] = ls_below(ls, 24);
		c->st.gpr[RSI] = LS_DATA + 4096 + ls_below(ls, 4096);
		c->st.gpr[RDI] = LS_DATA + 4096 + ls_below(ls, 4096);
		return c->zi.address_width != 16 && !c->st.seg[FS].base && !c->st.seg[GS].base;
	}
	for (unsigned i = 0; i < c->zi.operand_count; i++) {
		const ZydisDecodedOperand *o = &c->op[i];

		if (o->type != ZYDIS_OPERAND_TYPE_MEMORY)
			continue;
		if (o->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
			c->repeats = true;
		/* Areas of the XSAVE family hold what gen_vec.c puts there. */
		if (o->size / 8 >= 512 || !o->size)
			return false;
		if (o->mem.type == ZYDIS_MEMOP_TYPE_MEM && o->visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
			ls_place(ls, c, o, 0);
	}
	return true;
}

/*
 * What the decoder refuses for its prefixes and the processor takes: VMCALL and VMMCALL, which the host's hypervisor
 * answers, and LOCK MOV CR0, which is AMD's MOV CR8 (no model offers AltMovCr8).
 */
static bool in_disguise(const u8 *bytes)
{
	for (unsigned i = 0; i + 2 < LS_BYTES; i++) {
		if (bytes[i] == 0x0f && bytes[i + 1] == 0x01 && (bytes[i + 2] == 0xc1 || bytes[i + 2] == 0xd9))
			return true;
		if (bytes[i] == 0x0f && (bytes[i + 1] & ~2) == 0x20)
			return true;
	}
	return false;
}

static bool make(struct ls *ls, struct ls_case *c)
{
	c->repeats = false;
	pick(ls, c);
	ls_begin(ls, c);
	ls_fill_fpu(ls, c);
	if (ls_decode(ls, c))
		return ls_harmless(ls, &c->zi, c->op) && settle(ls, c);
	if (ls->only)
		return false;
	if (in_disguise(c->bytes))
		return false;
	memset(&c->zi, 0, sizeof(c->zi));
	c->len = 1;
	ls_put(ls, c);
	return true;
}

/*
 * A load across 4 GiB by EVEX whose mask the decoder here does not know: #GP or #PF. SDM vol. 3 5.3 "Limit Checking":
 * with a limit of FFFFFFFFH such accesses may or may not raise #GP.
 */
static bool wraps(const struct ls_case *c, const struct ls_result *host, const struct ls_result *soft)
{
	if (c->zi.length || !memchr(c->bytes, 0x62, LS_BYTES) || host->vector != EXC_GP || soft->vector != EXC_PF)
		return false;
	for (unsigned i = 0; i < 8; i++)
		if (c->st.gpr[i] <= 0xffffffff && c->st.gpr[i] > 0xffffffff - 64)
			return true;
	return false;
}

static void mask(const struct ls_case *c, struct ls_result *host, struct ls_result *soft)
{
	ls_mask_int(c, host, soft);
	ls_mask_fpu(c, host, soft);
	if (wraps(c, host, soft)) {
		soft->vector = host->vector;
		soft->error = host->error;
	}
}

const struct ls_class ls_class_any = {.name = "any", .share = 5, .amd = true, .fpu = true, .make = make, .mask = mask};
const struct ls_class ls_class_any32 = {
	.name = "any32", .share = 2, .amd = true, .code32 = true, .fpu = true, .make = make, .mask = mask};
