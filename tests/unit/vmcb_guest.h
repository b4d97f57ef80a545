/* A VMCB made by hand, for tests whose worlds differ in where things are. */
#ifndef TESTS_UNIT_VMCB_GUEST_H
#define TESTS_UNIT_VMCB_GUEST_H

#include "arch/x86/bits.h"
#include "arch/x86/vmcb.h"

/* A 64-bit guest in ring 0 that only VMRUN and VMMCALL leave. Tables, GDTR, RIP and RSP are the caller's. */
static inline void vmcb_guest64(struct vmcb *b, u16 code, u16 data)
{
	b->c.intercept4 = 3; /* VMRUN, VMMCALL */
	b->c.asid = 1;
	b->s.es = b->s.ss = b->s.ds = (struct vmcb_seg){data, 0xc93, 0xffffffff, 0};
	b->s.cs = (struct vmcb_seg){code, 0xa9b, 0xffffffff, 0};
	b->s.efer = EFER_LME | EFER_LMA | EFER_SVME;
	b->s.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
	b->s.cr4 = CR4_PAE;
	b->s.dr6 = DR6_FIXED;
	b->s.dr7 = DR7_FIXED;
	b->s.rflags = FL_FIXED;
	b->s.g_pat = 0x0007040600070406;
}

#endif
