/*
 * A VMCB in words (nested.h): the rows of vmcb_desc, and the meaning of those that hold bits. APM vol. 2 appendix B
 * "VMCB Layout".
 */
#include <inttypes.h>
#include <string.h>

#include "arch/x86/exits.h"
#include "arch/x86/vmcb.h"
#include "inspect/fault.h"
#include "inspect/nested.h"

struct bit_name {
	u8 bit;
	const char *name;
};

/* How a field's value is put into words. */
struct meaning {
	const char *field;
	void (*print)(const struct meaning *m, u64 v, FILE *out);
	const struct bit_name *name; /* of its bits, `count` of them */
	u8 count;
	u8 first; /* of intercepts: enum x86_exit of bit 0, `count` bits that are numbered on */
};

static void print_bits(const struct meaning *m, u64 v, FILE *out)
{
	const char *comma = "";

	for (unsigned i = 0; i < m->count; i++)
		if (v >> m->name[i].bit & 1) {
			fprintf(out, "%s%s", comma, m->name[i].name);
			v &= ~BIT(m->name[i].bit);
			comma = ", ";
		}
	if (v)
		fprintf(out, "%sreserved bits %#" PRIx64, comma, v);
}

void inspect_svm_code(u64 code, FILE *out)
{
	enum x86_exit e = x86_exit_of_svm(code);
	const char *text = e == X86_EXITS ? "" : x86_exit_rows[e].text, *end = strstr(text, " / ");

	if (e == X86_EXITS)
		fprintf(out, "no exit has this code");
	else
		fprintf(out, "VMEXIT_%s: %.*s", x86_exit_rows[e].name, end ? (int)(end - text) : 80, text);
}

static void print_intercepts(const struct meaning *m, u64 v, FILE *out)
{
	const char *comma = "";

	for (unsigned i = 0; i < 32; i++) {
		char name[24];

		if (!(v >> i & 1))
			continue;
		if (i >= m->count)
			fprintf(out, "%sbit %u", comma, i);
		else if (m->first == EXIT_EXC0)
			fprintf(out, "%s%s", comma, inspect_vector_name(i, name));
		else
			fprintf(out, "%s%s", comma, x86_exit_rows[m->first + i].name);
		comma = ", ";
	}
}

static void print_code(const struct meaning *m, u64 v, FILE *out) { inspect_svm_code(v, out); }

/* APM vol. 2 15.20 "Event Injection". */
static void print_event(const struct meaning *m, u64 v, FILE *out)
{
	static const char *const types[8] = {[EVI_INTR] = "external interrupt",
					     [EVI_NMI] = "NMI",
					     [EVI_EXCEPTION] = "exception",
					     [EVI_SOFT_INT] = "software interrupt"};
	const char *type = types[EVI_TYPE(v)];
	char name[24];

	if (!(v & EVI_VALID)) {
		fprintf(out, "none: V is clear");
		return;
	}
	fprintf(out, "%s", type ? type : "reserved type");
	if (EVI_TYPE(v) == EVI_EXCEPTION)
		fprintf(out, " %s", inspect_vector_name(v & EVI_VECTOR, name));
	else if (EVI_TYPE(v) != EVI_NMI)
		fprintf(out, " %02xh", (unsigned)(v & EVI_VECTOR));
	if (v & EVI_ERROR)
		fprintf(out, ", error %#x", (u32)(v >> 32));
}

static void print_int_ctl(const struct meaning *m, u64 v, FILE *out)
{
	fprintf(out, "V_TPR %u, V_INTR_PRIO %u, ", (unsigned)(v & VI_TPR), (unsigned)VI_PRIO(v));
	print_bits(m, v & ~(VI_TPR | 0xf0000ull), out);
}

static void print_tlb_control(const struct meaning *m, u64 v, FILE *out)
{
	static const char *const what[8] = {[TLB_CTL_ALL] = "flush all of all ASIDs",
					    [TLB_CTL_ASID] = "flush this ASID",
					    [TLB_CTL_ASID_NONGLOBAL] = "flush this ASID's non-global translations"};

	fprintf(out, "%s", v < 8 && what[v] ? what[v] : "reserved");
}

static const struct bit_name word5[] = {{2, "INVPCID"}};
/* APM vol. 2 15.21 "Interrupt and Local APIC Support", 15.33.2 "Virtual GIF (VGIF)". */
static const struct bit_name int_ctl[] = {
	{8, "V_IRQ"},		{9, "V_GIF"},	     {11, "V_NMI"},	  {12, "V_NMI_MASK"}, {20, "V_IGN_TPR"},
	{24, "V_INTR_MASKING"}, {25, "virtual GIF"}, {26, "virtual NMI"}, {30, "x2AVIC"},     {31, "AVIC"}};
static const struct bit_name int_state[] = {{0, "interrupt shadow"}, {1, "guest interrupt mask"}};
static const struct bit_name np_control[] = {{0, "nested paging"}, {1, "SEV"}, {2, "SEV-ES"}};
static const struct bit_name virt_ext[] = {{0, "LBR virtualization"}, {1, "virtual VMLOAD and VMSAVE"}};

#define INTERCEPTS(field, first, count)                                                                                \
	{                                                                                                              \
#field, print_intercepts, NULL, count, first                                                           \
	}
#define BITS(field, names)                                                                                             \
	{                                                                                                              \
#field, print_bits, names, ARRAY_SIZE(names), 0                                                        \
	}
static const struct meaning meanings[] = {
	INTERCEPTS(cr_read, EXIT_CR0_READ, 16),
	INTERCEPTS(cr_write, EXIT_CR0_WRITE, 16),
	INTERCEPTS(dr_read, EXIT_DR0_READ, 16),
	INTERCEPTS(dr_write, EXIT_DR0_WRITE, 16),
	INTERCEPTS(exceptions, EXIT_EXC0, 32),
	INTERCEPTS(intercept3, EXIT_INTR, 32),
	INTERCEPTS(intercept4, EXIT_VMRUN, 16),
	BITS(intercept5, word5),
	{"tlb_control", print_tlb_control, NULL, 0, 0},
	{"int_ctl", print_int_ctl, int_ctl, ARRAY_SIZE(int_ctl), 0},
	BITS(int_state, int_state),
	{"exit_code", print_code, NULL, 0, 0},
	{"exit_int_info", print_event, NULL, 0, 0},
	BITS(np_control, np_control),
	{"event_inj", print_event, NULL, 0, 0},
	BITS(virt_ext, virt_ext),
};

static bool is_zero(const u8 *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static void print_segment(const struct vmcb_seg *s, FILE *out)
{
	fprintf(out, "%04x base %016" PRIx64 " limit %08x attr %03x", s->sel, s->base, s->limit, s->attr);
}

static void print_bytes(const u8 *p, size_t n, FILE *out)
{
	for (size_t i = 0; i < MIN(n, (size_t)48); i++)
		fprintf(out, "%02x", p[i]);
	if (n > 48)
		fprintf(out, "...");
}

static void print_field(const struct desc_field *f, const u8 *p, FILE *out)
{
	u64 v = 0;

	fprintf(out, "  %-15s ", f->name);
	if (f->sub) {
		print_segment((const struct vmcb_seg *)p, out);
	} else if (f->count > 1) {
		print_bytes(p, (size_t)f->size * f->count, out);
	} else {
		memcpy(&v, p, f->size);
		fprintf(out, "%0*" PRIx64, (int)f->size * 2, v);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(meanings); i++)
		if (!strcmp(meanings[i].field, f->name)) {
			fprintf(out, "  ");
			meanings[i].print(&meanings[i], v, out);
		}
	fputc('\n', out);
}

static void print_area(const struct desc *d, const u8 *p, FILE *out)
{
	const char *comma = "  0: ";

	for (u32 i = 0; i < d->nfields; i++) {
		const struct desc_field *f = &d->fields[i];

		if (!is_zero(p + f->offset, (size_t)f->size * f->count))
			print_field(f, p + f->offset, out);
	}
	for (u32 i = 0; i < d->nfields; i++) {
		const struct desc_field *f = &d->fields[i];

		if (strncmp(f->name, "rsvd_", 5) && is_zero(p + f->offset, (size_t)f->size * f->count)) {
			fprintf(out, "%s%s", comma, f->name);
			comma = " ";
		}
	}
	fputc('\n', out);
}

void inspect_vmcb(struct vm *vm, u64 pa, FILE *out)
{
	const struct desc_field *area = vmcb_desc.fields;
	struct vmcb b;

	if (ram_read(&vm->ram, pa, &b, sizeof(b))) {
		fprintf(out, "no memory for a VMCB at %#" PRIx64 "\n", pa);
		return;
	}
	fprintf(out, "VMCB at %#" PRIx64 "%s; control area\n", pa, pa & 0xfff ? ", which is no page's beginning" : "");
	print_area(area[0].sub, (const u8 *)&b.c, out);
	fprintf(out, "state-save area\n");
	print_area(area[1].sub, (const u8 *)&b.s, out);
}
