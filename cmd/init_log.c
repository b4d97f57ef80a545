/* The kernel's log, record by record, up the channel (Documentation/ABI/testing/dev-kmsg). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/channel.h"
#include "cmd/init.h"

#define BATCH 100

static void flush(const struct init *in, json_t **batch)
{
	if (!*batch)
		return;
	channel_send(in->channel, in->level, "dmesg", json_pack("{s:o}", "records", *batch));
	*batch = NULL;
}

/* "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT\n" and lines of key=value that are not wanted here. */
static json_t *parse_record(char *record)
{
	unsigned priority;
	unsigned long long seq, us;
	char *text = strchr(record, ';');

	if (!text || sscanf(record, "%u,%llu,%llu", &priority, &seq, &us) != 3)
		return NULL;
	text++;
	text[strcspn(text, "\n")] = 0;
	return json_pack("[i, I, s]", (int)(priority & 7), (json_int_t)us, text);
}

void init_send_log(const struct init *in)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	json_t *batch = NULL;
	char record[8193];

	if (fd < 0)
		return;
	for (;;) {
		ssize_t n = read(fd, record, sizeof(record) - 1);

		if (n < 0 && (errno == EPIPE || errno == EINTR)) /* EPIPE: overwritten meanwhile, go on with the next */
			continue;
		if (n <= 0)
			break;
		record[n] = 0;
		json_t *r = parse_record(record);
		if (!r)
			continue;
		if (!batch)
			batch = json_array();
		json_array_append_new(batch, r);
		if (json_array_size(batch) == BATCH)
			flush(in, &batch);
	}
	flush(in, &batch);
	close(fd);
}
