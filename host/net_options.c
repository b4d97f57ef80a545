/* The text of --net (net.h). */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/net.h"

void net_options_init(struct net_options *o)
{
	/* Locally administered, the one that QEMU's guests have. */
	*o = (struct net_options){.mac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56}};
}

/* "ADDRESS:PORT", the address may be empty. */
static bool parse_end(const char *s, size_t n, u32 *address, u16 *port)
{
	char text[40], *colon, *end;
	unsigned long v;

	if (n >= sizeof(text))
		return false;
	memcpy(text, s, n);
	text[n] = 0;
	colon = strchr(text, ':');
	if (!colon || !isdigit((unsigned char)colon[1]))
		return false;
	*colon = 0;
	if (*text && inet_pton(AF_INET, text, address) != 1)
		return false;
	v = strtoul(colon + 1, &end, 10);
	*port = (u16)v;
	return !*end && v && v <= 65535;
}

static int parse_forward(const char *s, size_t n, struct net_options *o, struct err *e)
{
	struct net_forward f = {.host = htonl(INADDR_LOOPBACK), .guest = inet_addr("10.0.2.15")};
	const char *dash = memchr(s, '-', n);
	bool good = dash && n > 4 && (!memcmp(s, "tcp:", 4) || !memcmp(s, "udp:", 4));

	if (good) {
		f.udp = *s == 'u';
		good = parse_end(s + 4, (size_t)(dash - s) - 4, &f.host, &f.host_port) &&
		       parse_end(dash + 1, n - (size_t)(dash + 1 - s), &f.guest, &f.guest_port);
	}
	if (!good)
		return err_set(e, EINVAL,
			       "%.*s is no port forward: it looks like hostfwd=tcp:127.0.0.1:2222-:22 or "
			       "hostfwd=tcp::2222-:22",
			       (int)MIN(n, 60u), s);
	if (o->nforwards == NET_FORWARDS)
		return err_set(e, EINVAL, "more than %u port forwards", NET_FORWARDS);
	o->forward[o->nforwards++] = f;
	return 0;
}

static int parse_mac(const char *s, size_t n, struct net_options *o, struct err *e)
{
	unsigned m[6];
	char text[18];
	int end = 0;

	if (n == 17) {
		memcpy(text, s, n);
		text[n] = 0;
		if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5], &end) == 6 &&
		    end == 17 && !(m[0] & 1)) {
			for (unsigned i = 0; i < 6; i++)
				o->mac[i] = (u8)m[i];
			return 0;
		}
	}
	return err_set(e, EINVAL, "%.*s is no address for a network card, such as 52:54:00:12:34:56", (int)MIN(n, 60u),
		       s);
}

static int parse_word(const char *s, size_t n, struct net_options *o, struct err *e)
{
	if (n > 8 && !memcmp(s, "hostfwd=", 8))
		return parse_forward(s + 8, n - 8, o, e);
	if (n > 4 && !memcmp(s, "mac=", 4))
		return parse_mac(s + 4, n - 4, o, e);
	if (n == 11 && !memcmp(s, "restrict=on", 11)) {
		o->restricted = true;
		return 0;
	}
	if (n == 12 && !memcmp(s, "restrict=off", 12)) {
		o->restricted = false;
		return 0;
	}
	return err_set(e, EINVAL, "--net knows hostfwd=, restrict=on|off and mac=, not %.*s", (int)MIN(n, 60u), s);
}

int net_options_parse(const char *text, struct net_options *o, struct err *e)
{
	size_t n = strcspn(text, ",");

	if (n != 4 || memcmp(text, "user", 4))
		return err_set(e, EINVAL, "the only network is --net user, not %.*s", (int)MIN(n, 60u), text);
	for (text += n; *text; text += n) {
		int rc;

		n = strcspn(++text, ",");
		rc = parse_word(text, n, o, e);
		if (rc)
			return rc;
	}
	return 0;
}
