/* Finding a kernel, reading its header, and the root file system that is built around it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>

#include "cmd/file.h"
#include "cmd/initramfs.h"
#include "cmd/kernel.h"

#define IMAGE_SIZE (5 * 512 + 64 * 16)

/* The least that has a header: 4 setup sectors, 64 paragraphs, and a version. */
static void make_image(u8 *img, const char *version)
{
	memset(img, 0, IMAGE_SIZE);
	img[0x1f1] = 4;
	img[0x1f4] = 64;
	img[0x1fe] = 0x55;
	img[0x1ff] = 0xaa;
	memcpy(img + 0x202, "HdrS", 4);
	img[0x20e] = 0x00;
	img[0x20f] = 0x03; /* 0x300 + 0x200 */
	snprintf((char *)img + 0x500, 100, "%s (builder@host) #1", version);
}

static void put(const char *dir, const char *path, const void *data, size_t n)
{
	char full[600];

	snprintf(full, sizeof(full), "%s/%s", dir, path);
	for (char *p = full + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(full, 0755);
		*p = '/';
	}
	FILE *f = fopen(full, "w");
	assert_non_null(f);
	fwrite(data, 1, n, f);
	fclose(f);
}

static void header(void **state)
{
	u8 img[IMAGE_SIZE];
	char version[64];
	struct err e;

	make_image(img, "6.1.0-test");
	assert_int_equal(kernel_version(img, sizeof(img), version, sizeof(version), &e), 0);
	assert_string_equal(version, "6.1.0-test");
	for (size_t n = 0; n < sizeof(img); n += 37)
		assert_int_equal(kernel_version(img, n, version, sizeof(version), &e), -EINVAL);
	assert_non_null(strstr(e.text, "truncated"));
	img[0x20f] = 0xff; /* points outside */
	assert_int_equal(kernel_version(img, sizeof(img), version, sizeof(version), &e), -EINVAL);
	img[0x202] = 0;
	assert_int_equal(kernel_version(img, sizeof(img), version, sizeof(version), &e), -EINVAL);
}

static void finding(void **state)
{
	char dir[] = "/tmp/nestbox-test-XXXXXX", path[600];
	struct kernel_image k;
	struct err e;
	u8 img[IMAGE_SIZE];

	assert_non_null(mkdtemp(dir));
	make_image(img, "6.1.0-9");
	put(dir, "boot/vmlinuz-6.1.0-9", img, sizeof(img));
	make_image(img, "6.1.0-10");
	put(dir, "boot/vmlinuz-6.1.0-10", img, sizeof(img));
	put(dir, "lib/modules/6.1.0-10/modules.dep", "", 0);
	setenv("NESTBOX_KERNEL", dir, 1);
	assert_int_equal(kernel_find(NULL, NULL, &k, &e), 0);
	assert_string_equal(k.version, "6.1.0-10");
	assert_non_null(strstr(k.modules, "lib/modules/6.1.0-10"));
	kernel_free(&k);
	snprintf(path, sizeof(path), "%s/boot/vmlinuz-6.1.0-10", dir);
	assert_int_equal(kernel_find(path, NULL, &k, &e), 0);
	assert_non_null(strstr(k.modules, "lib/modules/6.1.0-10"));
	kernel_free(&k);
	assert_int_equal(kernel_find(path, dir, &k, &e), 0);
	kernel_free(&k);
	assert_int_equal(kernel_find("/nonexistent/vmlinuz", NULL, &k, &e), -ENOENT);
	assert_int_equal(kernel_find(path, "/nonexistent", &k, &e), -ENOENT);
	assert_int_equal(kernel_find(dir, NULL, &k, &e), -EINVAL);
	snprintf(path, sizeof(path), "rm -r %s", dir);
	assert_int_equal(system(path), 0);
	assert_int_equal(kernel_find(NULL, NULL, &k, &e), -ENOENT);
	unsetenv("NESTBOX_KERNEL");
}

static u64 find_in(const struct initramfs *fs, const char *name, char *text, size_t room)
{
	struct archive *a = archive_read_new();
	struct archive_entry *entry;
	u64 mode = 0;

	archive_read_support_format_cpio(a);
	assert_int_equal(archive_read_open_memory(a, fs->data, fs->size), ARCHIVE_OK);
	while (archive_read_next_header(a, &entry) == ARCHIVE_OK) {
		if (strcmp(archive_entry_pathname(entry), name))
			continue;
		mode = archive_entry_mode(entry);
		if (text)
			text[archive_read_data(a, text, room - 1)] = 0;
		break;
	}
	archive_read_free(a);
	return mode;
}

static void root(void **state)
{
	u8 img[IMAGE_SIZE];
	struct kernel_image k = {.version = "6.1.0-test", .data = img, .size = sizeof(img)};
	struct initramfs_config cfg = {.kernel = &k, .next_level = true};
	const struct initramfs_role role = {.name = "kvm", .modules = "kvm_amd"};
	struct initramfs fs;
	struct err e;
	char text[64];

	make_image(img, "6.1.0-test");
	assert_int_equal(initramfs_build(&cfg, &fs, &e), 0);
	assert_int_equal(find_in(&fs, "init", NULL, 0), S_IFREG | 0755);
	assert_int_equal(find_in(&fs, "dev/console", NULL, 0), S_IFCHR | 0600);
	assert_int_equal(find_in(&fs, "proc", NULL, 0), S_IFDIR | 0755);
	assert_int_equal(find_in(&fs, "boot/vmlinuz", NULL, 0), S_IFREG | 0644);
	assert_int_equal(find_in(&fs, "lib64/ld-linux-x86-64.so.2", NULL, 0), S_IFREG | 0755);
	assert_int_equal(find_in(&fs, "nestbox/modules.list", text, sizeof(text)), S_IFREG | 0644);
	assert_string_equal(text, "");
	initramfs_free(&fs);
	cfg.roles = &role;
	cfg.nroles = 1;
	assert_int_equal(initramfs_build(&cfg, &fs, &e), -ENOENT);
	assert_non_null(strstr(e.text, "kvm_amd"));
}

static void packed_files(void **state)
{
	/* "hello\n" by gzip -n */
	static const u8 gz[] = {0x1f, 0x8b, 0x08, 0,	0,    0,    0,	  0,	0,    0x03, 0xcb, 0x48, 0xcd,
				0xc9, 0xc9, 0xe7, 0x02, 0x00, 0x20, 0x30, 0x3a, 0x36, 0x06, 0,	  0,	0};
	char dir[] = "/tmp/nestbox-test-XXXXXX", path[600];
	struct file_bytes f;
	struct err e;

	assert_non_null(mkdtemp(dir));
	put(dir, "a.gz", gz, sizeof(gz));
	put(dir, "b", "plain", 5);
	put(dir, "c.gz", gz, 12);
	snprintf(path, sizeof(path), "%s/a.gz", dir);
	assert_int_equal(file_read_unpacked(path, &f, &e), 0);
	assert_int_equal(f.size, 6);
	assert_memory_equal(f.data, "hello\n", 6);
	free(f.data);
	snprintf(path, sizeof(path), "%s/b", dir);
	assert_int_equal(file_read_unpacked(path, &f, &e), 0);
	assert_int_equal(f.size, 5);
	free(f.data);
	snprintf(path, sizeof(path), "%s/c.gz", dir);
	assert_int_equal(file_read_unpacked(path, &f, &e), -EINVAL);
	assert_int_equal(file_read("/proc/version", &f, &e), 0);
	assert_true(f.size > 5);
	free(f.data);
	snprintf(path, sizeof(path), "rm -r %s", dir);
	assert_int_equal(system(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header),
		cmocka_unit_test(finding),
		cmocka_unit_test(root),
		cmocka_unit_test(packed_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
