/*
 * What AMD's processors ignore in VEX and EVEX prefixes, and Intel's answer with #UD, as the decoder does: the register
 * bits of VEX-encoded opmask operands beyond k7, EVEX.V' outside 64-bit code, EVEX.z of instructions that know no
 * masking and store nothing to memory, EVEX.b of the register forms of those that know a broadcast and no rounding, W
 * of VPERMQ and VPERMPD; and LOCK of VERW with an operand in memory. The manuals do not list it (SDM vol. 2 2.7.11 "#UD
 * Equations for EVEX", APM vol. 3 1.4 "VEX Prefix"); lockstep finds it on silicon.
 *
 * An encoding that the decoder refuses is tried again with such bits as if they were right, as few of them as possible.
 */
#include <string.h>

#include "cpu/x86/decode.h"

struct lax_bit {
	u8 byte, bit; /* behind the C4 or 62 */
	bool set;     /* the value that the decoder wants */
};

static bool is_opmask(unsigned map, unsigned opcode)
{
	if (map == 3)
		return opcode >= 0x30 && opcode <= 0x33;
	return map == 1 && ((opcode >= 0x41 && opcode <= 0x4b) || (opcode >= 0x90 && opcode <= 0x93) ||
			    opcode == 0x98 || opcode == 0x99);
}

static unsigned lax_vex(const u8 *p, struct lax_bit *bits)
{
	unsigned n = 0, map = p[1] & 31, opcode = p[3];

	if (map == 3 && opcode < 2) {			/* VPERMQ, VPERMPD */
		bits[0] = (struct lax_bit){2, 7, true}; /* W */
		return 1;
	}
	if (!is_opmask(map, opcode))
		return 0;
	bits[n++] = (struct lax_bit){1, 7, true}; /* R */
	if (opcode < 0x90 && opcode != 0x44 && map == 1)
		bits[n++] = (struct lax_bit){2, 6, true}; /* vvvv, inverted */
	if (p[4] >> 6 == 3)
		bits[n++] = (struct lax_bit){1, 5, true}; /* B */
	return n;
}

/* The form of two bytes. */
static unsigned lax_vex2(const u8 *p, struct lax_bit *bits)
{
	unsigned n = 0, opcode = p[2];

	if (!is_opmask(1, opcode))
		return 0;
	bits[n++] = (struct lax_bit){1, 7, true}; /* R */
	if (opcode < 0x90 && opcode != 0x44)
		bits[n++] = (struct lax_bit){1, 6, true}; /* vvvv, inverted */
	return n;
}

/* LOCK VERW, with REPE, which means nothing here, in the place of LOCK. */
static bool lax_verw(const ZydisDecoder *d, u8 *bytes, unsigned avail, unsigned prefixes, ZydisDecodedInstruction *zi,
		     ZydisDecodedOperand *op)
{
	const u8 *p = bytes + prefixes;

	if (p[0] != 0x0f || p[1] != 0 || (p[2] >> 3 & 7) != 5 || p[2] >> 6 == 3)
		return false;
	for (unsigned i = 0; i < prefixes; i++)
		if (bytes[i] == 0xf0)
			bytes[i] = 0xf3;
	return ZYAN_SUCCESS(ZydisDecoderDecodeFull(d, bytes, avail, zi, op));
}

static bool decodes_with(const ZydisDecoder *d, const u8 *p, unsigned avail, unsigned byte, u8 keep, u8 set,
			 bool memory)
{
	ZydisDecodedInstruction zi;
	u8 copy[INSN_BYTES_MAX + 5] = {0};

	memcpy(copy, p, avail);
	copy[byte] = (copy[byte] & keep) | set;
	if (memory) { /* without masking */
		copy[3] &= 0x78;
		copy[5] &= 0x38;
	}
	return ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(d, NULL, copy, sizeof(copy), &zi));
}

/* VPMOVxxM, VPMOVMxx, VPBROADCASTMxx. */
static bool names_opmask(const u8 *p)
{
	return (p[1] & 7) == 2 && (p[2] & 3) == 2 && ((p[4] >= 0x28 && p[4] <= 0x2a) || (p[4] >= 0x38 && p[4] <= 0x3a));
}

static unsigned lax_evex(const ZydisDecoder *d, const u8 *p, unsigned avail, bool code64, struct lax_bit *bits)
{
	unsigned n = 0;
	u8 v = code64 ? 0 : 8; /* V' as it is meant */

	if (!code64)
		bits[n++] = (struct lax_bit){3, 3, true}; /* V', inverted */
	/* z, if no mask is possible; b likewise as it may be. */
	if ((p[3] & 0x87) == 0x80 && !names_opmask(p) && !decodes_with(d, p, avail, 3, 0x78, 1 | v, false) &&
	    !decodes_with(d, p, avail, 3, 0x68, 1 | v, false))
		bits[n++] = (struct lax_bit){3, 7, false};
	if (p[5] >> 6 != 3 || !(p[3] & 0x10))
		return n;
	if (decodes_with(d, p, avail, 3, 0xff, v, true)) {
		bits[n++] = (struct lax_bit){3, 4, false}; /* b */
	} else if (!code64 && (p[1] & 7) == 1 && (p[2] & 0x83) == 0x83 && (p[4] == 0x2a || p[4] == 0x7b)) {
		/* VCVTSI2SD and VCVTUSI2SD: outside 64-bit code all that W does is to allow rounding, of what is exact.
		 */
		bits[n++] = (struct lax_bit){3, 4, false};
		bits[n++] = (struct lax_bit){3, 5, false};
		bits[n++] = (struct lax_bit){3, 6, false};
	}
	return n;
}

bool decode_lax(const ZydisDecoder *d, u8 *bytes, unsigned avail, unsigned prefixes, bool code64,
		ZydisDecodedInstruction *zi, ZydisDecodedOperand *op)
{
	struct lax_bit bits[8];
	unsigned n, at = prefixes;
	u8 copy[INSN_BYTES_MAX];

	if (at + 3 <= avail && lax_verw(d, bytes, avail, at, zi, op))
		return true;
	if (at + 6 > avail)
		return false;
	if (bytes[at] == 0xc5)
		n = lax_vex2(bytes + at, bits);
	else if (bytes[at] == 0xc4)
		n = lax_vex(bytes + at, bits);
	else if (bytes[at] == 0x62)
		n = lax_evex(d, bytes + at, avail - at, code64, bits);
	else
		return false;
	for (unsigned wanted = 1; wanted <= n; wanted++)
		for (unsigned set = 1; set < 1u << n; set++) {
			if ((unsigned)__builtin_popcount(set) != wanted)
				continue;
			memcpy(copy, bytes, avail);
			for (unsigned i = 0; i < n; i++)
				if (set >> i & 1)
					copy[at + bits[i].byte] =
						(u8)((copy[at + bits[i].byte] & ~(1u << bits[i].bit)) |
						     (unsigned)bits[i].set << bits[i].bit);
			if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(d, copy, avail, zi, op)) &&
			    !(bytes[at] == 0x62 && (bytes[at + 3] & ~copy[at + 3] & 0x80) && op_is_mem(&op[0]))) {
				memcpy(bytes, copy, avail);
				return true;
			}
		}
	return false;
}
