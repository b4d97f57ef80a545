/*
 * At which level does this run?
 *
 * CPUID's hypervisor leaf names the immediate parent only, may be faked, and no leaf gives the depth. Three things do:
 * nestbox, when it started this guest, states the level on the kernel's command line; s390x lists every hypervisor in
 * /proc/sysinfo; and a CPUID exit that has to climb through more levels takes longer, each level some twenty times. The
 * timing is an estimate, and said to be one.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/host_info.h"

/* Time stamp cycles of a CPUID round trip: 1 600 to 2 600 measured in L1 on KVM, 38 000 to 58 000 in L2, 860 000 in L3;
 * on the metal, and under translation, 40 to 300. Between the bands nothing is claimed. */
#define CYCLES_NO_EXIT 600
#define CYCLES_L1      6000
#define CYCLES_L2_FROM 20000
#define CYCLES_L2      120000
#define CYCLES_L3_FROM 300000

static const struct {
	const char *signature, *name;
} parents[] = {
	{"KVMKVMKVM", "KVM"},	       {"TCGTCGTCGTCG", "QEMU's TCG"}, {"NestboxVirt ", "nestbox's own processor"},
	{"Microsoft Hv", "Hyper-V"},   {"VMwareVMware", "VMware"},     {"XenVMMXenVMM", "Xen"},
	{"bhyve bhyve ", "bhyve"},     {"ACRNACRNACRN", "ACRN"},       {"VBoxVBoxVBox", "VirtualBox"},
	{"prl hyperv  ", "Parallels"}, {"QNXQVMBSQG", "QNX"},
};

static void append(struct host_level *l, const char *fmt, ...) printf_like(2, 3);
static void append(struct host_level *l, const char *fmt, ...)
{
	size_t n = strlen(l->how);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(l->how + n, sizeof(l->how) - n, fmt, ap);
	va_end(ap);
}

/* All signatures from 40000000h on: Hyper-V's leaves may stand before KVM's. */
static void read_parent(struct host *h, struct host_level *l)
{
	for (u32 base = 0x40000000; base < 0x40000400; base += 0x100) {
		u32 r[4];
		char name[13] = "";
		const char *known = NULL;

		if (!host_cpuid(h, base, 0, r))
			continue;
		memcpy(name, &r[1], 12);
		if (!name[0] || (base > 0x40000000 && (r[0] & ~0xffu) != base))
			continue;
		for (unsigned i = 0; i < ARRAY_SIZE(parents); i++)
			if (!strcmp(name, parents[i].signature))
				known = parents[i].name;
		for (char *p = name; *p; p++)
			if (*p < ' ' || *p > '~') /* not a text */
				*p = '?';
		append(l, "%sCPUID %xh says \"%s\"", l->how[0] ? ", " : "", base, name);
		l->nestbox |= known && !strncmp(known, "nestbox", 7);
		l->emulated |= known && !strcmp(known, "QEMU's TCG");
		/* nestbox's processor offers KVM's clock beside its own leaves: that does not make it KVM */
		l->kvm |= known && !strcmp(known, "KVM") && !l->nestbox;
		if (!l->parent[0] || (l->kvm && !strcmp(l->parent, "Hyper-V")))
			snprintf(l->parent, sizeof(l->parent), "%s", known ? known : name);
	}
}

/* 0: nestbox did not say. */
static int stated_level(struct host *h)
{
	char line[4096];
	const char *at;
	struct host_names ports;
	bool port = false;

	if (host_line(h, "/proc/cmdline", line, sizeof(line)) || !(at = strstr(line, "nestbox.level=")))
		return 0;
	if (!host_list(h, "/sys/class/virtio-ports", &ports))
		for (size_t i = 0; i < ports.n && !port; i++) {
			char path[300], name[64];

			snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", ports.name[i]);
			port = !host_line(h, path, name, sizeof(name)) && !strcmp(name, "nestbox.channel");
		}
	host_names_free(&ports);
	return port ? atoi(at + strlen("nestbox.level=")) : 0;
}

static void level_by_time(struct host *h, struct host_level *l)
{
	long long cycles = host_fact_number(h, "cpuid.cycles"), ns = host_fact_number(h, "cpuid.ns");

	l->least = 1;
	l->most = -1;
	if (cycles < 0)
		return;
	append(l, "; a CPUID takes %lld cycles (%lld ns): ", cycles, ns);
	if (l->emulated || l->nestbox) {
		l->most = 1;
		append(l, "its parent emulates it");
	} else if (cycles < CYCLES_NO_EXIT) {
		l->forged = true;
		append(l,
		       "no exit to a hypervisor is that fast, so this is an emulator, or CPUID runs without an exit");
	} else if (cycles <= CYCLES_L1) {
		l->most = 1;
		append(l, "one exit, as in a first level");
	} else if (cycles < CYCLES_L2_FROM) {
		l->most = 2;
		append(l, "between what a first and a second level take");
	} else if (cycles <= CYCLES_L2) {
		l->least = l->most = 2;
		append(l, "as in a second level");
	} else if (cycles < CYCLES_L3_FROM) {
		l->least = 2;
		l->most = 3;
		append(l, "between what a second and a third level take");
	} else {
		l->least = 3;
		append(l, "as in a third level or deeper");
	}
}

static void level_x86(struct host *h, const struct host_cpu *cpu, struct host_level *l)
{
	long long cycles = host_fact_number(h, "cpuid.cycles");
	int stated;

	if (!cpu->hypervisor) {
		append(l,
		       cpu->known || cpu->cpuinfo ? "CPUID 1 ECX bit 31 (hypervisor) is 0" : "no CPUID was recorded");
		if (!cpu->known && !cpu->cpuinfo)
			l->most = -1;
		if (cycles > CYCLES_NO_EXIT * 2) {
			l->least = 1;
			l->most = -1;
			l->forged = true;
			append(l, ", but a CPUID takes %lld cycles: a hypervisor hides itself", cycles);
		}
		return;
	}
	read_parent(h, l);
	if (!l->parent[0])
		append(l, "CPUID 1 ECX bit 31 (hypervisor) is 1 without a name");
	stated = stated_level(h);
	level_by_time(h, l);
	if (stated > 0) {
		l->least = l->most = stated;
		l->forged = false;
		append(l, "; nestbox, which started this guest, says that it is level %d", stated);
	}
}

/* Firmware tables name the product where CPUID does not: a hint only. */
static void add_dmi(struct host *h, struct host_level *l)
{
	char vendor[64], product[64];

	if (host_line(h, "/sys/class/dmi/id/sys_vendor", vendor, sizeof(vendor)))
		return;
	(void)!host_line(h, "/sys/class/dmi/id/product_name", product, sizeof(product));
	append(l, "; DMI: %s %s", vendor, product);
}

/* "VM00 Control Program: KVM/Linux": one block a hypervisor, the outermost has the highest number; an LPAR is under all
 * of them. */
static void level_s390x(struct host *h, struct host_level *l)
{
	char *text, word[24];
	int n = 0;

	if (host_read(h, "/proc/sysinfo", &text, NULL)) {
		l->most = -1;
		append(l, "/proc/sysinfo cannot be read");
		return;
	}
	for (; n < 16; n++) {
		snprintf(word, sizeof(word), "VM%02d Control", n);
		const char *at = strstr(text, word);

		if (!at)
			break;
		if (!n) {
			const char *colon = strchr(at, ':');

			if (colon)
				snprintf(l->parent, sizeof(l->parent), "%.*s",
					 (int)strcspn(colon + 1 + strspn(colon + 1, " "), " \n"),
					 colon + 1 + strspn(colon + 1, " "));
			l->kvm = !strncmp(l->parent, "KVM", 3);
		}
	}
	l->least = l->most = n;
	append(l, "/proc/sysinfo lists %d hypervisor%s above this system (%s)", n, n == 1 ? "" : "s",
	       strstr(text, "LPAR Name") ? "the LPAR's own not counted" : "no LPAR");
	free(text);
}

static void level_other(struct host *h, struct host_level *l)
{
	char name[80];

	if (!host_line(h, "/proc/device-tree/hypervisor/compatible", name, sizeof(name))) {
		l->least = 1;
		l->most = -1;
		snprintf(l->parent, sizeof(l->parent), "%s", name);
		l->kvm = strstr(name, "kvm");
		append(l, "the device tree names the hypervisor %s", name);
		return;
	}
	l->most = -1;
	append(l, "nothing on this architecture tells the level for certain");
}

void host_level_read(struct host *h, const struct host_cpu *cpu, struct host_level *level)
{
	*level = (struct host_level){0};
	switch (cpu->arch) {
	case HOST_X86:
		level_x86(h, cpu, level);
		add_dmi(h, level);
		break;
	case HOST_S390X: level_s390x(h, level); break;
	default: level_other(h, level); break;
	}
}
