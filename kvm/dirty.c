/* KVM's dirty log into core's (core/dirty.h): KVM_MEM_LOG_DIRTY_PAGES on each slot, KVM_GET_DIRTY_LOG. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/internal.h"

int kvm_slot_set(struct kvm_vm *kvm, unsigned i)
{
	const struct ram_slot *s = &kvm->vm->ram.slot[i];
	struct kvm_userspace_memory_region region = {
		.slot = i,
		.flags = (s->readonly ? KVM_MEM_READONLY : 0) | (kvm->dirty_log ? KVM_MEM_LOG_DIRTY_PAGES : 0),
		.guest_phys_addr = s->gpa,
		.memory_size = s->size,
		.userspace_addr = (u64)s->host,
	};

	return (int)kvm_ioctl(kvm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static int log_set(void *ctx, bool on, struct err *e)
{
	struct kvm_vm *kvm = ctx;

	kvm->dirty_log = on;
	for (unsigned i = 0; i < kvm->vm->ram.n; i++) {
		int rc = kvm_slot_set(kvm, i);

		if (rc < 0)
			return err_set(e, -rc, "KVM does not log the pages that the guest writes: %s", strerror(-rc));
	}
	return 0;
}

static void mark(const struct ram_slot *s, const u64 *bitmap)
{
	for (u64 page = 0; page < s->size / RAM_PAGE; page++)
		if (bitmap[page / 64] >> (page % 64) & 1)
			dirty_mark(s, page);
}

/* The bitmap is of whole words. */
static int collect(void *ctx, struct err *e)
{
	struct kvm_vm *kvm = ctx;

	for (unsigned i = 0; i < kvm->vm->ram.n; i++) {
		const struct ram_slot *s = &kvm->vm->ram.slot[i];
		u64 *bitmap = calloc(s->size / RAM_PAGE / 64 + 1, sizeof(*bitmap));
		struct kvm_dirty_log log = {.slot = i, .dirty_bitmap = bitmap};
		long rc = bitmap ? kvm_ioctl(kvm->fd, KVM_GET_DIRTY_LOG, &log) : -ENOMEM;

		if (!rc)
			mark(s, bitmap);
		free(bitmap);
		if (rc < 0)
			return err_set(e, (int)-rc, "KVM does not tell which pages the guest wrote: %s",
				       strerror((int)-rc));
	}
	return 0;
}

void kvm_dirty_init(struct kvm_vm *kvm) { kvm->vm->dirty = (struct dirty_engine){log_set, collect, kvm}; }
