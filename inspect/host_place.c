/* A container around this process, or a CI runner. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "inspect/host_info.h"

static void found(struct host_place *p, const char *name, const char *fmt, ...) printf_like(3, 4);
static void found(struct host_place *p, const char *name, const char *fmt, ...)
{
	va_list ap;

	if (p->container[0])
		return;
	snprintf(p->container, sizeof(p->container), "%s", name);
	va_start(ap, fmt);
	vsnprintf(p->container_how, sizeof(p->container_how), fmt, ap);
	va_end(ap);
}

/* The control groups of process 1 (cgroups(7)): in version 1, and in 2 without a namespace, the engine's name is in the
 * path. */
static void by_cgroup(struct host *h, struct host_place *p)
{
	static const struct {
		const char *word, *name;
	} engines[] = {{"kubepods", "Kubernetes"},
		       {"docker", "Docker"},
		       {"libpod", "Podman"},
		       {"/lxc", "LXC"},
		       {"machine.slice/systemd-nspawn", "systemd-nspawn"},
		       {"containerd", "containerd"}};
	char *text;

	if (host_read(h, "/proc/1/cgroup", &text, NULL))
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(engines); i++)
		if (strstr(text, engines[i].word))
			found(p, engines[i].name, "/proc/1/cgroup names %s", engines[i].word);
	free(text);
}

/* What systemd's container interface leaves in a container. */
static void by_environment(struct host *h, struct host_place *p)
{
	static const char *const files[] = {"/run/host/container-manager", "/run/systemd/container"};
	char name[40];

	for (unsigned i = 0; i < ARRAY_SIZE(files); i++)
		if (!host_line(h, files[i], name, sizeof(name)) && name[0])
			found(p, name, "%s", files[i]);
}

void host_place_read(struct host *h, struct host_place *p)
{
	const char *ci = host_fact(h, "ci");

	*p = (struct host_place){0};
	by_cgroup(h, p);
	if (host_exists(h, "/.dockerenv"))
		found(p, "Docker", "/.dockerenv is there");
	if (host_exists(h, "/run/.containerenv"))
		found(p, "Podman", "/run/.containerenv is there");
	by_environment(h, p);
	if (ci)
		snprintf(p->ci, sizeof(p->ci), "%s", ci);
}
