/*
 * The dump of a broken guest: registers, the instruction at RIP found through paging, real mode, a nested guest's two
 * sets of tables of either vendor; callers, names, walks and shutdowns in words.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/vmcb.h"
#include "arch/x86/vmcs.h"
#include "inspect/fault.h"
#include "inspect/symbols.h"
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

static void has(struct rig *r, const char *words)
{
	fflush(r->out);
	if (!strstr(r->text, words))
		fail_msg("\"%s\" is not in: %s", words, r->text);
}

static void says_with(struct rig *r, const struct inspect_symbols *symbols, const char *words)
{
	rewind(r->out);
	dump_vcpu(&r->vm, 0, &r->st, symbols, r->out);
	has(r, words);
}

static void says(struct rig *r, const char *words) { says_with(r, NULL, words); }

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
	says(r, "=> ffffffff81000ffe  0f 0b                          ud2");
	says(r, "no memory there"); /* the next page */
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

/* The same through EPT: guest tables at 0x7000 lie at 0x87000, the code page 0x5000 at 0x60000. */
static void ept(void **state)
{
	struct rig *r = *state;
	struct vmcs *vmcs = at(r, 0x3000);
	struct inspect_memory m;

	long_mode(r, 0x400000, 0x7000);
	r->st.vmx.in_guest = 1;
	r->st.vmx.vmcs = 0x3000;
	vmcs->f[VMCS_PROC] = (u32)VMX_PROC_PROC2;
	vmcs->f[VMCS_PROC2] = (u32)VMX_PROC2_EPT;
	vmcs->f[VMCS_EPTP] = 0x20000 | 3 << 3 | 6;
	for (u64 page = 0x7000; page < 0xb000; page += 0x1000)
		map(r, 0x20000, page, 0x80000 + page);
	map(r, 0x20000, 0x5000, 0x60000 | 6 << 3);
	map(r, 0x87000, 0x400000, 0x5000);
	for (unsigned i = 0; i < 3; i++)
		((u64 *)at(r, 0x87000 + i * 0x1000))[0x400000ull >> (39 - 9 * i) & 511] -= 0x80000;
	((u64 *)at(r, 0x23000))[5] &= ~(u64)PTE_W;
	memcpy(at(r, 0x60000), "\x0f\x01\xc1", 3);
	says(r, "vmcall");
	says(r, "inside a VMX guest, VMCS at 0x3000");
	inspect_memory(&m, &r->vm, &r->st);
	inspect_walk(&m, &r->st, 0x400000, r->out);
	has(r, "guest physical 0x5000\n");
	has(r, "EPT    PT          0x23028: 0000000000060035 r-x WB\n");
	has(r, "0x400000 is physical 0x60000\n");
	((u64 *)at(r, 0x23000))[5] = 0;
	inspect_walk(&m, &r->st, 0x400000, r->out);
	has(r, "EPT    PT          0x23028: 0000000000000000 not present\n");
}

/* Code at 0x8000; the stack at 0x9000 holds two return addresses, of which only one follows a call. */
static void callers(void **state)
{
	static const char map_text[] = "0000000000008000 T start\n0000000000008100 t helper\n0000000000009000 D data\n";
	struct rig *r = *state;
	struct inspect_symbols *symbols = NULL;
	u64 *stack = at(r, 0x9000);
	u64 la;

	long_mode(r, 0x8104, 0x10000);
	map(r, 0x10000, 0x8000, 0x8000);
	map(r, 0x10000, 0x9000, 0x9000);
	memcpy((u8 *)at(r, 0x8000) + 0x20, "\xe8\xdb\x00\x00\x00", 5); /* call 0x8100 */
	r->st.gpr[RSP] = 0x9000;
	stack[0] = 0x8050;
	stack[3] = 0x8025;
	says(r, "return addresses on the stack\n  [0000000000009018] 0000000000008025\n");
	assert_int_equal(inspect_symbols_new(map_text, strlen(map_text), &symbols, NULL), 0);
	says_with(r, symbols, "0000000000008025 <start+0x25>\n");
	says_with(r, symbols, "<helper+0x4>");
	assert_true(inspect_symbol_find(symbols, "helper", &la));
	assert_int_equal(la, 0x8100);
	assert_false(inspect_symbol_find(symbols, "data", &la)); /* only code has names */
	inspect_symbols_free(symbols);
	assert_int_equal(inspect_symbols_new("nothing\n", 8, &symbols, NULL), -EINVAL);
	assert_int_equal(inspect_symbols_new("\177ELF\2\1\1", 7, &symbols, NULL), -EINVAL);
	/* A chain of frame pointers: two frames, each with a return address. */
	stack[0x10] = 0x9100;
	stack[0x11] = 0x8025;
	stack[0x20] = 0;
	stack[0x21] = 0x8025;
	r->st.gpr[RBP] = 0x9080;
	says(r, "called from (frame pointers)\n  [0000000000009088] 0000000000008025\n  [0000000000009108] "
		"0000000000008025\n");
}

static void shutdowns(void **state)
{
	static const struct vcpu_shutdown s = {
		.first = {.known = 1, .vector = EXC_PF, .has_error = 1, .error = 0x12, .cr2 = 0xfeed0000},
		.second = {.known = 1, .vector = EXC_NP, .has_error = 1, .error = 14 << 3 | 3},
		.third = {.known = 1, .vector = EXC_GP, .has_error = 1, .error = 0x10},
	};
	struct rig *r = *state;
	struct inspect_memory m;
	u64 *idt = at(r, 0x9000);

	long_mode(r, 0x8000, 0x10000);
	map(r, 0x10000, 0x9000, 0x9000);
	r->st.idtr = (struct x86_dtr){0x9000, 16 * 16 - 1};
	idt[16] = 0x0000ee0500108000;
	inspect_memory(&m, &r->vm, &r->st);
	inspect_shutdown(&m, &r->st, &s, r->out);
	has(r, "first: #PF at 00000000feed0000, error 0x12 (not present, write, fetch)\n");
	has(r, "#NP, error 0x73 (IDT entry 14)\n");
	has(r, "#GP, error 0x10 (selector 0010 of the GDT)\n");
	has(r, "IDT entry 14 at 00000000000090e0: not present");
	has(r, "IDT entry 8 at 0000000000009080: interrupt gate to 0010:0000000000008000 dpl 3 ist 5\n");
	inspect_gate(&m, &r->st, 16, r->out);
	has(r, "IDT entry 16 at 0000000000009100: beyond the IDT's limit ff\n");
	r->st.msr.efer = 0;
	r->st.cr0 = 0;
	inspect_memory(&m, &r->vm, &r->st);
	r->st.idtr = (struct x86_dtr){0, 0x3ff};
	((u32 *)at(r, 0))[0x21] = 0xf0001234;
	inspect_gate(&m, &r->st, 0x21, r->out);
	has(r, "IDT entry 33 at 0000000000000084: f000:1234\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(paged, setup, teardown),
		cmocka_unit_test_setup_teardown(real_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_there, setup, teardown),
		cmocka_unit_test_setup_teardown(nested, setup, teardown),
		cmocka_unit_test_setup_teardown(ept, setup, teardown),
		cmocka_unit_test_setup_teardown(callers, setup, teardown),
		cmocka_unit_test_setup_teardown(shutdowns, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
