#include "cpu/x86/trace.h"

#include <stdarg.h>
#include <string.h>

#include "cpu/x86/decode.h"
#include "cpu/x86/mem.h"

static const char *const gpr_name[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					 "r8",	"r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

/* Bytes at RIP without side effects on the guest beyond what the fetch itself will do anyway. */
static unsigned code_at_rip(struct x86_cpu *cpu, u8 *buf)
{
	u64 la = cpu->st.rip + (cpu->c.mode & 2 ? 0 : cpu->st.seg[CS].base), pa;
	struct x86_event event = cpu->c.event;
	struct x86_vmexit vmexit = cpu->c.vmexit;
	unsigned n = MIN(15u, RAM_PAGE - (la & (RAM_PAGE - 1)));

	if (mem_fetch_pa(cpu, la, &pa) != OUT_NEXT) {
		cpu->c.event = event;
		cpu->c.vmexit = vmexit;
		return 0;
	}
	phys_read(cpu, pa, buf, n);
	if (n < 15 && mem_fetch_pa(cpu, la + n, &pa) == OUT_NEXT) {
		phys_read(cpu, pa, buf + n, 15 - n);
		n = 15;
	}
	cpu->c.event = event;
	cpu->c.vmexit = vmexit;
	return n;
}

noinline void trace_cpu(struct x86_cpu *cpu, const struct insn *in, enum trace_topic t, const char *fmt, ...)
{
	u64 rip = in ? insn_rip(cpu, in) : cpu->st.rip;
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_trace(cpu->vm->log, t, "cpu%u %c%u %016llx%s %s", cpu->vcpu.index, cpu->c.guest ? 'g' : 'h', cpu->st.cpl,
		  (unsigned long long)rip, in || t == TRACE_INSN || t == TRACE_INT || t == TRACE_VMEXIT ? "" : "+",
		  text);
}

void trace_insn_before(struct x86_cpu *cpu)
{
	u8 bytes[16];
	char text[128];
	unsigned n = code_at_rip(cpu, bytes);

	insn_text(bytes, n, cpu->c.mode, cpu->st.rip, text, sizeof(text));
	trace_cpu(cpu, NULL, TRACE_INSN, "%s", n ? text : "(not mapped)");
	memcpy(cpu->trace_gpr, cpu->st.gpr, sizeof(cpu->trace_gpr));
}

void trace_insn_after(struct x86_cpu *cpu)
{
	char line[512];
	int at = 0;

	for (unsigned i = 0; i < 16; i++)
		if (cpu->trace_gpr[i] != cpu->st.gpr[i] && at < 400)
			at += snprintf(line + at, sizeof(line) - at, " %s=%llx", gpr_name[i],
				       (unsigned long long)cpu->st.gpr[i]);
	log_trace(cpu->vm->log, TRACE_INSN, "cpu%u    fl=%05llx%s", cpu->vcpu.index,
		  (unsigned long long)x86_rflags(&cpu->st), at ? line : "");
}
