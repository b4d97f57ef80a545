/*
 * `nestbox enable` and `nestbox disable`: the nested parameter, now and after the next boot.
 *
 * Two halves, each done or refused by itself: `now` loads the module anew (ppc64: writes the parameter), `later` writes
 * our file of options. The exit code is 0 only when all that was asked for is so.
 */
#include "cmd/enable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/accel.h"
#include "cmd/cmd.h"
#include "cmd/opt.h"

enum enable_opt { ENABLE_DRY, ENABLE_NOW, ENABLE_LATER, ENABLE_ROOT, ENABLE_HELP };

static const struct opt enable_opts[] = {
	[ENABLE_DRY] = {"dry-run", "-n", NULL, "show every change and make none; needs no root"},
	[ENABLE_NOW] = {"now-only", NULL, NULL, "leave " ENABLE_FILE " alone"},
	[ENABLE_LATER] = {"persist-only", NULL, NULL, "leave the loaded module alone"},
	[ENABLE_ROOT] = {"root", NULL, "DIR", "the system in DIR, which is not running: only its file is written"},
	[ENABLE_HELP] = {"help", "-h", NULL, "this text"},
};

const struct opt_table cmd_enable_options = {enable_opts, ARRAY_SIZE(enable_opts)};

struct enable {
	const char *verb;
	bool on, dry, now, later;
	const char *root;
	struct host *host;
	struct host_cpu cpu;
	struct host_kvm kvm;
	struct host_modprobe modprobe;
	struct host_version version;
	bool failed; /* something that was asked for is not so */
};

/* opt_each hands no context to them. */
static int usage_enable(const char *why)
{
	fprintf(stderr, "nestbox enable: %s\n", why);
	return EXIT_USAGE;
}

static int usage_disable(const char *why)
{
	fprintf(stderr, "nestbox disable: %s\n", why);
	return EXIT_USAGE;
}

static int enable_help(const struct enable *n)
{
	printf("nestbox %s [options]: %s guests of this host's KVM run guests, now and after the next boot\n\n",
	       n->verb, n->on ? "lets" : "no longer lets");
	opt_help(enable_opts, ARRAY_SIZE(enable_opts), stdout);
	puts("\nNow: KVM's module is loaded anew with the parameter, which no running guest may hold. "
	     "Later: " ENABLE_FILE "\n"
	     "gets an options line; files of others are never written. Of several options lines the last counts, in "
	     "the\n"
	     "order of the files' names; the kernel's command line comes after all of them.\n"
	     "\nexit codes: 0 done, or it was so, 1 it is not so, and the output says why, 2 usage, 3 the host "
	     "refused");
	return EXIT_DONE;
}

static int take_option(void *ctx, int which, const char *v)
{
	struct enable *n = ctx;

	switch ((enum enable_opt)which) {
	case ENABLE_DRY: n->dry = true; return -1;
	case ENABLE_NOW: n->later = false; return -1;
	case ENABLE_LATER: n->now = false; return -1;
	case ENABLE_ROOT: n->root = v; return -1;
	case ENABLE_HELP: return enable_help(n);
	}
	return -1;
}

/* One line of what is not so, on stderr. */
static void refuse(struct enable *n, const char *fmt, ...) printf_like(2, 3);
static void refuse(struct enable *n, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "nestbox %s: ", n->verb);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	putc('\n', stderr);
	n->failed = true;
}

static void warn(const struct enable *n, const char *fmt, ...) printf_like(2, 3);
static void warn(const struct enable *n, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "nestbox %s: note: ", n->verb);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	putc('\n', stderr);
}

/* Is there anything that nested could be set of? */
static bool applicable(struct enable *n)
{
	char text[32];

	if (n->cpu.arch == HOST_ARM64) {
		refuse(n, "on arm64 it is set at boot only: kvm-arm.mode=%s on the kernel command line",
		       n->on ? "nested" : "nvhe");
		return false;
	}
	if (!n->kvm.module) {
		refuse(n, "KVM has no module that nests on this processor");
		return false;
	}
	if (n->on && n->cpu.arch == HOST_X86 && !n->cpu.vmx && !n->cpu.svm) {
		refuse(n, "the processor has neither VMX nor SVM here, so there is nothing to enable: nestbox check "
			  "says what can be done");
		return false;
	}
	if (n->on && n->cpu.arch == HOST_X86 && n->cpu.firmware == SWITCH_OFF) {
		refuse(n, "the firmware has virtualization switched off: sudo systemctl reboot --firmware-setup");
		return false;
	}
	/* commit 0fdd5c18a99c lifted it for 7.0 */
	if (n->on && n->cpu.arch == HOST_S390X && n->version.major && host_version_compare(&n->version, 7, 0, 0) < 0) {
		const struct host_modprobe_row *r =
			host_modprobe_option(&n->modprobe, "kvm", "hpage", text, sizeof(text));

		if (r && host_truth(text) == 1) {
			refuse(n,
			       "%s:%u sets hpage=%s, and before Linux 7.0 hpage excludes nested: take that option out "
			       "first",
			       r->file, r->line, text);
			return false;
		}
		if (n->now && !r && host_parameter(n->host, "kvm", "hpage", text, sizeof(text)) == 1)
			warn(n, "hpage is on now; it excludes nested before Linux 7.0 and will be off after loading");
	}
	return true;
}

/* Where the kernel's command line is kept. */
static void advise_command_line(struct enable *n)
{
	char option[64];
	struct host *h = n->host;

	snprintf(option, sizeof(option), "%s.nested=%d", n->kvm.module, n->on);
	if (host_exists(h, "/usr/sbin/grubby") || host_exists(h, "/sbin/grubby"))
		refuse(n, "%s is built into the kernel: sudo grubby --update-kernel=ALL --args=%s, then reboot",
		       n->kvm.module, option);
	else if (host_exists(h, "/etc/default/grub"))
		refuse(n,
		       "%s is built into the kernel: add %s to GRUB_CMDLINE_LINUX in /etc/default/grub, run sudo %s, "
		       "reboot",
		       n->kvm.module, option,
		       host_exists(h, "/usr/sbin/update-grub") ? "update-grub"
							       : "grub2-mkconfig -o /boot/grub2/grub.cfg");
	else if (host_exists(h, "/etc/kernel/cmdline") || host_exists(h, "/boot/loader/entries") ||
		 host_exists(h, "/efi/loader/entries"))
		refuse(n,
		       "%s is built into the kernel: add %s to /etc/kernel/cmdline, run sudo kernel-install add-all "
		       "(systemd-boot), reboot",
		       n->kvm.module, option);
	else
		refuse(n, "%s is built into the kernel: add %s to the kernel command line and reboot", n->kvm.module,
		       option);
}

/* An option that comes after ours and says the opposite. */
static void warn_of_winner(struct enable *n)
{
	struct host_modprobe after;
	const struct host_modprobe_row *r;
	char value[32];

	if (n->dry) { /* our row is not there yet: whose name comes later? */
		r = host_modprobe_option(&n->modprobe, n->kvm.module, "nested", value, sizeof(value));
		if (r && r->line && strcmp(strrchr(r->file, '/') + 1, strrchr(ENABLE_FILE, '/') + 1) <= 0)
			return;
		after = (struct host_modprobe){0};
	} else {
		host_modprobe_read(n->host, &after);
		r = host_modprobe_option(&after, n->kvm.module, "nested", value, sizeof(value));
	}
	if (r && host_truth(value) != (int)n->on) {
		if (r->line)
			refuse(n,
			       "%s:%u says nested=%s and is read after " ENABLE_FILE
			       ": change that line, since the last one counts",
			       r->file, r->line, value);
		else
			refuse(n, "%s says %s.nested=%s, which comes after all files: take it out there", r->file,
			       n->kvm.module, value);
	}
	host_modprobe_free(&after);
}

static void warn_of_initramfs(const struct enable *n)
{
	char release[128], path[200];
	static const struct {
		const char *tool, *image, *command;
	} makers[] = {
		{"/usr/sbin/update-initramfs", "/boot/initrd.img-%s", "update-initramfs -u"},
		{"/usr/bin/dracut", "/boot/initramfs-%s.img", "dracut --force"},
		{"/usr/bin/mkinitcpio", "/boot/initramfs-linux.img", "mkinitcpio -P"},
	};

	if (host_line(n->host, "/proc/sys/kernel/osrelease", release, sizeof(release)))
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(makers); i++) {
		char *at = strstr(makers[i].image, "%s");

		snprintf(path, sizeof(path), "%.*s%s%s", at ? (int)(at - makers[i].image) : 100, makers[i].image,
			 at ? release : "", at ? at + 2 : "");
		if (!host_exists(n->host, makers[i].tool) || !host_exists(n->host, path))
			continue;
		warn(n, "%s may hold an older copy of the options; if the next boot ignores the change: sudo %s", path,
		     makers[i].command);
		return;
	}
}

static void warn_of_blacklist(const struct enable *n)
{
	const struct host_modprobe_row *r = host_modprobe_find(&n->modprobe, MODPROBE_BLACKLIST, n->kvm.module);

	if (r && n->on)
		warn(n, "%s%s%.0u blacklists %s: it is not loaded at boot by itself", r->file, r->line ? ":" : "",
		     r->line, n->kvm.module);
}

static void do_later(struct enable *n)
{
	struct enable_file f = {0};
	struct err e = {0};

	if (n->kvm.built_in) {
		if (!n->now)
			advise_command_line(n);
		return; /* modprobe's files do not reach it */
	}
	if (enable_file_plan(n->host, n->kvm.module, n->on, &f, &e)) {
		refuse(n, "%s", e.text);
	} else if (!enable_file_changes(&f)) {
		printf("later: %s says so already\n", ENABLE_FILE);
		warn_of_winner(n);
	} else if (n->dry) {
		enable_file_diff(&f, stdout);
		warn_of_winner(n);
	} else if (enable_file_write(&f, n->root ? n->root : "", &e)) {
		refuse(n, "%s", e.text);
	} else {
		printf("later: %s%s says options %s nested=%d\n", n->root ? n->root : "", ENABLE_FILE, n->kvm.module,
		       n->on);
		warn_of_winner(n);
		warn_of_initramfs(n);
	}
	warn_of_blacklist(n);
	enable_file_free(&f);
}

static bool in_use(struct enable *n)
{
	char names[400] = "";
	size_t at = 0;

	for (size_t i = 0; i < n->kvm.nholders && at < sizeof(names); i++)
		if (n->kvm.holder[i].vm || n->kvm.refs > 0)
			at += (size_t)snprintf(names + at, sizeof(names) - at, "%s%s (%ld)", at ? ", " : "",
					       n->kvm.holder[i].name, n->kvm.holder[i].pid);
	if (n->kvm.refs <= 0)
		return false;
	if (names[0])
		refuse(n, "%s is in use by %s: end %s, then try again", n->kvm.module, names,
		       strchr(names, ',') ? "them" : "it");
	else
		refuse(n, "%s is in use (%ld references) by what cannot be seen from here", n->kvm.module, n->kvm.refs);
	return true;
}

/* ppc64's parameter may be written while KVM runs. */
static void write_parameter(struct enable *n)
{
	char path[100];
	int fd;

	snprintf(path, sizeof(path), "/sys/module/%s/parameters/nested", n->kvm.module);
	if (n->dry) {
		printf("now: echo %d > %s\n", n->on, path);
		return;
	}
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, n->on ? "1" : "0", 1) != 1)
		refuse(n, "%s cannot be written: %s", path, strerror(errno));
	else
		printf("now: %s is %d\n", path, n->on);
	if (fd >= 0)
		close(fd);
}

/* What a reload changes besides: parameters that somebody gave by hand are not in modprobe.d. */
struct parameters {
	struct host_names names;
	char (*value)[64];
};

static void parameter_line(struct enable *n, const char *name, char *value, size_t room)
{
	(void)host_parameter(n->host, n->kvm.module, name, value, room);
}

static void parameters_read(struct enable *n, struct parameters *p)
{
	char dir[100];

	snprintf(dir, sizeof(dir), "/sys/module/%s/parameters", n->kvm.module);
	p->value = host_list(n->host, dir, &p->names) ? NULL : calloc(p->names.n + 1, sizeof(*p->value));
	for (size_t i = 0; p->value && i < p->names.n; i++)
		parameter_line(n, p->names.name[i], p->value[i], sizeof(*p->value));
}

static void parameters_compare(struct enable *n, const struct parameters *before)
{
	for (size_t i = 0; before->value && i < before->names.n; i++) {
		const char *name = before->names.name[i];
		char now[64];

		parameter_line(n, name, now, sizeof(now));
		if (strcmp(name, "nested") != 0 && strcmp(before->value[i], now) != 0)
			warn(n, "%s was %s and is %s now: nothing in modprobe.d sets it", name, before->value[i], now);
	}
}

static void parameters_free(struct parameters *p)
{
	host_names_free(&p->names);
	free(p->value);
}

static void reload(struct enable *n, const char *value)
{
	const char *module = n->kvm.module;
	struct parameters before = {0};
	struct err e = {0};
	char text[32];
	bool back;

	if (n->kvm.loaded)
		parameters_read(n, &before);
	if (enable_module_reload(module, n->kvm.loaded, value, n->kvm.nested_text, &back, &e)) {
		refuse(n, "%s%s", e.text, back ? "; it is loaded as it was" : "");
	} else if (host_parameter(n->host, module, "nested", text, sizeof(text)) != (int)n->on) {
		refuse(n, "%s was loaded with nested=%s, but its parameter reads \"%s\"", module, value, text);
	} else {
		printf("now: %s is loaded with nested=%s\n", module, text);
		parameters_compare(n, &before);
	}
	parameters_free(&before);
}

static void do_now(struct enable *n)
{
	const char *module = n->kvm.module, *value = n->on ? "1" : "0";
	const struct host_modprobe_row *r = host_modprobe_find(&n->modprobe, MODPROBE_INSTALL, module);
	bool loaded = n->kvm.loaded;

	if (n->kvm.nested == (int)n->on) {
		printf("now: %s is loaded with nested=%s already\n", module, n->kvm.nested_text);
		return;
	}
	if (n->kvm.built_in) {
		advise_command_line(n);
		return;
	}
	if (n->cpu.arch == HOST_PPC64 && loaded) {
		write_parameter(n);
		return;
	}
	if (!n->on && !loaded) {
		printf("now: %s is not loaded, so nothing nests\n", module);
		return;
	}
	if (r) {
		refuse(n, "%s:%u has an install line for %s: take it out first", r->file, r->line, module);
		return;
	}
	if (loaded && in_use(n))
		return;
	if (n->dry) {
		if (loaded)
			printf("now: modprobe -r %s\n", module);
		printf("now: modprobe %s nested=%s\n", module, value);
		return;
	}
	reload(n, value);
}

static int enable_run(struct enable *n)
{
	struct err e = {0};
	int rc = host_open(n->root, &n->host, &e);

	if (rc) {
		fprintf(stderr, "nestbox %s: %s\n", n->verb, e.text);
		return rc == -ENOENT || rc == -ENOTDIR ? EXIT_USAGE : EXIT_HOST;
	}
	if (!n->root)
		host_measure(n->host);
	else if (!n->dry)
		n->now = false; /* it is not running */
	host_cpu_read(n->host, &n->cpu);
	host_kvm_read(n->host, &n->cpu, &n->kvm);
	host_kvm_holders(n->host, &n->kvm);
	host_modprobe_read(n->host, &n->modprobe);
	host_version_read(n->host, &n->version);
	if (!applicable(n))
		return EXIT_NOT_SO;
	if (!n->dry && !n->root && geteuid()) {
		fprintf(stderr, "nestbox %s: this needs root: sudo nestbox %s%s\n", n->verb, n->verb,
			!n->later ? " --now-only"
			: !n->now ? " --persist-only"
				  : "");
		return EXIT_HOST;
	}
	if (n->later)
		do_later(n);
	if (n->now)
		do_now(n);
	return n->failed ? EXIT_NOT_SO : EXIT_DONE;
}

static int enable_verb(const char *verb, bool on, int argc, char **argv)
{
	struct enable n = {.verb = verb, .on = on, .now = true, .later = true};
	int (*usage)(const char *why) = on ? usage_enable : usage_disable;
	int code;

	code = opt_each(enable_opts, ARRAY_SIZE(enable_opts), argc - 1, argv + 1, take_option, usage, &n);
	if (code < 0 && !n.now && !n.later)
		code = usage("--now-only and --persist-only leave nothing to do");
	if (code < 0)
		code = enable_run(&n);
	host_kvm_free(&n.kvm);
	host_modprobe_free(&n.modprobe);
	host_close(n.host);
	return code;
}

int cmd_enable(int argc, char **argv) { return enable_verb("enable", true, argc, argv); }

int cmd_disable(int argc, char **argv) { return enable_verb("disable", false, argc, argv); }
