/*
 * The board's reset (machine_int.h): chips to their power-on state, processors too, then what firmware or this
 * program's loader does at power-on.
 *
 * RAM keeps its contents under firmware, as after a warm reset; a kernel that is loaded directly finds it zeroed.
 */
#include "machine/machine_int.h"

#include <sys/mman.h>

#include "kvm/kvm.h"

static void zero_ram(struct ram *ram)
{
	for (unsigned i = 0; i < ram->n; i++)
		if (!ram->slot[i].readonly)
			madvise(ram->slot[i].host, ram->slot[i].size, MADV_DONTNEED);
}

int machine_reset(struct machine *m, struct err *e)
{
	struct vm *vm = &m->vm;
	int rc = 0;

	vm_lock(vm);
	pc_reset(&m->pc);
	vm_unlock(vm);
	if (m->kvm)
		rc = kvm_vm_reset(m->kvm, e);
	if (rc)
		return rc;
	for (unsigned i = 0; i < vm->nvcpus; i++)
		vm->vcpu[i]->ops->reset(vm->vcpu[i]);
	if (!m->cfg.bios.size)
		zero_ram(&vm->ram);
	return machine_load(m, e);
}
