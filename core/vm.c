/* The VM object: its birth and end, the way to stop it, and the engines' and devices' way to the buses and to RAM. */
#include "core/vm.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

int vm_init(struct vm *vm, struct log *log, struct clock *clock, struct err *e)
{
	int rc;

	memset(vm, 0, sizeof(*vm));
	rc = pthread_mutex_init(&vm->lock, NULL);
	if (rc)
		return err_set(e, rc, "the VM's lock cannot be made: %s", strerror(rc));
	vm->log = log;
	vm->topics = log_topics(log);
	vm->clock = clock;
	debug_init(&vm->debug);
	timer_queue_init(&vm->timers, clock);
	vm->ports.name = "port";
	vm->ports.topic = TRACE_PORT;
	vm->ports.log = log;
	vm->mmio.name = "mmio";
	vm->mmio.topic = TRACE_MMIO;
	vm->mmio.log = log;
	return 0;
}

void vm_destroy(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->vcpu[i])
			vm->vcpu[i]->ops->destroy(vm->vcpu[i]);
	vm->nvcpus = 0;
	ram_destroy(&vm->ram);
	debug_destroy(&vm->debug);
	pthread_mutex_destroy(&vm->lock);
}

void vm_stop(struct vm *vm, enum vm_stop why, int code)
{
	int running = VM_RUNNING, reset = VM_RESET;

	if (!atomic_compare_exchange_strong(&vm->stop, &running, why) &&
	    (why == VM_RESET || !atomic_compare_exchange_strong(&vm->stop, &reset, why)))
		return;
	vm->stop_code = code;
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->vcpu[i])
			vm->vcpu[i]->ops->kick(vm->vcpu[i]);
	debug_wake(vm);
	if (vm->on_stop)
		vm->on_stop(vm->on_stop_ctx);
}

int vm_dma_read(struct vm *vm, u64 gpa, void *buf, u64 len) { return ram_read(&vm->ram, gpa, buf, len); }

/*
 * A processor marks a page RAM_CODE before it reads the bytes that it decodes; here the bytes are stored before the
 * mark is looked at. One of the two therefore sees the other.
 */
static void dma_tell(struct vm *vm, const struct ram_slot *s, u64 gpa, u64 len)
{
	u64 first = (gpa - s->gpa) / RAM_PAGE, last = (gpa - s->gpa + len - 1) / RAM_PAGE;

	atomic_thread_fence(memory_order_seq_cst);
	for (u64 page = first; page <= last; page++) {
		if (!(__atomic_load_n(&s->flags[page], __ATOMIC_RELAXED) & RAM_CODE))
			continue;
		for (unsigned i = 0; i < vm->nvcpus; i++)
			if (vm->vcpu[i] && vm->vcpu[i]->ops->drop_code)
				vm->vcpu[i]->ops->drop_code(vm->vcpu[i], s->gpa + page * RAM_PAGE, RAM_PAGE);
	}
}

int vm_dma_write(struct vm *vm, u64 gpa, const void *buf, u64 len)
{
	for (const u8 *from = buf; len;) {
		const struct ram_slot *s = ram_find(&vm->ram, gpa);

		if (!s || s->readonly)
			return -EFAULT;
		u64 n = MIN(len, s->size - (gpa - s->gpa));
		memcpy(s->host + (gpa - s->gpa), from, n);
		dma_tell(vm, s, gpa, n);
		for (u64 page = (gpa - s->gpa) / RAM_PAGE; vm->dirty_on && page <= (gpa - s->gpa + n - 1) / RAM_PAGE;
		     page++)
			dirty_mark(s, page);
		from += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

u64 vm_port_read(struct vm *vm, u16 port, unsigned size)
{
	vm_lock(vm);
	u64 v = bus_read(&vm->ports, port, size);
	vm_unlock(vm);
	return v;
}

void vm_port_write(struct vm *vm, u16 port, unsigned size, u64 value)
{
	vm_lock(vm);
	bus_write(&vm->ports, port, size, value);
	vm_unlock(vm);
}

u64 vm_mmio_read(struct vm *vm, u64 gpa, unsigned size)
{
	vm_lock(vm);
	u64 v = bus_read(&vm->mmio, gpa, size);
	vm_unlock(vm);
	return v;
}

void vm_mmio_write(struct vm *vm, u64 gpa, unsigned size, u64 value)
{
	vm_lock(vm);
	bus_write(&vm->mmio, gpa, size, value);
	vm_unlock(vm);
}
