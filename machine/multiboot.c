/*
 * Multiboot Specification 0.6.96: header (3.1), machine state at the entry (3.2), boot information (3.3).
 *
 * The image is loaded by the addresses of the header when it has them (flag 16, the a.out kludge), else as ELF. The
 * boot information, module list and memory map lie from BOOT_INFO on, strings from BOOT_STRINGS, modules behind the
 * image. As the specification's command line, a program's name comes first.
 *
 * LIMIT: no video mode is set (flag 2 is refused), and there are no drives or symbols to tell of.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "arch/x86/state.h"
#include "machine/boot.h"
#include "machine/elf_image.h"
#include "machine/map.h"

#define HEADER_MAGIC 0x1badb002u
#define BOOT_MAGIC   0x2badb002u
#define SEARCH	     8192u

#define WANT_ALIGNED   BIT(0)
#define WANT_MEMORY    BIT(1)
#define WANT_VIDEO     BIT(2)
#define WANT_ADDRESSES BIT(16)

#define HAVE_MEMORY  BIT(0)
#define HAVE_CMDLINE BIT(2)
#define HAVE_MODULES BIT(3)
#define HAVE_MAP     BIT(6)
#define HAVE_LOADER  BIT(9)

struct mb_header {
	u32 magic, flags, checksum;
	u32 header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct mb_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	u32 mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name, apm_table;
	u32 vbe_control_info, vbe_mode_info, vbe[2];
};

struct mb_module {
	u32 start, end, string, reserved;
};

struct mb_mmap {
	u32 size;
	u64 base, length;
	u32 type;
} __attribute__((packed));

/* All of what lies at BOOT_INFO. */
struct mb_area {
	struct mb_info info;
	struct mb_module module[MACHINE_MODULES + 1];
	struct mb_mmap map[MAP_ENTRIES];
};

static bool find_header(const struct machine_blob *file, struct mb_header *out, u64 *at)
{
	const u8 *data = file->data;
	u64 end = MIN(file->size, (size_t)SEARCH);

	for (*at = 0; *at + 12 <= end; *at += 4) {
		memset(out, 0, sizeof(*out));
		memcpy(out, data + *at, 12);
		if (out->magic != HEADER_MAGIC || out->magic + out->flags + out->checksum)
			continue;
		if (out->flags & WANT_ADDRESSES) {
			if (*at + sizeof(*out) > file->size)
				continue;
			memcpy(out, data + *at, sizeof(*out));
		}
		return true;
	}
	return false;
}

bool multiboot_is(const struct machine_blob *file)
{
	struct mb_header h;
	u64 at;

	return find_header(file, &h, &at);
}

/* 3.1.3 "The address fields of Multiboot header". */
static int load_by_addresses(const struct boot_image *b, const struct mb_header *h, u64 at, u64 *end, struct err *e)
{
	const struct machine_blob *file = &b->cfg->kernel;
	u64 before = (u64)h->header_addr - h->load_addr, from, n, bss;
	u8 *host;

	if (h->header_addr < h->load_addr || before > at)
		return err_set(e, EINVAL, "the multiboot header's load address makes no sense");
	from = at - before;
	n = h->load_end_addr ? (u64)h->load_end_addr - h->load_addr : file->size - from;
	if ((h->load_end_addr && h->load_end_addr < h->load_addr) || n > file->size - from)
		return err_set(e, EINVAL, "the multiboot header promises more than the file holds");
	bss = h->bss_end_addr > h->load_addr + n ? h->bss_end_addr - (h->load_addr + n) : 0;
	host = ram_host(b->ram, h->load_addr, n + bss);
	if (!host)
		return err_set(e, ENOSPC, "the image wants %" PRIu64 " KiB of RAM at %#x, which the machine has not",
			       (n + bss) / 1024 + 1, h->load_addr);
	memcpy(host, (const u8 *)file->data + from, n);
	memset(host + n, 0, bss);
	*end = h->load_addr + n + bss;
	return 0;
}

static int load_image(const struct boot_image *b, const struct mb_header *h, u64 at, u64 *entry, u64 *end,
		      struct err *e)
{
	struct elf_image elf;
	int rc;

	*entry = h->entry_addr;
	if (h->flags & WANT_ADDRESSES)
		return load_by_addresses(b, h, at, end, e);
	rc = elf_parse(&b->cfg->kernel, &elf, e);
	if (rc)
		return rc;
	*entry = elf_physical(&elf, elf.entry);
	return elf_load(&elf, b->ram, end, e);
}

static unsigned build_map(const struct boot_image *b, struct mb_mmap *out)
{
	struct map_entry map[MAP_ENTRIES];
	unsigned n = map_build(b->cfg->memory, map);

	for (unsigned i = 0; i < n; i++)
		out[i] = (struct mb_mmap){sizeof(*out) - sizeof(out->size), map[i].base, map[i].size, map[i].type};
	return n;
}

static int build_info(const struct boot_image *b, u64 end, struct err *e)
{
	const struct machine_config *cfg = b->cfg;
	const char *words = cfg->cmdline ? cfg->cmdline : "", *name = cfg->kernel_name ? cfg->kernel_name : "kernel";
	struct mb_area area = {0};
	u64 where[MACHINE_MODULES + 1];
	struct machine_blob file;
	unsigned maps, n;
	u32 used = 0;
	int rc = boot_place_modules(b, end, where, e);

	if (rc)
		return rc;
	area.info.cmdline = (u32)boot_string(b, &used, name, *words ? " " : "", words);
	area.info.boot_loader_name = (u32)boot_string(b, &used, "nestbox", "", "");
	for (n = 0; boot_module(cfg, n, &file, &words); n++) {
		area.module[n].start = (u32)where[n];
		area.module[n].end = (u32)(where[n] + file.size);
		area.module[n].string = (u32)boot_string(b, &used, words, "", "");
		if (!area.module[n].string)
			break;
	}
	if (!area.info.cmdline || !area.info.boot_loader_name || boot_module(cfg, n, &file, &words))
		return err_set(e, EINVAL, "the command line is longer than %u bytes", BOOT_STR_ROOM);
	maps = build_map(b, area.map);
	area.info.flags = HAVE_MEMORY | HAVE_CMDLINE | HAVE_MODULES | HAVE_MAP | HAVE_LOADER;
	area.info.mem_lower = MAP_EBDA / 1024;
	area.info.mem_upper = (u32)((map_low(cfg->memory) - MAP_HIGH) / 1024);
	area.info.mods_count = n;
	area.info.mods_addr = BOOT_INFO + offsetof(struct mb_area, module);
	area.info.mmap_length = maps * (u32)sizeof(area.map[0]);
	area.info.mmap_addr = BOOT_INFO + offsetof(struct mb_area, map);
	memcpy(ram_host(b->ram, BOOT_INFO, sizeof(area)), &area, sizeof(area));
	return 0;
}

int multiboot_load(const struct boot_image *b, struct x86_state *st, struct err *e)
{
	struct mb_header h;
	u64 at, entry, end = 0;
	int rc;

	if (!find_header(&b->cfg->kernel, &h, &at))
		return err_set(e, EINVAL, "there is no multiboot header");
	if (h.flags & WANT_VIDEO)
		return err_set(e, EINVAL, "the multiboot image asks for a video mode: there is no display");
	if (h.flags & 0xffff & ~(WANT_ALIGNED | WANT_MEMORY))
		return err_set(e, EINVAL, "the multiboot image demands what is not known here (flags %#x)", h.flags);
	rc = load_image(b, &h, at, &entry, &end, e);
	if (!rc)
		rc = build_info(b, end, e);
	if (rc)
		return rc;
	boot_state32(b, st, entry, BOOT_INFO);
	st->gpr[RAX] = BOOT_MAGIC;
	return 0;
}
