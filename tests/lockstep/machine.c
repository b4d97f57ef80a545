/* The software processor's side: a VM with RAM and page tables only, one vCPU in 64-bit user mode that x86_step drives.
 */
#include <string.h>

#include "cpu/engine.h"
#include "cpu/x86/block.h"
#include "tests/lockstep/lockstep.h"

#define STREAM_INSNS 1000 /* more than any stream runs */
#define RAM_SIZE     0x400000u
#define PA_PML4	     0x1000u
#define PA_PDPT	     0x2000u
#define PA_PD	     0x3000u
#define PA_PT_CODE   0x4000u
#define PA_PT_DATA   0x5000u
#define PA_CODE	     0x10000u
#define PA_DATA	     0x20000u

static void entry(struct ls *ls, u64 table, unsigned i, u64 v)
{
	memcpy(ls->vm.ram.slot[0].host + table + 8 * i, &v, 8);
}

static void build_tables(struct ls *ls)
{
	const u64 table = PTE_P | PTE_W | PTE_U | PTE_A, page = table | PTE_D;

	entry(ls, PA_PML4, 0, PA_PDPT | table);
	entry(ls, PA_PDPT, LS_CODE >> 30, PA_PD | table);
	entry(ls, PA_PD, LS_CODE >> 21 & 511, PA_PT_CODE | table);
	entry(ls, PA_PD, LS_DATA >> 21 & 511, PA_PT_DATA | table);
	for (unsigned i = 0; i < LS_CODE_SIZE / 4096; i++)
		entry(ls, PA_PT_CODE, i, (PA_CODE + 4096 * i) | page);
	for (unsigned i = 0; i < LS_RW; i++)
		entry(ls, PA_PT_DATA, i, (PA_DATA + 4096 * i) | page | PTE_NX);
	entry(ls, PA_PT_DATA, LS_RW, (PA_DATA + 4096 * LS_RW) | (page & ~PTE_W) | PTE_NX);
}

static void user_mode(struct x86_state *st)
{
	const u16 data = SEG_P | SEG_S | SEG_RW | SEG_ACCESSED | 3 << 5 | SEG_DB | SEG_G;

	st->cr0 = CR0_PE | CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP;
	st->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	st->cr3 = PA_PML4;
	st->msr.efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	st->cpl = 3;
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = (struct x86_seg){.sel = 0, .attr = data, .limit = 0xffffffff};
	/* The selectors that Linux gives its programs, as some instructions show them; FS and GS are null. */
	st->seg[DS].sel = st->seg[ES].sel = st->seg[SS].sel = 0x2b;
	st->seg[FS].attr = st->seg[GS].attr = 0;
	st->seg[CS] =
		(struct x86_seg){.sel = 0x33,
				 .attr = SEG_P | SEG_S | SEG_CODE | SEG_RW | SEG_ACCESSED | 3 << 5 | SEG_L | SEG_G,
				 .limit = 0xffffffff};
}

int ls_soft_init(struct ls *ls, struct err *e)
{
	struct vcpu *v;
	int rc;

	rc = vm_init(&ls->vm, ls->log, NULL, e);
	if (!rc)
		rc = ram_add(&ls->vm.ram, 0, RAM_SIZE, false, e);
	if (!rc)
		rc = x86_model_parse("host", &ls->model, e);
	if (!rc)
		rc = soft_vcpu_new(&ls->vm, 0, &ls->model, NULL, &v, e);
	if (rc)
		return rc;
	ls->vm.vcpu[0] = v;
	ls->vm.nvcpus = 1;
	ls->cpu = x86_cpu_of(v);
	ls->soft_code = ls->vm.ram.slot[0].host + PA_CODE;
	ls->soft_data = ls->vm.ram.slot[0].host + PA_DATA;
	build_tables(ls);
	user_mode(&ls->cpu->st);
	ls->cpu->st.xcr0 = x86_model_xcr0(&ls->model);
	ls->cpu->st.tr.limit = 0; /* no port is open to programs */
	if (ls->bases)
		ls->cpu->st.cr4 |= CR4_FSGSBASE;
	x86_update_all(ls->cpu);
	return 0;
}

void ls_soft_mode(struct ls *ls, bool code32, bool checked)
{
	ls->cpu->st.msr.tsc_aux = ls->tsc_aux;
	if (ls->svme)
		ls->cpu->st.msr.efer |= EFER_SVME;
	struct x86_seg *cs = &ls->cpu->st.seg[CS];

	cs->sel = code32 ? 0x23 : 0x33;
	cs->attr = (cs->attr & ~(SEG_L | SEG_DB)) | (code32 ? SEG_DB : SEG_L);
	x86_update_all(ls->cpu);
	if (checked)
		ls->cpu->c.mode &= ~MODE_FLAT;
}

void ls_soft_free(struct ls *ls) { vm_destroy(&ls->vm); }

void ls_soft_run(struct ls *ls, const struct ls_case *c, bool fpu, struct ls_result *r)
{
	struct x86_cpu *cpu = ls->cpu;
	enum outcome o;

	memset(r, 0, sizeof(*r));
	block_written(cpu, PA_CODE, LS_CODE_SIZE);
	memcpy(cpu->st.gpr, c->st.gpr, sizeof(cpu->st.gpr));
	cpu->st.rflags = c->st.rflags | (ls_runs_free(c) ? 0 : FL_TF);
	cpu->st.oszapc = c->st.oszapc;
	cpu->st.rip = c->rip;
	cpu->st.seg[FS].base = c->st.seg[FS].base;
	cpu->st.seg[GS].base = c->st.seg[GS].base;
	if (fpu)
		cpu->st.fpu = c->st.fpu;
	memset(&cpu->c.event, 0, sizeof(cpu->c.event));
	cpu->drop_every = ls->drop_every;
	do
		o = c->stream_len ? x86_run_to_event(cpu, STREAM_INSNS) : x86_step(cpu);
	while (o == OUT_RETRY);
	memcpy(r->gpr, cpu->st.gpr, sizeof(r->gpr));
	r->base[0] = cpu->st.seg[FS].base;
	r->base[1] = cpu->st.seg[GS].base;
	r->rip = cpu->st.rip;
	r->rflags = x86_rflags(&cpu->st);
	if (fpu)
		r->fpu = cpu->st.fpu;
	r->vector = EXC_DB;
	if (o == OUT_FAULT || o == OUT_TRAP) {
		r->faulted = true;
		r->vector = cpu->c.event.vector;
		r->error = cpu->c.event.has_error ? cpu->c.event.error : 0;
		r->cr2 = cpu->c.event.cr2;
		if (o == OUT_TRAP && !c->stream_len)
			r->rip += c->len;
	}
}
