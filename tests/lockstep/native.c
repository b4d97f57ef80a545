#include "tests/lockstep/native.h"

#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "cpu/x86/x87.h"

#define XSAVE_MAX 4096u
#define USER_CS64 0x33
#define USER_CS32 0x23
#define USER_DS 0x2b

/* Lies at a fixed address, so that the trampoline needs no register to find it. */
struct native_ctx {
	u8 xsave[XSAVE_MAX];
	u8 fault_xsave[XSAVE_MAX];
	u64 gpr[16];
	u64 rflags;
	u64 host_rsp;
	u32 env[7];
	u32 pad;
	u64 far;  /* pointer to NATIVE_INSN: offset and selector */
	u64 back; /* where the instruction is followed by a jump to */
	u64 out;  /* the part of it that ends a faulted run */
	int vector;
	u32 error;
	u32 offset[10]; /* of the XSAVE components */
	u64 xcr0;
	u32 xsave_size;
	u8 stack[32768] __attribute__((aligned(64)));
};
#define CTX ((struct native_ctx *)0x20000000ul)

static void put(u8 **p, const void *bytes, unsigned n)
{
	memcpy(*p, bytes, n);
	*p += n;
}

static void put_abs(u8 **p, const void *op, unsigned n, const void *address)
{
	u32 a = (u32)(uintptr_t)address;

	put(p, op, n);
	put(p, &a, 4);
}

static void put_gpr(u8 **p, bool store, unsigned r)
{
	u8 op[4] = {0x48 | (r >> 3) << 2, store ? 0x89 : 0x8b, (r & 7) << 3 | 4, 0x25};

	put_abs(p, op, 4, &CTX->gpr[r]);
}

static void put_all_components(u8 **p)
{
	put(p, "\xb8\xff\xff\xff\xff\xba\xff\xff\xff\xff", 10); /* mov eax, -1; mov edx, -1 */
}

static void put_data_segments(u8 **p, u32 sel)
{
	put(p, "\xb8", 1);
	put(p, &sel, 4);
	put(p, "\x8e\xd8\x8e\xc0", 4); /* mov ds, eax; mov es, eax */
}

/* Entry, then NATIVE_INSN, then the exit part, to which the code at NATIVE_INSN jumps back. Returns the exit's address. */
static u8 *make_trampoline(void)
{
	u8 *p = (u8 *)NATIVE_CODE, *back;

	put(&p, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57", 10); /* push rbx, rbp, r12 to r15 */
	put_abs(&p, "\x48\x89\x24\x25", 4, &CTX->host_rsp);
	put_data_segments(&p, USER_DS);
	put_all_components(&p);
	put_abs(&p, "\x48\x0f\xae\x2c\x25", 5, CTX->xsave); /* xrstor64 */
	put_abs(&p, "\xbc", 1, &CTX->rflags);               /* mov esp, imm */
	put(&p, "\x9d", 1);                                 /* popfq */
	for (unsigned r = 0; r < 16; r++)
		put_gpr(&p, false, r);
	put_abs(&p, "\xff\x2c\x25", 3, &CTX->far); /* jmp far */

	back = p;
	for (unsigned r = 0; r < 16; r++)
		put_gpr(&p, true, r);
	put_abs(&p, "\xbc", 1, &CTX->rflags + 1);
	put(&p, "\x9c", 1); /* pushfq */
	put_all_components(&p);
	put_abs(&p, "\x48\x0f\xae\x24\x25", 5, CTX->xsave); /* xsave64 */
	CTX->out = (uintptr_t)p;
	put_abs(&p, "\xd9\x34\x25", 3, CTX->env);           /* fnstenv */
	put(&p, "\xdb\xe3\xc5\xf8\x77\xfc", 6);             /* fninit; vzeroupper; cld */
	put_data_segments(&p, 0);
	put_abs(&p, "\x48\x8b\x24\x25", 4, &CTX->host_rsp);
	put(&p, "\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3", 11);
	return back;
}

static void on_signal(int sig, siginfo_t *si, void *context)
{
	static const u8 regs[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
				    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
	ucontext_t *uc = context;
	greg_t *g = uc->uc_mcontext.gregs;

	if ((u64)g[REG_RIP] - NATIVE_CODE >= 4096) { /* not the guest's: a bug of ours */
		signal(sig, SIG_DFL);
		return;
	}
	CTX->vector = g[REG_TRAPNO];
	CTX->error = g[REG_ERR];
	for (unsigned i = 0; i < 16; i++)
		CTX->gpr[i] = g[regs[i]];
	CTX->rflags = g[REG_EFL];
	memcpy(CTX->fault_xsave, uc->uc_mcontext.fpregs, CTX->xsave_size);
	g[REG_RIP] = CTX->out;
	g[REG_CSGSFS] = (g[REG_CSGSFS] & ~0xffffll) | USER_CS64;
}

int native_init(struct err *e)
{
	static const int signals[] = {SIGFPE, SIGSEGV, SIGILL, SIGBUS};
	struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
	stack_t ss = {.ss_sp = CTX->stack, .ss_size = sizeof(CTX->stack)};
	int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	u32 a, b, c, d;

	if (mmap(CTX, sizeof(*CTX), prot, flags, -1, 0) != CTX ||
	    mmap((void *)NATIVE_CODE, 4096, prot | PROT_EXEC, flags, -1, 0) != (void *)NATIVE_CODE)
		return err_set(e, errno, "cannot map the trampoline: %s", strerror(errno));
	__cpuid(1, a, b, c, d);
	if (!(c & bit_OSXSAVE))
		return err_set(e, ENOTSUP, "the host has no XSAVE");
	__asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
	CTX->xcr0 = a & 0xe7;
	__cpuid_count(13, 0, a, b, c, d);
	CTX->xsave_size = b;
	if (b > XSAVE_MAX)
		return err_set(e, ENOTSUP, "the host's XSAVE area has %u bytes", b);
	for (unsigned i = 2; i < 10; i++) {
		__cpuid_count(13, i, a, b, c, d);
		CTX->offset[i] = b;
	}
	sigaltstack(&ss, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &sa, NULL);
	CTX->back = (uintptr_t)make_trampoline();
	return 0;
}

u64 native_xcr0(void) { return CTX->xcr0; }

/* Host's standard format to and from struct x86_fpu. */
static void xsave_put(u8 *x, const struct x86_fpu *f)
{
	memset(x, 0, CTX->xsave_size);
	memcpy(x, &f->fcw, 2);
	memcpy(x + 2, &f->fsw, 2);
	x[4] = f->ftw;
	memcpy(x + 6, &f->fop, 2);
	memcpy(x + 8, &f->fip, 8);
	memcpy(x + 16, &f->fdp, 8);
	memcpy(x + 24, &f->mxcsr, 4);
	memcpy(x + 32, f->st, 128);
	memcpy(x + 512, &CTX->xcr0, 8);
	for (unsigned i = 0; i < 16; i++) {
		memcpy(x + 160 + 16 * i, f->vec[i], 16);
		if (CTX->xcr0 & 4)
			memcpy(x + CTX->offset[2] + 16 * i, f->vec[i] + 16, 16);
		if (CTX->xcr0 & 0x40)
			memcpy(x + CTX->offset[6] + 32 * i, f->vec[i] + 32, 32);
	}
	if (CTX->xcr0 & 0x20)
		memcpy(x + CTX->offset[5], f->k, 64);
	if (CTX->xcr0 & 0x80)
		memcpy(x + CTX->offset[7], f->vec[16], 1024);
}

static void xsave_get(const u8 *x, struct x86_fpu *f)
{
	u64 have;

	memcpy(&have, x + 512, 8);
	have &= CTX->xcr0;
	memset(f, 0, sizeof(*f));
	f->fcw = X87_FCW_RESET;
	memcpy(&f->mxcsr, x + 24, 4);
	if (have & 1) {
		memcpy(&f->fcw, x, 2);
		memcpy(&f->fsw, x + 2, 2);
		f->ftw = x[4];
		memcpy(f->st, x + 32, 128);
	}
	for (unsigned i = 0; i < 16; i++) {
		if (have & 2)
			memcpy(f->vec[i], x + 160 + 16 * i, 16);
		if (have & 4)
			memcpy(f->vec[i] + 16, x + CTX->offset[2] + 16 * i, 16);
		if (have & 0x40)
			memcpy(f->vec[i] + 32, x + CTX->offset[6] + 32 * i, 32);
	}
	if (have & 0x20)
		memcpy(f->k, x + CTX->offset[5], 64);
	if (have & 0x80)
		memcpy(f->vec[16], x + CTX->offset[7], 1024);
}

void native_run(const u8 *insn, unsigned len, bool code64, struct x86_state *st, struct native_result *r)
{
	void (*enter)(void) = (void (*)(void))NATIVE_CODE;
	u8 *p = (u8 *)NATIVE_INSN;
	u32 mxcsr = 0x1f80, back = (u32)CTX->back;
	u16 cs64 = USER_CS64;

	put(&p, insn, len);
	if (code64) {
		u32 rel = back - (u32)(uintptr_t)p - 5;

		put(&p, "\xe9", 1);
		put(&p, &rel, 4);
	} else {
		put(&p, "\xea", 1);
		put(&p, &back, 4);
		put(&p, &cs64, 2);
	}
	CTX->far = NATIVE_INSN | (u64)(code64 ? USER_CS64 : USER_CS32) << 32;
	memcpy(CTX->gpr, st->gpr, sizeof(CTX->gpr));
	CTX->rflags = x86_rflags(st);
	xsave_put(CTX->xsave, &st->fpu);
	CTX->vector = -1;
	enter();
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));

	memcpy(st->gpr, CTX->gpr, sizeof(CTX->gpr));
	x86_set_rflags(st, (x86_rflags(st) & ~FL_OSZAPC) | (CTX->rflags & FL_OSZAPC));
	xsave_get(CTX->vector < 0 ? CTX->xsave : CTX->fault_xsave, &st->fpu);
	r->vector = CTX->vector;
	r->error = CTX->error;
	r->fip = CTX->env[3];
	r->fop = CTX->env[4] >> 16 & 0x7ff;
	r->fdp = CTX->env[5];
}
