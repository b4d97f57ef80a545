/*
 * lockstep [--count N | --sweep N] [--seed S] [--class NAME] [--only MNEMONIC] [--first N] [--checked] [--verbose]
 *          [--coverage] [--drop-every N]
 *
 * Runs N random instructions of each class on both sides; --sweep: N in all, shared out among the classes. --checked
 * sends every access of 32-bit code through the segment checks. Prints what differs, a count per class, and with
 * --verbose one per mnemonic. --coverage lists how many instances ran of each mnemonic that the processor offers. Exit
 * code 1 if anything differed, or with --coverage if a mnemonic without an excuse never ran. A case is reproduced by
 * its seed and --first NUMBER --count 1 (memory is what the cases before have left).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/x86/decode.h"
#include "tests/lockstep/host.h"
#include "tests/lockstep/lockstep.h"

#define SHOWN_MAX 12

u64 ls_random(struct ls *ls)
{
	u64 z = ls->random += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static bool results_equal(const struct ls_class *k, const struct ls_case *c, struct ls_result *h, struct ls_result *s)
{
	/* RF is in the image that a fault saves, TF is the harness's. */
	h->rflags &= ~FL_RF;
	s->rflags &= ~FL_RF;
	/* The kernel shows every fault above its programs' part as one on a present page. */
	if (h->vector == EXC_PF && h->cr2 >= 0x7ffffffff000) {
		h->error |= PF_P;
		s->error |= PF_P;
	}
	if (h->vector != EXC_PF)
		h->cr2 = s->cr2 = 0;
	if (k->mask)
		k->mask(c, h, s);
	if (k->code32) /* the upper halves are undefined: SDM vol. 1 3.4.1.1 */
		for (unsigned i = 0; i < 16; i++) {
			h->gpr[i] = (u32)h->gpr[i];
			s->gpr[i] = (u32)s->gpr[i];
		}
	return h->vector == s->vector && !memcmp(h->base, s->base, sizeof(h->base)) && h->faulted == s->faulted &&
	       h->error == s->error && h->cr2 == s->cr2 && !memcmp(h->gpr, s->gpr, sizeof(h->gpr)) &&
	       h->rip == s->rip && h->rflags == s->rflags && (!k->fpu || !memcmp(&h->fpu, &s->fpu, sizeof(h->fpu)));
}

static void show_bytes(const char *what, const u8 *p, unsigned n)
{
	printf("%s", what);
	for (unsigned i = 0; i < n; i++)
		printf("%02x", p[i]);
}

static void show_fpu(const struct x86_fpu *before, const struct x86_fpu *h, const struct x86_fpu *s)
{
	if (h->mxcsr != s->mxcsr || h->fcw != s->fcw || h->fsw != s->fsw || h->ftw != s->ftw || h->fop != s->fop ||
	    h->fip != s->fip || h->fdp != s->fdp)
		printf("    mxcsr %x→%x/%x fcw %x→%x/%x fsw %x→%x/%x ftw %x→%x/%x fop %x/%x fip %llx/%llx fdp "
		       "%llx/%llx\n",
		       before->mxcsr, h->mxcsr, s->mxcsr, before->fcw, h->fcw, s->fcw, before->fsw, h->fsw, s->fsw,
		       before->ftw, h->ftw, s->ftw, h->fop, s->fop, (unsigned long long)h->fip,
		       (unsigned long long)s->fip, (unsigned long long)h->fdp, (unsigned long long)s->fdp);
	for (unsigned i = 0; i < 8; i++) {
		if (memcmp(h->st[i], s->st[i], 16)) {
			printf("    st%u", i);
			show_bytes(" was ", before->st[i], 10);
			show_bytes(" host ", h->st[i], 10);
			show_bytes(" soft ", s->st[i], 10);
			printf("\n");
		}
		if (h->k[i] != s->k[i])
			printf("    k%u was %llx host %llx soft %llx\n", i, (unsigned long long)before->k[i],
			       (unsigned long long)h->k[i], (unsigned long long)s->k[i]);
	}
	for (unsigned i = 0; i < 32; i++)
		if (memcmp(h->vec[i], s->vec[i], 64)) {
			printf("    vec%u\n", i);
			show_bytes("      was  ", before->vec[i], 64);
			show_bytes("\n      host ", h->vec[i], 64);
			show_bytes("\n      soft ", s->vec[i], 64);
			printf("\n");
		}
}

static void show_code(const struct ls_class *k, const struct ls_case *c)
{
	const u32 mode = (k->code32 ? 1 : 2) | MODE_PE | MODE_LONG;
	char text[128];
	unsigned len;

	if (!c->stream_len) {
		insn_text(c->bytes, MIN(c->len, 15), mode, c->rip, text, sizeof(text));
		show_bytes(" ", c->bytes, c->zi.length ? c->len : LS_BYTES);
		printf("  %s\n", text);
		return;
	}
	printf("\n");
	for (unsigned at = 0; at < c->stream_len; at += len) {
		len = insn_text(c->stream + at, MIN(c->stream_len - at, 15), mode, c->rip + at, text, sizeof(text));
		if (!len)
			break;
		printf("      %llx ", (unsigned long long)c->rip + at);
		show_bytes("", c->stream + at, len);
		printf("  %s\n", text);
	}
}

static void show(struct ls *ls, const struct ls_class *k, const struct ls_case *c, const struct ls_result *h,
		 const struct ls_result *s)
{
	static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
	const u8 *hd = ls_native_data();
	printf("%s case %llu at %llx:", k->name, (unsigned long long)c->number, (unsigned long long)c->rip);
	show_code(k, c);
	if (h->vector != s->vector || h->error != s->error || h->cr2 != s->cr2)
		printf("    event: host %u error %x cr2 %llx, soft %u error %x cr2 %llx\n", h->vector, h->error,
		       (unsigned long long)h->cr2, s->vector, s->error, (unsigned long long)s->cr2);
	for (unsigned i = 0; i < 2; i++)
		if (h->base[i] != s->base[i])
			printf("    %s base: host %llx soft %llx\n", i ? "gs" : "fs", (unsigned long long)h->base[i],
			       (unsigned long long)s->base[i]);
	if (h->rip != s->rip)
		printf("    rip: host %llx soft %llx\n", (unsigned long long)h->rip, (unsigned long long)s->rip);
	if (h->rflags != s->rflags)
		printf("    rflags: was %llx host %llx soft %llx\n", (unsigned long long)x86_rflags(&c->st),
		       (unsigned long long)h->rflags, (unsigned long long)s->rflags);
	for (unsigned i = 0; i < 16; i++)
		if (h->gpr[i] != s->gpr[i])
			printf("    %s: was %llx host %llx soft %llx\n", names[i], (unsigned long long)c->st.gpr[i],
			       (unsigned long long)h->gpr[i], (unsigned long long)s->gpr[i]);
	for (unsigned i = 0, n = 0; i < LS_DATA_SIZE && n < 16; i++)
		if (hd[i] != ls->soft_data[i]) {
			printf("    [%llx]: host %02x soft %02x\n", LS_DATA + i, hd[i], ls->soft_data[i]);
			n++;
		}
	if (k->fpu)
		show_fpu(&c->st.fpu, &h->fpu, &s->fpu);
	printf("    registers:");
	for (unsigned i = 0; i < 16; i++)
		printf(" %s=%llx", names[i], (unsigned long long)c->st.gpr[i]);
	printf(" fs=%llx gs=%llx", (unsigned long long)c->st.seg[FS].base, (unsigned long long)c->st.seg[GS].base);
	printf("\n");
}

static void write_code(struct ls *ls, const struct ls_case *c)
{
	static const u8 ud2[2] = {0x0f, 0x0b};
	u8 bytes[LS_BYTES];

	if (c->stream_len) {
		memcpy(ls->soft_code + (c->rip - LS_CODE), c->stream, c->stream_len);
		ls_native_write_code(c->rip, c->stream, c->stream_len);
		return;
	}
	memcpy(bytes, c->bytes, sizeof(bytes));
	if (c->repeats)
		memcpy(bytes + c->len, ud2, sizeof(ud2));
	memcpy(ls->soft_code + (c->rip - LS_CODE), bytes, sizeof(bytes));
	ls_native_write_code(c->rip, bytes, sizeof(bytes));
}

/* True if both sides agree. */
static bool run_case(struct ls *ls, const struct ls_class *k, struct ls_case *c, bool quiet)
{
	struct ls_result host, soft;
	bool equal;

	write_code(ls, c);
	if (c->area)
		ls_area_to_host(ls, c);
	ls_native_run(c, k->code32, k->fpu, &host);
	if (c->area)
		ls_area_from_host(ls, c);
	ls_soft_run(ls, c, k->fpu, &soft);
	ls->ended += c->stream_len && host.vector == EXC_UD && host.rip == c->rip + c->stream_len - 2;
	equal = results_equal(k, c, &host, &soft) && !memcmp(ls_native_data(), ls->soft_data, LS_DATA_SIZE);
	if (!equal) {
		if (!quiet)
			show(ls, k, c, &host, &soft);
		ls_native_restore(ls->soft_data);
	}
	return equal;
}

/* STGI is #UD without EFER.SVME; with it, a program gets #GP (APM vol. 3 "STGI"). */
static bool native_svme(void)
{
	struct ls_case c = {.bytes = {0x0f, 0x01, 0xdc}, .len = 3, .rip = LS_CODE};
	static const u8 none[LS_BYTES];
	struct ls_result r;

	x86_set_rflags(&c.st, FL_IF);
	ls_native_write_code(c.rip, c.bytes, sizeof(c.bytes));
	ls_native_run(&c, false, false, &r);
	ls_native_write_code(c.rip, none, sizeof(none)); /* as the other side has it: a case may read it */
	return r.vector == EXC_GP;
}

static u64 run_class(struct ls *ls, const struct ls_class *k, u64 seed, u64 first, u64 count)
{
	static u64 wrong[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	u64 bad = 0;

	if (k->amd && ls->model.vendor != X86_AMD) {
		printf("%s: left out: what this silicon ignores in prefixes has not been studied\n", k->name);
		return 0;
	}
	memset(wrong, 0, sizeof(wrong));
	memset(ls->per_mnemonic, 0, sizeof(ls->per_mnemonic));
	ls->code32 = k->code32;
	ls->ended = 0;
	if (k->pinned)
		ls_native_pin(ls);
	ls_soft_mode(ls, k->code32, ls->checked);
	for (u64 n = first; n < first + count; n++) {
		static const struct ls_case none;
		struct ls_case c = none;

		c.number = n;
		ls->random = seed * 0x100000001b3ull + n * 0xd1342543de82ef95ull;
		for (unsigned tries = 0;; tries++) {
			if (tries == 1000000) {
				printf("%s: no case after %u tries\n", k->name, tries);
				return bad + 1;
			}
			if (k->make(ls, &c))
				break;
		}
		if (!c.stream_len) {
			ls->per_mnemonic[c.zi.mnemonic]++;
			ls->covered[c.zi.mnemonic]++;
		}
		if (run_case(ls, k, &c, !ls->verbose && bad >= SHOWN_MAX && wrong[c.zi.mnemonic] >= 2))
			continue;
		bad++;
		wrong[c.zi.mnemonic]++;
	}
	for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
		if (wrong[m])
			printf("  %s: %llu of %llu differ\n", ZydisMnemonicGetString(m), (unsigned long long)wrong[m],
			       (unsigned long long)ls->per_mnemonic[m]);
	for (unsigned m = 0; ls->verbose && m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
		if (ls->per_mnemonic[m])
			printf("  %-16s %llu\n", ZydisMnemonicGetString(m), (unsigned long long)ls->per_mnemonic[m]);
	if (ls->ended)
		printf("%s: %llu streams, %llu ran to their end, %llu differ\n", k->name, (unsigned long long)count,
		       (unsigned long long)ls->ended, (unsigned long long)bad);
	else
		printf("%s: %llu instructions, %llu differ\n", k->name, (unsigned long long)count,
		       (unsigned long long)bad);
	return bad;
}

static const struct ls_class *const classes[] = {&ls_class_int, &ls_class_int32,  &ls_class_vec,    &ls_class_vec32,
						 &ls_class_x87, &ls_class_x87_32, &ls_class_sys,    &ls_class_sys32,
						 &ls_class_any, &ls_class_any32,  &ls_class_stream, &ls_class_stream32};

int main(int argc, char **argv)
{
	static struct ls ls;
	const char *only_class = NULL;
	u64 seed = 1, count = 100000, sweep = 0, first = 0, bad = 0;
	bool coverage = false;
	struct err e = {0};

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(argv[i], "--verbose")) {
			ls.verbose = true;
			continue;
		}
		if (!strcmp(argv[i], "--coverage")) {
			coverage = true;
			continue;
		}
		if (!strcmp(argv[i], "--checked")) {
			ls.checked = true;
			continue;
		}
		if (!strcmp(argv[i], "--count"))
			count = strtoull(value, NULL, 0);
		else if (!strcmp(argv[i], "--sweep"))
			sweep = strtoull(value, NULL, 0);
		else if (!strcmp(argv[i], "--seed"))
			seed = strtoull(value, NULL, 0);
		else if (!strcmp(argv[i], "--first"))
			first = strtoull(value, NULL, 0);
		else if (!strcmp(argv[i], "--drop-every"))
			ls.drop_every = strtoull(value, NULL, 0);
		else if (!strcmp(argv[i], "--class"))
			only_class = value;
		else if (!strcmp(argv[i], "--only"))
			ls.only = value;
		else {
			fprintf(stderr, "lockstep: unknown option %s\n", argv[i]);
			return 2;
		}
		i++;
	}
	ls.bases = host_has_bases();
	ls.log = log_new(stdout, "");
	if (!ls.log || ls_soft_init(&ls, &e)) {
		fprintf(stderr, "lockstep: %s\n", e.text);
		return 3;
	}
	if (ls_native_init(&ls)) {
		fprintf(stderr, "lockstep: the pages cannot be mapped\n");
		return 3;
	}
	ls_fill(&ls, LS_DATA, LS_DATA_SIZE);
	ls.svme = native_svme();
	for (unsigned i = 0; i < ARRAY_SIZE(classes); i++)
		if (!only_class || !strcmp(only_class, classes[i]->name))
			bad += run_class(&ls, classes[i], seed, first, sweep ? sweep / 100 * classes[i]->share : count);
	if (coverage)
		bad += ls_coverage_show(&ls);
	for (unsigned i = 0; i < LS_TEMPLATES; i++)
		for (unsigned j = 0; j < 2; j++)
			ls_templates_free(ls.templates[i][j]);
	ls_soft_free(&ls);
	log_free(ls.log);
	return bad ? 1 : 0;
}
