/*
 * The local APIC: acceptance, priorities, EOI, errors, reset (SDM vol. 3 11.8 "Handling Interrupts").
 *
 * lapic_update() is the only writer of `summary` and runs at the end of everything that can change it.
 */
#include "dev/lapic_int.h"

#include <string.h>

static int highest_bit(const u32 *set)
{
	for (int i = 7; i >= 0; i--)
		if (set[i])
			return i * 32 + 31 - __builtin_clz(set[i]);
	return -1;
}

static void bit_set(u32 *set, u8 n) { set[n / 32] |= 1u << n % 32; }
static void bit_clear(u32 *set, u8 n) { set[n / 32] &= ~(1u << n % 32); }
static bool bit_test(const u32 *set, u8 n) { return set[n / 32] >> n % 32 & 1; }

/* SDM vol. 3 11.8.3.1 "Task and Processor Priorities". */
u32 lapic_ppr(const struct lapic *l)
{
	int isr = highest_bit(l->s.isr);
	u32 isrv = isr < 0 ? 0 : (u32)isr;

	return (l->s.tpr & 0xf0) >= (isrv & 0xf0) ? l->s.tpr : isrv & 0xf0;
}

static int deliverable(const struct lapic *l)
{
	u32 lint0 = l->s.lvt[LVT_LINT0];
	int v;

	if (!lapic_enabled(l)) /* the wire goes to the processor's INTR pin */
		return l->s.extint ? LAPIC_EXTINT : -1;
	if (l->s.extint && !(lint0 & LVT_MASKED) && (lint0 >> LVT_MODE_SHIFT & 7) == APIC_EXTINT)
		return LAPIC_EXTINT;
	if (!(l->s.svr & SVR_ENABLE))
		return -1;
	v = highest_bit(l->s.irr);
	return v >= 0 && ((u32)v & 0xf0) > (lapic_ppr(l) & 0xf0) ? v : -1;
}

void lapic_update(struct lapic *l)
{
	int v = deliverable(l);
	struct vcpu *vcpu;

	if (v == atomic_exchange(&l->summary, v) || v < 0)
		return;
	vcpu = l->bus->vm->vcpu[l->index];
	if (vcpu && vcpu->ops->assert_intr)
		vcpu->ops->assert_intr(vcpu);
}

void lapic_error(struct lapic *l, u32 bit)
{
	bool news = !(l->s.esr_pending & bit);

	l->s.esr_pending |= bit;
	if (news)
		lapic_lvt_fire(l, LVT_ERROR);
}

void lapic_accept(struct lapic *l, u8 vector, bool level)
{
	if (!lapic_enabled(l) || !(l->s.svr & SVR_ENABLE))
		return;
	if (vector < 16) {
		lapic_error(l, ESR_RECEIVE_ILLEGAL);
		return;
	}
	bit_set(l->s.irr, vector);
	if (level)
		bit_set(l->s.tmr, vector);
	else
		bit_clear(l->s.tmr, vector);
	lapic_update(l);
}

void lapic_lvt_fire(struct lapic *l, enum lapic_lvt n)
{
	u32 lvt = l->s.lvt[n];
	unsigned mode = n == LVT_TIMER || n == LVT_ERROR ? APIC_FIXED : lvt >> LVT_MODE_SHIFT & 7;
	struct vcpu *vcpu = l->bus->vm->vcpu[l->index];

	if (lvt & LVT_MASKED)
		return;
	switch (mode) {
	case APIC_FIXED:
		/* An illegal vector in the error entry itself must not recurse. */
		if (n != LVT_ERROR || (lvt & LVT_VECTOR) >= 16)
			lapic_accept(l, lvt & LVT_VECTOR, false);
		break;
	case APIC_NMI:
		if (vcpu)
			vcpu->ops->assert_nmi(vcpu);
		break;
	default: log_limit(l->bus->vm->log, "local APIC: delivery mode %u of local vector table entry %u", mode, n);
	}
}

/* SDM vol. 3 11.8.5 "Signaling Interrupt Servicing Completion". */
void lapic_eoi(struct lapic *l)
{
	int v = highest_bit(l->s.isr);

	if (v < 0)
		return;
	bit_clear(l->s.isr, v);
	if (bit_test(l->s.tmr, v) && l->bus->eoi)
		l->bus->eoi(l->bus->eoi_ctx, v);
	lapic_update(l);
}

/* SDM vol. 3 11.4.7.3 "Local APIC State After an INIT Reset". */
void lapic_init_reset(struct lapic *l)
{
	u64 base = l->s.base;
	u32 id = l->s.id, extint = l->s.extint, ldr = l->s.ldr;

	lapic_timer_stop(l);
	memset(&l->s, 0, sizeof(l->s));
	l->s.base = base;
	l->s.id = id;
	l->s.ldr = base & BASE_EXTD ? ldr : 0;
	l->s.extint = extint;
	l->s.dfr = ~0u;
	l->s.svr = 0xff;
	for (unsigned i = 0; i < LVTS; i++)
		l->s.lvt[i] = LVT_MASKED;
	lapic_update(l);
}

void lapic_reset(void *dev)
{
	struct lapic *l = dev;

	l->s.base = LAPIC_BASE | BASE_EN | (l->index ? 0 : BASE_BSP);
	l->s.id = l->index << 24;
	lapic_init_reset(l);
}

void lapic_virtual_wire(struct lapic *l)
{
	l->s.svr = SVR_ENABLE | 0xff;
	l->s.lvt[LVT_LINT0] = APIC_EXTINT << LVT_MODE_SHIFT;
	l->s.lvt[LVT_LINT1] = APIC_NMI << LVT_MODE_SHIFT;
	lapic_update(l);
}

static int op_highest(void *apic)
{
	struct lapic *l = apic;

	return atomic_load_explicit(&l->summary, memory_order_acquire);
}

static int op_ack(void *apic)
{
	struct lapic *l = apic;
	int v;

	vm_lock(l->bus->vm);
	v = deliverable(l);
	if (v == LAPIC_EXTINT) {
		v = l->bus->extint_ack ? l->bus->extint_ack(l->bus->extint_ctx) : -1;
	} else if (v >= 0) {
		bit_clear(l->s.irr, v);
		bit_set(l->s.isr, v);
	}
	if (v >= 0)
		l->taken[v & 0xff]++;
	lapic_update(l);
	vm_unlock(l->bus->vm);
	return v;
}

static void op_eoi(void *apic)
{
	struct lapic *l = apic;

	vm_lock(l->bus->vm);
	lapic_eoi(l);
	vm_unlock(l->bus->vm);
}

static u64 op_cr8_get(void *apic)
{
	struct lapic *l = apic;
	u64 v;

	vm_lock(l->bus->vm);
	v = l->s.tpr >> 4;
	vm_unlock(l->bus->vm);
	return v;
}

static void op_cr8_set(void *apic, u64 cr8)
{
	struct lapic *l = apic;

	vm_lock(l->bus->vm);
	l->s.tpr = (cr8 & 15) << 4;
	lapic_update(l);
	vm_unlock(l->bus->vm);
}

static bool msr_read_locked(struct lapic *l, u32 msr, u64 *value)
{
	switch (msr) {
	case 0x1b: *value = l->s.base; return true;
	case 0x6e0:
		if (!l->bus->tsc.hz)
			return false;
		*value = l->s.tsc_deadline;
		return true;
	}
	return msr >= 0x800 && msr <= 0x8ff && lapic_x2(l) && lapic_reg_read(l, msr - 0x800, value);
}

static bool msr_write_locked(struct lapic *l, u32 msr, u64 value)
{
	switch (msr) {
	case 0x1b: return lapic_base_write(l, value);
	case 0x6e0:
		if (!l->bus->tsc.hz)
			return false;
		lapic_timer_set_tsc(l, value);
		return true;
	}
	return msr >= 0x800 && msr <= 0x8ff && lapic_x2(l) && lapic_reg_write(l, msr - 0x800, value);
}

static bool op_msr_read(void *apic, u32 msr, u64 *value)
{
	struct lapic *l = apic;
	bool ok;

	vm_lock(l->bus->vm);
	ok = msr_read_locked(l, msr, value);
	vm_unlock(l->bus->vm);
	return ok;
}

static bool op_msr_write(void *apic, u32 msr, u64 value)
{
	struct lapic *l = apic;
	bool ok;

	vm_lock(l->bus->vm);
	ok = msr_write_locked(l, msr, value);
	vm_unlock(l->bus->vm);
	return ok;
}

/* SDM vol. 3 11.4.1 "The Local APIC Block Diagram": registers are 32 bits on 16-byte boundaries; anything else is
 * undefined. */
static u64 mmio_read(void *dev, u64 offset, unsigned size)
{
	struct lapic *l = dev;
	u64 v = 0;

	if (!lapic_enabled(l) || lapic_x2(l))
		return ~0ull;
	if ((offset & 15) + size > 4 && (offset & 15 || size != 8))
		return 0;
	if (!lapic_reg_read(l, offset >> 4, &v))
		lapic_error(l, ESR_ILLEGAL_REGISTER);
	return (u32)v >> (offset & 3) * 8;
}

static void mmio_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct lapic *l = dev;

	if (!lapic_enabled(l) || lapic_x2(l))
		return;
	if (offset & 15 || size < 4) {
		log_limit(l->bus->vm->log, "local APIC: a store of %u bytes at offset %#x", size, (unsigned)offset);
		return;
	}
	if (!lapic_reg_write(l, offset >> 4, (u32)value))
		lapic_error(l, ESR_ILLEGAL_REGISTER);
}

/* IA32_APIC_BASE changes only on the processor's own thread, which is also who asks here: no lock needed. */
static bool mmio_mine(const struct lapic *l, u64 gpa, unsigned size)
{
	u64 offset = gpa - (l->s.base & ~0xfffull);

	return lapic_enabled(l) && !lapic_x2(l) && offset < LAPIC_SIZE && offset + size <= LAPIC_SIZE;
}

static void op_deadline(void *apic)
{
	struct lapic *l = apic;

	vm_lock(l->bus->vm);
	lapic_timer_deadline(l);
	vm_unlock(l->bus->vm);
}

static bool op_mmio_read(void *apic, u64 gpa, unsigned size, u64 *value)
{
	struct lapic *l = apic;

	if (!mmio_mine(l, gpa, size))
		return false;
	vm_lock(l->bus->vm);
	*value = mmio_read(l, gpa & 0xfff, size);
	vm_unlock(l->bus->vm);
	return true;
}

static bool op_mmio_write(void *apic, u64 gpa, unsigned size, u64 value)
{
	struct lapic *l = apic;

	if (!mmio_mine(l, gpa, size))
		return false;
	vm_lock(l->bus->vm);
	mmio_write(l, gpa & 0xfff, size, value);
	vm_unlock(l->bus->vm);
	return true;
}

const struct apic_ops lapic_ops = {
	.highest = op_highest,
	.ack = op_ack,
	.eoi = op_eoi,
	.cr8_get = op_cr8_get,
	.cr8_set = op_cr8_set,
	.msr_read = op_msr_read,
	.msr_write = op_msr_write,
	.deadline = op_deadline,
	.mmio_read = op_mmio_read,
	.mmio_write = op_mmio_write,
};

const struct bus_ops lapic_mmio_ops = {mmio_read, mmio_write};

static const struct desc_field fields[] = {
	DESC_INT(struct lapic_state, base),
	DESC_INT(struct lapic_state, tsc_deadline),
	DESC_INT(struct lapic_state, timer_deadline),
	DESC_INT(struct lapic_state, icr),
	DESC_INT(struct lapic_state, id),
	DESC_INT(struct lapic_state, tpr),
	DESC_INT(struct lapic_state, ldr),
	DESC_INT(struct lapic_state, dfr),
	DESC_INT(struct lapic_state, svr),
	DESC_INT(struct lapic_state, esr),
	DESC_INT(struct lapic_state, esr_pending),
	DESC_ARR(struct lapic_state, irr),
	DESC_ARR(struct lapic_state, isr),
	DESC_ARR(struct lapic_state, tmr),
	DESC_ARR(struct lapic_state, lvt),
	DESC_INT(struct lapic_state, initial_count),
	DESC_INT(struct lapic_state, divide),
	DESC_INT(struct lapic_state, extint),
};
DESC(lapic_state_desc, struct lapic_state, fields);

const struct device_class lapic_class = {"lapic", MIGRATE_STATE, &lapic_state_desc, lapic_reset, lapic_words};
