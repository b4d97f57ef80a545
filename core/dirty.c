/* The dirty log (dirty.h). */
#include "core/dirty.h"

#include <errno.h>

#include "core/vm.h"

int dirty_log(struct vm *vm, bool on, struct err *e)
{
	int rc;

	if (!vm->dirty.log)
		return err_set(e, ENOTSUP, "this processor keeps no log of the pages that it writes");
	if (vm->dirty_on == on)
		return 0;
	rc = vm->dirty.log(vm->dirty.ctx, on, e);
	if (rc)
		return rc;
	vm->dirty_on = on;
	for (unsigned i = 0; i < vm->ram.n; i++)
		for (u64 page = 0; page < vm->ram.slot[i].size / RAM_PAGE; page++)
			dirty_take(&vm->ram.slot[i], page);
	return 0;
}

int dirty_collect(struct vm *vm, struct err *e)
{
	if (!vm->dirty_on)
		return err_set(e, EINVAL, "the dirty log is off");
	return vm->dirty.collect(vm->dirty.ctx, e);
}
