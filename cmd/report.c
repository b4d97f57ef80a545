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
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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
	const char *output, *root;
	bool no_redact, summary, json;
	char folder[64], name[80], chain[500];
	struct host *host;
	struct report report;
	struct redact *redact;
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
	case REPORT_OUT: j->output = v; return *v ? -1 : usage("--output wants a file's name");
	case REPORT_ROOT: j->root = v; return -1;
	case REPORT_NO_REDACT: j->no_redact = true; return -1;
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

static void learn_names(struct job *j)
{
	static const char *const files[] = {"/proc/sys/kernel/hostname", "/etc/hostname", "/proc/sys/kernel/domainname",
					    "/etc/mailname"};
	char name[256];

	for (unsigned i = 0; i < ARRAY_SIZE(files); i++)
		if (!host_line(j->host, files[i], name, sizeof(name)))
			redact_learn_host(j->redact, name);
	if (host_is_live(j->host) && !gethostname(name, sizeof(name) - 1))
		redact_learn_host(j->redact, name);
}

static int redact_one(struct job *j, char **text, size_t *size)
{
	char *clean;
	size_t n = *size;

	if (!*text)
		return 0;
	clean = redact_text(j->redact, *text, n, &n);
	if (!clean)
		return -ENOMEM;
	free(*text);
	*text = clean;
	*size = n;
	return 0;
}

static int redact_all(struct job *j, struct err *e)
{
	j->redact = redact_new(e);
	if (!j->redact)
		return -ENOMEM;
	learn_names(j);
	for (size_t i = 0; i < j->report.nfiles; i++)
		if (j->report.files[i].data)
			redact_scan(j->redact, j->report.files[i].data, j->report.files[i].size);
	for (size_t i = 0; i < j->report.nfiles; i++) {
		struct report_file *f = &j->report.files[i];
		size_t by = f->by ? strlen(f->by) : 0, why = f->why ? strlen(f->why) : 0;

		if (program_interrupted())
			return err_set(e, EINTR, "interrupted");
		if (redact_one(j, &f->data, &f->size) || redact_one(j, &f->by, &by) || redact_one(j, &f->why, &why))
			return err_set(e, ENOMEM, "no memory for redaction");
	}
	return 0;
}

static void print_redactions(const struct job *j, FILE *out)
{
	fputs("What was replaced, by rule (the same value has the same placeholder in all files; the values are not "
	      "told):\n\n",
	      out);
	fprintf(out, "%-20s %-10s %7s %7s  %s\n", "rule", "becomes", "values", "times", "what");
	for (unsigned i = 0; i < redact_rules(); i++) {
		struct redact_row_count c = redact_count(j->redact, i);
		char becomes[40];

		snprintf(becomes, sizeof(becomes), "%s-N", c.placeholder);
		fprintf(out, "%-20s %-10s %7u %7u  %s\n", c.id, becomes, c.values, c.times, c.words);
	}
}

static void print_summary(const struct job *j, FILE *out)
{
	struct report_claim c = {.chain = j->chain, .redact = j->redact};

	report_summary(&j->report, &c, out);
}

/* A file of ours, beside the levels' folders. */
static int put_own(struct job *j, const char *name, void (*print)(const struct job *j, FILE *out))
{
	char *text = NULL;
	size_t n;
	FILE *out = open_memstream(&text, &n);
	int rc;

	if (!out)
		return -ENOMEM;
	print(j, out);
	rc = fclose(out) ? -ENOMEM : report_put(&j->report, REPORT_LEVELS, name, "nestbox", text, n);
	free(text);
	return rc;
}

static int print_json(const struct job *j)
{
	json_t *files = json_array(), *missing = json_array(), *redacted = json_object(), *all;

	for (size_t i = 0; i < j->report.nfiles; i++) {
		const struct report_file *f = &j->report.files[i];

		if (f->level == REPORT_LEVELS)
			continue;
		if (f->data)
			json_array_append_new(files, json_pack("{s:i, s:s, s:s, s:I}", "level", (int)f->level, "name",
							       f->name, "from", f->by, "bytes", (json_int_t)f->size));
		else
			json_array_append_new(missing, json_pack("{s:i, s:s, s:s}", "level", (int)f->level, "name",
								 f->name, "why", f->why));
	}
	for (unsigned i = 0; j->redact && i < redact_rules(); i++) {
		struct redact_row_count c = redact_count(j->redact, i);

		json_object_set_new(redacted, c.id,
				    json_pack("{s:i, s:i}", "values", (int)c.values, "times", (int)c.times));
	}
	all = json_pack("{s:s, s:s, s:o, s:o, s:b, s:o}", "archive", j->output, "chain", j->chain, "files", files,
			"missing", missing, "redacted", j->redact != NULL, "redactions", redacted);
	json_dumpf(all, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(all);
	return EXIT_DONE;
}

/* Level by level, each in the order in which its files came. */
static void sort_files(struct report *r)
{
	struct report_file *sorted = calloc(r->nfiles + 1, sizeof(*sorted));
	size_t n = 0;

	if (!sorted) /* then as they came */
		return;
	for (unsigned level = 0; level <= REPORT_LEVELS; level++)
		for (size_t i = 0; i < r->nfiles; i++)
			if (r->files[i].level == level)
				sorted[n++] = r->files[i];
	free(r->files);
	r->files = sorted;
}

static void print_end(const struct job *j)
{
	unsigned have = 0, lack = 0;

	for (size_t i = 0; i < j->report.nfiles; i++)
		if (j->report.files[i].level != REPORT_LEVELS)
			*(j->report.files[i].data ? &have : &lack) += 1;
	if (j->summary) {
		print_summary(j, stdout);
		return;
	}
	printf("%s: %u files; %u could not be had, and summary.md says why\n%s\n", j->output, have, lack, j->chain);
	if (j->no_redact)
		puts("nothing is redacted: read it before you publish it");
}

static void name_archive(struct job *j)
{
	time_t now = time(NULL);
	struct tm tm;

	localtime_r(&now, &tm);
	strftime(j->folder, sizeof(j->folder), "nestbox-report-%Y%m%d-%H%M%S", &tm);
	snprintf(j->name, sizeof(j->name), "%s.tar.zst", j->folder);
	if (!j->output)
		j->output = j->name;
}

/* The levels of a running chain; that it cannot be asked does not stop the rest. */
static int ask_chain(struct job *j, struct err *e)
{
	struct err why = {0};
	int rc = control_ask(&j->report, j->chain, sizeof(j->chain), &why);

	if (rc == -EINTR)
		return err_set(e, EINTR, "interrupted");
	if (rc < 0)
		snprintf(j->chain, sizeof(j->chain), "A chain that runs here could not be asked: %s.", why.text);
	return 0;
}

static int make_report(struct job *j)
{
	struct report_section section = {&j->report, 0};
	struct report_out out = report_store;
	struct err e = {0};
	int rc;

	out.ctx = &section;
	rc = report_collect(j->host, &out);
	if (rc == -ENOMEM)
		rc = err_set(&e, ENOMEM, "no memory for all that there is");
	snprintf(j->chain, sizeof(j->chain), "%s",
		 j->root ? "It is about a recorded host."
			 : "No nest of nestbox runs here: L1 and deeper levels are not in it; run nestbox report "
			   "inside them too.");
	if (!rc && !j->root)
		rc = ask_chain(j, &e);
	sort_files(&j->report);
	if (!rc && !j->no_redact)
		rc = redact_all(j, &e);
	if (!rc && !j->no_redact && put_own(j, "redactions.txt", print_redactions))
		rc = err_set(&e, ENOMEM, "no memory");
	if (!rc && put_own(j, "summary.md", print_summary))
		rc = err_set(&e, ENOMEM, "no memory");
	if (!rc)
		rc = report_archive(&j->report, j->folder, j->output, &e);
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
	name_archive(&j);
	if (host_open(j.root, &j.host, &e)) {
		fprintf(stderr, "nestbox report: %s\n", e.text);
		return EXIT_USAGE;
	}
	code = make_report(&j);
	host_close(j.host);
	redact_free(j.redact);
	report_free(&j.report);
	return code;
}
