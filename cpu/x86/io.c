/*
 * Permission of port accesses. SDM vol. 1 19.5 "Protected-Mode I/O"; APM vol. 2 12.2.4 "I/O-Permission Bitmap", 15.10
 * "IOIO Intercepts".
 *
 * In protected mode with CPL above IOPL, and always in virtual-8086 mode, the TSS's permission bitmap decides: a bit
 * for each port of the access must be 0 and lie within the TSS's limit. Two bytes are read, so the limit must reach the
 * second. The intercept comes after the permission check (APM vol. 2 table 15-7).
 */
#include "cpu/x86/exec.h"
#include "cpu/x86/vmexit.h"

#define TSS_IO_BASE 0x66 /* the same in 32-bit and 64-bit TSSs */
#define TSS_TYPE_32 9	 /* available; busy is 11. 64-bit TSSs have the same type */

static enum outcome bitmap_check(struct x86_cpu *cpu, u16 port, unsigned size)
{
	const struct x86_seg *tr = &cpu->st.tr;
	u16 base, bits;
	enum outcome o;

	if (!(tr->attr & SEG_P) || (tr->attr & (SEG_S | SEG_TYPE) & ~2u) != TSS_TYPE_32 || tr->limit < TSS_IO_BASE + 1)
		return x86_fault(cpu, EXC_GP, 0);
	o = mem_read16(cpu, tr->base + TSS_IO_BASE, &base, ACC_SYSTEM);
	if (o != OUT_NEXT)
		return o;
	if ((u32)base + port / 8 + 1 > tr->limit)
		return x86_fault(cpu, EXC_GP, 0);
	o = mem_read16(cpu, tr->base + base + port / 8, &bits, ACC_SYSTEM);
	if (o != OUT_NEXT)
		return o;
	if (bits >> (port % 8) & MASK(size))
		return x86_fault(cpu, EXC_GP, 0);
	return OUT_NEXT;
}

enum outcome io_permission(struct x86_cpu *cpu, u16 port, unsigned size)
{
	const struct x86_state *st = &cpu->st;

	if ((cpu->c.mode & MODE_PE) && ((cpu->c.mode & MODE_V86) || st->cpl > (st->rflags & FL_IOPL) >> 12))
		return bitmap_check(cpu, port, size);
	return OUT_NEXT;
}

enum outcome io_check(struct x86_cpu *cpu, const struct insn *in, u16 port, unsigned size, bool is_in, bool is_string)
{
	enum outcome o = io_permission(cpu, port, size);

	if (o != OUT_NEXT)
		return o;
	if (cpu->c.guest)
		return vmexit_check_io(cpu, in, port, size, is_in, is_string,
				       is_string && (in->flags & (IN_REP | IN_REPNE)));
	return OUT_NEXT;
}

/* SDM vol. 3 18.2.4 "Debug Control Register (DR7)": type 10 with CR4.DE. The trap is due after the instruction. */
void io_watch(struct x86_cpu *cpu, u16 port, unsigned size)
{
	static const u8 lengths[] = {1, 2, 8, 4};
	u64 dr7 = cpu->st.dr7, hits = 0;

	if (likely(!(dr7 & 0xff)) || !(cpu->st.cr4 & CR4_DE))
		return;
	for (unsigned i = 0; i < 4; i++) {
		unsigned len = lengths[dr7 >> (18 + 4 * i) & 3];
		u64 at = ALIGN_DOWN(cpu->st.dr[i], len);

		if ((dr7 >> (2 * i) & 3) && (dr7 >> (16 + 4 * i) & 3) == 2 && at < (u64)port + size && port < at + len)
			hits |= BIT(i);
	}
	if (hits && cpu->st.svm.gif) { /* APM vol. 2 15.17: with GIF 0 they are discarded */
		cpu->st.pending_db |= hits;
		x86_update_attention(cpu);
	}
}
