/*
 * The world of the SVM tests: a host of three instructions (VMRUN; OUT) and guests of a few. The VMCB is made and read
 * from outside.
 */
#ifndef TESTS_UNIT_SVM_WORLD_H
#define TESTS_UNIT_SVM_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/state.h"
#include "arch/x86/vmcb.h"
#include "cpu/engine.h"
#include "tests/unit/vmcb_guest.h"

#define RAM_SIZE    (8ull << 20)
#define CODE	    0x1000
#define GUEST_CODE  0x2000
#define HANDLER	    0x2800
#define DATA	    0x3000
#define GUEST_STACK 0x7000
#define STACK	    0x8000
#define TABLES	    0x10000
#define IDT	    0x20000
#define VMCB	    0x30000
#define HSAVE	    0x31000
#define IOPM	    0x32000
#define MSRPM	    0x35000
#define NESTED	    0x40000
#define HOLE	    0x600000 /* 2 MiB that nested tables do not map */

#define ASM(name, body)                                                                                                \
	extern const u8 name##_start[], name##_end[];                                                                  \
	asm(".pushsection .rodata\n" #name "_start:\n" body "\n" #name "_end:\n.popsection");

ASM(host_once, "vmrun\n mov $0xf4, %dx\n outb %al, %dx\n 1: jmp 1b")
ASM(handler, "incl 0x3000\n vmmcall")

struct world {
	struct vm vm;
	struct x86_model model;
	struct vcpu *v;
	struct x86_state st;
	struct err e;
};

static struct soft_options options;

static inline u64 none_read(void *dev, u64 offset, unsigned size) { return ~0ull; }
static inline void stop_write(void *dev, u64 offset, unsigned size, u64 value)
{
	vm_stop(&((struct world *)dev)->vm, VM_DEBUG_EXIT, 7);
}
static inline void nmi_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct world *w = dev;

	w->v->ops->assert_nmi(w->v);
}
/* What the interrupt controller has pending; -1: nothing. */
static int apic_vector = -1;

static inline void intr_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct world *w = dev;

	apic_vector = (int)value;
	w->v->ops->assert_intr(w->v);
}
static inline void init_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct world *w = dev;

	w->v->ops->assert_init(w->v);
}
static inline void smi_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct world *w = dev;

	w->v->ops->assert_smi(w->v);
}
static const struct bus_ops smi_ops = {none_read, smi_write}, stop_ops = {none_read, stop_write},
			    nmi_ops = {none_read, nmi_write}, intr_ops = {none_read, intr_write},
			    init_ops = {none_read, init_write};

static inline int apic_highest(void *apic) { return apic_vector; }
static inline int apic_ack(void *apic)
{
	int vector = apic_vector;

	apic_vector = -1;
	return vector;
}
static inline u64 apic_cr8(void *apic) { return 0; }
static inline void apic_set_cr8(void *apic, u64 v) {}
static inline bool apic_read(void *apic, u32 msr, u64 *v) { return false; }
static inline bool apic_write(void *apic, u32 msr, u64 v) { return false; }
/* Its timer, which `set_deadline` has set for this processor: an interrupt. */
static struct vcpu *apic_of;
static inline void apic_deadline(void *apic)
{
	apic_of->ops->set_deadline(apic_of, ~0ull);
	apic_vector = 0x55;
	apic_of->ops->assert_intr(apic_of);
}
static const struct apic_ops no_apic = {
	.highest = apic_highest,
	.ack = apic_ack,
	.cr8_get = apic_cr8,
	.cr8_set = apic_set_cr8,
	.msr_read = apic_read,
	.msr_write = apic_write,
	.deadline = apic_deadline,
};

static inline u8 *at(struct world *w, u64 pa) { return ram_host(&w->vm.ram, pa, 8); }
static inline void put64(struct world *w, u64 pa, u64 v) { memcpy(at(w, pa), &v, 8); }
static inline struct vmcb *vmcb(struct world *w) { return (struct vmcb *)at(w, VMCB); }

/* Identity tables of 4 GiB for host and guest, nested ones with a hole, an IDT that leads to the handler. */
static inline void tables_make(struct world *w)
{
	for (u64 t = TABLES; t <= NESTED; t += NESTED - TABLES) {
		put64(w, t, (t + 0x1000) | 7);
		for (u64 i = 0; i < 4; i++)
			put64(w, t + 0x1000 + 8 * i, (t + 0x2000 + 0x1000 * i) | 7);
		for (u64 i = 0; i < 512; i++)
			put64(w, t + 0x2000 + 8 * i, i << 21 | 0x87);
	}
	put64(w, NESTED + 0x2000 + 8 * (HOLE >> 21), 0);
	for (u64 i = 0; i < 256; i++) {
		put64(w, IDT + 16 * i, (HANDLER & 0xffff) | 0x10ull << 16 | 0x8eull << 40);
		put64(w, IDT + 16 * i + 8, 0);
	}
	put64(w, 0x810, 0x00af9b000000ffff); /* GDT at 800h */
	put64(w, 0x818, 0x00cf93000000ffff);
}

static inline void host_state(struct x86_state *st)
{
	struct x86_seg data = {0x18, 0xc93, 0xffffffff, 0};

	x86_set_rflags(st, FL_FIXED);
	st->rip = CODE;
	st->gpr[RSP] = STACK;
	st->gpr[RAX] = VMCB;
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = data;
	st->seg[CS] = (struct x86_seg){0x10, 0xa9b, 0xffffffff, 0};
	st->tr = (struct x86_seg){0, 0x8b, 0xffff, 0};
	st->gdtr = (struct x86_dtr){0x800, 0x1f};
	st->idtr = (struct x86_dtr){IDT, 0xfff};
	st->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
	st->cr3 = TABLES;
	st->cr4 = CR4_PAE | CR4_OSFXSR;
	st->msr.efer = EFER_LME | EFER_LMA | EFER_SVME;
	st->svm.hsave_pa = HSAVE;
}

static inline void guest_state(struct world *w)
{
	struct vmcb *b = vmcb(w);

	vmcb_guest64(b, 0x10, 0x18);
	b->c.iopm = IOPM;
	b->c.msrpm = MSRPM;
	b->s.gdtr = (struct vmcb_seg){.limit = 0x1f, .base = 0x800};
	b->s.idtr = (struct vmcb_seg){.limit = 0xfff, .base = IDT};
	b->s.cr3 = TABLES;
	b->s.rip = GUEST_CODE;
	b->s.rsp = GUEST_STACK;
	b->s.rax = 0x77;
}

static inline struct world *world_new(const char *model, const u8 *host, const u8 *host_end, const u8 *guest,
				      const u8 *guest_end)
{
	struct world *w = calloc(1, sizeof(*w));
	struct err *e = &w->e;

	assert_int_equal(vm_init(&w->vm, log_new(stderr, ""), clock_host(), e), 0);
	if (getenv("TRACE"))
		log_enable(w->vm.log, getenv("TRACE"), e);
	assert_int_equal(ram_add(&w->vm.ram, 0, RAM_SIZE, false, e), 0);
	w->vm.nvcpus = 1;
	w->vm.apic_ops = &no_apic;
	if (x86_model_parse(model, &w->model, e) || soft_vcpu_new(&w->vm, 0, &w->model, &options, &w->v, e))
		fail_msg("%s", e->text);
	w->vm.vcpu[0] = apic_of = w->v;
	bus_add(&w->vm.ports, 0xf4, 1, &stop_ops, w, "stop", e);
	bus_add(&w->vm.ports, 0x600, 1, &nmi_ops, w, "nmi", e);
	bus_add(&w->vm.ports, 0x601, 1, &intr_ops, w, "intr", e);
	bus_add(&w->vm.ports, 0x602, 1, &init_ops, w, "init", e);
	bus_add(&w->vm.ports, 0x603, 1, &smi_ops, w, "smi", e);
	apic_vector = -1;
	memcpy(at(w, CODE), host, (size_t)(host_end - host));
	memcpy(at(w, GUEST_CODE), guest, (size_t)(guest_end - guest));
	memcpy(at(w, HANDLER), handler_start, (size_t)(handler_end - handler_start));
	tables_make(w);
	w->v->ops->get_state(w->v, &w->st);
	host_state(&w->st);
	guest_state(w);
	return w;
}
#define WORLD_OF(model, host, guest) world_new(model, host##_start, host##_end, guest##_start, guest##_end)
#define WORLD(host, guest)	     WORLD_OF("EPYC", host, guest)

static inline void run(struct world *w)
{
	enum run_exit r;

	if (w->v->ops->set_state(w->v, &w->st, &w->e))
		fail_msg("%s", w->e.text);
	atomic_store(&w->vm.stop, VM_RUNNING);
	r = w->v->ops->run(w->v, &w->e);
	if (r != RUN_STOPPED)
		fail_msg("run ended with %d: %s", r, w->e.text);
	w->v->ops->get_state(w->v, &w->st);
}

static inline void world_free(struct world *w)
{
	struct log *log = w->vm.log;

	vm_destroy(&w->vm);
	log_free(log);
	free(w);
}

static inline void assert_exit(struct world *w, u64 code, u64 info1, u64 info2)
{
	const struct vmcb_control *c = &vmcb(w)->c;

	if (c->exit_code != code || c->exit_info1 != info1 || c->exit_info2 != info2)
		fail_msg("exit %#llx info %#llx %#llx, expected %#llx %#llx %#llx", (unsigned long long)c->exit_code,
			 (unsigned long long)c->exit_info1, (unsigned long long)c->exit_info2, (unsigned long long)code,
			 (unsigned long long)info1, (unsigned long long)info2);
}

static inline void nested_paging(struct world *w)
{
	vmcb(w)->c.np_control = NP_ENABLE;
	vmcb(w)->c.ncr3 = NESTED;
}

#endif
