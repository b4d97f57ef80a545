/* The view from outside of VMX: broken VMCSs named rule by rule, VMCSs in words, exits by reason and level. */
#include "tests/unit/vmx_world.h"

#include "inspect/nested.h"
#include "tests/unit/view_text.h"

#define VMCS_2	0x4d000
#define GUEST_3 (GUEST + 0x400)

ASM64(guest_calls, VMCALL)
ASM64(guest_asks, "vmlaunch")
ASM64(guest_breaks, "ud2")

static void entry(struct world *w, struct view *v)
{
	view_open(v);
	inspect_vmentry(&w->vm, &w->st, &w->model, v->out);
}

static void guests(struct world *w, struct view *v)
{
	view_open(v);
	inspect_guests(&w->vm, false, v->out);
}

/* What the inspector says without running it is what the processor then does: an error number, or exit 33. */
static void a_broken_vmcs(void **state)
{
	struct world *w = VMX_WORLD(guest_calls);
	struct view v;
	u64 *f = vmx_f(w);

	entry(w, &v);
	VIEW_HAS(&v, "VMLAUNCH is the instruction for it, the other fails with error 5: VMRESUME with non-launched",
		 "VM entry would enter the guest: no rule is broken");
	f[VMCS_GUEST_RFLAGS] = 0;
	f[VMCS_LINK] = 0x123;
	entry(w, &v);
	VIEW_HAS(&v, "RFLAGS: guest RFLAGS has reserved bits wrong",
		 "SDM vol. 3 26.3.1.4 \"Checks on Guest RIP, RFLAGS, and SSP\"", "LINK: the VMCS link pointer",
		 "SDM vol. 3 26.3.1.5", "would exit with reason 33 (80000021h), qualification 0");
	vmx_run(w);
	EXPECT_EXIT(w, 0x80000021, 0);
	f[VMCS_GUEST_RFLAGS] = FL_FIXED;
	entry(w, &v);
	VIEW_HAS(&v, "LINK", "qualification 4");
	vmx_run(w);
	EXPECT_EXIT(w, 0x80000021, 4);
	f[VMCS_HOST_CR3] = BIT(60);
	entry(w, &v);
	VIEW_HAS(&v, "HOST_CR3", "SDM vol. 3 26.2.2", "LINK", "error 8: VM entry with invalid host-state fields");
	f[VMCS_VPID] = 0;
	entry(w, &v);
	VIEW_HAS(&v, "VPID: the VPID is 0", "SDM vol. 3 26.2.1.1", "HOST_CR3", "LINK",
		 "VM entry would fail with error 7: VM entry with invalid control fields");
	w->st.rip = CODE;
	((struct vmcs *)at(w, VMCS_PAGE))->launch = VMCS_LAUNCH_CLEAR;
	world_run_to_stop(w);
	assert_int_equal(f[VMCS_INSN_ERROR], 7);
	guests(w, &v);
	VIEW_HAS(&v, "2    33   VM-entry failure due to invalid guest state", "3 entries, 3 refused",
		 "VM entry refused, the last time with VMCS 0x40000: VPID: the VPID is 0");
	world_free(w);
}

static void what_is_checked_beside_the_rules(void **state)
{
	struct world *w = VMX_WORLD(guest_calls);
	struct vmcs *vmcs = (struct vmcs *)at(w, VMCS_PAGE);
	struct view v;

	vmcs->f[VMCS_ENTRY_MSR_LOAD] = MSR_AREA;
	vmcs->f[VMCS_ENTRY_MSR_LOAD_COUNT] = 2;
	put(w, MSR_AREA, 0xc0000081, 8);
	put(w, MSR_AREA + 16, 0xc0000100, 8);
	entry(w, &v);
	VIEW_HAS(&v, "entry 2 of the VM-entry MSR-load area (MSR 0xc0000100): an MSR that cannot be loaded",
		 "SDM vol. 3 26.4", "would exit with reason 34");
	vmx_run(w);
	EXPECT_EXIT(w, 0x80000022, 2);
	guests(w, &v);
	VIEW_HAS(&v, "1 refused",
		 "VM entry refused, the last time with VMCS 0x40000: entry 2 of the VM-entry MSR-load area cannot be "
		 "loaded");
	w->st.shadow = SHADOW_MOVSS;
	entry(w, &v);
	VIEW_HAS(&v, "error 26: VM entry with events blocked by MOV SS");
	vmcs->revision |= VMCS_IS_SHADOW;
	vmcs->launch = VMCS_LAUNCHED;
	entry(w, &v);
	VIEW_HAS(&v, "VMRESUME is the instruction for it", "error 4: VMLAUNCH with non-clear VMCS", "VMfailInvalid",
		 "a shadow VMCS");
	w->st.vmx.vmcs = X86_NO_VMCS;
	entry(w, &v);
	VIEW_HAS(&v, "VMfailInvalid: there is no current VMCS");
	w->st.vmx.on = 0;
	entry(w, &v);
	VIEW_HAS(&v, "would raise #UD: the processor is not in VMX operation");
	world_free(w);
}

static void a_vmcs_in_words(void **state)
{
	struct world *w = VMX_WORLD(guest_calls);
	struct vmcs *vmcs = (struct vmcs *)at(w, VMCS_PAGE);
	struct view v;
	u64 *f = vmcs->f;

	view_open(&v);
	f[VMCS_EXCEPTIONS] = BIT(EXC_PF) | BIT(EXC_MC);
	f[VMCS_ENTRY_EVENT] = VEV_VALID | VEV_ERROR | VEV_HARD_EXC << 8 | EXC_GP;
	f[VMCS_INSN_ERROR] = 12;
	f[VMCS_REASON] = 48;
	f[VMCS_GUEST_ACTIVITY] = 1;
	f[VMCS_GUEST_INTERRUPTIBILITY] = VINT_STI | VINT_NMI;
	vmcs->abort = VMABORT_MSR_LOAD;
	inspect_vmcs(&w->vm, VMCS_PAGE, v.out);
	VIEW_HAS(&v, "VMCS at 0x40000: revision 4e425831, clear", "VMX abort 4: host MSRs could not be loaded",
		 "0000 VPID ", "4000 PIN ", "external-interrupt exiting, NMI exiting", "4002 PROC ", "HLT exiting",
		 "4004 EXCEPTIONS ", "#PF, #MC", "4016 ENTRY_EVENT ", "hardware exception #GP, with an error code",
		 "401e PROC2 ", "enable EPT, enable VPID, unrestricted guest",
		 "VMREAD or VMWRITE from or to unsupported VMCS component", "4402 REASON ", "EPT violation",
		 "blocking by STI, NMI", "4826 GUEST_ACTIVITY ", "HLT", "681e GUEST_RIP ", "  0: ", " GUEST_LDTR_SEL ");
	view_open(&v);
	inspect_vmcs(&w->vm, 1ull << 40, v.out);
	VIEW_HAS(&v, "no memory for a VMCS at 0x10000000000");
	world_free(w);
}

/* The first guest asks for VMLAUNCH, and the host launches another VMCS in its stead: by that it is L3. */
static void exits_by_level(void **state)
{
	struct world *w = VMX_WORLD(guest_asks);
	struct vmcs *second = (struct vmcs *)at(w, VMCS_2);
	struct view v;

	memcpy(second, at(w, VMCS_PAGE), sizeof(*second));
	second->f[VMCS_GUEST_RIP] = GUEST_3;
	PLACE(w, GUEST_3, guest_calls);
	vmx_run(w);
	EXPECT_EXIT(w, 20, 0);
	w->st.vmx.vmcs = VMCS_2;
	w->st.rip = CODE;
	world_run_to_stop(w);
	assert_int_equal(second->f[VMCS_REASON], 18);
	guests(w, &v);
	VIEW_HAS(&v, "L2    L3 and deeper", "0                1    18   VMCALL", "1                0    20   VMLAUNCH",
		 "VMCS 0x40000 L2: 1 entries",
		 "VMCS 0x4d000 L3 or deeper: 1 entries, asked for by the guest of VMCS 0x40000");
	world_free(w);
}

static void a_triple_fault_of_the_guest(void **state)
{
	struct world *w = VMX_WORLD(guest_breaks);
	struct view v;

	vmx_f(w)[VMCS_GUEST_IDTR_LIMIT] = 0;
	vmx_run(w);
	EXPECT_EXIT(w, 2, 0);
	guests(w, &v);
	VIEW_HAS(&v, "1     2   triple fault", "triple fault in the guest of VMCS 0x40000",
		 "first: #GP, error 0x33 (IDT entry 6)", "#GP");
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_broken_vmcs),
		cmocka_unit_test(what_is_checked_beside_the_rules),
		cmocka_unit_test(a_vmcs_in_words),
		cmocka_unit_test(exits_by_level),
		cmocka_unit_test(a_triple_fault_of_the_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
