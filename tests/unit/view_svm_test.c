/* The view from outside of SVM: broken VMCBs named rule by rule, VMCBs in words, exits by reason and level. */
#include "tests/unit/svm_world.h"

#include "inspect/nested.h"
#include "tests/unit/view_text.h"

#define VMCB2	0x38000
#define GUEST_3 0x2400

ASM(host_twice, "vmrun\n mov $0x38000, %eax\n vmrun\n mov $0xf4, %dx\n outb %al, %dx")
ASM(guest_asks, "vmrun")
ASM(guest_calls, "vmmcall")
ASM(guest_breaks, "ud2")

static void entry(struct world *w, u64 pa, struct view *v)
{
	view_open(v);
	inspect_vmrun(&w->vm, &w->st, &w->model, pa, v->out);
}

static void guests(struct world *w, struct view *v)
{
	view_open(v);
	inspect_guests(&w->vm, true, v->out);
}

/* What the inspector says without running it is what the processor then does. */
static void a_broken_vmcb(void **state)
{
	struct world *w = WORLD(host_once, guest_calls);
	struct view v;

	entry(w, VMCB, &v);
	VIEW_HAS(&v, "VMRUN with the VMCB at 0x30000 would enter the guest");
	vmcb(w)->c.intercept4 &= ~1u;
	vmcb(w)->c.asid = 0;
	vmcb(w)->s.cr4 |= BIT(40);
	vmcb(w)->c.event_inj = EVI_VALID | 1 << 8;
	entry(w, VMCB, &v);
	view_lacks(&v, "EFER");
	VIEW_HAS(&v, "INTERCEPT: the VMRUN intercept is clear", "APM vol. 2 15.5.1", "ASID: the ASID is 0", "CR4_MBZ",
		 "INJECT_TYPE", "APM vol. 2 15.20", "would exit at once with VMEXIT_INVALID");
	run(w);
	assert_int_equal(vmcb(w)->c.exit_code, ~0ull);
	guests(w, &v);
	VIEW_HAS(&v, "1     -1  VMEXIT_INVALID: invalid guest state", "VMCB 0x30000 L2: 1 entries, 1 refused",
		 "VMRUN refused, the last time with VMCB 0x30000: INTERCEPT");
	world_free(w);
}

static void what_is_checked_beside_the_rules(void **state)
{
	struct world *w = WORLD(host_once, guest_calls);
	struct view v;

	entry(w, VMCB + 8, &v);
	VIEW_HAS(&v, "would raise #GP: the address is no page's");
	entry(w, RAM_SIZE, &v);
	VIEW_HAS(&v, "would raise #GP: there is no memory");
	vmcb(w)->s.efer = EFER_SVME;
	vmcb(w)->s.cs.attr = 0xc9b;
	vmcb(w)->s.cr3 = DATA;
	put64(w, DATA + 16, BIT(51) | 1);
	entry(w, VMCB, &v);
	VIEW_HAS(&v, "PDPTE 2, in memory, has reserved bits set", "VMEXIT_INVALID");
	run(w);
	assert_int_equal(vmcb(w)->c.exit_code, ~0ull);
	guests(w, &v);
	VIEW_HAS(&v, "VMRUN refused, the last time with VMCB 0x30000: a PDPTE, in memory, has reserved bits set");
	w->st.svm.hsave_pa = RAM_SIZE;
	entry(w, VMCB, &v);
	VIEW_HAS(&v, "would raise #GP: the host save area");
	w->st.msr.efer &= ~(u64)EFER_SVME;
	w->st.svm.hsave_pa = HSAVE;
	entry(w, VMCB, &v);
	VIEW_HAS(&v, "would raise #UD: EFER.SVME is clear");
	world_free(w);
}

static void a_vmcb_in_words(void **state)
{
	struct world *w = WORLD(host_once, guest_calls);
	struct vmcb *b = vmcb(w);
	struct view v;

	view_open(&v);
	nested_paging(w);
	b->c.cr_write = 9;
	b->c.exceptions = BIT(EXC_PF) | BIT(EXC_DB);
	b->c.int_ctl = VI_INTR_MASKING | 5;
	b->c.exit_code = 0x400;
	b->c.event_inj = EVI_VALID | EVI_EXCEPTION << 8 | EVI_ERROR | EXC_GP | 8ull << 32;
	inspect_vmcb(&w->vm, VMCB, v.out);
	view_lacks(&v, "rsvd_");
	VIEW_HAS(&v, "VMCB at 0x30000", "cr_write", "CR0_WRITE, CR3_WRITE", "exceptions", "#DB, #PF", "intercept4",
		 "VMRUN, VMMCALL", "int_ctl", "V_TPR 5", "V_INTR_MASKING", "exit_code",
		 "VMEXIT_NPF: nested page fault\n", "np_control", "nested paging", "event_inj",
		 "exception #GP, error 0x8", "ncr3", "0000000000040000", "0: cr_read", "state-save area", "cs ",
		 "0010 base", "rax ", "0000000000000077");
	view_open(&v);
	inspect_vmcb(&w->vm, RAM_SIZE, v.out);
	VIEW_HAS(&v, "no memory for a VMCB at 0x800000");
	world_free(w);
}

/* The first guest asks for VMRUN, and the host runs another in its stead: by that it is L3. */
static void exits_by_level(void **state)
{
	struct world *w = WORLD(host_twice, guest_asks);
	struct vmcb *b = (struct vmcb *)at(w, VMCB2);
	struct view v;

	memcpy(b, vmcb(w), sizeof(*b));
	vmcb(w)->s.rax = DATA;
	b->s.rip = GUEST_3;
	memcpy(at(w, GUEST_3), guest_calls_start, (size_t)(guest_calls_end - guest_calls_start));
	for (unsigned i = 0; i < 3; i++) {
		w->st.rip = CODE;
		w->st.gpr[RAX] = VMCB;
		w->st.svm.gif = 1;
		run(w);
	}
	assert_int_equal(vmcb(w)->c.exit_code, 0x80);
	assert_int_equal(b->c.exit_code, 0x81);
	guests(w, &v);
	VIEW_HAS(&v, "VM exits of", "L2    L3 and deeper", "3                0    80h  VMEXIT_VMRUN: VMRUN",
		 "0                3    81h  VMEXIT_VMMCALL: VMMCALL\n", "VMCB 0x30000 L2: 3 entries\n",
		 "VMCB 0x38000 L3 or deeper: 3 entries, asked for by the guest of VMCB 0x30000");
	world_free(w);
}

/* More VMCBs than rows: the first fifteen are told apart, the others add up. */
static void no_room(void **state)
{
	struct world *w = WORLD(host_once, guest_calls);
	struct vcpu_guests g = {0};
	struct view v;

	for (unsigned i = 0; i < VCPU_GUESTS + 3; i++) {
		w->st.rip = CODE;
		w->st.svm.gif = 1;
		w->st.gpr[RAX] = 0x100000 + 0x1000 * i;
		memcpy(at(w, w->st.gpr[RAX]), vmcb(w), sizeof(struct vmcb));
		run(w);
	}
	g = *w->v->ops->guests(w->v);
	assert_int_equal(g.n, VCPU_GUESTS);
	assert_int_equal(g.of[VCPU_GUESTS - 2].entries, 1);
	assert_int_equal(g.of[VCPU_GUESTS - 1].entries, 4);
	guests(w, &v);
	VIEW_HAS(&v, "19", "VMMCALL", "VMCB 0x10e000 L2: 1 entries", "more VMCBs than there is room for: 4 entries");
	world_free(w);
}

static void a_triple_fault_of_the_guest(void **state)
{
	struct world *w = WORLD(host_once, guest_breaks);
	struct view v;

	vmcb(w)->s.idtr.limit = 0;
	vmcb(w)->c.intercept3 = BIT(31);
	run(w);
	assert_int_equal(vmcb(w)->c.exit_code, 0x7f);
	guests(w, &v);
	VIEW_HAS(&v, "7fh  VMEXIT_SHUTDOWN: shutdown\n", "triple fault in the guest of VMCB 0x30000",
		 "first: #GP, error 0x32 (IDT entry 6)",
		 "then, on the way to its handler: #GP, error 0x6a (IDT entry 13)", "double fault's: #GP");
	world_free(w);
}

static void nothing_ran(void **state)
{
	struct world *w = WORLD(host_once, guest_calls);
	struct view v;

	guests(w, &v);
	fflush(v.out);
	assert_int_equal(v.size, 0);
	view_check(&v, __LINE__, (const char *const[]){NULL});
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_broken_vmcb),   cmocka_unit_test(what_is_checked_beside_the_rules),
		cmocka_unit_test(a_vmcb_in_words), cmocka_unit_test(exits_by_level),
		cmocka_unit_test(no_room),	   cmocka_unit_test(a_triple_fault_of_the_guest),
		cmocka_unit_test(nothing_ran),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
