/* The choice of an engine. */
#include "cmd/accel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/level.h"
#include "kvm/kvm.h"

#define DEFAULT_MODEL "EPYC-Milan"

static int choose_soft(struct accel *a, struct err *e)
{
	struct x86_model model;
	u32 leaf[4];
	int rc;

	if (!a->cpu)
		a->cpu = DEFAULT_MODEL;
	rc = x86_model_parse(a->cpu, &model, e);
	if (rc)
		return rc;
	a->engine = ACCEL_SOFT;
	a->vendor = model.vendor;
	x86_cpuid(&model, 0x40000000, 0, &(struct x86_cpuid_env){.vcpus = 1}, leaf);
	memcpy(a->signature, &leaf[1], 12);
	return 0;
}

static int choose_kvm(struct accel *a, struct err *e)
{
	struct x86_model model;

	a->engine = ACCEL_KVM;
	strcpy(a->signature, "KVMKVMKVM");
	if (!a->cpu || !strncmp(a->cpu, "host", 4))
		return level_own_vendor(&a->vendor) ? 0
						    : err_set(e, ENODEV, "this processor is neither Intel's nor AMD's");
	int rc = x86_model_parse(a->cpu, &model, e);
	a->vendor = model.vendor;
	return rc;
}

void accel_measure_kvm(struct host *h)
{
	struct kvm_probe p = {0};

	kvm_probe(&p);
	host_fact_set(h, "kvm.usable", "%d", p.usable);
	host_fact_set(h, "kvm.vmx", "%d", p.vmx);
	host_fact_set(h, "kvm.svm", "%d", p.svm);
	host_fact_set(h, "kvm.guest_debug", "%d", p.guest_debug);
	host_fact_set(h, "kvm.nested_state", "%d", p.nested_state);
	host_fact_set(h, "kvm.text", "%s", p.text);
}

static int read_device(struct host_kvm *kvm, struct err *e)
{
	struct host *h;
	int rc = host_open(NULL, &h, e);

	if (rc)
		return rc;
	accel_measure_kvm(h);
	host_kvm_device(h, kvm);
	host_close(h);
	return 0;
}

/* A word of the request that names an extension: "vmx=on", "+svm". */
static bool wants_extension(const char *cpu)
{
	static const char *const words[] = {",vmx=on", ",svm=on", ",+vmx", ",+svm"};

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (cpu && strstr(cpu, words[i]))
			return true;
	return false;
}

/* Why KVM cannot do what the guest asks for; false: it can. */
static bool kvm_lacks(const struct host_kvm *kvm, unsigned wants, char *why, size_t room)
{
	if (kvm->can != KVM_NESTS && kvm->can != KVM_NO_NESTING)
		snprintf(why, room, "/dev/kvm cannot be used: %s", kvm->can_text);
	else if ((wants & ACCEL_NESTED) && kvm->can != KVM_NESTS)
		snprintf(why, room, "/dev/kvm cannot nest here: %s", kvm->can_text);
	else if ((wants & ACCEL_DEBUG) && !kvm->guest_debug)
		snprintf(why, room, "/dev/kvm here lacks what --gdb needs (KVM_CAP_SET_GUEST_DEBUG)");
	else if (wants & ACCEL_SLOW)
		snprintf(why, room, "/dev/kvm keeps the host's time: --slow is the software processor's");
	else
		return false;
	return true;
}

int accel_choose_by(const struct host_kvm *kvm, const char *word, const char *cpu, unsigned wants, struct accel *a,
		    struct err *e)
{
	bool lacks;

	*a = (struct accel){.cpu = cpu};
	snprintf(a->kvm, sizeof(a->kvm), "%s", kvm->can_word);
	if (wants_extension(cpu))
		wants |= ACCEL_NESTED;
	lacks = kvm_lacks(kvm, wants, a->why, sizeof(a->why));
	if (!strcmp(word, "soft"))
		return choose_soft(a, e);
	if (!strcmp(word, "kvm"))
		return lacks ? err_set(e, ENODEV, "%s", a->why) : choose_kvm(a, e);
	if (strcmp(word, "auto") != 0)
		return err_set(e, EINVAL, "--accel wants auto, kvm or soft, not %s", word);
	if (lacks)
		return choose_soft(a, e);
	if (cpu && strncmp(cpu, "host", 4) != 0) {
		snprintf(a->why, sizeof(a->why),
			 "a named model is the software processor's: the host's silicon is one only");
		return choose_soft(a, e);
	}
	snprintf(a->why, sizeof(a->why), "%s", kvm->can_text);
	return choose_kvm(a, e);
}

int accel_choose(const char *word, const char *cpu, unsigned wants, struct accel *a, struct err *e)
{
	struct host_kvm kvm = {0};
	int rc = read_device(&kvm, e);

	return rc ? rc : accel_choose_by(&kvm, word, cpu, wants, a, e);
}
