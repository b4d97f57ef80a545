/*
 * Every field of the guest-state area goes in at VM entry and comes out at the exit, every field of the host-state area
 * is loaded by the exit; the controls that load and save IA32_PAT, IA32_EFER, DR7 and IA32_DEBUGCTL in all
 * combinations. SDM vol. 3 24.4, 24.5, 26.3.2 "Loading Guest State", 27.3 "Saving Guest State", 27.5 "Loading Host
 * State".
 *
 * The guest stops the world before its VMCALL: there the processor's state is compared, and changed.
 */
#include "tests/unit/vmx_world.h"

#define HIGH	     0xffff800000000000
#define PAT_GUEST    0x0605040106050401
#define PAT_CHANGED  0x0001040506070001
#define PAT_HOST     0x0706050407060504
#define PAT_BEFORE   0x0007040600070406
#define EFER_LONG    (EFER_LME | EFER_LMA)
#define ENTRY_LOADS  (VMX_ENTRY_LOAD_PAT | VMX_ENTRY_LOAD_EFER | VMX_ENTRY_LOAD_DEBUG)
#define EXIT_SAVES   (VMX_EXIT_SAVE_PAT | VMX_EXIT_SAVE_EFER | VMX_EXIT_SAVE_DEBUG)
#define EXIT_LOADS   (VMX_EXIT_LOAD_PAT | VMX_EXIT_LOAD_EFER)
#define GUEST_CR4    (CR4_PAE | CR4_VMXE | CR4_OSFXSR)
#define GUEST_CR0    (CR0_PE | CR0_ET | CR0_NE | CR0_PG)
#define GUEST_FLAGS  (FL_FIXED | FL_IF | FL_IOPL | FL_CF | FL_ZF | FL_OF | FL_ID)
#define FLAGS_BEHIND (FL_FIXED | FL_NT | FL_PF | FL_SF | FL_AF | FL_DF | FL_AC)

ASM64(stop_call, STOP VMCALL)

enum form { PLAIN, RIGHTS, FLAGS };

struct row {
	enum vmcs_field field;
	u32 offset, size; /* in struct x86_state */
	enum form form;
	u64 in, changed;
};
#define SIZE(member) sizeof(((struct x86_state *)0)->member)
#define F(name, member, in_, out_)                                                                                     \
	{                                                                                                              \
		VMCS_##name, offsetof(struct x86_state, member), SIZE(member), PLAIN, in_, out_                        \
	}
#define SEG(name, member, sel_, ar_, limit_, base_, sel2, ar2, limit2, base2)                                          \
	F(GUEST_##name##_SEL, member.sel, sel_, sel2),                                                                 \
		{VMCS_GUEST_##name##_AR, offsetof(struct x86_state, member.attr), 2, RIGHTS, ar_, ar2},                \
		F(GUEST_##name##_LIMIT, member.limit, limit_, limit2),                                                 \
		F(GUEST_##name##_BASE, member.base, base_, base2)

static const struct row guest_rows[] = {
	SEG(ES, seg[ES], 0x23, 0x40f3, 0xabcde, 0x11110000, 0x43, 0xc093, 0xfffff, 0x12340000),
	SEG(CS, seg[CS], 0x48, 0xa09b, 0xffffffff, 0, 0x58, 0xb09f, 0xffff, 0),
	SEG(SS, seg[SS], 0x50, 0xc093, 0xfffff, 0x33330000, 0x60, 0x4097, 0x87654, 0x44440000),
	SEG(DS, seg[DS], 0x2b, 0xd0f3, 0x0fffffff, 0x22220000, 0, VAR_UNUSABLE, 0, 0),
	SEG(FS, seg[FS], 0x53, 0x00f1, 0x12345, 0x7ff012345678, 0x6b, 0x00b1, 0x54321, HIGH + 1),
	SEG(GS, seg[GS], 0, VAR_UNUSABLE, 0, HIGH + 0x1000, 0x33, 0xc0f3, 0xffffffff, HIGH + 0x3000),
	SEG(LDTR, ldtr, 0x58, 0x82, 0x1f, LDT, 0x78, 0x1082, 0x2f, HIGH + LDT),
	SEG(TR, tr, 0x60, 0x8b, 0x2067, HIGH + TSS, 0x70, 0x108b, 0x67, TSS_B),
	F(GUEST_GDTR_BASE, gdtr.base, HIGH + GDT, GDT),
	F(GUEST_GDTR_LIMIT, gdtr.limit, 0x1fff, 0x5f),
	F(GUEST_IDTR_BASE, idtr.base, HIGH + IDT, IDT),
	F(GUEST_IDTR_LIMIT, idtr.limit, 0xffe, 0xfff),
	F(GUEST_CR0, cr0, GUEST_CR0 | CR0_WP | CR0_TS, GUEST_CR0 | CR0_AM | CR0_MP | CR0_EM),
	F(GUEST_CR3, cr3, GUEST_TABLES | 5, TABLES | 6),
	F(GUEST_CR4, cr4, GUEST_CR4 | CR4_PCIDE | CR4_FSGSBASE | CR4_TSD, GUEST_CR4 | CR4_PCIDE | CR4_DE | CR4_OSXSAVE),
	F(GUEST_DR7, dr7, DR7_FIXED | DR7_GD | 0xfff0300, DR7_FIXED | 0xf0000100),
	F(GUEST_RSP, gpr[RSP], HIGH + 0x123456789, 0xfedcba987654321),
	{VMCS_GUEST_RFLAGS, 0, 0, FLAGS, GUEST_FLAGS, FLAGS_BEHIND},
	F(GUEST_DEBUGCTL, msr.debugctl, DEBUGCTL_LBR | DEBUGCTL_BTF, DEBUGCTL_BTF),
	F(GUEST_SYSENTER_CS, msr.sysenter_cs, 0x87654321, 0x1234),
	F(GUEST_SYSENTER_ESP, msr.sysenter_esp, HIGH + 0x11, 0x22),
	F(GUEST_SYSENTER_EIP, msr.sysenter_eip, HIGH + 0x33, 0x44),
	F(GUEST_PAT, msr.pat, PAT_GUEST, PAT_CHANGED),
	F(GUEST_EFER, msr.efer, EFER_LONG | EFER_NXE, EFER_LONG | EFER_SCE),
};

static const struct row host_rows[] = {
	F(HOST_ES_SEL, seg[ES].sel, 0x20, 0),
	F(HOST_CS_SEL, seg[CS].sel, 0x28, 0),
	F(HOST_SS_SEL, seg[SS].sel, 0x38, 0),
	F(HOST_DS_SEL, seg[DS].sel, 0x40, 0),
	F(HOST_FS_SEL, seg[FS].sel, 0x48, 0),
	F(HOST_GS_SEL, seg[GS].sel, 0x50, 0),
	F(HOST_TR_SEL, tr.sel, 0x58, 0),
	F(HOST_FS_BASE, seg[FS].base, HIGH + 0x1000, 0),
	F(HOST_GS_BASE, seg[GS].base, HIGH + 0x2000, 0),
	F(HOST_TR_BASE, tr.base, HIGH + 0x3000, 0),
	F(HOST_GDTR_BASE, gdtr.base, HIGH + 0x4000, 0),
	F(HOST_IDTR_BASE, idtr.base, HIGH + 0x5000, 0),
	F(HOST_CR0, cr0, CR0_PE | CR0_ET | CR0_NE | CR0_PG | CR0_AM | CR0_MP, 0),
	F(HOST_CR3, cr3, GUEST_TABLES | 7, 0),
	F(HOST_CR4, cr4, CR4_PAE | CR4_VMXE | CR4_PCIDE | CR4_DE, 0),
	F(HOST_RSP, gpr[RSP], HIGH + 0x6000, 0),
	F(HOST_SYSENTER_CS, msr.sysenter_cs, 0x98765432, 0),
	F(HOST_SYSENTER_ESP, msr.sysenter_esp, HIGH + 0x7000, 0),
	F(HOST_SYSENTER_EIP, msr.sysenter_eip, HIGH + 0x8000, 0),
	F(HOST_PAT, msr.pat, PAT_HOST, 0),
	F(HOST_EFER, msr.efer, EFER_LONG | EFER_SCE | EFER_NXE, 0),
};

static u64 state_get(const struct x86_state *st, const struct row *r)
{
	u64 v = 0;

	if (r->form == FLAGS)
		return x86_rflags(st);
	memcpy(&v, (const u8 *)st + r->offset, r->size);
	return r->form == RIGHTS ? vmx_ar((u16)v) : v;
}

static void state_put(struct x86_state *st, const struct row *r, u64 v)
{
	u64 raw = r->form == RIGHTS ? vmx_attr(v) : v;

	if (r->form == FLAGS)
		x86_set_rflags(st, v);
	else
		memcpy((u8 *)st + r->offset, &raw, r->size);
}

static void expect(const char *where, const struct row *r, u64 is, u64 should)
{
	if (is != should)
		fail_msg("%s: %s is %#llx, not %#llx", where, vmcs_rows[r->field].name, (unsigned long long)is,
			 (unsigned long long)should);
}

/* RFLAGS.TF and all that would let the guest's two instructions not run are alike in both columns. */
static void guest_area(void **state)
{
	struct world *w = VMX_WORLD(stop_call);
	u64 *f = vmx_f(w);
	const struct row *r;

	f[VMCS_ENTRY] |= ENTRY_LOADS;
	f[VMCS_EXIT] |= EXIT_SAVES | EXIT_LOADS;
	f[VMCS_HOST_PAT] = PAT_HOST;
	f[VMCS_HOST_EFER] = EFER_LONG;
	for (r = guest_rows; r < guest_rows + ARRAY_SIZE(guest_rows); r++)
		f[r->field] = r->in;
	vmx_run(w);
	assert_int_equal(w->st.rip, GUEST + 2);
	assert_true(w->st.vmx.in_guest);
	for (r = guest_rows; r < guest_rows + ARRAY_SIZE(guest_rows); r++) {
		expect("in the guest", r, state_get(&w->st, r), r->in);
		expect("the field while the guest runs", r, f[r->field], r->in);
		state_put(&w->st, r, r->changed);
	}
	world_run_to_stop(w);
	EXPECT_EXIT(w, 18, 0);
	assert_at(w, 2);
	for (r = guest_rows; r < guest_rows + ARRAY_SIZE(guest_rows); r++)
		expect("behind the exit", r, f[r->field], r->changed);
	world_free(w);
}

/* What no instruction of the guest can show: a VM entry whose exit is pending already. */
static void non_register_state(void **state)
{
	static const struct {
		u64 activity, interruptibility, pending, flags;
	} rows[] = {
		{0, 0, 0, 0},
		{1, 0, 0, 0},
		{0, VINT_STI, 0, FL_IF},
		{0, VINT_MOVSS, 0, 0},
		{0, VINT_NMI, 0, 0},
		{0, VINT_NMI | VINT_STI, 0, FL_IF},
		{1, VINT_NMI, 0, 0},
		{0, 0, VPENDING_ENABLED | 5, 0},
		{1, 0, VPENDING_ENABLED | 10, 0},
		{0, 0, DR6_BS, FL_TF},
		{0, VINT_MOVSS, DR6_BS | VPENDING_ENABLED | 1, FL_TF},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct world *w = VMX_WORLD(stop_call);
		u64 *f = vmx_f(w);

		f[VMCS_GUEST_ACTIVITY] = rows[i].activity;
		f[VMCS_GUEST_INTERRUPTIBILITY] = rows[i].interruptibility;
		f[VMCS_GUEST_PENDING_DB] = rows[i].pending;
		f[VMCS_GUEST_RFLAGS] |= rows[i].flags;
		f[VMCS_ENTRY_EVENT] = VEV_VALID | VEV_OTHER << 8;
		vmx_run(w);
		EXPECT_EXIT(w, 37, 0);
		assert_at(w, 0);
		if (f[VMCS_GUEST_ACTIVITY] != rows[i].activity ||
		    f[VMCS_GUEST_INTERRUPTIBILITY] != rows[i].interruptibility ||
		    f[VMCS_GUEST_PENDING_DB] != rows[i].pending)
			fail_msg("row %u: activity %llu, interruptibility %#llx, pending %#llx", i,
				 (unsigned long long)f[VMCS_GUEST_ACTIVITY],
				 (unsigned long long)f[VMCS_GUEST_INTERRUPTIBILITY],
				 (unsigned long long)f[VMCS_GUEST_PENDING_DB]);
		assert_int_equal(w->st.activity, ACT_RUNNING);
		assert_int_equal(w->st.shadow, 0);
		assert_int_equal(w->st.pending_db, 0);
		assert_int_equal(w->st.nmi_blocked, 0);
		world_free(w);
	}
}

static void assert_seg(const struct x86_seg *s, u16 attr, u32 limit, u64 base)
{
	assert_int_equal(s->attr, attr);
	assert_int_equal(s->limit, limit);
	assert_int_equal(s->base, base);
}

static void host_area(void **state)
{
	struct world *w = VMX_WORLD(stop_call);
	u64 *f = vmx_f(w);
	const struct row *r;

	f[VMCS_EXIT] |= EXIT_LOADS;
	for (r = host_rows; r < host_rows + ARRAY_SIZE(host_rows); r++) {
		if (state_get(&w->st, r) == r->in)
			fail_msg("%s is there already", vmcs_rows[r->field].name);
		f[r->field] = r->in;
	}
	vmx_run(w);
	w->st.dr7 = DR7_FIXED | 0xf0000100;
	w->st.msr.debugctl = DEBUGCTL_BTF;
	x86_set_rflags(&w->st, GUEST_FLAGS);
	w->st.dr6 = DR6_FIXED | 5;
	w->st.gpr[R12] = 0x5678;
	world_run_to_stop(w);
	EXPECT_EXIT(w, 18, 0);
	for (r = host_rows; r < host_rows + ARRAY_SIZE(host_rows); r++)
		expect("in the host", r, state_get(&w->st, r), r->in);
	assert_int_equal(w->st.rip, HOST_CODE + 2);
	assert_seg(&w->st.seg[CS], 0xa9b, 0xffffffff, 0);
	assert_seg(&w->st.seg[SS], 0xc93, 0xffffffff, 0);
	assert_seg(&w->st.seg[DS], 0xc93, 0xffffffff, 0);
	assert_seg(&w->st.seg[ES], 0xc93, 0xffffffff, 0);
	assert_seg(&w->st.seg[FS], 0xc93, 0xffffffff, HIGH + 0x1000);
	assert_seg(&w->st.seg[GS], 0xc93, 0xffffffff, HIGH + 0x2000);
	assert_seg(&w->st.tr, 0x8b, 0x67, HIGH + 0x3000);
	assert_false(w->st.ldtr.attr & SEG_P);
	assert_int_equal(w->st.ldtr.sel, 0);
	assert_int_equal(w->st.gdtr.limit, 0xffff);
	assert_int_equal(w->st.idtr.limit, 0xffff);
	assert_int_equal(w->st.dr7, DR7_FIXED);
	assert_int_equal(w->st.msr.debugctl, 0);
	assert_int_equal(x86_rflags(&w->st), FL_FIXED);
	assert_int_equal(w->st.cpl, 0);
	/* What no field holds is the guest's. */
	assert_int_equal(w->st.dr6, DR6_FIXED | 5);
	assert_int_equal(w->st.gpr[R12], 0x5678);
	world_free(w);
}

/* Null selectors make the registers unusable; the bases of FS and GS are loaded all the same. 27.5.2. */
static void host_null_selectors(void **state)
{
	static const u8 null[] = {ES, SS, DS, FS, GS};
	struct world *w = VMX_WORLD(stop_call);
	u64 *f = vmx_f(w);

	f[VMCS_HOST_ES_SEL] = f[VMCS_HOST_SS_SEL] = f[VMCS_HOST_DS_SEL] = f[VMCS_HOST_FS_SEL] = f[VMCS_HOST_GS_SEL] = 0;
	f[VMCS_HOST_FS_BASE] = HIGH + 0x1000;
	f[VMCS_HOST_GS_BASE] = HIGH + 0x2000;
	vmx_run(w);
	world_run_to_stop(w);
	EXPECT_EXIT(w, 18, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(null); i++) {
		assert_int_equal(w->st.seg[null[i]].sel, 0);
		assert_false(w->st.seg[null[i]].attr & SEG_P);
	}
	assert_int_equal(w->st.seg[FS].base, HIGH + 0x1000);
	assert_int_equal(w->st.seg[GS].base, HIGH + 0x2000);
	world_free(w);
}

/* CR0.CD and NW are neither loaded nor checked, by entry or exit: 26.3.2.1, 27.5.1. */
static void cache_bits(void **state)
{
	for (unsigned host = 0; host < 2; host++) {
		struct world *w = VMX_WORLD(stop_call);
		u64 bits = CR0_CD | CR0_NW;

		if (host)
			w->st.cr0 |= bits;
		else
			vmx_f(w)[VMCS_GUEST_CR0] |= bits;
		vmx_f(w)[VMCS_HOST_CR0] |= host ? 0 : bits;
		vmx_run(w);
		assert_int_equal(w->st.cr0 & bits, host ? bits : 0);
		world_run_to_stop(w);
		EXPECT_EXIT(w, 18, 0);
		assert_int_equal(vmx_f(w)[VMCS_GUEST_CR0] & bits, host ? bits : 0);
		assert_int_equal(w->st.cr0 & bits, host ? bits : 0);
		world_free(w);
	}
}

/* Writes IA32_PAT, IA32_EFER (SCE), IA32_DEBUGCTL (LBR) and DR7. */
ASM64(rewrites, STOP "mov $0x277, %ecx\n mov $0x06070001, %eax\n mov $0x00010405, %edx\n wrmsr\n"
		     "mov $0xc0000080, %ecx\n mov $0x501, %eax\n xor %edx, %edx\n wrmsr\n"
		     "mov $0x1d9, %ecx\n mov $1, %eax\n wrmsr\n"
		     "mov $0x500, %eax\n mov %rax, %db7\n" VMCALL)

struct values {
	u64 pat, efer, dr7, debugctl;
};

static void assert_values(const char *where, unsigned line, const struct values *is, const struct values *should)
{
	if (memcmp(is, should, sizeof(*is)))
		fail_msg("controls %#x, %s: PAT %#llx not %#llx, EFER %#llx not %#llx, DR7 %#llx not %#llx, DEBUGCTL "
			 "%#llx not %#llx",
			 line, where, (unsigned long long)is->pat, (unsigned long long)should->pat,
			 (unsigned long long)is->efer, (unsigned long long)should->efer, (unsigned long long)is->dr7,
			 (unsigned long long)should->dr7, (unsigned long long)is->debugctl,
			 (unsigned long long)should->debugctl);
}

static struct values values_of(const struct x86_state *st)
{
	return (struct values){st->msr.pat, st->msr.efer, st->dr7, st->msr.debugctl};
}

static void values_put(struct world *w, const struct values *before, const struct values *fields)
{
	u64 *f = vmx_f(w);

	w->st.msr.pat = before->pat;
	w->st.msr.efer = before->efer;
	w->st.dr7 = before->dr7;
	w->st.msr.debugctl = before->debugctl;
	vmx_guest(f);
	f[VMCS_GUEST_PAT] = fields->pat;
	f[VMCS_GUEST_EFER] = fields->efer;
	f[VMCS_GUEST_DR7] = fields->dr7;
	f[VMCS_GUEST_DEBUGCTL] = fields->debugctl;
}

/* What a control does not load stays as the other side left it; what one does not save stays in its field. */
static void optional_values(void **state)
{
	static const u32 entry[] = {VMX_ENTRY_LOAD_PAT, VMX_ENTRY_LOAD_EFER, VMX_ENTRY_LOAD_DEBUG},
			 leave[] = {VMX_EXIT_SAVE_PAT, VMX_EXIT_SAVE_EFER, VMX_EXIT_SAVE_DEBUG, VMX_EXIT_LOAD_PAT,
				    VMX_EXIT_LOAD_EFER};
	static const struct values before = {PAT_BEFORE, EFER_LONG, DR7_FIXED | 0x300, DEBUGCTL_BTF},
				   fields = {PAT_GUEST, EFER_LONG | EFER_NXE, DR7_FIXED | 0x200,
					     DEBUGCTL_BTF | DEBUGCTL_LBR},
				   written = {PAT_CHANGED, EFER_LONG | EFER_SCE, DR7_FIXED | 0x100, DEBUGCTL_LBR};
	struct world *w = VMX_WORLD(rewrites);
	struct x86_state host = w->st;
	u64 *f = vmx_f(w);

	f[VMCS_HOST_PAT] = PAT_HOST;
	f[VMCS_HOST_EFER] = EFER_LONG | EFER_NXE | EFER_SCE;
	for (u32 c = 0; c < 256; c++) {
		struct values in, out, back, is;

		w->st = host;
		values_put(w, &before, &fields);
		f[VMCS_ENTRY] &= ~(u64)ENTRY_LOADS;
		f[VMCS_EXIT] &= ~(u64)(EXIT_SAVES | EXIT_LOADS);
		for (unsigned i = 0; i < 8; i++)
			if (c >> i & 1)
				f[i < 3 ? VMCS_ENTRY : VMCS_EXIT] |= i < 3 ? entry[i] : leave[i - 3];
		in = (struct values){(c & 1 ? &fields : &before)->pat, (c & 2 ? &fields : &before)->efer,
				     (c & 4 ? &fields : &before)->dr7, (c & 4 ? &fields : &before)->debugctl};
		out = (struct values){(c & 8 ? &written : &fields)->pat, (c & 16 ? &written : &fields)->efer,
				      (c & 32 ? &written : &fields)->dr7, (c & 32 ? &written : &fields)->debugctl};
		back = (struct values){c & 64 ? PAT_HOST : PAT_CHANGED,
				       c & 128 ? EFER_LONG | EFER_NXE | EFER_SCE : EFER_LONG | EFER_SCE, DR7_FIXED, 0};
		vmx_run(w);
		is = values_of(&w->st);
		assert_values("in the guest", c, &is, &in);
		world_run_to_stop(w);
		EXPECT_EXIT(w, 18, 0);
		is = (struct values){f[VMCS_GUEST_PAT], f[VMCS_GUEST_EFER], f[VMCS_GUEST_DR7], f[VMCS_GUEST_DEBUGCTL]};
		assert_values("saved", c, &is, &out);
		is = values_of(&w->st);
		assert_values("in the host", c, &is, &back);
	}
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_area), cmocka_unit_test(non_register_state),
		cmocka_unit_test(host_area),  cmocka_unit_test(host_null_selectors),
		cmocka_unit_test(cache_bits), cmocka_unit_test(optional_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
