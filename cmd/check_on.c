/* Is nesting on, and will it stay so? */
#include <string.h>

#include "cmd/check.h"

static bool s390x_excludes(const struct check *c)
{
	char text[32];

	/* Linux 7.0 lifted it (commit 0fdd5c18a99c) */
	return c->cpu.arch == HOST_S390X && host_parameter(c->host, "kvm", "hpage", text, sizeof(text)) == 1 &&
	       host_version_compare(&c->version, 7, 0, 0) < 0;
}

void check_nested(struct check *c)
{
	const struct host_kvm *k = &c->kvm;
	struct check_finding *f;

	if (!k->module || (!k->present && k->nested < 0))
		return;
	if (k->nested < 0) {
		f = check_add(c, CHECK_nested, CHECK_WARNING, "%s has no nested parameter that can be read", k->module);
		check_say(&f->evidence, "/sys/module/%s/parameters/nested %s", k->module,
			  k->nested_text[0] ? k->nested_text : "cannot be read");
		return;
	}
	f = check_add(c, CHECK_nested, k->nested ? CHECK_OK : CHECK_PROBLEM, "nested is %s", k->nested ? "on" : "off");
	check_say(&f->evidence, "/sys/module/%s/parameters/nested is %s", k->module, k->nested_text);
	if (k->nested)
		return;
	check_say(&f->consequence,
		  "guests of this KVM see no virtualization: a hypervisor in them falls back to emulation");
	if (k->built_in && c->cpu.arch != HOST_PPC64)
		check_say(&f->remedy, "add %s.nested=1 to the kernel command line and reboot", k->module);
	else
		check_say(&f->remedy, "%snestbox enable", check_sudo(c));
	if (s390x_excludes(c)) {
		f = check_add(c, CHECK_nested, CHECK_WARNING, "hpage is on, and excludes nested before Linux 7.0");
		f->part = "hpage";
		check_say(&f->evidence, "/sys/module/kvm/parameters/hpage is on; this is Linux %s", c->version.release);
		check_say(&f->consequence, "loading kvm with both fails with \"Invalid argument\"");
		check_say(&f->remedy, "%smodprobe -r kvm && %smodprobe kvm nested=1 hpage=0", check_sudo(c),
			  check_sudo(c));
	}
}

/* The default of a module that no option names: kvm_intel since 4.20, kvm_amd since 2009; s390x and ppc64 off. */
static bool default_on(const struct check *c)
{
	if (!strcmp(c->kvm.module, "kvm_amd"))
		return true;
	return !strcmp(c->kvm.module, "kvm_intel") && host_version_compare(&c->version, 4, 20, 0) >= 0;
}

void check_persistent(struct check *c)
{
	const struct host_kvm *k = &c->kvm;
	const struct host_modprobe_row *r;
	struct check_finding *f;
	char value[32] = "", where[420];
	bool later;

	if (!k->module || (k->nested < 0 && !k->present))
		return;
	r = host_modprobe_option(&c->modprobe, k->module, "nested", value, sizeof(value));
	later = r ? host_truth(value) == 1 : default_on(c);
	if (r && r->line)
		snprintf(where, sizeof(where), "%s:%u says nested=%s", r->file, r->line, value);
	else if (r)
		snprintf(where, sizeof(where), "%s says nested=%s", r->file, value);
	else
		snprintf(where, sizeof(where), "no option names it, so the kernel's default holds: %s",
			 later ? "on" : "off");
	if (later == (k->nested == 1)) {
		f = check_add(c, CHECK_persistent, CHECK_OK, "the next boot leaves it %s", later ? "on" : "off");
		check_say(&f->evidence, "%s", where);
		return;
	}
	f = check_add(c, CHECK_persistent, CHECK_WARNING, "it is %s now, but the next load of %s switches it %s",
		      k->nested == 1 ? "on" : "off", k->module, later ? "on" : "off");
	check_say(&f->evidence, "%s", where);
	if (!later) {
		check_say(&f->consequence, "after the next boot guests cannot run guests any more");
		check_say(&f->remedy, "%snestbox enable", check_sudo(c));
		return;
	}
	check_say(&f->consequence, "the module was loaded by hand, or from an initramfs that holds an older copy of "
				   "the options: then the next boot leaves it off, too");
	check_say(&f->remedy, "%s%s", check_sudo(c),
		  host_exists(c->host, "/usr/sbin/update-initramfs") ? "update-initramfs -u"
		  : host_exists(c->host, "/usr/bin/dracut")	     ? "dracut --force"
								     : "nestbox enable");
}

void check_holders(struct check *c)
{
	const struct host_kvm *k = &c->kvm;
	struct check_finding *f;
	char names[400] = "";

	for (size_t i = 0; i < k->nholders; i++) {
		size_t n = strlen(names);

		snprintf(names + n, sizeof(names) - n, "%s%s (%ld)", n ? ", " : "",
			 k->holder[i].name[0] ? k->holder[i].name : "?", k->holder[i].pid);
	}
	if (!k->nholders && k->refs <= 0)
		return;
	if (k->nholders)
		f = check_add(c, CHECK_holders, CHECK_NOTE, "KVM is held by %s%s", names,
			      k->unreadable ? ", and perhaps others" : "");
	else
		f = check_add(c, CHECK_holders, CHECK_NOTE, "KVM is in use, by processes that cannot be seen");
	if (k->unreadable)
		check_say(&f->evidence, "open files of /proc; those of %u processes cannot be seen without root",
			  k->unreadable);
	else
		check_say(&f->evidence, "their open files are anon_inode:kvm-vm or /dev/kvm%s",
			  k->refs > 0 ? ", and the module is referenced" : "");
	check_say(&f->consequence, "the module cannot be loaded anew, nor its parameters changed, until they end");
}
