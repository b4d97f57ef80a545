/*
 * Four software processors on the same bytes: atomics with exact totals, cross-modifying code, code that a device
 * stores, TLB shootdown, accessed and dirty flags against locked stores, INIT and start-up messages.
 *
 * The guests are a few instructions each, all processors in 64-bit mode on one set of page tables (the first 2 MiB as
 * 4-KiB pages, linear = physical). A guest that is content counts itself in DONE and halts; one that is not leaves what
 * it found in FAIL. Argument: seconds to go on for (default: one short pass).
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/x86/model.h"
#include "cpu/engine.h"
#include "cpu/x86/cpu.h"

#define CPUS   4u
#define TABLES 0x100000u
#define PT     (TABLES + 0x3000)
#define CODE   0x1000u
#define STACKS 0x8000u

/* The guests' data; they spell the addresses out. */
#define DONE	   0x10f00u
#define FAIL	   0x10f40u
#define INC	   0x10000u
#define XADD	   0x10040u
#define CMPX	   0x10080u
#define CMPX16	   0x100c0u
#define LOCKED	   0x10108u
#define LINE	   0x1013eu /* crosses a cache line */
#define CROSS	   0x11ffeu /* crosses a page */
#define PTE_OF(la) (PT + (la) / 4096 * 8)

#define GUEST(name, body)                                                                                              \
	extern const u8 name##_start[], name##_end[];                                                                  \
	asm(".pushsection .rodata\n.code64\n" #name "_start:\n" body "\n"                                              \
	    "90: lock incl 0x10f00\n91: cli\n hlt\n jmp 91b\n"                                                         \
	    "99: mov %r8, 0x10f48\n mov %rax, 0x10f50\n mov %rdi, 0x10f58\n movl $1, 0x10f40\n jmp 90b\n" #name        \
	    "_end:\n.popsection");

/* rdi: which processor, rsi: rounds. */
GUEST(atomics, "1: lock incq 0x10000\n"
	       "mov $1, %eax\n lock xadd %rax, 0x10040\n"
	       "2: mov 0x10080, %rax\n lea 1(%rax), %rbx\n lock cmpxchg %rbx, 0x10080\n jne 2b\n"
	       "mov 0x100c0, %rax\n mov 0x100c8, %rdx\n"
	       "3: lea 1(%rax), %rbx\n lea -1(%rdx), %rcx\n lock cmpxchg16b 0x100c0\n jne 3b\n"
	       "4: mov $1, %eax\n xchg %eax, 0x10100\n test %eax, %eax\n jz 5f\n pause\n jmp 4b\n"
	       "5: incq 0x10108\n movl $0, 0x10100\n"
	       "lock incl 0x1013e\n"
	       "test $15, %sil\n jnz 6f\n lock incl 0x11ffe\n"
	       "6: lock incb 0x12001\n" /* the last byte of that one, in place */
	       "dec %rsi\n jnz 1b\n")

/*
 * SDM vol. 3 8.1.3: processor 0 changes the immediate of MOV EAX, imm32 at 20000h in several ways, then says so at
 * 10400h; the others see that, serialise, execute it, and count themselves at 10440h.
 */
GUEST(cross_modify,
      "mov $1, %r8d\n xor %r9d, %r9d\n test %edi, %edi\n jnz 5f\n"
      /* the writer */
      "1: mov %r8d, %eax\n and $3, %eax\n jz 2f\n dec %eax\n jz 3f\n dec %eax\n jz 4f\n"
      "mov %r8d, 0x20001\n jmp 10f\n"
      "2: mov %r8d, %eax\n xchg %eax, 0x20001\n jmp 10f\n"
      "3: mov %r8d, 0x10480\n push %rsi\n push %rdi\n mov $0x10480, %esi\n mov $0x20001, %edi\n mov $4, %ecx\n"
      "cld\n rep movsb\n pop %rdi\n pop %rsi\n jmp 10f\n"
      "4: lock incl 0x20001\n"
      "10: mov %r8d, 0x10400\n add $3, %r9d\n"
      "11: cmp %r9d, 0x10440\n je 12f\n pause\n jmp 11b\n"
      "12: incl 0x20800\n" /* data in the page of code */
      "mov $0x20000, %eax\n test $7, %r8d\n jnz 13f\n call *%rax\n cmp %r8d, %eax\n jne 99f\n"
      "13: inc %r8d\n dec %rsi\n jnz 1b\n jmp 90f\n"
      /* a reader */
      "5: cmp %r8d, 0x10400\n jae 6f\n pause\n jmp 5b\n"
      "6: xor %eax, %eax\n cpuid\n mov $0x20000, %eax\n call *%rax\n cmp %r8d, %eax\n jne 99f\n"
      "lock incl 0x10440\n inc %r8d\n dec %rsi\n jnz 5b\n")

/* The same, with a device as the writer; processor 0 also stores data beside the code. */
GUEST(device_modify, "mov $1, %r8d\n"
		     "5: cmp %r8d, 0x10400\n jae 6f\n pause\n jmp 5b\n"
		     "6: xor %eax, %eax\n cpuid\n mov $0x20000, %eax\n call *%rax\n cmp %r8d, %eax\n jne 99f\n"
		     "test %edi, %edi\n jnz 7f\n incl 0x20800\n"
		     "7: lock incl 0x10440\n inc %r8d\n dec %rsi\n jnz 5b\n")

/* Linear page 30000h is moved between two frames; each processor flushes when told, and stores through it. */
GUEST(shootdown, "mov $1, %r8d\n xor %r9d, %r9d\n test %edi, %edi\n jnz 5f\n"
		 "1: mov %r8d, %eax\n and $1, %eax\n shl $12, %eax\n lea 0x40003(%rax), %rbx\n mov %rbx, 0x103180\n"
		 "invlpg 0x30000\n mov %r8d, 0x10400\n add $3, %r9d\n"
		 "2: cmp %r9d, 0x10440\n je 3f\n pause\n jmp 2b\n"
		 "3: mov %r8, %rdx\n cmp %rdx, -3+8(%rbx)\n jne 99f\n cmp %rdx, -3+16(%rbx)\n jne 99f\n cmp %rdx, "
		 "-3+24(%rbx)\n jne 99f\n"
		 "testb $0x40, 0x103180\n jz 99f\n" /* D was set by their stores */
		 "inc %r8d\n dec %rsi\n jnz 1b\n jmp 90f\n"
		 "5: cmp %r8d, 0x10400\n jae 6f\n pause\n jmp 5b\n"
		 "6: invlpg 0x30000\n mov %r8, 0x30000(,%rdi,8)\n"
		 "lock incl 0x10440\n inc %r8d\n dec %rsi\n jnz 5b\n")

/* Processor 0 flips an ignored bit of a page table entry while the others make theirs set A and D in it. */
GUEST(dirty_flags, "test %edi, %edi\n jnz 5f\n"
		   "1: lock xorl $0x200, 0x103188\n dec %rsi\n jnz 1b\n jmp 90f\n"
		   "5: lock andl $~0x60, 0x103188\n invlpg 0x31000\n mov %rsi, 0x31000(,%rdi,8)\n"
		   "dec %rsi\n jnz 5b\n")

/* Real mode at a start-up vector: counts itself at 0:DONE by a segment. */
extern const u8 trampoline_start[], trampoline_end[];
asm(".pushsection .rodata\n.code16\ntrampoline_start: mov $0x1000, %ax\n mov %ax, %ds\n lock incl 0xf00\n"
    "1: hlt\n jmp 1b\ntrampoline_end:\n.code64\n.popsection");

struct board {
	struct vm vm;
	struct x86_model model;
	pthread_t thread[CPUS];
	struct err err[CPUS];
	int exit[CPUS];
};

static double until; /* of the clock; 0: one pass */

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static u32 *word(struct board *b, u64 pa) { return ram_host(&b->vm.ram, pa, 4); }
static u64 quad(struct board *b, u64 pa)
{
	u64 v;

	memcpy(&v, ram_host(&b->vm.ram, pa, 8), 8);
	return v;
}

static void put(struct board *b, u64 pa, u64 v) { memcpy(ram_host(&b->vm.ram, pa, 8), &v, 8); }

static void make_tables(struct board *b)
{
	put(b, TABLES, TABLES + 0x1007);
	put(b, TABLES + 0x1000, TABLES + 0x2007);
	put(b, TABLES + 0x2000, PT | 7);
	for (u64 i = 0; i < 512; i++)
		put(b, PT + 8 * i, i << 12 | 3);
}

static struct board *board_new(u64 drop_every)
{
	struct board *b = calloc(1, sizeof(*b));
	const struct soft_options o = {.drop_every = drop_every};
	struct err e;

	assert_int_equal(vm_init(&b->vm, log_new(stderr, ""), clock_host(), &e), 0);
	assert_int_equal(ram_add(&b->vm.ram, 0, 2 << 20, false, &e), 0);
	if (x86_model_parse("EPYC-Milan", &b->model, &e))
		fail_msg("%s", e.text);
	b->vm.nvcpus = CPUS;
	for (unsigned i = 0; i < CPUS; i++)
		if (soft_vcpu_new(&b->vm, i, &b->model, &o, &b->vm.vcpu[i], &e))
			fail_msg("%s", e.text);
	make_tables(b);
	return b;
}

static void board_free(struct board *b)
{
	struct log *log = b->vm.log;

	vm_destroy(&b->vm);
	log_free(log);
	free(b);
}

static void long_mode(struct board *b, unsigned i, u64 rounds)
{
	struct vcpu *v = b->vm.vcpu[i];
	struct x86_state *st = malloc(sizeof(*st));
	struct err e;

	v->ops->get_state(v, st);
	st->activity = ACT_RUNNING;
	st->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_ET;
	st->cr3 = TABLES;
	st->cr4 = CR4_PAE;
	st->msr.efer = EFER_LME | EFER_LMA;
	st->seg[CS] = (struct x86_seg){
		.sel = 8, .attr = SEG_P | SEG_S | SEG_CODE | SEG_RW | SEG_ACCESSED | SEG_L, .limit = ~0u};
	st->rip = CODE;
	st->gpr[RSP] = STACKS + 0x1000 * i;
	st->gpr[RDI] = i;
	st->gpr[RSI] = rounds;
	assert_int_equal(v->ops->set_state(v, st, &e), 0);
	free(st);
}

struct go {
	struct board *b;
	unsigned i;
} go[CPUS];

static void *run(void *arg)
{
	struct go *g = arg;

	g->b->exit[g->i] = g->b->vm.vcpu[g->i]->ops->run(g->b->vm.vcpu[g->i], &g->b->err[g->i]);
	if (g->b->exit[g->i] != RUN_STOPPED)
		vm_stop(&g->b->vm, VM_TRIPLE_FAULT, 0);
	return NULL;
}

static void start(struct board *b)
{
	for (unsigned i = 0; i < CPUS; i++) {
		go[i] = (struct go){b, i};
		assert_int_equal(pthread_create(&b->thread[i], NULL, run, &go[i]), 0);
	}
}

/* Waits until `n` processors are done. */
static void finish(struct board *b, unsigned n)
{
	double end = seconds() + 120;

	while (__atomic_load_n(word(b, DONE), __ATOMIC_SEQ_CST) < n && atomic_load(&b->vm.stop) == VM_RUNNING &&
	       seconds() < end)
		usleep(500);
	vm_stop(&b->vm, VM_USER, 0);
	for (unsigned i = 0; i < CPUS; i++) {
		pthread_join(b->thread[i], NULL);
		if (b->exit[i] != RUN_STOPPED)
			print_error("vCPU %u: %s\n", i, b->err[i].text);
	}
	if (*word(b, FAIL))
		fail_msg("processor %u in round %#llx found %#llx", (unsigned)quad(b, FAIL + 24),
			 (unsigned long long)quad(b, FAIL + 8), (unsigned long long)quad(b, FAIL + 16));
	assert_int_equal(*word(b, DONE), n);
}

static struct board *hammer_start(const u8 *code, const u8 *end, u64 rounds, u64 drop_every)
{
	struct board *b = board_new(drop_every);

	memcpy(ram_host(&b->vm.ram, CODE, 1), code, (size_t)(end - code));
	memcpy(ram_host(&b->vm.ram, 0x20000, 1), "\xb8\0\0\0\0\xc3", 6);
	for (unsigned i = 0; i < CPUS; i++)
		long_mode(b, i, rounds);
	start(b);
	return b;
}

static struct board *hammer(const u8 *code, const u8 *end, u64 rounds, u64 drop_every)
{
	struct board *b = hammer_start(code, end, rounds, drop_every);

	finish(b, CPUS);
	return b;
}

static u32 now(struct board *b, u64 pa) { return __atomic_load_n(word(b, pa), __ATOMIC_SEQ_CST); }

static void device_store(struct board *b, u64 pa, const void *bytes, u64 n)
{
	assert_int_equal(vm_dma_write(&b->vm, pa, bytes, n), 0);
}

/* Each round stores a function that returns the round's number, of two forms of different length or just its immediate.
 */
static void device_stores(struct board *b, u32 rounds)
{
	static const u8 forms[2][8] = {"\xb8\0\0\0\0\xc3", "\xc7\xc0\0\0\0\0\xc3"};
	double end = seconds() + 100;

	for (u32 r = 1; r <= rounds; r++) {
		unsigned form = r / 4 & 1;
		u8 code[8];

		memcpy(code, forms[form], 8);
		memcpy(code + 1 + form, &r, 4);
		if (r % 4)
			device_store(b, 0x20001 + form, &r, 4);
		else
			device_store(b, 0x20000, code, 8);
		device_store(b, 0x10400, &r, 4);
		while (now(b, 0x10440) != r * CPUS) {
			if (now(b, FAIL) || atomic_load(&b->vm.stop) != VM_RUNNING || seconds() > end)
				return;
			sched_yield();
		}
	}
}

#define HAMMER(name, rounds, drop) hammer(name##_start, name##_end, rounds, drop)
#define AGAIN			   while (seconds() < until)

static void test_atomics(void **state)
{
	const u64 n = 20000, sum = n * CPUS;

	(void)state;
	do {
		struct board *b = HAMMER(atomics, n, 0);

		assert_int_equal(quad(b, INC), sum);
		assert_int_equal(quad(b, XADD), sum);
		assert_int_equal(quad(b, CMPX), sum);
		assert_int_equal(quad(b, CMPX16), sum);
		assert_int_equal(quad(b, CMPX16 + 8), -sum);
		assert_int_equal(quad(b, LOCKED), sum);
		assert_int_equal(*word(b, LINE), sum);
		assert_int_equal(*word(b, CROSS), (u32)(sum / 16 + (sum << 24)));
		board_free(b);
	}
	AGAIN;
}

static void test_cross_modify(void **state)
{
	(void)state;
	do {
		board_free(HAMMER(cross_modify, 4000, 0));
		board_free(HAMMER(cross_modify, 1000, 37));
	}
	AGAIN;
}

static void test_device_modify(void **state)
{
	(void)state;
	do
		for (unsigned drop_every = 0; drop_every <= 37; drop_every += 37) {
			struct board *b = hammer_start(device_modify_start, device_modify_end, 600, drop_every);

			device_stores(b, 600);
			finish(b, CPUS);
			board_free(b);
		}
	AGAIN;
}

static void test_shootdown(void **state)
{
	(void)state;
	do
		board_free(HAMMER(shootdown, 4000, 0));
	AGAIN;
}

static void test_dirty_flags(void **state)
{
	(void)state;
	do {
		struct board *b = HAMMER(dirty_flags, 50001, 0);

		assert_int_equal(quad(b, PTE_OF(0x31000)) & ~0x60ull, 0x31203);
		board_free(b);
	}
	AGAIN;
}

/* SDM vol. 3 8.4.4.1: a SIPI right behind the INIT must not be lost, a second one must not start anything again. */
static void test_start_up(void **state)
{
	(void)state;
	for (unsigned pass = 0; pass < 20; pass++) {
		struct board *b = board_new(0);

		memcpy(ram_host(&b->vm.ram, 0x9000, 1), trampoline_start, (size_t)(trampoline_end - trampoline_start));
		memcpy(ram_host(&b->vm.ram, CODE, 1), "\xfa\xf4\xeb\xfd", 4);
		long_mode(b, 0, 0);
		start(b);
		for (unsigned i = 1; i < CPUS; i++) {
			b->vm.vcpu[i]->ops->assert_init(b->vm.vcpu[i]);
			b->vm.vcpu[i]->ops->assert_sipi(b->vm.vcpu[i], 9);
			if (pass & 1)
				usleep(200);
			b->vm.vcpu[i]->ops->assert_sipi(b->vm.vcpu[i], 9);
		}
		finish(b, CPUS - 1);
		board_free(b);
	}
}

int main(int argc, char **argv)
{
	/* Each of the hammers gets its share of the time. */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start_up),     cmocka_unit_test(test_atomics),
		cmocka_unit_test(test_cross_modify), cmocka_unit_test(test_shootdown),
		cmocka_unit_test(test_dirty_flags),  cmocka_unit_test(test_device_modify),
	};
	const unsigned ntests = ARRAY_SIZE(tests);
	int rc = 0;

	if (argc < 2)
		return cmocka_run_group_tests(tests, NULL, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(tests) && !rc; i++) {
		until = seconds() + atof(argv[1]) / ntests;
		rc = _cmocka_run_group_tests(tests[i].name, &tests[i], 1, NULL, NULL);
	}
	return rc;
}
