/*
 * Break and watch points and single steps on KVM (core/debug.h, KVM_SET_GUEST_DEBUG).
 *
 * The four debug registers come first: watched ranges in aligned pieces, hardware breakpoints, then software ones,
 * those before all at which a vCPU stands (RF lets it off). Software breakpoints that are left over are INT3 bytes in
 * guest memory while any vCPU is inside: the first one in puts them there, the last one out takes them away, so a
 * debugger never sees them. SDM vol. 3 17.2 "Debug Registers".
 *
 * The guest's own debug registers have no effect while a point or a step is set. What is not ours is the guest's: its
 * INT3 and #DB go on to it.
 *
 * Locking: `plan` and `patch` change under debug_lock, when no vCPU is inside.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "kvm/internal.h"

#define INT3	     0xcc
#define DR7_GE	     BIT(9)
#define DR6_BS	     BIT(14)
#define DR6_OF_GUEST 0xe00full /* BT, BS, BD, B3-B0 */
#define TYPE_EXECUTE 0u
#define TYPE_WRITE   1u
#define TYPE_ACCESS  3u

/* ---- which point goes where ---- */

static bool add_slot(struct kvm_debug_plan *p, const struct debug_point *d, u64 la, unsigned len, unsigned type)
{
	if (p->nslots == KVM_DEBUG_SLOTS)
		return false;
	p->slot[p->nslots++] = (struct kvm_debug_slot){.la = la, .len = (u8)len, .type = (u8)type, .kind = (u8)d->kind};
	return true;
}

/* There is no watching of reads alone: the debugger sees that the value changed. */
static bool add_watch(struct kvm_debug_plan *p, const struct debug_point *d)
{
	u64 end = d->la + d->len;

	for (u64 la = d->la; la < end;) {
		unsigned len = 8;

		while (la % len || len > end - la)
			len /= 2;
		if (!add_slot(p, d, la, len, d->kind == DEBUG_WRITE ? TYPE_WRITE : TYPE_ACCESS))
			return false;
		la += len;
	}
	return true;
}

static bool stands_at(const u64 *standing, unsigned n, u64 la)
{
	for (unsigned i = 0; i < n; i++)
		if (standing[i] == la)
			return true;
	return false;
}

/* false: the debug registers do not hold what only they can do. */
static bool make_plan(const struct vm_debug *d, const u64 *standing, unsigned nstanding, struct kvm_debug_plan *p)
{
	bool fits = true;

	*p = (struct kvm_debug_plan){0};
	for (unsigned i = 0; i < d->n; i++)
		if (d->point[i].kind > DEBUG_HARD_BREAK)
			fits &= add_watch(p, &d->point[i]);
	for (unsigned i = 0; i < d->n; i++)
		if (d->point[i].kind == DEBUG_HARD_BREAK)
			fits &= add_slot(p, &d->point[i], d->point[i].la, 1, TYPE_EXECUTE);
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < d->n; i++) {
			const struct debug_point *s = &d->point[i];
			bool first = stands_at(standing, nstanding, s->la);

			if (s->kind != DEBUG_SOFT_BREAK || first != (pass == 0) ||
			    add_slot(p, s, s->la, 1, TYPE_EXECUTE))
				continue;
			if (!first) /* else: its vCPU could not go on */
				p->soft[p->nsoft++] = s->la;
		}
	return fits;
}

bool kvm_debug_fits(const struct vcpu *vcpu)
{
	struct kvm_debug_plan p;

	return make_plan(&vcpu->vm->debug, NULL, 0, &p);
}

/* ---- INT3 ---- */

/* Where a linear address is, by the first vCPU that has it mapped. */
static u8 *translate(struct kvm_vm *kvm, u64 la)
{
	for (unsigned i = 0; i < VM_VCPUS; i++) {
		struct kvm_translation t = {.linear_address = la};

		if (kvm->vcpu[i] && !kvm_ioctl(kvm->vcpu[i]->fd, KVM_TRANSLATE, &t) && t.valid)
			return ram_host(&kvm->vm->ram, t.physical_address, 1);
	}
	return NULL;
}

static void patch(struct kvm_vm *kvm)
{
	for (unsigned i = 0; i < kvm->plan.nsoft; i++) {
		u64 la = kvm->plan.soft[i];
		u8 *byte = translate(kvm, la);

		if (!byte) {
			log_warn(kvm->vm->log, "the breakpoint at %#" PRIx64 " is not set: no processor has it mapped",
				 la);
			continue;
		}
		kvm->patch[kvm->npatches++] = (struct kvm_debug_patch){la, byte, *byte};
		*byte = INT3;
	}
}

/* In reverse: two addresses may lead to one byte. */
static void unpatch(struct kvm_vm *kvm)
{
	while (kvm->npatches) {
		const struct kvm_debug_patch *p = &kvm->patch[--kvm->npatches];

		*p->byte = p->old;
	}
}

/* ---- in and out ---- */

static u64 linear_rip(const struct kvm_vcpu *v)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (kvm_ioctl(v->fd, KVM_GET_REGS, &r) < 0 || kvm_ioctl(v->fd, KVM_GET_SREGS, &s) < 0)
		return ~0ull;
	return s.cs.base + r.rip;
}

static void plan_all(struct kvm_vm *kvm)
{
	u64 standing[VM_VCPUS];
	unsigned n = 0;

	for (unsigned i = 0; i < VM_VCPUS; i++)
		if (kvm->vcpu[i] && kvm->vcpu[i]->vcpu.debug.why == DEBUG_BREAK)
			standing[n++] = linear_rip(kvm->vcpu[i]);
	make_plan(&kvm->vm->debug, standing, n, &kvm->plan);
	patch(kvm);
}

/* RF: the breakpoint where the vCPU stands, and was told of, is not met again. */
static void step_off(struct kvm_vcpu *v)
{
	struct kvm_regs r;

	if (v->vcpu.debug.why != DEBUG_BREAK || kvm_ioctl(v->fd, KVM_GET_REGS, &r) < 0)
		return;
	r.rflags |= FL_RF;
	kvm_ioctl(v->fd, KVM_SET_REGS, &r);
}

static u64 dr7_of(const struct kvm_debug_plan *p)
{
	static const u8 length[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};
	u64 dr7 = DR7_FIXED | DR7_GE;

	for (unsigned i = 0; i < p->nslots; i++)
		dr7 |= 2ull << (2 * i) | (u64)p->slot[i].type << (16 + 4 * i) |
		       (u64)length[p->slot[i].len] << (18 + 4 * i);
	return dr7;
}

static int guest_debug_set(struct kvm_vcpu *v, u32 more)
{
	const struct kvm_debug_plan *p = &v->kvm->plan;
	struct kvm_guest_debug g = {.control = more};

	if (p->nslots)
		g.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
	if (p->nsoft)
		g.control |= KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
	if (v->vcpu.debug.step)
		g.control |=
			KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | (v->kvm->block_irq ? KVM_GUESTDBG_BLOCKIRQ : 0);
	for (unsigned i = 0; i < p->nslots; i++)
		g.arch.debugreg[i] = p->slot[i].la;
	g.arch.debugreg[7] = dr7_of(p);
	if (!g.control && !v->debug_on)
		return 0;
	v->debug_on = g.control != 0;
	return (int)kvm_ioctl(v->fd, KVM_SET_GUEST_DEBUG, &g);
}

int kvm_debug_enter(struct kvm_vcpu *v, struct err *e)
{
	struct kvm_vm *kvm = v->kvm;
	int rc;

	pthread_mutex_lock(&kvm->debug_lock);
	if (!kvm->debug_inside++ && (kvm->vm->debug.n || kvm->plan.nslots || kvm->plan.nsoft))
		plan_all(kvm);
	step_off(v);
	v->vcpu.debug.why = DEBUG_PAUSED;
	rc = guest_debug_set(v, 0);
	pthread_mutex_unlock(&kvm->debug_lock);
	return rc < 0 ? err_set(e, -rc, "KVM does not take break and watch points: %s", strerror(-rc)) : 0;
}

void kvm_debug_leave(struct kvm_vcpu *v)
{
	struct kvm_vm *kvm = v->kvm;

	pthread_mutex_lock(&kvm->debug_lock);
	if (!--kvm->debug_inside)
		unpatch(kvm);
	pthread_mutex_unlock(&kvm->debug_lock);
}

/* ---- exits ---- */

static bool stop_at(struct kvm_vcpu *v, enum debug_why why, enum debug_kind kind, u64 la)
{
	v->vcpu.debug.why = why;
	v->vcpu.debug.kind = kind;
	v->vcpu.debug.la = la;
	return false;
}

/* A #DB of the guest's own. */
static bool give_db(struct kvm_vcpu *v, u64 dr6)
{
	struct kvm_vcpu_events ev;

	if (!v->kvm->payload) {
		guest_debug_set(v, KVM_GUESTDBG_INJECT_DB);
		return true;
	}
	if (kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev) < 0)
		return true;
	ev.exception.pending = 1;
	ev.exception.nr = EXC_DB;
	ev.exception.has_error_code = 0;
	ev.exception_has_payload = 1;
	ev.exception_payload = dr6 & DR6_OF_GUEST;
	kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev);
	return true;
}

bool kvm_debug_exit(struct kvm_vcpu *v)
{
	const struct kvm_debug_exit_arch *x = &v->run->debug.arch;
	const struct kvm_vm *kvm = v->kvm;

	if (x->exception == EXC_BP) {
		for (unsigned i = 0; i < kvm->npatches; i++)
			if (kvm->patch[i].la == x->pc)
				return stop_at(v, DEBUG_BREAK, DEBUG_SOFT_BREAK, x->pc);
		guest_debug_set(v, KVM_GUESTDBG_INJECT_BP);
		return true;
	}
	for (unsigned i = 0; i < kvm->plan.nslots; i++) {
		const struct kvm_debug_slot *s = &kvm->plan.slot[i];

		if (!(x->dr6 >> i & 1))
			continue;
		if (s->type == TYPE_EXECUTE)
			return stop_at(v, DEBUG_BREAK, s->kind, s->la);
		return stop_at(v, DEBUG_WATCH, s->kind, s->la);
	}
	if (v->vcpu.debug.step && (x->dr6 & DR6_BS))
		return stop_at(v, DEBUG_STEP, 0, 0);
	return give_db(v, x->dr6);
}
