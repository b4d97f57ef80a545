/* Bytes as text (RFC 4648 section 4 "Base 64 Encoding"). */
#ifndef CMD_BASE64_H
#define CMD_BASE64_H

#include "base/types.h"

/* NUL-terminated; the caller frees it. NULL: no memory. */
char *base64_encode(const void *data, size_t n);
/* NULL: no memory, or not base 64 (padding is wanted). */
u8 *base64_decode(const char *text, size_t n, size_t *out_n);

#endif
