/*
 * Who may execute what: system instructions by mode, privilege and IOPL; the reserved bits and the forbidden changes of
 * CR0, CR4 and EFER; SYSCALL and SYSENTER as each vendor has them. SDM vol. 2 at each name; SDM vol. 3 2.5, 5.9, 9.8.5,
 * 20.2; APM vol. 2 6.1, 14.6.
 */
#include "tests/unit/sys_world.h"

#include "arch/x86/vmcs.h"

/* In each of the modes below: D done, G #GP(0), U #UD. */
static const struct {
	enum sys_mode mode;
	unsigned cpl;
} places[] = {{REAL, 0}, {V86, 3}, {PROT32, 0}, {PROT32, 3}, {LONG, 0}, {LONG, 3}};

#define BYTES(s) (const u8 *)(s), sizeof(s) - 1

static void instructions(void **state)
{
	static const struct {
		const char *name, *want; /* by places */
		const u8 *code;
		size_t size;
	} rows[] = {
		{"hlt", "DGDGDG", BYTES("\xf4")},
		{"invd", "DGDGDG", BYTES("\x0f\x08")},
		{"wbinvd", "DGDGDG", BYTES("\x0f\x09")},
		{"invlpg", "DGDGDG", BYTES("\x0f\x01\x3b")},
		{"clts", "DGDGDG", BYTES("\x0f\x06")},
		{"lmsw ax", "DGDGDG", BYTES("\x0f\x01\xf0")},
		{"mov cr0, eax", "DGDGDG", BYTES("\x0f\x22\xc0")},
		{"mov eax, cr0", "DGDGDG", BYTES("\x0f\x20\xc0")},
		{"mov eax, cr1", "UUUUUU", BYTES("\x0f\x20\xc8")},
		{"mov eax, dr0", "DGDGDG", BYTES("\x0f\x21\xc0")},
		{"lgdt", "DGDGDG", BYTES("\x0f\x01\x13")},
		{"lidt", "DGDGDG", BYTES("\x0f\x01\x1b")},
		{"sgdt", "DDDDDD", BYTES("\x0f\x01\x03")},
		{"sidt", "DDDDDD", BYTES("\x0f\x01\x0b")},
		{"smsw ax", "DDDDDD", BYTES("\x0f\x01\xe0")},
		{"lldt ax", "UUDGDG", BYTES("\x0f\x00\xd0")},
		{"sldt ax", "UUDDDD", BYTES("\x0f\x00\xc0")},
		{"str ax", "UUDDDD", BYTES("\x0f\x00\xc8")},
		{"lar eax, eax", "UUDDDD", BYTES("\x0f\x02\xc0")},
		{"lsl eax, eax", "UUDDDD", BYTES("\x0f\x03\xc0")},
		{"verr ax", "UUDDDD", BYTES("\x0f\x00\xe0")},
		{"rdmsr", "DGDGDG", BYTES("\x0f\x32")},
		{"wrmsr", "DGDGDG", BYTES("\x0f\x30")},
		{"rdtsc", "DDDDDD", BYTES("\x0f\x31")},
		{"rdpmc", "GGGGGG", BYTES("\x0f\x33")},
		{"cpuid", "DDDDDD", BYTES("\x0f\xa2")},
		{"rsm", "UUUUUU", BYTES("\x0f\xaa")},
		{"ud0", "UUUUUU", BYTES("\x0f\xff\xc0")},
		{"clac", "DUDUDU", BYTES("\x0f\x01\xca")},
		{"swapgs", "UUUUDG", BYTES("\x0f\x01\xf8")},
		{"xgetbv", "DDDDDD", BYTES("\x0f\x01\xd0")},
		{"xsetbv", "DGDGDG", BYTES("\x0f\x01\xd1")},
		{"monitor", "DUDUDU", BYTES("\x0f\x01\xc8")},
		{"vmrun", "UUDGDG", BYTES("\x0f\x01\xd8")},
		{"vmmcall", "UUUUUU", BYTES("\x0f\x01\xd9")},
		{"stgi", "UUDGDG", BYTES("\x0f\x01\xdc")},
		{"cli", "DGDGDG", BYTES("\xfa")},
		{"sti", "DGDGDG", BYTES("\xfb")},
		{"in al, dx", "DGDGDG", BYTES("\xec")},
		{"out dx, al", "DGDGDG", BYTES("\xee")},
		{"insb", "DGDGDG", BYTES("\x6c")},
		{"pushf", "DGDDDD", BYTES("\x9c")},
		{"popf", "DGDDDD", BYTES("\x9d")},
		{"int 0x45", "DGDDDD", BYTES("\xcd\x45")},
		{"ud2", "UUUUUU", BYTES("\x0f\x0b")},
		{"lock nop", "UUUUUU", BYTES("\xf0\x90")},
		{"mov cs, ax", "UUUUUU", BYTES("\x8e\xc8")},
	};

	for (unsigned p = 0; p < ARRAY_SIZE(places); p++) {
		struct world *w = sys_world("EPYC-Rome", places[p].mode, places[p].cpl);
		struct x86_state st;

		w->st.cr4 |= CR4_OSXSAVE;
		w->st.msr.efer |= EFER_SVME;
		w->st.xcr0 = 7;
		if (places[p].mode == V86 || places[p].mode == REAL)
			w->st.gpr[RSP] = 0x800;
		w->st.gpr[RBX] = 0x400;
		w->st.gpr[RDI] = 0x400;
		st = w->st;
		for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
			enum outcome o;
			char got;

			w->st = st;
			w->st.gpr[RCX] = rows[i].name[2] == 'm' ? 0x10 : 0; /* RDMSR, WRMSR: the TSC */
			w->st.gpr[RAX] = rows[i].name[0] == 'm' ? w->st.cr0 : rows[i].name[0] == 'x' ? 7 : 0;
			w->st.gpr[RDX] = rows[i].name[0] == 'x' ? 0 : 0x100;
			if (rows[i].name[0] == 'm' && rows[i].name[2] == 'n')
				w->st.gpr[RAX] = 0x400;
			o = sys_one(w, rows[i].code, rows[i].code + rows[i].size);
			got = o != OUT_FAULT						   ? 'D'
			      : w->cpu->c.event.vector == EXC_UD			   ? 'U'
			      : w->cpu->c.event.vector == EXC_GP && !w->cpu->c.event.error ? 'G'
											   : '?';
			if (got != rows[i].want[p])
				fail_msg("%s at place %u: %c (outcome %d, vector %u), not %c", rows[i].name, p, got, o,
					 w->cpu->c.event.vector, rows[i].want[p]);
		}
		world_free(w);
	}
}

/* CLI, STI, IN, OUT and POPF by IOPL; the I/O bitmap where IOPL denies. */
ASM32(cli, "cli")
ASM32(sti, "sti")
ASM32(in_dx, "in %dx, %al")
ASM32(inl_dx, "in %dx, %eax")
ASM32(popf, "popf")

static void iopl(void **state)
{
	for (unsigned cpl = 0; cpl <= 3; cpl += 3)
		for (unsigned i = 0; i < 4; i++) {
			struct world *w = sys_world("EPYC", PROT32, cpl);
			bool may = cpl <= i;

			w->st.rflags |= (u64)i << 12;
			w->st.gpr[RDX] = 0x80;
			assert_int_equal(ONE(w, in_dx), OUT_END); /* the bitmap allows it */
			w->st.gpr[RDX] = 0x100;
			assert_int_equal(ONE(w, in_dx) == OUT_FAULT, !may);
			w->st.gpr[RDX] = 0xfd; /* the last of the four is denied */
			assert_int_equal(ONE(w, inl_dx) == OUT_FAULT, !may);
			w->st.gpr[RDX] = 0xfc;
			assert_int_equal(ONE(w, inl_dx), OUT_END);
			w->st.gpr[RDX] = 8 * (0xff - IO_MAP); /* the second byte lies beyond the limit */
			assert_int_equal(ONE(w, in_dx) == OUT_FAULT, !may);
			assert_int_equal(ONE(w, sti) == OUT_FAULT, !may);
			assert_int_equal(ONE(w, cli) == OUT_FAULT, !may);
			w->st.rflags &= ~FL_IF;
			put(w, w->st.gpr[RSP], FL_IF | FL_IOPL, 4);
			assert_done(ONE(w, popf));
			assert_int_equal(w->st.rflags & FL_IF, may ? FL_IF : 0);
			assert_int_equal(w->st.rflags & FL_IOPL, cpl ? (u64)i << 12 : FL_IOPL);
			world_free(w);
		}
}

/* Bits of CR4 and EFER: each alone, against what the model has. */
ASM64(mov_cr0, "mov %rax, %cr0")
ASM64(mov_cr4, "mov %rax, %cr4")
ASM64(mov_cr8, "mov %rax, %cr8")
ASM64(wrmsr, "wrmsr")

static void control_bits(void **state)
{
	static const char *const models[] = {"EPYC", "EPYC-Milan,+la57", "Haswell-noTSX-IBRS", "Cascadelake-Server"};

	for (unsigned m = 0; m < ARRAY_SIZE(models); m++) {
		struct world *w = sys_world(models[m], LONG, 0);
		struct x86_state st = w->st;
		u64 cr4_ok = vmx_cr4_allowed(&w->model), efer_ok = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;

		if (x86_has(&w->model, X86F_SVM))
			efer_ok |= EFER_SVME | EFER_AUTOIBRS;
		for (unsigned b = 0; b < 64; b++) {
			bool ok;

			w->st = st;
			w->st.gpr[RAX] = w->st.cr4 ^ BIT(b);
			ok = (w->st.gpr[RAX] & ~cr4_ok) == 0 && b != 5 && b != 12;
			if (ok != (ONE(w, mov_cr4) != OUT_FAULT))
				fail_msg("%s: CR4 bit %u", models[m], b);
			w->st = st;
			w->st.gpr[RAX] = w->st.cr0 ^ BIT(b);
			/* PE and PG cannot go in 64-bit code, NW not be alone; other undefined bits are ignored. */
			ok = b < 32 && b != 0 && b != 31 && b != 29;
			if (ok != (ONE(w, mov_cr0) != OUT_FAULT))
				fail_msg("%s: CR0 bit %u", models[m], b);
			if (ok)
				assert_true(w->st.cr0 & CR0_ET);
			w->st = st;
			w->st.gpr[RCX] = 0xc0000080;
			w->st.gpr[RAX] = (u32)(w->st.msr.efer ^ BIT(b));
			w->st.gpr[RDX] = (w->st.msr.efer ^ BIT(b)) >> 32;
			ok = (BIT(b) & efer_ok) && b != 8; /* LME cannot change while paging is on */
			if (ok != (ONE(w, wrmsr) != OUT_FAULT))
				fail_msg("%s: EFER bit %u", models[m], b);
			assert_true(w->st.msr.efer & EFER_LMA); /* not writable */
			w->st = st;
			w->st.gpr[RAX] = BIT(b);
			assert_int_equal(ONE(w, mov_cr8) == OUT_FAULT, b > 3);
		}
		world_free(w);
	}
}

/* The ways into and out of long mode. SDM vol. 3 9.8.5, 4.1.2. */
ASM32(cr0_32, "mov %eax, %cr0")
ASM32(cr4_32, "mov %eax, %cr4")

static void long_mode_switches(void **state)
{
	struct world *w = sys_world("EPYC", PROT32, 0);

	sys_paging(w);
	w->st.msr.efer |= EFER_LME;
	w->st.gpr[RAX] = w->st.cr0 | CR0_PG;
	assert_fault(w, ONE(w, cr0_32), EXC_GP, 0); /* PAE is off */
	w->st.cr4 |= CR4_PAE;
	w->st.tr.attr = 0x83;
	assert_fault(w, ONE(w, cr0_32), EXC_GP, 0); /* a 16-bit TSS */
	w->st.tr.attr = 0x8b;
	w->st.seg[CS].attr |= SEG_L;
	assert_fault(w, ONE(w, cr0_32), EXC_GP, 0);
	w->st.seg[CS].attr &= ~SEG_L;
	assert_done(ONE(w, cr0_32));
	assert_true(w->st.msr.efer & EFER_LMA);
	w->st.gpr[RAX] = w->st.cr4 & ~CR4_PAE;
	assert_fault(w, ONE(w, cr4_32), EXC_GP, 0);
	w->st.gpr[RAX] = w->st.cr0 & ~CR0_PG; /* from compatibility mode that is allowed */
	assert_done(ONE(w, cr0_32));
	assert_false(w->st.msr.efer & EFER_LMA);
	w->st.gpr[RAX] = CR0_PG; /* without PE */
	assert_fault(w, ONE(w, cr0_32), EXC_GP, 0);
	w->st.gpr[RAX] = w->st.cr0 | CR0_NW;
	assert_fault(w, ONE(w, cr0_32), EXC_GP, 0);
	world_free(w);
}

/* SYSCALL and SYSRET: AMD has them everywhere, Intel in 64-bit code only. SYSENTER and SYSEXIT the other way round. */
ASM64(syscall, "syscall")
ASM64(sysenter, "sysenter")
ASM64(sysexit, "sysexit")
ASM64(sysexitq, "sysexitq")
ASM64(sysretl, "sysretl")

static struct world *fast_world(bool amd, enum sys_mode mode, unsigned cpl)
{
	struct world *w = sys_world(amd ? "EPYC" : "Skylake-Client", mode, cpl);

	w->st.msr.efer |= EFER_SCE;
	w->st.msr.star = (u64)C0_32 << 32 | (u64)C3_32 << 48 | CODE;
	w->st.msr.lstar = HANDLER;
	w->st.msr.cstar = HANDLER + 0x10;
	w->st.msr.sfmask = FL_IF | FL_DF;
	w->st.msr.sysenter_cs = C0_32;
	w->st.msr.sysenter_eip = HANDLER + 0x20;
	w->st.msr.sysenter_esp = INNER_STACK;
	w->st.rflags |= FL_IF | FL_DF | FL_RF;
	return w;
}

static void fast_calls(void **state)
{
	for (unsigned amd = 0; amd < 2; amd++)
		for (unsigned mode = REAL; mode <= LONG; mode++) {
			struct world *w;
			bool lm = mode >= COMPAT, real = mode == REAL || mode == V86;

			if (mode == PROT16)
				continue;
			w = fast_world(amd, mode, mode == REAL ? 0 : 3);
			if (real || (!amd && mode != LONG)) {
				/* Real and virtual-8086 mode: #UD for both. */
				assert_fault(w, ONE(w, syscall), EXC_UD, 0);
			} else {
				assert_int_equal(ONE(w, syscall), OUT_JUMP);
				assert_int_equal(w->st.rip, mode == LONG ? HANDLER : lm ? HANDLER + 0x10 : CODE);
				assert_int_equal(w->st.cpl, 0);
				assert_int_equal(w->st.gpr[RCX], USER + 2);
				assert_int_equal(w->st.seg[CS].sel, C0_32);
				assert_int_equal(w->st.seg[SS].sel, C0_32 + 8);
				assert_int_equal(!!(w->st.rflags & FL_DF), !lm);
				assert_false(w->st.rflags & FL_IF);
				if (lm)
					assert_int_equal(w->st.gpr[R11], FL_FIXED | FL_IF | FL_DF);
			}
			world_free(w);
			w = fast_world(amd, mode, mode == REAL ? 0 : 3);
			w->st.msr.efer &= ~EFER_SCE;
			assert_fault(w, ONE(w, syscall), EXC_UD, 0);
			world_free(w);
			w = fast_world(amd, mode, mode == REAL ? 0 : 3);
			if (amd && lm) {
				assert_fault(w, ONE(w, sysenter), EXC_UD, 0);
			} else if (mode == REAL) {
				assert_fault(w, ONE(w, sysenter), EXC_GP, 0);
			} else {
				assert_int_equal(ONE(w, sysenter), OUT_JUMP);
				assert_int_equal(w->st.rip, HANDLER + 0x20);
				assert_int_equal(w->st.gpr[RSP], INNER_STACK);
				assert_int_equal(w->st.cpl, 0);
				assert_int_equal(!!(w->st.seg[CS].attr & SEG_L), lm);
				assert_false(w->st.rflags & (FL_IF | FL_VM));
				assert_true(w->st.rflags & FL_DF);
			}
			w->st.msr.sysenter_cs = 3; /* null */
			if (!(amd && lm) && mode != REAL && mode != V86) {
				w->st.cpl = 3;
				world_free(w);
				w = fast_world(amd, mode, 3);
				w->st.msr.sysenter_cs = 3;
				assert_fault(w, ONE(w, sysenter), EXC_GP, 0);
			}
			world_free(w);
		}
}

static void fast_returns(void **state)
{
	for (unsigned amd = 0; amd < 2; amd++) {
		struct world *w = fast_world(amd, LONG, 0);

		w->st.gpr[RDX] = USER;
		w->st.gpr[RCX] = USER_STACK;
		if (amd) {
			assert_fault(w, ONE(w, sysexit), EXC_UD, 0);
			world_free(w);
			w = fast_world(amd, PROT32, 0);
			w->st.gpr[RDX] = USER;
			w->st.gpr[RCX] = USER_STACK;
		}
		assert_int_equal(ONE(w, sysexit), OUT_JUMP);
		assert_int_equal(w->st.seg[CS].sel, (C0_32 + 16) | 3);
		assert_int_equal(w->st.seg[SS].sel, (C0_32 + 24) | 3);
		assert_int_equal(w->st.cpl, 3);
		assert_int_equal(w->st.gpr[RSP], USER_STACK);
		assert_fault(w, ONE(w, sysexit), EXC_GP, 0); /* CPL 3 */
		world_free(w);
	}
	{
		struct world *w = fast_world(false, LONG, 0);

		w->st.gpr[RDX] = 1ull << 47;
		w->st.gpr[RCX] = USER_STACK;
		assert_fault(w, ONE(w, sysexitq), EXC_GP, 0);
		w->st.gpr[RDX] = USER;
		w->st.gpr[RCX] = 1ull << 47;
		assert_fault(w, ONE(w, sysexitq), EXC_GP, 0);
		w->st.gpr[RCX] = USER_STACK;
		assert_int_equal(ONE(w, sysexitq), OUT_JUMP);
		assert_int_equal(w->st.seg[CS].sel, (C0_32 + 32) | 3);
		world_free(w);
	}
	for (unsigned amd = 0; amd < 2; amd++) {
		struct world *w = fast_world(amd, PROT32, 0);

		w->st.gpr[RCX] = USER;
		if (amd) {
			assert_int_equal(ONE(w, sysretl), OUT_JUMP);
			assert_int_equal(w->st.cpl, 3);
			assert_true(w->st.rflags & FL_IF);
		} else {
			assert_fault(w, ONE(w, sysretl), EXC_UD, 0);
		}
		world_free(w);
		w = fast_world(amd, LONG, 3);
		assert_fault(w, ONE(w, sysretl), EXC_GP, 0);
		world_free(w);
	}
}

/* RDTSC and RDPMC by CR4. */
ASM64(rdtsc, "rdtsc")
ASM64(rdtscp, "rdtscp")
ASM64(rdpmc, "rdpmc")

static void counters(void **state)
{
	for (unsigned amd = 0; amd < 2; amd++) {
		struct world *w = sys_world(amd ? "EPYC" : "Skylake-Client", LONG, 3);

		assert_done(ONE(w, rdtsc));
		assert_done(ONE(w, rdtscp));
		w->st.cr4 |= CR4_TSD;
		assert_fault(w, ONE(w, rdtsc), EXC_GP, 0);
		assert_fault(w, ONE(w, rdtscp), EXC_GP, 0);
		w->st.gpr[RCX] = 3;
		assert_fault(w, ONE(w, rdpmc), EXC_GP, 0);
		w->st.cr4 |= CR4_PCE;
		assert_fault(w, ONE(w, rdpmc), EXC_GP, 0);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(instructions),	      cmocka_unit_test(iopl),	    cmocka_unit_test(control_bits),
		cmocka_unit_test(long_mode_switches), cmocka_unit_test(fast_calls), cmocka_unit_test(fast_returns),
		cmocka_unit_test(counters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
