/* Where is this? */
#include <string.h>

#include "cmd/check.h"

void check_level(struct check *c)
{
	const struct host_level *l = &c->level;
	const char *parent = l->parent[0] ? l->parent : "a hypervisor without a name";
	struct check_finding *f;

	if (!l->least && !l->most)
		f = check_add(c, CHECK_level, CHECK_OK, "level 0: no hypervisor is under this system");
	else if (l->forged)
		f = check_add(c, CHECK_level, CHECK_WARNING,
			      "a guest, at a level that cannot be told: CPUID and its timing disagree");
	else if (l->least == l->most)
		f = check_add(c, CHECK_level, CHECK_OK, "level %d: a guest of %s", l->least, parent);
	else if (!l->least)
		f = check_add(c, CHECK_level, CHECK_NOTE, "the level is not known");
	else if (l->most < 0)
		f = check_add(c, CHECK_level, CHECK_OK, "level %d or deeper: a guest of %s", l->least, parent);
	else
		f = check_add(c, CHECK_level, CHECK_OK, "level %d or %d: a guest of %s", l->least, l->most, parent);
	check_say(&f->evidence, "%s", l->how);
	if (l->forged)
		check_say(&f->consequence, "what CPUID says of the hypervisor is not to be trusted");
}

void check_emulation(struct check *c)
{
	const struct host_level *l = &c->level;
	struct check_finding *f;

	if (l->emulated) {
		f = check_add(c, CHECK_emulation, CHECK_WARNING, "this system runs on emulation (%s), not on KVM",
			      l->parent);
		check_say(&f->evidence, "the processor's hypervisor leaf says so");
		check_say(&f->consequence, "a guest started here is at best KVM on emulation: it proves nothing of "
					   "nested KVM, and is slow");
		check_say(&f->remedy, "on the level above: add -accel kvm -cpu host to QEMU's command line");
	} else if (l->nestbox && l->least == 1) {
		f = check_add(c, CHECK_emulation, CHECK_NOTE,
			      "this system runs on nestbox's own processor, not on hardware KVM");
		check_say(&f->evidence, "CPUID 40000000h holds nestbox's signature");
		check_say(&f->consequence, "nesting works and is slow; right for tests");
	}
}

void check_container(struct check *c)
{
	const struct host_place *p = &c->place;
	struct check_finding *f;

	if (p->container[0]) {
		f = check_add(c, CHECK_container, CHECK_NOTE, "this process is in a container (%s)", p->container);
		f->part = "container";
		check_say(&f->evidence, "%s", p->container_how);
		check_say(&f->consequence,
			  "modules and their parameters are the host's: they are changed there, not in here");
	}
	if (p->ci[0]) {
		f = check_add(c, CHECK_container, CHECK_NOTE, "this is %s", p->ci[0] == 'a' ? p->ci : "a CI runner");
		f->part = "ci";
		check_say(&f->evidence, "the environment names %s", p->ci);
		check_say(&f->consequence, "%s",
			  c->kvm.can == KVM_NESTS
				  ? "its /dev/kvm can nest"
				  : "it has no KVM that can nest: nestbox nest brings its own processor");
	}
}
