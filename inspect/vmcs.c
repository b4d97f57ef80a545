/*
 * A VMCS in words (nested.h): the rows of vmcs.def, control words by the manual's names for their bits. SDM vol. 3
 * chapter 24 "Virtual Machine Control Structures".
 */
#include <inttypes.h>

#include "arch/x86/exits.h"
#include "inspect/capabilities.h"
#include "inspect/fault.h"
#include "inspect/nested.h"

struct meaning {
	enum vmcs_field field;
	void (*print)(const struct meaning *m, u64 v, FILE *out);
	u8 word; /* enum vmx_word, of controls */
};

static void print_controls(const struct meaning *m, u64 v, FILE *out)
{
	const char *comma = "";

	for (unsigned i = 0; i < 32; i++) {
		const char *text = v >> i & 1 ? capability_control_text((enum vmx_word)m->word, i) : NULL;

		if (!text)
			continue;
		fprintf(out, "%s%s", comma, text);
		comma = ", ";
	}
}

static void print_exceptions(const struct meaning *m, u64 v, FILE *out)
{
	const char *comma = "";
	char name[24];

	for (unsigned i = 0; i < 32; i++)
		if (v >> i & 1) {
			fprintf(out, "%s%s", comma, inspect_vector_name(i, name));
			comma = ", ";
		}
}

/* SDM vol. 3 24.8.3 "VM-Entry Controls for Event Injection", 24.9.2, 24.9.3. */
static void print_event(const struct meaning *m, u64 v, FILE *out)
{
	static const char *const types[8] = {
		"external interrupt", "reserved type",	    "NMI",
		"hardware exception", "software interrupt", "privileged software exception",
		"software exception", "other event"};
	unsigned type = VEV_TYPE(v);
	bool exception = type == VEV_HARD_EXC || type == VEV_PRIV_SOFT || type == VEV_SOFT_EXC;
	char name[24];

	if (!(v & VEV_VALID)) {
		fprintf(out, "none: the valid bit is clear");
		return;
	}
	fprintf(out, "%s", types[type]);
	if (exception)
		fprintf(out, " %s", inspect_vector_name(v & 0xff, name));
	else if (type != VEV_NMI)
		fprintf(out, " %02xh", (unsigned)(v & 0xff));
	fprintf(out, "%s%s", v & VEV_ERROR ? ", with an error code" : "",
		v & VEV_NMI_IRET && m->field == VMCS_EXIT_EVENT ? ", NMI unblocking due to IRET" : "");
}

static void print_reason(const struct meaning *m, u64 v, FILE *out)
{
	fprintf(out, "%s%s", x86_exit_vmx_text(v & 0xffff), v & VMX_ENTRY_FAILED ? " (VM-entry failure)" : "");
}

static void print_error(const struct meaning *m, u64 v, FILE *out) { fprintf(out, "%s", vmx_error_text(v)); }

static void print_activity(const struct meaning *m, u64 v, FILE *out)
{
	static const char *const texts[] = {"active", "HLT", "shutdown", "wait-for-SIPI"};

	fprintf(out, "%s", v < ARRAY_SIZE(texts) ? texts[v] : "reserved");
}

static void print_interruptibility(const struct meaning *m, u64 v, FILE *out)
{
	static const char *const texts[] = {"STI", "MOV SS", "SMI", "NMI"};
	const char *comma = "blocking by ";

	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++)
		if (v >> i & 1) {
			fprintf(out, "%s%s", comma, texts[i]);
			comma = ", ";
		}
}

static const struct meaning meanings[] = {
	{VMCS_PIN, print_controls, VMX_PIN},
	{VMCS_PROC, print_controls, VMX_PROC},
	{VMCS_PROC2, print_controls, VMX_PROC2},
	{VMCS_EXIT, print_controls, VMX_EXIT},
	{VMCS_ENTRY, print_controls, VMX_ENTRY},
	{VMCS_EXCEPTIONS, print_exceptions, 0},
	{VMCS_ENTRY_EVENT, print_event, 0},
	{VMCS_EXIT_EVENT, print_event, 0},
	{VMCS_IDT_EVENT, print_event, 0},
	{VMCS_REASON, print_reason, 0},
	{VMCS_INSN_ERROR, print_error, 0},
	{VMCS_GUEST_ACTIVITY, print_activity, 0},
	{VMCS_GUEST_INTERRUPTIBILITY, print_interruptibility, 0},
};

static void print_field(enum vmcs_field f, u64 v, FILE *out)
{
	static const u8 digits[4] = {4, 16, 8, 16};

	fprintf(out, "  %04x %-24s %0*" PRIx64, vmcs_rows[f].encoding, vmcs_rows[f].name,
		digits[VMCS_WIDTH(vmcs_rows[f].encoding)], v);
	for (unsigned i = 0; i < ARRAY_SIZE(meanings); i++)
		if (meanings[i].field == f) {
			fprintf(out, "  ");
			meanings[i].print(&meanings[i], v, out);
		}
	fputc('\n', out);
}

void inspect_vmcs(struct vm *vm, u64 pa, FILE *out)
{
	const char *comma = "  0: ";
	struct vmcs v;

	if (ram_read(&vm->ram, pa, &v, sizeof(v))) {
		fprintf(out, "no memory for a VMCS at %#" PRIx64 "\n", pa);
		return;
	}
	fprintf(out, "VMCS at %#" PRIx64 "%s: revision %08x%s%s, %s\n", pa,
		pa & 0xfff ? ", which is no page's beginning" : "", v.revision & (u32)~VMCS_IS_SHADOW,
		(v.revision & (u32)~VMCS_IS_SHADOW) == VMCS_REVISION ? "" : " (not this processor's)",
		v.revision & VMCS_IS_SHADOW ? ", a shadow VMCS" : "", v.launch == VMCS_LAUNCHED ? "launched" : "clear");
	if (v.abort)
		fprintf(out, "  VMX abort %u: %s\n", v.abort, vmx_abort_text(v.abort));
	for (unsigned f = 0; f < VMCS_FIELDS; f++)
		if (v.f[f])
			print_field((enum vmcs_field)f, v.f[f], out);
	for (unsigned f = 0; f < VMCS_FIELDS; f++)
		if (!v.f[f]) {
			fprintf(out, "%s%s", comma, vmcs_rows[f].name);
			comma = " ";
		}
	fputc('\n', out);
}
