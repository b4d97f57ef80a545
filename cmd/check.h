/*
 * `nestbox check`: findings about this host's nesting, each with its evidence, what follows from it, and the one
 * command that mends it.
 *
 * check_GROUP.c hold the questions of check.def; they read what inspect/host_info.h gathered and nothing else, so that
 * a recorded host is judged as a live one is.
 */
#ifndef CMD_CHECK_H
#define CMD_CHECK_H

#include <jansson.h>
#include <stdio.h>

#include "inspect/host_info.h"

enum check_severity { CHECK_OK, CHECK_NOTE, CHECK_WARNING, CHECK_PROBLEM };

enum check_name {
#define CHECK(name, group, question) CHECK_##name,
#include "cmd/check.def"
#undef CHECK
	CHECKS
};

struct check_row {
	const char *name, *group, *question;
};
extern const struct check_row check_rows[CHECKS];

struct check_finding {
	enum check_name name;
	const char *part; /* one of several of a name, such as a parameter; NULL: the only one */
	enum check_severity severity;
	char *what, *evidence, *consequence, *remedy; /* evidence, consequence and remedy may be NULL */
};

enum check_nesting { NESTING_ON, NESTING_OFF, NESTING_IMPOSSIBLE, NESTING_UNKNOWN };

#define CHECK_FINDINGS 96

struct check {
	struct host *host;
	struct host_cpu cpu;
	struct host_level level;
	struct host_kvm kvm;
	struct host_modprobe modprobe;
	struct host_place place;
	struct host_version version;
	/* the other side of a migration */
	const char *peer_name; /* NULL: none given */
	struct host *peer;     /* NULL: only its version is known */
	struct host_version peer_version;
	struct check_finding finding[CHECK_FINDINGS];
	unsigned n;
	enum check_nesting nesting;
	char nesting_text[200];
};

/* Reads all of the host; the source stays the caller's. */
void check_gather(struct check *c, struct host *host);
/* Answers every question, then the verdict. */
void check_all(struct check *c);
void check_free(struct check *c);

/* A finding; the texts are added by check_say. Never NULL: when there is no room the last one is overwritten. */
struct check_finding *check_add(struct check *c, enum check_name name, enum check_severity severity, const char *fmt,
				...) printf_like(4, 5);
void check_say(char **text, const char *fmt, ...) printf_like(2, 3);
/* "sudo " unless root asks. */
const char *check_sudo(const struct check *c);

/* check_print.c */
void check_print(const struct check *c, bool verbose, bool colour, FILE *out);
json_t *check_json(const struct check *c, int exit_code);

#define CHECK(name, group, question) void check_##name(struct check *c);
#include "cmd/check.def"
#undef CHECK

#endif
