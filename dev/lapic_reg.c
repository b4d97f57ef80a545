/*
 * The local APIC's registers (SDM vol. 3 table 11-1 "Local APIC Register Address Map", table 11-6 for x2APIC) and
 * IA32_APIC_BASE.
 *
 * One access path for both forms: register number = xAPIC offset / 16 = x2APIC MSR - 800h. In x2APIC mode reserved bits
 * refuse (#GP), in xAPIC mode they are dropped.
 */
#include "dev/lapic_int.h"

enum lapic_reg {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_APR = 0x09,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_RRD = 0x0c,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10,
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_ICR = 0x30,
	REG_ICR_HIGH = 0x31,
	REG_LVT = 0x32, /* six, in the order of enum lapic_lvt */
	REG_INITIAL = 0x38,
	REG_CURRENT = 0x39,
	REG_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,
};

/* An integrated APIC of six local vector table entries, without CMCI and EOI-broadcast suppression. */
#define VERSION (0x14u | (LVTS - 1) << 16)

#define ICR_PENDING  BIT(12)
#define ICR_RESERVED (BIT(13) | BIT(16) | BIT(17) | 0xfff00000ull)

static const u32 lvt_bits[LVTS] = {
	[LVT_TIMER] = 0x300ff | LVT_MASKED, /* TSC deadline, bit 18, when there is one */
	[LVT_THERMAL] = 0x7ff | LVT_MASKED, [LVT_PERF] = 0x7ff | LVT_MASKED, [LVT_LINT0] = 0xa7ff | LVT_MASKED,
	[LVT_LINT1] = 0xa7ff | LVT_MASKED,  [LVT_ERROR] = 0xff | LVT_MASKED,
};

bool lapic_reg_read(struct lapic *l, unsigned reg, u64 *value)
{
	bool x2 = lapic_x2(l);
	u64 v;

	switch (reg) {
	case REG_ID: v = l->s.id; break;
	case REG_VERSION: v = VERSION; break;
	case REG_TPR: v = l->s.tpr; break;
	case REG_APR:
	case REG_RRD:
		if (x2)
			return false;
		v = 0;
		break;
	case REG_PPR: v = lapic_ppr(l); break;
	case REG_EOI: /* write-only */
		if (x2)
			return false;
		v = 0;
		break;
	case REG_LDR: v = l->s.ldr; break;
	case REG_DFR:
		if (x2)
			return false;
		v = l->s.dfr;
		break;
	case REG_SVR: v = l->s.svr; break;
	case REG_ISR ... REG_ISR + 7: v = l->s.isr[reg - REG_ISR]; break;
	case REG_TMR ... REG_TMR + 7: v = l->s.tmr[reg - REG_TMR]; break;
	case REG_IRR ... REG_IRR + 7: v = l->s.irr[reg - REG_IRR]; break;
	case REG_ESR: v = l->s.esr; break;
	case REG_ICR: v = x2 ? l->s.icr : (u32)l->s.icr; break;
	case REG_ICR_HIGH:
		if (x2)
			return false;
		v = l->s.icr >> 32;
		break;
	case REG_LVT ... REG_LVT + LVTS - 1: v = l->s.lvt[reg - REG_LVT]; break;
	case REG_INITIAL: v = l->s.initial_count; break;
	case REG_CURRENT: v = lapic_timer_count(l); break;
	case REG_DIVIDE: v = l->s.divide; break;
	default: return false;
	}
	*value = v;
	return true;
}

static bool write_svr(struct lapic *l, u32 v)
{
	l->s.svr = v & (SVR_ENABLE | 0xff);
	if (!(v & SVR_ENABLE)) /* SDM vol. 3 11.4.7.2: all local vector table mask bits are set */
		for (unsigned i = 0; i < LVTS; i++)
			l->s.lvt[i] |= LVT_MASKED;
	lapic_update(l);
	return true;
}

static bool write_lvt(struct lapic *l, unsigned n, u64 v)
{
	u32 bits = lvt_bits[n];

	if (n == LVT_TIMER && l->bus->tsc.hz)
		bits |= 1u << (LVT_TIMER_MODE_SHIFT + 1);
	if (lapic_x2(l) && v & ~(u64)(bits | 0x5000)) /* delivery status and remote IRR are read-only */
		return false;
	v &= bits;
	if (!(l->s.svr & SVR_ENABLE))
		v |= LVT_MASKED;
	if (n == LVT_TIMER)
		lapic_timer_lvt(l, v);
	else
		l->s.lvt[n] = v;
	lapic_update(l);
	return true;
}

static bool write_icr(struct lapic *l, u64 v)
{
	if (lapic_x2(l)) {
		if (v & ICR_RESERVED)
			return false;
		l->s.icr = v & ~ICR_PENDING;
	} else {
		l->s.icr = (l->s.icr & ~0xffffffffull) | ((u32)v & ~(ICR_RESERVED | ICR_PENDING)) | (v & 0xc0000);
	}
	lapic_send_icr(l, l->s.icr);
	return true;
}

bool lapic_reg_write(struct lapic *l, unsigned reg, u64 v)
{
	bool x2 = lapic_x2(l);

	if (x2 && reg != REG_ICR && v >> 32)
		return false;
	switch (reg) {
	case REG_EOI:
		if (x2 && v)
			return false;
		lapic_eoi(l);
		return true;
	case REG_TPR:
		if (x2 && v & ~0xffull)
			return false;
		l->s.tpr = v & 0xff;
		lapic_update(l);
		return true;
	case REG_ICR: return write_icr(l, v);
	case REG_ID:
		if (x2)
			return false;
		l->s.id = v & 0xff000000;
		return true;
	case REG_LDR:
		if (x2)
			return false;
		l->s.ldr = v & 0xff000000;
		return true;
	case REG_DFR:
		if (x2)
			return false;
		l->s.dfr = v | 0x0fffffff;
		return true;
	case REG_SVR:
		if (x2 && v & ~(u64)(SVR_ENABLE | 0xff))
			return false;
		return write_svr(l, v);
	case REG_ESR: /* SDM vol. 3 11.5.3 "Error Handling": a write shows what has been gathered */
		if (x2 && v)
			return false;
		l->s.esr = l->s.esr_pending;
		l->s.esr_pending = 0;
		return true;
	case REG_ICR_HIGH:
		if (x2)
			return false;
		l->s.icr = (u32)l->s.icr | (v & 0xff000000) << 32;
		return true;
	case REG_LVT ... REG_LVT + LVTS - 1: return write_lvt(l, reg - REG_LVT, v);
	case REG_INITIAL:
		if (lapic_timer_mode(l) == TIMER_TSC_DEADLINE)
			return true;
		l->s.initial_count = v;
		lapic_timer_start(l);
		return true;
	case REG_DIVIDE:
		if (x2 && v & ~11ull)
			return false;
		lapic_timer_divide(l, v);
		return true;
	case REG_SELF_IPI:
		if (!x2 || v & ~0xffull)
			return false;
		if (v < 16)
			lapic_error(l, ESR_SEND_ILLEGAL);
		lapic_accept(l, v, false);
		return true;
	case REG_VERSION:
	case REG_APR:
	case REG_PPR:
	case REG_RRD:
	case REG_ISR ... REG_ISR + 7:
	case REG_TMR ... REG_TMR + 7:
	case REG_IRR ... REG_IRR + 7:
	case REG_CURRENT: return !x2; /* read-only: xAPIC drops the store */
	}
	return false;
}

/* SDM vol. 3 11.12.5 "x2APIC State Transitions": 00 -> 10 -> 11 -> 00; everything else is #GP(0). */
bool lapic_base_write(struct lapic *l, u64 value)
{
	u64 old = l->s.base, mode = value & (BASE_EN | BASE_EXTD), old_mode = old & (BASE_EN | BASE_EXTD);
	u64 known = (l->bus->phys_mask & ~0xfffull) | BASE_BSP | BASE_EN | (l->bus->allow_x2apic ? BASE_EXTD : 0);

	if (value & ~known || mode == BASE_EXTD)
		return false;
	if (old_mode == (BASE_EN | BASE_EXTD) && mode == BASE_EN)
		return false;
	if (!old_mode && mode == (BASE_EN | BASE_EXTD))
		return false;
	l->s.base = value;
	if (mode & BASE_EN && !(mode & BASE_EXTD) && (value & ~0xfffull & l->bus->phys_mask) != LAPIC_BASE)
		log_limit(l->bus->vm->log, "local APIC: registers moved to %#llx",
			  (unsigned long long)(value & ~0xfffull));
	if (mode == old_mode)
		return true;
	if (!mode) { /* SDM vol. 3 11.4.3: its state is as after power-up when it comes back */
		l->s.id = l->index << 24;
		lapic_init_reset(l);
	} else if (mode & BASE_EXTD) {
		l->s.id = l->index;
		l->s.ldr = (l->s.id >> 4) << 16 | 1u << (l->s.id & 15);
		l->s.icr = (u32)l->s.icr;
	}
	lapic_update(l);
	return true;
}
