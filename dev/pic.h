/*
 * The pair of 8259A interrupt controllers of a PC, the slave on the master's input 2, with the edge/level control
 * registers.
 *
 * Wiring: ports 0x20-0x21 pic_master_ops, 0xa0-0xa1 pic_slave_ops, 0x4d0-0x4d1 pic_elcr_ops, all with dev = the struct
 * pic. Output: `intr`, to the local APICs' LINT0 (lapic_bus_extint). lapic_bus.extint_ack = pic_ack, its ctx the struct
 * pic.
 */
#ifndef DEV_PIC_H
#define DEV_PIC_H

#include "core/device.h"
#include "core/vm.h"

struct pic_chip_state {
	u8 level; /* the wires now */
	u8 irr, isr, imr;
	u8 elcr;   /* 1: level triggered */
	u8 base;   /* ICW2: vector of input 0 */
	u8 lowest; /* input of lowest priority: 7 unless rotated */
	u8 init;   /* next expected ICW: 0 none, 2, 3, 4 */
	u8 icw1, icw3, icw4;
	u8 read_isr; /* OCW3: reads of the command port give ISR */
	u8 poll;     /* OCW3: the next read is a poll */
	u8 special_mask;
	u8 rotate_aeoi;
	u8 ready; /* initialised by ICWs */
};

struct pic_state {
	struct pic_chip_state chip[2]; /* master, slave */
};

struct pic {
	struct pic_state s;
	struct irq_line intr;
};

void pic_init(struct pic *pic, struct irq_line intr);
/* Input wire `pin`, 0 to 15 (2 is the cascade and ignored). */
struct irq_line pic_line(struct pic *pic, unsigned pin);
void pic_set(void *pic, unsigned pin, bool level);
/* The INTA cycle: the vector (spurious 7 or 15 when the request has gone), or -1 when the pair was never initialised.
 */
int pic_ack(void *pic);

extern const struct bus_ops pic_master_ops, pic_slave_ops, pic_elcr_ops;
extern const struct device_class pic_class;
extern const struct desc pic_state_desc;

#endif
