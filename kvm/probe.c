/*
 * What this host's KVM can do. That /dev/kvm opens proves little: capabilities are asked of a VM made for the purpose,
 * since some depend on it, and nesting is read from the CPUID that guests would get together with KVM_CAP_NESTED_STATE.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm/internal.h"

long kvm_ioctl(int fd, unsigned long request, void *arg)
{
	long r;

	do
		r = ioctl(fd, request, arg);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

long kvm_ioctl_int(int fd, unsigned long request, unsigned long arg) { return kvm_ioctl(fd, request, (void *)arg); }

int kvm_capability(int fd, unsigned cap)
{
	long r = kvm_ioctl_int(fd, KVM_CHECK_EXTENSION, cap);

	return r < 0 ? 0 : (int)r;
}

static const struct {
	unsigned cap;
	const char *name;
} needed[] = {
	{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
	{KVM_CAP_PIT2, "KVM_CAP_PIT2"},
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
	{KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
	{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
	{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
	{KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
	{KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
	{KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
	{KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
	{KVM_CAP_XCRS, "KVM_CAP_XCRS"},
};

static void say(struct kvm_probe *p, const char *fmt, ...) printf_like(2, 3);
static void say(struct kvm_probe *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->text, sizeof(p->text), fmt, ap);
	va_end(ap);
}

static void probe_vm(struct kvm_probe *p, int sys, int vm)
{
	struct kvm_cpuid2 *c;
	const struct kvm_cpuid_entry2 *basic, *extended;

	for (unsigned i = 0; i < ARRAY_SIZE(needed); i++)
		if (!kvm_capability(vm, needed[i].cap)) {
			say(p, "this host's KVM lacks %s", needed[i].name);
			return;
		}
	c = kvm_supported_cpuid(sys);
	if (!c) {
		say(p, "KVM does not tell what CPUID its guests have");
		return;
	}
	basic = kvm_cpuid_find(c, 1, 0);
	extended = kvm_cpuid_find(c, 0x80000001, 0);
	p->vmx = basic && basic->ecx & BIT(5);
	p->svm = extended && extended->ecx & BIT(2);
	p->usable = true;
	p->guest_debug = kvm_capability(vm, KVM_CAP_SET_GUEST_DEBUG);
	p->nested_state = kvm_capability(vm, KVM_CAP_NESTED_STATE);
	p->nested = (p->vmx || p->svm) && p->nested_state > 0;
	if (p->nested)
		say(p, "KVM runs guests, and they see %s", p->vmx ? "VMX" : "SVM");
	else if (p->vmx || p->svm)
		say(p, "KVM runs guests that see %s, but has no KVM_CAP_NESTED_STATE", p->vmx ? "VMX" : "SVM");
	else
		say(p, "KVM runs guests, but they would see neither VMX nor SVM");
	free(c);
}

void kvm_probe(struct kvm_probe *p)
{
	int sys = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	long version, vm;

	memset(p, 0, sizeof(*p));
	if (sys < 0) {
		if (errno == ENOENT)
			say(p, "there is no /dev/kvm");
		else if (errno == EACCES || errno == EPERM)
			say(p, "/dev/kvm may not be opened by this user");
		else
			say(p, "/dev/kvm does not open: %s", strerror(errno));
		return;
	}
	version = kvm_ioctl_int(sys, KVM_GET_API_VERSION, 0);
	vm = version == KVM_API_VERSION ? kvm_ioctl_int(sys, KVM_CREATE_VM, 0) : 0;
	if (version != KVM_API_VERSION) {
		say(p, "/dev/kvm does not speak KVM's API version %d", KVM_API_VERSION);
	} else if (vm < 0) {
		say(p, "KVM makes no VM: %s", strerror((int)-vm));
	} else {
		probe_vm(p, sys, (int)vm);
		close((int)vm);
	}
	close(sys);
}
