/*
 * The 8042 as a PC's keyboard controller (IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary
 * Device Controller").
 *
 * Answers queue up behind port 60h. Nothing is plugged in and there is no auxiliary port: what is sent to a keyboard
 * comes back as FEh with the time-out bit, the auxiliary loop answers without the auxiliary bit, the auxiliary test
 * reports a dead clock line.
 */
#include "dev/i8042.h"

#include <string.h>

#define STATUS_OBF	0x01u
#define STATUS_SYSTEM	0x04u
#define STATUS_COMMAND	0x08u
#define STATUS_UNLOCKED 0x10u
#define STATUS_TIMEOUT	0x40u

#define CB_KBD_INT 0x01u
#define CB_SYSTEM  0x04u
#define CB_KBD_OFF 0x10u
#define CB_AUX_OFF 0x20u

#define OUT_RESET 0x01u /* low: the processor is held in reset */
#define OUT_A20	  0x02u

static void update_irq(struct i8042 *k) { irq_set(&k->irq1, k->s.out_count && k->s.command_byte & CB_KBD_INT); }

static void push(struct i8042 *k, u8 byte, u8 status)
{
	if (k->s.out_count == sizeof(k->s.out))
		return; /* as a keyboard's bytes are lost when nobody reads */
	k->s.out[k->s.out_count] = byte;
	k->s.out_status[k->s.out_count++] = status;
	update_irq(k);
}

static u8 pop(struct i8042 *k)
{
	u8 byte = k->s.out[0];

	if (!k->s.out_count)
		return byte;
	k->s.out_count--;
	memmove(k->s.out, k->s.out + 1, k->s.out_count);
	memmove(k->s.out_status, k->s.out_status + 1, k->s.out_count);
	irq_set(&k->irq1, false);
	update_irq(k);
	return byte;
}

static void write_output_port(struct i8042 *k, u8 v)
{
	k->s.output_port = v | OUT_RESET;
	if (!(v & OUT_RESET))
		k->reset(k->reset_ctx);
}

static void write_command_byte(struct i8042 *k, u8 v)
{
	k->s.command_byte = v;
	k->s.status = (k->s.status & ~STATUS_SYSTEM) | (v & CB_SYSTEM ? STATUS_SYSTEM : 0);
	update_irq(k);
}

static void command(struct i8042 *k, u8 v)
{
	k->s.pending = 0;
	switch (v) {
	case 0x20: push(k, k->s.command_byte, 0); break;
	case 0x21 ... 0x3f: push(k, k->s.ram[v & 31], 0); break;
	case 0x60 ... 0x7f: /* write RAM; 60h is the command byte */
	case 0xd1:	    /* write output port */
	case 0xd2:	    /* write keyboard output buffer */
	case 0xd3:	    /* write auxiliary output buffer */
	case 0xd4: /* write to the auxiliary device */ k->s.pending = v; break;
	case 0xa7: k->s.command_byte |= CB_AUX_OFF; break;
	case 0xa8: k->s.command_byte &= ~CB_AUX_OFF; break;
	case 0xa9:
		push(k, 0x02, 0); /* clock line stuck high */
		break;
	case 0xaa:
		k->s.status |= STATUS_SYSTEM;
		k->s.command_byte |= CB_SYSTEM;
		push(k, 0x55, 0);
		break;
	case 0xab: push(k, 0x00, 0); break;
	case 0xad: k->s.command_byte |= CB_KBD_OFF; break;
	case 0xae: k->s.command_byte &= ~CB_KBD_OFF; break;
	case 0xc0:
		push(k, 0x80, 0); /* input port: keyboard not locked */
		break;
	case 0xd0: push(k, k->s.output_port, 0); break;
	case 0xdd: k->s.output_port &= ~OUT_A20; break;
	case 0xdf: k->s.output_port |= OUT_A20; break;
	case 0xe0:
		push(k, 0x00, 0); /* test inputs: both clocks low */
		break;
	case 0xf0 ... 0xff: /* pulse the output lines whose bits are 0 */
		if (!(v & OUT_RESET))
			k->reset(k->reset_ctx);
		break;
	}
}

static void data(struct i8042 *k, u8 v)
{
	u8 pending = k->s.pending;

	k->s.pending = 0;
	switch (pending) {
	case 0x60: write_command_byte(k, v); break;
	case 0x61 ... 0x7f: k->s.ram[pending & 31] = v; break;
	case 0xd1: write_output_port(k, v); break;
	case 0xd2:
	case 0xd3: push(k, v, 0); break;
	default: /* to a device that is not there */ k->s.command_byte &= ~CB_KBD_OFF; push(k, 0xfe, STATUS_TIMEOUT);
	}
}

static u64 data_read(void *dev, u64 offset, unsigned size) { return pop(dev); }

static void data_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct i8042 *k = dev;

	k->s.status &= ~STATUS_COMMAND;
	data(k, (u8)value);
}

static u64 command_read(void *dev, u64 offset, unsigned size)
{
	struct i8042 *k = dev;

	return k->s.status | STATUS_UNLOCKED | (k->s.out_count ? STATUS_OBF | k->s.out_status[0] : 0);
}

static void command_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct i8042 *k = dev;

	k->s.status |= STATUS_COMMAND;
	command(k, (u8)value);
}

/* System control port A: bit 0 fast reset (rising), bit 1 A20. */
static u64 port92_read(void *dev, u64 offset, unsigned size)
{
	struct i8042 *k = dev;

	return k->s.output_port & OUT_A20;
}

static void port92_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct i8042 *k = dev;

	k->s.output_port = (k->s.output_port & ~OUT_A20) | (value & OUT_A20);
	if (value & 1)
		k->reset(k->reset_ctx);
}

static void power_on(struct i8042 *k)
{
	memset(&k->s, 0, sizeof(k->s));
	k->s.status = STATUS_SYSTEM;
	k->s.command_byte = CB_SYSTEM | CB_KBD_OFF | CB_AUX_OFF;
	k->s.output_port = OUT_RESET | OUT_A20;
}

static void reset(void *dev)
{
	struct i8042 *k = dev;

	power_on(k);
	irq_set(&k->irq1, false);
	irq_set(&k->irq12, false);
}

void i8042_init(struct i8042 *k, struct irq_line irq1, struct irq_line irq12, void (*reset_cb)(void *ctx), void *ctx)
{
	k->irq1 = irq1;
	k->irq12 = irq12;
	k->reset = reset_cb;
	k->reset_ctx = ctx;
	power_on(k);
}

const struct bus_ops i8042_data_ops = {data_read, data_write};
const struct bus_ops i8042_command_ops = {command_read, command_write};
const struct bus_ops i8042_port92_ops = {port92_read, port92_write};

#define F(f) DESC_INT(struct i8042_state, f)
#define A(f) DESC_ARR(struct i8042_state, f)
static const struct desc_field fields[] = {
	F(status), F(command_byte), F(pending), F(output_port), A(out), A(out_status), F(out_count), A(ram), A(zero),
};
DESC(i8042_state_desc, struct i8042_state, fields);

const struct device_class i8042_class = {"i8042", MIGRATE_STATE, &i8042_state_desc, reset};
