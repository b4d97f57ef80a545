/*
 * AVIC, the virtual APIC of an SVM guest: APM vol. 2 15.29 "Advanced Virtual Interrupt Controller".
 *
 * All registers are in the backing page in guest RAM, which other processors' IPIs and the hypervisor write too: IRR is
 * changed by atomic operations alone. A pending interrupt that the priority lets through is ATT_VIRQ; IF, V_GIF and
 * shadows are c.att_mask's matter.
 *
 *   load, store in the guest-physical page of the APIC ──► avic_access ──► AVIC_NOACCEL (fault)
 *        └─ a store: noted in c.avic.written, ATT_VAPIC ──► avic_written, behind the instruction
 *                         │ TPR, EOI, ICR                          │ any other, EOI of a level-triggered interrupt
 *                         ▼                                        ▼
 *               evaluate; IRR of the targets, doorbell        AVIC_NOACCEL (trap)
 *                         └─ a target does not run ──► AVIC_INCOMPLETE_IPI
 *
 * As with VMX, a store that something must follow happens only while its instruction runs alone (ATT_ALONE, OUT_RETRY).
 */
#include "cpu/x86/avic.h"

#include "arch/x86/model.h"
#include "arch/x86/walk.h"
#include "cpu/x86/apic_page.h"
#include "cpu/x86/exec.h"

#define ICR_VECTOR   0xffu
#define ICR_MODE(v)  ((v) >> 8 & 7)
#define ICR_LOGICAL  BIT(11)
#define ICR_STATUS   0x1000u /* delivery status: idle */
#define ICR_LEVEL    BIT(15)
#define ICR_SHORT(v) ((v) >> 18 & 3)
enum icr_shorthand { ICR_DEST, ICR_SELF_ONLY, ICR_ALL, ICR_OTHERS };

/* Entries of the physical and the logical APIC ID table: 15.29.2.4, 15.29.2.5. */
#define ENTRY_HOST_ID 0xfffu
#define ENTRY_PAGE    0xffffffffff000ull
#define ENTRY_RUNNING BIT(62)
#define ENTRY_VALID   BIT(63)
#define LOGICAL_ID    0xffu
#define LOGICAL_VALID BIT(31)

/* EXITINFO2 bits 63:32 of AVIC_INCOMPLETE_IPI, table 15-24, and IPI_DONE. */
enum ipi_result { IPI_BAD_TYPE, IPI_NOT_RUNNING, IPI_BAD_TARGET, IPI_BAD_PAGE, IPI_BAD_VECTOR, IPI_DONE };

#define NOACCEL_WRITE BIT(32)

static u8 *page(struct x86_cpu *cpu) { return svm_page(cpu, cpu->c.avic.page, true); }
static void page_written(struct x86_cpu *cpu) { svm_page_written(cpu, cpu->c.avic.page); }

static u32 *word(u8 *p, u32 base, unsigned vector) { return (u32 *)(p + apic_page_bit_at(base, vector)); }
static void bit_set(u8 *p, u32 base, unsigned vector)
{
	__atomic_fetch_or(word(p, base, vector), 1u << vector % 32, __ATOMIC_SEQ_CST);
}
static void bit_clear(u8 *p, u32 base, unsigned vector)
{
	__atomic_fetch_and(word(p, base, vector), ~(1u << vector % 32), __ATOMIC_SEQ_CST);
}

int avic_pending(struct x86_cpu *cpu)
{
	u8 *p = cpu->c.avic.on ? page(cpu) : NULL;
	unsigned vector;

	attention_clear(cpu, ATT_VIRQ); /* before IRR is read: who sets a bit later raises it again */
	if (!p)
		return -1;
	apic_page_ppr_update(p, apic_page_highest(p, APIC_ISR));
	page_written(cpu);
	vector = apic_page_highest(p, APIC_IRR);
	return vector >> 4 > apic_page_get(p, APIC_PPR) >> 4 ? (int)vector : -1;
}

static void evaluate(struct x86_cpu *cpu)
{
	if (avic_pending(cpu) >= 0)
		attention_raise(cpu, ATT_VIRQ);
}

void avic_accept(struct x86_cpu *cpu, unsigned vector)
{
	u8 *p = page(cpu);

	bit_clear(p, APIC_IRR, vector);
	bit_set(p, APIC_ISR, vector);
	evaluate(cpu);
}

u64 avic_cr8(struct x86_cpu *cpu)
{
	const u8 *p = page(cpu);

	return p ? apic_page_get(p, APIC_TPR) >> 4 & 15 : 0;
}

void avic_cr8_set(struct x86_cpu *cpu, u64 cr8)
{
	u8 *p = page(cpu);

	if (p)
		apic_page_put(p, APIC_TPR, (u32)cr8 << 4);
	evaluate(cpu);
}

static void exit_behind(struct x86_cpu *cpu, enum x86_exit exit, u64 info1, u64 info2)
{
	x86_exit(cpu, exit, info1, info2);
	svm_vmexit(cpu, 0);
}

/* 15.29.3.1 "Virtual APIC Register Accesses". EOI of a level-triggered interrupt is the hypervisor's, whole. */
static void eoi(struct x86_cpu *cpu, u8 *p)
{
	unsigned vector = apic_page_highest(p, APIC_ISR);

	if (!vector)
		return;
	if (apic_page_bit(p, APIC_TMR, vector)) {
		exit_behind(cpu, EXIT_AVIC_NOACCEL, NOACCEL_WRITE | APIC_EOI, vector);
		return;
	}
	bit_clear(p, APIC_ISR, vector);
	evaluate(cpu);
}

void avic_doorbell(struct x86_cpu *cpu, u32 apic_id)
{
	struct vm *vm = cpu->vm;

	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->vcpu[i] && vm->vcpu[i]->index == apic_id)
			x86_attract(x86_cpu_of(vm->vcpu[i]), ATT_VIRQ);
}

/* 15.29.3.2: the interrupt is pending in the target's page before anybody is told. */
static enum ipi_result ipi_to(struct x86_cpu *cpu, u32 id, unsigned vector)
{
	u64 table = cpu->c.avic.physical + 8ull * id, entry;
	const u64 *slot = id <= cpu->c.avic.max ? svm_page(cpu, table, false) : NULL;
	u8 *p;

	if (!slot)
		return IPI_BAD_TARGET;
	entry = __atomic_load_n(slot, __ATOMIC_SEQ_CST);
	if (!(entry & ENTRY_VALID))
		return IPI_BAD_TARGET;
	p = svm_page(cpu, entry & ENTRY_PAGE, true);
	if (!p)
		return IPI_BAD_PAGE;
	bit_set(p, APIC_IRR, vector);
	svm_page_written(cpu, entry & ENTRY_PAGE);
	if (!(__atomic_load_n(slot, __ATOMIC_SEQ_CST) & ENTRY_RUNNING))
		return IPI_NOT_RUNNING;
	avic_doorbell(cpu, entry & ENTRY_HOST_ID);
	return IPI_DONE;
}

/* What is told of an IPI to several: that one does not run, before that one is not there. */
struct ipi {
	enum ipi_result result;
	u32 index;
};

static void ipi_add(struct ipi *all, enum ipi_result r, u32 index)
{
	if (r == IPI_DONE || all->result == IPI_NOT_RUNNING || (all->result != IPI_DONE && r != IPI_NOT_RUNNING))
		return;
	*all = (struct ipi){r, index};
}

static void ipi_logical_one(struct x86_cpu *cpu, struct ipi *all, u32 index, unsigned vector)
{
	const u32 *slot = svm_page(cpu, cpu->c.avic.logical + 4ull * index, false);
	u32 entry = slot ? __atomic_load_n(slot, __ATOMIC_RELAXED) : 0;

	ipi_add(all, entry & LOGICAL_VALID ? ipi_to(cpu, entry & LOGICAL_ID, vector) : IPI_BAD_TARGET, index);
}

/* 15.29.2.5 "Logical APIC ID Table": eight entries in the flat model, four for each of 15 clusters. x2APIC's logical ID
 * follows from the physical one. */
static void ipi_logical(struct x86_cpu *cpu, struct ipi *all, const u8 *p, u32 dest, unsigned vector)
{
	bool flat = apic_page_get(p, APIC_DFR) >> 28 == 15;

	if (cpu->c.avic.x2) {
		for (u32 i = 0; i < 16; i++)
			if (dest >> i & 1)
				ipi_add(all, ipi_to(cpu, (dest >> 16) * 16 + i, vector), (dest >> 16) * 16 + i);
		return;
	}
	for (u32 i = 0; i < (flat ? 8u : 4u); i++)
		if (dest >> i & 1)
			ipi_logical_one(cpu, all, flat ? i : (dest >> 4) * 4 + i, vector);
}

static void ipi_broadcast(struct x86_cpu *cpu, struct ipi *all, u32 but, unsigned vector)
{
	for (u32 id = 0; id <= cpu->c.avic.max; id++) {
		enum ipi_result r = id == but ? IPI_DONE : ipi_to(cpu, id, vector);

		if (r != IPI_BAD_TARGET)
			ipi_add(all, r, id);
	}
}

static void ipi(struct x86_cpu *cpu, u8 *p)
{
	u32 lo = apic_page_get(p, APIC_ICR_LO), hi = apic_page_get(p, APIC_ICR_HI);
	u32 id = cpu->c.avic.x2 ? apic_page_get(p, APIC_ID) : apic_page_get(p, APIC_ID) >> 24;
	u32 dest = cpu->c.avic.x2 ? hi : hi >> 24, vector = lo & ICR_VECTOR;
	bool everybody = dest == (cpu->c.avic.x2 ? 0xffffffffu : 0xffu);
	struct ipi all = {IPI_DONE, 0};

	if (ICR_MODE(lo) || (lo & ICR_LEVEL)) {
		all.result = IPI_BAD_TYPE;
	} else if (vector < 16) {
		all.result = IPI_BAD_VECTOR;
	} else if (ICR_SHORT(lo) == ICR_SELF_ONLY) {
		bit_set(p, APIC_IRR, vector);
		evaluate(cpu);
	} else if (ICR_SHORT(lo) == ICR_DEST && (lo & ICR_LOGICAL) && !(everybody && cpu->c.avic.x2)) {
		ipi_logical(cpu, &all, p, dest, vector);
	} else if (ICR_SHORT(lo) == ICR_DEST && !everybody) {
		ipi_add(&all, ipi_to(cpu, dest, vector), dest);
	} else {
		ipi_broadcast(cpu, &all, ICR_SHORT(lo) == ICR_OTHERS ? id : ~0u, vector);
	}
	if (all.result != IPI_DONE)
		exit_behind(cpu, EXIT_AVIC_INCOMPLETE_IPI, (u64)hi << 32 | lo, (u64)all.result << 32 | all.index);
}

void avic_written(struct x86_cpu *cpu)
{
	u32 at = cpu->c.avic.written & 0xff0;
	u8 *p = page(cpu);

	attention_clear(cpu, ATT_VAPIC);
	if (!cpu->c.avic.written || !p)
		return;
	cpu->c.avic.written = 0;
	switch (at) {
	case APIC_TPR:
		apic_page_put(p, APIC_TPR, apic_page_get(p, APIC_TPR) & 0xff);
		evaluate(cpu);
		return;
	case APIC_EOI: eoi(cpu, p); return;
	case APIC_ICR_LO:
		apic_page_put(p, APIC_ICR_LO, apic_page_get(p, APIC_ICR_LO) & ~ICR_STATUS);
		ipi(cpu, p);
		return;
	case APIC_ICR_HI: apic_page_put(p, at, apic_page_get(p, at) & 0xff000000); return;
	case APIC_SELF:
		if (apic_page_get(p, at) & 0xf0) {
			bit_set(p, APIC_IRR, apic_page_get(p, at) & 0xff);
			evaluate(cpu);
			return;
		}
		break;
	default: break;
	}
	exit_behind(cpu, EXIT_AVIC_NOACCEL, NOACCEL_WRITE | at, 0);
}

/* Table 15-22 "Guest vAPIC Register Access Behavior": what is not allowed at all is a fault. */
static bool may_read(u32 at)
{
	return apic_page_readable(at) || at == APIC_TPR || at == APIC_APR || at == APIC_PPR || at == APIC_RRD;
}

/* Stored, and then accelerated or a trap. */
static bool may_write(u32 at) { return apic_page_writable(at) || at == APIC_TPR || at == APIC_RRD; }

enum outcome avic_access(struct x86_cpu *cpu, u64 la, unsigned size, unsigned want, u8 **host)
{
	u32 off = la & 0xfff, at = off & 0xff0;
	bool write = want == WALK_W;
	u8 *p = page(cpu);

	if (!p || want == WALK_X || (off & 15) + size > 4 || cpu->c.delivering.kind != EV_NONE || cpu->c.avic.written ||
	    !(write ? may_write(at) : may_read(at)))
		return x86_exit(cpu, EXIT_AVIC_NOACCEL, at | (write ? NOACCEL_WRITE : 0), 0);
	if (write) {
		if (!(cpu->c.mode & MODE_SINGLE)) {
			attention_raise(cpu, ATT_ALONE);
			return OUT_RETRY;
		}
		cpu->c.avic.written = at | APIC_WRITTEN;
		attention_raise(cpu, ATT_VAPIC);
	}
	*host = p + off;
	return OUT_NEXT;
}

/* 15.29.10 "x2AVIC": the register of MSR 800h + n is at n * 16; ICR has 64 bits, of which the page keeps two words. */
enum outcome avic_msr(struct x86_cpu *cpu, u32 msr, bool write, u64 *v)
{
	u32 at = (msr - MSR_X2APIC) << 4;
	u8 *p = page(cpu);
	bool known = write ? may_write(at) || at == APIC_SELF : may_read(at);

	if (at == APIC_ICR_HI || at == APIC_DFR || (at == APIC_EOI && !write))
		return x86_fault(cpu, EXC_GP, 0);
	if (!p || !known || at == APIC_RRD || (write && (at == APIC_ID || at == APIC_LDR)))
		return x86_exit(cpu, EXIT_AVIC_NOACCEL, at | (write ? NOACCEL_WRITE : 0), 0);
	if (!write) {
		*v = apic_page_get(p, at);
		if (at == APIC_ICR_LO)
			*v |= (u64)apic_page_get(p, APIC_ICR_HI) << 32;
		return OUT_NEXT;
	}
	if (at == APIC_ICR_LO)
		apic_page_put(p, APIC_ICR_HI, (u32)(*v >> 32));
	else if (at == APIC_EOI ? *v != 0 : at == APIC_TPR || at == APIC_SELF ? *v > 0xff : *v >> 32 != 0)
		return x86_fault(cpu, EXC_GP, 0);
	apic_page_put(p, at, (u32)*v);
	cpu->c.avic.written = at | APIC_WRITTEN;
	attention_raise(cpu, ATT_VAPIC);
	return OUT_NEXT;
}

void avic_clear(struct x86_cpu *cpu)
{
	if (likely(!cpu->c.avic.on))
		return;
	memset(&cpu->c.avic, 0, sizeof(cpu->c.avic));
	attention_clear(cpu, ATT_VIRQ | ATT_VAPIC | ATT_ALONE);
}

void avic_load(struct x86_cpu *cpu, const struct vmcb_control *v)
{
	struct avic_cache *a = &cpu->c.avic;

	if (likely(!(v->int_ctl & VI_AVIC)) || !x86_has(cpu->model, X86F_AVIC))
		return;
	a->on = 1;
	a->x2 = (v->int_ctl & VI_X2AVIC) && x86_has(cpu->model, X86F_X2AVIC);
	a->bar = a->x2 ? 0 : (v->avic_bar & ENTRY_PAGE) | 1;
	a->page = v->avic_backing & ENTRY_PAGE;
	a->logical = v->avic_logical & ENTRY_PAGE;
	a->physical = v->avic_physical & ENTRY_PAGE;
	a->max = v->avic_physical & (a->x2 ? 0x1ff : 0xff);
	evaluate(cpu);
}
