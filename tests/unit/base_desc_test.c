/* Field tables: tiling, diff, printout. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/desc.h"

struct point {
	u32 x, y;
};
struct shape {
	u64 id;
	u8 name[8];
	struct point corner[3];
	u16 a, b;
	u32 c;
};

static const struct desc_field point_rows[] = {DESC_INT(struct point, x), DESC_INT(struct point, y)};
static DESC(point_desc, struct point, point_rows);
static const struct desc_field shape_rows[] = {
	DESC_INT(struct shape, id), DESC_ARR(struct shape, name), DESC_SUBS(struct shape, corner, &point_desc),
	DESC_INT(struct shape, a),  DESC_INT(struct shape, b),	  DESC_INT(struct shape, c),
};
static DESC(shape_desc, struct shape, shape_rows);

static void tiles(void **state) { assert_null(desc_check(&shape_desc)); }

static void gap_is_named(void **state)
{
	struct desc_field rows[ARRAY_SIZE(shape_rows) - 1];

	memcpy(rows, shape_rows, 3 * sizeof(rows[0]));
	memcpy(rows + 3, shape_rows + 4, 2 * sizeof(rows[0]));
	DESC(gap, struct shape, rows);
	const char *why = desc_check(&gap);
	assert_non_null(why);
	assert_non_null(strstr(why, ": b at offset"));
	const struct desc missing_tail = {"struct shape", sizeof(struct shape), ARRAY_SIZE(shape_rows) - 1, shape_rows};
	assert_non_null(desc_check(&missing_tail));
}

static void collect(void *ctx, const char *path, const void *va, const void *vb, u32 size)
{
	strcat(ctx, path);
	strcat(ctx, " ");
}

static void diff_names_paths(void **state)
{
	struct shape a = {.id = 1}, b = {.id = 1};
	char paths[200] = "";

	assert_int_equal(desc_diff(&shape_desc, &a, &b, collect, paths), 0);
	b.corner[1].y = 5;
	b.name[3] = 1;
	b.c = 7;
	assert_int_equal(desc_diff(&shape_desc, &a, &b, collect, paths), 3);
	assert_string_equal(paths, "name[3] corner[1].y c ");
}

static void print_folds_bytes(void **state)
{
	struct shape a = {.id = 0x1234, .name = "abc", .corner[2].x = 9};
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	desc_print(&shape_desc, &a, f);
	fclose(f);
	assert_non_null(strstr(text, "id = 0000000000001234\nname = 6162630000000000\n"));
	assert_non_null(strstr(text, "corner[2].x = 00000009\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tiles),
		cmocka_unit_test(gap_is_named),
		cmocka_unit_test(diff_names_paths),
		cmocka_unit_test(print_folds_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
