/*
 * A page of guest RAM that holds the registers of a virtual APIC, 16 bytes apart, by their offsets in the APIC: VMX's
 * virtual-APIC page, AVIC's backing page. SDM vol. 3 11.4.1 "The Local APIC Block Diagram"; APM vol. 2 16.3.2.
 */
#ifndef CPU_X86_APIC_PAGE_H
#define CPU_X86_APIC_PAGE_H

#include <string.h>

#include "base/types.h"

#define APIC_ID	     0x020u
#define APIC_VERSION 0x030u
#define APIC_TPR     0x080u
#define APIC_APR     0x090u
#define APIC_PPR     0x0a0u
#define APIC_EOI     0x0b0u
#define APIC_RRD     0x0c0u
#define APIC_LDR     0x0d0u
#define APIC_DFR     0x0e0u
#define APIC_SVR     0x0f0u
#define APIC_ISR     0x100u
#define APIC_TMR     0x180u
#define APIC_IRR     0x200u
#define APIC_IRR_END 0x280u
#define APIC_ESR     0x280u
#define APIC_ICR_LO  0x300u
#define APIC_ICR_HI  0x310u
#define APIC_LVT     0x320u
#define APIC_LVT_END 0x380u
#define APIC_COUNT   0x380u
#define APIC_DIVIDE  0x3e0u
#define APIC_SELF    0x3f0u /* x2APIC mode: SELF IPI */

#define MSR_X2APIC 0x800u

static inline u32 apic_page_get(const u8 *p, u32 at)
{
	u32 v;

	memcpy(&v, p + at, sizeof(v));
	return v;
}
static inline void apic_page_put(u8 *p, u32 at, u32 v) { memcpy(p + at, &v, sizeof(v)); }

/* The 256 bits of ISR, TMR or IRR: 32 in each of eight registers. */
static inline u32 apic_page_bit_at(u32 base, unsigned vector) { return base + vector / 32 * 16; }
static inline bool apic_page_bit(const u8 *p, u32 base, unsigned v)
{
	return apic_page_get(p, apic_page_bit_at(base, v)) >> v % 32 & 1;
}
/* 0 when none is set. */
static inline unsigned apic_page_highest(const u8 *p, u32 base)
{
	for (int i = 7; i >= 0; i--) {
		u32 v = apic_page_get(p, base + 16 * (unsigned)i);

		if (v)
			return 32 * (unsigned)i + 31 - (unsigned)__builtin_clz(v);
	}
	return 0;
}

/* PPR from TPR and the highest vector in service, 0 if none is: SDM vol. 3 29.1.3 "PPR Virtualization"; APM vol. 2
 * 16.6.4 "Task and Processor Priorities". */
static inline void apic_page_ppr_update(u8 *p, unsigned in_service)
{
	u32 tpr = apic_page_get(p, APIC_TPR) & 0xff;

	apic_page_put(p, APIC_PPR, tpr >> 4 >= in_service >> 4 ? tpr : in_service & 0xf0);
}

/* The registers whose virtual copy both vendors let a guest write and read; TPR is each one's own matter: SDM vol. 3
 * 29.4.2, 29.4.3.1; APM vol. 2 table 15-22 "Guest vAPIC Register Access Behavior". */
static inline bool apic_page_writable(u32 at)
{
	switch (at) {
	case APIC_ID:
	case APIC_EOI:
	case APIC_LDR:
	case APIC_DFR:
	case APIC_SVR:
	case APIC_ESR:
	case APIC_ICR_LO:
	case APIC_ICR_HI:
	case APIC_COUNT:
	case APIC_DIVIDE: return true;
	default: return at >= APIC_LVT && at < APIC_LVT_END;
	}
}
static inline bool apic_page_readable(u32 at)
{
	return apic_page_writable(at) || at == APIC_VERSION || (at >= APIC_ISR && at < APIC_IRR_END);
}

#endif
