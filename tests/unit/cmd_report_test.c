/* Parts of a report out of a guest's hand, base 64, programs, and the tables of capabilities. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86/vmcs.h"
#include "cmd/base64.h"
#include "cmd/program.h"
#include "cmd/report.h"
#include "inspect/capabilities.h"

static void take(struct report *r, const char *text)
{
	json_t *msg = json_loads(text, 0, NULL);

	assert_non_null(msg);
	report_message(r, msg);
	json_decref(msg);
}

static void parts(void **state)
{
	struct report r = {0};

	take(&r, "{\"type\":\"file\",\"level\":2,\"name\":\"a.txt\",\"by\":\"x\",\"part\":0,\"text\":\"one\\n\"}");
	take(&r, "{\"type\":\"file\",\"level\":2,\"name\":\"a.txt\",\"by\":\"x\",\"part\":1,\"base64\":\"AHR3bw==\"}");
	take(&r, "{\"type\":\"missing\",\"level\":2,\"name\":\"b.txt\",\"why\":\"gone\"}");
	take(&r, "{\"type\":\"report_end\",\"level\":2}");
	assert_int_equal(r.nfiles, 2);
	assert_int_equal(r.files[0].size, 8);
	assert_memory_equal(r.files[0].data, "one\n\0two", 8);
	assert_null(r.files[1].data);
	assert_string_equal(r.files[1].why, "gone");
	assert_true(r.ended[2]);
	assert_int_equal(r.parts_lost, 0);
	report_free(&r);
}

/* Whatever comes, it is counted and dropped. */
static void hostile(void **state)
{
	static const char *const bad[] = {
		"{\"type\":\"file\",\"level\":1,\"name\":\"../up\",\"part\":0,\"text\":\"x\"}",
		"{\"type\":\"file\",\"level\":1,\"name\":\"/etc/passwd\",\"part\":0,\"text\":\"x\"}",
		"{\"type\":\"file\",\"level\":1,\"name\":\".hidden\",\"part\":0,\"text\":\"x\"}",
		"{\"type\":\"file\",\"level\":1,\"name\":\"\",\"part\":0,\"text\":\"x\"}",
		"{\"type\":\"file\",\"level\":1,\"part\":0,\"text\":\"x\"}",
		"{\"type\":\"file\",\"level\":1,\"name\":\"new.txt\",\"part\":1,\"text\":\"x\"}",
		"{\"type\":\"file\",\"level\":1,\"name\":\"have.txt\",\"part\":0,\"text\":\"x\"}",
		"{\"type\":\"file\",\"level\":1,\"name\":\"have.txt\",\"part\":1,\"base64\":\"x\"}",
		"{\"type\":\"file\",\"level\":1,\"name\":\"have.txt\",\"part\":1,\"base64\":\"====\"}",
		"{\"type\":\"file\",\"level\":1,\"name\":\"have.txt\",\"part\":1,\"text\":7}",
		"{\"type\":\"missing\",\"level\":1,\"name\":\"have.txt\",\"why\":\"\"}",
	};
	static const char *const ignored[] = {
		"{\"type\":\"file\",\"level\":0,\"name\":\"l0.txt\",\"part\":0,\"text\":\"x\"}",
		"{\"type\":\"file\",\"level\":9,\"name\":\"l9.txt\",\"part\":0,\"text\":\"x\"}",
		"{\"type\":\"file\",\"level\":-1,\"name\":\"l.txt\",\"part\":0,\"text\":\"x\"}",
		"{\"type\":7,\"level\":1}",
		"{}",
	};
	struct report r = {0};
	char name[200];

	take(&r, "{\"type\":\"file\",\"level\":1,\"name\":\"have.txt\",\"part\":0,\"text\":\"x\"}");
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		take(&r, bad[i]);
		assert_int_equal(r.parts_lost, i + 1);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(ignored); i++)
		take(&r, ignored[i]);
	assert_int_equal(r.parts_lost, ARRAY_SIZE(bad));
	assert_int_equal(r.nfiles, 1);
	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "{\"type\":\"missing\",\"level\":1,\"name\":\"f%u.txt\",\"why\":\"\"}", i);
		take(&r, name);
	}
	assert_int_equal(r.nfiles, 200);
	take(&r, "{\"type\":\"report_end\",\"level\":1}");
	take(&r, "{\"type\":\"file\",\"level\":1,\"name\":\"have.txt\",\"part\":1,\"text\":\"late\"}");
	assert_int_equal(r.files[0].size, 1);
	report_free(&r);
}

static void too_much(void **state)
{
	struct report r = {0};
	char *text = malloc(1 << 20);
	json_t *msg;

	memset(text, 'x', 1 << 20);
	for (unsigned i = 0; i < 12; i++) {
		msg = json_pack("{s:s, s:i, s:s, s:i, s:s#}", "type", "file", "level", 1, "name", "big", "part", (int)i,
				"text", text, 1 << 20);
		report_message(&r, msg);
		json_decref(msg);
	}
	assert_int_equal(r.files[0].size, 8 << 20);
	assert_int_equal(r.parts_lost, 4);
	free(text);
	report_free(&r);
}

static void base64(void **state)
{
	u8 bytes[300];
	size_t n;

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (u8)(i * 7);
	for (unsigned size = 0; size < sizeof(bytes); size++) {
		char *text = base64_encode(bytes, size);
		u8 *back = base64_decode(text, strlen(text), &n);

		assert_non_null(back);
		assert_int_equal(n, size);
		assert_memory_equal(back, bytes, size);
		free(back);
		free(text);
	}
	assert_null(base64_decode("ab=c", 4, &n));
	assert_null(base64_decode("=abc", 4, &n));
	assert_null(base64_decode("abc", 3, &n));
}

static void programs(void **state)
{
	struct program_output o;
	struct err e = {0};

	assert_int_equal(program_run("printf %s-%s a b", 5000, 100, &o, &e), 0);
	assert_string_equal(o.text, "a-b");
	assert_int_equal(o.status, 0);
	free(o.text);
	assert_int_equal(program_run("head -c 100000 /dev/zero", 5000, 1000, &o, &e), 0);
	assert_int_equal(o.size, 1000);
	assert_true(o.cut);
	free(o.text);
	assert_int_equal(program_run("no-such-program-here", 5000, 100, &o, &e), -ENOENT);
	assert_int_equal(program_run("sleep 50", 200, 100, &o, &e), -ETIMEDOUT);
	assert_non_null(strstr(e.text, "sleep did not end"));
	assert_int_equal(program_run("false", 5000, 100, &o, &e), 0);
	assert_int_equal(o.status, 1);
	free(o.text);
}

static const struct {
	u8 word, bit;
} controls[] = {
#define CTL(word, bit, name, kind, feature, option) {VMX_##word, bit},
#define CAP(msr, bit, option)
#include "arch/x86/vmxctl.def"
#undef CAP
#undef CTL
};

/* A recorded processor that may have every control: each one that we know stands in the tables. */
static void capabilities(void **state)
{
	static const u32 msr_of[] = {
		[VMX_PIN] = 0x48d, [VMX_PROC] = 0x48e, [VMX_PROC2] = 0x48b, [VMX_EXIT] = 0x48f, [VMX_ENTRY] = 0x490};
	char dir[] = "/tmp/nestbox-test-XXXXXX", path[80], *text = NULL;
	size_t n;
	struct host *h;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/cpuid", dir);
	f = fopen(path, "w");
	fputs("0x00000000 0x00: eax=0x0000000d ebx=0x756e6547 ecx=0x6c65746e edx=0x49656e69\n"
	      "0x00000001 0x00: eax=0x000306c3 ebx=0x00000000 ecx=0x00000020 edx=0x00000000\n",
	      f);
	fclose(f);
	snprintf(path, sizeof(path), "%s/msr", dir);
	f = fopen(path, "w");
	fputs("0x0000003a 0x0000000000000005\n0x00000480 0x00da040000000011\n0x00000492 EIO\n", f);
	for (unsigned i = 0; i < ARRAY_SIZE(msr_of); i++)
		fprintf(f, "0x%08x 0xffffffff00000000\n", msr_of[i]);
	fclose(f);
	assert_int_equal(host_open(dir, &h, NULL), 0);
	f = open_memstream(&text, &n);
	capabilities_print(h, f);
	fclose(f);
	host_close(h);
	assert_non_null(strstr(text, "VMX yes, SVM no"));
	assert_non_null(strstr(text, "VMX outside SMX"));
	assert_non_null(strstr(text, "VMCS revision 0x11, regions of 1024 bytes, memory type 6"));
	assert_non_null(
		strstr(text, "IA32_VMX_PROCBASED_CTLS3 (0x492): cannot be read: the processor does not have it"));
	for (unsigned i = 0; i < ARRAY_SIZE(controls); i++) {
		char head[40], line[40], *at, *end;

		snprintf(head, sizeof(head), "(0x%x): 0x", msr_of[controls[i].word]);
		snprintf(line, sizeof(line), "  bit %2u  0 or 1 ", controls[i].bit);
		at = strstr(text, head);
		assert_non_null(at);
		end = strstr(at + 1, "\nIA32_");
		at = strstr(at, line);
		assert_true(at && (!end || at < end));
	}
	free(text);
	unlink(path);
	snprintf(path, sizeof(path), "%s/cpuid", dir);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts),  cmocka_unit_test(hostile),  cmocka_unit_test(too_much),
		cmocka_unit_test(base64), cmocka_unit_test(programs), cmocka_unit_test(capabilities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
