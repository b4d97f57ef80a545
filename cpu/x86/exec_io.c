/*
 * IN OUT, INS OUTS. Permission and intercepts are io_check's (io.c); the access goes to the VM's port bus.
 *
 * Each ends its block, since a device may have raised an interrupt or stopped the machine. REP INS and OUTS do one
 * element an execution and come back by OUT_RETRY while the count lasts, so that interrupts are seen between elements
 * (SDM vol. 1 19.6 "Ordering I/O").
 */
#include "cpu/x86/int.h"
#include "cpu/x86/string_op.h"
#include "cpu/x86/trace.h"

static u64 port_read(struct x86_cpu *cpu, const struct insn *in, u16 port, unsigned size)
{
	u64 v;

	cpu->n.pio++;
	v = vm_port_read(cpu->vm, port, size);
	if (trace_on(cpu->topics, TRACE_PORT))
		trace_cpu(cpu, in, TRACE_PORT, "in %04x size %u = %llx", port, size, (unsigned long long)v);
	return v;
}

static void port_write(struct x86_cpu *cpu, const struct insn *in, u16 port, unsigned size, u64 v)
{
	cpu->n.pio++;
	if (trace_on(cpu->topics, TRACE_PORT))
		trace_cpu(cpu, in, TRACE_PORT, "out %04x size %u = %llx", port, size, (unsigned long long)v);
	vm_port_write(cpu->vm, port, size, v);
}

/* imm: the port if aux is set, else it is DX. */
static u16 port_of(const struct x86_cpu *cpu, const struct insn *in) { return in->aux ? in->imm : cpu->st.gpr[RDX]; }

HANDLER(in_port)
{
	u16 port = port_of(cpu, in);
	u64 v;

	TRY(cpu, in, io_check(cpu, in, port, in->opsize, true, false));
	v = port_read(cpu, in, port, in->opsize);
	reg_write(cpu, CPU_OFF(st.gpr[RAX]), in->opsize, v);
	io_watch(cpu, port, in->opsize);
	LEAVE(cpu, in, OUT_END);
}

HANDLER(out_port)
{
	u16 port = port_of(cpu, in);

	TRY(cpu, in, io_check(cpu, in, port, in->opsize, false, false));
	port_write(cpu, in, port, in->opsize, reg_read(cpu, CPU_OFF(st.gpr[RAX]), in->opsize));
	io_watch(cpu, port, in->opsize);
	LEAVE(cpu, in, OUT_END);
}

/* There is no 64-bit port access: REX.W is ignored. */
static bool bind_port(struct bind *b, unsigned port_operand, insn_fn *fn)
{
	struct insn *in = b->in;

	in->aux = op_is_imm(&b->op[port_operand]);
	in->opsize = MIN(in->opsize, 4);
	in->fn = fn;
	return true;
}

bool bind_in(struct bind *b) { return bind_port(b, 1, in_port); }
bool bind_out(struct bind *b) { return bind_port(b, 0, out_port); }

static enum outcome string_done(struct x86_cpu *cpu, const struct insn *in, u16 port)
{
	io_watch(cpu, port, in->opsize);
	if (in->flags & (IN_REP | IN_REPNE)) {
		string_count_set(cpu, in, string_count(cpu, in) - 1);
		if (string_count(cpu, in)) {
			if (cpu->st.rflags & FL_TF) {
				cpu->st.pending_db |= DR6_BS;
				x86_update_attention(cpu);
			}
			LEAVE(cpu, in, string_pause(cpu));
		}
		string_end(cpu);
	}
	LEAVE(cpu, in, OUT_END);
}

/* The destination is checked for writing before the port is read: a read may have effects. */
HANDLER(ins)
{
	unsigned size = in->opsize;
	u16 port = cpu->st.gpr[RDX];
	u64 la, v;

	if ((in->flags & (IN_REP | IN_REPNE)) && !string_count(cpu, in)) {
		TRY(cpu, in, io_permission(cpu, port, size)); /* asked for even then, as silicon shows */
		NEXT(cpu, in);
	}
	TRY(cpu, in, io_check(cpu, in, port, size, true, true));
	TRY(cpu, in, string_la(cpu, in, RDI, size, ACC_WRITE, &la));
	TRY(cpu, in, mem_probe(cpu, la, size, ACC_WRITE));
	v = port_read(cpu, in, port, size);
	TRY(cpu, in, mem_write_n(cpu, la, &v, size, 0));
	string_step(cpu, in, RDI, size);
	return string_done(cpu, in, port);
}

HANDLER(outs)
{
	unsigned size = in->opsize;
	u16 port = cpu->st.gpr[RDX];
	u64 la, v = 0;

	if ((in->flags & (IN_REP | IN_REPNE)) && !string_count(cpu, in)) {
		TRY(cpu, in, io_permission(cpu, port, size)); /* asked for even then, as silicon shows */
		NEXT(cpu, in);
	}
	TRY(cpu, in, io_check(cpu, in, port, size, false, true));
	TRY(cpu, in, string_la(cpu, in, RSI, size, ACC_READ, &la));
	TRY(cpu, in, mem_read_n(cpu, la, &v, size, string_acc(in, RSI)));
	port_write(cpu, in, port, size, v);
	string_step(cpu, in, RSI, size);
	return string_done(cpu, in, port);
}

bool bind_ins(struct bind *b)
{
	b->in->fn = ins;
	return bind_string_operands(b);
}

bool bind_outs(struct bind *b)
{
	b->in->fn = outs;
	return bind_string_operands(b);
}
