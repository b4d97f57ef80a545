/*
 * Packets of the GDB remote serial protocol: `$data#cc`, acknowledged by `+` or `-` until QStartNoAckMode; 0x03 alone
 * is an interrupt. In data, 0x7d escapes the next byte, xored with 0x20. ("Debugging with GDB", appendix "Remote
 * Protocol", "Overview".)
 */
#ifndef GDB_PACKET_H
#define GDB_PACKET_H

#include "base/types.h"

#define PACKET_MAX 0x4000u

enum packet_event { PACKET_NONE, PACKET_READY, PACKET_BAD, PACKET_BREAK };

struct packet_in {
	char data[PACKET_MAX + 1]; /* unescaped, followed by a 0 */
	u32 n;
	u8 state, sum, sent_sum;
	bool escaped, overflow;
};

/* One byte from the wire. PACKET_READY: data[0..n) holds a packet with a right checksum, until the next byte. */
enum packet_event packet_byte(struct packet_in *p, u8 c);

/* What is to be sent: grows in place, never beyond its room (then `overflow`). */
struct packet_out {
	char data[2 * PACKET_MAX];
	u32 n;
	bool overflow;
};

void packet_put(struct packet_out *o, const char *fmt, ...) printf_like(2, 3);
void packet_put_hex(struct packet_out *o, const void *buf, u32 n);
/* Escapes what must be. */
void packet_put_binary(struct packet_out *o, const void *buf, u32 n);
/* The frame around o's data: returns its length; room for n + 4 bytes. */
u32 packet_frame(const struct packet_out *o, char *frame);

/* Number in hex at *s, which moves behind it. false: no digit there, or too large. */
bool packet_hex(const char **s, u64 *v);
/* Exactly 2n hex digits; s moves. */
bool packet_bytes(const char **s, void *buf, u32 n);

#endif
