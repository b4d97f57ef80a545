/*
 * Commands as rows (monitor.h). Numbers are as in C (0x for hexadecimal) or names of --symbols; memory formats are
 * gdb's and QEMU's: x/8gx ADDRESS, x/5i ADDRESS.
 */
#include "cmd/monitor.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/msr.h"
#include "cmd/stats.h"
#include "inspect/code.h"
#include "inspect/fault.h"
#include "inspect/memory.h"
#include "inspect/nested.h"
#include "inspect/registers.h"
#include "inspect/symbols.h"
#include "machine/dump.h"
#include "machine/machine.h"
#include "machine/pc.h"

#define WORDS 4
#define ITEMS 4096u /* of one command */

struct monitor {
	struct machine *m;
	struct vm *vm;
	unsigned vcpu;
	struct x86_state *st; /* of the vCPU, fetched */
	struct inspect_memory mem;
	const struct inspect_symbols *symbols;
	char *word[WORDS]; /* behind the command's name */
	unsigned nwords;
	const char *format; /* behind the name's slash, or "" */
	FILE *out;
};

/* A number or the name of an address. Says so when it is neither. */
static bool number(struct monitor *o, unsigned n, u64 *v)
{
	char *end;

	if (n >= o->nwords)
		return false;
	*v = strtoull(o->word[n], &end, 0);
	if (!*end || inspect_symbol_find(o->symbols, o->word[n], v))
		return true;
	fprintf(o->out, "%s is neither a number nor a known name\n", o->word[n]);
	return false;
}

static u64 number_or(struct monitor *o, unsigned n, u64 otherwise)
{
	u64 v;

	return n < o->nwords && number(o, n, &v) ? v : otherwise;
}

/* ---- the processor ---- */

static void do_regs(struct monitor *o) { inspect_registers(o->st, o->vcpu, o->out); }

static void do_disas(struct monitor *o)
{
	u64 la = inspect_code_address(o->st);

	if (o->nwords && !number(o, 0, &la))
		return;
	inspect_code(&o->mem, o->st, la, (unsigned)MIN(number_or(o, 1, 8), (u64)ITEMS), o->symbols, o->out);
}

static void do_stack(struct monitor *o) { inspect_stack(&o->mem, o->st, o->symbols, o->out); }

static void do_dump(struct monitor *o) { dump_vcpu(o->vm, o->vcpu, o->st, o->symbols, o->out); }

static void do_idt(struct monitor *o)
{
	u64 n;

	if (o->nwords) {
		if (number(o, 0, &n) && n < 256)
			inspect_gate(&o->mem, o->st, (unsigned)n, o->out);
		return;
	}
	for (unsigned i = 0; i < 256 && i * 4 <= o->st->idtr.limit; i++)
		inspect_gate(&o->mem, o->st, i, o->out);
}

static bool print_msr(struct monitor *o, u32 index, const char *name)
{
	struct vcpu *v = o->vm->vcpu[o->vcpu];
	u64 value;

	if (!v->ops->read_msr || !v->ops->read_msr(v, index, &value))
		return false;
	fprintf(o->out, "%08x %-20s %016" PRIx64 "\n", index, name, value);
	return true;
}

/* One, by number; else all that are there and not part of a range. */
static void do_msr(struct monitor *o)
{
	u64 index;
	u32 last = ~0u;

	if (!o->vm->vcpu[o->vcpu]->ops->read_msr) {
		fprintf(o->out, "this engine does not tell its MSRs one by one\n");
	} else if (o->nwords) {
		if (number(o, 0, &index) && !print_msr(o, (u32)index, ""))
			fprintf(o->out, "a read of MSR %#" PRIx64 " raises #GP\n", index);
	} else {
		for (unsigned i = 0; i < x86_msr_row_count; i++)
			if (x86_msr_rows[i].count == 1 && x86_msr_rows[i].kind != MSR_KIND_LACK &&
			    x86_msr_rows[i].index != last && print_msr(o, x86_msr_rows[i].index, x86_msr_rows[i].name))
				last = x86_msr_rows[i].index;
	}
}

static void do_counters(struct monitor *o) { stats_counters(o->m, o->out); }

/* ---- the guest's own guests ---- */

static bool told(struct monitor *o)
{
	if (!machine_model(o->m))
		fprintf(o->out, "KVM tells nothing of its guest's VMCBs and VMCSs: --accel soft does\n");
	return machine_model(o->m);
}

/* [CPU|ADDRESS]: a vCPU's state becomes o->st, and *at ~0; else *at is the address. */
static bool choose(struct monitor *o, u64 *at)
{
	if (o->nwords && !number(o, 0, at))
		return false;
	if (o->nwords && *at >= o->vm->nvcpus)
		return true;
	if (!told(o))
		return false;
	if (o->nwords) {
		o->vcpu = (unsigned)*at;
		o->vm->vcpu[*at]->ops->get_state(o->vm->vcpu[*at], o->st);
	}
	*at = ~0ull;
	return true;
}

/* The VMCB or VMCS that the processor is in or works on, or ran last. */
static bool current_guest(struct monitor *o, u64 *at)
{
	bool svm = o->st->vendor == X86_AMD;

	if (!svm && o->st->vmx.on && o->st->vmx.vmcs != X86_NO_VMCS)
		*at = o->st->vmx.vmcs;
	else
		*at = o->vm->vcpu[o->vcpu]->ops->guests(o->vm->vcpu[o->vcpu])->last;
	if (*at != ~0ull)
		return true;
	fprintf(o->out, "vCPU %u has run no guest by %s so far\n", o->vcpu, svm ? "SVM" : "VMX");
	return false;
}

static void do_entry(struct monitor *o)
{
	u64 at;

	if (!choose(o, &at) || !told(o))
		return;
	if (o->st->vendor != X86_AMD) {
		if (at != ~0ull)
			o->st->vmx.vmcs = at;
		inspect_vmentry(o->vm, o->st, machine_model(o->m), o->out);
	} else if (at != ~0ull || current_guest(o, &at)) {
		inspect_vmrun(o->vm, o->st, machine_model(o->m), at, o->out);
	}
}

static void view(struct monitor *o, enum x86_vendor vendor, void (*print)(struct vm *vm, u64 pa, FILE *out))
{
	u64 at;

	if (!choose(o, &at))
		return;
	if (at != ~0ull)
		print(o->vm, at, o->out);
	else if (o->st->vendor != vendor)
		fprintf(o->out, "this processor has %s\n", vendor == X86_AMD ? "VMX: vmcs" : "SVM: vmcb");
	else if (current_guest(o, &at))
		print(o->vm, at, o->out);
}

static void do_vmcb(struct monitor *o) { view(o, X86_AMD, inspect_vmcb); }
static void do_vmcs(struct monitor *o) { view(o, X86_INTEL, inspect_vmcs); }

/* ---- memory ---- */

/* What /NFU asks for: a count, a format of x d u o c i, a unit of b h w g. */
struct layout {
	unsigned count, unit;
	char format;
};

static bool layout_of(struct monitor *o, struct layout *l)
{
	const char *p = o->format;

	*l = (struct layout){.count = 1, .unit = 4, .format = 'x'};
	if (isdigit((unsigned char)*p))
		l->count = (unsigned)strtoul(p, (char **)&p, 10);
	for (; *p; p++) {
		const char *units = "bhwg", *unit = strchr(units, *p);

		if (unit)
			l->unit = 1u << (unit - units);
		else if (strchr("xduoci", *p))
			l->format = *p;
		else
			return false;
		if (*p == 'c')
			l->unit = 1;
	}
	l->count = MIN(l->count, ITEMS);
	return true;
}

static void print_item(FILE *out, const struct layout *l, u64 v)
{
	s64 s = (s64)(v << (64 - 8 * l->unit)) >> (64 - 8 * l->unit);

	switch (l->format) {
	case 'd': fprintf(out, " %" PRId64, s); break;
	case 'u': fprintf(out, " %" PRIu64, v); break;
	case 'o': fprintf(out, " %0*" PRIo64, (int)(l->unit * 8 + 2) / 3, v); break;
	case 'c': fprintf(out, v >= 0x20 && v < 0x7f ? " '%c'" : " \\%03o", (int)v); break;
	default: fprintf(out, " %0*" PRIx64, (int)l->unit * 2, v); break;
	}
}

static bool read_item(struct monitor *o, bool physical, u64 at, u64 *v, unsigned size)
{
	*v = 0;
	if (physical)
		return !ram_read(&o->vm->ram, at, v, size);
	return inspect_read(&o->mem, at, v, size) == size;
}

static void items(struct monitor *o, bool physical, u64 at, const struct layout *l)
{
	unsigned line = 16 / l->unit;

	for (unsigned i = 0; i < l->count; i++, at += l->unit) {
		u64 v;

		if (i % line == 0)
			fprintf(o->out, "%s%016" PRIx64 " ", i ? "\n" : "", at);
		if (!read_item(o, physical, at, &v, l->unit)) {
			fprintf(o->out, " %s", physical ? "no memory there" : "not mapped");
			break;
		}
		print_item(o->out, l, v);
	}
	fputc('\n', o->out);
}

/* Without a format: bytes, and as text. */
static void plain_dump(struct monitor *o, bool physical, u64 at, u64 n)
{
	for (u64 end = at + MIN(n, (u64)ITEMS); at < end; at += 16) {
		unsigned k, want = (unsigned)MIN(end - at, 16ull);
		char text[17] = "";

		fprintf(o->out, "%016" PRIx64 " ", at);
		for (k = 0; k < want; k++) {
			u64 v;

			if (!read_item(o, physical, at + k, &v, 1))
				break;
			fprintf(o->out, " %02x", (unsigned)v);
			text[k] = v >= 0x20 && v < 0x7f ? (char)v : '.';
		}
		fprintf(o->out, "%*s  %s\n", (int)(16 - k) * 3, "", text);
		if (k < want) {
			fprintf(o->out, "%016" PRIx64 "  %s\n", at + k, physical ? "no memory there" : "not mapped");
			return;
		}
	}
}

static void memory(struct monitor *o, bool physical)
{
	struct layout l;
	u64 at;

	if (!number(o, 0, &at))
		return;
	if (!layout_of(o, &l))
		fprintf(o->out, "/%s is no format: a count, one of x d u o c i, one of b h w g\n", o->format);
	else if (!*o->format)
		plain_dump(o, physical, at, number_or(o, 1, 64));
	else if (l.format == 'i' && physical)
		fprintf(o->out, "instructions are shown by linear address: x/i\n");
	else if (l.format == 'i')
		inspect_code(&o->mem, o->st, at, l.count, o->symbols, o->out);
	else
		items(o, physical, at, &l);
}

static void do_x(struct monitor *o) { memory(o, false); }
static void do_phys(struct monitor *o) { memory(o, true); }

static void do_walk(struct monitor *o)
{
	u64 la;

	if (number(o, 0, &la))
		inspect_walk(&o->mem, o->st, la, o->out);
}

/* ---- the board ---- */

struct chip_wanted {
	struct monitor *o;
	const char *name;
	s64 nth; /* of that name; -1: all */
	u64 seen;
	bool list;
};

static void show_chip(void *ctx, const struct device_class *class, void *dev)
{
	struct chip_wanted *w = ctx;

	if (w->list) {
		fprintf(w->o->out, "%s%s", w->seen++ ? " " : "", class->name);
		return;
	}
	if (strcmp(class->name, w->name))
		return;
	if (w->seen++ != (u64)w->nth && w->nth >= 0)
		return;
	if (class->words)
		class->words(dev, w->o->out);
	else if (class->state)
		desc_print(class->state, dev, w->o->out);
	else
		fprintf(w->o->out, "%s has no registers that keep a value\n", class->name);
}

static void chip(struct monitor *o, const char *name, s64 nth)
{
	struct chip_wanted w = {.o = o, .name = name, .nth = nth};

	vm_lock(o->vm);
	pc_each(machine_pc(o->m), show_chip, &w);
	vm_unlock(o->vm);
	if (!w.seen)
		fprintf(o->out, "there is no %s on this board\n", name);
	else if (nth >= (s64)w.seen)
		fprintf(o->out, "there are %" PRIu64 " of %s\n", w.seen, name);
}

static void do_lapic(struct monitor *o) { chip(o, "lapic", (s64)MIN(number_or(o, 0, o->vcpu), (u64)INT32_MAX)); }
static void do_ioapic(struct monitor *o) { chip(o, "ioapic", -1); }
static void do_pic(struct monitor *o) { chip(o, "pic", -1); }

static void do_chip(struct monitor *o)
{
	struct chip_wanted w = {.o = o, .list = true};

	if (o->nwords) {
		chip(o, o->word[0], o->nwords > 1 ? (s64)MIN(number_or(o, 1, 0), (u64)INT32_MAX) : -1);
		return;
	}
	pc_each(machine_pc(o->m), show_chip, &w);
	fputc('\n', o->out);
}

static void do_irq(struct monitor *o)
{
	vm_lock(o->vm);
	dump_interrupts(machine_pc(o->m), o->out);
	vm_unlock(o->vm);
}

static void do_timers(struct monitor *o)
{
	vm_lock(o->vm);
	dump_timers(machine_pc(o->m), o->out);
	vm_unlock(o->vm);
}

/* ---- the list ---- */

static const struct {
	const char *name, *args, *help;
	unsigned needs;
	void (*run)(struct monitor *o);
} commands[] = {
	{"regs", "", "the vCPU's registers, and what keeps events away", 0, do_regs},
	{"dump", "", "the same, the instructions at RIP and the callers; of a shutdown its faults", 0, do_dump},
	{"disas", "[ADDRESS [N]]", "instructions, from RIP unless told", 0, do_disas},
	{"stack", "", "who called: frame pointers, or return addresses on the stack", 0, do_stack},
	{"x", "ADDRESS [BYTES]", "memory at a linear address; x/NFU: N items, F of x d u o c i, U of b h w g", 1, do_x},
	{"phys", "ADDRESS [BYTES]", "memory at a physical address; phys/NFU", 1, do_phys},
	{"walk", "ADDRESS", "each level of a linear address's translation, nested stages too", 1, do_walk},
	{"msr", "[INDEX]", "a model-specific register, or all that stand alone", 0, do_msr},
	{"idt", "[VECTOR]", "the interrupt descriptor table", 0, do_idt},
	{"entry", "[CPU|ADDRESS]", "why the next VMRUN, VMLAUNCH or VMRESUME would fail: each rule, with its section",
	 0, do_entry},
	{"vmcb", "[CPU|ADDRESS]", "a VMCB in words: the one that the vCPU ran last, or one in memory", 0, do_vmcb},
	{"vmcs", "[CPU|ADDRESS]", "a VMCS in words: the current one, or one in memory", 0, do_vmcs},
	{"lapic", "[CPU]", "local APIC: registers, pending and in-service vectors, timer", 0, do_lapic},
	{"ioapic", "", "inputs and redirection entries of the I/O APIC", 0, do_ioapic},
	{"pic", "", "the 8259 pair", 0, do_pic},
	{"irq", "", "interrupts so far, by vector and processor, and by input of the I/O APIC", 0, do_irq},
	{"timers", "", "which timers run, and when they fire", 0, do_timers},
	{"chip", "[NAME [N]]", "the registers of a chip of the board, or the chips' names", 0, do_chip},
	{"counters", "", "what all vCPUs have counted so far", 0, do_counters},
};

static void list(FILE *out)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "%-8s %-16s %s\n", commands[i].name, commands[i].args, commands[i].help);
	fprintf(out, "%-8s %-16s %s\n", "help", "", "this list");
}

/* A name, perhaps with /FORMAT, and words. false: there is none, or there are too many. */
static bool parse(struct monitor *o, char *line, char **name)
{
	char *save = NULL, *word, *slash;

	*name = strtok_r(line, " \t\r\n", &save);
	o->format = "";
	if (!*name)
		return false;
	slash = strchr(*name, '/');
	if (slash) {
		*slash = 0;
		o->format = slash + 1;
	}
	while ((word = strtok_r(NULL, " \t\r\n", &save))) {
		if (o->nwords == WORDS)
			return false;
		o->word[o->nwords++] = word;
	}
	return true;
}

void monitor_run(struct machine *m, unsigned vcpu, const char *line, FILE *out)
{
	struct monitor o = {.m = m, .vm = machine_vm(m), .vcpu = vcpu, .st = malloc(sizeof(*o.st)), .out = out};
	char *copy = strdup(line), *name = NULL;
	unsigned i = ARRAY_SIZE(commands);

	if (o.st && copy && vcpu < o.vm->nvcpus && parse(&o, copy, &name))
		for (i = 0; i < ARRAY_SIZE(commands); i++)
			if (!strcmp(name, commands[i].name) && o.nwords >= commands[i].needs)
				break;
	if (i < ARRAY_SIZE(commands)) {
		o.symbols = machine_symbols(m);
		o.vm->vcpu[vcpu]->ops->get_state(o.vm->vcpu[vcpu], o.st);
		inspect_memory(&o.mem, o.vm, o.st);
		commands[i].run(&o);
	} else {
		list(out);
	}
	free(copy);
	free(o.st);
}
