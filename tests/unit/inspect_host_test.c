/* A host's facts: folders are read as roots, versions, modprobe.d's order, /dev/kvm's words. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "inspect/host_info.h"

static char dir[] = "/tmp/inspect_host_test.XXXXXX";

static void put(const char *path, const char *text)
{
	char full[600];

	snprintf(full, sizeof(full), "%s%s", dir, path);
	for (char *p = full + strlen(dir) + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(full, 0755);
		*p = '/';
	}
	FILE *f = fopen(full, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int make_folder(void **state) { return mkdtemp(dir) ? 0 : -1; }

static int drop_folder(void **state)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static struct host *open_folder(void)
{
	struct host *h;
	struct err e = {0};

	assert_int_equal(host_open(dir, &h, &e), 0);
	return h;
}

static void links_stay_inside(void **state)
{
	char from[100], text[64];
	struct host *h;

	put("/etc/real", "inside\n");
	snprintf(from, sizeof(from), "%s/etc/absolute", dir);
	assert_int_equal(symlink("/etc/real", from), 0);
	snprintf(from, sizeof(from), "%s/etc/out", dir);
	assert_int_equal(symlink("../../../../../../../../etc/passwd", from), 0);
	snprintf(from, sizeof(from), "%s/etc/pipe", dir);
	assert_int_equal(mkfifo(from, 0644), 0);
	h = open_folder();
	assert_int_equal(host_line(h, "/etc/absolute", text, sizeof(text)), 0);
	assert_string_equal(text, "inside");
	assert_int_equal(host_line(h, "/etc/out", text, sizeof(text)), -ENOENT); /* DIR/etc/passwd */
	assert_int_equal(host_link(h, "/etc/absolute", text, sizeof(text)), 0);
	assert_string_equal(text, "/etc/real");
	assert_int_equal(host_line(h, "/etc/pipe", text, sizeof(text)),
			 0); /* nobody writes: it is empty, and does not block */
	assert_int_not_equal(host_line(h, "/etc", text, sizeof(text)), 0);
	assert_false(host_exists(h, "/etc/absent"));
	host_close(h);
}

static void control_characters_go(void **state)
{
	struct host *h;
	char text[64];

	put("/proc/9/comm", "a\033[2Jb\177\n");
	put("/facts", "arch=x86_64\nci=\033]0;x\n");
	h = open_folder();
	assert_int_equal(host_line(h, "/proc/9/comm", text, sizeof(text)), 0);
	assert_string_equal(text, "a?[2Jb?");
	assert_string_equal(host_fact(h, "ci"), "?]0;x");
	host_close(h);
}

static void tables(void **state)
{
	struct host *h;
	struct err e = {0};
	u32 r[4];
	u64 v;

	put("/cpuid", "CPU 0:\n   0x00000001 0x00: eax=0x000306c3 ebx=0x00000001 ecx=0x80000020 edx=0x00000004\nCPU "
		      "1:\nrubbish\n");
	put("/msr", "# as root\n0x0000003a 0x5\n0x480 EIO\n");
	h = open_folder();
	assert_true(host_cpuid(h, 1, 0, r));
	assert_int_equal(r[2], 0x80000020);
	assert_false(host_cpuid(h, 1, 1, r));
	assert_int_equal(host_msr(h, 0x3a, &v), 0);
	assert_int_equal(v, 5);
	assert_int_equal(host_msr(h, 0x480, &v), -EIO);
	assert_int_equal(host_msr(h, 0x481, &v), -ENOENT);
	host_close(h);
	put("/msr", "0x3a five\n");
	assert_int_equal(host_open(dir, &h, &e), -EINVAL);
	assert_non_null(strstr(e.text, "line 1"));
	put("/msr", "");
	put("/cpuid", "");
}

static void versions(void **state)
{
	static const char fixed[] = "7.1.3 6.18.38 6.12.95 6.1.177";
	static const struct {
		const char *version;
		int is;
	} cases[] = {{"7.1.3", 1},   {"7.1.2", 0},   {"7.2.0", 1},	 {"8.0", 1},
		     {"7.0.9", -1},  {"6.18.38", 1}, {"6.18.0", 0},	 {"6.17.99", -1},
		     {"6.12.95", 1}, {"6.12.94", 0}, {"6.1.177-rc1", 1}, {"5.10.1", -1}};
	struct host_version v = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(host_version_parse(cases[i].version, &v));
		assert_int_equal(host_version_fixed(&v, fixed), cases[i].is);
	}
	assert_false(host_version_parse("six", &v));
	assert_true(host_version_parse("5.8-rc1", &v));
	assert_int_equal(host_version_compare(&v, 5, 8, 0), 0);
	assert_true(host_version_compare(&v, 5, 7, 99) > 0);
	assert_true(host_version_compare(&v, 6, 0, 0) < 0);
}

static void modprobe_order(void **state)
{
	struct host_modprobe m;
	const struct host_modprobe_row *r;
	char value[32];
	struct host *h;

	put("/etc/modprobe.d/b.conf", "options kvm-intel nested=0 nestedx=1 ept\n");
	put("/usr/lib/modprobe.d/b.conf", "options kvm_intel nested=1\n"); /* hidden */
	put("/usr/lib/modprobe.d/a.conf", "options kvm_intel nested=1\nblacklist kvm-amd\n");
	put("/etc/modprobe.d/c.conf.bak", "options kvm_intel nested=1\n"); /* no .conf */
	put("/proc/cmdline", "quiet modprobe.blacklist=nouveau,kvm-intel other.nested=1\n");
	h = open_folder();
	assert_int_equal(host_modprobe_read(h, &m), 0);
	r = host_modprobe_option(&m, "kvm_intel", "nested", value, sizeof(value));
	assert_non_null(r);
	assert_string_equal(r->file, "/etc/modprobe.d/b.conf");
	assert_string_equal(value, "0");
	assert_non_null(host_modprobe_option(&m, "kvm_intel", "ept", value, sizeof(value)));
	assert_string_equal(value, "Y");
	assert_null(host_modprobe_option(&m, "kvm_intel", "npt", value, sizeof(value)));
	assert_non_null(host_modprobe_find(&m, MODPROBE_BLACKLIST, "kvm_amd"));
	assert_non_null(host_modprobe_find(&m, MODPROBE_BLACKLIST, "kvm_intel"));
	assert_null(host_modprobe_find(&m, MODPROBE_INSTALL, "kvm_intel"));
	host_modprobe_free(&m);
	host_close(h);
}

static void device_words(void **state)
{
	static const struct {
		const char *facts, *word;
		int can;
	} cases[] = {{"a=b\n", "not tried", KVM_UNTRIED},
		     {"kvm.usable=0\n", "not usable", KVM_UNUSABLE},
		     {"kvm.usable=1\nkvm.vmx=0\nkvm.svm=0\nkvm.nested_state=0\n", "no nesting", KVM_NO_NESTING},
		     {"kvm.usable=1\nkvm.vmx=1\nkvm.nested_state=0\n", "no nesting", KVM_NO_NESTING},
		     {"kvm.usable=1\nkvm.svm=1\nkvm.nested_state=4224\n", "nests", KVM_NESTS},
		     {"kvm.usable=1\nkvm.svm=1\nkvm.nested_state=4224\nerror:/dev/kvm=EACCES\n", "not usable",
		      KVM_UNUSABLE}};
	struct host_kvm kvm = {0};
	struct host *h = open_folder();
	char path[100];

	host_kvm_device(h, &kvm);
	assert_int_equal(kvm.can, KVM_NONE);
	assert_string_equal(kvm.can_word, "none");
	host_close(h);
	put("/dev/kvm", "");
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		put("/facts", cases[i].facts);
		h = open_folder();
		host_kvm_device(h, &kvm);
		assert_int_equal(kvm.can, cases[i].can);
		assert_string_equal(kvm.can_word, cases[i].word);
		host_close(h);
	}
	snprintf(path, sizeof(path), "%s/facts", dir);
	unlink(path);
}

static void truth(void **state)
{
	static const char *const yes[] = {"Y", "y", "1", "auto", "on", "2"}, *const no[] = {"N", "n", "0", "off"};

	for (unsigned i = 0; i < ARRAY_SIZE(yes); i++)
		assert_int_equal(host_truth(yes[i]), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(no); i++)
		assert_int_equal(host_truth(no[i]), 0);
	assert_int_equal(host_truth(""), -1);
	assert_int_equal(host_truth("1x"), -1);
}

/* This host, live: CPUID is there, a second asking gives the same, and an impossible leaf is none. */
static void live(void **state)
{
	struct host *h;
	u32 r[4], again[4];

	assert_int_equal(host_open(NULL, &h, NULL), 0);
	assert_true(host_is_live(h));
	assert_true(host_cpuid(h, 0, 0, r));
	assert_true(host_cpuid(h, 0, 0, again));
	assert_memory_equal(r, again, sizeof(r));
	assert_false(host_cpuid(h, r[0] + 1, 0, again));
	host_measure(h);
	assert_true(host_fact_number(h, "cpuid.cycles") > 0);
	assert_int_equal(host_fact_number(h, "uid"), geteuid());
	host_close(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links_stay_inside),
		cmocka_unit_test(control_characters_go),
		cmocka_unit_test(tables),
		cmocka_unit_test(versions),
		cmocka_unit_test(modprobe_order),
		cmocka_unit_test(device_words),
		cmocka_unit_test(truth),
		cmocka_unit_test(live),
	};

	return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
