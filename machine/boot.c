/* Telling kernel files apart, and what their loaders share (boot.h). */
#include "machine/boot.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "arch/x86/state.h"
#include "machine/bzimage.h"
#include "machine/elf_image.h"
#include "machine/map.h"

#define FLAT_CS 0x10u
#define FLAT_DS 0x18u
#define FLAT_TR 0x20u

bool machine_kernel_is_foreign(const struct machine_blob *file)
{
	struct bzimage image;

	return multiboot_is(file) || elf_is(file) ||
	       (!bzimage_parse(file, &image, NULL) && !strstr(image.version, " ("));
}

bool boot_module(const struct machine_config *cfg, unsigned n, struct machine_blob *file, const char **words)
{
	*words = "";
	if (cfg->initrd.size) {
		*file = cfg->initrd;
		if (!n--)
			return true;
	}
	if (n >= cfg->modules)
		return false;
	*file = cfg->module[n].file;
	*words = cfg->module[n].words ? cfg->module[n].words : "";
	return true;
}

int boot_place_modules(const struct boot_image *b, u64 at, u64 *where, struct err *e)
{
	struct machine_blob file;
	const char *words;

	for (unsigned n = 0; boot_module(b->cfg, n, &file, &words); n++) {
		u8 *host;

		at = ALIGN_UP(at, RAM_PAGE);
		host = ram_host(b->ram, at, MAX(file.size, (size_t)1));
		if (!host || at + file.size > MAP_LOW_LIMIT)
			return err_set(e, ENOSPC, "module %u of %zu KiB does not fit into memory at %#" PRIx64, n,
				       file.size / 1024 + 1, at);
		memcpy(host, file.data, file.size);
		where[n] = at;
		at += file.size;
	}
	return 0;
}

u64 boot_string(const struct boot_image *b, u32 *used, const char *a, const char *sep, const char *c)
{
	const char *part[] = {a, sep, c};
	u32 start = *used, at = start;
	u8 *to = ram_host(b->ram, BOOT_STRINGS, BOOT_STR_ROOM);

	for (unsigned i = 0; i < ARRAY_SIZE(part); i++) {
		size_t n = strlen(part[i]);

		if (!to || n >= BOOT_STR_ROOM - at)
			return 0;
		memcpy(to + at, part[i], n);
		at += (u32)n;
	}
	to[at++] = 0;
	*used = at;
	return BOOT_STRINGS + start;
}

/* Multiboot 3.2 "Machine state"; the PVH entry wants the same. */
void boot_state32(const struct boot_image *b, struct x86_state *st, u64 entry, u64 info)
{
	static const u64 gdt[] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00008b0000000067, 0};
	const struct x86_seg data = {
		.sel = FLAT_DS,
		.attr = SEG_P | SEG_S | SEG_RW | SEG_ACCESSED | SEG_DB | SEG_G,
		.limit = 0xffffffff,
	};

	memcpy(ram_host(b->ram, BOOT_GDT, sizeof(gdt)), gdt, sizeof(gdt));
	st->cr0 = CR0_PE | CR0_ET;
	st->cr3 = 0;
	st->cr4 = 0;
	st->msr.efer = 0;
	for (unsigned i = 0; i < X86_SREGS; i++)
		st->seg[i] = data;
	st->seg[CS].sel = FLAT_CS;
	st->seg[CS].attr |= SEG_CODE;
	st->tr = (struct x86_seg){.sel = FLAT_TR, .attr = SEG_P | 0xb, .limit = 0x67};
	st->ldtr = (struct x86_seg){0};
	st->gdtr = (struct x86_dtr){.base = BOOT_GDT, .limit = sizeof(gdt) - 1};
	st->idtr = (struct x86_dtr){0};
	st->cpl = 0;
	st->activity = ACT_RUNNING;
	x86_set_rflags(st, FL_FIXED);
	memset(st->gpr, 0, sizeof(st->gpr));
	st->gpr[RBX] = info;
	st->gpr[RSP] = BOOT_STACK;
	st->rip = entry;
}

static int load_bzimage(const struct boot_image *b, struct x86_state *st, struct err *e)
{
	struct boot_entry entry;
	struct bzimage image;
	struct boot_args args = {
		.image = &image,
		.initrd = b->cfg->initrd,
		.cmdline = b->cfg->cmdline ? b->cfg->cmdline : "",
		.rsdp = b->rsdp,
		.memory = b->cfg->memory,
	};
	int rc = bzimage_parse(&b->cfg->kernel, &image, e);

	if (!rc)
		rc = bzimage_load(b->ram, &args, &entry, e);
	if (!rc)
		bzimage_state(st, &entry);
	return rc;
}

/* A vmlinux, or what wants to be entered as one: RSI holds the zero page (boot.rst, "64-bit Boot Protocol"). */
static int load_elf64(const struct boot_image *b, const struct elf_image *elf, struct x86_state *st, struct err *e)
{
	struct boot_args args = {
		.initrd = b->cfg->initrd,
		.cmdline = b->cfg->cmdline ? b->cfg->cmdline : "",
		.rsdp = b->rsdp,
		.memory = b->cfg->memory,
	};
	struct boot_entry entry;
	u64 end;
	int rc = elf_load(elf, b->ram, &end, e);

	if (!rc)
		rc = bzimage_load_plain(b->ram, &args, elf_physical(elf, elf->entry), end, &entry, e);
	if (!rc)
		bzimage_state(st, &entry);
	return rc;
}

static int load_elf32(const struct boot_image *b, const struct elf_image *elf, struct x86_state *st, struct err *e)
{
	u64 end;
	int rc = elf_load(elf, b->ram, &end, e);

	if (!rc)
		boot_state32(b, st, elf_physical(elf, elf->entry), 0);
	return rc;
}

/*
 * What kernels look for in the BIOS data area, though no BIOS has run: serial port, where the extended area begins,
 * the KiB below it. Xen puts its trampoline there. Its own first byte: its size in KiB.
 */
static void bios_data(const struct boot_image *b)
{
	static const struct {
		u32 at;
		u16 value;
	} word[] = {
		{0x400, 0x3f8},
		{0x40e, MAP_EBDA >> 4},
		{0x413, MAP_EBDA / 1024},
		{MAP_EBDA, (MAP_VGA - MAP_EBDA) / 1024},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(word); i++) {
		u8 *host = ram_host(b->ram, word[i].at, sizeof(u16));

		if (host)
			memcpy(host, &word[i].value, sizeof(u16));
	}
}

int boot_load(const struct boot_image *b, struct x86_state *st, struct err *e)
{
	const struct machine_blob *file = &b->cfg->kernel;
	struct elf_image elf;
	u64 entry;
	int rc;

	bios_data(b);
	if (multiboot_is(file))
		return multiboot_load(b, st, e);
	if (!elf_is(file))
		return load_bzimage(b, st, e);
	rc = elf_parse(file, &elf, e);
	if (rc)
		return rc;
	if (pvh_entry(&elf, &entry))
		return pvh_load(b, &elf, entry, st, e);
	return elf.wide ? load_elf64(b, &elf, st, e) : load_elf32(b, &elf, st, e);
}
