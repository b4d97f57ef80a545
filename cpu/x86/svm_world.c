/*
 * The world switch: VMRUN and #VMEXIT. APM vol. 2 15.5 "VMRUN Instruction", 15.6 "#VMEXIT", 15.25.4 "Nested Paging and
 * VMRUN/#VMEXIT".
 *
 *            VMRUN                                        #VMEXIT
 *   host ──► save host in HSAVE ─► copy VMCB ─► check     write VMCB ─► load host from HSAVE ─► GIF = 0 ──► host
 *                                     │  broken rule ───────────────────────▲
 *                                     └─► load guest, GIF = 1 ─► inject ──► guest
 *
 * The VMCB is copied before it is checked, so that another processor's stores cannot come between. The host save area
 * holds a struct vmcb of which the state-save area is used; segments keep their hidden parts there. Nothing is flushed
 * but by TLB_CONTROL: the ASID is part of every translation's tag.
 *
 * LIMIT: no SEV; CPUID offers none.
 */
#include <string.h>

#include "arch/x86/model.h"
#include "arch/x86/vmrun_rules.h"
#include "arch/x86/walk.h"
#include "cpu/x86/avic.h"
#include "cpu/x86/block.h"
#include "cpu/x86/exec.h"
#include "cpu/x86/guests.h"
#include "cpu/x86/lbr.h"
#include "cpu/x86/mem.h"
#include "cpu/x86/svm.h"
#include "cpu/x86/trace.h"

void *svm_page(struct x86_cpu *cpu, u64 pa, bool write)
{
	const struct ram_slot *s = ram_find(&cpu->vm->ram, pa);

	if (unlikely(!s || (write && s->readonly)))
		return NULL;
	return s->host + (pa - s->gpa);
}

void svm_page_written(struct x86_cpu *cpu, u64 pa)
{
	const struct ram_slot *s = ram_find(&cpu->vm->ram, pa);

	/* Against a claim by another processor, which counts before it reads the bytes. */
	if (cpu->vm->nvcpus > 1)
		atomic_thread_fence(memory_order_seq_cst);
	if (s && unlikely(__atomic_load_n(&s->flags[(pa - s->gpa) >> 12], __ATOMIC_RELAXED) & RAM_CODE))
		block_written(cpu, ALIGN_DOWN(pa, RAM_PAGE), RAM_PAGE);
}

/* APM vol. 2 15.5.1: VMRUN makes the bases of the segments that it loads canonical. */
static void seg_in(const struct x86_cpu *cpu, struct x86_seg *seg, const struct vmcb_seg *v)
{
	*seg = (struct x86_seg){v->sel, v->attr & 0xfff, v->limit, sign_extend(v->base, cpu->model->virt_bits)};
}

static void seg_out(struct vmcb_seg *v, const struct x86_seg *seg)
{
	*v = (struct vmcb_seg){seg->sel, seg->attr, seg->limit, seg->base};
}

static void dtr_in(const struct x86_cpu *cpu, struct x86_dtr *d, const struct vmcb_seg *v)
{
	*d = (struct x86_dtr){sign_extend(v->base, cpu->model->virt_bits), v->limit & 0xffff};
}

static void dtr_out(struct vmcb_seg *v, const struct x86_dtr *d)
{
	*v = (struct vmcb_seg){.limit = (u32)d->limit, .base = d->base};
}

/* What guest and host have in common in the state-save area. */
static void regs_out(struct x86_cpu *cpu, struct vmcb_save *s, u64 rip)
{
	const struct x86_state *st = &cpu->st;

	seg_out(&s->es, &st->seg[ES]);
	seg_out(&s->cs, &st->seg[CS]);
	seg_out(&s->ss, &st->seg[SS]);
	seg_out(&s->ds, &st->seg[DS]);
	dtr_out(&s->gdtr, &st->gdtr);
	dtr_out(&s->idtr, &st->idtr);
	s->cpl = (u8)st->cpl;
	s->efer = st->msr.efer;
	s->cr4 = st->cr4;
	s->cr3 = st->cr3;
	s->cr0 = st->cr0;
	s->rflags = x86_rflags(st);
	s->rip = rip;
	s->rsp = st->gpr[RSP];
	s->rax = st->gpr[RAX];
}

static void regs_in(struct x86_cpu *cpu, const struct vmcb_save *s)
{
	struct x86_state *st = &cpu->st;

	seg_in(cpu, &st->seg[ES], &s->es);
	seg_in(cpu, &st->seg[CS], &s->cs);
	seg_in(cpu, &st->seg[SS], &s->ss);
	seg_in(cpu, &st->seg[DS], &s->ds);
	dtr_in(cpu, &st->gdtr, &s->gdtr);
	dtr_in(cpu, &st->idtr, &s->idtr);
	st->cr4 = s->cr4;
	st->cr3 = s->cr3;
	st->cr0 = s->cr0 | CR0_ET;
	st->rip = s->rip;
	st->gpr[RSP] = s->rsp;
	st->gpr[RAX] = s->rax;
}

/* The four PDPTEs of legacy PAE paging, read once (APM vol. 2 15.5.1). Under nested paging the walker reads them as it
 * goes (15.25.10). */
static bool pdptes_load(struct x86_cpu *cpu)
{
	struct x86_state *st = &cpu->st;
	u64 reserved = walk_pdpte_rsvd(cpu->model->phys_bits);

	if (!(st->cr0 & CR0_PG) || !(st->cr4 & CR4_PAE) || (st->msr.efer & EFER_LMA))
		return true;
	phys_read(cpu, st->cr3 & 0xffffffe0, st->pdpte, sizeof(st->pdpte));
	for (unsigned i = 0; i < ARRAY_SIZE(st->pdpte); i++)
		if ((st->pdpte[i] & PTE_P) && (st->pdpte[i] & reserved))
			return false;
	return true;
}

static void controls_clear(struct x86_cpu *cpu)
{
	struct x86_cache *c = &cpu->c;

	memset(c->exits, 0, sizeof(c->exits));
	c->guest = c->npt = c->int_masking = c->asid = 0;
	c->ncr3 = c->guest_tsc_offset = c->guest_tsc_mul = c->iopm = c->msrpm = c->vmcb_ctl_flags = 0;
	c->host_cr4 = c->host_efer = c->host_rflags = 0;
	avic_clear(cpu);
	c->pause_count = c->pause_threshold = 0;
}

/* The neutral exit numbers 0 to 8Fh are the SVM codes (exits.def), so the intercept words are their bitmap. */
static void controls_load(struct x86_cpu *cpu, const struct vmcb_control *v, const struct vmcb_save *host)
{
	struct x86_cache *c = &cpu->c;

	_Static_assert(EXIT_EXC0 == 64 && EXIT_INTR == 96 && EXIT_VMRUN == 128 && EXIT_NPF == 144 &&
			       EXIT_INVPCID / 64 == 2 && sizeof(c->exits) == 4 * 8,
		       "exits.def follows the intercept words");
	c->exits[0] = v->cr_read | (u64)v->cr_write << 16 | (u64)v->dr_read << 32 | (u64)v->dr_write << 48;
	c->exits[1] = v->exceptions | (u64)v->intercept3 << 32;
	c->exits[2] = (u16)v->intercept4 | (v->intercept5 & INTERCEPT5_INVPCID ? BIT(EXIT_INVPCID - 128) : 0);
	c->exits[3] = 0;
	for (u32 n = 0, traps = v->intercept4 >> INTERCEPT4_CR_TRAPS; unlikely(traps >> n); n++)
		if (traps & BIT(n))
			c->exits[(EXIT_CR0_WRITE_TRAP + n) / 64] |= BIT((EXIT_CR0_WRITE_TRAP + n) % 64);
	c->guest = 1;
	c->npt = vmrun_nested(v, &cpu->svm_env);
	c->ncr3 = v->ncr3;
	c->asid = v->asid;
	c->int_masking = (cpu->st.svm.int_ctl & VI_INTR_MASKING) != 0;
	c->guest_tsc_offset = v->tsc_offset;
	c->guest_tsc_mul = svm_tsc_mul(cpu);
	c->pause_count = x86_has(cpu->model, X86F_PAUSEFILTER) ? v->pause_count : 0;
	c->pause_threshold = x86_has(cpu->model, X86F_PFTHRESHOLD) ? v->pause_threshold : 0;
	if ((v->virt_ext & VIRT_VMLOAD) && c->npt && x86_has(cpu->model, X86F_V_VMSAVE_VMLOAD))
		c->vmcb_ctl_flags |= SVM_VLS;
	if ((v->virt_ext & VIRT_LBR) && x86_has(cpu->model, X86F_LBRV))
		c->vmcb_ctl_flags |= SVM_LBR;
	if ((cpu->st.svm.int_ctl & VI_GIF_ENABLE) && x86_has(cpu->model, X86F_VGIF))
		c->vmcb_ctl_flags |= SVM_VGIF;
	if ((cpu->st.svm.int_ctl & VI_NMI_ENABLE) && x86_has(cpu->model, X86F_VNMI))
		c->vmcb_ctl_flags |= SVM_VNMI;
	c->iopm = ALIGN_DOWN(v->iopm, RAM_PAGE);
	c->msrpm = ALIGN_DOWN(v->msrpm, RAM_PAGE);
	c->host_cr4 = host->cr4;
	c->host_efer = host->efer;
	c->host_rflags = host->rflags;
	avic_load(cpu, v);
	if ((cpu->st.svm.int_ctl & VI_IRQ) && !c->avic.on)
		atomic_fetch_or(&c->attention, ATT_VINTR);
	if ((cpu->st.svm.int_ctl & VI_NMI) && (c->vmcb_ctl_flags & SVM_VNMI))
		atomic_fetch_or(&c->attention, ATT_VNMI);
}

void svm_decode_controls(struct x86_cpu *cpu)
{
	const struct vmcb *v, *host;

	controls_clear(cpu);
	if (!cpu->st.svm.in_guest)
		return;
	v = svm_page(cpu, cpu->st.svm.vmcb, false);
	host = svm_page(cpu, cpu->st.svm.hsave_pa, false);
	if (!v || !host) { /* a state that no VMRUN can have made */
		log_warn(cpu->vm->log, "SVM: the current VMCB or the host save area is not RAM");
		cpu->st.activity = ACT_SHUTDOWN;
		return;
	}
	controls_load(cpu, &v->c, &host->s);
}

/* Requests of features that CPUID does not offer: hardware without them ignores the bits. */
static noinline void unoffered(struct x86_cpu *cpu, const struct vmcb_control *v)
{
	struct log *log = cpu->vm->log;

	if (v->np_control & ~NP_ENABLE)
		log_limit(log, "SVM: SEV, GMET and other controls in word 090h (%#llx)",
			  (unsigned long long)v->np_control);
	if (v->intercept5 & ~INTERCEPT5_INVPCID)
		log_limit(log, "SVM: intercepts %#x of word 014h", v->intercept5 & ~INTERCEPT5_INVPCID);
}

static inline bool asks_unoffered(const struct vmcb_control *v)
{
	return (v->np_control & ~NP_ENABLE) | (v->intercept5 & ~INTERCEPT5_INVPCID);
}

static void guest_load(struct x86_cpu *cpu, const struct vmcb *b)
{
	struct x86_state *st = &cpu->st;
	const struct vmcb_save *s = &b->s;
	bool long_mode = (s->efer & EFER_LME) && (s->cr0 & CR0_PG);

	regs_in(cpu, s);
	st->msr.efer = (s->efer & ~EFER_LMA) | (long_mode ? EFER_LMA : 0);
	st->cr2 = s->cr2;
	st->dr6 = (s->dr6 & 0xe00f) | DR6_FIXED;
	st->dr7 = (s->dr7 & 0xffff23ff) | DR7_FIXED;
	x86_set_rflags(st, s->rflags & 0x3f7fd5);
	if (!(s->cr0 & CR0_PE))
		st->cpl = 0;
	else
		st->cpl = s->rflags & FL_VM ? 3 : s->cpl & 3;
	if (vmrun_nested(&b->c, &cpu->svm_env))
		st->svm.g_pat = s->g_pat;
	st->svm.int_ctl = b->c.int_ctl;
	st->svm.int_vector = b->c.int_vector & 0xff;
	st->shadow = b->c.int_state & 1 ? SHADOW_STI : 0;
	st->svm.pause_left = b->c.pause_count;
	st->svm.pause_last = cpu->n.insns;
	st->svm.gif = 1;
	st->activity = ACT_RUNNING;
	st->pending_db = 0;
}

/* APM vol. 2 15.23 "Last Branch Record Virtualization". */
static void lbr_out(const struct x86_cpu *cpu, struct vmcb_save *s)
{
	const struct x86_msrs *m = &cpu->st.msr;

	s->dbgctl = m->debugctl;
	s->br_from = m->last_branch[0];
	s->br_to = m->last_branch[1];
	s->last_excp_from = m->last_branch[2];
	s->last_excp_to = m->last_branch[3];
}

static void lbr_in(struct x86_cpu *cpu, const struct vmcb_save *s)
{
	struct x86_msrs *m = &cpu->st.msr;

	m->debugctl = s->dbgctl & DEBUGCTL_AMD;
	m->last_branch[0] = s->br_from;
	m->last_branch[1] = s->br_to;
	m->last_branch[2] = s->last_excp_from;
	m->last_branch[3] = s->last_excp_to;
}

/* APM vol. 2 15.16.1 "TLB Flush". 3 and 7 are reserved without the feature. What is reserved flushes all: no entry too
 * many can be left. */
static void tlb_control(struct x86_cpu *cpu, const struct vmcb_control *v)
{
	bool nonglobal = v->tlb_control == TLB_CTL_ASID_NONGLOBAL;

	if (v->tlb_control == TLB_CTL_NONE)
		return;
	if ((v->tlb_control == TLB_CTL_ASID || nonglobal) && x86_has(cpu->model, X86F_FLUSHBYASID))
		tlb_flush_asid(cpu, v->asid, nonglobal);
	else
		tlb_flush_all(cpu);
}

/*
 * APM vol. 2 15.20 "Event Injection". The event itself is not intercepted, what goes wrong while it is delivered is.
 * Software interrupts, INT3 and INTO return to nRIP (15.20, with NRIPS); an exit during their delivery reports the
 * instruction's own RIP.
 */
static void inject(struct x86_cpu *cpu, const struct vmcb *b)
{
	u64 inj = b->c.event_inj;
	unsigned type = EVI_TYPE(inj), vector = inj & EVI_VECTOR;
	bool soft = type == EVI_SOFT_INT || (type == EVI_EXCEPTION && (vector == EXC_BP || vector == EXC_OF));
	struct x86_event *ev = &cpu->c.event;

	*ev = (struct x86_event){.vector = (u8)vector, .cr2 = cpu->st.cr2};
	switch (type) {
	case EVI_INTR: ev->kind = EV_EXT_INT; break;
	case EVI_NMI:
		ev->kind = EV_NMI;
		ev->vector = EXC_NMI;
		break;
	case EVI_SOFT_INT: ev->kind = EV_SOFT_INT; break;
	default:
		ev->kind = EV_TRAP; /* RFLAGS.RF is the guest's own */
		ev->has_error = inj & EVI_ERROR;
		ev->error = (u32)(inj >> 32);
		cpu->c.vmcb_ctl_flags |= SVM_INJECTING;
		break;
	}
	if (soft && x86_has(cpu->model, X86F_NRIP_SAVE)) {
		u64 len = b->c.next_rip - cpu->st.rip;

		ev->insn_len = len <= 15 ? (u8)len : 0;
		cpu->st.rip = b->c.next_rip;
	}
	x86_deliver(cpu);
	cpu->c.vmcb_ctl_flags &= ~SVM_INJECTING;
}

/* The exit of a VMRUN that broke a rule: nothing of the guest was loaded. */
static void exit_invalid(struct x86_cpu *cpu, enum vmrun_rule broken)
{
	guests_refuse(cpu, cpu->st.svm.vmcb, broken);
	if (trace_on(cpu->topics, TRACE_VMEXIT))
		trace_cpu(cpu, NULL, TRACE_VMEXIT, "VMRUN refused: %s: %s", vmrun_rule_rows[broken].name,
			  vmrun_rule_rows[broken].text);
	x86_exit(cpu, EXIT_INVALID, 0, 0);
	svm_vmexit(cpu, 0);
}

enum outcome svm_vmrun(struct x86_cpu *cpu, const struct insn *in, u64 pa)
{
	struct x86_state *st = &cpu->st;
	struct vmcb *host = svm_page(cpu, st->svm.hsave_pa, true);
	const struct vmcb *page = svm_page(cpu, pa, false);
	struct vmrun_env env = cpu->svm_env;
	enum vmrun_rule broken;
	struct vmcb b;

	if (unlikely(!page || !host)) {
		log_limit(cpu->vm->log, "SVM: VMRUN with a VMCB or host save area that is not RAM");
		return x86_fault(cpu, EXC_GP, 0);
	}
	cpu->n.entries++;
	guests_enter(cpu, pa);
	regs_out(cpu, &host->s, insn_next_rip(cpu, in));
	memcpy(&b.c, &page->c, VMCB_CONTROL_USED);
	memcpy(&b.s, &page->s, VMCB_SAVE_USED);
	st->svm.vmcb = pa;
	st->svm.in_guest = 1;
	env.host_paging = st->cr0 & CR0_PG;
	broken = vmrun_check(&b, &env);
	if (unlikely(broken != VMRUN_RULES)) {
		exit_invalid(cpu, broken);
		return OUT_JUMP;
	}
	if (unlikely(asks_unoffered(&b.c)))
		unoffered(cpu, &b.c);
	guest_load(cpu, &b);
	controls_load(cpu, &b.c, &host->s);
	if (unlikely(cpu->c.vmcb_ctl_flags & SVM_VNMI)) {
		st->svm.nmi_blocked = st->nmi_blocked;
		st->nmi_blocked = (st->svm.int_ctl & VI_NMI_MASK) != 0;
	}
	if (unlikely(cpu->c.vmcb_ctl_flags & SVM_LBR)) {
		lbr_out(cpu, &host->s);
		lbr_in(cpu, &b.s);
	}
	svm_page_written(cpu, st->svm.hsave_pa);
	tlb_control(cpu, &b.c);
	if (unlikely(!vmrun_nested(&b.c, &env) && !pdptes_load(cpu))) {
		guests_refuse(cpu, pa, VCPU_REFUSED_PDPTE);
		x86_exit(cpu, EXIT_INVALID, 0, 0);
		svm_vmexit(cpu, 0);
		return OUT_JUMP;
	}
	x86_update_all(cpu);
	if (trace_on(cpu->topics, TRACE_VMEXIT))
		trace_cpu(cpu, NULL, TRACE_VMEXIT, "VMRUN vmcb %#llx asid %u rip %#llx inject %#llx",
			  (unsigned long long)pa, b.c.asid, (unsigned long long)st->rip,
			  (unsigned long long)b.c.event_inj);
	if (b.c.event_inj & EVI_VALID)
		inject(cpu, &b);
	return OUT_JUMP;
}

/* EXITINTINFO: the event whose delivery the exit cut short. APM vol. 2 15.7.2 "Reporting of Intercepted Events". */
static u64 exit_int_info(const struct x86_event *ev)
{
	u64 v = ev->vector | EVI_VALID;

	switch (ev->kind) {
	case EV_NONE: return 0;
	case EV_EXT_INT: v |= EVI_INTR << 8; break;
	case EV_NMI: v |= EVI_NMI << 8; break;
	case EV_SOFT_INT: v |= EVI_SOFT_INT << 8; break;
	default: v |= EVI_EXCEPTION << 8; break;
	}
	if (ev->has_error)
		v |= EVI_ERROR | (u64)ev->error << 32;
	return v;
}

/* APM vol. 2 15.7.1 "State Saved on Exit": instruction intercepts and INT3, INTO, BOUND have an nRIP, all others 0. */
static bool exit_has_nrip(u32 exit)
{
	switch (exit) {
	case EXIT_EXC3:
	case EXIT_EXC4:
	case EXIT_EXC5: return true;
	case EXIT_TASK_SWITCH:
	case EXIT_FERR_FREEZE:
	case EXIT_SHUTDOWN:
	case EXIT_NPF:
	case EXIT_INVALID:
	case EXIT_AVIC_INCOMPLETE_IPI:
	case EXIT_AVIC_NOACCEL: return false;
	default: return exit < EXIT_EXC0 || (exit >= EXIT_CR0_SEL_WRITE && !exit_is_trap(exit));
	}
}

/* Exits whose EXITINFO1 comes with decode assists alone. APM vol. 2 15.10 "Decode Assists". */
static bool exit_info_is_assist(u32 exit)
{
	return exit < EXIT_EXC0 || exit == EXIT_INVLPG || exit == EXIT_INVLPGA || exit == EXIT_SWINT ||
	       exit == EXIT_CR0_SEL_WRITE;
}

/* The bytes at CS:RIP of an intercepted data access's instruction, as many as can be fetched. */
static void fetch_bytes(struct x86_cpu *cpu, struct vmcb_control *v)
{
	const struct x86_state *st = &cpu->st;
	bool code64 = (st->msr.efer & EFER_LMA) && (st->seg[CS].attr & SEG_L);
	u64 la = code64 ? st->rip : (u32)(st->seg[CS].base + st->rip);
	unsigned want = sizeof(v->insn_bytes), n = 0;

	if (!code64) {
		if (st->rip > st->seg[CS].limit)
			return;
		want = (unsigned)MIN(want, st->seg[CS].limit - st->rip + 1);
	}
	while (n < want) {
		unsigned part = (unsigned)MIN(want - n, RAM_PAGE - (la + n) % RAM_PAGE);
		u64 pa;
		const u8 *host;

		if (mem_fetch_pa(cpu, la + n, &pa) != OUT_NEXT)
			break;
		host = ram_host(&cpu->vm->ram, pa, part);
		if (!host)
			break;
		memcpy(v->insn_bytes + n, host, part);
		n += part;
	}
	v->insn_len = (u8)n;
}

/* #BR has an nRIP although it is a fault: it is BOUND's alone. */
static u64 behind_bound(const struct x86_cpu *cpu)
{
	return cpu->c.in ? mask_ip(cpu, cpu->st.rip + cpu->c.in->len, cpu->c.mode & MODE_SIZE ? 4 : 2) : 0;
}

static void exit_info_out(struct x86_cpu *cpu, struct vmcb_control *v, u64 next_rip)
{
	struct x86_vmexit x = cpu->c.vmexit;
	bool assists = x86_has(cpu->model, X86F_DECODEASSISTS);

	v->exit_code = x86_exit_rows[x.exit].svm_code;
	v->exit_info1 = !assists && exit_info_is_assist(x.exit) ? 0 : x.info1;
	v->exit_info2 = x.info2;
	v->exit_int_info = exit_int_info(&cpu->c.delivering);
	cpu->c.delivering.kind = EV_NONE;
	if (x86_has(cpu->model, X86F_NRIP_SAVE))
		v->next_rip = !exit_has_nrip(x.exit) ? 0 : x.exit == EXIT_EXC5 ? behind_bound(cpu) : next_rip;
	if (assists) {
		v->insn_len = 0;
		if ((x.exit == EXIT_NPF || x.exit == EXIT_EXC14) && !(x.info1 & PF_I))
			fetch_bytes(cpu, v);
	}
}

static void guest_save(struct x86_cpu *cpu, struct vmcb *v)
{
	struct x86_state *st = &cpu->st;

	regs_out(cpu, &v->s, st->rip);
	if (unlikely(cpu->c.avic.on))
		st->svm.int_ctl = (st->svm.int_ctl & ~(u64)VI_TPR) | avic_cr8(cpu);
	v->s.cr2 = st->cr2;
	v->s.dr6 = st->dr6;
	v->s.dr7 = st->dr7;
	if (unlikely(cpu->c.vmcb_ctl_flags & SVM_LBR))
		lbr_out(cpu, &v->s);
	if (cpu->c.npt)
		v->s.g_pat = st->svm.g_pat;
	v->c.int_state = (v->c.int_state & ~1ull) | (st->shadow != 0);
	v->c.int_ctl = (v->c.int_ctl & ~(u32)VI_LIVE) | ((u32)st->svm.int_ctl & VI_LIVE);
	v->c.event_inj &= ~EVI_VALID;
}

/*
 * APM vol. 2 15.6: the reloaded state is checked as VMRUN checks the guest's; what is wrong there shuts the processor
 * down. 15.5.1 "VMRUN and TF/RF Bits in EFLAGS": the host single-steps over VMRUN, the guest included.
 */
static void host_load(struct x86_cpu *cpu, const struct vmcb_save *h)
{
	struct x86_state *st = &cpu->st;

	regs_in(cpu, h);
	st->cr0 |= CR0_PE;
	st->msr.efer = h->efer;
	x86_set_rflags(st, h->rflags & 0x3d7fd5);
	st->cpl = 0;
	st->dr7 = DR7_FIXED;
	st->activity = ACT_RUNNING;
	st->shadow = 0;
	st->pending_db = (h->rflags & FL_TF) && !(st->msr.debugctl & DEBUGCTL_BTF) ? DR6_BS : 0;
	if (!vmrun_check_host(h, &cpu->svm_env) || !pdptes_load(cpu)) {
		log_warn(cpu->vm->log, "SVM: the host state that #VMEXIT reloads is illegal: shutdown");
		st->activity = ACT_SHUTDOWN;
	}
}

static noinline void trace_exit(struct x86_cpu *cpu, u32 exit, const struct vmcb *v)
{
	trace_cpu(cpu, NULL, TRACE_VMEXIT, "#VMEXIT %s code %#llx info %#llx %#llx intinfo %#llx rip %#llx next %#llx",
		  x86_exit_rows[exit].name, (unsigned long long)v->c.exit_code, (unsigned long long)v->c.exit_info1,
		  (unsigned long long)v->c.exit_info2, (unsigned long long)v->c.exit_int_info,
		  (unsigned long long)v->s.rip, (unsigned long long)v->c.next_rip);
}

void svm_vmexit(struct x86_cpu *cpu, u64 next_rip)
{
	struct x86_state *st = &cpu->st;
	struct vmcb *v = svm_page(cpu, st->svm.vmcb, true);
	const struct vmcb *host = svm_page(cpu, st->svm.hsave_pa, false);
	u32 exit;

	if (unlikely(!st->svm.in_guest || !v || !host)) {
		st->activity = ACT_SHUTDOWN;
		return;
	}
	cpu->n.exits++;
	if (unlikely(cpu->c.vmcb_ctl_flags & SVM_VNMI)) {
		st->svm.int_ctl = (st->svm.int_ctl & ~VI_NMI_MASK) | (st->nmi_blocked ? VI_NMI_MASK : 0);
		st->nmi_blocked = (u32)st->svm.nmi_blocked;
		st->svm.nmi_blocked = 0;
	}
	if (likely(cpu->c.vmexit.exit != EXIT_INVALID))
		guest_save(cpu, v);
	exit = cpu->c.vmexit.exit;
	guests_exit(cpu, st->svm.vmcb, exit);
	exit_info_out(cpu, &v->c, next_rip);
	svm_page_written(cpu, st->svm.vmcb);
	if (trace_on(cpu->topics, TRACE_VMEXIT))
		trace_exit(cpu, exit, v);
	if (st->svm.int_ctl & (VI_IRQ | VI_NMI))
		atomic_fetch_and(&cpu->c.attention, ~(u32)(ATT_VINTR | ATT_VNMI));
	st->svm.in_guest = 0;
	st->svm.gif = 0;
	st->svm.vmcb = 0;
	st->svm.int_ctl = st->svm.int_vector = 0;
	if (unlikely(cpu->c.vmcb_ctl_flags & SVM_LBR))
		lbr_in(cpu, &host->s);
	controls_clear(cpu);
	host_load(cpu, &host->s);
	x86_update_all(cpu);
}
