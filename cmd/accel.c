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

enum extension { EXT_VMX = 1, EXT_SVM = 2 };

/* Those that words of the request name: "vmx=on", "+svm". */
static unsigned named_extensions(const char *cpu)
{
	static const struct {
		const char *word;
		enum extension ext;
	} words[] = {{",vmx=on", EXT_VMX}, {",vmx=yes", EXT_VMX}, {",+vmx", EXT_VMX},
		     {",svm=on", EXT_SVM}, {",svm=yes", EXT_SVM}, {",+svm", EXT_SVM}};
	unsigned ext = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (cpu && strcasestr(cpu, words[i].word))
			ext |= words[i].ext;
	return ext;
}

/* What a model's guest would nest by; 0: the host's processor, whose KVM has its own, or a model that has neither. */
static unsigned model_extension(const char *cpu)
{
	struct x86_model m;
	struct err e;

	if (!cpu || !strncmp(cpu, "host", 4) || x86_model_parse(cpu, &m, &e))
		return 0;
	if (m.vendor == X86_AMD)
		return x86_has(&m, X86F_SVM) ? EXT_SVM : 0;
	return x86_has(&m, X86F_VMX) ? EXT_VMX : 0;
}

/* Why KVM cannot do what the guest asks for; false: it can. `ext`: what the guest shall nest by, as far as that is
 * known. */
static bool kvm_lacks(const struct host_kvm *kvm, unsigned wants, unsigned ext, char *why, size_t room)
{
	if (kvm->can != KVM_NESTS && kvm->can != KVM_NO_NESTING)
		snprintf(why, room, "/dev/kvm cannot be used: %s", kvm->can_text);
	else if ((wants & ACCEL_NESTED) && kvm->can != KVM_NESTS)
		snprintf(why, room, "/dev/kvm cannot nest here: %s", kvm->can_text);
	else if (((ext & EXT_VMX) && !kvm->vmx) || ((ext & EXT_SVM) && !kvm->svm))
		snprintf(why, room, "/dev/kvm gives no guest %s here: %s", (ext & EXT_VMX) && !kvm->vmx ? "VMX" : "SVM",
			 kvm->can_text);
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
	unsigned ext = named_extensions(cpu);
	bool lacks;

	*a = (struct accel){.cpu = cpu};
	snprintf(a->kvm, sizeof(a->kvm), "%s", kvm->can_word);
	if (ext)
		wants |= ACCEL_NESTED;
	else if (wants & ACCEL_NESTED)
		ext = model_extension(cpu);
	lacks = kvm_lacks(kvm, wants, ext, a->why, sizeof(a->why));
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
