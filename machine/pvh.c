/*
 * The PVH entry (Xen, docs/misc/pvh.pandoc, "x86/HVM direct boot ABI"; xen/include/public/arch-x86/hvm/start_info.h):
 * an ELF file's note names a 32-bit entry point, EBX holds hvm_start_info.
 */
#include <errno.h>
#include <string.h>

#include "arch/x86/state.h"
#include "machine/boot.h"
#include "machine/elf_image.h"
#include "machine/map.h"

#define NOTE_PHYS32_ENTRY 18u
#define START_MAGIC	  0x336ec578u

struct pvh_module {
	u64 paddr, size, cmdline, reserved;
};

struct pvh_map {
	u64 base, size;
	u32 type, reserved;
};

struct pvh_area {
	struct {
		u32 magic, version, flags, nr_modules;
		u64 modlist, cmdline, rsdp, memmap;
		u32 memmap_entries, reserved;
	} info;
	struct pvh_module module[MACHINE_MODULES + 1];
	struct pvh_map map[MAP_ENTRIES];
};

bool pvh_entry(const struct elf_image *elf, u64 *entry) { return elf_note(elf, "Xen", NOTE_PHYS32_ENTRY, entry); }

int pvh_load(const struct boot_image *b, const struct elf_image *elf, u64 entry, struct x86_state *st, struct err *e)
{
	struct pvh_area area = {.info = {.magic = START_MAGIC, .version = 1, .rsdp = b->rsdp}};
	struct map_entry map[MAP_ENTRIES];
	u64 where[MACHINE_MODULES + 1], end;
	struct machine_blob file;
	const char *words;
	u32 used = 0;
	unsigned n;
	int rc = elf_load(elf, b->ram, &end, e);

	if (!rc)
		rc = boot_place_modules(b, end, where, e);
	if (rc)
		return rc;
	area.info.cmdline = boot_string(b, &used, b->cfg->cmdline ? b->cfg->cmdline : "", "", "");
	for (n = 0; boot_module(b->cfg, n, &file, &words); n++) {
		area.module[n] = (struct pvh_module){where[n], file.size, boot_string(b, &used, words, "", ""), 0};
		if (!area.module[n].cmdline)
			break;
	}
	if (!area.info.cmdline || boot_module(b->cfg, n, &file, &words))
		return err_set(e, EINVAL, "the command line is longer than %u bytes", BOOT_STR_ROOM);
	area.info.nr_modules = n;
	area.info.modlist = n ? BOOT_INFO + offsetof(struct pvh_area, module) : 0;
	area.info.memmap = BOOT_INFO + offsetof(struct pvh_area, map);
	area.info.memmap_entries = map_build(b->cfg->memory, map);
	for (unsigned i = 0; i < area.info.memmap_entries; i++)
		area.map[i] = (struct pvh_map){map[i].base, map[i].size, map[i].type, 0};
	memcpy(ram_host(b->ram, BOOT_INFO, sizeof(area)), &area, sizeof(area));
	boot_state32(b, st, entry, BOOT_INFO);
	return 0;
}
