/* A level's section up the channel, in parts that fit one write of the port (docs/CHANNEL.md). */
#include <stdlib.h>
#include <string.h>

#include "cmd/base64.h"
#include "cmd/channel.h"
#include "cmd/report.h"
#include "inspect/host.h"

/* As JSON a byte of text may become two (more only as base 64); the kernel's port takes 32 KiB in one piece. */
#define PART 12000u

/* Text that JSON holds as it is: no control characters but line ends and tabs. */
static bool plain(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((u8)s[i] < ' ' && s[i] != '\n' && s[i] != '\t')
			return false;
	return true;
}

static json_t *part_of(const char *data, size_t n)
{
	json_t *msg = json_object(), *text = plain(data, n) ? json_stringn(data, n) : NULL;

	if (text) {
		json_object_set_new(msg, "text", text);
	} else {
		char *packed = base64_encode(data, n);

		json_object_set_new(msg, "base64", json_string(packed ? packed : ""));
		free(packed);
	}
	return msg;
}

static int send_file(void *ctx, const char *name, const char *by, const char *data, size_t size)
{
	const struct report_send *s = ctx;
	size_t at = 0;
	int rc = 0, part = 0;

	do {
		size_t n = MIN(size - at, PART);
		json_t *msg = part_of(data + at, n);

		json_object_set_new(msg, "name", json_string(name));
		json_object_set_new(msg, "by", json_string(by));
		json_object_set_new(msg, "part", json_integer(part++));
		rc = channel_send(s->fd, s->level, "file", msg);
		at += n;
	} while (!rc && at < size);
	return rc;
}

static int send_missing(void *ctx, const char *name, const char *why)
{
	const struct report_send *s = ctx;

	return channel_send(s->fd, s->level, "missing", json_pack("{s:s, s:s}", "name", name, "why", why));
}

const struct report_out report_send_out = {.file = send_file, .missing = send_missing};

int report_send(int fd, unsigned level)
{
	struct report_send s = {fd, level};
	struct report_out out = {send_file, send_missing, &s};
	struct host *h;
	int rc = host_open(NULL, &h, NULL);

	if (!rc) {
		rc = report_collect(h, &out);
		host_close(h);
	}
	return channel_send(fd, level, "report_end", json_pack("{s:i}", "error", -rc));
}
