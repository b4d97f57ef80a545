/*
 * The software x86-64 processor: its state, its cache, and what passes between its parts.
 *
 *   struct x86_cpu { st: what the architecture says exists;  c: what may be thrown away at any instruction boundary }
 *
 * The run loop (run.c) finds a block of decoded instructions by (physical page, offset, mode), and calls each instruction's function. A function
 * either goes on to the next (NEXT) or leaves the block with an outcome (LEAVE). Rules:
 *
 *   - While a block runs, st.rip is the RIP of the block's first instruction; insn_rip() is the running one's. Any outcome but
 *     OUT_JUMP lets the loop set st.rip from c.in. A function that completes a jump stores the new RIP and leaves with OUT_JUMP.
 *   - Registers and memory are committed last: an instruction that faults or exits has changed nothing (string
 *     instructions: nothing since the last finished element).
 *   - Faults are values. x86_fault() and x86_exit() record the event in the cache and return the outcome to hand upwards; there is no longjmp.
 *   - Whoever changes CR0, CR3, CR4, EFER, CS, SS, CPL, RFLAGS.AC/VM/IF, DR7, GIF or the guest mode calls x86_update(cpu, …) and
 *     leaves with OUT_END, so that decoded state follows.
 */
#ifndef CPU_X86_CPU_H
#define CPU_X86_CPU_H

#include <stdatomic.h>

#include "arch/x86/exits.h"
#include "arch/x86/state.h"
#include "arch/x86/vmentry_rules.h"
#include "arch/x86/vmrun_rules.h"
#include "core/vm.h"
#include "cpu/x86/tlb.h"

struct x86_cpu;
struct insn;
struct block;
struct x86_model;

enum outcome {
	OUT_NEXT = 0, /* done; go on with the next instruction (also: "no fault" from memory accesses) */
	OUT_JUMP,     /* done; st.rip is the new RIP */
	OUT_END,      /* done; leave the block, since modes, translations, interrupts or code may have changed */
	OUT_RETRY,    /* not done: come back to this same instruction after looking at pending events */
	OUT_FAULT,    /* event recorded; RIP stays at the instruction */
	OUT_TRAP,     /* event recorded; RIP moves behind the instruction (INT n, INT3, INTO, ICEBP) */
	OUT_EXIT,     /* VM exit recorded; RIP stays at the instruction */
};

typedef enum outcome insn_fn(struct x86_cpu *cpu, const struct insn *in);

/* One decoded instruction. Register operands are byte offsets into struct x86_cpu, so that AH is just an offset one higher. */
struct insn {
	insn_fn *fn;  /* what the loop calls: the operation, or a check prologue that calls `op` */
	union {
		struct {
			insn_fn *op;
			s64 disp; /* RIP-relative: includes the offset of the next instruction */
		};
		struct block *link[2]; /* LINK_HERE: where to go on, not taken and taken (jump.h); NULL: not known */
	};
	union {
		u64 imm;          /* sign-extended to 64 bits; absolute address of moffs forms; branch displacement */
		const void *stub; /* code of a host-unit stub (jit/), see stub.h */
	};
	u16 dst, src;         /* operand registers; src2 for three-operand forms */
	u16 src2;
	u16 base, index, seg; /* of u64s that are summed: a register, st.rip, c.zero, or a segment base */
	u16 off;              /* of this instruction from the block's first byte */
	u16 row;              /* index into insn rows (arch/x86/insn.def) */
	u8 len;
	u8 scale;             /* shift, 0 to 3 */
	u8 opsize;            /* bytes: 1, 2, 4, 8; vector memory operands 16, 32, 64, or the true size in `msize` */
	u8 adsize;            /* bytes: 2, 4, 8 */
	u8 sreg;              /* segment of the memory operand (enum x86_sreg) */
	u8 cc;                /* condition code (Jcc, SETcc, CMOVcc), or the operation within a family */
	u8 flags;             /* IN_* */
	u8 aux;               /* free for the instruction's own use (binder and handler agree) */
	u16 msize;            /* bytes of the memory operand */
	u8 pos;               /* instructions of the block up to and with this one */
	u8 links;             /* LINK_*: a direct branch or the end marker, whose successors may be linked */
	u8 live_imm;          /* not 0: LIVE_*, the last bytes are an immediate of which only `imm` depends */
};

#define LIVE_BYTES 0xfu
#define LIVE_SIGNED 0x10u

#define LINK_HERE 1u  /* there is no operation or memory operand: `link` is in use */
#define LINK_NEXT 2u  /* the next instruction begins in the block's own page: link[0] may be set */
#define LINK_TAKEN 4u /* the target does: link[1] */

#define IN_LOCK 1u
#define IN_REP 2u
#define IN_REPNE 4u
#define IN_MEM 8u      /* has a memory operand */
#define IN_SEGCHECK 16u /* the offset must be checked: segment limit and type where it is not flat; FS and GS on AMD */
#define IN_STACK 32u   /* memory operand addressed through SS (faults are #SS) */

#define BLOCK_MAX 32 /* instructions */

struct block {
	u64 pa;            /* physical address of the first byte */
	u32 mode;          /* c.mode it was decoded for */
	u16 n;             /* instructions, without the end marker */
	u16 len;           /* bytes */
	u64 pa2;           /* physical page of the bytes beyond the first page, or ~0 (only single-instruction blocks cross) */
	bool dead;         /* its bytes were written: unlinked, freed when no longer running */
	struct block *hash_next;
	struct block *page_next; /* list of the blocks that have bytes in a page */
	struct block *page2_next;
	u64 native;        /* place of the translator's code; 0: none */
	struct insn insn[]; /* n, then the end marker */
};

/* An exception, interrupt or software interrupt on its way to delivery. */
enum event_kind { EV_NONE, EV_FAULT, EV_TRAP, EV_SOFT_INT, EV_SOFT_EXC, EV_PRIV_SOFT, EV_EXT_INT, EV_NMI };

struct x86_event {
	u8 kind;     /* enum event_kind */
	u8 vector;
	bool has_error;
	u8 nmi_iret; /* it is IRET's fault, and IRET has ended blocking by NMI */
	u8 insn_len; /* for software events */
	u32 error;
	u64 cr2;     /* #PF: the linear address, loaded into CR2 at delivery */
	u64 db;      /* #DB: bits to set in DR6 */
};

/* A VM exit on its way: neutral number and the two words of detail in the vendor's form (EXITINFO1/2, or qualification and address). */
struct x86_vmexit {
	u32 exit; /* enum x86_exit */
	u64 info1, info2;
	u64 la;    /* VMX: guest-linear address */
	u8 nmi_iret; /* VMX: as in x86_event */
	u64 event; /* VMX: the exception, as interruption information with the error code in bits 63:32 */
};

/* The current VMCS's controls, decoded by vmx_controls_load; all zero outside non-root operation. */
struct vmx_cache {
	u32 on;           /* non-root operation */
	u32 ctl[3];       /* pin-based, primary, secondary: enum vmx_word */
	u64 cr0_mask, cr4_mask, cr0_shadow, cr4_shadow;
	u64 cr3_target[4];
	u32 cr3_targets;
	u32 pf_mask, pf_match, pf_exit;
	u64 io_bitmap[2], msr_bitmap;
	u64 apic_page;    /* the virtual-APIC page, with virtual_apic */
	u64 apic_access;  /* the APIC-access page | 1; 0: accesses are not virtualized */
	u64 posted_desc, eoi_exit[4];
	u32 virtual_apic, tpr_threshold, apic_reg, x2apic, vid, posted, posted_vector;
	u32 apic_written; /* APIC_WRITTEN | the register that the instruction now running has stored to */
	u32 mtf;          /* the monitor trap flag */
	u32 timer;        /* the preemption timer is active */
	u32 pml, shadow;
	u64 functions;    /* the VM functions that are enabled; all 0: VMFUNC is #UD or exits */
	u64 ve_area;      /* the virtualization-exception information area | 1; 0: EPT violations exit */
	u32 ple, ple_gap, ple_window; /* PAUSE-loop exiting */
	u64 link, vmread_bitmap, vmwrite_bitmap; /* with VMCS shadowing */
	u32 no_rdtscp, no_invpcid, no_xsaves; /* not enabled: #UD */
};

/* AVIC's controls in the current VMCB; all zero without it. */
struct avic_cache {
	u32 on, x2;
	u64 bar;      /* the APIC's guest-physical page | 1; 0: none (x2AVIC) */
	u64 page, logical, physical; /* backing page, tables */
	u32 max;      /* the highest index of the physical APIC ID table */
	u32 written;  /* APIC_WRITTEN | the register that the instruction now running has stored to */
};

#define APIC_WRITTEN 1u

/* What wants the loop's eye between blocks. Set by any thread. */
enum attention {
	ATT_STOP = 1,  /* vm->stop, or a kick */
	ATT_INTR = 2,  /* the APIC may have something */
	ATT_NMI = 4,
	ATT_INIT = 8,
	ATT_SIPI = 16,
	ATT_SHADOW = 32,   /* one instruction under an interrupt shadow, then look again */
	ATT_STEP = 64,     /* TF or a code breakpoint: one instruction at a time */
	ATT_VINTR = 128,   /* a virtual interrupt waits in the VMCB's int_ctl */
	ATT_DROP = 256,    /* the queue of `drops` is not empty */
	ATT_NMI_WINDOW = 512, /* VMX: NMI-window exiting is on */
	ATT_TPR = 1024,       /* VMX: the virtual TPR fell below the threshold */
	ATT_ALONE = 2048,     /* the next instruction runs alone */
	ATT_VAPIC = 4096,     /* the instruction just done has stored to a virtual APIC register */
	ATT_VIRQ = 8192,      /* VMX, AVIC: a pending virtual interrupt is recognised */
	ATT_MTF = 32768,      /* VMX: the monitor trap flag is on */
	ATT_VNMI = 65536,     /* SVM: V_NMI is set */
	ATT_TIMER = 16384,    /* VMX: the preemption timer has got to 0 */
	ATT_SMI = 131072,
};

/* Bits of c.mode, the part of the state that decoding depends on. */
#define MODE_SIZE 3u      /* default operand size: 0 = 16, 1 = 32, 2 = 64-bit code */
#define MODE_PE 4u
#define MODE_V86 8u
#define MODE_SS32 16u     /* SS.B */
#define MODE_FLAT 32u     /* no segment check or base needed but FS, GS: 64-bit mode, or flat 4 GiB segments */
#define MODE_LONG 64u     /* EFER.LMA */
#define MODE_SINGLE 128u  /* blocks of one instruction: tracing, lockstep, single step */
#define MODE_CPL3 256u

#define JUMP_CACHE 16384 /* entries, a power of two */

/* Where the block of a linear address is. Its key stands for the mode, the space of fetches and the generation. */
struct jump_entry {
	u64 la, key;
	struct block *b; /* may be dead */
};

struct x86_cache {
	u64 zero;            /* always 0: a register that is not there */
	u32 mode;            /* MODE_* */
	u32 fpu_block;       /* not 0: an x87/SSE/AVX instruction must take the slow check (CR0.TS/EM, CR4.OSFXSR, XCR0) */
	u16 space;           /* TLB tag of data accesses at the present CPL (tlb.h) */
	u16 fetch_space;     /* and of instruction fetches */
	u16 system_space;    /* and of implicit supervisor accesses at any CPL (ACC_SYSTEM) */
	u64 watch;           /* not 0: DR7 has data breakpoints on (a hash of them) */
	_Atomic u32 attention; /* enum attention: raw */
	u32 att_mask;        /* which of them matter now (IF, GIF, shadow) */
	const struct insn *in; /* where the block was left */
	struct block *running;
	struct x86_event event;
	u64 resume; /* RF as it was before an instruction that runs alone, else 0 */
	struct x86_vmexit vmexit;
	u64 exits[(X86_EXITS + 63) / 64]; /* neutral intercept bitmap; all zero outside guest mode */
	u32 guest;           /* not 0: st.svm.in_guest (or VMX non-root) */
	u32 npt;             /* nested paging is on */
	u32 ept;             /* and its tables are EPT's, ncr3 is EPTP */
	u64 ncr3;            /* root of the nested tables */
	u32 asid;            /* the guest's; 0 in the host */
	u32 int_masking;     /* V_INTR_MASKING is on: physical interrupts heed the host's RFLAGS.IF, CR8 is V_TPR */
	u64 host_cr4, host_efer, host_rflags; /* of the host that ran VMRUN: the nested tables' format, its IF */
	u64 guest_tsc_offset; /* the VMCB's or VMCS's */
	u64 guest_tsc_mul;    /* of the host's TSC before that is added, 48 bits behind the point; 0: one */
	u64 iopm, msrpm;     /* physical addresses, valid when intercepted */
	u32 pause_count, pause_threshold; /* SVM's PAUSE filter */
	struct vmx_cache vmx;
	struct avic_cache avic;
	u64 vmcb_ctl_flags;  /* decoded control words that are not intercepts: see svm.h */
	struct x86_event delivering; /* event whose delivery is in progress: EXITINTINFO */
	u64 space_gen;
	u64 jump_gen;
	u64 jump_key; /* of entries that hold now */
	struct jump_entry jump[JUMP_CACHE];
	struct tlb_entry tlb[TLB_ENTRIES];
	struct tlb_phys tlb_phys[TLB_ENTRIES];
};

/* Who wakes a sleeping vCPU: events, and in MWAIT whatever is put into its queue too. */
enum cpu_wake { WAKE_RUNS, WAKE_HLT, WAKE_MWAIT };

struct x86_blocks; /* block.c */
struct x86_stubs;  /* stub.c */

/* Decoded code to be dropped and write tags to be withheld, queued by other threads under the lock, with ATT_DROP (share.h). */
struct code_range {
	u64 pa, len;
	bool all; /* also what has not changed */
};
struct code_drops {
	pthread_mutex_t lock;
	unsigned n; /* above the array's size: drop everything */
	struct code_range range[32];
	unsigned nholds; /* above the array's size: withhold all */
	u64 hold[32];    /* pages */
	u64 holds_asked, holds_done; /* requests so far; done is read without the lock */
};

struct x86_cpu {
	struct vcpu vcpu; /* first */
	struct x86_state st;
	struct x86_cache c;
	struct vcpu_counters n;
	struct vm *vm;
	const u64 *topics; /* vm->topics */
	const struct x86_model *model;
	struct vmentry_env vmx_env; /* what of it follows from the model; and capabilities that are asked often */
	struct vmrun_env svm_env;   /* likewise; host_paging is VMRUN's to fill in */
	u64 vmx_cap[VMX_CAPS];
	const struct apic_ops *apic_ops;
	void *apic;
	struct x86_blocks *blocks;
	struct x86_stubs *stubs;
	struct tlb_spaces *spaces;
	u64 tsc_hz;
	u64 deadline;      /* the TSC at which the local APIC wants to hear of it; ~0: it does not. Set by any thread */
	u32 parked;        /* 1: not running; it looks at `drops` before it does again (share.h) */
	u32 wake;          /* enum cpu_wake: the vCPU's thread sleeps on c.attention */
	struct {
		u64 pa;    /* the line */
		u32 armed; /* no store to it so far */
		u32 held;  /* its page is claimed */
	} monitor; /* monitor.h */
	u64 trace_gpr[16]; /* registers before the traced instruction */
	struct vcpu_shutdown shut; /* faults met by failed deliveries */
	struct vcpu_guests guests; /* guests.h */
	u32 guest_row;             /* of `guests`, used last */
	struct code_drops drops;
	u8 sipi_vector;
	u32 spins;         /* PAUSEs executed */
	u64 drop_every;    /* test mode: throw the cache away every so many instructions; 0: never */
	u64 insn_limit;    /* tests: leave run after so many instructions; 0: none */
	u64 count_until;   /* the loop has something to do when n.insns gets there */
	u64 chain_until;   /* blocks go on to one another without the loop while n.insns is below */
	struct {
		u32 hit;        /* leave run: vcpu.debug says why */
		u32 skip;       /* the next instruction runs alone, whatever breakpoint it is at */
		u32 generation; /* of the points that the cache knows */
		u64 rip;        /* where run was left */
	} debug; /* debug.h */
};

static inline struct x86_cpu *x86_cpu_of(struct vcpu *v) { return (struct x86_cpu *)v; }

/* Byte offset in struct x86_cpu, for struct insn's operands. */
#define CPU_OFF(field) ((u16)offsetof(struct x86_cpu, field))
#define REG8(cpu, off) (*(u8 *)((char *)(cpu) + (off)))
#define REG16(cpu, off) (*(u16 *)((char *)(cpu) + (off)))
#define REG32(cpu, off) (*(u32 *)((char *)(cpu) + (off)))
#define REG64(cpu, off) (*(u64 *)((char *)(cpu) + (off)))

static inline u64 insn_rip(const struct x86_cpu *cpu, const struct insn *in) { return cpu->st.rip + in->off; }
static inline u64 insn_next_rip(const struct x86_cpu *cpu, const struct insn *in)
{
	return cpu->st.rip + in->off + in->len; /* the caller masks it outside 64-bit code */
}

/*
 * Going on and leaving. With optimisation on, NEXT is a sibling call of the next instruction's function (threaded code, each with its
 * own predicted indirect branch); without, the loop in run.c calls each in turn. Both mean the same.
 */
#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(NESTBOX_CALL_LOOP)
#define NESTBOX_THREADED
#define NEXT(cpu, in) return (in)[1].fn(cpu, (in) + 1)
#else
#define NEXT(cpu, in) return OUT_NEXT
#endif
#define LEAVE(cpu_, insn_, out_)       \
	do {                           \
		(cpu_)->c.in = (insn_); \
		return (out_);         \
	} while (0)
/* Evaluates an outcome-valued expression and leaves if it is not OUT_NEXT. */
#define TRY(cpu_, insn_, expr_)                      \
	do {                                         \
		enum outcome try_ = (expr_);         \
		if (unlikely(try_ != OUT_NEXT))      \
			LEAVE(cpu_, insn_, try_);    \
	} while (0)

/* event.c: records a fault (RIP stays). has-error is known from the vector. x86_fault_pf also knows CR2. Always OUT_FAULT. */
enum outcome x86_fault(struct x86_cpu *cpu, unsigned vector, u32 error);
enum outcome x86_fault_pf(struct x86_cpu *cpu, u64 la, u32 error);
/* Records a software event (INT n: EV_SOFT_INT; INT3, INTO: EV_SOFT_EXC; ICEBP: EV_PRIV_SOFT). Always OUT_TRAP. */
enum outcome x86_soft_event(struct x86_cpu *cpu, enum event_kind kind, unsigned vector, unsigned insn_len);
/*
 * What a #DB leaves in DR6 and DR7. SDM vol. 3 18.2.3 "Debug Status Register (DR6)": B0 to B3 are those of this
 * exception, the others are only ever set; ICEBP and injected ones (`db` 0) leave all. GD is cleared (18.2.4), and BTF
 * (18.4.3).
 */
static inline void x86_db_commit(struct x86_state *st, u64 db)
{
	if (db)
		st->dr6 = (st->dr6 & ~15ull) | db;
	st->dr7 &= ~DR7_GD;
	st->msr.debugctl &= ~DEBUGCTL_BTF;
}
/* Records a VM exit. Always OUT_EXIT. */
enum outcome x86_exit(struct x86_cpu *cpu, enum x86_exit exit, u64 info1, u64 info2);

static inline bool x86_exit_wanted(const struct x86_cpu *cpu, enum x86_exit e)
{
	return unlikely(cpu->c.exits[e / 64] >> (e % 64) & 1);
}

/*
 * Delivers the event in c.event through the IDT (or real-mode IVT), with st.rip already where the manual wants the saved RIP; contributory
 * faults become #DF, then shutdown. Intercepts (exception exits, exits during delivery) are taken here. Returns OUT_JUMP when a handler is
 * entered or a VM exit has been completed, OUT_RETRY on shutdown (st.activity = ACT_SHUTDOWN).
 */
enum outcome x86_deliver(struct x86_cpu *cpu);
/* Sets attention bits of another processor, and wakes it. Any thread. */
void x86_attract(struct x86_cpu *cpu, u32 bits);
/* The same by the vCPU's own thread: the run loop looks before the next block. */
static inline void attention_raise(struct x86_cpu *cpu, u32 bits) { atomic_fetch_or(&cpu->c.attention, bits); }
static inline void attention_clear(struct x86_cpu *cpu, u32 bits) { atomic_fetch_and(&cpu->c.attention, ~bits); }
/* RFLAGS as the event's delivery saves them. */
u64 x86_event_flags(const struct x86_cpu *cpu, const struct x86_event *ev);
/* Looks at attention bits between blocks: NMI, INTR, virtual interrupts, INIT; delivers what is due. Returns true when something was delivered. */
bool x86_events(struct x86_cpu *cpu);
/* run.c: sleeps until c.attention is no longer `raw`, somebody wakes this kind of sleeper, or VMX's preemption timer gets to 0
 * (SDM vol. 3 25.5.1: it counts in HLT and MWAIT too). */
void x86_sleep(struct x86_cpu *cpu, u32 raw, enum cpu_wake how);

/* update.c: rebuilds what the cache derives from the state. */
void x86_update_mode(struct x86_cpu *cpu);      /* after CS, SS, CR0, EFER, RFLAGS.VM, CPL: c.mode, c.fpu_block, spaces */
void x86_update_spaces(struct x86_cpu *cpu);    /* after CR3, CR4, CPL, RFLAGS.AC, ASID: c.space, c.fetch_space */
void x86_update_attention(struct x86_cpu *cpu); /* after IF, GIF, shadow, TF, DR7, guest mode: c.att_mask */
void x86_update_all(struct x86_cpu *cpu);
/* Throws the whole cache away (TLB, blocks, decoded controls) and rebuilds what must always be there. */
void x86_drop_cache(struct x86_cpu *cpu);

/* run.c, for tests: runs one instruction; the outcome's event or exit is recorded (c.event, c.vmexit) but not taken, RIP then
 * stays at the instruction. */
enum outcome x86_step(struct x86_cpu *cpu);
/* The same for whole blocks, chained as usual, up to a fault, trap or exit (RIP at the instruction; behind it for a trap) or
 * until `insns` have run (OUT_NEXT). Caches are dropped every cpu->drop_every instructions. */
enum outcome x86_run_to_event(struct x86_cpu *cpu, u64 insns);

/* time.c. The time stamp counter now: the processor's own; as the guest of a guest sees it, by that one's multiplier and
 * offset too; likewise, for an instruction that shows it: a passed alarm is met at the next jump. */
u64 x86_own_tsc(const struct x86_cpu *cpu);
u64 x86_tsc(const struct x86_cpu *cpu);
u64 x86_tsc_shown(struct x86_cpu *cpu);
/* The alarms that the counter sets off: the local APIC's deadline and the VMX-preemption timer. Not with vm->lock held. */
void x86_alarms(struct x86_cpu *cpu);
/* Until the next one, in the host's nanoseconds (a slow board's TSC keeps the host's pace, though tsc_hz says otherwise). ~0: none. */
u64 x86_alarm_ns(const struct x86_cpu *cpu);

#endif
