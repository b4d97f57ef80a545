/*
 * What the host knows of each level, from the levels' own messages, and what it concludes.
 *
 * The conclusion rests on evidence only: each level said hello, L1's hypervisor is the one that we gave it, every
 * deeper level's hypervisor is KVM, and the KVM above each deeper level counted exits for it. Messages may come from a
 * guest gone mad: whatever they lack or overdo is survived.
 */
#ifndef CMD_TREE_H
#define CMD_TREE_H

#include <jansson.h>
#include <stdio.h>

#include "base/types.h"
#include "cmd/cmd.h"

#define TREE_LEVELS 8
#define TREE_GUESTS 8

struct tree_level {
	json_t *hello, *kvm, *evidence, *error; /* the messages themselves; NULL: did not come */
	u64 cpuid_ns;
	bool done, printed;
	json_t *log;	    /* [[priority, microseconds, text], ...] */
	json_t *complaints; /* texts of the log that should not be there */
	json_t *exec;	    /* [{command, status, output, cut}, ...] */
	char *console;	    /* last serial output, when the level above saw it end badly */
};

struct tree {
	unsigned depth;
	char signature[13];			  /* the hypervisor that L1 must report */
	FILE *out;				  /* the live tree; NULL: silent */
	bool ascii;				  /* `out` is a terminal without UTF-8 */
	struct tree_level level[TREE_LEVELS + 1]; /* [1..depth] */
	unsigned guests;			  /* of the innermost level, side by side */
	/* The second and later ones of them; `evidence`: what the KVM above counted for this guest. */
	struct tree_level more[TREE_GUESTS - 1];
};

struct tree_verdict {
	enum exit_code code;
	unsigned level; /* where it broke, 0: nowhere */
	char text[600]; /* one sentence */
};

/* `host`: the text of L0's line. One guest in the innermost level; the caller may set `guests`, up to TREE_GUESTS. */
void tree_start(struct tree *t, unsigned depth, const char *signature, const char *host, FILE *out);
/* Guest k (from 1) of level n; NULL: there is none. */
struct tree_level *tree_guest(struct tree *t, unsigned n, unsigned k);
void tree_message(struct tree *t, json_t *msg);
/* Has every level finished or said that it is up? */
bool tree_is_up(const struct tree *t);
/* After the end. `stopped`: why L1's machine stopped, if not by powering off; NULL otherwise. */
void tree_conclude(struct tree *t, const char *stopped, struct tree_verdict *v);
/* Everything as one object; new reference. */
json_t *tree_json(const struct tree *t, const struct tree_verdict *v);
/* The level's log as dmesg prints it. */
void tree_print_log(const struct tree_level *l, FILE *out);
void tree_free(struct tree *t);
/* What goes on now, such as "L2's kernel starts". */
void tree_stage(const struct tree *t, char *out, size_t room);
/* Is this line of a kernel's log a complaint that a sound machine does not cause? */
bool tree_is_complaint(int priority, const char *text);

/* ---- tree_print.c ---- */
void tree_print_host(const struct tree *t, const char *host);
/* Guest k of level n: once, and not before its hello. */
void tree_print_level(struct tree *t, unsigned n, unsigned k);
void tree_print_exec(const struct tree *t, unsigned n, const json_t *exec);
/* "?" where there is no such text. */
const char *tree_text_of(const json_t *o, const char *key);
/* Exits that the KVM above counted for guest k of level n. */
u64 tree_exits(const struct tree *t, unsigned n, unsigned k);

#endif
