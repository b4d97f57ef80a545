/* `nestbox check`: the verb, the gathering, the verdict. */
#include "cmd/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/accel.h"
#include "cmd/cmd.h"
#include "cmd/opt.h"

const struct check_row check_rows[CHECKS] = {
#define CHECK(name, group, question) {#name, #group, question},
#include "cmd/check.def"
#undef CHECK
};

static void (*const questions[CHECKS])(struct check *c) = {
#define CHECK(name, group, question) check_##name,
#include "cmd/check.def"
#undef CHECK
};

enum check_opt { CHECK_OPT_JSON, CHECK_OPT_VERBOSE, CHECK_OPT_ROOT, CHECK_OPT_PEER, CHECK_OPT_RECORD, CHECK_OPT_HELP };

static const struct opt check_opts[] = {
	[CHECK_OPT_JSON] = {"json", NULL, NULL, "one JSON object instead of the text"},
	[CHECK_OPT_VERBOSE] = {"verbose", "-v", NULL, "the evidence of what is in order, too"},
	[CHECK_OPT_ROOT] = {"root", NULL, "DIR", "look at a recorded host, not at this one"},
	[CHECK_OPT_PEER] = {"peer", NULL, "DIR|VERSION",
			    "the other host of a migration: recorded, or its kernel's version"},
	[CHECK_OPT_RECORD] = {"record", NULL, "DIR", "write what was read into DIR, for --root and --peer elsewhere"},
	[CHECK_OPT_HELP] = {"help", "-h", NULL, "this text"},
};

const struct opt_table cmd_check_options = {check_opts, ARRAY_SIZE(check_opts)};

struct check_options {
	const char *root, *peer, *record;
	bool json, verbose;
};

static int usage(const char *why)
{
	fprintf(stderr, "nestbox check: %s\n", why);
	return EXIT_USAGE;
}

static int check_help(void)
{
	puts("nestbox check [options]: which level is this, and can its guests run guests: possible, on, fast, "
	     "safe?\n");
	opt_help(check_opts, ARRAY_SIZE(check_opts), stdout);
	puts("\nIt changes nothing and needs no root; root sees more (MSRs, other users' processes, the kernel's "
	     "log).\n"
	     "\nexit codes: 0 nesting is on, 1 it is off or not possible, 2 usage, 3 the host could not be read");
	return EXIT_DONE;
}

static int take_option(void *ctx, int which, const char *v)
{
	struct check_options *o = ctx;

	switch ((enum check_opt)which) {
	case CHECK_OPT_JSON: o->json = true; return -1;
	case CHECK_OPT_VERBOSE: o->verbose = true; return -1;
	case CHECK_OPT_ROOT: o->root = v; return -1;
	case CHECK_OPT_PEER: o->peer = v; return -1;
	case CHECK_OPT_RECORD: o->record = v; return -1;
	case CHECK_OPT_HELP: return check_help();
	}
	return -1;
}

void check_say(char **text, const char *fmt, ...)
{
	va_list ap;

	free(*text);
	va_start(ap, fmt);
	if (vasprintf(text, fmt, ap) < 0)
		*text = NULL;
	va_end(ap);
}

static void finding_free(struct check_finding *f)
{
	free(f->what);
	free(f->evidence);
	free(f->consequence);
	free(f->remedy);
	*f = (struct check_finding){0};
}

struct check_finding *check_add(struct check *c, enum check_name name, enum check_severity severity, const char *fmt,
				...)
{
	struct check_finding *f = &c->finding[c->n < CHECK_FINDINGS ? c->n++ : CHECK_FINDINGS - 1];
	va_list ap;

	finding_free(f);
	f->name = name;
	f->severity = severity;
	va_start(ap, fmt);
	if (vasprintf(&f->what, fmt, ap) < 0)
		f->what = NULL;
	va_end(ap);
	return f;
}

const char *check_sudo(const struct check *c) { return host_fact_number(c->host, "uid") ? "sudo " : ""; }

void check_gather(struct check *c, struct host *host)
{
	c->host = host;
	host_cpu_read(host, &c->cpu);
	host_level_read(host, &c->cpu, &c->level);
	host_kvm_read(host, &c->cpu, &c->kvm);
	host_kvm_holders(host, &c->kvm);
	host_modprobe_read(host, &c->modprobe);
	host_place_read(host, &c->place);
	host_version_read(host, &c->version);
}

static void verdict(struct check *c, enum check_nesting n, const char *text)
{
	c->nesting = n;
	snprintf(c->nesting_text, sizeof(c->nesting_text), "%s", text);
}

/* What stands in the way first, from the silicon upwards. */
static void judge(struct check *c)
{
	const struct host_kvm *k = &c->kvm;
	bool x86 = c->cpu.arch == HOST_X86;

	if (x86 && !c->cpu.vmx && !c->cpu.svm)
		verdict(c, c->cpu.known || c->cpu.cpuinfo ? NESTING_IMPOSSIBLE : NESTING_UNKNOWN,
			c->cpu.known || c->cpu.cpuinfo ? "not possible: the processor has neither VMX nor SVM here"
						       : "not known: there is no CPUID of this host");
	else if (x86 && c->cpu.firmware == SWITCH_OFF)
		verdict(c, NESTING_IMPOSSIBLE, "not possible: the firmware has virtualization switched off");
	else if (k->nested == 0)
		verdict(c, NESTING_OFF, "off: guests of this KVM see no virtualization of their own");
	else if (k->can == KVM_NO_NESTING)
		verdict(c, NESTING_IMPOSSIBLE, "not possible: /dev/kvm runs guests, but they cannot run guests");
	else if (k->module && !k->present)
		verdict(c, NESTING_OFF, "off: KVM's module is not loaded");
	else if (k->can == KVM_NONE)
		verdict(c, NESTING_OFF, "off: there is no /dev/kvm");
	else if (k->can == KVM_UNUSABLE)
		verdict(c, NESTING_OFF, "on, but not for this user: /dev/kvm cannot be used");
	else if (k->nested < 0 && k->can != KVM_NESTS)
		verdict(c, NESTING_UNKNOWN, "not known: there is no nested parameter to read");
	else
		verdict(c, NESTING_ON, "on: guests of this KVM can run guests of their own");
}

void check_all(struct check *c)
{
	for (unsigned i = 0; i < CHECKS; i++)
		questions[i](c);
	judge(c);
}

void check_free(struct check *c)
{
	for (unsigned i = 0; i < c->n; i++)
		finding_free(&c->finding[i]);
	host_kvm_free(&c->kvm);
	host_modprobe_free(&c->modprobe);
	host_close(c->peer);
	c->peer = NULL;
}

static int take_peer(struct check *c, const char *peer, struct err *e)
{
	struct stat st;
	int rc;

	c->peer_name = peer;
	if (!stat(peer, &st)) {
		rc = host_open(peer, &c->peer, e);
		if (!rc)
			host_version_read(c->peer, &c->peer_version);
		return rc;
	}
	if (host_version_parse(peer, &c->peer_version))
		return 0;
	return err_set(e, ENOENT, "--peer: %s is neither a folder nor a kernel version such as 6.12.95", peer);
}

static int check_run(struct check *c, const struct check_options *o, struct host *h)
{
	struct err e = {0};
	int code;

	if (o->record && host_record(h, o->record, &e)) {
		fprintf(stderr, "nestbox check: %s\n", e.text);
		return EXIT_HOST;
	}
	if (o->peer && take_peer(c, o->peer, &e)) {
		fprintf(stderr, "nestbox check: %s\n", e.text);
		return EXIT_USAGE;
	}
	if (host_is_live(h)) {
		host_measure(h);
		accel_measure_kvm(h);
	}
	check_gather(c, h);
	check_all(c);
	code = c->nesting == NESTING_ON ? EXIT_DONE : EXIT_NOT_SO;
	if (o->json) {
		json_t *all = check_json(c, code);

		json_dumpf(all, stdout, JSON_INDENT(1));
		putchar('\n');
		json_decref(all);
	} else {
		check_print(c, o->verbose, isatty(1) && !getenv("NO_COLOR"), stdout);
	}
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "nestbox check: the output cannot be written: %s\n", strerror(errno));
		code = EXIT_HOST;
	}
	if (host_record_finish(h)) {
		fprintf(stderr, "nestbox check: %s is not whole: %s\n", o->record, strerror(-host_record_error(h)));
		code = EXIT_HOST;
	}
	return code;
}

int cmd_check(int argc, char **argv)
{
	struct check *c = calloc(1, sizeof(*c));
	struct check_options o = {0};
	struct host *h = NULL;
	struct err e = {0};
	int code = c ? opt_each(check_opts, ARRAY_SIZE(check_opts), argc - 1, argv + 1, take_option, usage, &o)
		     : EXIT_HOST,
	    rc;

	if (code < 0) {
		rc = host_open(o.root, &h, &e);
		if (rc) {
			fprintf(stderr, "nestbox check: %s\n", e.text);
			code = rc == -ENOENT || rc == -ENOTDIR ? EXIT_USAGE : EXIT_HOST;
		}
	}
	if (code < 0)
		code = check_run(c, &o, h);
	if (c)
		check_free(c);
	host_close(h);
	free(c);
	return code;
}
