/*
 * The Linux/x86 boot protocol, 64-bit entry (Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"), as a boot loader
 * sees it.
 *
 * bzimage_parse looks only at the file and writes nothing; bzimage_load places everything in RAM and says where to
 * start. Both treat the file as foreign: whatever it says, the answer is an error with one sentence or a kernel that
 * lies within RAM.
 */
#ifndef MACHINE_BZIMAGE_H
#define MACHINE_BZIMAGE_H

#include "machine/machine.h"
#include "machine/map.h"

struct x86_state;

struct bzimage {
	const u8 *code; /* the protected-mode part */
	u64 code_size;
	u64 pref_address, init_size, alignment;
	u64 initrd_max; /* highest address of the initrd's last byte */
	u32 cmdline_max;
	bool relocatable;
	char version[96]; /* kernel_version string; "" if the file has none */
	const u8 *header; /* the file's first bytes, the setup header at 0x1f1 */
	u32 header_end;	  /* offset at which the setup header ends */
};

/* -EINVAL: not a kernel that this protocol can start, or a part of one. */
int bzimage_parse(const struct machine_blob *file, struct bzimage *out, struct err *e);

struct boot_args {
	const struct bzimage *image; /* NULL: bzimage_load_plain */
	struct machine_blob initrd;
	const char *cmdline;
	u64 rsdp;   /* physical address of the ACPI root pointer */
	u64 memory; /* bytes of RAM */
};

struct boot_entry {
	u64 rip, zero_page, page_table, gdt, stack;
};

/* -EINVAL, -ENOSPC: does not fit into RAM, the command line is too long. */
int bzimage_load(struct ram *ram, const struct boot_args *args, struct boot_entry *entry, struct err *e);
/* The same for a kernel without a header that is in RAM already, up to `end`, with its 64-bit entry at rip. */
int bzimage_load_plain(struct ram *ram, const struct boot_args *args, u64 rip, u64 end, struct boot_entry *entry,
		       struct err *e);
/* Turns a processor that was just reset into one that stands at the entry. */
void bzimage_state(struct x86_state *st, const struct boot_entry *entry);

#endif
