/*
 * MOV to and from control and debug registers, LMSW, SMSW, CLTS.
 * SDM vol. 2 "MOV—Move to/from Control Registers", "MOV—Move to/from Debug Registers"; SDM vol. 3 2.5 "Control
 * Registers", 4.10.4.1 "Operations that Invalidate TLBs"; APM vol. 2 3.1, 14.6 "Enabling and Activating Long
 * Mode", 15.8 "Decode Assists".
 *
 * These forms share the mnemonic MOV with plain ones, so their row has no checks: the handlers make them, in check.h's
 * order.
 */
#include "arch/x86/model.h"
#include "arch/x86/walk.h"
#include "cpu/x86/avic.h"
#include "cpu/x86/int.h"
#include "cpu/x86/seg.h"
#include "cpu/x86/vapic.h"
#include "cpu/x86/vmexit.h"

#define CR0_DEFINED  (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
#define CR3_NO_FLUSH BIT(63)
#define CR4_PDPTE    (CR4_PGE | CR4_PSE | CR4_PAE | CR4_SMEP) /* changing one reloads the PDPTEs */
#define MOV_CR_INFO  BIT(63)				      /* EXITINFO1: it is a MOV, bits 3:0 name the register */

HANDLER(fault_ud) { LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0)); }

static enum outcome gp(struct x86_cpu *cpu) { return x86_fault(cpu, EXC_GP, 0); }

static bool pae_legacy(const struct x86_state *st, u64 cr0, u64 cr4)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(st->msr.efer & EFER_LME);
}

/* PAE paging keeps its four top entries in the processor; under nested paging the walker reads memory (APM vol.
 * 2 15.25.10). */
enum outcome load_pdptes(struct x86_cpu *cpu, u64 cr3)
{
	u64 pdpte[4], reserved = walk_pdpte_rsvd(cpu->model->phys_bits);

	enum outcome o;

	if (cpu->c.npt && !cpu->c.ept)
		return OUT_NEXT;
	o = mem_read_gpa(cpu, cr3 & 0xffffffe0, pdpte, sizeof(pdpte));
	if (o != OUT_NEXT)
		return o;
	for (unsigned i = 0; i < ARRAY_SIZE(pdpte); i++)
		if ((pdpte[i] & PTE_P) && (pdpte[i] & reserved))
			return gp(cpu);
	memcpy(cpu->st.pdpte, pdpte, sizeof(pdpte));
	return OUT_NEXT;
}

/* SDM vol. 3 9.8.5 "Initializing IA-32e Mode", 4.1.2 "Paging-Mode Enabling". */
static enum outcome check_paging_switch(struct x86_cpu *cpu, u64 new)
{
	const struct x86_state *st = &cpu->st;
	bool on = new &CR0_PG;

	if (on && (st->msr.efer & EFER_LME) &&
	    (!(st->cr4 & CR4_PAE) || (st->seg[CS].attr & SEG_L) || (st->tr.attr & SEG_TYPE) == SYS_TSS16_BUSY))
		return gp(cpu);
	if (!on && (in_code64(cpu) || (st->cr4 & CR4_PCIDE)))
		return gp(cpu);
	return OUT_NEXT;
}

/* What is wrong with a value without a look at memory; so are check_cr3 and check_cr4. */
static enum outcome check_cr0(struct x86_cpu *cpu, u64 new)
{
	const struct x86_state *st = &cpu->st;

	if (new >> 32 || ((new &CR0_PG) && !(new &CR0_PE)) || ((new &CR0_NW) && !(new &CR0_CD)))
		return gp(cpu);
	if (!vmx_cr0_valid(cpu, (new &CR0_DEFINED) | CR0_ET))
		return gp(cpu);
	if (!(new &CR0_WP) && (st->cr4 & CR4_CET))
		return gp(cpu);
	return OUT_NEXT;
}

static enum outcome write_cr0(struct x86_cpu *cpu, u64 new)
{
	struct x86_state *st = &cpu->st;
	u64 old = st->cr0;
	enum outcome o = check_cr0(cpu, new);

	if (o != OUT_NEXT)
		return o;
	new = (new &CR0_DEFINED) | CR0_ET;
	/* Not in check_cr0: the EFER and TR of a guest whose hypervisor takes the write are the hypervisor's. */
	if ((old ^ new) & CR0_PG) {
		o = check_paging_switch(cpu, new);
		if (o != OUT_NEXT)
			return o;
	}
	if (((old ^ new) & (CR0_PG | CR0_CD | CR0_NW)) && pae_legacy(st, new, st->cr4))
		o = load_pdptes(cpu, st->cr3);
	if (o != OUT_NEXT)
		return o;
	st->cr0 = new;
	if ((old ^ new) & CR0_PG) {
		st->msr.efer &= ~EFER_LMA;
		if ((new &CR0_PG) && (st->msr.efer & EFER_LME))
			st->msr.efer |= EFER_LMA;
	}
	if ((old ^ new) & (CR0_PG | CR0_WP | CR0_PE))
		tlb_flush_current(cpu, true);
	x86_update_mode(cpu);
	return svm_write_trap(cpu, EXIT_CR0_WRITE_TRAP, new);
}

static enum outcome check_cr3(struct x86_cpu *cpu, u64 new)
{
	u64 address = cpu->st.cr4 & CR4_PCIDE ? new & ~CR3_NO_FLUSH : new;

	return in_long_mode(cpu) && address >> cpu->model->phys_bits ? gp(cpu) : OUT_NEXT;
}

static enum outcome write_cr3(struct x86_cpu *cpu, u64 new)
{
	struct x86_state *st = &cpu->st;
	bool pcide = st->cr4 & CR4_PCIDE, keep = pcide && (new &CR3_NO_FLUSH);
	enum outcome o = check_cr3(cpu, new);

	if (o != OUT_NEXT)
		return o;
	if (pcide)
		new &= ~CR3_NO_FLUSH;
	if (pae_legacy(st, st->cr0, st->cr4)) {
		o = load_pdptes(cpu, new);
		if (o != OUT_NEXT)
			return o;
	}
	st->cr3 = new;
	if (keep)
		x86_update_spaces(cpu);
	else
		tlb_flush_current(cpu, false);
	return svm_write_trap(cpu, EXIT_CR3_WRITE_TRAP, new);
}

static enum outcome check_cr4(struct x86_cpu *cpu, u64 new)
{
	const struct x86_state *st = &cpu->st;
	u64 changed = st->cr4 ^ new;

	if ((new & ~vmx_cr4_allowed(cpu->model)) || !vmx_cr4_valid(cpu, new))
		return gp(cpu);
	if (in_long_mode(cpu) && (!(new &CR4_PAE) || (changed & CR4_LA57)))
		return gp(cpu);
	if ((changed & new &CR4_PCIDE) && (!in_long_mode(cpu) || (st->cr3 & 0xfff)))
		return gp(cpu);
	if ((new &CR4_CET) && !(st->cr0 & CR0_WP))
		return gp(cpu);
	return OUT_NEXT;
}

static enum outcome write_cr4(struct x86_cpu *cpu, u64 new)
{
	u64 changed = cpu->st.cr4 ^ new;
	enum outcome o = check_cr4(cpu, new);

	if (o == OUT_NEXT && (changed & CR4_PDPTE) && pae_legacy(&cpu->st, cpu->st.cr0, new))
		o = load_pdptes(cpu, cpu->st.cr3);
	if (o != OUT_NEXT)
		return o;
	cpu->st.cr4 = new;
	if (changed & (CR4_PGE | CR4_PAE | CR4_PSE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_LA57 | CR4_PKE))
		tlb_flush_current(cpu, true);
	x86_update_mode(cpu);
	return svm_write_trap(cpu, EXIT_CR4_WRITE_TRAP, new);
}

static u64 read_cr8(struct x86_cpu *cpu)
{
	if (unlikely(cpu->c.avic.on))
		return avic_cr8(cpu);
	if (svm_cr8_virtual(cpu))
		return svm_cr8_get(cpu);
	if (vmx_cr8_virtual(cpu))
		return vapic_tpr(cpu) >> 4;
	return cpu->apic_ops ? cpu->apic_ops->cr8_get(cpu->apic) : 0;
}

static enum outcome check_cr8(struct x86_cpu *cpu, u64 new) { return new > 15 ? gp(cpu) : OUT_NEXT; }

/* APM vol. 2 15.21.2 "Virtualizing APIC.TPR": V_TPR takes every write of a guest's, the APIC's TPR those without
 * V_INTR_MASKING too. */
static enum outcome write_cr8(struct x86_cpu *cpu, u64 new)
{
	enum outcome o = check_cr8(cpu, new);

	if (o != OUT_NEXT)
		return o;
	if (unlikely(cpu->c.avic.on)) {
		avic_cr8_set(cpu, new);
		return svm_write_trap(cpu, EXIT_CR8_WRITE_TRAP, new);
	}
	if (vmx_cr8_virtual(cpu)) {
		vapic_tpr_set(cpu, (u8)(new << 4));
		return OUT_END;
	}
	if (cpu->c.guest && !cpu->c.vmx.on) {
		svm_cr8_set(cpu, new);
		if (svm_virtual_intr(cpu) >= 0)
			atomic_fetch_or(&cpu->c.attention, ATT_VINTR);
	}
	if (!svm_cr8_virtual(cpu) && cpu->apic_ops)
		cpu->apic_ops->cr8_set(cpu->apic, new);
	return svm_write_trap(cpu, EXIT_CR8_WRITE_TRAP, new);
}

static u64 operand_get(struct x86_cpu *cpu, u16 off) { return in_code64(cpu) ? REG64(cpu, off) : REG32(cpu, off); }
static unsigned gpr_number(u16 off) { return (off - CPU_OFF(st.gpr[0])) / 8; }

HANDLER(mov_from_cr)
{
	u64 v;

	if (cpu->st.cpl)
		LEAVE(cpu, in, gp(cpu));
	if (x86_exit_wanted(cpu, (enum x86_exit)(EXIT_CR0_READ + in->aux)))
		LEAVE(cpu, in,
		      x86_exit(cpu, (enum x86_exit)(EXIT_CR0_READ + in->aux), MOV_CR_INFO | gpr_number(in->dst), 0));
	switch (in->aux) {
	case 0: v = cpu->st.cr0; break;
	case 2: v = cpu->st.cr2; break;
	case 3: v = cpu->st.cr3; break;
	case 4: v = cpu->st.cr4; break;
	default: v = read_cr8(cpu); break;
	}
	if (unlikely(cpu->c.vmx.on))
		v = vmx_read_cr(cpu, in->aux, v);
	REG64(cpu, in->dst) = in_code64(cpu) ? v : (u32)v;
	NEXT(cpu, in);
}

/* A write of CR0 that changes more than TS and MP. */
static bool cr0_selective(const struct x86_cpu *cpu, u64 new) { return (cpu->st.cr0 ^ new) & ~(CR0_TS | CR0_MP); }

/* APM vol. 2 15.9 "Instruction Intercepts": exceptions that need no memory (privilege, illegal bits) come before SVM's
 * intercepts of CR and DR accesses; VMX's exits come before illegal bits (SDM vol. 3 25.1.1). */
static enum outcome check_before_intercept(struct x86_cpu *cpu, unsigned n, u64 new)
{
	if (!cpu->c.guest || cpu->c.vmx.on)
		return OUT_NEXT;
	switch (n) {
	case 0: return check_cr0(cpu, new);
	case 3: return check_cr3(cpu, new);
	case 4: return check_cr4(cpu, new);
	case 8: return check_cr8(cpu, new);
	default: return OUT_NEXT;
	}
}

HANDLER(mov_to_cr)
{
	u64 v = operand_get(cpu, in->src), info = MOV_CR_INFO | gpr_number(in->src);

	if (cpu->st.cpl)
		LEAVE(cpu, in, gp(cpu));
	TRY(cpu, in, check_before_intercept(cpu, in->aux, v));
	if (x86_exit_wanted(cpu, (enum x86_exit)(EXIT_CR0_WRITE + in->aux)) &&
	    !(in->aux == 3 && vmx_cr3_target(cpu, v)))
		LEAVE(cpu, in, x86_exit(cpu, (enum x86_exit)(EXIT_CR0_WRITE + in->aux), info, 0));
	if (unlikely(cpu->c.vmx.on) && (in->aux == 0 || in->aux == 4))
		TRY(cpu, in, vmx_write_cr(cpu, in->aux, &v, info));
	switch (in->aux) {
	case 0:
		if (x86_exit_wanted(cpu, EXIT_CR0_SEL_WRITE) && cr0_selective(cpu, v))
			LEAVE(cpu, in, x86_exit(cpu, EXIT_CR0_SEL_WRITE, info, 0));
		LEAVE(cpu, in, write_cr0(cpu, v));
	case 2: cpu->st.cr2 = v; LEAVE(cpu, in, svm_write_trap(cpu, EXIT_CR2_WRITE_TRAP, v));
	case 3: LEAVE(cpu, in, write_cr3(cpu, v));
	case 4: LEAVE(cpu, in, write_cr4(cpu, v));
	default: LEAVE(cpu, in, write_cr8(cpu, v));
	}
}

/* SDM vol. 3 18.2.2 "Debug Registers DR4 and DR5". */
static enum outcome dr_number(struct x86_cpu *cpu, unsigned *n)
{
	if (*n == 4 || *n == 5) {
		if (cpu->st.cr4 & CR4_DE)
			return x86_fault(cpu, EXC_UD, 0);
		*n += 2;
	}
	return OUT_NEXT;
}

/*
 * SVM: exceptions that need no memory, general detect's too, come before the intercept (APM vol. 2 15.7 "Instruction
 * Intercepts"); VMX: the exit comes before them all, be it #UD of CR4.DE or #GP of CPL (SDM vol. 3 25.1.3 "MOV DR").
 * `bad`: a value that DR6 and DR7 cannot hold.
 */
static enum outcome dr_checks(struct x86_cpu *cpu, enum x86_exit exit, u64 info, bool bad, unsigned *n)
{
	bool wanted = x86_exit_wanted(cpu, exit), detected = cpu->st.dr7 & DR7_GD;

	if (wanted && cpu->c.vmx.on)
		return x86_exit(cpu, exit, info, 0);
	if (dr_number(cpu, n) != OUT_NEXT)
		return OUT_FAULT;
	if (cpu->st.cpl || (bad && !detected))
		return gp(cpu);
	if (wanted && !detected)
		return x86_exit(cpu, exit, info, 0);
	if (detected) {
		x86_fault(cpu, EXC_DB, 0);
		cpu->c.event.db = DR6_BD;
		return OUT_FAULT;
	}
	return OUT_NEXT;
}

HANDLER(mov_from_dr)
{
	unsigned n = in->aux;
	u64 v;

	TRY(cpu, in, dr_checks(cpu, (enum x86_exit)(EXIT_DR0_READ + in->aux), gpr_number(in->dst), false, &n));
	v = n < 4 ? cpu->st.dr[n] : n == 6 ? cpu->st.dr6 : cpu->st.dr7;
	REG64(cpu, in->dst) = in_code64(cpu) ? v : (u32)v;
	NEXT(cpu, in);
}

HANDLER(mov_to_dr)
{
	u64 v = operand_get(cpu, in->src);
	unsigned n = in->aux;

	TRY(cpu, in,
	    dr_checks(cpu, (enum x86_exit)(EXIT_DR0_WRITE + in->aux), gpr_number(in->src), n >= 4 && v >> 32, &n));
	if (n < 4)
		cpu->st.dr[n] = v;
	else if (n == 6)
		cpu->st.dr6 = (v & 0xe00f) | DR6_FIXED;
	else
		cpu->st.dr7 = (v & 0xffff23ff) | DR7_FIXED;
	x86_update_attention(cpu);
	LEAVE(cpu, in, OUT_END);
}

bool bind_mov_cr(struct bind *b)
{
	bool load = ZydisRegisterGetClass(b->op[0].reg.value) == ZYDIS_REGCLASS_CONTROL;
	unsigned n = (unsigned)ZydisRegisterGetId(b->op[load ? 0 : 1].reg.value);

	b->in->aux = (u8)n;
	if (n > 8 || !(BIT(n) & 0x11d))
		b->in->fn = fault_ud;
	else
		b->in->fn = load ? mov_to_cr : mov_from_cr;
	return true;
}

bool bind_mov_dr(struct bind *b)
{
	bool load = ZydisRegisterGetClass(b->op[0].reg.value) == ZYDIS_REGCLASS_DEBUG;
	unsigned n = (unsigned)ZydisRegisterGetId(b->op[load ? 0 : 1].reg.value);

	b->in->aux = (u8)n;
	if (n > 7)
		b->in->fn = fault_ud;
	else
		b->in->fn = load ? mov_to_dr : mov_from_dr;
	return true;
}

/* SDM vol. 2 "LMSW": loads PE, MP, EM and TS, and cannot clear PE. */
HANDLER(op_lmsw)
{
	u64 v = REG16(cpu, in->dst), new;

	if (x86_exit_wanted(cpu, EXIT_CR0_SEL_WRITE)) /* APM vol. 2 15.9: whatever LMSW writes, before memory */
		LEAVE(cpu, in, x86_exit(cpu, EXIT_CR0_SEL_WRITE, 0, 0));
	if (in->flags & IN_MEM)
		TRY(cpu, in, operand_read(cpu, in, 2, &v));
	new = (cpu->st.cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (v & (CR0_PE | CR0_MP | CR0_EM | CR0_TS));
	if (unlikely(cpu->c.vmx.on))
		TRY(cpu, in, vmx_lmsw(cpu, in, v, &new));
	LEAVE(cpu, in, write_cr0(cpu, new));
}

HANDLER(op_smsw)
{
	u64 cr0 = unlikely(cpu->c.vmx.on) ? vmx_read_cr(cpu, 0, cpu->st.cr0) : cpu->st.cr0;

	if (in->flags & IN_MEM)
		TRY(cpu, in, operand_write(cpu, in, 2, cr0));
	else
		reg_write(cpu, in->dst, in->opsize, cr0);
	NEXT(cpu, in);
}

HANDLER(op_clts)
{
	bool keep = false;

	if (unlikely(cpu->c.vmx.on))
		TRY(cpu, in, vmx_clts(cpu, &keep));
	if (keep)
		LEAVE(cpu, in, OUT_END);
	cpu->st.cr0 &= ~CR0_TS;
	x86_update_mode(cpu);
	LEAVE(cpu, in, svm_write_trap(cpu, EXIT_CR0_WRITE_TRAP, cpu->st.cr0));
}

BIND(lmsw)
BIND(smsw)
BIND(clts)
