/*
 * Secrets out of texts, by rules (redact.def).
 *
 * Use: redact_learn what is known, redact_scan every text (rows marked LEARN collect values), then redact_text every
 * text. The same value becomes the same placeholder in all of them. NUL becomes a blank.
 */
#ifndef INSPECT_REDACT_H
#define INSPECT_REDACT_H

#include <stdio.h>

#include "base/err.h"

struct redact;

struct redact *redact_new(struct err *e);
void redact_free(struct redact *r);
/* From now on this host name is replaced wherever it stands as a word; names that say nothing (localhost) are not
 * learnt. */
void redact_learn_host(struct redact *r, const char *name);
void redact_scan(struct redact *r, const char *text, size_t n);
/* A new text, NUL-terminated, of *out_n bytes; NULL: no memory. */
char *redact_text(struct redact *r, const char *text, size_t n, size_t *out_n);
/* What each row replaced: id, class, how many values, how often, in words. The values are not told. */
unsigned redact_rules(void);
struct redact_row_count {
	const char *id, *placeholder, *words;
	unsigned values, times;
};
struct redact_row_count redact_count(const struct redact *r, unsigned rule);

#endif
