/*
 * One instruction on the host's silicon: a signal frame loads every register and RFLAGS.TF, the next trap or fault
 * brings back what it left.
 *
 *     ls_native_run: fill the frame from the case ──sigreturn──► the instruction ──SIGTRAP or fault──► handler: read
 * the frame ──longjmp──► ls_native_run returns
 *
 * The frame is a copy of one that the kernel made, with the extended state in XSAVE's standard format (FP_XSTATE_MAGIC1
 * in its software bytes). What may trap before it is done (REP, gathers: SDM vol. 3 18.3.1.4 "Single-Step Exception
 * Condition", vol. 2 VPGATHERDD) and streams run without TF, up to a UD2 behind them. RFLAGS.NT and ID do not travel
 * through sigreturn, so no case may change them. The handler runs on its own stack, since RSP is the case's, blocks
 * nothing, since it does not return, and puts back the thread pointer (FS's base) before anything else.
 */
#include <cpuid.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdnoreturn.h>
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

static struct {
	ucontext_t frame;
	u8 frame_fpu[LS_XSAVE] __attribute__((aligned(64)));
	gregset_t gregs; /* of the frame as it was learnt: segments */
	enum { IDLE, LEARNING, RUNNING } phase;
	const struct ls_case *c;
	struct ls_result *r;
	bool fpu;
	jmp_buf back;
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
	return MIN(size, LS_XSAVE - 4);
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

/* Enters the state in run.frame: the kernel takes it for a signal handler's return. */
static noreturn void enter(void)
{
	__asm__ volatile("mov %0, %%rsp\n\tmov $15, %%eax\n\tsyscall" : : "r"(&run.frame) : "memory");
	__builtin_unreachable();
}

static void start(const struct ls_case *c, bool code32)
{
	greg_t *g = run.frame.uc_mcontext.gregs;

	memcpy(g, run.gregs, sizeof(run.gregs));
	if (run.fpu)
		fpu_store(run.frame_fpu, &c->st.fpu);
	for (unsigned i = 0; i < 16; i++)
		g[greg_of[i]] = c->st.gpr[i];
	g[REG_RIP] = c->rip;
	g[REG_EFL] = x86_rflags(&c->st) | (ls_runs_free(c) ? 0 : FL_TF);
	if (code32)
		g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | USER_CS32;
	run.phase = RUNNING;
	if (run.bases) {
		run.base[0] = c->st.seg[FS].base;
		run.base[1] = c->st.seg[GS].base;
		write_bases(run.base);
	}
}

static void finish(const ucontext_t *uc)
{
	const greg_t *g = uc->uc_mcontext.gregs;
	struct ls_result *r = run.r;

	memcpy(r->base, run.base, sizeof(r->base));
	for (unsigned i = 0; i < 16; i++)
		r->gpr[i] = g[greg_of[i]];
	r->rip = g[REG_RIP];
	r->rflags = g[REG_EFL];
	r->vector = g[REG_TRAPNO];
	/* The UD2 behind what runs free is where the software processor stops by itself. */
	if (run.c->repeats && r->vector == EXC_UD && r->rip == run.c->rip + run.c->len)
		r->vector = EXC_DB;
	r->faulted = r->vector != EXC_DB;
	r->error = g[REG_ERR];
	r->cr2 = g[REG_CR2];
	if (run.fpu)
		fpu_load((const u8 *)uc->uc_mcontext.fpregs, &r->fpu);
}

/* The first signal shows what a frame looks like here. */
static void learn(const ucontext_t *uc)
{
	memcpy(&run.frame, uc, offsetof(ucontext_t, uc_sigmask) + 8);
	/* With FP_XSTATE_MAGIC2 at its end. */
	memcpy(run.frame_fpu, uc->uc_mcontext.fpregs, frame_size((const u8 *)uc->uc_mcontext.fpregs) + 4);
	memcpy(run.gregs, uc->uc_mcontext.gregs, sizeof(run.gregs));
	run.frame.uc_mcontext.fpregs = (void *)run.frame_fpu;
}

static void on_signal(int sig, siginfo_t *si, void *ctx)
{
	switch (run.phase) {
	case LEARNING:
		learn(ctx);
		((ucontext_t *)ctx)->uc_mcontext.gregs[REG_RIP] += 2;
		run.phase = IDLE;
		return;
	case RUNNING:
		if (run.bases) {
			read_bases(run.base);
			write_bases(run.host_base);
		}
		finish(ctx);
		run.phase = IDLE;
		_longjmp(run.back, 1);
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
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

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
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigaction(signals[i], &sa, signals[i] == SIGFPE ? &run.sigfpe : NULL))
			return -errno;
	run.phase = LEARNING;
	asm volatile("ud2" ::: "memory");
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
	if (_setjmp(run.back))
		return;
	start(c, code32);
	enter();
}
