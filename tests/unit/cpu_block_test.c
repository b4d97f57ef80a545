/*
 * The block store in odd corners: an instruction that crosses from a physical page into the same page, one whose second
 * page is mapped anew, and stubs that run out of room while their block runs.
 */
#include "tests/unit/cpu_world.h"

#include "cpu/x86/stub.h"

#define FIRST  0x40000 /* linear; the page after it is mapped by each test */
#define SECOND 0x41000
#define PAGE   0x50000 /* physical */
#define OTHER  0x51000
#define STUBS  0x60000

static void map(struct world *w, u64 la, u64 pa) { put(w, TABLES + 0x3000 + (la >> 12) * 8, pa | 7, 8); }

static struct world *flat_world(void)
{
	struct world *w = world_new("EPYC");
	struct x86_state *st = &w->st;

	put(w, TABLES, (TABLES + 0x1000) | 7, 8);
	put(w, TABLES + 0x1000, (TABLES + 0x2000) | 7, 8);
	put(w, TABLES + 0x2000, (TABLES + 0x3000) | 7, 8);
	for (u64 la = 0; la < WORLD_RAM; la += RAM_PAGE)
		map(w, la, la);
	x86_set_rflags(st, FL_FIXED);
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = (struct x86_seg){0};
	st->seg[CS] = (struct x86_seg){0x08, 0xa9b, 0xffffffff, 0};
	st->seg[SS] = (struct x86_seg){0x10, 0xc93, 0xffffffff, 0};
	st->cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP;
	st->cr3 = TABLES;
	st->cr4 = CR4_PAE | CR4_OSFXSR;
	st->msr.efer = EFER_LME | EFER_LMA;
	st->cpl = 0;
	st->rip = CODE;
	st->gpr[RSP] = STACK;
	return w;
}

/* mov $imm, %eax, its opcode the page's last byte; the immediate and a RET begin the next. */
static void place_crossing(struct world *w, u64 page, u64 next, u32 imm)
{
	put(w, page + RAM_PAGE - 1, 0xb8, 1);
	put(w, next, imm, 4);
	put(w, next + 4, 0xc3, 1);
}

/* Both halves of the instruction are in one physical page; each is stored to after it has run. */
ASM64(call_alias, "mov $0x40fff, %ebx\n call *%rbx\n mov %eax, %ecx\n"
		  "movl $2, 0x50000\n call *%rbx\n mov %eax, %edx\n"
		  "movb $0xb9, 0x50fff\n mov %ecx, %esi\n call *%rbx\n" STOP)

static void page_after_itself(void **state)
{
	struct world *w = flat_world();

	map(w, FIRST, PAGE);
	map(w, SECOND, PAGE);
	place_crossing(w, PAGE, PAGE, 1);
	PLACE(w, CODE, call_alias);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RSI], 1); /* the first time */
	assert_int_equal(w->st.gpr[RDX], 2); /* the immediate has changed */
	assert_int_equal(w->st.gpr[RCX], 2); /* the opcode has changed: mov $2, %ecx */
	world_free(w);
}

/* A direct jump leads to the crossing instruction; its second page moves between two rounds. */
ASM64(remap_call, "mov $0x40010, %ebx\n mov $4, %ebp\n"
		  "1: call *%rbx\n mov %eax, %esi\n dec %ebp\n jnz 1b\n"
		  "movq $0x51007, 0x23208\n invlpg 0x41000\n call *%rbx\n" STOP)

static void second_page_moves(void **state)
{
	struct world *w = flat_world();

	map(w, FIRST, PAGE);
	map(w, SECOND, PAGE + 2 * RAM_PAGE);
	place_crossing(w, PAGE, PAGE + 2 * RAM_PAGE, 1);
	put(w, OTHER, 2, 4);
	put(w, OTHER + 4, 0xc3, 1);
	put(w, PAGE + 0x10, 0xe9, 1); /* jmp to the page's last byte */
	put(w, PAGE + 0x11, 0xfff - 0x15, 4);
	PLACE(w, CODE, remap_call);
	world_run_to_stop(w);
	assert_int_equal(w->st.gpr[RSI], 1);
	assert_int_equal(w->st.gpr[RAX], 2);
	world_free(w);
}

/* More forms of PSHUFD than there may be stubs: when the last is taken, all are thrown away and the code goes on. */
static void stubs_run_out(void **state)
{
	struct world *w = flat_world();
	u64 pa = STUBS, forms = STUB_HASH / 2 + 100;

	for (u64 i = 0; i < forms; i++, pa += 5) {
		put(w, pa, 0x700f66, 3);
		put(w, pa + 3, 0xc0 | (i / 256), 1); /* registers */
		put(w, pa + 4, i % 256, 1);
	}
	put(w, pa, 0xf4e6, 2); /* the stop */
	w->st.rip = STUBS;
	world_run_to_stop(w);
	assert_int_equal(w->cpu->n.insns, forms + 1);
	assert_true(w->cpu->stubs->n < 1000);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(page_after_itself),
		cmocka_unit_test(second_page_moves),
		cmocka_unit_test(stubs_run_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
