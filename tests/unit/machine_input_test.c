/* Input on its way to a chip: kept while there is no room, in order, in pieces as the chip takes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "machine/input.h"

struct chip {
	struct input in;
	size_t room, total;
	u8 next;
	bool say_room;
};

static size_t room(void *ctx) { return ((struct chip *)ctx)->room; }

static void receive(void *ctx, const u8 *buf, size_t n)
{
	struct chip *c = ctx;

	assert_true(n > 0 && n <= c->room);
	c->room -= n;
	c->total += n;
	while (n--)
		assert_int_equal(*buf++, c->next++);
	if (c->say_room)
		input_room(&c->in);
}

static void pieces(void **state)
{
	struct chip c = {0};
	unsigned seed = 5;
	u8 value = 0;
	size_t added = 0;

	input_init(&c.in, (struct char_source){room, receive, &c});
	for (unsigned i = 0; i < 2000; i++) {
		u8 buf[3000];
		size_t n = (size_t)rand_r(&seed) % (i % 100 == 0 ? sizeof(buf) : 30);

		for (size_t k = 0; k < n; k++)
			buf[k] = value++;
		assert_true(input_add(&c.in, buf, n));
		added += n;
		c.room += (size_t)rand_r(&seed) % 40;
		c.say_room = i & 1;
		input_room(&c.in);
	}
	c.room = 1 << 20;
	input_room(&c.in);
	assert_int_equal(c.total, added);
	input_destroy(&c.in);
}

static void nobody(void **state)
{
	struct input in = {0};

	assert_false(input_add(&in, "x", 1));
	assert_true(input_add(&in, "", 0));
	input_destroy(&in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(pieces), cmocka_unit_test(nobody)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
