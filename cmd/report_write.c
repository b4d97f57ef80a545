/* The end of every report: sorted, redacted, summarised, packed. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/program.h"
#include "cmd/report.h"
#include "inspect/host.h"
#include "inspect/redact.h"

static void learn_names(struct report_job *j)
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

static int redact_one(struct report_job *j, char **text, size_t *size)
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

static void clean_chain(struct report_job *j)
{
	size_t n;
	char *text = redact_text(j->redact, j->chain, strlen(j->chain), &n);

	if (text)
		snprintf(j->chain, sizeof(j->chain), "%s", text);
	free(text);
}

static int redact_all(struct report_job *j, struct err *e)
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
	clean_chain(j);
	return 0;
}

static void print_redactions(const struct report_job *j, FILE *out)
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

void report_print_summary(const struct report_job *j, FILE *out)
{
	struct report_claim c = {.chain = j->chain, .redact = j->redact};

	report_summary(&j->report, &c, out);
}

/* A file of ours, beside the levels' folders. */
static int put_own(struct report_job *j, const char *name, void (*print)(const struct report_job *j, FILE *out))
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

static void name_archive(struct report_job *j)
{
	time_t now = time(NULL);
	struct tm tm;

	localtime_r(&now, &tm);
	strftime(j->folder, sizeof(j->folder), "nestbox-report-%Y%m%d-%H%M%S", &tm);
	snprintf(j->name, sizeof(j->name), "%s.tar.zst", j->folder);
	if (!j->output)
		j->output = j->name;
}

int report_collect_host(struct report_job *j, struct err *e)
{
	struct report_section section = {&j->report, 0};
	struct report_out out = report_store;
	int rc;

	out.ctx = &section;
	rc = report_collect(j->host, &out);
	if (rc == -EINTR)
		return err_set(e, EINTR, "interrupted");
	return rc ? err_set(e, -rc, "no memory for all that there is") : 0;
}

int report_finish(struct report_job *j, struct err *e)
{
	int rc = 0;

	name_archive(j);
	sort_files(&j->report);
	if (!j->no_redact)
		rc = redact_all(j, e);
	if (!rc && !j->no_redact && put_own(j, "redactions.txt", print_redactions))
		rc = err_set(e, ENOMEM, "no memory");
	if (!rc && put_own(j, "summary.md", report_print_summary))
		rc = err_set(e, ENOMEM, "no memory");
	return rc ? rc : report_archive(&j->report, j->folder, j->output, e);
}

void report_job_free(struct report_job *j)
{
	host_close(j->host);
	redact_free(j->redact);
	report_free(&j->report);
}
