/*
 * What segment loads, far transfers, event delivery and task switches share: descriptor reads with their faults,
 * segment checks by value, and frames that are pushed on a stack which is not yet the current one. SDM vol. 3 chapter 5
 * "Protection"; APM vol. 2 4.9 "Segment-Protection Overview", chapter 4 "Segmented Virtual Memory".
 */
#ifndef CPU_X86_SEG_H
#define CPU_X86_SEG_H

#include "arch/x86/descriptor.h"
#include "arch/x86/model.h"
#include "cpu/x86/cpu.h"
#include "cpu/x86/mem.h"

static inline bool in_long_mode(const struct x86_cpu *cpu) { return cpu->st.msr.efer & EFER_LMA; }
static inline bool in_code64(const struct x86_cpu *cpu) { return (cpu->c.mode & MODE_SIZE) == 2; }
static inline bool in_v86(const struct x86_cpu *cpu) { return cpu->st.rflags & FL_VM; }
/* Real mode, or virtual-8086 mode: selectors are paragraphs. */
static inline bool in_real_style(const struct x86_cpu *cpu) { return !(cpu->st.cr0 & CR0_PE) || in_v86(cpu); }

static inline bool la_canonical(const struct x86_cpu *cpu, u64 la)
{
	return sign_extend(la, cpu->st.cr4 & CR4_LA57 ? 57 : 48) == la;
}

/*
 * The same for addresses that are kept for later: MSRs, bases of tables and segments, operands of TLB invalidations.
 * They may use all bits that the model has, whatever CR4.LA57 says now (5-Level Paging and 5-Level EPT, 2.2.2 and 2.3).
 */
static inline bool la_canonical_kept(const struct x86_cpu *cpu, u64 la)
{
	return sign_extend(la, cpu->model->virt_bits) == la;
}

/* The descriptor that `sel` names. Outside the table: fault `vector` with the selector and `ext` as error code. `la`:
 * where it lies. */
enum outcome desc_read(struct x86_cpu *cpu, u16 sel, unsigned vector, u32 ext, u64 *d, u64 *la) must_check;
/* The second half of a 16-byte descriptor of long mode, with the limit check. */
enum outcome desc_read_high(struct x86_cpu *cpu, u16 sel, unsigned vector, u32 ext, u64 la, u64 *hi) must_check;
/* Sets the accessed bit in memory if it is clear, and in *d. */
enum outcome desc_mark_accessed(struct x86_cpu *cpu, u64 la, u64 *d) must_check;
enum outcome desc_mark_busy(struct x86_cpu *cpu, u64 la, bool busy) must_check;

/* Whether [offset, offset + size) may be accessed through `s` outside 64-bit mode: limit, and with `typed` type and
 * presence. */
bool seg_allows(const struct x86_seg *s, u64 offset, unsigned size, unsigned acc, bool typed);

/* What a data segment register holds after a null selector was loaded: AMD's older processors keep base and limit. */
void seg_set_null(struct x86_cpu *cpu, enum x86_sreg sreg, u16 sel);
/* DS, ES, FS or GS in protected mode; what is wrong with the selector or type is fault `vector` (#GP, or #TS in a task
 * switch). */
enum outcome seg_load_data(struct x86_cpu *cpu, enum x86_sreg sreg, u16 sel, unsigned vector) must_check;
/* After a return to an outer privilege level: data segments above it become null (SDM vol. 3 5.8.6). */
void seg_drop_inner(struct x86_cpu *cpu);
/* Real-mode and virtual-8086 forms. */
void seg_set_real(struct x86_cpu *cpu, enum x86_sreg sreg, u16 sel);
void seg_set_v86(struct x86_cpu *cpu, enum x86_sreg sreg, u16 sel);

/*
 * The stack segment that a transfer to `cpl` wants: null and type checks with fault `vector` (#TS from a TSS, #GP from
 * a return frame) and #SS when not present. The descriptor's accessed bit is set.
 */
enum outcome seg_check_stack(struct x86_cpu *cpu, u16 sel, unsigned cpl, unsigned vector, u32 ext,
			     struct x86_seg *out) must_check;

/* A code segment as target of a transfer, checked but not loaded. */
struct code_target {
	struct x86_seg seg;
	u64 d, la;
	u64 rip;
	unsigned cpl;
};

/* Checks type, L and D; privilege and presence are the caller's, since their order differs. #GP with the selector and
 * `ext`. */
enum outcome code_target_read(struct x86_cpu *cpu, u16 sel, u32 ext, struct code_target *t) must_check;
/* The privilege rules of a transfer that names the segment itself, at `cpl`; then presence (#NP). */
enum outcome code_target_check_level(struct x86_cpu *cpu, const struct code_target *t, unsigned cpl, unsigned rpl_max,
				     u32 ext) must_check;
/* Canonical (64-bit code) or within the limit: else #GP(ext). */
enum outcome code_target_check_rip(struct x86_cpu *cpu, struct code_target *t, u64 rip, u32 ext) must_check;
/* Loads CS, CPL and RIP, with the accessed bit already set by code_target_mark. The caller updates the mode. */
enum outcome code_target_mark(struct x86_cpu *cpu, struct code_target *t) must_check;
void code_target_load(struct x86_cpu *cpu, const struct code_target *t);

/* SS:RSP of an inner level from the current TSS (legacy formats), or RSPn/ISTn (long mode). #TS(TR + ext) beyond its
 * limit. */
enum outcome tss_stack(struct x86_cpu *cpu, unsigned cpl, u32 ext, u16 *ss, u64 *rsp) must_check;
enum outcome tss_stack64(struct x86_cpu *cpu, unsigned offset, u32 ext, u64 *rsp) must_check;

/* Values to be pushed, first pushed first, onto a stack that becomes current only after the store has succeeded. */
#define FRAME_MAX 40
struct frame {
	struct x86_seg ss;
	u64 sp;	       /* before the first push */
	unsigned size; /* of each value: 2, 4, 8 */
	unsigned cpl;  /* whose accesses the pushes are */
	u32 ss_error;  /* error code of #SS when the limit is exceeded */
	bool code64;   /* RSP is 64 bits wide, no segment */
	bool typed;    /* protected mode: the segment's type counts */
	unsigned n;
	u64 v[FRAME_MAX];
};

static inline void frame_add(struct frame *f, u64 v) { f->v[f->n++] = v; }
/* The stack as it is now. */
void frame_init_current(struct x86_cpu *cpu, struct frame *f, unsigned size, u32 ext);
/* All stores or none (but for what another processor does in between); f->sp is the new SP on success. */
enum outcome frame_push(struct x86_cpu *cpu, struct frame *f) must_check;
/* RSP := sp under the width of the stack. */
void frame_set_sp(struct x86_cpu *cpu, u64 sp, u16 ss_attr, bool code64);

/* Access as another privilege level for a while: TSS, descriptor tables and inner stacks are supervisor's (SDM vol.
 * 3 4.6.1). */
unsigned cpl_assume(struct x86_cpu *cpu, unsigned cpl);

/*
 * task.c: switches to the task whose TSS `sel` names; `next_rip` is saved in the old one. `has_error` pushes the error
 * code on the new task's stack. TASK_GATE is event delivery: a fault found in the new task's context is then the
 * caller's to handle, else it is delivered here.
 */
enum task_reason { TASK_JMP, TASK_CALL, TASK_IRET, TASK_GATE };
enum outcome task_switch(struct x86_cpu *cpu, u16 sel, enum task_reason why, u64 next_rip, bool has_error, u32 error,
			 u32 ext) must_check;

#endif
