/* Finding a guest kernel. Header offsets as in boot.rst "The Real-Mode Kernel Header". */
#include "cmd/kernel.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cmd/file.h"

enum {
	HDR_SETUP_SECTS = 0x1f1,
	HDR_SYSSIZE = 0x1f4,
	HDR_BOOT_FLAG = 0x1fe,
	HDR_MAGIC = 0x202,
	HDR_KERNEL_VERSION = 0x20e,
	HDR_END = 0x268,
};

static u32 le(const u8 *p, unsigned n)
{
	u32 v = 0;

	memcpy(&v, p, n);
	return v;
}

int kernel_version(const u8 *data, size_t size, char *version, size_t room, struct err *e)
{
	if (size < HDR_END || le(data + HDR_BOOT_FLAG, 2) != 0xaa55 || memcmp(data + HDR_MAGIC, "HdrS", 4) != 0)
		return err_set(e, EINVAL, "it is not a Linux kernel image (bzImage)");

	u64 sects = data[HDR_SETUP_SECTS] ? data[HDR_SETUP_SECTS] : 4;
	u64 need = (sects + 1) * 512 + (u64)le(data + HDR_SYSSIZE, 4) * 16;
	if (size < need)
		return err_set(e, EINVAL, "it is truncated: %zu bytes, but its header says %llu", size,
			       (unsigned long long)need);

	size_t at = le(data + HDR_KERNEL_VERSION, 2) + 0x200u, n = 0;
	while (at + n < size && n + 1 < room && data[at + n] > ' ' && data[at + n] < 0x7f) {
		version[n] = (char)data[at + n];
		n++;
	}
	version[n] = 0;
	return n ? 0 : err_set(e, EINVAL, "its header holds no version");
}

static bool is_modules_folder(const char *path)
{
	char probe[600];

	snprintf(probe, sizeof(probe), "%s/modules.dep.bin", path);
	if (file_exists(probe))
		return true;
	snprintf(probe, sizeof(probe), "%s/modules.dep", path);
	return file_exists(probe);
}

/* `dir` may be the folder itself, its parent, or a root that has lib/modules. */
static bool find_modules(const char *dir, const char *version, char *out, size_t room)
{
	static const char *const between[] = {"/", "/lib/modules/", "/usr/lib/modules/"};

	if ((size_t)snprintf(out, room, "%s", dir) < room && is_modules_folder(out))
		return true;
	for (unsigned i = 0; i < ARRAY_SIZE(between); i++)
		if ((size_t)snprintf(out, room, "%s%s%s", dir, between[i], version) < room && is_modules_folder(out))
			return true;
	out[0] = 0;
	return false;
}

static int load(const char *file, struct kernel_image *k, struct err *e)
{
	struct file_bytes f;
	int rc = file_read(file, &f, e);

	if (rc)
		return rc;
	rc = kernel_version(f.data, f.size, k->version, sizeof(k->version), e);
	if (rc) {
		free(f.data);
		err_prefix(e, "%s cannot be booted", file);
		return rc;
	}
	snprintf(k->path, sizeof(k->path), "%s", file);
	k->data = f.data;
	k->size = f.size;
	return 0;
}

/* The newest DIR/boot/vmlinuz-* (or DIR/vmlinuz-*); false: none. */
static bool newest_in(const char *root, const char *sub, char *out, size_t room)
{
	char dir[512], best[256] = "";
	struct dirent *d;
	DIR *s;

	snprintf(dir, sizeof(dir), "%s%s", root, sub);
	s = opendir(dir);
	if (!s)
		return false;
	while ((d = readdir(s)))
		if (!strncmp(d->d_name, "vmlinuz", 7) && (!best[0] || strverscmp(d->d_name, best) > 0))
			snprintf(best, sizeof(best), "%s", d->d_name);
	closedir(s);
	return best[0] && (size_t)snprintf(out, room, "%s/%s", dir, best) < room;
}

static bool find_in_folder(const char *root, char *file, size_t room)
{
	return newest_in(root, "/boot", file, room) || newest_in(root, "", file, room);
}

static bool find_default(char *file, size_t room, char *root, size_t root_room)
{
	const char *env = getenv("NESTBOX_KERNEL"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	struct utsname u;

	if (env && *env) {
		snprintf(root, root_room, "%s", env);
		return find_in_folder(env, file, room); /* named on purpose: nothing else will do */
	}
	if (cache && *cache)
		snprintf(root, root_room, "%s/nestbox/kernel", cache);
	else
		snprintf(root, root_room, "%s/.cache/nestbox/kernel", home ? home : "");
	if (find_in_folder(root, file, room))
		return true;
	snprintf(root, root_room, "/");
	if (!uname(&u)) {
		snprintf(file, room, "/boot/vmlinuz-%s", u.release);
		if (!access(file, R_OK))
			return true;
	}
	snprintf(file, room, "/boot/vmlinuz");
	return !access(file, R_OK);
}

int kernel_find(const char *file, const char *modules, struct kernel_image *k, struct err *e)
{
	char found[512], root[512] = "";
	int rc;

	*k = (struct kernel_image){0};
	if (!file) {
		if (!find_default(found, sizeof(found), root, sizeof(root))) {
			if (getenv("NESTBOX_KERNEL"))
				return err_set(e, ENOENT,
					       "no kernel in %s (NESTBOX_KERNEL): it wants boot/vmlinuz-* there", root);
			return err_set(e, ENOENT,
				       "no guest kernel found: give --kernel FILE, or run ./up once to fetch one");
		}
		file = found;
	}
	rc = load(file, k, e);
	if (rc)
		return rc;
	if (modules) {
		if (find_modules(modules, k->version, k->modules, sizeof(k->modules)))
			return 0;
		/* None of this kernel: what needs a module will say so. */
		snprintf(k->modules, sizeof(k->modules), "%s", modules);
		if (file_exists(modules))
			return 0;
		kernel_free(k);
		return err_set(e, ENOENT, "there is no modules folder %s", modules);
	}
	if (!root[0]) {
		/* beside a named image as its package unpacks: ROOT/boot/vmlinuz-… */
		const char *slash = strrchr(file, '/');

		snprintf(root, sizeof(root), "%.*s..", slash ? (int)(slash + 1 - file) : 0, file);
	}
	if (!find_modules(root, k->version, k->modules, sizeof(k->modules)))
		(void)find_modules("/lib/modules", k->version, k->modules, sizeof(k->modules));
	return 0;
}

void kernel_free(struct kernel_image *k)
{
	free(k->data);
	k->data = NULL;
	k->size = 0;
}
