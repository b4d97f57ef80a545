/*
 * A report on a nested setup: the parts that `nestbox report`, a running chain and a level's init share.
 *
 * Each level collects its own section (report_collect) and hands files out one by one: on the host into a struct
 * report, inside a level into channel messages, which the host puts into a struct report by report_message. The host
 * alone redacts, summarises and writes, so that a value has the same placeholder in all levels.
 */
#ifndef CMD_REPORT_H
#define CMD_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "base/err.h"

struct host;
struct redact;

/* Where a section's files go. */
struct report_out {
	/* `by`: where it came from, such as "/proc/cpuinfo" or "own CPUID". Not 0: stop collecting. */
	int (*file)(void *ctx, const char *name, const char *by, const char *data, size_t size);
	/* No alternative yielded anything; `why` says so for each. */
	int (*missing)(void *ctx, const char *name, const char *why);
	void *ctx;
};

/* report_collect.c. 0, or what `out` returned, or -EINTR when a signal is pending (program.h). */
int report_collect(struct host *h, const struct report_out *out);

/* report_own.c: the rows' functions. Each writes and returns 0, or -errno with a sentence. */
int report_uname(struct host *h, FILE *out, struct err *e);
int report_vmm_commands(struct host *h, FILE *out, struct err *e);
int report_version(struct host *h, FILE *out, struct err *e);
int report_lscpu(struct host *h, FILE *out, struct err *e);
int report_kernel_log(struct host *h, FILE *out, struct err *e);
int report_kvm_device(struct host *h, FILE *out, struct err *e);
int report_cpuid(struct host *h, FILE *out, struct err *e);
int report_msr(struct host *h, FILE *out, struct err *e);
int report_capabilities(struct host *h, FILE *out, struct err *e);

#define REPORT_LEVELS 9 /* 0 to 8 */

struct report_file {
	unsigned level;
	char *name, *by; /* "cpuinfo.txt", "/proc/cpuinfo" */
	char *data;	 /* NULL: missing, and `why` says so */
	size_t size;
	char *why;
};

/* report_store.c: everything in memory, in order of arrival. */
struct report {
	struct report_file *files;
	size_t nfiles;
	size_t bytes; /* of all data */
	unsigned parts_lost;
	bool ended[REPORT_LEVELS]; /* all of the level's section is there */
};

int report_put(struct report *r, unsigned level, const char *name, const char *by, const char *data, size_t size);
int report_put_missing(struct report *r, unsigned level, const char *name, const char *why);
/* A message of the channel (docs/CHANNEL.md): takes "file", "missing" and "report_end"; whatever a guest sends is
 * bounded. */
void report_message(struct report *r, const json_t *msg);
/* NULL: not there. */
const struct report_file *report_find(const struct report *r, unsigned level, const char *name);
bool report_has_level(const struct report *r, unsigned level);
void report_free(struct report *r);
/* report_out whose ctx is a struct report_section. */
struct report_section {
	struct report *report;
	unsigned level;
};
extern const struct report_out report_store;

/* report_send.c: the same through a channel, as report_out whose ctx is a struct report_send. */
struct report_send {
	int fd;
	unsigned level;
};
extern const struct report_out report_send_out;
/* Collects this level's section and sends it. 0 or -errno. */
int report_send(int fd, unsigned level);

/* report_summary.c: Markdown. */
struct report_claim {
	unsigned own;		     /* the level of what is called this host: 0 */
	const char *chain;	     /* what is known of a running chain: a sentence */
	const struct redact *redact; /* NULL: not redacted */
};
void report_summary(const struct report *r, const struct report_claim *c, FILE *out);

/* report_write.c: from files to an archive. Zeroed, then filled: output (NULL: a name of the date in this folder),
 * host, chain, no_redact, and the sections of deeper levels in `report`. */
struct report_job {
	const char *output;
	struct host *host; /* of level 0; freed with the job */
	bool no_redact;
	char chain[500]; /* a sentence on the chain */
	struct report report;
	struct redact *redact; /* after report_finish, unless no_redact */
	char folder[64], name[80];
};

/* This host's section. 0 or -errno. */
int report_collect_host(struct report_job *j, struct err *e);
/* 0, or -errno: nothing is written then. -EINTR as above. */
int report_finish(struct report_job *j, struct err *e);
void report_print_summary(const struct report_job *j, FILE *out);
void report_job_free(struct report_job *j);

/* report_archive.c: NAME.tar.zst of FOLDER/L0/cpuinfo.txt … in a temporary file that becomes `path` when it is whole.
 * -EINTR as above. */
int report_archive(const struct report *r, const char *folder, const char *path, struct err *e);

#endif
