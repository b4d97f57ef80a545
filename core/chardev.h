/*
 * A character stream between a chip (16550, virtio-console port) and its host side (terminal, buffer, JSON channel).
 * Both directions are called with vm->lock held.
 */
#ifndef CORE_CHARDEV_H
#define CORE_CHARDEV_H

#include "base/types.h"

/* Chip -> host. write never blocks and takes everything (the host side buffers). */
struct char_sink {
	void (*write)(void *ctx, const u8 *buf, size_t n);
	void *ctx;
};

/* Host -> chip. room: how many bytes the chip would take now; receive: takes n <= room bytes. */
struct char_source {
	size_t (*room)(void *ctx);
	void (*receive)(void *ctx, const u8 *buf, size_t n);
	void *ctx;
};

#endif
