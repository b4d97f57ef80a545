/*
 * `nestbox enable` and `disable`: the parts of the work.
 *
 * What to do is decided from the facts alone (inspect/host_info.h), so --dry-run and --root say exactly what would
 * happen; only the two functions at the end change anything.
 */
#ifndef CMD_ENABLE_H
#define CMD_ENABLE_H

#include "inspect/host_info.h"

#define ENABLE_FILE "/etc/modprobe.d/nestbox-nested.conf"

/* enable_file.c: our own file of options. */
struct enable_file {
	char *old, *text; /* its content now, NULL: it is not there; what it shall be */
};
/* -EEXIST: there is a file of that name that nestbox did not write. */
int enable_file_plan(struct host *h, const char *module, bool on, struct enable_file *f, struct err *e);
bool enable_file_changes(const struct enable_file *f);
void enable_file_diff(const struct enable_file *f, FILE *out);
/* Writes it below `root` ("" for this host), whole or not at all. */
int enable_file_write(const struct enable_file *f, const char *root, struct err *e);
void enable_file_free(struct enable_file *f);

/*
 * enable_module.c: unloads `module` when it is loaded, and loads it with nested=`value`. When it does not load that way
 * it is loaded with `old` again ("" when it was not loaded): KVM is never left away. Signals wait meanwhile. *back: it
 * is loaded as it was.
 */
int enable_module_reload(const char *module, bool loaded, const char *value, const char *old, bool *back,
			 struct err *e);

#endif
