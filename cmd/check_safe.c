/* Is nesting safe: migration by the kernels' versions, and known holes. */
#include <string.h>

#include "cmd/check.h"

static void version_text(const struct host_version *v, char *out, size_t room)
{
	snprintf(out, room, "%u.%u.%u", v->major, v->minor, v->patch);
}

/* What a pair of hosts must have in common for an L1 with a live L2: the VMX controls. */
static void compare_controls(struct check *c)
{
	char differ[200] = "";
	unsigned compared = 0;
	struct check_finding *f;

	for (u32 msr = 0x480; msr <= 0x492; msr++) {
		u64 a, b;
		size_t n = strlen(differ);

		if (host_msr(c->host, msr, &a) || host_msr(c->peer, msr, &b))
			continue;
		compared++;
		if (a != b)
			snprintf(differ + n, sizeof(differ) - n, "%s%xh", n ? ", " : "", msr);
	}
	if (!compared) {
		f = check_add(c, CHECK_migration, CHECK_NOTE, "the VMX controls of the two hosts cannot be compared");
		check_say(&f->evidence,
			  "MSRs 480h to 492h are not known of both: record them as root with /dev/cpu/0/msr there");
	} else if (differ[0]) {
		f = check_add(c, CHECK_migration, CHECK_PROBLEM, "the two hosts' VMX controls differ");
		check_say(&f->evidence, "MSRs %s", differ);
		check_say(&f->consequence, "an L1 with a live L2 fails to resume, or loses controls it relies on");
		check_say(
			&f->remedy,
			"give L1 a named processor model that both hosts have, such as -cpu Haswell-noTSX-IBRS,vmx=on");
	} else {
		f = check_add(c, CHECK_migration, CHECK_OK, "the two hosts' VMX controls are the same");
		check_say(&f->evidence, "%u of the MSRs 480h to 492h", compared);
	}
	f->part = "controls";
}

static void migration_x86(struct check *c)
{
	const struct host_version *old = &c->version;
	bool amd = !strcmp(c->kvm.module, "kvm_amd");
	char text[24];
	struct check_finding *f;

	if (c->peer_name &&
	    host_version_compare(&c->peer_version, c->version.major, c->version.minor, c->version.patch) < 0)
		old = &c->peer_version;
	version_text(old, text, sizeof(text));
	if (amd && host_version_compare(old, 5, 8, 0) < 0) {
		f = check_add(c, CHECK_migration, CHECK_PROBLEM, "an L1 with a live L2 must not be migrated or saved");
		check_say(&f->consequence, "AMD before Linux 5.8 has no way to save an L2's state: the result is "
					   "undefined, up to a panic of L1");
		check_say(&f->remedy, "shut L2 down first; or migrate L2 itself, which works");
	} else if (amd) {
		f = check_add(c, CHECK_migration, CHECK_WARNING, "an L1 with a live L2 may be migrated, with bugs");
		check_say(&f->consequence, "saving an L2's state exists on AMD since Linux 5.8 and QEMU 5.1, and was "
					   "still being mended in 2026: "
					   "state can be lost silently");
		check_say(&f->remedy, "shut L2 down first; or migrate L2 itself, which works");
	} else if (host_version_compare(old, 5, 3, 0) < 0) {
		f = check_add(c, CHECK_migration, CHECK_PROBLEM, "an L1 with a live L2 must not be migrated or saved");
		check_say(&f->consequence, "on Intel it works from Linux 5.3 and QEMU 4.2 on");
		check_say(&f->remedy, "shut L2 down first; or migrate L2 itself, which works");
	} else {
		f = check_add(c, CHECK_migration, CHECK_OK,
			      "an L1 with a live L2 may be migrated to a host with the same VMX controls");
		check_say(&f->consequence, "QEMU must be 4.2 or newer on both");
	}
	check_say(&f->evidence, "%s is Linux %s%s%s", old == &c->version ? "this host" : c->peer_name, text,
		  old->how[0] ? ", that is " : "", old->how);
	if (c->peer && !amd)
		compare_controls(c);
}

void check_migration(struct check *c)
{
	struct check_finding *f;

	if (!c->version.major || !c->kvm.module || (c->cpu.arch == HOST_X86 && !c->cpu.vmx && !c->cpu.svm))
		return;
	if (c->cpu.arch == HOST_X86) {
		migration_x86(c);
	} else if (c->cpu.arch == HOST_S390X) {
		f = check_add(c, CHECK_migration, CHECK_OK, "an L1 with a live L2 may be migrated");
		check_say(&f->evidence, "s390x keeps an L2's state in L1's memory");
	}
}

enum certainty { READ, HEARD };

static const struct {
	const char *name, *fixed;
	enum certainty certainty;
	const char *words;
} cves[] = {
#define CVE(name, fixed, certainty, words) {name, fixed, certainty, words},
#include "cmd/check_cves.def"
#undef CVE
};

void check_cve(struct check *c)
{
	unsigned clean = 0;
	char text[24];

	if (!c->version.major || c->kvm.nested != 1)
		return;
	version_text(&c->version, text, sizeof(text));
	for (unsigned i = 0; i < ARRAY_SIZE(cves); i++) {
		int fixed = host_version_fixed(&c->version, cves[i].fixed);
		struct check_finding *f;

		if (fixed == 1) {
			clean++;
			continue;
		}
		f = check_add(c, CHECK_cve, CHECK_WARNING, "%s may be open here", cves[i].name);
		f->part = cves[i].name;
		check_say(&f->evidence, "Linux %s%s%s; fixed in %s%s. Only a hint: distributions carry fixes back",
			  text, c->version.how[0] ? ", that is " : "", c->version.how, cves[i].fixed,
			  cves[i].certainty == HEARD ? " (second-hand, not confirmed)" : "");
		check_say(&f->consequence, "%s", cves[i].words);
		check_say(&f->remedy, "update the kernel, or switch nesting off: %snestbox disable", check_sudo(c));
	}
	if (clean == ARRAY_SIZE(cves))
		check_say(&check_add(c, CHECK_cve, CHECK_OK, "no hole that is known to nestbox is open")->evidence,
			  "Linux %s%s%s", text, c->version.how[0] ? ", that is " : "", c->version.how);
}
