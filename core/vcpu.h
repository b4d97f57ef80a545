/*
 * A virtual processor as the machine sees it, whichever engine runs it.
 *
 * `run` is called on the vCPU's own thread and returns only for the reasons of enum run_exit; port and memory-mapped
 * I/O, HLT and everything else that a guest does in daily life is handled inside by calling vm->ports, vm->mmio and
 * vm_wait. The other calls: get_state/set_state only while the vCPU is not inside run; kick and assert_* from any
 * thread, lock held or not.
 */
#ifndef CORE_VCPU_H
#define CORE_VCPU_H

#include "base/err.h"
#include "base/types.h"
#include "core/debug.h"

struct x86_state;
struct vcpu;

enum run_exit {
	RUN_STOPPED,	  /* vm->stop was requested */
	RUN_TRIPLE_FAULT, /* shutdown: the state is as the processor left it */
	RUN_PAUSED,	  /* a debugger wants the vCPU out (debug_wanted) */
	RUN_DEBUG,	  /* at a break or watch point, or a step is done: debug says which */
	RUN_ERROR,	  /* the engine cannot go on; err says why (KVM internal error, failed entry, …) */
};

/* What a processor met on its way to a shutdown ("triple fault"). Exceptions as it saw them, before the rules made a
 * double fault of the first two. */
struct vcpu_fault {
	u8 known; /* 0: it was not seen (an injected double fault has no first two) */
	u8 vector;
	u8 interrupt; /* on its way: an interrupt, no exception */
	u8 has_error;
	u32 error;
	u64 cr2; /* #PF: the address */
};

struct vcpu_shutdown {
	struct vcpu_fault first, second, third; /* third: why the double fault's handler was not entered */
};

struct vcpu_counters {
	u64 insns;     /* guest instructions retired (soft only) */
	u64 blocks;    /* blocks entered (soft only) */
	u64 decoded;   /* blocks decoded (soft only) */
	u64 tlb_miss;  /* page walks (soft only) */
	u64 exits;     /* soft: #VMEXITs and VM exits taken by guests in here; kvm: KVM_RUN returns to user space */
	u64 entries;   /* soft: VM entries */
	u64 irqs;      /* interrupts delivered */
	u64 pio, mmio; /* accesses that reached a bus */
	u64 halts;
};

/*
 * The guests that a processor with SVM or VMX has run, one row a VMCB or VMCS, by physical address.
 *
 * A processor knows no levels, and all exits go to the hypervisor that it runs, L1. What can be told: the guest of
 * row A executes VMRUN, VMLAUNCH or VMRESUME, L1 sees that exit and enters B in its stead. B then holds the guest of
 * A's guest, or one deeper still. A majority vote over such pairs keeps `under` right when L1 did something else in
 * between.
 */
#define VCPU_GUESTS 16
#define VCPU_EXITS  256 /* room for all numbers of enum x86_exit */
/* What an entry finds only as it loads, beside the numbers of rules. */
#define VCPU_REFUSED_PDPTE ~0u /* in memory, of a guest with PAE paging */
#define VCPU_REFUSED_MSR   ~1u /* entry refused_entry, from 1, of VM entry's MSR-load area */
struct vcpu_guest {
	u64 at; /* ~0: all that found no row, in the last one */
	u64 entries;
	u64 refused;	      /* of them, by a rule on what the VMCB or VMCS holds; never entered */
	u64 under, under_for; /* the A of most B-after-A entries, and by how many more than of others; 0: none */
	u64 exits[VCPU_EXITS];
};

struct vcpu_guests {
	unsigned n;
	u64 last;		   /* entered or tried last; ~0: none so far */
	u64 asker;		   /* left last, by an exit that asks for an entry; ~0: not so */
	u64 refused_at;		   /* the last refusal's; ~0: none so far */
	u32 refused_rule;	   /* enum vmrun_rule or vmentry_rule, by the processor's vendor; VCPU_REFUSED_* */
	u32 refused_entry;	   /* of VCPU_REFUSED_MSR */
	u64 shut_at;		   /* whose guest met a triple fault last; ~0: none so far */
	struct vcpu_shutdown shut; /* and the faults on its way */
	struct vcpu_guest of[VCPU_GUESTS];
};

struct vcpu_ops {
	enum run_exit (*run)(struct vcpu *v, struct err *e);
	void (*kick)(struct vcpu *v); /* look at vm->stop and pending events soon */
	void (*get_state)(struct vcpu *v, struct x86_state *st);
	int (*set_state)(struct vcpu *v, const struct x86_state *st, struct err *e);
	void (*reset)(struct vcpu *v); /* to the power-on state; not inside run */
	/* Whether all points of vm->debug can be met at once. NULL: any can. */
	bool (*debug_fits)(const struct vcpu *v);
	/* From the local APIC (soft engine). assert_intr: `highest` may have changed. */
	void (*assert_intr)(struct vcpu *v);
	void (*assert_nmi)(struct vcpu *v);
	void (*assert_smi)(struct vcpu *v); /* may be NULL */
	void (*assert_init)(struct vcpu *v);
	void (*assert_sipi)(struct vcpu *v, u8 vector);
	/* Calls apic_ops->deadline when its TSC gets there, running or asleep. ~0: no more. */
	void (*set_deadline)(struct vcpu *v, u64 tsc);
	/* Physical memory was written by a device: drop decoded code of [pa, pa + len). May be NULL. */
	void (*drop_code)(struct vcpu *v, u64 pa, u64 len);
	const struct vcpu_counters *(*counters)(struct vcpu *v);
	/* What RDMSR would give; not inside run. false: #GP. NULL: the engine does not tell. */
	bool (*read_msr)(struct vcpu *v, u32 index, u64 *value);
	/* Of the last RUN_TRIPLE_FAULT. May be NULL. */
	const struct vcpu_shutdown *(*shutdown)(struct vcpu *v);
	/* What it has run by SVM or VMX; counts go on while it runs. NULL: the engine does not tell. */
	const struct vcpu_guests *(*guests)(struct vcpu *v);
	void (*destroy)(struct vcpu *v);
};

struct vcpu {
	const struct vcpu_ops *ops;
	struct vm *vm;
	unsigned index; /* APIC ID */
	struct vcpu_debug debug;
};

#endif
