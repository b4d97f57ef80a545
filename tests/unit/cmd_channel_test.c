/* The channel: lines cut from any pieces, nonsense survived; the tail of a console. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/channel.h"

static void count(void *ctx, json_t *msg)
{
	*(json_int_t *)ctx = *(json_int_t *)ctx * 10 + json_integer_value(json_object_get(msg, "n"));
}

static void any_pieces(void **state)
{
	static const char stream[] = "{\"n\":1}\n\n{\"n\":2,\"s\":\"\\u00b5\"}\nnonsense\n[3]\n{\"n\":4}\n{\"n\":5";

	for (size_t piece = 1; piece < sizeof(stream); piece++) {
		json_int_t seen = 0;
		struct channel_rx rx = {.message = count, .ctx = &seen};

		for (size_t i = 0; i < sizeof(stream) - 1; i += piece)
			channel_rx_feed(&rx, (const u8 *)stream + i, MIN(piece, sizeof(stream) - 1 - i));
		assert_int_equal(seen, 124);
		assert_int_equal(rx.bad, 2);
		channel_rx_free(&rx);
	}
}

static void overlong_line_is_dropped(void **state)
{
	json_int_t seen = 0;
	struct channel_rx rx = {.message = count, .ctx = &seen};
	u8 junk[4096];

	memset(junk, 'x', sizeof(junk));
	for (unsigned i = 0; i < 2 * CHANNEL_LINE_MAX / sizeof(junk); i++)
		channel_rx_feed(&rx, junk, sizeof(junk));
	assert_true(rx.room <= CHANNEL_LINE_MAX);
	channel_rx_feed(&rx, (const u8 *)"\n{\"n\":7}\n", 9);
	assert_int_equal(seen, 7);
	assert_int_equal(rx.bad, 1);
	channel_rx_free(&rx);
}

static void send_and_receive(void **state)
{
	json_int_t seen = 0;
	struct channel_rx rx = {.message = count, .ctx = &seen};
	u8 buf[200];
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(channel_send(p[1], 2, "test", json_pack("{s:i}", "n", 6)), 0);
	ssize_t n = read(p[0], buf, sizeof(buf));
	assert_true(n > 0 && buf[n - 1] == '\n');
	channel_rx_feed(&rx, buf, (size_t)n);
	assert_int_equal(seen, 6);
	assert_int_equal(channel_send(-1, 2, "test", json_object()), 0);
	close(p[0]);
	close(p[1]);
	channel_rx_free(&rx);
}

static void tails(void **state)
{
	struct tail t = {0};
	char line[32], *text;

	text = tail_text(&t, 3);
	assert_string_equal(text, "");
	free(text);
	for (int i = 0; i < 2000; i++) {
		int n = snprintf(line, sizeof(line), "line %d\r\n", i);
		tail_feed(&t, (const u8 *)line, (size_t)n);
	}
	tail_feed(&t, (const u8 *)"\033[2J", 4);
	text = tail_text(&t, 3);
	assert_string_equal(text, "line 1998\nline 1999\n?[2J");
	free(text);
	u8 *big = calloc(1, 10000);
	memset(big, 'a', 10000);
	tail_feed(&t, big, 10000);
	text = tail_text(&t, 9);
	assert_int_equal(strlen(text), sizeof(t.buf));
	free(text);
	free(big);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_pieces),
		cmocka_unit_test(overlong_line_is_dropped),
		cmocka_unit_test(send_and_receive),
		cmocka_unit_test(tails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
