/* The rules at work: lines, patterns, and the dictionary of what was replaced. */
#include "inspect/redact.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINE_MAX_BYTES 65536u /* what is longer is worked on in pieces */

enum { X = 0, I = 1, LEARN = 2 };

/* A value in its line: line[from..to). */
struct span {
	const char *line;
	size_t from, to;
};

static bool span_is(const struct span *s, const char *word)
{
	return strlen(word) == s->to - s->from && !strncasecmp(s->line + s->from, word, s->to - s->from);
}

static bool span_among(const struct span *s, const char *const *words)
{
	for (; *words; words++)
		if (span_is(s, *words))
			return true;
	return false;
}

static bool span_only(const struct span *s, const char *chars)
{
	for (size_t i = s->from; i < s->to; i++)
		if (!strchr(chars, s->line[i]))
			return false;
	return true;
}

/* Do the characters before the value end in this word? */
static bool after(const struct span *s, const char *word)
{
	size_t n = strlen(word);

	return s->from >= n && !strncasecmp(s->line + s->from - n, word, n);
}

static bool keep_none(const struct span *s) { return false; }

static bool keep_password(const struct span *s)
{
	static const char *const words[] = {"on",   "off",  "yes",    "no",	  "true", "false",
					    "none", "null", "prompt", "required", "file", NULL};

	return span_among(s, words) || span_only(s, "*x.");
}

/* A path is where a key lies, not the key. */
static bool keep_token(const struct span *s) { return s->line[s->from] == '/' || keep_password(s); }

static bool keep_builder(const struct span *s)
{
	static const char *const prefixes[] = {"debian-kernel@lists.debian.org", "buildd@", "mockbuild@",
					       "geeko@buildhost", "linux-kernel@"};

	for (unsigned i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (s->to - s->from >= strlen(prefixes[i]) &&
		    !strncmp(s->line + s->from, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

/* Units of systemd are named like addresses; public lists are no secret. */
static bool keep_email(const struct span *s)
{
	static const char *const suffixes[] = {".service",   ".socket",	    ".timer",	   ".target",	  ".slice",
					       ".mount",     ".device",	    ".scope",	   ".path",	  ".swap",
					       ".automount", ".debian.org", ".kernel.org", "@redhat.com", "@suse.com"};

	for (unsigned i = 0; i < ARRAY_SIZE(suffixes); i++) {
		size_t n = strlen(suffixes[i]);

		if (s->to - s->from > n && !strncmp(s->line + s->to - n, suffixes[i], n))
			return true;
	}
	return keep_builder(s);
}

static bool keep_host(const struct span *s)
{
	static const char *const words[] = {"localhost", "localhost.localdomain",
					    "debian",	 "ubuntu",
					    "fedora",	 "linux",
					    "host",	 "guest",
					    "kvm",	 "qemu",
					    "nestbox",	 "none",
					    "(none)",	 "vm",
					    "root",	 "kernel",
					    "systemd",	 NULL};

	return s->to - s->from < 2 || span_among(s, words) || span_only(s, "0123456789");
}

static bool keep_user(const struct span *s)
{
	static const char *const words[] = {"root", "lost+found",   "*",    "$USER", "${USER}",
					    "qemu", "libvirt-qemu", "user", NULL};

	return span_among(s, words) || span_only(s, "0123456789");
}

static bool keep_guest(const struct span *s)
{
	static const char *const words[] = {"*", "target",	"channel",    "nvram",	  "save",      "dump", "ram",
					    "snapshot", "checkpoint", "networks", "autostart", NULL};

	return span_among(s, words);
}

static bool keep_uuid(const struct span *s) { return span_only(s, "0-") || span_only(s, "fF-"); }

static bool keep_serial(const struct span *s)
{
	static const char *const words[] = {"not specified",
					    "none",
					    "unknown",
					    "n/a",
					    "not present",
					    "not provided",
					    "not available",
					    "default string",
					    "to be filled by o.e.m.",
					    "system serial number",
					    "base board serial number",
					    "chassis serial number",
					    "no asset tag",
					    "on",
					    "off",
					    "yes",
					    "no",
					    NULL};

	return span_among(s, words) || span_only(s, "0 .-");
}

static bool keep_mac(const struct span *s) { return span_only(s, "0:-") || span_only(s, "fF:-"); }

/* No part above 255; not this machine itself, not a mask, not a version of four numbers. */
static bool keep_ip4(const struct span *s)
{
	char text[INET_ADDRSTRLEN];
	u8 a[4];

	snprintf(text, sizeof(text), "%.*s", (int)(s->to - s->from), s->line + s->from);
	if (!inet_pton(AF_INET, text, a) || a[0] == 127 || a[0] == 0 || a[0] == 255)
		return true;
	if (s->from >= 2 && s->line[s->from - 1] == '-' && isalpha((u8)s->line[s->from - 2])) /* qemu-8.2.0.1 */
		return true;
	return after(s, "version ") || after(s, "version: ") || after(s, "version=") || after(s, "ver. ") ||
	       after(s, "revision ") || after(s, "firmware ");
}

static bool keep_ip6(const struct span *s)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr a;

	snprintf(text, sizeof(text), "%.*s", (int)(s->to - s->from), s->line + s->from);
	return !inet_pton(AF_INET6, text, &a) || IN6_IS_ADDR_UNSPECIFIED(&a) || IN6_IS_ADDR_LOOPBACK(&a);
}

static const struct row {
	const char *id, *class, *hints, *pattern, *words;
	bool (*keep)(const struct span *s);
	u8 group, flags;
} rows[] = {
#define REDACT(id, class, flags, hints, group, pattern, keep, words)                                                   \
	{#id, #class, hints, pattern, words, keep_##keep, group, flags},
#include "inspect/redact.def"
#undef REDACT
};

/* The rows of the counters that no pattern stands for. */
enum { HOSTS_ROW = ARRAY_SIZE(rows), KEY_ROW, ALL_ROWS };

struct value {
	const char *class; /* a row's */
	char *text;
	unsigned number; /* of its class, from 1 */
};

struct redact {
	regex_t re[ARRAY_SIZE(rows)];
	unsigned compiled;
	struct value *values; /* all that was replaced, in order */
	unsigned nvalues, values_room;
	char **hosts; /* learnt */
	unsigned nhosts, hosts_room;
	struct {
		unsigned values, times;
	} count[ALL_ROWS];
	bool no_memory;
	unsigned key_lines; /* of a private key that have been read; 0: outside one */
};

#define KEY_LINES 400u /* no private key is longer: its end is missing */

/* A text that grows. */
struct text {
	char *p;
	size_t n, room;
	bool failed;
};

static void text_add(struct text *t, const char *s, size_t n)
{
	if (!t->p || t->n + n + 1 > t->room) {
		size_t room = MAX(t->room * 2, t->n + n + 256);
		char *more = realloc(t->p, room);

		if (!more) {
			t->failed = true;
			return;
		}
		t->p = more;
		t->room = room;
	}
	memcpy(t->p + t->n, s, n);
	t->n += n;
	t->p[t->n] = 0;
}

struct redact *redact_new(struct err *e)
{
	struct redact *r = calloc(1, sizeof(*r));

	while (r && r->compiled < ARRAY_SIZE(rows)) {
		const struct row *row = &rows[r->compiled];

		if (regcomp(&r->re[r->compiled], row->pattern, REG_EXTENDED | (row->flags & I ? REG_ICASE : 0))) {
			redact_free(r);
			r = NULL;
		} else {
			r->compiled++;
		}
	}
	if (!r)
		err_set(e, ENOMEM, "no memory for the rules of redaction");
	return r;
}

void redact_free(struct redact *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < r->compiled; i++)
		regfree(&r->re[i]);
	for (unsigned i = 0; i < r->nvalues; i++)
		free(r->values[i].text);
	for (unsigned i = 0; i < r->nhosts; i++)
		free(r->hosts[i]);
	free(r->values);
	free(r->hosts);
	free(r);
}

static bool is_placeholder(const struct redact *r, const struct span *s)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t n = strlen(rows[i].class);

		if (s->to - s->from > n + 1 && !strncmp(s->line + s->from, rows[i].class, n) &&
		    s->line[s->from + n] == '-' &&
		    span_only(&(struct span){s->line, s->from + n + 1, s->to}, "0123456789"))
			return true;
	}
	return false;
}

/* Writes the placeholder for the value. */
static void put_value(struct redact *r, unsigned row, const char *class, const struct span *s, struct text *out)
{
	size_t n = s->to - s->from;
	unsigned number = 1, i;
	char word[40];

	for (i = 0; i < r->nvalues; i++) {
		const struct value *v = &r->values[i];

		if (strcmp(v->class, class) != 0)
			continue;
		if (strlen(v->text) == n && !strncasecmp(v->text, s->line + s->from, n)) {
			number = v->number;
			break;
		}
		number = v->number + 1;
	}
	if (i == r->nvalues) {
		if (r->nvalues == r->values_room) {
			unsigned room = r->values_room ? r->values_room * 2 : 64;
			struct value *more = realloc(r->values, room * sizeof(*more));

			if (!more) {
				r->no_memory = true;
				return;
			}
			r->values = more;
			r->values_room = room;
		}
		r->values[r->nvalues] = (struct value){class, strndup(s->line + s->from, n), number};
		if (!r->values[r->nvalues].text) {
			r->no_memory = true;
			return;
		}
		r->nvalues++;
		r->count[row].values++;
	}
	r->count[row].times++;
	snprintf(word, sizeof(word), "%s-%u", class, number);
	text_add(out, word, strlen(word));
}

void redact_learn_host(struct redact *r, const char *name)
{
	size_t n = strcspn(name, " \t\n");
	struct span s = {name, 0, n};

	if (n > 1 && name[n - 1] == '.')
		s.to = --n;
	if (keep_host(&s) || is_placeholder(r, &s))
		return;
	for (unsigned i = 0; i < r->nhosts; i++)
		if (strlen(r->hosts[i]) == n && !strncasecmp(r->hosts[i], name, n))
			return;
	if (r->nhosts == r->hosts_room) {
		unsigned room = r->hosts_room ? r->hosts_room * 2 : 16;
		char **more = realloc(r->hosts, room * sizeof(*more));

		if (!more) {
			r->no_memory = true;
			return;
		}
		r->hosts = more;
		r->hosts_room = room;
	}
	r->hosts[r->nhosts] = strndup(name, n);
	if (!r->hosts[r->nhosts]) {
		r->no_memory = true;
		return;
	}
	r->nhosts++;
	/* "web1.example.org" is also known as "web1" */
	if (memchr(name, '.', n)) {
		char first[256];

		snprintf(first, sizeof(first), "%.*s", (int)strcspn(name, "."), name);
		redact_learn_host(r, first);
	}
}

static bool hinted(const char *hints, const char *line)
{
	char word[32];

	while (*hints) {
		size_t n = strcspn(hints, "|");

		snprintf(word, sizeof(word), "%.*s", (int)n, hints);
		if (strcasestr(line, word))
			return true;
		hints += n + (hints[n] == '|');
	}
	return false;
}

/* The next value of the row in line from *at on; *at goes behind it. */
static bool next_value(const struct redact *r, unsigned i, const char *line, size_t *at, struct span *s)
{
	regmatch_t m[8];

	while (!regexec(&r->re[i], line + *at, ARRAY_SIZE(m), m, *at ? REG_NOTBOL : 0)) {
		const regmatch_t *g = &m[rows[i].group];
		size_t start = *at;

		if (g->rm_so < 0 || g->rm_eo <= g->rm_so) {
			*at = start + (size_t)MAX(m[0].rm_eo, 1);
			if (!line[start] || !line[*at])
				return false;
			continue;
		}
		*s = (struct span){line, start + (size_t)g->rm_so, start + (size_t)g->rm_eo};
		*at = s->to;
		if (!rows[i].keep(s) && !is_placeholder(r, s))
			return true;
	}
	return false;
}

/* One row on one line; false: it changed nothing. */
static bool apply_row(struct redact *r, unsigned i, const char *line, struct text *out)
{
	size_t at = 0, copied = 0;
	struct span s;
	bool any = false;

	if (!hinted(rows[i].hints, line))
		return false;
	while (next_value(r, i, line, &at, &s)) {
		if (!any)
			out->n = 0;
		any = true;
		text_add(out, line + copied, s.from - copied);
		put_value(r, i, rows[i].class, &s, out);
		copied = s.to;
	}
	if (any)
		text_add(out, line + copied, strlen(line + copied));
	return any;
}

static bool is_word(char c) { return isalnum((u8)c) || c == '_'; }

/* The learnt names, the domain after one with it. */
static bool apply_hosts(struct redact *r, const char *line, struct text *out)
{
	size_t copied = 0, len = strlen(line);
	bool any = false;

	for (size_t at = 0; at < len; at++) {
		struct span s = {line, at, at};

		if (at && is_word(line[at - 1]))
			continue;
		for (unsigned i = 0; i < r->nhosts; i++) {
			size_t n = strlen(r->hosts[i]);

			if (n > s.to - at && !strncasecmp(line + at, r->hosts[i], n) && !is_word(line[at + n]))
				s.to = at + n;
		}
		if (s.to == at)
			continue;
		struct span name = s;
		while (line[s.to] == '.' && is_word(line[s.to + 1]))
			for (s.to++; is_word(line[s.to]) || line[s.to] == '-';)
				s.to++;
		if (!any)
			out->n = 0;
		any = true;
		text_add(out, line + copied, at - copied);
		put_value(r, HOSTS_ROW, "HOST", &name, out);
		copied = s.to;
		at = s.to - 1;
	}
	if (any)
		text_add(out, line + copied, len - copied);
	return any;
}

static void swap(struct text *a, struct text *b)
{
	struct text t = *a;

	*a = *b;
	*b = t;
}

static size_t blank_before(const char *text, size_t n)
{
	for (size_t i = n; i > n / 2; i--)
		if (text[i - 1] == ' ')
			return i;
	return n;
}

/* Hands each line, with its end, to `each` in a buffer of its own, NULs as blanks. */
static void lines(struct redact *r, const char *text, size_t n,
		  void (*each)(struct redact *r, struct text *line, struct text *spare, void *ctx), void *ctx)
{
	struct text line = {0}, spare = {0};

	while (n) {
		const char *end = memchr(text, '\n', MIN(n, LINE_MAX_BYTES));
		size_t part = end ? (size_t)(end - text) + 1 : MIN(n, LINE_MAX_BYTES);

		if (!end && n > part) /* too long a line: cut where no value is */
			part = blank_before(text, part);
		line.n = 0;
		text_add(&line, text, part);
		for (size_t i = 0; !line.failed && i < part; i++)
			if (!line.p[i])
				line.p[i] = ' ';
		if (!line.failed)
			each(r, &line, &spare, ctx);
		r->no_memory |= line.failed || spare.failed;
		text += part;
		n -= part;
	}
	free(line.p);
	free(spare.p);
}

static void scan_line(struct redact *r, struct text *line, struct text *spare, void *ctx)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t at = 0;
		struct span s;

		if (!(rows[i].flags & LEARN) || !hinted(rows[i].hints, line->p))
			continue;
		while (next_value(r, i, line->p, &at, &s)) {
			char name[256];

			snprintf(name, sizeof(name), "%.*s", (int)MIN(s.to - s.from, sizeof(name) - 1),
				 line->p + s.from);
			redact_learn_host(r, name);
		}
	}
}

void redact_scan(struct redact *r, const char *text, size_t n) { lines(r, text, n, scan_line, NULL); }

/* Is the line inside a PEM private key? Its first line becomes a placeholder, the others go. */
static bool private_key(struct redact *r, struct text *line, struct text *out)
{
	static const struct span whole = {"a private key", 0, 13};
	char *dashes = strstr(line->p, "-----BEGIN ");

	if (!r->key_lines) {
		r->key_lines = dashes && strstr(dashes, "PRIVATE KEY-----");
		return false;
	}
	if (strstr(line->p, "-----END ") || r->key_lines > KEY_LINES) {
		r->key_lines = 0;
		return false;
	}
	if (r->key_lines++ == 1) {
		put_value(r, KEY_ROW, "KEY", &whole, out);
		text_add(out, "\n", 1);
	}
	return true;
}

static void redact_line(struct redact *r, struct text *line, struct text *spare, void *ctx)
{
	struct text *out = ctx;
	bool ended = line->n && line->p[line->n - 1] == '\n';

	if (private_key(r, line, out))
		return;
	if (ended)
		line->p[--line->n] = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (apply_row(r, i, line->p, spare))
			swap(line, spare);
	if (r->nhosts && apply_hosts(r, line->p, spare))
		swap(line, spare);
	text_add(out, line->p, line->n);
	if (ended)
		text_add(out, "\n", 1);
}

char *redact_text(struct redact *r, const char *text, size_t n, size_t *out_n)
{
	struct text out = {0};

	r->key_lines = 0;
	text_add(&out, "", 0);
	lines(r, text, n, redact_line, &out);
	if (out.failed || r->no_memory) {
		free(out.p);
		return NULL;
	}
	*out_n = out.n;
	return out.p;
}

unsigned redact_rules(void) { return ALL_ROWS; }

struct redact_row_count redact_count(const struct redact *r, unsigned rule)
{
	struct redact_row_count c = {.values = r->count[rule].values, .times = r->count[rule].times};

	if (rule == HOSTS_ROW) {
		c.id = "HOSTNAME_KNOWN";
		c.placeholder = "HOST";
		c.words = "names of these machines, wherever they stand";
	} else if (rule == KEY_ROW) {
		c.id = "PRIVATE_KEY";
		c.placeholder = "KEY";
		c.words = "private keys (PEM)";
	} else {
		c.id = rows[rule].id;
		c.placeholder = rows[rule].class;
		c.words = rows[rule].words;
	}
	return c;
}
