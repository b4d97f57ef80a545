/*
 * RDMSR and WRMSR. SDM vol. 2 "RDMSR", "WRMSR"; APM vol. 2 15.11 "MSR Intercepts".
 * Order: CPL (the row's I_CPL0), the intercept, then whether the register exists and takes the value: #GP(0).
 */
#include "cpu/x86/avic.h"
#include "cpu/x86/int.h"
#include "cpu/x86/msr.h"
#include "cpu/x86/seg.h"
#include "cpu/x86/trace.h"
#include "cpu/x86/vapic.h"
#include "cpu/x86/vmexit.h"

#define MSR_EFER 0xc0000080u

static u64 *field(struct x86_cpu *cpu, const struct x86_msr_row *r, u32 index)
{
	return (u64 *)((char *)&cpu->st + r->where) + (index - r->index);
}

static bool lack(struct x86_cpu *cpu, const struct x86_msr_row *r)
{
	log_limit(cpu->vm->log, "MSR %#x (%s) is not implemented: it raises #GP", r->index, r->name);
	return false;
}

bool msr_read(struct x86_cpu *cpu, u32 index, u64 *v)
{
	const struct x86_msr_row *r = x86_msr_find(cpu->model, index);

	if (!r)
		return false;
	switch ((enum x86_msr_kind)r->kind) {
	case MSR_KIND_KEEP:
	case MSR_KIND_ADDR:
	case MSR_KIND_SHOW: *v = *field(cpu, r, index); return true;
	case MSR_KIND_CONST: *v = r->value; return true;
	case MSR_KIND_CALL: return msr_calls[r->call].read && msr_calls[r->call].read(cpu, index - r->index, v);
	case MSR_KIND_APIC: return cpu->apic_ops && cpu->apic_ops->msr_read(cpu->apic, index, v);
	case MSR_KIND_LACK: break;
	}
	return lack(cpu, r);
}

bool msr_write(struct x86_cpu *cpu, u32 index, u64 v)
{
	const struct x86_msr_row *r = x86_msr_find(cpu->model, index);

	if (!r)
		return false;
	switch ((enum x86_msr_kind)r->kind) {
	case MSR_KIND_KEEP:
		if (v & ~r->value)
			return false;
		*field(cpu, r, index) = v;
		return true;
	case MSR_KIND_ADDR:
		if (!la_canonical_kept(cpu, v))
			return false;
		*field(cpu, r, index) = v;
		return true;
	case MSR_KIND_SHOW:
	case MSR_KIND_CONST: return false;
	case MSR_KIND_CALL: return msr_calls[r->call].write && msr_calls[r->call].write(cpu, index - r->index, v);
	case MSR_KIND_APIC: return cpu->apic_ops && cpu->apic_ops->msr_write(cpu->apic, index, v);
	case MSR_KIND_LACK: break;
	}
	return lack(cpu, r);
}

static noinline void trace_msr(struct x86_cpu *cpu, const struct insn *in, const char *verb, u32 index, u64 v, bool ok)
{
	const struct x86_msr_row *r = x86_msr_find(cpu->model, index);

	trace_cpu(cpu, in, TRACE_MSR, "%s %#x %s %s %#llx", verb, index, r ? r->name : "(unknown)", ok ? "=" : "#GP",
		  (unsigned long long)v);
}

HANDLER(op_rdmsr)
{
	u32 index = (u32)cpu->st.gpr[RCX];
	u64 v = 0;
	bool ok;

	TRY(cpu, in, vmexit_check_msr(cpu, index, false));
	if (unlikely(cpu->c.avic.x2) && index - 0x800 < 0x100) {
		TRY(cpu, in, avic_msr(cpu, index, false, &v));
		ok = true;
	} else {
		ok = (vapic_msr(cpu, index) && vapic_msr_read(cpu, index, &v)) || msr_read(cpu, index, &v);
	}
	if (trace_on(cpu->topics, TRACE_MSR))
		trace_msr(cpu, in, "rdmsr", index, v, ok);
	if (!ok)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	cpu->st.gpr[RAX] = (u32)v;
	cpu->st.gpr[RDX] = v >> 32;
	NEXT(cpu, in);
}

HANDLER(op_wrmsr)
{
	u32 index = (u32)cpu->st.gpr[RCX];
	u64 v = cpu->st.gpr[RDX] << 32 | (u32)cpu->st.gpr[RAX];
	enum vapic_msr virtual = VAPIC_MSR_NOT;
	bool ok;

	TRY(cpu, in, vmexit_check_msr(cpu, index, true));
	if (unlikely(cpu->c.avic.x2) && index - 0x800 < 0x100) {
		TRY(cpu, in, avic_msr(cpu, index, true, &v));
		virtual = VAPIC_MSR_DONE;
	} else if (vapic_msr(cpu, index)) {
		virtual = vapic_msr_write(cpu, index, v);
	}
	ok = virtual == VAPIC_MSR_NOT ? msr_write(cpu, index, v) : virtual == VAPIC_MSR_DONE;
	if (trace_on(cpu->topics, TRACE_MSR))
		trace_msr(cpu, in, "wrmsr", index, v, ok);
	if (!ok)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	LEAVE(cpu, in, index == MSR_EFER ? svm_write_trap(cpu, EXIT_EFER_WRITE_TRAP, cpu->st.msr.efer) : OUT_END);
}

bool bind_rdmsr(struct bind *b)
{
	b->in->fn = op_rdmsr;
	return true;
}

bool bind_wrmsr(struct bind *b)
{
	b->in->fn = op_wrmsr;
	return true;
}
