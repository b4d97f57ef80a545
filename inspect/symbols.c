/* Two readers that fill one sorted list (symbols.h). */
#include "inspect/symbols.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYMBOL_REACH 0x100000u /* bytes behind a symbol that are still said to be its */

struct symbol {
	u64 la;
	char *name;
};

struct inspect_symbols {
	struct symbol *list;
	size_t n, room;
};

static int add(struct inspect_symbols *s, u64 la, const char *name, size_t length)
{
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 1024;
		struct symbol *list = realloc(s->list, room * sizeof(*list));

		if (!list)
			return -ENOMEM;
		s->list = list;
		s->room = room;
	}
	s->list[s->n] = (struct symbol){la, strndup(name, length)};
	return s->list[s->n].name ? (s->n++, 0) : -ENOMEM;
}

/* "ffffffff81000000 T _text": lines of address, kind and name. */
static int read_map(struct inspect_symbols *s, const char *text, size_t size)
{
	const char *end = size ? text + size : text; /* of nothing there may be no address */

	while (text < end) {
		const char *line_end = memchr(text, '\n', (size_t)(end - text));
		char line[256], kind, name[201];
		size_t n = (size_t)((line_end ? line_end : end) - text);
		u64 la;

		snprintf(line, sizeof(line), "%.*s", (int)MIN(n, sizeof(line) - 1), text);
		if (sscanf(line, "%16" SCNx64 " %c %200s", &la, &kind, name) == 3 && strchr("tTwW", kind) &&
		    add(s, la, name, strlen(name)))
			return -ENOMEM;
		text = line_end ? line_end + 1 : end;
	}
	return 0;
}

/* Symbols of a section; all offsets come from the file and are checked against its size. */
static int read_table(struct inspect_symbols *s, const u8 *file, size_t size, const Elf64_Shdr *table,
		      const Elf64_Shdr *strings)
{
	if (table->sh_offset > size || table->sh_size > size - table->sh_offset || strings->sh_offset > size ||
	    strings->sh_size > size - strings->sh_offset)
		return -EINVAL;
	for (u64 at = 0; at + sizeof(Elf64_Sym) <= table->sh_size; at += sizeof(Elf64_Sym)) {
		Elf64_Sym sym;
		const char *name;
		size_t room;

		memcpy(&sym, file + table->sh_offset + at, sizeof(sym));
		if (!sym.st_name || sym.st_name >= strings->sh_size || sym.st_shndx == SHN_UNDEF ||
		    ELF64_ST_TYPE(sym.st_info) > STT_FUNC)
			continue;
		name = (const char *)file + strings->sh_offset + sym.st_name;
		room = strings->sh_size - sym.st_name;
		if (add(s, sym.st_value, name, strnlen(name, room)))
			return -ENOMEM;
	}
	return 0;
}

static int read_elf(struct inspect_symbols *s, const u8 *file, size_t size)
{
	Elf64_Ehdr h;
	int rc = 0;

	if (size < sizeof(h))
		return -EINVAL;
	memcpy(&h, file, sizeof(h));
	if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_shentsize != sizeof(Elf64_Shdr) || h.e_shoff > size ||
	    h.e_shnum > (size - h.e_shoff) / sizeof(Elf64_Shdr))
		return -EINVAL;
	for (unsigned i = 0; i < h.e_shnum && !rc; i++) {
		Elf64_Shdr table, strings;

		memcpy(&table, file + h.e_shoff + i * sizeof(table), sizeof(table));
		if (table.sh_type != SHT_SYMTAB || table.sh_link >= h.e_shnum)
			continue;
		memcpy(&strings, file + h.e_shoff + table.sh_link * sizeof(strings), sizeof(strings));
		rc = read_table(s, file, size, &table, &strings);
	}
	return rc;
}

static int by_address(const void *a, const void *b)
{
	u64 x = ((const struct symbol *)a)->la, y = ((const struct symbol *)b)->la;

	return (x > y) - (x < y);
}

int inspect_symbols_new(const void *data, size_t size, struct inspect_symbols **out, struct err *e)
{
	struct inspect_symbols *s = calloc(1, sizeof(*s));
	bool elf = size >= SELFMAG && !memcmp(data, ELFMAG, SELFMAG);
	int rc;

	if (!s)
		return err_set(e, ENOMEM, "no memory for symbols");
	rc = elf ? read_elf(s, data, size) : read_map(s, data, size);
	if (rc == -ENOMEM)
		err_set(e, ENOMEM, "no memory for symbols");
	else if (rc || !s->n)
		rc = err_set(e, EINVAL, "%s",
			     elf ? "the ELF file holds no symbol table for 64-bit code"
				 : "neither an ELF file nor a System.map with symbols");
	if (rc) {
		inspect_symbols_free(s);
		return rc;
	}
	qsort(s->list, s->n, sizeof(s->list[0]), by_address);
	*out = s;
	return 0;
}

void inspect_symbols_free(struct inspect_symbols *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		free(s->list[i].name);
	free(s->list);
	free(s);
}

const char *inspect_symbol_text(const struct inspect_symbols *s, u64 la, char *buf, size_t size)
{
	size_t lo = 0, hi = s ? s->n : 0;

	buf[0] = 0;
	while (lo < hi) { /* the first above la */
		size_t mid = (lo + hi) / 2;

		if (s->list[mid].la <= la)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo && la - s->list[lo - 1].la < SYMBOL_REACH)
		snprintf(buf, size, " <%s+%#" PRIx64 ">", s->list[lo - 1].name, la - s->list[lo - 1].la);
	return buf;
}

bool inspect_symbol_find(const struct inspect_symbols *s, const char *name, u64 *la)
{
	for (size_t i = 0; s && i < s->n; i++) {
		if (!strcmp(s->list[i].name, name)) {
			*la = s->list[i].la;
			return true;
		}
	}
	return false;
}
