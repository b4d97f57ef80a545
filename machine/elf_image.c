/* Reading and placing ELF executables (elf_image.h). */
#include "machine/elf_image.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define MAX_SEGMENTS 64u

bool elf_is(const struct machine_blob *file) { return file->size >= SELFMAG && !memcmp(file->data, ELFMAG, SELFMAG); }

static int parse_error(struct err *e, const char *why)
{
	return err_set(e, EINVAL, "not a bootable ELF file: %s", why);
}

static bool inside(u64 size, u64 at, u64 n) { return at <= size && n <= size - at; }

static int parse_header(const struct machine_blob *file, struct elf_image *out, u16 *machine)
{
	if (out->wide) {
		Elf64_Ehdr h;

		if (file->size < sizeof(h))
			return -EINVAL;
		memcpy(&h, file->data, sizeof(h));
		out->entry = h.e_entry;
		out->phoff = h.e_phoff;
		out->phnum = h.e_phnum;
		out->phsize = h.e_phentsize;
		*machine = h.e_machine;
		return out->phsize == sizeof(Elf64_Phdr) ? 0 : -EINVAL;
	}
	Elf32_Ehdr h;

	if (file->size < sizeof(h))
		return -EINVAL;
	memcpy(&h, file->data, sizeof(h));
	out->entry = h.e_entry;
	out->phoff = h.e_phoff;
	out->phnum = h.e_phnum;
	out->phsize = h.e_phentsize;
	*machine = h.e_machine;
	return out->phsize == sizeof(Elf32_Phdr) ? 0 : -EINVAL;
}

int elf_parse(const struct machine_blob *file, struct elf_image *out, struct err *e)
{
	const u8 *id = file->data;
	u16 machine = 0;

	memset(out, 0, sizeof(*out));
	if (!elf_is(file) || file->size < EI_NIDENT)
		return parse_error(e, "the file is too short");
	out->data = file->data;
	out->size = file->size;
	out->wide = id[EI_CLASS] == ELFCLASS64;
	if ((!out->wide && id[EI_CLASS] != ELFCLASS32) || id[EI_DATA] != ELFDATA2LSB)
		return parse_error(e, "it is not of a little-endian 32 or 64-bit machine");
	if (parse_header(file, out, &machine))
		return parse_error(e, "its header is cut off or of a wrong size");
	if (machine != EM_386 && machine != EM_X86_64)
		return parse_error(e, "it is not for x86");
	if (!out->phnum || out->phnum > MAX_SEGMENTS)
		return parse_error(e, "it has no program segments, or too many");
	if (!inside(file->size, out->phoff, (u64)out->phnum * out->phsize))
		return parse_error(e, "its program headers lie outside the file");
	for (unsigned i = 0; i < out->phnum; i++) {
		struct elf_segment s;

		elf_segment(out, i, &s);
		if ((s.type == PT_LOAD || s.type == PT_NOTE) && !inside(file->size, s.offset, s.filesz))
			return parse_error(e, "a segment lies outside the file");
		if (s.type == PT_LOAD && s.filesz > s.memsz)
			return parse_error(e, "a segment is larger in the file than in memory");
	}
	return 0;
}

void elf_segment(const struct elf_image *elf, unsigned i, struct elf_segment *out)
{
	const u8 *at = elf->data + elf->phoff + (u64)i * elf->phsize;

	if (elf->wide) {
		Elf64_Phdr p;

		memcpy(&p, at, sizeof(p));
		*out = (struct elf_segment){p.p_type, p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz, p.p_memsz};
	} else {
		Elf32_Phdr p;

		memcpy(&p, at, sizeof(p));
		*out = (struct elf_segment){p.p_type, p.p_offset, p.p_vaddr, p.p_paddr, p.p_filesz, p.p_memsz};
	}
}

int elf_load(const struct elf_image *elf, struct ram *ram, u64 *end, struct err *e)
{
	bool any = false;

	*end = 0;
	for (unsigned i = 0; i < elf->phnum; i++) {
		struct elf_segment s;
		u8 *host;

		elf_segment(elf, i, &s);
		if (s.type != PT_LOAD || !s.memsz)
			continue;
		host = ram_host(ram, s.pa, s.memsz);
		if (!host)
			return err_set(e, ENOSPC,
				       "the image wants %" PRIu64 " KiB of RAM at %#" PRIx64
				       ", which the machine has not",
				       s.memsz / 1024 + 1, s.pa);
		memcpy(host, elf->data + s.offset, s.filesz);
		memset(host + s.filesz, 0, s.memsz - s.filesz);
		*end = MAX(*end, s.pa + s.memsz);
		any = true;
	}
	return any ? 0 : parse_error(e, "it has nothing to load");
}

u64 elf_physical(const struct elf_image *elf, u64 va)
{
	for (unsigned i = 0; i < elf->phnum; i++) {
		struct elf_segment s;

		elf_segment(elf, i, &s);
		if (s.type == PT_LOAD && va - s.va < s.memsz)
			return s.pa + (va - s.va);
	}
	return va;
}

/* Notes are aligned to 4 bytes whatever the segment says, as the GNU tools write them. */
static bool find_note(const u8 *at, u64 size, const char *name, u32 type, u64 *value)
{
	u64 want = strlen(name) + 1;
	Elf32_Nhdr n;

	while (size >= sizeof(n)) {
		u64 text, desc;

		memcpy(&n, at, sizeof(n));
		text = ALIGN_UP((u64)n.n_namesz, 4);
		desc = ALIGN_UP((u64)n.n_descsz, 4);
		at += sizeof(n);
		size -= sizeof(n);
		if (text > size || n.n_descsz > size - text)
			return false;
		if (n.n_type == type && n.n_namesz == want && !memcmp(at, name, want) &&
		    (n.n_descsz == 4 || n.n_descsz == 8)) {
			*value = 0;
			memcpy(value, at + text, n.n_descsz);
			return true;
		}
		if (desc > size - text)
			return false;
		at += text + desc;
		size -= text + desc;
	}
	return false;
}

bool elf_note(const struct elf_image *elf, const char *name, u32 type, u64 *value)
{
	for (unsigned i = 0; i < elf->phnum; i++) {
		struct elf_segment s;

		elf_segment(elf, i, &s);
		if (s.type == PT_NOTE && find_note(elf->data + s.offset, s.filesz, name, type, value))
			return true;
	}
	return false;
}
