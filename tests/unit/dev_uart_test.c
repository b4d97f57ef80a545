/* The 16550A: identification, FIFOs, interrupt priorities, character timeout, loopback, gathered output. */
#include "tests/unit/dev_fake.h"

#include <string.h>

#include "dev/uart.h"

struct fixture {
	struct clock_fake clock;
	struct timer_queue queue;
	struct wire irq;
	struct uart u;
	char out[4096];
	size_t out_n;
	unsigned writes, rooms;
};

static void sink(void *ctx, const u8 *buf, size_t n)
{
	struct fixture *f = ctx;

	assert_true(f->out_n + n < sizeof(f->out));
	memcpy(f->out + f->out_n, buf, n);
	f->out_n += n;
	f->writes++;
}

static void room(void *ctx) { ((struct fixture *)ctx)->rooms++; }
static u8 get(struct fixture *f, unsigned reg) { return in8(&uart_ops, &f->u, reg); }
static void put(struct fixture *f, unsigned reg, u8 v) { out8(&uart_ops, &f->u, reg, v); }

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	clock_fake_init(&f.clock);
	timer_queue_init(&f.queue, &f.clock.clock);
	uart_init(&f.u, &f.queue, wire_line(&f.irq), (struct char_sink){sink, &f});
	uart_on_room(&f.u, room, &f);
	put(&f, 3, 0x80);
	put(&f, 0, 1); /* 115200 */
	put(&f, 1, 0);
	put(&f, 3, 0x03);
	put(&f, 4, 0x08);
	*state = &f;
	return 0;
}

static void feed(struct fixture *f, const char *text)
{
	struct char_source s = uart_source(&f->u);

	assert_true(s.room(s.ctx) >= strlen(text));
	s.receive(s.ctx, (const u8 *)text, strlen(text));
}

static void registers(void **state)
{
	struct fixture *f = *state;

	put(f, 3, 0x83);
	assert_int_equal(get(f, 0), 1);
	assert_int_equal(get(f, 1), 0);
	put(f, 3, 0x03);
	put(f, 7, 0xa5);
	assert_int_equal(get(f, 7), 0xa5);
	put(f, 1, 0xff);
	assert_int_equal(get(f, 1), 0x0f);
	put(f, 1, 0);
	assert_int_equal(get(f, 2), 0x01);
	put(f, 2, 0x01);
	assert_int_equal(get(f, 2), 0xc1);
	assert_int_equal(get(f, 5), 0x60);
	assert_int_equal(get(f, 6), 0xb0);
}

static void output(void **state)
{
	struct fixture *f = *state;

	for (const char *c = "hello, world"; *c; c++)
		put(f, 0, (u8)*c);
	assert_int_equal(f->writes, 0);
	pass(&f->clock, &f->queue, 5000000);
	assert_int_equal(f->writes, 1);
	assert_memory_equal(f->out, "hello, world", 12);
	put(f, 0, 'x');
	put(f, 0, '\n');
	assert_int_equal(f->writes, 2);
	for (unsigned i = 0; i < 1200; i++)
		put(f, 0, '.');
	assert_int_equal(f->writes, 4);
	uart_flush(&f->u);
	assert_int_equal(f->out_n, 12 + 2 + 1200);
}

static void transmit_interrupt(void **state)
{
	struct fixture *f = *state;

	put(f, 1, 2);
	assert_true(f->irq.level);
	assert_int_equal(get(f, 2), 0x02);
	assert_false(f->irq.level); /* reading it acknowledges */
	assert_int_equal(get(f, 2), 0x01);
	put(f, 0, 'a');
	assert_true(f->irq.level);
	put(f, 4, 0); /* OUT2 gates the wire */
	assert_false(f->irq.level);
	put(f, 4, 8);
	put(f, 1, 0);
	assert_false(f->irq.level);
	put(f, 1, 2); /* enabling raises it again */
	assert_true(f->irq.level);
}

static void receive_single(void **state)
{
	struct fixture *f = *state;

	put(f, 1, 1);
	feed(f, "q");
	assert_true(f->irq.level);
	assert_int_equal(get(f, 2), 0x04);
	assert_int_equal(get(f, 5), 0x61);
	assert_int_equal(uart_source(&f->u).room(&f->u), 0);
	f->rooms = 0;
	assert_int_equal(get(f, 0), 'q');
	assert_int_equal(f->rooms, 1);
	assert_false(f->irq.level);
	assert_int_equal(get(f, 5), 0x60);
}

static void receive_fifo(void **state)
{
	struct fixture *f = *state;

	put(f, 2, 0x81); /* trigger at 8 */
	put(f, 1, 1);
	feed(f, "1234567");
	assert_false(f->irq.level);
	feed(f, "8");
	assert_int_equal(get(f, 2), 0xc4);
	assert_int_equal(get(f, 0), '1');
	assert_false(f->irq.level);
	pass(&f->clock, &f->queue, 300000);
	assert_false(f->irq.level);
	pass(&f->clock, &f->queue, 100000); /* four characters' time */
	assert_true(f->irq.level);
	assert_int_equal(get(f, 2), 0xcc);
	for (int c = '2'; c <= '8'; c++) {
		assert_int_equal(get(f, 5) & 1, 1);
		assert_int_equal(get(f, 0), c);
	}
	assert_int_equal(get(f, 2), 0xc1);
	pass(&f->clock, &f->queue, 1000000);
	assert_false(f->irq.level);
	feed(f, "abc");
	put(f, 2, 0x83); /* clear */
	assert_int_equal(get(f, 5) & 1, 0);
}

static void loopback(void **state)
{
	struct fixture *f = *state;

	put(f, 2, 0x01);
	put(f, 4, 0x10);
	get(f, 6);
	put(f, 4, 0x1a); /* loop, OUT2, RTS: Linux' probe */
	assert_int_equal(get(f, 6) & 0xf0, 0x90);
	put(f, 4, 0x14); /* OUT1 is RI */
	assert_int_equal(get(f, 6) & 0xf0, 0x40);
	put(f, 4, 0x10);
	assert_int_equal(get(f, 6) & 0x04, 0x04); /* its trailing edge */
	for (unsigned i = 0; i < 20; i++)
		put(f, 0, (u8)i);
	assert_int_equal(f->out_n, 0);
	assert_int_equal(get(f, 5) & 0x03, 0x03); /* overrun */
	assert_int_equal(get(f, 5) & 0x03, 0x01);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(get(f, 0), i);
	assert_int_equal(get(f, 5) & 1, 0);
	assert_int_equal(uart_source(&f->u).room(&f->u), 0); /* the line is cut */
}

static void interrupt_order(void **state)
{
	struct fixture *f = *state;

	put(f, 2, 0x01);
	put(f, 4, 0x18);
	put(f, 1, 0x0f);
	for (unsigned i = 0; i < 17; i++)
		put(f, 0, 'z');
	assert_int_equal(get(f, 2), 0xc6);
	get(f, 5);
	assert_int_equal(get(f, 2), 0xc4);
	for (unsigned i = 0; i < 16; i++)
		get(f, 0);
	assert_int_equal(get(f, 2), 0xc2);
	assert_int_equal(get(f, 2), 0xc0);
	get(f, 6);
	assert_int_equal(get(f, 2), 0xc1);
}

static void tiles(void **state) { assert_null(desc_check(&uart_state_desc)); }

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(registers, setup),	   cmocka_unit_test_setup(output, setup),
		cmocka_unit_test_setup(transmit_interrupt, setup), cmocka_unit_test_setup(receive_single, setup),
		cmocka_unit_test_setup(receive_fifo, setup),	   cmocka_unit_test_setup(loopback, setup),
		cmocka_unit_test_setup(interrupt_order, setup),	   cmocka_unit_test(tiles),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
