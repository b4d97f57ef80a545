/* The options of `nestbox nest` as rows, and what each does (nest_options.h). */
#include "cmd/nest_options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/opt.h"
#include "cmd/tree.h"
#include "core/vm.h"

enum nest_opt {
	NEST_DEPTH,
	NEST_GUESTS,
	NEST_VENDOR,
	NEST_ACCEL,
	NEST_CPU,
	NEST_SMP,
	NEST_MEMORY,
	NEST_KERNEL,
	NEST_MODULES,
	NEST_APPEND,
	NEST_TIMEOUT,
	NEST_DMESG,
	NEST_JSON,
	NEST_STAT,
	NEST_TRACE,
	NEST_DROP,
	NEST_EXEC,
	NEST_CONSOLE,
	NEST_SHELL,
	NEST_KEEP,
	NEST_REPORT,
	NEST_HELP
};

static const struct opt nest_opts[] = {
	[NEST_DEPTH] = {"depth", NULL, "N", "how many levels of guests (2)"},
	[NEST_GUESTS] = {"guests", NULL, "N", "how many guests side by side in the innermost level, up to 8 (1)"},
	[NEST_VENDOR] = {"vendor", NULL, "NAME", "whose processor L1 gets: amd (the default) or intel"},
	[NEST_ACCEL] = {"accel", "-accel", "WHICH", "auto (the default), kvm, or soft: nestbox's own processor"},
	[NEST_CPU] = {"cpu", "-cpu", "MODEL[,F=on|off]", "L1's processor (EPYC on soft, the host's on kvm)"},
	[NEST_SMP] = {"smp", "-smp", "N", "processors of L1, and of each level inside it (1)"},
	[NEST_MEMORY] = {"memory", "-m", "SIZE", "L1's memory, such as 1G (chosen by need)"},
	[NEST_KERNEL] = {"kernel", "-kernel", "FILE", "the guests' kernel (a distribution's, see the manual)"},
	[NEST_MODULES] = {"modules", NULL, "DIR", "that kernel's modules"},
	[NEST_APPEND] = {"append", "-append", "TEXT", "more for L1's kernel command line"},
	[NEST_TIMEOUT] = {"timeout", NULL, "TIME", "give up after so many seconds, or 5m, 1h (300; with --keep none)"},
	[NEST_DMESG] = {"dmesg", NULL, "DIR", "save each level's kernel log there: dmesg-L1.txt, ..."},
	[NEST_JSON] = {"json", NULL, NULL, "one JSON object instead of the tree"},
	[NEST_STAT] = {"stat", NULL, NULL, "L1's processor counters at the end (exits by level: soft)"},
	[NEST_TRACE] = {"trace", "-trace", "TOPIC,...", "log these topics to stderr"},
	[NEST_DROP] = {"drop-every", NULL, "N", "soft: forget all of L1's caches every N instructions (a test)"},
	[NEST_EXEC] = {"exec", NULL, "LEVEL:COMMAND", "run a shell command in that level and print what it says"},
	[NEST_CONSOLE] = {"console", NULL, NULL, "copy L1's serial console to stderr"},
	[NEST_SHELL] = {"shell", NULL, "LEVEL", "a shell in that level, when all are up; its end ends the chain"},
	[NEST_KEEP] = {"keep", NULL, NULL, "leave the chain running until Ctrl-C; nestbox report asks its levels"},
	[NEST_REPORT] = {"report", NULL, "FILE",
			 "write a report on all levels there, as nestbox report does, also when the chain breaks"},
	[NEST_HELP] = {"help", "-h", NULL, "this text"},
};

const struct opt_table cmd_nest_options = {nest_opts, ARRAY_SIZE(nest_opts)};

int nest_usage(const char *why)
{
	fprintf(stderr, "nestbox nest: %s\n", why);
	return EXIT_USAGE;
}

static int nest_help(void)
{
	puts("nestbox nest [options]: runs a guest hypervisor and a guest inside it, and proves that it did\n");
	opt_help(nest_opts, ARRAY_SIZE(nest_opts), stdout);
	puts("\nexit codes: 0 nested KVM works, 1 it does not and the tree says where, 2 usage, 3 the host refused,\n"
	     "4 a guest failed, 124 out of time");
	return EXIT_DONE;
}

static int take_exec(struct nest_options *o, const char *v)
{
	const char *colon = strchr(v, ':');
	char *more;

	if (v[0] < '1' || v[0] > '8' || colon != v + 1 || !colon[1] || strchr(v, '\n'))
		return nest_usage("--exec wants LEVEL:COMMAND, such as '1:uname -r'");
	if (asprintf(&more, "%s%c %s\n", o->exec ? o->exec : "", v[0], colon + 1) < 0)
		return EXIT_HOST;
	free(o->exec);
	o->exec = more;
	return -1;
}

/* One option. -1: go on; else the exit code. */
static int take_option(void *ctx, int which, const char *v)
{
	struct nest_options *o = ctx;
	char why[300];

	switch ((enum nest_opt)which) {
	case NEST_DEPTH:
		return opt_number(v, 2, TREE_LEVELS, &o->depth) ? -1 : nest_usage("--depth wants a number from 2 to 8");
	case NEST_GUESTS:
		return opt_number(v, 1, TREE_GUESTS, &o->guests) ? -1
								 : nest_usage("--guests wants a number from 1 to 8");
	case NEST_VENDOR:
		if (!strcmp(v, "intel"))
			o->vendor_cpu = "Haswell-noTSX-IBRS";
		else if (strcmp(v, "amd") && strcmp(v, "auto"))
			return nest_usage("--vendor wants amd, intel or auto");
		return -1;
	case NEST_ACCEL: o->accel = v; return -1;
	case NEST_CPU: o->cpu = v; return -1;
	case NEST_SMP:
		return opt_number(v, 1, VM_VCPUS, &o->smp) ? -1 : nest_usage("--smp wants a number from 1 to 64");
	case NEST_MEMORY:
		if (opt_size(v, 1ull << 20, &o->memory) && o->memory >= 64ull << 20)
			return -1;
		snprintf(why, sizeof(why), "--memory wants a size of at least 64M, not %.40s", v);
		return nest_usage(why);
	case NEST_KERNEL: o->kernel = v; return -1;
	case NEST_MODULES: o->modules = v; return -1;
	case NEST_APPEND: o->append = v; return -1;
	case NEST_TIMEOUT:
		return opt_duration(v, &o->timeout_ms) ? -1
						       : nest_usage("--timeout wants seconds, or 5m, 1h; 0 for none");
	case NEST_DMESG: o->dmesg = v; return -1;
	case NEST_JSON: o->json = true; return -1;
	case NEST_STAT: o->stat = true; return -1;
	case NEST_TRACE: o->trace = v; return -1;
	case NEST_DROP:
		return opt_number(v, 0, UINT64_MAX, &o->drop_every) ? -1 : nest_usage("--drop-every wants a number");
	case NEST_EXEC: return take_exec(o, v);
	case NEST_CONSOLE: o->console = true; return -1;
	case NEST_SHELL:
		o->keep = true;
		return opt_number(v, 1, TREE_LEVELS, &o->shell_level) ? -1
								      : nest_usage("--shell wants a level, such as 2");
	case NEST_KEEP: o->keep = true; return -1;
	case NEST_REPORT: o->report = v; return *v ? -1 : nest_usage("--report wants a file's name");
	case NEST_HELP: return nest_help();
	}
	return -1;
}

/* What one option cannot know of the others. */
static int check_together(const struct nest_options *o)
{
	if (o->keep && o->report)
		return nest_usage("--keep and --report do not go together: nestbox report asks a chain that is kept");
	if (o->guests > 1 && (o->keep || o->report))
		return nest_usage(
			"--guests does not go with --keep, --shell and --report: they know one guest in a level");
	for (const char *p = o->exec; p && *p; p = strchr(p, '\n') + 1)
		if ((u64)(*p - '0') > o->depth)
			return nest_usage("--exec names a level deeper than --depth");
	if (o->shell_level > o->depth)
		return nest_usage("--shell names a level deeper than --depth");
	return -1;
}

int nest_options_take(struct nest_options *o, int argc, char **argv)
{
	int code;

	*o = (struct nest_options){.accel = "auto", .depth = 2, .guests = 1, .smp = 1, .timeout_ms = UINT64_MAX};
	code = opt_each(nest_opts, ARRAY_SIZE(nest_opts), argc - 1, argv + 1, take_option, nest_usage, o);
	if (o->timeout_ms == UINT64_MAX)
		o->timeout_ms = o->keep ? 0 : 300000;
	return code < 0 ? check_together(o) : code;
}
