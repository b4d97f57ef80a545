/* Disk files: what can be one, what the options say, and real requests through the threads and the event loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <unistd.h>

#include "host/disk.h"
#include "host/net.h"

#define SIZE  (1u << 20)
#define PARTS 64u

struct part {
	struct block_io io; /* first */
	pthread_mutex_t *lock;
	pthread_cond_t *cond;
	bool done;
};

static char path[] = "/tmp/disk_test.XXXXXX";

static int group_setup(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 || ftruncate(fd, SIZE) || close(fd);
}

static int group_teardown(void **state) { return unlink(path); }

static void options(void **state)
{
	struct disk_options o;
	struct err e;

	assert_int_equal(disk_options_parse("a.img", &o, &e), 0);
	assert_string_equal(o.path, "a.img");
	assert_true(!o.readonly && !o.discard && o.queues == 1);
	assert_int_equal(disk_options_parse("a,,b,ro,queues=8,discard=on", &o, &e), 0);
	assert_string_equal(o.path, "a,b");
	assert_true(o.readonly && o.discard && o.queues == 8);
	assert_false(o.snapshot);
	assert_int_equal(disk_options_parse("a,snapshot", &o, &e), 0);
	assert_true(o.snapshot);
	assert_int_equal(disk_options_parse("", &o, &e), -EINVAL);
	assert_int_equal(disk_options_parse("a,", &o, &e), -EINVAL);
	assert_int_equal(disk_options_parse("a,queues=9", &o, &e), -EINVAL);
	assert_int_equal(disk_options_parse("a,queues=", &o, &e), -EINVAL);
	assert_int_equal(disk_options_parse("a,rw", &o, &e), -EINVAL);
	assert_non_null(strstr(e.text, "rw"));
}

static void net_words(void **state)
{
	static const char *const bad[] = {
		"",
		"tap",
		"user,",
		"user,hostfwd=",
		"user,hostfwd=tcp:",
		"user,hostfwd=tcp::-:",
		"user,hostfwd=tcp::0-:22",
		"user,hostfwd=tcp::65536-:22",
		"user,hostfwd=tcp::22",
		"user,hostfwd=icmp::1-:2",
		"user,hostfwd=tcp:1.2.3:1-:2",
		"user,hostfwd=tcp::1-:2x",
		"user,hostfwd=tcp::+1-:2",
		"user,mac=01:00:00:00:00:00",
		"user,mac=52:54:00:12:34",
		"user,restrict=maybe",
	};
	struct net_options o;
	struct err e;

	net_options_init(&o);
	assert_int_equal(
		net_options_parse("user,hostfwd=tcp::2222-:22,hostfwd=udp:0.0.0.0:53-10.0.2.16:5353,restrict=on,"
				  "mac=52:54:00:00:00:01",
				  &o, &e),
		0);
	assert_int_equal(o.nforwards, 2);
	assert_int_equal(o.forward[0].host, htonl(INADDR_LOOPBACK));
	assert_int_equal(o.forward[0].host_port, 2222);
	assert_int_equal(o.forward[0].guest_port, 22);
	assert_true(o.forward[1].udp && !o.forward[1].host && o.restricted && o.mac[5] == 1);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		net_options_init(&o);
		e.text[0] = 0;
		assert_int_equal(net_options_parse(bad[i], &o, &e), -EINVAL);
		assert_true(e.text[0]);
	}
}

static void not_a_disk(void **state)
{
	struct disk_options o = {.path = "/nonexistent/disk"};
	struct disk *d, *second;
	struct err e;
	FILE *f;

	assert_int_equal(disk_open(&o, &d, &e), -ENOENT);
	snprintf(o.path, sizeof(o.path), "/tmp");
	assert_true(disk_open(&o, &d, &e));
	o.readonly = true;
	assert_int_equal(disk_open(&o, &d, &e), -EINVAL);
	snprintf(o.path, sizeof(o.path), "%s", path);
	assert_int_equal(truncate(path, 1000), 0);
	assert_int_equal(disk_open(&o, &d, &e), -EINVAL);
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(disk_open(&o, &d, &e), -EINVAL);
	assert_int_equal(truncate(path, SIZE), 0);
	f = fopen(path, "r+");
	fputs("QFI\xfb", f);
	fclose(f);
	assert_int_equal(disk_open(&o, &d, &e), -EINVAL);
	assert_non_null(strstr(e.text, "qcow2"));
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(truncate(path, SIZE), 0);
	/* Two readers, or one writer. */
	assert_int_equal(disk_open(&o, &d, &e), 0);
	assert_int_equal(disk_open(&o, &second, &e), 0);
	disk_close(second);
	o.readonly = false;
	assert_int_equal(disk_open(&o, &second, &e), -EBUSY);
	disk_close(d);
	assert_int_equal(disk_open(&o, &d, &e), 0);
	assert_int_equal(disk_open(&o, &second, &e), -EBUSY);
	disk_close(d);
}

static void on_done(struct block_io *io)
{
	struct part *p = (struct part *)io;

	pthread_mutex_lock(p->lock);
	p->done = true;
	pthread_cond_signal(p->cond);
	pthread_mutex_unlock(p->lock);
}

static void all(struct vm *vm, struct block_disk *b, struct part *parts, unsigned n)
{
	vm_lock(vm);
	for (unsigned i = 0; i < n; i++)
		b->submit(b->ctx, &parts[i].io);
	vm_unlock(vm);
	pthread_mutex_lock(parts->lock);
	for (unsigned i = 0; i < n; i++)
		while (!parts[i].done)
			pthread_cond_wait(parts->cond, parts->lock);
	pthread_mutex_unlock(parts->lock);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(parts[i].io.rc, 0);
		parts[i].done = false;
	}
}

/* What is written to a snapshot is read back from it, all else from the file, which stays as it is. */
static void snapshot(void **state)
{
	static u8 file[SIZE], back[SIZE], want[SIZE], fresh[3 * 512];
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
	struct disk_options o = {.snapshot = true, .discard = true};
	struct part part = {.lock = &lock, .cond = &cond};
	struct host_loop *loop;
	struct block_disk b;
	struct disk *d, *second;
	struct vm vm;
	struct err e;
	FILE *f;

	snprintf(o.path, sizeof(o.path), "%s", path);
	for (unsigned i = 0; i < SIZE; i++)
		file[i] = want[i] = (u8)(i * 7 + i / 512);
	memset(fresh, 0xee, sizeof(fresh));
	f = fopen(path, "r+");
	assert_int_equal(fwrite(file, 1, SIZE, f), SIZE);
	fclose(f);
	assert_int_equal(vm_init(&vm, NULL, clock_host(), NULL), 0);
	assert_int_equal(host_loop_start(&vm, &loop, &e), 0);
	assert_int_equal(disk_open(&o, &d, &e), 0);
	assert_int_equal(disk_open(&o, &second, &e), 0); /* two may have one of the same file */
	disk_close(second);
	b = disk_block(d);
	assert_false(b.readonly);
	assert_int_equal(disk_start(d, loop, &e), 0);
	part.io = (struct block_io){
		.op = BLOCK_WRITE, .offset = 512 * 63, .size = sizeof(fresh), .buf = fresh, .done = on_done};
	all(&vm, &b, &part, 1);
	memcpy(want + 512 * 63, fresh, sizeof(fresh));
	part.io = (struct block_io){.op = BLOCK_ZERO, .unmap = true, .offset = 512 * 64, .size = 512, .done = on_done};
	all(&vm, &b, &part, 1);
	memset(want + 512 * 64, 0, 512);
	part.io = (struct block_io){.op = BLOCK_DISCARD, .offset = 0, .size = 4096, .done = on_done};
	all(&vm, &b, &part, 1);
	part.io = (struct block_io){.op = BLOCK_FLUSH, .done = on_done};
	all(&vm, &b, &part, 1);
	part.io = (struct block_io){.op = BLOCK_READ, .size = SIZE, .buf = back, .done = on_done};
	all(&vm, &b, &part, 1);
	assert_memory_equal(back, want, SIZE);
	disk_stop(d);
	host_loop_stop(loop);
	disk_close(d);
	f = fopen(path, "r");
	assert_int_equal(fread(back, 1, SIZE, f), SIZE);
	fclose(f);
	assert_memory_equal(back, file, SIZE);
	vm_destroy(&vm);
}

static void requests(void **state)
{
	static u8 data[SIZE], back[SIZE];
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
	struct disk_options o = {.discard = true};
	struct part parts[PARTS] = {0};
	struct host_loop *loop;
	struct block_disk b;
	struct disk *d;
	struct vm vm;
	struct err e;
	const u64 each = SIZE / PARTS;

	snprintf(o.path, sizeof(o.path), "%s", path);
	assert_int_equal(vm_init(&vm, NULL, clock_host(), NULL), 0);
	assert_int_equal(host_loop_start(&vm, &loop, &e), 0);
	assert_int_equal(disk_open(&o, &d, &e), 0);
	b = disk_block(d);
	assert_true(b.size == SIZE && b.discard && !b.readonly);
	assert_int_equal(disk_start(d, loop, &e), 0);
	for (unsigned i = 0; i < SIZE; i++)
		data[i] = (u8)(i * 31 + i / 4096);
	for (unsigned i = 0; i < PARTS; i++) {
		parts[i].io =
			(struct block_io){.op = BLOCK_WRITE, .offset = i * each, .size = each, .buf = data + i * each};
		parts[i].io.done = on_done;
		parts[i].lock = &lock;
		parts[i].cond = &cond;
	}
	all(&vm, &b, parts, PARTS);
	parts[0].io.op = BLOCK_FLUSH;
	all(&vm, &b, parts, 1);
	/* The second and third part become zeroes, with and without giving the space back; the fourth is of no
	 * interest. */
	parts[1].io.op = parts[2].io.op = BLOCK_ZERO;
	parts[2].io.unmap = true;
	parts[3].io.op = BLOCK_DISCARD;
	all(&vm, &b, parts + 1, 3);
	for (unsigned i = 0; i < PARTS; i++) {
		parts[i].io.op = BLOCK_READ;
		parts[i].io.buf = back + i * each;
	}
	all(&vm, &b, parts, PARTS);
	memset(data + each, 0, 2 * each);
	memset(data + 3 * each, 0, each);
	memset(back + 3 * each, 0, each);
	assert_memory_equal(data, back, SIZE);
	/* What was submitted is carried out before a stop returns. */
	memset(data, 0x11, each);
	parts[0].io.op = BLOCK_WRITE;
	parts[0].io.buf = data;
	b.submit(b.ctx, &parts[0].io);
	disk_stop(d);
	host_loop_stop(loop);
	disk_close(d);
	FILE *f = fopen(path, "r");
	assert_int_equal(fread(back, 1, each, f), each);
	fclose(f);
	assert_memory_equal(data, back, each);
	vm_destroy(&vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),  cmocka_unit_test(net_words), cmocka_unit_test(not_a_disk),
		cmocka_unit_test(requests), cmocka_unit_test(snapshot),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
