/* Framing of the remote protocol (packet.h). */
#include "gdb/packet.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { IDLE, DATA, SUM_HIGH, SUM_LOW };

static const char digits[] = "0123456789abcdef";

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static void data_byte(struct packet_in *p, u8 c)
{
	p->sum += c;
	if (c == '}' && !p->escaped) {
		p->escaped = true;
		return;
	}
	if (p->n == PACKET_MAX)
		p->overflow = true;
	else
		p->data[p->n++] = (char)(p->escaped ? c ^ 0x20 : c);
	p->escaped = false;
}

enum packet_event packet_byte(struct packet_in *p, u8 c)
{
	switch (p->state) {
	case IDLE:
		if (c == 3)
			return PACKET_BREAK;
		if (c == '$')
			*p = (struct packet_in){.state = DATA};
		return PACKET_NONE;
	case DATA:
		if (c == '#' && !p->escaped)
			p->state = SUM_HIGH;
		else if (c == '$' && !p->escaped) /* a new start: the old one was torn */
			*p = (struct packet_in){.state = DATA};
		else
			data_byte(p, c);
		return PACKET_NONE;
	case SUM_HIGH:
		p->sent_sum = (u8)((unsigned)digit((char)c) << 4);
		p->state = digit((char)c) < 0 ? IDLE : SUM_LOW;
		return p->state == IDLE ? PACKET_BAD : PACKET_NONE;
	default:
		p->state = IDLE;
		p->data[p->n] = 0;
		if (digit((char)c) < 0 || (p->sent_sum | digit((char)c)) != p->sum || p->overflow)
			return PACKET_BAD;
		return PACKET_READY;
	}
}

void packet_put(struct packet_out *o, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(o->data + o->n, sizeof(o->data) - o->n, fmt, ap);
	va_end(ap);
	if (n < 0 || (u32)n >= sizeof(o->data) - o->n)
		o->overflow = true;
	else
		o->n += (u32)n;
}

static void put(struct packet_out *o, char c)
{
	if (o->n == sizeof(o->data))
		o->overflow = true;
	else
		o->data[o->n++] = c;
}

void packet_put_hex(struct packet_out *o, const void *buf, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		put(o, digits[((const u8 *)buf)[i] >> 4]);
		put(o, digits[((const u8 *)buf)[i] & 15]);
	}
}

void packet_put_binary(struct packet_out *o, const void *buf, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		char c = ((const char *)buf)[i];

		if (strchr("#$}*", c) && c) {
			put(o, '}');
			c ^= 0x20;
		}
		put(o, c);
	}
}

u32 packet_frame(const struct packet_out *o, char *frame)
{
	u8 sum = 0;

	for (u32 i = 0; i < o->n; i++)
		sum += (u8)o->data[i];
	frame[0] = '$';
	memcpy(frame + 1, o->data, o->n);
	frame[o->n + 1] = '#';
	frame[o->n + 2] = digits[sum >> 4];
	frame[o->n + 3] = digits[sum & 15];
	return o->n + 4;
}

bool packet_hex(const char **s, u64 *v)
{
	unsigned n = 0;

	for (*v = 0; digit(**s) >= 0; (*s)++, n++) {
		if (*v >> 60)
			return false;
		*v = *v << 4 | (u64)digit(**s);
	}
	return n != 0;
}

bool packet_bytes(const char **s, void *buf, u32 n)
{
	for (u32 i = 0; i < n; i++, *s += 2) {
		int high = digit((*s)[0]), low = high < 0 ? -1 : digit((*s)[1]);

		if (low < 0)
			return false;
		((u8 *)buf)[i] = (u8)(high << 4 | low);
	}
	return true;
}
