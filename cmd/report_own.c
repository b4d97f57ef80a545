/* Parts of a report that are no file and no program's output. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cmd/report.h"
#include "inspect/capabilities.h"
#include "inspect/host.h"
#include "kvm/kvm.h"

static int live_only(struct host *h, struct err *e, const char *what)
{
	return host_is_live(h) ? 0 : err_set(e, ENOENT, "%s is not known of a recorded host", what);
}

int report_uname(struct host *h, FILE *out, struct err *e)
{
	struct utsname u;
	int rc = live_only(h, e, "uname");

	if (!rc && !uname(&u))
		fprintf(out, "%s version %s %s %s\n", u.sysname, u.release, u.version, u.machine);
	return rc;
}

int report_version(struct host *h, FILE *out, struct err *e)
{
	fputs("nestbox " NESTBOX_VERSION "\n", out);
	return 0;
}

/* Programs that run guests, by the name of their first argument or of their command. */
static bool runs_guests(const char *name)
{
	static const char *const names[] = {"qemu-kvm", "kvm",	   "qemu",  "cloud-hypervisor", "firecracker", "crosvm",
					    "lkvm",	"nestbox", "bochs", "VBoxHeadless"};

	if (!strncmp(name, "qemu-system-", 12))
		return true;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

/* One word of a command line, quoted as a shell wants it where it must be. */
static void put_word(FILE *out, const char *w)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_";

	if (*w && strspn(w, plain) == strlen(w)) {
		fputs(w, out);
		return;
	}
	putc('\'', out);
	for (; *w; w++)
		if (*w == '\'')
			fputs("'\\''", out);
		else
			putc(iscntrl((u8)*w) ? '?' : *w, out);
	putc('\'', out);
}

int report_vmm_commands(struct host *h, FILE *out, struct err *e)
{
	struct host_names names;
	unsigned found = 0;

	host_list(h, "/proc", &names);
	for (size_t i = 0; i < names.n; i++) {
		char path[300], *text;
		const char *base;
		size_t size;

		if (!isdigit((u8)names.name[i][0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/cmdline", names.name[i]);
		if (host_read(h, path, &text, &size))
			continue;
		base = strrchr(text, '/');
		/* inside a level this very process runs the next one; elsewhere it does not count */
		if (host_is_live(h) && atoi(names.name[i]) == getpid() ? getpid() == 1
								       : size && runs_guests(base ? base + 1 : text)) {
			fprintf(out, "process %s:", names.name[i]);
			for (const char *w = text; w < text + size; w += strlen(w) + 1) {
				putc(' ', out);
				put_word(out, w);
			}
			putc('\n', out);
			found++;
		}
		free(text);
	}
	host_names_free(&names);
	return found ? 0 : err_set(e, ENOENT, "no process here runs a guest (QEMU and others were looked for)");
}

/* The value behind "KEY :" of the first processor in /proc/cpuinfo, into value; false: not there. */
static bool cpuinfo_value(const char *cpuinfo, const char *key, char *value, size_t room)
{
	size_t n = strlen(key);

	for (const char *p = cpuinfo; p; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, key, n) != 0)
			continue;
		const char *v = p + n + strspn(p + n, " \t");
		if (*v != ':')
			continue;
		v += 1 + strspn(v + 1, " ");
		snprintf(value, room, "%.*s", (int)strcspn(v, "\n"), v);
		return true;
	}
	return false;
}

static void lscpu_line(FILE *out, const char *name, const char *value) { fprintf(out, "%-20s%s\n", name, value); }

/* As lscpu names it, for hosts that lack it. */
int report_lscpu(struct host *h, FILE *out, struct err *e)
{
	static const char *const keys[][2] = {
		{"Vendor ID:", "vendor_id"}, {"Model name:", "model name"}, {"CPU family:", "cpu family"},
		{"Model:", "model"},	     {"Stepping:", "stepping"},	    {"Microcode:", "microcode"},
		{"CPU MHz:", "cpu MHz"},     {"BogoMIPS:", "bogomips"},	    {"Address sizes:", "address sizes"},
		{"Flags:", "flags"},	     {"Features:", "features"},	    {"Bugs:", "bugs"}};
	char *cpuinfo, value[8192], hypervisor[13] = "";
	struct utsname u;
	unsigned n = 0;
	u32 r[4];
	int rc = host_read(h, "/proc/cpuinfo", &cpuinfo, NULL);

	if (rc)
		return err_set(e, -rc, "/proc/cpuinfo cannot be read: %s", strerror(-rc));
	if (host_is_live(h) && !uname(&u))
		lscpu_line(out, "Architecture:", u.machine);
	for (const char *p = cpuinfo; (p = strstr(p, "processor")); p++)
		n += (p == cpuinfo || p[-1] == '\n') && (p[9] == '\t' || p[9] == ' ');
	snprintf(value, sizeof(value), "%u", n);
	lscpu_line(out, "CPU(s):", value);
	if (!host_line(h, "/sys/devices/system/cpu/online", value, sizeof(value)))
		lscpu_line(out, "On-line CPU(s) list:", value);
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (cpuinfo_value(cpuinfo, keys[i][1], value, sizeof(value)))
			lscpu_line(out, keys[i][0], value);
	if (host_cpuid(h, 1, 0, r)) {
		if (r[2] & BIT(5))
			lscpu_line(out, "Virtualization:", "VT-x");
		else if (host_cpuid(h, 0x80000001, 0, r) && (r[2] & BIT(2)))
			lscpu_line(out, "Virtualization:", "AMD-V");
	}
	if (host_cpuid(h, 1, 0, r) && (r[2] & BIT(31)) && host_cpuid(h, 0x40000000, 0, r)) {
		memcpy(hypervisor, &r[1], 12);
		lscpu_line(out, "Hypervisor vendor:", hypervisor);
	}
	free(cpuinfo);
	return 0;
}

int report_kernel_log(struct host *h, FILE *out, struct err *e)
{
	char *text = host_kernel_log(h);

	if (!text)
		return err_set(e, ENOENT, "the kernel's log (/dev/kmsg) cannot be read");
	fputs(text, out);
	free(text);
	return 0;
}

int report_kvm_device(struct host *h, FILE *out, struct err *e)
{
	struct kvm_probe p = {0};
	int rc = live_only(h, e, "what /dev/kvm can do");

	if (rc)
		return rc;
	if (!host_exists(h, "/dev/kvm"))
		return err_set(e, ENOENT, "there is no /dev/kvm");
	kvm_probe(&p);
	fprintf(out, "usable: %s\nits guests can nest: %s\n%s\n", p.usable ? "yes" : "no", p.nested ? "yes" : "no",
		p.text);
	return 0;
}

int report_cpuid(struct host *h, FILE *out, struct err *e)
{
	u32 r[4];

	if (!host_cpuid(h, 0, 0, r))
		return err_set(e, ENOENT, "no CPUID of this host is recorded");
	fputs("# every leaf of one processor; a folder with this file as \"cpuid\" can be given to nestbox check "
	      "--root\n",
	      out);
	host_cpuid_print(h, out);
	return 0;
}

int report_msr(struct host *h, FILE *out, struct err *e)
{
	int rc = capabilities_print_msrs(h, out);

	if (!rc)
		return 0;
	return err_set(e, -rc, "MSRs cannot be read: %s",
		       rc == -ENODEV   ? "this processor has neither VMX nor SVM"
		       : rc == -ENOENT ? "there is no /dev/cpu/0/msr (modprobe msr)"
				       : "only root may");
}

int report_capabilities(struct host *h, FILE *out, struct err *e)
{
	u32 r[4];

	if (!host_cpuid(h, 0, 0, r))
		return err_set(e, ENOENT, "no CPUID of this host is recorded");
	capabilities_print(h, out);
	return 0;
}
