#include "cpu/x86/xm.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

/* What SIGFPE's handler and the thread that it interrupts tell each other. */
static _Thread_local struct {
	volatile bool on;
	volatile bool unblocked;
	volatile u32 raised; /* MXCSR at the exception; 0: none */
} xm;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction others;

static void pass_on(int sig, siginfo_t *si, void *ctx)
{
	if (others.sa_flags & SA_SIGINFO)
		others.sa_sigaction(sig, si, ctx);
	else if (others.sa_handler != SIG_DFL && others.sa_handler != SIG_IGN)
		others.sa_handler(sig);
	else
		signal(sig, SIG_DFL); /* it comes again */
}

/* A stub has pushed nothing: RSP points to its return address. */
static void on_sigfpe(int sig, siginfo_t *si, void *ctx)
{
	mcontext_t *m = &((ucontext_t *)ctx)->uc_mcontext;

	if (!xm.on) {
		pass_on(sig, si, ctx);
		return;
	}
	xm.on = false;
	xm.raised = m->fpregs->mxcsr;
	m->fpregs->mxcsr |= MXCSR_MASKS;
	m->gregs[REG_RIP] = *(const greg_t *)(uintptr_t)m->gregs[REG_RSP];
	m->gregs[REG_RSP] += 8;
}

int xm_init(void)
{
	struct sigaction sa = {.sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO | SA_ONSTACK}, now;
	int rc = 0;

	sigfillset(&sa.sa_mask);
	pthread_mutex_lock(&lock);
	if (sigaction(SIGFPE, NULL, &now)) {
		rc = -errno;
	} else if (now.sa_sigaction != on_sigfpe) {
		others = now;
		if (sigaction(SIGFPE, &sa, NULL))
			rc = -errno;
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

static void unblock(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGFPE);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	xm.unblocked = true;
}

bool xm_run(struct x86_cpu *cpu, stub_fn *stub, void *mem, u32 mxcsr)
{
	if (unlikely(!xm.unblocked))
		unblock();
	xm.raised = 0;
	xm.on = true;
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr) : "memory");
	stub(cpu, mem);
	if (likely(!xm.raised)) {
		xm.on = false;
		return false;
	}
	/* The stub's end, which it did not reach. */
	__asm__ volatile("emms");
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vzeroupper");
	return true;
}
