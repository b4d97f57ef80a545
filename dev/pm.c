/*
 * ACPI fixed hardware (ACPI 6.4 4.8.3 "PM1 Registers", 4.8.3.3 "Power Management Timer", 4.8.4.1 "General-Purpose Event
 * Register Blocks").
 *
 * The SCI is high while an enabled status bit is set. TMR_STS follows bit 31 of the timer: brought up to date when
 * somebody looks, and by a host timer only while TMR_EN is set.
 */
#include "dev/pm.h"

#include <string.h>

#include "dev/bytes.h"

#define STS_TMR	   0x0001u
#define STS_ALL	   0x8731u /* TMR BM GBL PWRBTN SLPBTN RTC WAK */
#define EN_ALL	   0x0721u
#define STS_PWRBTN 0x0100u
#define CNT_SCI_EN 0x0001u
#define CNT_KEPT   0x1c02u /* SLP_TYP, BM_RLD */
#define CNT_SLP_EN 0x2000u
#define OFF_RESET  0x30u

static u64 ticks(const struct pm *pm)
{
	return mul_div(pm->queue->clock->now(pm->queue->clock) - pm->s.timer_zero, PM_TIMER_HZ, NS_PER_SEC);
}

static void update(struct pm *pm)
{
	u64 toggles = ticks(pm) >> 31, at;

	if (toggles != pm->s.toggles)
		pm->s.pm1_status |= STS_TMR;
	pm->s.toggles = toggles;
	pm->s.gpe_status |= pm->s.gpe_level;
	irq_set(&pm->sci, pm->s.pm1_status & pm->s.pm1_enable || pm->s.gpe_status & pm->s.gpe_enable);
	if (!(pm->s.pm1_enable & STS_TMR) || pm->s.pm1_status & STS_TMR) {
		timer_cancel(&pm->overflow);
		return;
	}
	at = pm->s.timer_zero + mul_div((toggles + 1) << 31, NS_PER_SEC, PM_TIMER_HZ) + 1;
	timer_arm(&pm->overflow, at);
}

static void overflow(void *ctx) { update(ctx); }

static u8 half(u16 v, unsigned offset) { return v >> (offset & 1) * 8; }

static u16 with_half(u16 old, unsigned offset, u8 v)
{
	return offset & 1 ? (old & 0x00ff) | v << 8 : (old & 0xff00) | v;
}

static u8 pm_get(void *dev, unsigned offset)
{
	struct pm *pm = dev;

	switch (offset) {
	case PM_EVT ... PM_EVT + 1: update(pm); return half(pm->s.pm1_status, offset);
	case PM_EVT + 2 ... PM_EVT + 3: return half(pm->s.pm1_enable, offset);
	case PM_CNT ... PM_CNT + 1: return half(pm->s.pm1_control | CNT_SCI_EN, offset);
	case PM_TIMER ... PM_TIMER + 3: return (u8)(ticks(pm) >> (offset - PM_TIMER) * 8);
	case PM_GPE0 ... PM_GPE0 + 1: return half(pm->s.gpe_status, offset);
	case PM_GPE0 + 2 ... PM_GPE0 + 3: return half(pm->s.gpe_enable, offset);
	case OFF_RESET: return pm_reset_read(pm);
	}
	return 0;
}

static void control(struct pm *pm, unsigned offset, u8 value)
{
	u16 v = with_half(pm->s.pm1_control, offset, value);

	pm->s.pm1_control = v & CNT_KEPT;
	if (v & CNT_SLP_EN && (v >> 10 & 7) == PM_SLP_S5)
		pm->host.poweroff(pm->host.ctx);
}

static void pm_put(void *dev, unsigned offset, u8 value)
{
	struct pm *pm = dev;

	switch (offset) {
	case PM_EVT ... PM_EVT + 1: /* writing 1 clears */
		update(pm);
		pm->s.pm1_status &= ~with_half(0, offset, value);
		break;
	case PM_EVT + 2 ... PM_EVT + 3: pm->s.pm1_enable = with_half(pm->s.pm1_enable, offset, value) & EN_ALL; break;
	case PM_CNT ... PM_CNT + 1: control(pm, offset, value); return;
	case PM_GPE0 ... PM_GPE0 + 1: pm->s.gpe_status &= ~with_half(0, offset, value); break;
	case PM_GPE0 + 2 ... PM_GPE0 + 3: pm->s.gpe_enable = with_half(pm->s.gpe_enable, offset, value); break;
	case OFF_RESET: pm_reset_write(pm, value); return;
	default: return;
	}
	update(pm);
}

static u64 pm_read(void *dev, u64 offset, unsigned size)
{
	if (offset == PM_TIMER && size >= 4)
		return (u32)ticks(dev);
	return bytes_read(dev, offset, size, pm_get);
}

static void pm_write(void *dev, u64 offset, unsigned size, u64 value) { bytes_write(dev, offset, size, value, pm_put); }

void pm_power_button(struct pm *pm)
{
	pm->s.pm1_status |= STS_PWRBTN;
	update(pm);
}

static void gpe_set(void *ctx, unsigned n, bool level)
{
	struct pm *pm = ctx;

	pm->s.gpe_level = level ? pm->s.gpe_level | 1u << n : pm->s.gpe_level & ~(1u << n);
	update(pm);
}

struct irq_line pm_gpe_line(struct pm *pm, unsigned n) { return (struct irq_line){gpe_set, pm, n & 15}; }

/* The reset control register of PCI chip sets at 0CF9h: bit 2 rising resets, bits 1 and 3 say how hard. */
u8 pm_reset_read(struct pm *pm) { return pm->s.reset_control; }

void pm_reset_write(struct pm *pm, u8 value)
{
	bool rise = value & 4 && !(pm->s.reset_control & 4);

	pm->s.reset_control = value & 0x0e;
	if (rise)
		pm->host.reset(pm->host.ctx);
}

static u64 reset_read(void *dev, u64 offset, unsigned size) { return pm_reset_read(dev); }
static void reset_write(void *dev, u64 offset, unsigned size, u64 value) { pm_reset_write(dev, (u8)value); }

static void reset(void *dev)
{
	struct pm *pm = dev;
	u16 level = pm->s.gpe_level;

	memset(&pm->s, 0, sizeof(pm->s));
	pm->s.gpe_level = level;
	pm->s.timer_zero = pm->queue->clock->now(pm->queue->clock);
	timer_cancel(&pm->overflow);
	irq_set(&pm->sci, false);
}

void pm_init(struct pm *pm, struct timer_queue *queue, struct irq_line sci, const struct pm_host *host)
{
	memset(pm, 0, sizeof(*pm));
	pm->queue = queue;
	pm->sci = sci;
	pm->host = *host;
	timer_init(&pm->overflow, queue, overflow, pm);
	pm->s.timer_zero = queue->clock->now(queue->clock);
}

const struct bus_ops pm_ops = {pm_read, pm_write};
const struct bus_ops pm_reset_ops = {reset_read, reset_write};

#define F(f) DESC_INT(struct pm_state, f)
static const struct desc_field fields[] = {
	F(timer_zero), F(toggles),    F(pm1_status), F(pm1_enable),    F(pm1_control),
	F(gpe_status), F(gpe_enable), F(gpe_level),  F(reset_control), DESC_ARR(struct pm_state, zero),
};
DESC(pm_state_desc, struct pm_state, fields);

const struct device_class pm_class = {"pm", MIGRATE_STATE, &pm_state_desc, reset};
