/* Registers in words (registers.h). */
#include "inspect/registers.h"

#include <inttypes.h>

#define X PRIx64

void inspect_events(const struct x86_state *st, FILE *out)
{
	static const char *const activity[] = {"running", "halted", "shut down", "waiting for a start-up message"};

	fprintf(out, "  %s; interrupts %s%s%s%s%s%s\n", activity[MIN(st->activity, 3u)],
		st->rflags & FL_IF ? "enabled" : "disabled", st->shadow & SHADOW_STI ? ", in the shadow of STI" : "",
		st->shadow & SHADOW_MOVSS ? ", in the shadow of a load of SS" : "", st->svm.gif ? "" : ", GIF is 0",
		st->nmi_blocked ? ", NMIs blocked" : "", st->nmi_pending ? ", an NMI waits" : "");
	if (st->svm.in_guest)
		fprintf(out, "  inside an SVM guest, VMCB at %#" X "\n", st->svm.vmcb);
	if (st->vmx.in_guest)
		fprintf(out, "  inside a VMX guest, VMCS at %#" X "\n", st->vmx.vmcs);
}

void inspect_registers(const struct x86_state *st, unsigned vcpu, FILE *out)
{
	static const char *const gpr[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15"};
	static const char *const sreg[X86_SREGS] = {"es", "cs", "ss", "ds", "fs", "gs"};

	fprintf(out, "vCPU %u: rip %016" X " rflags %08" X " cpl %u\n", vcpu, st->rip, x86_rflags(st), st->cpl);
	inspect_events(st, out);
	for (unsigned i = 0; i < 16; i += 4)
		fprintf(out, "  %s %016" X " %s %016" X " %s %016" X " %s %016" X "\n", gpr[i], st->gpr[i], gpr[i + 1],
			st->gpr[i + 1], gpr[i + 2], st->gpr[i + 2], gpr[i + 3], st->gpr[i + 3]);
	fprintf(out, "  cr0 %08" X " cr2 %016" X " cr3 %016" X " cr4 %08" X " efer %" X " xcr0 %" X "\n", st->cr0,
		st->cr2, st->cr3, st->cr4, st->msr.efer, st->xcr0);
	fprintf(out, "  dr0 %" X " dr1 %" X " dr2 %" X " dr3 %" X " dr6 %08" X " dr7 %08" X "\n", st->dr[0], st->dr[1],
		st->dr[2], st->dr[3], st->dr6, st->dr7);
	for (unsigned i = 0; i < X86_SREGS; i++)
		fprintf(out, "  %s %04x base %016" X " limit %08x attr %03x\n", sreg[i], st->seg[i].sel,
			st->seg[i].base, st->seg[i].limit, st->seg[i].attr);
	fprintf(out, "  tr %04x base %016" X " limit %08x; ldtr %04x base %016" X " limit %08x\n", st->tr.sel,
		st->tr.base, st->tr.limit, st->ldtr.sel, st->ldtr.base, st->ldtr.limit);
	fprintf(out, "  gdtr %016" X "+%" X " idtr %016" X "+%" X "\n", st->gdtr.base, st->gdtr.limit, st->idtr.base,
		st->idtr.limit);
}
