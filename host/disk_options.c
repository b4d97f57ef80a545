/* The text of --disk (disk.h). */
#include <errno.h>
#include <string.h>

#include "host/disk.h"

#define QUEUES_MOST 8u

static int parse_word(const char *s, size_t n, struct disk_options *o, struct err *e)
{
	if (n == 2 && !memcmp(s, "ro", n)) {
		o->readonly = true;
		return 0;
	}
	if (n == 8 && !memcmp(s, "snapshot", n)) {
		o->snapshot = true;
		return 0;
	}
	if ((n == 10 && !memcmp(s, "discard=on", n)) || (n == 11 && !memcmp(s, "discard=off", n))) {
		o->discard = n == 10;
		return 0;
	}
	if (n == 8 && !memcmp(s, "queues=", 7) && s[7] >= '1' && s[7] <= '0' + (char)QUEUES_MOST) {
		o->queues = (unsigned)(s[7] - '0');
		return 0;
	}
	return err_set(e, EINVAL, "--disk knows ro, snapshot, queues=1 to %u and discard=on|off, not %.*s", QUEUES_MOST,
		       (int)MIN(n, 60u), s);
}

int disk_options_parse(const char *text, struct disk_options *o, struct err *e)
{
	size_t n = 0, word;
	int rc = 0;

	memset(o, 0, sizeof(*o));
	o->queues = 1;
	for (; *text && (*text != ',' || text[1] == ','); text++) {
		if (n == sizeof(o->path) - 1)
			return err_set(e, EINVAL, "the name of a disk's file is longer than %zu bytes",
				       sizeof(o->path) - 1);
		if (*text == ',')
			text++;
		o->path[n++] = *text;
	}
	if (!n)
		return err_set(e, EINVAL, "--disk wants a file: --disk disk.img");
	for (; *text && !rc; text += word) {
		word = strcspn(++text, ",");
		rc = parse_word(text, word, o, e);
	}
	return rc;
}
