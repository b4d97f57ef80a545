/*
 * The /dev/kvm engine with a guest of a few instructions: port and memory-mapped I/O, coalesced and string writes,
 * interrupts by wire and by message, state in and out, the dirty log, break and watch points, how a run ends. Skipped
 * where KVM runs no guests.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "arch/x86/state.h"
#include "kvm/kvm.h"

#define RAM_SIZE (8ull << 20)
#define CODE	 0x1000
#define DATA	 0x3000
#define STACK	 0x8000
#define TABLES	 0x10000
#define IDT	 0x20000
#define MMIO	 0xd0000000ull

/* Position-independent 64-bit code. */
#define GUEST(name, body)                                                                                              \
	extern const u8 name##_start[], name##_end[];                                                                  \
	asm(".pushsection .rodata\n" #name "_start:\n" body "\n" #name "_end:\n.popsection");

GUEST(guest_io, "mov $0x3f8, %dx\n mov $'A', %al\n outb %al, %dx\n mov $'B', %al\n outb %al, %dx\n"
		"mov $0x500, %dx\n inl %dx, %eax\n mov %eax, 0x3000\n"
		"mov $0x3100, %esi\n mov $5, %ecx\n mov $0x501, %dx\n cld\n rep outsb\n"
		"mov $0xd0000000, %edi\n movl $0x12345678, 8(%rdi)\n movq 16(%rdi), %rax\n mov %rax, 0x3008\n"
		"mov $0xf4, %dx\n outb %al, %dx\n 1: jmp 1b")
GUEST(guest_spin, "1: incq 0x3000\n jmp 1b")
GUEST(guest_triple, "ud2")
GUEST(guest_cpuid, "mov $1, %eax\n cpuid\n mov %ecx, 0x3000\n mov $0x40000000, %eax\n cpuid\n mov %ebx, 0x3008\n"
		   "mov $0xf4, %dx\n outb %al, %dx\n 1: jmp 1b")
/* What a guest hypervisor looks at: IA32_VMX_PROCBASED_CTLS2, the TRUE exit controls, IA32_VMX_EPT_VPID_CAP; on AMD
 * CPUID. */
GUEST(guest_vmx, "mov $0x48b, %ecx\n rdmsr\n mov %edx, 0x3000\n mov $0x48f, %ecx\n rdmsr\n mov %edx, 0x3008\n"
		 "mov $0x48c, %ecx\n rdmsr\n mov %eax, 0x3010\n mov $0xf4, %dx\n outb %al, %dx\n 1: jmp 1b")
GUEST(guest_svm, "mov $0x8000000a, %eax\n cpuid\n mov %edx, 0x3000\n mov $0xf4, %dx\n outb %al, %dx\n 1: jmp 1b")
/* x2APIC on, software enable, 8259s remapped to 30h and all but IRQ 5 masked; then two interrupts are awaited. */
GUEST(guest_irq, "mov $0x1b, %ecx\n rdmsr\n or $0xc00, %eax\n wrmsr\n mov $0x80f, %ecx\n mov $0x1ff, %eax\n xor %edx, "
		 "%edx\n wrmsr\n"
		 "mov $0x835, %ecx\n mov $0x700, %eax\n wrmsr\n"
		 "mov $0x11, %al\n out %al, $0x20\n mov $0x30, %al\n out %al, $0x21\n mov $4, %al\n out %al, $0x21\n"
		 "mov $1, %al\n out %al, $0x21\n mov $0xdf, %al\n out %al, $0x21\n"
		 "sti\n mov $0x600, %dx\n outb %al, %dx\n 1: hlt\n jmp 1b")
/* The handler of every vector: counts at [DATA], stops the machine at the second interrupt. */
GUEST(guest_handler, "incl 0x3000\n cmpl $2, 0x3000\n jne 1f\n mov $0xf4, %dx\n outb %al, %dx\n"
		     "1: mov $0x20, %al\n out %al, $0x20\n mov $0x80b, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr\n"
		     "mov $0x600, %dx\n outb %al, %dx\n iretq")

GUEST(guest_dirty, "mov 0x400000, %eax\n incl 0x3000\n movl $1, 0x500ffc\n mov $0xf4, %dx\n outb %al, %dx\n 2: jmp 2b")
/* 40 NOPs to break at, a word that is written, its own INT3 and #DB counted by the handlers. */
GUEST(guest_points, "1: .rept 40\n nop\n .endr\n movl $7, 0x3040\n mov 0x3044, %eax\n incl 0x3048\n"
		    "cmpl $2, 0x3048\n jne 1b\n int3\n pushf\n orl $0x100, (%rsp)\n popf\n nop\n"
		    "mov $0xf4, %dx\n outb %al, %dx\n 2: jmp 2b")
/* The handlers of #DB, which ends the single steps, and of #BP. */
GUEST(guest_db, "incl 0x3050\n andl $~0x100, 16(%rsp)\n iretq")
GUEST(guest_bp, "incl 0x3054\n iretq")

struct world {
	struct vm vm;
	struct kvm_vm *kvm;
	struct vcpu *v;
	struct err e;
	char serial[16], string[16];
	unsigned nserial, nstring, asks;
	u64 mmio_offset, mmio_value;
};

static void serial_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct world *w = dev;

	if (w->nserial < sizeof(w->serial) - 1)
		w->serial[w->nserial++] = (char)value;
}

static u64 none_read(void *dev, u64 offset, unsigned size) { return ~0ull; }
static u64 port_read(void *dev, u64 offset, unsigned size) { return 0xcafe0000 | size; }

static void port_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct world *w = dev;

	if (w->nstring < sizeof(w->string) - 1)
		w->string[w->nstring++] = (char)value;
}

static u64 mmio_read(void *dev, u64 offset, unsigned size) { return 0x1122334455667700 | offset; }

static void mmio_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct world *w = dev;

	w->mmio_offset = offset;
	w->mmio_value = value;
}

static void stop_write(void *dev, u64 offset, unsigned size, u64 value)
{
	vm_stop(&((struct world *)dev)->vm, VM_DEBUG_EXIT, 7);
}

/* The guest asks for its interrupts: first by wire, then by message. */
static void ask_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct world *w = dev;

	if (w->asks++ == 0) {
		kvm_irq_set(w->kvm, 5, true);
		kvm_irq_set(w->kvm, 5, false);
	} else {
		w->vm.msi.send(w->vm.msi.ctx, 0xfee00000, 0x45);
	}
}

static const struct bus_ops serial_ops = {none_read, serial_write}, port_ops = {port_read, port_write},
			    mmio_ops = {mmio_read, mmio_write}, stop_ops = {none_read, stop_write},
			    ask_ops = {none_read, ask_write};

static u8 *at(struct world *w, u64 pa) { return ram_host(&w->vm.ram, pa, 8); }
static void put64(struct world *w, u64 pa, u64 v) { memcpy(at(w, pa), &v, 8); }

/* Identity-mapped 4 GiB by 2 MiB pages; every interrupt vector leads to the handler. */
static void tables_make(struct world *w)
{
	u64 handler = CODE + 0x800;

	put64(w, TABLES, (TABLES + 0x1000) | 7);
	for (u64 i = 0; i < 4; i++)
		put64(w, TABLES + 0x1000 + 8 * i, (TABLES + 0x2000 + 0x1000 * i) | 7);
	for (u64 i = 0; i < 2048; i++)
		put64(w, TABLES + 0x2000 + 8 * i, i << 21 | 0x87);
	for (u64 i = 32; i < 256; i++) {
		put64(w, IDT + 16 * i,
		      (handler & 0xffff) | 0x10ull << 16 | 0x8eull << 40 | (handler >> 16 & 0xffff) << 48);
		put64(w, IDT + 16 * i + 8, 0);
	}
	put64(w, 0x2010, 0x00af9b000000ffff); /* GDT at 2000h: 10h is CS */
	put64(w, 0x2018, 0x00cf93000000ffff);
}

static void state_make(struct x86_state *st, const struct x86_state *now)
{
	struct x86_seg data = {0x18, 0xc93, 0xffffffff, 0};

	*st = *now;
	x86_set_rflags(st, FL_FIXED);
	st->rip = CODE;
	st->gpr[RSP] = STACK;
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = data;
	st->seg[CS] = (struct x86_seg){0x10, 0xa9b, 0xffffffff, 0};
	st->tr = (struct x86_seg){0, 0x8b, 0xffff, 0};
	st->ldtr = (struct x86_seg){0, 0x82, 0xffff, 0};
	st->gdtr = (struct x86_dtr){0x2000, 0x1f};
	st->idtr = (struct x86_dtr){IDT, 0xfff};
	st->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
	st->cr3 = TABLES;
	st->cr4 = CR4_PAE | CR4_OSFXSR;
	st->msr.efer = EFER_LME | EFER_LMA;
}

static struct world *world_new_model(const u8 *start, const u8 *end, const struct x86_model *model)
{
	struct world *w = calloc(1, sizeof(*w));
	struct x86_state now, st;
	struct err *e = &w->e;

	assert_int_equal(vm_init(&w->vm, log_new(stderr, ""), clock_host(), e), 0);
	assert_int_equal(ram_add(&w->vm.ram, 0, RAM_SIZE, false, e), 0);
	w->vm.nvcpus = 1;
	if (kvm_vm_new(&w->vm, &w->kvm, e) || kvm_vcpu_new(w->kvm, 0, model, &w->v, e))
		fail_msg("%s", e->text);
	w->vm.vcpu[0] = w->v;
	bus_add(&w->vm.ports, 0x3f8, 8, &serial_ops, w, "serial", e);
	bus_add(&w->vm.ports, 0x500, 4, &port_ops, w, "port", e);
	bus_add(&w->vm.ports, 0x600, 1, &ask_ops, w, "ask", e);
	bus_add(&w->vm.ports, 0xf4, 1, &stop_ops, w, "stop", e);
	bus_add(&w->vm.mmio, MMIO, 0x1000, &mmio_ops, w, "mmio", e);
	memcpy(at(w, CODE), start, (size_t)(end - start));
	memcpy(at(w, CODE + 0x800), guest_handler_start, (size_t)(guest_handler_end - guest_handler_start));
	memcpy(at(w, DATA + 0x100), "hello", 5);
	tables_make(w);
	w->v->ops->get_state(w->v, &now);
	state_make(&st, &now);
	if (w->v->ops->set_state(w->v, &st, e))
		fail_msg("%s", e->text);
	return w;
}

static struct world *world_new(const u8 *start, const u8 *end) { return world_new_model(start, end, NULL); }

static void world_free(struct world *w)
{
	struct log *log = w->vm.log;

	vm_destroy(&w->vm);
	kvm_vm_free(w->kvm);
	log_free(log);
	free(w);
}

static enum run_exit run(struct world *w)
{
	enum run_exit r = w->v->ops->run(w->v, &w->e);

	if (r == RUN_ERROR)
		fail_msg("%s", w->e.text);
	return r;
}

static void need_kvm(void)
{
	struct kvm_probe p;

	kvm_probe(&p);
	print_message("%s\n", p.text);
	if (!p.usable)
		skip();
}

/* A KVM without VMX or SVM beneath it emulates: it may show guests more than it was told, and less. */
static void need_nesting(void)
{
	struct kvm_probe p;

	kvm_probe(&p);
	if (!p.nested)
		skip();
}

static void io(void **state)
{
	struct world *w;
	u64 v;

	need_kvm();
	w = world_new(guest_io_start, guest_io_end);
	assert_int_equal(run(w), RUN_STOPPED);
	assert_int_equal(atomic_load(&w->vm.stop), VM_DEBUG_EXIT);
	assert_int_equal(w->vm.stop_code, 7);
	assert_string_equal(w->serial, "AB");
	assert_string_equal(w->string, "hello");
	memcpy(&v, at(w, DATA), 4);
	assert_int_equal((u32)v, 0xcafe0004);
	memcpy(&v, at(w, DATA + 8), 8);
	assert_int_equal(v, 0x1122334455667710);
	assert_int_equal(w->mmio_offset, 8);
	assert_int_equal(w->mmio_value, 0x12345678);
	print_message("exits to user space %llu, by KVM's count %llu\n",
		      (unsigned long long)w->v->ops->counters(w->v)->exits, (unsigned long long)kvm_exits(w->kvm));
	world_free(w);
}

static void *stop_later(void *ctx)
{
	struct timespec t = {.tv_nsec = 50000000};

	nanosleep(&t, NULL);
	vm_stop(ctx, VM_USER, 0);
	return NULL;
}

static void kick(void **state)
{
	struct world *w;
	struct x86_state st;
	pthread_t t;
	u64 v;

	need_kvm();
	w = world_new(guest_spin_start, guest_spin_end);
	pthread_create(&t, NULL, stop_later, &w->vm);
	assert_int_equal(run(w), RUN_STOPPED);
	pthread_join(t, NULL);
	assert_int_equal(atomic_load(&w->vm.stop), VM_USER);
	memcpy(&v, at(w, DATA), 8);
	assert_true(v > 0);
	w->v->ops->get_state(w->v, &st);
	assert_in_range(st.rip, CODE, CODE + (u64)(guest_spin_end - guest_spin_start));
	world_free(w);
}

/* A model narrows what KVM supports; KVM's own leaves stay. */
static void model_narrows(void **state)
{
	struct x86_model model;
	struct world *w;
	struct err e;
	u64 v;

	need_nesting();
	assert_int_equal(x86_model_parse("EPYC,aes=off", &model, &e), 0);
	w = world_new_model(guest_cpuid_start, guest_cpuid_end, &model);
	assert_int_equal(run(w), RUN_STOPPED);
	memcpy(&v, at(w, DATA), 8);
	assert_int_equal(v & BIT(25), 0);	/* AES */
	assert_int_equal(v & BIT(31), BIT(31)); /* a hypervisor */
	assert_memory_equal(at(w, DATA + 8), "KVMK", 4);
	world_free(w);
}

static u32 sees(const u8 *start, const u8 *end, const char *cpu, u64 pa)
{
	struct x86_model model;
	struct world *w;
	struct err e;
	u32 v;

	if (x86_model_parse(cpu, &model, &e))
		fail_msg("%s", e.text);
	w = world_new_model(start, end, &model);
	assert_int_equal(run(w), RUN_STOPPED);
	memcpy(&v, at(w, pa), 4);
	world_free(w);
	return v;
}
#define SEES(guest, cpu, pa) sees(guest##_start, guest##_end, cpu, pa)

/* So do a request's words for what is below VMX and SVM: each is there without its word, else nothing is shown. */
static void extension_narrows(void **state)
{
	struct kvm_probe p;

	kvm_probe(&p);
	if (!p.nested)
		skip();
	if (p.vmx) {
		assert_int_equal(SEES(guest_vmx, "Skylake-Client", DATA) & 2, 2);
		assert_int_equal(SEES(guest_vmx, "Skylake-Client,vmx-ept=off", DATA) & 2, 0);
		assert_int_equal(SEES(guest_vmx, "Skylake-Client,vmx-ept=off", DATA + 16), 0);
		assert_int_equal(SEES(guest_vmx, "Skylake-Client,vmx-vpid=off", DATA) & 0x22, 2);
		assert_int_equal(SEES(guest_vmx, "Skylake-Client", DATA + 8) & BIT(21), BIT(21));
		assert_int_equal(SEES(guest_vmx, "Skylake-Client,vmx-exit-load-efer=off", DATA + 8) & BIT(21), 0);
		assert_int_equal(SEES(guest_vmx, "Skylake-Client", DATA + 16) & BIT(16), BIT(16));
		assert_int_equal(SEES(guest_vmx, "Skylake-Client,vmx-ept-2mb=off", DATA + 16) & BIT(16), 0);
	} else {
		assert_int_equal(SEES(guest_svm, "EPYC", DATA) & 9, 9);
		assert_int_equal(SEES(guest_svm, "EPYC,npt=off", DATA) & 9, 8);
		assert_int_equal(SEES(guest_svm, "EPYC,nrips=off", DATA) & 9, 1);
	}
}

static void triple_fault(void **state)
{
	struct world *w;

	need_kvm();
	w = world_new(guest_triple_start, guest_triple_end);
	assert_int_equal(run(w), RUN_TRIPLE_FAULT);
	world_free(w);
}

static void interrupts(void **state)
{
	struct world *w;
	u32 count;

	need_kvm();
	w = world_new(guest_irq_start, guest_irq_end);
	assert_int_equal(run(w), RUN_STOPPED);
	memcpy(&count, at(w, DATA), 4);
	assert_int_equal(count, 2);
	world_free(w);
}

static unsigned lost;
static void on_diff(void *ctx, const char *path, const void *a, const void *b, u32 size)
{
	u64 va = 0, vb = 0;

	memcpy(&va, a, MIN(size, 8u));
	memcpy(&vb, b, MIN(size, 8u));
	if (strstr(path, "tsc_offset"))
		return; /* measured twice */
	print_message("%s: %#llx became %#llx\n", path, (unsigned long long)va, (unsigned long long)vb);
	lost++;
}

/* What is set comes back, from a state in which every register has a value of its own. */
static void state_round_trip(void **state)
{
	struct world *w;
	struct x86_state st, back;

	need_kvm();
	w = world_new(guest_spin_start, guest_spin_end);
	w->v->ops->get_state(w->v, &st);
	for (unsigned i = 0; i < 16; i++)
		st.gpr[i] = 0x1111111111111111ull * i + 1;
	x86_set_rflags(&st, FL_FIXED | FL_CF | FL_OF | FL_SF | FL_DF | FL_ID);
	st.rip = CODE + 1;
	st.cr2 = 0x123456789000;
	st.dr[1] = 0x7777;
	st.seg[FS].base = 0x7fff12345678;
	st.msr.kernel_gs_base = 0xffff888000001000;
	st.msr.lstar = 0xffffffff81000000;
	st.msr.star = 0x0023001000000000;
	st.msr.sysenter_eip = 0x81000010; /* AMD keeps 32 bits */
	st.msr.pat = 0x0407050600070106;
	st.fpu.fcw = 0x27f;
	st.fpu.mxcsr = 0x1fa0;
	st.fpu.ftw = 0x81;
	for (unsigned i = 0; i < 16; i++)
		memset(st.fpu.vec[i], (int)i + 1, 16);
	for (unsigned i = 0; i < 8; i++)
		memset(st.fpu.st[i], (int)i + 0x40, 10);
	st.shadow = SHADOW_STI;
	st.nmi_blocked = 1;
	if (w->v->ops->set_state(w->v, &st, &w->e))
		fail_msg("%s", w->e.text);
	w->v->ops->get_state(w->v, &back);
	lost = 0;
	desc_diff(&x86_state_desc, &st, &back, on_diff, NULL);
	assert_int_equal(lost, 0);
	world_free(w);
}

/* What the guest and devices write is told once; what nobody touched is not. */
static void dirty(void **state)
{
	struct world *w;
	const struct ram_slot *s;

	need_nesting();
	w = world_new(guest_dirty_start, guest_dirty_end);
	s = &w->vm.ram.slot[0];
	assert_int_equal(dirty_collect(&w->vm, &w->e), -EINVAL);
	assert_int_equal(dirty_log(&w->vm, true, &w->e), 0);
	assert_int_equal(run(w), RUN_STOPPED);
	assert_int_equal(dirty_collect(&w->vm, &w->e), 0);
	for (u64 page = 0; page < s->size / RAM_PAGE; page++) {
		u64 pa = page * RAM_PAGE;
		/* KVM may map for writing, and count as written, what is read first. */
		bool touched = pa == CODE || pa == 0x400000 || pa == IDT || (pa >= TABLES && pa < TABLES + 0x6000);
		bool is = pa == DATA || pa == 0x500000;

		if (dirty_take(s, page) != is && !touched)
			fail_msg("page %#llx", (unsigned long long)pa);
	}
	assert_int_equal(vm_dma_write(&w->vm, 0x2ffe, "1234", 4), 0);
	assert_true(dirty_take(s, 2) && dirty_take(s, 3));
	assert_int_equal(dirty_collect(&w->vm, &w->e), 0);
	assert_false(dirty_take(s, DATA / RAM_PAGE));
	assert_int_equal(dirty_log(&w->vm, false, &w->e), 0);
	world_free(w);
}

/* ---- break and watch points, steps ---- */

static void gate(struct world *w, unsigned vector, u64 pa, const u8 *start, const u8 *end)
{
	memcpy(at(w, pa), start, (size_t)(end - start));
	put64(w, IDT + 16 * vector, (pa & 0xffff) | 0x10ull << 16 | 0x8eull << 40);
	put64(w, IDT + 16 * vector + 8, 0);
}

static struct world *points_world(void)
{
	struct world *w = world_new(guest_points_start, guest_points_end);

	gate(w, 1, CODE + 0x900, guest_db_start, guest_db_end);
	gate(w, 3, CODE + 0xa00, guest_bp_start, guest_bp_end);
	return w;
}

static u64 rip(struct world *w)
{
	struct x86_state st;

	w->v->ops->get_state(w->v, &st);
	return st.rip;
}

static void add(struct world *w, enum debug_kind kind, u64 la, u64 len, int expected)
{
	assert_int_equal(debug_add(&w->vm, &(struct debug_point){la, len, kind}), expected);
}

static void stops(struct world *w, enum debug_why why, u64 at_rip)
{
	enum run_exit r = run(w);

	if (r != RUN_DEBUG)
		fail_msg("run ended %d at %#llx", r, (unsigned long long)rip(w));
	assert_int_equal(w->v->debug.why, why);
	assert_int_equal(rip(w), at_rip);
}

static u32 word(struct world *w, u64 pa)
{
	u32 v;

	memcpy(&v, at(w, pa), 4);
	return v;
}

/* More breakpoints than there are debug registers; each is met on both ways round, and none is seen in memory. */
static void breakpoints(void **state)
{
	struct world *w;

	need_nesting();
	w = points_world();
	for (unsigned i = 0; i < 8; i++)
		add(w, i == 7 ? DEBUG_HARD_BREAK : DEBUG_SOFT_BREAK, CODE + 4 * i, 1, 0);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 8; i++) {
			stops(w, DEBUG_BREAK, CODE + 4 * i);
			assert_memory_equal(at(w, CODE), guest_points_start,
					    (size_t)(guest_points_end - guest_points_start));
		}
	assert_int_equal(run(w), RUN_STOPPED);
	assert_int_equal(word(w, DATA + 0x54), 1); /* its own INT3 reached it */
	world_free(w);
}

static void watchpoints(void **state)
{
	struct world *w;
	u64 after_write = CODE + 40 + 11, after_read = after_write + 7;

	need_nesting();
	w = points_world();
	add(w, DEBUG_WRITE, DATA + 0x40, 4, 0);
	add(w, DEBUG_ACCESS, DATA + 0x44, 4, 0);
	add(w, DEBUG_WRITE, DATA + 0x101, 3, 0);    /* two pieces: 1 and 2 bytes */
	add(w, DEBUG_HARD_BREAK, CODE, 1, -ENOSPC); /* all four are taken */
	add(w, DEBUG_SOFT_BREAK, CODE + 2, 1, 0);
	stops(w, DEBUG_BREAK, CODE + 2);
	stops(w, DEBUG_WATCH, after_write);
	assert_int_equal(w->v->debug.la, DATA + 0x40);
	assert_int_equal(w->v->debug.kind, DEBUG_WRITE);
	stops(w, DEBUG_WATCH, after_read);
	assert_int_equal(w->v->debug.la, DATA + 0x44);
	assert_int_equal(w->v->debug.kind, DEBUG_ACCESS);
	debug_clear(&w->vm);
	assert_int_equal(run(w), RUN_STOPPED);
	world_free(w);
}

/* A step over each kind of instruction, one that exits to a device among them; then the guest's own single step, which
 * is not the debugger's. */
static void steps(void **state)
{
	struct world *w;

	need_nesting();
	w = world_new(guest_io_start, guest_io_end);
	for (unsigned i = 0; i < 4; i++) {
		static const u8 length[] = {4, 2, 1, 2};
		u64 next = rip(w) + length[i];

		w->v->debug.step = 1;
		stops(w, DEBUG_STEP, next);
	}
	w->v->debug.step = 0;
	assert_int_equal(run(w), RUN_STOPPED);
	assert_string_equal(w->serial, "AB");
	world_free(w);
	w = points_world();
	add(w, DEBUG_WRITE, DATA + 0x7f0, 4, 0); /* guest debug is on, and #DB exits */
	assert_int_equal(run(w), RUN_STOPPED);
	assert_int_equal(word(w, DATA + 0x50), 1);
	assert_int_equal(word(w, DATA + 0x54), 1);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(io),
		cmocka_unit_test(kick),
		cmocka_unit_test(model_narrows),
		cmocka_unit_test(extension_narrows),
		cmocka_unit_test(triple_fault),
		cmocka_unit_test(interrupts),
		cmocka_unit_test(state_round_trip),
		cmocka_unit_test(dirty),
		cmocka_unit_test(breakpoints),
		cmocka_unit_test(watchpoints),
		cmocka_unit_test(steps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
