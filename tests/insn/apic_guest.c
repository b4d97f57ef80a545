/*
 * Two software processors with their local APICs: IPIs of every kind, the modes of the APIC with their #GPs, timers
 * that wake HLT, and MONITOR and MWAIT between processors, where a lost wake-up would hang.
 *
 * The guests run in 64-bit mode on identity tables with the APIC's page mapped. r14 is the processor's number; a guest
 * that is content counts itself in DONE and halts, one that is not leaves what it found in FAIL.
 */
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
#include "dev/lapic.h"

#define CPUS   2u
#define TABLES 0x100000u
#define CODE   0x1000u
#define STACKS 0x9000u
#define HANDS  0x20000u
#define IDT    0x30000u

#define DONE 0x10f00u
#define FAIL 0x10f40u

#define CODE_OF(name, body)                                                                                            \
	extern const u8 name##_start[], name##_end[];                                                                  \
	asm(".pushsection .rodata\n.code64\n" #name "_start:\n" body "\n" #name "_end:\n.popsection");
#define GUEST(name, body)                                                                                              \
	CODE_OF(name, body "\n90: lock incl 0x10f00\n91: cli\n hlt\n jmp 91b\n"                                        \
			   "99: mov %eax, 0x10f44\n movl $1, 0x10f40\n jmp 90b\n")

/* Interrupts count themselves by processor; r13: the EOI goes by MSR. NMIs and #GPs count too, the latter skip two
 * bytes. */
CODE_OF(on_intr, "push %rax\n push %rcx\n push %rdx\n lock incl 0x10600(,%r14,4)\n"
		 "test %r13d, %r13d\n jnz 1f\n mov $0xfee000b0, %eax\n movl $0, (%rax)\n jmp 2f\n"
		 "1: xor %eax, %eax\n xor %edx, %edx\n mov $0x80b, %ecx\n wrmsr\n"
		 "2: pop %rdx\n pop %rcx\n pop %rax\n iretq\n")
CODE_OF(on_nmi, "lock incl 0x10680(,%r14,4)\n iretq\n")
CODE_OF(on_gp, "inc %r15d\n addq $2, 8(%rsp)\n add $8, %rsp\n iretq\n")

/* Waits until a counter has a value. */
#define WAIT(address, value) "1: cmpl $" #value ", " #address "\n je 2f\n pause\n jmp 1b\n 2:\n"

GUEST(ipis, "mov $0xfee00000, %ebx\n movl $0x1ff, 0xf0(%rbx)\n sti\n"
	    "test %r14d, %r14d\n jz 10f\n"
	    /* processor 1 sleeps between its interrupts; the last of them says so */
	    "11: movl $1, 0x10700\n hlt\n cmpl $0, 0x10704\n je 11b\n jmp 90f\n"
	    "10: " WAIT(0x10700, 1)
      /* self, physical, all but self, all */
      "movl $0x44050, 0x300(%rbx)\n" WAIT(
	      0x10600, 1) "movl $0x1000000, 0x310(%rbx)\n"
			  "movl $0x4051, 0x300(%rbx)\n" WAIT(0x10604, 1) "movl $0xc4052, 0x300(%rbx)\n" WAIT(
				  0x10604, 2) "movl $0x84053, 0x300(%rbx)\n" WAIT(0x10604, 3) WAIT(0x10600, 2)
      /* logical, flat */
      "movl $0x4000000, 0xd0(%rbx)\n movl $0x4000000, 0x310(%rbx)\n movl $0x4854, 0x300(%rbx)\n" WAIT(0x10600, 3)
      /* an NMI, and INIT's opposite, which does nothing */
      "movl $0x1000000, 0x310(%rbx)\n movl $0x4400, 0x300(%rbx)\n" WAIT(
	      0x10684, 1) "movl $1, 0x10704\n movl $0x4055, 0x300(%rbx)\n" WAIT(0x10604, 4) "jmp 90f\n")

#define WRMSR(index, low) "mov $" #index ", %ecx\n xor %edx, %edx\n mov $" #low ", %eax\n wrmsr\n"
#define GPS(n)		  "mov %r15d, %eax\n cmp $" #n ", %eax\n jne 99f\n"

/* xAPIC to x2APIC to disabled to xAPIC; every way that does not exist is #GP, and so are reserved bits. */
GUEST(modes,
      "test %r14d, %r14d\n jnz 90f\n mov $0xfee00000, %ebx\n movl $0x1ff, 0xf0(%rbx)\n sti\n" WRMSR(0x1b, 0xfee00500)
	      GPS(1)								 /* EXTD without EN */
      WRMSR(0x1b, 0xfee00900) GPS(1) "mov $0x802, %ecx\n rdmsr\n" GPS(2)	 /* no x2APIC registers yet */
      WRMSR(0x1b, 0xfee00d00) GPS(2) WRMSR(0x1b, 0xfee00900) GPS(3)		 /* and not straight back */
      "mov $1, %r13d\n mov $0x802, %ecx\n rdmsr\n" GPS(3) WRMSR(0x802, 0) GPS(4) /* the ID cannot be written */
      WRMSR(0x83f, 0x60) WAIT(0x10600, 1) WRMSR(0x83f, 0x160) GPS(5) "mov $0x83f, %ecx\n rdmsr\n" GPS(6) WRMSR(0x80b, 1)
	      GPS(7) WRMSR(0x808, 0x100) GPS(8) WRMSR(0x831, 0) GPS(9) /* ICR's upper half is part of 830h */
      WRMSR(0x80e, 0) GPS(10)					       /* there is no DFR */
      "mov $0x830, %ecx\n xor %edx, %edx\n mov $0x4061, %eax\n wrmsr\n" WAIT(0x10600, 2) WRMSR(0x1b, 0xfee00100)
	      GPS(10) "mov $1, %eax\n push %rbx\n cpuid\n pop %rbx\n and $0x200, %edx\n jnz 99f\n"
		      "mov $0x802, %ecx\n rdmsr\n" GPS(11) WRMSR(0x1b, 0xfee00d00) GPS(12) /* off to x2APIC */
      WRMSR(0x1b, 0xfee00900) GPS(12) "xor %r13d, %r13d\n mov 0xf0(%rbx), %eax\n cmp $0xff, %eax\n jne 99f\n"
				      "movl $0x1ff, 0xf0(%rbx)\n movl $0x44062, 0x300(%rbx)\n" WAIT(0x10600, 3))

/* HLT until the timer: one-shot, periodic, TSC deadline. */
GUEST(timers, "test %r14d, %r14d\n jnz 90f\n mov $0xfee00000, %ebx\n movl $0x1ff, 0xf0(%rbx)\n"
	      "movl $0xb, 0x3e0(%rbx)\n movl $0x70, 0x320(%rbx)\n movl $2000000, 0x380(%rbx)\n sti\n hlt\n"
	      "mov 0x10600, %eax\n cmp $1, %eax\n jne 99f\n"
	      "mov 0x390(%rbx), %eax\n test %eax, %eax\n jnz 99f\n"
	      "movl $0x20071, 0x320(%rbx)\n movl $1000000, 0x380(%rbx)\n"
	      "3: hlt\n cmpl $6, 0x10600\n jb 3b\n"
	      "movl $0x40072, 0x320(%rbx)\n movl $0, 0x10600\n"
	      "rdtsc\n add $3000000, %eax\n adc $0, %edx\n mov $0x6e0, %ecx\n mov %edx, %edi\n mov %eax, %esi\n wrmsr\n"
	      "4: hlt\n cmpl $1, 0x10600\n jb 4b\n"
	      "rdtsc\n sub %esi, %eax\n sbb %edi, %edx\n js 99f\n"
	      "mov $0x6e0, %ecx\n rdmsr\n test %eax, %eax\n jnz 99f\n")

/*
 * Each waits by MWAIT for the other's line to show its turn. rsi: rounds. rbx is this processor's line, rbp the
 * other's. Every fourth store stays in another line of the page, which must not be taken for an answer.
 */
GUEST(monitors, "mov $0x11000, %ebx\n mov $0x11100, %ebp\n test %r14d, %r14d\n jz 1f\n xchg %rbx, %rbp\n"
		"1: xor %r8d, %r8d\n"
		"2: inc %r8d\n test %r14d, %r14d\n jnz 3f\n mov %r8d, (%rbp)\n"
		"3: mov %rbx, %rax\n xor %ecx, %ecx\n xor %edx, %edx\n monitor\n"
		"cmp %r8d, (%rbx)\n je 4f\n mwait\n jmp 3b\n"
		"4: test $3, %r8d\n jnz 5f\n incl 0x40(%rbp)\n"
		"5: test %r14d, %r14d\n jz 6f\n mov %r8d, (%rbp)\n"
		"6: cmp %rsi, %r8\n jb 2b\n")

struct board {
	struct vm vm;
	struct x86_model model;
	struct lapic_bus bus;
	pthread_t thread[CPUS];
	struct err err[CPUS];
	int exit[CPUS];
};

static u8 *at(struct board *b, u64 pa) { return ram_host(&b->vm.ram, pa, 1); }
static void put(struct board *b, u64 pa, u64 v) { memcpy(at(b, pa), &v, 8); }
static u32 word(struct board *b, u64 pa) { return __atomic_load_n((u32 *)(void *)at(b, pa), __ATOMIC_SEQ_CST); }

static u64 tsc_now(void *ctx, unsigned index)
{
	struct board *b = ctx;

	return x86_tsc(x86_cpu_of(b->vm.vcpu[index]));
}

static void handler(struct board *b, unsigned vector, u64 to)
{
	put(b, IDT + 16 * vector, (to & 0xffff) | 8ull << 16 | 0x8eull << 40 | (to >> 16 & 0xffff) << 48);
	put(b, IDT + 16 * vector + 8, to >> 32);
}

static void tables(struct board *b)
{
	put(b, TABLES, TABLES + 0x1007);
	put(b, TABLES + 0x1000, TABLES + 0x2007);
	put(b, TABLES + 0x1000 + 8 * 3, TABLES + 0x3007);
	put(b, TABLES + 0x2000, 0x87);
	put(b, TABLES + 0x3000 + 8 * 0x1f7, 0xfee00087); /* the APIC's, 2 MByte */
	memcpy(at(b, HANDS), on_intr_start, (size_t)(on_intr_end - on_intr_start));
	memcpy(at(b, HANDS + 0x100), on_nmi_start, (size_t)(on_nmi_end - on_nmi_start));
	memcpy(at(b, HANDS + 0x200), on_gp_start, (size_t)(on_gp_end - on_gp_start));
	for (unsigned v = 0x50; v < 0x80; v++)
		handler(b, v, HANDS);
	handler(b, EXC_NMI, HANDS + 0x100);
	handler(b, EXC_GP, HANDS + 0x200);
	put(b, 0x40008, 0x00af9b000000ffff);
}

static struct board *board_new(void)
{
	struct board *b = calloc(1, sizeof(*b));
	struct lapic_config cfg = {{tsc_now, b, 0}, true, 48};
	struct err e;

	assert_int_equal(vm_init(&b->vm, log_new(stderr, ""), clock_host(), &e), 0);
	assert_int_equal(ram_add(&b->vm.ram, 0, 2 << 20, false, &e), 0);
	if (x86_model_parse("EPYC", &b->model, &e))
		fail_msg("%s", e.text);
	cfg.tsc.hz = b->model.tsc_khz * 1000ull;
	b->vm.nvcpus = CPUS;
	lapic_bus_init(&b->bus, &b->vm, CPUS, &cfg);
	b->vm.apic_ops = &lapic_ops;
	for (unsigned i = 0; i < CPUS; i++) {
		b->vm.apic[i] = &b->bus.apic[i];
		if (soft_vcpu_new(&b->vm, i, &b->model, NULL, &b->vm.vcpu[i], &e))
			fail_msg("%s", e.text);
	}
	tables(b);
	return b;
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
	st->seg[SS] = (struct x86_seg){0};
	st->gdtr = (struct x86_dtr){0x40000, 0xf};
	st->idtr = (struct x86_dtr){IDT, 0xfff};
	st->rip = CODE;
	st->gpr[RSP] = STACKS + 0x1000 * i;
	st->gpr[R14] = i;
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

/* Runs the program on both until they are done; the timers are this thread's. */
static void guest(const u8 *code, const u8 *end, u64 rounds)
{
	struct board *b = board_new();
	struct log *log = b->vm.log;

	memcpy(at(b, CODE), code, (size_t)(end - code));
	for (unsigned i = 0; i < CPUS; i++)
		long_mode(b, i, rounds);
	for (unsigned i = 0; i < CPUS; i++) {
		go[i] = (struct go){b, i};
		assert_int_equal(pthread_create(&b->thread[i], NULL, run, &go[i]), 0);
	}
	for (unsigned n = 0; word(b, DONE) < CPUS && atomic_load(&b->vm.stop) == VM_RUNNING && n < 400000; n++) {
		vm_lock(&b->vm);
		timer_queue_run(&b->vm.timers);
		vm_unlock(&b->vm);
		usleep(200);
	}
	vm_stop(&b->vm, VM_USER, 0);
	for (unsigned i = 0; i < CPUS; i++) {
		pthread_join(b->thread[i], NULL);
		if (b->exit[i] != RUN_STOPPED)
			print_error("vCPU %u: %s\n", i, b->err[i].text);
	}
	if (word(b, FAIL))
		fail_msg("a guest found %#x; interrupts %u and %u", word(b, FAIL + 4), word(b, 0x10600),
			 word(b, 0x10604));
	assert_int_equal(word(b, DONE), CPUS);
	vm_destroy(&b->vm);
	log_free(log);
	free(b);
}

static void test_ipis(void **state) { guest(ipis_start, ipis_end, 0); }
static void test_modes(void **state) { guest(modes_start, modes_end, 0); }
static void test_timers(void **state) { guest(timers_start, timers_end, 0); }
static void test_monitors(void **state) { guest(monitors_start, monitors_end, 3000); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipis),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_monitors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
