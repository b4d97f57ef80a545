/*
 * A vCPU of /dev/kvm with something nested in it, saved, restored into a fresh vCPU of a fresh VM, and run to the end:
 * in VMX operation with a current VMCS that nothing but KVM holds (on AMD: with GIF clear), and inside its guest.
 * Skipped where KVM does not nest.
 */
#include "kvm_world.h"

#include "vmcb_guest.h"
#include "vmx_world.h"

#define POINTERS     0x4020 /* of the VMXON region, of the VMCS */
#define NWRITES	     0x4030
#define HOST_SPUN    0x4100
#define HOST_GO	     0x4108
#define SPUN	     0x4110
#define GO	     0x4118
#define WENT	     0x4120
#define WHY	     0x4128
#define ENDS	     0x4130
#define WRITES	     0x70000 /* encodings and values of VMWRITEs */
#define VMCB_PAGE    0x40000
#define HSAVE	     0x41000
#define EXIT_VMCALL  18
#define EXIT_VMMCALL 0x81

#define HOST_SPINS "2: incq 0x4100\n cmpq $0, 0x4108\n je 2b\n"

ASM64(vmx_nest, "mov $0x480, %ecx\n rdmsr\n mov %eax, 0x42000\n mov %eax, 0x40000\n"
		"vmxon 0x4020\n jbe 9f\n vmclear 0x4028\n jbe 9f\n vmptrld 0x4028\n jbe 9f\n"
		"mov $0x70000, %esi\n mov 0x4030, %ecx\n"
		"1: lodsq\n mov %rax, %rdx\n lodsq\n vmwrite %rax, %rdx\n jbe 9f\n dec %ecx\n jnz 1b\n" HOST_SPINS
		"vmlaunch\n 9: " STOP "3: jmp 3b")
ASM64(vmx_nest_exit, "mov $0x4402, %edx\n vmread %rdx, 0x4128\n incq 0x4130\n" STOP "3: jmp 3b")
ASM64(svm_nest, "clgi\n" HOST_SPINS "mov $0x40000, %eax\n vmrun\n mov 0x40070, %rax\n mov %rax, 0x4128\n"
		"incq 0x4130\n" STOP "3: jmp 3b")
/* VMCALL or VMMCALL: the other one is #UD. */
ASM64(vmx_spin, "1: incq 0x4110\n cmpq $0, 0x4118\n je 1b\n incq 0x4120\n vmcall")
ASM64(svm_spin, "1: incq 0x4110\n cmpq $0, 0x4118\n je 1b\n incq 0x4120\n vmmcall")

static u8 *memory(struct kvm_world *w) { return w->vm.ram.slot[0].host; }
static u64 word(struct kvm_world *w, u64 pa)
{
	u64 v;

	memcpy(&v, memory(w) + pa, 8);
	return v;
}

/* Tables, VMCS and guest are made in a world of the software processor's, whose memory is then copied. */
static struct world *vmx_memory(void)
{
	struct world *s = VMX_WORLD(vmx_spin);
	u64 f[VMCS_FIELDS], n = 0;

	memcpy(f, vmx_f(s), sizeof(f));
	f[VMCS_PIN] &= ~(u64)VMX_PIN_EXT_INT;
	f[VMCS_EXIT] &= ~(u64)VMX_EXIT_ACK_INT;
	for (unsigned i = 0; i < VMCS_FIELDS; i++) {
		if (!f[i])
			continue;
		put(s, WRITES + 16 * n, vmcs_rows[i].encoding, 8);
		put(s, WRITES + 16 * n++ + 8, f[i], 8);
	}
	put(s, NWRITES, n, 8);
	memset(at(s, VMCS_PAGE), 0, 4096);
	put(s, POINTERS, VMXON_PAGE, 8);
	put(s, POINTERS + 8, VMCS_PAGE, 8);
	PLACE(s, CODE, vmx_nest);
	PLACE(s, HOST_CODE, vmx_nest_exit);
	return s;
}

static struct world *svm_memory(void)
{
	struct world *s = world_new("EPYC-Milan");
	struct vmcb *b = (struct vmcb *)at(s, VMCB_PAGE);

	vmx_tables(s);
	vmcb_guest64(b, VCS, VSS);
	b->s.gdtr = (struct vmcb_seg){.limit = 0x5f, .base = GDT};
	b->s.idtr = (struct vmcb_seg){.limit = 0xfff, .base = IDT};
	b->s.cr3 = GUEST_TABLES;
	b->s.rip = GUEST;
	b->s.rsp = GUEST_STACK;
	PLACE(s, CODE, svm_nest);
	PLACE(s, GUEST, svm_spin);
	return s;
}

static struct kvm_world *start(bool *intel)
{
	struct kvm_world *w = kvm_world_new();
	struct world *s;
	struct x86_state st;

	*intel = w->kvm->vendor == X86_INTEL;
	s = *intel ? vmx_memory() : svm_memory();
	memcpy(memory(w), at(s, 0), WORLD_RAM);
	world_free(s);
	w->v->ops->get_state(w->v, &st);
	vmx_host(&st);
	st.vmx = (struct x86_vmx){.vmcs = X86_NO_VMCS};
	if (!*intel) {
		st.cr4 &= ~CR4_VMXE;
		st.msr.feature_control = 0;
		st.msr.efer |= EFER_SVME;
		st.svm.hsave_pa = HSAVE;
	}
	if (w->v->ops->set_state(w->v, &st, &w->e))
		fail_msg("%s", w->e.text);
	return w;
}

static void run_until(struct kvm_world *w, u64 counter)
{
	for (unsigned i = 0; i < 1000 && !word(w, counter); i++) {
		kvm_world_run_a_while(w);
		if (w->vm.stop == VM_DEBUG_EXIT)
			fail_msg("the host stopped: exit reason %#llx", (unsigned long long)word(w, WHY));
	}
	assert_true(word(w, counter) > 0);
}

/* All of it into a fresh VM; what was saved is in `st`. A reset of the old one leaves nothing nested in it. */
static struct kvm_world *move(struct kvm_world *from, struct x86_state *st)
{
	struct kvm_world *to = kvm_world_new();
	struct kvm_saved *saved;
	struct x86_state now;

	if (kvm_vcpu_save(kvm_vcpu_of(from->v), &saved, &from->e))
		fail_msg("%s", from->e.text);
	*st = saved->st;
	memcpy(memory(to), memory(from), WORLD_RAM);
	if (kvm_vcpu_restore(kvm_vcpu_of(to->v), saved, &to->e))
		fail_msg("%s", to->e.text);
	kvm_saved_free(saved);
	to->v->ops->get_state(to->v, &now);
	assert_memory_equal(&now.vmx, &st->vmx, sizeof(now.vmx));
	assert_memory_equal(&now.svm, &st->svm, sizeof(now.svm));
	from->v->ops->reset(from->v);
	from->v->ops->get_state(from->v, &now);
	assert_int_equal(now.rip, 0xfff0);
	assert_true(!now.vmx.on && !now.vmx.in_guest && !now.svm.in_guest && now.svm.gif);
	kvm_world_free(from);
	return to;
}

static void nested_moves(void **state)
{
	struct kvm_world *w;
	struct x86_state st;
	u64 spun;
	bool intel;

	if (!need_kvm())
		skip();
	w = start(&intel);
	run_until(w, HOST_SPUN);
	w = move(w, &st);
	if (intel)
		assert_true(st.vmx.on && !st.vmx.in_guest && st.vmx.vmxon == VMXON_PAGE && st.vmx.vmcs == VMCS_PAGE);
	else
		assert_true(!st.svm.gif && !st.svm.in_guest && st.svm.hsave_pa == HSAVE);
	memset(memory(w) + HOST_GO, 1, 1);
	run_until(w, SPUN);
	assert_int_equal(word(w, WENT) | word(w, ENDS), 0);
	w = move(w, &st);
	if (intel)
		assert_true(st.vmx.on && st.vmx.in_guest && st.vmx.vmcs == VMCS_PAGE);
	else
		assert_true(st.svm.in_guest && st.svm.vmcb == VMCB_PAGE && st.svm.hsave_pa == HSAVE);
	assert_in_range(st.rip, GUEST, GUEST + 0x40);
	spun = word(w, SPUN);
	kvm_world_run_a_while(w);
	assert_true(word(w, SPUN) > spun);
	memset(memory(w) + GO, 1, 1);
	atomic_store(&w->vm.stop, VM_RUNNING);
	if (w->v->ops->run(w->v, &w->e) != RUN_STOPPED)
		fail_msg("%s", w->e.text);
	assert_int_equal(w->vm.stop, VM_DEBUG_EXIT);
	assert_int_equal(word(w, WENT), 1);
	assert_int_equal(word(w, ENDS), 1);
	assert_int_equal(word(w, WHY), intel ? EXIT_VMCALL : EXIT_VMMCALL);
	kvm_world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(nested_moves)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
