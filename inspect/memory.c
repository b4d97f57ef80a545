/* Linear addresses from outside (memory.h). */
#include "inspect/memory.h"

#include <inttypes.h>
#include <string.h>

#include "arch/x86/vmcb.h"
#include "arch/x86/vmcs.h"

#define ANY_WIDTH 52 /* of physical addresses */

static bool ram_seek(struct walk_mem *m, u64 pa)
{
	const struct ram_slot *s = ram_find(&((struct inspect_memory *)m)->vm->ram, pa);

	if (!s)
		return false;
	m->base = s->gpa;
	m->size = s->size;
	m->host = s->host;
	return true;
}

/* The second stage of the guest that the processor is in: APM vol. 2 15.25.3 "Enabling Nested Paging" (a host that
 * nests is in long mode), SDM vol. 3 24.6.2 "Processor-Based VM-Execution Controls". */
static bool nested_stage(struct xlate *x, struct vm *vm, const struct x86_state *st)
{
	const struct vmcb *vmcb = st->svm.in_guest ? ram_host(&vm->ram, st->svm.vmcb, sizeof(*vmcb)) : NULL;
	const struct vmcs *vmcs = st->vmx.in_guest ? ram_host(&vm->ram, st->vmx.vmcs, sizeof(*vmcs)) : NULL;

	if (vmcb && vmcb->c.np_control & 1)
		xlate_nested(x, vmcb->c.ncr3, CR4_PAE, EFER_LMA | EFER_LME | EFER_NXE, ANY_WIDTH, true, true);
	else if (vmcs && vmcs->f[VMCS_PROC] & (u32)VMX_PROC_PROC2 && vmcs->f[VMCS_PROC2] & (u32)VMX_PROC2_EPT)
		xlate_ept(x, vmcs->f[VMCS_EPTP], ANY_WIDTH);
	else
		return false;
	x->mbec = x->format == WALK_EPT && vmcs->f[VMCS_PROC2] & (u32)VMX_PROC2_MBEC;
	x->dry = true;
	return true;
}

void inspect_memory(struct inspect_memory *m, struct vm *vm, const struct x86_state *st)
{
	*m = (struct inspect_memory){.mem = {.seek = ram_seek}, .vm = vm};
	xlate_from_regs(&m->guest, st->cr0, st->cr3, st->cr4, st->msr.efer, st->pdpte, ANY_WIDTH, true,
			st->vendor == X86_AMD);
	m->guest.dry = true;
	if (nested_stage(&m->nested, vm, st))
		m->guest.next = &m->nested;
}

bool inspect_translate(struct inspect_memory *m, u64 la, struct walk *w)
{
	const struct walk_access access = {.want = WALK_R};

	*w = (struct walk){0};
	if (m->guest.format >= WALK_4 && sign_extend(la, m->guest.format == WALK_5 ? 57 : 48) != la)
		return false;
	if (m->guest.format < WALK_4 && la >> 32)
		return false;
	return walk_la(&m->guest, &m->mem, la, access, w);
}

/* The next stretch of [la, la + n) that lies in one page; 0: not mapped. */
static size_t stretch(struct inspect_memory *m, u64 la, size_t n, u64 *pa)
{
	struct walk w;

	if (!inspect_translate(m, la, &w))
		return 0;
	*pa = w.pa;
	return MIN(n, RAM_PAGE - la % RAM_PAGE);
}

size_t inspect_read(struct inspect_memory *m, u64 la, void *buf, size_t n)
{
	size_t done = 0, k;
	u64 pa;

	while (done < n && (k = stretch(m, la + done, n - done, &pa)) &&
	       !ram_read(&m->vm->ram, pa, (u8 *)buf + done, k))
		done += k;
	return done;
}

size_t inspect_write(struct inspect_memory *m, u64 la, const void *buf, size_t n)
{
	size_t done = 0, k;
	u64 pa;

	while (done < n && (k = stretch(m, la + done, n - done, &pa)) &&
	       !vm_dma_write(m->vm, pa, (const u8 *)buf + done, k))
		done += k;
	return done;
}

/* ---- in words ---- */

struct level {
	const char *name;
	unsigned shift;
};

static const struct level levels_4[] = {{"PML5", 48}, {"PML4", 39}, {"PDPT", 30}, {"PD", 21}, {"PT", 12}};
static const struct level levels_32[] = {{"PD", 22}, {"PT", 12}};

/* EPT entries: SDM vol. 3 table 28-1 and following. */
static bool entry_present(const struct xlate *x, u64 entry) { return entry & (x->format == WALK_EPT ? 7 : 1); }

static void print_entry(const struct xlate *x, const char *stage, const struct level *l, u64 at, u64 entry, FILE *out)
{
	static const char *const types[8] = {"UC", "WC", "2?", "3?", "WT", "WP", "WB", "7?"};
	const char *large = l->shift != 12 && entry & 0x80 ? " large" : "";
	bool leaf = l->shift == 12 || *large;

	fprintf(out, "%s %-4s %#14" PRIx64 ": %016" PRIx64, stage, l->name, at, entry);
	if (!entry_present(x, entry))
		fprintf(out, " not present\n");
	else if (x->format == WALK_EPT)
		fprintf(out, " %c%c%c%s%s%s%s%s\n", entry & 1 ? 'r' : '-', entry & 2 ? 'w' : '-', entry & 4 ? 'x' : '-',
			entry & 0x100 ? " A" : "", leaf && entry & 0x200 ? " D" : "", leaf ? " " : "",
			leaf ? types[entry >> 3 & 7] : "", large);
	else
		fprintf(out, " %s %s%s%s%s%s%s\n", entry & 2 ? "rw" : "r-", entry & 4 ? "user" : "supervisor",
			entry & 0x20 ? " A" : "", entry & 0x40 ? " D" : "", leaf && entry & 0x100 ? " G" : "", large,
			entry >> 63 ? " NX" : "");
}

/* One stage; the tables' own addresses are translated by `next` when there is one. */
static bool print_stage(struct inspect_memory *m, const struct xlate *x, const char *stage, u64 la, FILE *out, u64 *pa)
{
	bool narrow = x->format == WALK_32;
	const struct level *l = narrow ? levels_32
				       : levels_4 + (x->format == WALK_5     ? 0
						     : x->format == WALK_PAE ? 2
									     : 1);
	unsigned n = narrow ? 2 : x->format == WALK_5 ? 5 : x->format == WALK_PAE ? 3 : 4, bits = narrow ? 10 : 9;
	u64 table = narrow ? x->root & 0xfffff000 : x->root & MASK(52) & ~0xfffull;

	for (unsigned i = 0; i < n; i++, l++) {
		u64 at = table + ((la >> l->shift) & MASK(bits)) * (narrow ? 4 : 8), real = at, entry = 0;
		bool pdpte = x->format == WALK_PAE && !i;
		struct walk w;

		if (x->format == WALK_PAE && !i)
			at = real = (x->root & 0xffffffe0) + (la >> 30 & 3) * 8;
		if (x->next && !pdpte) {
			if (!walk_la(x->next, &m->mem, at, (struct walk_access){.want = WALK_R, .user = true}, &w)) {
				fprintf(out, "%s %-4s %#14" PRIx64 ": the table is not mapped by the next stage\n",
					stage, l->name, at);
				return false;
			}
			real = w.pa;
		}
		if (pdpte && x->pdpte)
			entry = x->pdpte[la >> 30 & 3];
		else if (ram_read(&m->vm->ram, real, &entry, narrow ? 4 : 8)) {
			fprintf(out, "%s %-4s %#14" PRIx64 ": no memory there\n", stage, l->name, at);
			return false;
		}
		print_entry(x, stage, l, at, entry, out);
		if (!entry_present(x, entry))
			return false;
		if (l->shift == 12 || (entry & 0x80 && !pdpte && (l->shift <= 30 || narrow))) {
			*pa = (entry & MASK(52) & ~MASK(l->shift)) | (la & MASK(l->shift));
			return true;
		}
		table = entry & MASK(52) & ~0xfffull;
	}
	return false;
}

void inspect_walk(struct inspect_memory *m, const struct x86_state *st, u64 la, FILE *out)
{
	u64 pa = la;
	struct walk w;

	if (m->guest.format == WALK_NONE)
		fprintf(out, "paging is off\n");
	else if (!print_stage(m, &m->guest, m->guest.next ? "guest " : "", la, out, &pa))
		return;
	if (m->guest.next) {
		fprintf(out, "guest physical %#" PRIx64 "\n", pa);
		if (!print_stage(m, m->guest.next, m->nested.format == WALK_EPT ? "EPT   " : "nested", pa, out, &pa))
			return;
	}
	fprintf(out, "%#" PRIx64 " is physical %#" PRIx64 "\n", la, pa);
	/* The walker itself has the last word, for rules of which the lines above know nothing. */
	if (!inspect_translate(m, la, &w))
		fprintf(out, "but a supervisor's read there faults: error %#x, stage %u\n", w.error, w.stage);
	else if (w.pa != pa)
		fprintf(out, "but the walker says %#" PRIx64 "\n", w.pa);
}
