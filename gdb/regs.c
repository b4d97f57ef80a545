/* Register rows (regs.h). */
#include "gdb/regs.h"

#include <stdio.h>
#include <string.h>

enum feature { CORE, SSE, SEGMENTS, CONTROL, FEATURES };

static const char *const feature_name[FEATURES] = {
	"org.gnu.gdb.i386.core",
	"org.gnu.gdb.i386.sse",
	"org.gnu.gdb.i386.segments",
	"org.nestbox.control",
};

/* Registers that are no plain field of the state. */
enum odd { PLAIN, RFLAGS, FTAG };

struct reg {
	const char *name, *type, *group;
	u16 at;	  /* offset in struct x86_state */
	u8 bytes; /* as GDB sees it */
	u8 field; /* bytes of the field; the rest reads as 0 */
	u8 feature;
	u8 odd;
	bool fixed; /* writes are refused */
};

#define R(name_, type_, bytes_, field_, feature_, ...)                                                                 \
	{                                                                                                              \
		.name = name_, .type = type_, .bytes = bytes_, .at = offsetof(struct x86_state, field_),               \
		.field = sizeof(((struct x86_state *)0)->field_), .feature = feature_, __VA_ARGS__                     \
	}
#define GPR(name_, i)		R(name_, "int64", 8, gpr[i], CORE)
#define SEL(name_, i)		R(name_, "int32", 4, seg[i].sel, CORE, .fixed = true)
#define FST(i)			R("st" #i, "i387_ext", 10, fpu.st[i], CORE)
#define XMM(i)			R("xmm" #i, "vec128", 16, fpu.vec[i], SSE)
#define CTL(name_, field_, ...) R(name_, "int64", 8, field_, CONTROL, __VA_ARGS__)

static const struct reg rows[] = {
	GPR("rax", 0),
	GPR("rbx", 3),
	GPR("rcx", 1),
	GPR("rdx", 2),
	GPR("rsi", 6),
	GPR("rdi", 7),
	R("rbp", "data_ptr", 8, gpr[5], CORE),
	R("rsp", "data_ptr", 8, gpr[4], CORE),
	GPR("r8", 8),
	GPR("r9", 9),
	GPR("r10", 10),
	GPR("r11", 11),
	GPR("r12", 12),
	GPR("r13", 13),
	GPR("r14", 14),
	GPR("r15", 15),
	R("rip", "code_ptr", 8, rip, CORE),
	R("eflags", "i386_eflags", 4, rflags, CORE, .odd = RFLAGS),
	SEL("cs", CS),
	SEL("ss", SS),
	SEL("ds", DS),
	SEL("es", ES),
	SEL("fs", FS),
	SEL("gs", GS),
	FST(0),
	FST(1),
	FST(2),
	FST(3),
	FST(4),
	FST(5),
	FST(6),
	FST(7),
	R("fctrl", "int", 4, fpu.fcw, CORE, .group = "float"),
	R("fstat", "int", 4, fpu.fsw, CORE, .group = "float"),
	R("ftag", "int", 4, fpu.ftw, CORE, .group = "float", .odd = FTAG),
	R("fiseg", "int", 4, fpu.fcs, CORE, .group = "float"),
	R("fioff", "int", 4, fpu.fip, CORE, .group = "float"),
	R("foseg", "int", 4, fpu.fds, CORE, .group = "float"),
	R("fooff", "int", 4, fpu.fdp, CORE, .group = "float"),
	R("fop", "int", 4, fpu.fop, CORE, .group = "float"),
	XMM(0),
	XMM(1),
	XMM(2),
	XMM(3),
	XMM(4),
	XMM(5),
	XMM(6),
	XMM(7),
	XMM(8),
	XMM(9),
	XMM(10),
	XMM(11),
	XMM(12),
	XMM(13),
	XMM(14),
	XMM(15),
	R("mxcsr", "i386_mxcsr", 4, fpu.mxcsr, SSE, .group = "vector"),
	R("fs_base", "int", 8, seg[FS].base, SEGMENTS),
	R("gs_base", "int", 8, seg[GS].base, SEGMENTS),
	CTL("cr0", cr0, .fixed = true),
	CTL("cr2", cr2),
	CTL("cr3", cr3, .fixed = true),
	CTL("cr4", cr4, .fixed = true),
	CTL("efer", msr.efer, .fixed = true),
	CTL("k_gs_base", msr.kernel_gs_base),
	CTL("gdt_base", gdtr.base, .fixed = true),
	CTL("idt_base", idtr.base, .fixed = true),
	CTL("tr_base", tr.base, .fixed = true),
	CTL("cpl", cpl, .fixed = true),
	CTL("in_guest", svm.in_guest, .fixed = true),
};

unsigned regs_count(void) { return ARRAY_SIZE(rows); }
unsigned regs_size(unsigned n) { return n < ARRAY_SIZE(rows) ? rows[n].bytes : 0; }

/* The full tag word of the abridged one: SDM vol. 1 8.1.7 "x87 FPU Tag Word"; a register that is not empty is shown as
 * valid. */
static u16 full_tags(const struct x86_fpu *f)
{
	u16 tags = 0;

	for (unsigned i = 0; i < 8; i++)
		if (!(f->ftw >> i & 1))
			tags |= (u16)(3 << (2 * i));
	return tags;
}

static u16 short_tags(u16 tags)
{
	u16 ftw = 0;

	for (unsigned i = 0; i < 8; i++)
		if ((tags >> (2 * i) & 3) != 3)
			ftw |= (u16)(1 << i);
	return ftw;
}

void regs_get(const struct x86_state *st, unsigned n, u8 *buf)
{
	const struct reg *r = &rows[n];
	u64 v = 0;

	memset(buf, 0, r->bytes);
	switch (r->odd) {
	case RFLAGS:
		v = x86_rflags(st);
		memcpy(buf, &v, r->bytes);
		break;
	case FTAG:
		v = full_tags(&st->fpu);
		memcpy(buf, &v, r->bytes);
		break;
	default: memcpy(buf, (const char *)st + r->at, MIN(r->bytes, r->field)); break;
	}
}

bool regs_set(struct x86_state *st, unsigned n, const u8 *buf)
{
	const struct reg *r = &rows[n];
	u8 old[16];
	u32 v = 0;

	if (r->fixed) {
		regs_get(st, n, old);
		return !memcmp(old, buf, r->bytes);
	}
	switch (r->odd) {
	case RFLAGS:
		memcpy(&v, buf, 4);
		x86_set_rflags(st, v);
		break;
	case FTAG:
		memcpy(&v, buf, 4);
		st->fpu.ftw = short_tags((u16)v);
		break;
	default: memcpy((char *)st + r->at, buf, MIN(r->bytes, r->field)); break;
	}
	return true;
}

/* ---- the description ---- */

static const char types_core[] = "<flags id=\"i386_eflags\" size=\"4\"><field name=\"CF\" start=\"0\" "
				 "end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>"
				 "<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" "
				 "end=\"4\"/><field name=\"ZF\" start=\"6\" end=\"6\"/>"
				 "<field name=\"SF\" start=\"7\" end=\"7\"/><field name=\"TF\" start=\"8\" "
				 "end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
				 "<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" "
				 "end=\"11\"/><field name=\"NT\" start=\"14\" end=\"14\"/>"
				 "<field name=\"RF\" start=\"16\" end=\"16\"/><field name=\"VM\" start=\"17\" "
				 "end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"
				 "<field name=\"VIF\" start=\"19\" end=\"19\"/><field name=\"VIP\" start=\"20\" "
				 "end=\"20\"/><field name=\"ID\" start=\"21\" end=\"21\"/>"
				 "</flags>";
static const char types_sse[] =
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
	"<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
	"<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
	"<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" "
	"type=\"v4i32\"/>"
	"<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/></union>"
	"<flags id=\"i386_mxcsr\" size=\"4\"><field name=\"IE\" start=\"0\" end=\"0\"/><field name=\"DE\" start=\"1\" "
	"end=\"1\"/>"
	"<field name=\"ZE\" start=\"2\" end=\"2\"/><field name=\"OE\" start=\"3\" end=\"3\"/><field name=\"UE\" "
	"start=\"4\" end=\"4\"/>"
	"<field name=\"PE\" start=\"5\" end=\"5\"/><field name=\"DAZ\" start=\"6\" end=\"6\"/><field name=\"IM\" "
	"start=\"7\" end=\"7\"/>"
	"<field name=\"DM\" start=\"8\" end=\"8\"/><field name=\"ZM\" start=\"9\" end=\"9\"/><field name=\"OM\" "
	"start=\"10\" end=\"10\"/>"
	"<field name=\"UM\" start=\"11\" end=\"11\"/><field name=\"PM\" start=\"12\" end=\"12\"/><field name=\"FZ\" "
	"start=\"15\" end=\"15\"/>"
	"</flags>";

u32 regs_xml(char *buf, u32 size)
{
	static const char *const types[FEATURES] = {types_core, types_sse, "", ""};
	FILE *f = fmemopen(buf, size, "w");
	long n;

	if (!f)
		return 0;
	fprintf(f, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target version=\"1.0\">"
		   "<architecture>i386:x86-64</architecture>");
	for (unsigned k = 0; k < FEATURES; k++) {
		fprintf(f, "<feature name=\"%s\">%s", feature_name[k], types[k]);
		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
			const struct reg *r = &rows[i];

			if (r->feature != k)
				continue;
			fprintf(f, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"", r->name, r->bytes * 8,
				r->type, i);
			if (r->group)
				fprintf(f, " group=\"%s\"", r->group);
			fprintf(f, "/>");
		}
		fprintf(f, "</feature>");
	}
	fprintf(f, "</target>");
	n = ftell(f);
	fclose(f);
	return n > 0 && (u32)n < size ? (u32)n : 0;
}
