/*
 * From a kernel file to a processor that stands at its entry, whatever kind of file it is. The kind is told by what the
 * file holds, in this order:
 *
 *   multiboot   a multiboot 1 header in the first 8 KiB            multiboot.c
 *   PVH         an ELF file with the note XEN_ELFNOTE_PHYS32_ENTRY pvh.c
 *   ELF         any other: 64 bit by Linux's 64-bit entry, 32 bit as flat protected mode, EBX as for multiboot
 *   bzImage     all else                                           bzimage.c
 */
#ifndef MACHINE_BOOT_H
#define MACHINE_BOOT_H

#include "machine/machine.h"

struct x86_state;

#define BOOT_GDT      0x1000u
#define BOOT_STACK    0x6000u
#define BOOT_INFO     0x7000u /* multiboot information, hvm_start_info, zero page */
#define BOOT_STRINGS  0x20000u
#define BOOT_STR_ROOM 0x10000u

struct boot_image {
	const struct machine_config *cfg;
	struct ram *ram;
	u64 rsdp;
};

/* Loads everything and brings st, a processor after reset, to the entry. */
int boot_load(const struct boot_image *b, struct x86_state *st, struct err *e);

/* ---- for the loaders ---- */

bool multiboot_is(const struct machine_blob *file);
int multiboot_load(const struct boot_image *b, struct x86_state *st, struct err *e);
struct elf_image;
bool pvh_entry(const struct elf_image *elf, u64 *entry);
int pvh_load(const struct boot_image *b, const struct elf_image *elf, u64 entry, struct x86_state *st, struct err *e);

/* Module n: the initrd first, then cfg->module[]. false: there are no more. */
bool boot_module(const struct machine_config *cfg, unsigned n, struct machine_blob *file, const char **words);
/* Copies module files behind `at`, each to a page of its own; addresses to where[]. */
int boot_place_modules(const struct boot_image *b, u64 at, u64 *where, struct err *e);
/* Appends a string at BOOT_STRINGS + *used; 0: no room. */
u64 boot_string(const struct boot_image *b, u32 *used, const char *a, const char *sep, const char *c);
/* 32-bit protected mode without paging, all segments flat, interrupts off; `info` goes to EBX. */
void boot_state32(const struct boot_image *b, struct x86_state *st, u64 entry, u64 info);

#endif
