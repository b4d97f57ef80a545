/*
 * What every chip declares of itself, in one constant row.
 *
 * A chip is a struct with an init function that takes its surroundings (clock or timer queue, wires, host side) and one
 * `struct device_class`. Its guest-visible registers are one plain struct with a field table (`state`), its first
 * member, apart from wires and host handles. Silence about migration does not compile: `migration` has no zero value.
 */
#ifndef CORE_DEVICE_H
#define CORE_DEVICE_H

#include <stdio.h>

#include "base/desc.h"

enum migration_class {
	MIGRATE_STATE = 1, /* its `state` struct is all there is */
	MIGRATE_NONE,	   /* no state that a guest could miss */
	MIGRATE_REFUSE,	   /* holds host state that cannot move: migration is refused, with the device's name */
};

struct device_class {
	const char *name;
	enum migration_class migration;
	const struct desc *state;		   /* with MIGRATE_STATE */
	void (*reset)(void *dev);		   /* to the power-on state; lock held */
	void (*words)(const void *dev, FILE *out); /* its registers for people; NULL: the table of `state` will do */
};

#endif
