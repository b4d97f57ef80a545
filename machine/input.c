/* The queue of input.h: one buffer that grows, moved to its front when that is cheap. */
#include "machine/input.h"

#include <stdlib.h>
#include <string.h>

void input_init(struct input *in, struct char_source to) { *in = (struct input){.to = to}; }

void input_destroy(struct input *in)
{
	free(in->buf);
	in->buf = NULL;
}

/* `busy`: a chip that takes bytes may say at once that it has room. */
void input_room(void *input)
{
	struct input *in = input;

	if (in->busy)
		return;
	in->busy = true;
	while (in->start < in->end) {
		size_t room = in->to.room(in->to.ctx);
		size_t n = MIN(room, in->end - in->start);

		if (!n)
			break;
		in->to.receive(in->to.ctx, in->buf + in->start, n);
		in->start += n;
	}
	in->busy = false;
}

static bool reserve(struct input *in, size_t n)
{
	size_t held = in->end - in->start, size;
	u8 *buf;

	if (in->start && (held == 0 || in->start > held)) {
		memmove(in->buf, in->buf + in->start, held);
		in->start = 0;
		in->end = held;
	}
	if (n <= in->size - in->end)
		return true;
	size = MAX(4096, 2 * (in->end + n));
	buf = realloc(in->buf, size);
	if (!buf)
		return false;
	in->buf = buf;
	in->size = size;
	return true;
}

bool input_add(struct input *in, const void *buf, size_t n)
{
	if (!n)
		return true;
	if (!in->to.room || !reserve(in, n))
		return false;
	memcpy(in->buf + in->end, buf, n);
	in->end += n;
	input_room(in);
	return true;
}
