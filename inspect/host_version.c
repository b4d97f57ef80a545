/*
 * Kernel versions. A distribution's release name ("6.1.0-50-amd64", "5.15.0-91-generic") does not tell the stable
 * release that it was made from; Debian puts it into the version string, Ubuntu into /proc/version_signature.
 */
#include <stdlib.h>
#include <string.h>

#include "inspect/host_info.h"

bool host_version_parse(const char *text, struct host_version *v)
{
	v->major = v->minor = v->patch = 0;
	return sscanf(text, "%u.%u.%u", &v->major, &v->minor, &v->patch) >= 2;
}

void host_version_read(struct host *h, struct host_version *v)
{
	char line[512], *at;

	*v = (struct host_version){0};
	if (host_line(h, "/proc/sys/kernel/osrelease", v->release, sizeof(v->release)))
		return;
	(void)!host_version_parse(v->release, v);
	if (!host_line(h, "/proc/version_signature", line, sizeof(line)) && (at = strrchr(line, ' '))) {
		struct host_version real = *v;

		if (host_version_parse(at + 1, &real)) {
			*v = real;
			snprintf(v->how, sizeof(v->how), "%.150s", line);
			return;
		}
	}
	if (!host_line(h, "/proc/version", line, sizeof(line)) && (at = strstr(line, " Debian "))) {
		struct host_version real = *v;

		if (host_version_parse(at + 8, &real)) {
			*v = real;
			snprintf(v->how, sizeof(v->how), "Debian %.*s", (int)MIN(strcspn(at + 8, " \n"), 60u), at + 8);
		}
	}
}

int host_version_compare(const struct host_version *a, unsigned major, unsigned minor, unsigned patch)
{
	if (a->major != major)
		return a->major < major ? -1 : 1;
	if (a->minor != minor)
		return a->minor < minor ? -1 : 1;
	return a->patch == patch ? 0 : a->patch < patch ? -1 : 1;
}

int host_version_fixed(const struct host_version *v, const char *fixed)
{
	bool newest = true;

	for (const char *p = fixed; *p; p += strcspn(p, " "), p += strspn(p, " ")) {
		struct host_version f = {0};

		if (!host_version_parse(p, &f))
			continue;
		if (newest && (v->major > f.major || (v->major == f.major && v->minor > f.minor)))
			return 1;
		if (v->major == f.major && v->minor == f.minor)
			return v->patch >= f.patch;
		newest = false;
	}
	return -1;
}
