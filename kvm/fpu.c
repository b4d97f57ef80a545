/*
 * x87 and vector state between struct x86_fpu and KVM's XSAVE area: the standard format of SDM vol. 1 13.4 "XSAVE
 * Area", with the components where this host's CPUID leaf 0Dh puts them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/internal.h"

#define XSTATE_BV 512 /* the header's first word */
#define AT_ST	  32
#define AT_XMM	  160

/* FXSAVE's 64-bit header (SDM vol. 2 "FXSAVE", table 3-46). */
struct legacy_head {
	u16 fcw, fsw;
	u8 ftw, rsvd;
	u16 fop;
	u64 fip, fdp;
	u32 mxcsr, mxcsr_mask;
};
_Static_assert(sizeof(struct legacy_head) == 32, "FXSAVE header");

/* Moves component `id`, `size` bytes a register at `at` within the registers of `count`: to the area, or from it (zeros
 * if absent). */
struct mover {
	u8 *area;
	const struct kvm_xcomp *comp;
	u64 bv;
	bool to_area;
};

static void move(struct mover *m, unsigned id, void *regs, unsigned count, unsigned stride, unsigned at, unsigned size)
{
	const struct kvm_xcomp *c = &m->comp[id];

	if (c->size < count * size)
		return;
	for (unsigned i = 0; i < count; i++) {
		u8 *reg = (u8 *)regs + i * stride + at;
		u8 *mem = m->area + c->offset + i * size;

		if (m->to_area)
			memcpy(mem, reg, size);
		else if (m->bv & BIT(id))
			memcpy(reg, mem, size);
		else
			memset(reg, 0, size);
	}
	if (m->to_area)
		m->bv |= BIT(id);
}

static void move_extended(struct mover *m, struct x86_fpu *f)
{
	move(m, 2, f->vec, 16, 64, 16, 16); /* YMM_Hi128 */
	move(m, 5, f->k, 8, 8, 0, 8);
	move(m, 6, f->vec, 16, 64, 32, 32);	/* ZMM_Hi256 */
	move(m, 7, f->vec + 16, 16, 64, 0, 64); /* Hi16_ZMM */
	move(m, 9, &f->pkru, 1, 4, 0, 4);
}

/* Bits of components that the guest's XCR0 has on: KVM refuses others. */
static u64 enabled(const struct x86_state *st) { return st->xcr0 | XCR0_X87 | XCR0_SSE; }

int kvm_fpu_set(struct kvm_vcpu *v, const struct x86_state *st, struct err *e)
{
	u8 *area = calloc(1, v->kvm->xsave_size);
	struct x86_fpu f = st->fpu;
	struct legacy_head h = {.fcw = f.fcw,
				.fsw = f.fsw,
				.ftw = (u8)f.ftw,
				.fop = f.fop,
				.fip = f.fip,
				.fdp = f.fdp,
				.mxcsr = f.mxcsr};
	struct mover m = {.area = area, .comp = v->kvm->xcomp, .bv = XCR0_X87 | XCR0_SSE, .to_area = true};
	long r;

	if (!area)
		return err_set(e, ENOMEM, "no memory for an XSAVE area");
	memcpy(area, &h, sizeof(h));
	for (unsigned i = 0; i < 8; i++)
		memcpy(area + AT_ST + 16 * i, f.st[i], 16);
	for (unsigned i = 0; i < 16; i++)
		memcpy(area + AT_XMM + 16 * i, f.vec[i], 16);
	move_extended(&m, &f);
	m.bv &= enabled(st);
	memcpy(area + XSTATE_BV, &m.bv, sizeof(m.bv));
	r = kvm_ioctl(v->fd, KVM_SET_XSAVE, area);
	free(area);
	return r < 0 ? err_set(e, (int)-r, "KVM does not take the guest's vector state: %s", strerror((int)-r)) : 0;
}

int kvm_fpu_get(struct kvm_vcpu *v, struct x86_state *st)
{
	u8 *area = calloc(1, v->kvm->xsave_size);
	struct x86_fpu *f = &st->fpu;
	struct mover m = {.area = area, .comp = v->kvm->xcomp, .to_area = false};
	struct legacy_head h;
	long r;

	if (!area)
		return -ENOMEM;
	r = kvm_ioctl(v->fd, v->kvm->xsave2 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, area);
	if (!r) {
		memcpy(&m.bv, area + XSTATE_BV, sizeof(m.bv));
		memcpy(&h, area, sizeof(h));
		if (!(m.bv & XCR0_X87)) /* SDM vol. 1 13.6: the initial configuration */
			h = (struct legacy_head){.fcw = 0x37f, .mxcsr = h.mxcsr};
		f->fcw = h.fcw;
		f->fsw = h.fsw;
		f->ftw = h.ftw;
		f->fop = h.fop;
		f->fip = h.fip;
		f->fdp = h.fdp;
		f->mxcsr = m.bv & (XCR0_SSE | XCR0_AVX) ? h.mxcsr : 0x1f80;
		for (unsigned i = 0; i < 8; i++)
			memcpy(f->st[i], m.bv & XCR0_X87 ? area + AT_ST + 16 * i : (const u8[16]){0}, 16);
		for (unsigned i = 0; i < 16; i++)
			memcpy(f->vec[i], m.bv & XCR0_SSE ? area + AT_XMM + 16 * i : (const u8[16]){0}, 16);
		move_extended(&m, f);
	}
	free(area);
	return (int)r;
}
