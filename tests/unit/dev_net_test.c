/* The network and entropy devices driven as drivers would, well and badly. */
#include "virtio_driver.h"

#include <linux/virtio_net.h>

#include "dev/virtio_net.h"
#include "dev/virtio_rng.h"

#define HEADER sizeof(struct virtio_net_hdr_v1)

enum { RX, TX };

struct rig {
	struct driver d;
	struct virtio_net net;
	struct virtio_rng rng;
	unsigned rooms, nsent;
	size_t len;
	u8 sent[NET_FRAME_MAX];
	bool echo; /* answer each frame at once, as a network on the same thread does */
};

static const u8 mac[NET_MAC] = {0x52, 0x54, 0, 1, 2, 3};

static void on_send(void *ctx, const u8 *frame, size_t n)
{
	struct rig *r = ctx;
	struct net_source source = virtio_net_source(&r->net);

	assert_true(n <= NET_FRAME_MAX);
	memcpy(r->sent, frame, n);
	r->len = n;
	r->nsent++;
	if (r->echo)
		source.receive(source.ctx, frame, n);
}

static void on_room(void *ctx) { ((struct rig *)ctx)->rooms++; }
static void fill(void *ctx, u8 *buf, size_t n) { memset(buf, 0xa5, n); }

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	driver_vm(&r->d);
	virtio_net_init(&r->net, &r->d.vm, mac, (struct net_sink){on_send, r});
	virtio_net_on_room(&r->net, on_room, r);
	driver_attach(&r->d, &r->net.pci, 2);
	*state = r;
	return 0;
}

static int setup_rng(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	driver_vm(&r->d);
	virtio_rng_init(&r->rng, &r->d.vm, (struct entropy){fill, NULL});
	driver_attach(&r->d, &r->rng.pci, 1);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	vm_destroy(&r->d.vm);
	free(r);
	return 0;
}

static void send(struct rig *r, const struct virtio_net_hdr_v1 *h, u32 n)
{
	struct vring_used_elem e;

	memcpy(ram(&r->d, BUF(0)), h, HEADER);
	memset((u8 *)ram(&r->d, BUF(0)) + HEADER, 0x42, n);
	desc_put(&r->d, TX, 0, BUF(0), HEADER, n ? VRING_DESC_F_NEXT : 0, 1);
	desc_put(&r->d, TX, 1, BUF(0) + HEADER, n, 0, 0);
	offer(&r->d, TX, 0);
	kick(&r->d, TX);
	assert_true(take(&r->d, TX, &e));
}

static void config(void **state)
{
	struct rig *r = *state;

	for (unsigned i = 0; i < NET_MAC; i++)
		assert_int_equal(vm_mmio_read(&r->d.vm, DEVICE + i, 1), mac[i]);
	assert_int_equal(vm_mmio_read(&r->d.vm, DEVICE + 6, 2), VIRTIO_NET_S_LINK_UP);
}

static void transmit(void **state)
{
	struct rig *r = *state;
	struct virtio_net_hdr_v1 h = {0};

	driver_start(&r->d, BIT(VIRTIO_NET_F_MAC));
	send(r, &h, 60);
	assert_int_equal(r->nsent, 1);
	assert_int_equal(r->len, 60);
	assert_int_equal(r->sent[59], 0x42);
	/* What is no frame goes nowhere. */
	send(r, &h, 0);
	send(r, &h, NET_HEADER - 1);
	send(r, &h, NET_FRAME_MAX + 1);
	h.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	send(r, &h, 60);
	assert_int_equal(r->nsent, 1);
	assert_false(driver_broken(&r->d));
}

static void receive(void **state)
{
	struct rig *r = *state;
	struct net_source source = virtio_net_source(&r->net);
	struct virtio_net_hdr_v1 h;
	struct vring_used_elem e;
	u8 frame[100];

	memset(frame, 0x33, sizeof(frame));
	assert_false(source.receive(source.ctx, frame, sizeof(frame)));
	driver_start(&r->d, 0);
	assert_false(source.receive(source.ctx, frame, sizeof(frame)));
	desc_put(&r->d, RX, 0, BUF(0), 1600, VRING_DESC_F_WRITE, 0);
	desc_put(&r->d, RX, 1, BUF(1), 40, VRING_DESC_F_WRITE, 0);
	offer(&r->d, RX, 0);
	offer(&r->d, RX, 1);
	kick(&r->d, RX);
	assert_true(r->rooms > 0);
	assert_true(source.receive(source.ctx, frame, sizeof(frame)));
	assert_true(take(&r->d, RX, &e));
	assert_int_equal(e.len, HEADER + sizeof(frame));
	memcpy(&h, ram(&r->d, BUF(0)), HEADER);
	assert_int_equal(h.num_buffers, 1);
	assert_memory_equal((u8 *)ram(&r->d, BUF(0)) + HEADER, frame, sizeof(frame));
	/* Too small a buffer: the frame is lost, the buffer is not. */
	assert_true(source.receive(source.ctx, frame, sizeof(frame)));
	assert_true(take(&r->d, RX, &e));
	assert_int_equal(e.len, 0);
	assert_false(source.receive(source.ctx, frame, sizeof(frame)));
}

static void random_rings(void **state)
{
	struct rig *r = *state;
	struct net_source source = virtio_net_source(&r->net);
	unsigned seed = 4;
	u8 frame[NET_FRAME_MAX] = {0};

	r->echo = true;
	for (unsigned round = 0; round < 3000; round++) {
		driver_start(&r->d, round & 1 ? BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_RING_F_INDIRECT_DESC) : 0);
		driver_scramble(&r->d, &seed);
		for (unsigned i = 0; i < 4; i++)
			source.receive(source.ctx, frame, (size_t)rand_r(&seed) % NET_FRAME_MAX);
	}
	r->echo = false;
	r->nsent = 0;
	transmit(state);
}

static void entropy(void **state)
{
	struct rig *r = *state;
	struct vring_used_elem e;
	unsigned seed = 5;

	driver_start(&r->d, 0);
	desc_put(&r->d, 0, 0, BUF(0), 10, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	desc_put(&r->d, 0, 1, BUF(1), 100000, VRING_DESC_F_WRITE, 0);
	offer(&r->d, 0, 0);
	kick(&r->d, 0);
	assert_true(take(&r->d, 0, &e));
	assert_int_equal(e.len, 4096);
	assert_int_equal(*(u8 *)ram(&r->d, BUF(0) + 9), 0xa5);
	assert_int_equal(*(u8 *)ram(&r->d, BUF(0) + 10), 0);
	assert_int_equal(*(u8 *)ram(&r->d, BUF(1) + 4085), 0xa5);
	for (unsigned round = 0; round < 1000; round++) {
		driver_start(&r->d, 0);
		driver_scramble(&r->d, &seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(config, setup, teardown),
		cmocka_unit_test_setup_teardown(transmit, setup, teardown),
		cmocka_unit_test_setup_teardown(receive, setup, teardown),
		cmocka_unit_test_setup_teardown(random_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(entropy, setup_rng, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
