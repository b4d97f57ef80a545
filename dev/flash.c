/* The chip's modes: which command was begun, and what a read gives (flash.h). */
#include "dev/flash.h"

#include <string.h>

enum mode { READ_ARRAY, READ_STATUS, PROGRAM, ERASE };

#define STATUS_READY	0x80u
#define STATUS_SEQUENCE 0x30u /* erase and program bits together: a command sequence error */

static u64 flash_read(void *dev, u64 offset, unsigned size)
{
	struct flash *f = dev;
	u64 v = 0;

	if (f->s.mode != READ_ARRAY)
		return f->s.status * 0x0101010101010101ull;
	memcpy(&v, f->data + offset, size);
	return v;
}

static void command(struct flash *f, u8 c)
{
	switch (c) {
	case 0xff: f->s.mode = READ_ARRAY; break;
	case 0x70: f->s.mode = READ_STATUS; break;
	case 0x50:
		f->s.status = 0;
		f->s.mode = READ_ARRAY;
		break;
	case 0x10:
	case 0x40: f->s.mode = PROGRAM; break;
	case 0x20: f->s.mode = ERASE; break;
	default: log_limit(f->log, "flash: command %02xh", c); f->s.mode = READ_ARRAY;
	}
}

static void flash_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct flash *f = dev;

	switch ((enum mode)f->s.mode) {
	case PROGRAM:
		for (unsigned i = 0; i < size; i++)
			f->data[offset + i] &= (u8)(value >> 8 * i);
		f->s.status |= STATUS_READY;
		f->s.mode = READ_STATUS;
		break;
	case ERASE:
		f->s.mode = READ_STATUS;
		f->s.status |= STATUS_READY;
		if ((u8)value == 0xd0)
			memset(f->data + ALIGN_DOWN(offset, FLASH_BLOCK), 0xff, FLASH_BLOCK);
		else
			f->s.status |= STATUS_SEQUENCE;
		break;
	default: command(f, (u8)value); break;
	}
}

const struct bus_ops flash_ops = {flash_read, flash_write};

static void reset(void *dev)
{
	struct flash *f = dev;

	memset(&f->s, 0, sizeof(f->s));
}

void flash_init(struct flash *f, struct log *log, u8 *data, u64 size)
{
	*f = (struct flash){.log = log, .data = data, .size = size};
}

static const struct desc_field fields[] = {
	DESC_INT(struct flash_state, mode),
	DESC_INT(struct flash_state, status),
	DESC_ARR(struct flash_state, zero),
};
DESC(flash_state_desc, struct flash_state, fields);

/* Its bytes are in the host's file. */
const struct device_class flash_class = {"flash", MIGRATE_REFUSE, &flash_state_desc, reset};
