/* The thread that draws the line. */
#include "cmd/progress.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define DRAW_NS	     200000000L
#define LEAST_COLUMN 20u

unsigned progress_columns(FILE *out)
{
	struct winsize w;

	if (!out || !isatty(fileno(out)))
		return 0;
	if (ioctl(fileno(out), TIOCGWINSZ, &w) || !w.ws_col)
		return 80;
	return MAX(w.ws_col, LEAST_COLUMN);
}

bool progress_utf8(void)
{
	static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		const char *v = getenv(names[i]);

		if (v && *v) /* the first that is set counts */
			return strstr(v, "UTF-8") || strstr(v, "utf8") || strstr(v, "UTF8") || strstr(v, "utf-8");
	}
	return false;
}

static u64 now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000 + (u64)t.tv_nsec;
}

static void erase(struct progress *p)
{
	if (p->drawn)
		fputs("\r\033[K", p->out);
	fflush(p->out);
	p->drawn = false;
}

/* One column is left free, so that no terminal wraps the line. */
static void draw(struct progress *p)
{
	unsigned columns = progress_columns(p->out), left;
	char seconds[24];

	if (!p->text[0] || !columns)
		return;
	left = columns - 1 -
	       (unsigned)snprintf(seconds, sizeof(seconds), "%.0f s ", (double)(now_ns() - p->began) / 1e9);
	fprintf(p->out, "\r\033[K%s", seconds);
	for (const char *s = p->text; *s && left; s++) {
		left -= ((u8)*s & 0xc0) != 0x80; /* not a further byte of a character */
		putc(*s, p->out);
	}
	fflush(p->out);
	p->drawn = true;
}

static void *draw_on(void *ctx)
{
	struct progress *p = ctx;
	struct timespec until;

	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		draw(p);
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += DRAW_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&p->changed, &p->lock, &until);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

void progress_start(struct progress *p, FILE *out)
{
	*p = (struct progress){.out = out, .began = now_ns()};
	if (!progress_columns(out))
		return;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	p->started = !pthread_create(&p->thread, NULL, draw_on, p);
}

void progress_pause(struct progress *p)
{
	if (!p->started)
		return;
	pthread_mutex_lock(&p->lock);
	erase(p);
}

void progress_resume(struct progress *p)
{
	if (p->started)
		pthread_mutex_unlock(&p->lock);
}

void progress_say(struct progress *p, const char *text)
{
	snprintf(p->text, sizeof(p->text), "%s", text);
	for (char *s = p->text; *s; s++)
		if ((u8)*s < ' ' || *s == 0x7f)
			*s = ' ';
}

void progress_stop(struct progress *p)
{
	if (!p->started)
		return;
	pthread_mutex_lock(&p->lock);
	erase(p);
	p->stop = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pthread_cond_destroy(&p->changed);
	pthread_mutex_destroy(&p->lock);
	p->started = false;
}
