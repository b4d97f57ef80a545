/* KVM's own counters of a vCPU: KVM_GET_STATS_FD, found by name in the descriptors that the file itself carries. */
#include <string.h>
#include <unistd.h>

#include "kvm/internal.h"

void kvm_stats_open(struct kvm_vcpu *v)
{
	struct kvm_stats_header h;
	_Alignas(struct kvm_stats_desc) char buf[sizeof(struct kvm_stats_desc) + 256];

	v->stats_fd = -1;
	v->exits_at = 0;
	if (!kvm_capability(v->kvm->fd, KVM_CAP_BINARY_STATS_FD))
		return;
	v->stats_fd = (int)kvm_ioctl_int(v->fd, KVM_GET_STATS_FD, 0);
	if (v->stats_fd < 0) {
		v->stats_fd = -1;
		return;
	}
	if (pread(v->stats_fd, &h, sizeof(h), 0) != sizeof(h) || h.name_size > 256)
		return;
	for (u32 i = 0; i < h.num_desc; i++) {
		const struct kvm_stats_desc *d = (const struct kvm_stats_desc *)buf;
		size_t size = sizeof(*d) + h.name_size;

		if (pread(v->stats_fd, buf, size, h.desc_offset + (off_t)(i * size)) != (ssize_t)size)
			return;
		buf[size - 1] = 0;
		if (!strcmp(d->name, "exits")) {
			v->exits_at = h.data_offset + (u64)d->offset;
			return;
		}
	}
}

u64 kvm_vcpu_exits(const struct kvm_vcpu *v)
{
	u64 n = 0;

	if (v->stats_fd < 0 || !v->exits_at || pread(v->stats_fd, &n, sizeof(n), (off_t)v->exits_at) != sizeof(n))
		return 0;
	return n;
}

u64 kvm_exits(struct kvm_vm *kvm)
{
	u64 n = kvm->past_exits;

	for (unsigned i = 0; i < VM_VCPUS; i++)
		if (kvm->vcpu[i])
			n += kvm_vcpu_exits(kvm->vcpu[i]);
	return n;
}
