/*
 * The test ports that hypervisor test suites know as "pc-testdev".
 *
 * Wiring: ports 0xe0-0xe3 testdev_latch_ops (a 32-bit latch, any width), 0xe8-0xeb testdev_byte_ops (the same latch),
 * 0xe4-0xe7 testdev_flush_ops (a page whose translation a hypervisor should drop: nothing is cached here that could go
 * stale, so that a write is taken and no more), 0x2000 + n testdev_irq_ops (level of interrupt input n), memory
 * TESTDEV_MEM testdev_mem_ops (plain storage behind MMIO).
 */
#ifndef DEV_TESTDEV_H
#define DEV_TESTDEV_H

#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"

#define TESTDEV_IRQS	 24u
#define TESTDEV_MEM	 0xff000000u
#define TESTDEV_MEM_SIZE 0x10000u

struct testdev_state {
	u32 latch;
	u8 mem[TESTDEV_MEM_SIZE];
};

struct testdev {
	struct testdev_state s;
	struct irq_line irq; /* its pin is the first input */
};

/* `irq`: set is called with pins irq.pin + 0 to 23. */
void testdev_init(struct testdev *t, struct irq_line irq);

extern const struct bus_ops testdev_latch_ops, testdev_byte_ops, testdev_flush_ops, testdev_irq_ops, testdev_mem_ops;
extern const struct device_class testdev_class;
extern const struct desc testdev_state_desc;

#endif
