/* Lines of JSON in and out, and the tail of a console. */
#include "cmd/channel.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void line_done(struct channel_rx *rx)
{
	json_t *msg;

	if (!rx->n || rx->overlong) {
		rx->bad += rx->overlong;
		return;
	}
	msg = json_loadb(rx->buf, rx->n, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(msg))
		rx->message(rx->ctx, msg);
	else
		rx->bad++;
	json_decref(msg);
}

static bool line_room(struct channel_rx *rx, size_t n)
{
	size_t need = rx->n + n;
	char *more;

	if (need <= rx->room)
		return true;
	if (need > CHANNEL_LINE_MAX)
		return false;
	need = MAX(need, rx->room * 2);
	more = realloc(rx->buf, need);
	if (!more)
		return false;
	rx->buf = more;
	rx->room = need;
	return true;
}

void channel_rx_feed(struct channel_rx *rx, const u8 *buf, size_t n)
{
	while (n) {
		const u8 *end = memchr(buf, '\n', n);
		size_t part = end ? (size_t)(end - buf) : n;

		if (part && !rx->overlong) {
			rx->overlong = !line_room(rx, part);
			if (!rx->overlong) {
				memcpy(rx->buf + rx->n, buf, part);
				rx->n += part;
			}
		}
		if (!end)
			return;
		line_done(rx);
		rx->n = 0;
		rx->overlong = false;
		buf += part + 1;
		n -= part + 1;
	}
}

void channel_rx_free(struct channel_rx *rx)
{
	free(rx->buf);
	rx->buf = NULL;
	rx->n = rx->room = 0;
}

static int write_all(int fd, const char *buf, size_t n)
{
	while (n) {
		ssize_t w = write(fd, buf, n);

		if (w < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = fd, .events = POLLOUT};

			if (poll(&p, 1, 5000) <= 0)
				return -ETIMEDOUT;
			continue;
		}
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w ? -errno : -EIO;
		buf += w;
		n -= (size_t)w;
	}
	return 0;
}

char *channel_line(const json_t *msg, size_t *n)
{
	char *text = json_dumps(msg, JSON_COMPACT);

	*n = text ? strlen(text) + 1 : 0;
	if (text)
		text[*n - 1] = '\n'; /* in place of the terminator: the line goes out in one piece */
	return text;
}

int channel_forward(int fd, json_t *msg)
{
	char *text;
	size_t n;
	int rc;

	if (fd < 0)
		return 0;
	text = channel_line(msg, &n);
	if (!text)
		return -ENOMEM;
	rc = write_all(fd, text, n);
	free(text);
	return rc;
}

int channel_send(int fd, unsigned level, const char *type, json_t *msg)
{
	int rc;

	if (!msg)
		return -ENOMEM;
	json_object_set_new(msg, "level", json_integer(level));
	json_object_set_new(msg, "type", json_string(type));
	rc = channel_forward(fd, msg);
	json_decref(msg);
	return rc;
}

void tail_feed(struct tail *t, const u8 *buf, size_t n)
{
	if (n > sizeof(t->buf)) {
		buf += n - sizeof(t->buf);
		n = sizeof(t->buf);
	}
	size_t first = MIN(n, sizeof(t->buf) - t->at);
	memcpy(t->buf + t->at, buf, first);
	memcpy(t->buf, buf + first, n - first);
	t->wrapped |= t->at + n >= sizeof(t->buf);
	t->at = (t->at + n) % sizeof(t->buf);
}

char *tail_text(const struct tail *t, unsigned lines)
{
	char *text = malloc(sizeof(t->buf) + 1), *from;
	size_t n = 0, older = t->wrapped ? sizeof(t->buf) - t->at : 0;

	if (!text)
		return NULL;
	memcpy(text, t->buf + t->at, older);
	memcpy(text + older, t->buf, t->at);
	for (size_t i = 0; i < older + t->at; i++) {
		u8 c = (u8)text[i];

		if (c == '\n' || c == '\t' || (c >= ' ' && c < 0x7f))
			text[n++] = (char)c;
		else if (c != '\r')
			text[n++] = '?';
	}
	while (n && text[n - 1] == '\n')
		n--;
	text[n] = 0;
	for (from = text + n; from > text; from--)
		if (from[-1] == '\n' && !--lines)
			break;
	memmove(text, from, strlen(from) + 1);
	return text;
}
