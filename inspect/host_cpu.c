/*
 * The processor and its firmware switch.
 *
 * Linux clears vmx from /proc/cpuinfo when the firmware locked it off, so CPUID itself is asked. SDM vol. 3 23.7
 * "Enabling and Entering VMX Operation" (IA32_FEATURE_CONTROL, MSR 3ah); APM vol. 2 15.30.1 "VM_CR MSR (C001_0114h)".
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/host_info.h"

char *host_cpuinfo(struct host *h, const char *key)
{
	size_t len = strlen(key);
	char *text, *found = NULL;

	if (host_read(h, "/proc/cpuinfo", &text, NULL))
		return NULL;
	for (char *p = text; !found && p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL) {
		const char *colon = p + len + strspn(p + MIN(len, strlen(p)), " \t");

		if (strncmp(p, key, len) != 0 || *colon != ':')
			continue;
		colon++;
		if (asprintf(&found, " %.*s ", (int)strcspn(colon + strspn(colon, " \t"), "\n"),
			     colon + strspn(colon, " \t")) < 0)
			found = NULL;
		break;
	}
	free(text);
	return found;
}

int host_vmx_allows(struct host *h, u32 msr, unsigned bit)
{
	u64 v;

	return host_msr(h, msr, &v) ? -1 : (int)(v >> (32 + bit) & 1);
}

static void read_vendor(struct host *h, struct host_cpu *cpu)
{
	u32 r[4];

	if (!host_cpuid(h, 0, 0, r))
		return;
	cpu->known = true;
	memcpy(cpu->vendor, &r[1], 4);
	memcpy(cpu->vendor + 4, &r[3], 4);
	memcpy(cpu->vendor + 8, &r[2], 4);
	cpu->intel = !strcmp(cpu->vendor, "GenuineIntel") || !strcmp(cpu->vendor, "CentaurHauls") ||
		     !strcmp(cpu->vendor, "  Shanghai  ");
	cpu->amd = !strcmp(cpu->vendor, "AuthenticAMD") || !strcmp(cpu->vendor, "HygonGenuine");
	for (u32 i = 0; i < 3; i++)
		if (host_cpuid(h, 0x80000002 + i, 0, r))
			memcpy(cpu->brand + 16 * i, r, 16);
	size_t lead = strspn(cpu->brand, " ");
	memmove(cpu->brand, cpu->brand + lead, strlen(cpu->brand + lead) + 1);
	for (size_t n = strlen(cpu->brand); n && cpu->brand[n - 1] == ' '; n--)
		cpu->brand[n - 1] = 0;
	if (host_cpuid(h, 1, 0, r)) {
		cpu->vmx = r[2] & BIT(5);
		cpu->hypervisor = r[2] & BIT(31);
	}
	if (host_cpuid(h, 0x80000001, 0, r))
		cpu->svm = r[2] & BIT(2);
}

/* Without CPUID, what the kernel says of it. */
static void read_cpuinfo(struct host *h, struct host_cpu *cpu)
{
	char *flags = host_cpuinfo(h, "flags"), *vendor = host_cpuinfo(h, "vendor_id"),
	     *model = host_cpuinfo(h, "model name");

	cpu->cpuinfo = flags;
	cpu->flag_vmx = flags && strstr(flags, " vmx ");
	cpu->flag_svm = flags && strstr(flags, " svm ");
	if (!cpu->known && flags) {
		cpu->intel = vendor && strstr(vendor, "GenuineIntel");
		cpu->amd = vendor && (strstr(vendor, "AuthenticAMD") || strstr(vendor, "HygonGenuine"));
		cpu->vmx = cpu->flag_vmx;
		cpu->svm = cpu->flag_svm;
		cpu->hypervisor = strstr(flags, " hypervisor ");
		if (model)
			snprintf(cpu->brand, sizeof(cpu->brand), "%.*s", (int)strlen(model) - 2, model + 1);
	}
	free(flags);
	free(vendor);
	free(model);
}

static enum host_arch read_arch(struct host *h)
{
	static const struct {
		const char *word;
		enum host_arch arch;
	} machines[] = {{"x86_64", HOST_X86},	 {"i386", HOST_X86},	{"i686", HOST_X86},	{"s390x", HOST_S390X},
			{"ppc64le", HOST_PPC64}, {"ppc64", HOST_PPC64}, {"aarch64", HOST_ARM64}};
	const char *name = host_fact(h, "arch");
	char *text = NULL;
	enum host_arch arch = HOST_OTHER;

	for (unsigned i = 0; name && i < ARRAY_SIZE(machines); i++)
		if (!strcmp(name, machines[i].word))
			return machines[i].arch;
	if (name)
		return HOST_OTHER;
	if (host_read(h, "/proc/cpuinfo", &text, NULL))
		return HOST_X86;
	if (strstr(text, "IBM/S390"))
		arch = HOST_S390X;
	else if (strstr(text, "CPU implementer"))
		arch = HOST_ARM64;
	else if (strstr(text, "POWER"))
		arch = HOST_PPC64;
	else if (strstr(text, "flags\t"))
		arch = HOST_X86;
	free(text);
	return arch;
}

static void say(struct host_cpu *cpu, enum host_switch s, const char *fmt, ...) printf_like(3, 4);
static void say(struct host_cpu *cpu, enum host_switch s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cpu->firmware_how, sizeof(cpu->firmware_how), fmt, ap);
	va_end(ap);
	cpu->firmware = s;
}

static bool switch_from_log(struct host *h, struct host_cpu *cpu)
{
	static const char *const words[] = {"VMX (outside TXT) disabled by BIOS", "VMX disabled by BIOS",
					    "kvm: disabled by bios", "SVM disabled (by BIOS)"};
	char *log = host_kernel_log(h);
	bool found = false;

	for (unsigned i = 0; log && !found && i < ARRAY_SIZE(words); i++) {
		found = strstr(log, words[i]);
		if (found)
			say(cpu, SWITCH_OFF, "the kernel's log says \"%s\"", words[i]);
	}
	free(log);
	return found;
}

static void read_switch(struct host *h, struct host_cpu *cpu)
{
	u32 msr = cpu->intel ? 0x3a : 0xc0010114;
	u64 v;
	int rc;

	if (cpu->known && !cpu->vmx && !cpu->svm) {
		say(cpu, SWITCH_UNKNOWN, "the processor has nothing to switch");
		return;
	}
	rc = host_msr(h, msr, &v);
	if (!rc && cpu->intel) {
		if (!(v & BIT(0)))
			say(cpu, SWITCH_ON, "MSR 3ah is %llxh: not locked, so the kernel may switch VMX on",
			    (unsigned long long)v);
		else
			say(cpu, v & BIT(2) ? SWITCH_ON : SWITCH_OFF, "MSR 3ah is %llxh: locked with VMX %s",
			    (unsigned long long)v, v & BIT(2) ? "on" : "off");
		return;
	}
	if (!rc) {
		say(cpu, v & BIT(4) ? SWITCH_OFF : SWITCH_ON, "MSR c0010114h is %llxh: SVM %s%s", (unsigned long long)v,
		    v & BIT(4) ? "is disabled" : "is not disabled", v & BIT(3) ? ", locked" : "");
		return;
	}
	if (switch_from_log(h, cpu))
		return;
	if (cpu->intel && cpu->known && cpu->vmx && cpu->cpuinfo && !cpu->flag_vmx) {
		say(cpu, SWITCH_OFF,
		    "CPUID has VMX, but the kernel took vmx out of /proc/cpuinfo: the firmware locked it off");
		return;
	}
	if (cpu->cpuinfo && (cpu->intel ? cpu->flag_vmx : cpu->flag_svm)) {
		/* the kernel clears vmx itself when it is locked off; for svm it does not */
		if (cpu->intel) {
			say(cpu, SWITCH_ON,
			    "/proc/cpuinfo lists vmx, which the kernel removes when the firmware has it off");
			return;
		}
	}
	say(cpu, SWITCH_UNKNOWN, "MSR %xh cannot be read%s", msr,
	    rc == -EACCES || rc == -EPERM ? " without root"
	    : rc == -ENOENT		  ? ": there is no /dev/cpu/0/msr (root: modprobe msr)"
					  : ": the processor refuses it");
}

void host_cpu_read(struct host *h, struct host_cpu *cpu)
{
	char *features;

	*cpu = (struct host_cpu){.arch = read_arch(h)};
	if (cpu->arch == HOST_S390X) {
		features = host_cpuinfo(h, "features");
		cpu->cpuinfo = features;
		cpu->sie = features && strstr(features, " sie ");
		free(features);
	}
	if (cpu->arch != HOST_X86)
		return;
	read_vendor(h, cpu);
	read_cpuinfo(h, cpu);
	read_switch(h, cpu);
}
