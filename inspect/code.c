/* Disassembly, and stacks without unwind tables (code.h). */
#include "inspect/code.h"

#include <Zydis/Zydis.h>
#include <inttypes.h>
#include <string.h>

#include "inspect/symbols.h"

#define INSN_MAX     15u
#define FRAMES	     16u
#define FRAME_MAX    0x4000u /* bytes from one frame to the next */
#define SCAN_WORDS   1024u
#define SCAN_RESULTS 24u

static bool wide(const struct x86_state *st) { return st->msr.efer & EFER_LMA && st->seg[CS].attr & SEG_L; }

static ZydisMachineMode decoder_mode(const struct x86_state *st)
{
	if (wide(st))
		return ZYDIS_MACHINE_MODE_LONG_64;
	if (st->seg[CS].attr & SEG_DB)
		return ZYDIS_MACHINE_MODE_LEGACY_32;
	return st->cr0 & CR0_PE ? ZYDIS_MACHINE_MODE_LEGACY_16 : ZYDIS_MACHINE_MODE_REAL_16;
}

u64 inspect_code_address(const struct x86_state *st) { return wide(st) ? st->rip : (u32)(st->seg[CS].base + st->rip); }

void inspect_code(struct inspect_memory *m, const struct x86_state *st, u64 la, unsigned count,
		  const struct inspect_symbols *symbols, FILE *out)
{
	u64 base = wide(st) ? 0 : st->seg[CS].base, rip = inspect_code_address(st);

	for (unsigned i = 0; i < count; i++) {
		ZydisDisassembledInstruction insn;
		char hex[3 * INSN_MAX + 1] = "", name[80];
		u8 bytes[INSN_MAX];
		size_t n = inspect_read(m, la, bytes, sizeof(bytes));
		bool good = n && ZYAN_SUCCESS(ZydisDisassembleIntel(decoder_mode(st), la - base, bytes, n, &insn));

		if (!n) {
			fprintf(out, "  %016" PRIx64 "  no memory there\n", la);
			return;
		}
		n = good ? insn.info.length : 1;
		for (unsigned k = 0; k < n; k++)
			snprintf(hex + 3 * k, 4, "%02x ", bytes[k]);
		fprintf(out, "%s %016" PRIx64 "  %-30s %s%s\n", la == rip ? "=>" : "  ", la, hex,
			good ? insn.text : "(bad)", i ? "" : inspect_symbol_text(symbols, la, name, sizeof(name)));
		la += n;
	}
}

/* ---- stacks ---- */

static unsigned word_size(const struct x86_state *st) { return wide(st) ? 8 : st->seg[CS].attr & SEG_DB ? 4 : 2; }

static bool read_word(struct inspect_memory *m, const struct x86_state *st, u64 la, u64 *v)
{
	*v = 0;
	return inspect_read(m, la, v, word_size(st)) == word_size(st);
}

static void print_caller(const struct inspect_symbols *symbols, u64 slot, u64 la, FILE *out)
{
	char name[80];

	fprintf(out, "  [%016" PRIx64 "] %016" PRIx64 "%s\n", slot, la,
		inspect_symbol_text(symbols, la, name, sizeof(name)));
}

/* Whether the bytes before la are those of a call: E8 rel, or FF /2 in one of its lengths. */
static bool follows_call(struct inspect_memory *m, const struct x86_state *st, u64 la)
{
	u8 b[7];

	if (inspect_read(m, la - sizeof(b), b, sizeof(b)) != sizeof(b))
		return false;
	if (b[wide(st) || word_size(st) == 4 ? 2 : 4] == 0xe8)
		return true;
	for (unsigned i = 0; i < 6; i++)
		if (b[i] == 0xff && (b[i + 1] >> 3 & 7) == 2)
			return true;
	return false;
}

static unsigned by_frames(struct inspect_memory *m, const struct x86_state *st, u64 base,
			  const struct inspect_symbols *symbols, FILE *out)
{
	unsigned size = word_size(st), n = 0;
	u64 sp = st->gpr[RSP], bp = st->gpr[RBP], next, ret;

	for (; n < FRAMES && bp >= sp && bp - sp < FRAME_MAX && !(bp % size); n++, sp = bp + 2 * size, bp = next) {
		if (!read_word(m, st, base + bp, &next) || !read_word(m, st, base + bp + size, &ret))
			break;
		ret += wide(st) ? 0 : st->seg[CS].base;
		if (!follows_call(m, st, ret))
			break;
		if (!n)
			fprintf(out, "called from (frame pointers)\n");
		print_caller(symbols, base + bp + size, ret, out);
	}
	return n;
}

void inspect_stack(struct inspect_memory *m, const struct x86_state *st, const struct inspect_symbols *symbols,
		   FILE *out)
{
	u64 base = wide(st) ? 0 : st->seg[SS].base, code = wide(st) ? 0 : st->seg[CS].base, v;
	unsigned size = word_size(st), found = 0;
	u64 la = base + ALIGN_DOWN(st->gpr[RSP], size);

	if (!read_word(m, st, la, &v)) {
		fprintf(out, "stack at %016" PRIx64 ": no memory there\n", la);
		return;
	}
	if (by_frames(m, st, base, symbols, out))
		return;
	for (unsigned i = 0; i < SCAN_WORDS && found < SCAN_RESULTS; i++, la += size) {
		if (!read_word(m, st, la, &v))
			break;
		if (!v || !follows_call(m, st, v + code))
			continue;
		if (!found++)
			fprintf(out, "return addresses on the stack\n");
		print_caller(symbols, la, v + code, out);
	}
	if (!found)
		fprintf(out, "no return address on the stack\n");
}
