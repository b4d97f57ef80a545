/*
 * What of the guests that this processor runs is counted for whoever looks from outside (core/vcpu.h: vcpu_guests).
 * Neither state nor cache: nothing that the guest sees depends on it.
 */
#ifndef CPU_X86_GUESTS_H
#define CPU_X86_GUESTS_H

#include "cpu/x86/cpu.h"

void guests_init(struct vcpu_guests *g);
/* The row of a VMCB or VMCS, made when there is none. */
struct vcpu_guest *guests_find(struct vcpu_guests *g, u64 at);
/* An entry follows an exit that asked for one: what that says of levels. */
void guests_vote(struct vcpu_guests *g, struct vcpu_guest *entered);

static inline struct vcpu_guest *guests_row(struct x86_cpu *cpu, u64 at)
{
	struct vcpu_guest *row = &cpu->guests.of[cpu->guest_row];

	if (unlikely(row->at != at)) {
		row = guests_find(&cpu->guests, at);
		cpu->guest_row = (u32)(row - cpu->guests.of);
	}
	return row;
}

/* An entry begins; the VMCB's or VMCS's rules are not checked yet. */
static inline void guests_enter(struct x86_cpu *cpu, u64 at)
{
	struct vcpu_guest *row = guests_row(cpu, at);

	row->entries++;
	cpu->guests.last = at;
	if (unlikely(cpu->guests.asker != ~0ull))
		guests_vote(&cpu->guests, row);
}

static inline void guests_refuse(struct x86_cpu *cpu, u64 at, u32 rule)
{
	guests_row(cpu, at)->refused++;
	cpu->guests.refused_at = at;
	cpu->guests.refused_rule = rule;
}

static inline void guests_refuse_msr(struct x86_cpu *cpu, u64 at, u32 entry)
{
	guests_refuse(cpu, at, VCPU_REFUSED_MSR);
	cpu->guests.refused_entry = entry;
}

static inline void guests_exit(struct x86_cpu *cpu, u64 at, u32 exit)
{
	guests_row(cpu, at)->exits[exit]++;
	if (unlikely(exit == EXIT_VMRUN || exit == EXIT_VMLAUNCH || exit == EXIT_VMRESUME))
		cpu->guests.asker = at;
	if (unlikely(exit == EXIT_SHUTDOWN)) {
		cpu->guests.shut_at = at;
		cpu->guests.shut = cpu->shut;
	}
}

#endif
