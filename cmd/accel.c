/* The choice of an engine. */
#include "cmd/accel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cmd/file.h"
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

int accel_choose(const char *word, const char *cpu, bool nested, struct accel *a, struct err *e)
{
	struct kvm_probe p = {0};

	*a = (struct accel){.cpu = cpu};
	kvm_probe(&p);
	snprintf(a->kvm, sizeof(a->kvm), "%s",
		 !file_exists("/dev/kvm") ? "none"
		 : !p.usable		  ? "not usable"
		 : p.nested		  ? "nests"
					  : "no nesting");
	if (!strcmp(word, "soft"))
		return choose_soft(a, e);
	if (!strcmp(word, "kvm")) {
		if (!p.usable)
			return err_set(e, ENODEV, "/dev/kvm cannot be used: %s", p.text);
		if (nested && !p.nested)
			return err_set(e, ENODEV, "/dev/kvm cannot nest here: %s", p.text);
		return choose_kvm(a, e);
	}
	if (strcmp(word, "auto") != 0)
		return err_set(e, EINVAL, "--accel wants auto, kvm or soft, not %s", word);
	/* A named model is the software processor's: the host's silicon is one model only. */
	if (p.usable && (p.nested || !nested) && (!cpu || !strncmp(cpu, "host", 4)))
		return choose_kvm(a, e);
	return choose_soft(a, e);
}
