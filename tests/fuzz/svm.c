/*
 * A hostile L1 on SVM: VMCBs that are good but for what the input spoils, its own sequence of SVM instructions, and a
 * guest that may write to all of memory, its VMCB and the host save area included.
 *
 * An input: what is on, changes to memory, L1's instructions, the guest's.
 */
#include "arch/x86/vmcb.h"
#include "tests/fuzz/hostile.h"

#define HSAVE (H_AREA + 0x1000)
#define IOPM  H_BITMAPS
#define MSRPM (H_BITMAPS + 0x3000)

static void vmcb_make(struct world *w, u64 at, u8 how)
{
	struct vmcb *b = (struct vmcb *)(w->ram + at);
	const struct vmcb_seg data = {W_DS, 0xc93, 0xffffffff, 0};

	b->c.intercept3 = how & 8 ? 0xffffffff : how & 16 ? BIT(27) | BIT(28) : 0;
	b->c.intercept4 = how & 8 ? 0x3fff : 3;
	b->c.exceptions = how & 32 ? 0xffffffff : 0;
	b->c.cr_write = how & 32 ? 0xffff : 0;
	b->c.asid = 1;
	b->c.iopm = IOPM;
	b->c.msrpm = MSRPM;
	if (how & 4) {
		b->c.np_control = NP_ENABLE;
		b->c.ncr3 = W_NESTED;
	}
	if (how & 64)
		b->c.int_ctl = VI_INTR_MASKING | VI_IRQ | 8 << 16;
	if (how & 1) {
		b->c.int_ctl |= (u32)VI_AVIC;
		b->c.avic_bar = W_DATA;
		b->c.avic_backing = H_AREA;
		b->c.avic_logical = H_BITMAPS;
		b->c.avic_physical = H_BITMAPS | 0xff;
		*(u64 *)(w->ram + H_BITMAPS) = BIT(63) | BIT(62) | H_AREA;
	}
	if (how & 2)
		b->c.int_ctl |= VI_NMI_ENABLE | VI_NMI | (how & 1 ? VI_X2AVIC : 0);
	b->c.int_vector = 0x41;
	b->s.es = b->s.ss = b->s.ds = b->s.fs = b->s.gs = data;
	b->s.cs = (struct vmcb_seg){W_CS64, 0xa9b, 0xffffffff, 0};
	b->s.tr = (struct vmcb_seg){W_TR, 0x8b, 0x2067, W_TSS};
	b->s.gdtr = (struct vmcb_seg){.limit = 0x7f, .base = W_GDT};
	b->s.idtr = (struct vmcb_seg){.limit = 0xfff, .base = W_IDT};
	b->s.efer = EFER_LME | EFER_LMA | EFER_SVME | EFER_NXE;
	b->s.cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE;
	b->s.cr3 = W_TABLES;
	b->s.cr4 = CR4_PAE | CR4_OSFXSR;
	b->s.dr6 = DR6_FIXED;
	b->s.dr7 = DR7_FIXED;
	b->s.rflags = FL_FIXED;
	b->s.rip = W_GUEST;
	b->s.rsp = W_STACK - 0x400;
	b->s.g_pat = 0x0007040600070406;
	if (how & 128) { /* real mode */
		b->s.efer = EFER_SVME;
		b->s.cr0 = CR0_ET;
		b->s.cs = (struct vmcb_seg){0, 0x9b, 0xffff, 0};
		b->s.ss = b->s.ds = b->s.es = (struct vmcb_seg){0, 0x93, 0xffff, 0};
		b->s.idtr = (struct vmcb_seg){.limit = 0x3ff};
	}
}

static void host_code(struct code *c, struct fuzz_in *in, unsigned n)
{
	static const u8 leaf[] = {0xd8, 0xda, 0xdb, 0xdc,
				  0xdd, 0xdf, 0xd9, 0xde}; /* 0F 01 xx: VMRUN, VMLOAD, ... SKINIT */

	while (n-- && in->n) {
		u8 what = fuzz_u8(in);

		code_mov(c, 0, what & 64 ? hostile_pointer(in) : H_BLOCK + (what & 32) * 0x80);
		switch (what & 15) {
		default: CODE(c, 0x0f, 0x01, leaf[what & 7]); break;
		case 8:
		case 9: CODE(c, 0x0f, 0x01, 0xd8); break;
		case 10: code_wrmsr(c, what & 16 ? 0xc001011b : 0xc0010117, hostile_pointer(in)); break;
		case 11: code_wrmsr(c, what & 16 ? 0xc0000080 : 0xc0010114, fuzz_value(in)); break;
		case 12:
			code_mov(c, 3, hostile_address(in));
			code_mov(c, 0, hostile_value(in));
			CODE(c, 0x48, 0x89, 0x03);
			break;
		case 13: code_cr(c, fuzz_u8(in) & 8 ? 8 : fuzz_u8(in) & 4, fuzz_value(in)); break;
		case 14: CODE(c, 0xe6, what & 16 ? 0xf5 : 0xf6, 0xfb); break;
		case 15: hostile_guest(c, in, 2); break;
		}
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct world *w;
	struct fuzz_in in = {data, size};
	u8 how = fuzz_u8(&in), on = fuzz_u8(&in), counts = fuzz_u8(&in);
	struct code c;

	if (!w)
		w = world_new("EPYC,vnmi=on,x2avic=on");
	world_start(w, WORLD_64);
	world_map(w, W_NESTED, 7, 7, 0x87);
	w->st.msr.efer |= on & 1 ? 0 : EFER_SVME;
	w->st.svm.hsave_pa = on & 2 ? 0 : HSAVE;
	w->st.rflags |= on & 4 ? FL_IF : 0;
	w->st.cr4 |= CR4_OSXSAVE;
	vmcb_make(w, H_BLOCK, how);
	vmcb_make(w, H_BLOCK + 0x1000, (u8)(how << 3 | how >> 5));
	/* Handlers: the host's stops, the guest's is the same page. */
	c = (struct code){w->ram + W_HANDLER, 0, 64};
	if (on & 8)
		CODE(&c, 0x48, 0xcf);
	code_stop(&c);
	hostile_spoil(w, &in, counts & 15);
	c = (struct code){w->ram + W_CODE, 0, 0xff0};
	host_code(&c, &in, counts >> 4);
	/* Then the guest, again and again, its RIP moved past what made it exit. */
	code_mov(&c, 0, H_BLOCK);
	for (unsigned i = 0; i < 12; i++)
		CODE(&c, 0x0f, 0x01, 0xd8, 0x48, 0x8b, 0x98, 0xc8, 0, 0, 0, 0x48, 0x89, 0x98, 0x78, 5, 0, 0);
	code_stop(&c);
	c = (struct code){w->ram + W_GUEST, 0, 0xff0};
	hostile_guest(&c, &in, 60);
	CODE(&c, 0x0f, 0x01, 0xd9, 0xf4);
	(void)world_run(w);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room)
{
	/* Each of the ways of vmcb_make; without changes; one host instruction; guest instructions 0 to 30. */
	if (n >= 16)
		return 0;
	memset(buf, 0, 60);
	buf[0] = (u8)(n < 8 ? 1u << n : n * 37);
	buf[1] = n & 1 ? 4 : 8;
	buf[2] = 0x10;
	buf[3] = 8;
	for (u8 i = 0; i < 40; i++)
		buf[4 + i] = (u8)((i * (n + 1)) % 160);
	return 44;
}
