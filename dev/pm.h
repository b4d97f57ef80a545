/*
 * ACPI fixed hardware (ACPI 6.4 ch. 4.8): PM1 event and control, the 32-bit 3.579545 MHz PM timer, one GPE block; and
 * the reset register.
 *
 * Wiring: one range of PM_SIZE ports at PM_BASE (any base will do): pm_ops. For the FADT: PM1a_EVT_BLK = base + PM_EVT
 * (4 bytes), PM1a_CNT_BLK = base + PM_CNT (2), PM_TMR_BLK = base + PM_TIMER (4, TMR_VAL_EXT set), GPE0_BLK = base +
 * PM_GPE0 (PM_GPE0_LEN), SMI_CMD = 0 (ACPI always on: SCI_EN reads 1). Output: `sci` (level, IRQ 9). S5: SLP_TYP =
 * PM_SLP_S5 with SLP_EN. Port 0xcf9 lies inside the PCI host bridge's dword at 0xcf8: a byte access to it goes to
 * pm_reset_read/pm_reset_write; or wire pm_reset_ops (1 port).
 */
#ifndef DEV_PM_H
#define DEV_PM_H

#include "base/timer.h"
#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"

#define PM_BASE	       0x600u
#define PM_SIZE	       0x40u
#define PM_EVT	       0x00u
#define PM_CNT	       0x04u
#define PM_TIMER       0x08u
#define PM_GPE0	       0x20u
#define PM_GPE0_LEN    4u /* 2 bytes status, 2 bytes enable: 16 events */
#define PM_TIMER_HZ    3579545u
#define PM_SLP_S5      5u /* \_S5 = {5, 5, 0, 0} */
#define PM_RESET_PORT  0xcf9u
#define PM_RESET_VALUE 0x06u

struct pm_state {
	u64 timer_zero; /* ns of the clock at which the timer read 0 */
	u64 toggles;	/* of the timer's bit 31, up to when TMR_STS was last brought up to date */
	u16 pm1_status, pm1_enable, pm1_control;
	u16 gpe_status, gpe_enable, gpe_level;
	u8 reset_control; /* 0xcf9 */
	u8 zero[3];
};

struct pm_host {
	void (*poweroff)(void *ctx); /* S5 */
	void (*reset)(void *ctx);
	void *ctx;
};

struct pm {
	struct pm_state s;
	struct timer_queue *queue;
	struct timer overflow;
	struct irq_line sci;
	struct pm_host host;
};

void pm_init(struct pm *pm, struct timer_queue *queue, struct irq_line sci, const struct pm_host *host);
/* The power button is pressed: PWRBTN_STS. */
void pm_power_button(struct pm *pm);
/* General-purpose event input 0 to 15 (level). */
struct irq_line pm_gpe_line(struct pm *pm, unsigned n);
u8 pm_reset_read(struct pm *pm);
void pm_reset_write(struct pm *pm, u8 value);

extern const struct bus_ops pm_ops, pm_reset_ops;
extern const struct device_class pm_class;
extern const struct desc pm_state_desc;

#endif
