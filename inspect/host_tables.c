/* CPUID, MSRs and facts of a host: parsed from a recorded folder, or asked of this processor. */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inspect/host_internal.h"

static bool cpuid_put(struct host *h, const struct host_cpuid_row *row)
{
	if (!host_grow((void **)&h->cpuid, h->ncpuid, sizeof(*row)))
		return false;
	h->cpuid[h->ncpuid++] = *row;
	return true;
}

static bool msr_put(struct host *h, const struct host_msr_row *row)
{
	if (!host_grow((void **)&h->msr, h->nmsr, sizeof(*row)))
		return false;
	h->msr[h->nmsr++] = *row;
	return true;
}

/* `cpuid -r` prints a head line for each processor; the first one's leaves are taken. */
static int parse_cpuid(struct host *h, char *text, struct err *e)
{
	unsigned heads = 0, line = 0;

	for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n")) {
		struct host_cpuid_row row;

		line++;
		if (!strncmp(p, "CPU", 3) && ++heads > 1)
			return 0;
		if (!strncmp(p, "CPU", 3) || *p == '#')
			continue;
		if (sscanf(p, " 0x%x 0x%x: eax=0x%x ebx=0x%x ecx=0x%x edx=0x%x", &row.leaf, &row.sub, &row.r[0],
			   &row.r[1], &row.r[2], &row.r[3]) != 6)
			return err_set(e, EINVAL, "/cpuid, line %u: not \"LEAF SUBLEAF: eax=... edx=...\"", line);
		if (!cpuid_put(h, &row))
			return err_set(e, ENOMEM, "no memory");
	}
	return 0;
}

static int error_number(const char *name)
{
	for (int i = 1; i < 134; i++)
		if (strerrorname_np(i) && !strcmp(name, strerrorname_np(i)))
			return i;
	return 0;
}

static int parse_msr(struct host *h, char *text, struct err *e)
{
	unsigned line = 0;

	for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n")) {
		struct host_msr_row row = {0};
		unsigned long long v;
		char word[32], *end;

		line++;
		if (*p == '#')
			continue;
		if (sscanf(p, " 0x%x %31s", &row.msr, word) != 2)
			return err_set(e, EINVAL, "/msr, line %u: not \"NUMBER VALUE\"", line);
		v = strtoull(word, &end, 16);
		row.value = v;
		if (*end || end == word)
			row.error = error_number(word);
		if ((*end || end == word) && !row.error)
			return err_set(e, EINVAL, "/msr, line %u: neither a value nor the name of an error", line);
		if (!msr_put(h, &row))
			return err_set(e, ENOMEM, "no memory");
	}
	return 0;
}

static int parse_facts(struct host *h, char *text, struct err *e)
{
	unsigned line = 0;

	for (char *p = strtok(text, "\n"); p; p = strtok(NULL, "\n")) {
		char *value = strchr(p, '=');

		line++;
		if (*p == '#')
			continue;
		if (!value || value == p)
			return err_set(e, EINVAL, "/facts, line %u: not \"NAME=VALUE\"", line);
		*value = 0;
		host_fact_set(h, p, "%s", value + 1);
	}
	return 0;
}

int host_tables_load(struct host *h, struct err *e)
{
	static const struct {
		const char *path;
		int (*parse)(struct host *h, char *text, struct err *e);
	} tables[] = {{"/cpuid", parse_cpuid}, {"/msr", parse_msr}, {"/facts", parse_facts}};
	int rc = 0;

	for (unsigned i = 0; !rc && i < ARRAY_SIZE(tables); i++) {
		char *text;

		rc = host_read(h, tables[i].path, &text, NULL);
		if (rc == -ENOENT) {
			rc = 0;
			continue;
		}
		rc = rc ? err_set(e, -rc, "%s cannot be read: %s", tables[i].path, strerror(-rc))
			: tables[i].parse(h, text, e);
		free(text);
	}
	return rc;
}

void host_tables_free(struct host *h)
{
	free(h->cpuid);
	free(h->msr);
	for (size_t i = 0; i < h->nfacts; i++) {
		free(h->fact[i].name);
		free(h->fact[i].value);
	}
	free(h->fact);
}

/* The highest leaf of the range that `leaf` is in (SDM vol. 2 "CPUID"); hypervisors' ranges begin every 100h leaves. */
static u32 range_end(u32 leaf)
{
	u32 a, b, c, d;

	if (leaf >= 0x40000000 && leaf < 0x50000000) {
		__cpuid(1, a, b, c, d);
		if (!(c & BIT(31)))
			return 0;
		__cpuid(leaf & ~0xffu, a, b, c, d);
		/* Xen and others state 0 or only the signature; beyond a real range Intel's repeats the last basic leaf
		 */
		return (a & ~0xffu) == (leaf & ~0xffu) ? a : leaf & ~0xffu;
	}
	__cpuid(leaf & 0xffff0000, a, b, c, d);
	return (a & 0xffff0000) == (leaf & 0xffff0000) ? a : 0;
}

bool host_cpuid(struct host *h, u32 leaf, u32 sub, u32 r[4])
{
	memset(r, 0, 16);
	if (h->live) {
		if (leaf > range_end(leaf))
			return false;
		__cpuid_count(leaf, sub, r[0], r[1], r[2], r[3]);
		return true;
	}
	for (size_t i = 0; i < h->ncpuid; i++)
		if (h->cpuid[i].leaf == leaf && h->cpuid[i].sub == sub) {
			memcpy(r, h->cpuid[i].r, 16);
			return true;
		}
	return false;
}

int host_msr(struct host *h, u32 msr, u64 *v)
{
	struct host_msr_row row = {.msr = msr};
	int fd;

	*v = 0;
	for (size_t i = 0; i < h->nmsr; i++)
		if (h->msr[i].msr == msr) {
			*v = h->msr[i].value;
			return -h->msr[i].error;
		}
	if (!h->live)
		return -ENOENT;
	errno = 0;
	fd = open("/dev/cpu/0/msr", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, &row.value, 8, msr) != 8)
		row.error = errno ? errno : EIO;
	if (fd >= 0)
		close(fd);
	*v = row.error ? 0 : row.value;
	(void)!msr_put(h, &row); /* asked once; without memory it is asked again */
	return -row.error;
}

static void print_leaf(struct host *h, FILE *out, u32 leaf, u32 sub)
{
	u32 r[4];

	if (host_cpuid(h, leaf, sub, r))
		fprintf(out, "   0x%08x 0x%02x: eax=0x%08x ebx=0x%08x ecx=0x%08x edx=0x%08x\n", leaf, sub, r[0], r[1],
			r[2], r[3]);
}

/* The last subleaf of a leaf that has them (SDM vol. 2 "CPUID", APM vol. 3 E.3). */
static u32 last_subleaf(struct host *h, u32 leaf)
{
	u32 r[4], sub = 0;

	switch (leaf) {
	case 4:
	case 0x8000001d:
		while (sub < 16 && host_cpuid(h, leaf, sub, r) && (r[0] & 0x1f))
			sub++;
		return sub;
	case 0xb:
	case 0x1f:
	case 0x80000026:
		while (sub < 16 && host_cpuid(h, leaf, sub, r) && (r[2] & 0xff00))
			sub++;
		return sub;
	case 7:
	case 0x14:
	case 0x17:
	case 0x18:
	case 0x1d:
	case 0x20:
	case 0x24: return host_cpuid(h, leaf, 0, r) ? MIN(r[0], 64u) : 0;
	case 0xd: return 63;
	case 0xf: return 1;
	case 0x10:
	case 0x80000020: return 4;
	case 0x12: return 3;
	}
	return 0;
}

static void print_range(struct host *h, FILE *out, u32 first)
{
	u32 r[4], end;

	if (!host_cpuid(h, first, 0, r))
		return;
	end = MIN(r[0], first + 0xff);
	print_leaf(h, out, first, 0);
	for (u32 leaf = first + 1; leaf <= end && leaf > first; leaf++)
		for (u32 sub = 0, last = last_subleaf(h, leaf); sub <= last; sub++)
			if (leaf != 0xd || sub < 2 || (host_cpuid(h, leaf, sub, r) && (r[0] | r[1] | r[2] | r[3])))
				print_leaf(h, out, leaf, sub);
}

void host_cpuid_print(struct host *h, FILE *out)
{
	if (!h->live) { /* as it was recorded */
		fputs("CPU:\n", out);
		for (size_t i = 0; i < h->ncpuid; i++)
			print_leaf(h, out, h->cpuid[i].leaf, h->cpuid[i].sub);
		return;
	}
	fputs("CPU:\n", out);
	print_range(h, out, 0);
	for (u32 base = 0x40000000; base < 0x40000400; base += 0x100) {
		u32 r[4];

		if (base == 0x40000000 || (host_cpuid(h, base, 0, r) && (r[0] & ~0xffu) == base))
			print_range(h, out, base);
	}
	print_range(h, out, 0x80000000);
}

static struct host_fact_row *find_fact(const struct host *h, const char *name)
{
	for (size_t i = 0; i < h->nfacts; i++)
		if (!strcmp(h->fact[i].name, name))
			return &h->fact[i];
	return NULL;
}

const char *host_fact(const struct host *h, const char *name)
{
	const struct host_fact_row *f = find_fact(h, name);

	return f ? f->value : NULL;
}

long long host_fact_number(const struct host *h, const char *name)
{
	const char *text = host_fact(h, name);
	char *end;
	long long v = text ? strtoll(text, &end, 10) : -1;

	return text && end != text && !*end ? v : -1;
}

void host_fact_set(struct host *h, const char *name, const char *fmt, ...)
{
	struct host_fact_row *f = find_fact(h, name), row = {0};
	char *value;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&value, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	host_harmless(value);
	if (f) {
		free(f->value);
		f->value = value;
		return;
	}
	row.name = strdup(name);
	row.value = value;
	if (!row.name || !host_grow((void **)&h->fact, h->nfacts, sizeof(row))) {
		free(row.name);
		free(value);
		return;
	}
	h->fact[h->nfacts++] = row;
}
