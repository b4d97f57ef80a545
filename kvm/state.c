/*
 * struct x86_state from and to a vCPU of KVM: one ioctl a part, one row of state.def a field, and what is more than a
 * field in a part's two functions.
 *
 * A part is read before it is written, so that what struct x86_state does not have (save.c) stays as it is.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/internal.h"

union part_data {
	struct kvm_regs regs;
	struct kvm_sregs2 sregs; /* struct kvm_sregs has the same fields up to its bitmap */
	struct kvm_sregs sregs_old;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debug;
	struct kvm_vcpu_events events;
	struct kvm_mp_state activity;
};
_Static_assert(offsetof(struct kvm_sregs2, flags) == offsetof(struct kvm_sregs, interrupt_bitmap), "the same head");

enum part_id { PART_regs, PART_sregs, PART_xcrs, PART_debug, PART_events, PART_activity, PARTS };
enum form { FORM_WORD, FORM_SEG };

struct row {
	u8 part, form;	      /* enum part_id, enum form */
	u8 kvm_size, st_size; /* bytes, of a FORM_WORD */
	u16 kvm, st;	      /* where, in union part_data and in struct x86_state */
};

#define SIZE_OF(type, field) sizeof(((type *)0)->field)
#define ROW(p, f, k, s)                                                                                                \
	{.part = PART_##p,                                                                                             \
	 .form = f,                                                                                                    \
	 .kvm_size = SIZE_OF(union part_data, p.k),                                                                    \
	 .st_size = SIZE_OF(struct x86_state, s),                                                                      \
	 .kvm = offsetof(union part_data, p.k),                                                                        \
	 .st = offsetof(struct x86_state, s)},

static const struct row rows[] = {
#define WORD(part, kvm, st) ROW(part, FORM_WORD, kvm, st)
#define SEG(part, kvm, st)  ROW(part, FORM_SEG, kvm, st)
#include "kvm/state.def"
};

/* ---- fields ---- */

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

/* Little-endian integers: what is wider on one side is cut, or filled with zeros. */
static void word_move(void *to, unsigned to_size, const void *from, unsigned from_size)
{
	u64 v = 0;

	memcpy(&v, from, from_size);
	memcpy(to, &v, to_size);
}

static void row_out(const struct row *r, union part_data *d, const struct x86_state *st)
{
	void *kvm = (char *)d + r->kvm;
	const void *field = (const char *)st + r->st;

	if (r->form == FORM_SEG)
		seg_out(kvm, field);
	else
		word_move(kvm, r->kvm_size, field, r->st_size);
}

static void row_in(const struct row *r, const union part_data *d, struct x86_state *st)
{
	const void *kvm = (const char *)d + r->kvm;
	void *field = (char *)st + r->st;

	if (r->form == FORM_SEG)
		seg_in(field, kvm);
	else
		word_move(field, r->st_size, kvm, r->kvm_size);
}

/* ---- what is more than a field ---- */

static int regs_out(const struct kvm_vcpu *v, union part_data *d, const struct x86_state *st)
{
	(void)v;
	d->regs.rflags = x86_rflags(st);
	return 0;
}

static void regs_in(const struct kvm_vcpu *v, const union part_data *d, struct x86_state *st)
{
	(void)v;
	x86_set_rflags(st, d->regs.rflags);
}

static bool pae_paging(const struct x86_state *st)
{
	return (st->cr0 & CR0_PG) && (st->cr4 & CR4_PAE) && !(st->msr.efer & EFER_LMA);
}

/* CR8 and IA32_APIC_BASE stay what the in-kernel APIC has. */
static int sregs_out(const struct kvm_vcpu *v, union part_data *d, const struct x86_state *st)
{
	d->sregs.ss.dpl = (u8)st->cpl; /* where KVM looks for the CPL */
	if (!v->kvm->sregs2) {
		memset(d->sregs_old.interrupt_bitmap, 0, sizeof(d->sregs_old.interrupt_bitmap));
		return 0;
	}
	d->sregs.flags = pae_paging(st) ? KVM_SREGS2_FLAGS_PDPTRS_VALID : 0;
	memcpy(d->sregs.pdptrs, st->pdpte, sizeof(st->pdpte));
	return 0;
}

static void sregs_in(const struct kvm_vcpu *v, const union part_data *d, struct x86_state *st)
{
	st->cpl = st->cr0 & CR0_PE ? d->sregs.ss.dpl : 0;
	if (v->kvm->sregs2 && (d->sregs.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID))
		memcpy(st->pdpte, d->sregs.pdptrs, sizeof(st->pdpte));
}

static int xcrs_out(const struct kvm_vcpu *v, union part_data *d, const struct x86_state *st)
{
	(void)v;
	(void)st;
	d->xcrs.nr_xcrs = 1;
	d->xcrs.xcrs[0].xcr = 0;
	return 0;
}

_Static_assert(SHADOW_STI == 1 << 0 && SHADOW_MOVSS == 1 << 1, "KVM: KVM_X86_SHADOW_INT_STI is 2, _MOV_SS 1");

static u8 shadow_swap(u32 s) { return (u8)((s & 1) << 1 | (s >> 1 & 1)); }

#define DB_VECTOR 1

/* A trap that is due is, for KVM, a pending #DB whose payload is the bits of DR6. */
static int events_out(const struct kvm_vcpu *v, union part_data *d, const struct x86_state *st)
{
	struct kvm_vcpu_events *ev = &d->events;

	ev->interrupt.shadow = shadow_swap(st->shadow);
	ev->flags |= KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW;
	if (!v->kvm->payload)
		return st->pending_db ? -ENOTSUP : 0;
	if (ev->exception.pending && ev->exception.nr == DB_VECTOR)
		ev->exception.pending = 0;
	if (!st->pending_db)
		return 0;
	if (ev->exception.pending || ev->exception.injected)
		return -EBUSY;
	ev->exception.pending = 1;
	ev->exception.nr = DB_VECTOR;
	ev->exception.has_error_code = 0;
	ev->exception_has_payload = 1;
	ev->exception_payload = st->pending_db;
	return 0;
}

static void events_in(const struct kvm_vcpu *v, const union part_data *d, struct x86_state *st)
{
	const struct kvm_vcpu_events *ev = &d->events;

	st->shadow = shadow_swap(ev->interrupt.shadow);
	if (st->shadow == (SHADOW_STI | SHADOW_MOVSS)) /* SVM has one bit for both */
		st->shadow = SHADOW_STI;
	if (v->kvm->payload && ev->exception.pending && ev->exception.nr == DB_VECTOR && ev->exception_has_payload)
		st->pending_db = ev->exception_payload;
}

static int activity_out(const struct kvm_vcpu *v, union part_data *d, const struct x86_state *st)
{
	(void)v;
	switch (st->activity) {
	case ACT_RUNNING: d->activity.mp_state = KVM_MP_STATE_RUNNABLE; return 0;
	case ACT_HALTED: d->activity.mp_state = KVM_MP_STATE_HALTED; return 0;
	case ACT_WAIT_SIPI: d->activity.mp_state = KVM_MP_STATE_UNINITIALIZED; return 0;
	default: return -ENOTSUP; /* a processor that shut down leaves KVM_RUN for good */
	}
}

static void activity_in(const struct kvm_vcpu *v, const union part_data *d, struct x86_state *st)
{
	(void)v;
	if (d->activity.mp_state == KVM_MP_STATE_HALTED)
		st->activity = ACT_HALTED;
	else if (d->activity.mp_state == KVM_MP_STATE_UNINITIALIZED ||
		 d->activity.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		st->activity = ACT_WAIT_SIPI;
	else
		st->activity = ACT_RUNNING;
}

/* ---- parts ---- */

/* Set in this order: XCR0 decides which vector state may be set, EFER and CR4 with it; events last, since others clear
 * them. `in` comes after the part's rows. */
static const struct part {
	const char *what;
	unsigned long get, set;
	int (*out)(const struct kvm_vcpu *v, union part_data *d, const struct x86_state *st);
	void (*in)(const struct kvm_vcpu *v, const union part_data *d, struct x86_state *st);
} parts[PARTS] = {
	[PART_regs] = {"registers", KVM_GET_REGS, KVM_SET_REGS, regs_out, regs_in},
	[PART_sregs] = {"segments and control registers", KVM_GET_SREGS2, KVM_SET_SREGS2, sregs_out, sregs_in},
	[PART_xcrs] = {"XCR0", KVM_GET_XCRS, KVM_SET_XCRS, xcrs_out, NULL},
	[PART_debug] = {"debug registers", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, NULL, NULL},
	[PART_events] = {"pending events", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, events_out, events_in},
	[PART_activity] = {"activity", KVM_GET_MP_STATE, KVM_SET_MP_STATE, activity_out, activity_in},
};

static unsigned long request(const struct kvm_vcpu *v, enum part_id id, bool set)
{
	if (id == PART_sregs && !v->kvm->sregs2)
		return set ? KVM_SET_SREGS : KVM_GET_SREGS;
	return set ? parts[id].set : parts[id].get;
}

static long part_get(struct kvm_vcpu *v, enum part_id id, struct x86_state *st)
{
	union part_data d = {0};
	long rc = kvm_ioctl(v->fd, request(v, id, false), &d);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].part == id)
			row_in(&rows[i], &d, st);
	if (parts[id].in)
		parts[id].in(v, &d, st);
	return 0;
}

/* All is read before anything is written: KVM_SET_REGS drops an exception that waits. */
static int parts_set(struct kvm_vcpu *v, const struct x86_state *st, enum part_id *failed)
{
	union part_data d[PARTS] = {0};
	long rc;

	for (*failed = 0; *failed < PARTS; ++*failed) {
		rc = kvm_ioctl(v->fd, request(v, *failed, false), &d[*failed]);
		if (rc < 0)
			return (int)rc;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		row_out(&rows[i], &d[rows[i].part], st);
	for (*failed = 0; *failed < PARTS; ++*failed) {
		const struct part *p = &parts[*failed];

		rc = p->out ? p->out(v, &d[*failed], st) : 0;
		if (!rc)
			rc = kvm_ioctl(v->fd, request(v, *failed, true), &d[*failed]);
		if (rc < 0)
			return (int)rc;
	}
	return 0;
}

int kvm_vcpu_set_state(struct vcpu *vcpu, const struct x86_state *st, struct err *e)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
	enum part_id failed;
	int r = parts_set(v, st, &failed);

	if (r)
		return err_set(e, -r, "KVM does not take the guest's %s: %s", parts[failed].what, strerror(-r));
	r = kvm_fpu_set(v, st, e);
	if (!r)
		r = kvm_msrs_set(v, st, e);
	return r ? r : kvm_nested_set(v, st, e);
}

void kvm_vcpu_get_state(struct vcpu *vcpu, struct x86_state *st)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
	bool ok = true;

	memset(st, 0, sizeof(*st));
	st->vendor = v->kvm->vendor;
	for (unsigned i = 0; i < PARTS; i++)
		if (part_get(v, (enum part_id)i, st) < 0) {
			log_warn(vcpu->vm->log, "KVM does not tell the guest's %s", parts[i].what);
			ok = false;
		}
	if (kvm_fpu_get(v, st) < 0 || kvm_msrs_get(v, st) < 0 || kvm_nested_get(v, st) < 0 || !ok)
		log_warn(vcpu->vm->log, "KVM told only a part of the processor's state");
}
