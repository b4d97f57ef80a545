/* Base 64 both ways. */
#include "cmd/base64.h"

#include <stdlib.h>
#include <string.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(const void *data, size_t n)
{
	const u8 *in = data;
	char *text = malloc((n + 2) / 3 * 4 + 1), *p = text;

	if (!text)
		return NULL;
	for (size_t i = 0; i < n; i += 3) {
		u32 v = (u32)in[i] << 16 | (i + 1 < n ? (u32)in[i + 1] << 8 : 0) | (i + 2 < n ? in[i + 2] : 0);

		*p++ = digits[v >> 18];
		*p++ = digits[v >> 12 & 63];
		*p++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
		*p++ = i + 2 < n ? digits[v & 63] : '=';
	}
	*p = 0;
	return text;
}

u8 *base64_decode(const char *text, size_t n, size_t *out_n)
{
	u8 *out = n % 4 ? NULL : malloc(n / 4 * 3 + 1), *p = out;
	size_t pad = n && text[n - 1] == '=' ? 1 + (text[n - 2] == '=') : 0;

	for (size_t i = 0; out && i < n; i += 4) {
		u32 v = 0;

		for (unsigned k = 0; k < 4; k++) {
			const char *d = text[i + k] ? strchr(digits, text[i + k]) : NULL;

			if (!d && i + k < n - pad) {
				free(out);
				return NULL;
			}
			v = v << 6 | (d ? (u32)(d - digits) : 0);
		}
		*p++ = (u8)(v >> 16);
		*p++ = (u8)(v >> 8);
		*p++ = (u8)v;
	}
	if (out)
		*out_n = (size_t)(p - out) - pad;
	return out;
}
