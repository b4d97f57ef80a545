/*
 * Virtual-8086 mode by IOPL and CR4.VME, and protected-mode virtual interrupts. SDM vol. 3 20.2, 20.3 (table 20-2
 * "Software Interrupt Handling Methods While in Virtual-8086 Mode"), 20.4; SDM vol. 2 "CLI", "STI", "PUSHF", "POPF",
 * "IRET".
 */
#include "tests/unit/sys_world.h"

#define SP	 0x900
#define OWN_HAND 0x500 /* the 8086 program's handler, an offset in its segment */

static struct world *v86_world(unsigned iopl, bool vme, u64 flags)
{
	struct world *w = sys_world("EPYC", V86, 3);

	w->st.rflags |= (u64)iopl << 12 | flags;
	w->st.cr4 |= vme ? CR4_VME : 0;
	w->st.gpr[RSP] = SP;
	put(w, 4 * 0x45, OWN_HAND | (u32)V86_SEG << 16, 4);
	/* The redirection bitmap lies below the I/O bitmap, on top of what a test needs of the TSS: move that up. */
	put(w, TSS + 0x66, 0xa0, 2);
	return w;
}

static void redirect(struct world *w, unsigned vector, bool to_monitor)
{
	u64 byte = TSS + 0xa0 - 32 + vector / 8;

	put(w, byte, to_monitor ? 1u << (vector % 8) : 0, 1);
}

ASM16(int_45, "int $0x45\n")
ASM16(int3, "int3\n")
ASM16(cli, "cli")
ASM16(sti, "sti")
ASM16(pushf, "pushf")
ASM16(pushfl, "pushfl")
ASM16(popf, "popf")
ASM16(popfl, "popfl")
ASM16(iret, "iret")
ASM16(iretl, "iretl")

static u16 word(struct world *w, unsigned off) { return (u16)get(w, USER + off, 2); }

/* Table 20-2: methods 1 to 6. */
static void software_interrupts(void **state)
{
	for (unsigned vme = 0; vme < 2; vme++)
		for (unsigned low = 0; low < 2; low++)
			for (unsigned bit = 0; bit < 2; bit++) {
				struct world *w = v86_world(low ? 2 : 3, vme, FL_VIF | (low ? 0 : FL_IF));
				struct taken t;

				redirect(w, 0x45, bit);
				PROGRAM(w, int_45);
				if (vme && !bit) { /* 5 and 6: the program's own handler */
					struct x86_state st = w->st;

					assert_int_equal(ONE(w, int_45), OUT_JUMP);
					assert_int_equal(w->st.rip, OWN_HAND);
					assert_int_equal(w->st.seg[CS].sel, V86_SEG);
					assert_int_equal(w->st.gpr[RSP], SP - 6);
					assert_int_equal(word(w, SP - 6), 2);
					assert_int_equal(word(w, SP - 4), V86_SEG);
					/* Its flags: IOPL 3, IF is VIF below IOPL 3. */
					assert_int_equal(word(w, SP - 2) & (FL_IF | FL_IOPL), FL_IF | FL_IOPL);
					assert_int_equal(w->st.rflags & FL_IOPL, st.rflags & FL_IOPL);
					assert_int_equal(!!(w->st.rflags & FL_VIF), !low);
					assert_false(!low && (w->st.rflags & FL_IF));
					assert_true(w->st.rflags & FL_VM);
					world_free(w);
					continue;
				}
				t = sys_run(w);
				if (low) { /* 2 and 4 */
					assert_taken(t, EXC_GP, 0);
					assert_int_equal(t.rip, 0);
				} else { /* 1 and 3: the protected-mode handler */
					assert_taken(t, 0x45, 0);
					assert_int_equal(t.rip, 2);
					assert_true(t.flags & FL_VM);
					assert_int_equal(w->st.cpl, 0);
				}
				world_free(w);
			}
	/* INT3 is not redirected, and IOPL does not hold it. */
	{
		struct world *w = v86_world(0, true, 0);

		PROGRAM(w, int3);
		assert_taken(sys_run(w), EXC_BP, 0);
		world_free(w);
	}
}

static void bitmap_beyond_limit(void **state)
{
	struct world *w = v86_world(0, true, 0);

	w->st.tr.limit = 0xa0 - 32 + 0x45 / 8 - 1;
	assert_fault(w, ONE(w, int_45), EXC_GP, 0);
	world_free(w);
}

static void flags_below_iopl_3(void **state)
{
	for (unsigned iopl = 0; iopl < 4; iopl += 3)
		for (unsigned vme = 0; vme < 2; vme++) {
			struct world *w = v86_world(iopl, vme, FL_VIF);
			bool real = iopl == 3, lent = !real && vme;

			if (real) {
				w->st.rflags |= FL_IF;
				assert_done(ONE(w, cli));
				assert_false(w->st.rflags & FL_IF);
				assert_true(w->st.rflags & FL_VIF);
				assert_done(ONE(w, sti));
				assert_true(w->st.rflags & FL_IF);
			} else if (lent) {
				assert_done(ONE(w, cli));
				assert_false(w->st.rflags & FL_VIF);
				assert_done(ONE(w, sti));
				assert_true(w->st.rflags & FL_VIF);
				assert_false(w->st.rflags & FL_IF);
				w->st.rflags |= FL_VIP;
				assert_fault(w, ONE(w, sti), EXC_GP, 0);
				w->st.rflags &= ~FL_VIP;
			} else {
				assert_fault(w, ONE(w, cli), EXC_GP, 0);
				assert_fault(w, ONE(w, sti), EXC_GP, 0);
			}
			w->st.gpr[RSP] = SP;
			if (!real && !vme)
				assert_fault(w, ONE(w, pushf), EXC_GP, 0);
			else
				assert_done(ONE(w, pushf));
			if (lent) {
				assert_int_equal(word(w, SP - 2) & (FL_IOPL | FL_IF), FL_IOPL | FL_IF);
				/* POPF: IF goes to VIF, IOPL stays, TF and a pending interrupt are the monitor's. */
				w->st.gpr[RSP] = SP - 2;
				put(w, USER + SP - 2, FL_CF, 2);
				assert_done(ONE(w, popf));
				assert_false(w->st.rflags & (FL_VIF | FL_IF));
				assert_int_equal(w->st.rflags & FL_IOPL, 0);
				w->st.gpr[RSP] = SP - 2;
				put(w, USER + SP - 2, FL_TF, 2);
				assert_fault(w, ONE(w, popf), EXC_GP, 0);
				put(w, USER + SP - 2, FL_IF, 2);
				w->st.rflags |= FL_VIP;
				assert_fault(w, ONE(w, popf), EXC_GP, 0);
			}
			w->st.gpr[RSP] = SP - 4;
			assert_int_equal(ONE(w, pushfl) == OUT_FAULT, !real);
			w->st.gpr[RSP] = SP - 4;
			assert_int_equal(ONE(w, popfl) == OUT_FAULT, !real);
			world_free(w);
		}
}

static void iret_below_iopl_3(void **state)
{
	for (unsigned iopl = 0; iopl < 4; iopl += 3)
		for (unsigned vme = 0; vme < 2; vme++) {
			struct world *w = v86_world(iopl, vme, 0);
			struct x86_state st;
			bool real = iopl == 3;

			w->st.gpr[RSP] = SP;
			put(w, USER + SP, 0x123, 2);
			put(w, USER + SP + 2, V86_SEG + 1, 2);
			put(w, USER + SP + 4, FL_IF | FL_CF, 2);
			st = w->st;
			if (!real && !vme) {
				assert_fault(w, ONE(w, iret), EXC_GP, 0);
			} else {
				assert_int_equal(ONE(w, iret), OUT_JUMP);
				assert_int_equal(w->st.rip, 0x123);
				assert_int_equal(w->st.seg[CS].sel, V86_SEG + 1);
				assert_int_equal(w->st.gpr[RSP], SP + 6);
				assert_int_equal(!!(w->st.rflags & FL_IF), real);
				assert_int_equal(!!(w->st.rflags & FL_VIF), !real);
				assert_int_equal(w->st.rflags & FL_IOPL, st.rflags & FL_IOPL);
				assert_true(x86_rflags(&w->st) & FL_CF);
			}
			if (!real && vme) {
				w->st = st;
				w->st.rflags |= FL_VIP;
				assert_fault(w, ONE(w, iret), EXC_GP, 0);
				w->st = st;
				put(w, USER + SP + 4, FL_TF, 2);
				assert_fault(w, ONE(w, iret), EXC_GP, 0);
			}
			w->st = st;
			put(w, USER + SP, 0x123, 4);
			put(w, USER + SP + 4, V86_SEG, 4);
			put(w, USER + SP + 8, FL_IF | FL_VM, 4);
			assert_int_equal(ONE(w, iretl) == OUT_FAULT, !real);
			world_free(w);
		}
}

/* Ports: the bitmap always, whatever IOPL. */
ASM16(in_dx, "in %dx, %al")

static void ports(void **state)
{
	for (unsigned iopl = 0; iopl < 4; iopl += 3) {
		struct world *w = v86_world(iopl, false, 0);

		put(w, TSS + 0x66, IO_MAP, 2);
		w->st.gpr[RDX] = 0x80;
		assert_int_equal(ONE(w, in_dx), OUT_END);
		w->st.gpr[RDX] = 0x100;
		assert_fault(w, ONE(w, in_dx), EXC_GP, 0);
		world_free(w);
	}
}

/* An exception leaves through the IDT with all segments saved; to a handler that is not CPL 0 it is #GP. */
ASM16(ud2, "ud2\n")

static void exceptions(void **state)
{
	struct world *w = v86_world(0, false, 0);
	struct taken t;

	w->st.seg[FS].sel = 0x1234;
	PROGRAM(w, ud2);
	t = sys_run(w);
	assert_taken(t, EXC_UD, 0);
	assert_int_equal(t.cs, V86_SEG);
	assert_true(t.flags & FL_VM);
	assert_int_equal(get(w, w->st.gpr[RSP] + 28, 2), 0x1234);
	assert_int_equal(w->st.seg[FS].sel, 0);
	assert_false(w->st.rflags & FL_VM);
	world_free(w);
	w = v86_world(0, false, 0);
	sys_gdt(w, FREE, descriptor(0, 0xfffff, 0xcfb));
	sys_gate(w, EXC_UD, HANDLER + 16 * EXC_UD, FREE, SYS_INT, 3);
	PROGRAM(w, ud2);
	t = sys_run(w);
	assert_int_equal(t.vector, EXC_GP);
	assert_int_equal(t.error & ~1u, FREE);
	world_free(w);
}

/* CR4.PVI: CLI and STI at CPL 3 below IOPL act on VIF. SDM vol. 3 20.4. */
ASM32(cli32, "cli")
ASM32(sti32, "sti")

static void protected_virtual_interrupts(void **state)
{
	struct world *w = sys_world("EPYC", PROT32, 3);

	assert_fault(w, ONE(w, sti32), EXC_GP, 0);
	w->st.cr4 |= CR4_PVI;
	w->st.rflags |= FL_IF;
	assert_done(ONE(w, sti32));
	assert_true(w->st.rflags & FL_VIF);
	assert_done(ONE(w, cli32));
	assert_false(w->st.rflags & FL_VIF);
	assert_true(w->st.rflags & FL_IF);
	w->st.rflags |= FL_VIP;
	assert_fault(w, ONE(w, sti32), EXC_GP, 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(software_interrupts),
		cmocka_unit_test(bitmap_beyond_limit),
		cmocka_unit_test(flags_below_iopl_3),
		cmocka_unit_test(iret_below_iopl_3),
		cmocka_unit_test(ports),
		cmocka_unit_test(exceptions),
		cmocka_unit_test(protected_virtual_interrupts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
