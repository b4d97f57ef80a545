/*
 * The command line's first word, and the other life of this program: process 1 of a guest.
 *
 * A kernel starts its init as "/init"; a container's process 1 has another name, and is an ordinary command.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/types.h"
#include "cmd/cmd.h"
#include "cmd/opt.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv); /* NULL: not there yet */
	const struct opt_table *options;
} verbs[] = {
	{"nest", cmd_nest, &cmd_nest_options},
	{"run", cmd_run, &cmd_run_options},
	{"check", cmd_check, &cmd_check_options},
	{"enable", cmd_enable, &cmd_enable_options},
	{"disable", cmd_disable, &cmd_enable_options},
	{"report", cmd_report, &cmd_report_options},
	{"save", NULL, NULL},
	{"restore", NULL, NULL},
	{"migrate", NULL, NULL},
	{"receive", NULL, NULL},
	{"stat", NULL, NULL},
	{"trace", NULL, NULL},
	{"cpus", cmd_cpus, &cmd_cpus_options},
};

static void help(void)
{
	puts("nestbox runs virtual machines inside virtual machines, with /dev/kvm or with its own processor\n"
	     "\n"
	     "  nestbox nest                     a guest hypervisor and a guest inside it, proven from within\n"
	     "  nestbox check                    which level is this, can its guests run guests, and what mends it\n"
	     "  nestbox run --kernel FILE        one guest, its console on this terminal (Ctrl-A x leaves)\n"
	     "\n"
	     "  enable, disable   the nested parameter of KVM, now and after the next start\n"
	     "  report            one archive for a bug report about nested guests, secrets replaced\n"
	     "  cpus              the processor models, and what of each this host can give\n"
	     "\n"
	     "nestbox VERB --help tells each verb's options\n"
	     "exit codes: 0 done, 1 the thing asked about is not so, 2 usage, 3 the host refused, 4 a guest failed,\n"
	     "124 out of time");
}

/* How many letters must be put in, taken out or changed to make one word of the other; words of up to 15 letters. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[17], na = (unsigned)strlen(a), nb = (unsigned)strlen(b);

	if (na > 15 || nb > 15)
		return 99;
	for (unsigned k = 0; k <= nb; k++)
		row[k] = k;
	for (unsigned i = 1; i <= na; i++) {
		unsigned corner = row[0];

		row[0] = i;
		for (unsigned k = 1; k <= nb; k++) {
			unsigned change = corner + (a[i - 1] != b[k - 1]);

			corner = row[k];
			row[k] = MIN(change, 1 + MIN(row[k], row[k - 1]));
		}
	}
	return row[nb];
}

static int unknown(const char *word)
{
	const char *nearest = NULL;
	unsigned best = 3;

	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++) {
		unsigned d = distance(word, verbs[i].name);

		if (verbs[i].run && d < best) {
			best = d;
			nearest = verbs[i].name;
		}
	}
	if (nearest)
		fprintf(stderr, "nestbox: there is no verb %.40s: do you mean %s?\n", word, nearest);
	else
		fprintf(stderr, "nestbox: there is no verb %.40s: nestbox --help lists what there is\n", word);
	return EXIT_USAGE;
}

/* For completion and the manual pages: the verbs, or a verb's options (opt_list). */
static int list_options(const char *verb)
{
	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (!verbs[i].run)
			continue;
		if (!verb)
			puts(verbs[i].name);
		else if (!strcmp(verb, verbs[i].name))
			opt_list(verbs[i].options, stdout);
	}
	return EXIT_DONE;
}

static int run_verb(int argc, char **argv)
{
	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(argv[1], verbs[i].name) != 0)
			continue;
		if (verbs[i].run)
			return verbs[i].run(argc - 1, argv + 1);
		fprintf(stderr, "nestbox: %s is not there yet\n", verbs[i].name);
		return EXIT_USAGE;
	}
	return unknown(argv[1]);
}

/* A standard descriptor that the caller has closed must not become a file's: it stays one on which nothing can be done.
 */
static void hold_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_PATH | O_CLOEXEC);
	while (fd >= 0 && fd < 3);
	if (fd >= 0)
		close(fd);
}

/* What did not reach stdout must not pass for done. */
static int flush_stdout(int code)
{
	errno = 0;
	if ((fflush(stdout) || ferror(stdout)) && code == EXIT_DONE) {
		fprintf(stderr, "nestbox: stdout cannot be written%s%s\n", errno ? ": " : "",
			errno ? strerror(errno) : "");
		return EXIT_HOST;
	}
	return code;
}

int main(int argc, char **argv)
{
	if (argc > 0 && getpid() == 1 && !strcmp(argv[0], "/init"))
		return cmd_init();
	hold_standard_descriptors();
	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		help();
		return flush_stdout(EXIT_DONE);
	}
	if (!strcmp(argv[1], "--version")) {
		puts("nestbox " NESTBOX_VERSION);
		return flush_stdout(EXIT_DONE);
	}
	if (!strcmp(argv[1], "--list-options"))
		return flush_stdout(list_options(argc > 2 ? argv[2] : NULL));
	return flush_stdout(run_verb(argc, argv));
}
