/*
 * x87 instructions. Arithmetic runs on the host's unit through stubs; what only moves control, status and environment
 * is C.
 *
 * SDM vol. 1 8.1.8 "x87 FPU Instruction and Data (Operand) Pointers", 8.1.10 "Saving the x87 FPU's State with
 * FSTENV/FNSTENV and FSAVE/FNSAVE", 8.3.12 "Waiting vs. Non-waiting Instructions"; vol. 3 table 2-2 and 23.9 (CR0.NE);
 * APM vol. 2 11.3.
 *
 * The unit is loaded with the guest's own FCW, so an unmasked exception is found by the hardware: it sets ES, leaves
 * the operands where the manual says, and would report at the next waiting instruction. FNSAVE takes the state out
 * before the host could see one, and the guest's next waiting instruction raises #MF. Instruction and data pointers are
 * the guest's, kept here.
 */
#include <string.h>

#include "cpu/x86/exec.h"
#include "cpu/x86/stub.h"

/* The protected-mode 32-bit format of FNSAVE, which is also what FNSAVE writes in the host's 64-bit code. */
struct x87_image {
	u16 fcw, pad0, fsw, pad1, ftw, pad2;
	u32 fip;
	u16 fcs, fop;
	u32 fdp;
	u16 fds, pad3;
	u8 st[8][10];
};
_Static_assert(sizeof(struct x87_image) == 108, "FNSAVE image");

/* in->aux: FPU_X87 and these. in->src2: FOP. */
#define X87_STORE 32u

#define RUN(expr)                                                                                                      \
	do {                                                                                                           \
		enum outcome run_ = (expr);                                                                            \
		if (unlikely(run_ != OUT_NEXT))                                                                        \
			return run_;                                                                                   \
	} while (0)
/* Non-waiting instructions look at CR0 only, waiting ones also at a pending exception. */
#define X87_HANDLER(name, waits, body)                                                                                 \
	static enum outcome name(struct x86_cpu *cpu, const struct insn *in)                                           \
	{                                                                                                              \
		if (unlikely(cpu->c.fpu_block))                                                                        \
			TRY(cpu, in, x86_fpu_check_kinds(cpu, FPU_X87));                                               \
		if ((waits) && unlikely(x87_pending(&cpu->st.fpu)))                                                    \
			TRY(cpu, in, x87_raise(cpu));                                                                  \
		TRY(cpu, in, body);                                                                                    \
		NEXT(cpu, in);                                                                                         \
	}

/* APM vol. 2 15.14.2 "Ferr_Freeze Intercept": with CR0.NE clear the processor would wait for a legacy interrupt. */
enum outcome x87_raise(struct x86_cpu *cpu)
{
	bool freezes = !(cpu->st.cr0 & CR0_NE);

	if (freezes && x86_exit_wanted(cpu, EXIT_FERR_FREEZE))
		return x86_exit(cpu, EXIT_FERR_FREEZE, 0, 0);
	if (freezes)
		log_limit(cpu->vm->log, "x87 exceptions through FERR# and IRQ 13 (CR0.NE = 0) are reported as #MF");
	return x86_fault(cpu, EXC_MF, 0);
}

void x87_enter_mmx(struct x86_cpu *cpu)
{
	x87_set_top(&cpu->st.fpu, 0);
	cpu->st.fpu.ftw = 0xff;
}

/* Full tags: empty is all that loading looks at. */
static u16 tags_for_load(u8 abridged)
{
	u16 tags = 0;

	for (unsigned i = 0; i < 8; i++)
		if (!(abridged >> i & 1))
			tags |= 3 << (2 * i);
	return tags;
}

static u8 tags_abridged(u16 tags)
{
	u8 a = 0;

	for (unsigned i = 0; i < 8; i++)
		if ((tags >> (2 * i) & 3) != 3)
			a |= 1 << i;
	return a;
}

/* SDM vol. 1 8.1.7 "x87 FPU Tag Word": 0 valid, 1 zero, 2 special, 3 empty, by physical register. */
static u16 tags_full(const struct x86_fpu *f)
{
	u16 tags = 0;

	for (unsigned phys = 0; phys < 8; phys++) {
		const u8 *r = f->st[(phys - X87_TOP(f->fsw)) & 7];
		u64 mantissa;
		u16 exponent;
		unsigned tag;

		memcpy(&mantissa, r, 8);
		memcpy(&exponent, r + 8, 2);
		exponent &= 0x7fff;
		if (!(f->ftw >> phys & 1))
			tag = 3;
		else if (!exponent && !mantissa)
			tag = 1;
		else if (!exponent || exponent == 0x7fff || !(mantissa >> 63))
			tag = 2;
		else
			tag = 0;
		tags |= tag << (2 * phys);
	}
	return tags;
}

static void image_put(struct x87_image *im, const struct x86_fpu *f)
{
	*im = (struct x87_image){.fcw = f->fcw, .fsw = x87_fsw(f->fsw, f->fcw), .ftw = tags_for_load(f->ftw)};
	for (unsigned i = 0; i < 8; i++)
		memcpy(im->st[i], f->st[i], 10);
}

static void image_get(const struct x87_image *im, struct x86_fpu *f)
{
	f->fsw = im->fsw;
	f->ftw = tags_abridged(im->ftw);
	for (unsigned i = 0; i < 8; i++)
		memcpy(f->st[i], im->st[i], 10);
}

void x87_set_pointers(struct x86_cpu *cpu, const struct insn *in)
{
	struct x86_fpu *f = &cpu->st.fpu;

	f->fip = insn_rip(cpu, in);
	f->fcs = cpu->st.seg[CS].sel;
	f->fop = in->src2;
	if (in->flags & IN_MEM) {
		f->fdp = insn_ea(cpu, in);
		f->fds = cpu->st.seg[in->sreg].sel;
	}
}

/* An 80-bit operand is 8 and 2 bytes, which shows where it crosses into what is not canonical. Stores are only checked
 * here. */
static enum outcome must_check operand_begin(struct x86_cpu *cpu, const struct insn *in, u64 la, bool store, u8 *buf)
{
	unsigned first = MIN(in->msize, 8), rest = in->msize - first, acc = insn_acc(in);

	if (store) {
		RUN(mem_probe(cpu, la, first, acc | ACC_WRITE));
		return rest ? mem_probe(cpu, la + first, rest, acc | ACC_WRITE) : OUT_NEXT;
	}
	RUN(mem_read_n(cpu, la, buf, first, acc));
	return rest ? mem_read_n(cpu, la + first, buf + first, rest, acc) : OUT_NEXT;
}

static enum outcome x87_run_body(struct x86_cpu *cpu, const struct insn *in)
{
	const u16 not_stored = 0x1f; /* an unmasked #P alone is raised after the result was stored */
	bool store = in->aux & X87_STORE;
	struct x87_image im;
	u8 buf[16];
	u64 la;

	if (in->flags & IN_MEM) {
		RUN(insn_la(cpu, in, in->msize, insn_acc(in) | (store ? ACC_WRITE : 0), &la));
		RUN(operand_begin(cpu, in, la, store, buf)); /* page faults come before the operation's exceptions */
	}
	image_put(&im, &cpu->st.fpu);
	((stub_x87_fn *)(uintptr_t)in->stub)(&im, buf, 0, 0, cpu);
	if (store && !(im.fsw & ~im.fcw & not_stored))
		RUN(mem_write_n(cpu, la, buf, in->msize, ACC_WRITE | insn_acc(in)));
	image_get(&im, &cpu->st.fpu);
	x87_set_pointers(cpu, in);
	return OUT_NEXT;
}
X87_HANDLER(run_stub, true, x87_run_body(cpu, in))

enum outcome x87_run(struct x86_cpu *cpu, const struct insn *in) { return run_stub(cpu, in); }

static enum outcome fninit_body(struct x86_cpu *cpu)
{
	x87_init(&cpu->st.fpu);
	return OUT_NEXT;
}
X87_HANDLER(x87_fninit, false, fninit_body(cpu))

static enum outcome fnclex_body(struct x86_cpu *cpu)
{
	cpu->st.fpu.fsw &= 0x7f00;
	return OUT_NEXT;
}
X87_HANDLER(x87_fnclex, false, fnclex_body(cpu))

static enum outcome fnstsw_ax_body(struct x86_cpu *cpu)
{
	REG16(cpu, CPU_OFF(st.gpr[RAX])) = x87_fsw(cpu->st.fpu.fsw, cpu->st.fpu.fcw);
	return OUT_NEXT;
}
X87_HANDLER(x87_fnstsw_ax, false, fnstsw_ax_body(cpu))

static enum outcome store16(struct x86_cpu *cpu, const struct insn *in, u16 v)
{
	u64 la;

	RUN(insn_la(cpu, in, 2, insn_acc(in) | ACC_WRITE, &la));
	return mem_write16(cpu, la, v, insn_acc(in));
}
X87_HANDLER(x87_fnstsw, false, store16(cpu, in, x87_fsw(cpu->st.fpu.fsw, cpu->st.fpu.fcw)))
X87_HANDLER(x87_fnstcw, false, store16(cpu, in, cpu->st.fpu.fcw))

static enum outcome fldcw_body(struct x86_cpu *cpu, const struct insn *in)
{
	struct x86_fpu *f = &cpu->st.fpu;
	u16 v;
	u64 la;

	RUN(insn_la(cpu, in, 2, insn_acc(in), &la));
	RUN(mem_read16(cpu, la, &v, insn_acc(in)));
	f->fcw = x87_fcw(v);
	f->fsw = x87_fsw(f->fsw, f->fcw);
	return OUT_NEXT;
}
X87_HANDLER(x87_fldcw, true, fldcw_body(cpu, in))

/* The four layouts of SDM vol. 1 figures 8-9 to 8-12: by operand size, and real (and virtual-8086) or protected mode.
 * Returns the size. */
static unsigned env_put(const struct x86_cpu *cpu, unsigned opsize, void *buf)
{
	const struct x86_fpu *f = &cpu->st.fpu;
	bool real = (cpu->c.mode & (MODE_PE | MODE_V86)) != MODE_PE;
	u32 ip = f->fip, dp = f->fdp, fop = f->fop & 0x7ff;
	u16 fsw = x87_fsw(f->fsw, f->fcw);

	if (real) {
		ip += f->fcs << 4;
		dp += f->fds << 4;
	}
	if (opsize == 2) {
		u16 w[7] = {f->fcw, fsw, tags_full(f), ip, f->fcs, dp, f->fds};

		if (real) {
			w[4] = (ip >> 4 & 0xf000) | fop;
			w[6] = dp >> 4 & 0xf000;
		}
		memcpy(buf, w, sizeof(w));
		return sizeof(w);
	}
	u32 d[7] = {0xffff0000 | f->fcw, 0xffff0000 | fsw, 0xffff0000 | tags_full(f), ip, f->fcs | fop << 16, dp,
		    0xffff0000 | f->fds};

	if (real) {
		d[3] = 0xffff0000 | (ip & 0xffff);
		d[4] = (ip >> 16 << 12) | fop;
		d[5] = 0xffff0000 | (dp & 0xffff);
		d[6] = dp >> 16 << 12;
	}
	memcpy(buf, d, sizeof(d));
	return sizeof(d);
}

static unsigned env_get(struct x86_cpu *cpu, unsigned opsize, const void *buf)
{
	struct x86_fpu *f = &cpu->st.fpu;
	bool real = (cpu->c.mode & (MODE_PE | MODE_V86)) != MODE_PE;
	u16 w[7];
	u32 d[7];

	if (opsize == 2) {
		memcpy(w, buf, sizeof(w));
		for (unsigned i = 0; i < 7; i++)
			d[i] = w[i];
	} else {
		memcpy(d, buf, sizeof(d));
	}
	f->fcw = x87_fcw(d[0]);
	f->fsw = x87_fsw(d[1], f->fcw);
	f->ftw = tags_abridged(d[2]);
	if (!real) {
		f->fip = d[3];
		f->fcs = d[4] & 0xffff;
		f->fop = opsize == 2 ? 0 : d[4] >> 16 & 0x7ff; /* the 16-bit form has none: silicon then takes 0 */
		f->fdp = d[5];
		f->fds = d[6] & 0xffff;
	} else {
		f->fop = d[4] & 0x7ff;
		f->fip = (d[3] & 0xffff) | (opsize == 2 ? (d[4] & 0xf000) << 4 : (d[4] & 0x0ffff000) << 4);
		f->fdp = (d[5] & 0xffff) | (opsize == 2 ? (d[6] & 0xf000) << 4 : (d[6] & 0x0ffff000) << 4);
		f->fcs = f->fds = 0;
	}
	return opsize == 2 ? sizeof(w) : sizeof(d);
}

static unsigned env_opsize(const struct insn *in) { return in->opsize == 2 ? 2 : 4; }

static enum outcome fnstenv_body(struct x86_cpu *cpu, const struct insn *in)
{
	struct x86_fpu *f = &cpu->st.fpu;
	u8 buf[28];
	unsigned n = env_put(cpu, env_opsize(in), buf);
	u64 la;

	RUN(insn_la(cpu, in, n, insn_acc(in) | ACC_WRITE, &la));
	RUN(mem_write_n(cpu, la, buf, n, insn_acc(in)));
	f->fcw |= 0x3f;
	f->fsw = x87_fsw(f->fsw, f->fcw);
	return OUT_NEXT;
}
X87_HANDLER(x87_fnstenv, false, fnstenv_body(cpu, in))

static enum outcome fldenv_body(struct x86_cpu *cpu, const struct insn *in)
{
	unsigned n = env_opsize(in) == 2 ? 14 : 28;
	u8 buf[28];
	u16 fsw;
	u64 la;

	RUN(insn_la(cpu, in, n, insn_acc(in), &la));
	RUN(mem_read_n(cpu, la, buf, n, insn_acc(in)));
	memcpy(&fsw, buf + (n == 14 ? 2 : 4), 2);
	x87_set_top(&cpu->st.fpu, X87_TOP(fsw));
	env_get(cpu, env_opsize(in), buf);
	return OUT_NEXT;
}
X87_HANDLER(x87_fldenv, true, fldenv_body(cpu, in))

/* The image is checked on all its pages before the first byte moves. */
static enum outcome fnsave_body(struct x86_cpu *cpu, const struct insn *in)
{
	struct x86_fpu *f = &cpu->st.fpu;
	u8 buf[108];
	unsigned n = env_put(cpu, env_opsize(in), buf);
	u64 la;

	for (unsigned i = 0; i < 8; i++)
		memcpy(buf + n + 10 * i, f->st[i], 10);
	n += 80;
	RUN(insn_la(cpu, in, n, insn_acc(in) | ACC_WRITE, &la));
	RUN(mem_probe(cpu, la, n, ACC_WRITE | insn_acc(in)));
	for (unsigned at = 0; at < n; at += 64)
		RUN(mem_write_n(cpu, la + at, buf + at, MIN(n - at, 64), insn_acc(in)));
	x87_init(f);
	return OUT_NEXT;
}
X87_HANDLER(x87_fnsave, false, fnsave_body(cpu, in))

static enum outcome frstor_body(struct x86_cpu *cpu, const struct insn *in)
{
	unsigned n = env_opsize(in) == 2 ? 94 : 108, env;
	u8 buf[108];
	u64 la;

	RUN(insn_la(cpu, in, n, insn_acc(in), &la));
	for (unsigned at = 0; at < n; at += 64)
		RUN(mem_read_n(cpu, la + at, buf + at, MIN(n - at, 64), insn_acc(in)));
	env = env_get(cpu, env_opsize(in), buf);
	for (unsigned i = 0; i < 8; i++) {
		memset(cpu->st.fpu.st[i], 0, 16);
		memcpy(cpu->st.fpu.st[i], buf + env + 10 * i, 10);
	}
	return OUT_NEXT;
}
X87_HANDLER(x87_frstor, true, frstor_body(cpu, in))

/* FENI, FDISI, FSETPM: nothing since the 80387. */
static enum outcome x87_none(struct x86_cpu *cpu, const struct insn *in)
{
	if (unlikely(cpu->c.fpu_block))
		TRY(cpu, in, x86_fpu_check_kinds(cpu, FPU_X87));
	NEXT(cpu, in);
}

/* SDM vol. 3 table 2-2: #NM by MP and TS together; EM does not matter. */
static enum outcome x87_fwait(struct x86_cpu *cpu, const struct insn *in)
{
	if (unlikely((cpu->st.cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS)))
		LEAVE(cpu, in, x86_fault(cpu, EXC_NM, 0));
	if (unlikely(x87_pending(&cpu->st.fpu)))
		LEAVE(cpu, in, x87_raise(cpu));
	NEXT(cpu, in);
}

static enum outcome x87_emms(struct x86_cpu *cpu, const struct insn *in)
{
	if (unlikely(cpu->c.fpu_block))
		TRY(cpu, in, x86_fpu_check_kinds(cpu, FPU_MMX));
	if (unlikely(x87_pending(&cpu->st.fpu)))
		LEAVE(cpu, in, x87_raise(cpu));
	x87_set_top(&cpu->st.fpu, 0);
	cpu->st.fpu.ftw = 0;
	NEXT(cpu, in);
}

bool bind_emms(struct bind *b)
{
	b->in->fn = x87_emms;
	return true;
}

bool bind_x87(struct bind *b)
{
	struct insn *in = b->in;
	bool full;

	in->aux = FPU_X87;
	switch (b->zi->mnemonic) {
	case ZYDIS_MNEMONIC_FNINIT: in->fn = x87_fninit; return true;
	case ZYDIS_MNEMONIC_FNCLEX: in->fn = x87_fnclex; return true;
	case ZYDIS_MNEMONIC_FNSTSW: in->fn = in->flags & IN_MEM ? x87_fnstsw : x87_fnstsw_ax; return true;
	case ZYDIS_MNEMONIC_FNSTCW: in->fn = x87_fnstcw; return true;
	case ZYDIS_MNEMONIC_FLDCW: in->fn = x87_fldcw; return true;
	case ZYDIS_MNEMONIC_FNSTENV: in->fn = x87_fnstenv; return true;
	case ZYDIS_MNEMONIC_FLDENV: in->fn = x87_fldenv; return true;
	case ZYDIS_MNEMONIC_FNSAVE: in->fn = x87_fnsave; return true;
	case ZYDIS_MNEMONIC_FRSTOR: in->fn = x87_frstor; return true;
	case ZYDIS_MNEMONIC_FWAIT: in->fn = x87_fwait; return true;
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP: in->fn = x87_none; return true;
	default: break;
	}
	if ((in->flags & IN_MEM) && (!in->msize || in->msize > 10))
		return false;
	in->src2 = (b->zi->opcode & 7) << 8 | b->bytes[b->zi->raw.modrm.offset];
	for (unsigned i = 0; i < b->zi->operand_count; i++)
		if (op_is_mem(&b->op[i]) && (b->op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			in->aux |= X87_STORE;
	in->stub = stub_find(b, &full);
	in->fn = in->stub ? x87_fast(b) : stub_retry;
	if (!in->fn)
		in->fn = x87_run;
	return in->stub || full;
}
