/*
 * The dump after a triple fault (dump.h). The bytes at RIP are found through the guest's own tables, walked dry, and
 * those of a nested guest through the nested tables that its VMCB names.
 */
#include "machine/dump.h"

#include <Zydis/Zydis.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86/vmcb.h"
#include "arch/x86/walk.h"

struct ram_mem {
	struct walk_mem mem; /* first */
	const struct ram *ram;
};

static bool ram_seek(struct walk_mem *m, u64 pa)
{
	const struct ram_slot *s = ram_find(((struct ram_mem *)m)->ram, pa);

	if (!s)
		return false;
	m->base = s->gpa;
	m->size = s->size;
	m->host = s->host;
	return true;
}

/* How many of the n bytes at la could be read. */
static unsigned read_code(struct vm *vm, const struct x86_state *st, u64 la, unsigned phys_bits, u8 *buf, unsigned n)
{
	const struct vmcb *vmcb = st->svm.in_guest ? ram_host(&vm->ram, st->svm.vmcb, sizeof(*vmcb)) : NULL;
	struct ram_mem m = {{.seek = ram_seek}, &vm->ram};
	const struct walk_access access = {.want = WALK_R};
	struct xlate guest = {0}, nested = {0};
	unsigned done = 0;

	xlate_from_regs(&guest, st->cr0, st->cr3, st->cr4, st->msr.efer, st->pdpte, phys_bits, true,
			st->vendor == X86_AMD);
	guest.dry = true;
	if (vmcb && vmcb->c.np_control & 1) {
		xlate_nested(&nested, vmcb->c.ncr3, CR4_PAE, EFER_LMA | EFER_LME | EFER_NXE, phys_bits, true, true);
		nested.dry = true;
		guest.next = &nested;
	}
	for (; done < n; done++) {
		struct walk w;

		if (!walk_la(&guest, &m.mem, la + done, access, &w) || ram_read(&vm->ram, w.pa, buf + done, 1))
			break;
	}
	return done;
}

static void dump_code(struct vm *vm, const struct x86_state *st, unsigned phys_bits)
{
	bool wide = st->msr.efer & EFER_LMA && st->seg[CS].attr & SEG_L;
	u64 la = wide ? st->rip : (u32)(st->seg[CS].base + st->rip);
	ZydisDisassembledInstruction insn;
	ZydisMachineMode mode;
	char hex[16 * 3 + 1] = "";
	u8 code[16];
	unsigned n = read_code(vm, st, la, phys_bits, code, sizeof(code));

	for (unsigned i = 0; i < n; i++)
		snprintf(hex + i * 3, 4, "%02x ", code[i]);
	if (wide)
		mode = ZYDIS_MACHINE_MODE_LONG_64;
	else if (st->seg[CS].attr & SEG_DB)
		mode = ZYDIS_MACHINE_MODE_LEGACY_32;
	else
		mode = st->cr0 & CR0_PE ? ZYDIS_MACHINE_MODE_LEGACY_16 : ZYDIS_MACHINE_MODE_REAL_16;
	if (!n)
		log_warn(vm->log, "  code at %#" PRIx64 ": no memory there", la);
	else if (ZYAN_SUCCESS(ZydisDisassembleIntel(mode, st->rip, code, n, &insn)))
		log_warn(vm->log, "  code at %#" PRIx64 ": %s : %s", la, hex, insn.text);
	else
		log_warn(vm->log, "  code at %#" PRIx64 ": %s", la, hex);
}

void dump_state(struct vm *vm, unsigned vcpu, const struct x86_state *st, unsigned phys_bits)
{
	static const char *const gpr[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15"};
	static const char *const sreg[X86_SREGS] = {"es", "cs", "ss", "ds", "fs", "gs"};
	struct log *log = vm->log;

	log_warn(log, "vCPU %u: rip %016" PRIx64 " rflags %08" PRIx64 " cpl %u%s", vcpu, st->rip, x86_rflags(st),
		 st->cpl, st->svm.in_guest ? " (inside an SVM guest)" : "");
	for (unsigned i = 0; i < 16; i += 4)
		log_warn(log, "  %s %016" PRIx64 " %s %016" PRIx64 " %s %016" PRIx64 " %s %016" PRIx64, gpr[i],
			 st->gpr[i], gpr[i + 1], st->gpr[i + 1], gpr[i + 2], st->gpr[i + 2], gpr[i + 3],
			 st->gpr[i + 3]);
	log_warn(log, "  cr0 %08" PRIx64 " cr2 %016" PRIx64 " cr3 %016" PRIx64 " cr4 %08" PRIx64 " efer %" PRIx64,
		 st->cr0, st->cr2, st->cr3, st->cr4, st->msr.efer);
	for (unsigned i = 0; i < X86_SREGS; i++)
		log_warn(log, "  %s %04x base %016" PRIx64 " limit %08x attr %03x", sreg[i], st->seg[i].sel,
			 st->seg[i].base, st->seg[i].limit, st->seg[i].attr);
	log_warn(log,
		 "  tr %04x base %016" PRIx64 " limit %08x; gdtr %016" PRIx64 "+%" PRIx64 " idtr %016" PRIx64
		 "+%" PRIx64,
		 st->tr.sel, st->tr.base, st->tr.limit, st->gdtr.base, st->gdtr.limit, st->idtr.base, st->idtr.limit);
	dump_code(vm, st, phys_bits);
}
