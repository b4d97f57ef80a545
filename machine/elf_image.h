/*
 * ELF executables as boot images (System V ABI, ch. 4 "Object Files" and ch. 5 "Program Loading"): 32 and 64 bit,
 * little-endian, for x86.
 *
 * elf_parse looks only at the file and writes nothing. Segments go to their physical addresses. The file is foreign:
 * whatever it says, the answer is an error with one sentence or segments that lie within RAM.
 */
#ifndef MACHINE_ELF_IMAGE_H
#define MACHINE_ELF_IMAGE_H

#include "machine/machine.h"

struct elf_image {
	const u8 *data;
	u64 size;
	bool wide; /* ELFCLASS64 */
	u64 entry;
	u64 phoff;
	unsigned phnum, phsize;
};

struct elf_segment {
	u32 type;
	u64 offset, va, pa, filesz, memsz;
};

bool elf_is(const struct machine_blob *file);
/* -EINVAL: not an executable for x86, or a part of one. */
int elf_parse(const struct machine_blob *file, struct elf_image *out, struct err *e);
void elf_segment(const struct elf_image *elf, unsigned i, struct elf_segment *out);
/* Places every PT_LOAD segment; *end receives the first address beyond them all. -ENOSPC: there is no RAM. */
int elf_load(const struct elf_image *elf, struct ram *ram, u64 *end, struct err *e);
/* The physical address of a virtual one, by the segment that holds it; `va` itself when none does. */
u64 elf_physical(const struct elf_image *elf, u64 va);
/* The value (4 or 8 bytes) of the first note of that name and type. */
bool elf_note(const struct elf_image *elf, const char *name, u32 type, u64 *value);

#endif
