/* MSRs, control registers and the clock: what may be written where, and what a write does. SDM vol. 4; SDM vol. 3 2.5;
 * APM vol. 2 3.1. */
#include "tests/unit/cpu_world.h"

#include "arch/x86/msr.h"
#include "cpu/x86/exec.h"
#include "cpu/x86/msr.h"

#define MSR_EFER 0xc0000080
#define MSR_PAT	 0x277

static void rows_are_sorted(void **state)
{
	for (unsigned i = 1; i < x86_msr_row_count; i++) {
		const struct x86_msr_row *a = &x86_msr_rows[i - 1], *b = a + 1;

		if (a->index == b->index) {
			assert_int_equal(a->count, b->count);
			assert_false(a->vendors & b->vendors && a->feature == b->feature);
		} else if (a->index + a->count > b->index) {
			fail_msg("MSR rows %s and %s overlap or are out of order", a->name, b->name);
		}
	}
	for (unsigned i = 0; i < x86_msr_row_count; i++) {
		const struct x86_msr_row *r = &x86_msr_rows[i];

		if (r->kind == MSR_KIND_KEEP)
			assert_true(r->where + 8u * r->count <= sizeof(struct x86_state));
		if (r->kind == MSR_KIND_CALL)
			assert_true(msr_calls[r->call].read || msr_calls[r->call].write);
	}
}

static void rows_are_found(void **state)
{
	struct world *w = world_new("EPYC");

	for (unsigned i = 0; i < x86_msr_row_count; i++) {
		const struct x86_msr_row *r = &x86_msr_rows[i],
					 *found = x86_msr_find(&w->model, r->index + r->count - 1);

		assert_true(!found || (found->index == r->index && (found->vendors & MSR_AMD)));
	}
	assert_null(x86_msr_find(&w->model, 0x11));
	assert_null(x86_msr_find(&w->model, 0x1a0)); /* Intel's */
	assert_null(x86_msr_find(&w->model, 0xffffffff));
	assert_string_equal(x86_msr_find(&w->model, 0x8b)->name, "PATCH_LEVEL");
	world_free(w);
	w = world_new("Haswell-noTSX-IBRS");
	assert_string_equal(x86_msr_find(&w->model, 0x8b)->name, "BIOS_SIGN_ID");
	assert_null(x86_msr_find(&w->model, 0xc0010114));
	world_free(w);
}

static bool wr(struct world *w, u32 index, u64 v) { return msr_write(w->cpu, index, v); }
static u64 rd(struct world *w, u32 index)
{
	u64 v;

	assert_true(msr_read(w->cpu, index, &v));
	return v;
}

static void values(void **state)
{
	struct world *w = world_new("EPYC");
	u64 v;

	assert_false(wr(w, MSR_PAT, 0x0207040600070406));
	assert_true(wr(w, MSR_PAT, 0x0007040600070501));
	assert_int_equal(rd(w, MSR_PAT), 0x0007040600070501);
	assert_false(wr(w, 0xc0000082, 1ull << 47));
	assert_true(wr(w, 0xc0000082, 0xffffffff81000000));
	assert_true(wr(w, 0xc0000101, 0x123456));
	assert_int_equal(w->cpu->st.seg[GS].base, 0x123456);
	assert_false(wr(w, 0xfe, 0));
	assert_int_equal(rd(w, 0xfe), 0x508);
	assert_false(wr(w, 0x200, 2));
	assert_false(wr(w, 0x201, 1ull << 40)); /* phys_bits */
	assert_true(wr(w, 0x203, 0xff00000800));
	assert_int_equal(rd(w, 0x203), 0xff00000800);
	assert_int_equal(w->cpu->st.msr.mtrr_mask[1], 0xff00000800);
	assert_true(wr(w, 0x26f, 0x0606060606060606));
	assert_int_equal(w->cpu->st.msr.mtrr_fix[10], 0x0606060606060606);
	assert_false(wr(w, 0x250, 0x1e06060606060606));
	assert_true(wr(w, 0xc0010010, 1 << 19));
	assert_true(wr(w, 0x250, 0x1e06060606060606));
	assert_int_equal(rd(w, 0x179) & 0xff, X86_MC_BANKS);
	assert_false(wr(w, 0x401, 1));
	assert_true(wr(w, 0x401, 0));
	assert_false(msr_read(w->cpu, 0x400 + 4 * X86_MC_BANKS, &v));
	assert_int_equal(rd(w, 0xc0010015), 1 << 24); /* the TSC counts at P0's frequency */
	assert_int_equal(rd(w, 0x1b), 0xfee00900);
	assert_false(wr(w, 0x6e0, 1)); /* the controller's answer */
	assert_false(msr_read(w->cpu, 0xc0010016, &v));
	assert_int_equal(log_limits(w->vm.log), 1);
	world_free(w);
}

/* What the processor is immune to, and the registers that belong to it. */
static void speculation(void **state)
{
	struct world *w = world_new("Skylake-Client");
	u64 v;

	assert_int_equal(rd(w, 0x10a), 0x400000000d10e17b);
	assert_false(wr(w, 0x10a, 0));
	assert_true(wr(w, 0x48, 0x403));
	assert_int_equal(rd(w, 0x48), 0x403);
	assert_false(wr(w, 0x48, 4));
	world_free(w);
	w = world_new("Skylake-Client,arch-capabilities=off,bhi-ctrl=off");
	assert_false(msr_read(w->cpu, 0x10a, &v));
	assert_false(wr(w, 0x48, 0x400));
	world_free(w);
	w = world_new("Skylake-Client,spec-ctrl=off"); /* IBRS_ALL would be wrong */
	assert_false(msr_read(w->cpu, 0x10a, &v));
	world_free(w);
	w = world_new("EPYC");
	assert_false(msr_read(w->cpu, 0x10a, &v));
	assert_true(wr(w, MSR_EFER, EFER_AUTOIBRS));
	world_free(w);
	w = world_new("EPYC,autoibrs=off");
	assert_false(wr(w, MSR_EFER, EFER_AUTOIBRS));
	world_free(w);
}

static void svm_registers(void **state)
{
	struct world *w = world_new("EPYC");

	assert_false(wr(w, 0xc0010117, 0x1001));
	assert_false(wr(w, 0xc0010117, 1ull << 40));
	assert_true(wr(w, 0xc0010117, 0x5000));
	assert_true(wr(w, MSR_EFER, EFER_SVME));
	assert_false(wr(w, 0xc0010114, 0x10)); /* in use */
	assert_true(wr(w, MSR_EFER, 0));
	assert_true(wr(w, 0xc0010114, 0x18));
	assert_false(wr(w, MSR_EFER, EFER_SVME));
	assert_true(wr(w, 0xc0010114, 0)); /* locked: no effect */
	assert_int_equal(rd(w, 0xc0010114), 0x18);
	world_free(w);
	w = world_new("EPYC,svm=off");
	assert_false(wr(w, MSR_EFER, EFER_SVME));
	assert_false(wr(w, 0xc0010117, 0x5000));
	world_free(w);
}

static void tsc(void **state)
{
	struct world *w = world_new("EPYC");
	u64 before;

	assert_true(wr(w, 0x10, 1ull << 60));
	before = rd(w, 0x10);
	assert_true(before - (1ull << 60) < 1000000000);
	if (!x86_has(&w->model, X86F_TSC_ADJUST))
		assert_false(wr(w, 0x3b, 0));
	world_free(w);

	w = world_new("Skylake-Client");
	if (x86_has(&w->model, X86F_TSC_ADJUST)) {
		assert_true(wr(w, 0x3b, 5000));
		before = w->cpu->st.tsc_offset;
		assert_true(wr(w, 0x3b, 6000));
		assert_int_equal(w->cpu->st.tsc_offset - before, 1000);
		assert_true(wr(w, 0x10, rd(w, 0x10) + 1000000));
		assert_in_range(rd(w, 0x3b), 6000, 1006000);
	}
	world_free(w);
}

static u64 pvclock_ns(struct world *w, u64 pa, u64 at_tsc)
{
	u64 delta = at_tsc - get(w, pa + 8, 8);
	s8 shift = (s8)get(w, pa + 28, 1);

	delta = shift < 0 ? delta >> -shift : delta << shift;
	return get(w, pa + 16, 8) + (u64)((u128)delta * get(w, pa + 24, 4) >> 32);
}

static void kvm_clock(void **state)
{
	struct world *w = world_new("EPYC");
	struct clock *c = clock_host();
	u64 t0, t1, ns, wall;

	if (!w->model.kvm_clock) {
		world_free(w);
		skip();
	}
	assert_true(wr(w, 0x4b564d01, DATA | 1));
	assert_int_equal(get(w, DATA, 4) & 1, 0);
	assert_int_equal(get(w, DATA + 29, 1), 1);
	t0 = x86_tsc(w->cpu);
	ns = pvclock_ns(w, DATA, t0);
	t1 = t0 + w->cpu->tsc_hz;
	assert_in_range(pvclock_ns(w, DATA, t1) - ns, NS_PER_SEC - 10, NS_PER_SEC + 10);
	/* A guest that sets its counter keeps its time. */
	assert_true(wr(w, 0x10, 12345));
	assert_in_range(pvclock_ns(w, DATA, x86_tsc(w->cpu)) - ns, 0, NS_PER_SEC);
	assert_true(wr(w, 0x4b564d00, DATA + 0x100));
	wall = get(w, DATA + 0x104, 4) * NS_PER_SEC + get(w, DATA + 0x108, 4) + pvclock_ns(w, DATA, x86_tsc(w->cpu));
	assert_in_range(c->wall(c) - wall + NS_PER_SEC, 0, 2 * NS_PER_SEC);
	/* Nowhere near RAM: nothing happens to the host. */
	assert_true(wr(w, 0x4b564d01, 0xffffffffff000001));
	world_free(w);
}

ASM64(cr0_write, "mov %rax, %cr0")
ASM64(cr3_write, "mov %rax, %cr3")
ASM64(cr4_write, "mov %rax, %cr4")
ASM64(cr8_write, "mov %rax, %cr8\n mov %cr8, %rbx")
ASM64(dr7_read, "mov %dr7, %rax")
ASM64(dr4_read, "mov %dr4, %rax")

static struct world *long_world(void)
{
	struct world *w = world_new("EPYC-Milan");
	struct x86_state *st = &w->st;

	put(w, TABLES, (TABLES + 0x1000) | 3, 8);
	put(w, TABLES + 0x1000, 0x83, 8);
	st->rip = CODE;
	st->seg[CS] = (struct x86_seg){8, 0xa9b, 0xffffffff, 0};
	st->seg[SS] = (struct x86_seg){0x10, 0xc93, 0xffffffff, 0};
	st->cr0 = CR0_PE | CR0_PG | CR0_ET;
	st->cr3 = TABLES;
	st->cr4 = CR4_PAE;
	st->msr.efer = EFER_LME | EFER_LMA;
	return w;
}

static enum outcome one(struct world *w, u64 rax)
{
	w->st.rip = CODE;
	w->st.gpr[RAX] = rax;
	return world_step(w);
}

static void control_registers(void **state)
{
	struct world *w = long_world();
	bool pcid = x86_has(&w->model, X86F_PCID);

	PLACE(w, CODE, cr0_write);
	assert_fault(w, one(w, CR0_PG), EXC_GP, 0);
	assert_fault(w, one(w, CR0_PE), EXC_GP, 0); /* 64-bit code */
	assert_fault(w, one(w, CR0_PE | CR0_PG | CR0_NW), EXC_GP, 0);
	assert_fault(w, one(w, CR0_PE | CR0_PG | BIT(32)), EXC_GP, 0);
	assert_done(one(w, CR0_PE | CR0_PG | CR0_WP));
	assert_int_equal(w->st.cr0, CR0_PE | CR0_PG | CR0_WP | CR0_ET);
	PLACE(w, CODE, cr3_write);
	assert_fault(w, one(w, TABLES | BIT(w->model.phys_bits)), EXC_GP, 0);
	assert_fault(w, one(w, TABLES | BIT(63)), EXC_GP, 0);
	assert_done(one(w, TABLES));
	PLACE(w, CODE, cr4_write);
	assert_fault(w, one(w, 0), EXC_GP, 0);
	assert_fault(w, one(w, CR4_PAE | CR4_LA57), EXC_GP, 0);
	assert_fault(w, one(w, CR4_PAE | CR4_VMXE), EXC_GP, 0);
	assert_done(one(w, CR4_PAE | CR4_PGE | CR4_OSFXSR));
	if (pcid) {
		w->st.cr3 = TABLES | 8;
		assert_fault(w, one(w, CR4_PAE | CR4_PCIDE), EXC_GP, 0);
		w->st.cr3 = TABLES;
		assert_done(one(w, CR4_PAE | CR4_PCIDE));
		PLACE(w, CODE, cr3_write);
		assert_done(one(w, TABLES | BIT(63) | 5));
		assert_int_equal(w->st.cr3, TABLES | 5);
	}
	PLACE(w, CODE, cr8_write);
	assert_fault(w, one(w, 16), EXC_GP, 0);
	assert_done(one(w, 15));
	assert_int_equal(w->cr8, 15);
	PLACE(w, CODE, dr7_read);
	assert_done(one(w, 0));
	assert_int_equal(w->st.gpr[RAX], DR7_FIXED);
	w->st.dr7 |= DR7_GD;
	assert_int_equal(one(w, 0), OUT_FAULT);
	assert_int_equal(w->cpu->c.event.db, DR6_BD);
	w->st.dr7 &= ~DR7_GD;
	PLACE(w, CODE, dr4_read);
	assert_done(one(w, 0));
	w->st.cr4 |= CR4_DE;
	assert_fault(w, one(w, 0), EXC_UD, 0);
	w->st.cpl = 3;
	PLACE(w, CODE, dr7_read);
	world_free(w);
}

ASM64(rdmsr, "rdmsr")
ASM64(cpuid, "cpuid")

static void instructions(void **state)
{
	struct world *w = long_world();

	PLACE(w, CODE, rdmsr);
	w->st.gpr[RCX] = MSR_EFER;
	w->st.gpr[RDX] = ~0ull;
	assert_done(one(w, ~0ull));
	assert_int_equal(w->st.gpr[RAX], EFER_LME | EFER_LMA);
	assert_int_equal(w->st.gpr[RDX], 0);
	w->st.gpr[RCX] = 0x1234;
	assert_fault(w, one(w, 0), EXC_GP, 0);
	PLACE(w, CODE, cpuid);
	w->st.gpr[RCX] = 0;
	assert_done(one(w, 0));
	assert_int_equal(w->st.gpr[RBX], 0x68747541);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_sorted),
		cmocka_unit_test(rows_are_found),
		cmocka_unit_test(values),
		cmocka_unit_test(speculation),
		cmocka_unit_test(svm_registers),
		cmocka_unit_test(tsc),
		cmocka_unit_test(kvm_clock),
		cmocka_unit_test(control_registers),
		cmocka_unit_test(instructions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
