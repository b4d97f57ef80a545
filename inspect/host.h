/*
 * A host as `check`, `report` and the choice of an accelerator see it: files, CPUID, MSRs, and facts that had to be
 * measured.
 *
 * A source is this host, live, or a folder (--root DIR) that stands for one: its files under their usual names, and
 * beside them
 *
 *   DIR/cpuid   "0x00000001 0x00: eax=0x... ebx=0x... ecx=0x... edx=0x..." a line, as `cpuid -1 -r` prints them
 *   DIR/msr     "0x0000003a 0x0000000000000005" or "0x00000480 EIO" a line
 *   DIR/facts   "NAME=VALUE" a line: what takes more than reading (host_measure.c lists the names);
 * "error:/dev/kvm=EACCES" says that a file is there and cannot be read DIR/dmesg   the kernel's log
 *
 * Readers cannot tell the two apart. A folder is read as if it were the root: no link leads out of it. With host_record
 * every answer is written to a folder of this very form.
 *
 * All texts end in NUL, are bounded, and belong to whoever the function says.
 */
#ifndef INSPECT_HOST_H
#define INSPECT_HOST_H

#include <stdio.h>

#include "base/err.h"

struct host;

#define HOST_NAME 256

/* root NULL: this host. -errno when the folder cannot be opened or its cpuid, msr or facts cannot be parsed. */
int host_open(const char *root, struct host **out, struct err *e);
void host_close(struct host *h);
bool host_is_live(const struct host *h);
/* From now on what is read is also written below `dir`, which is made; host_close writes cpuid, msr and facts. */
int host_record(struct host *h, const char *dir, struct err *e);
/* Also records a link, which host_link alone does not: most links that are looked at are not worth it. */
void host_record_link(struct host *h, const char *path, const char *target);
/* The first error of writing the record, 0: none. After it the record is not whole. */
int host_record_error(const struct host *h);
/* Writes the record's tables now: what host_close does, with its error. */
int host_record_finish(struct host *h);

/* A whole file of at most 4 MiB (what is longer is cut). -errno. The caller frees *text; *size may be NULL. */
int host_read(struct host *h, const char *path, char **text, size_t *size);
/* The first line without its newline, control characters made harmless, as in all short texts from here. 0 or -errno.
 */
int host_line(struct host *h, const char *path, char *buf, size_t size);
bool host_exists(struct host *h, const char *path);
/* 0, or -errno of opening it for reading and writing. */
int host_access(struct host *h, const char *path);
/* Where a link points, without following it. 0 or -errno. */
int host_link(struct host *h, const char *path, char *buf, size_t size);

struct host_names {
	char (*name)[HOST_NAME];
	size_t n;
};
/* A folder's names, sorted, without those that begin with a dot. 0 or -errno; host_names_free in any case. */
int host_list(struct host *h, const char *dir, struct host_names *names);
void host_names_free(struct host_names *names);
/* The kernel's log as text, or NULL; the caller frees it. */
char *host_kernel_log(struct host *h);

/* eax, ebx, ecx, edx. false: the processor has no such leaf, or none was recorded. */
bool host_cpuid(struct host *h, u32 leaf, u32 sub, u32 r[4]) must_check;
/* 0; -ENOENT: no /dev/cpu/0/msr, or not recorded; -EACCES, -EPERM: not for this user; -EIO: the processor has no such
 * MSR. */
int host_msr(struct host *h, u32 msr, u64 *v) must_check;
/* All leaves, as DIR/cpuid has them. */
void host_cpuid_print(struct host *h, FILE *out);

/* NULL: not known. The text lives as long as the source, or until it is set anew. */
const char *host_fact(const struct host *h, const char *name);
/* -1: not known or not a number. */
long long host_fact_number(const struct host *h, const char *name);
void host_fact_set(struct host *h, const char *name, const char *fmt, ...) printf_like(3, 4);

/* Measures this host: user, machine name, the time of CPUID, the environment's hints at a CI runner. */
void host_measure(struct host *h);

#endif
