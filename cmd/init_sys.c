/* The kernel's side of an init: mounts, modules, the virtio port, what /proc and /sys say. */
#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/channel.h"
#include "cmd/file.h"
#include "cmd/init.h"
#include "cmd/initramfs.h"

int init_mount(struct err *e)
{
	static const struct {
		const char *type, *where;
		bool needed;
	} fs[] = {
		{"proc", "/proc", true},
		{"sysfs", "/sys", true},
		{"devtmpfs", "/dev", true},
		{"debugfs", "/sys/kernel/debug", false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(fs); i++) {
		mkdir(fs[i].where, 0755);
		if (mount(fs[i].type, fs[i].where, fs[i].type, 0, NULL) && errno != EBUSY && fs[i].needed)
			return err_set(e, errno, "%s cannot be mounted: %s", fs[i].where, strerror(errno));
	}
	return 0;
}

bool init_parameter(const char *name, char *value, size_t room)
{
	char line[4096];
	size_t len = strlen(name);

	if (!file_line("/proc/cmdline", line, sizeof(line)))
		return false;
	for (char *p = strtok(line, " "); p; p = strtok(NULL, " "))
		if (!strncmp(p, name, len) && p[len] == '=')
			return (size_t)snprintf(value, room, "%s", p + len + 1) < room;
	return false;
}

u64 init_uptime_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

static bool same_module(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((a[i] == '-' ? '_' : a[i]) != (b[i] == '-' ? '_' : b[i]))
			return false;
	return true;
}

/* A module's parameters: ours, then those that the kernel's command line has for it (MODULE.NAME=VALUE), as modprobe
 * does. */
static void module_options(const char *path, char *out, size_t room)
{
	const char *base = strrchr(path, '/');
	char line[2048] = "", *save = NULL;
	size_t n;
	FILE *f;

	base = base ? base + 1 : path;
	n = strcspn(base, ".");
	snprintf(out, room, "%s",
		 n == 7 && same_module(base, "kvm_amd", n)     ? "nested=1 npt=1"
		 : n == 9 && same_module(base, "kvm_intel", n) ? "nested=1"
							       : "");
	f = fopen("/proc/cmdline", "r");
	if (!f)
		return;
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	for (char *w = strtok_r(line, " \n", &save); w; w = strtok_r(NULL, " \n", &save)) {
		size_t used = strlen(out);

		if (strcspn(w, ".") == n && w[n] == '.' && same_module(w, base, n))
			snprintf(out + used, room - used, " %s", w + n + 1);
	}
}

static int load_module(const char *path, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
	char options[512];

	if (fd < 0)
		return err_set(e, errno, "%s cannot be opened: %s", path, strerror(errno));
	module_options(path, options, sizeof(options));
	if (syscall(SYS_finit_module, fd, options, 0) && errno != EEXIST)
		rc = err_set(e, errno, "%s did not load: %s", path, strerror(errno));
	close(fd);
	return rc;
}

int init_load_role(const char *role, struct err *e)
{
	FILE *list = fopen(INITRAMFS_MODULES_LIST, "r");
	char word[64], path[512];
	bool any = false;
	int rc = 0;

	if (!list)
		return err_set(e, errno, "%s cannot be opened: %s", INITRAMFS_MODULES_LIST, strerror(errno));
	while (!rc && fscanf(list, "%63s %511s", word, path) == 2) {
		if (strcmp(word, role) != 0)
			continue;
		any = true;
		rc = load_module(path, e);
	}
	fclose(list);
	return any || rc ? rc : err_set(e, ENOENT, "no modules for \"%s\" in this root", role);
}

static bool find_port(char *dev, size_t room)
{
	DIR *ports = opendir("/sys/class/virtio-ports");
	struct dirent *d;
	bool found = false;

	while (ports && !found && (d = readdir(ports))) {
		char path[512], name[64];

		snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name", d->d_name);
		if (d->d_name[0] == '.' || !file_line(path, name, sizeof(name)) || strcmp(name, CHANNEL_NAME) != 0)
			continue;
		found = (size_t)snprintf(dev, room, "/dev/%s", d->d_name) < room && file_exists(dev);
	}
	if (ports)
		closedir(ports);
	return found;
}

int init_open_channel(u64 wait_ms, int *fd, struct err *e)
{
	u64 until = init_uptime_ms() + wait_ms;
	char dev[300];

	while (!find_port(dev, sizeof(dev))) {
		struct timespec nap = {.tv_nsec = 2000000};

		if (init_uptime_ms() >= until)
			return err_set(e, ENODEV, "no virtio port named %s appeared within %llu ms", CHANNEL_NAME,
				       (unsigned long long)wait_ms);
		nanosleep(&nap, NULL);
	}
	*fd = open(dev, O_RDWR | O_CLOEXEC);
	return *fd < 0 ? err_set(e, errno, "%s cannot be opened: %s", dev, strerror(errno)) : 0;
}

/* A file each: name and first line; `numbers`: only what is a number, as a number added to what is there. */
static void read_values(const char *dir, json_t *into, bool numbers)
{
	DIR *s = opendir(dir);
	struct dirent *d;

	while (s && (d = readdir(s))) {
		char path[600], line[128], *end;

		snprintf(path, sizeof(path), "%s/%s", dir, d->d_name);
		if (d->d_name[0] == '.' || !file_line(path, line, sizeof(line)))
			continue;
		if (!numbers) {
			json_object_set_new(into, d->d_name, json_string(line));
			continue;
		}
		long long v = strtoll(line, &end, 10);
		if (end != line && !*end)
			json_object_set_new(into, d->d_name,
					    json_integer(v + json_integer_value(json_object_get(into, d->d_name))));
	}
	if (s)
		closedir(s);
}

json_t *init_module_parameters(const char *module)
{
	char dir[128];
	json_t *o;

	snprintf(dir, sizeof(dir), "/sys/module/%s", module);
	if (!file_exists(dir))
		return NULL;
	o = json_object();
	snprintf(dir, sizeof(dir), "/sys/module/%s/parameters", module);
	read_values(dir, o, false);
	return o;
}

json_t *init_kvm_counters(void)
{
	DIR *s = opendir("/sys/kernel/debug/kvm");
	json_t *o = json_object();
	struct dirent *d;

	/* one folder a VM, named PID-FD; its files are summed */
	while (s && (d = readdir(s))) {
		char path[300];

		if (d->d_name[0] < '0' || d->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%s", d->d_name);
		read_values(path, o, true);
	}
	if (s)
		closedir(s);
	return o;
}

void init_hypervisor(char name[13])
{
	u32 a, b, c, d;

	name[0] = name[12] = 0;
	__cpuid(1, a, b, c, d);
	if (!(c & BIT(31)))
		return;
	__cpuid(0x40000000, a, b, c, d);
	memcpy(name, &b, 4);
	memcpy(name + 4, &c, 4);
	memcpy(name + 8, &d, 4);
}

bool init_has_nested_unit(enum x86_vendor vendor)
{
	u32 a, b, c, d;

	if (vendor == X86_INTEL) {
		__cpuid(1, a, b, c, d);
		return c & BIT(5);
	}
	return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & BIT(2));
}

static int compare_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return (x > y) - (x < y);
}

u64 init_cpuid_ns(void)
{
	enum { ROUNDS = 41, EACH = 16 };
	struct clock *clock = clock_host();
	u64 took[ROUNDS];

	for (unsigned i = 0; i < ROUNDS; i++) {
		u64 start = clock->now(clock);

		for (unsigned k = 0; k < EACH; k++) {
			u32 a = 0, b, c = 0, d;

			__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
		}
		took[i] = (clock->now(clock) - start) / EACH;
	}
	qsort(took, ROUNDS, sizeof(took[0]), compare_u64);
	return took[ROUNDS / 2];
}

_Noreturn void init_power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}
