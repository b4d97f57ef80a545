/*
 * Bytes on their way to a chip: queued by any thread, handed over as the chip takes them (struct char_source). Under
 * vm->lock.
 */
#ifndef MACHINE_INPUT_H
#define MACHINE_INPUT_H

#include "core/chardev.h"

struct input {
	struct char_source to;
	u8 *buf;
	size_t start, end, size; /* queued: [start, end) */
	bool busy;
};

void input_init(struct input *in, struct char_source to);
/* Queues; then hands over what the chip takes. false: no memory. */
bool input_add(struct input *in, const void *buf, size_t n);
/* The chip says that it has room again (its room callback). */
void input_room(void *input);
void input_destroy(struct input *in);

#endif
