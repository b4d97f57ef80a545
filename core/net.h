/*
 * Ethernet frames between a network chip and its host side, without preamble and checksum. Both directions are called
 * with vm->lock held.
 */
#ifndef CORE_NET_H
#define CORE_NET_H

#include "base/types.h"

#define NET_HEADER    14u
#define NET_FRAME_MAX 1518u /* header, a VLAN tag, 1500 bytes */

/* Chip -> host. Never blocks; the frame is the caller's again afterwards. */
struct net_sink {
	void (*send)(void *ctx, const u8 *frame, size_t n);
	void *ctx;
};

/* Host -> chip. false: no buffer now; the chip says when that may have changed. */
struct net_source {
	bool (*receive)(void *ctx, const u8 *frame, size_t n);
	void *ctx;
};

#endif
