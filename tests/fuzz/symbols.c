/* The symbols of an ELF file or of a System.map (--symbols, and what a kernel file brings itself), then asked for. */
#include "tests/fuzz/fuzz.h"

#include <elf.h>
#undef PF_R
#undef PF_W
#undef PF_X

#include "inspect/symbols.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const u64 ask[] = {0, 1, 0xffffffff81000000, 0xffffffff81000010, ~0ull};
	struct inspect_symbols *s = NULL;
	struct err e = {0};
	char text[40];
	u64 la;

	if (inspect_symbols_new(data, size, &s, &e)) {
		fuzz_check(e.code && e.text[0], "an error without a sentence");
		return 0;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(ask); i++)
		fuzz_check(strlen(inspect_symbol_text(s, ask[i], text, sizeof(text))) < sizeof(text),
			   "a name without an end");
	(void)inspect_symbol_find(s, "_text", &la);
	inspect_symbols_free(s);
	return 0;
}

static size_t elf(u8 *file)
{
	const Elf64_Ehdr h = {.e_ident = {0x7f, 'E', 'L', 'F', 2, 1, 1},
			      .e_machine = EM_X86_64,
			      .e_shoff = 64,
			      .e_shentsize = sizeof(Elf64_Shdr),
			      .e_shnum = 3};
	const Elf64_Shdr sections[3] = {
		{.sh_type = SHT_NULL},
		{.sh_type = SHT_SYMTAB,
		 .sh_offset = 0x200,
		 .sh_size = 2 * sizeof(Elf64_Sym),
		 .sh_link = 2,
		 .sh_entsize = sizeof(Elf64_Sym)},
		{.sh_type = SHT_STRTAB, .sh_offset = 0x300, .sh_size = 16},
	};
	const Elf64_Sym symbols[2] = {{0},
				      {.st_name = 1,
				       .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
				       .st_shndx = 1,
				       .st_value = 0xffffffff81000000,
				       .st_size = 32}};

	memset(file, 0, 0x310);
	memcpy(file, &h, sizeof(h));
	memcpy(file + 64, sections, sizeof(sections));
	memcpy(file + 0x200, symbols, sizeof(symbols));
	memcpy(file + 0x301, "start_kernel", 12);
	return 0x310;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t room)
{
	static const char map[] =
		"ffffffff81000000 T _text\nffffffff81000010 t start_kernel\n0 D data\nffffffff82000000 W weak";

	switch (n) {
	case 0: return elf(buf);
	case 1: memcpy(buf, map, sizeof(map) - 1); return sizeof(map) - 1;
	default: return 0;
	}
}
