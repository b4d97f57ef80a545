/* Random bytes for a chip: `fill` never blocks and never fails. */
#ifndef CORE_ENTROPY_H
#define CORE_ENTROPY_H

#include "base/types.h"

struct entropy {
	void (*fill)(void *ctx, u8 *buf, size_t n);
	void *ctx;
};

#endif
