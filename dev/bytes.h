/* Chips with an 8-bit data bus: a wider access is one of each byte, lowest address first. */
#ifndef DEV_BYTES_H
#define DEV_BYTES_H

#include "base/types.h"

static inline u64 bytes_read(void *dev, u64 offset, unsigned size, u8 (*get)(void *dev, unsigned offset))
{
	u64 v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (u64)get(dev, (unsigned)offset + i) << 8 * i;
	return v;
}

static inline void bytes_write(void *dev, u64 offset, unsigned size, u64 value,
			       void (*put)(void *dev, unsigned offset, u8 value))
{
	for (unsigned i = 0; i < size; i++)
		put(dev, (unsigned)offset + i, (u8)(value >> 8 * i));
}

#endif
