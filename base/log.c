/*
 * One log a VM: a mutex keeps lines whole, a set of text hashes keeps each LIMIT line single.
 *
 * Lines: "PREFIXTOPIC SECONDS: text" of traces. Two different texts with one 64-bit hash would lose the second; that is
 * accepted.
 */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"

#define LOG_LIMITS 1024

struct log {
	u64 topics;
	u64 start; /* ns of the host's clock: trace records count from here */
	pthread_mutex_t mutex;
	FILE *out;
	FILE *trace; /* NULL: out */
	unsigned nlimits;
	u64 limit[LOG_LIMITS]; /* FNV-1a of each LIMIT text */
	char prefix[];
};

static const char *const topic_names[TRACE_TOPICS] = {
	[TRACE_INSN] = "insn",	 [TRACE_MEM] = "mem",	    [TRACE_INT] = "int",   [TRACE_MSR] = "msr",
	[TRACE_CPUID] = "cpuid", [TRACE_PORT] = "port",	    [TRACE_MMIO] = "mmio", [TRACE_DEV] = "dev",
	[TRACE_PF] = "pf",	 [TRACE_VMEXIT] = "vmexit", [TRACE_KVM] = "kvm",   [TRACE_CHANNEL] = "channel",
};

static const u64 no_topics;

struct log *log_new(FILE *out, const char *prefix)
{
	struct log *log = calloc(1, sizeof(*log) + strlen(prefix) + 1);

	if (!log)
		return NULL;
	pthread_mutex_init(&log->mutex, NULL);
	log->out = out;
	log->start = clock_host()->now(clock_host());
	memcpy(log->prefix, prefix, strlen(prefix) + 1);
	return log;
}

void log_free(struct log *log)
{
	if (!log)
		return;
	if (log->trace)
		fflush(log->trace);
	pthread_mutex_destroy(&log->mutex);
	free(log);
}

void log_trace_to(struct log *log, FILE *out) { log->trace = out; }

static int topic_find(const char *name, size_t len)
{
	for (int t = 0; t < TRACE_TOPICS; t++)
		if (strlen(topic_names[t]) == len && !memcmp(topic_names[t], name, len))
			return t;
	return -1;
}

int log_enable(struct log *log, const char *list, struct err *e)
{
	u64 topics = 0;

	for (const char *p = list; *p;) {
		size_t len = strcspn(p, ",");

		if (len == 3 && !memcmp(p, "all", 3)) {
			topics |= MASK(TRACE_TOPICS);
		} else if (len) {
			int t = topic_find(p, len);

			if (t < 0) {
				char known[200] = "all";

				for (t = 0; t < TRACE_TOPICS; t++) {
					strcat(known, " ");
					strcat(known, topic_names[t]);
				}
				return err_set(e, EINVAL, "unknown trace topic \"%.*s\": the topics are %s",
					       (int)MIN(len, 40u), p, known);
			}
			topics |= BIT(t);
		}
		p += len + (p[len] == ',');
	}
	log->topics |= topics;
	return 0;
}

const u64 *log_topics(const struct log *log) { return log ? &log->topics : &no_topics; }

static void log_line(struct log *log, FILE *out, const char *head, const char *fmt, va_list ap)
{
	pthread_mutex_lock(&log->mutex);
	fputs(log->prefix, out);
	fputs(head, out);
	vfprintf(out, fmt, ap);
	fputc('\n', out);
	if (out == log->out)
		fflush(out);
	pthread_mutex_unlock(&log->mutex);
}

void log_trace(struct log *log, enum trace_topic t, const char *fmt, ...)
{
	char head[48];
	va_list ap;

	if (!log || !trace_on(&log->topics, t))
		return;
	snprintf(head, sizeof(head), "%s %.6f: ", topic_names[t],
		 (double)(clock_host()->now(clock_host()) - log->start) / 1e9);
	va_start(ap, fmt);
	log_line(log, log->trace ? log->trace : log->out, head, fmt, ap);
	va_end(ap);
}

void log_info(struct log *log, const char *fmt, ...)
{
	va_list ap;

	if (!log)
		return;
	va_start(ap, fmt);
	log_line(log, log->out, "", fmt, ap);
	va_end(ap);
}

void log_warn(struct log *log, const char *fmt, ...)
{
	va_list ap;

	if (!log)
		return;
	va_start(ap, fmt);
	log_line(log, log->out, "warning: ", fmt, ap);
	va_end(ap);
}

static u64 text_hash(const char *s)
{
	u64 h = 0xcbf29ce484222325;

	for (; *s; s++)
		h = (h ^ (u8)*s) * 0x100000001b3;
	return h;
}

void log_limit(struct log *log, const char *fmt, ...)
{
	char text[400];
	bool fresh;
	va_list ap;

	if (!log)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	u64 h = text_hash(text);
	pthread_mutex_lock(&log->mutex);
	fresh = log->nlimits < LOG_LIMITS;
	for (unsigned i = 0; fresh && i < log->nlimits; i++)
		fresh = log->limit[i] != h;
	if (fresh) {
		log->limit[log->nlimits++] = h;
		fprintf(log->out, "%sLIMIT: %s\n", log->prefix, text);
		fflush(log->out);
	}
	pthread_mutex_unlock(&log->mutex);
}

unsigned log_limits(const struct log *log) { return log ? log->nlimits : 0; }
