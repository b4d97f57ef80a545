/*
 * The SVM instructions but for VMRUN's world switch (svm_world.c). APM vol. 3 "System Instruction Reference".
 *
 * Mode, EFER.SVME and CPL were tested by the prologue (check.c), and the intercept of those without an operand. The
 * operand rAX is a physical address as wide as the address size; VMRUN, VMLOAD and VMSAVE raise #GP(0) when it is not
 * page-aligned or beyond the processor's physical addresses, and that comes before their intercept (APM vol. 2 15.9
 * "Instruction Intercepts").
 */
#include "arch/x86/model.h"
#include "cpu/x86/exec.h"
#include "cpu/x86/mem.h"
#include "cpu/x86/svm.h"

static u64 rax_address(const struct x86_cpu *cpu, const struct insn *in)
{
	return in->adsize == 8 ? cpu->st.gpr[RAX] : in->adsize == 4 ? (u32)cpu->st.gpr[RAX] : (u16)cpu->st.gpr[RAX];
}

static enum outcome must_check vmcb_operand(struct x86_cpu *cpu, const struct insn *in, enum x86_exit exit, u64 *pa)
{
	*pa = rax_address(cpu, in);
	if ((*pa & (RAM_PAGE - 1)) || *pa >> cpu->model->phys_bits)
		return x86_fault(cpu, EXC_GP, 0);
	return x86_exit_wanted(cpu, exit) ? x86_exit(cpu, exit, 0, 0) : OUT_NEXT;
}

/* The VMCB's page; one that is not RAM is #GP(0), since no hypervisor means it. APM vol. 2 15.33.1 "Virtual VMLOAD and
 * VMSAVE": the operand is a guest's physical address, and a guest that is not in long mode exits. */
static enum outcome must_check vmcb_map(struct x86_cpu *cpu, const struct insn *in, bool write, struct vmcb **v,
					u64 *pa)
{
	bool virtual = cpu->c.vmcb_ctl_flags & SVM_VLS;
	enum x86_exit exit = write ? EXIT_VMSAVE : EXIT_VMLOAD;
	enum outcome o;

	if (virtual && !(cpu->st.msr.efer & EFER_LMA))
		return x86_exit(cpu, exit, 0, 0);
	o = vmcb_operand(cpu, in, exit, pa);
	if (o == OUT_NEXT && virtual)
		o = mem_nested_pa(cpu, *pa, write, pa);
	if (o != OUT_NEXT)
		return o;
	*v = svm_page(cpu, *pa, write);
	if (!*v) {
		log_limit(cpu->vm->log, "SVM: VMLOAD or VMSAVE of a VMCB that is not RAM");
		return x86_fault(cpu, EXC_GP, 0);
	}
	return OUT_NEXT;
}

static enum outcome op_vmrun(struct x86_cpu *cpu, const struct insn *in)
{
	u64 pa;

	TRY(cpu, in, vmcb_operand(cpu, in, EXIT_VMRUN, &pa));
	LEAVE(cpu, in, svm_vmrun(cpu, in, pa));
}

static void seg_load_hidden(struct x86_cpu *cpu, struct x86_seg *seg, const struct vmcb_seg *v)
{
	*seg = (struct x86_seg){v->sel, v->attr & 0xfff, v->limit, sign_extend(v->base, cpu->model->virt_bits)};
}

static void seg_save_hidden(struct vmcb_seg *v, const struct x86_seg *seg)
{
	*v = (struct vmcb_seg){seg->sel, seg->attr, seg->limit, seg->base};
}

static enum outcome op_vmload(struct x86_cpu *cpu, const struct insn *in)
{
	struct x86_state *st = &cpu->st;
	struct vmcb *v;
	const struct vmcb_save *s;
	u64 pa;

	TRY(cpu, in, vmcb_map(cpu, in, false, &v, &pa));
	s = &v->s;
	seg_load_hidden(cpu, &st->seg[FS], &s->fs);
	seg_load_hidden(cpu, &st->seg[GS], &s->gs);
	seg_load_hidden(cpu, &st->tr, &s->tr);
	seg_load_hidden(cpu, &st->ldtr, &s->ldtr);
	st->msr.kernel_gs_base = sign_extend(s->kernel_gs_base, cpu->model->virt_bits);
	st->msr.star = s->star;
	st->msr.lstar = sign_extend(s->lstar, cpu->model->virt_bits);
	st->msr.cstar = sign_extend(s->cstar, cpu->model->virt_bits);
	st->msr.sfmask = s->sfmask;
	st->msr.sysenter_cs = s->sysenter_cs;
	st->msr.sysenter_esp = s->sysenter_esp;
	st->msr.sysenter_eip = s->sysenter_eip;
	LEAVE(cpu, in, OUT_END);
}

static enum outcome op_vmsave(struct x86_cpu *cpu, const struct insn *in)
{
	const struct x86_state *st = &cpu->st;
	struct vmcb *v;
	struct vmcb_save *s;
	u64 pa;

	TRY(cpu, in, vmcb_map(cpu, in, true, &v, &pa));
	s = &v->s;
	seg_save_hidden(&s->fs, &st->seg[FS]);
	seg_save_hidden(&s->gs, &st->seg[GS]);
	seg_save_hidden(&s->tr, &st->tr);
	seg_save_hidden(&s->ldtr, &st->ldtr);
	s->kernel_gs_base = st->msr.kernel_gs_base;
	s->star = st->msr.star;
	s->lstar = st->msr.lstar;
	s->cstar = st->msr.cstar;
	s->sfmask = st->msr.sfmask;
	s->sysenter_cs = st->msr.sysenter_cs;
	s->sysenter_esp = st->msr.sysenter_esp;
	s->sysenter_eip = st->msr.sysenter_eip;
	svm_page_written(cpu, pa);
	LEAVE(cpu, in, OUT_END);
}

/* APM vol. 2 15.17 "Global Interrupt Flag, STGI and CLGI Instructions", 15.33.2 "Virtual GIF (VGIF)". Held interrupts
 * are taken before the next instruction. */
static enum outcome set_gif(struct x86_cpu *cpu, const struct insn *in, u32 gif)
{
	if (cpu->c.vmcb_ctl_flags & SVM_VGIF)
		cpu->st.svm.int_ctl = (cpu->st.svm.int_ctl & ~VI_GIF) | (gif ? VI_GIF : 0);
	else
		cpu->st.svm.gif = gif;
	x86_update_attention(cpu);
	LEAVE(cpu, in, OUT_END);
}

static enum outcome op_stgi(struct x86_cpu *cpu, const struct insn *in) { return set_gif(cpu, in, 1); }
static enum outcome op_clgi(struct x86_cpu *cpu, const struct insn *in) { return set_gif(cpu, in, 0); }

/* Not intercepted: #UD, in the host as in a guest. */
static enum outcome op_vmmcall(struct x86_cpu *cpu, const struct insn *in)
{
	LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
}

/* CPUID 8000_0001h ECX bit 12 is not offered. */
static enum outcome op_skinit(struct x86_cpu *cpu, const struct insn *in)
{
	log_limit(cpu->vm->log, "SVM: SKINIT");
	LEAVE(cpu, in, x86_fault(cpu, EXC_UD, 0));
}

/* APM vol. 2 15.16.1 "TLB Flush": the page at rAX of the address space ECX. */
static enum outcome op_invlpga(struct x86_cpu *cpu, const struct insn *in)
{
	u64 la = rax_address(cpu, in);

	if (x86_exit_wanted(cpu, EXIT_INVLPGA))
		LEAVE(cpu, in, x86_exit(cpu, EXIT_INVLPGA, la, 0));
	tlb_flush_asid_page(cpu, (u32)cpu->st.gpr[RCX], la);
	LEAVE(cpu, in, OUT_END);
}

BIND(vmrun)
BIND(vmload)
BIND(vmsave)
BIND(stgi)
BIND(clgi)
BIND(vmmcall)
BIND(skinit)
BIND(invlpga)
