/*
 * The virtual APIC of VMX non-root operation: SDM vol. 3 chapter 29 "APIC Virtualization and Virtual Interrupts".
 *
 * Registers are in the virtual-APIC page, RVI and SVI in the VMCS, both in guest RAM. A pending virtual interrupt that
 * has been recognised is ATT_VIRQ; which of IF, shadows and interrupt-window exiting hold it is c.att_mask's matter.
 *
 *   load, store in the APIC-access page ──► vapic_access ──► exit 44
 *        │ virtualized: goes to the virtual-APIC page
 *        └─ a store: noted in c.vmx.apic_written, ATT_VAPIC ──► vapic_written, behind the instruction ──► exits 43, 45,
 * 56
 *
 * A store that must be followed by something happens only while its instruction runs alone; in a longer block it asks
 * for that (ATT_ALONE, OUT_RETRY). So what vapic_written does comes before the next instruction.
 */
#include "cpu/x86/vapic.h"

#include "arch/x86/walk.h"
#include "cpu/x86/apic_page.h"
#include "cpu/x86/exec.h"
#include "cpu/x86/mem.h"
#include "cpu/x86/vmexit.h"

/* What ICR_LO must be for a self-IPI: destination shorthand 01; edge, fixed, not pending, reserved bits 0. Destination
 * mode (bit 11) and level (bit 14) do not count. */
#define ICR_SELF      0x00040000u
#define ICR_SELF_MASK 0xffffb700u

/* Access types of exit 44's qualification: SDM vol. 3 table 27-6. */
enum { ACCESS_READ, ACCESS_WRITE, ACCESS_FETCH, ACCESS_EVENT, ACCESS_PHYS_EVENT = 10, ACCESS_PHYS = 15 };

static u8 *page(struct x86_cpu *cpu) { return svm_page(cpu, cpu->c.vmx.apic_page, true); }
static void written(struct x86_cpu *cpu) { svm_page_written(cpu, cpu->c.vmx.apic_page); }

static void bit_set(u8 *p, u32 base, unsigned v)
{
	apic_page_put(p, apic_page_bit_at(base, v), apic_page_get(p, apic_page_bit_at(base, v)) | 1u << v % 32);
}
static void bit_clear(u8 *p, u32 base, unsigned v)
{
	apic_page_put(p, apic_page_bit_at(base, v), apic_page_get(p, apic_page_bit_at(base, v)) & ~(1u << v % 32));
}

/* Guest interrupt status: RVI in bits 7:0, SVI in 15:8 (SDM vol. 3 24.4.2). */
static u64 *status(struct x86_cpu *cpu)
{
	struct vmcs *v = vmx_current(cpu, true);

	return v ? &v->f[VMCS_GUEST_INT_STATUS] : NULL;
}
static unsigned rvi(u64 s) { return s & 0xff; }
static unsigned svi(u64 s) { return s >> 8 & 0xff; }

/* 29.2.1 "Evaluation of Pending Virtual Interrupts". */
static void evaluate(struct x86_cpu *cpu, const u8 *p, u64 s)
{
	if (rvi(s) >> 4 > (apic_page_get(p, APIC_PPR) >> 4 & 15))
		attention_raise(cpu, ATT_VIRQ);
	else
		attention_clear(cpu, ATT_VIRQ);
}

void vapic_resume(struct x86_cpu *cpu)
{
	u8 *p = page(cpu);
	u64 *s = status(cpu);

	if (!cpu->c.vmx.vid || !p || !s)
		return;
	apic_page_ppr_update(p, svi(*s));
	written(cpu);
	evaluate(cpu, p, *s);
}

u64 vapic_tpr(struct x86_cpu *cpu)
{
	const u8 *p = page(cpu);

	return p ? apic_page_get(p, APIC_TPR) & 0xff : 0xff;
}

/* 29.1.2 "TPR Virtualization". */
static void tpr_virtualize(struct x86_cpu *cpu)
{
	if (cpu->c.vmx.vid)
		vapic_resume(cpu);
	else if (vapic_tpr(cpu) >> 4 < cpu->c.vmx.tpr_threshold)
		attention_raise(cpu, ATT_TPR);
}

void vapic_tpr_set(struct x86_cpu *cpu, u8 tpr)
{
	u8 *p = page(cpu);

	if (p)
		apic_page_put(p, APIC_TPR, tpr);
	written(cpu);
	tpr_virtualize(cpu);
}

static void exit_behind(struct x86_cpu *cpu, enum x86_exit exit, u64 qualification)
{
	x86_exit(cpu, exit, qualification, 0);
	vmexit_complete(cpu, 0);
}

/* 29.1.4 "EOI Virtualization". */
static void eoi_virtualize(struct x86_cpu *cpu, u8 *p)
{
	u64 *s = status(cpu);
	unsigned vector;

	if (!s)
		return;
	vector = svi(*s);
	bit_clear(p, APIC_ISR, vector);
	*s = rvi(*s) | (u64)apic_page_highest(p, APIC_ISR) << 8;
	apic_page_ppr_update(p, svi(*s));
	written(cpu);
	if (cpu->c.vmx.eoi_exit[vector / 64] >> (vector % 64) & 1)
		exit_behind(cpu, EXIT_VIRTUAL_EOI, vector);
	else
		evaluate(cpu, p, *s);
}

/* 29.1.5 "Self-IPI Virtualization". */
static void self_ipi(struct x86_cpu *cpu, u8 *p, unsigned vector)
{
	u64 *s = status(cpu);

	if (!s)
		return;
	bit_set(p, APIC_IRR, vector);
	written(cpu);
	*s = (*s & 0xff00) | MAX(rvi(*s), vector);
	evaluate(cpu, p, *s);
}

/* 29.4.3.2 "APIC-Write Emulation", 29.5 for the registers of x2APIC mode. */
void vapic_written(struct x86_cpu *cpu)
{
	u32 at = cpu->c.vmx.apic_written & 0xff0;
	u8 *p = page(cpu);

	attention_clear(cpu, ATT_VAPIC);
	if (!cpu->c.vmx.apic_written || !p)
		return;
	cpu->c.vmx.apic_written = 0;
	switch (at) {
	case APIC_TPR:
		apic_page_put(p, APIC_TPR, apic_page_get(p, APIC_TPR) & 0xff);
		tpr_virtualize(cpu);
		return;
	case APIC_EOI:
		if (!cpu->c.vmx.vid)
			break;
		apic_page_put(p, APIC_EOI, 0);
		eoi_virtualize(cpu, p);
		return;
	case APIC_ICR_LO:
		if (!cpu->c.vmx.vid || (apic_page_get(p, at) & ICR_SELF_MASK) != ICR_SELF ||
		    !(apic_page_get(p, at) & 0xf0))
			break;
		self_ipi(cpu, p, apic_page_get(p, at) & 0xff);
		return;
	case APIC_SELF:
		if (!(apic_page_get(p, at) & 0xf0))
			break;
		self_ipi(cpu, p, apic_page_get(p, at) & 0xff);
		return;
	case APIC_ICR_HI: apic_page_put(p, at, apic_page_get(p, at) & 0xff000000); return;
	default: break;
	}
	exit_behind(cpu, EXIT_APIC_WRITE, at);
}

/* 29.4.2 "Virtualizing Reads from the APIC-Access Page". */
static bool read_virtual(const struct vmx_cache *x, u32 at)
{
	return at == APIC_TPR || (x->apic_reg && apic_page_readable(at));
}

/* 29.4.3.1 "Determining Whether a Write Access is Virtualized". */
static bool write_virtual(const struct vmx_cache *x, u32 at)
{
	if (at == APIC_TPR || (x->vid && (at == APIC_EOI || at == APIC_ICR_LO)))
		return true;
	return x->apic_reg && apic_page_writable(at);
}

static enum outcome access_exit(struct x86_cpu *cpu, u64 la, unsigned type)
{
	if (cpu->c.delivering.kind != EV_NONE)
		type = ACCESS_EVENT;
	x86_exit(cpu, EXIT_APIC_ACCESS, (la & 0xfff) | type << 12, 0);
	cpu->c.vmexit.la = la;
	return OUT_EXIT;
}

enum outcome vapic_access_physical(struct x86_cpu *cpu, u64 pa)
{
	unsigned type = cpu->c.delivering.kind != EV_NONE ? ACCESS_PHYS_EVENT : ACCESS_PHYS;

	return x86_exit(cpu, EXIT_APIC_ACCESS, (pa & 0xfff) | type << 12, 0);
}

enum outcome vapic_access(struct x86_cpu *cpu, u64 la, unsigned size, unsigned want, u8 **host)
{
	struct vmx_cache *x = &cpu->c.vmx;
	u32 off = la & 0xfff, at = off & 0xff0;
	unsigned type = want == WALK_X ? ACCESS_FETCH : want == WALK_W ? ACCESS_WRITE : ACCESS_READ;
	u8 *p;

	if (!x->virtual_apic || want == WALK_X || (off & 15) + size > 4 || cpu->c.delivering.kind != EV_NONE ||
	    x->apic_written || !(want == WALK_W ? write_virtual(x, at) : read_virtual(x, at)))
		return access_exit(cpu, la, type);
	p = page(cpu);
	if (!p)
		return access_exit(cpu, la, type);
	if (want == WALK_W) {
		if (!(cpu->c.mode & MODE_SINGLE)) {
			attention_raise(cpu, ATT_ALONE);
			return OUT_RETRY;
		}
		x->apic_written = at | APIC_WRITTEN;
		attention_raise(cpu, ATT_VAPIC);
	}
	*host = p + off;
	return OUT_NEXT;
}

/* 29.5 "Virtualizing MSR-Based APIC Accesses". */
bool vapic_msr_read(struct x86_cpu *cpu, u32 msr, u64 *v)
{
	u32 at = (msr - MSR_X2APIC) << 4;
	const u8 *p = page(cpu);

	if (!p || (at != APIC_TPR && !cpu->c.vmx.apic_reg))
		return false;
	memcpy(v, p + at, sizeof(*v));
	return true;
}

enum vapic_msr vapic_msr_write(struct x86_cpu *cpu, u32 msr, u64 v)
{
	u32 at = (msr - MSR_X2APIC) << 4;
	u8 *p = page(cpu);

	if (!p || (at != APIC_TPR && (!cpu->c.vmx.vid || (at != APIC_EOI && at != APIC_SELF))))
		return VAPIC_MSR_NOT;
	if (at == APIC_EOI ? v != 0 : v > 0xff)
		return VAPIC_MSR_GP;
	memcpy(p + at, &v, sizeof(v));
	written(cpu);
	cpu->c.vmx.apic_written = at | APIC_WRITTEN;
	attention_raise(cpu, ATT_VAPIC);
	return VAPIC_MSR_DONE;
}

/* 29.2.2 "Virtual-Interrupt Delivery". */
int vapic_take(struct x86_cpu *cpu)
{
	u8 *p = page(cpu);
	u64 *s = status(cpu);
	unsigned vector;

	attention_clear(cpu, ATT_VIRQ);
	if (!p || !s)
		return -1;
	vector = rvi(*s);
	bit_set(p, APIC_ISR, vector);
	apic_page_put(p, APIC_PPR, vector & 0xf0);
	bit_clear(p, APIC_IRR, vector);
	written(cpu);
	*s = apic_page_highest(p, APIC_IRR) | vector << 8;
	return (int)vector;
}

#define PI_ON	   BIT(0) /* of the descriptor's fifth quadword: table 29-1 */
#define PI_CONTROL 4

/* 29.6 "Posted-Interrupt Processing"; the interrupt has been acknowledged. */
void vapic_posted(struct x86_cpu *cpu)
{
	u64 *desc = svm_page(cpu, cpu->c.vmx.posted_desc, true), *s = status(cpu);
	unsigned highest = 0;
	u8 *p = page(cpu);

	cpu->apic_ops->eoi(cpu->apic);
	if (!desc || !p || !s)
		return;
	__atomic_fetch_and(&desc[PI_CONTROL], ~PI_ON, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < 4; i++) {
		u64 set = __atomic_exchange_n(&desc[i], 0, __ATOMIC_SEQ_CST);

		if (!set)
			continue;
		for (unsigned half = 0; half < 2; half++) {
			u32 at = APIC_IRR + 16 * (2 * i + half);

			apic_page_put(p, at, apic_page_get(p, at) | (u32)(set >> 32 * half));
		}
		highest = 64 * i + 63 - (unsigned)__builtin_clzll(set);
	}
	written(cpu);
	svm_page_written(cpu, cpu->c.vmx.posted_desc);
	*s = (*s & 0xff00) | MAX(rvi(*s), highest);
	evaluate(cpu, p, *s);
}

void vapic_load(struct x86_cpu *cpu, const u64 *f)
{
	struct vmx_cache *x = &cpu->c.vmx;

	x->virtual_apic = vmx_has(&cpu->c, PROC, TPR_SHADOW);
	x->apic_page = f[VMCS_VIRTUAL_APIC];
	x->vid = vmx_has(&cpu->c, PROC2, VID);
	x->apic_reg = vmx_has(&cpu->c, PROC2, APIC_REG);
	x->x2apic = vmx_has(&cpu->c, PROC2, X2APIC);
	x->apic_access = vmx_has(&cpu->c, PROC2, APIC_ACCESS) ? f[VMCS_APIC_ACCESS] | 1 : 0;
	x->tpr_threshold = x->vid ? 0 : f[VMCS_TPR_THRESHOLD] & 15;
	x->posted = vmx_has(&cpu->c, PIN, POSTED);
	x->posted_vector = (u32)f[VMCS_POSTED_VECTOR];
	x->posted_desc = f[VMCS_POSTED_DESC];
	memcpy(x->eoi_exit, &f[VMCS_EOI_EXIT0], sizeof(x->eoi_exit));
	if (x->virtual_apic)
		tpr_virtualize(cpu);
}
