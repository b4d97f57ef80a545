/*
 * INT n in virtual-8086 mode with CR4.VME: SDM vol. 3 20.3.3 "Class 3-Software Interrupt Handling in Virtual-8086
 * Mode", table 20-2. The redirection bitmap is the 32 bytes below the I/O permission bitmap of the TSS; a clear bit
 * leads to the program's own vector table at linear address 0 (methods 5 and 6). Below IOPL 3 the program sees VIF as
 * its IF.
 */
#include "cpu/x86/exec.h"
#include "cpu/x86/seg.h"

#define TSS_IO_BASE  0x66
#define BITMAP_BYTES 32

static enum outcome bitmap_bit(struct x86_cpu *cpu, u8 vector, bool *set)
{
	const struct x86_seg *tr = &cpu->st.tr;
	enum outcome o;
	u32 at;
	u16 base;
	u8 bits;

	if (tr->limit < TSS_IO_BASE + 1)
		return x86_fault(cpu, EXC_GP, 0);
	o = mem_read16(cpu, (u32)(tr->base + TSS_IO_BASE), &base, ACC_SYSTEM);
	if (o != OUT_NEXT)
		return o;
	at = (u32)base - BITMAP_BYTES + vector / 8;
	if (at > tr->limit)
		return x86_fault(cpu, EXC_GP, 0);
	o = mem_read8(cpu, (u32)(tr->base + at), &bits, ACC_SYSTEM);
	*set = bits >> (vector % 8) & 1;
	return o;
}

enum outcome v86_redirect(struct x86_cpu *cpu, u8 vector, u64 next_rip, bool *redirected)
{
	bool own = (cpu->st.rflags & FL_IOPL) == FL_IOPL, set = true;
	u64 flags = x86_rflags(&cpu->st);
	struct frame f;
	u32 far;
	enum outcome o = bitmap_bit(cpu, vector, &set);

	*redirected = false;
	if (o != OUT_NEXT || set)
		return o;
	o = mem_read32(cpu, vector * 4u, &far, ACC_SYSTEM);
	if (o != OUT_NEXT)
		return o;
	if (!own)
		flags = (flags & ~FL_IF) | FL_IOPL | (flags & FL_VIF ? FL_IF : 0);
	frame_init_current(cpu, &f, 2, 0);
	frame_add(&f, flags);
	frame_add(&f, cpu->st.seg[CS].sel);
	frame_add(&f, next_rip);
	o = frame_push(cpu, &f);
	if (o != OUT_NEXT)
		return o;
	frame_set_sp(cpu, f.sp, f.ss.attr, false);
	seg_set_v86(cpu, CS, far >> 16);
	cpu->st.rip = far & 0xffff;
	cpu->st.rflags &= ~(FL_TF | FL_RF | (own ? FL_IF : FL_VIF));
	x86_update_mode(cpu);
	x86_update_attention(cpu);
	*redirected = true;
	return OUT_NEXT;
}
