/*
 * The dirty log: which pages of RAM were written since somebody asked last.
 *
 * While it is on, RAM_DIRTY in ram_slot.flags is set for pages that devices have written (vm_dma_write) and, after
 * dirty_collect, for those that processors have: an engine keeps its own log in between. Whoever reads the flags takes
 * them back with dirty_take. Any thread; vm->lock held.
 *
 * LIMIT: the software processor keeps no log. Devices that write through ram_host say so with dirty_mark.
 */
#ifndef CORE_DIRTY_H
#define CORE_DIRTY_H

#include "base/err.h"
#include "core/ram.h"

struct vm;

/* An engine's part. */
struct dirty_engine {
	int (*log)(void *ctx, bool on, struct err *e);
	int (*collect)(void *ctx, struct err *e); /* marks what was written since the last time */
	void *ctx;
};

/* -ENOTSUP: the engine keeps no log. Off: the flags are cleared. */
int dirty_log(struct vm *vm, bool on, struct err *e);
int dirty_collect(struct vm *vm, struct err *e);
/* Page `page` of the slot was written. */
static inline void dirty_mark(const struct ram_slot *s, u64 page)
{
	__atomic_fetch_or(&s->flags[page], RAM_DIRTY, __ATOMIC_RELAXED);
}
/* Whether it was, which is forgotten by that. */
static inline bool dirty_take(const struct ram_slot *s, u64 page)
{
	return __atomic_fetch_and(&s->flags[page], (u16)~RAM_DIRTY, __ATOMIC_RELAXED) & RAM_DIRTY;
}

#endif
