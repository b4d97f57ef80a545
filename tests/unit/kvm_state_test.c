/*
 * A processor's state on /dev/kvm: random states go in and come back whole, and a guest moves between the software
 * processor and KVM in the middle of its work. Where KVM nests, so is what it holds beyond struct x86_state.
 */
#include <errno.h>

#include "kvm_world.h"

#define STATES 200
#define RESULT DATA

/*
 * 20 000 rounds of integer, x87 and vector arithmetic, calls and string moves, whose sum depends on each: its result is
 * the same wherever it is run, and in as many pieces.
 */
ASM64(guest_work,
      "fninit\n mov $20000, %ecx\n mov $0x9e3779b97f4a7c15, %r8\n mov %r8, %rax\n fldpi\n cvtsi2sd %ecx, %xmm1\n"
      "1: imul %r8, %rax\n rol $7, %rax\n adc %rcx, %rax\n pushf\n pop %rdx\n xor %rdx, %rax\n"
      "cvtsi2sd %rcx, %xmm0\n mulsd %xmm1, %xmm0\n paddq %xmm0, %xmm2\n movq %xmm2, %rdx\n add %rdx, %rax\n"
      "fld1\n faddp\n fstl 0x4100\n xor 0x4100, %rax\n"
      "mov %rax, 0x4200\n mov $0x4200, %esi\n mov $0x4210, %edi\n movsq\n add 0x4210, %rax\n"
      "call 2f\n dec %ecx\n jnz 1b\n mov %rax, 0x4000\n" STOP "3: jmp 3b\n"
      "2: push %rcx\n and $31, %ecx\n ror %cl, %rax\n pop %rcx\n ret")

static u64 seed = 1;
static u64 any(void) /* xorshift64* */
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545f4914f6cdd1d;
}
static u64 canonical(void) { return (u64)((s64)(any() << 17) >> 17); }
static bool coin(void) { return any() >> 63; }

/* ---- random states ---- */

enum mode { REAL, PROTECTED, PAE_PAGING, COMPATIBLE, LONG, MODES };

static void any_segments(struct x86_state *st, enum mode mode)
{
	unsigned cpl = mode == REAL ? 0 : any() % 4;

	for (unsigned i = 0; i < X86_SREGS; i++) {
		u32 limit = coin() ? 0xffffffff : (u32)any() & 0xfffff;

		st->seg[i] = (struct x86_seg){
			.sel = (u16)any(),
			.limit = limit,
			.attr = (u16)(SEG_P | SEG_S | SEG_RW | SEG_ACCESSED | cpl << 5 | (limit > 0xfffff ? SEG_G : 0) |
				      (coin() ? SEG_AVL : 0) | (coin() ? SEG_DB : 0)),
			.base = i >= FS ? canonical() : (u32)any(),
		};
	}
	st->seg[CS].attr |= SEG_CODE;
	if (mode == LONG)
		st->seg[CS].attr = (u16)((st->seg[CS].attr & ~SEG_DB) | SEG_L);
	st->cpl = cpl;
	st->ldtr = (struct x86_seg){
		.sel = (u16)any(), .attr = SEG_P | 2, .limit = (u32)any() & 0xffff, .base = canonical()};
	st->tr = (struct x86_seg){
		.sel = (u16)any(), .attr = SEG_P | 11, .limit = (u32)any() & 0xffff, .base = canonical()};
	st->gdtr = (struct x86_dtr){canonical(), any() & 0xffff};
	st->idtr = (struct x86_dtr){canonical(), any() & 0xffff};
}

static void any_control(struct x86_state *st, enum mode mode)
{
	st->cr0 = CR0_ET | CR0_NE | (mode > REAL ? CR0_PE : 0) | (mode >= PAE_PAGING ? CR0_PG : 0) |
		  (any() & (CR0_WP | CR0_TS | CR0_MP | CR0_AM));
	st->cr2 = any();
	st->cr3 = any() & 0xfffff000;
	st->cr4 = (mode >= PAE_PAGING ? CR4_PAE : 0) |
		  (any() & (CR4_TSD | CR4_DE | CR4_MCE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT));
	st->msr.efer = (mode >= COMPATIBLE ? EFER_LME | EFER_LMA : 0) | (any() & (EFER_SCE | EFER_NXE));
	memset(st->pdpte, 0, sizeof(st->pdpte));
	for (unsigned i = 0; i < 4 && mode == PAE_PAGING; i++)
		st->pdpte[i] = (any() & 0xfffff000) | 1;
	for (unsigned i = 0; i < 4; i++)
		st->dr[i] = mode == LONG ? canonical() : (u32)any();
	st->dr6 = DR6_FIXED | (any() & 0xe00f);
	st->dr7 = DR7_FIXED | (any() & 0xffff03ff);
}

/* Components that KVM lays out and the guest may have on. */
static void any_units(struct x86_state *st, const struct kvm_vm *kvm)
{
	struct x86_fpu *f = &st->fpu;

	st->xcr0 = XCR0_X87 | (coin() ? XCR0_SSE : 0);
	if ((st->xcr0 & XCR0_SSE) && kvm->xcomp[2].size && coin())
		st->xcr0 |= XCR0_AVX;
	memset(f, 0, sizeof(*f));
	f->fcw = 0x40 | (any() & 0xf3f);
	f->fsw = any() & 0x7f7f; /* no exception is pending: ES and B follow from the masks */
	f->fsw &= (u16)(f->fcw | 0x7fc0);
	f->ftw = any() & 0xff;
	f->fop = any() & 0x7ff;
	f->fip = canonical();
	f->fdp = canonical();
	f->mxcsr = any() & 0xffbf;
	for (unsigned i = 0; i < 8; i++)
		for (unsigned k = 0; k < 10; k++)
			f->st[i][k] = (u8)any();
	for (unsigned i = 0; i < 16; i++)
		for (unsigned k = 0; k < (st->xcr0 & XCR0_AVX ? 32 : 16); k++)
			f->vec[i][k] = (u8)any();
}

static u64 memory_types(unsigned n)
{
	static const u8 types[] = {0, 1, 4, 5, 6};
	u64 v = 0;

	for (unsigned i = 0; i < n; i++)
		v |= (u64)types[any() % ARRAY_SIZE(types)] << (8 * i);
	return v;
}

static void any_msrs(struct x86_state *st)
{
	struct x86_msrs *m = &st->msr;

	m->star = any();
	m->lstar = canonical();
	m->cstar = canonical();
	m->sfmask = (u32)any();
	m->kernel_gs_base = canonical();
	m->sysenter_cs = any() & 0xffff;
	m->sysenter_esp = any() & 0x7fffffff; /* AMD keeps 32 bits */
	m->sysenter_eip = any() & 0x7fffffff;
	m->pat = memory_types(8);
	m->tsc_aux = (u32)any();
	m->tsc_adjust = any();
	m->mtrr_def = (any() & 0xc00) | memory_types(1);
	for (unsigned i = 0; i < 11; i++)
		m->mtrr_fix[i] = memory_types(8);
	for (unsigned i = 0; i < X86_MTRR_VAR; i++) {
		m->mtrr_base[i] = (any() & 0xfffff000) | memory_types(1);
		m->mtrr_mask[i] = any() & 0xfffff800;
	}
	m->mcg_status = any() & 7;
	m->kvm_system_time = any() & 0xffff0;
	st->tsc_offset = any();
	if (st->vendor == X86_AMD)
		st->svm.hsave_pa = any() & 0xfffff000;
}

static void any_state(struct x86_state *st, const struct kvm_vm *kvm, bool nested)
{
	enum mode mode = any() % MODES;

	for (unsigned i = 0; i < 16; i++)
		st->gpr[i] = any();
	st->rip = mode == LONG ? canonical() : (u32)any();
	x86_set_rflags(st, FL_FIXED | (any() & (FL_OSZAPC | FL_IF | FL_DF | FL_IOPL | FL_NT | FL_RF | FL_AC | FL_ID)));
	any_segments(st, mode);
	any_control(st, mode);
	any_units(st, kvm);
	any_msrs(st);
	st->activity = any() % 2 ? ACT_RUNNING : ACT_HALTED;
	st->shadow = coin() ? SHADOW_STI : 0;
	st->nmi_blocked = coin();
	st->nmi_pending = coin();
	st->pending_db = kvm->payload && coin() ? BIT(14) | (any() & 0xf) : 0;
	if (!nested)
		return;
	if (st->vendor == X86_AMD) {
		st->msr.efer |= EFER_SVME;
		st->svm.gif = coin();
	} else {
		st->vmx.on = coin();
		st->vmx.vmxon = st->vmx.on ? any() & 0xfffff000 : 0;
	}
}

static unsigned lost;
static void on_diff(void *ctx, const char *path, const void *a, const void *b, u32 size)
{
	u64 va = 0, vb = 0;

	memcpy(&va, a, MIN(size, 8u));
	memcpy(&vb, b, MIN(size, 8u));
	if (lost++ < 20)
		print_message("%s: %#llx became %#llx\n", path, (unsigned long long)va, (unsigned long long)vb);
}

static void states_come_back(void **state)
{
	bool nested = need_kvm();
	struct kvm_world *w;
	struct x86_state st, back;

	if (!nested) /* a KVM that emulates the rings keeps segments of its own */
		skip();
	w = kvm_world_new();
	lost = 0;
	for (unsigned i = 0; i < STATES && !lost; i++) {
		w->v->ops->reset(w->v);
		w->v->ops->get_state(w->v, &st);
		any_state(&st, w->kvm, nested);
		if (w->v->ops->set_state(w->v, &st, &w->e))
			fail_msg("state %u: %s", i, w->e.text);
		w->v->ops->get_state(w->v, &back);
		desc_diff(&x86_state_desc, &st, &back, on_diff, NULL);
	}
	assert_int_equal(lost, 0);
	for (u32 i = w->kvm->nmsrs; i < w->kvm->nmsrs + w->kvm->nmsrs_lacking; i++)
		print_message("KVM has no MSR %#x\n", w->kvm->msr[i].index);
	kvm_world_free(w);
}

/* ---- what is beyond struct x86_state ---- */

static void rest_comes_back(void **state)
{
	bool nested = need_kvm();
	struct kvm_world *w;
	struct kvm_saved *a, *b;
	struct kvm_vcpu *v;

	if (!nested)
		skip();
	w = kvm_world_new();
	v = kvm_vcpu_of(w->v);
	assert_int_equal(kvm_vcpu_save(v, &a, &w->e), 0);
	memset(a->lapic.regs + 0x80, 0x30, 1);	/* TPR */
	memset(a->lapic.regs + 0xf1, 0x01, 1);	/* SVR: enabled */
	memset(a->lapic.regs + 0x210, 0x04, 1); /* IRR: vector 34 */
	a->apic_base |= 0x400;			/* x2APIC mode: the ID register has another form */
	memset(a->lapic.regs + 0x20, 0, 4);
	a->events.interrupt.injected = 1;
	a->events.interrupt.nr = 0x41;
	a->events.exception.pending = 1;
	a->events.exception.nr = 14;
	a->events.exception.has_error_code = 1;
	a->events.exception.error_code = 2;
	a->events.exception_has_payload = 1;
	a->events.exception_payload = 0x1234;
	if (kvm_vcpu_restore(v, a, &w->e))
		fail_msg("%s", w->e.text);
	assert_int_equal(kvm_vcpu_save(v, &b, &w->e), 0);
	assert_int_equal(b->apic_base, a->apic_base);
	assert_int_equal((u8)b->lapic.regs[0x80], 0x30);
	assert_int_equal((u8)b->lapic.regs[0x210], 4);
	assert_memory_equal(&b->events, &a->events, sizeof(a->events));
	/* A debugger's write to a register leaves all that where it is. */
	w->v->ops->get_state(w->v, &a->st);
	a->st.gpr[RBX] = 0x5555;
	assert_int_equal(w->v->ops->set_state(w->v, &a->st, &w->e), 0);
	kvm_saved_free(b);
	assert_int_equal(kvm_vcpu_save(v, &b, &w->e), 0);
	assert_memory_equal(&b->events, &a->events, sizeof(a->events));
	assert_int_equal(b->st.gpr[RBX], 0x5555);
	/* And a reset none of it. */
	w->v->ops->reset(w->v);
	kvm_saved_free(b);
	assert_int_equal(kvm_vcpu_save(v, &b, &w->e), 0);
	assert_int_equal(b->events.interrupt.injected | b->events.exception.pending, 0);
	assert_int_equal(b->st.rip, 0xfff0);
	assert_int_equal(b->lapic.regs[0x80], 0);
	kvm_saved_free(a);
	kvm_saved_free(b);
	kvm_world_free(w);
}

/* A state that only KVM could have made is refused, in words. */
static void nested_is_refused(void **state)
{
	struct kvm_world *w;
	struct x86_state st;

	need_kvm();
	w = kvm_world_new();
	w->v->ops->get_state(w->v, &st);
	st.svm.in_guest = 1;
	assert_int_equal(w->v->ops->set_state(w->v, &st, &w->e), -ENOTSUP);
	assert_non_null(strstr(w->e.text, "current VMCS"));
	kvm_world_free(w);
}

/* ---- moving ---- */

static void ready(struct world *w)
{
	struct x86_seg data = {0x18, 0xc93, 0xffffffff, 0};

	PLACE(w, CODE, guest_work);
	put(w, TABLES, (TABLES + 0x1000) | 7, 8);
	put(w, TABLES + 0x1000, (TABLES + 0x2000) | 7, 8);
	put(w, TABLES + 0x2000, 0x87, 8);
	w->st.rip = CODE;
	w->st.gpr[RSP] = STACK;
	for (unsigned i = 0; i < X86_SREGS; i++)
		w->st.seg[i] = data;
	w->st.seg[CS] = (struct x86_seg){0x10, 0xa9b, 0xffffffff, 0};
	w->st.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
	w->st.cr3 = TABLES;
	w->st.cr4 = CR4_PAE | CR4_OSFXSR;
	w->st.msr.efer = EFER_LME | EFER_LMA;
}

static const char *soft_model(void)
{
	struct kvm_world *w = kvm_world_new();
	bool intel = w->kvm->vendor == X86_INTEL;

	kvm_world_free(w);
	return intel ? "Skylake-Client" : "EPYC-Milan";
}

/* As far as the engine's limit, or to the end. */
static void soft_piece(struct world *w)
{
	if (world_run(w) != RUN_STOPPED)
		fail_msg("the software processor stopped at %#llx: %s", (unsigned long long)w->st.rip, w->e.text);
}

static u64 soft_result(const char *model)
{
	struct world *w = world_new(model);
	u64 result;

	ready(w);
	while (w->vm.stop == VM_RUNNING)
		soft_piece(w);
	result = get(w, RESULT, 8);
	world_free(w);
	return result;
}

/* A part of the work on KVM. */
static void kvm_piece(struct kvm_world *k, struct x86_state *st)
{
	if (k->v->ops->set_state(k->v, st, &k->e))
		fail_msg("%s", k->e.text);
	kvm_world_run_a_while(k);
	k->v->ops->get_state(k->v, st);
}

/*
 * Pieces of it by turns, each from the state and the memory that the other left. The end is the result in memory: the
 * guest's own word that it stops gets lost where the piece is over already.
 */
static void work_moves(void **state)
{
	const char *model;
	struct kvm_world *k;
	struct world *s;
	u64 expected;
	unsigned moves = 0;

	if (!need_kvm()) /* without an extension beneath it KVM emulates more instructions than it knows */
		skip();
	model = soft_model();
	expected = soft_result(model);
	k = kvm_world_new();
	s = world_new(model);
	ready(s);
	for (;;) {
		soft_piece(s);
		if (get(s, RESULT, 8))
			break;
		memcpy(k->vm.ram.slot[0].host, at(s, 0), WORLD_RAM);
		kvm_piece(k, &s->st);
		memcpy(at(s, 0), k->vm.ram.slot[0].host, WORLD_RAM);
		moves++;
		if (get(s, RESULT, 8))
			break;
	}
	print_message("%u times there and back\n", moves);
	assert_true(moves > 0);
	assert_int_equal(get(s, RESULT, 8), expected);
	world_free(s);
	kvm_world_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_come_back),
		cmocka_unit_test(rest_comes_back),
		cmocka_unit_test(nested_is_refused),
		cmocka_unit_test(work_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
