/*
 * The 8042 keyboard controller, with nothing plugged in and no auxiliary port: self test, command byte, output port
 * (A20, reset), interface tests.
 *
 * Wiring: ports 0x60 i8042_data_ops, 0x64 i8042_command_ops, 0x92 i8042_port92_ops, one byte each, all with dev = the
 * struct i8042. Outputs: `irq1`, `irq12`, and `reset` (system reset asked for: command 0xfe, output port bit 0 low,
 * port 0x92 bit 0). Keyboard commands are answered by nobody: an attempt to send to a device sets the time-out bit.
 */
#ifndef DEV_I8042_H
#define DEV_I8042_H

#include "core/bus.h"
#include "core/device.h"
#include "core/irq.h"

struct i8042_state {
	u8 status; /* without OBF, which out_count tells */
	u8 command_byte;
	u8 pending; /* command that waits for its data byte; 0: none */
	u8 output_port;
	u8 out[8];	  /* queue of bytes for port 0x60 */
	u8 out_status[8]; /* time-out and parity bits of each */
	u8 out_count;
	u8 ram[32];
	u8 zero[3];
};

struct i8042 {
	struct i8042_state s;
	struct irq_line irq1, irq12;
	void (*reset)(void *ctx);
	void *reset_ctx;
};

void i8042_init(struct i8042 *k, struct irq_line irq1, struct irq_line irq12, void (*reset)(void *ctx), void *ctx);

extern const struct bus_ops i8042_data_ops, i8042_command_ops, i8042_port92_ops;
extern const struct device_class i8042_class;
extern const struct desc i8042_state_desc;

#endif
