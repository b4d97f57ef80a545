/* A vCPU of /dev/kvm: its fd and run page, its CPUID, the way to interrupt it from another thread. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/internal.h"

/* immediate_exit closes the race between the test of vm->stop and KVM_RUN; the signal ends a KVM_RUN that is under way.
 */
static void vcpu_kick(struct vcpu *vcpu)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);

	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&v->kick_lock);
	if (v->in_run)
		pthread_kill(v->thread, KVM_KICK_SIGNAL);
	pthread_mutex_unlock(&v->kick_lock);
}

static const struct vcpu_counters *vcpu_counters(struct vcpu *vcpu) { return &kvm_vcpu_of(vcpu)->n; }

static void vcpu_destroy(struct vcpu *vcpu)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
	struct kvm_vm *kvm = v->kvm;

	kvm->past_exits += kvm_vcpu_exits(v);
	if (kvm->vcpu[v->vcpu.index] == v) {
		kvm->vcpu[v->vcpu.index] = NULL;
		if (kvm->ring && (void *)kvm->ring == (char *)v->run + (size_t)kvm->coalesced_page * RAM_PAGE)
			kvm->ring = NULL;
	}
	if (v->stats_fd >= 0)
		close(v->stats_fd);
	if (v->run)
		munmap(v->run, kvm->run_size);
	if (v->fd >= 0)
		close(v->fd);
	kvm_saved_free(v->power_on);
	pthread_mutex_destroy(&v->kick_lock);
	free(v);
}

/* The LAPIC, and with it these signals, are KVM's own: nobody calls them. */
static void vcpu_no_assert(struct vcpu *vcpu) { (void)vcpu; }
static void vcpu_no_sipi(struct vcpu *vcpu, u8 vector)
{
	(void)vcpu;
	(void)vector;
}

static void vcpu_reset(struct vcpu *vcpu)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
	struct err e = {0};

	if (kvm_vcpu_restore(v, v->power_on, &e))
		log_warn(vcpu->vm->log, "the reset is not whole: %s", e.text);
	v->unfinished = false;
}

static const struct vcpu_ops kvm_vcpu_ops = {
	.run = kvm_vcpu_run,
	.kick = vcpu_kick,
	.get_state = kvm_vcpu_get_state,
	.set_state = kvm_vcpu_set_state,
	.reset = vcpu_reset,
	.assert_intr = vcpu_no_assert,
	.assert_nmi = vcpu_no_assert,
	.assert_init = vcpu_no_assert,
	.assert_sipi = vcpu_no_sipi,
	.debug_fits = kvm_debug_fits,
	.counters = vcpu_counters,
	.destroy = vcpu_destroy,
};

/* One bank with its control register: each bank costs the guest's boot a handful of exits. */
static void machine_check_init(struct kvm_vcpu *v)
{
	u64 cap = 0;

	if (kvm_ioctl(v->kvm->sys_fd, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap) < 0)
		return;
	cap = (cap & BIT(8)) | 1;
	kvm_ioctl(v->fd, KVM_X86_SETUP_MCE, &cap);
}

static int vcpu_map(struct kvm_vcpu *v, struct err *e)
{
	struct kvm_vm *kvm = v->kvm;
	void *p = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);

	if (p == MAP_FAILED)
		return err_set(e, errno, "KVM: the vCPU's run page cannot be mapped: %s", strerror(errno));
	v->run = p;
	if (kvm->coalesced_page && !kvm->ring && (kvm->coalesced_page + 1) * RAM_PAGE <= kvm->run_size) {
		kvm->ring = (void *)((char *)p + (size_t)kvm->coalesced_page * RAM_PAGE);
		kvm->ring_entries = (RAM_PAGE - sizeof(*kvm->ring)) / sizeof(kvm->ring->coalesced_mmio[0]);
	}
	return 0;
}

int kvm_vcpu_new(struct kvm_vm *kvm, unsigned index, const struct x86_model *model, struct vcpu **out, struct err *e)
{
	struct kvm_vcpu *v;
	long fd;
	int r;

	if (index >= VM_VCPUS)
		return err_set(e, EINVAL, "vCPU %u is beyond the most there may be, %u", index, VM_VCPUS);
	v = calloc(1, sizeof(*v));
	if (!v)
		return err_set(e, ENOMEM, "no memory for a vCPU");
	v->vcpu = (struct vcpu){.ops = &kvm_vcpu_ops, .vm = kvm->vm, .index = index};
	v->kvm = kvm;
	v->fd = v->stats_fd = -1;
	pthread_mutex_init(&v->kick_lock, NULL);
	fd = kvm_ioctl_int(kvm->fd, KVM_CREATE_VCPU, index);
	if (fd < 0) {
		r = err_set(e, (int)-fd, "KVM makes no vCPU %u: %s", index, strerror((int)-fd));
		goto fail;
	}
	v->fd = (int)fd;
	if (model)
		kvm->vendor = model->vendor;
	r = vcpu_map(v, e);
	if (!r)
		r = kvm_cpuid_set(v, model, e);
	if (!r)
		r = kvm_vmx_set(v, model, e);
	if (r)
		goto fail;
	machine_check_init(v);
	kvm_msrs_probe(v);
	r = kvm_vcpu_save(v, &v->power_on, e);
	if (r)
		goto fail;
	kvm_stats_open(v);
	kvm->vcpu[index] = v;
	*out = &v->vcpu;
	return 0;
fail:
	vcpu_destroy(&v->vcpu);
	return r;
}
