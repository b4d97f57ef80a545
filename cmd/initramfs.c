/* What goes into a level's root: this program, its shared objects, modules in libkmod's order. */
#include "cmd/initramfs.h"

#include <errno.h>
#include <libkmod.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/cpio.h"
#include "cmd/file.h"
#include "cmd/kernel.h"

struct build {
	const struct initramfs_config *cfg;
	struct cpio *cpio;
	struct err *e;
	int rc;
	FILE *list; /* modules.list, and its text so far */
	char *list_text;
	size_t list_size;
};

static int put_from(struct build *b, const char *from, const char *to, unsigned mode, bool unpack)
{
	struct file_bytes f;
	int rc = unpack ? file_read_unpacked(from, &f, b->e) : file_read(from, &f, b->e);

	if (rc)
		return rc;
	rc = cpio_file(b->cpio, to, mode, f.data, f.size, b->e);
	free(f.data);
	return rc;
}

/* Every object that this process has mapped, under the name by which the dynamic linker asked for it. */
static int put_object(struct dl_phdr_info *info, size_t size, void *ctx)
{
	struct build *b = ctx;

	if (info->dlpi_name && info->dlpi_name[0] == '/')
		b->rc = put_from(b, info->dlpi_name, info->dlpi_name, 0755, false);
	for (unsigned i = 0; !b->rc && i < info->dlpi_phnum; i++) {
		if (info->dlpi_phdr[i].p_type != PT_INTERP)
			continue;
		const char *interp = (const char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
		b->rc = put_from(b, interp, interp, 0755, false);
	}
	return b->rc;
}

static int put_program(struct build *b)
{
	int rc = put_from(b, "/proc/self/exe", "/init", 0755, false);

	if (rc)
		return rc;
	dl_iterate_phdr(put_object, b);
	if (b->rc)
		return b->rc;
	/* Objects outside the linker's built-in folders are found through its cache. */
	if (file_exists("/etc/ld.so.cache"))
		return put_from(b, "/etc/ld.so.cache", "/etc/ld.so.cache", 0644, false);
	return 0;
}

static int put_skeleton(struct build *b)
{
	static const char *const dirs[] = {"/dev", "/proc", "/sys", "/run", "/tmp", "/etc", "/nestbox"};
	int rc = 0;

	for (unsigned i = 0; !rc && i < ARRAY_SIZE(dirs); i++)
		rc = cpio_dir(b->cpio, dirs[i], b->e);
	if (!rc)
		rc = cpio_chardev(b->cpio, "/dev/console", 0600, 5, 1, b->e);
	if (!rc)
		rc = cpio_chardev(b->cpio, "/dev/null", 0666, 1, 3, b->e);
	if (!rc && b->cfg->busybox) {
		rc = put_from(b, b->cfg->busybox, "/bin/busybox", 0755, false);
		if (!rc)
			rc = cpio_symlink(b->cpio, "/bin/sh", "busybox", b->e);
		if (!rc)
			rc = cpio_symlink(b->cpio, "/bin/nestbox", "/init", b->e);
	}
	if (!rc && b->cfg->exec)
		rc = cpio_file(b->cpio, INITRAMFS_EXEC, 0644, b->cfg->exec, strlen(b->cfg->exec), b->e);
	return rc;
}

/* A module's file, its content unpacked but its name kept, since modules.dep knows it by that name. */
static int put_module(struct build *b, const char *role, struct kmod_module *mod)
{
	const char *path = kmod_module_get_path(mod), *modules = b->cfg->kernel->modules;
	char to[512], line[600];
	size_t len = strlen(modules);

	if (kmod_module_get_initstate(mod) == KMOD_MODULE_BUILTIN || !path)
		return 0;
	if (!file_exists(path))
		return err_set(b->e, ENOENT, "module %s is not in %s: %s is missing", kmod_module_get_name(mod),
			       modules, path);
	snprintf(to, sizeof(to), "/lib/modules/%s%s", b->cfg->kernel->version,
		 strncmp(path, modules, len) ? path : path + len);
	snprintf(line, sizeof(line), "%s %s\n", role, to);
	fflush(b->list);
	if (strstr(b->list_text, line)) /* two modules of a role need it */
		return 0;
	fputs(line, b->list);
	return put_from(b, path, to, 0644, true);
}

static int put_chain(struct build *b, struct kmod_ctx *kmod, const struct initramfs_role *role, const char *name)
{
	struct kmod_list *found = NULL, *deps, *it;
	struct kmod_module *mod;
	int rc = kmod_module_new_from_lookup(kmod, name, &found);

	if (rc < 0 || !found) {
		kmod_module_unref_list(found);
		if (role->only_if_present)
			return 0;
		return err_set(b->e, ENOENT, "module %s is not in %s (kernel %s)", name,
			       b->cfg->kernel->modules[0] ? b->cfg->kernel->modules : "any modules folder found",
			       b->cfg->kernel->version);
	}
	mod = kmod_module_get_module(found);
	if (role->only_if_present && kmod_module_get_path(mod) && !file_exists(kmod_module_get_path(mod))) {
		rc = 0;
		goto out;
	}
	/* libkmod lists the dependencies so that each comes after what it needs itself. */
	deps = kmod_module_get_dependencies(mod);
	rc = 0;
	kmod_list_foreach(it, deps)
	{
		struct kmod_module *dep = kmod_module_get_module(it);

		if (!rc)
			rc = put_module(b, role->name, dep);
		kmod_module_unref(dep);
	}
	kmod_module_unref_list(deps);
	if (!rc)
		rc = put_module(b, role->name, mod);
out:
	kmod_module_unref(mod);
	kmod_module_unref_list(found);
	return rc;
}

static void kmod_quiet(void *data, int priority, const char *file, int line, const char *fn, const char *format,
		       va_list args)
{
}

static int put_modules(struct build *b)
{
	const char *no_config[] = {NULL}; /* the host's blacklists and aliases are not the guest's */
	struct kmod_ctx *kmod =
		kmod_new(b->cfg->kernel->modules[0] ? b->cfg->kernel->modules : "/nonexistent", no_config);
	int rc = 0;

	if (!kmod)
		return err_set(b->e, ENOMEM, "libkmod cannot read %s", b->cfg->kernel->modules);
	kmod_set_log_fn(kmod, kmod_quiet, NULL);
	for (unsigned i = 0; !rc && i < b->cfg->nroles; i++) {
		const struct initramfs_role *role = &b->cfg->roles[i];
		char name[64];
		int used;

		for (const char *p = role->modules; !rc && sscanf(p, " %63s%n", name, &used) == 1; p += used)
			rc = put_chain(b, kmod, role, name);
	}
	kmod_unref(kmod);
	return rc;
}

static int put_next_level(struct build *b)
{
	static const char *const index[] = {"modules.dep.bin", "modules.builtin.bin", "modules.alias.bin",
					    "modules.softdep", "modules.dep"};
	const struct kernel_image *k = b->cfg->kernel;
	int rc = cpio_file(b->cpio, INITRAMFS_KERNEL, 0644, k->data, k->size, b->e);

	for (unsigned i = 0; !rc && k->modules[0] && i < ARRAY_SIZE(index); i++) {
		char from[600], to[300];

		snprintf(from, sizeof(from), "%s/%s", k->modules, index[i]);
		snprintf(to, sizeof(to), "/lib/modules/%s/%s", k->version, index[i]);
		if (file_exists(from))
			rc = put_from(b, from, to, 0644, false);
	}
	return rc;
}

int initramfs_build(const struct initramfs_config *cfg, struct initramfs *out, struct err *e)
{
	struct build b = {.cfg = cfg, .e = e};
	int rc;

	b.cpio = cpio_new(e);
	if (!b.cpio)
		return -ENOMEM;
	b.list = open_memstream(&b.list_text, &b.list_size);
	rc = b.list ? 0 : err_set(e, ENOMEM, "no memory for an initramfs");
	if (!rc)
		rc = put_skeleton(&b);
	if (!rc)
		rc = put_program(&b);
	if (!rc && cfg->nroles)
		rc = put_modules(&b);
	if (!rc && cfg->next_level)
		rc = put_next_level(&b);
	if (b.list)
		fclose(b.list);
	if (!rc)
		rc = cpio_file(b.cpio, INITRAMFS_MODULES_LIST, 0644, b.list_text, b.list_size, e);
	free(b.list_text);
	if (!rc)
		return cpio_finish(b.cpio, &out->data, &out->size, e);
	cpio_free(b.cpio);
	return rc;
}

const char *initramfs_busybox(void)
{
	static const char *const paths[] = {"/bin/busybox", "/usr/bin/busybox", "/sbin/busybox"};

	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++)
		if (!access(paths[i], R_OK))
			return paths[i];
	return NULL;
}

void initramfs_free(struct initramfs *fs)
{
	free(fs->data);
	*fs = (struct initramfs){0};
}
