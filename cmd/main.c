/*
 * The command line's first word, and the other life of this program: process 1 of a guest.
 *
 * A kernel starts its init as "/init"; a container's process 1 has another name, and is an ordinary command.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/types.h"
#include "cmd/cmd.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv); /* NULL: not there yet */
} verbs[] = {
	{"nest", cmd_nest}, {"run", cmd_run}, {"check", NULL},	 {"enable", NULL},  {"disable", NULL},
	{"report", NULL},   {"save", NULL},   {"restore", NULL}, {"migrate", NULL}, {"receive", NULL},
	{"stat", NULL},	    {"trace", NULL},  {"cpus", cmd_cpus},
};

static void help(void)
{
	puts("nestbox runs virtual machines inside virtual machines, with /dev/kvm or with its own processor\n"
	     "\n"
	     "  nestbox nest                     a guest hypervisor and a guest inside it, proven from within\n"
	     "  nestbox nest --cpu EPYC,svm=off  the same with a processor that cannot: shows where it breaks\n"
	     "  nestbox run --kernel FILE        one guest, its console on this terminal (Ctrl-A x leaves)\n"
	     "  nestbox cpus                     the processor models, and what of each this host can give\n"
	     "\n"
	     "nestbox VERB --help tells each verb's options\n"
	     "exit codes: 0 done, 1 the thing asked about is not so, 2 usage, 3 the host refused, 4 a guest failed,\n"
	     "124 out of time");
}

int main(int argc, char **argv)
{
	if (argc > 0 && getpid() == 1 && !strcmp(argv[0], "/init"))
		return cmd_init();
	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		help();
		return EXIT_DONE;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("nestbox " NESTBOX_VERSION);
		return EXIT_DONE;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(argv[1], verbs[i].name) != 0)
			continue;
		if (verbs[i].run)
			return verbs[i].run(argc - 1, argv + 1);
		fprintf(stderr, "nestbox: %s is not there yet\n", verbs[i].name);
		return EXIT_USAGE;
	}
	fprintf(stderr, "nestbox: there is no verb %s: nestbox --help lists what there is\n", argv[1]);
	return EXIT_USAGE;
}
