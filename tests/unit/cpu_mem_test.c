/*
 * Guest memory by linear address: the TLB's spaces and their invalidation, page crossing, MMIO, read-only memory, pages
 * with code, data breakpoints, derived state, port permissions. The rest of the processor is replaced by recorders.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/model.h"
#include "cpu/x86/block.h"
#include "cpu/x86/exec.h"
#include "cpu/x86/mem.h"
#include "cpu/x86/svm.h"
#include "cpu/x86/trace.h"
#include "cpu/x86/vapic.h"

#define RAM	(16ull << 20)
#define ROM_AT	0xfff00000ull
#define MMIO_AT 0xfee00000ull
#define ALL	(PTE_P | PTE_W | PTE_U)

static unsigned dropped_code; /* calls of block_written */

void trace_cpu(struct x86_cpu *cpu, const struct insn *in, enum trace_topic t, const char *fmt, ...) {}
enum outcome x86_fault(struct x86_cpu *cpu, unsigned vector, u32 error)
{
	cpu->c.event = (struct x86_event){.kind = EV_FAULT, .vector = vector, .error = error};
	return OUT_FAULT;
}
enum outcome x86_fault_pf(struct x86_cpu *cpu, u64 la, u32 error)
{
	x86_fault(cpu, EXC_PF, error);
	cpu->c.event.cr2 = la;
	return OUT_FAULT;
}
enum outcome x86_exit(struct x86_cpu *cpu, enum x86_exit exit, u64 info1, u64 info2)
{
	cpu->c.vmexit = (struct x86_vmexit){exit, info1, info2};
	return OUT_EXIT;
}
enum outcome vmexit_apic_access(struct x86_cpu *cpu, u64 la, unsigned size, unsigned want, u8 **host) { return OUT_EXIT; }
enum outcome vapic_access_physical(struct x86_cpu *cpu, u64 pa) { return OUT_EXIT; }
void block_written(struct x86_cpu *cpu, u64 pa, u64 len) { dropped_code++; }
bool vmx_pml_room(struct x86_cpu *cpu) { return false; }
void vmx_pml_log(struct x86_cpu *cpu, u64 gpa) {}
bool vmx_ve(struct x86_cpu *cpu, u64 qualification, u64 la, u64 gpa) { return false; }
void blocks_drop_all(struct x86_cpu *cpu) {}
void vmexit_decode_controls(struct x86_cpu *cpu) {}
void block_drop(struct x86_cpu *cpu, u64 pa, u64 len, bool all) {}
bool svm_intr_masked_by_vif(const struct x86_cpu *cpu) { return cpu->c.int_masking; }
enum outcome vmexit_check_io(struct x86_cpu *cpu, const struct insn *in, u16 port, unsigned size, bool is_in,
			     bool is_string, bool is_rep)
{
	return OUT_EXIT;
}

struct rig {
	struct vm vm;
	struct x86_model model;
	struct x86_cpu *cpu;
	u64 brk;
	u64 root;
	u64 mmio_value;
	unsigned mmio_writes;
};

static u64 dev_read(void *dev, u64 offset, unsigned size) { return offset * 0x0101010101010101ull & MASK(8 * size); }
static void dev_write(void *dev, u64 offset, unsigned size, u64 value)
{
	struct rig *r = dev;

	r->mmio_value = value;
	r->mmio_writes++;
}
static const struct bus_ops dev_ops = {dev_read, dev_write};

static u64 *entry(struct rig *r, u64 pa) { return ram_host(&r->vm.ram, pa, 8); }
static u64 page_new(struct rig *r)
{
	r->brk += 0x1000;
	return r->brk - 0x1000;
}

static void map(struct rig *r, u64 root, u64 la, u64 pte, unsigned leaf)
{
	u64 table = root;

	for (unsigned level = 4;; level--) {
		u64 at = table + (la >> (12 + 9 * (level - 1)) & 511) * 8;

		if (level == leaf) {
			*entry(r, at) = pte;
			return;
		}
		if (!(*entry(r, at) & PTE_P))
			*entry(r, at) = page_new(r) | ALL;
		table = *entry(r, at) & 0xfffffff000;
	}
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct x86_cpu *cpu = calloc(1, sizeof(*cpu));

	assert_int_equal(vm_init(&r->vm, NULL, clock_host(), NULL), 0);
	assert_int_equal(ram_add(&r->vm.ram, 0, RAM, false, NULL), 0);
	assert_int_equal(ram_add(&r->vm.ram, ROM_AT, 0x10000, true, NULL), 0);
	assert_int_equal(bus_add(&r->vm.mmio, MMIO_AT, 0x1000, &dev_ops, r, "test", NULL), 0);
	assert_true(x86_model_named("EPYC-Milan", &r->model));
	r->cpu = cpu;
	r->brk = 0x100000;
	cpu->vm = &r->vm;
	cpu->topics = r->vm.topics;
	cpu->model = &r->model;
	x86_reset(&cpu->st, X86_AMD, 0, false);
	assert_int_equal(tlb_new(cpu), 0);
	r->root = page_new(r);
	cpu->st.cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_NE;
	cpu->st.cr3 = r->root;
	cpu->st.cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR;
	cpu->st.msr.efer = EFER_LME | EFER_LMA | EFER_NXE;
	cpu->st.seg[CS].attr = SEG_P | SEG_S | SEG_CODE | SEG_RW | SEG_L;
	x86_drop_cache(cpu);
	dropped_code = 0;
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	tlb_free(r->cpu);
	free(r->cpu);
	vm_destroy(&r->vm);
	free(r);
	return 0;
}

static void expect_pf(struct rig *r, enum outcome o, u64 la, u32 error)
{
	assert_int_equal(o, OUT_FAULT);
	assert_int_equal(r->cpu->c.event.vector, EXC_PF);
	assert_int_equal(r->cpu->c.event.cr2, la);
	assert_int_equal(r->cpu->c.event.error, error);
}

static u64 get(struct rig *r, u64 la)
{
	u64 v = 0;

	assert_int_equal(mem_read64(r->cpu, la, &v, 0), OUT_NEXT);
	return v;
}

static void fast_path(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;
	u64 la = 0xffff888000001000ull, v;

	map(r, r->root, la, 0x200000 | PTE_P | PTE_W, 1);
	*entry(r, 0x200010) = 0x1122334455667788;
	assert_null(mem_look(cpu, la + 0x10, 8, ACC_READ));
	assert_int_equal(get(r, la + 0x10), 0x1122334455667788);
	assert_ptr_equal(mem_look(cpu, la + 0x10, 8, ACC_READ), entry(r, 0x200010));
	assert_null(mem_look(cpu, la, 8, ACC_WRITE)); /* D is not set yet */
	assert_int_equal(mem_write32(cpu, la + 4, 7, 0), OUT_NEXT);
	assert_non_null(mem_look(cpu, la, 8, ACC_WRITE));
	assert_null(mem_look(cpu, la + 0xffd, 4, ACC_READ));
	assert_int_equal(cpu->n.tlb_miss, 2);
	assert_int_equal(mem_read64(cpu, 0x0000800000000000, &v, 0), OUT_FAULT);
	assert_int_equal(cpu->c.event.vector, EXC_GP);
	assert_int_equal(mem_read64(cpu, 0x0000800000000000, &v, ACC_STACK), OUT_FAULT);
	assert_int_equal(cpu->c.event.vector, EXC_SS);
	assert_int_equal(mem_read64(cpu, 0x00007ffffffffffc, &v, 0), OUT_FAULT);
	assert_int_equal(cpu->c.event.vector, EXC_GP); /* before the first page's #PF, as silicon has it */
}

static void crossing(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;
	struct mem_rmw m;

	map(r, r->root, 0x10000, 0x200000 | ALL, 1);
	expect_pf(r, mem_write64(cpu, 0x10ffc, 0x8877665544332211, 0), 0x11000, PF_W);
	assert_int_equal(*entry(r, 0x200ff8), 0);
	map(r, r->root, 0x11000, 0x300000 | PTE_P | PTE_U, 1);
	expect_pf(r, mem_write64(cpu, 0x10ffc, 0x8877665544332211, 0), 0x11000, PF_P | PF_W);
	assert_int_equal(*entry(r, 0x200ff8), 0);
	map(r, r->root, 0x11000, 0x300000 | ALL, 1);
	assert_int_equal(mem_write64(cpu, 0x10ffc, 0x8877665544332211, 0), OUT_NEXT);
	assert_int_equal(*entry(r, 0x200ff8), 0x4433221100000000);
	assert_int_equal(*entry(r, 0x300000), 0x88776655);
	assert_int_equal(get(r, 0x10ffc), 0x8877665544332211);
	assert_int_equal(mem_rmw_begin(cpu, 0x10ffe, 4, 0, &m), OUT_NEXT);
	assert_int_not_equal(m.bounced, 0);
	assert_int_equal(*(u32 *)m.p, 0x66554433);
	*(u32 *)m.p = 0;
	assert_int_equal(mem_rmw_end(cpu, &m), OUT_NEXT);
	assert_int_equal(get(r, 0x10ffc), 0x8877000000002211);
	assert_int_equal(mem_probe(cpu, 0x10000, 0x2000, ACC_WRITE), OUT_NEXT);
	expect_pf(r, mem_probe(cpu, 0x10000, 0x2001, ACC_WRITE), 0x12000, PF_W);
}

static void mmio_and_rom(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;
	struct mem_rmw m;
	u8 buf[12];

	map(r, r->root, 0x20000, MMIO_AT | ALL, 1);
	map(r, r->root, 0x21000, ROM_AT | ALL, 1);
	assert_int_equal(get(r, 0x20003), 0x0303030303030303);
	assert_int_equal(mem_write16(cpu, 0x20000, 0xabcd, 0), OUT_NEXT);
	assert_int_equal(r->mmio_value, 0xabcd);
	assert_int_equal(mem_read_n(cpu, 0x20004, buf, 12, 0), OUT_NEXT);
	assert_int_equal(buf[0], 4);
	assert_int_equal(buf[8], 12);
	assert_int_equal(mem_rmw_begin(cpu, 0x20010, 4, 0, &m), OUT_NEXT);
	*(u32 *)m.p += 1;
	assert_int_equal(mem_rmw_end(cpu, &m), OUT_NEXT);
	assert_int_equal(r->mmio_value, 0x10101011);
	assert_null(mem_look(cpu, 0x20000, 1, ACC_READ));
	*entry(r, ROM_AT) = 5;
	assert_int_equal(mem_write64(cpu, 0x21000, 6, 0), OUT_NEXT);
	assert_int_equal(get(r, 0x21000), 5);
	phys_write(cpu, ROM_AT, buf, 8);
	assert_int_equal(get(r, 0x21000), 5);
	phys_read(cpu, MMIO_AT + 7, buf, 1);
	assert_int_equal(buf[0], 7);
	phys_read(cpu, RAM + 0x1000, buf, 4); /* nobody there */
	assert_int_equal(buf[0], 0xff);
	/* Tables in read-only memory: walked, never written. */
	memcpy(entry(r, ROM_AT + 0x1000), entry(r, r->root), 4096);
	for (unsigned i = 0; i < 512; i++)
		*entry(r, ROM_AT + 0x1000 + 8 * i) &= ~PTE_A;
	cpu->st.cr3 = ROM_AT + 0x1000;
	tlb_flush_current(cpu, false);
	assert_int_equal(get(r, 0x21000), 5);
	assert_false(*entry(r, ROM_AT + 0x1000) & PTE_A);
}

static void privileges(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;
	u64 v, pa;

	cpu->st.cr4 |= CR4_SMAP | CR4_SMEP;
	x86_update_all(cpu);
	map(r, r->root, 0x30000, 0x200000 | ALL, 1);
	map(r, r->root, 0x31000, 0x201000 | PTE_P | PTE_W, 1);
	expect_pf(r, mem_read64(cpu, 0x30000, &v, 0), 0x30000, PF_P);
	expect_pf(r, mem_fetch_pa(cpu, 0x30000, &pa), 0x30000, PF_P | PF_I);
	cpu->st.rflags |= FL_AC;
	x86_update_spaces(cpu);
	assert_int_equal(mem_read64(cpu, 0x30000, &v, 0), OUT_NEXT);
	expect_pf(r, mem_read64(cpu, 0x30000, &v, ACC_SYSTEM), 0x30000, PF_P);
	cpu->st.rflags &= ~FL_AC;
	x86_update_spaces(cpu);
	expect_pf(r, mem_read64(cpu, 0x30000, &v, 0), 0x30000, PF_P);
	cpu->st.cpl = 3;
	x86_update_mode(cpu);
	assert_true(cpu->c.mode & MODE_CPL3);
	assert_int_equal(mem_read64(cpu, 0x30000, &v, 0), OUT_NEXT);
	assert_int_equal(mem_fetch_pa(cpu, 0x30123, &pa), OUT_NEXT);
	assert_int_equal(pa, 0x200123);
	expect_pf(r, mem_read64(cpu, 0x31000, &v, 0), 0x31000, PF_P | PF_U);
	assert_int_equal(mem_read64(cpu, 0x31000, &v, ACC_SYSTEM), OUT_NEXT);
	expect_pf(r, mem_read64(cpu, 0x30000, &v, ACC_SYSTEM), 0x30000, PF_P);
}

static void invlpg(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;
	u64 misses, gen;

	map(r, r->root, 0x40000, 0x200000 | ALL, 1);
	map(r, r->root, 0x41000, 0x201000 | ALL, 1);
	*entry(r, 0x200000) = 1;
	*entry(r, 0x202000) = 2;
	assert_int_equal(get(r, 0x40000), 1);
	get(r, 0x41000);
	map(r, r->root, 0x40000, 0x202000 | ALL, 1);
	assert_int_equal(get(r, 0x40000), 1); /* still cached */
	gen = cpu->c.jump_gen;
	tlb_flush_page(cpu, 0x40000);
	assert_int_equal(cpu->c.jump_gen, gen);
	misses = cpu->n.tlb_miss;
	assert_int_equal(get(r, 0x40000), 2);
	get(r, 0x41000);
	assert_int_equal(cpu->n.tlb_miss, misses + 1);
	/* A page that code was fetched from also forgets the cached jumps. */
	assert_int_equal(mem_fetch_pa(cpu, 0x40000, &misses), OUT_NEXT);
	tlb_flush_page(cpu, 0x40008);
	assert_int_not_equal(cpu->c.jump_gen, gen);
}

static void invlpg_large(void **state)
{
	struct rig *r = *state;

	map(r, r->root, 0x600000, 0x400000 | ALL | PTE_PS, 2);
	*entry(r, 0x400000) = 1;
	*entry(r, 0x480000) = 2;
	*entry(r, 0xa80000) = 3;
	assert_int_equal(get(r, 0x600000), 1);
	assert_int_equal(get(r, 0x680000), 2);
	map(r, r->root, 0x600000, 0xa00000 | ALL | PTE_PS, 2);
	tlb_flush_page(r->cpu, 0x7ff000);
	assert_int_equal(get(r, 0x680000), 3);
	/* 1 GByte. */
	map(r, r->root, 0x40000000, ALL | PTE_PS, 3);
	assert_int_equal(get(r, 0x40400000), 1);
	map(r, r->root, 0x40000000, 0, 3);
	tlb_flush_page(r->cpu, 0x7ffff000);
	expect_pf(r, mem_read64(r->cpu, 0x40400000, (u64[1]){0}, 0), 0x40400000, 0);
}

static void spaces(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;
	u64 other = page_new(r), global = 0xffff800000000000ull, misses;

	*entry(r, 0x200000) = 1;
	*entry(r, 0x201000) = 2;
	map(r, r->root, 0x50000, 0x200000 | ALL, 1);
	map(r, other, 0x50000, 0x201000 | ALL, 1);
	map(r, r->root, global, 0x200000 | PTE_P | PTE_W | PTE_G, 1);
	*entry(r, other + 256 * 8) = *entry(r, r->root + 256 * 8);
	/* Without PCID each load of CR3 starts afresh. */
	assert_int_equal(get(r, 0x50000), 1);
	cpu->st.cr3 = other;
	tlb_flush_current(cpu, false);
	assert_int_equal(get(r, 0x50000), 2);
	/* With PCID nothing is lost on the way there and back. */
	cpu->st.cr4 |= CR4_PCIDE;
	x86_update_all(cpu);
	tlb_flush_current(cpu, true);
	cpu->st.cr3 = r->root | 1;
	x86_update_spaces(cpu);
	assert_int_equal(get(r, 0x50000), 1);
	assert_int_equal(get(r, global), 1);
	cpu->st.cr3 = other | 2;
	x86_update_spaces(cpu);
	assert_int_equal(get(r, 0x50000), 2);
	assert_int_equal(get(r, global), 1);
	misses = cpu->n.tlb_miss;
	cpu->st.cr3 = r->root | 1;
	x86_update_spaces(cpu);
	assert_int_equal(get(r, 0x50000), 1);
	assert_int_equal(cpu->n.tlb_miss, misses);
	/* INVPCID of one address, of one context. */
	map(r, r->root, 0x50000, 0x202000 | ALL, 1);
	*entry(r, 0x202000) = 3;
	tlb_flush_pcid(cpu, 2, true, 0x50000);
	assert_int_equal(get(r, 0x50000), 1);
	tlb_flush_pcid(cpu, 1, true, 0x50000);
	assert_int_equal(get(r, 0x50000), 3);
	map(r, other, 0x50000, 0x200000 | ALL, 1);
	tlb_flush_pcid(cpu, 2, false, 0);
	cpu->st.cr3 = other | 2;
	x86_update_spaces(cpu);
	assert_int_equal(get(r, 0x50000), 1);
	/* A global page goes everywhere at once. */
	map(r, r->root, global, 0x202000 | PTE_P | PTE_W | PTE_G, 1);
	tlb_flush_page(cpu, global);
	assert_int_equal(get(r, global), 3);
	cpu->st.cr3 = r->root | 1;
	x86_update_spaces(cpu);
	assert_int_equal(get(r, global), 3);
}

static void space_numbers_run_out(void **state)
{
	struct rig *r = *state;
	u64 a = 0x200000;

	map(r, r->root, 0x60000, a | ALL, 1);
	for (unsigned i = 0; i < 5000; i++) {
		u64 pa = 0x200000 + (i & 1 ? 0x1000 : 0);

		*entry(r, pa) = i;
		map(r, r->root, 0x60000, pa | ALL, 1);
		tlb_flush_current(r->cpu, false);
		assert_int_equal(get(r, 0x60000), i);
	}
	for (unsigned i = 0; i < 5000; i++) {
		r->cpu->st.cr3 = r->root;
		r->cpu->c.asid = i; /* distinct keys, none flushed */
		x86_update_spaces(r->cpu);
		assert_int_equal(get(r, 0x60000), 4999);
	}
}

static void guests(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;
	u64 nroot = page_new(r), v, misses;

	*entry(r, 0x200000) = 1;
	*entry(r, 0x201000) = 2;
	map(r, r->root, 0x70000, 0x200000 | ALL, 1);
	assert_int_equal(get(r, 0x70000), 1);
	cpu->c.guest = cpu->c.npt = 1;
	cpu->c.asid = 5;
	cpu->c.ncr3 = nroot;
	cpu->c.host_cr4 = CR4_PAE;
	cpu->c.host_efer = EFER_LMA | EFER_NXE;
	x86_update_all(cpu);
	assert_int_equal(mem_read64(cpu, 0x70000, &v, 0), OUT_EXIT);
	assert_int_equal(cpu->c.vmexit.exit, EXIT_NPF);
	assert_int_equal(cpu->c.vmexit.info1, BIT(33) | PF_W | PF_U);
	assert_int_equal(cpu->c.vmexit.info2, r->root);
	map(r, nroot, 0, ALL | PTE_PS, 2); /* identity, but for the page that is wanted */
	assert_int_equal(mem_read64(cpu, 0x70010, &v, 0), OUT_EXIT);
	assert_int_equal(cpu->c.vmexit.info1, BIT(32) | PF_U);
	assert_int_equal(cpu->c.vmexit.info2, 0x200010);
	map(r, nroot, 0x200000, 0x201000 | PTE_P | PTE_U, 1);
	assert_int_equal(get(r, 0x70000), 2);
	assert_int_equal(mem_write64(cpu, 0x70000, 9, 0), OUT_EXIT);
	assert_int_equal(cpu->c.vmexit.info1, BIT(32) | PF_P | PF_W | PF_U);
	/* Out and in again: both keep what they had. */
	cpu->c.guest = cpu->c.npt = cpu->c.asid = 0;
	x86_update_all(cpu);
	misses = cpu->n.tlb_miss;
	assert_int_equal(get(r, 0x70000), 1);
	cpu->c.guest = cpu->c.npt = 1;
	cpu->c.asid = 5;
	x86_update_all(cpu);
	assert_int_equal(get(r, 0x70000), 2);
	assert_int_equal(cpu->n.tlb_miss, misses);
	map(r, nroot, 0x200000, 0, 1);
	assert_int_equal(get(r, 0x70000), 2);
	tlb_flush_asid(cpu, 4, false);
	assert_int_equal(get(r, 0x70000), 2);
	tlb_flush_asid(cpu, 5, false);
	assert_int_equal(mem_read64(cpu, 0x70000, &v, 0), OUT_EXIT);
}

static void code_pages(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;
	struct mem_rmw m;

	map(r, r->root, 0x80000, 0x200000 | ALL, 1);
	assert_int_equal(mem_write64(cpu, 0x80000, 1, 0), OUT_NEXT);
	assert_non_null(mem_look(cpu, 0x80000, 8, ACC_WRITE));
	r->vm.ram.slot[0].flags[0x200] |= RAM_CODE;
	tlb_drop_host_page(cpu, 0x200000);
	assert_null(mem_look(cpu, 0x80000, 8, ACC_WRITE));
	assert_non_null(mem_look(cpu, 0x80000, 8, ACC_READ));
	assert_int_equal(mem_write64(cpu, 0x80000, 2, 0), OUT_NEXT);
	assert_int_equal(dropped_code, 1);
	assert_int_equal(*entry(r, 0x200000), 2);
	assert_int_equal(mem_rmw_begin(cpu, 0x80000, 8, 0, &m), OUT_NEXT);
	assert_ptr_equal(m.p, entry(r, 0x200000)); /* atomics stay atomic */
	assert_int_equal(dropped_code, 1);
	assert_int_equal(mem_rmw_end(cpu, &m), OUT_NEXT);
	assert_int_equal(dropped_code, 2);
	phys_write(cpu, 0x200000, &(u64){3}, 8);
	assert_int_equal(dropped_code, 3);
	r->vm.ram.slot[0].flags[0x200] = 0;
	assert_int_equal(mem_write64(cpu, 0x80000, 2, 0), OUT_NEXT);
	assert_non_null(mem_look(cpu, 0x80000, 8, ACC_WRITE));
}

static void data_breakpoints(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;

	map(r, r->root, 0x90000, 0x200000 | ALL, 1);
	assert_int_equal(mem_write64(cpu, 0x90000, 1, 0), OUT_NEXT);
	cpu->st.dr[1] = 0x90010;
	cpu->st.dr7 = DR7_FIXED | 1 << 3 | 0xdull << 20; /* G1, 4 bytes, writes */
	x86_update_attention(cpu);
	assert_int_equal(mem_write64(cpu, 0x90008, 1, 0), OUT_NEXT);
	get(r, 0x90010);
	assert_int_equal(cpu->st.pending_db, 0);
	assert_int_equal(mem_write8(cpu, 0x90013, 1, 0), OUT_NEXT);
	assert_int_equal(cpu->st.pending_db, 2);
	assert_true(cpu->c.attention & cpu->c.att_mask & ATT_STEP);
	cpu->st.pending_db = 0;
	cpu->st.dr7 = DR7_FIXED;
	x86_update_attention(cpu);
	assert_false(cpu->c.attention & ATT_STEP);
	assert_int_equal(mem_write64(cpu, 0x90010, 1, 0), OUT_NEXT);
	assert_int_equal(cpu->st.pending_db, 0);
	assert_non_null(mem_look(cpu, 0x90010, 8, ACC_WRITE));
}

static void unpaged(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;
	u16 v;

	x86_reset(&cpu->st, X86_AMD, 0, false);
	x86_update_all(cpu);
	assert_int_equal(cpu->c.mode, 0);
	*entry(r, 0) = 0xbb000000000000aa;
	assert_int_equal(mem_read16(cpu, 0xffffffff, &v, 0), OUT_NEXT); /* wraps at 4 GiB */
	assert_int_equal(v, 0xaaff);
	cpu->st.cr0 |= CR0_PE;
	for (unsigned i = 0; i < X86_SREGS; i++)
		cpu->st.seg[i] = (struct x86_seg){.attr = SEG_P | SEG_S | SEG_RW | SEG_DB | SEG_G, .limit = 0xffffffff};
	cpu->st.seg[CS].attr |= SEG_CODE;
	x86_update_all(cpu);
	assert_int_equal(cpu->c.mode, MODE_PE | MODE_SS32 | MODE_FLAT | 1);
	cpu->st.seg[DS].limit = 0xfffff;
	x86_update_all(cpu);
	assert_false(cpu->c.mode & MODE_FLAT);
	cpu->st.rflags |= FL_VM;
	cpu->st.cpl = 3;
	x86_update_all(cpu);
	assert_true(cpu->c.mode & MODE_V86);
}

static void attention_mask(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;
	struct x86_state *st = &cpu->st;

	x86_update_attention(cpu);
	assert_false(cpu->c.att_mask & (ATT_INTR | ATT_VINTR | ATT_SIPI));
	assert_true(cpu->c.att_mask & ATT_NMI);
	st->rflags |= FL_IF;
	x86_update_attention(cpu);
	assert_true(cpu->c.att_mask & ATT_INTR);
	st->shadow = SHADOW_STI;
	x86_update_attention(cpu);
	assert_false(cpu->c.att_mask & ATT_INTR);
	assert_true(cpu->c.attention & ATT_SHADOW);
	st->shadow = 0;
	st->svm.gif = 0;
	x86_update_attention(cpu);
	assert_false(cpu->c.attention & ATT_SHADOW);
	assert_false(cpu->c.att_mask & (ATT_INTR | ATT_NMI | ATT_INIT));
	st->svm.gif = 1;
	/* A guest under V_INTR_MASKING: the host's IF counts for physical interrupts, its own for virtual ones. */
	cpu->c.guest = cpu->c.int_masking = 1;
	st->rflags &= ~FL_IF;
	cpu->c.host_rflags = FL_IF;
	x86_update_attention(cpu);
	assert_true(cpu->c.att_mask & ATT_INTR);
	assert_false(cpu->c.att_mask & ATT_VINTR);
	st->nmi_blocked = 1;
	x86_update_attention(cpu);
	assert_false(cpu->c.att_mask & ATT_NMI);
}

static void ports(void **state)
{
	struct rig *r = *state;
	struct x86_cpu *cpu = r->cpu;
	struct x86_state *st = &cpu->st;
	const struct insn in = {0};

	map(r, r->root, 0xa0000, 0x200000 | PTE_P | PTE_W, 1);
	map(r, r->root, 0xa1000, 0x201000 | PTE_P | PTE_W, 1);
	assert_int_equal(io_check(cpu, &in, 0x3f8, 1, true, false), OUT_NEXT);
	st->cpl = 3;
	st->tr = (struct x86_seg){.attr = SEG_P | 11, .limit = 0x68 + 0x80, .base = 0xa0000};
	*entry(r, 0x200060) = 0x68ull << 48;
	*entry(r, 0x200068 + 0x78) = BIT(56 + 1); /* port 3f9h */
	x86_update_all(cpu);
	assert_int_equal(io_check(cpu, &in, 0x3f8, 1, true, false), OUT_NEXT);
	assert_int_equal(io_check(cpu, &in, 0x3f8, 2, true, false), OUT_FAULT);
	assert_int_equal(cpu->c.event.vector, EXC_GP);
	assert_int_equal(io_check(cpu, &in, 0x3fa, 4, true, false), OUT_NEXT);
	assert_int_equal(io_check(cpu, &in, 0x400, 1, true, false),
			 OUT_FAULT); /* the second byte is beyond the limit */
	st->rflags |= FL_IOPL;
	assert_int_equal(io_check(cpu, &in, 0x3f9, 1, true, false), OUT_NEXT);
	st->rflags &= ~FL_IOPL;
	st->tr.attr = 0;
	assert_int_equal(io_check(cpu, &in, 0x3f8, 1, true, false), OUT_FAULT);
	st->cpl = 0;
	cpu->c.guest = 1;
	assert_int_equal(io_check(cpu, &in, 0x3f8, 1, true, false), OUT_EXIT);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(fast_path),	     T(crossing), T(mmio_and_rom),	    T(privileges), T(invlpg),
		T(invlpg_large),     T(spaces),	  T(space_numbers_run_out), T(guests),	   T(code_pages),
		T(data_breakpoints), T(unpaged),  T(attention_mask),	    T(ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
