/*
 * A software processor with 1 MiB of RAM for the targets that run guest code: made once a model, set up anew for each
 * input. The guest ends itself by port F4h; else after WORLD_INSNS instructions, as it halts, or as events are
 * delivered WORLD_EVENTS times (a fault whose handler cannot be fetched is no instruction). Ports F5h and F6h assert an
 * NMI and an interrupt.
 *
 * The last two ways out are hooks put in by the linker: --wrap=syscall sees the futex that HLT sleeps on,
 * --wrap=x86_deliver each delivery and --wrap=vm_port_write each OUT (of which one REP OUTS makes any number). A second
 * thread stops what still runs after 50 ms.
 */
#ifndef TESTS_FUZZ_WORLD_H
#define TESTS_FUZZ_WORLD_H

#include <pthread.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <xmmintrin.h>

#include "arch/x86/descriptor.h"
#include "cpu/engine.h"
#include "cpu/x86/cpu.h"
#include "tests/fuzz/fuzz.h"

#define WORLD_RAM    (1ull << 20)
#define WORLD_INSNS  1000
#define WORLD_EVENTS 500

#define W_CODE	  0x1000 /* one page */
#define W_HANDLER 0x2000 /* of every exception, unless an input says otherwise */
#define W_GUEST	  0x3000 /* code of a nested guest */
#define W_DATA	  0x4000
#define W_STACK	  0x8000 /* grows down */
#define W_GDT	  0x9000
#define W_IDT	  0xa000
#define W_TSS	  0xb000
#define W_LDT	  0xc000
#define W_TABLES  0x10000 /* to 0x14fff: identity, 1 MiB by 4 KiB pages, then 2 MiB pages up to 4 GiB */
#define W_NESTED  0x20000 /* free for the targets from here on */

#define W_CS64 0x08
#define W_DS   0x10
#define W_CS32 0x18
#define W_CS3  0x2b
#define W_DS3  0x33
#define W_TR   0x38
#define W_CS16 0x48
#define W_GATE 0x50
#define W_TSS2 0x60
#define W_LDTR 0x70

struct world {
	struct vm vm;
	struct x86_model model;
	struct vcpu *v;
	struct x86_cpu *cpu;
	struct x86_state reset, st;
	int vector;
	u64 cr8;
	unsigned events;
	u8 *ram;
};

/* The world that runs, for the hooks. */
static struct world *world_running;
static _Atomic u64 world_deadline;

static inline u64 world_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * NS_PER_SEC + (u64)t.tv_nsec;
}

/* A device whose registers hold nothing; F4h to F6h as above. */
static u64 world_port_read(void *dev, u64 offset, unsigned size) { return offset * 0x1010101010101ull; }
static void world_port_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct world *w = dev;

	switch (offset) {
	case 0: vm_stop(&w->vm, VM_DEBUG_EXIT, (int)value); break;
	case 1: w->v->ops->assert_nmi(w->v); break;
	default:
		w->vector = (u8)value;
		w->v->ops->assert_intr(w->v);
		break;
	}
}
static const struct bus_ops world_ports = {world_port_read, world_port_write};
static void world_lost(void *dev, u64 offset, unsigned size, u64 value) {}
static const struct bus_ops world_mmio = {world_port_read, world_lost};

static int world_highest(void *apic) { return ((struct world *)apic)->vector; }
static int world_ack(void *apic)
{
	struct world *w = apic;
	int v = w->vector;

	w->vector = -1;
	return v;
}
static u64 world_cr8_get(void *apic) { return ((struct world *)apic)->cr8; }
static void world_cr8_set(void *apic, u64 v) { ((struct world *)apic)->cr8 = v; }
static bool world_msr_read(void *apic, u32 msr, u64 *v)
{
	*v = 0xfee00900;
	return msr == 0x1b;
}
static bool world_msr_write(void *apic, u32 msr, u64 v) { return msr == 0x1b; }
static bool world_no_read(void *apic, u64 gpa, unsigned size, u64 *v) { return false; }
static bool world_no_write(void *apic, u64 gpa, unsigned size, u64 v) { return false; }
static const struct apic_ops world_apic = {
	.highest = world_highest,
	.ack = world_ack,
	.cr8_get = world_cr8_get,
	.cr8_set = world_cr8_set,
	.msr_read = world_msr_read,
	.msr_write = world_msr_write,
	.mmio_read = world_no_read,
	.mmio_write = world_no_write,
};

/* ---- hooks ---- */

long __wrap_syscall(long n, long a, long b, long c, long d, long e, long f);
long __real_syscall(long n, ...);
long __wrap_syscall(long n, long a, long b, long c, long d, long e, long f)
{
	if (n == SYS_futex && world_running) {
		vm_stop(&world_running->vm, VM_USER, 0);
		return 0;
	}
	return __real_syscall(n, a, b, c, d, e, f);
}

enum outcome __wrap_x86_deliver(struct x86_cpu *cpu);
enum outcome __real_x86_deliver(struct x86_cpu *cpu);
enum outcome __wrap_x86_deliver(struct x86_cpu *cpu)
{
	if (world_running && ++world_running->events == WORLD_EVENTS)
		vm_stop(&world_running->vm, VM_USER, 0);
	return __real_x86_deliver(cpu);
}

void __wrap_vm_port_write(struct vm *vm, u16 port, unsigned size, u64 value);
void __real_vm_port_write(struct vm *vm, u16 port, unsigned size, u64 value);
void __wrap_vm_port_write(struct vm *vm, u16 port, unsigned size, u64 value)
{
	if (world_running && ++world_running->events == WORLD_EVENTS)
		vm_stop(vm, VM_USER, 0);
	__real_vm_port_write(vm, port, size, value);
}

static void *world_watch(void *arg)
{
	for (;;) {
		u64 deadline = atomic_load(&world_deadline);

		if (deadline && world_clock() > deadline && atomic_exchange(&world_deadline, 0))
			vm_stop(&world_running->vm, VM_TIMEOUT, 0);
		usleep(20000);
	}
	return arg;
}

/* ---- life ---- */

/* NULL: this host cannot give that model. */
static inline struct world *world_new(const char *model)
{
	struct world *w = calloc(1, sizeof(*w));
	static FILE *out;
	static pthread_t watch;
	struct err e = {0};
	struct log *log;

	if (!out)
		out = getenv("TRACE") ? stderr : fopen("/dev/null", "w");
	if (x86_model_parse(model, &w->model, &e)) {
		free(w);
		return NULL;
	}
	log = log_new(out, "");
	if (getenv("TRACE"))
		log_enable(log, getenv("TRACE"), &e);
	fuzz_check(!vm_init(&w->vm, log, clock_host(), &e) && !ram_add(&w->vm.ram, 0, WORLD_RAM, false, &e),
		   "no world");
	w->vm.nvcpus = 1;
	w->vm.apic_ops = &world_apic;
	w->vm.apic[0] = w;
	fuzz_check(!soft_vcpu_new(&w->vm, 0, &w->model, &(struct soft_options){.insn_limit = WORLD_INSNS}, &w->v, &e),
		   "no processor");
	w->cpu = x86_cpu_of(w->v);
	w->vm.vcpu[0] = w->v;
	bus_add(&w->vm.ports, 0xf4, 3, &world_ports, w, "test", &e);
	bus_add(&w->vm.mmio, 0xfeb00000, 0x10000, &world_mmio, w, "test", &e);
	w->v->ops->get_state(w->v, &w->reset);
	w->ram = ram_host(&w->vm.ram, 0, 1);
	if (!watch)
		fuzz_check(!pthread_create(&watch, NULL, world_watch, NULL), "no thread");
	return w;
}

static inline void world_put(struct world *w, u64 pa, u64 v) { memcpy(w->ram + pa, &v, 8); }
static inline u64 world_get(const struct world *w, u64 pa)
{
	u64 v;

	memcpy(&v, w->ram + pa, 8);
	return v;
}

static inline u64 world_descriptor(u64 base, u64 limit, u64 attr)
{
	return (limit & 0xffff) | (base & 0xffffff) << 16 | (attr & 0xff) << 40 | (limit & 0xf0000) << 32 |
	       (attr & 0xf00) << 44 | (base & 0xff000000) << 32;
}

static inline struct x86_seg world_seg(u16 sel, u16 attr, u32 limit) { return (struct x86_seg){sel, attr, limit, 0}; }

/* Descriptors of every kind, and page tables; `levels` of an identity map at `at`, rights in each entry. */
static inline void world_map(struct world *w, u64 at, u64 table, u64 leaf, u64 large)
{
	world_put(w, at, (at + 0x1000) | table);
	for (u64 i = 0; i < 4; i++)
		world_put(w, at + 0x1000 + 8 * i, (at + 0x2000 + (i ? 0x1000 : 0)) | table);
	world_put(w, at + 0x2000, (at + 0x4000) | table);
	for (u64 i = 1; i < 512; i++)
		world_put(w, at + 0x2000 + 8 * i, i << 21 | large);
	for (u64 i = 0; i < 512; i++)
		world_put(w, at + 0x3000 + 8 * i, 3ull << 30 | i << 21 | large);
	for (u64 i = 0; i < 512; i++)
		world_put(w, at + 0x4000 + 8 * i, i << 12 | leaf);
}

static inline void world_tables(struct world *w)
{
	static const struct {
		u16 sel;
		u64 base, limit, attr;
	} gdt[] = {
		{W_CS64, 0, 0xfffff, 0xa9b},   {W_DS, 0, 0xfffff, 0xc93},	{W_CS32, 0, 0xfffff, 0xc9b},
		{0x20, 0, 0xfffff, 0xcfb},     {W_CS3 & ~7, 0, 0xfffff, 0xafb}, {W_DS3 & ~7, 0, 0xfffff, 0xcf3},
		{W_TR, W_TSS, 0x2067, 0x089},  {W_CS16, 0, 0xffff, 0x09b},	{W_TSS2, W_TSS + 0x400, 0x67, 0x089},
		{W_LDTR, W_LDT, 0xfff, 0x082},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(gdt); i++)
		world_put(w, W_GDT + gdt[i].sel, world_descriptor(gdt[i].base, gdt[i].limit, gdt[i].attr));
	world_put(w, W_GDT + W_GATE, W_HANDLER | W_CS64 << 16 | 0xecull << 40);
	for (u64 i = 0; i < 256; i++)
		world_put(w, W_IDT + 16 * i, W_HANDLER | W_CS64 << 16 | (i == 0x80 ? 0xefull : 0x8eull) << 40);
	world_put(w, W_TSS + 4, W_STACK - 0x800);
	world_put(w, W_TSS + 36, W_STACK - 0xc00);
	world_map(w, W_TABLES, 7, 7, 0x87);
}

enum world_mode { WORLD_REAL, WORLD_32, WORLD_64, WORLD_USER, WORLD_MODES };

/* RAM, tables and registers as after a sane start in one of the modes; code is the target's to place at W_CODE. */
static inline void world_start(struct world *w, enum world_mode mode)
{
	struct x86_state *st = &w->st;
	bool wide = mode >= WORLD_64, user = mode == WORLD_USER;

	memset(w->ram, 0, WORLD_RAM);
	world_tables(w);
	*st = w->reset;
	w->vector = -1;
	w->cr8 = 0;
	x86_set_rflags(st, FL_FIXED);
	st->rip = W_CODE;
	st->gpr[RSP] = W_STACK;
	st->gpr[RSI] = W_DATA;
	st->gpr[RDI] = W_DATA + 0x800;
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = world_seg(0, mode == WORLD_REAL ? 0x93 : 0xc93, mode == WORLD_REAL ? 0xffff : 0xffffffff);
	st->idtr = (struct x86_dtr){mode == WORLD_REAL ? 0 : W_IDT, mode == WORLD_REAL ? 0x3ff : 0xfff};
	st->gdtr = (struct x86_dtr){W_GDT, 0x7f};
	if (mode == WORLD_REAL) {
		for (unsigned i = 0; i < 256; i++)
			memcpy(w->ram + 4 * i, &(u32){W_HANDLER}, 4);
		return;
	}
	st->seg[CS] = user   ? world_seg(W_CS3, 0xafb, 0xffffffff)
		      : wide ? world_seg(W_CS64, 0xa9b, 0xffffffff)
			     : world_seg(W_CS32, 0xc9b, 0xffffffff);
	for (unsigned i = 0; i < X86_SREGS; i++)
		if (i != CS)
			st->seg[i] = user ? world_seg(W_DS3, 0xcf3, 0xffffffff) : world_seg(W_DS, 0xc93, 0xffffffff);
	st->tr = world_seg(W_TR, 0x8b, 0x2067);
	st->tr.base = W_TSS;
	st->cpl = user ? 3 : 0;
	st->cr0 = CR0_PE | CR0_ET | CR0_NE;
	st->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT;
	if (wide) {
		st->cr0 |= CR0_PG | CR0_WP;
		st->cr3 = W_TABLES;
		st->cr4 |= CR4_PAE;
		st->msr.efer = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
		st->msr.star = (u64)W_CS64 << 32 | 0x23ull << 48;
		st->msr.lstar = W_HANDLER;
	} else {
		/* 8-byte gates for a 32-bit IDT. */
		for (u64 i = 0; i < 256; i++)
			world_put(w, W_IDT + 8 * i, W_HANDLER | W_CS32 << 16 | (i == 0x80 ? 0xefull : 0x8eull) << 40);
		st->idtr.limit = 0x7ff;
	}
}

static inline void world_place(struct world *w, u64 pa, const void *code, size_t n) { memcpy(w->ram + pa, code, n); }

/* Runs from w->st; w->st is what it leaves. */
static inline enum run_exit world_run(struct world *w)
{
	struct err e = {0};
	enum run_exit x;

	atomic_store(&w->vm.stop, VM_RUNNING);
	atomic_store(&w->cpu->c.attention, 0);
	fuzz_check(!w->v->ops->set_state(w->v, &w->st, &e), "the state was refused");
	w->events = 0;
	world_running = w;
	atomic_store(&world_deadline, world_clock() + NS_PER_SEC / 20);
	x = w->v->ops->run(w->v, &e);
	atomic_store(&world_deadline, 0);
	world_running = NULL;
	w->v->ops->get_state(w->v, &w->st);
	fuzz_check(x != RUN_ERROR || e.code, "an error without a sentence");
	fuzz_check((_mm_getcsr() & ~0x3fu) == 0x1f80, "the host's MXCSR is the guest's");
	return x;
}

#endif
