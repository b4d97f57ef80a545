/*
 * Field tables: a guest-visible struct described once, as data.
 *
 * A table lists every field of its struct in order of offset. desc_check() demands that the fields tile: the first
 * starts at 0, each starts where the one before ends, the last ends at sizeof. A field that is forgotten, or padding that
 * the compiler put in, therefore fails a test. The same table feeds the save stream, the inspector, the bug report
 * and the diff of two engines.
 */
#ifndef BASE_DESC_H
#define BASE_DESC_H

#include <stdio.h>

#include "base/types.h"

struct desc;

struct desc_field {
	const char *name;
	u32 offset;
	u32 size;                /* bytes of one element */
	u32 count;               /* elements */
	const struct desc *sub;  /* the element's own table, or NULL: a little-endian integer or raw bytes */
};

struct desc {
	const char *name;
	u32 size;
	u32 nfields;
	const struct desc_field *fields;
};

/* Rows: DESC_INT for a scalar, DESC_ARR for an array of scalars, DESC_SUB and DESC_SUBS for structs with a table of their own. */
#define DESC_INT(type, f) {#f, offsetof(type, f), sizeof(((type *)0)->f), 1, NULL}
#define DESC_ARR(type, f) {#f, offsetof(type, f), sizeof(((type *)0)->f[0]), ARRAY_SIZE(((type *)0)->f), NULL}
#define DESC_SUB(type, f, d) {#f, offsetof(type, f), sizeof(((type *)0)->f), 1, d}
#define DESC_SUBS(type, f, d) {#f, offsetof(type, f), sizeof(((type *)0)->f[0]), ARRAY_SIZE(((type *)0)->f), d}
#define DESC(var, type, rows) const struct desc var = {#type, sizeof(type), ARRAY_SIZE(rows), rows}

/* NULL if the table and its sub-tables tile; otherwise a sentence (static buffer per thread) that names the gap. */
const char *desc_check(const struct desc *d);
/* Calls cb for each scalar element that differs: path such as "seg[1].base". Returns the number of differences. */
unsigned desc_diff(const struct desc *d, const void *a, const void *b,
		   void (*cb)(void *ctx, const char *path, const void *va, const void *vb, u32 size), void *ctx);
/* One line an element, arrays of bytes folded into hex. */
void desc_print(const struct desc *d, const void *obj, FILE *out);

#endif
