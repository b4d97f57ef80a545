/* The sentence that goes with a host error. */
#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	assert(code > 0);
	if (e) {
		e->code = code;
		va_start(ap, fmt);
		vsnprintf(e->text, sizeof(e->text), fmt, ap);
		va_end(ap);
	}
	return -code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
	char head[sizeof(e->text)], tail[sizeof(e->text)];
	va_list ap;

	if (!e)
		return -1; /* EPERM: the callee's own code is what the caller should have kept */
	va_start(ap, fmt);
	vsnprintf(head, sizeof(head), fmt, ap);
	va_end(ap);
	memcpy(tail, e->text, sizeof(tail));
	int n = snprintf(e->text, sizeof(e->text), "%.*s: ", 200, head);
	snprintf(e->text + n, sizeof(e->text) - (size_t)n, "%.*s", (int)sizeof(e->text) - n - 1, tail);
	return -e->code;
}
