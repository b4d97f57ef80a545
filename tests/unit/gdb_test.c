/* The remote stub at the level of packets: framing, registers, memory, points, threads; and a guest of a few bytes that
 * runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/model.h"
#include "arch/x86/state.h"
#include "cpu/engine.h"
#include "gdb/regs.h"
#include "gdb/stub.h"

#define CODE 0x1000u

struct fixture {
	struct vm vm;
	struct log *log;
	struct x86_model model;
	struct gdb_stub stub;
	struct packet_out out;
};

/* Flat 32-bit code without paging: inc eax; mov [0x3000], eax; jmp back. */
static const u8 code[] = {0x40, 0xa3, 0x00, 0x30, 0x00, 0x00, 0xeb, 0xf8};

static struct fixture *start(void)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct x86_state *st = malloc(sizeof(*st));
	struct err e = {0};

	f->log = log_new(stderr, "");
	assert_int_equal(vm_init(&f->vm, f->log, clock_host(), &e), 0);
	assert_int_equal(ram_add(&f->vm.ram, 0, 1 << 20, false, &e), 0);
	assert_int_equal(x86_model_parse("EPYC-Milan", &f->model, &e), 0);
	f->vm.nvcpus = 1;
	assert_int_equal(soft_vcpu_new(&f->vm, 0, &f->model, NULL, &f->vm.vcpu[0], &e), 0);
	memcpy(ram_host(&f->vm.ram, CODE, sizeof(code)), code, sizeof(code));
	f->vm.vcpu[0]->ops->get_state(f->vm.vcpu[0], st);
	st->cr0 |= CR0_PE;
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = (struct x86_seg){8, SEG_P | SEG_S | SEG_RW | SEG_DB | (i == CS ? SEG_CODE : 0), ~0u, 0};
	st->rip = CODE;
	st->gpr[0] = 0;
	assert_int_equal(f->vm.vcpu[0]->ops->set_state(f->vm.vcpu[0], st, &e), 0);
	free(st);
	assert_int_equal(stub_init(&f->stub, &f->vm, NULL), 0);
	return f;
}

static void end(struct fixture *f)
{
	stub_destroy(&f->stub);
	vm_destroy(&f->vm);
	log_free(f->log);
	free(f);
}

static const char *ask(struct fixture *f, const char *packet)
{
	f->out = (struct packet_out){0};
	assert_int_equal(stub_command(&f->stub, packet, (u32)strlen(packet), &f->out), STUB_REPLY);
	assert_false(f->out.overflow);
	return f->out.data;
}

/* Sends a packet that lets the guest go on, runs it, and gives the stop packet. */
static const char *go(struct fixture *f, const char *packet)
{
	struct err e = {0};

	f->out = (struct packet_out){0};
	assert_int_equal(stub_command(&f->stub, packet, (u32)strlen(packet), &f->out), STUB_RUN);
	assert_int_equal(f->vm.vcpu[0]->ops->run(f->vm.vcpu[0], &e), RUN_DEBUG);
	f->out = (struct packet_out){0};
	stub_stopped(&f->stub, false, &f->out);
	return f->out.data;
}

static enum packet_event feed(struct packet_in *p, const char *text)
{
	enum packet_event last = PACKET_NONE;

	while (*text)
		last = packet_byte(p, (u8)*text++);
	return last;
}

static void test_framing(void **unused)
{
	struct packet_in *p = calloc(1, sizeof(*p));
	struct packet_out out = {0};
	char frame[64];

	assert_int_equal(feed(p, "+$g#67"), PACKET_READY);
	assert_string_equal(p->data, "g");
	assert_int_equal(feed(p, "$g#68"), PACKET_BAD);
	assert_int_equal(feed(p, "$torn$g#67"), PACKET_READY);
	assert_int_equal(feed(p, "$X}\x03}]#b2"), PACKET_READY);
	assert_memory_equal(p->data, "X#}", 3);
	assert_int_equal(p->n, 3);
	assert_int_equal(packet_byte(p, 3), PACKET_BREAK);
	packet_byte(p, '$');
	for (unsigned i = 0; i < PACKET_MAX + 9; i++)
		packet_byte(p, 'a');
	assert_int_equal(feed(p, "#00"), PACKET_BAD);
	packet_put_binary(&out, "a#}", 3);
	frame[packet_frame(&out, frame)] = 0;
	assert_string_equal(frame, "$a}\x03}]#bb");
	free(p);
}

static void test_registers(void **unused)
{
	struct fixture *f = start();
	static char xml[32768];
	unsigned bytes = 0;

	for (unsigned i = 0; i < regs_count(); i++)
		bytes += regs_size(i);
	assert_int_equal(strlen(ask(f, "g")), bytes * 2);
	assert_string_equal(ask(f, "p10"), "0010000000000000");
	assert_string_equal(ask(f, "P0=8877665544332211"), "OK");
	assert_string_equal(ask(f, "p0"), "8877665544332211");
	assert_string_equal(ask(f, "P11=d70a0000"), "OK");
	assert_string_equal(ask(f, "p11"), "d70a0000");
	assert_string_equal(ask(f, "p12"), "08000000");
	assert_string_equal(ask(f, "P12=10000000"), "E01");
	assert_string_equal(ask(f, "pff"), "E01");
	assert_string_equal(ask(f, "P0=88"), "E01");
	assert_true(regs_xml(xml, sizeof(xml)) > 1000);
	assert_non_null(strstr(xml, "name=\"fs_base\""));
	ask(f, "qXfer:features:read:target.xml:0,20");
	assert_memory_equal(f->out.data, "m<?xml", 6);
	ask(f, "qXfer:features:read:target.xml:fffff,20");
	assert_string_equal(f->out.data, "l");
	end(f);
}

static void test_memory(void **unused)
{
	struct fixture *f = start();

	assert_string_equal(ask(f, "m1000,8"), "40a300300000ebf8");
	assert_string_equal(ask(f, "M2000,2:abcd"), "OK");
	assert_string_equal(ask(f, "m2000,4"), "abcd0000");
	assert_string_equal(ask(f, "mffffe,8"), "0000");
	assert_string_equal(ask(f, "m100000,8"), "E14");
	assert_string_equal(ask(f, "m1000"), "E01");
	assert_string_equal(ask(f, "M2000,4:abcd"), "E01");
	assert_string_equal(ask(f, "mffffffffffffffff,4"), "E14");
	assert_string_equal(ask(f, "mfffffffffffffffff,4"), "E01");
	end(f);
}

static void test_points_and_steps(void **unused)
{
	struct fixture *f = start();

	assert_string_equal(go(f, "vCont;s:1;c"), "T05thread:1;");
	assert_string_equal(ask(f, "p10"), "0110000000000000");
	assert_string_equal(go(f, "s"), "T05thread:1;");
	assert_string_equal(ask(f, "p10"), "0610000000000000");
	assert_string_equal(ask(f, "Z0,1006,1"), "OK");
	ask(f, "qSupported:swbreak+");
	assert_string_equal(go(f, "c"), "T05thread:1;swbreak:;");
	assert_string_equal(ask(f, "p10"), "0610000000000000");
	assert_string_equal(ask(f, "m1006,1"), "eb");
	assert_string_equal(go(f, "vCont;c"), "T05thread:1;swbreak:;");
	assert_string_equal(ask(f, "p0"), "0200000000000000");
	assert_string_equal(ask(f, "z0,1006,1"), "OK");
	assert_string_equal(ask(f, "z0,1006,1"), "E01");
	assert_string_equal(ask(f, "Z2,3002,1"), "OK");
	assert_string_equal(go(f, "c"), "T05thread:1;watch:3002;");
	assert_string_equal(ask(f, "p10"), "0610000000000000");
	assert_string_equal(ask(f, "p0"), "0300000000000000");
	assert_string_equal(ask(f, "z2,3002,1"), "OK");
	assert_string_equal(ask(f, "Z3,3000,4"), "OK");
	assert_string_equal(ask(f, "Z1,1000,1"), "OK");
	assert_string_equal(go(f, "c"), "T05thread:1;swbreak:;");
	assert_string_equal(ask(f, "Z7,1000,1"), "");
	for (unsigned i = 0; i < DEBUG_POINTS - 2; i++) {
		char packet[32];

		snprintf(packet, sizeof(packet), "Z0,%x,1", 0x5000 + i);
		assert_string_equal(ask(f, packet), "OK");
	}
	assert_string_equal(ask(f, "Z0,6000,1"), "E01");
	end(f);
}

static void test_threads(void **unused)
{
	struct fixture *f = start();

	assert_string_equal(ask(f, "qfThreadInfo"), "m1");
	assert_string_equal(ask(f, "qsThreadInfo"), "l");
	assert_string_equal(ask(f, "T1"), "OK");
	assert_string_equal(ask(f, "T2"), "E01");
	assert_string_equal(ask(f, "Hg2"), "E01");
	assert_string_equal(ask(f, "Hg0"), "OK");
	assert_string_equal(ask(f, "vCont;c:9"), "E01");
	assert_string_equal(ask(f, "vMustReplyEmpty"), "");
	assert_string_equal(ask(f, "!"), "");
	end(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_framing), cmocka_unit_test(test_registers),
		cmocka_unit_test(test_memory),	cmocka_unit_test(test_points_and_steps),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
