/*
 * VMRUNs that fail: each way of vmrun_breaks.def to break a rule, and PDPTEs in memory. APM vol. 2 15.5.1 "Basic
 * Operation", "Canonicalization and Consistency Checks".
 *
 * What a failure may change is compared with all that there is: the VMCB, and the processor's state, which is the one
 * that any other exit leaves. Then the repaired VMCB enters.
 */
#include "svm_world.h"

#include "cpu/x86/cpu.h"
#include "tests/unit/vmrun_breaks.h"

ASM(guest, "incl 0x3000\n vmmcall")

struct setting {
	struct world *w;
	struct x86_state host; /* before VMRUN */
	struct x86_state back; /* after the guest's VMMCALL */
	struct vmcb good;
	char options[64];
};

static struct vmrun_env env_of(struct world *w)
{
	struct vmrun_env e;

	vmrun_env_init(&e, &w->model);
	e.host_paging = true;
	return e;
}

/* VMRUN in the state `st` with the VMCB `b`; what it leaves is in w->st and the VMCB. */
static void enter(struct world *w, const struct x86_state *st, const struct vmcb *b)
{
	memcpy(vmcb(w), b, sizeof(*b));
	w->st = *st;
	memset(at(w, DATA), 0, 4);
	run(w);
}

static u8 ran(struct world *w) { return *at(w, DATA); }

static void expect_guest_ran(struct setting *s, const char *name)
{
	if (vmcb(s->w)->c.exit_code != 0x81 || ran(s->w) != 1)
		fail_msg("%s: the good VMCB does not enter: exit %#llx", name,
			 (unsigned long long)vmcb(s->w)->c.exit_code);
}

static void setting_free(struct setting *s)
{
	if (s->w)
		world_free(s->w);
	s->w = NULL;
}

/* The good VMCB, with the world's places. */
static void good_make(struct vmcb *b, const struct vmcb *world)
{
	vmrun_good(b);
	b->c.intercept4 |= world->c.intercept4;
	b->c.ncr3 = NESTED;
	b->c.iopm = world->c.iopm;
	b->c.msrpm = world->c.msrpm;
	b->s.es = b->s.ss = b->s.ds = world->s.ds;
	b->s.cs = world->s.cs;
	b->s.gdtr = world->s.gdtr;
	b->s.idtr = world->s.idtr;
	b->s.cr3 = world->s.cr3;
	b->s.rflags = world->s.rflags;
	b->s.rip = world->s.rip;
	b->s.rsp = world->s.rsp;
	b->s.rax = world->s.rax;
}

/* A processor with these options, unless it is there already. */
static void setting_make(struct setting *s, const char *wanted)
{
	char spec[96];
	struct world *w;

	if (s->w && !strcmp(s->options, wanted))
		return;
	setting_free(s);
	snprintf(s->options, sizeof(s->options), "%s", wanted);
	snprintf(spec, sizeof(spec), "EPYC,avic=off%s", wanted);
	s->w = w = WORLD_OF(spec, host_once, guest);
	good_make(&s->good, vmcb(w));
	s->host = w->st;
	s->host.gpr[RBX] = 0x1234;
	s->host.dr6 = DR6_FIXED;
	s->host.svm.g_pat = s->good.s.g_pat;
	enter(w, &s->host, &s->good);
	expect_guest_ran(s, "at first");
	s->back = w->st;
	/* Other values than the host's for what #VMEXIT does not load: a refused VMRUN must not have loaded them. */
	s->good.s.cr2 = 0x5678;
	s->good.s.dr6 = DR6_FIXED | 3;
	s->good.s.g_pat = 0x0007040600070400;
}

/* The model's options that make it what the break asks for. */
static const char *options_for(const struct vmrun_env *had, const struct vmrun_env *e)
{
	if (e->vnmi && !had->vnmi)
		return ",vnmi=on";
	if (e->x2avic && !had->x2avic)
		return ",avic=on,x2avic=on";
	if (e->avic && !had->avic)
		return ",avic=on";
	return "";
}

/* The same host in 32-bit protected mode without paging. */
static void host_unpaged(struct x86_state *st)
{
	st->seg[CS].attr = 0xc9b;
	st->cr0 &= ~CR0_PG;
	st->cr4 &= ~CR4_PAE;
	st->msr.efer = EFER_SVME;
}

static void differs(void *ctx, const char *path, const void *a, const void *b, u32 size)
{
	fprintf(stderr, "%s: %s differs\n", (const char *)ctx, path);
}

static void expect_state(const char *name, const struct x86_state *is, const struct x86_state *should)
{
	if (desc_diff(&x86_state_desc, is, should, differs, (void *)(uintptr_t)name))
		fail_msg("%s: the state is not as it should be", name);
}

static void expect_invalid(const char *name, struct setting *s, const struct vmcb *b)
{
	struct vmcb want = *b, *is = vmcb(s->w);

	want.c.exit_code = ~0ull;
	want.c.exit_info1 = want.c.exit_info2 = want.c.exit_int_info = want.c.next_rip = 0;
	want.c.insn_len = 0;
	if (is->c.exit_code != ~0ull)
		fail_msg("%s: exit %#llx", name, (unsigned long long)is->c.exit_code);
	if (desc_diff(&vmcb_desc, is, &want, differs, (void *)(uintptr_t)name))
		fail_msg("%s: the VMCB is not as it should be", name);
	if (ran(s->w))
		fail_msg("%s: the guest ran", name);
}

static void try_break(struct setting *s, const struct vmrun_break *b)
{
	struct x86_state before, back;
	struct vmrun_env had, e;
	struct vmcb bad;

	/* Once for what it asks for, once on the processor that has it. */
	for (unsigned i = 0; i < 2; i++) {
		had = e = env_of(s->w);
		bad = s->good;
		b->apply(&bad, &e);
		if (!i)
			setting_make(s, options_for(&had, &e));
	}
	before = s->host;
	back = s->back;
	if (!e.host_paging) {
		host_unpaged(&before);
		host_unpaged(&back);
	}
	enter(s->w, &before, &bad);
	expect_invalid(b->name, s, &bad);
	if (x86_cpu_of(s->w->v)->guests.refused_rule != b->rule)
		fail_msg("%s: refused by %s", b->name, vmrun_rule_rows[x86_cpu_of(s->w->v)->guests.refused_rule].name);
	expect_state(b->name, &s->w->st, &back);
	enter(s->w, &s->host, &s->good);
	expect_guest_ran(s, b->name);
}

static void each_rule_fails(void **state)
{
	struct setting s = {.w = NULL};

	for (unsigned i = 0; i < ARRAY_SIZE(vmrun_breaks); i++) {
		setting_make(&s, "");
		try_break(&s, &vmrun_breaks[i]);
	}
	setting_free(&s);
}

/* Without nested paging VMRUN loads the PDPTEs of legacy PAE paging. */
static void pdptes_in_memory(void **state)
{
	static const u64 bad[] = {PTE_P | PTE_W, PTE_P | PTE_U, PTE_P | BIT(8), PTE_P | BIT(41), PTE_P | BIT(63)};
	const u64 table = 0x70020;
	struct setting s = {.w = NULL};
	struct vmcb b;

	setting_make(&s, "");
	for (unsigned i = 0; i < ARRAY_SIZE(bad) * 4; i++) {
		b = s.good;
		b.c.np_control = 0;
		b.s.efer = EFER_SVME;
		b.s.cs.attr = 0xc9b;
		b.s.cr3 = table;
		for (unsigned n = 0; n < 4; n++)
			put64(s.w, table + 8 * n, n == i % 4 ? bad[i / 4] : 0);
		enter(s.w, &s.host, &b);
		expect_invalid("PDPTEs in memory", &s, &b);
		enter(s.w, &s.host, &s.good);
		expect_guest_ran(&s, "behind PDPTEs in memory");
	}
	setting_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_rule_fails),
		cmocka_unit_test(pdptes_in_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
