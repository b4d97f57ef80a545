/* The verdict: true only on the whole evidence, and for each part that is missing the level that broke. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/tree.h"

static const char *const good[] = {
	"{\"level\":1,\"type\":\"hello\",\"kernel\":\"6.1\",\"hypervisor\":\"NestboxNestb\",\"up_s\":5.1}",
	("{\"level\":1,\"type\":\"kvm\",\"module\":\"kvm_amd\",\"parameters\":{\"nested\":\"1\",\"npt\":\"Y\",\"vls\":"
	 "\"0\"}}"),
	"{\"level\":2,\"type\":\"hello\",\"kernel\":\"6.1\",\"hypervisor\":\"KVMKVMKVM\",\"up_s\":3.3}",
	"{\"level\":2,\"type\":\"cpuid\",\"ns\":4200}",
	"{\"level\":2,\"type\":\"dmesg\",\"records\":[[6,10,\"Linux version\"],[4,12,\"WARNING: CPU: 0\"]]}",
	"{\"level\":2,\"type\":\"done\",\"up_s\":3.4}",
	"{\"level\":1,\"type\":\"evidence\",\"exits\":12041,\"counters\":{\"exits\":12041}}",
	"{\"level\":1,\"type\":\"done\",\"up_s\":9}",
};

static void say(struct tree *t, const char *text)
{
	json_t *msg = json_loads(text, 0, NULL);

	assert_non_null(msg);
	tree_message(t, msg);
	json_decref(msg);
}

/* All of the good course but line `without` (-1: none), with `instead` in its place if not NULL. */
static void judge(int without, const char *instead, const char *stopped, struct tree_verdict *v)
{
	struct tree t;

	tree_start(&t, 2, "NestboxNestb", "host", NULL);
	for (int i = 0; i < (int)ARRAY_SIZE(good); i++) {
		if (i != without)
			say(&t, good[i]);
		else if (instead)
			say(&t, instead);
	}
	tree_conclude(&t, stopped, v);
	tree_free(&t);
}

static void tree_is_printed(void **state)
{
	struct tree_verdict v;
	struct tree t;
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	tree_start(&t, 2, "NestboxNestb", "AMD EPYC · /dev/kvm: none · accelerator: soft", f);
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		say(&t, good[i]);
	tree_conclude(&t, NULL, &v);
	assert_int_equal(v.code, EXIT_DONE);
	assert_string_equal(v.text, "nested KVM works: L2 ran on L1's KVM, not on emulation");
	assert_int_equal(json_array_size(t.level[2].complaints), 1);
	tree_print_log(&t.level[2], f);
	fclose(f);
	assert_string_equal(
		text,
		"L0  this host         AMD EPYC · /dev/kvm: none · accelerator: soft\n"
		"└─ L1  guest hypervisor   Linux 6.1 · kvm_amd nested=1 npt=Y · up in 5.1 s\n"
		"   └─ L2  nested guest       Linux 6.1 · on L1's KVM (12 041 exits, cpuid 4.2 µs) · up in 3.3 s\n"
		"<6>[    0.000010] Linux version\n<4>[    0.000012] WARNING: CPU: 0\n");
	json_t *all = tree_json(&t, &v);
	assert_true(json_is_true(json_object_get(all, "works")));
	json_decref(all);
	tree_free(&t);
	free(text);
}

/* On a terminal of so many columns, in a locale: what is printed there; the caller frees it. Skips where there are no
 * pseudo-terminals. */
static char *on_terminal(unsigned short columns, const char *locale)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	struct winsize size = {.ws_row = 24, .ws_col = columns};
	char *text = calloc(1, 4096);
	struct tree_verdict v;
	struct termios raw;
	struct tree t;
	size_t n = 0;
	ssize_t got;
	FILE *f;

	if (master < 0) {
		free(text);
		skip();
	}
	assert_true(!grantpt(master) && !unlockpt(master));
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(slave >= 0 && !ioctl(slave, TIOCSWINSZ, &size) && !tcgetattr(slave, &raw));
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
	f = fdopen(slave, "w");
	setenv("LC_ALL", locale, 1);
	tree_start(&t, 2, "NestboxNestb", "AMD EPYC · /dev/kvm: none · accelerator: soft", f);
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		say(&t, good[i]);
	tree_conclude(&t, NULL, &v);
	tree_free(&t);
	fflush(f);
	/* while the other end is open: it would take the rest with it */
	for (struct pollfd p = {.fd = master, .events = POLLIN}; n < 4095 && poll(&p, 1, 100) > 0; n += (size_t)got) {
		got = read(master, text + n, 4095 - n);
		if (got <= 0)
			break;
	}
	fclose(f);
	close(master);
	return text;
}

static void terminal_is_narrow(void **state)
{
	char *text = on_terminal(60, "C.UTF-8");

	assert_string_equal(text, "L0  this host         AMD EPYC · /dev/kvm: none\n"
				  "                      accelerator: soft\n"
				  "└─ L1  guest hypervisor   Linux 6.1 · kvm_amd nested=1 npt=Y\n"
				  "                          up in 5.1 s\n"
				  "   └─ L2  nested guest       Linux 6.1\n"
				  "                             on L1's KVM (12 041 exits,\n"
				  "                             cpuid 4.2 µs) · up in 3.3 s\n");
	free(text);
	text = on_terminal(120, "C");
	assert_string_equal(text,
			    "L0  this host         AMD EPYC - /dev/kvm: none - accelerator: soft\n"
			    "`- L1  guest hypervisor   Linux 6.1 - kvm_amd nested=1 npt=Y - up in 5.1 s\n"
			    "   `- L2  nested guest       Linux 6.1 - on L1's KVM (12 041 exits, cpuid 4.2 us) - up in "
			    "3.3 s\n");
	free(text);
}

/* Two guests in L2: the second one's messages carry its number, and its evidence counts for itself. */
static const char *const second[] = {
	"{\"level\":2,\"guest\":2,\"type\":\"hello\",\"kernel\":\"6.1\",\"hypervisor\":\"KVMKVMKVM\",\"up_s\":4.4}",
	"{\"level\":1,\"guest\":2,\"type\":\"evidence\",\"exits\":77}",
	"{\"level\":2,\"guest\":2,\"type\":\"done\",\"up_s\":5}",
};

static void guests_stand_side_by_side(void **state)
{
	for (int without = -1; without < (int)ARRAY_SIZE(second); without++) {
		struct tree_verdict v;
		struct tree t;
		char *text;
		size_t size;
		FILE *f = open_memstream(&text, &size);

		tree_start(&t, 2, "NestboxNestb", "host", f);
		t.guests = 2;
		for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
			say(&t, good[i]);
		assert_false(tree_is_up(&t));
		for (int i = 0; i < (int)ARRAY_SIZE(second); i++)
			if (i != without)
				say(&t, second[i]);
		say(&t, "{\"level\":2,\"guest\":3,\"type\":\"error\",\"what\":\"a guest that is not\"}");
		tree_conclude(&t, NULL, &v);
		fclose(f);
		assert_int_equal(v.code, without < 0 ? EXIT_DONE : without == 1 ? EXIT_NOT_SO : EXIT_GUEST);
		assert_true(without < 0 || !strncmp(v.text, "L2.2 ", 5));
		if (without < 0)
			assert_non_null(
				strstr(text, "├─ L2.1  nested guest       Linux 6.1 · on L1's KVM (12 041 exits"));
		if (without < 0)
			assert_non_null(strstr(text, "└─ L2.2  nested guest       Linux 6.1 · on L1's KVM (77 exits)"));
		tree_free(&t);
		free(text);
	}
}

static void commands_are_printed(void **state)
{
	struct tree t;
	struct tree_verdict v;
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	tree_start(&t, 2, "NestboxNestb", "host", f);
	say(&t, "{\"level\":1,\"type\":\"exec\",\"command\":\"early\",\"status\":0,\"output\":\"\"}");
	say(&t, good[0]);
	say(&t, good[1]);
	say(&t, "{\"level\":1,\"type\":\"exec\",\"command\":\"late\",\"status\":3,\"output\":\"a\\n\\u001bb\",\"cut\":"
		"true}");
	say(&t, "{\"level\":3,\"type\":\"exec\",\"command\":\"beyond\"}");
	say(&t, "{\"level\":1,\"type\":\"exec\",\"output\":7}");
	fclose(f);
	assert_string_equal(text, "L0  this host         host\n"
				  "└─ L1  guest hypervisor   Linux 6.1 · kvm_amd nested=1 npt=Y · up in 5.1 s\n"
				  "L1$ early\nL1$ late\nL1| a\nL1| ?b\nL1: the rest of its output had no room\n"
				  "L1: exit status 3\nL1$ ?\n");
	t.out = NULL;
	tree_conclude(&t, NULL, &v);
	json_t *all = tree_json(&t, &v);
	const json_t *l1 = json_array_get(json_object_get(all, "levels"), 0);
	assert_int_equal(json_array_size(json_object_get(l1, "exec")), 3);
	json_decref(all);
	tree_free(&t);
	free(text);
}

static void every_part_is_needed(void **state)
{
	static const struct {
		int without;
		const char *instead, *stopped;
		enum exit_code code;
		unsigned level;
		const char *says;
	} rows[] = {
		{0, NULL, NULL, EXIT_GUEST, 1, "L1 did not come up"},
		{0, NULL, "triple fault", EXIT_GUEST, 1, "L1 did not come up: triple fault"},
		{0, "{\"level\":1,\"type\":\"hello\",\"hypervisor\":\"TCGTCGTCGTCG\"}", NULL, EXIT_NOT_SO, 1,
		 "TCGTCGTCGTCG"},
		{1, NULL, NULL, EXIT_GUEST, 1, "said nothing of its KVM"},
		{1, "{\"level\":1,\"type\":\"error\",\"kind\":\"not_so\",\"what\":\"kvm_amd\",\"why\":\"no SVM\"}",
		 NULL, EXIT_NOT_SO, 1, "L1: kvm_amd: no SVM"},
		{2, NULL, "it ran out of time", EXIT_GUEST, 2, "L2 did not come up: it ran out of time"},
		{2, "{\"level\":2,\"type\":\"hello\",\"hypervisor\":\"TCGTCGTCGTCG\"}", NULL, EXIT_NOT_SO, 2,
		 "TCGTCGTCGTCG"},
		{2, "{\"level\":2,\"type\":\"hello\"}", NULL, EXIT_NOT_SO, 2, "\"?\""},
		{2, "{\"level\":7,\"type\":\"hello\",\"hypervisor\":\"KVMKVMKVM\"}", NULL, EXIT_GUEST, 2,
		 "L2 did not come up"},
		{5, NULL, NULL, EXIT_GUEST, 2, "L2 did not finish"},
		{6, NULL, NULL, EXIT_NOT_SO, 2, "no exits"},
		{6, "{\"level\":1,\"type\":\"evidence\",\"exits\":0}", NULL, EXIT_NOT_SO, 2, "no exits"},
		{6, "{\"level\":1,\"type\":\"evidence\",\"exits\":-5}", NULL, EXIT_NOT_SO, 2, "no exits"},
		{6, "{\"level\":1,\"type\":\"evidence\",\"exits\":\"many\"}", NULL, EXIT_NOT_SO, 2, "no exits"},
		{7, NULL, "it ran out of time", EXIT_GUEST, 1, "L1 did not finish: it ran out of time"},
		{7, "{\"level\":1,\"type\":\"error\",\"kind\":\"timeout\",\"what\":\"L2\",\"why\":\"out of time\"}",
		 NULL, EXIT_TIMEOUT, 2, "L2: out of time"},
		{7, "{\"level\":1,\"type\":\"error\"}", NULL, EXIT_GUEST, 1, "L1: ?: ?"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct tree_verdict v;

		judge(rows[i].without, rows[i].instead, rows[i].stopped, &v);
		assert_int_equal(v.code, rows[i].code);
		assert_int_equal(v.level, rows[i].level);
		assert_non_null(strstr(v.text, rows[i].says));
	}
}

static void nonsense_is_survived(void **state)
{
	static const char *const lines[] = {
		"{}",
		"{\"level\":0,\"type\":\"hello\"}",
		"{\"level\":-3,\"type\":\"done\"}",
		"{\"level\":\"1\",\"type\":\"kvm\"}",
		"{\"level\":1}",
		"{\"level\":1,\"type\":5}",
		"{\"level\":1,\"type\":\"kvm\",\"parameters\":3}",
		"{\"level\":1,\"type\":\"dmesg\",\"records\":{}}",
		"{\"level\":1,\"type\":\"dmesg\",\"records\":[1,[],[1,2],[1,2,3]]}",
		"{\"level\":1,\"type\":\"console\",\"of\":99,\"text\":\"x\"}",
		"{\"level\":1,\"type\":\"console\",\"of\":1,\"text\":\"x\"}",
		"{\"level\":2,\"type\":\"cpuid\",\"ns\":-1}",
		"{\"level\":1,\"type\":\"error\",\"what\":[]}",
		"{\"level\":1,\"type\":\"error\",\"what\":\"late\"}",
		"{\"level\":1,\"type\":\"hello\",\"up_s\":\"x\"}",
	};
	struct tree_verdict v;
	struct tree t;
	FILE *f = fopen("/dev/null", "w");

	tree_start(&t, 2, "NestboxNestb", "host", f);
	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++)
		say(&t, lines[i]);
	tree_conclude(&t, NULL, &v);
	assert_int_not_equal(v.code, EXIT_DONE);
	json_decref(tree_json(&t, &v));
	tree_free(&t);
	fclose(f);
}

static void complaints(void **state)
{
	assert_true(tree_is_complaint(4, "WARNING: CPU: 0 PID: 1 at kernel/time.c"));
	assert_true(tree_is_complaint(3, "unchecked MSR access error: RDMSR from 0x1b0"));
	assert_true(tree_is_complaint(
		4, "clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable"));
	assert_true(tree_is_complaint(0, "anything at emergency"));
	assert_false(tree_is_complaint(6, "clocksource: Switched to clocksource tsc"));
	assert_false(tree_is_complaint(6, "tsc: Detected 2445.404 MHz processor"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tree_is_printed),
		cmocka_unit_test(terminal_is_narrow),
		cmocka_unit_test(guests_stand_side_by_side),
		cmocka_unit_test(commands_are_printed),
		cmocka_unit_test(every_part_is_needed),
		cmocka_unit_test(nonsense_is_survived),
		cmocka_unit_test(complaints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
