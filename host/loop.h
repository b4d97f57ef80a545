/*
 * The event loop: one thread (libuv) that fires a VM's timers and moves host I/O, always with vm->lock held around
 * callbacks.
 *
 * It is what chips' timers and host files hang on; chips themselves know only struct timer_queue and struct char_sink.
 */
#ifndef HOST_LOOP_H
#define HOST_LOOP_H

#include "base/err.h"
#include "core/vm.h"

struct host_loop;

/* Makes the loop, becomes the owner of vm->timers (its `wake`), and starts the thread. */
int host_loop_start(struct vm *vm, struct host_loop **out, struct err *e);
/* Stops and joins the thread; pending callbacks are dropped. Not from the loop's own thread. */
void host_loop_stop(struct host_loop *loop);
/* Calls cb (lock held) whenever fd is readable, until host_unwatch. Lock held or before the VM runs. */
struct host_watch;
struct host_watch *host_watch_fd(struct host_loop *loop, int fd, void (*cb)(void *ctx), void *ctx);
void host_unwatch(struct host_watch *w);
/* Runs cb once on the loop's thread, lock held. Any thread. */
void host_loop_post(struct host_loop *loop, void (*cb)(void *ctx), void *ctx);

#endif
