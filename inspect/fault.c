/*
 * Faults and gates in words (fault.h). SDM vol. 3 6.13 "Error Code", 4.7 "Page-Fault Exceptions", 6.11 "IDT
 * Descriptors", 6.14.1 "64-Bit Mode IDT", 20.1.4 "Interrupt and Exception Handling" (in real mode).
 */
#include "inspect/fault.h"

#include <inttypes.h>
#include <stdio.h>

#include "arch/x86/descriptor.h"

const char *inspect_vector_name(unsigned vector, char buf[24])
{
	static const char *const names[32] = {
		[EXC_DE] = "#DE", [EXC_DB] = "#DB", [EXC_NMI] = "NMI", [EXC_BP] = "#BP", [EXC_OF] = "#OF",
		[EXC_BR] = "#BR", [EXC_UD] = "#UD", [EXC_NM] = "#NM",  [EXC_DF] = "#DF", [EXC_TS] = "#TS",
		[EXC_NP] = "#NP", [EXC_SS] = "#SS", [EXC_GP] = "#GP",  [EXC_PF] = "#PF", [EXC_MF] = "#MF",
		[EXC_AC] = "#AC", [EXC_MC] = "#MC", [EXC_XM] = "#XM",  [EXC_VE] = "#VE", [EXC_CP] = "#CP",
		[EXC_SX] = "#SX",
	};

	if (vector < 32 && names[vector])
		return names[vector];
	snprintf(buf, 24, "interrupt %02xh", vector);
	return buf;
}

static void print_error(const struct vcpu_fault *f, FILE *out)
{
	static const char *const page_bits[] = {"present", "write", "user", "reserved bit", "fetch", "protection key"};
	u32 e = f->error;

	if (f->vector == EXC_PF) {
		fprintf(out, " at %016" PRIx64 ", error %#x (%s", f->cr2, e, e & 1 ? "present" : "not present");
		for (unsigned i = 1; i < ARRAY_SIZE(page_bits); i++)
			if (e >> i & 1)
				fprintf(out, ", %s", page_bits[i]);
		fputc(')', out);
	} else if (f->has_error) {
		fprintf(out, ", error %#x", e);
		if (e & 2)
			fprintf(out, " (IDT entry %u)", e >> 3 & 0xff);
		else if (e & ~1u)
			fprintf(out, " (selector %04x of the %s)", e & 0xfffc, e & 4 ? "LDT" : "GDT");
	}
}

static void print_fault(const char *when, const struct vcpu_fault *f, FILE *out)
{
	char name[24];

	if (!f->known)
		return;
	if (f->interrupt)
		fprintf(out, "  %s: interrupt %02xh", when, f->vector);
	else
		fprintf(out, "  %s: %s", when, inspect_vector_name(f->vector, name));
	if (!f->interrupt)
		print_error(f, out);
	fputc('\n', out);
}

/* ---- gates ---- */

static void print_gate64(const u64 d[2], FILE *out)
{
	unsigned type = d[0] >> 40 & 0x1f;
	u64 offset = (d[0] & 0xffff) | (d[0] >> 32 & 0xffff0000) | d[1] << 32;

	if (!(d[0] & DESC_P))
		fprintf(out, "not present (%016" PRIx64 " %016" PRIx64 ")\n", d[0], d[1]);
	else if (type != SYS_INT && type != SYS_TRAP)
		fprintf(out, "no gate: type %u (%016" PRIx64 " %016" PRIx64 ")\n", type, d[0], d[1]);
	else
		fprintf(out, "%s gate to %04x:%016" PRIx64 " dpl %u ist %u\n", type == SYS_INT ? "interrupt" : "trap",
			(unsigned)(d[0] >> 16 & 0xffff), offset, (unsigned)(d[0] >> 45 & 3),
			(unsigned)(d[0] >> 32 & 7));
}

static void print_gate32(u64 d, FILE *out)
{
	static const char *const kinds[16] = {
		[SYS_TASK_GATE] = "task",     [SYS_INT16] = "16-bit interrupt",
		[SYS_TRAP16] = "16-bit trap", [SYS_INT] = "interrupt",
		[SYS_TRAP] = "trap",
	};
	unsigned type = d >> 40 & 0x1f;

	if (!(d & DESC_P))
		fprintf(out, "not present (%016" PRIx64 ")\n", d);
	else if (type > 15 || !kinds[type])
		fprintf(out, "no gate: type %u (%016" PRIx64 ")\n", type, d);
	else
		fprintf(out, "%s gate to %04x:%08x dpl %u\n", kinds[type], (unsigned)(d >> 16 & 0xffff),
			(u32)((d & 0xffff) | (d >> 32 & 0xffff0000)), (unsigned)(d >> 45 & 3));
}

void inspect_gate(struct inspect_memory *m, const struct x86_state *st, unsigned vector, FILE *out)
{
	bool protected = st->cr0 & CR0_PE, wide = st->msr.efer & EFER_LMA;
	unsigned size = wide ? 16 : protected ? 8 : 4;
	u64 at = st->idtr.base + (u64)vector * size, d[2] = {0};

	fprintf(out, "  IDT entry %u at %016" PRIx64 ": ", vector, at);
	if (vector * size + size - 1 > st->idtr.limit)
		fprintf(out, "beyond the IDT's limit %" PRIx64 "\n", st->idtr.limit);
	else if (inspect_read(m, at, d, size) != size)
		fprintf(out, "not mapped\n");
	else if (wide)
		print_gate64(d, out);
	else if (protected)
		print_gate32(d[0], out);
	else
		fprintf(out, "%04x:%04x\n", (unsigned)(d[0] >> 16 & 0xffff), (unsigned)(d[0] & 0xffff));
}

void inspect_faults(const struct vcpu_shutdown *s, FILE *out)
{
	print_fault("first", &s->first, out);
	print_fault("then, on the way to its handler", &s->second, out);
	print_fault("then, on the way to the double fault's", &s->third, out);
}

void inspect_shutdown(struct inspect_memory *m, const struct x86_state *st, const struct vcpu_shutdown *s, FILE *out)
{
	inspect_faults(s, out);
	if (s->first.known)
		inspect_gate(m, st, s->first.vector, out);
	if (s->third.known && s->first.vector != EXC_DF)
		inspect_gate(m, st, EXC_DF, out);
}
