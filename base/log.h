/*
 * The log of one virtual machine: traces by topic, and the LIMIT: lines that name what is not implemented.
 *
 * Topics are off until asked for (`--trace=TOPIC,…`); trace_on() is the test that callers make before they format.
 * log_limit() prints each distinct text once, so that a guest cannot flood the log. Any thread may call any of these.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdarg.h>
#include <stdio.h>

#include "base/types.h"

enum trace_topic {
	TRACE_INSN,    /* each instruction with its address, bytes and disassembly */
	TRACE_MEM,     /* each data access */
	TRACE_INT,     /* exceptions, interrupts, APIC */
	TRACE_MSR,     /* RDMSR and WRMSR */
	TRACE_CPUID,   /* CPUID leaves */
	TRACE_PORT,    /* port I/O */
	TRACE_MMIO,    /* memory-mapped I/O */
	TRACE_DEV,     /* what chips do */
	TRACE_PF,      /* page faults and nested page faults */
	TRACE_VMEXIT,  /* VM entries and exits */
	TRACE_KVM,     /* the /dev/kvm back end */
	TRACE_CHANNEL, /* JSON lines between levels */
	TRACE_TOPICS
};

struct log; /* opaque */

/* `out` is borrowed; `prefix` is copied and put before every line (a level's name, may be ""). NULL: no memory. */
struct log *log_new(FILE *out, const char *prefix);
void log_free(struct log *log);
/* `list`: "insn,msr" or "all". Returns 0, or -EINVAL with e naming the unknown topic and listing the known ones. */
struct err;
int log_enable(struct log *log, const char *list, struct err *e);
/* Where trace lines go from now on (not warnings and LIMIT lines), without a flush for each; borrowed, flushed by
 * log_free. */
void log_trace_to(struct log *log, FILE *out);
/* The enabled topics, bit n = topic n. A NULL log has none. The pointer stays valid as long as the log. */
const u64 *log_topics(const struct log *log);

static inline bool trace_on(const u64 *topics, enum trace_topic t) { return unlikely(*topics & BIT(t)); }

void log_trace(struct log *log, enum trace_topic t, const char *fmt, ...) printf_like(3, 4);
void log_info(struct log *log, const char *fmt, ...) printf_like(2, 3);
void log_warn(struct log *log, const char *fmt, ...) printf_like(2, 3);
/* "LIMIT: …", each distinct formatted text once per log. */
void log_limit(struct log *log, const char *fmt, ...) printf_like(2, 3);
/* How many distinct LIMIT lines were logged. */
unsigned log_limits(const struct log *log);

#endif
