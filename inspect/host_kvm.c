/* KVM's module, its parameters, its device and who uses it. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/host_info.h"

int host_truth(const char *text)
{
	char *end;
	long v;

	if (!strcasecmp(text, "y") || !strcasecmp(text, "yes") || !strcasecmp(text, "on") || !strcasecmp(text, "auto"))
		return 1;
	if (!strcasecmp(text, "n") || !strcasecmp(text, "no") || !strcasecmp(text, "off"))
		return 0;
	v = strtol(text, &end, 0);
	return end == text || *end ? -1 : v != 0;
}

int host_parameter(struct host *h, const char *module, const char *name, char *text, size_t room)
{
	char path[200];

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", module, name);
	return host_line(h, path, text, room) ? -1 : host_truth(text);
}

/* "kvm_intel 380928 2 - Live 0x..." of /proc/modules. */
static void read_loaded(struct host *h, struct host_kvm *kvm)
{
	char *text, word[64];
	size_t len = (size_t)snprintf(word, sizeof(word), "%s ", kvm->module);

	kvm->refs = -1;
	if (host_read(h, "/proc/modules", &text, NULL))
		return;
	for (char *p = text; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
		if (!strncmp(p, word, len)) {
			kvm->loaded = true;
			if (sscanf(p, "%*s %*u %ld", &kvm->refs) != 1)
				kvm->refs = -1;
		}
	free(text);
}

/* Does a list of modules' files name this one? `word`: "/kvm-intel.ko". 1, 0, -1: there is no such list. */
static int listed(struct host *h, const char *list, const char *word)
{
	char release[128], path[300], *text;
	bool found;

	if (host_line(h, "/proc/sys/kernel/osrelease", release, sizeof(release)))
		return -1;
	snprintf(path, sizeof(path), "/lib/modules/%s/%s", release, list);
	if (host_read(h, path, &text, NULL))
		return -1;
	found = strstr(text, word);
	free(text);
	return found;
}

static void read_module(struct host *h, struct host_kvm *kvm)
{
	char path[64], word[64];

	snprintf(path, sizeof(path), "/sys/module/%s", kvm->module);
	kvm->present = host_exists(h, path);
	read_loaded(h, kvm);
	snprintf(word, sizeof(word), "/%s.ko", kvm->module);
	for (char *p = word; *p; p++)
		if (*p == '_')
			*p = '-';
	kvm->built_in = !kvm->loaded &&
			(listed(h, "modules.builtin", word) == 1 || (kvm->present && !host_exists(h, "/proc/modules")));
	kvm->available = kvm->present || kvm->built_in || listed(h, "modules.dep", word) != 0;
	kvm->nested = host_parameter(h, kvm->module, "nested", kvm->nested_text, sizeof(kvm->nested_text));
}

void host_kvm_device(struct host *h, struct host_kvm *kvm)
{
	long long usable = host_fact_number(h, "kvm.usable"), state = host_fact_number(h, "kvm.nested_state");
	const char *text = host_fact(h, "kvm.text");
	static const char *const words[] = {[KVM_NONE] = "none",
					    [KVM_UNUSABLE] = "not usable",
					    [KVM_NO_NESTING] = "no nesting",
					    [KVM_NESTS] = "nests",
					    [KVM_UNTRIED] = "not tried"};

	kvm->vmx = host_fact_number(h, "kvm.vmx") > 0;
	kvm->svm = host_fact_number(h, "kvm.svm") > 0;
	kvm->device = host_exists(h, "/dev/kvm");
	kvm->device_error = kvm->device ? host_access(h, "/dev/kvm") : -ENOENT;
	kvm->can = !kvm->device				 ? KVM_NONE
		   : kvm->device_error || !usable	 ? KVM_UNUSABLE
		   : usable < 0				 ? KVM_UNTRIED
		   : (kvm->vmx || kvm->svm) && state > 0 ? KVM_NESTS
							 : KVM_NO_NESTING;
	kvm->guest_debug = host_fact_number(h, "kvm.guest_debug") > 0;
	snprintf(kvm->can_word, sizeof(kvm->can_word), "%s", words[kvm->can]);
	if (text)
		snprintf(kvm->can_text, sizeof(kvm->can_text), "%s", text);
	else if (!kvm->device)
		snprintf(kvm->can_text, sizeof(kvm->can_text), "there is no /dev/kvm");
	else if (kvm->device_error)
		snprintf(kvm->can_text, sizeof(kvm->can_text), "/dev/kvm does not open: %s",
			 strerror(-kvm->device_error));
	else
		snprintf(kvm->can_text, sizeof(kvm->can_text), "/dev/kvm is there; what it can was not recorded");
}

void host_kvm_read(struct host *h, const struct host_cpu *cpu, struct host_kvm *kvm)
{
	*kvm = (struct host_kvm){.refs = -1, .nested = -1};
	switch (cpu->arch) {
	case HOST_X86: kvm->module = cpu->amd ? "kvm_amd" : cpu->intel ? "kvm_intel" : NULL; break;
	case HOST_S390X: kvm->module = "kvm"; break;
	case HOST_PPC64: kvm->module = "kvm_hv"; break;
	default: break;
	}
	kvm->pvm = cpu->arch == HOST_X86 && host_exists(h, "/sys/module/kvm_pvm");
	if (kvm->module)
		read_module(h, kvm);
	host_kvm_device(h, kvm);
}

static void add_holder(struct host_kvm *kvm, long pid, const char *name, bool vm)
{
	if (kvm->nholders && kvm->holder[kvm->nholders - 1].pid == pid) {
		kvm->holder[kvm->nholders - 1].vm |= vm;
		return;
	}
	struct host_holder *more = realloc(kvm->holder, (kvm->nholders + 1) * sizeof(*more));

	if (!more)
		return;
	kvm->holder = more;
	more[kvm->nholders] = (struct host_holder){.pid = pid, .vm = vm};
	snprintf(more[kvm->nholders++].name, sizeof(more[0].name), "%s", name);
}

static void look_at_process(struct host *h, struct host_kvm *kvm, const char *pid)
{
	char path[600], target[300], name[32];
	struct host_names fds;
	int rc;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	rc = host_list(h, path, &fds);
	kvm->unreadable += rc == -EACCES || rc == -EPERM;
	for (size_t i = 0; !rc && i < fds.n; i++) {
		bool vm;

		snprintf(path, sizeof(path), "/proc/%s/fd/%s", pid, fds.name[i]);
		if (host_link(h, path, target, sizeof(target)))
			continue;
		vm = !strncmp(target, "anon_inode:kvm-v", 16); /* kvm-vm, kvm-vcpu:N */
		if (!vm && strcmp(target, "/dev/kvm") != 0)
			continue;
		host_record_link(h, path, target);
		snprintf(path, sizeof(path), "/proc/%s/comm", pid);
		(void)!host_line(h, path, name, sizeof(name));
		add_holder(kvm, atol(pid), name, vm);
	}
	host_names_free(&fds);
}

void host_kvm_holders(struct host *h, struct host_kvm *kvm)
{
	struct host_names processes;

	if (!host_list(h, "/proc", &processes))
		for (size_t i = 0; i < processes.n; i++)
			if (isdigit((unsigned char)processes.name[i][0]))
				look_at_process(h, kvm, processes.name[i]);
	host_names_free(&processes);
}

void host_kvm_free(struct host_kvm *kvm)
{
	free(kvm->holder);
	kvm->holder = NULL;
	kvm->nholders = 0;
}
