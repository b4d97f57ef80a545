/*
 * The driver of a fuzz target without libFuzzer: its seeds, the files that are named (folders: all in them), then
 * --runs inputs made of those by a fixed random sequence. An input that ends the process is left in crash-TARGET; one
 * that takes longer than 30 seconds counts as a crash.
 *
 * With libFuzzer (FUZZ_LIBFUZZER) only the seeds are written, to the folder $FUZZ_SEEDS, before it starts.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX 0x4000u

#ifdef FUZZ_LIBFUZZER

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static u8 buf[INPUT_MAX];
	const char *dir = getenv("FUZZ_SEEDS");
	size_t size;

	(void)argc;
	for (unsigned n = 0; dir && (size = fuzz_seed(n, buf, sizeof(buf))); n++) {
		char path[600];
		FILE *f;

		snprintf(path, sizeof(path), "%s/seed-%u", dir, n);
		f = fopen(path, "w");
		if (!f || fwrite(buf, 1, size, f) != size || fclose(f)) {
			fprintf(stderr, "%s: %s cannot be written: %s\n", (*argv)[0], path, strerror(errno));
			exit(1);
		}
	}
	if (dir)
		exit(0);
	return 0;
}

#else

void __sanitizer_set_death_callback(void (*cb)(void)) __attribute__((weak));

static struct {
	u8 data[INPUT_MAX];
	size_t size;
} * corpus;
static unsigned ncorpus;
static const u8 *running;
static size_t running_size;
static char crash_name[300];
static u64 seed = 1;

static u32 rnd(u32 below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)((seed >> 33) * below >> 31);
}

/* In a signal handler too. */
static void say(const char *what, const char *name)
{
	if (write(2, what, strlen(what)) < 0 || write(2, name, strlen(name)) < 0 || write(2, "\n", 1) < 0)
		return;
}

static void save(void)
{
	int fd = open(crash_name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd >= 0 && running && write(fd, running, running_size) == (ssize_t)running_size)
		say("the input is in ", crash_name);
	if (fd >= 0)
		close(fd);
	running = NULL;
}

static void on_signal(int sig)
{
	if (sig == SIGALRM)
		say("an input takes longer than 30 seconds", "");
	save();
	signal(sig == SIGALRM ? SIGABRT : sig, SIG_DFL);
	raise(sig == SIGALRM ? SIGABRT : sig);
}

/* On the heap, exactly as long: a sanitizer sees each byte beyond. */
static void run(const u8 *data, size_t size)
{
	u8 *copy = malloc(size ? size : 1);

	if (!copy)
		exit(1);
	memcpy(copy, data, size);
	running = copy;
	running_size = size;
	alarm(30);
	LLVMFuzzerTestOneInput(copy, size);
	alarm(0);
	running = NULL;
	free(copy);
}

static void keep(const u8 *data, size_t size)
{
	corpus = realloc(corpus, (ncorpus + 1) * sizeof(*corpus));
	if (!corpus)
		exit(1);
	memcpy(corpus[ncorpus].data, data, size);
	corpus[ncorpus++].size = size;
}

static void take_path(const char *path)
{
	static u8 buf[INPUT_MAX];
	struct dirent *d;
	DIR *dir = opendir(path);
	FILE *f;

	if (dir) {
		char name[1000];

		while ((d = readdir(dir))) {
			snprintf(name, sizeof(name), "%s/%s", path, d->d_name);
			if (d->d_name[0] != '.')
				take_path(name);
		}
		closedir(dir);
		return;
	}
	f = fopen(path, "r");
	if (!f) {
		if (errno == ENOENT)
			return; /* a target without a corpus of files */
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		exit(2);
	}
	keep(buf, fread(buf, 1, sizeof(buf), f));
	fclose(f);
}

/* A few changes to one input, or the head of one and the tail of another. */
static size_t mutate(u8 *buf)
{
	u32 from = rnd(ncorpus + 1);
	size_t size = from < ncorpus ? corpus[from].size : rnd(400);

	if (from < ncorpus)
		memcpy(buf, corpus[from].data, size);
	else
		for (size_t i = 0; i < size; i++)
			buf[i] = (u8)rnd(256);
	if (ncorpus && !rnd(6)) {
		u32 other = rnd(ncorpus);
		size_t at = rnd((u32)MIN(size, corpus[other].size) + 1);

		memcpy(buf + at, corpus[other].data + at, corpus[other].size - at);
		size = corpus[other].size;
	}
	for (u32 n = 1 + rnd(8); n && size; n--) {
		size_t at = rnd((u32)size), len = 1 + rnd((u32)MIN(size - at, (size_t)16));

		switch (rnd(6)) {
		case 0: buf[at] ^= (u8)(1u << rnd(8)); break;
		case 1: buf[at] = (u8)rnd(256); break;
		case 2: memset(buf + at, rnd(2) ? 0xff : 0, len); break;
		case 3:
			for (size_t i = 0; i < len; i++)
				buf[at + i] = (u8)rnd(256);
			break;
		case 4: memmove(buf + rnd((u32)(size - len) + 1), buf + at, len); break;
		default: size = rnd(4) ? size : at; break;
		}
	}
	return size;
}

int main(int argc, char **argv)
{
	static u8 buf[INPUT_MAX];
	const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
	unsigned long runs = 0;
	size_t size;

	snprintf(crash_name, sizeof(crash_name), "crash-%s", name);
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(save);
	else
		signal(SIGSEGV, on_signal);
	signal(SIGABRT, on_signal);
	signal(SIGALRM, on_signal);
	for (unsigned n = 0; (size = fuzz_seed(n, buf, sizeof(buf))); n++)
		keep(buf, size);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--runs") && i + 1 < argc)
			runs = strtoul(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
			seed = strtoul(argv[++i], NULL, 10);
		else
			take_path(argv[i]);
	}
	for (unsigned i = 0; i < ncorpus; i++)
		run(corpus[i].data, corpus[i].size);
	for (unsigned long i = 0; i < runs; i++)
		run(buf, mutate(buf));
	printf("%s: %u inputs and %lu changes of them\n", name, ncorpus, runs);
	free(corpus);
	return 0;
}

#endif
