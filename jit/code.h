/*
 * Memory for generated code, never writable and executable at one address.
 *
 * A region is one memfd mapped twice: a view to write through and a view to run from. Filling the write view needs no
 * system call, and what has been written is at once visible in the other (x86 keeps instruction fetch coherent by
 * physical address; a thread that runs code which another thread wrote must have learnt its address by an acquire
 * load). Space is handed out from front to back and taken back all at once. One writer at a time; the caller locks if
 * it has several.
 */
#ifndef JIT_CODE_H
#define JIT_CODE_H

#include "base/err.h"
#include "base/types.h"

struct code_region {
	u8 *write; /* view to write through */
	u8 *run;   /* view to run from: same bytes */
	size_t size;
	size_t used;
};

/* `size` is rounded up to pages. -ENOMEM, or what memfd_create and mmap refuse with. */
int code_region_init(struct code_region *r, size_t size, struct err *e);
void code_region_destroy(struct code_region *r);
static inline void code_region_reset(struct code_region *r) { r->used = 0; }
static inline size_t code_region_left(const struct code_region *r) { return r->size - r->used; }
/* The address at which the byte written at `w` (in the write view) runs. */
static inline const void *code_region_run(const struct code_region *r, const u8 *w) { return r->run + (w - r->write); }

#endif
