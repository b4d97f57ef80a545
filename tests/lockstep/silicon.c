/*
 * One instruction on the host's silicon: a signal frame loads every register and RFLAGS.TF, the next trap or fault
 * brings back what it left.
 *
 *     UD2 ──SIGILL──► handler: keep the frame, fill it from the case ──sigreturn──► the instruction ──SIGTRAP or
 * fault──► handler: read the frame, put the kept one back, RIP behind UD2 ──sigreturn──► ls_native_run goes on
 *
 * The kernel's frame holds the extended state in XSAVE's standard format (with FP_XSTATE_MAGIC1 in its software bytes).
 * RFLAGS.NT and ID do not travel through sigreturn, so no case may change them. Handlers run on their own stack, since
 * RSP is the case's, and put back the thread pointer (FS's base) before anything else.
 */
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "arch/x86/xsave.h"
#include "tests/lockstep/host.h"
#include "tests/lockstep/lockstep.h"

#define FRAME_MAGIC 0x46505853u
#define FRAME_SW    464 /* software bytes within the legacy area */
/* Linux's selectors. A 64-bit program runs 32-bit code by the code segment alone, but needs data segments that are not
 * null for it. */
#define USER_CS32 0x23
#define USER_DS	  0x2b
#define STEPS_MAX 100000

static struct {
	enum { IDLE, STARTING, RUNNING } phase;
	const struct ls_case *c;
	struct ls_result *r;
	bool code32, fpu;
	unsigned steps;
	gregset_t kept;
	u8 kept_fpu[LS_XSAVE];
	u32 offset[XSAVE_COMPONENTS]; /* of the components in the frame: the host's, not a guest's */
	struct sigaction sigfpe;      /* the software processor's */
	bool bases;		      /* FS's and GS's bases are part of cases */
	u64 host_base[2], base[2];
} run;

static const u8 greg_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
			       REG_R8,	REG_R9,	 REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static u32 frame_size(const u8 *x)
{
	u32 magic, size;

	memcpy(&magic, x + FRAME_SW, 4);
	if (magic != FRAME_MAGIC)
		return 512;
	memcpy(&size, x + FRAME_SW + 16, 4);
	return MIN(size, LS_XSAVE);
}

static u64 frame_features(const u8 *x)
{
	u64 v = XCR0_X87 | XCR0_SSE;

	if (frame_size(x) > 512)
		memcpy(&v, x + FRAME_SW + 8, 8);
	return v;
}

/* Scatters x86_fpu into the frame. */
static void fpu_store(u8 *x, const struct x86_fpu *f)
{
	u64 bv = frame_features(x) & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM),
	    old;

	memcpy(x, &f->fcw, 2);
	memcpy(x + 2, &f->fsw, 2);
	x[4] = f->ftw;
	memcpy(x + 6, &f->fop, 2);
	memcpy(x + 8, &f->fip, 8);
	memcpy(x + 16, &f->fdp, 8);
	memcpy(x + 24, &f->mxcsr, 4);
	for (unsigned i = 0; i < 8; i++)
		memcpy(x + 32 + 16 * i, f->st[i], 16);
	for (unsigned i = 0; i < 16; i++)
		memcpy(x + 160 + 16 * i, f->vec[i], 16);
	if (frame_size(x) <= 512)
		return;
	for (unsigned i = 0; i < 16; i++) {
		if (bv & XCR0_AVX)
			memcpy(x + run.offset[2] + 16 * i, f->vec[i] + 16, 16);
		if (bv & XCR0_ZMM_HI256)
			memcpy(x + run.offset[6] + 32 * i, f->vec[i] + 32, 32);
		if (bv & XCR0_HI16_ZMM)
			memcpy(x + run.offset[7] + 64 * i, f->vec[16 + i], 64);
	}
	if (bv & XCR0_OPMASK)
		memcpy(x + run.offset[5], f->k, 64);
	memcpy(&old, x + XSAVE_LEGACY, 8);
	old |= bv;
	memcpy(x + XSAVE_LEGACY, &old, 8);
}

/* Gathers it; a component whose XSTATE_BV bit is clear is in its initial state. */
static void fpu_load(const u8 *x, struct x86_fpu *f)
{
	static const struct x86_fpu initial = {.fcw = 0x37f, .mxcsr = 0x1f80};
	u64 bv = XCR0_X87 | XCR0_SSE;

	*f = initial;
	if (frame_size(x) > 512)
		memcpy(&bv, x + XSAVE_LEGACY, 8);
	if (bv & XCR0_X87) {
		memcpy(&f->fcw, x, 2);
		memcpy(&f->fsw, x + 2, 2);
		f->ftw = x[4];
		memcpy(&f->fop, x + 6, 2);
		memcpy(&f->fip, x + 8, 8);
		memcpy(&f->fdp, x + 16, 8);
		for (unsigned i = 0; i < 8; i++)
			memcpy(f->st[i], x + 32 + 16 * i, 10);
	}
	memcpy(&f->mxcsr, x + 24, 4);
	for (unsigned i = 0; i < 16; i++) {
		if (bv & XCR0_SSE)
			memcpy(f->vec[i], x + 160 + 16 * i, 16);
		if (bv & XCR0_AVX)
			memcpy(f->vec[i] + 16, x + run.offset[2] + 16 * i, 16);
		if (bv & XCR0_ZMM_HI256)
			memcpy(f->vec[i] + 32, x + run.offset[6] + 32 * i, 32);
		if (bv & XCR0_HI16_ZMM)
			memcpy(f->vec[16 + i], x + run.offset[7] + 64 * i, 64);
	}
	if (bv & XCR0_OPMASK)
		memcpy(f->k, x + run.offset[5], 64);
}

static void read_bases(u64 base[2]) { __asm__ volatile("rdfsbase %0\n\trdgsbase %1" : "=r"(base[0]), "=r"(base[1])); }

static void write_bases(const u64 base[2])
{
	__asm__ volatile("wrfsbase %0\n\twrgsbase %1" : : "r"(base[0]), "r"(base[1]) : "memory");
}

static void start(ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;
	u8 *x = (u8 *)uc->uc_mcontext.fpregs;

	memcpy(run.kept, g, sizeof(run.kept));
	if (run.fpu) {
		memcpy(run.kept_fpu, x, frame_size(x));
		fpu_store(x, &run.c->st.fpu);
	}
	for (unsigned i = 0; i < 16; i++)
		g[greg_of[i]] = run.c->st.gpr[i];
	g[REG_RIP] = run.c->rip;
	g[REG_EFL] = x86_rflags(&run.c->st) | FL_TF;
	if (run.code32)
		g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | USER_CS32;
	run.phase = RUNNING;
	run.steps = 0;
	if (run.bases) {
		run.base[0] = run.c->st.seg[FS].base;
		run.base[1] = run.c->st.seg[GS].base;
		write_bases(run.base);
	}
}

static void finish(ucontext_t *uc)
{
	greg_t *g = uc->uc_mcontext.gregs;
	u8 *x = (u8 *)uc->uc_mcontext.fpregs;
	struct ls_result *r = run.r;

	/* A repeated string instruction traps behind each element (SDM vol. 3 18.3.1.4 "Single-Step Exception
	 * Condition"); so may a gather or scatter, when something interrupts it or in lieu of an element's fault (SDM
	 * vol. 2 VPGATHERDD: "any traps or interrupts pending from already gathered elements"). */
	if (run.c->repeats && g[REG_TRAPNO] == EXC_DB && (u64)g[REG_RIP] == run.c->rip && ++run.steps < STEPS_MAX) {
		g[REG_EFL] |= FL_TF;
		if (run.bases)
			write_bases(run.base);
		return;
	}
	memcpy(r->base, run.base, sizeof(r->base));
	for (unsigned i = 0; i < 16; i++)
		r->gpr[i] = g[greg_of[i]];
	r->rip = g[REG_RIP];
	r->rflags = g[REG_EFL];
	r->vector = g[REG_TRAPNO];
	r->faulted = r->vector != EXC_DB;
	r->error = g[REG_ERR];
	r->cr2 = g[REG_CR2];
	if (run.fpu) {
		fpu_load(x, &r->fpu);
		memcpy(x, run.kept_fpu, frame_size(x));
	}
	memcpy(g, run.kept, sizeof(run.kept));
	g[REG_RIP] += 2;
	run.phase = IDLE;
}

static void on_signal(int sig, siginfo_t *si, void *ctx)
{
	switch (run.phase) {
	case STARTING: start(ctx); return;
	case RUNNING:
		if (run.bases) {
			read_bases(run.base);
			write_bases(run.host_base);
		}
		finish(ctx);
		return;
	case IDLE:
		if (sig == SIGFPE && run.sigfpe.sa_sigaction)
			run.sigfpe.sa_sigaction(sig, si, ctx);
		else
			signal(sig, SIG_DFL); /* our own fault: it comes again and ends the test */
		return;
	}
}

static bool map_at(u64 la, size_t size, int prot)
{
	void *p = mmap((void *)la, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0);

	return p == (void *)la;
}

void ls_native_pin(struct ls *ls)
{
	u32 aux;

	host_stay();
	__builtin_ia32_rdtscp(&aux);
	ls->tsc_aux = aux;
}

int ls_native_init(struct ls *ls)
{
	static const int signals[] = {SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE};
	static u8 stack[65536] __attribute__((aligned(64)));
	stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	if (!map_at(LS_CODE, LS_CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC) ||
	    !map_at(LS_DATA, LS_DATA_SIZE, PROT_READ | PROT_WRITE) || mprotect((void *)LS_RO, 4096, PROT_READ))
		return -errno;
	asm volatile("mov %w0, %%ds\n\tmov %w0, %%es" : : "r"(USER_DS));
	if (sigaltstack(&alt, NULL))
		return -errno;
	for (u32 i = 2; i < XSAVE_COMPONENTS; i++) {
		u32 a, b, c, d;

		__cpuid_count(13, i, a, b, c, d);
		run.offset[i] = b;
	}
	run.bases = ls->bases;
	if (run.bases)
		read_bases(run.host_base);
	sigfillset(&sa.sa_mask);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigaction(signals[i], &sa, signals[i] == SIGFPE ? &run.sigfpe : NULL))
			return -errno;
	return 0;
}

u32 ls_native_offset(unsigned component) { return run.offset[component]; }

void ls_native_write_code(u64 la, const void *bytes, unsigned len) { memcpy((void *)la, bytes, len); }
const u8 *ls_native_data(void) { return (const u8 *)LS_DATA; }

void ls_native_poke(u64 la, const void *bytes, unsigned len)
{
	bool ro = la + len > LS_RO;

	if (ro)
		mprotect((void *)LS_RO, 4096, PROT_READ | PROT_WRITE);
	memcpy((void *)la, bytes, len);
	if (ro)
		mprotect((void *)LS_RO, 4096, PROT_READ);
}

void ls_native_restore(const void *data) { ls_native_poke(LS_DATA, data, LS_DATA_SIZE); }

void ls_native_run(const struct ls_case *c, bool code32, bool fpu, struct ls_result *r)
{
	memset(r, 0, sizeof(*r));
	memset(run.base, 0, sizeof(run.base));
	run.c = c;
	run.r = r;
	run.fpu = fpu;
	run.code32 = code32;
	run.phase = STARTING;
	asm volatile("ud2" ::: "memory");
}
