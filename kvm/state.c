/*
 * struct x86_state from and to a vCPU of KVM, by the ioctls that KVM has for each part.
 *
 * LIMIT: an event that KVM holds between its recognition and its delivery, and nested state, have no place in struct
 * x86_state yet; get leaves them with KVM.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/internal.h"

static void seg_out(struct kvm_segment *k, const struct x86_seg *s)
{
	*k = (struct kvm_segment){
		.base = s->base,
		.limit = s->limit,
		.selector = s->sel,
		.type = s->attr & SEG_TYPE,
		.s = !!(s->attr & SEG_S),
		.dpl = SEG_DPL(s->attr),
		.present = !!(s->attr & SEG_P),
		.avl = !!(s->attr & SEG_AVL),
		.l = !!(s->attr & SEG_L),
		.db = !!(s->attr & SEG_DB),
		.g = !!(s->attr & SEG_G),
		.unusable = !(s->attr & SEG_P),
	};
}

static void seg_in(struct x86_seg *s, const struct kvm_segment *k)
{
	s->base = k->base;
	s->limit = k->limit;
	s->sel = k->selector;
	s->attr = (u16)(k->type | (k->s ? SEG_S : 0) | k->dpl << 5 | (k->present && !k->unusable ? SEG_P : 0) |
			(k->avl ? SEG_AVL : 0) | (k->l ? SEG_L : 0) | (k->db ? SEG_DB : 0) | (k->g ? SEG_G : 0));
}

/* KVM names the general registers in an order of its own. */
#define GPRS(r, g, op)                                                                                                 \
	op(g[RAX], r.rax) op(g[RBX], r.rbx) op(g[RCX], r.rcx) op(g[RDX], r.rdx) op(g[RSI], r.rsi) op(g[RDI], r.rdi)    \
		op(g[RSP], r.rsp) op(g[RBP], r.rbp) op(g[R8], r.r8) op(g[R9], r.r9) op(g[R10], r.r10)                  \
			op(g[R11], r.r11) op(g[R12], r.r12) op(g[R13], r.r13) op(g[R14], r.r14) op(g[R15], r.r15)
#define TO_KVM(g, r)   r = g;
#define FROM_KVM(g, r) g = r;

static long regs_set(struct kvm_vcpu *v, const struct x86_state *st)
{
	struct kvm_regs r = {.rip = st->rip, .rflags = x86_rflags(st)};

	GPRS(r, st->gpr, TO_KVM)
	return kvm_ioctl(v->fd, KVM_SET_REGS, &r);
}

static long regs_get(struct kvm_vcpu *v, struct x86_state *st)
{
	struct kvm_regs r;
	long rc = kvm_ioctl(v->fd, KVM_GET_REGS, &r);

	if (rc)
		return rc;
	GPRS(r, st->gpr, FROM_KVM)
	st->rip = r.rip;
	x86_set_rflags(st, r.rflags);
	return 0;
}

/* CR8 and IA32_APIC_BASE stay what the in-kernel APIC has. */
static long sregs_set(struct kvm_vcpu *v, const struct x86_state *st)
{
	struct kvm_sregs s;
	long rc = kvm_ioctl(v->fd, KVM_GET_SREGS, &s);

	if (rc)
		return rc;
	seg_out(&s.es, &st->seg[ES]);
	seg_out(&s.cs, &st->seg[CS]);
	seg_out(&s.ss, &st->seg[SS]);
	seg_out(&s.ds, &st->seg[DS]);
	seg_out(&s.fs, &st->seg[FS]);
	seg_out(&s.gs, &st->seg[GS]);
	seg_out(&s.ldt, &st->ldtr);
	seg_out(&s.tr, &st->tr);
	s.ss.dpl = (u8)st->cpl; /* where KVM looks for the CPL */
	s.gdt = (struct kvm_dtable){.base = st->gdtr.base, .limit = (u16)st->gdtr.limit};
	s.idt = (struct kvm_dtable){.base = st->idtr.base, .limit = (u16)st->idtr.limit};
	s.cr0 = st->cr0;
	s.cr2 = st->cr2;
	s.cr3 = st->cr3;
	s.cr4 = st->cr4;
	s.efer = st->msr.efer;
	memset(s.interrupt_bitmap, 0, sizeof(s.interrupt_bitmap));
	return kvm_ioctl(v->fd, KVM_SET_SREGS, &s);
}

static long sregs_get(struct kvm_vcpu *v, struct x86_state *st)
{
	struct kvm_sregs s;
	long rc = kvm_ioctl(v->fd, KVM_GET_SREGS, &s);

	if (rc)
		return rc;
	seg_in(&st->seg[ES], &s.es);
	seg_in(&st->seg[CS], &s.cs);
	seg_in(&st->seg[SS], &s.ss);
	seg_in(&st->seg[DS], &s.ds);
	seg_in(&st->seg[FS], &s.fs);
	seg_in(&st->seg[GS], &s.gs);
	seg_in(&st->ldtr, &s.ldt);
	seg_in(&st->tr, &s.tr);
	st->cpl = s.cr0 & CR0_PE ? s.ss.dpl : 0;
	st->gdtr = (struct x86_dtr){.base = s.gdt.base, .limit = s.gdt.limit};
	st->idtr = (struct x86_dtr){.base = s.idt.base, .limit = s.idt.limit};
	st->cr0 = s.cr0;
	st->cr2 = s.cr2;
	st->cr3 = s.cr3;
	st->cr4 = s.cr4;
	st->msr.efer = s.efer;
	return 0;
}

static long xcr0_set(struct kvm_vcpu *v, const struct x86_state *st)
{
	struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = st->xcr0}};

	return kvm_ioctl(v->fd, KVM_SET_XCRS, &x);
}

static long xcr0_get(struct kvm_vcpu *v, struct x86_state *st)
{
	struct kvm_xcrs x = {0};
	long rc = kvm_ioctl(v->fd, KVM_GET_XCRS, &x);

	for (u32 i = 0; !rc && i < x.nr_xcrs && i < ARRAY_SIZE(x.xcrs); i++)
		if (x.xcrs[i].xcr == 0)
			st->xcr0 = x.xcrs[i].value;
	return rc;
}

static long debug_set(struct kvm_vcpu *v, const struct x86_state *st)
{
	struct kvm_debugregs d = {.dr6 = st->dr6, .dr7 = st->dr7};

	memcpy(d.db, st->dr, sizeof(d.db));
	return kvm_ioctl(v->fd, KVM_SET_DEBUGREGS, &d);
}

static long debug_get(struct kvm_vcpu *v, struct x86_state *st)
{
	struct kvm_debugregs d;
	long rc = kvm_ioctl(v->fd, KVM_GET_DEBUGREGS, &d);

	if (rc)
		return rc;
	memcpy(st->dr, d.db, sizeof(st->dr));
	st->dr6 = d.dr6;
	st->dr7 = d.dr7;
	return 0;
}

_Static_assert(SHADOW_STI == 1 << 0 && SHADOW_MOVSS == 1 << 1, "KVM: KVM_X86_SHADOW_INT_STI is 2, _MOV_SS 1");

static u8 shadow_swap(u32 s) { return (u8)((s & 1) << 1 | (s >> 1 & 1)); }

static long events_set(struct kvm_vcpu *v, const struct x86_state *st)
{
	struct kvm_vcpu_events ev = {
		.interrupt.shadow = shadow_swap(st->shadow),
		.nmi = {.pending = st->nmi_pending != 0, .masked = st->nmi_blocked != 0},
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW,
	};

	return kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev);
}

static long events_get(struct kvm_vcpu *v, struct x86_state *st)
{
	struct kvm_vcpu_events ev;
	long rc = kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev);

	if (rc)
		return rc;
	st->shadow = shadow_swap(ev.interrupt.shadow);
	if (st->shadow == (SHADOW_STI | SHADOW_MOVSS)) /* SVM has one bit for both */
		st->shadow = SHADOW_STI;
	st->nmi_pending = ev.nmi.pending != 0;
	st->nmi_blocked = ev.nmi.masked != 0;
	return 0;
}

static long activity_set(struct kvm_vcpu *v, const struct x86_state *st)
{
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};

	if (st->activity == ACT_HALTED)
		mp.mp_state = KVM_MP_STATE_HALTED;
	else if (st->activity == ACT_WAIT_SIPI)
		mp.mp_state = KVM_MP_STATE_UNINITIALIZED;
	return kvm_ioctl(v->fd, KVM_SET_MP_STATE, &mp);
}

static long activity_get(struct kvm_vcpu *v, struct x86_state *st)
{
	struct kvm_mp_state mp;
	long rc = kvm_ioctl(v->fd, KVM_GET_MP_STATE, &mp);

	if (rc)
		return rc;
	if (mp.mp_state == KVM_MP_STATE_HALTED)
		st->activity = ACT_HALTED;
	else if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		st->activity = ACT_WAIT_SIPI;
	else
		st->activity = ACT_RUNNING;
	return 0;
}

/* In this order: XCR0 decides which vector state may be set, EFER and CR4 with it; events last, since others clear
 * them. */
static const struct {
	const char *what;
	long (*set)(struct kvm_vcpu *v, const struct x86_state *st);
	long (*get)(struct kvm_vcpu *v, struct x86_state *st);
} parts[] = {
	{"registers", regs_set, regs_get},
	{"segments and control registers", sregs_set, sregs_get},
	{"XCR0", xcr0_set, xcr0_get},
	{"debug registers", debug_set, debug_get},
	{"pending events", events_set, events_get},
	{"activity", activity_set, activity_get},
};

int kvm_vcpu_set_state(struct vcpu *vcpu, const struct x86_state *st, struct err *e)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
	int r;

	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++) {
		long rc = parts[i].set(v, st);

		if (rc < 0)
			return err_set(e, (int)-rc, "KVM does not take the guest's %s: %s", parts[i].what,
				       strerror((int)-rc));
	}
	r = kvm_fpu_set(v, st, e);
	return r ? r : kvm_msrs_set(v, st, e);
}

void kvm_vcpu_get_state(struct vcpu *vcpu, struct x86_state *st)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
	bool ok = true;

	memset(st, 0, sizeof(*st));
	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
		if (parts[i].get(v, st) < 0) {
			log_warn(vcpu->vm->log, "KVM does not tell the guest's %s", parts[i].what);
			ok = false;
		}
	if (kvm_fpu_get(v, st) < 0 || kvm_msrs_get(v, st) < 0 || !ok)
		log_warn(vcpu->vm->log, "KVM told only a part of the processor's state");
}
