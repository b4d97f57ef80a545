/*
 * `nestbox cpus`: the processor models, and what of each this host can give.
 *
 * A model's features are what x86_model_parse() leaves of its set: those that need a unit of the host's processor which
 * is not there are named as missing.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86/model.h"
#include "cmd/cmd.h"
#include "cmd/opt.h"

enum cpus_opt { CPUS_JSON, CPUS_HELP };

static const struct opt cpus_opts[] = {
	[CPUS_JSON] = {"json", NULL, NULL, "as JSON, with each model's features"},
	[CPUS_HELP] = {"help", "-h", NULL, "this text"},
};

const struct opt_table cmd_cpus_options = {cpus_opts, ARRAY_SIZE(cpus_opts)};

struct cpus_row {
	struct x86_model named, given;
	bool usable;
};

static const char *vendor_name(const struct x86_model *m) { return m->vendor == X86_AMD ? "AMD" : "Intel"; }

static bool missing(const struct cpus_row *r, unsigned f) { return x86_has(&r->named, f) && !x86_has(&r->given, f); }

static bool row_fill(const char *name, struct cpus_row *r)
{
	struct err e = {0};

	memset(r, 0, sizeof(*r));
	if (!x86_model_named(name, &r->named))
		return false;
	r->usable = !x86_model_parse(name, &r->given, &e);
	return true;
}

static unsigned count(const struct x86_model *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(m->features); i++)
		n += (unsigned)__builtin_popcountll(m->features[i]);
	return n;
}

static const char *nesting(const struct x86_model *m)
{
	return x86_has(m, X86F_SVM) ? "svm" : x86_has(m, X86F_VMX) ? "vmx" : "-";
}

static void print_row(const char *name, const struct cpus_row *r)
{
	bool first = true;

	printf("%-22s %-6s %-5s %4u of %3u", name, vendor_name(&r->named), nesting(&r->given), count(&r->given),
	       count(&r->named));
	for (unsigned f = 0; f < X86_FEATURES; f++) {
		if (!missing(r, f))
			continue;
		printf("%s%s", first ? "  without " : ", ", x86_feature_rows[f].name);
		first = false;
	}
	putchar('\n');
}

static json_t *json_row(const char *name, const struct cpus_row *r)
{
	json_t *features = json_array(), *lacks = json_array();

	for (unsigned f = 0; f < X86_FEATURES; f++) {
		if (x86_has(&r->given, f))
			json_array_append_new(features, json_string(x86_feature_rows[f].name));
		if (missing(r, f))
			json_array_append_new(lacks, json_string(x86_feature_rows[f].name));
	}
	return json_pack("{s:s, s:s, s:s, s:i, s:b, s:s, s:o, s:o}", "name", name, "vendor", vendor_name(&r->named),
			 "brand", r->named.brand, "signature", (int)r->named.signature, "usable", (int)r->usable,
			 "nesting", nesting(&r->given), "features", features, "missing", lacks);
}

static int list(bool json)
{
	json_t *all = json ? json_array() : NULL;
	struct cpus_row r;

	if (!json)
		puts("model                  vendor nests features here");
	for (const char *const *name = x86_model_names(); *name; name++) {
		if (!row_fill(*name, &r))
			continue;
		if (json)
			json_array_append_new(all, json_row(*name, &r));
		else
			print_row(*name, &r);
	}
	if (json) {
		json_dumpf(all, stdout, JSON_INDENT(1));
		putchar('\n');
		json_decref(all);
	}
	return EXIT_DONE;
}

static int usage(const char *why)
{
	fprintf(stderr, "nestbox cpus: %s\n", why);
	return EXIT_USAGE;
}

static int take_option(void *ctx, int which, const char *v)
{
	if (which == CPUS_JSON) {
		*(bool *)ctx = true;
		return -1;
	}
	puts("nestbox cpus: the processor models for --cpu, and what of each this host can give\n");
	opt_help(cpus_opts, ARRAY_SIZE(cpus_opts), stdout);
	return EXIT_DONE;
}

int cmd_cpus(int argc, char **argv)
{
	bool json = false;
	int code = opt_each(cpus_opts, ARRAY_SIZE(cpus_opts), argc - 1, argv + 1, take_option, usage, &json);

	return code >= 0 ? code : list(json);
}
