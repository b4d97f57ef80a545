/*
 * A processor with 2 MiB of RAM and nothing else but three ports, for tests of events, segments and system
 * instructions: guest code is assembled here, placed at CODE (and its handlers elsewhere), and run until it writes to
 * port F4h or something ends it.
 */
#ifndef TESTS_UNIT_CPU_WORLD_H
#define TESTS_UNIT_CPU_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/descriptor.h"
#include "cpu/engine.h"
#include "cpu/x86/cpu.h"

#define WORLD_RAM   (2ull << 20)
#define CODE	    0x1000
#define HANDLER	    0x2000
#define USER	    0x3000
#define DATA	    0x4000
#define STACK	    0x7000 /* of CPL 0, grows down */
#define USER_STACK  0x8000
#define INNER_STACK 0x9000
#define IST_STACK   0xa008 /* misaligned on purpose */
#define GDT	    0x10000
#define IDT	    0x11000
#define TSS	    0x12000
#define TSS_B	    0x12800
#define LDT	    0x13000
#define TABLES	    0x20000

#define ASM_IN(mode, name, body)                                                                                       \
	extern const u8 name##_start[], name##_end[];                                                                  \
	asm(".pushsection .rodata\n" mode "\n" #name "_start:\n" body "\n" #name "_end:\n.code64\n.popsection");
#define ASM64(name, body) ASM_IN(".code64", name, body)
#define ASM32(name, body) ASM_IN(".code32", name, body)
#define ASM16(name, body) ASM_IN(".code16", name, body)
#define STOP		  "out %al, $0xf4\n"

struct world {
	struct vm vm;
	struct x86_model model;
	struct vcpu *v;
	struct x86_cpu *cpu;
	struct x86_state st;
	struct err e;
	int vector; /* what the interrupt controller has pending, or -1 */
	u64 cr8;
	unsigned eois;
};

static u64 world_ones(void *dev, u64 offset, unsigned size) { return ~0ull; }
/* F4h stops; F5h asserts an NMI; F6h makes its value a pending interrupt. */
static void world_port(void *dev, u64 offset, unsigned size, u64 value)
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
static const struct bus_ops world_ports = {world_ones, world_port};

static int world_highest(void *apic) { return ((struct world *)apic)->vector; }
static int world_ack(void *apic)
{
	struct world *w = apic;
	int v = w->vector;

	w->vector = -1;
	return v;
}
static void world_eoi(void *apic) { ((struct world *)apic)->eois++; }
static u64 world_cr8_get(void *apic) { return ((struct world *)apic)->cr8; }
static void world_cr8_set(void *apic, u64 v) { ((struct world *)apic)->cr8 = v; }
static bool world_msr_read(void *apic, u32 msr, u64 *v)
{
	*v = 0xfee00900;
	return msr == 0x1b;
}
static bool world_msr_write(void *apic, u32 msr, u64 v) { return false; }
static bool world_mmio_read(void *apic, u64 gpa, unsigned size, u64 *v) { return false; }
static bool world_mmio_write(void *apic, u64 gpa, unsigned size, u64 v) { return false; }
static const struct apic_ops world_apic = {
	.highest = world_highest,
	.ack = world_ack,
	.eoi = world_eoi,
	.cr8_get = world_cr8_get,
	.cr8_set = world_cr8_set,
	.msr_read = world_msr_read,
	.msr_write = world_msr_write,
	.mmio_read = world_mmio_read,
	.mmio_write = world_mmio_write,
};

static inline u8 *at(struct world *w, u64 pa) { return ram_host(&w->vm.ram, pa, 1); }
static inline u64 get(struct world *w, u64 pa, unsigned size)
{
	u64 v = 0;

	memcpy(&v, at(w, pa), size);
	return v;
}
static inline void put(struct world *w, u64 pa, u64 v, unsigned size) { memcpy(at(w, pa), &v, size); }

static inline u64 descriptor(u64 base, u64 limit, u64 attr)
{
	return (limit & 0xffff) | (base & 0xffffff) << 16 | (attr & 0xff) << 40 | (limit & 0xf0000) << 32 |
	       (attr & 0xf00) << 44 | (base & 0xff000000) << 32;
}

static inline struct world *world_new(const char *model)
{
	struct world *w = calloc(1, sizeof(*w));
	struct err *e = &w->e;

	w->vector = -1;
	assert_int_equal(vm_init(&w->vm, log_new(stderr, ""), clock_host(), e), 0);
	if (getenv("TRACE"))
		log_enable(w->vm.log, getenv("TRACE"), e);
	assert_int_equal(ram_add(&w->vm.ram, 0, WORLD_RAM, false, e), 0);
	w->vm.nvcpus = 1;
	w->vm.apic_ops = &world_apic;
	w->vm.apic[0] = w;
	if (x86_model_parse(model, &w->model, e) ||
	    soft_vcpu_new(&w->vm, 0, &w->model, &(struct soft_options){.insn_limit = 100000}, &w->v, e))
		fail_msg("%s", e->text);
	w->cpu = x86_cpu_of(w->v);
	w->vm.vcpu[0] = w->v;
	bus_add(&w->vm.ports, 0xf4, 3, &world_ports, w, "test", e);
	w->v->ops->get_state(w->v, &w->st);
	return w;
}

static inline void world_free(struct world *w)
{
	struct log *log = w->vm.log;

	vm_destroy(&w->vm);
	log_free(log);
	free(w);
}

#define PLACE(w, pa, name) memcpy(at(w, pa), name##_start, (size_t)(name##_end - name##_start))

/* Runs from w->st until the guest stops; w->st is then what it left. */
static inline enum run_exit world_run(struct world *w)
{
	enum run_exit x;

	assert_int_equal(w->v->ops->set_state(w->v, &w->st, &w->e), 0);
	x = w->v->ops->run(w->v, &w->e);
	w->v->ops->get_state(w->v, &w->st);
	return x;
}

/* Runs to the write of port F4h. */
static inline void world_run_to_stop(struct world *w)
{
	enum run_exit x = world_run(w);

	if (x != RUN_STOPPED || w->vm.stop != VM_DEBUG_EXIT)
		fail_msg("run ended %d (%s), stop %d, rip %#llx", x, w->e.text, w->vm.stop,
			 (unsigned long long)w->st.rip);
	atomic_store(&w->vm.stop, VM_RUNNING);
}

/* One instruction at w->st.rip; its fault stays in cpu->c.event. w->st follows. */
static inline enum outcome world_step(struct world *w)
{
	enum outcome o;

	assert_int_equal(w->v->ops->set_state(w->v, &w->st, &w->e), 0);
	o = x86_step(w->cpu);
	w->v->ops->get_state(w->v, &w->st);
	return o;
}

#define assert_done(o) assert_true((o) <= OUT_END)
#define assert_fault(w, o, vec, err)                                                                                   \
	do {                                                                                                           \
		assert_int_equal(o, OUT_FAULT);                                                                        \
		assert_int_equal((w)->cpu->c.event.vector, vec);                                                       \
		assert_int_equal((w)->cpu->c.event.error, err);                                                        \
	} while (0)

#endif
