/* The dump of a broken guest: registers, and the instruction at RIP found through paging, real mode, and a nested
 * guest's two sets of tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/vmcb.h"
#include "machine/dump.h"

#define RAM_SIZE 0x200000u

struct rig {
	struct vm vm;
	struct x86_state st;
	char *text;
	size_t size;
	FILE *out;
};

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct log *log;

	r->out = open_memstream(&r->text, &r->size);
	log = log_new(r->out, "");
	assert_int_equal(vm_init(&r->vm, log, clock_host(), NULL), 0);
	assert_int_equal(ram_add(&r->vm.ram, 0, RAM_SIZE, false, NULL), 0);
	x86_reset(&r->st, X86_AMD, 0x800f12, false);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;
	struct log *log = r->vm.log;

	vm_destroy(&r->vm);
	log_free(log);
	fclose(r->out);
	free(r->text);
	free(r);
	return 0;
}

static void *at(struct rig *r, u64 gpa) { return ram_host(&r->vm.ram, gpa, 4096); }

static void says(struct rig *r, const char *words)
{
	dump_vcpu(&r->vm, 0, &r->st, NULL, r->out);
	fflush(r->out);
	if (!strstr(r->text, words))
		fail_msg("\"%s\" is not in: %s", words, r->text);
}

/* One table of each kind from `root` on, that maps `la` (a 4 KiB page) to `pa`. */
static void map(struct rig *r, u64 root, u64 la, u64 pa)
{
	for (unsigned level = 3; level; level--, root += 0x1000)
		((u64 *)at(r, root))[la >> (12 + 9 * level) & 511] = (root + 0x1000) | PTE_P | PTE_W | PTE_U;
	((u64 *)at(r, root))[la >> 12 & 511] = pa | PTE_P | PTE_W | PTE_U;
}

static void long_mode(struct rig *r, u64 rip, u64 cr3)
{
	r->st.cr0 = CR0_PE | CR0_PG | CR0_ET;
	r->st.cr4 = CR4_PAE;
	r->st.cr3 = cr3;
	r->st.msr.efer = EFER_LME | EFER_LMA;
	r->st.seg[CS].attr = SEG_P | SEG_S | SEG_CODE | SEG_RW | SEG_L;
	r->st.rip = rip;
}

static void paged(void **state)
{
	struct rig *r = *state;

	long_mode(r, 0xffffffff81000ffe, 0x10000);
	map(r, 0x10000, 0xffffffff81000000, 0x50000);
	memcpy((u8 *)at(r, 0x50000) + 0xffe, "\x0f\x0b", 2);
	says(r, "0f 0b  : ud2");
}

static void real_mode(void **state)
{
	struct rig *r = *state;

	r->st.seg[CS].base = 0x1230;
	r->st.rip = 4;
	memcpy((u8 *)at(r, 0x1000) + 0x234, "\xb8\x34\x12", 3);
	says(r, "mov ax, 0x1234");
}

static void nothing_there(void **state)
{
	struct rig *r = *state;

	long_mode(r, 0x8000000000, 0x10000);
	says(r, "no memory there");
	long_mode(r, 0x8000, 0xffffff000);
	says(r, "no memory there");
}

static void nested(void **state)
{
	struct rig *r = *state;
	struct vmcb *vmcb = at(r, 0x3000);

	long_mode(r, 0x400000, 0x7000);
	r->st.svm.in_guest = 1;
	r->st.svm.vmcb = 0x3000;
	vmcb->c.np_control = 1;
	vmcb->c.ncr3 = 0x20000;
	/* The guest's tables at its 0x7000 to 0xafff lie at 0x87000; its code page 0x5000 lies at 0x60000. */
	for (u64 page = 0x7000; page < 0xb000; page += 0x1000)
		map(r, 0x20000, page, 0x80000 + page);
	map(r, 0x20000, 0x5000, 0x60000);
	map(r, 0x87000, 0x400000, 0x5000);
	for (unsigned i = 0; i < 3; i++)
		((u64 *)at(r, 0x87000 + i * 0x1000))[0x400000ull >> (39 - 9 * i) & 511] -= 0x80000;
	memcpy(at(r, 0x60000), "\x0f\x01\xd9", 3);
	says(r, "vmmcall");
	says(r, "inside an SVM guest");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(paged, setup, teardown),
		cmocka_unit_test_setup_teardown(real_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_there, setup, teardown),
		cmocka_unit_test_setup_teardown(nested, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
