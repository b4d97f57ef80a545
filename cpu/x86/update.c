/*
 * What the cache derives from the state, rebuilt after the state has changed. Everything here can be repeated at any
 * time without effect: the functions read st (and the decoded controls of a guest) and write c.
 */
#include "arch/x86/model.h"
#include "cpu/x86/block.h"
#include "cpu/x86/lbr.h"
#include "cpu/x86/mem.h"
#include "cpu/x86/space.h"
#include "cpu/x86/vmexit.h"

/* A segment that needs no check: base 0, 4 GiB, present, data expand-up and writable or code readable. */
static bool seg_flat(const struct x86_seg *s, bool code)
{
	u16 want = SEG_P | SEG_S | SEG_RW | (code ? SEG_CODE : 0);
	u16 care = SEG_P | SEG_S | SEG_RW | SEG_CODE | (code ? 0 : SEG_CONF);

	return s->base == 0 && s->limit == 0xffffffff && (s->attr & care) == want;
}

static bool segments_flat(const struct x86_state *st)
{
	return seg_flat(&st->seg[CS], true) && seg_flat(&st->seg[SS], false) && seg_flat(&st->seg[DS], false) &&
	       seg_flat(&st->seg[ES], false);
}

/* Not 0: some x87, SSE or AVX instruction of this model would fault (SDM vol. 1 13.3, vol. 3 2.5). */
static bool fpu_blocked(const struct x86_cpu *cpu)
{
	const struct x86_state *st = &cpu->st;
	u64 need = XCR0_X87 | XCR0_SSE;

	if (st->cr0 & (CR0_TS | CR0_EM))
		return true;
	if (!(st->cr4 & CR4_OSFXSR))
		return true;
	if (!x86_has(cpu->model, X86F_AVX))
		return false;
	need |= XCR0_AVX;
	if (x86_has(cpu->model, X86F_AVX512F))
		need |= XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM;
	return !(st->cr4 & CR4_OSXSAVE) || (st->xcr0 & need) != need;
}

void x86_update_mode(struct x86_cpu *cpu)
{
	const struct x86_state *st = &cpu->st;
	u32 mode = st->cpl == 3 ? MODE_CPL3 : 0;

	if (st->cr0 & CR0_PE)
		mode |= MODE_PE;
	if (st->rflags & FL_VM)
		mode |= MODE_V86;
	if (st->msr.efer & EFER_LMA)
		mode |= MODE_LONG;
	if ((mode & MODE_LONG) && (st->seg[CS].attr & SEG_L) && !(mode & MODE_V86)) {
		mode |= 2 | MODE_FLAT;
	} else {
		if (st->seg[CS].attr & SEG_DB)
			mode |= 1;
		if (st->seg[SS].attr & SEG_DB)
			mode |= MODE_SS32;
		if ((mode & (MODE_PE | MODE_V86 | MODE_SS32)) == (MODE_PE | MODE_SS32) && (mode & MODE_SIZE) == 1 &&
		    segments_flat(st))
			mode |= MODE_FLAT;
	}
	cpu->c.mode = mode;
	cpu->c.fpu_block = fpu_blocked(cpu);
	x86_update_spaces(cpu);
}

void x86_update_spaces(struct x86_cpu *cpu) { space_select(cpu); }

/* Data breakpoints and watchpoints withhold TLB tags: when they change, entries must be made anew. */
static void update_watch(struct x86_cpu *cpu)
{
	u64 dr7 = cpu->st.dr7, key = 0;

	for (unsigned i = 0; i < 4; i++)
		if ((dr7 >> (2 * i) & 3) && (dr7 >> (16 + 4 * i) & 1))
			key = (key ^ cpu->st.dr[i] ^ (dr7 >> (16 + 4 * i) & 15)) * 0x9e3779b97f4a7c15ull | 1;
	for (unsigned i = 0; i < cpu->vm->debug.n; i++)
		if (cpu->vm->debug.point[i].kind > DEBUG_HARD_BREAK)
			key = (key ^ cpu->vm->debug.generation) * 0x9e3779b97f4a7c15ull | 1;
	if (key == cpu->c.watch)
		return;
	cpu->c.watch = key;
	tlb_flush_all(cpu);
}

static void attention_set(struct x86_cpu *cpu, u32 bit, bool on)
{
	if (!!(atomic_load_explicit(&cpu->c.attention, memory_order_relaxed) & bit) == on)
		return;
	if (on)
		atomic_fetch_or(&cpu->c.attention, bit);
	else
		atomic_fetch_and(&cpu->c.attention, ~bit);
}

/*
 * The same in VMX non-root operation. SDM vol. 3 25.2 "Other Causes of VM Exits", 25.3: with external-interrupt exiting
 * RFLAGS.IF does not hold interrupts, with virtual NMIs the guest's blocking does not hold physical ones.
 */
static u32 vmx_allowed(const struct x86_cpu *cpu)
{
	const struct x86_state *st = &cpu->st;
	bool guest_if = st->rflags & FL_IF,
	     nmi_blocked = vmx_has(&cpu->c, PIN, VIRTUAL_NMI) ? st->vmx.nmi_blocked : st->nmi_blocked;
	u32 mask = ATT_SMI | ATT_INIT | ATT_TPR | ATT_VAPIC | ATT_ALONE | ATT_TIMER | ATT_MTF;

	if (!nmi_blocked && !(st->shadow & SHADOW_MOVSS))
		mask |= ATT_NMI;
	if (!st->nmi_blocked && !st->shadow)
		mask |= ATT_NMI_WINDOW;
	if ((guest_if || vmx_has(&cpu->c, PIN, EXT_INT)) && !st->shadow)
		mask |= ATT_INTR;
	if (st->activity == ACT_SHUTDOWN)
		return mask & ~(u32)ATT_INTR;
	if (guest_if && !st->shadow)
		mask |= ATT_VINTR | (vmx_has(&cpu->c, PROC, INT_WINDOW) ? 0 : ATT_VIRQ);
	return mask;
}

/*
 * Which events may be taken now. APM vol. 2 15.17 "Global Interrupt Flag": GIF 0 holds INTR, NMI, SMI and INIT; 15.21.1
 * "V_INTR_MASKING": the host's IF decides about physical interrupts. SDM vol. 3 6.8.3 "Masking Exceptions and
 * Interrupts When Switching Stacks".
 */
void x86_update_attention(struct x86_cpu *cpu)
{
	const struct x86_state *st = &cpu->st;
	u64 guest_if = st->rflags & FL_IF,
	    physical_if = cpu->c.guest && svm_intr_masked_by_vif(cpu) ? svm_host_if(cpu) : guest_if;
	u32 mask = ATT_STOP | ATT_DROP | ATT_SHADOW | ATT_STEP;

	if (cpu->c.vmx.on) {
		mask |= vmx_allowed(cpu);
	} else if (st->svm.gif) {
		mask |= ATT_SMI;
		if (!st->vmx.on) /* SDM vol. 3 23.8: VMX root operation holds INIT */
			mask |= ATT_INIT;
		if (!svm_nmi_blocked(cpu) && !(st->shadow & SHADOW_MOVSS))
			mask |= ATT_NMI;
		if (!st->nmi_blocked && !st->shadow && !svm_vgif_holds(cpu))
			mask |= ATT_VNMI;
		if (physical_if && !st->shadow)
			mask |= ATT_INTR;
		if (cpu->c.guest && guest_if && !st->shadow && !svm_vgif_holds(cpu))
			mask |= cpu->c.avic.on ? ATT_VIRQ : ATT_VINTR;
		if (cpu->c.avic.on)
			mask |= ATT_ALONE | ATT_VAPIC;
	}
	if (st->activity == ACT_WAIT_SIPI)
		mask = ATT_STOP | ATT_DROP | ATT_SIPI | (cpu->c.vmx.on ? 0 : ATT_INIT);
	cpu->c.att_mask = mask;
	attention_set(cpu, ATT_SHADOW, st->shadow);
	attention_set(cpu, ATT_STEP,
		      (st->rflags & FL_TF) || st->pending_db || lbr_on(st) || dr7_any_code(st->dr7) ||
			      trace_on(cpu->topics, TRACE_INSN) || cpu->vcpu.debug.step || cpu->debug.skip);
	update_watch(cpu);
}

void x86_update_all(struct x86_cpu *cpu)
{
	x86_update_mode(cpu);
	x86_update_attention(cpu);
}

void x86_drop_cache(struct x86_cpu *cpu)
{
	vmexit_decode_controls(cpu);
	tlb_flush_all(cpu);
	blocks_drop_all(cpu);
	x86_update_all(cpu);
}
