/* The summary: Markdown, ready to paste into a bug tracker. All of it comes from the files, so that it is as redacted
 * as they are. */
#include <stdlib.h>
#include <string.h>

#include "cmd/report.h"
#include "inspect/redact.h"

static const char *text_of(const struct report *r, unsigned level, const char *name)
{
	const struct report_file *f = report_find(r, level, name);

	return f && f->data ? f->data : "";
}

/* Copies up to the end of the line, '|' and '`' made harmless for a table. */
static void copy_line(const char *from, char *to, size_t room)
{
	size_t n = MIN(strcspn(from, "\n"), room - 1);

	for (size_t i = 0; i < n; i++)
		to[i] = (u8)from[i] < ' ' ? ' ' : from[i] == '|' || from[i] == '`' ? '/' : from[i];
	to[n] = 0;
}

/* The value behind "KEY" and a colon, at the start of a line. */
static bool value_of(const char *text, const char *key, char *value, size_t room)
{
	size_t n = strlen(key);

	for (const char *p = text; p && *p; p = strchr(p, '\n'), p += p != NULL) {
		const char *v = p + n;

		if (strncmp(p, key, n) != 0)
			continue;
		v += strspn(v, " \t");
		if (*v != ':' && *v != '=')
			continue;
		v += 1 + strspn(v + 1, " \t\"");
		copy_line(v, value, room);
		value[strcspn(value, "\"")] = 0;
		return true;
	}
	value[0] = 0;
	return false;
}

static void first_line(const char *text, char *value, size_t room)
{
	copy_line(text, value, room);
	if (!value[0])
		snprintf(value, room, "–");
}

/* "Linux version 6.1.0 (…" -> "Linux 6.1.0". */
static void kernel_of(const struct report *r, unsigned level, char *value, size_t room)
{
	const char *t = text_of(r, level, "kernel.txt");

	if (!strncmp(t, "Linux version ", 14))
		snprintf(value, room, "Linux %.*s", (int)strcspn(t + 14, " \n"), t + 14);
	else
		first_line(t, value, room);
}

static void processor_of(const struct report *r, unsigned level, char *value, size_t room)
{
	const char *t = text_of(r, level, "cpuinfo.txt");

	if (!value_of(t, "model name", value, room) && !value_of(t, "vendor_id", value, room) &&
	    !value_of(t, "cpu", value, room))
		snprintf(value, room, "–");
}

/* Leaf 40000000h of cpuid.txt. "": there is no such leaf, so no hypervisor that tells. */
static void hypervisor_of(const struct report *r, unsigned level, char name[13])
{
	const char *t = strstr(text_of(r, level, "cpuid.txt"), "0x40000000 0x00:");
	u32 b, c, d;

	name[0] = name[12] = 0;
	if (!t || sscanf(t, "0x40000000 0x00: eax=0x%*x ebx=0x%x ecx=0x%x edx=0x%x", &b, &c, &d) != 3)
		return;
	memcpy(name, &b, 4);
	memcpy(name + 4, &c, 4);
	memcpy(name + 8, &d, 4);
	for (unsigned i = 0; i < 12; i++)
		if (name[i] && ((u8)name[i] < ' ' || (u8)name[i] > '~' || name[i] == '|' || name[i] == '`'))
			name[i] = '?';
	for (size_t n = strlen(name); n && name[n - 1] == ' '; n--)
		name[n - 1] = 0;
}

/* The nested parameter of whichever KVM module is there. */
static void nested_of(const struct report *r, unsigned level, char *value, size_t room)
{
	static const char *const modules[] = {"kvm_intel", "kvm_amd", "kvm", "kvm_hv"};
	const char *t = text_of(r, level, "kvm-parameters.txt");
	char key[80], v[40];

	for (unsigned i = 0; i < ARRAY_SIZE(modules); i++) {
		snprintf(key, sizeof(key), "/sys/module/%s/parameters/nested", modules[i]);
		if (value_of(t, key, v, sizeof(v))) {
			snprintf(value, room, "%s nested=%s", modules[i], v);
			return;
		}
	}
	snprintf(value, room, strstr(t, "/sys/module/kvm") ? "KVM without a nested parameter" : "no KVM module");
}

static unsigned deepest(const struct report *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < REPORT_LEVELS; i++)
		if (report_has_level(r, i))
			n = i;
	return n;
}

static void print_levels(const struct report *r, FILE *out)
{
	char kernel[120], cpu[120], kvm[80], under[13];

	for (unsigned i = 0; i <= deepest(r); i++) {
		if (!report_has_level(r, i)) {
			fprintf(out, "    %*s%sL%u  (nothing came from it)\n", (int)(i ? 3 * (i - 1) : 0), "",
				i ? "└─ " : "", i);
			continue;
		}
		kernel_of(r, i, kernel, sizeof(kernel));
		processor_of(r, i, cpu, sizeof(cpu));
		nested_of(r, i, kvm, sizeof(kvm));
		hypervisor_of(r, i, under);
		fprintf(out, "    %*s%sL%u  %s · %s · %s%s%s\n", (int)(i ? 3 * (i - 1) : 0), "", i ? "└─ " : "", i,
			kernel, cpu, kvm, under[0] ? " · its hypervisor calls itself " : "", under);
	}
}

static void print_versions(const struct report *r, FILE *out)
{
	fputs("\n| level | kernel | system | processor | hypervisor under it | KVM | QEMU | libvirt "
	      "|\n|---|---|---|---|---|---|---|---|\n",
	      out);
	for (unsigned i = 0; i < REPORT_LEVELS; i++) {
		char kernel[160], os[120], cpu[120], kvm[80], qemu[120], libvirt[120], under[13];

		if (!report_has_level(r, i))
			continue;
		kernel_of(r, i, kernel, sizeof(kernel));
		if (!value_of(text_of(r, i, "os-release.txt"), "PRETTY_NAME", os, sizeof(os)))
			strcpy(os, "–");
		processor_of(r, i, cpu, sizeof(cpu));
		nested_of(r, i, kvm, sizeof(kvm));
		first_line(text_of(r, i, "qemu.txt"), qemu, sizeof(qemu));
		first_line(text_of(r, i, "libvirt.txt"), libvirt, sizeof(libvirt));
		hypervisor_of(r, i, under);
		fprintf(out, "| L%u | %s | %s | %s | %s | %s | %s | %s |\n", i, kernel, os, cpu,
			under[0] ? under : "none that tells", kvm, qemu, libvirt);
	}
}

static void print_files(const struct report *r, FILE *out)
{
	fputs("\n## What is in it\n\n| file | from | bytes |\n|---|---|---:|\n", out);
	for (size_t i = 0; i < r->nfiles; i++) {
		const struct report_file *f = &r->files[i];
		char by[200];

		if (!f->data || f->level == REPORT_LEVELS)
			continue;
		copy_line(f->by ? f->by : "", by, sizeof(by));
		fprintf(out, "| L%u/%s | %s | %zu |\n", f->level, f->name, by, f->size);
	}
}

static void print_missing(const struct report *r, FILE *out)
{
	bool any = false;

	for (size_t i = 0; i < r->nfiles; i++) {
		const struct report_file *f = &r->files[i];
		char why[1200];

		if (f->data)
			continue;
		if (!any)
			fputs("\n## What could not be read, and why\n\n| file | why |\n|---|---|\n", out);
		any = true;
		copy_line(f->why ? f->why : "", why, sizeof(why));
		fprintf(out, "| L%u/%s | %s |\n", f->level, f->name, why);
	}
	if (r->parts_lost)
		fprintf(out, "\n%u messages from inside the guests were malformed or too much, and are left out.\n",
			r->parts_lost);
}

static void print_redactions(const struct redact *redact, FILE *out)
{
	unsigned values = 0, times = 0;

	if (!redact) {
		fputs("\nNothing is redacted (--no-redact): read it before you publish it.\n", out);
		return;
	}
	for (unsigned i = 0; i < redact_rules(); i++) {
		values += redact_count(redact, i).values;
		times += redact_count(redact, i).times;
	}
	fprintf(out,
		"\nRedacted by rules: %u values in %u places; redactions.txt lists the rules. Look through it before "
		"you publish it all the same.\n",
		values, times);
}

void report_summary(const struct report *r, const struct report_claim *c, FILE *out)
{
	unsigned deep = deepest(r);

	fprintf(out, "# nested virtualization: a report on L0%s%s\n\n", deep ? " to L" : "",
		deep ? (char[]){(char)('0' + deep), 0} : "");
	fprintf(out, "This is a **nested** setup (guests inside guests). %s\n\n", c->chain);
	print_levels(r, out);
	fputs("\nWhat I did, what I expected, what happened instead, and at which level:\n\n> …\n", out);
	print_versions(r, out);
	print_redactions(c->redact, out);
	print_missing(r, out);
	print_files(r, out);
}
