/*
 * Host errors: 0 or -errno inside, one sentence at the edges.
 *
 * A function that can fail for a reason that a user should read takes `struct err *` and returns -errno; err_set
 * writes the sentence and returns the code, so that `return err_set(e, EINVAL, "…")` is the whole failure path.
 * `e` may be NULL. A guest's faults and our own bugs (assert) never travel this way.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/types.h"

struct err {
	int code; /* positive errno; 0: no error */
	char text[400];
};

/* Returns -code. */
int err_set(struct err *e, int code, const char *fmt, ...) printf_like(3, 4);
/* Puts "what: " before the text that e already holds; returns -e->code. */
int err_prefix(struct err *e, const char *fmt, ...) printf_like(2, 3);

#endif
