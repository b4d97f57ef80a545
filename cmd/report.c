/*
 * `nestbox report`: one archive with all that somebody who is to help with a nested setup will ask for.
 *
 *   collect this level -> ask a running chain for its levels -> redact -> summary -> archive
 *
 * Everything is in memory until the archive is written; SIGINT, SIGTERM and SIGHUP are held blocked and looked for
 * between steps (program_interrupted), so that nothing is left half done.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/control.h"
#include "cmd/opt.h"
#include "cmd/program.h"
#include "cmd/report.h"
#include "inspect/host.h"
#include "inspect/redact.h"

enum report_opt { REPORT_OUT, REPORT_ROOT, REPORT_NO_REDACT, REPORT_SUMMARY, REPORT_JSON, REPORT_HELP };

static const struct opt report_opts[] = {
	[REPORT_OUT] = {"output", "-o", "FILE", "the archive (nestbox-report-DATE-TIME.tar.zst here)"},
	[REPORT_ROOT] = {"root", NULL, "DIR", "report on a recorded host instead of this one"},
	[REPORT_NO_REDACT] = {"no-redact", NULL, NULL, "leave names, addresses, serial numbers and secrets in"},
	[REPORT_SUMMARY] = {"summary", NULL, NULL, "print the summary too"},
	[REPORT_JSON] = {"json", NULL, NULL, "what was written, what is missing and what was redacted, as JSON"},
	[REPORT_HELP] = {"help", "-h", NULL, "this text"},
};

const struct opt_table cmd_report_options = {report_opts, ARRAY_SIZE(report_opts)};

struct job {
	const char *root;
	bool summary, json;
	struct report_job it;
};

static int usage(const char *why)
{
	fprintf(stderr, "nestbox report: %s\n", why);
	return EXIT_USAGE;
}

static int take_option(void *ctx, int which, const char *v)
{
	struct job *j = ctx;

	switch ((enum report_opt)which) {
	case REPORT_OUT: j->it.output = v; return *v ? -1 : usage("--output wants a file's name");
	case REPORT_ROOT: j->root = v; return -1;
	case REPORT_NO_REDACT: j->it.no_redact = true; return -1;
	case REPORT_SUMMARY: j->summary = true; return -1;
	case REPORT_JSON: j->json = true; return -1;
	case REPORT_HELP:
		puts("nestbox report [options]: collects what a bug report about nested guests needs into one "
		     "archive,\n"
		     "from this host and from the levels of a nest that runs with --keep\n");
		opt_help(report_opts, ARRAY_SIZE(report_opts), stdout);
		puts("\nexit codes: 0 the archive is written, 2 usage, 3 it cannot be");
		return EXIT_DONE;
	}
	return -1;
}

static int host_error(const struct err *e)
{
	fprintf(stderr, "nestbox report: %s\n", e->text);
	return EXIT_HOST;
}

static int print_json(const struct job *j)
{
	json_t *files = json_array(), *missing = json_array(), *redacted = json_object(), *all;

	for (size_t i = 0; i < j->it.report.nfiles; i++) {
		const struct report_file *f = &j->it.report.files[i];

		if (f->level == REPORT_LEVELS)
			continue;
		if (f->data)
			json_array_append_new(files, json_pack("{s:i, s:s, s:s, s:I}", "level", (int)f->level, "name",
							       f->name, "from", f->by, "bytes", (json_int_t)f->size));
		else
			json_array_append_new(missing, json_pack("{s:i, s:s, s:s}", "level", (int)f->level, "name",
								 f->name, "why", f->why));
	}
	for (unsigned i = 0; j->it.redact && i < redact_rules(); i++) {
		struct redact_row_count c = redact_count(j->it.redact, i);

		json_object_set_new(redacted, c.id,
				    json_pack("{s:i, s:i}", "values", (int)c.values, "times", (int)c.times));
	}
	all = json_pack("{s:s, s:s, s:o, s:o, s:b, s:o}", "archive", j->it.output, "chain", j->it.chain, "files", files,
			"missing", missing, "redacted", j->it.redact != NULL, "redactions", redacted);
	json_dumpf(all, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(all);
	return EXIT_DONE;
}

static void print_end(const struct job *j)
{
	unsigned have = 0, lack = 0;

	for (size_t i = 0; i < j->it.report.nfiles; i++)
		if (j->it.report.files[i].level != REPORT_LEVELS)
			*(j->it.report.files[i].data ? &have : &lack) += 1;
	if (j->summary) {
		report_print_summary(&j->it, stdout);
		return;
	}
	printf("%s: %u files; %u could not be had, and summary.md says why\n%s\n", j->it.output, have, lack,
	       j->it.chain);
	if (j->it.no_redact)
		puts("nothing is redacted: read it before you publish it");
}

/* The levels of a running chain; that it cannot be asked does not stop the rest. */
static int ask_chain(struct job *j, struct err *e)
{
	struct err why = {0};
	int rc = control_ask(&j->it.report, j->it.chain, sizeof(j->it.chain), &why);

	if (rc == -EINTR)
		return err_set(e, EINTR, "interrupted");
	if (rc < 0)
		snprintf(j->it.chain, sizeof(j->it.chain), "A chain that runs here could not be asked: %s.", why.text);
	return 0;
}

static int make_report(struct job *j)
{
	struct err e = {0};
	int rc = report_collect_host(&j->it, &e);

	snprintf(j->it.chain, sizeof(j->it.chain), "%s",
		 j->root ? "It is about a recorded host."
			 : "No nest of nestbox runs here: L1 and deeper levels are not in it; run nestbox report "
			   "inside them too.");
	if (!rc && !j->root)
		rc = ask_chain(j, &e);
	if (!rc)
		rc = report_finish(&j->it, &e);
	if (rc == -EINTR) {
		fprintf(stderr, "nestbox report: stopped, nothing is written\n");
		return 128 + program_interrupted();
	}
	if (rc)
		return host_error(&e);
	if (j->json)
		return print_json(j);
	print_end(j);
	return EXIT_DONE;
}

int cmd_report(int argc, char **argv)
{
	struct job j = {0};
	struct err e = {0};
	sigset_t set;
	int code = opt_each(report_opts, ARRAY_SIZE(report_opts), argc - 1, argv + 1, take_option, usage, &j);

	if (code >= 0)
		return code;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (host_open(j.root, &j.it.host, &e)) {
		fprintf(stderr, "nestbox report: %s\n", e.text);
		return EXIT_USAGE;
	}
	code = make_report(&j);
	report_job_free(&j.it);
	return code;
}
