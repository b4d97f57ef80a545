/*
 * Names of addresses in a guest: from the symbol table of an ELF file, or a kernel's System.map.
 *
 * Addresses are as the file has them: a kernel that moves itself must be told not to (nokaslr).
 */
#ifndef INSPECT_SYMBOLS_H
#define INSPECT_SYMBOLS_H

#include "base/err.h"
#include "base/types.h"

struct inspect_symbols;

/* The file's content; names are copied. -EINVAL with a sentence: it is neither, or holds no symbol. */
int inspect_symbols_new(const void *data, size_t size, struct inspect_symbols **out, struct err *e);
void inspect_symbols_free(struct inspect_symbols *s);
/* " <name+0x12>" for an address, "" when there is no symbol for it or s is NULL. Returns buf. */
const char *inspect_symbol_text(const struct inspect_symbols *s, u64 la, char *buf, size_t size);
/* The address of a name. */
bool inspect_symbol_find(const struct inspect_symbols *s, const char *name, u64 *la);

#endif
