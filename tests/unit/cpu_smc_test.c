/*
 * Stores into decoded code: what they must not disturb, what they change in place, what they make the processor decode
 * anew; and random code that stores to itself, against the same run one instruction at a time with nothing kept.
 * Argument: how many cases of the last.
 */
#include "tests/unit/cpu_world.h"

static struct world *flat_world(void)
{
	struct world *w = world_new("EPYC");
	struct x86_state *st = &w->st;

	put(w, TABLES, (TABLES + 0x1000) | 7, 8);
	put(w, TABLES + 0x1000, (TABLES + 0x2000) | 7, 8);
	put(w, TABLES + 0x2000, 0x87, 8);
	x86_set_rflags(st, FL_FIXED);
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = (struct x86_seg){0};
	st->seg[CS] = (struct x86_seg){0x08, 0xa9b, 0xffffffff, 0};
	st->seg[SS] = (struct x86_seg){0x10, 0xc93, 0xffffffff, 0};
	st->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP;
	st->cr3 = TABLES;
	st->cr4 = CR4_PAE;
	st->msr.efer = EFER_LME | EFER_LMA;
	st->idtr.limit = 0;
	memset(st->gpr, 0, sizeof(st->gpr));
	st->cpl = 0;
	st->rip = CODE;
	st->gpr[RSP] = STACK;
	return w;
}

/* Ten rounds. Neither the word beside the code nor the same immediate again costs a block. */
ASM64(beside, "mov $10, %ecx\n 1: mov %ecx, 3f(%rip)\n movl $7, 2f+1(%rip)\n 2: mov $7, %eax\n add %eax, %ebx\n"
	      "dec %ecx\n jnz 1b\n" STOP "3: .long 0\n")

static void nothing_changes(void **state)
{
	struct world *w = flat_world();

	PLACE(w, CODE, beside);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RBX], 70);
	assert_true(w->cpu->n.decoded <= 3);
	world_free(w);
}

/* Immediates of each size and extension, in register and memory forms, a few instructions ahead of the store. */
ASM64(immediates,
      "mov $20, %ecx\n mov $0x4000, %edi\n"
      "1: mov %cl, 10f-1(%rip)\n mov %cx, 11f-2(%rip)\n mov %ecx, 12f-4(%rip)\n mov %rcx, 13f-8(%rip)\n"
      "mov %cl, 14f-1(%rip)\n mov %ecx, 15f-4(%rip)\n mov %cl, 16f-1(%rip)\n negb 17f-1(%rip)\n"
      "add $0x11, %al\n 10: addw $0x1111, %bx\n 11: add $0x11111111, %edx\n 12: movabs $0x1111111111, %rsi\n"
      "13: sub $0x11, %r8\n 14: movq $0x11111111, (%rdi)\n 15: xorb $0x11, 8(%rdi)\n 16: add $0x11, %r9\n"
      "17: add %rsi, %r10\n add (%rdi), %r10\n dec %ecx\n jnz 1b\n" STOP)

static void immediates_follow(void **state)
{
	struct world *w = flat_world();
	u64 xors = 0, r9 = 0;

	PLACE(w, CODE, immediates);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RAX] & 0xff, 210);
	assert_int_equal(w->st.gpr[RBX], 210);
	assert_int_equal(w->st.gpr[RDX], 210);
	assert_int_equal(w->st.gpr[R8], -210);
	for (u64 i = 20; i; i--) {
		xors ^= i;
		r9 += i % 2 ? 0x11 : (u64)-0x11; /* negated first, an even number of rounds */
	}
	assert_int_equal(get(w, DATA + 8, 1), xors);
	assert_int_equal(w->st.gpr[R9], r9);
	assert_int_equal(w->st.gpr[R10], 420);
	assert_true(w->cpu->n.decoded <= 4);
	world_free(w);
}

/* ADD and SUB take turns; the second store comes from within the block that it changes. */
ASM64(opcodes, "mov $10, %ecx\n mov $3, %eax\n 1: xorb $0x28, 2f+1(%rip)\n 2: add %rax, %rbx\n inc %rdx\n dec %ecx\n "
	       "jnz 1b\n" STOP)

static void opcode_changes(void **state)
{
	struct world *w = flat_world();

	PLACE(w, CODE, opcodes);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RBX], 0);
	assert_int_equal(w->st.gpr[RDX], 10);
	assert_true(w->cpu->n.decoded <= 4);
	world_free(w);
}

/* A five-byte instruction becomes three, then a jump over its successor, then a jump elsewhere. */
ASM64(lengths,
      "call 8f\n mov $0x90c3ff48, %eax\n mov %eax, 8f(%rip)\n movb $0x90, 8f+4(%rip)\n call 8f\n mov %ebx, %esi\n"
      "movl $0x909006eb, 8f(%rip)\n call 8f\n mov %ebx, %edi\n"
      "movl $0x909009eb, 8f(%rip)\n call 8f\n" STOP "ret\n"
      "8: mov $5, %ebx\n inc %ebx\n nop\n ret\n nop\n nop\n 9: xor %ebx, %ebx\n ret\n")

static void length_changes(void **state)
{
	struct world *w = flat_world();

	PLACE(w, CODE, lengths);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RSI], 8); /* 6, then two increments */
	assert_int_equal(w->st.gpr[RDI], 8); /* jumped to RET */
	assert_int_equal(w->st.gpr[RBX], 0); /* to 9 */
	world_free(w);
}

/* 0F FF is invalid; the handler changes the second byte, and the instruction is CLTS. */
ASM64(invalid, ".byte 0x0f, 0xff\n mov %cr0, %rax\n" STOP)
ASM64(mend, "movb $6, 0x1001\n iretq\n")

static void invalid_by_its_second_byte(void **state)
{
	struct world *w = flat_world();

	put(w, GDT + 8, descriptor(0, 0xfffff, 0xa9b), 8);
	put(w, GDT + 16, descriptor(0, 0xfffff, 0xc93), 8);
	w->st.gdtr = (struct x86_dtr){GDT, 0xff};
	w->st.idtr = (struct x86_dtr){IDT, 0xfff};
	put(w, IDT + EXC_UD * 16, HANDLER | 8 << 16 | 0x8e00ull << 32, 8);
	w->st.cr0 |= CR0_TS;
	PLACE(w, CODE, invalid);
	PLACE(w, HANDLER, mend);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RAX] & CR0_TS, 0);
	world_free(w);
}

static u32 seed = 1;
static u32 random_below(u32 n)
{
	seed = seed * 1664525 + 1013904223;
	return (u32)((u64)seed * n >> 32);
}

#define AREA  0x200 /* bytes of code */
#define STEPS 120
static unsigned cases = 150;

/* Bytes that make short instructions of one another: no 0F, no ports, no HLT. */
static u8 random_byte(void)
{
	static const u8 some[] = {0x90, 0x01, 0x29, 0x31, 0x48, 0x40, 0x04, 0x2c, 0xb0, 0xb8,
				  0xeb, 0x74, 0x75, 0x00, 0x02, 0xc3, 0xd8, 0x83, 0xc0, 0x66,
				  0x50, 0x58, 0xff, 0xfe, 0x8d, 0x05, 0x10, 0xe8, 0x35, 0x80};

	return random_below(4) ? some[random_below(sizeof(some))] : random_below(0x0f);
}

/* Mostly stores to the code, by an absolute or RIP-relative address, some additions between them. */
static void random_code(u8 *code)
{
	u8 *p = code;

	while (p < code + AREA - 16) {
		u32 to = CODE + random_below(AREA);

		switch (random_below(5)) {
		case 0:
			memcpy(p, "\xc6\x04\x25", 3);
			memcpy(p + 3, &to, 4);
			p[7] = random_byte();
			p += 8;
			break;
		case 1:
			*p++ = 0xc7, *p++ = 0x05;
			to -= CODE + (u32)(p - code) + 8;
			memcpy(p, &to, 4);
			for (unsigned i = 4; i < 8; i++)
				p[i] = random_byte();
			p += 8;
			break;
		case 2:
			memcpy(p, "\x80\x34\x25", 3);
			memcpy(p + 3, &to, 4);
			p[7] = 1 << random_below(8);
			p += 8;
			break;
		case 3:
			memcpy(p, "\x48\x81\xc3", 3);
			p[3] = random_byte(), p[4] = random_byte(), p[5] = p[6] = 0;
			p += 7;
			break;
		default:
			memcpy(p, "\xe3\x00\xff\xc8", 4);
			p[1] = random_below(2) * 2;
			p += 4;
			break;
		}
	}
	memset(p, 0x90, (size_t)(code + AREA - p));
}

/* One instruction at a time, nothing kept. False: it does not come to an end. */
static bool run_plainly(struct world *w, const u8 *code)
{
	memcpy(at(w, CODE), code, AREA);
	put(w, CODE + AREA, 0x0b0f, 2); /* UD2 */
	assert_int_equal(w->v->ops->set_state(w->v, &w->st, &w->e), 0);
	for (unsigned i = 0; i < STEPS; i++) {
		enum outcome o = x86_step(w->cpu);

		if (w->cpu->st.activity != ACT_RUNNING || o == OUT_TRAP)
			return false;
		if (o == OUT_FAULT)
			return true;
		x86_drop_cache(w->cpu);
	}
	return false;
}

static void random_stores(void **state)
{
	unsigned compared = 0;

	for (unsigned i = 0; i < cases; i++) {
		struct world *w = flat_world(), *plain = flat_world();
		u8 code[AREA];

		random_code(code);
		if (run_plainly(plain, code)) {
			compared++;
			memcpy(at(w, CODE), code, AREA);
			put(w, CODE + AREA, 0x0b0f, 2);
			assert_int_equal(world_run(w), RUN_TRIPLE_FAULT);
			plain->v->ops->get_state(plain->v, &plain->st);
			if (w->st.rip != plain->st.rip || memcmp(w->st.gpr, plain->st.gpr, sizeof(w->st.gpr)) != 0 ||
			    memcmp(at(w, 0), at(plain, 0), TABLES) != 0)
				fail_msg("case %u: rip %#llx, plainly %#llx", i, (unsigned long long)w->st.rip,
					 (unsigned long long)plain->st.rip);
		}
		world_free(w);
		world_free(plain);
	}
	assert_true(compared > cases / 3);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_changes),
		cmocka_unit_test(immediates_follow),
		cmocka_unit_test(opcode_changes),
		cmocka_unit_test(length_changes),
		cmocka_unit_test(invalid_by_its_second_byte),
		cmocka_unit_test(random_stores),
	};

	if (argc > 1)
		cases = (unsigned)atoi(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
