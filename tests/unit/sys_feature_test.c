/*
 * Features with state of their own: protection keys, 5-level paging, alignment checks, MONITOR and MWAIT, FSGSBASE,
 * UMIP. SDM vol. 3 4.6.2, 4.5, 6.15 "Interrupt 17", 8.10; SDM vol. 2 at the instructions.
 */
#include <pthread.h>
#include <unistd.h>

#include "tests/unit/sys_world.h"

#define KEY(n) ((u64)(n) << 59)
#define AD(n)  (1u << (2 * (n)))
#define WD(n)  (2u << (2 * (n)))

ASM64(rdpkru, "rdpkru")
ASM64(wrpkru, "wrpkru")
ASM64(load, "mov (%rbx), %eax")
ASM64(store, "mov %eax, (%rbx)")
ASM64(fetch, "jmp *%rbx")
ASM64(nop, "nop")

static struct world *pku_world(unsigned cpl)
{
	struct world *w = sys_world("EPYC,+pku", LONG, cpl);

	w->st.cr4 |= CR4_PKE;
	sys_page(w, WINDOW, WINDOW | 7 | KEY(1));
	w->st.gpr[RBX] = WINDOW;
	return w;
}

static void pkru_instructions(void **state)
{
	struct world *w = pku_world(3);

	w->st.gpr[RDX] = 5;
	w->st.fpu.pkru = 0x55;
	assert_done(ONE(w, rdpkru));
	assert_int_equal(w->st.gpr[RAX], 0x55);
	assert_int_equal(w->st.gpr[RDX], 0);
	w->st.gpr[RAX] = 0xfffffffcu;
	assert_done(ONE(w, wrpkru));
	assert_int_equal(w->st.fpu.pkru, 0xfffffffc);
	w->st.gpr[RCX] = 1;
	assert_fault(w, ONE(w, rdpkru), EXC_GP, 0);
	assert_fault(w, ONE(w, wrpkru), EXC_GP, 0);
	w->st.gpr[RCX] = 0;
	w->st.gpr[RDX] = 1;
	assert_fault(w, ONE(w, wrpkru), EXC_GP, 0);
	w->st.cr4 &= ~CR4_PKE;
	w->st.gpr[RDX] = 0;
	assert_fault(w, ONE(w, wrpkru), EXC_UD, 0);
	assert_fault(w, ONE(w, rdpkru), EXC_UD, 0);
	world_free(w);
	w = sys_world("EPYC,pku=off", LONG, 0);
	assert_fault(w, ONE(w, rdpkru), EXC_UD, 0);
	world_free(w);
}

/* SDM vol. 3 4.6.2: user pages only; data accesses only; WD binds the supervisor where CR0.WP is set. */
static void pkru_denies(void **state)
{
	for (unsigned cpl = 0; cpl <= 3; cpl += 3)
		for (unsigned key = 0; key < 4; key++)
			for (unsigned wp = 0; wp < 2; wp++)
				for (unsigned user_page = 0; user_page < 2; user_page++) {
					struct world *w = pku_world(cpl);
					bool ad = key & 1, wd = key & 2;
					u32 u = cpl ? PF_U : 0;

					w->st.fpu.pkru = key << 2;
					w->st.cr0 = wp ? w->st.cr0 | CR0_WP : w->st.cr0 & ~CR0_WP;
					sys_page(w, WINDOW, WINDOW | 3 | (user_page ? PTE_U : 0) | KEY(1));
					if (cpl && !user_page)
						assert_fault(w, ONE(w, load), EXC_PF, PF_P | PF_U);
					else if (user_page && ad)
						assert_fault(w, ONE(w, load), EXC_PF, PF_P | PF_PK | u);
					else
						assert_done(ONE(w, load));
					if (cpl && !user_page)
						assert_fault(w, ONE(w, store), EXC_PF, PF_P | PF_U | PF_W);
					else if (user_page && (ad || (wd && (cpl || wp))))
						assert_fault(w, ONE(w, store), EXC_PF, PF_P | PF_PK | PF_W | u);
					else
						assert_done(ONE(w, store));
					if (user_page) {
						PLACE(w, WINDOW, nop);
						assert_int_equal(ONE(w, fetch), OUT_JUMP);
						assert_done(world_step(w));
					}
					world_free(w);
				}
}

/* A program that changes PKRU itself: what the TLB holds must not outlive it. */
ASM64(pku_program, "xor %ecx, %ecx\n xor %edx, %edx\n mov (%rbx), %esi\n mov %eax, (%rbx)\n"
		   "mov $0x8, %eax\n wrpkru\n mov (%rbx), %esi\n mov %eax, (%rbx)\n")

static void pkru_takes_effect_at_once(void **state)
{
	struct world *w = pku_world(3);

	PROGRAM(w, pku_program);
	assert_taken(sys_run(w), EXC_PF, PF_P | PF_W | PF_U | PF_PK);
	assert_int_equal(w->st.cr2, WINDOW);
	world_free(w);
}

/* XSAVE's component 9, and its effect when XRSTOR loads it. */
ASM64(xsave9, "mov $0x200, %eax\n xor %edx, %edx\n xsave (%rsi)\n")
ASM64(xrstor9, "mov $0x200, %eax\n xor %edx, %edx\n mov (%rbx), %edi\n xrstor (%rsi)\n mov (%rbx), %edi\n")

static void pkru_in_xsave(void **state)
{
	struct world *w = pku_world(0);

	w->st.cr4 |= CR4_OSXSAVE;
	w->st.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_PKRU;
	w->st.fpu.pkru = AD(1) | WD(3);
	w->st.gpr[RSI] = DATA;
	PROGRAM(w, xsave9);
	PLACE(w, CODE + (xsave9_end - xsave9_start), wrpkru);
	w->st.gpr[RAX] = 0;
	put(w, CODE + (xsave9_end - xsave9_start), 0xf4e6, 2);
	assert_int_equal(sys_run(w).vector, -1);
	assert_int_equal(get(w, DATA + 2688, 8), AD(1) | WD(3));
	assert_int_equal(get(w, DATA + 512, 8), XCR0_PKRU);
	w->st.fpu.pkru = 0;
	w->st.rip = CODE;
	PROGRAM(w, xrstor9);
	assert_taken(sys_run(w), EXC_PF, PF_P | PF_PK);
	assert_int_equal(w->st.fpu.pkru, AD(1) | WD(3));
	world_free(w);
}

/* Five levels: the fifth table is used, addresses have 57 bits; without CR4.LA57 the same address is not canonical. */
static void five_levels(void **state)
{
	struct world *w = sys_world("EPYC,+la57", LONG, 0);
	u64 far = 1ull << 52 | WINDOW;

	put(w, TABLES + 0x5000, TABLES | 7, 8);
	put(w, TABLES + 0x5000 + 8 * (far >> 48 & 511), TABLES | 7, 8);
	w->st.gpr[RBX] = far;
	w->st.gpr[RAX] = 77;
	assert_fault(w, ONE(w, load), EXC_GP, 0);
	w->st.cr3 = TABLES + 0x5000;
	w->st.cr4 |= CR4_LA57;
	assert_done(ONE(w, store));
	assert_int_equal(get(w, WINDOW, 4), 77);
	assert_int_equal(ONE(w, fetch), OUT_JUMP);
	assert_int_equal(w->st.rip, far);
	w->st.gpr[RBX] = 1ull << 56;
	assert_fault(w, ONE(w, load), EXC_GP, 0);
	assert_fault(w, ONE(w, fetch), EXC_GP, 0);
	w->st.gpr[RBX] = 0xff00000000000000;
	assert_fault(w, ONE(w, load), EXC_PF, 0);
	assert_int_equal(w->cpu->c.event.cr2, 0xff00000000000000);
	/* PS is reserved in the fifth level's entries. */
	w->st.gpr[RBX] = far;
	put(w, TABLES + 0x5000 + 8 * (far >> 48 & 511), TABLES | 7 | PTE_PS, 8);
	assert_fault(w, ONE(w, load), EXC_PF, PF_P | PF_RSVD);
	world_free(w);
}

ASM64(mov_cr4, "mov %rax, %cr4")
ASM64(wrmsr, "wrmsr")
ASM64(wrfsbase, "wrfsbase %rax")
ASM64(lgdt, "lgdt (%rbx)")
ASM64(sysret, "sysretq")

/* LA57 cannot change in long mode; kept addresses have the model's width whatever CR4.LA57 says. */
static void five_levels_elsewhere(void **state)
{
	for (unsigned wide = 0; wide < 2; wide++) {
		struct world *w = sys_world(wide ? "Skylake-Client,+la57" : "Skylake-Client", LONG, 0);
		u64 la = 1ull << 55;

		w->st.gpr[RAX] = w->st.cr4 | CR4_LA57;
		assert_fault(w, ONE(w, mov_cr4), EXC_GP, 0);
		w->st.gpr[RCX] = 0xc0000082;
		w->st.gpr[RAX] = 0;
		w->st.gpr[RDX] = la >> 32;
		if (wide)
			assert_done(ONE(w, wrmsr));
		else
			assert_fault(w, ONE(w, wrmsr), EXC_GP, 0);
		w->st.cr4 |= CR4_FSGSBASE;
		w->st.gpr[RAX] = la;
		if (wide)
			assert_done(ONE(w, wrfsbase));
		else
			assert_fault(w, ONE(w, wrfsbase), EXC_GP, 0);
		put(w, DATA, 0xff, 2);
		put(w, DATA + 2, la, 8);
		w->st.gpr[RBX] = DATA;
		if (wide)
			assert_done(ONE(w, lgdt));
		else
			assert_fault(w, ONE(w, lgdt), EXC_GP, 0);
		w->st.gpr[RCX] = la; /* a RIP is used now: CR4.LA57 counts */
		assert_fault(w, ONE(w, sysret), EXC_GP, 0);
		world_free(w);
	}
}

ASM64(ac_mov2, "mov (%rbx), %ax")
ASM64(ac_mov4, "mov %eax, (%rbx)")
ASM64(ac_mov8, "mov (%rbx), %rax")
ASM64(ac_rmw, "lock incl (%rbx)")
ASM64(ac_push, "push %rax")
ASM64(ac_movups, "movups (%rbx), %xmm0")
ASM64(ac_fld80, "fldt (%rbx)")
ASM64(ac_fstcw, "fnstcw (%rbx)")
ASM64(ac_movsb, "movsb")
ASM64(ac_movsl, "movsl")
ASM64(ac_xadd, "xadd %eax, (%rbx)")
ASM64(ac_far16, "lgs (%rbx), %ax") /* m16:16: silicon wants 2, of m16:32 4 */
ASM64(ac_far32, "lgs (%rbx), %eax")
ASM32(ac_bound2, "bound %ax, (%ebx)")
ASM32(ac_bound4, "bound %eax, (%ebx)")

static void alignment_by_type(void **state)
{
#define ROW(mode, name, align)                                                                                         \
	{                                                                                                              \
#name, name##_start, name##_end, mode, align                                                           \
	}
	static const struct {
		const char *name;
		const u8 *start, *end;
		enum sys_mode mode;
		unsigned align;
	} rows[] = {ROW(LONG, ac_mov2, 2),     ROW(LONG, ac_mov4, 4),	 ROW(LONG, ac_mov8, 8),	 ROW(LONG, ac_rmw, 4),
		    ROW(LONG, ac_movups, 16),  ROW(LONG, ac_fld80, 8),	 ROW(LONG, ac_fstcw, 2), ROW(LONG, ac_movsb, 1),
		    ROW(LONG, ac_movsl, 4),    ROW(LONG, ac_xadd, 4),	 ROW(LONG, ac_far16, 2), ROW(LONG, ac_far32, 4),
		    ROW(COMPAT, ac_bound2, 2), ROW(COMPAT, ac_bound4, 4)};

	for (unsigned r = 0; r < ARRAY_SIZE(rows); r++) {
		struct world *w = sys_world("EPYC", rows[r].mode, 3);

		for (unsigned off = 0; off < 17; off++) {
			enum outcome o;

			w->st.rflags |= FL_AC;
			w->st.cr0 |= CR0_AM;
			w->st.fpu.ftw = 0;
			w->st.gpr[RAX] = 0;
			w->st.gpr[RBX] = w->st.gpr[RDI] = DATA + off;
			w->st.gpr[RSI] = DATA + 0x100;
			memset(at(w, DATA), 0, 64);
			o = sys_one(w, rows[r].start, rows[r].end);
			if ((o == OUT_FAULT) != !!(off % rows[r].align) ||
			    (o == OUT_FAULT && (w->cpu->c.event.vector != EXC_AC || w->cpu->c.event.error)))
				fail_msg("%s at offset %u: outcome %d, vector %u", rows[r].name, off, o,
					 w->cpu->c.event.vector);
		}
		world_free(w);
	}
}

/* CPL 3, CR0.AM and AC: all three. Implicit supervisor accesses are not checked; #AC comes before #PF. */
static void alignment_conditions(void **state)
{
	for (unsigned i = 0; i < 8; i++) {
		struct world *w = sys_world("EPYC", LONG, i & 1 ? 3 : 0);

		w->st.cr0 |= i & 2 ? CR0_AM : 0;
		w->st.rflags |= i & 4 ? FL_AC : 0;
		w->st.gpr[RBX] = DATA + 1;
		assert_int_equal(ONE(w, ac_mov4) == OUT_FAULT, i == 7);
		w->st.gpr[RBX] = 0x200001; /* not mapped */
		assert_int_equal(ONE(w, ac_mov4), OUT_FAULT);
		assert_int_equal(w->cpu->c.event.vector, i == 7 ? EXC_AC : EXC_PF);
		w->st.gpr[RBX] = 0x0000800000000001;
		assert_fault(w, ONE(w, ac_mov4), EXC_GP, 0);
		world_free(w);
	}
}

/* The whole way: POPF sets AC, the access faults with error code 0, the handler at CPL 0 is not checked. */
ASM64(ac_program, "pushfq\n orl $0x40000, (%rsp)\n popfq\n mov 0x4004, %eax\n mov 0x4002, %eax\n")
ASM64(ac_stack, "mov $0x7ffc, %esp\n push %rax\n")

static void alignment_delivered(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 3);
	struct taken t;

	w->st.cr0 |= CR0_AM;
	put(w, TSS + 4, INNER_STACK + 3, 8);
	PROGRAM(w, ac_program);
	t = sys_run(w);
	assert_taken(t, EXC_AC, 0);
	assert_int_equal(t.rip, USER + (ac_program_end - ac_program_start) - 7);
	assert_true(t.flags & FL_AC);
	world_free(w);
	w = sys_world("EPYC", LONG, 3);
	w->st.cr0 |= CR0_AM;
	w->st.rflags |= FL_AC;
	PROGRAM(w, ac_stack);
	assert_taken(sys_run(w), EXC_AC, 0);
	world_free(w);
}

ASM64(monitor, "monitor")
ASM64(mwait, "mwait")
ASM64(cpuid, "cpuid")

static void monitor_faults(void **state)
{
	static const char *const models[] = {"Skylake-Client", "EPYC"};

	for (unsigned i = 0; i < 2; i++) {
		struct world *w = sys_world(models[i], LONG, 0);

		w->st.gpr[RAX] = DATA;
		assert_done(ONE(w, monitor));
		w->st.gpr[RCX] = 1;
		assert_fault(w, ONE(w, monitor), EXC_GP, 0);
		w->st.gpr[RCX] = 2;
		assert_fault(w, ONE(w, mwait), EXC_GP, 0);
		w->st.gpr[RCX] = 0;
		w->st.gpr[RAX] = 0x200000;
		assert_fault(w, ONE(w, monitor), EXC_PF, 0);
		w->st.gpr[RAX] = 1;
		w->st.gpr[RAX] = 1;
		assert_done(ONE(w, cpuid));
		assert_true(w->st.gpr[RCX] & BIT(3));
		w->st.gpr[RCX] = 0;
		if (i == 0) {
			w->st.msr.misc_enable &= ~MISC_ENABLE_MONITOR;
			assert_fault(w, ONE(w, monitor), EXC_UD, 0);
			w->st.gpr[RAX] = 1;
			assert_done(ONE(w, cpuid));
			assert_false(w->st.gpr[RCX] & BIT(3));
		}
		world_free(w);
		w = sys_world(models[i], LONG, 3);
		w->st.gpr[RAX] = DATA;
		assert_fault(w, ONE(w, monitor), EXC_UD, 0);
		assert_fault(w, ONE(w, mwait), EXC_UD, 0);
		world_free(w);
		w = sys_world("EPYC,monitor=off", LONG, 0);
		assert_fault(w, ONE(w, monitor), EXC_UD, 0);
		world_free(w);
	}
}

/* The program waits; another thread makes happen what `how` says. */
ASM64(wait_program, "mov $0x4010, %eax\n xor %ecx, %ecx\n xor %edx, %edx\n monitor\n mov %esi, %ecx\n mwait\n" STOP)
ASM64(wait_no_monitor, "xor %ecx, %ecx\n mwait\n" STOP)

enum how { STORE_TO_LINE, STORE_BESIDE, INTERRUPT, NMI };
struct waker {
	struct world *w;
	enum how how;
	atomic_bool done;
};

static void *wake(void *arg)
{
	struct waker *k = arg;
	u8 byte = 1;

	usleep(20000);
	atomic_store(&k->done, true);
	switch (k->how) {
	case STORE_TO_LINE: (void)!vm_dma_write(&k->w->vm, DATA + 0x3f, &byte, 1); break;
	case STORE_BESIDE:
		k->w->v->ops->drop_code(k->w->v, DATA + 0x40, 1);
		usleep(20000);
		atomic_store(&k->done, false);
		usleep(20000);
		atomic_store(&k->done, true);
		k->w->v->ops->assert_nmi(k->w->v);
		break;
	case INTERRUPT:
		k->w->vector = 0x40;
		k->w->v->ops->assert_intr(k->w->v);
		break;
	case NMI: k->w->v->ops->assert_nmi(k->w->v); break;
	}
	return NULL;
}

static int wait_for(enum how how, u64 rflags, u64 ecx)
{
	struct world *w = sys_world("EPYC", LONG, 0);
	struct waker k = {.w = w, .how = how};
	struct taken t;
	pthread_t thread;

	w->st.rflags |= rflags;
	w->st.gpr[RSI] = ecx;
	PROGRAM(w, wait_program);
	pthread_create(&thread, NULL, wake, &k);
	t = sys_run(w);
	assert_true(atomic_load(&k.done));
	pthread_join(thread, NULL);
	if (t.vector >= 0)
		assert_int_equal(t.rip, CODE + (wait_program_end - wait_program_start) - 2);
	world_free(w);
	return t.vector;
}

static void mwait_waits(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 0);

	PROGRAM(w, wait_no_monitor);
	assert_int_equal(sys_run(w).vector, -1);
	world_free(w);
	assert_int_equal(wait_for(STORE_TO_LINE, 0, 0), -1);
	assert_int_equal(wait_for(STORE_BESIDE, 0, 0), EXC_NMI);
	assert_int_equal(wait_for(INTERRUPT, FL_IF, 0), 0x40);
	assert_int_equal(wait_for(INTERRUPT, 0, 1), -1); /* held, but it ends the wait */
	assert_int_equal(wait_for(NMI, 0, 0), EXC_NMI);
}

ASM64(sgdt, "sgdt (%rbx)")
ASM64(sidt, "sidt (%rbx)")
ASM64(sldt, "sldt (%rbx)")
ASM64(str, "str (%rbx)")
ASM64(smsw, "smsw (%rbx)")

static void umip(void **state)
{
	static const struct {
		const u8 *start, *end;
	} rows[] = {{sgdt_start, sgdt_end},
		    {sidt_start, sidt_end},
		    {sldt_start, sldt_end},
		    {str_start, str_end},
		    {smsw_start, smsw_end}};

	for (unsigned cpl = 0; cpl <= 3; cpl += 3)
		for (unsigned on = 0; on < 2; on++) {
			struct world *w = sys_world("EPYC-Rome", LONG, cpl);

			w->st.cr4 |= on ? CR4_UMIP : 0;
			w->st.gpr[RBX] = DATA;
			for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
				enum outcome o = sys_one(w, rows[i].start, rows[i].end);

				if (on && cpl)
					assert_fault(w, o, EXC_GP, 0);
				else
					assert_done(o);
			}
			world_free(w);
		}
}

ASM64(rdfsbase, "rdfsbase %rax")
ASM64(wrgsbase, "wrgsbase %rax")
ASM64(wrgsbase32, "wrgsbase %eax")
ASM32(fsbase_compat, ".byte 0xf3, 0x0f, 0xae, 0xc0")

static void fsgsbase(void **state)
{
	struct world *w = sys_world("EPYC", LONG, 3);

	assert_fault(w, ONE(w, rdfsbase), EXC_UD, 0);
	w->st.cr4 |= CR4_FSGSBASE;
	w->st.seg[FS].base = 0x123456789abc;
	assert_done(ONE(w, rdfsbase));
	assert_int_equal(w->st.gpr[RAX], 0x123456789abc);
	w->st.gpr[RAX] = 1ull << 47;
	assert_fault(w, ONE(w, wrgsbase), EXC_GP, 0);
	w->st.gpr[RAX] = 0xffff800000000010;
	assert_done(ONE(w, wrgsbase));
	assert_int_equal(w->st.seg[GS].base, 0xffff800000000010);
	assert_done(ONE(w, wrgsbase32));
	assert_int_equal(w->st.seg[GS].base, 0x10);
	world_free(w);
	w = sys_world("EPYC", COMPAT, 3);
	w->st.cr4 |= CR4_FSGSBASE;
	assert_fault(w, ONE(w, fsbase_compat), EXC_UD, 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pkru_instructions),
		cmocka_unit_test(pkru_denies),
		cmocka_unit_test(pkru_takes_effect_at_once),
		cmocka_unit_test(pkru_in_xsave),
		cmocka_unit_test(five_levels),
		cmocka_unit_test(five_levels_elsewhere),
		cmocka_unit_test(alignment_by_type),
		cmocka_unit_test(alignment_conditions),
		cmocka_unit_test(alignment_delivered),
		cmocka_unit_test(monitor_faults),
		cmocka_unit_test(mwait_waits),
		cmocka_unit_test(umip),
		cmocka_unit_test(fsgsbase),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
