/* Commands as rows (monitor.h). Numbers are hexadecimal with 0x, as in C. */
#include "cmd/monitor.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/stats.h"
#include "inspect/memory.h"
#include "inspect/registers.h"
#include "machine/machine.h"

struct monitor {
	struct machine *m;
	struct vm *vm;
	unsigned vcpu;
	struct x86_state *st; /* of the vCPU, fetched */
	u64 arg[2];
	unsigned nargs;
	FILE *out;
};

static void do_regs(struct monitor *o) { inspect_registers(o->st, o->vcpu, o->out); }

static void dump_line(FILE *out, u64 at, const u8 *p, size_t n)
{
	fprintf(out, "%016" PRIx64 " ", at);
	for (size_t i = 0; i < 16; i++) {
		if (i < n)
			fprintf(out, " %02x", p[i]);
		else
			fputs("   ", out);
	}
	fputs("  ", out);
	for (size_t i = 0; i < n; i++)
		fputc(p[i] >= 0x20 && p[i] < 0x7f ? p[i] : '.', out);
	fputc('\n', out);
}

static u64 wanted_bytes(const struct monitor *o) { return o->nargs > 1 ? MIN(o->arg[1], 4096ull) : 64; }

static void do_x(struct monitor *o)
{
	struct inspect_memory mem;
	u64 end = o->arg[0] + wanted_bytes(o);
	u8 buf[16];

	inspect_memory(&mem, o->vm, o->st);
	for (u64 la = o->arg[0]; la < end; la += 16) {
		size_t want = MIN(end - la, 16ull), n = inspect_read(&mem, la, buf, want);

		if (n)
			dump_line(o->out, la, buf, n);
		if (n < want) {
			fprintf(o->out, "%016" PRIx64 "  not mapped\n", la + n);
			return;
		}
	}
}

static void do_phys(struct monitor *o)
{
	u64 end = o->arg[0] + wanted_bytes(o);
	u8 buf[16];

	for (u64 pa = o->arg[0]; pa < end; pa += 16) {
		size_t n = MIN(end - pa, 16ull);

		if (ram_read(&o->vm->ram, pa, buf, n)) {
			fprintf(o->out, "%016" PRIx64 "  no memory there\n", pa);
			return;
		}
		dump_line(o->out, pa, buf, n);
	}
}

static void do_walk(struct monitor *o)
{
	struct inspect_memory mem;

	inspect_memory(&mem, o->vm, o->st);
	inspect_walk(&mem, o->st, o->arg[0], o->out);
}

static void do_counters(struct monitor *o) { stats_counters(o->m, o->out); }

static const struct {
	const char *name, *args, *help;
	unsigned needs;
	void (*run)(struct monitor *o);
} commands[] = {
	{"regs", "", "the vCPU's registers, and what keeps events away", 0, do_regs},
	{"x", "ADDRESS [BYTES]", "memory at a linear address", 1, do_x},
	{"phys", "ADDRESS [BYTES]", "memory at a physical address", 1, do_phys},
	{"walk", "ADDRESS", "each level of a linear address's translation, nested stages too", 1, do_walk},
	{"counters", "", "what all vCPUs have counted so far", 0, do_counters},
};

static void list(FILE *out)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(out, "%-8s %-16s %s\n", commands[i].name, commands[i].args, commands[i].help);
}

/* Words of a line: a name and up to two numbers. */
static bool parse(struct monitor *o, char *line, char **name)
{
	char *save = NULL, *word, *end;

	*name = strtok_r(line, " \t\r\n", &save);
	while (*name && (word = strtok_r(NULL, " \t\r\n", &save))) {
		if (o->nargs == ARRAY_SIZE(o->arg))
			return false;
		o->arg[o->nargs++] = strtoull(word, &end, 0);
		if (*end)
			return false;
	}
	return *name != NULL;
}

void monitor_run(struct machine *m, unsigned vcpu, const char *line, FILE *out)
{
	struct monitor o = {.m = m, .vm = machine_vm(m), .vcpu = vcpu, .st = malloc(sizeof(*o.st)), .out = out};
	char *copy = strdup(line), *name = NULL;
	unsigned i = ARRAY_SIZE(commands);

	if (o.st && copy && vcpu < o.vm->nvcpus && parse(&o, copy, &name))
		for (i = 0; i < ARRAY_SIZE(commands); i++)
			if (!strcmp(name, commands[i].name) && o.nargs >= commands[i].needs)
				break;
	if (i < ARRAY_SIZE(commands)) {
		o.vm->vcpu[vcpu]->ops->get_state(o.vm->vcpu[vcpu], o.st);
		commands[i].run(&o);
	} else {
		list(out);
	}
	free(copy);
	free(o.st);
}
