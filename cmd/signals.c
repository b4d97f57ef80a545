/* The thread that waits for signals. */
#include "cmd/signals.h"

#include <string.h>
#include <unistd.h>

#include "machine/machine.h"

static void stop_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR2); /* from signals_stop */
}

static void *wait_for_signal(void *ctx)
{
	struct signals *s = ctx;
	sigset_t set;
	int sig;

	stop_set(&set);
	while (!sigwait(&set, &sig) && sig != SIGUSR2) {
		pthread_mutex_lock(&s->lock);
		if (s->got) /* asked twice: do not wait for an orderly end */
			_exit(128 + sig);
		s->got = sig;
		if (s->machine)
			machine_stop(s->machine, VM_USER);
		pthread_mutex_unlock(&s->lock);
	}
	return NULL;
}

int signals_start(struct signals *s, struct err *e)
{
	sigset_t set;
	int rc;

	*s = (struct signals){0};
	pthread_mutex_init(&s->lock, NULL);
	stop_set(&set);
	pthread_sigmask(SIG_BLOCK, &set, &s->old);
	rc = pthread_create(&s->thread, NULL, wait_for_signal, s);
	if (rc) {
		pthread_sigmask(SIG_SETMASK, &s->old, NULL);
		return err_set(e, rc, "no thread for signals: %s", strerror(rc));
	}
	return 0;
}

void signals_guard(struct signals *s, struct machine *m)
{
	pthread_mutex_lock(&s->lock);
	s->machine = m;
	if (m && s->got)
		machine_stop(m, VM_USER);
	pthread_mutex_unlock(&s->lock);
}

int signals_stop(struct signals *s)
{
	pthread_kill(s->thread, SIGUSR2);
	pthread_join(s->thread, NULL);
	pthread_sigmask(SIG_SETMASK, &s->old, NULL);
	pthread_mutex_destroy(&s->lock);
	return s->got;
}
