/* Is nesting possible? */
#include <errno.h>
#include <string.h>

#include "cmd/check.h"

/* What makes a hypervisor show virtualization to its guest. */
static const char *expose(const struct check *c)
{
	static const struct {
		const char *parent, *how;
	} ways[] = {
		{"KVM", "on the level above: sudo nestbox enable, then start this guest with -cpu host"},
		{"QEMU's TCG", "on the level above: qemu-system-x86_64 -accel tcg -cpu max (or qemu64,+svm)"},
		{"nestbox's own processor", "on the level above: leave out svm=off and vmx=off in --cpu"},
		{"Hyper-V", "on the level above: Set-VMProcessor -VMName NAME -ExposeVirtualizationExtensions $true"},
		{"VMware", "on the level above: vhv.enable = \"TRUE\" in the guest's .vmx file"},
		{"VirtualBox", "on the level above: VBoxManage modifyvm NAME --nested-hw-virt on"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++)
		if (!strcmp(c->level.parent, ways[i].parent))
			return ways[i].how;
	return "nestbox nest";
}

static void cpu_x86(struct check *c)
{
	const struct host_cpu *cpu = &c->cpu;
	const char *name = cpu->brand[0] ? cpu->brand : cpu->vendor;
	struct check_finding *f;

	if (!cpu->known && !cpu->cpuinfo) {
		f = check_add(c, CHECK_cpu, CHECK_NOTE, "nothing is known of the processor");
		check_say(&f->evidence, "neither CPUID nor /proc/cpuinfo was recorded");
		return;
	}
	if (cpu->vmx || cpu->svm) {
		f = check_add(c, CHECK_cpu, CHECK_OK, "%s has %s", name, cpu->vmx ? "VMX" : "SVM");
		check_say(&f->evidence, "%s is 1", cpu->vmx ? "CPUID 1 ECX bit 5" : "CPUID 80000001h ECX bit 2");
		return;
	}
	f = check_add(c, CHECK_cpu, CHECK_PROBLEM, "%s has neither VMX nor SVM here", name);
	check_say(&f->evidence, "CPUID 1 ECX bit 5 and CPUID 80000001h ECX bit 2 are 0");
	check_say(&f->consequence, "KVM cannot run guests in hardware%s",
		  c->level.least ? ": the level above does not show virtualization to this one" : "");
	check_say(&f->remedy, "%s", c->level.least ? expose(c) : "nestbox nest");
}

void check_cpu(struct check *c)
{
	struct check_finding *f;
	char line[4096];

	switch (c->cpu.arch) {
	case HOST_X86: cpu_x86(c); break;
	case HOST_S390X:
		if (c->cpu.sie) {
			f = check_add(c, CHECK_cpu, CHECK_OK, "the processor has sie");
		} else {
			f = check_add(c, CHECK_cpu, CHECK_PROBLEM, "the processor has no sie here");
			check_say(&f->consequence, "KVM cannot run guests");
			check_say(&f->remedy,
				  "on the level above: sudo nestbox enable, then start this guest with -cpu host");
		}
		check_say(&f->evidence, "the features line of /proc/cpuinfo");
		break;
	case HOST_ARM64:
		if (!host_line(c->host, "/proc/cmdline", line, sizeof(line)) && strstr(line, "kvm-arm.mode=nested")) {
			f = check_add(c, CHECK_cpu, CHECK_OK, "arm64: nesting was asked for");
			check_say(&f->evidence, "kvm-arm.mode=nested is on the kernel command line");
		} else {
			f = check_add(c, CHECK_cpu, CHECK_WARNING, "arm64: nesting was not asked for");
			check_say(&f->evidence, "kvm-arm.mode=nested is not on the kernel command line");
			check_say(&f->consequence, "KVM's guests are no hypervisors; it can only be set at boot");
			check_say(&f->remedy, "add kvm-arm.mode=nested to the kernel command line and reboot");
		}
		break;
	default: break;
	}
}

void check_firmware(struct check *c)
{
	const struct host_cpu *cpu = &c->cpu;
	struct check_finding *f;

	if (cpu->arch != HOST_X86 || (!cpu->vmx && !cpu->svm))
		return;
	if (cpu->firmware == SWITCH_OFF) {
		f = check_add(c, CHECK_firmware, CHECK_PROBLEM, "the firmware has %s switched off",
			      cpu->vmx ? "VMX" : "SVM");
		check_say(&f->consequence, "KVM cannot load until it is on: \"Intel VT-x\", \"SVM mode\" or "
					   "\"virtualization\" in the set-up");
		check_say(&f->remedy, "%ssystemctl reboot --firmware-setup", check_sudo(c));
	} else if (cpu->firmware == SWITCH_ON) {
		f = check_add(c, CHECK_firmware, CHECK_OK, "the firmware leaves it on");
	} else if (c->kvm.present) {
		f = check_add(c, CHECK_firmware, CHECK_OK, "the firmware leaves it on, since %s is loaded",
			      c->kvm.module);
	} else {
		f = check_add(c, CHECK_firmware, CHECK_NOTE, "whether the firmware has it on is not known");
		check_say(&f->remedy, "sudo nestbox check");
	}
	check_say(&f->evidence, "%s", cpu->firmware_how);
}

/* What keeps modprobe from loading it. */
static void blocked(struct check *c)
{
	const char *module = c->kvm.module;
	const struct host_modprobe_row *r = host_modprobe_find(&c->modprobe, MODPROBE_INSTALL, module);
	struct check_finding *f;

	if (r) {
		f = check_add(c, CHECK_module, c->kvm.present ? CHECK_WARNING : CHECK_PROBLEM,
			      "an install line stands for %s", module);
		f->part = "install";
		check_say(&f->evidence, "%s:%u: install %s %s", r->file, r->line, r->module, r->value);
		check_say(&f->consequence, "modprobe runs that command in place of loading the module");
		check_say(&f->remedy, "%ssed -i 's/^\\s*install\\s\\+kvm[-_]%s/# &/' %s", check_sudo(c),
			  strcmp(module, "kvm_amd") ? "intel" : "amd", r->file);
	}
	r = host_modprobe_find(&c->modprobe, MODPROBE_BLACKLIST, module);
	if (!r)
		r = host_modprobe_find(&c->modprobe, MODPROBE_BLACKLIST, "kvm");
	if (r) {
		f = check_add(c, CHECK_module, CHECK_WARNING, "%s is blacklisted", r->module);
		f->part = "blacklist";
		if (r->line)
			check_say(&f->evidence, "%s:%u", r->file, r->line);
		else
			check_say(&f->evidence, "modprobe.blacklist= on %s", r->file);
		check_say(&f->consequence, "it is not loaded at boot; loading it by name works");
		if (r->line)
			check_say(&f->remedy, "%ssed -i 's/^\\s*blacklist\\s\\+kvm/# &/' %s", check_sudo(c), r->file);
		else
			check_say(&f->remedy, "take it off the kernel command line and reboot");
	}
}

void check_module(struct check *c)
{
	const struct host_kvm *k = &c->kvm;
	struct check_finding *f;

	if (!k->module) {
		if (c->cpu.arch == HOST_X86 && (c->cpu.known || c->cpu.cpuinfo))
			check_add(c, CHECK_module, CHECK_PROBLEM, "there is no KVM module for a processor of %s",
				  c->cpu.vendor);
		return;
	}
	if (k->present) {
		f = check_add(c, CHECK_module, CHECK_OK, "%s is %s", k->module,
			      k->built_in ? "built into the kernel" : "loaded");
		check_say(&f->evidence,
			  k->built_in ? "/sys/module/%s is there, and /proc/modules does not list it"
				      : "/proc/modules lists %s",
			  k->module);
	} else if (k->pvm) {
		f = check_add(c, CHECK_module, CHECK_NOTE, "KVM's module here is kvm_pvm, not %s", k->module);
		check_say(&f->evidence, "/sys/module/kvm_pvm is there");
		check_say(&f->consequence, "it runs guests without hardware; they cannot run guests");
		check_say(&f->remedy, "nestbox nest");
	} else {
		f = check_add(c, CHECK_module, CHECK_PROBLEM, "%s is not loaded%s", k->module,
			      k->available ? "" : ", and this kernel seems to have none");
		check_say(&f->evidence,
			  k->available ? "/sys/module/%s is not there" : "neither /sys/module nor modules.dep has %s",
			  k->module);
		check_say(&f->consequence, "there is no KVM on this system");
		check_say(&f->remedy, k->available ? "%snestbox enable" : "%snestbox nest",
			  k->available ? check_sudo(c) : "");
	}
	blocked(c);
}

static void device_refused(struct check *c)
{
	const struct host_kvm *k = &c->kvm;
	bool permission = k->device_error == -EACCES || k->device_error == -EPERM;
	struct check_finding *f = check_add(c, CHECK_device, CHECK_PROBLEM, "/dev/kvm cannot be %s",
					    permission ? "opened by this user" : "used");

	check_say(&f->evidence, "%s", k->can_text);
	check_say(&f->consequence, "guests cannot be started with KVM%s", permission ? " by this user" : "");
	if (k->pvm) /* nor would it nest if it could */
		check_say(&f->remedy, "nestbox nest");
	else if (permission && c->place.container[0])
		check_say(
			&f->remedy,
			"start the container with --device /dev/kvm --group-add keep-groups (Podman) or --privileged");
	else if (permission)
		check_say(&f->remedy, "sudo usermod -aG kvm \"$USER\" # then log in again");
	else
		check_say(&f->remedy, "nestbox nest");
}

void check_device(struct check *c)
{
	const struct host_kvm *k = &c->kvm;
	struct check_finding *f;

	if (k->can == KVM_NONE && k->module && !k->present) /* that follows: said above */
		return;
	switch (k->can) {
	case KVM_NESTS: f = check_add(c, CHECK_device, CHECK_OK, "/dev/kvm runs guests that can be hypervisors"); break;
	case KVM_UNTRIED:
		f = check_add(c, CHECK_device, CHECK_NOTE, "/dev/kvm is there; what it can is not recorded");
		break;
	case KVM_UNUSABLE: device_refused(c); return;
	case KVM_NO_NESTING:
		f = check_add(c, CHECK_device, k->nested == 0 ? CHECK_NOTE : CHECK_PROBLEM,
			      "/dev/kvm works, but it cannot nest");
		check_say(&f->consequence, "a guest started on it is no hypervisor%s",
			  k->pvm ? ": this is PVM, which has no VMX or SVM to offer" : "");
		check_say(&f->remedy, k->nested == 0 ? "%snestbox enable" : "%snestbox nest",
			  k->nested == 0 ? check_sudo(c) : "");
		break;
	default:
		f = check_add(c, CHECK_device, CHECK_PROBLEM, "there is no /dev/kvm");
		check_say(&f->consequence, "nothing on this system can use KVM");
		if (c->place.container[0] && k->present)
			check_say(&f->remedy, "start the container with --device /dev/kvm");
		else if (k->present && (k->loaded || k->built_in))
			check_say(&f->remedy, "%smknod -m 660 /dev/kvm c 10 232", check_sudo(c));
		else if (c->cpu.vmx || c->cpu.svm)
			check_say(&f->remedy, "%snestbox enable", check_sudo(c));
		else
			check_say(&f->remedy, "nestbox nest");
		check_say(&f->evidence, "%s", k->can_text);
		return;
	}
	check_say(&f->evidence, "%s", k->can_text);
}
