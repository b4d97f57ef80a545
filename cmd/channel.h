/*
 * The channel between levels: JSON objects, one a line, over a virtio-console port, upwards; in a kept chain commands come
 * down (docs/CHANNEL.md).
 *
 * Every message has "type" and "level". A level sends its own and passes on what the levels below it sent; the receiver on
 * the host believes a level number only within (own, depth].
 *
 *   hello     kernel, hypervisor (CPUID 40000000h run there), vendor, model, up_s       once, first
 *   kvm       module, parameters {name: value}                                          a level that starts another
 *   start     cpu, memory_mib                                                           the next level is about to run
 *   cpuid     ns                                                                        innermost: median CPUID round trip
 *   evidence  exits, counters {name: value}, seconds                                    what this level's KVM counted for the next
 *   dmesg     records [[priority, microseconds, text], ...]
 *   console   of, text                                                                  last serial output of the next level
 *   exec      command, status, output, cut                                          what `nest --exec` had run there
 *   error     what, why, kind ("not_so": the thing asked about is not so; "failed")
 *   up        up_s                                                                      in a kept chain: all of it is there, and stays
 *   file      name, by, part, text or base64                                            of a section of a report
 *   missing   name, why
 *   report_end
 *   tty       out (base64)                                          a shell's output
 *   tty_end   why
 *   done      up_s                                                                      last
 */
#ifndef CMD_CHANNEL_H
#define CMD_CHANNEL_H

#include <jansson.h>

#include "base/types.h"

#define CHANNEL_NAME "nestbox.channel"
#define CHANNEL_LINE_MAX (1u << 20)

/* Cuts a byte stream into lines and parses them. What is no JSON object is counted and dropped. */
struct channel_rx {
	void (*message)(void *ctx, json_t *msg); /* borrowed reference */
	void *ctx;
	char *buf;
	size_t n, room;
	bool overlong;
	unsigned bad;
};

void channel_rx_feed(struct channel_rx *rx, const u8 *buf, size_t n);
void channel_rx_free(struct channel_rx *rx);

/* Sends on a file descriptor (-1: nowhere), in one write a message. Steals the reference. Returns 0 or -errno. */
int channel_send(int fd, unsigned level, const char *type, json_t *msg);
/* A message as its line, of *n bytes with the newline and no NUL, to go in one piece; the caller frees it. NULL: no memory. */
char *channel_line(const json_t *msg, size_t *n);
/* Passes a message of a level below on; borrowed. */
int channel_forward(int fd, json_t *msg);

/* The last bytes of a stream (a serial console), for the day it ends badly. */
struct tail {
	char buf[4096];
	size_t at;
	bool wrapped;
};

void tail_feed(struct tail *t, const u8 *buf, size_t n);
/* The last `lines` lines, control characters made harmless; the caller frees it. NULL: no memory. */
char *tail_text(const struct tail *t, unsigned lines);

#endif
