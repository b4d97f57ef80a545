/*
 * What the permission maps, the exception vector and the virtual-interrupt fields decide.
 * APM vol. 2 15.10 "IOIO Intercepts", 15.11 "MSR Intercepts", 15.12 "Exception Intercepts", 15.21.4 "Injecting Virtual
 * (INTR) Interrupts".
 */
#include "cpu/x86/exec.h"
#include "cpu/x86/svm.h"

/* Two bytes of a permission map, so that a field that straddles a byte is seen whole. Maps outside RAM read as all
 * ones: intercepted. */
static u16 map_bits(struct x86_cpu *cpu, u64 pa)
{
	const u8 *host = ram_host(&cpu->vm->ram, pa, 2);

	return host ? (u16)(host[0] | host[1] << 8) : 0xffff;
}

/* APM vol. 2 15.10.1 "I/O Permissions Map": a bit a port, 12 KiB so that accesses at FFFFh have bits too. */
enum outcome svm_check_io(struct x86_cpu *cpu, const struct insn *in, u16 port, unsigned size, bool is_in,
			  bool is_string, bool is_rep)
{
	u64 info;

	if (likely(!x86_exit_wanted(cpu, EXIT_IOIO)))
		return OUT_NEXT;
	if (!(map_bits(cpu, cpu->c.iopm + port / 8) >> (port % 8) & MASK(size)))
		return OUT_NEXT;
	info = IOIO_PORT(port) | IOIO_SIZE(size) | IOIO_ADSIZE(in->adsize) | (is_in ? IOIO_IN : 0);
	if (is_string)
		info |= IOIO_STR | IOIO_SEG(is_in ? ES : in->sreg);
	if (is_rep)
		info |= IOIO_REP;
	return x86_exit(cpu, EXIT_IOIO, info, mask_ip(cpu, insn_next_rip(cpu, in), cpu->c.mode & MODE_SIZE ? 4 : 2));
}

/* APM vol. 2 15.11 "MSR Intercepts": three ranges of 8192 MSRs, two bits each (read, write); all others always exit. */
enum outcome svm_check_msr(struct x86_cpu *cpu, u32 msr, bool write)
{
	static const u32 ranges[] = {0, 0xc0000000, 0xc0010000};
	u64 bit = 0;
	unsigned i;

	if (likely(!x86_exit_wanted(cpu, EXIT_MSR)))
		return OUT_NEXT;
	for (i = 0; i < ARRAY_SIZE(ranges); i++)
		if (msr - ranges[i] < 0x2000)
			break;
	if (i < ARRAY_SIZE(ranges)) {
		bit = i * 0x4000 + (msr - ranges[i]) * 2 + write;
		if (!(map_bits(cpu, cpu->c.msrpm + bit / 8) >> (bit % 8) & 1))
			return OUT_NEXT;
	}
	return x86_exit(cpu, EXIT_MSR, write, 0);
}

/*
 * APM vol. 2 15.12: EXITINFO1 is the error code, for #PF EXITINFO2 the address, and CR2 stays as it is; for #DB the
 * debug registers are what its handler would have seen (15.12.2). ICEBP's vector 1 is not #DB's (15.9).
 */
enum outcome svm_check_exception(struct x86_cpu *cpu, const struct x86_event *ev)
{
	bool exception = ev->kind == EV_FAULT || ev->kind == EV_TRAP || ev->kind == EV_SOFT_EXC;

	if (likely(!cpu->c.guest) || !exception || ev->vector > 31)
		return OUT_NEXT;
	if (cpu->c.vmcb_ctl_flags & SVM_INJECTING) {
		cpu->c.vmcb_ctl_flags &= ~SVM_INJECTING;
		return OUT_NEXT;
	}
	if (!x86_exit_wanted(cpu, (enum x86_exit)(EXIT_EXC0 + ev->vector)))
		return OUT_NEXT;
	if (ev->vector == EXC_DB)
		x86_db_commit(&cpu->st, ev->db);
	return x86_exit(cpu, (enum x86_exit)(EXIT_EXC0 + ev->vector), ev->has_error ? ev->error : 0,
			ev->vector == EXC_PF ? ev->cr2 : 0);
}

/*
 * Which PAUSE of a spinning guest exits: the one that takes the counter to 0. The threshold's cycles are instructions
 * here: a loop that spins is told from one that does not by its work, not by the host's speed.
 */
bool svm_pause_passes(struct x86_cpu *cpu, const struct insn *in)
{
	struct x86_svm *s = &cpu->st.svm;
	u64 now = cpu->n.insns + in->pos;

	if (cpu->c.vmx.on || !cpu->c.pause_count)
		return false;
	if (cpu->c.pause_threshold && now - s->pause_last > cpu->c.pause_threshold)
		s->pause_left = cpu->c.pause_count;
	s->pause_last = now;
	if (s->pause_left <= 1)
		return false;
	s->pause_left--;
	return true;
}

bool svm_intr_masked_by_vif(const struct x86_cpu *cpu) { return cpu->c.int_masking; }
bool svm_cr8_virtual(const struct x86_cpu *cpu) { return cpu->c.int_masking; }

int svm_virtual_intr(struct x86_cpu *cpu)
{
	u64 v = cpu->st.svm.int_ctl;

	if (!cpu->c.guest || !(v & VI_IRQ))
		return -1;
	if (!(v & VI_IGN_TPR) && VI_PRIO(v) <= (v & 15))
		return -1;
	return (int)(cpu->st.svm.int_vector & 0xff);
}

void svm_virtual_intr_taken(struct x86_cpu *cpu)
{
	cpu->st.svm.int_ctl &= ~VI_IRQ;
	atomic_fetch_and(&cpu->c.attention, ~(u32)ATT_VINTR);
}
