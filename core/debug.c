/* Standing still and going on (debug.h). */
#include "core/debug.h"

#include <errno.h>

#include "core/vm.h"

void debug_init(struct vm_debug *d)
{
	*d = (struct vm_debug){0};
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->changed, NULL);
}

void debug_destroy(struct vm_debug *d)
{
	pthread_cond_destroy(&d->changed);
	pthread_mutex_destroy(&d->lock);
}

void debug_ask(struct vm *vm, enum debug_holder who)
{
	atomic_fetch_or(&vm->debug.wanted, who);
	for (unsigned i = 0; i < vm->nvcpus; i++)
		if (vm->vcpu[i])
			vm->vcpu[i]->ops->kick(vm->vcpu[i]);
}

void debug_pause(struct vm *vm, enum debug_holder who)
{
	struct vm_debug *d = &vm->debug;

	debug_ask(vm, who);
	pthread_mutex_lock(&d->lock);
	while (d->inside)
		pthread_cond_wait(&d->changed, &d->lock);
	pthread_mutex_unlock(&d->lock);
}

void debug_resume(struct vm *vm, enum debug_holder who)
{
	struct vm_debug *d = &vm->debug;

	pthread_mutex_lock(&d->lock);
	atomic_fetch_and(&d->wanted, ~(u32)who);
	pthread_cond_broadcast(&d->changed);
	pthread_mutex_unlock(&d->lock);
}

void debug_wake(struct vm *vm)
{
	pthread_mutex_lock(&vm->debug.lock);
	pthread_cond_broadcast(&vm->debug.changed);
	pthread_mutex_unlock(&vm->debug.lock);
}

static bool same(const struct debug_point *a, const struct debug_point *b)
{
	return a->la == b->la && a->len == b->len && a->kind == b->kind;
}

int debug_add(struct vm *vm, const struct debug_point *p)
{
	struct vm_debug *d = &vm->debug;

	for (unsigned i = 0; i < d->n; i++)
		if (same(&d->point[i], p))
			return 0;
	if (d->n == DEBUG_POINTS)
		return -ENOSPC;
	d->point[d->n++] = *p;
	d->generation++;
	if (vm->nvcpus && vm->vcpu[0]->ops->debug_fits && !vm->vcpu[0]->ops->debug_fits(vm->vcpu[0])) {
		d->n--;
		return -ENOSPC;
	}
	return 0;
}

int debug_remove(struct vm *vm, const struct debug_point *p)
{
	struct vm_debug *d = &vm->debug;

	for (unsigned i = 0; i < d->n; i++) {
		if (!same(&d->point[i], p))
			continue;
		d->point[i] = d->point[--d->n];
		d->generation++;
		return 0;
	}
	return -ENOENT;
}

void debug_clear(struct vm *vm)
{
	vm->debug.generation += vm->debug.n != 0;
	vm->debug.n = 0;
	atomic_store(&vm->debug.held, 0);
	for (unsigned i = 0; i < vm->nvcpus; i++)
		vm->vcpu[i]->debug = (struct vcpu_debug){0};
}

bool debug_enter(struct vcpu *v)
{
	struct vm *vm = v->vm;
	struct vm_debug *d = &vm->debug;
	bool runs;

	pthread_mutex_lock(&d->lock);
	while (atomic_load(&vm->stop) == VM_RUNNING && debug_wanted(d, v->index))
		pthread_cond_wait(&d->changed, &d->lock);
	runs = atomic_load(&vm->stop) == VM_RUNNING;
	d->inside += runs;
	pthread_mutex_unlock(&d->lock);
	return runs;
}

bool debug_enter_reset(struct vm *vm)
{
	struct vm_debug *d = &vm->debug;
	bool resets;

	pthread_mutex_lock(&d->lock);
	while (atomic_load(&vm->stop) == VM_RESET && atomic_load(&d->wanted))
		pthread_cond_wait(&d->changed, &d->lock);
	resets = atomic_load(&vm->stop) == VM_RESET;
	d->inside += resets;
	pthread_mutex_unlock(&d->lock);
	return resets;
}

void debug_leave_reset(struct vm *vm)
{
	pthread_mutex_lock(&vm->debug.lock);
	vm->debug.inside--;
	pthread_cond_broadcast(&vm->debug.changed);
	pthread_mutex_unlock(&vm->debug.lock);
}

void debug_leave(struct vcpu *v, bool hit)
{
	struct vm_debug *d = &v->vm->debug;

	if (hit)
		debug_ask(v->vm, DEBUG_GDB);
	pthread_mutex_lock(&d->lock);
	d->inside--;
	pthread_cond_broadcast(&d->changed);
	if (hit && d->on_hit)
		d->on_hit(d->on_hit_ctx);
	pthread_mutex_unlock(&d->lock);
}
