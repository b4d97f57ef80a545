/* How a chain of `nestbox nest` is judged, and what its end prints. */
#ifndef CMD_NEST_VERDICT_H
#define CMD_NEST_VERDICT_H

#include "cmd/channel.h"
#include "cmd/nest_options.h"
#include "cmd/tree.h"
#include "machine/machine.h"

struct nest_verdict {
	struct tree *tree;
	const struct nest_options *options;
	const struct tail *serial;  /* L1's console */
	struct tree_verdict result; /* its `code` is the exit code */
};

/* Concludes the tree; prints the verdict, the last words of the level that broke and the kernels' complaints; saves the
 * logs that --dmesg asks for. `stop`, `e`: what machine_run returned; VM_POWEROFF for a chain that is up and stays so.
 */
void nest_verdict(struct nest_verdict *v, enum vm_stop stop, const struct err *e);

#endif
