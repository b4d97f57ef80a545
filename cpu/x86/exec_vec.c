/*
 * Vector instructions that run through stubs: units enabled, memory operand, exceptions.
 *
 * SDM vol. 2 2.4 "Instruction Exception Specification" (legacy SSE and AVX), 2.8 "Exception Classifications of
 * EVEX-Encoded instructions"; vol. 1 11.5 "SSE, SSE2, and SSE3 Exceptions"; APM vol. 1 4.9 "SIMD Floating-Point
 * Exceptions".
 *
 * Invariants: every access of an instruction has been checked before the stub runs, and an unmasked floating-point
 * exception ends the stub before a register or a byte of memory changes. The stub is given the guest's memory itself
 * where the TLB allows the whole operand, else the bounce buffer.
 */
#include <string.h>

#include "cpu/x86/check.h"
#include "cpu/x86/seg.h"
#include "cpu/x86/vec.h"
#include "cpu/x86/xm.h"

static always_inline void stub_call(struct x86_cpu *cpu, const struct insn *in, void *mem)
{
	((stub_fn *)(uintptr_t)in->stub)(cpu, mem);
}

static always_inline void set_host_mxcsr(u32 v) { __asm__ volatile("ldmxcsr %0" : : "m"(v) : "memory"); }

/*
 * Any MXCSR that is not the reset one: the instruction runs with it, its exceptions unmasked where the guest unmasks
 * them, so that what #XM finds and leaves in MXCSR is the host unit's own (xm.h). Nothing has been stored then.
 */
static noinline enum outcome vec_run_fp_slow(struct x86_cpu *cpu, const struct insn *in, void *mem)
{
	u32 control;
	bool raised;

	stub_fold_mxcsr(cpu);
	control = cpu->st.fpu.mxcsr & ~MXCSR_FLAGS;
	if (in->cc & VEC_QUIET) {
		set_host_mxcsr(control | MXCSR_MASKS);
		stub_call(cpu, in, mem);
		stub_clean_mxcsr();
		return OUT_NEXT;
	}
	if ((control & MXCSR_MASKS) == MXCSR_MASKS) {
		set_host_mxcsr(control);
		stub_call(cpu, in, mem);
		raised = false;
	} else {
		raised = xm_run(cpu, (stub_fn *)(uintptr_t)in->stub, mem, control);
	}
	cpu->st.fpu.mxcsr |= stub_host_mxcsr() & MXCSR_FLAGS;
	stub_clean_mxcsr();
	if (raised)
		return x86_fault(cpu, cpu->st.cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD, 0);
	return OUT_NEXT;
}

static always_inline enum outcome must_check vec_run(struct x86_cpu *cpu, const struct insn *in, void *mem, bool fp)
{
	if (fp && unlikely((cpu->st.fpu.mxcsr & ~MXCSR_FLAGS) != MXCSR_RESET))
		return vec_run_fp_slow(cpu, in, mem);
	stub_call(cpu, in, mem);
	return OUT_NEXT;
}

static always_inline enum outcome must_check vec_align(struct x86_cpu *cpu, const struct insn *in, u64 la)
{
	if (unlikely(la & (in->msize - 1)))
		return x86_fault(cpu, EXC_GP, 0);
	return OUT_NEXT;
}

static always_inline enum outcome must_check vec_load_body(struct x86_cpu *cpu, const struct insn *in, bool fp,
							   bool align)
{
	void *mem;
	u64 la;

	RUN(insn_la(cpu, in, in->msize, insn_acc(in), &la));
	if (align)
		RUN(vec_align(cpu, in, la));
	mem = mem_look(cpu, la, in->msize, ACC_READ);
	if (unlikely(!mem)) {
		mem = cpu->stubs->bounce;
		RUN(mem_read_slow(cpu, la, mem, in->msize, insn_acc(in)));
	}
	return vec_run(cpu, in, mem, fp);
}

static always_inline enum outcome must_check vec_store_body(struct x86_cpu *cpu, const struct insn *in, bool align)
{
	void *mem;
	u64 la;

	RUN(insn_la(cpu, in, in->msize, ACC_WRITE | insn_acc(in), &la));
	if (align)
		RUN(vec_align(cpu, in, la));
	mem = mem_look(cpu, la, in->msize, ACC_WRITE);
	if (likely(mem)) {
		stub_call(cpu, in, mem);
		return OUT_NEXT;
	}
	mem = cpu->stubs->bounce;
	stub_call(cpu, in, mem);
	return mem_write_slow(cpu, la, mem, in->msize, ACC_WRITE | insn_acc(in));
}

VEC_HANDLER(vec_reg, vec_run(cpu, in, NULL, false))
VEC_HANDLER(vec_reg_fp, vec_run(cpu, in, NULL, true))
VEC_HANDLER(vec_load, vec_load_body(cpu, in, false, false))
VEC_HANDLER(vec_load_aligned, vec_load_body(cpu, in, false, true))
VEC_HANDLER(vec_load_fp, vec_load_body(cpu, in, true, false))
VEC_HANDLER(vec_load_aligned_fp, vec_load_body(cpu, in, true, true))
VEC_HANDLER(vec_store, vec_store_body(cpu, in, false))
VEC_HANDLER(vec_store_aligned, vec_store_body(cpu, in, true))

/* Which elements of the memory operand are accessed. */
static u64 vec_mask(const struct x86_cpu *cpu, const struct insn *in)
{
	unsigned es = 1u << (in->cc & VEC_MASK_SHIFT);
	const u8 *m = (const u8 *)cpu + in->src;
	u64 bits = 0;

	if (in->cc & VEC_MASK_SIGN) {
		for (unsigned i = 0; i < in->src2; i++)
			bits |= (u64)(m[i * es + es - 1] >> 7) << i;
	} else {
		memcpy(&bits, m, 8);
		bits &= MASK(in->src2);
	}
	if (in->cc & VEC_MASK_PACK)
		bits = MASK(__builtin_popcountll(bits));
	else if ((in->cc & VEC_MASK_ANY) && !(in->aux & VEC_STORE))
		for (unsigned n = in->src2, have = in->msize >> (in->cc & VEC_MASK_SHIFT); n > have; n /= 2)
			bits = (bits | bits >> n / 2) & MASK(n / 2);
	return bits;
}

enum vec_access { VEC_DO_READ, VEC_DO_PROBE, VEC_DO_WRITE };

/* Reads, checks or writes the elements in `bits`, one by one, since that is how they fault. */
static enum outcome must_check vec_elements(struct x86_cpu *cpu, const struct insn *in, u64 la, u64 bits,
					    enum vec_access what)
{
	unsigned shift = in->cc & VEC_MASK_SHIFT, size = 1u << shift, acc = insn_acc(in);
	u8 *buf = cpu->stubs->bounce;
	enum outcome o = OUT_NEXT;

	if (!(in->cc & VEC_MASKS)) { /* all of it */
		size = in->msize;
		bits = 1;
	}
	if (what == VEC_DO_PROBE && (in->cc & VEC_MASK_ANY))
		return mem_probe(cpu, la, in->msize, acc | ACC_WRITE);
	for (; bits && o == OUT_NEXT; bits &= bits - 1) {
		unsigned off = __builtin_ctzll(bits) << shift;

		if (what == VEC_DO_READ)
			o = mem_read_n(cpu, la + off, buf + off, size, acc);
		else if (what == VEC_DO_PROBE)
			o = mem_probe(cpu, la + off, size, acc | ACC_WRITE);
		else
			o = mem_write_n(cpu, la + off, buf + off, size, acc);
	}
	return o;
}

/*
 * The linear address of a masked operand: outside the flat segments each element that is accessed is checked against
 * the segment, the others are not (SDM vol. 2 2.8 "Exception Classifications of EVEX-Encoded instructions": fault
 * suppression).
 */
static enum outcome must_check masked_la(struct x86_cpu *cpu, const struct insn *in, u64 bits, unsigned acc, u64 *la)
{
	unsigned shift = in->cc & VEC_MASK_SHIFT;
	u64 ea = insn_ea(cpu, in), each;

	if ((in->aux & VEC_STORE) && (in->cc & VEC_MASK_ANY))
		return insn_la(cpu, in, in->msize, acc, la);
	*la = ea + REG64(cpu, in->seg);
	if (!(in->flags & IN_SEGCHECK))
		return OUT_NEXT;
	for (; bits; bits &= bits - 1)
		RUN(seg_linear(cpu, in->sreg, ea + ((u64)__builtin_ctzll(bits) << shift), 1u << shift, acc, &each));
	if (!in_code64(cpu))
		*la = (u32)*la;
	return OUT_NEXT;
}

/* All that is not frequent: MMX, masked memory operands, floating point to memory. */
static enum outcome vec_general_body(struct x86_cpu *cpu, const struct insn *in)
{
	bool fp = in->aux & VEC_FP, store = in->aux & VEC_STORE, write_back = false;
	unsigned acc = insn_acc(in) | (store ? ACC_WRITE : 0);
	u64 la = 0, bits = MASK(in->msize >> (in->cc & VEC_MASK_SHIFT));
	void *mem = NULL;

	if ((in->aux & FPU_MMX) && x87_pending(&cpu->st.fpu))
		return x87_raise(cpu);
	if (in->flags & IN_MEM) {
		if (in->cc & VEC_MASKS) {
			bits = vec_mask(cpu, in);
			RUN(masked_la(cpu, in, bits, acc, &la));
		} else {
			RUN(insn_la(cpu, in, in->msize, acc, &la));
		}
		if ((in->aux & VEC_ALIGN) && bits) /* with nothing to access, nothing is misaligned */
			RUN(vec_align(cpu, in, la));
		if (bits && !(store && fp) && !(in->cc & VEC_BOUNCE))
			mem = mem_look(cpu, la, in->msize, acc);
		if (!mem) {
			mem = cpu->stubs->bounce;
			if (!store)
				memset(mem, 0, 64);
			RUN(vec_elements(cpu, in, la, bits, store ? VEC_DO_PROBE : VEC_DO_READ));
			write_back = store;
		}
	}
	if (in->aux & FPU_MMX)
		x87_enter_mmx(cpu);
	RUN(vec_run(cpu, in, mem, fp));
	return write_back ? vec_elements(cpu, in, la, bits, VEC_DO_WRITE) : OUT_NEXT;
}
VEC_HANDLER(vec_general, vec_general_body(cpu, in))

static bool uses_mxcsr(const ZydisDecodedInstruction *zi)
{
	switch (zi->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_SSE2:
	case ZYDIS_EXCEPTION_CLASS_SSE3:
	case ZYDIS_EXCEPTION_CLASS_AVX2:
	case ZYDIS_EXCEPTION_CLASS_AVX3:
	case ZYDIS_EXCEPTION_CLASS_AVX11:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E2NF:
	case ZYDIS_EXCEPTION_CLASS_E3:
	case ZYDIS_EXCEPTION_CLASS_E3NF:
	case ZYDIS_EXCEPTION_CLASS_E11:
	case ZYDIS_EXCEPTION_CLASS_E11NF: return true;
	default: break;
	}
	switch (zi->mnemonic) { /* to and from MMX registers: the decoder names no class */
	case ZYDIS_MNEMONIC_CVTPI2PS:
	case ZYDIS_MNEMONIC_CVTPS2PI:
	case ZYDIS_MNEMONIC_CVTTPS2PI:
	case ZYDIS_MNEMONIC_CVTPD2PI:
	case ZYDIS_MNEMONIC_CVTTPD2PI: return true;
	default: return false;
	}
}

/* Embedded rounding and {sae} suppress exceptions; approximations and classification know none, but DAZ and FTZ change
 * their results. */
static bool is_quiet(const ZydisDecodedInstruction *zi)
{
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_VRCP14PD:
	case ZYDIS_MNEMONIC_VRCP14PS:
	case ZYDIS_MNEMONIC_VRCP14SD:
	case ZYDIS_MNEMONIC_VRCP14SS:
	case ZYDIS_MNEMONIC_VRSQRT14PD:
	case ZYDIS_MNEMONIC_VRSQRT14PS:
	case ZYDIS_MNEMONIC_VRSQRT14SD:
	case ZYDIS_MNEMONIC_VRSQRT14SS:
	case ZYDIS_MNEMONIC_VFPCLASSPD:
	case ZYDIS_MNEMONIC_VFPCLASSPS:
	case ZYDIS_MNEMONIC_VFPCLASSSD:
	case ZYDIS_MNEMONIC_VFPCLASSSS: return true;
	default: return zi->avx.has_sae;
	}
}

/* SDM vol. 2 tables 2-14 "Exception class type" and 2-42 "EVEX instruction exception classes". */
static bool needs_alignment(const ZydisDecodedInstruction *zi, unsigned msize)
{
	switch (zi->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_AVX1:
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E1NF: return true;
	default: break;
	}
	if (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || msize != 16)
		return false;
	switch (zi->mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM: return false;
	default: return true;
	}
}

/* AMD does not check the alignment of SHA's operands (as its silicon shows), Intel does: SDM vol. 2 SHA1MSG1, exception
 * class 4. */
static bool unaligned_sha(const struct bind *b)
{
	return b->zi->meta.isa_ext == ZYDIS_ISA_EXT_SHA && b->cpu->st.vendor == X86_AMD;
}

/* Extensions that no CPU model has; a stub with one of them would fault on the host. */
static bool never_offered(const ZydisDecodedInstruction *zi)
{
	switch (zi->meta.isa_set) {
	case ZYDIS_ISA_SET_AVX512ER_512:
	case ZYDIS_ISA_SET_AVX512ER_SCALAR:
	case ZYDIS_ISA_SET_AVX512PF_512:
	case ZYDIS_ISA_SET_AVX512_4FMAPS_512:
	case ZYDIS_ISA_SET_AVX512_4FMAPS_SCALAR:
	case ZYDIS_ISA_SET_AVX512_4VNNIW_512:
	case ZYDIS_ISA_SET_AVX512_VP2INTERSECT_128:
	case ZYDIS_ISA_SET_AVX512_VP2INTERSECT_256:
	case ZYDIS_ISA_SET_AVX512_VP2INTERSECT_512:
		return true; /* the last writes two opmasks, of which the decoder names one */
	default: return false;
	}
}

/* EVEX classes without fault suppression read the whole operand whatever the mask says. */
static bool suppresses_faults(const ZydisDecodedInstruction *zi)
{
	switch (zi->meta.exception_class) {
	case ZYDIS_EXCEPTION_CLASS_E1NF:
	case ZYDIS_EXCEPTION_CLASS_E2NF:
	case ZYDIS_EXCEPTION_CLASS_E3NF:
	case ZYDIS_EXCEPTION_CLASS_E4NF:
	case ZYDIS_EXCEPTION_CLASS_E5NF:
	case ZYDIS_EXCEPTION_CLASS_E6NF:
	case ZYDIS_EXCEPTION_CLASS_E9NF:
	case ZYDIS_EXCEPTION_CLASS_E10NF:
	case ZYDIS_EXCEPTION_CLASS_E11NF: return false;
	default: break;
	}
	switch (zi->mnemonic) { /* E4NF by the manual or by silicon, where the decoder says E4 */
	case ZYDIS_MNEMONIC_VGF2P8AFFINEQB:
	case ZYDIS_MNEMONIC_VGF2P8AFFINEINVQB:
	case ZYDIS_MNEMONIC_VCVTNE2PS2BF16:
	case ZYDIS_MNEMONIC_VDBPSADBW: return false;
	default: return true;
	}
}

static bool packs(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_VCOMPRESSPD:
	case ZYDIS_MNEMONIC_VCOMPRESSPS:
	case ZYDIS_MNEMONIC_VPCOMPRESSB:
	case ZYDIS_MNEMONIC_VPCOMPRESSD:
	case ZYDIS_MNEMONIC_VPCOMPRESSQ:
	case ZYDIS_MNEMONIC_VPCOMPRESSW:
	case ZYDIS_MNEMONIC_VEXPANDPD:
	case ZYDIS_MNEMONIC_VEXPANDPS:
	case ZYDIS_MNEMONIC_VPEXPANDB:
	case ZYDIS_MNEMONIC_VPEXPANDD:
	case ZYDIS_MNEMONIC_VPEXPANDQ:
	case ZYDIS_MNEMONIC_VPEXPANDW: return true;
	default: return false;
	}
}

static bool is_vmaskmov(ZydisMnemonic m)
{
	return m == ZYDIS_MNEMONIC_VMASKMOVPS || m == ZYDIS_MNEMONIC_VMASKMOVPD || m == ZYDIS_MNEMONIC_VPMASKMOVD ||
	       m == ZYDIS_MNEMONIC_VPMASKMOVQ;
}

/* Says in the insn which elements of memory operand `m` a mask guards. */
static void bind_mask(struct bind *b, unsigned m)
{
	const ZydisDecodedOperand *o = &b->op[m], *other = NULL;
	struct insn *in = b->in;
	unsigned k = 0, count;

	if (o->element_size < 8)
		return;
	if (is_vmaskmov(b->zi->mnemonic)) {
		in->cc = __builtin_ctz(o->element_size / 8) | VEC_MASK_EACH | VEC_MASK_SIGN;
		in->src = vec_off(ZydisRegisterGetId(b->op[1].reg.value));
		in->src2 = in->msize * 8 / o->element_size;
		return;
	}
	if (b->zi->encoding != ZYDIS_INSTRUCTION_ENCODING_EVEX)
		return;
	for (unsigned i = 0; i < b->zi->operand_count_visible; i++) {
		if (b->op[i].encoding == ZYDIS_OPERAND_ENCODING_MASK)
			k = ZydisRegisterGetId(b->op[i].reg.value);
		else if (i != m && op_is_reg(&b->op[i]) && !other)
			other = &b->op[i];
	}
	if (!k || !other || !(suppresses_faults(b->zi) || o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
		return;
	in->src = CPU_OFF(st.fpu.k[0]) + 8 * k;
	in->cc = __builtin_ctz(o->element_size / 8);
	/* A conversion to narrower elements fills only part of the register that the decoder counts. */
	count = MIN((unsigned)other->element_count, b->zi->avx.vector_length / o->element_size);
	if (packs(b->zi->mnemonic)) {
		in->cc |= VEC_MASK_PACK;
		in->src2 = o->element_count;
	} else if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) {
		in->cc |= suppresses_faults(b->zi) ? VEC_MASK_EACH : VEC_MASK_EACH | VEC_MASK_ANY;
		in->src2 = o->element_count;
	} else if (o->element_count == 1 && b->zi->avx.broadcast.mode == ZYDIS_BROADCAST_MODE_INVALID) {
		in->cc |= VEC_MASK_EACH; /* scalar */
		in->src2 = 1;
	} else if (o->element_count == count || ZydisRegisterGetClass(other->reg.value) == ZYDIS_REGCLASS_MASK) {
		in->cc |= b->zi->avx.broadcast.mode == ZYDIS_BROADCAST_MODE_INVALID ? VEC_MASK_EACH : VEC_MASK_ANY;
		in->src2 = o->element_count;
	} else {
		in->cc |= VEC_MASK_ANY;
		in->src2 = count;
	}
	if (in->cc & VEC_MASK_ANY && ZydisRegisterGetClass(other->reg.value) == ZYDIS_REGCLASS_MASK)
		in->src2 = b->zi->avx.vector_length / o->element_size;
}

unsigned vector_kinds(const struct bind *b)
{
	unsigned kinds = 0;

	if (b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX || b->zi->meta.isa_ext == ZYDIS_ISA_EXT_AVX512VEX)
		return FPU_EVEX;
	if (b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
		return FPU_AVX;
	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		if (!op_is_reg(&b->op[i]))
			continue;
		if (ZydisRegisterGetClass(b->op[i].reg.value) == ZYDIS_REGCLASS_MMX)
			kinds |= FPU_MMX;
		else if (ZydisRegisterGetClass(b->op[i].reg.value) == ZYDIS_REGCLASS_XMM)
			kinds |= FPU_SSE;
	}
	return kinds ? kinds : FPU_SSE;
}

static insn_fn *vec_handler(const struct insn *in)
{
	bool fp = in->aux & VEC_FP, align = in->aux & VEC_ALIGN;

	if ((in->aux & FPU_MMX) || (in->cc & ~VEC_QUIET) || (fp && in->aux & VEC_STORE))
		return vec_general;
	if (!(in->flags & IN_MEM))
		return fp ? vec_reg_fp : vec_reg;
	if (in->aux & VEC_STORE)
		return align ? vec_store_aligned : vec_store;
	if (fp)
		return align ? vec_load_aligned_fp : vec_load_fp;
	return align ? vec_load_aligned : vec_load;
}

/* VEX VPINSRQ and VPEXTRQ do not exist outside 64-bit code (with EVEX, W is ignored there); the decoder takes them for
 * the doubleword forms. */
static bool quadword_form_outside_code64(const struct bind *b)
{
	if ((b->mode & MODE_SIZE) == 2)
		return false;
	if (b->zi->mnemonic != ZYDIS_MNEMONIC_VPINSRD && b->zi->mnemonic != ZYDIS_MNEMONIC_VPEXTRD)
		return false;
	return b->zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && b->zi->raw.vex.W;
}

bool bind_vector(struct bind *b)
{
	struct insn *in = b->in;
	bool full;

	if (b->zi->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT)
		return bind_x87(b); /* FISTTP came with SSE3 */
	if (never_offered(b->zi))
		return false;
	if ((b->zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && (b->mode & (MODE_PE | MODE_V86)) != MODE_PE) ||
	    quadword_form_outside_code64(b)) {
		in->fn = check_invalid;
		return true;
	}
	in->aux = vector_kinds(b);
	if (bind_vector_move(b))
		return true;
	for (unsigned i = 0; i < b->zi->operand_count; i++) {
		const ZydisDecodedOperand *o = &b->op[i];

		if (!op_is_mem(o))
			continue;
		if (o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN || o->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
			return bind_vector_scatter_gather(b);
		if (in->msize == 0 || in->msize > 64)
			return false;
		if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			in->aux |= VEC_STORE;
		bind_mask(b, i);
		if (unaligned_sha(b))
			in->cc |= VEC_BOUNCE; /* the host may be the one that checks */
		else if (needs_alignment(b->zi, in->msize))
			in->aux |= VEC_ALIGN;
	}
	if (is_quiet(b->zi)) {
		in->aux |= VEC_FP;
		in->cc |= VEC_QUIET;
	} else if (uses_mxcsr(b->zi)) {
		in->aux |= VEC_FP;
	}
	in->stub = stub_find(b, &full);
	in->fn = in->stub ? vec_handler(in) : stub_retry;
	return in->stub || full;
}
