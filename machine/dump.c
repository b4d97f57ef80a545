/* The parts of inspect/ and of the chips, put together (dump.h). */
#include "machine/dump.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/code.h"
#include "inspect/fault.h"
#include "inspect/nested.h"
#include "inspect/registers.h"
#include "machine/pc.h"

#define CODE_LINES 4u

/* What went wrong with the guests of a guest hypervisor. SDM vol. 3 27.7 "VMX Aborts". */
static void dump_guests(struct vm *vm, struct vcpu *v, const struct x86_state *st, FILE *out)
{
	const struct vcpu_guests *g = v && v->ops->guests ? v->ops->guests(v) : NULL;
	const struct vmcs *vmcs = st->vmx.on ? ram_host(&vm->ram, st->vmx.vmcs, sizeof(*vmcs)) : NULL;

	if (vmcs && vmcs->abort && st->activity == ACT_SHUTDOWN)
		fprintf(out, "  VMX abort %u, VMCS at %#" PRIx64 ": %s\n", vmcs->abort, st->vmx.vmcs,
			vmx_abort_text(vmcs->abort));
	if (g)
		inspect_guest_failures(g, st->vendor == X86_AMD, out);
}

void dump_vcpu(struct vm *vm, unsigned vcpu, const struct x86_state *st, const struct inspect_symbols *symbols,
	       FILE *out)
{
	const struct vcpu *v = vm->vcpu[vcpu];
	struct inspect_memory m;

	inspect_registers(st, vcpu, out);
	inspect_memory(&m, vm, st);
	if (st->activity == ACT_SHUTDOWN && v && v->ops->shutdown)
		inspect_shutdown(&m, st, v->ops->shutdown((struct vcpu *)v), out);
	dump_guests(vm, vm->vcpu[vcpu], st, out);
	if (st->activity == ACT_WAIT_SIPI)
		return;
	inspect_code(&m, st, inspect_code_address(st), CODE_LINES, symbols, out);
	inspect_stack(&m, st, symbols, out);
}

static void chip_words(void *ctx, const struct device_class *class, void *dev)
{
	static const char *const wanted[] = {"lapic", "pic"};

	for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++)
		if (!strcmp(class->name, wanted[i]))
			class->words(dev, ctx);
}

void dump_timers(struct pc *pc, FILE *out)
{
	u64 now = pc->vm->clock->now(pc->vm->clock);

	if (!pc->vm->timers.first)
		fprintf(out, "no timer runs\n");
	for (const struct timer *t = pc->vm->timers.first; t; t = t->next)
		fprintf(out, "timer of %s: in %.3f ms\n", pc_owner(pc, t), ((double)t->deadline - (double)now) / 1e6);
}

void dump_board(struct pc *pc, FILE *out)
{
	if (pc->cfg.irqchip_set)
		fprintf(out, "the interrupt controllers are the kernel's own\n");
	pc_each(pc, chip_words, out);
	dump_timers(pc, out);
}

void dump_interrupts(const struct pc *pc, FILE *out)
{
	if (pc->cfg.irqchip_set) {
		fprintf(out, "the interrupt controllers are the kernel's own\n");
		return;
	}
	for (unsigned v = 0; v < 256; v++) {
		u64 sum = 0;

		for (unsigned i = 0; i < pc->cfg.vcpus; i++)
			sum += pc->lapic.apic[i].taken[v];
		if (!sum)
			continue;
		fprintf(out, "vector %02x ", v);
		for (unsigned i = 0; i < pc->cfg.vcpus; i++)
			fprintf(out, " %10" PRIu64, pc->lapic.apic[i].taken[v]);
		fputc('\n', out);
	}
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		if (pc->ioapic.raised[i])
			fprintf(out, "input %-2u   %10" PRIu64 "\n", i, pc->ioapic.raised[i]);
}

void dump_log(struct vm *vm, void (*print)(void *ctx, FILE *out), void *ctx)
{
	char *text = NULL, *save = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	if (!f)
		return;
	print(ctx, f);
	fclose(f);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		log_info(vm->log, "%s", line);
	free(text);
}
