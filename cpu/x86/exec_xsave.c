/*
 * FXSAVE and the XSAVE family, XCR0, MXCSR, and the few vector instructions that need no unit: VZEROUPPER, VZEROALL,
 * MOVNTI.
 *
 * SDM vol. 1 10.5 "FXSAVE and FXRSTOR Instructions", ch. 13 "Managing State Using the XSAVE Feature Set"; APM vol.
 * 2 11.5 "XSAVE/XRSTOR Instructions". Whether a component is in use (XINUSE) is judged by its contents: in its initial
 * configuration means equal to it.
 *
 * AMD keeps FOP, FIP and FDP out of memory while no x87 exception is pending (FSW.ES): with the feature XSAVEERPTR
 * zeros are stored and what is loaded counts, without it the fields are left as they are in both directions. SDM vol.
 * 1 10.5.1; APM vol. 2 11.4.4.
 *
 * Every byte that will be written is checked before the first is; everything that is read has been read and judged
 * before a register changes.
 */
#include <string.h>

#include "arch/x86/model.h"
#include "arch/x86/xsave.h"
#include "cpu/x86/vec.h"

enum { LEGACY_FOP = 6, LEGACY_MXCSR = 24, LEGACY_ST = 32, LEGACY_XMM = 160 };

static bool code64(const struct x86_cpu *cpu) { return (cpu->c.mode & MODE_SIZE) == 2; }
/* Registers that the instruction can name in the present mode; others are neither stored nor loaded. */
static unsigned vector_regs(const struct x86_cpu *cpu) { return code64(cpu) ? 16 : 8; }

/* Stores and loads of one area. The operand is named by its offset, so that a segment check is made once for the whole.
 */
static enum outcome must_check area_put(struct x86_cpu *cpu, const struct insn *in, u64 la, unsigned off, const void *p,
					unsigned size)
{
	return mem_write_n(cpu, la + off, p, size, insn_acc(in));
}

static enum outcome must_check area_get(struct x86_cpu *cpu, const struct insn *in, u64 la, unsigned off, void *p,
					unsigned size)
{
	return mem_read_n(cpu, la + off, p, size, insn_acc(in));
}

/* FCW to FDP as bytes 0 to 23 of the legacy area; `wide`: REX.W. Returns false if the pointers are to be left out. */
static bool x87_header(const struct x86_cpu *cpu, bool wide, u8 *buf)
{
	const struct x86_fpu *f = &cpu->st.fpu;
	u16 words[4] = {f->fcw, x87_fsw(f->fsw, f->fcw), (u8)f->ftw, f->fop & 0x7ff};
	u64 ptr[2] = {f->fip, f->fdp};
	bool hidden = cpu->st.vendor == X86_AMD && !x87_pending(f);

	if (!wide) {
		ptr[0] = (u32)f->fip | (u64)(u16)f->fcs << 32;
		ptr[1] = (u32)f->fdp | (u64)(u16)f->fds << 32;
	}
	if (hidden) {
		words[3] = 0;
		ptr[0] = ptr[1] = 0;
	}
	memcpy(buf, words, 8);
	memcpy(buf + 8, ptr, 16);
	return !hidden || x86_has(cpu->model, X86F_XSAVEERPTR);
}

static enum outcome must_check x87_put(struct x86_cpu *cpu, const struct insn *in, u64 la, bool wide)
{
	u8 buf[24];
	bool pointers = x87_header(cpu, wide, buf);

	RUN(area_put(cpu, in, la, 0, buf, pointers ? 24 : LEGACY_FOP));
	return area_put(cpu, in, la, LEGACY_ST, cpu->st.fpu.st, 128);
}

static void x87_load(struct x86_cpu *cpu, const u8 *legacy, bool wide)
{
	struct x86_fpu *f = &cpu->st.fpu;
	u16 words[4];
	u64 ptr[2];

	memcpy(words, legacy, 8);
	memcpy(ptr, legacy + 8, 16);
	f->fcw = x87_fcw(words[0]);
	f->fsw = x87_fsw(words[1], f->fcw);
	f->ftw = (u8)words[2];
	for (unsigned i = 0; i < 8; i++) {
		memcpy(f->st[i], legacy + LEGACY_ST + 16 * i, 10);
		memset(f->st[i] + 10, 0, 6);
	}
	if (cpu->st.vendor == X86_AMD && !x87_pending(f) && !x86_has(cpu->model, X86F_XSAVEERPTR))
		return;
	f->fop = words[3] & 0x7ff;
	f->fip = wide ? ptr[0] : (u32)ptr[0];
	f->fdp = wide ? ptr[1] : (u32)ptr[1];
	f->fcs = wide ? 0 : (u16)(ptr[0] >> 32);
	f->fds = wide ? 0 : (u16)(ptr[1] >> 32);
}

static enum outcome must_check mxcsr_put(struct x86_cpu *cpu, const struct insn *in, u64 la)
{
	u32 pair[2] = {0, MXCSR_VALID};

	stub_fold_mxcsr(cpu);
	pair[0] = cpu->st.fpu.mxcsr;
	return area_put(cpu, in, la, LEGACY_MXCSR, pair, 8);
}

static void mxcsr_load(struct x86_cpu *cpu, u32 v)
{
	cpu->st.fpu.mxcsr = v;
	stub_clean_mxcsr();
}

static enum outcome must_check xmm_put(struct x86_cpu *cpu, const struct insn *in, u64 la)
{
	u8 buf[16][16];

	for (unsigned i = 0; i < 16; i++)
		memcpy(buf[i], cpu->st.fpu.vec[i], 16);
	return area_put(cpu, in, la, LEGACY_XMM, buf, 16 * vector_regs(cpu));
}

static void xmm_load(struct x86_cpu *cpu, const u8 *legacy)
{
	for (unsigned i = 0; i < vector_regs(cpu); i++)
		memcpy(cpu->st.fpu.vec[i], legacy + LEGACY_XMM + 16 * i, 16);
}

/* EFER.FFXSR leaves the XMM registers out at CPL 0 in 64-bit code: APM vol. 2 3.1.7. */
static bool fast_fxsr(const struct x86_cpu *cpu)
{
	return (cpu->st.msr.efer & EFER_FFXSR) && code64(cpu) && cpu->st.cpl == 0;
}

static enum outcome must_check area_la(struct x86_cpu *cpu, const struct insn *in, unsigned size, unsigned align,
				       unsigned acc, u64 *la)
{
	RUN(insn_la(cpu, in, size, insn_acc(in) | acc, la));
	return *la & (align - 1) ? x86_fault(cpu, EXC_GP, 0) : OUT_NEXT;
}

static enum outcome fxsave_body(struct x86_cpu *cpu, const struct insn *in)
{
	u64 la;

	RUN(x86_fpu_check_kinds(cpu, FPU_X87));
	RUN(area_la(cpu, in, XSAVE_LEGACY, 16, ACC_WRITE, &la));
	RUN(mem_probe(cpu, la, XSAVE_LEGACY, ACC_WRITE | insn_acc(in)));
	RUN(x87_put(cpu, in, la, in->opsize == 8));
	RUN(mxcsr_put(cpu, in, la));
	return fast_fxsr(cpu) ? OUT_NEXT : xmm_put(cpu, in, la);
}

static noinline enum outcome fxrstor_body(struct x86_cpu *cpu, const struct insn *in)
{
	u8 buf[XSAVE_LEGACY];
	u32 mxcsr;
	u64 la;

	RUN(x86_fpu_check_kinds(cpu, FPU_X87));
	RUN(area_la(cpu, in, XSAVE_LEGACY, 16, ACC_READ, &la));
	RUN(area_get(cpu, in, la, 0, buf, sizeof(buf)));
	memcpy(&mxcsr, buf + LEGACY_MXCSR, 4);
	if (mxcsr & ~MXCSR_VALID)
		return x86_fault(cpu, EXC_GP, 0);
	x87_load(cpu, buf, in->opsize == 8);
	mxcsr_load(cpu, mxcsr);
	if (!fast_fxsr(cpu))
		xmm_load(cpu, buf);
	return OUT_NEXT;
}

static bool all_zero(const void *p, unsigned n)
{
	const u8 *b = p;

	while (n && !*b)
		b++, n--;
	return !n;
}

static bool component_in_use(const struct x86_cpu *cpu, unsigned i)
{
	const struct x86_fpu *f = &cpu->st.fpu;

	switch (i) {
	case 0:
		return f->fcw != X87_FCW_RESET || f->fsw || f->ftw || f->fop || f->fip || f->fdp ||
		       !all_zero(f->st, sizeof(f->st));
	case 5: return !all_zero(f->k, sizeof(f->k));
	case 7: return !all_zero(f->vec[16], 16 * 64);
	case 9: return f->pkru;
	default: break;
	}
	for (unsigned r = 0; r < 16; r++) {
		if (i == 1 && !all_zero(f->vec[r], 16))
			return true;
		if (i == 2 && !all_zero(f->vec[r] + 16, 16))
			return true;
		if (i == 6 && !all_zero(f->vec[r] + 32, 32))
			return true;
	}
	return false;
}

static u64 xinuse(const struct x86_cpu *cpu, u64 of)
{
	u64 v = 0;

	for (unsigned i = 0; i < XSAVE_COMPONENTS; i++)
		if ((of >> i & 1) && component_in_use(cpu, i))
			v |= BIT(i);
	return v;
}

/* Components 2 and up, between the state and a buffer of the component's size. Returns the bytes that the present mode
 * moves. */
static unsigned component_gather(const struct x86_cpu *cpu, unsigned i, u8 *buf)
{
	const struct x86_fpu *f = &cpu->st.fpu;
	unsigned n = vector_regs(cpu);

	switch (i) {
	case 2:
		for (unsigned r = 0; r < n; r++)
			memcpy(buf + 16 * r, f->vec[r] + 16, 16);
		return 16 * n;
	case 5: memcpy(buf, f->k, 64); return 64;
	case 6:
		for (unsigned r = 0; r < n; r++)
			memcpy(buf + 32 * r, f->vec[r] + 32, 32);
		return 32 * n;
	case 7:
		if (!code64(cpu))
			return 0;
		memcpy(buf, f->vec[16], 1024);
		return 1024;
	default:
		memcpy(buf, &f->pkru, 4);
		memset(buf + 4, 0, 4);
		return 8;
	}
}

static void component_scatter(struct x86_cpu *cpu, unsigned i, const u8 *buf)
{
	struct x86_fpu *f = &cpu->st.fpu;
	unsigned n = vector_regs(cpu);

	switch (i) {
	case 2:
		for (unsigned r = 0; r < n; r++)
			memcpy(f->vec[r] + 16, buf + 16 * r, 16);
		break;
	case 5: memcpy(f->k, buf, 64); break;
	case 6:
		for (unsigned r = 0; r < n; r++)
			memcpy(f->vec[r] + 32, buf + 32 * r, 32);
		break;
	case 7:
		if (code64(cpu))
			memcpy(f->vec[16], buf, 1024);
		break;
	default: memcpy(&f->pkru, buf, 4);
	}
}

/* in->aux of the XSAVE family. */
#define XS_COMPACT 1u /* XSAVEC, XSAVES, XRSTORS */
#define XS_SUPER   2u /* XSAVES, XRSTORS */
#define XS_OPT	   4u /* XSAVEOPT */

/* SDM vol. 3 25.1.3: exits 63 and 64 of XSAVES and XRSTORS want a bit of IA32_XSS, which has none to set (msr.def). */
static enum outcome must_check xsave_check(struct x86_cpu *cpu, const struct insn *in)
{
	if (!(cpu->st.cr4 & CR4_OSXSAVE) || ((in->aux & XS_SUPER) && cpu->c.vmx.no_xsaves))
		return x86_fault(cpu, EXC_UD, 0);
	if (cpu->st.cr0 & CR0_TS)
		return x86_fault(cpu, EXC_NM, 0);
	return (in->aux & XS_SUPER) && cpu->st.cpl ? x86_fault(cpu, EXC_GP, 0) : OUT_NEXT;
}

static u64 requested(const struct x86_cpu *cpu, const struct insn *in)
{
	u64 mask = (u32)cpu->st.gpr[RAX] | cpu->st.gpr[RDX] << 32, enabled = cpu->st.xcr0;

	if (in->aux & XS_SUPER)
		enabled |= cpu->st.msr.xss;
	return mask & enabled;
}

static noinline enum outcome xsave_body(struct x86_cpu *cpu, const struct insn *in)
{
	bool compact = in->aux & XS_COMPACT, wide = in->opsize == 8;
	u64 rfbm, use, store, header[8] = {0}, la;
	unsigned size;
	u8 buf[1024];

	RUN(xsave_check(cpu, in));
	rfbm = requested(cpu, in);
	stub_fold_mxcsr(cpu);
	use = xinuse(cpu, rfbm);
	if (compact && (rfbm & XCR0_SSE) && cpu->st.fpu.mxcsr != MXCSR_RESET)
		use |= XCR0_SSE;
	store = in->aux & (XS_COMPACT | XS_OPT) ? use : rfbm;
	size = compact ? xsave_compact_size(rfbm) : xsave_standard_size(rfbm);
	RUN(area_la(cpu, in, size, 64, ACC_WRITE, &la));
	RUN(mem_probe(cpu, la, size, ACC_WRITE | insn_acc(in)));
	if (!compact) {
		RUN(area_get(cpu, in, la, XSAVE_LEGACY, header, 8));
		header[0] = (header[0] & ~rfbm) | use;
	} else {
		header[0] = use;
		header[1] = rfbm | XCOMP_COMPACT;
	}
	if (store & XCR0_X87)
		RUN(x87_put(cpu, in, la, wide));
	if (compact ? store & XCR0_SSE : rfbm & (XCR0_SSE | XCR0_AVX))
		RUN(mxcsr_put(cpu, in, la));
	if (store & XCR0_SSE)
		RUN(xmm_put(cpu, in, la));
	for (unsigned i = 2; i < XSAVE_COMPONENTS; i++) {
		unsigned n, off = compact ? xsave_compact_offset(rfbm, i) : xsave_components[i].offset;

		if (!(store >> i & 1))
			continue;
		n = component_gather(cpu, i, buf);
		if (n)
			RUN(area_put(cpu, in, la, off, buf, n));
	}
	return area_put(cpu, in, la, XSAVE_LEGACY, header, compact ? 16 : 8);
}

/* SDM vol. 1 13.8 "Operation of XRSTOR", 13.12 "Operation of XRSTORS": false is #GP(0). */
static bool header_valid(const struct x86_cpu *cpu, const struct insn *in, const u64 header[8])
{
	u64 enabled = cpu->st.xcr0 | (in->aux & XS_SUPER ? cpu->st.msr.xss : 0);

	if (header[1] & XCOMP_COMPACT) {
		if (!(in->aux & XS_SUPER) && !x86_has(cpu->model, X86F_XSAVEC))
			return false;
		if ((header[1] & ~XCOMP_COMPACT & ~enabled) || (header[0] & ~header[1]) || (header[0] & XCOMP_COMPACT))
			return false;
		return all_zero(header + 2, 48);
	}
	if (in->aux & XS_SUPER)
		return false;
	return !(header[0] & ~enabled) && all_zero(header + 1, 16);
}

static noinline enum outcome xrstor_body(struct x86_cpu *cpu, const struct insn *in)
{
	u64 rfbm, load, header[8], la;
	u8 area[XSAVE_AREA_MAX];
	bool compact, wide = in->opsize == 8;
	u32 mxcsr;

	RUN(xsave_check(cpu, in));
	rfbm = requested(cpu, in);
	RUN(area_la(cpu, in, XSAVE_BASE, 64, ACC_READ, &la));
	/* Everything is read first, from the lowest byte up. */
	RUN(area_get(cpu, in, la, 0, area, XSAVE_LEGACY));
	RUN(area_get(cpu, in, la, XSAVE_LEGACY, header, sizeof(header)));
	if (!header_valid(cpu, in, header))
		return x86_fault(cpu, EXC_GP, 0);
	compact = header[1] & XCOMP_COMPACT;
	load = header[0] & rfbm;
	for (unsigned i = 2; i < XSAVE_COMPONENTS; i++)
		if (load >> i & 1)
			RUN(area_get(cpu, in, la,
				     compact ? xsave_compact_offset(header[1], i) : xsave_components[i].offset,
				     area + xsave_components[i].offset, xsave_components[i].size));
	memcpy(&mxcsr, area + LEGACY_MXCSR, 4);
	if (compact ? load & XCR0_SSE : rfbm & (XCR0_SSE | XCR0_AVX)) {
		if (mxcsr & ~MXCSR_VALID)
			return x86_fault(cpu, EXC_GP, 0);
		mxcsr_load(cpu, mxcsr);
	} else if (compact && (rfbm & XCR0_SSE)) {
		mxcsr_load(cpu, MXCSR_RESET);
	}
	/* What is asked for and not in the area takes its initial value. */
	if (load & XCR0_X87) {
		x87_load(cpu, area, wide);
	} else if (rfbm & XCR0_X87) {
		x87_init(&cpu->st.fpu);
		memset(cpu->st.fpu.st, 0, sizeof(cpu->st.fpu.st));
	}
	if (rfbm & XCR0_SSE) {
		if (!(load & XCR0_SSE))
			memset(area + LEGACY_XMM, 0, 256);
		xmm_load(cpu, area);
	}
	for (unsigned i = 2; i < XSAVE_COMPONENTS; i++) {
		if (!(rfbm >> i & 1) || !xsave_components[i].size)
			continue;
		if (!(load >> i & 1))
			memset(area + xsave_components[i].offset, 0, xsave_components[i].size);
		component_scatter(cpu, i, area + xsave_components[i].offset);
	}
	if (rfbm & XCR0_PKRU)
		x86_update_spaces(cpu);
	return OUT_NEXT;
}

static enum outcome xgetbv_body(struct x86_cpu *cpu)
{
	u32 index = cpu->st.gpr[RCX];
	u64 v;

	if (!(cpu->st.cr4 & CR4_OSXSAVE))
		return x86_fault(cpu, EXC_UD, 0);
	if (index == 1 && x86_has(cpu->model, X86F_XGETBV1)) {
		stub_fold_mxcsr(cpu);
		v = xinuse(cpu, cpu->st.xcr0);
		if ((cpu->st.xcr0 & XCR0_SSE) && cpu->st.fpu.mxcsr != MXCSR_RESET)
			v |= XCR0_SSE;
	} else if (index == 0) {
		v = cpu->st.xcr0;
	} else {
		return x86_fault(cpu, EXC_GP, 0);
	}
	cpu->st.gpr[RAX] = (u32)v;
	cpu->st.gpr[RDX] = v >> 32;
	return OUT_NEXT;
}

static enum outcome exec_xsetbv(struct x86_cpu *cpu, const struct insn *in)
{
	u64 v = (u32)cpu->st.gpr[RAX] | cpu->st.gpr[RDX] << 32;

	if (!(cpu->st.cr4 & CR4_OSXSAVE))
		LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
	if (cpu->st.cpl)
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	if (x86_exit_wanted(cpu, EXIT_XSETBV))
		LEAVE(cpu, in, x86_exit(cpu, EXIT_XSETBV, 0, 0));
	if ((u32)cpu->st.gpr[RCX] || !xcr0_valid(v, x86_model_xcr0(cpu->model)))
		LEAVE(cpu, in, x86_fault(cpu, EXC_GP, 0));
	cpu->st.xcr0 = v;
	x86_update_mode(cpu);
	LEAVE(cpu, in, OUT_END);
}

static enum outcome ldmxcsr_body(struct x86_cpu *cpu, const struct insn *in)
{
	u32 v;
	u64 la;

	RUN(insn_la(cpu, in, 4, insn_acc(in), &la));
	RUN(mem_read32(cpu, la, &v, insn_acc(in)));
	if (v & ~MXCSR_VALID)
		return x86_fault(cpu, EXC_GP, 0);
	mxcsr_load(cpu, v);
	return OUT_NEXT;
}

static enum outcome stmxcsr_body(struct x86_cpu *cpu, const struct insn *in)
{
	u64 la;

	RUN(insn_la(cpu, in, 4, insn_acc(in) | ACC_WRITE, &la));
	stub_fold_mxcsr(cpu);
	return mem_write32(cpu, la, cpu->st.fpu.mxcsr, insn_acc(in));
}

static enum outcome vzero_body(struct x86_cpu *cpu, const struct insn *in)
{
	unsigned keep = in->cc; /* bytes */

	for (unsigned i = 0; i < vector_regs(cpu); i++)
		memset(cpu->st.fpu.vec[i] + keep, 0, 64 - keep);
	return OUT_NEXT;
}

static enum outcome movnti_body(struct x86_cpu *cpu, const struct insn *in)
{
	u64 la;

	RUN(insn_la(cpu, in, in->msize, insn_acc(in) | ACC_WRITE, &la));
	if (in->msize == 8)
		return mem_write64(cpu, la, REG64(cpu, in->src), insn_acc(in));
	return mem_write32(cpu, la, REG32(cpu, in->src), insn_acc(in));
}

#define PLAIN_HANDLER(name, body)                                                                                      \
	static enum outcome name(struct x86_cpu *cpu, const struct insn *in)                                           \
	{                                                                                                              \
		TRY(cpu, in, body);                                                                                    \
		NEXT(cpu, in);                                                                                         \
	}
/* The bodies with an area of their own are not inlined: a handler's frame may stay for as long as the chain runs. */
PLAIN_HANDLER(exec_fxsave, fxsave_body(cpu, in))
PLAIN_HANDLER(exec_fxrstor, fxrstor_body(cpu, in))
PLAIN_HANDLER(exec_xsave, xsave_body(cpu, in))
PLAIN_HANDLER(exec_xrstor, xrstor_body(cpu, in))
PLAIN_HANDLER(exec_xgetbv, xgetbv_body(cpu))
PLAIN_HANDLER(exec_movnti, movnti_body(cpu, in))
VEC_HANDLER(exec_ldmxcsr, ldmxcsr_body(cpu, in))
VEC_HANDLER(exec_stmxcsr, stmxcsr_body(cpu, in))
VEC_HANDLER(exec_vzero, vzero_body(cpu, in))

static bool bind_fn_of(struct bind *b, insn_fn *fn)
{
	b->in->fn = fn;
	return true;
}

bool bind_fxsave(struct bind *b)
{
	bool save = b->zi->mnemonic == ZYDIS_MNEMONIC_FXSAVE || b->zi->mnemonic == ZYDIS_MNEMONIC_FXSAVE64;

	b->in->opsize =
		b->zi->mnemonic == ZYDIS_MNEMONIC_FXSAVE64 || b->zi->mnemonic == ZYDIS_MNEMONIC_FXRSTOR64 ? 8 : 4;
	return bind_fn_of(b, save ? exec_fxsave : exec_fxrstor);
}

bool bind_xsave(struct bind *b)
{
	struct insn *in = b->in;
	insn_fn *fn = exec_xsave;

	in->opsize = 4;
	switch (b->zi->mnemonic) {
	case ZYDIS_MNEMONIC_XSAVE64: in->opsize = 8; break;
	case ZYDIS_MNEMONIC_XSAVEC64:
		in->opsize = 8;
		in->aux = XS_COMPACT;
		break;
	case ZYDIS_MNEMONIC_XSAVEC: in->aux = XS_COMPACT; break;
	case ZYDIS_MNEMONIC_XSAVEOPT64:
		in->opsize = 8;
		in->aux = XS_OPT;
		break;
	case ZYDIS_MNEMONIC_XSAVEOPT: in->aux = XS_OPT; break;
	case ZYDIS_MNEMONIC_XSAVES64:
		in->opsize = 8;
		in->aux = XS_COMPACT | XS_SUPER;
		break;
	case ZYDIS_MNEMONIC_XSAVES: in->aux = XS_COMPACT | XS_SUPER; break;
	case ZYDIS_MNEMONIC_XRSTOR64:
		in->opsize = 8;
		fn = exec_xrstor;
		break;
	case ZYDIS_MNEMONIC_XRSTOR: fn = exec_xrstor; break;
	case ZYDIS_MNEMONIC_XRSTORS64:
		in->opsize = 8;
		in->aux = XS_SUPER;
		fn = exec_xrstor;
		break;
	case ZYDIS_MNEMONIC_XRSTORS:
		in->aux = XS_SUPER;
		fn = exec_xrstor;
		break;
	default: break;
	}
	return bind_fn_of(b, fn);
}

bool bind_mxcsr(struct bind *b)
{
	bool load = b->zi->mnemonic == ZYDIS_MNEMONIC_LDMXCSR || b->zi->mnemonic == ZYDIS_MNEMONIC_VLDMXCSR;

	b->in->aux = b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? FPU_AVX : FPU_SSE;
	return bind_fn_of(b, load ? exec_ldmxcsr : exec_stmxcsr);
}

bool bind_vzero(struct bind *b)
{
	b->in->aux = FPU_AVX;
	b->in->cc = b->zi->mnemonic == ZYDIS_MNEMONIC_VZEROUPPER ? 16 : 0;
	return bind_fn_of(b, exec_vzero);
}

bool bind_xgetbv(struct bind *b) { return bind_fn_of(b, exec_xgetbv); }
bool bind_xsetbv(struct bind *b) { return bind_fn_of(b, exec_xsetbv); }
bool bind_movnti(struct bind *b) { return bind_fn_of(b, exec_movnti); }
