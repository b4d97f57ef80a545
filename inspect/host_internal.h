/* What the files of the host source share. */
#ifndef INSPECT_HOST_INTERNAL_H
#define INSPECT_HOST_INTERNAL_H

#include "inspect/host.h"

struct host_cpuid_row {
	u32 leaf, sub, r[4];
};

struct host_msr_row {
	u32 msr;
	int error; /* positive errno, 0: `value` holds */
	u64 value;
};

struct host_fact_row {
	char *name, *value;
};

struct host {
	bool live;
	int root;	  /* folder of a recorded host, -1 */
	int record;	  /* folder that is written, -1 */
	int record_error; /* -errno */
	struct host_cpuid_row *cpuid;
	struct host_msr_row *msr;
	struct host_fact_row *fact;
	size_t ncpuid, nmsr, nfacts;
};

/* host_tables.c */
int host_tables_load(struct host *h, struct err *e);
void host_tables_free(struct host *h);
/* Adds one element to an array that grows by doubling. false: no memory. */
bool host_grow(void **array, size_t n, size_t size) must_check;

/* What a terminal would take for a command becomes a question mark: these texts are printed. */
void host_harmless(char *text);

/* host_record.c: each does nothing without a record. */
void host_keep_file(struct host *h, const char *path, const char *text, size_t size);
void host_keep_name(struct host *h, const char *path, bool folder);

#endif
