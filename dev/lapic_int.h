/* What the parts of the local APIC (lapic.c, lapic_bus.c, lapic_reg.c, lapic_timer.c) share; nobody else includes it.
 * Lock held everywhere. */
#ifndef DEV_LAPIC_INT_H
#define DEV_LAPIC_INT_H

#include "dev/lapic.h"

#define BASE_BSP  BIT(8)
#define BASE_EXTD BIT(10)
#define BASE_EN	  BIT(11)

#define SVR_ENABLE	     0x100u
#define LVT_MASKED	     0x10000u
#define LVT_VECTOR	     0xffu
#define LVT_MODE_SHIFT	     8
#define LVT_TIMER_MODE_SHIFT 17

enum lapic_timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };

enum lapic_error { ESR_SEND_ILLEGAL = 0x20, ESR_RECEIVE_ILLEGAL = 0x40, ESR_ILLEGAL_REGISTER = 0x80 };

static inline bool lapic_enabled(const struct lapic *l) { return l->s.base & BASE_EN; }
static inline bool lapic_x2(const struct lapic *l) { return l->s.base & BASE_EXTD; }
static inline u32 lapic_id(const struct lapic *l) { return lapic_x2(l) ? l->s.id : l->s.id >> 24; }
static inline unsigned lapic_timer_mode(const struct lapic *l)
{
	return l->s.lvt[LVT_TIMER] >> LVT_TIMER_MODE_SHIFT & 3;
}

/* lapic.c */
u32 lapic_ppr(const struct lapic *l);
void lapic_update(struct lapic *l);
void lapic_error(struct lapic *l, u32 bit);
void lapic_accept(struct lapic *l, u8 vector, bool level);
void lapic_eoi(struct lapic *l);
void lapic_lvt_fire(struct lapic *l, enum lapic_lvt n);
/* After INIT: all but the ID and IA32_APIC_BASE. */
void lapic_init_reset(struct lapic *l);
void lapic_reset(void *dev);

/* lapic_words.c */
void lapic_words(const void *lapic, FILE *out);

/* lapic_bus.c */
void lapic_send_icr(struct lapic *l, u64 icr);

/* lapic_timer.c */
void lapic_timer_init(struct lapic *l);
void lapic_timer_stop(struct lapic *l);
void lapic_timer_start(struct lapic *l);	     /* initial count was written */
void lapic_timer_divide(struct lapic *l, u32 value); /* divide configuration is written */
void lapic_timer_lvt(struct lapic *l, u32 value);    /* LVT timer is written */
void lapic_timer_set_tsc(struct lapic *l, u64 tsc);
void lapic_timer_deadline(struct lapic *l); /* fires if it has passed */
u32 lapic_timer_count(struct lapic *l);

/* lapic_reg.c: register `reg` = offset / 16 = x2APIC MSR - 800h. false: no such register or not that way (x2APIC: #GP).
 */
bool lapic_reg_read(struct lapic *l, unsigned reg, u64 *value);
bool lapic_reg_write(struct lapic *l, unsigned reg, u64 value);
bool lapic_base_write(struct lapic *l, u64 value);

#endif
