/*
 * Doorbells (core/bus.h) that do not stop the processor: KVM counts the writes in an eventfd (the kernel's
 * Documentation/virt/kvm/api.rst, 4.59 "KVM_IOEVENTFD"), and whoever looks next has the bus do one.
 *
 * All eventfds are in one epoll set, edge-triggered, so they need not be read: the set is readable while one has rung
 * and nobody has looked. It is looked at by the event loop; by each vCPU thread on its way out of run, so that what
 * the guest rang before the VM stopped is never lost; and before a range goes, for the same reason. A doorbell that
 * KVM does not take stays an exit to user space. Everything is under vm->lock.
 */
#include <inttypes.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "kvm/internal.h"

#define DOOR_SIZE 2u /* what virtio's drivers write */

static long door_set(struct kvm_vm *kvm, const struct kvm_door *d, u32 flags)
{
	struct kvm_ioeventfd io = {.addr = d->addr, .fd = d->fd, .flags = flags}; /* len 0: of any size */

	return kvm_ioctl(kvm->fd, KVM_IOEVENTFD, &io);
}

/* false: KVM or the host has no more; writes there go on coming to the bus. */
static bool door_open(struct kvm_vm *kvm, struct kvm_door *d, u64 addr)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u32 = (u32)(d - kvm->door)};

	d->addr = addr;
	d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->used = d->fd >= 0 && !epoll_ctl(kvm->doors_fd, EPOLL_CTL_ADD, d->fd, &ev) && !door_set(kvm, d, 0);
	if (d->fd >= 0 && !d->used)
		close(d->fd);
	return d->used;
}

static void range_added(void *ctx, const struct bus_range *r)
{
	struct kvm_vm *kvm = ctx;
	unsigned at = 0;
	u64 offset;

	for (unsigned i = 0; r->ops->doorbell(r->dev, i, &offset); i++) {
		while (at < KVM_DOORS && kvm->door[at].used)
			at++;
		if (at == KVM_DOORS || !door_open(kvm, &kvm->door[at], r->base + offset))
			return;
	}
}

static void range_removed(void *ctx, const struct bus_range *r)
{
	struct kvm_vm *kvm = ctx;

	kvm_doorbells_look(kvm);
	for (unsigned i = 0; i < KVM_DOORS; i++) {
		struct kvm_door *d = &kvm->door[i];

		if (!d->used || d->addr - r->base >= r->size)
			continue;
		door_set(kvm, d, KVM_IOEVENTFD_FLAG_DEASSIGN);
		close(d->fd);
		d->used = false;
	}
}

void kvm_doorbells_look(struct kvm_vm *kvm)
{
	struct vm *vm = kvm->vm;
	struct epoll_event ev[KVM_DOORS];
	int n = kvm->doors_fd < 0 ? 0 : epoll_wait(kvm->doors_fd, ev, KVM_DOORS, 0);

	for (int i = 0; i < n; i++) {
		const struct kvm_door *d = &kvm->door[ev[i].data.u32];

		if (trace_on(vm->topics, TRACE_MMIO))
			log_trace(vm->log, TRACE_MMIO, "the doorbell at %" PRIx64 " rang", d->addr);
		bus_write(&vm->mmio, d->addr, DOOR_SIZE, 0);
	}
}

int kvm_doorbells_fd(const struct kvm_vm *kvm) { return kvm->doors_fd; }

void kvm_doorbells_init(struct kvm_vm *kvm)
{
	kvm->doors_fd = -1;
	if (!kvm_capability(kvm->fd, KVM_CAP_IOEVENTFD) || !kvm_capability(kvm->fd, KVM_CAP_IOEVENTFD_ANY_LENGTH))
		return;
	kvm->doors_fd = epoll_create1(EPOLL_CLOEXEC);
	if (kvm->doors_fd >= 0)
		kvm->vm->mmio.engine = (struct bus_engine){range_added, range_removed, kvm};
}

void kvm_doorbells_free(struct kvm_vm *kvm)
{
	for (unsigned i = 0; i < KVM_DOORS; i++)
		if (kvm->door[i].used)
			close(kvm->door[i].fd);
	if (kvm->doors_fd >= 0)
		close(kvm->doors_fd);
	kvm->vm->mmio.engine = (struct bus_engine){0};
}
