/*
 * The VM-execution controls: decoded into the cache, and what bitmaps, masks and shadows decide with operands at hand.
 * SDM vol. 3 24.6 "VM-Execution Control Fields", 25.1 "Instructions That Cause VM Exits", 25.2 "Other Causes of VM
 * Exits", 25.3 "Changes to Instruction Behavior in VMX Non-Root Operation".
 */
#include <string.h>

#include "arch/x86/model.h"
#include "cpu/x86/exec.h"
#include "cpu/x86/seg.h"
#include "cpu/x86/svm.h"
#include "cpu/x86/vapic.h"
#include "cpu/x86/vmx.h"

struct vmcs *vmx_current(struct x86_cpu *cpu, bool write)
{
	if (unlikely(cpu->st.vmx.vmcs == X86_NO_VMCS))
		return NULL;
	return svm_page(cpu, cpu->st.vmx.vmcs, write);
}

static void want(struct x86_cpu *cpu, enum x86_exit e) { cpu->c.exits[e / 64] |= BIT(e % 64); }

static void want_if(struct x86_cpu *cpu, u64 on, enum x86_exit e)
{
	if (on)
		want(cpu, e);
}

/* The rows of the neutral bitmap that the controls ask for. */
static void exits_load(struct x86_cpu *cpu, const u64 *f)
{
	static const enum x86_exit always[] = {EXIT_CPUID,	 EXIT_INVD,	EXIT_XSETBV, EXIT_MSR,
					       EXIT_TASK_SWITCH, EXIT_SHUTDOWN, EXIT_INIT,   EXIT_SIPI};
	static const struct {
		u32 ctl;
		enum x86_exit exit;
	} primary[] = {
		{(u32)VMX_PROC_INT_WINDOW, EXIT_VINTR},
		{(u32)VMX_PROC_HLT, EXIT_HLT},
		{(u32)VMX_PROC_INVLPG, EXIT_INVLPG},
		{(u32)VMX_PROC_RDPMC, EXIT_RDPMC},
		{(u32)VMX_PROC_RDTSC, EXIT_RDTSC},
		{(u32)VMX_PROC_RDTSC, EXIT_RDTSCP},
		{(u32)VMX_PROC_CR3_LOAD, EXIT_CR3_WRITE},
		{(u32)VMX_PROC_CR3_STORE, EXIT_CR3_READ},
		{(u32)VMX_PROC_CR8_LOAD, EXIT_CR8_WRITE},
		{(u32)VMX_PROC_CR8_STORE, EXIT_CR8_READ},
		{(u32)VMX_PROC_IO, EXIT_IOIO},
		{(u32)VMX_PROC_IO_BITMAPS, EXIT_IOIO},
		{(u32)VMX_PROC_PAUSE, EXIT_PAUSE},
		{(u32)VMX_PROC_MONITOR, EXIT_MONITOR},
		{(u32)VMX_PROC_MWAIT, EXIT_MWAIT},
		{(u32)VMX_PROC_NMI_WINDOW, EXIT_NMI_WINDOW},
	};
	struct x86_cache *c = &cpu->c;

	memset(c->exits, 0, sizeof(c->exits));
	c->exits[1] = (u32)f[VMCS_EXCEPTIONS] & ~BIT(EXC_NMI);
	for (unsigned i = 0; i < ARRAY_SIZE(always); i++)
		want(cpu, always[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(primary); i++)
		want_if(cpu, c->vmx.ctl[VMX_PROC] & primary[i].ctl, primary[i].exit);
	want_if(cpu, vmx_has(c, PIN, EXT_INT), EXIT_INTR);
	want_if(cpu, vmx_has(c, PIN, NMI), EXIT_NMI);
	if (vmx_has(c, PROC, MOV_DR))
		c->exits[0] |= 0xffffffffull << 32;
	if (vmx_has(c, PROC2, DESC))
		for (unsigned e = EXIT_IDTR_READ; e <= EXIT_TR_WRITE; e++)
			want(cpu, (enum x86_exit)e);
	want_if(cpu, vmx_has(c, PROC2, PLE), EXIT_PAUSE);
	want_if(cpu, vmx_has(c, PROC2, WBINVD), EXIT_WBINVD);
	want_if(cpu, vmx_has(c, PROC2, RDRAND), EXIT_RDRAND);
	want_if(cpu, vmx_has(c, PROC2, RDSEED), EXIT_RDSEED);
	want_if(cpu, vmx_has(c, PROC2, INVPCID) && vmx_has(c, PROC, INVLPG), EXIT_INVPCID);
}

void vmx_controls_load(struct x86_cpu *cpu, const u64 *f)
{
	struct x86_cache *c = &cpu->c;
	struct vmx_cache *x = &c->vmx;

	memset(x, 0, sizeof(*x));
	x->on = 1;
	x->ctl[VMX_PIN] = (u32)f[VMCS_PIN];
	x->ctl[VMX_PROC] = (u32)f[VMCS_PROC];
	x->ctl[VMX_PROC2] = vmx_has(c, PROC, PROC2) ? (u32)f[VMCS_PROC2] : 0;
	x->cr0_mask = f[VMCS_CR0_MASK];
	x->cr4_mask = f[VMCS_CR4_MASK];
	x->cr0_shadow = f[VMCS_CR0_SHADOW];
	x->cr4_shadow = f[VMCS_CR4_SHADOW];
	x->cr3_targets = MIN((u32)f[VMCS_CR3_TARGETS], 4u);
	memcpy(x->cr3_target, &f[VMCS_CR3_TARGET0], sizeof(x->cr3_target));
	x->pf_mask = (u32)f[VMCS_PF_MASK];
	x->pf_match = (u32)f[VMCS_PF_MATCH];
	x->pf_exit = f[VMCS_EXCEPTIONS] >> EXC_PF & 1;
	x->io_bitmap[0] = f[VMCS_IO_BITMAP_A];
	x->io_bitmap[1] = f[VMCS_IO_BITMAP_B];
	x->msr_bitmap = f[VMCS_MSR_BITMAP];
	x->mtf = vmx_has(c, PROC, MTF);
	x->timer = vmx_has(c, PIN, TIMER);
	x->pml = vmx_has(c, PROC2, PML);
	x->shadow = vmx_has(c, PROC2, SHADOW);
	x->functions = vmx_has(c, PROC2, VMFUNC) ? f[VMCS_FUNCTIONS] : 0;
	x->ve_area = vmx_has(c, PROC2, VE) ? f[VMCS_VE_AREA] | 1 : 0;
	x->ple = vmx_has(c, PROC2, PLE);
	x->ple_gap = (u32)f[VMCS_PLE_GAP];
	x->ple_window = (u32)f[VMCS_PLE_WINDOW];
	x->link = f[VMCS_LINK];
	x->vmread_bitmap = f[VMCS_VMREAD_BITMAP];
	x->vmwrite_bitmap = f[VMCS_VMWRITE_BITMAP];
	x->no_rdtscp = !vmx_has(c, PROC2, RDTSCP);
	x->no_invpcid = !vmx_has(c, PROC2, INVPCID);
	x->no_xsaves = !vmx_has(c, PROC2, XSAVES);
	exits_load(cpu, f);
	vapic_load(cpu, f);
	c->guest = 1;
	c->npt = c->ept = vmx_has(c, PROC2, EPT);
	c->ncr3 = c->ept ? f[VMCS_EPTP] : 0;
	c->asid = vmx_has(c, PROC2, VPID) ? (u32)f[VMCS_VPID] : 0;
	c->int_masking = 0;
	c->guest_tsc_offset = vmx_has(c, PROC, TSC_OFFSET) ? f[VMCS_TSC_OFFSET] : 0;
	c->guest_tsc_mul = vmx_has(c, PROC, TSC_OFFSET) && vmx_has(c, PROC2, TSC_SCALING) ? f[VMCS_TSC_MULTIPLIER] : 0;
	if (x->mtf)
		atomic_fetch_or(&c->attention, ATT_MTF);
	if (vmx_has(c, PROC, INT_WINDOW))
		atomic_fetch_or(&c->attention, ATT_VINTR);
	if (vmx_has(c, PROC, NMI_WINDOW))
		atomic_fetch_or(&c->attention, ATT_NMI_WINDOW);
}

void vmx_controls_clear(struct x86_cpu *cpu)
{
	struct x86_cache *c = &cpu->c;

	if (c->vmx.on)
		atomic_fetch_and(&c->attention, ~(u32)ATT_VMX);
	memset(&c->vmx, 0, sizeof(c->vmx));
	memset(c->exits, 0, sizeof(c->exits));
	c->guest = c->npt = c->ept = c->asid = 0;
	c->ncr3 = c->guest_tsc_offset = c->guest_tsc_mul = c->vmcb_ctl_flags = 0;
}

void vmx_decode_controls(struct x86_cpu *cpu)
{
	const struct vmcs *v;

	if (!cpu->st.vmx.in_guest) {
		memset(&cpu->c.vmx, 0, sizeof(cpu->c.vmx));
		cpu->c.ept = 0;
		return;
	}
	v = vmx_current(cpu, false);
	if (!v) { /* a state that no VM entry can have made */
		log_warn(cpu->vm->log, "VMX: the current VMCS is not RAM");
		cpu->st.activity = ACT_SHUTDOWN;
		return;
	}
	vmx_controls_load(cpu, v->f);
}

static u8 bitmap_byte(struct x86_cpu *cpu, u64 pa)
{
	const u8 *host = ram_host(&cpu->vm->ram, pa, 1);

	return host ? *host : 0xff;
}

/* SDM vol. 3 24.6.4 "I/O-Bitmap Addresses"; an access that wraps around the ports exits (25.1.3). */
static bool io_wanted(struct x86_cpu *cpu, u16 port, unsigned size)
{
	if (!vmx_has(&cpu->c, PROC, IO_BITMAPS))
		return true;
	if (port + size > 0x10000)
		return true;
	for (unsigned p = port; p < port + size; p++)
		if (bitmap_byte(cpu, cpu->c.vmx.io_bitmap[p >> 15] + (p & 0x7fff) / 8) >> (p % 8) & 1)
			return true;
	return false;
}

/* Qualification: SDM vol. 3 table 27-5. */
enum outcome vmx_check_io(struct x86_cpu *cpu, const struct insn *in, u16 port, unsigned size, bool is_in,
			  bool is_string, bool is_rep)
{
	u64 qual = (size - 1) | (u64)port << 16, ea = 0;

	if (!x86_exit_wanted(cpu, EXIT_IOIO) || !io_wanted(cpu, port, size))
		return OUT_NEXT;
	if (is_in)
		qual |= BIT(3);
	if (is_string)
		qual |= BIT(4);
	if (is_rep)
		qual |= BIT(5);
	if (!is_string && in->aux)
		qual |= BIT(6);
	x86_exit(cpu, EXIT_IOIO, qual, 0);
	if (is_string) {
		unsigned sreg = is_in ? ES : in->sreg;

		ea = cpu->st.gpr[is_in ? RDI : RSI];
		if (in->adsize != 8)
			ea &= in->adsize == 4 ? 0xffffffffull : 0xffffull;
		if (!in_code64(cpu) || sreg >= FS)
			ea += cpu->st.seg[sreg].base;
		cpu->c.vmexit.la = in_code64(cpu) ? ea : (u32)ea;
	}
	return OUT_EXIT;
}

/* SDM vol. 3 24.6.9 "MSR-Bitmap Address". */
static bool msr_wanted(struct x86_cpu *cpu, u32 msr, bool write)
{
	u64 at = cpu->c.vmx.msr_bitmap + (write ? 2048 : 0);

	if (!vmx_has(&cpu->c, PROC, MSR_BITMAPS))
		return true;
	if (msr - 0xc0000000u < 0x2000)
		at += 1024;
	else if (msr >= 0x2000)
		return true;
	msr &= 0x1fff;
	return bitmap_byte(cpu, at + msr / 8) >> (msr % 8) & 1;
}

enum outcome vmx_check_msr(struct x86_cpu *cpu, u32 msr, bool write)
{
	if (!msr_wanted(cpu, msr, write))
		return OUT_NEXT;
	return x86_exit(cpu, write ? EXIT_WRMSR : EXIT_RDMSR, 0, 0);
}

u64 vmx_event_info(const struct x86_cpu *cpu, const struct x86_event *ev)
{
	u64 v = ev->vector | VEV_VALID;

	switch (ev->kind) {
	case EV_NONE: return 0;
	case EV_EXT_INT: v |= VEV_EXT_INT << 8; break;
	case EV_NMI: v |= VEV_NMI << 8; break;
	case EV_SOFT_INT: v |= VEV_SOFT_INT << 8; break;
	case EV_PRIV_SOFT: v |= VEV_PRIV_SOFT << 8; break;
	case EV_SOFT_EXC: v |= VEV_SOFT_EXC << 8; break;
	default: v |= VEV_HARD_EXC << 8; break;
	}
	if (ev->has_error && (cpu->st.cr0 & CR0_PE)) /* in real-address mode there are no error codes */
		v |= VEV_ERROR | (u64)ev->error << 32;
	return v;
}

/* SDM vol. 3 25.2 "Exceptions", 27.2.1: for #PF the qualification is the address, for #DB what DR6 would have shown;
 * CR2, DR6 and DR7 stay as they are. */
enum outcome vmx_check_exception(struct x86_cpu *cpu, const struct x86_event *ev)
{
	bool exception =
		ev->kind == EV_FAULT || ev->kind == EV_TRAP || ev->kind == EV_SOFT_EXC || ev->kind == EV_PRIV_SOFT;
	bool wanted;

	if (!exception || ev->vector > 31)
		return OUT_NEXT;
	if (cpu->c.vmcb_ctl_flags & SVM_INJECTING) {
		cpu->c.vmcb_ctl_flags &= ~(u64)SVM_INJECTING;
		return OUT_NEXT;
	}
	if (ev->vector == EXC_PF)
		wanted = cpu->c.vmx.pf_exit == ((ev->error & cpu->c.vmx.pf_mask) == cpu->c.vmx.pf_match);
	else
		wanted = x86_exit_wanted(cpu, (enum x86_exit)(EXIT_EXC0 + ev->vector));
	if (!wanted)
		return OUT_NEXT;
	x86_exit(cpu, (enum x86_exit)(EXIT_EXC0 + ev->vector),
		 ev->vector == EXC_PF	? ev->cr2
		 : ev->vector == EXC_DB ? ev->db
					: 0,
		 0);
	cpu->c.vmexit.event = vmx_event_info(cpu, ev);
	cpu->c.vmexit.nmi_iret = ev->nmi_iret;
	return OUT_EXIT;
}

u64 vmx_read_cr(const struct x86_cpu *cpu, unsigned n, u64 real)
{
	const struct vmx_cache *x = &cpu->c.vmx;

	if (n == 0)
		return (real & ~x->cr0_mask) | (x->cr0_shadow & x->cr0_mask);
	if (n == 4)
		return (real & ~x->cr4_mask) | (x->cr4_shadow & x->cr4_mask);
	return real;
}

enum outcome vmx_write_cr(struct x86_cpu *cpu, unsigned n, u64 *v, u64 info)
{
	const struct vmx_cache *x = &cpu->c.vmx;
	u64 mask = n ? x->cr4_mask : x->cr0_mask, shadow = n ? x->cr4_shadow : x->cr0_shadow;

	if ((*v ^ shadow) & mask)
		return x86_exit(cpu, n ? EXIT_CR4_WRITE : EXIT_CR0_WRITE, info, 0);
	*v = (*v & ~mask) | ((n ? cpu->st.cr4 : cpu->st.cr0) & mask);
	return OUT_NEXT;
}

/* SDM vol. 3 25.3 "CLTS". */
enum outcome vmx_clts(struct x86_cpu *cpu, bool *keep)
{
	const struct vmx_cache *x = &cpu->c.vmx;

	*keep = x->cr0_mask & CR0_TS;
	if (*keep && (x->cr0_shadow & CR0_TS))
		return x86_exit(cpu, EXIT_CR0_WRITE, 2 << 4, 0);
	return OUT_NEXT;
}

/* SDM vol. 3 25.1.3 "LMSW": PE exits only when it is to be set. */
enum outcome vmx_lmsw(struct x86_cpu *cpu, const struct insn *in, u64 source, u64 *v)
{
	const struct vmx_cache *x = &cpu->c.vmx;
	const u64 bits = CR0_MP | CR0_EM | CR0_TS;
	bool wanted = (x->cr0_mask & source & CR0_PE) && !(x->cr0_shadow & CR0_PE);

	if (wanted || (x->cr0_mask & (source ^ x->cr0_shadow) & bits)) {
		bool memory = in->flags & IN_MEM;
		u64 la = 0;

		if (memory && insn_la(cpu, in, 2, insn_acc(in), &la) != OUT_NEXT)
			return OUT_FAULT;
		x86_exit(cpu, EXIT_CR0_WRITE, 3 << 4 | (memory ? BIT(6) : 0) | (source & 0xffff) << 16, 0);
		cpu->c.vmexit.la = la;
		return OUT_EXIT;
	}
	*v = (cpu->st.cr0 & (x->cr0_mask | ~(bits | CR0_PE))) | (source & bits & ~x->cr0_mask) |
	     (cpu->st.cr0 & CR0_PE) | (source & CR0_PE & ~x->cr0_mask);
	return OUT_NEXT;
}

bool vmx_cr3_target(const struct x86_cpu *cpu, u64 v)
{
	for (unsigned i = 0; i < cpu->c.vmx.cr3_targets; i++)
		if (cpu->c.vmx.cr3_target[i] == v)
			return true;
	return false;
}

bool vmx_cr0_valid(const struct x86_cpu *cpu, u64 v)
{
	u64 fixed = vmx_has(&cpu->c, PROC2, UNRESTRICTED) ? CR0_NE : VMX_CR0_FIXED;

	return !cpu->st.vmx.on || (v & fixed) == fixed;
}

bool vmx_cr4_valid(const struct x86_cpu *cpu, u64 v) { return !cpu->st.vmx.on || (v & VMX_CR4_FIXED) == VMX_CR4_FIXED; }

#define GPR_OF(off) (((off)-CPU_OFF(st.gpr[0])) / 8)

static bool is_gpr(u16 off) { return off >= CPU_OFF(st.gpr[0]) && off < CPU_OFF(st.gpr[0]) + 16 * 8; }

/* SDM vol. 3 tables 27-9 to 27-15: one layout serves them all; bits that an instruction has no use for are undefined.
 */
u64 vmx_insn_info(const struct x86_cpu *cpu, const struct insn *in)
{
	u64 v = (u64)(in->adsize == 8 ? 2 : in->adsize == 4 ? 1 : 0) << 7;

	v |= (u64)in->sreg << 15;
	if (in->flags & IN_MEM) {
		u16 reg = is_gpr(in->dst) ? in->dst : in->src;

		v |= in->scale & 3;
		v |= is_gpr(in->index) ? (u64)GPR_OF(in->index) << 18 : BIT(22);
		v |= is_gpr(in->base) ? (u64)GPR_OF(in->base) << 23 : BIT(27);
		if (is_gpr(reg))
			v |= (u64)GPR_OF(reg) << 28;
	} else {
		/* VMWRITE's first register is its source; what has one register alone has it there. */
		bool source = cpu->c.vmexit.exit == EXIT_VMWRITE || !is_gpr(in->dst);
		u16 first = source ? in->src : in->dst, second = source ? in->dst : in->src;

		v |= BIT(10) | BIT(22) | BIT(27);
		if (is_gpr(first))
			v |= (u64)GPR_OF(first) << 3;
		if (is_gpr(second))
			v |= (u64)GPR_OF(second) << 28;
	}
	return v;
}

/* st.rip is the instruction's own by now; RIP-relative operands report their address. */
u64 vmx_insn_displacement(const struct x86_cpu *cpu, const struct insn *in)
{
	if (!(in->flags & IN_MEM))
		return 0;
	if (in->base == CPU_OFF(st.rip))
		return cpu->st.rip - in->off + (u64)in->disp;
	return (u64)in->disp;
}
