/*
 * A debug console: bytes written to its port are text for whoever watches; reading gives the port's number, by which a
 * guest knows that it is there (Bochs and its heirs: 0xe9; SeaBIOS and OVMF: 0x402, which answers 0xe9 as well).
 *
 * Wiring: port 0xe9 and port 0x402, 1 byte each: debugcon_ops.
 */
#ifndef DEV_DEBUGCON_H
#define DEV_DEBUGCON_H

#include "core/bus.h"
#include "core/chardev.h"
#include "core/device.h"

struct debugcon {
	struct char_sink out;
};

void debugcon_init(struct debugcon *d, struct char_sink out);

extern const struct bus_ops debugcon_ops;
extern const struct device_class debugcon_class;

#endif
