/*
 * Port 0xf4: a test guest's way out. Writing v ends the VM with code v; reading gives all ones.
 *
 * Wiring: port 0xf4, 4 bytes: debug_exit_ops.
 */
#ifndef DEV_DEBUG_EXIT_H
#define DEV_DEBUG_EXIT_H

#include "core/bus.h"
#include "core/device.h"

struct debug_exit {
	void (*stop)(void *ctx, u32 code);
	void *ctx;
};

void debug_exit_init(struct debug_exit *d, void (*stop)(void *ctx, u32 code), void *ctx);

extern const struct bus_ops debug_exit_ops;
extern const struct device_class debug_exit_class;

#endif
